//! What goes back: JSON, problem+json, and the headers that belong to them.

use super::accept::Media;
use super::csv;
use super::service::{FeedAnswer, ViewAnswer};
use super::sse::Stream;
use crate::admit;
use crate::problem::{Code, Problem};
use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, HeaderName, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

/// An answer on its way out.
pub(super) type Reply = Response<Body>;

/// The header that says which preference was followed.
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Where a table that has no place for it goes on, how much is left, and what the caller knows at the end.
pub(super) const CURSOR: HeaderName = HeaderName::from_static("laterbase-cursor");
pub(super) const LEFT: HeaderName = HeaderName::from_static("laterbase-left");
pub(super) const VV: HeaderName = HeaderName::from_static("laterbase-vv");

/// Clients refuse headers that are much longer.
const VV_HEADER_BYTES_MAX: usize = 4 << 10;

/// JSON that is true now and may be another the next time.
pub(super) fn json(status: StatusCode, json: Bytes) -> Reply {
    content(status, "application/json", json)
}

/// Bytes of a media type, never kept by caches between.
pub(super) fn content(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Reply {
    let mut reply = Reply::new(Body::from(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A page of the feed. What a format has no place for stands in headers, as far as those may be long.
pub(super) fn feed(answer: FeedAnswer, media: Media) -> Reply {
    let FeedAnswer { body, cursor, left, vv } = answer;
    let mut reply = content(StatusCode::OK, media.content_type(), body);
    let headers = reply.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if media == Media::Csv {
        let vv = vv.filter(|vv| vv.len() <= VV_HEADER_BYTES_MAX);
        let told = [(CURSOR, cursor), (LEFT, left.map(|left| left.to_string())), (VV, vv)];
        for (name, text) in told {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
    }
    reply
}

/// A list of the host's own, as the caller takes it; its rows are the member of that name.
pub(super) fn list((media, rows): (Media, &str), json: Bytes) -> Result<Reply, Problem> {
    let body =
        if media == Media::Csv { csv::list(&json, rows).map_err(|error| no_table(&error))? } else { json };
    let mut reply = content(StatusCode::OK, media.content_type(), body);
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(reply)
}

fn no_table(error: &serde_json::Error) -> Problem {
    Problem::new(Code::Internal, format!("the answer does not fit a table: {error}"))
}

/// Server-sent events, for as long as both sides like.
pub(super) fn stream(stream: Stream) -> Reply {
    let mut reply = Reply::new(Body::new(stream));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// The answer to OPTIONS that is no preflight.
pub(super) fn options(allow: &str) -> Reply {
    let mut reply = Reply::new(Body::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.headers_mut().insert(ALLOW, allowed(allow));
    reply
}

/// The value of an `Allow` header.
pub(super) fn allowed(allow: &str) -> HeaderValue {
    HeaderValue::from_str(allow).expect("names of methods are ASCII")
}

/// The answer to a POST of events: 201 if anything was written, else 200, as of a dry run.
pub(super) fn admitted(answer: &admit::Answer, minimal: bool, dry_run: bool) -> Reply {
    let is_written = answer.written > 0 && !dry_run;
    let status = if is_written { StatusCode::CREATED } else { StatusCode::OK };
    let mut reply = json(status, bytes_of(answer));
    if minimal {
        reply.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("return=minimal"));
    }
    reply
}

/// The answer of a View: 304 without a body if the caller names it in `If-None-Match`.
pub(super) fn view(answer: ViewAnswer, media: Media, request: &HeaderMap) -> Result<Reply, Problem> {
    // The same answer in other bytes has another name.
    let form = if media == Media::Csv { ".csv" } else { "" };
    let quoted = format!("\"{}{form}\"", answer.etag);
    let known = request
        .get_all(axum::http::header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == quoted);
    let mut reply = if known {
        let mut reply = Reply::new(Body::empty());
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else if media == Media::Csv {
        let (table, cursor) = csv::view(&answer.json).map_err(|error| no_table(&error))?;
        feed(FeedAnswer { body: table, cursor, ..FeedAnswer::default() }, media)
    } else {
        json(StatusCode::OK, answer.json)
    };
    let etag = HeaderValue::from_str(&quoted).expect("an etag is visible ASCII");
    reply.headers_mut().insert(ETAG, etag);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(reply)
}

/// An error as RFC 9457 problem+json.
pub(super) fn problem(problem: &Problem) -> Reply {
    let status = StatusCode::from_u16(problem.code.status()).expect("every code has a status");
    let mut reply = content(status, "application/problem+json", problem_bytes(problem));
    let headers = reply.headers_mut();
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == Code::UnsupportedMediaType {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, identity"));
    }
    if leaves_body_unread(problem.code) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// Whether the rest of the request is not worth reading, so that the connection ends with the answer.
fn leaves_body_unread(code: Code) -> bool {
    [Code::BodyTimeout, Code::BodyTooLarge, Code::UriTooLong, Code::VvTooLong, Code::Draining].contains(&code)
}

/// The problem+json object as bytes.
pub(super) fn problem_bytes(problem: &Problem) -> Bytes {
    bytes_of(&problem_members(problem))
}

/// The members of the problem object; an error's own members cannot replace the standard ones.
fn problem_members(problem: &Problem) -> Map<String, Value> {
    let mut members = Map::new();
    let word = problem.code.word();
    members.insert("type".to_owned(), format!("urn:laterbase:problem:{word}").into());
    members.insert("title".to_owned(), problem.code.meaning().into());
    members.insert("status".to_owned(), problem.code.status().into());
    members.insert("detail".to_owned(), problem.detail.as_str().into());
    members.insert("code".to_owned(), word.into());
    for (name, value) in &problem.members {
        members.entry(name.as_str()).or_insert_with(|| value.clone());
    }
    members
}

fn bytes_of(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("answers have text keys and no failing serialisers"))
}
