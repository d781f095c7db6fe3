//! A dictionary for small pages: what a Root's events have in common, so that a page of one event need not say it.
//!
//! ```text
//! dialler ── dictionary? ──► dialled side: trains one from its first arrivals, keeps it in memory
//!    │ ◄── name, bytes ──────┘
//!    └ packs what it pushes with it, and says in its questions that answers may be packed with it
//! ```
//! On a link only the dialled side's dictionary is used, in both directions: a stranger can make nobody keep one, and
//! a dialler keeps one for each peer and Root. It is trained from the first 4,096, 16,384, 65,536 … arrivals, which
//! never change, so it is the same after a restart, and nothing of it is stored. Whoever lacks one says so and gets
//! the page without; a side that knows nothing of dictionaries refuses the question for one, and is sent none.

use super::error::FrameError;
use super::pack;
use super::page::{Page, Wanted};
use super::state::Span;
use crate::core::event::{Arrival, ValidTime};
use crate::core::knowledge::Knowledge;
use crate::core::limits::DICTIONARY_BYTES_MAX;
use crate::core::tables::{Result, TableError, Tables};
use std::sync::Arc;

/// How many bytes are trained: with EPCIS events half as many do as well, and twice as many gain nothing.
const TRAINED_BYTES: usize = 16 << 10;
/// From how many arrivals it is trained, spread evenly: four times as many gained nothing.
const SAMPLES_MAX: u64 = 1024;
/// From fewer it is not worth while.
const SAMPLES_MIN: usize = 128;
/// The samples have at most about so many bytes together.
const SAMPLED_BYTES_MAX: usize = 4 << 20;
/// So many times as many arrivals are worth another dictionary.
const GROWTH: u64 = 4;
/// How often a peer may go back on its dictionary while a connection stands, and be asked again.
const LOST_MAX: u8 = 2;

/// Names a dictionary among those that one replica has for one Root: the first bytes of its BLAKE3.
pub(super) type DictionaryName = [u8; 4];

/// A dictionary in Zstandard's format, or any bytes that the events have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dictionary {
    name: DictionaryName,
    bytes: Vec<u8>,
}

impl Dictionary {
    fn new(bytes: Vec<u8>) -> Self {
        let [a, b, c, d, ..] = *blake3::hash(&bytes).as_bytes();
        Self { name: [a, b, c, d], bytes }
    }

    /// Its name.
    pub(super) fn name(&self) -> DictionaryName {
        self.name
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The dictionary as it travels.
    pub(super) fn encode(&self) -> Vec<u8> {
        pack::pack(&self.bytes)
    }

    /// The dictionary of this name in these bytes.
    pub(super) fn decode(name: DictionaryName, packed: &[u8]) -> std::result::Result<Self, FrameError> {
        let this = Self::new(pack::unpack(packed, DICTIONARY_BYTES_MAX)?);
        if this.name == name {
            Ok(this)
        } else {
            Err(FrameError::Form("the dictionary is not the one that its name says"))
        }
    }

    /// Made of the first `arrivals`.
    pub(super) fn of(tables: &dyn Tables, arrivals: u64) -> Result<Self> {
        let (mut samples, mut lengths) = (Vec::new(), Vec::new());
        let step = (arrivals / SAMPLES_MAX).max(1);
        for number in (1..=arrivals / step).map(|number| number * step) {
            // What is damaged is named where it is asked for.
            let page = match sample(tables, Arrival(number)) {
                Err(TableError::Corrupt { .. }) => continue,
                page => page?,
            };
            if samples.len() + page.len() > SAMPLED_BYTES_MAX {
                break;
            }
            samples.extend_from_slice(&page);
            lengths.push(page.len());
        }
        if lengths.len() >= SAMPLES_MIN
            && let Ok(trained) = zstd::dict::from_continuous(&samples, &lengths, TRAINED_BYTES)
        {
            return Ok(Self::new(trained));
        }
        // Any bytes are of some use: the last ones, then.
        let last = samples.len().saturating_sub(TRAINED_BYTES);
        Ok(Self::new(samples.split_off(last)))
    }
}

/// A page of one event: what the dictionary is for.
fn sample(tables: &dyn Tables, number: Arrival) -> Result<Vec<u8>> {
    let Some(arrival) = tables.arrival(number)? else { return Ok(Vec::new()) };
    let (origin, seq) = (arrival.dot.origin.0, arrival.dot.seq.0);
    let (spans, known) = ([Span { origin, first: seq, last: seq }], Knowledge::new());
    let wanted = Wanted { spans: &spans, known: &known, whole: true, bytes_max: 0 };
    Ok(Page::collect(tables, wanted, ValidTime::default())?.plain())
}

/// Of how many of its first arrivals a Root with `arrivals` makes its dictionary; none as long as they are fewer than
/// `arrivals_min`.
pub(super) fn made_of(arrivals: u64, arrivals_min: u64) -> Option<u64> {
    let mut of = (arrivals >= arrivals_min).then_some(arrivals_min)?;
    while let Some(more) = of.checked_mul(GROWTH).filter(|more| *more <= arrivals) {
        of = more;
    }
    Some(of)
}

/// The dictionary of a Root for those who dial.
#[derive(Debug, Default)]
pub(super) struct Own {
    made_of: u64,
    dictionary: Option<Arc<Dictionary>>,
}

impl Own {
    /// The one of this name, if it is the present one.
    pub(super) fn named(&self, name: DictionaryName) -> Option<Arc<Dictionary>> {
        self.dictionary.clone().filter(|dictionary| dictionary.name == name)
    }

    /// The present one, unless another is due.
    pub(super) fn present(&self, due: Option<u64>) -> Option<Arc<Dictionary>> {
        self.dictionary.clone().filter(|_| due.is_none_or(|due| due == self.made_of))
    }

    /// Makes this one, of so many arrivals, the present one.
    pub(super) fn put(&mut self, made_of: u64, dictionary: &Arc<Dictionary>) {
        *self = Self { made_of, dictionary: Some(Arc::clone(dictionary)) };
    }
}

/// What a link knows of the peer's dictionary.
#[derive(Debug, Clone, Default)]
pub(super) struct Agreed {
    /// The one that the peer sent last.
    kept: Option<Arc<Dictionary>>,
    /// The peer has it: it said so on this connection.
    is_present: bool,
    /// Of how many arrivals the one was due that was asked for last.
    asked: u64,
    /// How often the peer said that it does not have it any more.
    lost: u8,
    /// The peer knows no dictionaries.
    is_refused: bool,
    /// What the peer sent was none, or nothing could be unpacked with it.
    is_bad: bool,
}

impl Agreed {
    /// The dictionary to pack and unpack with, if there is one.
    pub(super) fn dictionary(&self) -> Option<Arc<Dictionary>> {
        self.kept.clone().filter(|_| self.is_present)
    }

    /// The name of the one that is here, whether the peer still has it or not.
    pub(super) fn held(&self) -> Option<DictionaryName> {
        self.kept.as_deref().map(Dictionary::name)
    }

    /// A connection stands anew, maybe to another process or another version of it.
    pub(super) fn connected(&mut self) {
        (self.is_present, self.asked, self.lost, self.is_refused) = (false, 0, 0, false);
    }

    /// Whether the peer should be asked for its dictionary now. It most likely holds what we hold; if it is a little
    /// behind it has an older one, so it is asked a little later than it could be.
    pub(super) fn is_due(&mut self, arrivals: u64, arrivals_min: u64) -> bool {
        let due = made_of(arrivals - arrivals / 5, arrivals_min).unwrap_or_default();
        let is_due = !self.is_refused && !self.is_bad && due > self.asked;
        self.asked = self.asked.max(due);
        is_due
    }

    /// Takes the peer's answer: the name of its dictionary, and its bytes unless it is held.
    pub(super) fn take(
        &mut self,
        name: Option<DictionaryName>,
        packed: &[u8],
    ) -> std::result::Result<(), FrameError> {
        self.is_present = name.is_some();
        if let Some(name) = name.filter(|name| self.held() != Some(*name)) {
            let decoded = Dictionary::decode(name, packed);
            if decoded.is_err() {
                self.spoilt();
            }
            self.kept = Some(Arc::new(decoded?));
        }
        Ok(())
    }

    /// The peer does not answer such questions.
    pub(super) fn refused(&mut self) {
        (self.is_present, self.is_refused) = (false, true);
    }

    /// The peer does not have it any more.
    pub(super) fn lost(&mut self) {
        self.is_present = false;
        self.lost = self.lost.saturating_add(1);
        if self.lost <= LOST_MAX {
            self.asked = 0;
        }
    }

    /// What came is no dictionary, or what was packed with it does not unpack: from now on without.
    pub(super) fn spoilt(&mut self) {
        *self = Self { is_bad: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
