//! What a client takes: the media type and the packing of an answer, by its own weights (RFC 9110, 12.5).
//!
//! The most specific range that fits a media type decides its weight. Of those with the greatest weight the one that
//! was named most exactly is sent, and among equals the one that is offered first. Without `Accept` all are welcome.

use crate::problem::{Code, Problem};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// What an answer can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// One JSON value.
    Json,
    /// A JSON value on each line.
    Ndjson,
    /// Binary frames.
    Frames,
    /// A table.
    Csv,
    /// A stream that goes on.
    EventStream,
}

/// A page of the feed.
pub(super) const FEED: &[Media] =
    &[Media::Json, Media::Ndjson, Media::Frames, Media::Csv, Media::EventStream];
/// A list.
pub(super) const LIST: &[Media] = &[Media::Json, Media::Csv];

/// How an answer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
}

impl Media {
    /// The media type as it stands in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Frames => "application/vnd.laterbase.events",
            Self::Csv => "text/csv",
            Self::EventStream => "text/event-stream",
        }
    }

    /// The same with what a reader must know to read it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json | Self::Ndjson | Self::Frames | Self::EventStream => self.name(),
        }
    }
}

/// The one of `offered` that the caller likes best.
pub(super) fn media(headers: &HeaderMap, offered: &[Media]) -> Result<Media, Problem> {
    let Some(ranges) = ranges(headers, &ACCEPT) else { return Ok(first(offered)) };
    let weigh = |media: &Media| {
        let fits =
            ranges.iter().filter_map(|range| Some((exactness(&range.name, media.name())?, range.weight)));
        fits.max().filter(|(_, weight)| *weight > 0).map(|(exactness, weight)| (weight, exactness))
    };
    let weighed = offered.iter().filter_map(|media| Some((weigh(media)?, *media)));
    // Of equals the first offered wins, not the last.
    let best = weighed.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, media)| media).ok_or_else(|| {
        let offered: Vec<&str> = offered.iter().map(|media| media.name()).collect();
        let detail = format!("what Accept names is not offered here; there is {}", offered.join(", "));
        Problem::new(Code::NotAcceptable, detail).with("offered", offered)
    })
}

/// How the answer may be packed; none: it may not, or the caller likes it better as it is.
pub(super) fn packing(headers: &HeaderMap) -> Option<Packing> {
    let ranges = ranges(headers, &ACCEPT_ENCODING)?;
    let weight = |names: &[&str]| {
        let named = ranges.iter().filter(|range| names.contains(&range.name.as_str()));
        let others = ranges.iter().filter(|range| range.name == "*");
        named.map(|range| range.weight).max().or_else(|| others.map(|range| range.weight).max())
    };
    let (zstd, gzip) = (weight(&["zstd"]).unwrap_or(0), weight(&["gzip", "x-gzip"]).unwrap_or(0));
    let plain = ranges.iter().filter(|range| range.name == "identity").map(|range| range.weight).max();
    let (best, packing) = if zstd >= gzip { (zstd, Packing::Zstd) } else { (gzip, Packing::Gzip) };
    (best > 0 && plain.is_none_or(|plain| best >= plain)).then_some(packing)
}

/// One element of the header: what it names, and its weight in thousandths.
struct Range {
    name: String,
    weight: u16,
}

/// The elements of a list with weights; none if the header is not there or names nothing.
fn ranges(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<Range>> {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range> = lists.flat_map(|list| list.split(',')).filter_map(range).collect();
    (!ranges.is_empty()).then_some(ranges)
}

fn range(text: &str) -> Option<Range> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let mut weights = parts.filter_map(|parameter| {
        let (name, weight) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| thousandths(weight.trim()))
    });
    Some(Range { name, weight: weights.next_back().unwrap_or(1000) })
}

/// A weight in thousandths; what is none is 0: such an element asks for nothing.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("0", true) => format!("{rest:0<3}").parse().unwrap_or(0),
        ("1", true) => 1000,
        _ => 0,
    }
}

/// How exactly `range` names the media type: 3 by its name, 2 by its kind, 1 by anything; none if it does not.
fn exactness(range: &str, name: &str) -> Option<u8> {
    let kind = name.split('/').next().unwrap_or_default();
    match range {
        "*/*" | "*" => Some(1),
        _ if range == name => Some(3),
        _ => (range.strip_suffix("/*") == Some(kind)).then_some(2),
    }
}

fn first(offered: &[Media]) -> Media {
    offered.first().copied().unwrap_or(Media::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    // One line a header: what it gets of the feed.
    #[test]
    fn media_by_weight() {
        let table: &[(&[&'static str], Option<Media>)] = &[
            (&[], Some(Media::Json)),
            (&["*/*"], Some(Media::Json)),
            (&[""], Some(Media::Json)),
            (&["text/csv"], Some(Media::Csv)),
            (&["TEXT/CSV; charset=utf-8"], Some(Media::Csv)),
            (&["text/*"], Some(Media::Csv)),
            (&["text/csv, */*"], Some(Media::Csv)),
            (&["text/csv;q=0.5, */*;q=0.8"], Some(Media::Json)),
            (&["application/json;q=0.5, application/x-ndjson"], Some(Media::Ndjson)),
            (&["application/json;q=0.5", "application/vnd.laterbase.events;q=0.501"], Some(Media::Frames)),
            (&["application/json;q=0, */*;q=0.1"], Some(Media::Ndjson)),
            (&["application/*;q=0.2, text/event-stream;q=0.2"], Some(Media::EventStream)),
            (&["text/event-stream"], Some(Media::EventStream)),
            (&["text/html, application/xhtml+xml;q=0.9, */*;q=0.8"], Some(Media::Json)),
            (&["text/html"], None),
            (&["image/*, text/html"], None),
            (&["*/*;q=0"], None),
            (&["application/json;q=0.0001"], None),
            (&["application/json;q=x"], None),
        ];
        for (values, expected) in table {
            let found = media(&headers(&ACCEPT, values), FEED);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{values:?}");
            if let Err(problem) = found {
                assert_eq!(problem.code, Code::NotAcceptable);
                assert_eq!(problem.members["offered"][3], "text/csv");
            }
        }
        assert!(media(&headers(&ACCEPT, &["application/x-ndjson"]), LIST).is_err());
    }

    // The same for packings.
    #[test]
    fn packing_by_weight() {
        let table: &[(&[&'static str], Option<Packing>)] = &[
            (&[], None),
            (&["gzip"], Some(Packing::Gzip)),
            (&["x-gzip"], Some(Packing::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Packing::Zstd)),
            (&["gzip;q=1.0, zstd;q=0.5"], Some(Packing::Gzip)),
            (&["*"], Some(Packing::Zstd)),
            (&["zstd;q=0, *"], Some(Packing::Gzip)),
            (&["identity"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["br", "gzip;q=0"], None),
        ];
        for (values, expected) in table {
            assert_eq!(packing(&headers(&ACCEPT_ENCODING, values)), *expected, "{values:?}");
        }
    }
}
