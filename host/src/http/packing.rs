//! Answers packed as the client takes them. Only what is large enough to gain, and only what is there as a whole: a
//! stream is never held back for the sake of its size.

use super::accept::Packing;
use super::reply::Reply;
use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use std::io::{self, Write};

/// From this size on an answer is packed: smaller ones fit a network packet anyway.
const PACKED_BYTES_MIN: u64 = 1 << 10;

/// An answer up to this size is packed on the request's own thread.
const INLINE_BYTES_MAX: u64 = 32 << 10;

/// Zstandard's level: the fastest that still halves JSON several times.
const ZSTD_LEVEL: i32 = 1;

/// The reply, packed if that is wanted and worth it.
pub(super) async fn packed(mut reply: Reply, wanted: Option<Packing>) -> Reply {
    let media_type =
        reply.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let size = reply.body().size_hint().exact();
    let (Some(size), false) = (size, media_type.is_empty() || media_type == "text/event-stream") else {
        return reply;
    };
    if size < PACKED_BYTES_MIN {
        return reply;
    }
    reply.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(way) = wanted else { return reply };
    let (mut parts, body) = reply.into_parts();
    let whole = match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) => unreachable!("bytes in memory do not fail: {error}"),
    };
    let plain = whole.clone();
    let work = move || pack(&plain, way);
    let done = if size <= INLINE_BYTES_MAX { work() } else { on_blocking_thread(work).await };
    let body = match done {
        Ok(bytes) if bytes.len() < whole.len() => {
            let name = match way {
                Packing::Zstd => "zstd",
                Packing::Gzip => "gzip",
            };
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            parts.headers.remove(CONTENT_LENGTH);
            weaken(parts.headers.get_mut(ETAG));
            bytes
        }
        Ok(_) => whole,
        Err(error) => {
            tracing::warn!(%error, "an answer could not be packed and goes out as it is");
            whole
        }
    };
    Reply::from_parts(parts, Body::from(body))
}

/// A packed answer has other bytes than a plain one of the same meaning.
fn weaken(etag: Option<&mut HeaderValue>) {
    let Some(etag) = etag else { return };
    let weak = [b"W/", etag.as_bytes()].concat();
    if let (false, Ok(weak)) = (etag.as_bytes().starts_with(b"W/"), HeaderValue::from_bytes(&weak)) {
        *etag = weak;
    }
}

fn pack(plain: &[u8], way: Packing) -> io::Result<Bytes> {
    let packed = match way {
        Packing::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL)?,
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()?
        }
    };
    Ok(Bytes::from(packed))
}

async fn on_blocking_thread(work: impl FnOnce() -> io::Result<Bytes> + Send + 'static) -> io::Result<Bytes> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| Err(io::Error::other(fault)))
}
