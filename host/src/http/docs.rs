//! The page that shows the document of the interface and tries it: three files of this program, which need nothing
//! from elsewhere and may load nothing from elsewhere.

use super::reply::{Reply, content};
use super::route::Asset;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;

/// What the page may do: its own script and style, and requests to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: &[(HeaderName, &str)] = &[
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

/// One file of the page.
pub(super) fn file(asset: Asset) -> Reply {
    let (media_type, text) = match asset {
        Asset::Page => ("text/html; charset=utf-8", include_str!("docs/page.html")),
        Asset::Style => ("text/css; charset=utf-8", include_str!("docs/page.css")),
        Asset::Script => ("text/javascript; charset=utf-8", include_str!("docs/page.js")),
    };
    let mut reply = content(StatusCode::OK, media_type, Bytes::from_static(text.as_bytes()));
    for (name, value) in HEADERS {
        reply.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
    }
    reply
}
