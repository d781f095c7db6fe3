//! One Root as a peer meets it: answers to its questions, and the way in of what it sends.
//!
//! Everything here is a plain call on the tables that runs to its end: no waiting, no connection. Whoever dials goes
//! through `round.rs`, which asks the questions that [`Replica::answer`] answers.

use super::asked::Asked;
use super::dictionary::{self, Dictionary, DictionaryName, Own};
use super::error::SyncError;
use super::frame::{self, Ask, Question, Tell, Told};
use super::pack;
use super::page::{Page, Wanted};
use super::ready::ReadyPage;
use super::reconcile::Items;
use super::state::{Digest, Span, State, lacking};
use super::watchers::Watchers;
use crate::core::clock::Clock;
use crate::core::event::{EventKey, Origin, Seq, ValidTime, ValueHash};
use crate::core::gset::{self, Candidate, Incoming, Merged, Ready};
use crate::core::knowledge::Knowledge;
use crate::core::limits::{
    DICTIONARY_ARRIVALS_MIN, FUTURE_MS_MAX, ORIGINS_MAX, SYNC_LIVE_DOTS_MAX, SYNC_NAMES_MAX, SYNC_PAGE_BYTES,
};
use crate::core::rule::{self, Rule};
use crate::core::tables::{Fork, Head, Result as TableResult, Tables, TablesMut};
use crate::store::Store;
use crate::wall::Wall;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A source of new Origins: random, never the same twice.
pub type Mint = Box<dyn Fn() -> Origin + Send + Sync>;

/// A Root's tables with what an exchange needs beside them.
pub struct Replica {
    store: Arc<dyn Store>,
    clock: Arc<Mutex<Clock>>,
    wall: Arc<dyn Wall>,
    mint: Mint,
    asked: Mutex<Asked>,
    watchers: Mutex<Watchers>,
    items: Mutex<Option<(Digest, Arc<Items>)>>,
    /// The digest of the state that belongs to this head: every peer that waits for news asks for it.
    digest: Mutex<Option<(Arc<Head>, Digest)>>,
    /// The dictionary for those who dial, once one of them has asked for it.
    dictionary: Mutex<Own>,
    /// From so many arrivals on there is one.
    dictionary_arrivals_min: u64,
    commits: watch::Sender<u64>,
    /// Called with `false` after each commit of what a peer sent, with `true` when no more of it is on its way.
    merged: Box<dyn Fn(bool) + Send + Sync>,
    /// Something was merged, and `merged` has not heard that it is over.
    is_merging: AtomicBool,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Events that are new here.
    pub events: u64,
    /// Dots that are new here.
    pub dots: u64,
    /// Events that were sent whole although they were known.
    pub repeated: u64,
    /// New events whose time is so far ahead of this clock that a client could not have written them here.
    pub future: u64,
    /// A row was an alias of a value that is not here: the rest of the page was dropped and is wanted whole.
    pub whole: bool,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Replica {
    /// The tables of `store` as a replica.
    pub fn new(store: Arc<dyn Store>, clock: Arc<Mutex<Clock>>, wall: Arc<dyn Wall>, mint: Mint) -> Self {
        let (commits, _) = watch::channel(0);
        let (asked, watchers) = (Mutex::default(), Mutex::default());
        let (items, digest) = (Mutex::default(), Mutex::default());
        let (merged, is_merging) = (Box::new(|_| ()), AtomicBool::new(false));
        let (dictionary, dictionary_arrivals_min) = (Mutex::default(), DICTIONARY_ARRIVALS_MIN);
        Self {
            store,
            clock,
            wall,
            mint,
            asked,
            watchers,
            items,
            digest,
            dictionary,
            dictionary_arrivals_min,
            commits,
            merged,
            is_merging,
        }
    }

    /// The same, with a dictionary from so many arrivals on.
    #[cfg(test)]
    pub(crate) fn with_dictionary_from(mut self, arrivals: u64) -> Self {
        self.dictionary_arrivals_min = arrivals;
        self
    }

    /// The same, and `merged` is called with `false` after each commit of what a peer sent, and with `true` when no
    /// more of it is on its way.
    #[must_use]
    pub fn telling(mut self, merged: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.merged = Box::new(merged);
        self
    }

    /// Its tables.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Counts up with every commit that somebody tells of.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Tells that something was committed.
    pub fn committed(&self) {
        self.commits.send_modify(|commits| *commits += 1);
    }

    /// What it holds.
    pub fn state(&self) -> TableResult<State> {
        State::of(self.store.read()?.as_ref())
    }

    /// Names what it holds.
    pub fn digest(&self) -> TableResult<Digest> {
        let tables = self.store.read()?;
        self.digest_of(tables.as_ref(), &tables.head()?)
    }

    /// The wall clock in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.wall.now().millis().cast_unsigned()
    }

    /// The answer to a question, except that to `Watch` there is none while nothing is new.
    pub fn answer(&self, ask: &Ask) -> Result<Vec<u8>, SyncError> {
        let dictionary = ask.dictionary.and_then(|name| self.dictionary_named(name));
        let dictionary = dictionary.as_deref();
        let tell = match &ask.question {
            Question::Greet { digest } => self.greeted(digest)?,
            Question::Meet { state } => self.met(ask.link, state)?,
            Question::Pull { known, want, whole, bytes_max } => {
                let wanted = Wanted {
                    spans: want,
                    known: &frame::knowledge(known),
                    whole: *whole,
                    bytes_max: (*bytes_max as usize).min(SYNC_PAGE_BYTES),
                };
                Tell::Page { page: self.page(wanted)?.encode_with(dictionary) }
            }
            Question::Offer { known } => {
                let mine = self.store.read()?.head()?.knowledge.clone();
                let want = self.lend(ask.link, lacking(&mine, &frame::knowledge(known)));
                Tell::Want { known: frame::lasts(&mine), want }
            }
            Question::Push { page } => self.pushed(page)?,
            Question::Watch { digest, current, last, .. } => {
                // Who waits for news has nothing more to push.
                self.rest();
                let news = self.news(digest, Origin(*current), Seq(*last), dictionary)?;
                news.unwrap_or(Tell::Same { now_ms: self.now_ms() })
            }
            Question::Reconcile { message } => Tell::Reconciled { message: self.items()?.answer(message)? },
            Question::Fetch { names } => {
                let (told, names) = self.told(names)?;
                let names = u32::try_from(names).unwrap_or(u32::MAX);
                Tell::Bundle { bundle: frame::encode_bundle(&told), names }
            }
            Question::Heal { bundle } => {
                Tell::Healed { admitted: self.readmit(&frame::decode_bundle(bundle)?)? }
            }
            Question::Dictionary { held } => self.dictionary_for(*held)?,
        };
        Ok(tell.encode())
    }

    /// Whether the answer to `ask` should wait for a commit: it is a `Watch`, and nothing is new.
    pub fn is_quiet(&self, ask: &Ask) -> Result<bool, SyncError> {
        let Question::Watch { digest, .. } = &ask.question else { return Ok(false) };
        lock(&self.watchers).watched(ask.link, self.now_ms());
        Ok(self.digest()? == *digest)
    }

    /// Whether a Root without files must be made for this question: it brings something that an empty one can take.
    /// The first row of a page tells; without it the rest would be dropped.
    pub fn needs_files(ask: &Ask) -> Result<bool, SyncError> {
        let Question::Push { page } = &ask.question else { return Ok(false) };
        if pack::dictionary_of(page).is_some() {
            // Nobody was given a dictionary of a Root without files.
            return Ok(false);
        }
        let page = Page::decode(page)?;
        let first = page.rows().next();
        Ok(first.is_some_and(|row| row.dot.seq.0 == 1 && matches!(row.body, gset::Body::Whole(_))))
    }

    fn greeted(&self, digest: &Digest) -> Result<Tell, SyncError> {
        let now_ms = self.now_ms();
        if self.digest()? == *digest {
            return Ok(Tell::Same { now_ms });
        }
        Ok(Tell::State { state: self.state()?, forked: Vec::new(), now_ms })
    }

    fn met(&self, link: u64, theirs: &State) -> Result<Tell, SyncError> {
        lock(&self.watchers).met(link, theirs.current(), self.now_ms());
        let tables = self.store.read()?;
        let state = State::of(tables.as_ref())?;
        let differing = theirs.differing(tables.as_ref())?;
        let forked =
            differing.into_iter().map(|(origin, ours, _)| (origin.0, ours.0.to_be_bytes())).collect();
        Ok(Tell::State { state, forked, now_ms: self.now_ms() })
    }

    fn pushed(&self, page: &[u8]) -> Result<Tell, SyncError> {
        let dictionary = match pack::dictionary_of(page) {
            Some(name) => match self.dictionary_named(name) {
                None => return Ok(Tell::NoDictionary),
                named => named,
            },
            None => None,
        };
        let taken = self.take(&Page::decode_with(page, dictionary.as_deref())?.into(), false)?;
        let head = self.store.read()?.head()?;
        lock(&self.asked).settle(&head.knowledge);
        Ok(Tell::Took { known: frame::lasts(&head.knowledge), whole: taken.whole })
    }

    /// Our present dictionary, if it is the one of this name.
    pub(super) fn dictionary_named(&self, name: DictionaryName) -> Option<Arc<Dictionary>> {
        lock(&self.dictionary).named(name)
    }

    /// Our dictionary for one who holds that of this name. It is made when it is asked for.
    fn dictionary_for(&self, held: Option<DictionaryName>) -> Result<Tell, SyncError> {
        let tables = self.store.read()?;
        let due = dictionary::made_of(tables.head()?.arrivals, self.dictionary_arrivals_min);
        let kept = lock(&self.dictionary).present(due);
        let dictionary = match (kept, due) {
            (None, Some(due)) => {
                let made = Arc::new(Dictionary::of(tables.as_ref(), due)?);
                lock(&self.dictionary).put(due, &made);
                Some(made)
            }
            (kept, _) => kept,
        };
        let name = dictionary.as_ref().map(|dictionary| dictionary.name());
        let packed = dictionary.filter(|_| name != held).map(|dictionary| dictionary.encode());
        Ok(Tell::Dictionary { name, packed: packed.unwrap_or_default() })
    }

    /// From how many arrivals on a Root has a dictionary.
    pub(super) fn dictionary_arrivals_min(&self) -> u64 {
        self.dictionary_arrivals_min
    }

    fn news(
        &self,
        digest: &Digest,
        current: Origin,
        last: Seq,
        dictionary: Option<&Dictionary>,
    ) -> Result<Option<Tell>, SyncError> {
        let tables = self.store.read()?;
        let head = tables.head()?;
        let now = self.digest_of(tables.as_ref(), &head)?;
        if now == *digest {
            return Ok(None);
        }
        let latest = head.knowledge.get(current);
        let is_live =
            current == head.origin && (1..=SYNC_LIVE_DOTS_MAX).contains(&latest.0.saturating_sub(last.0));
        let spans = [Span { origin: current.0, first: last.0 + 1, last: latest.0 }];
        let wanted =
            Wanted { spans: &spans, known: &Knowledge::new(), whole: false, bytes_max: SYNC_PAGE_BYTES };
        let page = if is_live {
            Some(Page::collect(tables.as_ref(), wanted, self.stamp())?.encode_with(dictionary))
        } else {
            None
        };
        Ok(Some(Tell::News { digest: now, last: latest.0, page }))
    }

    fn digest_of(&self, tables: &dyn Tables, head: &Arc<Head>) -> TableResult<Digest> {
        let mut kept = lock(&self.digest);
        if let Some((of, digest)) = kept.as_ref()
            && Arc::ptr_eq(of, head)
        {
            return Ok(*digest);
        }
        let digest = State::of(tables)?.digest();
        *kept = Some((Arc::clone(head), digest));
        Ok(digest)
    }

    /// The next page of what is wanted.
    pub(super) fn page(&self, wanted: Wanted<'_>) -> Result<Page, SyncError> {
        Ok(Page::collect(self.store.read()?.as_ref(), wanted, self.stamp())?)
    }

    /// Whether the replica that admits under `origin` waits for our news on a link of its own.
    pub fn is_watched_by(&self, origin: Origin) -> bool {
        lock(&self.watchers).is_watched_by(origin, self.now_ms())
    }

    /// What of `spans` may be asked for on `link`.
    pub(super) fn lend(&self, link: u64, spans: Vec<Span>) -> Vec<Span> {
        lock(&self.asked).lend(link, self.now_ms(), spans)
    }

    /// `link` asks for nothing any more.
    pub(super) fn release(&self, link: u64) {
        lock(&self.asked).release(link);
    }

    /// Takes a page in, in one transaction, up to the first row that cannot be taken. `pulled`: we asked a configured
    /// peer for it. A dot of our own Origin in it that we do not hold means that our tables were rolled back; the next
    /// admission then begins a new Origin.
    pub(super) fn take(&self, page: &ReadyPage, pulled: bool) -> Result<Taken, SyncError> {
        let (now_ms, rows) = (self.now_ms(), page.rows());
        let (mut taken, mut refused) = (Taken::default(), None);
        self.store.commit(&mut |tables| {
            (taken, refused) = (Taken::default(), None);
            let mut left = rows.as_slice();
            while let Some(row) = left.first() {
                let origin = row.incoming.dot.origin;
                if is_one_too_many(tables, origin)? {
                    refused = Some(origin);
                    break;
                }
                let is_ours = pulled && origin == tables.head()?.origin;
                let before = taken.dots;
                left = take_some(tables, left, now_ms, &mut taken)?;
                let is_new = taken.dots > before;
                if is_ours && is_new && tables.head()?.next_origin.is_none() && rule::holds(Rule::Minting) {
                    tables.put_next_origin((self.mint)())?;
                }
            }
            Ok(())
        })?;
        self.observe(page.page().clock);
        metrics::counter!("laterbase_sync_events_taken_total").increment(taken.events);
        metrics::counter!("laterbase_sync_events_repeated_total").increment(taken.repeated);
        metrics::counter!("laterbase_sync_events_future_total").increment(taken.future);
        if taken.dots > 0 {
            self.tell_merged();
        }
        match refused {
            Some(origin) => Err(SyncError::TooManyOrigins { origin, origins_max: ORIGINS_MAX }),
            None => Ok(taken),
        }
    }

    /// The events of the first of these names, as far as they are here, until they fill a page; of how many names.
    pub(super) fn told(&self, names: &[frame::Name]) -> Result<(Vec<Told>, usize), SyncError> {
        let tables = self.store.read()?;
        let (mut told, mut bytes) = (Vec::new(), 0);
        for (at, (key, hash)) in names.iter().take(SYNC_NAMES_MAX).enumerate() {
            if bytes >= SYNC_PAGE_BYTES {
                return Ok((told, at));
            }
            if let Some(event) = tables.find(EventKey(*key), ValueHash(*hash))? {
                bytes += event.value.data.len();
                told.push(Told::new(&event));
            }
        }
        Ok((told, names.len().min(SYNC_NAMES_MAX)))
    }

    /// Admits anew what of these events is not here although its dots are; how many.
    pub(super) fn readmit(&self, told: &[Told]) -> Result<u64, SyncError> {
        let (now_ms, mut admitted) = (self.now_ms(), 0);
        self.store.commit(&mut |tables| {
            admitted = 0;
            for event in told {
                let candidate = Candidate::new(event.key(), event.value());
                admitted += u64::from(gset::readmit(tables, candidate, &event.dots(), now_ms)?.is_some());
            }
            Ok(())
        })?;
        if admitted > 0 {
            self.tell_merged();
        }
        Ok(admitted)
    }

    fn tell_merged(&self) {
        self.is_merging.store(true, Ordering::Release);
        (self.merged)(false);
        self.committed();
    }

    /// Lets the next admission begin a new Origin, because the present one is forked.
    pub(super) fn leave_origin(&self) -> Result<(), SyncError> {
        if !rule::holds(Rule::Minting) {
            return Ok(());
        }
        Ok(self.store.commit(&mut |tables| {
            if tables.head()?.next_origin.is_none() { tables.put_next_origin((self.mint)()) } else { Ok(()) }
        })?)
    }

    /// Remembers that these forks are healed.
    pub(super) fn remember(&self, forks: &[Fork]) -> Result<(), SyncError> {
        Ok(self.store.commit(&mut |tables| forks.iter().try_for_each(|fork| tables.put_healed(*fork)))?)
    }

    /// No more pages are on their way. Says so once after a merge: our own intake has a rest of its own.
    pub(super) fn rest(&self) {
        if self.is_merging.swap(false, Ordering::AcqRel) {
            (self.merged)(true);
        }
    }

    /// The names of all values; kept until something else is held.
    pub(super) fn items(&self) -> Result<Arc<Items>, SyncError> {
        let tables = self.store.read()?;
        let digest = self.digest_of(tables.as_ref(), &tables.head()?)?;
        let mut kept = lock(&self.items);
        if let Some((of, items)) = kept.as_ref()
            && *of == digest
        {
            return Ok(Arc::clone(items));
        }
        let items = Arc::new(Items::of(tables.as_ref())?);
        *kept = Some((digest, Arc::clone(&items)));
        Ok(items)
    }

    fn stamp(&self) -> ValidTime {
        lock(&self.clock).max()
    }

    /// Our stamps follow those of whom we hear from, unless they are far ahead.
    fn observe(&self, stamp: ValidTime) {
        if !lock(&self.clock).observe(stamp, self.wall.now()) {
            metrics::counter!("laterbase_sync_clock_ahead_total").increment(1);
        }
    }
}

impl Taken {
    /// Counts a row; false if the page ends here.
    fn count(&mut self, merged: Merged, incoming: Incoming<'_>, now_ms: u64) -> bool {
        let is_whole = matches!(incoming.body, gset::Body::Whole(_));
        match merged {
            Merged::New | Merged::Loser => {
                self.events += 1;
                self.dots += 1;
                self.future += u64::from(is_ahead(incoming, now_ms));
            }
            Merged::Alias => {
                self.dots += 1;
                self.repeated += u64::from(is_whole);
            }
            Merged::Known => self.repeated += u64::from(is_whole),
            Merged::NeedsWhole => self.whole = true,
            Merged::Gap => {}
        }
        !matches!(merged, Merged::NeedsWhole | Merged::Gap)
    }
}

/// Takes the next rows in: all that are plainly new, or else one. The rest of them; nothing if the page ends here.
fn take_some<'r, 'p>(
    tables: &mut dyn TablesMut,
    rows: &'r [Ready<'p>],
    now_ms: u64,
    taken: &mut Taken,
) -> TableResult<&'r [Ready<'p>]> {
    let new = gset::merge_new(tables, rows, now_ms)?;
    let (new, rest) = rows.split_at(new);
    for row in new {
        taken.count(Merged::New, row.incoming, now_ms);
    }
    if !new.is_empty() {
        return Ok(rest);
    }
    let Some((row, rest)) = rows.split_first() else { return Ok(&[]) };
    let merged = gset::merge_ready(tables, *row, now_ms)?;
    Ok(if taken.count(merged, row.incoming, now_ms) { rest } else { &[] })
}

/// Whether an event is so far ahead that admission, by default, would refuse it. A merge takes it, or replicas would
/// differ.
fn is_ahead(incoming: Incoming<'_>, now_ms: u64) -> bool {
    incoming.key.time().millis() > now_ms.saturating_add(FUTURE_MS_MAX.into()).cast_signed()
}

fn is_one_too_many(tables: &dyn TablesMut, origin: Origin) -> TableResult<bool> {
    let head = tables.head()?;
    Ok(head.knowledge.origins() >= ORIGINS_MAX && head.knowledge.get(origin).0 == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
