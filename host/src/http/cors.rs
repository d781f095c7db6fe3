//! Which web pages may call: the origins of the configuration, and no headers at all without any.

use super::reply;
use axum::http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, RETRY_AFTER,
};
use axum::http::{HeaderValue, Method, Uri};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// An origin of the configuration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin:?} is not an origin: write https://host, http://host:port, or * for all")]
pub struct OriginError {
    /// The text of the configuration.
    pub origin: String,
}

/// The layer for these origins; none without any.
pub(super) fn layer(origins: &[String]) -> Result<Option<CorsLayer>, OriginError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let mut allowed = Vec::new();
    for origin in origins.iter().filter(|origin| *origin != "*") {
        allowed.push(check(origin).ok_or_else(|| OriginError { origin: origin.clone() })?);
    }
    let every = origins.iter().any(|origin| origin == "*");
    let allow = if every { AllowOrigin::any() } else { AllowOrigin::list(allowed) };
    let layer = CorsLayer::new()
        .allow_origin(allow)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            ACCEPT,
            CONTENT_TYPE,
            CONTENT_ENCODING,
            IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
            super::request_id::REQUEST_ID,
        ])
        .expose_headers([
            ETAG,
            RETRY_AFTER,
            reply::PREFERENCE_APPLIED,
            reply::CURSOR,
            reply::LEFT,
            reply::VV,
            super::request_id::REQUEST_ID,
        ])
        .max_age(Duration::from_hours(1));
    Ok(Some(layer))
}

/// The text as browsers send it: a scheme and a host, perhaps a port, nothing behind.
fn check(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let whole = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    if whole != origin || origin.contains('@') {
        return None;
    }
    HeaderValue::from_str(origin).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // What browsers send in Origin passes; everything that could never match is refused at start, not ignored.
    #[test]
    fn origins() {
        for good in ["https://example.org", "http://localhost:5173", "capacitor://localhost", "*"] {
            assert!(layer(&[good.to_owned()]).expect(good).is_some());
        }
        for bad in ["", "example.org", "https://example.org/", "https://a.org/x", "https://u@a.org", "a b"] {
            assert!(layer(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(layer(&[]).expect("no origins").is_none());
    }
}
