//! The dry run: a request is checked as if it were written, against the tables as they are now, and nothing is.
//!
//! It gives no dots, takes no tick of the Root's clock, and makes no files. An event without key, id or
//! Idempotency-Key is told a key that it would not get. What two dry runs would do to each other is not known here:
//! whoever sends several says of each event how to tell ([`Identity`](super::Identity)).

use super::answer::{self, Answer};
use super::writer::{self, Done, Job};
use super::{Admission, BLOCKING_BODY_BYTES, Desk, Prepared, Request, off_the_reactor};
use crate::core::event::Origin;
use crate::problem::{Code, Problem};
use crate::store::{MemoryStore, Store};
use std::sync::Arc;

impl Desk {
    /// The answer that `prepared` would get. A Root without files holds nothing.
    pub(super) async fn judge(
        &self,
        opened: Option<Arc<Admission>>,
        request: &Request,
        prepared: Prepared,
    ) -> Result<Answer, Problem> {
        let (desk, atomic, minimal) = (self.clone(), request.atomic, request.minimal);
        let judge = move || match opened {
            Some(admission) => desk.judge_in(admission.store.as_ref(), atomic, minimal, prepared),
            None => desk.judge_in(&MemoryStore::new(Origin([0; 8])), atomic, minimal, prepared),
        };
        // Each event is looked up in the tables, which may have to come from the disk.
        off_the_reactor(BLOCKING_BODY_BYTES, judge).await
    }

    fn judge_in(
        &self,
        store: &dyn Store,
        atomic: bool,
        minimal: bool,
        prepared: Prepared,
    ) -> Result<Answer, Problem> {
        let (events, bad) = answer::split(prepared.events);
        let identities = if minimal { Vec::new() } else { answer::identities(&events) };
        let job = Job { events, atomic, stamp: None };
        let tables = store.read().map_err(|fault| fault.problem())?;
        match writer::judge(tables.as_ref(), &job).map_err(|fault| fault.problem())? {
            Done::Refused(clashes) => Err(answer::clashes(&job.events, &clashes)),
            Done::Outcomes(outcomes, vv) => {
                let mut answer = answer::build(job.events, (&outcomes, &vv), bad, self.wall.now(), minimal);
                for (at, identity) in identities {
                    if let Some(event) = answer.events.get_mut(at) {
                        event.identity = Some(identity);
                    }
                }
                Ok(answer)
            }
            Done::Restamp(_) => {
                Err(Problem::new(Code::Internal, "a dry run carries no stamp to disagree with"))
            }
        }
    }
}
