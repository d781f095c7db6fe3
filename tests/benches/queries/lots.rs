//! Made-up EPCIS events: lots of three or four things each are seen six times on their way, half of the events late.
//!
//! Of a million events there are 648,000 things, each in six of them, and 3.9 things in an event, as in real traffic.
//! A few thousand lots are under way at a time.

/// How often a lot is seen.
const STEPS: u64 = 6;
/// So many lots come between two steps of one.
const BETWEEN: u64 = 4_000;
/// Milliseconds between two events.
const PACE_MS: u64 = 800;
/// No event is later than three weeks.
const LATE_MS_MAX: u64 = 21 * 86_400_000;

/// What is done to a lot, in order.
const DONE: [(&str, &str); 6] = [
    ("commissioning", "active"),
    ("packing", "in_progress"),
    ("storing", "in_progress"),
    ("shipping", "in_transit"),
    ("receiving", "in_progress"),
    ("retail_selling", "retail_sold"),
];

/// The events of a number of lots.
pub(crate) struct Lots(u64);

impl Lots {
    /// As many lots as `events` events are of.
    pub(crate) fn new(events: u64) -> Self {
        Self(events.div_ceil(STEPS))
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> u64 {
        self.0 * STEPS
    }

    /// The things of a lot; the first is what the others are packed into.
    pub(crate) fn things(lot: u64) -> Vec<String> {
        let others = if lot.is_multiple_of(9) { 2 } else { 3 };
        let other = |n: u64| format!("urn:epc:id:sgtin:9521234.012347.{}", lot * 4 + n);
        [format!("urn:epc:id:sscc:9521234.1{lot:09}")].into_iter().chain((0..others).map(other)).collect()
    }

    /// The event that arrives as the `number`th, from 0.
    pub(crate) fn event(&self, number: u64) -> String {
        let (tick, step) = (number / STEPS, number % STEPS);
        let lot = (tick + step * (self.0 - BETWEEN % self.0)) % self.0;
        let place = lot * 7 % 40 + step;
        let (done, disposition) =
            DONE.into_iter().nth(usize::try_from(step).expect("small")).expect("a step");
        let things = Self::things(lot);
        let quoted = |things: &[String]| {
            let quoted: Vec<String> = things.iter().map(|thing| format!("\"{thing}\"")).collect();
            quoted.join(",")
        };
        let what = match things.as_slice() {
            [parent, children @ ..] if done == "packing" => {
                let children = quoted(children);
                format!(
                    r#""type":"AggregationEvent","parentID":"{parent}","childEPCs":[{children}],"action":"ADD""#
                )
            }
            all => format!(r#""type":"ObjectEvent","epcList":[{}],"action":"OBSERVE""#, quoted(all)),
        };
        format!(
            r#"{{{what},"eventTime":"{}","eventTimeZoneOffset":"+12:00","bizStep":"{done}","disposition":"{disposition}","readPoint":{{"id":"urn:epc:id:sgln:9521234.{place:05}.1"}},"bizLocation":{{"id":"urn:epc:id:sgln:9521234.{place:05}.0"}}}}"#,
            time(LATE_MS_MAX + number * PACE_MS - late(number))
        )
    }
}

/// How late an event comes: of a hundred 8 up to an hour, 32 a day, 6 a week, 4 three weeks.
fn late(number: u64) -> u64 {
    let chance = number.wrapping_mul(0xd134_2543_de82_ef95) >> 32;
    let most = match chance % 100 {
        0..8 => 3_600_000,
        8..40 => 86_400_000,
        40..46 => 604_800_000,
        46..50 => LATE_MS_MAX,
        _ => 1,
    };
    (chance / 100).wrapping_mul(7919) % most
}

/// A time in 2026, in months of 28 days.
fn time(ms: u64) -> String {
    let (second, day) = (ms / 1000 % 86_400, ms / 86_400_000);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("2026-{:02}-{:02}T{h:02}:{m:02}:{s:02}.{:03}Z", 1 + day / 28, 1 + day % 28, ms % 1000)
}
