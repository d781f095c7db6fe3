//! Hooks keep nothing between calls: whatever came before, on whatever thread, in whatever batch, the answer for an
//! event is the same.

use super::broken::{Broken, Law};
use super::material::Event;
use super::repeat::elsewhere;
use super::shrink::shrink;
use super::subject::{Difference, Hook, Part, Said, Subject};
use crate::plugin::Instance;
use crate::plugin::instance::BATCH_EVENTS;
use crate::plugin::services::Services;
use laterbase_plugin::{EventRef, aggregate};

/// A way to put the same questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In batches of so many.
    Batches(usize),
    /// One by one, the last first.
    Backwards,
    /// On another thread.
    Thread,
    /// To the second instance.
    Twin,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Batches(1),
        Self::Backwards,
        Self::Batches(2),
        Self::Batches(BATCH_EVENTS),
        Self::Thread,
        Self::Twin,
    ];

    fn words(self) -> String {
        match self {
            Self::Batches(1) => "asked once more".to_owned(),
            Self::Batches(size) => format!("asked in batches of {size}"),
            Self::Backwards => "asked in the opposite order".to_owned(),
            Self::Thread => "asked on another thread".to_owned(),
            Self::Twin => "asked of a second instance".to_owned(),
        }
    }

    fn law(self) -> Law {
        match self {
            Self::Batches(1) | Self::Thread | Self::Twin => Law::Repeatable,
            Self::Batches(_) | Self::Backwards => Law::Batches,
        }
    }

    /// What the hook says of each event, in the order of `events`.
    fn ask(self, subject: &Subject<'_>, hook: Hook, events: &[EventRef<'_>]) -> Vec<Said> {
        let in_batches = |instance: &Instance, size| -> Vec<Said> {
            events.chunks(size).flat_map(|batch| hook.ask(instance, batch)).collect()
        };
        match self {
            Self::Batches(size) => in_batches(subject.one, size),
            Self::Backwards => {
                let mut said: Vec<Said> =
                    events.chunks(1).rev().flat_map(|event| hook.ask(subject.one, event)).collect();
                said.reverse();
                said
            }
            Self::Thread => elsewhere(|| in_batches(subject.one, 1)),
            Self::Twin => in_batches(subject.twin, 1),
        }
    }
}

/// Every way to ask gives the same answers.
pub(super) fn check(
    subject: &Subject<'_>,
    part: &Part,
    hook: Hook,
    events: &[&Event],
) -> Result<(), Box<Broken>> {
    for way in Way::ALL {
        let Some((event, difference)) = differs(subject, hook, way, events) else { continue };
        let smallest = shrink(events, &mut |some: &[&Event]| differs(subject, hook, way, some).is_some());
        // A plugin that answers by chance may agree with itself the next time.
        return Err(match differs(subject, hook, way, &smallest) {
            Some((_, mut difference)) => {
                // A single event has no neighbours: what it gives differs by itself.
                if smallest.len() == 1 {
                    difference.law = Law::Repeatable;
                }
                subject.broken(part, *difference, &smallest)
            }
            None => subject.broken(part, *difference, &[event]),
        });
    }
    Ok(())
}

/// The first event of which the hook says something else if it is asked this way.
fn differs<'e>(
    subject: &Subject<'_>,
    hook: Hook,
    way: Way,
    events: &[&'e Event],
) -> Option<(&'e Event, Box<Difference>)> {
    let wire: Vec<EventRef<'_>> = events.iter().map(|event| event.wire()).collect();
    let one_by_one = Way::Batches(1).ask(subject, hook, &wire);
    let otherwise = way.ask(subject, hook, &wire);
    let mut pairs = events.iter().zip(one_by_one.iter().zip(&otherwise));
    let (event, (first, second)) = pairs.find(|(_, (first, second))| first.bytes != second.bytes)?;
    let first = first.shown(&format!("`{}` of {} asked one by one", hook.word(), event.key));
    let second = second.shown(&format!("the same {}", way.words()));
    Some((event, Box::new(Difference { law: way.law(), first, second })))
}

/// The key that a user types is read the same way each time. `keys` are encoded aggregate keys of the Keyspace.
pub(super) fn check_keys(
    subject: &Subject<'_>,
    part: &Part,
    keyspace: u32,
    keys: &[&[u8]],
) -> Result<(), Box<Broken>> {
    let typed: Vec<Vec<String>> = keys.iter().filter_map(|key| aggregate::decode(key).ok()).collect();
    let ask_one = |instance: &Instance, key: &Vec<String>| {
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        Said::of(instance.query_key(&Services::default(), keyspace, &key))
    };
    let ask = |instance| -> Vec<Said> { typed.iter().map(|key| ask_one(instance, key)).collect() };
    let first = ask(subject.one);
    let mut again: Vec<Said> = typed.iter().rev().map(|key| ask_one(subject.one, key)).collect();
    again.reverse();
    let others = [again, elsewhere(|| ask(subject.one)), ask(subject.twin)];
    for (at, (typed, first)) in typed.iter().zip(&first).enumerate() {
        let what = format!("`query_key` of {}", typed.join("|"));
        if let Some(error) = first.panic() {
            return Err(subject.broken(part, *Difference::failed(what, error), &[]));
        }
        for other in others.iter().filter_map(|said| said.get(at)) {
            if other.bytes != first.bytes {
                let (first, second) = (first.shown(&what), other.shown("the same call again"));
                let difference = Difference { law: Law::Repeatable, first, second };
                return Err(subject.broken(part, difference, &[]));
            }
        }
    }
    Ok(())
}
