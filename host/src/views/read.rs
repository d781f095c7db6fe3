//! Reading views: one aggregate, a listing, or groups of aggregates, on one state of the rows and the tail.
//!
//! A reader writes nothing. What it folded may be worth keeping: the Snapshots it would like to have go to the
//! deriver, which stores them if the aggregate is still as it was.

use super::answer::SetAside;
use super::bounds::KeyRange;
use super::build::{Build, View};
use super::calls::{Calls, Run, State};
use super::computes::{Computes, Failure, FailureKind};
use super::error::ViewError;
use super::index::INLINE_ENTRIES_MAX;
use super::index::entry::{Body, Deltas, NOW};
use super::index::read::{Aggregate, Measure, Visitor};
use super::layout::{self, Failed};
use super::ordered::Ordered;
use super::rows::{Rows, Table, keys_under};
use super::slot::number_of;
use super::states::{self, Fault, Head, Keep, Only, Row};
use super::tail::Tail;
use super::tree::{Tree, fold_entries};
use crate::core::event::EventKey;
use crate::core::tables::TableError;
use laterbase_plugin::aggregate;
use laterbase_plugin::declare::AlgebraKind;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An answer names so many events that were set aside.
pub(super) const INCOMPLETE_MAX: usize = 100;
/// With so many entries of an aggregate in the tail, a read asks for them to be written into the index.
const TAIL_ENTRIES_MAX: usize = 512;

/// What all reads of one call share: one state of the rows and the tail.
#[derive(Clone, Copy)]
pub(super) struct Moment<'r> {
    /// The rows.
    pub(super) rows: &'r dyn Rows,
    /// What is not in them yet.
    pub(super) tail: &'r Tail,
    /// The last arrival that is wholly in the rows.
    pub(super) cursor: u64,
    /// A repair of an Ordered View may fold so many deltas.
    pub(super) budget: u64,
}

/// One query under way.
pub(super) struct Reading<'r> {
    pub(super) moment: Moment<'r>,
    plugins: &'r dyn Computes,
    build: &'r Build,
    pub(super) view: &'r View,
    range: KeyRange,
    known: u64,
    /// How many deltas were folded.
    pub(super) folded: u64,
    /// What is worth keeping.
    pub(super) keep: Vec<Keep>,
    /// The tail should be written into the index soon.
    pub(super) wants_flush: bool,
    /// Aggregates whose repair was given up.
    pub(super) repairs: Vec<Vec<u8>>,
}

/// An aggregate's state within the bounds.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// The state; none is the identity.
    pub(super) state: State,
    /// How many events count.
    pub(super) events: u64,
    /// The last of them.
    pub(super) last: EventKey,
    /// Those that could not be folded.
    pub(super) faults: Vec<SetAside>,
    /// The answer is as of this arrival, because a long repair is under way.
    pub(super) stale: Option<u64>,
}

/// A state that is computed, before it is known whether anything counts.
#[derive(Default)]
struct Computed {
    state: State,
    measure: Measure,
    stale: Option<u64>,
}

impl<'r> Reading<'r> {
    /// A query of `view` for the events in `range`, for whoever knows the arrivals up to `known`.
    pub(super) fn new(
        moment: Moment<'r>,
        build: &'r Build,
        view: &'r View,
        range: KeyRange,
        known: Option<u64>,
    ) -> Self {
        // Who knows all that is followed sees what is, and finds it prepared.
        let known = known.filter(|known| *known < moment.tail.position()).unwrap_or(NOW);
        let plugins = build.plugins.as_ref();
        let (keep, repairs) = (Vec::new(), Vec::new());
        Self { moment, plugins, build, view, range, known, folded: 0, keep, wants_flush: false, repairs }
    }

    /// The first aggregate at or behind `from` that there may be.
    pub(super) fn next_aggregate(&self, from: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let numbers = Table::Numbers(self.view.keyspace.tables);
        let stored = keys_under(self.moment.rows, numbers, &[], from, 1)?.pop();
        let pending = self.moment.tail.next_aggregate(from, self.moment.cursor);
        Ok(match (stored, pending) {
            (Some(stored), Some(pending)) => Some(stored.min(pending)),
            (stored, pending) => stored.or(pending),
        })
    }

    /// The aggregate's state within the bounds; none if no un-voided event counts.
    pub(super) fn fold(&mut self, aggregate: &[u8]) -> Result<Option<Folded>, ViewError> {
        let id = number_of(self.moment.rows, &self.view.keyspace, aggregate)?;
        let tail = self.moment.tail.of(aggregate, self.moment.cursor);
        if id.is_none() && tail.is_empty() {
            return Ok(None);
        }
        self.wants_flush |= tail.len() > TAIL_ENTRIES_MAX;
        let index = Table::Index(self.view.keyspace.tables);
        let opened = Aggregate::open(self.moment.rows, index, id, tail, self.known)?;
        let view = self.view;
        let mut calls = Calls::new(self.plugins, view);
        let computed = match view.info.algebra {
            AlgebraKind::Ordered => self.ordered(&opened, &mut calls, aggregate)?,
            AlgebraKind::Associative | AlgebraKind::Commutative | AlgebraKind::Group => {
                self.merging(&opened, &mut calls)?
            }
        };
        self.folded += calls.folded;
        let faults = self.faults(&opened, calls.faults)?;
        let Measure { events, last } = computed.measure;
        Ok(last.map(|last| Folded { state: computed.state, events, last, faults, stale: computed.stale }))
    }

    fn is_whole(&self) -> bool {
        self.range.is_all() && self.known == NOW
    }

    /// What is kept of the whole aggregate, if it is of the index's version.
    fn head_of(&self, opened: &Aggregate<'_>) -> Result<Option<Head>, TableError> {
        match (opened.top(), opened.id) {
            (Some(_), Some(id)) => Head::read(self.moment.rows, Table::States(self.view.states), id),
            _ => Ok(None),
        }
    }

    fn merging(&mut self, opened: &Aggregate<'r>, calls: &mut Calls<'r>) -> Result<Computed, ViewError> {
        let (Some(top), true) = (opened.top(), self.is_whole()) else {
            return self.pieces(opened, calls, None);
        };
        if opened.tail.is_empty() {
            let head = self.head_of(opened)?.filter(|head| head.version == top.child.version);
            if let Some(head) = head {
                return Ok(of_head(head));
            }
            let computed = self.pieces(opened, calls, None)?;
            self.keep_head(opened, top.child.version, &computed, None)?;
            return Ok(computed);
        }
        // A flush under way may have written some of the tail already: its rows are ahead of the cursor.
        if top.child.version > self.moment.cursor {
            return self.pieces(opened, calls, None);
        }
        let index = Table::Index(self.view.keyspace.tables);
        let bare = Aggregate::open(self.moment.rows, index, opened.id, Vec::new(), NOW)?;
        let Computed { state, measure, .. } = self.merging(&bare, calls)?;
        let measure = opened.measure_over(measure)?;
        if self.view.info.algebra != AlgebraKind::Associative
            && let Some(measure) = measure
            && let Some(state) = self.add_tail(opened, state, calls)?
        {
            return Ok(Computed { state, measure, stale: None });
        }
        self.pieces(opened, calls, measure)
    }

    /// The tail's entries on top of the index's state, whatever their times; none if that cannot be done.
    fn add_tail(
        &self,
        opened: &Aggregate<'r>,
        mut state: State,
        calls: &mut Calls<'r>,
    ) -> Result<Option<State>, ViewError> {
        let (mut plus, mut minus) = (Run::default(), Run::default());
        for pending in &opened.tail {
            let old = if pending.fresh { None } else { opened.stored(pending.event)? };
            if let Some(deltas) = old.as_deref().and_then(|old| Body::of(old).live(NOW)) {
                if self.view.info.algebra != AlgebraKind::Group {
                    return Ok(None);
                }
                minus.push(pending.event, deltas);
            }
            if let Some(deltas) = pending.body().live(NOW) {
                plus.push(pending.event, deltas);
            }
        }
        state = calls.fold(state, &mut plus)?;
        if let Some(minus) = calls.fold(None, &mut minus)? {
            let inverse = calls.invert(&minus)?;
            let states: Vec<Vec<u8>> = state.into_iter().chain([inverse]).collect();
            state = calls.merge(&states)?;
        }
        Ok(Some(state))
    }

    /// From the states of the rows within the range, and the leaves at its edges; `measure` if it is known already.
    fn pieces(
        &mut self,
        opened: &Aggregate<'r>,
        calls: &mut Calls<'r>,
        measure: Option<Measure>,
    ) -> Result<Computed, ViewError> {
        let mut tree = Tree::new(opened, self.moment.rows, Table::States(self.view.states), calls);
        let state = tree.state(&self.range)?;
        let kept = tree.kept;
        self.keep_rows(opened, kept, Only::Always);
        let measure = measure.map_or_else(|| opened.measure(&self.range), Ok)?;
        Ok(Computed { state, measure, stale: None })
    }

    fn ordered(
        &mut self,
        opened: &Aggregate<'r>,
        calls: &mut Calls<'r>,
        aggregate: &[u8],
    ) -> Result<Computed, ViewError> {
        let Some(top) = opened.top() else {
            let state = fold_entries(opened, calls, &self.range)?;
            return Ok(Computed { state, measure: opened.measure(&self.range)?, stale: None });
        };
        let head = self.head_of(opened)?;
        let is_plain = self.is_whole() && opened.tail.is_empty();
        if let Some(head) = head.clone().filter(|head| is_plain && head.version == top.child.version) {
            return Ok(of_head(head));
        }
        let (states, before) = (Table::States(self.view.states), head.as_ref().map(|head| head.version));
        let (borders, budget, rows) = (&self.build.borders, self.moment.budget, self.moment.rows);
        let folded = calls.folded;
        let mut ordered = Ordered { aggregate: opened, rows, states, borders, calls, head, budget };
        let found = ordered.state(self.range.until)?;
        if found.is_stale {
            self.repairs.push(aggregate.to_vec());
            return self.as_of(opened, before.unwrap_or_default(), found.state);
        }
        self.wants_flush |= !opened.tail.is_empty() && calls.folded - folded > TAIL_ENTRIES_MAX as u64;
        let computed = Computed { state: found.state, measure: opened.measure(&self.range)?, stale: None };
        if is_plain {
            self.keep_head(
                opened,
                top.child.version,
                &computed,
                Some((Only::InsteadOf(before), found.checkpoints)),
            )?;
        }
        Ok(computed)
    }

    /// A state as of an older version, with its events.
    fn as_of(&self, opened: &Aggregate<'_>, version: u64, state: State) -> Result<Computed, ViewError> {
        let index = Table::Index(self.view.keyspace.tables);
        let tail = opened.tail.clone();
        let then = Aggregate::open(self.moment.rows, index, opened.id, tail, version)?;
        Ok(Computed { state, measure: then.measure(&self.range)?, stale: Some(version) })
    }

    fn keep_head(
        &mut self,
        opened: &Aggregate<'_>,
        version: u64,
        computed: &Computed,
        ordered: Option<(Only, Vec<Row>)>,
    ) -> Result<(), ViewError> {
        let (Some(state), Some(last)) = (computed.state.clone(), computed.measure.last) else {
            return Ok(());
        };
        let (only, mut rows) = match ordered {
            Some((only, rows)) => (only, rows),
            None => (Only::Always, Vec::new()),
        };
        let head = Head { version, events: computed.measure.events, last, state };
        rows.push(head.row(opened.number()?));
        self.keep_rows(opened, rows, only);
        Ok(())
    }

    fn keep_rows(&mut self, opened: &Aggregate<'_>, rows: Vec<Row>, only: Only) {
        if let (Some(id), false) = (opened.id, rows.is_empty()) {
            let (keyspace, view) = (self.view.keyspace.tables, self.view.states);
            let (by, epoch) = (Arc::downgrade(&self.build.plugins), self.moment.tail.epoch);
            self.keep.push(Keep { by, epoch, keyspace, view, id, only, rows, faults: Vec::new() });
        }
    }

    /// The events that could not be folded and would count: those noted before, and those found now.
    fn faults(&mut self, opened: &Aggregate<'_>, found: Vec<Fault>) -> Result<Vec<SetAside>, ViewError> {
        let noted = match opened.id {
            Some(id) => states::faults(self.moment.rows, self.view.states, id)?,
            None => Vec::new(),
        };
        let (mut faults, mut new) = (Vec::new(), Vec::new());
        for (fault, is_new) in
            noted.into_iter().map(|fault| (fault, false)).chain(found.into_iter().map(|fault| (fault, true)))
        {
            // Another value of the event may hold its key by now, or none.
            let counts =
                self.range.contains(fault.event) && deltas_of(opened, fault.event)? == Some(fault.deltas);
            match (counts, is_new) {
                (true, true) if !faults.contains(&fault) => new.push(fault),
                (true, false) => faults.push(fault),
                _ => {}
            }
        }
        if let (Some(id), false) = (opened.id, new.is_empty()) {
            let (keyspace, view) = (self.view.keyspace.tables, self.view.states);
            let faults = new.clone();
            let (by, epoch) = (Arc::downgrade(&self.build.plugins), self.moment.tail.epoch);
            self.keep.push(Keep {
                by,
                epoch,
                keyspace,
                view,
                id,
                only: Only::Always,
                rows: Vec::new(),
                faults,
            });
        }
        let all = faults.into_iter().chain(new);
        let by_event: BTreeMap<EventKey, String> =
            all.map(|fault| (fault.event, fault.failure.message)).collect();
        Ok(by_event.into_iter().map(|(key, reason)| SetAside { key, reason }).collect())
    }

    /// The bytes of a state; none is the identity.
    pub(super) fn state(&self, state: &State) -> Result<Vec<u8>, ViewError> {
        if let Some(state) = state {
            return Ok(state.clone());
        }
        let identity = self.plugins.fold(self.view.position, None, &[]);
        identity.map_err(|fold| self.failed(fold.failure))
    }

    /// The state of an aggregate, or of a group of them, as JSON.
    pub(super) fn render(&self, aggregate: &[u8], state: &State) -> Result<Box<RawValue>, ViewError> {
        let key = whole(aggregate, self.view.keyspace.parts);
        let json = self.plugins.render(self.view.position, &key, &self.state(state)?);
        let not_json = |error: serde_json::Error| {
            let message = format!("`render` gave no JSON: {error}");
            self.failed(Failure { kind: FailureKind::Broken, message })
        };
        serde_json::from_slice(&json.map_err(|failure| self.failed(failure))?).map_err(not_json)
    }

    fn failed(&self, failure: Failure) -> ViewError {
        ViewError::Plugin { view: self.view.info.name.clone(), failure }
    }

    /// Merges the state of one more aggregate into that of a group.
    pub(super) fn add(&mut self, group: Option<Folded>, folded: Folded) -> Result<Folded, ViewError> {
        let Some(mut group) = group else { return Ok(folded) };
        let states: Vec<Vec<u8>> = group.state.into_iter().chain(folded.state).collect();
        group.state = Calls::new(self.plugins, self.view).merge(&states)?;
        group.events += folded.events;
        group.last = group.last.max(folded.last);
        group.faults.extend(folded.faults);
        group.stale = group.stale.or(folded.stale);
        Ok(group)
    }

    /// The first events in the range that the Keyspace could not take.
    pub(super) fn incomplete(&self) -> Result<Vec<SetAside>, ViewError> {
        let mut failures: BTreeMap<EventKey, Option<Failed>> = BTreeMap::new();
        for segment in self.moment.tail.segments(self.moment.cursor) {
            for (event, row) in &segment.failures {
                let failed = row.as_ref().map(|row| layout::read_failure(&event.0, row)).transpose()?;
                failures.insert(*event, failed);
            }
        }
        let (mut outcome, mut stored) = (Ok(()), 0);
        let table = Table::Poison(self.view.keyspace.tables);
        self.moment.rows.scan(
            table,
            &self.range.from.0,
            &mut |key, row| match layout::read_failure(key, row) {
                Ok(failed) if self.range.contains(failed.aside.key) && stored < INCOMPLETE_MAX => {
                    stored += usize::from(failed.counts(self.known));
                    failures.entry(failed.aside.key).or_insert(Some(failed));
                    ControlFlow::Continue(())
                }
                Ok(_) => ControlFlow::Break(()),
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        outcome?;
        let counts = |failed: &Failed| failed.counts(self.known) && self.range.contains(failed.aside.key);
        let failures = failures.into_values().flatten().filter(counts);
        Ok(failures.map(|failed| failed.aside).take(INCOMPLETE_MAX).collect())
    }

    /// Tries the View on its first `most` aggregates.
    pub(super) fn try_out(&mut self, most: usize) -> Result<(), ViewError> {
        let mut from = vec![0];
        for _ in 0..most {
            let Some(aggregate) = self.next_aggregate(&from)? else { break };
            let tried = self.fold(&aggregate).and_then(|folded| match folded {
                Some(folded) => self.render(&aggregate, &folded.state).map(|_| folded.faults),
                None => Ok(Vec::new()),
            });
            let failure = match tried {
                Ok(faults) => faults.into_iter().next().map(|fault| {
                    let message = format!("event {}: {}", fault.key, fault.reason);
                    Failure { kind: FailureKind::Broken, message }
                }),
                Err(ViewError::Plugin { failure, .. }) => Some(failure),
                Err(error) => return Err(error),
            };
            if let Some(failure) = failure {
                let (view, key) = (self.view.info.name.clone(), parts(&aggregate)?);
                return Err(ViewError::Trial { view, key, failure });
            }
            from = behind(&aggregate);
        }
        Ok(())
    }
}

fn of_head(head: Head) -> Computed {
    let measure = Measure { events: head.events, last: Some(head.last) };
    Computed { state: Some(head.state), measure, stale: None }
}

/// An encoded key with as many parts as the Keyspace says: that of a group lacks those behind, which are empty then.
fn whole(aggregate: &[u8], parts: usize) -> Vec<u8> {
    let missing = parts.saturating_sub(aggregate.windows(2).filter(|pair| *pair == [0, 1]).count());
    let begun = aggregate.strip_suffix(&[0, 0]).unwrap_or(aggregate);
    [begun, &[0, 1].repeat(missing), &[0, 0]].concat()
}

/// Where the aggregates behind `aggregate` begin, and their entries in a tail.
pub(super) fn behind(aggregate: &[u8]) -> Vec<u8> {
    [aggregate, &[0xff; 17]].concat()
}

/// The parts of an encoded aggregate key.
pub(super) fn parts(aggregate: &[u8]) -> Result<Vec<String>, TableError> {
    aggregate::decode(aggregate).map_err(|_| layout::corrupt("numbers", aggregate, "not an aggregate key"))
}

/// What an event adds, hashed; none if it does not count.
fn deltas_of(opened: &Aggregate<'_>, event: EventKey) -> Result<Option<[u8; 8]>, TableError> {
    struct Hash(Option<[u8; 8]>);
    impl Visitor for Hash {
        fn entry(&mut self, _: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
            self.0 = deltas.map(states::hash_of);
            ControlFlow::Continue(())
        }
    }
    let behind = EventKey(u128::from_be_bytes(event.0).saturating_add(1).to_be_bytes());
    let mut hash = Hash(None);
    opened.walk(&KeyRange { from: event, until: Some(behind) }, &mut hash)?;
    Ok(hash.0)
}

const _: () = assert!(INLINE_ENTRIES_MAX < 64, "small aggregates keep no Snapshots: folding them is cheap");
