//! What an operator may turn on the HTTP side; every default is meant to be left alone.

use std::time::Duration;

/// Limits and time-outs of the listener, and who may call from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The largest request body as sent, in bytes.
    pub body_bytes_max: usize,
    /// The largest request body after decompression, in bytes.
    pub inflated_bytes_max: usize,
    /// All request bodies held at one time, in bytes; beyond it uploads are refused as `overloaded`.
    pub bodies_bytes_max: usize,
    /// The longest request URL, in bytes.
    pub uri_bytes_max: usize,
    /// The longest request line and headers together, in bytes.
    pub head_bytes_max: usize,
    /// Connections open at one time; one more gets 503 and is closed.
    pub connections_max: usize,
    /// A connection on which no complete header arrives for so long is closed.
    pub header_timeout: Duration,
    /// An upload that does not move for so long is refused.
    pub body_timeout: Duration,
    /// An upload that is slower than this on the whole, in bytes a second, is refused.
    pub body_bytes_per_s_min: u32,
    /// A connection whose client takes no byte of the answer for so long is closed.
    pub write_timeout: Duration,
    /// How long requests in flight may take after the signal to stop.
    pub drain_timeout: Duration,
    /// The largest `limit` of a page.
    pub page_events_max: usize,
    /// The largest `max_bytes` of a page.
    pub page_bytes_max: usize,
    /// Origins whose pages may call from a browser, as `https://host:port`, or `*` for all; none sends no CORS headers.
    pub origins: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            inflated_bytes_max: 32 << 20,
            bodies_bytes_max: 512 << 20,
            uri_bytes_max: 16 << 10,
            head_bytes_max: 96 << 10,
            connections_max: 10_000,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(8),
            body_bytes_per_s_min: 1 << 10,
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            page_events_max: 10_000,
            page_bytes_max: 16 << 20,
            origins: Vec::new(),
        }
    }
}
