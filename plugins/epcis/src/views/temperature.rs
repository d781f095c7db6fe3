//! `temperature`: what the sensors of a thing measured, and how long it was too warm.
//!
//! Readings count in the order of their events, those of one event in the order of their own times. A state is that
//! of a run of readings: with its first and its last one, two neighbouring runs join where they meet. A silence that
//! is longer than the configured gap says nothing of the time between.

use crate::facts::{mentions, one_identifier};
use crate::instant;
use crate::shape::EventKind;
use laterbase_plugin::{
    Associative, Canonical, Chance, Emit, Event, EventData, EventKey, Keyspace, Merge, RawEvent, Refusal,
    View, from_json,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// What is read of an event with sensors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sensed {
    epc_list: BTreeSet<String>,
    sensor_element_list: Vec<Element>,
    error_declaration: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Element {
    sensor_metadata: Metadata,
    sensor_report: Vec<SensorReport>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    time: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SensorReport {
    #[serde(rename = "type")]
    of_type: Option<String>,
    time: Option<String>,
    value: Option<Box<RawValue>>,
    uom: Option<String>,
}

/// One temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Canonical, Serialize)]
pub struct Reading {
    /// Milliseconds since 1970.
    time: i64,
    /// Hundredths of a degree Celsius.
    celsius: i64,
}

impl Sensed {
    /// The temperatures in the order of their times; those without a time have that of the event.
    fn readings(&self, event_time: i64) -> Vec<Reading> {
        let mut readings = Vec::new();
        for Element { sensor_metadata, sensor_report } in &self.sensor_element_list {
            for report in
                sensor_report.iter().filter(|report| report.of_type.as_deref() == Some("Temperature"))
            {
                let time = report.time.as_deref().or(sensor_metadata.time.as_deref());
                let time = time.map_or(Some(event_time), instant::parse);
                let value = report.value.as_deref().map(RawValue::get);
                let celsius =
                    value.zip(report.uom.as_deref()).and_then(|(value, unit)| hundredths(value, unit));
                readings.extend(time.zip(celsius).map(|(time, celsius)| Reading { time, celsius }));
            }
        }
        readings.sort_unstable();
        readings
    }
}

/// A decimal number of degrees as hundredths of a degree Celsius, rounded half up.
fn hundredths(value: &str, unit: &str) -> Option<i64> {
    let (sign, digits) = value.strip_prefix('-').map_or((1, value), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let (whole, part): (i32, i32) = (whole.parse().ok()?, part.parse().ok()?);
    let millionths = sign * (i64::from(whole) * 1_000_000 + i64::from(part));
    let (numerator, denominator) = match unit {
        "CEL" => (millionths, 10_000),
        "KEL" => (millionths - 273_150_000, 10_000),
        "FAH" => ((millionths - 32_000_000) * 5, 90_000),
        _ => return None,
    };
    Some((numerator * 2 + denominator).div_euclid(denominator * 2))
}

impl EventData for Sensed {
    fn types() -> Vec<u32> {
        vec![EventKind::Object.number()]
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        if !mentions(event, "\"sensorElementList\"") {
            return Ok(Self::default());
        }
        from_json(event.data)
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups temperatures by the EPC that they were measured at.
#[derive(Debug, Clone, Copy)]
pub struct ByAsset;

impl Keyspace for ByAsset {
    type Event = Sensed;
    type Key = String;
    type Delta = Reading;

    fn map(&self, event: &Event<Sensed>, out: &mut Emit<Self>) {
        let sensed = &event.data;
        if sensed.error_declaration.is_some() {
            return;
        }
        let readings = sensed.readings(event.time().millis());
        for epc in &sensed.epc_list {
            for reading in &readings {
                out.emit(epc, *reading);
            }
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        one_identifier(typed)
    }
}

/// What counts as too warm, and for how long one reading speaks.
#[derive(Debug, Clone, Copy)]
pub struct Temperature {
    /// Warmer than these hundredths of a degree Celsius is too warm.
    pub celsius_max: i64,
    /// Readings that are further apart, in milliseconds, say nothing of the time between.
    pub gap_ms_max: i64,
}

/// The state of [`Temperature`]: none without readings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct TemperatureState {
    run: Option<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Run {
    first: Reading,
    last: Reading,
    totals: Totals,
}

/// What `temperature` answers: hundredths of a degree Celsius, and milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Totals {
    max: i64,
    min: i64,
    /// How many readings.
    n: i64,
    /// How many of them too warm.
    over: i64,
    /// How long it was too warm.
    over_ms: i64,
    /// How many times it became too warm.
    runs: i64,
    sum: i64,
}

impl View for Temperature {
    const NAME: &'static str = "temperature";
    type Over = ByAsset;
    type State = TemperatureState;
    type Algebra = Associative;

    fn fold(&self, state: &mut TemperatureState, _: EventKey, reading: Reading) {
        let (celsius, over) = (reading.celsius, i64::from(reading.celsius > self.celsius_max));
        let totals = Totals { max: celsius, min: celsius, n: 1, over, over_ms: 0, runs: over, sum: celsius };
        self.merge(state, TemperatureState { run: Some(Run { first: reading, last: reading, totals }) });
    }

    fn render(&self, _: &String, state: &TemperatureState) -> impl Serialize {
        state.run.as_ref().map(|run| run.totals.clone())
    }
}

impl Merge for Temperature {
    fn merge(&self, left: &mut TemperatureState, right: TemperatureState) {
        let Some(right) = right.run else { return };
        let Some(run) = &mut left.run else {
            left.run = Some(right);
            return;
        };
        let apart = right.first.time.saturating_sub(run.last.time);
        let goes_on = run.last.celsius > self.celsius_max && apart <= self.gap_ms_max;
        let (totals, more) = (&mut run.totals, right.totals);
        totals.max = totals.max.max(more.max);
        totals.min = totals.min.min(more.min);
        totals.n = totals.n.wrapping_add(more.n);
        totals.over = totals.over.wrapping_add(more.over);
        totals.over_ms = totals.over_ms.wrapping_add(more.over_ms);
        totals.runs = totals.runs.wrapping_add(more.runs);
        totals.sum = totals.sum.wrapping_add(more.sum);
        if goes_on {
            totals.over_ms = totals.over_ms.wrapping_add(apart.max(0));
            totals.runs = totals.runs.wrapping_sub(i64::from(right.first.celsius > self.celsius_max));
        }
        run.last = right.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: units and rounding.
    #[test]
    fn degrees() {
        for (value, unit, expected) in [
            ("4.2", "CEL", Some(420)),
            ("-18", "CEL", Some(-1800)),
            ("-0.005", "CEL", Some(0)),
            ("0.005", "CEL", Some(1)),
            ("273.15", "KEL", Some(0)),
            ("39.2", "FAH", Some(400)),
            ("-40", "FAH", Some(-4000)),
            ("4.2", "PAL", None),
            ("99999999999", "CEL", None),
        ] {
            assert_eq!(hundredths(value, unit), expected, "{value} {unit}");
        }
    }
}
