//! Query strings, strictly: every parameter is known, of its form, within its limits, and there once.
//!
//! A plus sign reads as a space, as forms send it; times take the space back as a plus sign, so an offset such as
//! `+12:00` may be written either way. `POST /{root}/e/changes` has the same parameters as members of a JSON body.

use super::service::{Aspect, FeedQuery, Known, PageFormat, ViewQuery};
use super::settings::Settings;
use super::table::{self, Parameter, Shape};
use crate::core::event::ValidTime;
use crate::problem::{Code, Problem};
use percent_encoding::percent_decode;
use serde::Deserialize;
use std::ops::RangeInclusive;

/// More parts than any aggregate key has.
const KEY_PARTS_MAX: usize = 64;

/// The longest name of a format, in bytes.
const FORMAT_BYTES_MAX: usize = 63;

/// The parameters of a query string, decoded, in order.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes a query string apart; a parameter that is not `allowed`, or there twice without need, is refused.
    pub(super) fn parse(query: Option<&str>, allowed: &[Parameter]) -> Result<Self, Problem> {
        let (found, others) = Self::split(query, allowed)?;
        others.first().map_or(Ok(found), |(name, _)| Err(unknown(name, allowed)))
    }

    /// The same, with the parameters that are not `allowed` on their own.
    fn split(query: Option<&str>, allowed: &[Parameter]) -> Result<(Self, Vec<(String, String)>), Problem> {
        let (mut found, mut others): (Vec<(String, String)>, _) = (Vec::new(), Vec::new());
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| bad("?", "its name does not decode to text"))?;
            let known = allowed.iter().find(|known| known.name == name);
            let is_known = known.is_some();
            let is_there = found.iter().any(|(known, _)| *known == name);
            if is_there && known.is_some_and(|known| known.shape != Shape::Texts) {
                return Err(bad(&name, "it is there more than once"));
            }
            let value = decode(value).ok_or_else(|| bad(&name, "its value does not decode to text"))?;
            if is_known { found.push((name, value)) } else { others.push((name, value)) }
        }
        Ok((Self(found), others))
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.one(name).map(str::to_owned)
    }

    fn number(&self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, Problem> {
        let Some(text) = self.one(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        within(name, number, range).map(Some)
    }

    fn time(&self, name: &str) -> Result<Option<ValidTime>, Problem> {
        self.one(name).map(|text| time(name, text)).transpose()
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.one(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(bad(name, "it is true or false")),
        }
    }
}

/// What a POST of events says in its query string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdmitQuery {
    /// All or nothing.
    pub(super) atomic: bool,
    /// The format whose Schema reads the body.
    pub(super) format: Option<String>,
    /// Check and answer only.
    pub(super) dry_run: bool,
}

/// The parameters of `POST /{root}/e`.
pub(super) fn admit(query: Option<&str>) -> Result<AdmitQuery, Problem> {
    let parameters = Parameters::parse(query, table::ADMIT)?;
    let format = parameters.text("format");
    let named = |name: &String| {
        !name.is_empty() && name.len() <= FORMAT_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if format.as_ref().is_some_and(|name| !named(name)) {
        return Err(bad("format", "it is the name of a format"));
    }
    let dry_run = parameters.flag("dry_run", false)?;
    Ok(AdmitQuery { atomic: parameters.flag("atomic", true)?, format, dry_run })
}

/// The parameters of `GET /{root}/e`.
pub(super) fn feed(query: Option<&str>, settings: &Settings) -> Result<FeedQuery, Problem> {
    let parameters = Parameters::parse(query, table::FEED)?;
    Ok(FeedQuery {
        vv: parameters.all("vv"),
        cursor: parameters.text("cursor"),
        limit: parameters.number("limit", 1..=settings.page_events_max)?,
        max_bytes: parameters.number("max_bytes", 1..=settings.page_bytes_max)?,
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        type_: parameters.text("type"),
        format: PageFormat::default(),
    })
}

/// What a live reader may know, in bytes of text: it is kept until the reader has caught up.
const LIVE_VV_BYTES_MAX: usize = 256 << 10;

/// Refuses what belongs to pages and is asked of a live feed.
pub(super) fn live(query: &FeedQuery) -> Result<(), Problem> {
    if query.vv.iter().map(String::len).sum::<usize>() > LIVE_VV_BYTES_MAX {
        let detail = "the version vectors are too long for a live feed: catch up by pages, and come with the vv of the last one";
        return Err(Problem::new(Code::VvTooLong, detail).with("limit", LIVE_VV_BYTES_MAX));
    }
    let named = [
        ("cursor", query.cursor.is_some()),
        ("limit", query.limit.is_some()),
        ("max_bytes", query.max_bytes.is_some()),
    ];
    match named.into_iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => Err(bad(name, "it belongs to a page, and a live feed has none")),
        None => Ok(()),
    }
}

/// The parameters of a View that go with `changes`.
const CHANGES: &[&str] = &["key", "prefix", "changes"];
/// Those that go with `digest`.
const DIGEST: &[&str] = &["digest"];

impl ViewQuery {
    /// For a View: refuses the parameters that are a Report's own.
    pub fn refuse_others(&self) -> Result<(), Problem> {
        self.others.first().map_or(Ok(()), |(name, _)| Err(unknown(name, table::VIEW)))
    }
}

/// The parameters of `GET /{root}/{view}`.
pub(super) fn view(query: Option<&str>, settings: &Settings) -> Result<ViewQuery, Problem> {
    let (parameters, others) = Parameters::split(query, table::VIEW)?;
    let keys = parameters.all("key");
    let prefix = parameters.all("prefix");
    for (name, parts) in [("key", &keys), ("prefix", &prefix)] {
        if parts.len() > KEY_PARTS_MAX {
            return Err(bad(name, &format!("a key has at most {KEY_PARTS_MAX} parts")));
        }
    }
    if !keys.is_empty() {
        for name in ["prefix", "limit", "cursor"] {
            if parameters.one(name).is_some() {
                return Err(bad(name, "it belongs to a list, and key asks for one answer"));
            }
        }
    }
    Ok(ViewQuery {
        keys,
        prefix,
        limit: parameters.number("limit", 1..=settings.page_events_max)?,
        cursor: parameters.text("cursor"),
        at: parameters.time("at")?,
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        known: parameters.one("known").map(known).transpose()?,
        group: parameters.number("group", 1..=KEY_PARTS_MAX)?,
        others,
        aspect: aspect(&parameters)?,
    })
}

fn aspect(parameters: &Parameters) -> Result<Aspect, Problem> {
    let only = |allowed: &[&str], with: &str| {
        let other = parameters.0.iter().find(|(name, _)| !allowed.contains(&name.as_str()));
        other.map_or(Ok(()), |(name, _)| Err(bad(name, &format!("it does not go with {with}"))))
    };
    if let Some(since) = parameters.one("changes") {
        only(CHANGES, "changes")?;
        return Ok(Aspect::Changes(Some(since.to_owned()).filter(|since| !since.is_empty())));
    }
    match parameters.one("digest") {
        None => Ok(Aspect::Answer),
        Some("") => only(DIGEST, "digest").map(|()| Aspect::Digest),
        Some(_) => Err(bad("digest", "it has no value")),
    }
}

/// The parameters of `POST /_/plugins/{name}/reload`: whether to wait.
pub(super) fn reload(query: Option<&str>) -> Result<bool, Problem> {
    Parameters::parse(query, table::RELOAD)?.flag("wait", true)
}

/// A route without parameters.
pub(super) fn none(query: Option<&str>) -> Result<(), Problem> {
    Parameters::parse(query, &[]).map(drop)
}

/// The body of `POST /{root}/e/changes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    vv: Option<OneOrMany>,
    cursor: Option<String>,
    limit: Option<usize>,
    max_bytes: Option<usize>,
    from: Option<String>,
    to: Option<String>,
    #[serde(rename = "type")]
    type_: Option<TypeName>,
}

/// A text, or several side by side.
#[derive(Deserialize)]
#[serde(untagged, expecting = "vv is a text or an array of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// An event type by name or number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "type is a name or a number")]
enum TypeName {
    Name(String),
    Number(u32),
}

/// The same parameters as [`feed`], as a JSON object.
pub(super) fn changes(body: &[u8], settings: &Settings) -> Result<FeedQuery, Problem> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::new(Code::BadJson, "the body is a JSON object with the feed's parameters"));
    }
    let changes: Changes = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::new(Code::BadParameter, error.to_string()),
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => Problem::new(Code::BadJson, error.to_string()),
    })?;
    let number = |name: &str, number: Option<usize>, most: usize| {
        number.map(|number| within(name, Some(number), 1..=most)).transpose()
    };
    let time = |name: &str, text: Option<String>| text.map(|text| time(name, &text)).transpose();
    Ok(FeedQuery {
        vv: match changes.vv {
            None => Vec::new(),
            Some(OneOrMany::One(vv)) => vec![vv],
            Some(OneOrMany::Many(list)) => list,
        },
        cursor: changes.cursor,
        limit: number("limit", changes.limit, settings.page_events_max)?,
        max_bytes: number("max_bytes", changes.max_bytes, settings.page_bytes_max)?,
        from: time("from", changes.from)?,
        to: time("to", changes.to)?,
        type_: changes.type_.map(|name| match name {
            TypeName::Name(name) => name,
            TypeName::Number(number) => number.to_string(),
        }),
        format: PageFormat::default(),
    })
}

/// `TIME|VV`: a time has a dash behind its year, where a vv has a hex digit or a sign of its own.
fn known(text: &str) -> Result<Known, Problem> {
    if text.as_bytes().get(4) == Some(&b'-') {
        return time("known", text).map(Known::At);
    }
    Ok(Known::Vv(text.to_owned()))
}

/// A time of RFC 3339, with a space where its plus sign may have been.
fn time(name: &str, text: &str) -> Result<ValidTime, Problem> {
    let text = text.replace(' ', "+");
    let form = || bad(name, "it is a time such as 2026-05-01T10:00:00.123+12:00 or 2026-04-30T22:00:00Z");
    if !is_rfc3339(text.as_bytes()) {
        return Err(form());
    }
    let instant: jiff::Timestamp = text.parse().map_err(|_| form())?;
    let nanos = u32::try_from(instant.subsec_nanosecond()).ok();
    let time = nanos.and_then(|nanos| ValidTime::from_parts(instant.as_second(), nanos));
    time.ok_or_else(|| {
        Problem::new(Code::TimeRange, format!("{name} is outside 1970..2106")).with("parameter", name)
    })
}

/// Whether the text has the shape `0000-00-00T00:00:00[.0…](Z|±00:00)`; more lenient forms are not for an interface.
fn is_rfc3339(text: &[u8]) -> bool {
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't'),
                _ => byte == form,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else { return false };
    let rest = match rest.split_first() {
        Some((b'.', rest)) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            rest.get(digits..).unwrap_or_default()
        }
        _ => rest,
    };
    let offset = matches!(rest, b"Z" | b"z") || shaped(rest, b"+00:00") || shaped(rest, b"-00:00");
    shaped(moment, b"0000-00-00T00:00:00") && offset
}

fn within(name: &str, number: Option<usize>, range: RangeInclusive<usize>) -> Result<usize, Problem> {
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| bad(name, &format!("it is a whole number from {} to {}", range.start(), range.end())))
}

/// Decodes `%41` and `+`; none if an escape is broken or the bytes are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && !(hex(rest.next()) && hex(rest.next())) {
            return None;
        }
    }
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn unknown(name: &str, known: &[Parameter]) -> Problem {
    let names: Vec<&str> = known.iter().map(|known| known.name).collect();
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bad(name, &format!("this route does not know it; it knows {list}"))
}

fn bad(name: &str, why: &str) -> Problem {
    let shown: String = name.chars().take(FORMAT_BYTES_MAX).collect();
    let detail = format!("the parameter {}: {why}", shown.escape_debug());
    Problem::new(Code::BadParameter, detail).with("parameter", shown)
}

#[cfg(test)]
mod tests;
