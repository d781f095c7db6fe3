//! Times as people write them: a format, a zone, and a rule for the hours in which clocks were changed. Nothing is
//! guessed: `03/04/2026` is what the format says, and a time without an offset needs a zone.

use super::refusal::RowCode;
use crate::core::event::ValidTime;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::Deserialize;

/// What to take where a local time happened twice or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ambiguous {
    /// The earlier of the two instants that it may mean.
    Earlier,
    /// The later of them.
    Later,
}

/// How times of one column are read.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    form: Form,
    zone: Option<TimeZone>,
    ambiguous: Option<Ambiguous>,
}

#[derive(Debug, Clone)]
enum Form {
    /// RFC 3339; without an offset where there is a zone.
    Rfc3339,
    /// Seconds since 1970, with a fraction or without.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// As strftime writes it.
    Strftime(String),
}

impl Clock {
    /// Reads times of `format` in `zone`; none is RFC 3339.
    pub(super) fn new(
        format: Option<&str>,
        zone: Option<&str>,
        ambiguous: Option<Ambiguous>,
    ) -> Result<Self, String> {
        let form = match format {
            None | Some("rfc3339") => Form::Rfc3339,
            Some("unix") => Form::Unix,
            Some("unix-ms") => Form::UnixMs,
            Some(format) => Form::Strftime(format.to_owned()),
        };
        let zone = zone.map(|name| {
            TimeZone::get(name)
                .map_err(|_| format!("{name:?} is no time zone: name one such as Europe/Berlin or UTC"))
        });
        let zone = zone.transpose()?;
        if let Form::Strftime(format) = &form {
            if !format.contains('%') {
                return Err(format!(
                    "{format:?} is no format of times: write one such as %d.%m.%Y %H:%M, or rfc3339, unix, unix-ms"
                ));
            }
            if zone.is_none() && !names_offset(format) {
                return Err(format!(
                    "times of the format {format:?} have no offset: name their zone, such as Europe/Berlin or UTC"
                ));
            }
        }
        Ok(Self { form, zone, ambiguous })
    }

    /// The instant that `text` means.
    pub(super) fn read(&self, text: &str) -> Result<ValidTime, (RowCode, String)> {
        let text = text.trim_ascii();
        let bad = |why: String| (RowCode::BadTime, format!("{text:?} {why}"));
        let instant = match &self.form {
            Form::Rfc3339 => match (text.parse::<Timestamp>(), &self.zone) {
                (Ok(instant), _) => instant,
                (Err(_), Some(zone)) => {
                    let local = text.parse().map_err(|_| {
                        bad("is no time of RFC 3339, with or without an offset: name its --time-format"
                            .into())
                    })?;
                    self.instant(text, local, zone)?
                }
                (Err(_), None) => {
                    let why = "is no time of RFC 3339 with an offset: name its --time-format and --zone";
                    return Err(bad(why.to_owned()));
                }
            },
            Form::Unix => {
                unix(text, 9).ok_or_else(|| bad("is no number of seconds since 1970".to_owned()))?
            }
            Form::UnixMs => {
                unix(text, 6).ok_or_else(|| bad("is no number of milliseconds since 1970".to_owned()))?
            }
            Form::Strftime(format) => {
                let parts = BrokenDownTime::parse(format, text)
                    .map_err(|fault| bad(format!("is not of the format {format:?}: {fault}")))?;
                let no_time =
                    |fault: jiff::Error| bad(format!("is no time of the format {format:?}: {fault}"));
                match (parts.offset(), &self.zone) {
                    (None, Some(zone)) => self.instant(text, parts.to_datetime().map_err(no_time)?, zone)?,
                    _ => parts.to_timestamp().map_err(no_time)?,
                }
            }
        };
        let nanos = instant.as_nanosecond();
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok();
        let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok();
        let time = seconds.zip(fraction).and_then(|(seconds, nanos)| ValidTime::from_parts(seconds, nanos));
        time.ok_or_else(|| (RowCode::TimeRange, format!("{text} is outside 1970..2106")))
    }

    fn instant(&self, text: &str, local: DateTime, zone: &TimeZone) -> Result<Timestamp, (RowCode, String)> {
        let found = zone.to_ambiguous_timestamp(local);
        let name = zone.iana_name().unwrap_or("its zone");
        let (code, why) = match (self.ambiguous, found.offset()) {
            (_, AmbiguousOffset::Unambiguous { .. }) | (Some(_), _) => {
                let taken = match self.ambiguous {
                    Some(Ambiguous::Later) => found.later(),
                    Some(Ambiguous::Earlier) | None => found.earlier(),
                };
                return taken.map_err(|_| (RowCode::TimeRange, format!("{text} is outside 1970..2106")));
            }
            (None, AmbiguousOffset::Gap { .. }) => (RowCode::TimeSkipped, "never happened"),
            (None, AmbiguousOffset::Fold { .. }) => (RowCode::TimeAmbiguous, "happened twice"),
        };
        Err((
            code,
            format!("{text:?} {why} in {name}, where clocks were changed: say --ambiguous earlier or later"),
        ))
    }
}

/// Whether a format writes an offset, or a number of seconds that needs none.
fn names_offset(format: &str) -> bool {
    let directives = format.split('%').skip(1);
    let mut letters =
        directives.filter_map(|rest| rest.trim_start_matches(['-', '_', '0', '^', '#', ':']).chars().next());
    letters.any(|letter| matches!(letter, 'z' | 'Q' | 's'))
}

/// A number with a point `digits` before the end of its nanoseconds.
fn unix(text: &str, digits: usize) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > digits {
        return None;
    }
    let nanos: i128 = format!("{whole}{fraction:0<digits$}").parse().ok()?;
    Timestamp::from_nanosecond(nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        format: Option<&str>,
        zone: Option<&str>,
        ambiguous: Option<Ambiguous>,
        text: &str,
    ) -> Result<String, &'static str> {
        let clock = Clock::new(format, zone, ambiguous).expect("a clock");
        clock.read(text).map(|time| time.to_string()).map_err(|(code, _)| code.word())
    }

    /// The same text is another instant under another format; what does not fit is refused.
    #[test]
    fn formats_and_zones() {
        let berlin = Some("Europe/Berlin");
        let table = [
            (None, None, "2026-05-01T10:00:00.5+12:00", Ok("2026-04-30T22:00:00.500Z")),
            (None, berlin, "2026-05-01T10:00:00", Ok("2026-05-01T08:00:00.000Z")),
            (None, None, "2026-05-01T10:00:00", Err("bad_time")),
            (Some("%d/%m/%Y"), Some("UTC"), "03/04/2026", Ok("2026-04-03T00:00:00.000Z")),
            (Some("%m/%d/%Y"), Some("UTC"), "03/04/2026", Ok("2026-03-04T00:00:00.000Z")),
            (Some("%m/%d/%Y"), Some("UTC"), "13/04/2026", Err("bad_time")),
            (Some("%d.%m.%Y %H:%M"), berlin, " 01.12.2025 08:15 ", Ok("2025-12-01T07:15:00.000Z")),
            (Some("%d.%m.%Y %H:%M"), berlin, "31.02.2025 08:15", Err("bad_time")),
            (Some("%d.%m.%Y %H:%M"), berlin, "01.12.2025 08:15 Uhr", Err("bad_time")),
            (Some("%Y-%m-%d %H:%M %z"), None, "2025-12-01 08:15 +0100", Ok("2025-12-01T07:15:00.000Z")),
            (Some("unix"), None, "1767225600.25", Ok("2026-01-01T00:00:00.250Z")),
            (Some("unix-ms"), None, "1767225600250", Ok("2026-01-01T00:00:00.250Z")),
            (Some("unix"), None, "-1", Err("bad_time")),
            (None, None, "1969-12-31T23:59:59Z", Err("time_range")),
        ];
        for (format, zone, text, expected) in table {
            assert_eq!(read(format, zone, None, text).as_deref().map_err(|code| *code), expected, "{text}");
        }
        assert!(Clock::new(Some("%d.%m.%Y"), None, None).is_err_and(|why| why.contains("zone")));
        assert!(Clock::new(None, Some("Europe/Atlantis"), None).is_err());
        assert!(Clock::new(Some("dd.mm.yyyy"), Some("UTC"), None).is_err());
    }

    /// Hours in which clocks were changed are refused by name, unless a rule was given.
    #[test]
    fn changed_clocks() {
        let (format, zone) = (Some("%Y-%m-%d %H:%M"), Some("Europe/Berlin"));
        let (twice, never) = ("2025-10-26 02:30", "2025-03-30 02:30");
        assert_eq!(read(format, zone, None, twice), Err("time_ambiguous"));
        assert_eq!(read(format, zone, None, never), Err("time_skipped"));
        let taken = |rule, text| read(format, zone, Some(rule), text).expect("taken");
        assert_eq!(taken(Ambiguous::Earlier, twice), "2025-10-26T00:30:00.000Z");
        assert_eq!(taken(Ambiguous::Later, twice), "2025-10-26T01:30:00.000Z");
        assert_eq!(taken(Ambiguous::Earlier, never), "2025-03-30T00:30:00.000Z");
        assert_eq!(taken(Ambiguous::Later, never), "2025-03-30T01:30:00.000Z");
        assert_eq!(taken(Ambiguous::Later, "2025-06-01 12:00"), "2025-06-01T10:00:00.000Z");
    }
}
