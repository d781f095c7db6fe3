//! The live feed: a reader catches up and then stays, and each event is a server-sent event with an id to go on from.
//!
//! ```text
//! begin      pin := Knowledge at the arrival A (the last one then)
//! walk       the events of the pin that the vv does not name, in key order      id: A.check.position
//! follow     the arrivals behind A, in their order                              id: arrival.check
//! caught up  nothing is behind: `caught-up` with the vv of all that is known here; then each event as it arrives
//! ```
//! An id is all that a reader needs to go on, on a new connection and after the server died. A check (the first four
//! bytes of that of the arrival) tells whether the arrival is one of this replica's history; if not, the reader is told
//! `reset` and begins with the vv of its URL. A position is where the walk stands, as in a cursor.
//!
//! What a walk was pinned to is not in the id. It follows from A: an event belongs to the walk if it arrived up to A.
//! Arrivals of one Origin come in the order of its dots, so the dots before the first later arrival of each Origin name
//! those events. Where replicas admitted the same event, such a dot may also be one under which an event that arrived
//! behind A became known once more; those events are found among the later arrivals and left out.
//!
//! Nothing here keeps tables open: a reader is a place, and asks again from it.

use super::format::Form;
use super::json::{FeedEvent, NameTexts, write_event};
use super::query::{Asked, Filters};
use super::recent::{Recent, Taken};
use super::walk::{Bounds, Mark, Walk};
use super::{FeedError, Judged, Query, TypeNames};
use crate::core::event::{Arrival, EventKey, Origin, Seq, ValueHash};
use crate::core::knowledge::{Knowledge, VersionVector};
use crate::core::tables::{self, ArrivalRow, Head, StoredEvent, Tables};
use data_encoding::BASE64URL_NOPAD;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A page out of the store closes with so many events ...
const PAGE_EVENTS: usize = 1024;
/// ... or so many bytes of frames ...
const PAGE_BYTES: usize = 64 << 10;
/// ... or after so many arrivals, wanted or not.
const PAGE_ARRIVALS: u64 = 16_384;

/// So many later arrivals are looked at to find out what an interrupted walk was pinned to.
const RESUME_ARRIVALS_MAX: u64 = 1 << 20;
/// So many of them may be known by several dots.
const RESUME_SHARED_MAX: usize = 1 << 16;

/// Everything up to and with this arrival was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The number of the arrival; 0: nothing.
    pub arrival: u64,
    /// Its check.
    pub check: [u8; 8],
}

impl Told {
    /// The id that says so.
    pub fn id(&self) -> String {
        let [a, b, c, d, ..] = self.check;
        format!("{}.{:08x}", self.arrival, u32::from_be_bytes([a, b, c, d]))
    }

    fn of(head: &Head) -> Self {
        Self { arrival: head.arrivals, check: head.check }
    }
}

/// One reader: what it wants, and how far it is.
#[derive(Debug)]
pub struct Reader {
    vv: Vec<String>,
    filters: Filters,
    place: Place,
}

/// How far a reader is.
#[derive(Debug)]
enum Place {
    /// In the walk.
    Walk(Walking),
    /// Behind it.
    Follow(Told),
}

/// A walk under way.
#[derive(Debug)]
struct Walking {
    /// The last arrival that belongs to it.
    begin: Told,
    /// The dots of its events.
    pin: Arc<Head>,
    /// The same where the walk goes on from an id, and what does not belong to it all the same.
    resumed: Option<(Knowledge, BTreeSet<(EventKey, ValueHash)>)>,
    /// Where it stands.
    mark: Option<Mark>,
}

/// Frames out of the store.
#[derive(Debug, Default)]
pub struct LivePage {
    /// Whole frames, one behind the other.
    pub frames: Vec<u8>,
    /// Whether nothing is left behind them; the last one says so.
    pub is_caught_up: bool,
}

impl Reader {
    /// A reader that has got the frame `id` last, or none; whether the id is one of this replica's; the last arrival.
    pub fn begin(
        tables: &dyn Tables,
        query: &Query,
        names: &dyn TypeNames,
        id: Option<&str>,
    ) -> Result<(Self, bool, Told), FeedError> {
        let Asked { filters, .. } = Asked::read(query, names)?;
        let head = tables.head()?;
        let resumed = match id {
            Some(id) => resume(tables, &head, id)?,
            None => None,
        };
        let is_ours = id.is_none() || resumed.is_some();
        let begin = Told::of(&head);
        let whole = || Place::Walk(Walking { begin, pin: Arc::clone(&head), resumed: None, mark: None });
        Ok((Self { vv: query.vv.clone(), filters, place: resumed.unwrap_or_else(whole) }, is_ours, begin))
    }

    /// The next frames out of one committed state.
    pub fn page(&mut self, tables: &dyn Tables, names: &dyn TypeNames) -> Result<LivePage, FeedError> {
        match &mut self.place {
            Place::Walk(walking) => {
                let (frames, more) = walking.page(tables, names, &self.vv, &self.filters)?;
                match more {
                    Some(mark) => walking.mark = Some(mark),
                    None => self.place = Place::Follow(walking.begin),
                }
                Ok(LivePage { frames, is_caught_up: false })
            }
            Place::Follow(told) => {
                let mut page = LivePage::default();
                let mut names = NameTexts::new(names);
                let frames = &mut page.frames;
                *told = arrivals(tables, *told, PAGE_ARRIVALS, &mut |told, event| {
                    if self.filters.pass(event.key, event.value.type_number) {
                        write_arrived(frames, told, event, names.text(event.value.type_number));
                    }
                    frames.len() < PAGE_BYTES
                })?;
                let head = tables.head()?;
                if told.arrival >= head.arrivals {
                    let id = told.id();
                    let vv = self.vv(tables, &head)?;
                    write_caught_up(&mut page.frames, &id, &vv.to_string());
                    page.is_caught_up = true;
                    self.forget(vv, &head);
                }
                Ok(page)
            }
        }
    }

    /// The next frames out of those that all readers share.
    pub fn take(&mut self, recent: &Recent) -> Taken {
        let Place::Follow(told) = &mut self.place else { return Taken::Behind };
        recent.take(told, &self.filters)
    }

    /// The last arrival that it was told; in a walk the one behind which that began.
    pub fn arrival(&self) -> u64 {
        match &self.place {
            Place::Walk(walking) => walking.begin.arrival,
            Place::Follow(told) => told.arrival,
        }
    }

    /// The id that a reader may go on from now; none in a walk, where only events have one.
    pub fn id(&self) -> Option<String> {
        match &self.place {
            Place::Walk(_) => None,
            Place::Follow(told) => Some(told.id()),
        }
    }

    /// Keeps of a vv only what this replica does not hold: the walk is over, and all of `head` is known anyway.
    fn forget(&mut self, vv: VersionVector, head: &Head) {
        let VersionVector { scope, mut terms } = vv;
        terms.retain(|term| term.last() > head.knowledge.get(term.origin).0);
        self.vv.clear();
        if !terms.is_empty() {
            self.vv.push(VersionVector { scope, terms }.to_string());
        }
        self.vv.shrink_to_fit();
    }

    /// What the reader knows once all of `head` was told.
    fn vv(&self, tables: &dyn Tables, head: &Head) -> Result<VersionVector, FeedError> {
        let (terms, scope) =
            (super::query::united(&self.vv, self.filters.scope())?.terms, self.filters.scope());
        let judged = Judged::all(tables, &head.knowledge, terms)?;
        Ok(VersionVector { scope, terms: judged.united(tables, &head.knowledge)? })
    }
}

impl Walking {
    fn page(
        &self,
        tables: &dyn Tables,
        names: &dyn TypeNames,
        vv: &[String],
        filters: &Filters,
    ) -> Result<(Vec<u8>, Option<Mark>), FeedError> {
        let terms = super::query::united(vv, filters.scope())?.terms;
        let known = Judged::all(tables, &tables.head()?.knowledge, terms)?.known;
        let none = BTreeSet::new();
        let (pin, later) = match &self.resumed {
            Some((pin, later)) => (pin, later),
            None => (&self.pin.knowledge, &none),
        };
        let id = self.begin.id();
        let walk = Walk { tables, filters, pin, known: &known, later, names, form: Form::Live(&id) };
        let bounds = Bounds { events_max: PAGE_EVENTS, bytes_max: PAGE_BYTES };
        let walked = walk.page(self.mark, known.missing_count(pin), bounds)?;
        Ok((walked.body, walked.more))
    }
}

/// The place that `id` names; none if this replica never wrote it, or can no longer tell what it stands for.
fn resume(tables: &dyn Tables, head: &Arc<Head>, id: &str) -> Result<Option<Place>, FeedError> {
    let mut parts = id.splitn(3, '.');
    let (number, check) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let Some(arrival) = number.parse().ok().filter(|_| digits) else { return Ok(None) };
    let found = match arrival {
        0 => Some([0; 8]),
        _ => tables.arrival(Arrival(arrival))?.map(|row| row.check),
    };
    let Some(told) = found.map(|check| Told { arrival, check }) else { return Ok(None) };
    if told.id() != format!("{number}.{check}") {
        return Ok(None);
    }
    let Some(position) = parts.next() else { return Ok(Some(Place::Follow(told))) };
    let (Some(mark), Some(resumed)) = (read_mark(position), pinned(tables, head, told)?) else {
        return Ok(None);
    };
    let pin = Arc::clone(head);
    Ok(Some(Place::Walk(Walking { begin: told, pin, resumed: Some(resumed), mark: Some(mark) })))
}

/// The dots of the events that arrived up to `told`, and the later events that are known by such a dot, too; none if
/// too much arrived since to find out.
#[expect(clippy::type_complexity, reason = "the two parts of what a walk is pinned to")]
fn pinned(
    tables: &dyn Tables,
    head: &Head,
    told: Told,
) -> Result<Option<(Knowledge, BTreeSet<(EventKey, ValueHash)>)>, FeedError> {
    if head.arrivals.saturating_sub(told.arrival) > RESUME_ARRIVALS_MAX {
        return Ok(None);
    }
    // Only what several Origins admitted has several dots.
    let may_share = head.knowledge.origins() > 1;
    let mut first: BTreeMap<Origin, Seq> = BTreeMap::new();
    let (mut shared, mut fault) = (Vec::new(), None);
    tables.arrivals(Arrival(told.arrival + 1), &mut |_, row| {
        first.entry(row.dot.origin).or_insert(row.dot.seq);
        if may_share {
            match tables.find(row.key, row.hash) {
                Ok(Some(event)) if event.dots.len() > 1 => shared.push((row.key, row.hash, event.dots)),
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
        }
        let goes_on = fault.is_none() && shared.len() <= RESUME_SHARED_MAX;
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    if shared.len() > RESUME_SHARED_MAX {
        return Ok(None);
    }
    let before = |origin: Origin, last: Seq| first.get(&origin).map_or(last, |first| Seq(first.0 - 1));
    let pin: Knowledge = head.knowledge.iter().map(|(origin, last)| (origin, before(origin, last))).collect();
    shared.retain(|(_, _, dots)| dots.iter().any(|dot| pin.holds(*dot)));
    Ok(Some((pin, shared.into_iter().map(|(key, hash, _)| (key, hash)).collect())))
}

/// Visits at most `arrivals_max` arrivals behind `told`, each with its event, until `visit` says that it is enough.
pub(super) fn arrivals(
    tables: &dyn Tables,
    told: Told,
    arrivals_max: u64,
    visit: &mut dyn FnMut(Told, &StoredEvent<'_>) -> bool,
) -> tables::Result<Told> {
    let (mut told, mut left, mut fault) = (told, arrivals_max, None);
    tables.arrivals(Arrival(told.arrival + 1), &mut |number, row: ArrivalRow| {
        let behind = Told { arrival: number.0, check: row.check };
        let event = match tables.find(row.key, row.hash) {
            Ok(event) => event,
            Err(error) => {
                fault = Some(error);
                return ControlFlow::Break(());
            }
        };
        // One that is gone from the disk is told by nobody; the check of the rows finds it.
        let goes_on = event.is_none_or(|event| visit(behind, &event));
        told = behind;
        left = left.saturating_sub(1);
        if goes_on && left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    fault.map_or(Ok(told), Err)
}

/// The least dot under which the event is known.
pub(super) fn shown<'e>(event: &'e StoredEvent<'_>) -> Option<FeedEvent<'e>> {
    let StoredEvent { key, value, dots, clash, .. } = event;
    Some(FeedEvent { key: *key, value: *value, dot: *dots.first()?, clash: *clash })
}

/// Appends the frame of an event that arrived.
pub(super) fn write_arrived(out: &mut Vec<u8>, told: Told, event: &StoredEvent<'_>, type_name: &[u8]) {
    let Some(event) = shown(event) else { return };
    put(out, format_args!("event: event\nid: {}\ndata: ", told.id()));
    write_event(out, &event, type_name);
    out.extend_from_slice(b"\n\n");
}

/// Appends the frame of an event of a walk, whose ids begin with `begin`.
pub(super) fn write_walked(
    out: &mut Vec<u8>,
    begin: &str,
    mark: Mark,
    event: &FeedEvent<'_>,
    type_name: &[u8],
) {
    let Mark { key, winner, loser } = mark;
    let mut bytes = [0; 48];
    let mut length = 0;
    for part in [Some(key.0), Some(winner.0), loser.map(|loser| loser.0)].into_iter().flatten() {
        if let Some(place) = bytes.get_mut(length..length + part.len()) {
            place.copy_from_slice(&part);
        }
        length += part.len();
    }
    let position = BASE64URL_NOPAD.encode(bytes.get(..length).unwrap_or_default());
    put(out, format_args!("event: event\nid: {begin}.{position}\ndata: "));
    write_event(out, event, type_name);
    out.extend_from_slice(b"\n\n");
}

fn read_mark(text: &str) -> Option<Mark> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (parts, []) = bytes.as_chunks::<16>() else { return None };
    match parts {
        [key, winner] => Some(Mark { key: EventKey(*key), winner: ValueHash(*winner), loser: None }),
        [key, winner, loser] => {
            Some(Mark { key: EventKey(*key), winner: ValueHash(*winner), loser: Some(ValueHash(*loser)) })
        }
        _ => None,
    }
}

fn write_caught_up(out: &mut Vec<u8>, id: &str, vv: &str) {
    put(out, format_args!("event: caught-up\nid: {id}\ndata: {{\"vv\":\"{vv}\"}}\n\n"));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all that is written");
}
