//! One round with a peer: compare, heal, pull what we lack, push what the peer lacks.
//!
//! ```text
//! greet ─ same ─► done
//!    └─► meet ─► forks? reconcile, fetch, heal ─► pull page by page ─► offer, push page by page
//! ```
//! The code reads as if the peer always answered. Where the exchange fails, the round ends with that error; whatever
//! was taken by then is durable and need not be sent again, and the next round begins where this one broke off.

use super::error::{ExchangeError, SyncError};
use super::frame::{self, Ask, Question, Tell};
use super::page::{Page, Wanted};
use super::reconcile::Asking;
use super::replica::{Replica, Taken};
use super::state::{Digest, Span, State, lacking};
use crate::core::event::Origin;
use crate::core::knowledge::{Knowledge, Sum};
use crate::core::limits::{SYNC_NAMES_MAX, SYNC_PAGE_BYTES, SYNC_PAGE_BYTES_MIN};
use crate::core::rule::{self, Rule};
use crate::core::tables::Fork;

/// The way to a peer: a frame out, a frame back.
pub trait Exchange {
    /// Sends a question's frame and returns the answer's.
    fn exchange(&mut self, ask: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, ExchangeError>>;
}

/// What a dialler keeps of one peer and Root from round to round.
#[derive(Debug, Clone)]
pub struct Link {
    number: u64,
    /// The Origin that the peer admits under, as it said last.
    current: Origin,
    /// What the peer said last that it holds, or what we believe that it does.
    digest: Digest,
    /// The peer's Knowledge as far as we can tell.
    known: Knowledge,
    /// The size of pages: halved when a link breaks, doubled when a page comes through.
    page_bytes: usize,
    /// What was moved, since the link began.
    pub moved: Moved,
}

/// What went over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Events that came and are new here.
    pub events_in: u64,
    /// Rows that were sent.
    pub events_out: u64,
    /// Events that came although they were known here.
    pub repeated: u64,
    /// Forks that were healed.
    pub forks: u64,
    /// The peer's wall clock minus ours when it answered last, in milliseconds.
    pub clock_offset_ms: i64,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both hold the same.
    Same,
    /// Something was moved, or others are about to: another round will tell.
    Moved,
}

impl Link {
    /// A link of this number, which is random.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            current: Origin([0; 8]),
            digest: Digest::default(),
            known: Knowledge::new(),
            page_bytes: SYNC_PAGE_BYTES,
            moved: Moved::default(),
        }
    }

    /// The peer's Knowledge as far as we can tell.
    pub fn known(&self) -> &Knowledge {
        &self.known
    }

    /// The exchange broke: smaller pages have better chances.
    pub fn broke(&mut self) {
        self.page_bytes = (self.page_bytes / 2).max(SYNC_PAGE_BYTES_MIN);
    }

    fn came_through(&mut self) {
        self.page_bytes = (self.page_bytes * 2).min(SYNC_PAGE_BYTES);
    }

    fn question(&self, question: Question) -> Ask {
        Ask { link: self.number, question }
    }

    /// The question whether the peer holds something else than it did; it waits up to `wait_ms` for that. What it
    /// held and not what we hold is the measure: a healed fork keeps the two apart for ever.
    pub fn watch(&self, replica: &Replica, wait_ms: u32) -> Result<Ask, SyncError> {
        let last = replica.store().read()?.head()?.knowledge.get(self.current).0;
        let (digest, current) = (self.digest, self.current.0);
        Ok(self.question(Question::Watch { digest, current, last, wait_ms }))
    }

    /// Takes the answer to [`Self::watch`]; true if only a round can tell what is different now.
    pub fn heard(&mut self, replica: &Replica, answer: &[u8]) -> Result<bool, SyncError> {
        let answer = Tell::decode(answer)?;
        if matches!(answer, Tell::Same { .. }) {
            return Ok(false);
        }
        let Tell::News { digest, page } = answer else { return Err(unexpected("watch", &answer)) };
        if let Some(page) = page {
            self.count(replica.take(&Page::decode(&page)?, true)?);
        }
        self.digest = digest;
        Ok(replica.state()?.digest() != digest)
    }

    fn count(&mut self, taken: Taken) {
        self.moved.events_in += taken.events;
        self.moved.repeated += taken.repeated;
    }
}

/// One round over `link`. `is_idle`: nothing is known to be different, so a digest is sent first.
pub async fn round(
    replica: &Replica,
    peer: &mut impl Exchange,
    link: &mut Link,
    is_idle: bool,
) -> Result<Outcome, SyncError> {
    let mut talk = Talk { replica, peer, link };
    let outcome = talk.round(is_idle).await;
    talk.replica.release(talk.link.number);
    if let Err(SyncError::Exchange(_)) = &outcome {
        talk.link.broke();
    }
    outcome
}

/// Sends our own latest admissions to a peer that is close behind.
pub async fn push_live(
    replica: &Replica,
    peer: &mut impl Exchange,
    link: &mut Link,
) -> Result<(), SyncError> {
    let head = replica.store().read()?.head()?;
    let (own, known) = (head.origin, link.known.clone());
    let (last, theirs) = (head.knowledge.get(own).0, known.get(own).0);
    drop(head);
    if !(1..=crate::core::limits::SYNC_LIVE_DOTS_MAX).contains(&last.saturating_sub(theirs)) {
        return Ok(());
    }
    let mut talk = Talk { replica, peer, link };
    talk.push_pages(vec![Span { origin: own.0, first: theirs + 1, last }], &known, false).await.map(drop)
}

struct Talk<'t, X> {
    replica: &'t Replica,
    peer: &'t mut X,
    link: &'t mut Link,
}

impl<X: Exchange> Talk<'_, X> {
    async fn ask(&mut self, question: Question) -> Result<Tell, SyncError> {
        let ask = self.link.question(question);
        Ok(Tell::decode(&self.peer.exchange(ask.encode()).await?)?)
    }

    async fn round(&mut self, is_idle: bool) -> Result<Outcome, SyncError> {
        if is_idle && self.greet().await? {
            return Ok(Outcome::Same);
        }
        let (theirs, healed) = self.meet().await?;
        self.pull(&theirs).await?;
        self.settle(&theirs, &healed)?;
        self.push(&theirs).await?;
        let ours = self.replica.state()?;
        let known = ours.knowledge();
        // An admission while we talked may have taken a dot that the peer gave to another event.
        let is_same = known == self.link.known
            && known == theirs.knowledge()
            && (!rule::holds(Rule::ForkRepair) || self.forks(&ours, &theirs, &[])?.is_empty());
        if known == self.link.known && known != theirs.knowledge() {
            // What the peer most likely holds after our push; if not, it tells at once.
            self.link.digest = ours.digest();
        }
        Ok(if is_same { Outcome::Same } else { Outcome::Moved })
    }

    /// True if the peer holds what we hold.
    async fn greet(&mut self) -> Result<bool, SyncError> {
        let state = self.replica.state()?;
        let sent_ms = self.replica.now_ms();
        let answer = self.ask(Question::Greet { digest: state.digest() }).await?;
        if matches!(answer, Tell::State { .. }) {
            return Ok(false);
        }
        let Tell::Same { now_ms } = answer else { return Err(unexpected("greet", &answer)) };
        self.note_clock(sent_ms, now_ms);
        self.link.known = state.knowledge();
        self.link.digest = state.digest();
        Ok(true)
    }

    /// Exchanges states and heals what is forked; what the peer held before that, and the forks that needed nothing
    /// of the peer any more.
    async fn meet(&mut self) -> Result<(State, Vec<Fork>), SyncError> {
        let state = self.replica.state()?;
        let sent_ms = self.replica.now_ms();
        let answer = self.ask(Question::Meet { state: state.clone() }).await?;
        let Tell::State { state: theirs, forked, now_ms } = answer else {
            return Err(unexpected("meet", &answer));
        };
        self.note_clock(sent_ms, now_ms);
        self.link.known = theirs.knowledge();
        self.link.current = theirs.current();
        self.link.digest = theirs.digest();
        let forks = self.forks(&state, &theirs, &forked)?;
        if forks.is_empty() || !rule::holds(Rule::ForkRepair) {
            return Ok((theirs, Vec::new()));
        }
        let is_healed = self.heal(&forks, &theirs).await?;
        Ok((theirs, if is_healed { forks } else { Vec::new() }))
    }

    /// Remembers forks as healed once everything that the peer holds is here, too. What the peer admitted anew may be
    /// in its tables only, and be lost with them: then nobody would ever send it again.
    fn settle(&mut self, theirs: &State, healed: &[Fork]) -> Result<(), SyncError> {
        let is_settled = self.replica.store().read()?.head()?.knowledge.covers(&theirs.knowledge());
        if healed.is_empty() || !is_settled {
            return Ok(());
        }
        self.link.moved.forks += healed.len() as u64;
        self.replica.remember(healed)
    }

    fn note_clock(&mut self, sent_ms: u64, now_ms: u64) {
        let middle = sent_ms.midpoint(self.replica.now_ms());
        self.link.moved.clock_offset_ms = now_ms.wrapping_sub(middle).cast_signed();
    }

    /// The forks that are not healed yet: those that we see, and those that the peer sees in what we sent.
    fn forks(
        &self,
        ours: &State,
        theirs: &State,
        told: &[([u8; 8], [u8; 16])],
    ) -> Result<Vec<Fork>, SyncError> {
        let tables = self.replica.store().read()?;
        let peer = theirs.current();
        let seen = theirs.differing(tables.as_ref())?;
        let mut forks: Vec<Fork> = seen
            .into_iter()
            .map(|(origin, ours, theirs)| Fork { peer, origin, difference: ours.minus(theirs) })
            .collect();
        for (origin, theirs) in told {
            let origin = Origin(*origin);
            let Some((_, _, sum)) = ours.iter().find(|(known, ..)| *known == origin) else { continue };
            let difference = sum.minus(Sum(u128::from_be_bytes(*theirs)));
            forks.push(Fork { peer, origin, difference });
        }
        forks.sort_unstable();
        forks.dedup();
        let mut open = Vec::new();
        for fork in forks {
            if !tables.healed(fork)? {
                open.push(fork);
            }
        }
        Ok(open)
    }

    /// Finds the difference of the two sets and lets each side admit anew what it would never be sent; true if that
    /// was nothing on the peer's side. What the peer says that it admitted does not count: its tables may have been
    /// rolled back since it told its state.
    async fn heal(&mut self, forks: &[Fork], theirs: &State) -> Result<bool, SyncError> {
        let current = self.replica.store().read()?.head()?.origin;
        if forks.iter().any(|fork| fork.origin == current) {
            self.replica.leave_origin()?;
        }
        let (only_ours, only_theirs) = self.reconcile().await?;
        for names in only_theirs.chunks(SYNC_NAMES_MAX) {
            let answer = self.ask(Question::Fetch { names: names.to_vec() }).await?;
            let Tell::Bundle { bundle } = answer else { return Err(unexpected("fetch", &answer)) };
            self.link.moved.events_in += self.replica.readmit(&frame::decode_bundle(&bundle)?)?;
        }
        let (held, mut is_whole) = (theirs.knowledge(), true);
        for names in only_ours.chunks(SYNC_NAMES_MAX) {
            let mut told = self.replica.told(names)?;
            told.retain(|event| event.dots().iter().all(|dot| held.holds(*dot)));
            if told.is_empty() {
                continue;
            }
            is_whole = false;
            let answer = self.ask(Question::Heal { bundle: frame::encode_bundle(&told) }).await?;
            let Tell::Healed { admitted } = answer else { return Err(unexpected("heal", &answer)) };
            self.link.moved.events_out += admitted;
        }
        Ok(is_whole)
    }

    /// The names of the values that only we hold, and of those that only the peer holds.
    async fn reconcile(&mut self) -> Result<(Vec<frame::Name>, Vec<frame::Name>), SyncError> {
        let items = self.replica.items()?;
        let (mut asking, mut message) = Asking::begin(&items)?;
        loop {
            let answer = self.ask(Question::Reconcile { message }).await?;
            let Tell::Reconciled { message: step } = answer else {
                return Err(unexpected("reconcile", &answer));
            };
            match asking.take(&step)? {
                Some(next) => message = next,
                None => return Ok(asking.found()),
            }
        }
    }

    async fn pull(&mut self, theirs: &State) -> Result<(), SyncError> {
        let (held, mut whole) = (theirs.knowledge(), false);
        loop {
            let known = self.replica.store().read()?.head()?.knowledge.clone();
            let lacked = lacking(&known, &held);
            let want = self.replica.lend(self.link.number, lacked.clone());
            let Some(first) = want.first().copied() else { return Ok(()) };
            let bytes_max = u32::try_from(self.link.page_bytes).unwrap_or(u32::MAX);
            let known = frame::lasts(&known);
            let answer = self.ask(Question::Pull { known, want, whole, bytes_max }).await?;
            let Tell::Page { page } = answer else { return Err(unexpected("pull", &answer)) };
            let page = Page::decode(&page)?;
            let taken = self.replica.take(&page, true)?;
            self.link.count(taken);
            self.link.came_through();
            // Others may have brought the same dots meanwhile: that is no standstill.
            let is_still = lacking(&self.replica.store().read()?.head()?.knowledge, &held) == lacked;
            if is_still && (whole || !taken.whole) {
                let what = format!("asked for dots from {}, got {} rows", first.begin(), page.len());
                return Err(SyncError::Stalled { what });
            }
            whole = taken.whole;
        }
    }

    async fn push(&mut self, theirs: &State) -> Result<(), SyncError> {
        let ours = self.replica.store().read()?.head()?.knowledge.clone();
        if lacking(&theirs.knowledge(), &ours).is_empty() {
            return Ok(());
        }
        let answer = self.ask(Question::Offer { known: frame::lasts(&ours) }).await?;
        let Tell::Want { known, want, whole } = answer else { return Err(unexpected("offer", &answer)) };
        self.link.known = self.push_pages(want, &frame::knowledge(&known), whole).await?;
        Ok(())
    }

    /// Pushes `want` page by page to a peer that holds `known`; what it holds then.
    async fn push_pages(
        &mut self,
        mut want: Vec<Span>,
        known: &Knowledge,
        mut whole: bool,
    ) -> Result<Knowledge, SyncError> {
        let mut known = known.clone();
        while let Some(first) = want.first().copied() {
            let wanted = Wanted { spans: &want, known: &known, whole, bytes_max: self.link.page_bytes };
            let page = self.replica.page(wanted)?;
            if page.is_empty() {
                break;
            }
            let rows = page.len() as u64;
            let answer = self.ask(Question::Push { page: page.encode() }).await?;
            let Tell::Took { known: after, whole: again } = answer else {
                return Err(unexpected("push", &answer));
            };
            let after = frame::knowledge(&after);
            self.link.came_through();
            self.link.moved.events_out += rows;
            if !known.covers(&after) {
                known = known.union(&after);
            } else if whole || !again {
                return Err(SyncError::Stalled {
                    what: format!("pushed {rows} rows from {}", first.begin()),
                });
            }
            whole = again;
            want.retain_mut(|span| {
                span.first = span.first.max(known.get(Origin(span.origin)).0 + 1);
                span.first <= span.last
            });
        }
        self.link.known = known.clone();
        Ok(known)
    }
}

fn unexpected(asked: &'static str, answer: &Tell) -> SyncError {
    SyncError::Unexpected { asked, answered: answer.name() }
}
