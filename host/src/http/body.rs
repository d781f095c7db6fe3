//! Request bodies: read within limits of size, time and pace, then decompressed within limits.
//!
//! Memory stays flat under attack: a declared size above the limit is refused before a byte is read, a body without
//! one is counted, all bodies together share one budget, and a bomb is measured before it is unpacked.

use super::settings::Settings;
use crate::problem::{Code, Problem};
use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// One permit of the budget stands for so many bytes.
const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// Unpacked without measuring first: what a body may take before it is looked at twice.
const UNMEASURED_BYTES_MAX: usize = 4 << 20;

/// A compressed body up to this size is unpacked on the request's own thread: a millisecond at most.
const INLINE_BYTES_MAX: usize = 1 << 10;

/// The window that a Zstandard body may need, as a power of two: 8 MiB, as RFC 9659 has it for the web.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A request body and its share of the budget, which it gives back when it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    /// The body, decompressed.
    pub(super) bytes: Bytes,
    /// Its share.
    _share: Share,
}

/// The memory that all request bodies share.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A part of the budget that is in use.
#[derive(Debug)]
struct Share {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / BUDGET_UNIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    fn share(&self) -> Share {
        Share { budget: self.clone(), permit: None }
    }
}

impl Share {
    /// Grows to hold `bytes` in all, or says that the server is overloaded.
    fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BUDGET_UNIT_BYTES).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.budget.0).try_acquire_many_owned(more) else {
            let detail = "the request bodies being received take all the memory set aside for them";
            return Err(Problem::new(Code::Overloaded, detail).retry_after(1));
        };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Unpacks what it reads.
    fn reader(self, packed: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Identity => Box::new(packed),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Reads a whole body, of up to `bytes_max` as sent, and unpacks it.
pub(super) async fn receive(
    body: Body,
    headers: &HeaderMap,
    settings: &Settings,
    budget: &Budget,
    bytes_max: usize,
) -> Result<Received, Problem> {
    let encoding = encoding(headers)?;
    let mut share = budget.share();
    let bytes = read(body, headers, settings, &mut share, bytes_max).await?;
    let bytes = match encoding {
        Encoding::Identity => bytes,
        Encoding::Gzip | Encoding::Zstd => {
            unpack(bytes, encoding, settings.inflated_bytes_max, &mut share).await?
        }
    };
    Ok(Received { bytes, _share: share })
}

/// The media type in lower case without its parameters; a charset must be UTF-8.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = content_type(headers)? else { return Ok(None) };
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
            let detail = format!("the charset {value:?} is not read here, only utf-8");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    }
    Ok(Some(media_type))
}

/// The Content-Type header as sent.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let bad = |_| Problem::new(Code::BadHeader, "Content-Type is not visible ASCII");
    value.to_str().map(Some).map_err(bad)
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut found = Encoding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        let word = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        found = match (word.as_str(), found) {
            ("" | "identity", _) => found,
            ("gzip" | "x-gzip", Encoding::Identity) => Encoding::Gzip,
            ("zstd", Encoding::Identity) => Encoding::Zstd,
            _ => {
                let detail =
                    format!("the Content-Encoding {word:?} is not read here, only gzip or zstd, once");
                return Err(Problem::new(Code::UnsupportedMediaType, detail));
            }
        };
    }
    Ok(found)
}

/// Reads the body as sent. Time is counted twice: no pause may be longer than the time-out, and an upload as a whole
/// may not fall behind the least pace, so that a byte now and then does not hold a connection.
async fn read(
    mut body: Body,
    headers: &HeaderMap,
    settings: &Settings,
    share: &mut Share,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let announced = declared(&body, headers);
    let Some(announced) = usize::try_from(announced).ok().filter(|bytes| *bytes <= bytes_max) else {
        return Err(too_large(bytes_max, "as sent"));
    };
    let start = Instant::now() + settings.body_timeout;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut received = 0;
    loop {
        let earned = Duration::from_secs(received as u64) / settings.body_bytes_per_s_min.max(1);
        let deadline = (start + earned).min(Instant::now() + settings.body_timeout);
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            return Err(timed_out(received));
        };
        let Some(frame) = frame else { break };
        let broken = |_| Problem::new(Code::BadEncoding, "the body broke off before its end");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        received += data.len();
        if received > bytes_max {
            return Err(too_large(bytes_max, "as sent"));
        }
        share.hold(received)?;
        match (first.is_empty(), whole.is_empty()) {
            (true, true) => first = data,
            (false, true) => {
                // What is announced and within the budget is reserved at once, not doubling by doubling.
                share.hold(announced)?;
                whole.reserve(announced.max(received));
                whole.extend_from_slice(&first);
                whole.extend_from_slice(&data);
            }
            (_, false) => whole.extend_from_slice(&data),
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The size that the client announces, or 0.
fn declared(body: &Body, headers: &HeaderMap) -> u64 {
    let header = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    header.unwrap_or(0).max(body.size_hint().lower())
}

async fn unpack(
    packed: Bytes,
    encoding: Encoding,
    bytes_max: usize,
    share: &mut Share,
) -> Result<Bytes, Problem> {
    let broken = |error: &io::Error| broken(encoding, error);
    let measured = if packed.len() <= INLINE_BYTES_MAX {
        first_part(&packed, encoding)
    } else {
        let packed = packed.clone();
        on_blocking_thread(move || first_part(&packed, encoding)).await?
    };
    let first = measured.map_err(|error| broken(&error))?;
    if first.len() <= UNMEASURED_BYTES_MAX {
        return held(first, bytes_max, share);
    }
    drop(first);
    let counted = packed.clone();
    let length = on_blocking_thread(move || count(&counted, encoding, bytes_max)).await?;
    let length = length.map_err(|error| broken(&error))?;
    if length > bytes_max {
        return Err(too_large(bytes_max, "after decompression"));
    }
    share.hold(packed.len() + length)?;
    let whole = on_blocking_thread(move || all(&packed, encoding, length)).await?;
    held(whole.map_err(|error| broken(&error))?, bytes_max, share)
}

/// The unpacked bytes, within the limit and counted against the budget.
fn held(bytes: Vec<u8>, bytes_max: usize, share: &mut Share) -> Result<Bytes, Problem> {
    if bytes.len() > bytes_max {
        return Err(too_large(bytes_max, "after decompression"));
    }
    share.hold(bytes.len())?;
    Ok(Bytes::from(bytes))
}

/// Unpacks up to one byte more than may be unpacked without measuring.
fn first_part(packed: &[u8], encoding: Encoding) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encoding.reader(packed)?.take(UNMEASURED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The unpacked length, counted without keeping the bytes, and no further than one above the limit.
fn count(packed: &[u8], encoding: Encoding, bytes_max: usize) -> io::Result<usize> {
    let mut reader = encoding.reader(packed)?.take(bytes_max as u64 + 1);
    let counted = io::copy(&mut reader, &mut io::sink())?;
    Ok(usize::try_from(counted).unwrap_or(usize::MAX))
}

fn all(packed: &[u8], encoding: Encoding, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    encoding.reader(packed)?.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let failed = |_| Problem::new(Code::Internal, "the body could not be decompressed");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

fn broken(encoding: Encoding, error: &io::Error) -> Problem {
    let encoding = encoding.name();
    let detail = format!("the body is not {encoding}, as its Content-Encoding says: {error}");
    Problem::new(Code::BadEncoding, detail)
}

fn too_large(bytes_max: usize, when: &str) -> Problem {
    let detail =
        format!("a request body may have at most {bytes_max} bytes {when}: send fewer events at a time");
    Problem::new(Code::BodyTooLarge, detail).with("limit", bytes_max)
}

fn timed_out(received: usize) -> Problem {
    let detail = format!("the body came too slowly: {received} bytes of it had arrived when the time was up");
    Problem::new(Code::BodyTimeout, detail)
}
