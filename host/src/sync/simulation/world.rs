//! The world: replicas, links, clients and a network, of which one thing moves at a time, chosen by the seed.

use super::check::Ledger;
use super::client::Client;
use super::dial::Dial;
use super::node::{Node, Origins};
use super::plan::{Faults, Plan};
use super::wire::{Parcel, Stage, Wire};
use crate::core::event::Origin;
use crate::core::gset::{Body, Incoming};
use crate::store::MemoryStore;
use crate::sync::frame::{self, Ask, Question, Tell};
use crate::sync::pack;
use crate::sync::{ExchangeError, Page, Span};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What a check says: nothing, or what is violated.
pub(super) type Check<T = ()> = Result<T, String>;

/// When the world begins: 2027-01-15, in milliseconds since 1970.
const BEGIN_MS: i64 = 1_800_000_000_000;
/// Steps in which a healed world must come to rest.
const QUIET_STEPS_MAX: usize = 30_000;
/// Rounds of one link in which a healed world must come to rest.
pub(super) const QUIET_ROUNDS_MAX: usize = 60;
/// Frames kept for those who send them again.
const CAPTURED_MAX: usize = 64;

/// What was seen, for those who read the figures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    pub(super) steps: usize,
    pub(super) admitted: usize,
    /// The most rounds that a link needed once the network was healed.
    pub(super) rounds_max: usize,
    /// Rows that were sent whole, and those of them that were known.
    pub(super) whole: u64,
    pub(super) repeated: u64,
    /// Pages that were packed with a dictionary.
    pub(super) packed: u64,
    pub(super) stalled: u64,
    pub(super) pins_gone: u64,
    /// Runs in which tables were rolled back or copied without anybody noticing.
    pub(super) forks: u64,
    pub(super) origins: usize,
}

pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) plan: Plan,
    time_ms: Arc<AtomicI64>,
    pub(super) origins: Arc<Origins>,
    pub(super) nodes: Vec<Node>,
    pub(super) dials: Vec<Dial>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) clients: Vec<Client>,
    pub(super) backups: Vec<(usize, MemoryStore)>,
    /// Pairs that cannot reach each other.
    pub(super) parted: BTreeSet<(usize, usize)>,
    /// Frames that were sent once.
    pub(super) captured: Vec<Vec<u8>>,
    pub(super) ledger: Ledger,
    pub(super) report: Report,
    pub(super) trace: Option<Vec<String>>,
    is_quiet: bool,
}

impl Report {
    /// Adds the figures of another run.
    pub(super) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.admitted += other.admitted;
        self.rounds_max = self.rounds_max.max(other.rounds_max);
        self.whole += other.whole;
        self.repeated += other.repeated;
        self.packed += other.packed;
        self.stalled += other.stalled;
        self.pins_gone += other.pins_gone;
        self.forks += other.forks;
        self.origins = self.origins.max(other.origins);
    }
}

impl World {
    pub(super) fn new(plan: Plan, is_traced: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let time_ms = Arc::new(AtomicI64::new(BEGIN_MS));
        let origins = Arc::new(Origins { seed: plan.seed, given: AtomicU64::new(0) });
        let from = plan.dictionary_from;
        let node = |_| Node::new(MemoryStore::new(origins.next()), &time_ms, &origins, from);
        let nodes = (0..plan.replicas).map(node).collect();
        let pairs = plan.dials(&mut rng);
        let dials = pairs.into_iter().map(|(from, to)| Dial::new(from, to, &mut rng)).collect();
        let clients = (0..3).map(|_| Client::new(&mut rng, plan.claim)).collect();
        let trace = is_traced.then(|| vec![format!("{plan:?}")]);
        Self {
            rng,
            plan,
            time_ms,
            origins,
            nodes,
            dials,
            wire: Rc::default(),
            clients,
            backups: Vec::new(),
            parted: BTreeSet::new(),
            captured: Vec::new(),
            ledger: Ledger::default(),
            report: Report::default(),
            trace,
            is_quiet: false,
        }
    }

    /// Adds a line to the trace, if there is one.
    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.time_ms.load(Ordering::Relaxed)
    }

    fn pass(&self, ms: i64) {
        self.time_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// A replica that is not one of those who run, over these tables.
    pub(super) fn node_over(&self, store: MemoryStore) -> Node {
        Node::new(store, &self.time_ms, &self.origins, self.plan.dictionary_from)
    }

    pub(super) fn any_node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    /// Everything, to the end.
    pub(super) fn run(&mut self) -> Check {
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        self.rest()?;
        self.check_equal()?;
        let Faults { noticed, roll_backs, hidden_clones, .. } = self.plan.faults;
        if self.report.stalled > 0 && !noticed && !roll_backs && !hidden_clones {
            return Err(
                "pages bring nothing forward although no tables were ever changed for others".to_owned()
            );
        }
        self.clients_finish()?;
        self.report.forks = u64::from(self.ledger.is_fork_possible);
        self.report.admitted = self.ledger.admitted.len();
        self.report.origins = self.nodes[0].head().knowledge.origins();
        Ok(())
    }

    fn step(&mut self) -> Check {
        self.report.steps += 1;
        let ms = self.rng.random_range(0..400);
        self.pass(ms);
        if self.rng.random_ratio(self.plan.accidents, 100) {
            return self.go_wrong();
        }
        match self.rng.random_range(0..100) {
            0..13 => self.post(),
            13..65 => self.move_any(),
            65..87 => {
                let at = self.rng.random_range(0..self.dials.len());
                self.act(at)
            }
            _ => self.client_walks(),
        }
    }

    /// The network is healed and nobody writes: all must come to rest, knowing the same.
    fn rest(&mut self) -> Check {
        self.log(|| "the network is healed".to_owned());
        self.parted.clear();
        self.is_quiet = true;
        for dial in &mut self.dials {
            dial.rounds = 0;
        }
        for _ in 0..QUIET_STEPS_MAX {
            self.pass(50);
            let moving = self.moving();
            let acts: Vec<Option<i64>> = self.dials.iter().map(|dial| dial.acts_at(self)).collect();
            let now_ms = self.now_ms();
            let is_ready = |at_ms: &Option<i64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
            let ready: Vec<usize> = (0..acts.len()).filter(|at| is_ready(&acts[*at])).collect();
            if moving.is_empty() && ready.is_empty() {
                if let Some(next_ms) = acts.iter().flatten().min() {
                    self.pass(next_ms - now_ms);
                    continue;
                }
                if self.dials.iter().any(Dial::is_busy) {
                    return Err("an exchange waits for an answer that nobody owes".to_owned());
                }
                return Ok(());
            }
            let chosen = self.rng.random_range(0..moving.len() + ready.len());
            match moving.get(chosen) {
                Some(parcel) => self.deliver(*parcel)?,
                None => self.act(ready[chosen - moving.len()])?,
            }
            let rounds = self.dials.iter().map(|dial| dial.rounds).max().unwrap_or_default();
            self.report.rounds_max = self.report.rounds_max.max(rounds);
            if rounds > QUIET_ROUNDS_MAX {
                return Err(format!("a link needs more than {QUIET_ROUNDS_MAX} rounds in a healed network"));
            }
        }
        Err("the healed network does not come to rest".to_owned())
    }

    /// The parcels that can move: a watch that is parked only does once its replica tells of a commit.
    fn moving(&self) -> Vec<u64> {
        let wire = self.wire.borrow();
        let moves = |parcel: &Parcel| match &parcel.stage {
            Stage::Parked(commits) => *commits != self.nodes[parcel.to].commits(),
            Stage::Asking | Stage::Answering(_) => true,
        };
        wire.parcels.iter().filter(|(_, parcel)| moves(parcel)).map(|(number, _)| *number).collect()
    }

    fn move_any(&mut self) -> Check {
        let Some(number) = self.moving().into_iter().choose(&mut self.rng) else { return Ok(()) };
        if self.plan.faults.loss && self.rng.random_bool(0.05) {
            self.log(|| format!("parcel {number} is lost"));
            return self.lose(number);
        }
        self.deliver(number)
    }

    /// A parcel does not arrive; whoever waits for it is told so, after a while.
    pub(super) fn lose(&mut self, number: u64) -> Check {
        let lost = self.wire.borrow_mut().parcels.remove(&number);
        let Some(parcel) = lost else { return Ok(()) };
        self.come_back(number, &parcel, Err(ExchangeError::TimedOut { seconds: 30 }))
    }

    fn deliver(&mut self, number: u64) -> Check {
        let moved = self.wire.borrow_mut().parcels.remove(&number);
        let Some(parcel) = moved else { return Ok(()) };
        let from = self.dials[parcel.dial].from;
        if self.parted.contains(&(from.min(parcel.to), from.max(parcel.to))) {
            let error = ExchangeError::Connection("unreachable".to_owned());
            return self.come_back(number, &parcel, Err(error));
        }
        match &parcel.stage {
            Stage::Answering(answer) => {
                let answer = answer.clone();
                self.come_back(number, &parcel, Ok(answer))
            }
            Stage::Asking | Stage::Parked(_) => self.arrive(number, parcel),
        }
    }

    /// A question arrives and is answered, or waits.
    fn arrive(&mut self, number: u64, mut parcel: Parcel) -> Check {
        let to = parcel.to;
        let ask = Ask::decode(&parcel.ask).map_err(|error| format!("an honest frame is refused: {error}"))?;
        if self.is_old(to) {
            let page = if let Question::Push { page } = &ask.question { page.as_slice() } else { &[] };
            if ask.dictionary.is_some() || pack::dictionary_of(page).is_some() {
                return Err(format!("{to} is of an older version and is sent what it cannot read"));
            }
            if let Question::Dictionary { .. } = &ask.question {
                let (code, detail) = ("bad_frame".to_owned(), "no message of this protocol".to_owned());
                let refused = ExchangeError::Refused { status: 400, code, detail };
                return self.come_back(number, &parcel, Err(refused));
            }
        }
        let replica = Arc::clone(&self.nodes[to].replica);
        let is_patient = ask.wait_ms() > 0 && (self.is_quiet || self.rng.random_bool(0.95));
        if is_patient && replica.is_quiet(&ask).map_err(|error| format!("{to} cannot watch: {error}"))? {
            parcel.stage = Stage::Parked(self.nodes[to].commits());
            self.wire.borrow_mut().parcels.insert(number, parcel);
            return Ok(());
        }
        if let Question::Push { page } = &ask.question {
            self.count(to, to, page);
        }
        if self.plan.faults.strangers && self.captured.len() < CAPTURED_MAX {
            self.captured.push(parcel.ask.clone());
        }
        let answer = replica.answer(&ask).map_err(|error| format!("{to} cannot answer: {error}"))?;
        let from = self.dials[parcel.dial].from;
        self.log(|| format!("{to} answers {from}: {} with {}", brief(&ask.question), told(&answer)));
        if self.plan.faults.loss && self.rng.random_bool(0.04) {
            let again = Parcel { is_wanted: false, ..parcel.clone() };
            self.wire.borrow_mut().send(again);
        }
        parcel.stage = Stage::Answering(answer);
        self.wire.borrow_mut().parcels.insert(number, parcel);
        self.look_at(to)
    }

    /// An answer arrives, or the news that there will be none.
    fn come_back(&mut self, number: u64, parcel: &Parcel, answer: Result<Vec<u8>, ExchangeError>) -> Check {
        if !parcel.is_wanted {
            return Ok(());
        }
        let to = self.dials[parcel.dial].from;
        let page = answer.as_ref().ok().and_then(|answer| match Tell::decode(answer) {
            Ok(Tell::Page { page } | Tell::News { page: Some(page), .. }) => Some(page),
            _ => None,
        });
        if let Some(page) = page {
            self.count(to, parcel.to, &page);
        }
        if self.watched(parcel.dial, number, answer.clone()) {
            return Ok(());
        }
        self.wire.borrow_mut().hand(number, answer);
        self.poll(parcel.dial)
    }

    /// Whether a replica knows no dictionaries.
    pub(super) fn is_old(&self, at: usize) -> bool {
        self.plan.is_first_old && at == 0
    }

    /// Counts the rows of a page that come whole, and those of them that are here already. A dictionary that it is
    /// packed with is that of the one who was dialled.
    fn count(&mut self, to: usize, dialled: usize, packed: &[u8]) {
        let name = pack::dictionary_of(packed);
        self.report.packed += u64::from(name.is_some());
        let dictionary = name.and_then(|name| self.nodes[dialled].replica.dictionary_named(name));
        let Ok(page) = Page::decode_with(packed, dictionary.as_deref()) else { return };
        for row in page.rows() {
            if let Body::Whole(value) = row.body {
                self.report.whole += 1;
                self.report.repeated += u64::from(self.nodes[to].holds((row.key, value.hash(row.key))));
            }
        }
    }
}

/// A question for the trace.
fn brief(question: &Question) -> String {
    match question {
        Question::Meet { state } => format!("Meet {}", lasts(&frame::lasts(&state.knowledge()))),
        Question::Pull { known, want, whole, .. } => {
            format!("Pull {} (whole: {whole}) knowing {}", spans(want), lasts(known))
        }
        Question::Offer { known } => format!("Offer {}", lasts(known)),
        Question::Push { page } => format!("Push {}", rows(page)),
        Question::Fetch { names } => format!("Fetch {} events", names.len()),
        Question::Heal { bundle } => format!("Heal {}", events(bundle)),
        Question::Greet { .. } => "Greet".to_owned(),
        Question::Watch { .. } => "Watch".to_owned(),
        Question::Reconcile { .. } => "Reconcile".to_owned(),
        Question::Dictionary { held } => format!("Dictionary (held: {})", held.is_some()),
    }
}

/// An answer for the trace.
fn told(answer: &[u8]) -> String {
    match Tell::decode(answer).expect("our own frame") {
        Tell::State { state, forked, .. } => {
            let current = Origin(state.current().0);
            format!(
                "State {}, now {current}, forked {}",
                lasts(&frame::lasts(&state.knowledge())),
                forked.len()
            )
        }
        Tell::Page { page } => format!("Page {}", rows(&page)),
        Tell::Want { known, want } => {
            format!("Want {} knowing {}", spans(&want), lasts(&known))
        }
        Tell::Took { known, whole } => format!("Took {} (whole: {whole})", lasts(&known)),
        Tell::News { page, .. } => format!("News {}", page.map_or(String::new(), |page| rows(&page))),
        Tell::Bundle { bundle, .. } => format!("Bundle {}", events(&bundle)),
        Tell::Same { .. } => "Same".to_owned(),
        Tell::Reconciled { .. } => "Reconciled".to_owned(),
        Tell::Healed { admitted } => format!("Healed {admitted}"),
        Tell::Dictionary { name, packed } => format!("Dictionary {name:?}, {} bytes", packed.len()),
        Tell::NoDictionary => "NoDictionary".to_owned(),
    }
}

fn lasts(lasts: &frame::Lasts) -> String {
    let last = |(origin, last): &([u8; 8], u64)| format!("{}:{last}", Origin(*origin));
    lasts.iter().map(last).collect::<Vec<_>>().join(" ")
}

fn spans(spans: &[Span]) -> String {
    let span = |span: &Span| format!("{}-{}", span.begin(), span.last);
    spans.iter().map(span).collect::<Vec<_>>().join(" ")
}

fn rows(page: &[u8]) -> String {
    if pack::dictionary_of(page).is_some() {
        return format!("{} bytes with a dictionary", page.len());
    }
    let Ok(page) = Page::decode(page) else { return "of no sense".to_owned() };
    let row = |row: Incoming<'_>| match row.body {
        Body::Whole(_) => format!("{} {}", row.dot, row.key),
        Body::Alias(_) => format!("{} ={}", row.dot, row.key),
    };
    page.rows().map(row).collect::<Vec<_>>().join(", ")
}

fn events(bundle: &[u8]) -> String {
    let Ok(events) = frame::decode_bundle(bundle) else { return "of no sense".to_owned() };
    let event = |event: &frame::Told| format!("{} {:?}", event.key(), event.dots());
    events.iter().map(event).collect::<Vec<_>>().join(", ")
}
