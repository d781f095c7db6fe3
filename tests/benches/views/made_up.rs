//! A store whose events are a function of their arrival's number: half of them are late, as in a realistic stream.

use laterbase::core::event::{Arrival, Dot, EventKey, Origin, Seq, ValidTime, Value, ValueHash};
use laterbase::core::knowledge::Knowledge;
use laterbase::core::tables::{
    ArrivalRow, DotRow, Fork, Head, Position, Result, StoredEvent, TableError, Tables, TablesMut,
};
use laterbase::store::Store;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The one Origin.
const ORIGIN: Origin = Origin([1; 8]);
/// Seconds between two events.
const PACE: f64 = 0.8;

/// Events that are made up when they are asked for.
#[derive(Debug)]
pub(crate) struct MadeUp {
    /// How many have arrived.
    arrivals: AtomicU64,
    /// How many of them came before the measurements; what comes later is very late.
    before: u64,
    /// The data of all events, or of those whose numbers end alike: borrowed from here.
    data: Vec<Vec<u8>>,
}

/// There are so many different values.
const VALUES: u64 = 1000;

impl MadeUp {
    /// A store with `before` events in `aggregates` aggregates.
    pub(crate) fn new(before: u64, aggregates: u64) -> Self {
        let kinds = if aggregates == 1 { VALUES } else { aggregates };
        let value =
            |kind: u64| format!(r#"{{"a":"a{:06}","n":{}}}"#, kind % aggregates, kind * 7919 % VALUES);
        let data = (0..kinds).map(|kind| value(kind).into_bytes()).collect();
        Self { arrivals: AtomicU64::new(before), before, data }
    }

    /// `more` events arrive; returns how many there are.
    pub(crate) fn arrive(&self, more: u64) -> u64 {
        self.arrivals.fetch_add(more, Ordering::AcqRel) + more
    }

    /// The key of the n-th arrival: 8 % up to an hour late, 32 % a day, 6 % a week, 4 % three weeks.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times"
    )]
    pub(crate) fn key(&self, number: u64) -> EventKey {
        let tail = number.to_be_bytes();
        if number > self.before {
            return EventKey::new(ValidTime((1 << 32) + number), tail);
        }
        let chance = (number.wrapping_mul(0xd134_2543_de82_ef95) >> 32) as f64 / f64::from(u32::MAX);
        let late = match chance {
            c if c < 0.08 => 3_600.0,
            c if c < 0.40 => 86_400.0,
            c if c < 0.46 => 604_800.0,
            c if c < 0.50 => 1_814_400.0,
            _ => 0.0,
        };
        let seconds = 2_000_000.0 + number as f64 * PACE - late * (chance * 7.0).fract();
        EventKey::new(ValidTime((seconds * f64::from(1 << 16) * f64::from(1 << 16)) as u64), tail)
    }

    /// The data of the n-th arrival.
    pub(crate) fn data(&self, number: u64) -> &[u8] {
        let kind = usize::try_from(number % self.data.len() as u64).expect("fewer values than memory");
        self.data.get(kind).expect("the remainder is smaller")
    }

    fn row(&self, number: u64) -> ArrivalRow {
        let dot = Dot { origin: ORIGIN, seq: Seq(number) };
        let hash = ValueHash([0; 16]);
        ArrivalRow { key: self.key(number), hash, dot, wall_ms: number, check: number.to_be_bytes() }
    }
}

/// One state of a [`MadeUp`].
struct Snapshot<'s> {
    store: &'s MadeUp,
    arrivals: u64,
}

fn none<T>() -> Result<T> {
    Err(TableError::Io("not made up".into()))
}

impl Tables for Snapshot<'_> {
    fn head(&self) -> Result<Arc<Head>> {
        Ok(Arc::new(Head {
            origin: ORIGIN,
            next_origin: None,
            knowledge: [(ORIGIN, Seq(self.arrivals))].into_iter().collect::<Knowledge>(),
            arrivals: self.arrivals,
            check: self.arrivals.to_be_bytes(),
            wall_ms: self.arrivals,
            events: self.arrivals,
            clock_max: 0,
        }))
    }

    fn event(&self, key: EventKey) -> Result<Option<StoredEvent<'_>>> {
        let number = u64::from_be_bytes(*key.0.last_chunk().expect("16 bytes hold 8"));
        let value = Value { type_number: 1, version: 1, data: self.store.data(number) };
        let dots = Vec::new();
        Ok(Some(StoredEvent { key, hash: ValueHash([0; 16]), value, dots, clash: false }))
    }

    fn is_free(&self, _: RangeInclusive<EventKey>) -> Result<bool> {
        none()
    }

    fn find(&self, key: EventKey, _: ValueHash) -> Result<Option<StoredEvent<'_>>> {
        self.event(key)
    }

    fn walk(&self, _: Option<Position>, _: &mut dyn FnMut(StoredEvent<'_>) -> ControlFlow<()>) -> Result<()> {
        Ok(())
    }

    fn dot(&self, _: Dot) -> Result<Option<DotRow>> {
        none()
    }

    fn dots(
        &self,
        _: Origin,
        _: RangeInclusive<u64>,
        _: &mut dyn FnMut(Seq, DotRow) -> ControlFlow<()>,
    ) -> Result<()> {
        none()
    }

    fn arrival(&self, number: Arrival) -> Result<Option<ArrivalRow>> {
        Ok((1..=self.arrivals).contains(&number.0).then(|| self.store.row(number.0)))
    }

    fn arrivals(
        &self,
        from: Arrival,
        visit: &mut dyn FnMut(Arrival, ArrivalRow) -> ControlFlow<()>,
    ) -> Result<()> {
        for number in from.0..=self.arrivals {
            if visit(Arrival(number), self.store.row(number)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn stamp(&self, _: [u8; 16]) -> Result<Option<u64>> {
        none()
    }

    fn pin(&self, _: [u8; 16]) -> Result<Option<Vec<u8>>> {
        none()
    }

    fn healed(&self, _: Fork) -> Result<bool> {
        none()
    }
}

impl Store for MadeUp {
    fn read(&self) -> Result<Box<dyn Tables + '_>> {
        let arrivals = self.arrivals.load(Ordering::Acquire);
        Ok(Box::new(Snapshot { store: self, arrivals }))
    }

    fn commit(&self, _: &mut dyn FnMut(&mut dyn TablesMut) -> Result<()>) -> Result<()> {
        none()
    }
}
