//! What replicas say to each other: a question from the one that dialled, an answer from the other.
//!
//! A frame is the version of the protocol (1 byte) and a message in postcard's format; pages and bundles inside are
//! packed bytes with a checksum of their own. A message of a newer version is refused by name, so that the older side
//! can say what is wrong instead of guessing. New questions and answers are added behind the last one: an older side
//! refuses such a question, and whoever asks it must take that for an answer.

use super::dictionary::DictionaryName;
use super::error::FrameError;
use super::state::{Digest, Span, State};
use crate::core::event::{Dot, EventKey, Origin, Seq, ValueHash};
use crate::core::knowledge::{Knowledge, SEQ_MAX};
use crate::core::limits::{ORIGINS_MAX, SYNC_NAMES_MAX};
use serde::{Deserialize, Serialize};

/// The version of the protocol.
pub const PROTOCOL: u8 = 1;

/// The media type of frames.
pub const MEDIA_TYPE: &str = "application/vnd.laterbase.sync";

const BEHIND: FrameError = FrameError::Form("bytes are left behind the message");

/// Names one value of one key.
pub(super) type Name = ([u8; 16], [u8; 16]);

/// The last seq held of each Origin.
pub(super) type Lasts = Vec<([u8; 8], u64)>;

/// A question, and who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// A random number of the dialler's link, so that no dot is asked of two at once.
    pub(super) link: u64,
    /// What is asked.
    pub(super) question: Question,
    /// A dictionary of the one who is asked, with which pages in the answer may be packed. It stands behind the
    /// message, and only for a side that gave that dictionary away.
    #[serde(skip)]
    pub(super) dictionary: Option<DictionaryName>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// Do you hold just this? Answered by `Same` or `State`.
    Greet { digest: Digest },
    /// This is what I hold. Answered by `State`.
    Meet { state: State },
    /// Send these dots. Answered by `Page`.
    Pull { known: Lasts, want: Vec<Span>, whole: bool, bytes_max: u32 },
    /// I hold this: which dots shall I send? Answered by `Want`.
    Offer { known: Lasts },
    /// Take these. Answered by `Took`.
    Push { page: Vec<u8> },
    /// Tell me when you hold something else than this. `last` is the last seq of `current` that I hold. Answered by
    /// `News`, or by `Same` when the time is up.
    Watch { digest: Digest, current: [u8; 8], last: u64, wait_ms: u32 },
    /// A step of set reconciliation. Answered by `Reconciled`.
    Reconcile { message: Vec<u8> },
    /// Send these events with their dots. Answered by `Bundle`.
    Fetch { names: Vec<Name> },
    /// Admit these anew if you do not hold them though you hold their dots. Answered by `Healed`.
    Heal { bundle: Vec<u8> },
    /// Which dictionary do you pack small pages with? I hold this one of yours. Answered by `Dictionary`.
    Dictionary { held: Option<DictionaryName> },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tell {
    /// I hold just that. `now` is the answering side's wall clock in milliseconds.
    Same { now_ms: u64 },
    /// This is what I hold; of `forked` I hold another history, with these sums over the dots that you name.
    State { state: State, forked: Vec<([u8; 8], [u8; 16])>, now_ms: u64 },
    /// The next of the dots asked for.
    Page { page: Vec<u8> },
    /// Send these.
    Want { known: Lasts, want: Vec<Span> },
    /// This is what I hold now; `whole`: I do not hold a value that you sent as an alias.
    Took { known: Lasts, whole: bool },
    /// I hold something else now. With it what I admitted myself, if it is little; `last` is the last of that.
    News { digest: Digest, last: u64, page: Option<Vec<u8>> },
    /// The next step.
    Reconciled { message: Vec<u8> },
    /// The first of the events asked for, as far as they are here; of so many names.
    Bundle { bundle: Vec<u8>, names: u32 },
    /// So many were admitted anew.
    Healed { admitted: u64 },
    /// This one, if there is one; no bytes if you hold it.
    Dictionary { name: Option<DictionaryName>, packed: Vec<u8> },
    /// I do not have the dictionary that the page was packed with.
    NoDictionary,
}

impl Question {
    fn check(&self) -> Result<(), FrameError> {
        match self {
            Self::Meet { state } => state.check(),
            Self::Pull { known, want, .. } => check_lasts(known).and_then(|()| Span::check_all(want)),
            Self::Offer { known } => check_lasts(known),
            Self::Fetch { names } if names.len() > SYNC_NAMES_MAX => {
                Err(FrameError::TooLong { bytes: names.len(), bytes_max: SYNC_NAMES_MAX })
            }
            Self::Watch { last, .. } if *last > SEQ_MAX => {
                Err(FrameError::Form("the last seq that the asker holds is out of range"))
            }
            Self::Greet { .. }
            | Self::Push { .. }
            | Self::Watch { .. }
            | Self::Reconcile { .. }
            | Self::Fetch { .. }
            | Self::Heal { .. }
            | Self::Dictionary { .. } => Ok(()),
        }
    }

    /// Whether there may be a page in the answer.
    pub(super) fn is_for_page(&self) -> bool {
        matches!(self, Self::Pull { .. } | Self::Watch { .. })
    }
}

impl Ask {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = encode(self);
        frame.extend(self.dictionary.iter().flatten());
        frame
    }

    /// The frame in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (mut ask, behind): (Self, _) = decode_front(bytes)?;
        if !behind.is_empty() {
            let name = behind.try_into().map_err(|_| BEHIND)?;
            ask.dictionary = Some(name);
        }
        ask.question.check()?;
        Ok(ask)
    }

    /// For how long the answer may be held back because there is no news: milliseconds, 0 for most questions.
    pub fn wait_ms(&self) -> u32 {
        if let Question::Watch { wait_ms, .. } = &self.question { *wait_ms } else { 0 }
    }
}

impl Tell {
    /// Its name, for errors.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Same { .. } => "same",
            Self::State { .. } => "state",
            Self::Page { .. } => "page",
            Self::Want { .. } => "want",
            Self::Took { .. } => "took",
            Self::News { .. } => "news",
            Self::Reconciled { .. } => "reconciled",
            Self::Bundle { .. } => "bundle",
            Self::Healed { .. } => "healed",
            Self::Dictionary { .. } => "dictionary",
            Self::NoDictionary => "no dictionary",
        }
    }

    /// The frame as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The frame in these bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let tell: Self = decode(bytes)?;
        match &tell {
            Self::State { state, forked, .. } => {
                state.check()?;
                if forked.len() > ORIGINS_MAX {
                    return Err(FrameError::TooLong { bytes: forked.len(), bytes_max: ORIGINS_MAX });
                }
            }
            Self::Want { known, want, .. } => check_lasts(known).and_then(|()| Span::check_all(want))?,
            Self::Took { known, .. } => check_lasts(known)?,
            Self::Same { .. }
            | Self::Page { .. }
            | Self::News { .. }
            | Self::Reconciled { .. }
            | Self::Bundle { .. }
            | Self::Healed { .. }
            | Self::Dictionary { .. }
            | Self::NoDictionary => {}
        }
        Ok(tell)
    }
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![PROTOCOL]).expect("a message of bytes and numbers serialises")
}

fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, FrameError> {
    let (message, behind) = decode_front(bytes)?;
    if behind.is_empty() { Ok(message) } else { Err(BEHIND) }
}

/// The message of a frame, and the bytes behind it.
fn decode_front<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(M, &'a [u8]), FrameError> {
    let (version, message) = bytes.split_first().ok_or(FrameError::Truncated)?;
    if *version != PROTOCOL {
        return Err(FrameError::Version { found: *version, known: PROTOCOL });
    }
    postcard::take_from_bytes(message)
        .map_err(|_| FrameError::Form("the frame is no message of this protocol"))
}

/// The last seqs of `knowledge` for a frame.
pub(super) fn lasts(knowledge: &Knowledge) -> Lasts {
    knowledge.iter().map(|(origin, last)| (origin.0, last.0)).collect()
}

/// What a frame's last seqs say.
pub(super) fn knowledge(lasts: &Lasts) -> Knowledge {
    lasts.iter().map(|(origin, last)| (Origin(*origin), Seq(*last))).collect()
}

fn check_lasts(lasts: &Lasts) -> Result<(), FrameError> {
    if lasts.len() > ORIGINS_MAX {
        return Err(FrameError::TooLong { bytes: lasts.len(), bytes_max: ORIGINS_MAX });
    }
    let ascend = lasts.is_sorted_by(|(one, _), (next, _)| one < next);
    let in_range = lasts.iter().all(|(_, last)| (1..=SEQ_MAX).contains(last));
    if ascend && in_range {
        Ok(())
    } else {
        Err(FrameError::Form("seqs repeat, do not ascend or are out of range"))
    }
}

/// An event with all its dots, as a bundle carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    key: [u8; 16],
    pub(super) type_number: u32,
    pub(super) version: u32,
    pub(super) data: Vec<u8>,
    dots: Vec<([u8; 8], u64)>,
}

impl Told {
    pub(super) fn new(event: &crate::core::tables::StoredEvent<'_>) -> Self {
        let dots = event.dots.iter().map(|dot| (dot.origin.0, dot.seq.0)).collect();
        let crate::core::event::Value { type_number, version, data } = event.value;
        Self { key: event.key.0, type_number, version, data: data.to_vec(), dots }
    }

    pub(super) fn key(&self) -> EventKey {
        EventKey(self.key)
    }

    pub(super) fn value(&self) -> crate::core::event::Value<'_> {
        crate::core::event::Value { type_number: self.type_number, version: self.version, data: &self.data }
    }

    pub(super) fn dots(&self) -> Vec<Dot> {
        self.dots.iter().map(|(origin, seq)| Dot { origin: Origin(*origin), seq: Seq(*seq) }).collect()
    }
}

/// Events with their dots as packed bytes.
pub(super) fn encode_bundle(events: &[Told]) -> Vec<u8> {
    let plain = postcard::to_allocvec(events).expect("bytes and numbers serialise");
    super::pack::pack(&plain)
}

/// The events in a bundle. They are read one by one: an empty one takes four times its bytes, so their number is
/// looked at first.
pub(super) fn decode_bundle(packed: &[u8]) -> Result<Vec<Told>, FrameError> {
    let broken = |_| FrameError::Form("the bundle does not hold events");
    let plain = super::pack::unpack(packed, crate::core::limits::PAGE_PLAIN_BYTES_MAX)?;
    let (count, mut rest) = postcard::take_from_bytes::<usize>(&plain).map_err(broken)?;
    if count > SYNC_NAMES_MAX {
        return Err(FrameError::TooLong { bytes: count, bytes_max: SYNC_NAMES_MAX });
    }
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        let (event, left) = postcard::take_from_bytes(rest).map_err(broken)?;
        events.push(event);
        rest = left;
    }
    if rest.is_empty() { Ok(events) } else { Err(FrameError::Form("bytes are left behind the bundle")) }
}

/// The name of an event.
pub(super) fn name_of(key: EventKey, hash: ValueHash) -> Name {
    (key.0, hash.0)
}

#[cfg(test)]
mod tests;
