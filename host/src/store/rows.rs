//! The bytes of the rows of a Root's tables (FORMAT.md shows each), and their checksum.
//!
//! Every row begins with a CRC-32C over its table's name, its key and the rest of the row: a flipped bit, a row under
//! a wrong key and a row in a wrong table are all found when it is read. Numbers are big-endian, so keys sort as
//! bytes do.

use crate::core::event::{Dot, EventKey, Origin, Seq, Value, ValueHash};
use crate::core::knowledge::Sum;
use crate::core::tables::{ArrivalRow, DotRow, Fork, NewEvent, Result, StoredEvent, TableError};

/// Events by key: the value that holds it.
pub(super) const EVENTS: &str = "events";
/// Values that lost their key, by key and hash.
pub(super) const CLASHES: &str = "clashes";
/// Dots by Origin and seq.
pub(super) const DOTS: &str = "dots";
/// Arrivals by number.
pub(super) const ARRIVALS: &str = "arrivals";
/// Idempotency-Keys' stamps, and when they are over.
pub(super) const STAMPS: &str = "stamps";
/// Pins, and when they are over.
pub(super) const PINS: &str = "pins";
/// Forks that are healed: (peer, Origin, difference of the sums).
pub(super) const HEALED: &str = "healed";
/// The last seq of each Origin.
pub(super) const ORIGINS: &str = "origins";
/// The format's version and the head.
pub(super) const META: &str = "meta";

const CHECKSUM_BYTES: usize = 4;

/// The facts of the head that are not in the table of Origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadRow {
    pub(super) origin: Origin,
    pub(super) arrivals: u64,
    pub(super) check: [u8; 8],
    pub(super) wall_ms: u64,
    pub(super) events: u64,
    pub(super) clock_max: u64,
    pub(super) origins: u64,
    pub(super) next_origin: Option<Origin>,
}

/// A row under construction: room for the checksum, then its fields.
#[derive(Debug)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn with_room(bytes: usize) -> Self {
        Self::over(Vec::with_capacity(CHECKSUM_BYTES + bytes))
    }

    /// A row in the place of another, whose memory it takes over.
    pub(super) fn over(mut row: Vec<u8>) -> Self {
        row.clear();
        row.extend([0; CHECKSUM_BYTES]);
        Self(row)
    }

    #[must_use]
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    #[must_use]
    pub(super) fn long(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    #[must_use]
    pub(super) fn word(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    #[must_use]
    fn dot(self, dot: Dot) -> Self {
        self.bytes(&dot.origin.0).long(dot.seq.0)
    }

    #[must_use]
    fn value(self, value: Value<'_>) -> Self {
        self.word(value.type_number).word(value.version).bytes(value.data)
    }

    /// The row for `key` of `table`.
    pub(super) fn seal(self, table: &str, key: &[u8]) -> Vec<u8> {
        let Self(mut row) = self;
        if let Some((checksum, rest)) = row.split_first_chunk_mut::<CHECKSUM_BYTES>() {
            *checksum = checksum_of(table, key, rest).to_be_bytes();
        }
        row
    }
}

fn checksum_of(table: &str, key: &[u8], rest: &[u8]) -> u32 {
    let sum = crc32c::crc32c(table.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, key), rest)
}

/// A row being read: what is left of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder<'k, 'r> {
    table: &'static str,
    key: &'k [u8],
    rest: &'r [u8],
}

impl<'k, 'r> Decoder<'k, 'r> {
    /// Begins to read the row of `key`, if its checksum is right.
    pub(super) fn open(table: &'static str, key: &'k [u8], row: &'r [u8]) -> Result<Self> {
        let this = Self { table, key, rest: row };
        let Some((checksum, rest)) = row.split_first_chunk::<CHECKSUM_BYTES>() else {
            return Err(this.corrupt("the row is shorter than its checksum"));
        };
        if u32::from_be_bytes(*checksum) != checksum_of(table, key, rest) {
            return Err(this.corrupt("the checksum is wrong"));
        }
        Ok(Self { rest, ..this })
    }

    pub(super) fn corrupt(&self, reason: &'static str) -> TableError {
        corrupt(self.table, self.key, reason)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| self.corrupt("the row is too short"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn long(&mut self) -> Result<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(super) fn word(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn dot(&mut self) -> Result<Dot> {
        Ok(Dot { origin: Origin(self.bytes()?), seq: Seq(self.long()?) })
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'r [u8] {
        self.rest
    }

    pub(super) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.corrupt("the row is too long")) }
    }
}

/// An error that names the row.
pub(super) fn corrupt(table: &'static str, key: &[u8], reason: &'static str) -> TableError {
    TableError::Corrupt { table, row: data_encoding::HEXLOWER.encode(key), reason }
}

/// Two parts of a key, one behind the other.
pub(super) fn joined<const A: usize, const B: usize, const N: usize>(
    first: [u8; A],
    second: [u8; B],
) -> [u8; N] {
    const { assert!(A + B == N, "the parts fill the key") };
    let mut key = [0; N];
    for (to, from) in key.iter_mut().zip(first.into_iter().chain(second)) {
        *to = from;
    }
    key
}

pub(super) fn clash_key(key: EventKey, hash: ValueHash) -> [u8; 32] {
    joined(key.0, hash.0)
}

pub(super) fn fork_key(fork: Fork) -> [u8; 32] {
    let front: [u8; 16] = joined(fork.peer.0, fork.origin.0);
    joined(front, fork.difference.0.to_be_bytes())
}

pub(super) fn dot_key(dot: Dot) -> [u8; 16] {
    joined(dot.origin.0, dot.seq.0.to_be_bytes())
}

/// The row of an event, a winner's (`events`) or a loser's (`clashes`).
pub(super) fn encode_event(event: &StoredEvent<'_>) -> Result<Vec<u8>> {
    let dots = u32::try_from(event.dots.len()).ok().filter(|dots| *dots > 0);
    let table = if event.clash { CLASHES } else { EVENTS };
    let Some(dots) = dots else {
        return Err(corrupt(table, &event.key.0, "an event has no dots or too many"));
    };
    let room = 16 + 4 + 16 * event.dots.len() + 8 + event.value.data.len();
    let row = Encoder::with_room(room).bytes(&event.hash.0).word(dots);
    let row = event.dots.iter().fold(row, |row, dot| row.dot(*dot)).value(event.value);
    Ok(if event.clash {
        row.seal(CLASHES, &clash_key(event.key, event.hash))
    } else {
        row.seal(EVENTS, &event.key.0)
    })
}

/// The row of a winner that has one dot, in the memory of `row`.
pub(super) fn encode_new_event(row: Vec<u8>, event: &NewEvent<'_>, dot: Dot) -> Vec<u8> {
    let row = Encoder::over(row).bytes(&event.hash.0).word(1).dot(dot).value(event.value);
    row.seal(EVENTS, &event.key.0)
}

/// Reads a row of `events` or `clashes`, whose key tells which.
pub(super) fn decode_event<'r>(row_key: &[u8], row: &'r [u8]) -> Result<StoredEvent<'r>> {
    let clash = row_key.len() != 16;
    let table = if clash { CLASHES } else { EVENTS };
    let mut row = Decoder::open(table, row_key, row)?;
    let Some((key, loser)) = row_key.split_first_chunk() else {
        return Err(row.corrupt("the key is too short"));
    };
    let hash = ValueHash(row.bytes()?);
    if clash && loser != hash.0 {
        return Err(row.corrupt("the key and the row name different values"));
    }
    let count = row.word()?;
    // The count is believed only as far as the row has room for it.
    let mut dots = Vec::with_capacity(row.rest.len().min(16 * count as usize) / 16);
    for _ in 0..count {
        dots.push(row.dot()?);
    }
    let (type_number, version) = (row.word()?, row.word()?);
    let value = Value { type_number, version, data: row.rest() };
    Ok(StoredEvent { key: EventKey(*key), hash, value, dots, clash })
}

pub(super) fn encode_dot(key: &[u8], row: DotRow) -> Vec<u8> {
    encode_dot_over(Vec::with_capacity(52), key, row)
}

/// The row of a dot, in the memory of `old`.
pub(super) fn encode_dot_over(old: Vec<u8>, key: &[u8], row: DotRow) -> Vec<u8> {
    let DotRow { key: event, hash, sum } = row;
    Encoder::over(old).bytes(&event.0).bytes(&hash.0).bytes(&sum.0.to_be_bytes()).seal(DOTS, key)
}

pub(super) fn decode_dot(key: &[u8], row: &[u8]) -> Result<DotRow> {
    let mut row = Decoder::open(DOTS, key, row)?;
    let (event, hash) = (EventKey(row.bytes()?), ValueHash(row.bytes()?));
    let sum = Sum(u128::from_be_bytes(row.bytes()?));
    row.end()?;
    Ok(DotRow { key: event, hash, sum })
}

/// The dot that a key of `dots` names.
pub(super) fn decode_dot_key(key: &[u8]) -> Result<Dot> {
    let parts =
        key.split_first_chunk::<8>().and_then(|(origin, seq)| Some((origin, seq.first_chunk::<8>()?)));
    let Some((origin, seq)) = parts.filter(|_| key.len() == 16) else {
        return Err(corrupt(DOTS, key, "the key is no dot"));
    };
    Ok(Dot { origin: Origin(*origin), seq: Seq(u64::from_be_bytes(*seq)) })
}

pub(super) fn encode_arrival(key: &[u8], row: ArrivalRow) -> Vec<u8> {
    encode_arrival_over(Vec::with_capacity(68), key, row)
}

/// The row of an arrival, in the memory of `old`.
pub(super) fn encode_arrival_over(old: Vec<u8>, key: &[u8], row: ArrivalRow) -> Vec<u8> {
    let encoded = Encoder::over(old).bytes(&row.key.0).bytes(&row.hash.0).dot(row.dot);
    encoded.long(row.wall_ms).bytes(&row.check).seal(ARRIVALS, key)
}

pub(super) fn decode_arrival(key: &[u8], row: &[u8]) -> Result<ArrivalRow> {
    let mut row = Decoder::open(ARRIVALS, key, row)?;
    let (event, hash, dot) = (EventKey(row.bytes()?), ValueHash(row.bytes()?), row.dot()?);
    let (wall_ms, check) = (row.long()?, row.bytes()?);
    row.end()?;
    Ok(ArrivalRow { key: event, hash, dot, wall_ms, check })
}

/// A key or row that is one number.
pub(super) fn decode_number(table: &'static str, key: &[u8]) -> Result<u64> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| corrupt(table, key, "the key is no number"))
}

impl HeadRow {
    pub(super) const KEY: &'static [u8] = b"head";

    pub(super) fn encode(self) -> Vec<u8> {
        let row = Encoder::with_room(56).bytes(&self.origin.0).long(self.arrivals).bytes(&self.check);
        let row = row.long(self.wall_ms).long(self.events).long(self.clock_max).long(self.origins);
        let row = match self.next_origin {
            Some(next) => row.bytes(&next.0),
            None => row,
        };
        row.seal(META, Self::KEY)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self> {
        let mut row = Decoder::open(META, Self::KEY, row)?;
        let this = Self {
            origin: Origin(row.bytes()?),
            arrivals: row.long()?,
            check: row.bytes()?,
            wall_ms: row.long()?,
            events: row.long()?,
            clock_max: row.long()?,
            origins: row.long()?,
            next_origin: if row.rest().is_empty() { None } else { Some(Origin(row.bytes()?)) },
        };
        row.end()?;
        Ok(this)
    }
}
