//! Every maximum in one place. What an operator may set is a field of [`Limits`]; what formats depend on is a constant.

/// The longest key that the tables of the storage engine take, in bytes.
pub const TABLE_KEY_BYTES_MAX: usize = 511;
/// The longest encoded aggregate key, in bytes; an event key follows it in the tables of views.
pub const AGGREGATE_KEY_BYTES_MAX: usize = 400;
/// What one event may add to one aggregate, in bytes.
pub const DELTA_BYTES_MAX: usize = 64 << 10;
/// Aggregates of one Keyspace that one event may add to.
pub const AGGREGATES_PER_EVENT_MAX: usize = 65_536;
/// The state of one aggregate, in bytes.
pub const STATE_BYTES_MAX: usize = 64 << 10;
/// An Ordered View's repair that folds more deltas than this is left to the background.
pub const REPAIR_DELTAS_MAX: u64 = 4 << 20;
/// Address space of the child process that tries a plugin, in bytes.
pub const PROBE_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Stored events of one Root on which the laws of a plugin are tried.
pub const SAMPLE_EVENTS_MAX: usize = 8192;
/// The data of such events, in bytes.
pub const SAMPLE_BYTES_MAX: usize = 8 << 20;
/// A server's version vector is written in two terms per Origin, cut at the last multiple of this.
pub const VV_CUT: u64 = 4096;
/// Origins that one Root may know.
pub const ORIGINS_MAX: usize = 65_536;
/// Pins up to this size travel inside their cursor, in bytes.
pub const PIN_BYTES_MAX: usize = 2048;

/// How far ahead of the wall clock an instant may be at admission unless the operator says otherwise, in milliseconds.
pub const FUTURE_MS_MAX: u32 = 60_000;
/// What a page between replicas may unpack to, in bytes.
pub const PAGE_PLAIN_BYTES_MAX: usize = 64 << 20;
/// Data on a page between replicas at which it is closed, in bytes.
pub const SYNC_PAGE_BYTES: usize = 4 << 20;
/// The same on a link that keeps breaking.
pub const SYNC_PAGE_BYTES_MIN: usize = 4 << 10;
/// Rows of a page between replicas.
pub const SYNC_PAGE_ROWS_MAX: usize = 8192;
/// Events asked for by name in one frame.
pub const SYNC_NAMES_MAX: usize = 512;
/// A peer that lacks at most so many of our own admissions is sent them unasked.
pub const SYNC_LIVE_DOTS_MAX: u64 = 256;
/// How long what one peer was asked for is not asked of another, in milliseconds.
pub const SYNC_LEASE_MS: u64 = 10_000;
/// How long a peer may hold back its answer because there is no news, in milliseconds.
pub const SYNC_WAIT_MS_MAX: u32 = 25_000;
/// A frame between replicas, in bytes.
pub const SYNC_FRAME_BYTES_MAX: usize = 32 << 20;
/// What a dictionary for small pages between replicas may have, in bytes.
pub const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// From so many arrivals on a Root has one.
pub const DICTIONARY_ARRIVALS_MIN: u64 = 4096;
/// Pages larger than this gain nothing from one, in bytes.
pub const DICTIONARY_PLAIN_BYTES_MAX: usize = 64 << 10;
/// Roots of a peer that are followed.
pub const PEER_ROOTS_MAX: usize = 1024;
/// Roots that are created because a peer has them.
pub const ROOTS_FROM_PEERS_MAX: usize = 256;

/// A row of a file that is imported, in bytes.
pub const IMPORT_ROW_BYTES_MAX: usize = 4 << 20;
/// Rows in one request of an import.
pub const IMPORT_BATCH_ROWS: usize = 1_000;
/// Bytes at which such a request takes no further row.
pub const IMPORT_BATCH_BYTES: usize = 1 << 20;
/// New events among which a dry run looks for repeats.
pub const IMPORT_REPEATS_MAX: usize = 32 << 20;

/// Items on a page of a view when the caller names no limit.
pub const PAGE_ITEMS_DEFAULT: usize = 100;

const _: () =
    assert!(AGGREGATE_KEY_BYTES_MAX + 16 <= TABLE_KEY_BYTES_MAX, "an event key follows an aggregate key");

/// The maxima that an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// One event's data, in bytes.
    pub event_bytes_max: usize,
    /// A request's body as sent, in bytes.
    pub request_body_bytes_max: usize,
    /// A request's body after decompression, in bytes.
    pub request_inflated_bytes_max: usize,
    /// Events in one request.
    pub request_events_max: usize,
    /// How far ahead of the wall clock an instant may be at admission, in milliseconds.
    pub future_ms_max: u32,
    /// Events that may wait for a Root's writer.
    pub queue_events_max: u32,
    /// Events after which a commit takes no further request.
    pub commit_events_max: usize,
    /// A request's URL, in bytes.
    pub uri_bytes_max: usize,
    /// Connections at one time.
    pub connections_max: usize,
    /// How long a request's head may take, in milliseconds.
    pub header_ms_max: u64,
    /// How long a request's body may take, in milliseconds.
    pub body_ms_max: u64,
    /// How long requests in flight may take when the server stops, in milliseconds.
    pub drain_ms_max: u64,
    /// How long a Report may take for one answer, in milliseconds.
    pub report_ms_max: u32,
    /// Reports that may run at one time.
    pub reports_max: usize,
    /// Events on a page of the feed when the caller names no limit.
    pub page_events_default: usize,
    /// Events on a page of the feed at most; also items on a page of a view.
    pub page_events_max: usize,
    /// Bytes of a page of the feed when the caller names no limit.
    pub page_bytes_default: usize,
    /// Bytes of a page of the feed at most.
    pub page_bytes_max: usize,
    /// With less room than this where the data directory lies the server is not ready, in bytes.
    pub disk_free_bytes_min: u64,
    /// With more arrivals than this to be put into the index of a view the server is degraded.
    pub view_behind_arrivals: u64,
    /// From so many loaded plugin libraries on every load warns, because none is ever unloaded.
    pub generations_warn: u32,
    /// Plugin libraries that may be loaded in one run.
    pub generations_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1 << 20,
            request_body_bytes_max: 8 << 20,
            request_inflated_bytes_max: 32 << 20,
            request_events_max: 10_000,
            future_ms_max: FUTURE_MS_MAX,
            queue_events_max: 100_000,
            commit_events_max: 20_000,
            uri_bytes_max: 16 << 10,
            connections_max: 10_000,
            header_ms_max: 5_000,
            body_ms_max: 8_000,
            drain_ms_max: 5_000,
            report_ms_max: 30_000,
            reports_max: 32,
            page_events_default: 1_000,
            page_events_max: 10_000,
            page_bytes_default: 1 << 20,
            page_bytes_max: 16 << 20,
            disk_free_bytes_min: 64 << 20,
            view_behind_arrivals: 100_000,
            generations_warn: 64,
            generations_max: 1_024,
        }
    }
}
