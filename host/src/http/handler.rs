//! One request: parse, one call inward, status.

use super::accept::{self, Media};
use super::body::{self, Budget};
use super::meter::Meters;
use super::names::{RootName, ViewName};
use super::reply::{self, Reply};
use super::request_id::{REQUEST_ID, RequestId};
use super::route::Route;
use super::service::{Aspect, FeedQuery, PageFormat, Service, ViewQuery};
use super::settings::Settings;
use super::{docs, openapi, packing, query};
use crate::admit::{self, Content};
use crate::core::limits::SYNC_FRAME_BYTES_MAX;
use crate::problem::{Code, Problem};
use axum::body::Body;
use axum::http::header::{ALLOW, HeaderName};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use serde_json::json;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::time::Instant;
use tracing::Instrument;

/// The media type of frames between replicas.
const FRAME: &str = "application/vnd.laterbase.sync";
/// The longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Errors that an operator has to hear of.
const HOST_FAULTS: &[Code] =
    &[Code::Internal, Code::Storage, Code::Corrupt, Code::DiskFull, Code::OutcomeUnknown, Code::RootClosed];
/// The same, for whoever looks after a plugin.
const PLUGIN_FAULTS: &[Code] = &[Code::PluginFailed, Code::StateTooLarge];
/// What a body of events may be.
const SEND: &str = "send application/json, application/x-ndjson or application/vnd.laterbase.events, or name a format with ?format=";

/// What all requests of one server share.
#[derive(Debug)]
pub(super) struct Edge<S> {
    /// The way inward.
    pub(super) service: S,
    /// Limits.
    pub(super) settings: Settings,
    /// The memory for request bodies.
    pub(super) budget: Budget,
    /// Set once the server is told to stop: what comes after is refused.
    pub(super) draining: AtomicBool,
    /// What is counted of answers.
    pub(super) meters: Meters,
}

/// Answers one request; never fails and never panics.
pub(super) async fn answer<S: Service>(edge: Arc<Edge<S>>, request: Request<Body>) -> Reply {
    let id = RequestId::of(request.headers());
    let route = Route::parse(request.uri().path());
    let pattern = route.as_ref().map_or("none", Route::pattern);
    let methods = route.as_ref().ok().map(Route::methods);
    let wanted = accept::packing(request.headers());
    // Always there, whatever is logged: an error's line needs it.
    let span = tracing::error_span!(
        "request",
        request_id = id.as_str(),
        method = request.method().as_str(),
        route = pattern
    );
    let answered = async {
        let begun = Instant::now();
        let reply = match contained(respond(&edge, route, request)).await {
            Some(Ok(reply)) => reply,
            Some(Err(problem)) => refused(problem, &id),
            None => {
                let detail = "the server failed on this request; its log says where";
                refused(Problem::new(Code::Internal, detail), &id)
            }
        };
        let reply = packing::packed(reply, wanted).await;
        let (status, seconds) = (reply.status(), begun.elapsed().as_secs_f64());
        tracing::debug!(status = status.as_u16(), seconds, "answered");
        edge.meters.count(pattern, status, seconds);
        reply
    };
    let mut reply = answered.instrument(span).await;
    if let (StatusCode::METHOD_NOT_ALLOWED, Some(methods)) = (reply.status(), methods) {
        reply.headers_mut().insert(ALLOW, reply::allowed(&methods.allow()));
    }
    reply.headers_mut().insert(REQUEST_ID, id.header());
    reply
}

/// The answer to a request that is refused. What is the server's own fault is logged.
fn refused(problem: Problem, id: &RequestId) -> Reply {
    let code = problem.code.word();
    if HOST_FAULTS.contains(&problem.code) {
        tracing::error!(code, "{}", problem.detail);
    } else if PLUGIN_FAULTS.contains(&problem.code) {
        // Their sentences may quote an event.
        tracing::error!(code, "a plugin failed");
    } else {
        tracing::debug!(code, "refused");
    }
    reply::problem(&problem.with("request_id", id.as_str()))
}

/// The future's output, or none if it panicked: the connection and its other requests go on.
async fn contained<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        // What a panic leaves behind is dropped with the future, which is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

async fn respond<S: Service>(
    edge: &Edge<S>,
    route: Result<Route, Problem>,
    request: Request<Body>,
) -> Result<Reply, Problem> {
    let route = route?;
    let (parts, body) = request.into_parts();
    check_length(edge.settings.uri_bytes_max, &route, &parts)?;
    let methods = route.methods();
    if parts.method == Method::OPTIONS {
        return Ok(reply::options(&methods.allow()));
    }
    if !methods.has(&parts.method) {
        let allow = methods.allow();
        return Err(Problem::new(Code::MethodNotAllowed, format!("this route has {allow}")));
    }
    check_draining(edge, &route)?;
    let asked = parts.uri.query();
    match route {
        Route::Events(root) if parts.method == Method::POST => {
            post_events(edge, root, asked, &parts.headers, body).await
        }
        Route::Events(root) => feed(edge, root, query::feed(asked, &edge.settings)?, &parts.headers).await,
        Route::Changes(root) => post_changes(edge, root, asked, &parts.headers, body).await,
        Route::View(root, view) => {
            let query = query::view(asked, &edge.settings)?;
            self::view(edge, (root, view), query, &parts.headers).await
        }
        Route::Reload(plugin) if parts.method == Method::DELETE => {
            query::none(asked)?;
            edge.service.cancel(plugin).await.map(ok)
        }
        Route::Reload(plugin) => {
            let answer = edge.service.reload(plugin, query::reload(asked)?).await?;
            let status = if answer.done { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok(reply::json(status, answer.json))
        }
        Route::Sync(root) => {
            query::none(asked)?;
            post_frame(edge, root, &parts.headers, body).await
        }
        Route::Verify(root) if parts.method == Method::POST => {
            let body = json_body(edge, asked, &parts.headers, body).await?;
            let begun = edge.service.verify(root, Some(body.bytes.clone())).await?;
            Ok(reply::json(StatusCode::ACCEPTED, begun))
        }
        Route::Verify(root) => {
            query::none(asked)?;
            edge.service.verify(root, None).await.map(ok)
        }
        route @ (Route::Root(_)
        | Route::Live
        | Route::Ready
        | Route::Metrics
        | Route::Roots
        | Route::Plugins
        | Route::Peers
        | Route::OpenApi
        | Route::Docs(_)) => {
            query::none(asked)?;
            plain(edge, route, &parts.headers).await
        }
    }
}

/// Once the server was told to stop only its own state is shown.
fn check_draining<S>(edge: &Edge<S>, route: &Route) -> Result<(), Problem> {
    if !edge.draining.load(Ordering::Acquire) || matches!(route, Route::Live | Route::Metrics) {
        return Ok(());
    }
    let problem = Problem::new(Code::Draining, "the server is shutting down").retry_after(1);
    let reasons = json!([{"reason": "draining"}]);
    Err(if *route == Route::Ready { problem.with("reasons", reasons) } else { problem })
}

/// The routes that are asked without parameters.
async fn plain<S: Service>(edge: &Edge<S>, route: Route, headers: &HeaderMap) -> Result<Reply, Problem> {
    let list = |name| accept::media(headers, accept::LIST).map(|media| (media, name));
    match route {
        Route::Root(root) => edge.service.root_info(root).await.map(ok),
        Route::Ready => edge.service.ready().await.map(ok),
        Route::Roots => reply::list(list("roots")?, edge.service.roots().await?),
        Route::Plugins => reply::list(list("plugins")?, edge.service.plugins().await?),
        Route::Peers => reply::list(list("peers")?, edge.service.peers().await?),
        Route::Metrics => {
            let text = edge.service.metrics().await?;
            Ok(reply::content(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        Route::OpenApi => Ok(ok(openapi::document(&edge.service.offers().await?))),
        Route::Docs(asset) => Ok(docs::file(asset)),
        Route::Live => Ok(ok(Bytes::from_static(br#"{"live":true}"#))),
        Route::Events(_)
        | Route::Changes(_)
        | Route::View(..)
        | Route::Reload(_)
        | Route::Sync(_)
        | Route::Verify(_) => {
            unreachable!("routes with parameters are answered by their own functions")
        }
    }
}

/// A page of the feed, or the feed itself, as the caller takes it.
async fn feed<S: Service>(
    edge: &Edge<S>,
    root: RootName,
    mut query: FeedQuery,
    headers: &HeaderMap,
) -> Result<Reply, Problem> {
    let media = accept::media(headers, accept::FEED)?;
    query.format = match media {
        Media::EventStream => {
            query::live(&query)?;
            return edge.service.follow(root, query, last_event_id(headers)).await.map(reply::stream);
        }
        Media::Json => PageFormat::Json,
        Media::Ndjson => PageFormat::Ndjson,
        Media::Frames => PageFormat::Frames,
        Media::Csv => PageFormat::Csv,
    };
    edge.service.feed(root, query).await.map(|answer| reply::feed(answer, media))
}

/// A View or Report as the caller takes it, or its changes.
async fn view<S: Service>(
    edge: &Edge<S>,
    (root, view): (RootName, ViewName),
    mut query: ViewQuery,
    headers: &HeaderMap,
) -> Result<Reply, Problem> {
    let offered = match query.aspect {
        Aspect::Answer => accept::LIST,
        Aspect::Changes(_) => &[Media::EventStream],
        Aspect::Digest => &[Media::Json],
    };
    let media = accept::media(headers, offered)?;
    if let Aspect::Changes(since) = &mut query.aspect {
        // A reader that comes back says how far it is; the URL says where it began.
        *since = last_event_id(headers).or_else(|| since.take());
        return edge.service.changes(root, view, query).await.map(reply::stream);
    }
    reply::view(edge.service.view(root, view, query).await?, media, headers)
}

/// What a reader of a stream got last.
fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("last-event-id").filter(|id| !id.is_empty())?;
    Some(String::from_utf8_lossy(id.as_bytes()).into_owned())
}

fn ok(json: Bytes) -> Reply {
    reply::json(StatusCode::OK, json)
}

async fn post_events<S: Service>(
    edge: &Edge<S>,
    root: RootName,
    asked: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, Problem> {
    let query = query::admit(asked)?;
    let content = content(query.format, headers)?;
    let idempotency_key = idempotency_key(headers)?;
    let received =
        body::receive(body, headers, &edge.settings, &edge.budget, edge.settings.body_bytes_max).await?;
    let minimal = prefers_minimal(headers);
    let request = admit::Request {
        body: received.bytes.clone(),
        content,
        atomic: query.atomic,
        idempotency_key,
        minimal,
        dry_run: query.dry_run,
    };
    let answer = edge.service.admit(root, request).await?;
    Ok(reply::admitted(&answer, minimal, query.dry_run))
}

/// A frame of another replica.
async fn post_frame<S: Service>(
    edge: &Edge<S>,
    root: RootName,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, Problem> {
    if body::media_type(headers)?.as_deref() != Some(FRAME) {
        let detail = format!("a frame of another replica has Content-Type: {FRAME}");
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let received = body::receive(body, headers, &edge.settings, &edge.budget, SYNC_FRAME_BYTES_MAX).await?;
    let answer = edge.service.sync(root, received.bytes.clone()).await?;
    Ok(reply::content(StatusCode::OK, FRAME, answer))
}

async fn post_changes<S: Service>(
    edge: &Edge<S>,
    root: RootName,
    asked: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, Problem> {
    let body = json_body(edge, asked, headers, body).await?;
    feed(edge, root, query::changes(&body.bytes, &edge.settings)?, headers).await
}

/// The body of a route whose parameters are a JSON object. A page of another origin cannot send one unasked.
async fn json_body<S: Service>(
    edge: &Edge<S>,
    asked: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<body::Received, Problem> {
    query::none(asked)?;
    if body::media_type(headers)?.as_deref() != Some("application/json") {
        let detail = "the parameters are a JSON object: send Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    body::receive(body, headers, &edge.settings, &edge.budget, edge.settings.body_bytes_max).await
}

/// How the body is written: the format named in the URL takes any Content-Type, otherwise it decides.
fn content(format: Option<String>, headers: &HeaderMap) -> Result<Content, Problem> {
    if let Some(name) = format {
        let content_type = body::content_type(headers)?.unwrap_or_default().to_owned();
        return Ok(Content::Format { name, content_type });
    }
    let detail = match body::media_type(headers)?.as_deref() {
        Some("application/json") => return Ok(Content::Json),
        Some("application/x-ndjson") => return Ok(Content::Ndjson),
        Some("application/vnd.laterbase.events") => return Ok(Content::Frames),
        Some(other) => format!("the Content-Type {other:?} is not read here: {SEND}"),
        None => format!("there is no Content-Type: {SEND}"),
    };
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HeaderName::from_static("idempotency-key")).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let form = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && values.next().is_none();
    if !form {
        let detail = format!(
            "Idempotency-Key is one text of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters without control characters"
        );
        return Err(Problem::new(Code::BadHeader, detail).with("header", "Idempotency-Key"));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// Whether `Prefer: return=minimal` is among the preferences; unknown ones are ignored, as RFC 7240 wants.
fn prefers_minimal(headers: &HeaderMap) -> bool {
    headers
        .get_all(HeaderName::from_static("prefer"))
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("return") && value.trim().trim_matches('"') == "minimal"
        })
}

/// A URL within its limit; where a version vector makes it long, there is another way to send it.
fn check_length(bytes_max: usize, route: &Route, parts: &axum::http::request::Parts) -> Result<(), Problem> {
    let bytes = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if bytes <= bytes_max {
        return Ok(());
    }
    let feed = matches!(route, Route::Events(_)) && parts.method != Method::POST;
    let (code, hint) = if feed {
        (Code::VvTooLong, ": send the same parameters as JSON to POST /{root}/e/changes")
    } else {
        (Code::UriTooLong, "")
    };
    let detail = format!("the URL has {bytes} bytes, and {bytes_max} is the limit{hint}");
    Err(Problem::new(code, detail).with("limit", bytes_max))
}
