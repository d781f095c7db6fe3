//! One round with a peer: compare, heal, pull what we lack, push what the peer lacks.
//!
//! ```text
//! greet ─ same ─► done
//!    └─► meet ─► forks? reconcile, fetch, heal ─► pull page by page ─► offer, push page by page
//! ```
//! The code reads as if the peer always answered. Where the exchange fails, the round ends with that error; whatever
//! was taken by then is durable and need not be sent again, and the next round begins where this one broke off.

use super::dictionary::{Agreed, Dictionary};
use super::error::{ExchangeError, FrameError, SyncError};
use super::frame::{self, Ask, Question, Tell, Told};
use super::pack;
use super::page::{Page, Wanted};
use super::ready::ReadyPage;
use super::reconcile::reconcile;
use super::replica::{Replica, Taken};
use super::state::{Digest, Span, State, lacking};
use crate::core::event::Origin;
use crate::core::knowledge::{Knowledge, SEQ_MAX, Sum};
use crate::core::limits::{SYNC_NAMES_MAX, SYNC_PAGE_BYTES, SYNC_PAGE_BYTES_MIN};
use crate::core::rule::{self, Rule};
use crate::core::tables::Fork;
use std::sync::Arc;

/// How often a round compares again because of a fork.
const COMPARED_AGAIN_MAX: usize = 3;

/// The way to a peer: a frame out, a frame back.
pub trait Exchange {
    /// Sends a question's frame and returns the answer's.
    fn exchange(&mut self, ask: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, ExchangeError>>;

    /// Sends a question's frame and reads the answer, and does some work at the same time.
    fn alongside<A: Send + 'static, T: Send + 'static>(
        &mut self,
        ask: Vec<u8>,
        read: impl FnOnce(Vec<u8>) -> A + Send + 'static,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = (Result<A, ExchangeError>, T)> {
        async {
            let done = work();
            (self.exchange(ask).await.map(read), done)
        }
    }

    /// Hears after each page what was moved so far, and how many dots are still to be pulled and pushed.
    fn progressed(&mut self, moved: Moved, to_pull: u64, to_push: u64) {
        let _ = (moved, to_pull, to_push);
    }
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
    /// The peer's dictionary for small pages.
    pub(super) agreed: Agreed,
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

/// What the answer to a `Watch` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Both hold the same, or nothing is new.
    Same,
    /// The peer holds something else, maybe of others, who are about to tell us, too.
    Differs,
    /// The peer admitted more than it sends unasked.
    Behind,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both hold the same.
    Same,
    /// Something was moved, or others are about to: another round will tell.
    Moved,
    /// There are two histories of an Origin, and not all of both is here yet: another round goes on.
    Forked,
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
            agreed: Agreed::default(),
            moved: Moved::default(),
        }
    }

    /// The peer's Knowledge as far as we can tell.
    pub fn known(&self) -> &Knowledge {
        &self.known
    }

    /// The Origin that the peer admits under, as it said last.
    pub fn current(&self) -> Origin {
        self.current
    }

    /// The exchange broke: smaller pages have better chances.
    pub fn broke(&mut self) {
        self.page_bytes = (self.page_bytes / 2).max(SYNC_PAGE_BYTES_MIN);
    }

    fn came_through(&mut self) {
        self.page_bytes = (self.page_bytes * 2).min(SYNC_PAGE_BYTES);
    }

    /// A connection stands anew.
    pub fn connected(&mut self) {
        self.agreed.connected();
    }

    pub(super) fn question(&self, question: Question) -> Ask {
        let present = self.agreed.dictionary().filter(|_| question.is_for_page());
        let dictionary = present.as_deref().map(Dictionary::name);
        Ask { link: self.number, question, dictionary }
    }

    /// What was read; where a dictionary may be to blame for the failure, none is used from now on.
    fn unspoilt<T>(&mut self, read: Result<T, Unread>) -> Result<T, SyncError> {
        read.map_err(|unread| {
            if unread.spoilt {
                self.agreed.spoilt();
            }
            unread.error
        })
    }

    /// The question whether the peer holds something else than it did; it waits up to `wait_ms` for that. What it
    /// held and not what we hold is the measure: a healed fork keeps the two apart for ever.
    pub fn watch(&self, replica: &Replica, wait_ms: u32) -> Result<Ask, SyncError> {
        let last = replica.store().read()?.head()?.knowledge.get(self.current).0;
        let (digest, current) = (self.digest, self.current.0);
        Ok(self.question(Question::Watch { digest, current, last, wait_ms }))
    }

    /// Takes the answer to [`Self::watch`]; unless that says `Same`, only a round can tell what is different now.
    pub fn heard(&mut self, replica: &Replica, answer: &[u8]) -> Result<Heard, SyncError> {
        let answer = Tell::decode(answer)?;
        if matches!(answer, Tell::Same { .. }) {
            return Ok(Heard::Same);
        }
        let Tell::News { digest, last, page } = answer else { return Err(unexpected("watch", &answer)) };
        if let Some(page) = page {
            let own = Span { origin: self.current.0, first: 1, last: SEQ_MAX };
            let dictionary = self.agreed.dictionary();
            let page = asked_for(&page, &[own], dictionary.as_deref());
            let page = self.unspoilt(page)?;
            self.count(replica.take(&page.into(), true)?);
        }
        self.digest = digest;
        let knowledge = replica.store().read()?.head()?.knowledge.clone();
        if replica.digest()? == digest {
            self.known = knowledge;
            return Ok(Heard::Same);
        }
        Ok(if knowledge.get(self.current).0 < last { Heard::Behind } else { Heard::Differs })
    }

    fn count(&mut self, taken: Taken) {
        self.moved.events_in += taken.events;
        self.moved.repeated += taken.repeated;
    }
}

/// One round over `link`. `is_idle`: nothing is known to be different, so a digest is sent first.
pub async fn round(
    replica: &Arc<Replica>,
    peer: &mut impl Exchange,
    link: &mut Link,
    is_idle: bool,
) -> Result<Outcome, SyncError> {
    let mut talk = Talk { replica, peer, link };
    let outcome = talk.round(is_idle).await;
    talk.replica.release(talk.link.number);
    talk.replica.rest();
    if let Err(SyncError::Exchange(_)) = &outcome {
        talk.link.broke();
    }
    outcome
}

/// Sends our own latest admissions to a peer that is close behind.
pub async fn push_live(
    replica: &Arc<Replica>,
    peer: &mut impl Exchange,
    link: &mut Link,
) -> Result<(), SyncError> {
    let head = replica.store().read()?.head()?;
    let own = head.origin;
    let (last, theirs) = (head.knowledge.get(own).0, link.known.get(own).0);
    drop(head);
    if !(1..=crate::core::limits::SYNC_LIVE_DOTS_MAX).contains(&last.saturating_sub(theirs)) {
        return Ok(());
    }
    let mut talk = Talk { replica, peer, link };
    talk.push_pages(vec![Span { origin: own.0, first: theirs + 1, last }]).await?;
    // With what it held before, a peer that is rolled back behind this push would look like one that has no news.
    let ours = replica.store().read()?.head()?.knowledge.clone();
    link.digest = if link.known == ours { replica.digest()? } else { Digest::default() };
    Ok(())
}

struct Talk<'t, X> {
    replica: &'t Arc<Replica>,
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
        let mut theirs = self.meet_and_pull().await?;
        // Since the two were compared, another peer may have brought dots of an Origin whose next ones came from here;
        // and a fork is healed only after a look that finds nothing more to do.
        for _ in 0..COMPARED_AGAIN_MAX {
            if !self.is_forked(&theirs)? {
                break;
            }
            theirs = self.meet_and_pull().await?;
        }
        self.push(&theirs).await?;
        // An admission while we talked may have taken a dot that the peer gave to another event.
        if self.is_forked(&theirs)? {
            return Ok(Outcome::Forked);
        }
        let ours = self.replica.state()?;
        let known = ours.knowledge();
        let is_same = known == self.link.known && known == theirs.knowledge();
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
            let Some(sum) = ours.sum(origin) else { continue };
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

    /// Compares, heals what is forked, and takes in all that the peer holds; what that was.
    async fn meet_and_pull(&mut self) -> Result<State, SyncError> {
        let (theirs, healed) = self.meet().await?;
        self.pull(&theirs).await?;
        self.settle(&theirs, &healed)?;
        Ok(theirs)
    }

    /// Whether we hold another history than the peer held, as far as we can judge, and have not healed that.
    fn is_forked(&self, theirs: &State) -> Result<bool, SyncError> {
        Ok(rule::holds(Rule::ForkRepair)
            && self.replica.digest()? != theirs.digest()
            && !self.forks(&self.replica.state()?, theirs, &[])?.is_empty())
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
        let mut rest = only_theirs.as_slice();
        while !rest.is_empty() {
            let (told, behind) = fetch(self.peer, self.link.number, rest).await?;
            self.link.moved.events_in += self.replica.readmit(&told)?;
            rest = behind;
        }
        let (held, mut is_whole, mut rest) = (theirs.knowledge(), true, only_ours.as_slice());
        while !rest.is_empty() {
            let (mut told, names) = self.replica.told(rest)?;
            rest = rest.get(names.max(1)..).unwrap_or_default();
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
        reconcile(&items, self.peer, self.link.number).await
    }

    /// Asks for the next page, and reads it, while the one before is being taken in, as if all of that could be
    /// taken. If it could not, the rows asked for too early do not follow on what is here, and are dropped.
    async fn pull(&mut self, theirs: &State) -> Result<(), SyncError> {
        let (held, mut whole, mut early) = (theirs.knowledge(), false, None);
        loop {
            let known = self.replica.store().read()?.head()?.knowledge.clone();
            let is_early = early.is_some();
            let dictionary = self.link.agreed.dictionary();
            let page = match early.take() {
                Some(early) => early,
                None => match self.next_page(&known, &held, whole) {
                    Some((ask, want)) => {
                        pulled(&self.peer.exchange(ask).await?, &want, dictionary.as_deref())
                    }
                    None => return Ok(()),
                },
            };
            let page = self.link.unspoilt(page)?;
            let (rows, after) = (page.page().len(), page.page().after(&known));
            let replica = Arc::clone(self.replica);
            let take = move || replica.take(&page, true);
            let taken = match self.next_page(&after, &held, false) {
                Some((ask, want)) => {
                    let read = move |answer: Vec<u8>| pulled(&answer, &want, dictionary.as_deref());
                    let (answer, taken) = self.peer.alongside(ask, read, take).await;
                    early = Some(answer?);
                    taken?
                }
                None => take()?,
            };
            self.link.count(taken);
            self.link.came_through();
            self.progressed()?;
            let is_stuck = self.replica.store().read()?.head()?.knowledge == known;
            if is_stuck && is_early {
                // Another link may have brought the rows that were asked for early: this time one by one.
                (early, whole) = (None, taken.whole);
                continue;
            }
            if is_stuck && (whole || !taken.whole) {
                return Err(SyncError::Stalled { what: format!("a page of {rows} rows") });
            }
            whole = taken.whole;
            early = early.filter(|_| !whole);
        }
    }

    /// The question for the next page of what `held` has and `known` lacks, and what it asks for; none if that is
    /// nothing.
    fn next_page(&self, known: &Knowledge, held: &Knowledge, whole: bool) -> Option<(Vec<u8>, Vec<Span>)> {
        let want = self.replica.lend(self.link.number, lacking(known, held));
        if want.is_empty() {
            return None;
        }
        let bytes_max = u32::try_from(self.link.page_bytes).unwrap_or(u32::MAX);
        let question = Question::Pull { known: frame::lasts(known), want: want.clone(), whole, bytes_max };
        Some((self.link.question(question).encode(), want))
    }

    fn progressed(&mut self) -> Result<(), SyncError> {
        let ours = self.replica.store().read()?.head()?;
        let (to_pull, to_push) =
            (self.link.known.minus(&ours.knowledge), ours.knowledge.minus(&self.link.known));
        self.peer.progressed(self.link.moved, to_pull, to_push);
        Ok(())
    }

    async fn push(&mut self, theirs: &State) -> Result<(), SyncError> {
        let ours = self.replica.store().read()?.head()?.knowledge.clone();
        if lacking(&theirs.knowledge(), &ours).is_empty() {
            return Ok(());
        }
        let answer = self.ask(Question::Offer { known: frame::lasts(&ours) }).await?;
        let Tell::Want { known, want } = answer else { return Err(unexpected("offer", &answer)) };
        self.link.known = frame::knowledge(&known);
        self.push_pages(want).await
    }

    /// Sends a page; once more without a dictionary if the peer does not have it any more.
    async fn send(&mut self, page: &Page) -> Result<Tell, SyncError> {
        let packed = page.encode_with(self.link.agreed.dictionary().as_deref());
        let answer = self.ask(Question::Push { page: packed }).await?;
        if !matches!(answer, Tell::NoDictionary) {
            return Ok(answer);
        }
        self.link.agreed.lost();
        self.ask(Question::Push { page: page.encode() }).await
    }

    /// Pushes `want` page by page, and keeps what the peer says that it holds.
    async fn push_pages(&mut self, mut want: Vec<Span>) -> Result<(), SyncError> {
        let mut whole = false;
        while let Some(first) = want.first().copied() {
            let (known, bytes_max) = (&self.link.known, self.link.page_bytes);
            let page = self.replica.page(Wanted { spans: &want, known, whole, bytes_max })?;
            if page.is_empty() {
                break;
            }
            let rows = page.len() as u64;
            let answer = self.send(&page).await?;
            let Tell::Took { known: after, whole: again } = answer else {
                return Err(unexpected("push", &answer));
            };
            let after = frame::knowledge(&after);
            self.link.came_through();
            self.link.moved.events_out += rows;
            let mut is_forward = false;
            want.retain_mut(|span| {
                let next = after.get(Origin(span.origin)).0 + 1;
                is_forward |= next > span.first;
                span.first = span.first.max(next);
                span.first <= span.last
            });
            if !is_forward && (whole || !again) {
                let what = format!("pushed {rows} rows from {}", first.begin());
                return Err(SyncError::Stalled { what });
            }
            whole = again;
            self.link.known = after;
            self.progressed()?;
        }
        Ok(())
    }
}

/// The events of the first of these names, and the names behind them.
pub(super) async fn fetch<'n>(
    peer: &mut impl Exchange,
    link: u64,
    names: &'n [frame::Name],
) -> Result<(Vec<Told>, &'n [frame::Name]), SyncError> {
    let asked = names.get(..names.len().min(SYNC_NAMES_MAX)).unwrap_or_default().to_vec();
    let ask = Ask { link, question: Question::Fetch { names: asked }, dictionary: None };
    let answer = Tell::decode(&peer.exchange(ask.encode()).await?)?;
    let Tell::Bundle { bundle, names: looked_at } = answer else { return Err(unexpected("fetch", &answer)) };
    let looked_at = usize::try_from(looked_at).unwrap_or(usize::MAX).max(1);
    Ok((frame::decode_bundle(&bundle)?, names.get(looked_at..).unwrap_or_default()))
}

/// Why a page could not be read.
#[derive(Debug)]
struct Unread {
    error: SyncError,
    /// The page was packed with the dictionary: that may be the fault.
    spoilt: bool,
}

/// The page that answers a pull of these spans.
fn pulled(answer: &[u8], spans: &[Span], dictionary: Option<&Dictionary>) -> Result<ReadyPage, Unread> {
    let unread = |error| Unread { error, spoilt: false };
    let answer = Tell::decode(answer).map_err(|error| unread(error.into()))?;
    let Tell::Page { page } = answer else { return Err(unread(unexpected("pull", &answer))) };
    asked_for(&page, spans, dictionary).map(ReadyPage::from)
}

/// The page in these bytes, if it holds nothing but dots of these spans.
fn asked_for(packed: &[u8], spans: &[Span], dictionary: Option<&Dictionary>) -> Result<Page, Unread> {
    let unread = |error: FrameError| {
        let spoilt = pack::dictionary_of(packed).is_some();
        Unread { error: error.into(), spoilt }
    };
    let page = Page::decode_with(packed, dictionary).map_err(unread)?;
    if page.is_of(spans) {
        return Ok(page);
    }
    let error = SyncError::Frame(FrameError::Form("the page holds dots that were not asked for"));
    Err(Unread { error, spoilt: false })
}

pub(super) fn unexpected(asked: &'static str, answer: &Tell) -> SyncError {
    SyncError::Unexpected { asked, answered: answer.name() }
}
