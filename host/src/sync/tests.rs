//! Two or three replicas in memory, talking without a network in between.

use super::*;
use crate::core::clock::Clock;
use crate::core::event::{EventKey, Origin, ValidTime, Value};
use crate::core::gset::{self, Candidate, Look};
use crate::core::knowledge::Knowledge;
use crate::core::rule::{self, Rule};
use crate::store::{MemoryStore, Store};
use crate::wall::Wall;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A wall clock that stands still.
#[derive(Debug)]
pub(super) struct Still;

impl Wall for Still {
    fn now(&self) -> ValidTime {
        ValidTime::from_millis(1_800_000_000_000).expect("within NTP64")
    }
}

/// A replica over these tables; new Origins count up from `mint`.
pub(super) fn replica_over(store: Arc<dyn Store>, mint: u64) -> Replica {
    let (clock, _) = Clock::new(ValidTime::default(), Still.now());
    let next = AtomicU64::new(mint);
    let mint = Box::new(move || Origin(next.fetch_add(1, Ordering::Relaxed).to_be_bytes()));
    Replica::new(store, Arc::new(Mutex::new(clock)), Arc::new(Still), mint)
}

fn replica(number: u64) -> Arc<Replica> {
    Arc::new(replica_over(Arc::new(MemoryStore::new(Origin(number.to_be_bytes()))), number << 32))
}

fn key(number: u64) -> EventKey {
    EventKey::new(ValidTime(number << 32), [7; 8])
}

/// Admits what a client posts; false if it is a duplicate.
fn post(replica: &Replica, number: u64, data: &str) -> bool {
    let candidate = Candidate::new(key(number), Value { type_number: 1, version: 1, data: data.as_bytes() });
    let mut is_new = false;
    let written = replica.store().commit(&mut |tables| {
        is_new = gset::look(tables, candidate, false)? == Look::New;
        if is_new { gset::admit(tables, candidate, 0).map(drop) } else { Ok(()) }
    });
    written.expect("the commit");
    is_new
}

/// Every value, winner or loser, in feed order.
fn values(replica: &Replica) -> Vec<(EventKey, bool, Vec<u8>)> {
    let mut values = Vec::new();
    let tables = replica.store().read().expect("a reader");
    let walked = tables.walk(None, &mut |event| {
        values.push((event.key, event.clash, event.value.data.to_vec()));
        ControlFlow::Continue(())
    });
    walked.expect("the walk");
    values
}

/// The peer itself in the place of a network; counts frames and bytes.
struct Direct<'r> {
    peer: &'r Replica,
    frames: usize,
    bytes: usize,
}

impl Exchange for Direct<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let question = Ask::decode(&ask).expect("our own frame");
        let answer = self.peer.answer(&question).expect("an answer");
        self.frames += 1;
        self.bytes += ask.len() + answer.len();
        Ok(answer)
    }
}

/// Rounds from `one` to `other` until they say that both hold the same; the last round's (frames, bytes).
fn meet(one: &Arc<Replica>, other: &Replica) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut link = Link::new(1);
    for _ in 0..10 {
        let mut peer = Direct { peer: other, frames: 0, bytes: 0 };
        let outcome = runtime.block_on(round(one, &mut peer, &mut link, true)).expect("a round");
        if outcome == Outcome::Same {
            return (peer.frames, peer.bytes);
        }
    }
    panic!("ten rounds and no end");
}

/// Both directions, aliases and clash losers; afterwards one small exchange says that nothing is new.
#[test]
fn two_replicas_come_to_know_the_same() {
    let (depot, truck) = (replica(1), replica(2));
    for number in 0..300 {
        assert!(post(&depot, number, &format!("depot {number}")));
        assert!(post(&truck, number + 200, &format!("truck {number}")));
    }
    post(&depot, 1000, "the same at both");
    post(&truck, 1000, "the same at both");
    meet(&depot, &truck);
    assert_eq!(values(&depot), values(&truck));
    assert_eq!(values(&depot).iter().filter(|(_, clash, _)| *clash).count(), 100);
    assert_eq!(depot.state().expect("a state").digest(), truck.state().expect("a state").digest());
    let (frames, bytes) = meet(&depot, &truck);
    assert_eq!(frames, 1);
    assert!(bytes <= 200, "{bytes} bytes to say that nothing is new");
}

/// A copy of the tables goes on under the same Origin without anybody noticing: the sums tell, and nothing is lost.
#[test]
fn a_fork_is_found_and_healed() {
    let scene = || {
        let original = replica(1);
        for number in 0..5 {
            post(&original, number, "before");
        }
        let copy = replica(1);
        for number in 0..5 {
            post(&copy, number, "before");
        }
        post(&original, 10, "here");
        post(&original, 11, "here, too");
        post(&copy, 20, "there");
        (original, copy)
    };
    let (original, copy) = scene();
    meet(&original, &copy);
    assert_eq!(values(&original), values(&copy));
    assert_eq!(values(&original).len(), 8);
    let head = original.store().read().expect("a reader").head().expect("the head");
    assert_ne!(head.origin, Origin(1_u64.to_be_bytes()), "who finds its own Origin forked leaves it");
    drop(head);
    let third = replica(3);
    meet(&third, &copy);
    meet(&third, &original);
    assert_eq!(values(&third), values(&original));
    rule::without(Some(Rule::ForkRepair), || {
        let (original, copy) = scene();
        meet(&original, &copy);
        assert_ne!(values(&original), values(&copy), "without the repair the two stay apart");
    });
}

/// A peer over which a page of another arrives just when the two have compared what they hold.
struct Meanwhile<'r> {
    direct: Direct<'r>,
    ours: &'r Replica,
    page: Page,
}

impl Exchange for Meanwhile<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let answer = self.direct.exchange(ask).await;
        self.ours.take(&std::mem::take(&mut self.page).into(), true).expect("another's page is taken");
        answer
    }
}

/// A fork that comes about within a round, after the two were compared, is healed like any other.
#[test]
fn a_fork_that_two_peers_make_at_once_is_healed() {
    let (original, copy, ours) = (replica(1), replica(1), replica(2));
    for twin in [&original, &copy] {
        post(twin, 0, "before");
    }
    post(&original, 10, "here");
    post(&copy, 20, "there");
    post(&copy, 21, "there, too");
    let spans =
        lacking(&ours.state().expect("a state").knowledge(), &original.state().expect("a state").knowledge());
    let wanted = Wanted { spans: &spans, known: &Knowledge::new(), whole: true, bytes_max: 1 << 20 };
    let page = original.page(wanted).expect("a page");
    let direct = Direct { peer: &copy, frames: 0, bytes: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut peer = Meanwhile { direct, ours: &ours, page };
    runtime.block_on(round(&ours, &mut peer, &mut Link::new(1), false)).expect("a round");
    assert_eq!(values(&ours).len(), 4, "both histories are here");
    meet(&ours, &copy);
    assert_eq!(values(&ours), values(&copy));
}

/// The peer's tables are rolled back before anybody has pulled what it admitted anew: the fork looks as it did when it
/// was healed, and is healed again.
#[test]
fn a_fork_is_healed_again_after_a_roll_back() {
    let ours = replica(1);
    post(&ours, 10, "here");
    let store = Arc::new(MemoryStore::new(Origin(1_u64.to_be_bytes())));
    let peer = replica_over(Arc::<MemoryStore>::clone(&store), 2 << 32);
    post(&peer, 20, "there");
    let backup = store.copy();
    let mut way = Direct { peer: &peer, frames: 0, bytes: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(round(&ours, &mut way, &mut Link::new(1), true)).expect("a round");
    assert_eq!(values(&peer), values(&ours));
    let rolled_back = replica_over(Arc::new(backup), 3 << 32);
    meet(&ours, &rolled_back);
    assert_eq!(values(&rolled_back), values(&ours));
}

/// A peer whose tables are rolled back while a fork is healed: only the last question meets the older ones.
struct Sinking<'r> {
    before: Direct<'r>,
    after: Direct<'r>,
}

impl Exchange for Sinking<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let is_heal = matches!(Ask::decode(&ask).expect("ours").question, frame::Question::Heal { .. });
        if is_heal { self.after.exchange(ask).await } else { self.before.exchange(ask).await }
    }
}

/// A peer that has lost the forked dots again needs nothing at the moment, but it will when they come back to it: its
/// answer must not count as the end of the fork.
#[test]
fn a_peer_rolled_back_while_it_is_healed_is_healed_again() {
    let (ours, third) = (replica(1), replica(3));
    post(&ours, 10, "here");
    let store = Arc::new(MemoryStore::new(Origin(1_u64.to_be_bytes())));
    let rolled_back = replica_over(Arc::new(store.copy()), 4 << 32);
    let peer = replica_over(store, 2 << 32);
    post(&peer, 20, "there");
    meet(&third, &peer);
    let direct = |peer| Direct { peer, frames: 0, bytes: 0 };
    let mut way = Sinking { before: direct(&peer), after: direct(&rolled_back) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(round(&ours, &mut way, &mut Link::new(1), true)).expect("a round");
    meet(&third, &rolled_back);
    meet(&ours, &rolled_back);
    assert_eq!(values(&rolled_back), values(&ours));
    assert_eq!(values(&ours).len(), 2);
}

/// A peer knows dots of our own Origin that we lost: they come back, and the next admission begins a new Origin.
#[test]
fn our_own_lost_events_come_back() {
    let (ours, peer) = (replica(1), replica(2));
    for number in 0..9 {
        post(&ours, number, "kept elsewhere");
    }
    meet(&ours, &peer);
    let restored = replica(1);
    post(&restored, 0, "kept elsewhere");
    meet(&restored, &peer);
    assert_eq!(values(&restored).len(), 9);
    post(&restored, 50, "after the roll-back");
    let head = restored.store().read().expect("a reader").head().expect("the head");
    assert_ne!(head.origin, Origin(1_u64.to_be_bytes()));
    assert_eq!(head.knowledge.get(Origin(1_u64.to_be_bytes())).0, 9);
    meet(&restored, &peer);
    assert_eq!(values(&restored), values(&peer));
}

/// A peer whose answers are overtaken: before a page arrives, its dots have come from elsewhere.
struct Overtaken<'r> {
    peer: Direct<'r>,
    ours: &'r Replica,
}

impl Exchange for Overtaken<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let answer = self.peer.exchange(ask).await?;
        if let Ok(frame::Tell::Page { page }) = frame::Tell::decode(&answer) {
            self.ours.take(&Page::decode(&page).expect("a page").into(), false).expect("it is taken");
        }
        Ok(answer)
    }
}

/// The peer pushes what we are just pulling: the pull brings nothing, and that is no error.
#[test]
fn a_page_that_was_overtaken_is_no_standstill() {
    let (ours, peer) = (replica(1), replica(2));
    post(&peer, 1, "pushed and pulled at one time");
    let mut way = Overtaken { peer: Direct { peer: &peer, frames: 0, bytes: 0 }, ours: &ours };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(round(&ours, &mut way, &mut Link::new(1), true));
    assert_eq!(outcome.expect("a round"), Outcome::Same);
    assert_eq!(values(&ours), values(&peer));
}

/// A peer that answers slowly: before its state arrives, we admit something.
struct Slow<'r> {
    peer: Direct<'r>,
    ours: &'r Replica,
}

impl Exchange for Slow<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let answer = self.peer.exchange(ask).await?;
        if let Ok(frame::Tell::State { .. }) = frame::Tell::decode(&answer) {
            post(self.ours, 50, "while we talk");
        }
        Ok(answer)
    }
}

/// Tables that were rolled back admit under a lost dot while a round is on its way: its end must not say that both
/// hold the same, because they know equally many dots and nothing would ever begin another round.
#[test]
fn a_fork_that_begins_in_a_round_is_not_the_same() {
    let (ours, peer) = (replica(1), replica(2));
    post(&ours, 1, "kept");
    post(&ours, 2, "lost by us");
    post(&ours, 3, "lost by us, too");
    meet(&ours, &peer);
    let rolled_back = replica(1);
    post(&rolled_back, 1, "kept");
    let mut way = Slow { peer: Direct { peer: &peer, frames: 0, bytes: 0 }, ours: &rolled_back };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(round(&rolled_back, &mut way, &mut Link::new(1), false));
    assert_eq!(outcome.expect("a round"), Outcome::Moved);
    meet(&rolled_back, &peer);
    assert_eq!(values(&rolled_back), values(&peer));
    assert_eq!(values(&peer).len(), 4);
}

/// A peer that took a live push and is rolled back behind it holds what it held when it was compared with, and has
/// news all the same.
#[test]
fn a_peer_that_is_rolled_back_behind_a_push_has_news() {
    let (ours, peer, rolled_back) = (replica(1), replica(2), replica(2));
    post(&ours, 1, "before");
    meet(&ours, &rolled_back);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (mut link, mut way) = (Link::new(1), Direct { peer: &peer, frames: 0, bytes: 0 });
    for _ in 0..2 {
        runtime.block_on(round(&ours, &mut way, &mut link, false)).expect("a round");
    }
    assert!(rolled_back.is_quiet(&link.watch(&ours, 0).expect("a question")).expect("an answer"));
    post(&ours, 2, "pushed");
    runtime.block_on(push_live(&ours, &mut way, &mut link)).expect("a push");
    let ask = link.watch(&ours, 0).expect("a question");
    assert!(peer.is_quiet(&ask).expect("an answer"));
    assert!(!rolled_back.is_quiet(&ask).expect("an answer"));
}

/// What a merge wakes hears of its end once, and nothing when a peer only asks: our own intake has a rest of its own.
#[test]
fn the_end_of_a_merge_is_told_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::new(MemoryStore::new(Origin([1; 8])));
    let said = Arc::clone(&told);
    let ours =
        replica_over(store, 1 << 32).telling(move |is_over| said.lock().expect("no panic").push(is_over));
    let (ours, peer) = (Arc::new(ours), replica(2));
    meet(&ours, &peer);
    let ask = Link::new(2).watch(&peer, 0).expect("a question");
    ours.answer(&ask).expect("an answer");
    assert!(told.lock().expect("no panic").is_empty());
    post(&peer, 1, "of the peer");
    meet(&ours, &peer);
    meet(&ours, &peer);
    ours.answer(&ask).expect("an answer");
    assert_eq!(*told.lock().expect("no panic"), [false, true]);
}
