//! The one list of errors that a user can meet: a stable code, its status, and what it means.
//!
//! Codes are never renamed or reused. Each operation has its own error enum; its `problem` method turns it into a
//! [`Problem`], which `http` writes as RFC 9457 problem+json. The list is documented in the README of this folder by
//! a test, so a code without words for people cannot be added.

use crate::core::frames::FramesError;
use crate::core::tables::TableError;
use serde_json::{Map, Value};

/// One line of the list: variant, code, status, what it means.
macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $meaning:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code there is, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word that programs compare.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status it is answered with.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    // Names and routes.
    BadName "bad_name" 400 "A root or view name is not `[a-z0-9][a-z0-9_-]{0,62}`, or it is reserved.";
    UnknownRoot "unknown_root" 404 "No plugin declares this root and no data of it is on disk.";
    UnknownView "unknown_view" 404 "No plugin offers a view or report of this name for the root.";
    UnknownRoute "unknown_route" 404 "There is no such route.";
    UnknownPlugin "unknown_plugin" 404 "No plugin of this name is loaded.";
    UnknownKey "unknown_key" 404 "No un-voided event maps to this aggregate within the bounds asked for.";
    MethodNotAllowed "method_not_allowed" 405 "The route exists, but not for this method.";
    // The request's form.
    BadParameter "bad_parameter" 400 "A query parameter is unknown, repeated, or not of the form it must have.";
    BadHeader "bad_header" 400 "A request header is not of the form it must have.";
    BadJson "bad_json" 400 "The body is not the JSON that it should be.";
    BadEvent "bad_event" 400 "An event's members are missing, unknown, contradictory or of the wrong type.";
    BadEncoding "bad_encoding" 400 "The body does not decompress.";
    EmptyBody "empty_body" 400 "The body holds no event.";
    UnknownFormat "unknown_format" 400 "No Schema of the root reads this format.";
    UnsupportedMediaType "unsupported_media_type" 415 "The Content-Type or Content-Encoding is not one that is read here.";
    BodyTooLarge "body_too_large" 413 "The body is larger than the limit, before or after decompression.";
    EventTooLarge "event_too_large" 413 "One event's data is larger than the limit.";
    TooManyEvents "too_many_events" 413 "The request holds more events than the limit.";
    UriTooLong "uri_too_long" 414 "The URL is longer than the limit.";
    BodyTimeout "body_timeout" 408 "The body did not arrive in time.";
    NotAcceptable "not_acceptable" 406 "The answer cannot be written as anything that `Accept` names; `offered` lists what there is.";
    BadFrames "bad_frames" 400 "The body is not the binary frames that its Content-Type says.";
    FramesVersion "frames_version" 415 "The binary frames are of another version of their layout.";
    FramesTruncated "frames_truncated" 400 "The body ends in the middle of a binary frame.";
    FramesDamaged "frames_damaged" 400 "A binary frame's checksum does not agree with its bytes.";
    FrameTooLong "frame_too_long" 413 "A binary frame is longer than the limit of an event allows.";
    // Admission.
    UnknownType "unknown_type" 422 "No Schema of the root declares this event type.";
    UnknownVersion "unknown_version" 422 "The Schema of this event type does not know this version.";
    TimeRange "time_range" 422 "The instant is outside 1970..2106.";
    FutureTime "future_time" 422 "The instant is further ahead of this server's clock than the limit.";
    Refused "refused" 422 "The Schema refuses the event.";
    Clash "clash" 409 "The key already holds another value.";
    PluginFailed "plugin_failed" 500 "A plugin's code failed on this call; the event or query was not processed.";
    // Load and storage.
    Overloaded "overloaded" 503 "The writer's queue is full; try again after Retry-After.";
    TooManyConnections "too_many_connections" 503 "The server holds as many connections as it may; try again after Retry-After.";
    Starting "starting" 503 "The server is still being opened; try again after Retry-After.";
    NotReady "not_ready" 503 "The server cannot do its work now; `reasons` says why.";
    Draining "draining" 503 "The server is shutting down.";
    DiskFull "disk_full" 507 "No space is left on the device; nothing of the request is stored.";
    OutcomeUnknown "outcome_unknown" 503 "An input/output error at commit: whether the request is stored is unknown until the root is reopened.";
    RootClosed "root_closed" 503 "The root is closed after an input/output error, until it is reopened and verified.";
    Corrupt "corrupt" 500 "Stored bytes are not what was written; the answer would be wrong.";
    Storage "storage" 500 "The storage engine failed.";
    Internal "internal" 500 "The server failed on this request: a bug. Whether a write was stored is unknown.";
    VerifyRunning "verify_running" 409 "A check of a root runs already on this server; try again after Retry-After.";
    // The feed.
    BadVv "bad_vv" 400 "The version vector is not of its text form.";
    VvScope "vv_scope" 400 "The version vector belongs to a walk with other filters.";
    VvTooLong "vv_too_long" 414 "The version vector is too long for a URL: use POST /{root}/e/changes.";
    BadCursor "bad_cursor" 400 "The cursor is not one that this server wrote.";
    CursorMismatch "cursor_mismatch" 400 "The cursor belongs to another root or other filters.";
    PinGone "pin_gone" 410 "This replica does not hold what the walk was pinned to: start again without the cursor.";
    // Sync.
    BadFrame "bad_frame" 400 "The frame of a replica is not of the protocol, or does not hold together.";
    SyncVersion "sync_version" 400 "The frame is of another version of the sync protocol: update the older side.";
    TooManyOrigins "too_many_origins" 507 "The root knows as many Origins as it may.";
    TooManyRoots "too_many_roots" 507 "As many roots were created from peers as may be.";
    // Views.
    ViewNotMergeable "view_not_mergeable" 422 "The view is Ordered: it has no windows and no groups.";
    ViewBuilding "view_building" 503 "The view's index is being built; try again after Retry-After.";
    StateTooLarge "state_too_large" 500 "A plugin's state is larger than its bound: the view must keep less.";
    KnownNeverHeld "known_never_held" 422 "The version vector in `known` is not one that this replica passed through.";
    KnownTooEarly "known_too_early" 422 "The time in `known` is before this replica's first arrival.";
    Unavailable "not_available_yet" 501 "The parameter is part of the interface, but this version does not answer it yet.";
    ViewRepairing "view_repairing" 503 "A long repair is under way in a view that the report reads; try again after Retry-After.";
    ReportTimeout "report_timeout" 503 "The report took longer than it may: ask for less of it.";
    // Plugins: finding and reading the file.
    PluginNotFound "plugin_not_found" 422 "The plugin's file is not there.";
    PluginNotAFile "plugin_not_a_file" 422 "The plugin's path is not a regular file.";
    PluginUnreadable "plugin_unreadable" 422 "The plugin's file cannot be read.";
    PluginUnstable "plugin_unstable" 422 "The plugin's file changed while it was read: move a finished file into place.";
    PluginNotElf "plugin_not_elf" 422 "The file is not an ELF library.";
    PluginTruncated "plugin_truncated" 422 "The ELF file ends before its contents do.";
    PluginWrongClass "plugin_wrong_class" 422 "The ELF file is not 64-bit little-endian.";
    PluginWrongMachine "plugin_wrong_machine" 422 "The ELF file was built for another machine.";
    PluginNoSection "plugin_no_section" 422 "The library has no `.laterbase` section: it is not a Laterbase plugin.";
    PluginBadSection "plugin_bad_section" 422 "The `.laterbase` section is not one that this host can read.";
    PluginWrongAbi "plugin_wrong_abi" 422 "The plugin was built for another plugin interface: rebuild it.";
    PluginPanicAbort "plugin_panic_abort" 422 "The plugin was built with panic=abort, which would take the host down.";
    // Plugins: loading and configuring.
    PluginProbeCrashed "plugin_probe_crashed" 422 "The child process that tried the plugin died.";
    PluginProbeTimeout "plugin_probe_timeout" 422 "The child process that tried the plugin did not finish in time.";
    LawBroken "law_broken" 422 "What the plugin declares is not true: a law of a View or hook fails on the events named.";
    PluginDlopen "plugin_dlopen" 422 "The dynamic linker refuses the library.";
    PluginSymbol "plugin_symbol" 422 "The library lacks the entry that its section names.";
    PluginHeader "plugin_header" 422 "The library's entry is of another build of the plugin interface.";
    PluginLayout "plugin_layout" 422 "The library's types are laid out differently from the host's.";
    PluginSelfCheck "plugin_self_check" 422 "The plugin's own check of itself fails.";
    BadConfig "bad_config" 422 "The configuration file, or a file that it names for a plugin, cannot be read.";
    PluginConfigure "plugin_configure" 422 "The plugin refuses its configuration.";
    PluginDeclaration "plugin_declaration" 422 "What the plugin declares contradicts itself.";
    NameTaken "name_taken" 409 "Another plugin owns a type, format, view or report name of the root.";
    NameMismatch "name_mismatch" 422 "The new file is a plugin of another name.";
    GenerationBudget "generation_budget" 503 "Too many generations are loaded: restart the server.";
    Drift "drift" 409 "The plugin gives other results than before under the same revision: raise REVISION, or mend it.";
    ReloadCancelled "reload_cancelled" 409 "The reload was cancelled; what served before goes on serving.";
    ReloadInProgress "reload_in_progress" 409 "A plugin is being reloaded: wait for it, or cancel it with DELETE.";
    NotReloading "not_reloading" 409 "The plugin is not being reloaded: there is nothing to cancel.";
    ViewBuild "view_build" 500 "The new generation's views could not be built.";
    PluginStatic "plugin_static" 409 "The plugin is linked into the program and cannot be reloaded.";
}

/// One error as a user meets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which error.
    pub code: Code,
    /// What was wrong, where, and what to do, in a sentence.
    pub detail: String,
    /// Further members of the problem+json object.
    pub members: Map<String, Value>,
    /// Seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// An error with its sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), members: Map::new(), retry_after_s: None }
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a time to wait.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl FramesError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        let problem = |code| Problem::new(code, self.to_string());
        match self {
            Self::NoFrames => problem(Code::BadFrames),
            Self::Malformed { at, .. } => problem(Code::BadFrames).with("byte", *at),
            Self::Version { .. } => problem(Code::FramesVersion),
            Self::Truncated { at } => problem(Code::FramesTruncated).with("byte", *at),
            Self::Damaged { at } => problem(Code::FramesDamaged).with("byte", *at),
            Self::TooLong { at, bytes_max, .. } => {
                problem(Code::FrameTooLong).with("byte", *at).with("limit", *bytes_max)
            }
        }
    }
}

impl TableError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Corrupt { .. } => {
                Problem::new(Code::Corrupt, format!("{self}: restore the root from a backup or a peer"))
            }
            Self::DiskFull(_) => {
                Problem::new(Code::DiskFull, "no space is left: free some and send the request again")
                    .retry_after(60)
            }
            Self::Io(_) => Problem::new(
                Code::OutcomeUnknown,
                format!("{self}; whether the request is stored is unknown"),
            )
            .retry_after(60),
            Self::Poisoned => {
                Problem::new(Code::RootClosed, format!("{self}; restart the server to reopen it"))
                    .retry_after(60)
            }
            Self::MapFull => {
                Problem::new(Code::Storage, "the map could not grow: is the address space limited?")
            }
        }
    }
}
