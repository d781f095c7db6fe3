//! Every operation in one table: the router takes its methods from it, the reading of queries its parameters, and the
//! `OpenAPI` document all of it. A test asks a running server for each line of it.

use crate::problem::Code;
use axum::http::Method;

/// What a parameter's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// Any text, and the parameter may be there more than once.
    Texts,
    /// A whole number from 1.
    Number,
    /// A time of RFC 3339.
    Time,
    /// `true` or `false`.
    Truth,
    /// No value.
    Empty,
}

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// What its value looks like.
    pub(super) shape: Shape,
    /// What it does.
    pub(super) meaning: &'static str,
}

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: &'static str,
    /// When it is given.
    pub(super) meaning: &'static str,
    /// Media types, each with the name of its schema, or none where the bytes are no JSON.
    pub(super) content: &'static [(&'static str, &'static str)],
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// The path with its names open, as [`Route::pattern`](super::route::Route::pattern) writes it.
    pub(super) path: &'static str,
    /// The method, in lower case; HEAD comes with `get`, and every route has OPTIONS.
    pub(super) method: &'static str,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// Its query parameters.
    pub(super) parameters: &'static [Parameter],
    /// Headers of the request that mean something.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// Media types of the request's body, each with the name of its schema, or none where the bytes are no JSON.
    pub(super) bodies: &'static [(&'static str, &'static str)],
    /// Its answers but for errors.
    pub(super) answers: &'static [Answer],
    /// Its errors, besides those of every operation.
    pub(super) codes: &'static [&'static [Code]],
}

const fn parameter(name: &'static str, shape: Shape, meaning: &'static str) -> Parameter {
    Parameter { name, shape, meaning }
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const FRAMES: &str = "application/vnd.laterbase.events";
const CSV: &str = "text/csv";
const STREAM: &str = "text/event-stream";
const FRAME: &str = "application/vnd.laterbase.sync";

/// Parameters of `POST /{root}/e`.
pub(super) const ADMIT: &[Parameter] = &[
    parameter("atomic", Shape::Truth, "All or nothing (default), or refuse bad events one by one."),
    parameter("format", Shape::Text, "The format whose Schema reads the body."),
    parameter(
        "dry_run",
        Shape::Truth,
        "Check everything and answer as if it were written, but write nothing.",
    ),
];

/// Parameters that narrow a feed.
pub(super) const FEED: &[Parameter] = &[
    parameter(
        "vv",
        Shape::Texts,
        "What the caller knows, as earlier answers gave it; repeated means the union.",
    ),
    parameter("cursor", Shape::Text, "Where the walk goes on, from the page before."),
    parameter("limit", Shape::Number, "At most so many events a page."),
    parameter("max_bytes", Shape::Number, "At most about so many bytes a page."),
    parameter("from", Shape::Time, "Only events at or after this time."),
    parameter("to", Shape::Time, "Only events before this time."),
    parameter("type", Shape::Text, "Only events of this type, by name or number."),
];

/// Parameters of a view; a report may have more.
pub(super) const VIEW: &[Parameter] = &[
    parameter(
        "key",
        Shape::Texts,
        "The aggregate key; repeated for the parts of a composite key. Without it, a list.",
    ),
    parameter("prefix", Shape::Texts, "List only keys that begin with these parts."),
    parameter("limit", Shape::Number, "At most so many items a page."),
    parameter("cursor", Shape::Text, "Where the list goes on, from the page before."),
    parameter("at", Shape::Time, "Only events at or before this time count."),
    parameter("from", Shape::Time, "Only events at or after this time count."),
    parameter("to", Shape::Time, "Only events before this time count."),
    parameter(
        "known",
        Shape::Text,
        "Answer as this replica knew it at this time, or at this version vector.",
    ),
    parameter("group", Shape::Number, "Merge over the first so many parts of the key."),
    parameter(
        "changes",
        Shape::Text,
        "The view's changes as server-sent events, behind this id or, without one, from now on.",
    ),
    parameter(
        "digest",
        Shape::Empty,
        "A digest of all that the view says, to compare with another replica's.",
    ),
];

/// What does not go with a View that is Ordered.
pub(super) const MERGING: &[&str] = &["from", "to", "group"];
/// What a Report does not have.
pub(super) const VIEWS_ONLY: &[&str] = &["group", "changes", "digest"];

/// Parameters of `POST /_/plugins/{name}/reload`.
pub(super) const RELOAD: &[Parameter] =
    &[parameter("wait", Shape::Truth, "Answer when the new generation serves (default), or at once.")];

/// Errors of every operation.
pub(super) const ANY: &[Code] = &[
    Code::BadName,
    Code::BadParameter,
    Code::UriTooLong,
    Code::TooManyConnections,
    Code::Starting,
    Code::Draining,
    Code::Storage,
    Code::Internal,
];
/// Those of reading tables.
const TABLES: &[Code] =
    &[Code::UnknownRoot, Code::Corrupt, Code::RootClosed, Code::OutcomeUnknown, Code::DiskFull];
/// Those of a choice of forms.
const FORM: &[Code] = &[Code::NotAcceptable];
/// Those of a body.
const BODY: &[Code] = &[
    Code::UnsupportedMediaType,
    Code::BadHeader,
    Code::BodyTooLarge,
    Code::BodyTimeout,
    Code::BadEncoding,
    Code::BadJson,
    Code::Overloaded,
];
const WRITE: &[Code] = &[
    Code::BadEvent,
    Code::BadFrames,
    Code::FramesVersion,
    Code::FramesTruncated,
    Code::FramesDamaged,
    Code::FrameTooLong,
    Code::EmptyBody,
    Code::UnknownFormat,
    Code::EventTooLarge,
    Code::TooManyEvents,
    Code::UnknownType,
    Code::UnknownVersion,
    Code::TimeRange,
    Code::FutureTime,
    Code::Refused,
    Code::Clash,
    Code::PluginFailed,
    Code::TooManyOrigins,
];
const WALK: &[Code] = &[
    Code::BadVv,
    Code::VvScope,
    Code::VvTooLong,
    Code::BadCursor,
    Code::CursorMismatch,
    Code::PinGone,
    Code::TimeRange,
    Code::UnknownType,
];
const ASK: &[Code] = &[
    Code::UnknownView,
    Code::UnknownKey,
    Code::BadVv,
    Code::BadCursor,
    Code::CursorMismatch,
    Code::PinGone,
    Code::TimeRange,
    Code::ViewNotMergeable,
    Code::ViewBuilding,
    Code::ViewRepairing,
    Code::StateTooLarge,
    Code::KnownNeverHeld,
    Code::KnownTooEarly,
    Code::ReportTimeout,
    Code::Overloaded,
    Code::Refused,
    Code::PluginFailed,
    Code::Unavailable,
];
const PLUGIN: &[Code] = &[Code::UnknownPlugin, Code::ReloadInProgress, Code::NotReloading];
const LOAD: &[Code] = &[
    Code::PluginNotFound,
    Code::PluginNotAFile,
    Code::PluginUnreadable,
    Code::PluginUnstable,
    Code::PluginNotElf,
    Code::PluginTruncated,
    Code::PluginWrongClass,
    Code::PluginWrongMachine,
    Code::PluginNoSection,
    Code::PluginBadSection,
    Code::PluginWrongAbi,
    Code::PluginPanicAbort,
    Code::PluginProbeCrashed,
    Code::PluginProbeTimeout,
    Code::LawBroken,
    Code::PluginDlopen,
    Code::PluginSymbol,
    Code::PluginHeader,
    Code::PluginLayout,
    Code::PluginSelfCheck,
    Code::PluginConfigure,
    Code::BadConfig,
    Code::PluginDeclaration,
    Code::NameTaken,
    Code::NameMismatch,
    Code::GenerationBudget,
    Code::Drift,
    Code::ReloadCancelled,
    Code::ViewBuild,
    Code::PluginStatic,
    Code::DiskFull,
];

/// The one answer of an operation that is read as JSON of this schema.
macro_rules! ok {
    ($schema:literal) => {
        &[Answer { status: "200", meaning: "The answer.", content: &[(JSON, $schema)] }]
    };
}

/// The same as a table, too.
macro_rules! list {
    ($schema:literal) => {
        &[Answer { status: "200", meaning: "The answer.", content: &[(JSON, $schema), (CSV, "")] }]
    };
}

/// A page of the feed in all its forms.
const PAGE: &[Answer] = &[Answer {
    status: "200",
    meaning: "The page, or the live feed.",
    content: &[(JSON, "FeedPage"), (NDJSON, ""), (FRAMES, ""), (CSV, ""), (STREAM, "")],
}];

/// What most operations are: read as JSON, without parameters or a body.
const READ: Operation = Operation {
    path: "",
    method: "get",
    summary: "",
    parameters: &[],
    headers: &[],
    bodies: &[],
    answers: &[],
    codes: &[],
};

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/{root}",
        summary: "The root's event count, views, types, origin and version vector.",
        answers: ok!("Root"),
        codes: &[TABLES],
        ..READ
    },
    Operation {
        path: "/{root}/e",
        summary: "One page of the events that the caller does not know; live as server-sent events.",
        parameters: FEED,
        headers: &[("Last-Event-ID", "Where a live feed goes on.")],
        answers: PAGE,
        codes: &[TABLES, WALK, FORM],
        ..READ
    },
    Operation {
        path: "/{root}/e",
        method: "post",
        summary: "Write one or more events.",
        parameters: ADMIT,
        headers: &[
            ("Idempotency-Key", "A retry with the same text writes nothing twice."),
            ("Prefer", "return=minimal leaves the list of events out of the answer."),
            ("Content-Encoding", "gzip or zstd"),
        ],
        bodies: &[(JSON, "NewEvents"), (NDJSON, ""), (FRAMES, "")],
        answers: &[
            Answer {
                status: "201",
                meaning: "At least one event was written; all of them are durable.",
                content: &[(JSON, "Admitted")],
            },
            Answer {
                status: "200",
                meaning: "Nothing was written: every event was known or, with atomic=false, refused.",
                content: &[(JSON, "Admitted")],
            },
        ],
        codes: &[TABLES, BODY, WRITE],
    },
    Operation {
        path: "/{root}/e/changes",
        method: "post",
        summary: "The feed, with its parameters as members of a JSON object.",
        bodies: &[(JSON, "FeedQuery")],
        answers: PAGE,
        codes: &[TABLES, BODY, WALK, FORM],
        ..READ
    },
    Operation {
        path: "/{root}/{view}",
        summary: "One answer, or a page of the list, of a view or report.",
        parameters: VIEW,
        headers: &[
            ("If-None-Match", "The ETag of an answer that the caller has."),
            ("Last-Event-ID", "Where a stream of changes goes on."),
        ],
        answers: &[
            Answer {
                status: "200",
                meaning: "The answer; with `changes`, a stream.",
                content: &[(JSON, "ViewAnswer"), (CSV, ""), (STREAM, "")],
            },
            Answer { status: "304", meaning: "The answer is the one named in If-None-Match.", content: &[] },
        ],
        codes: &[TABLES, ASK, FORM],
        ..READ
    },
    Operation {
        path: "/_/livez",
        summary: "Whether the process answers at all.",
        answers: ok!("Live"),
        ..READ
    },
    Operation {
        path: "/_/readyz",
        summary: "Whether requests are served now, and if not all is well, why.",
        answers: ok!("Ready"),
        codes: &[&[Code::NotReady]],
        ..READ
    },
    Operation {
        path: "/_/metrics",
        summary: "All figures, in the format of Prometheus.",
        answers: &[Answer { status: "200", meaning: "The figures.", content: &[("text/plain", "")] }],
        ..READ
    },
    Operation { path: "/_/roots", summary: "All roots.", answers: list!("Roots"), codes: &[FORM], ..READ },
    Operation {
        path: "/_/plugins",
        summary: "All plugins: generation, views, progress, last error.",
        answers: list!("Plugins"),
        codes: &[FORM],
        ..READ
    },
    Operation {
        path: "/_/plugins/{name}/reload",
        method: "post",
        summary: "Load a plugin's file anew.",
        parameters: RELOAD,
        answers: &[
            Answer {
                status: "200",
                meaning: "The new generation serves all its views, or the file is unchanged.",
                content: &[(JSON, "Reload")],
            },
            Answer {
                status: "202",
                meaning: "The new generation is being built.",
                content: &[(JSON, "Reload")],
            },
        ],
        codes: &[PLUGIN, LOAD],
        ..READ
    },
    Operation {
        path: "/_/plugins/{name}/reload",
        method: "delete",
        summary: "Give a plugin's reload up; what serves goes on.",
        answers: ok!("Reload"),
        codes: &[PLUGIN],
        ..READ
    },
    Operation {
        path: "/_/peers",
        summary: "How it stands with every peer: connected, to pull, to push, last error.",
        answers: list!("Peers"),
        codes: &[FORM],
        ..READ
    },
    Operation {
        path: "/_/sync/{root}",
        method: "post",
        summary: "A frame between replicas (FORMAT.md); for servers, not for clients.",
        bodies: &[(FRAME, "")],
        answers: &[Answer { status: "200", meaning: "The answering frame.", content: &[(FRAME, "")] }],
        codes: &[
            TABLES,
            BODY,
            &[Code::BadFrame, Code::SyncVersion, Code::TooManyOrigins, Code::TooManyRoots],
        ],
        ..READ
    },
    Operation {
        path: "/_/verify/{root}",
        summary: "How it stands with the last check of a root's rows, and what it found.",
        answers: ok!("Verify"),
        codes: &[TABLES],
        ..READ
    },
    Operation {
        path: "/_/verify/{root}",
        method: "post",
        summary: "Check a root's rows; with the member peer, compare it with that replica, too.",
        bodies: &[(JSON, "BeginVerify")],
        answers: &[Answer { status: "202", meaning: "The check has begun.", content: &[(JSON, "Verify")] }],
        codes: &[TABLES, BODY, &[Code::VerifyRunning, Code::Unavailable]],
        ..READ
    },
    Operation {
        path: "/_/openapi.json",
        summary: "This document; roots and views of this server stand in it by name.",
        answers: ok!("Document"),
        ..READ
    },
    Operation {
        path: "/_/docs",
        summary: "This document as a page to read and to try.",
        answers: &[Answer { status: "200", meaning: "The page.", content: &[("text/html", "")] }],
        ..READ
    },
    Operation {
        path: "/_/docs/page.css",
        summary: "The page's style.",
        answers: &[Answer { status: "200", meaning: "The style.", content: &[("text/css", "")] }],
        ..READ
    },
    Operation {
        path: "/_/docs/page.js",
        summary: "The page's script.",
        answers: &[Answer { status: "200", meaning: "The script.", content: &[("text/javascript", "")] }],
        ..READ
    },
];

/// Which methods a route has; HEAD comes with GET, and OPTIONS with all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods {
    get: bool,
    post: bool,
    delete: bool,
}

impl Methods {
    /// Those of the path with this pattern.
    pub(super) fn of(pattern: &str) -> Self {
        let has = |method| OPERATIONS.iter().any(|known| known.path == pattern && known.method == method);
        Self { get: has("get"), post: has("post"), delete: has("delete") }
    }

    /// Whether `method` is one of them.
    pub(super) fn has(self, method: &Method) -> bool {
        (self.get && (*method == Method::GET || *method == Method::HEAD))
            || (self.post && *method == Method::POST)
            || (self.delete && *method == Method::DELETE)
    }

    /// The value of an `Allow` header.
    pub(super) fn allow(self) -> String {
        let words =
            [("GET, HEAD", self.get), ("POST", self.post), ("DELETE", self.delete), ("OPTIONS", true)];
        words.iter().filter(|(_, has)| *has).map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
    }
}
