//! The wire types: everything that crosses the boundary between host and plugin, and nothing else.
//!
//! Rules of growth. Plain structs are frozen. What is likely to grow is a `sabi_trait` (new methods go behind the
//! last one and have a default body), a field of [`PluginModule`] behind `last_prefix_field`, or a member of the JSON
//! [`Declaration`](crate::declare::Declaration). Codes are numbers in a newtype, so an old host can read new ones.
//! Memory is freed by the side that made it, which `RVec`, `RString` and `RBox` see to. Calls come in batches of
//! about 256; a plugin keeps nothing between calls, so that any call may be repeated, on any thread.
#![expect(
    unsafe_code,
    reason = "abi_stable's sabi_trait expands to unsafe vtable calls; none is written here"
)]
#![expect(non_local_definitions, reason = "abi_stable's sabi_trait expands to local impls")]
#![expect(
    clippy::used_underscore_binding,
    clippy::mem_forget,
    clippy::expl_impl_clone_on_copy,
    clippy::cast_ptr_alignment,
    reason = "abi_stable's macros expand to these; none is written here"
)]

use crate::event::{EventKey, EventRef};
use crate::guard::failure;
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::{RRef, VersionStrings};
use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec};

/// The number of the binary interface. It rises with every breaking change; a host loads only its own.
pub const ABI: u32 = 1;

/// Why a call failed: a stable number.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The plugin says no: the event, the body or the configuration is not acceptable.
    pub const REFUSED: Self = Self(1);
    /// The plugin's code panicked; the panic was stopped at the boundary.
    pub const PANICKED: Self = Self(2);
    /// The host asked for something that this plugin does not offer.
    pub const UNSUPPORTED: Self = Self(3);
    /// Bytes that the plugin wrote earlier do not decode.
    pub const CORRUPT: Self = Self(4);
    /// The host cancelled the call, or its deadline passed.
    pub const CANCELLED: Self = Self(5);
}

/// Stands in [`PluginError::event`] when no single event is to blame.
pub const NO_EVENT: u32 = u32::MAX;

/// Why a call failed, where, and which event of the batch was at hand.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// The index in the batch, or [`NO_EVENT`].
    pub event: u32,
    /// A JSON pointer into the event's data or the body, empty for the whole.
    pub pointer: RString,
    /// A sentence for people.
    pub message: RString,
}

/// What every call over the boundary returns.
pub type PluginResult<T> = RResult<T, RBox<PluginError>>;

/// A Schema's no to one event of a batch, one for each fault; events that are not named are admitted.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The index in the batch.
    pub event: u32,
    /// A JSON pointer into the event's data, empty for the whole.
    pub pointer: RString,
    /// A sentence for people: what is wrong and what would be right.
    pub message: RString,
}

/// One piece of [`Rows::bytes`] that belongs to item `item` of a batch.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The index in the batch.
    pub item: u32,
    /// Where the piece begins.
    pub offset: u32,
    /// How long it is, in bytes.
    pub length: u32,
}

/// Byte pieces for a batch in one flat buffer, owned by the host and reused between calls.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default)]
pub struct Rows {
    /// The pieces, one behind the other.
    pub bytes: RVec<u8>,
    /// Which piece belongs to which item; an item may have none or many.
    pub spans: RVec<Span>,
}

/// One (event, aggregate, delta) that a Keyspace's `map` gave out; key and delta lie in [`Emitted::bytes`].
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission {
    /// The event's index in the batch.
    pub event: u32,
    /// Where the aggregate key begins (encoded by [`crate::aggregate`]).
    pub key_offset: u32,
    /// Its length in bytes.
    pub key_length: u32,
    /// Where the delta begins.
    pub delta_offset: u32,
    /// Its length in bytes.
    pub delta_length: u32,
}

/// An event that `map` could not take: it is left out of the Keyspace and reported, the others go on.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct MapFailure {
    /// The event's index in the batch.
    pub event: u32,
    /// What went wrong.
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: RString,
}

/// What `map` gave out for a batch, owned by the host and reused between calls.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default)]
pub struct Emitted {
    /// Aggregate keys and deltas.
    pub bytes: RVec<u8>,
    /// Which of them belong together.
    pub rows: RVec<Emission>,
    /// Events that could not be mapped.
    pub failures: RVec<MapFailure>,
}

/// One event's contribution to an aggregate.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct DeltaRef<'a> {
    /// The event.
    pub key: EventKey,
    /// What `map` emitted for it.
    pub delta: RSlice<'a, u8>,
}

/// One event that an intake read from a body.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct IntakeEvent {
    /// A JSON pointer into the body (for NDJSON: `/line` from 0, then the pointer into that line).
    pub pointer: RString,
    /// Why it is refused; the fields below then mean nothing.
    pub refused: ROption<RString>,
    /// The number of its type.
    pub type_number: u32,
    /// The version of its type.
    pub version: u32,
    /// The valid time as NTP64, or none: now.
    pub time: ROption<u64>,
    /// The tail of the key, or none: the host mints one.
    pub tail: ROption<[u8; 8]>,
    /// The canonical bytes to store.
    pub data: RVec<u8>,
    /// What the answer echoes as `id`; empty for nothing.
    pub id: RString,
    /// The key is derived from the content: an existing key is a duplicate whatever its bytes.
    pub same_key_is_same_event: bool,
}

/// What a Report is asked.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ReportQuery<'a> {
    /// The parts of the one key asked for; none: a listing.
    pub key: ROption<RSlice<'a, RString>>,
    /// A listing starts behind this key.
    pub start: ROption<RSlice<'a, RString>>,
    /// A listing's keys start with these parts, the last of them a prefix of its part.
    pub prefix: RSlice<'a, RString>,
    /// How many items are wanted at most.
    pub limit: u32,
    /// Further parameters as a JSON object.
    pub parameters: RStr<'a>,
}

/// What the host offers during a call. It grows by methods with default bodies.
#[sabi_trait]
pub trait CallAbi: Send + Sync {
    /// Writes a line to the host's log; level 1 is error, 5 trace.
    fn log(&self, level: u8, message: RStr<'_>);
    /// True once the answer is no longer wanted; long loops ask now and then.
    fn is_cancelled(&self) -> bool;
    /// The query's `at`, exclusive upper bound as NTP64.
    fn at(&self) -> ROption<u64>;
    /// The query's `from` as NTP64.
    fn from(&self) -> ROption<u64>;
    /// The query's `to` as NTP64.
    fn to(&self) -> ROption<u64>;
    /// The query's `known`: an arrival number of this replica.
    fn known(&self) -> ROption<u64>;
    /// When the call should be over, in milliseconds since 1970.
    #[sabi(last_prefix_field)]
    fn deadline_ms(&self) -> ROption<u64>;
}
/// The borrowed form in which a call's services cross the boundary.
pub type Call<'a> = CallAbi_TO<'a, RRef<'a, ()>>;

/// One row that a [`ReaderAbi`] method returns.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ReaderRow {
    /// The aggregate key, encoded by [`crate::aggregate`]; empty for events.
    pub aggregate: RVec<u8>,
    /// The event's key; zero for states.
    pub event: EventKey,
    /// The event's type; zero for states and entries.
    pub type_number: u32,
    /// The event's version; zero for states and entries.
    pub version: u32,
    /// The state, the delta or the event's data.
    pub bytes: RVec<u8>,
}

/// What a Report reads through: one Knowledge for the whole call. Batches; an empty one is the end.
#[sabi_trait]
pub trait ReaderAbi: Send {
    /// States of the aggregates `keys` of `view`; absent aggregates are left out. Times are NTP64.
    fn states(
        &self,
        view: RStr<'_>,
        keys: RSlice<'_, RVec<u8>>,
        at: ROption<u64>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>>;
    /// States of aggregates of `view` in key order, behind `after`, under the encoded `prefix`.
    fn scan(
        &self,
        view: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: RSlice<'_, u8>,
        at: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>>;
    /// Un-voided deltas of one aggregate of `keyspace` in key order, behind `after`, in `[from, to)`.
    fn entries(
        &self,
        keyspace: RStr<'_>,
        key: RSlice<'_, u8>,
        after: ROption<EventKey>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>>;
    /// Upcast events by key; unknown ones are left out.
    #[sabi(last_prefix_field)]
    fn events(&self, keys: RSlice<'_, EventKey>) -> PluginResult<RVec<ReaderRow>>;
}
/// The borrowed form in which a Reader crosses the boundary.
pub type ReaderRefAbi<'a> = ReaderAbi_TO<'a, RRef<'a, ()>>;

/// One item of a Report's answer.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ReportItem {
    /// The parts of the item's key.
    pub key: RVec<RString>,
    /// The value as JSON.
    pub json: RVec<u8>,
}

/// A configured plugin for one root: immutable, called from any thread. Indexes are positions in the
/// [`Declaration`](crate::declare::Declaration) that `declaration` returns.
#[sabi_trait]
pub trait InstanceAbi: Send + Sync {
    /// What this instance offers, as JSON.
    fn declaration(&self) -> RString;
    /// The Schema's verdicts on events in their newest version; only refusals are pushed.
    fn admit(
        &self,
        call: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut RVec<Verdict>,
    ) -> PluginResult<()>;
    /// The data of each event in its type's newest version, one span an event.
    fn upcast(
        &self,
        call: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()>;
    /// The events in a foreign body.
    fn intake(
        &self,
        call: &Call<'_>,
        format: RStr<'_>,
        content_type: RStr<'_>,
        body: RSlice<'_, u8>,
        out: &mut RVec<IntakeEvent>,
    ) -> PluginResult<()>;
    /// The keys that each upcast event voids: one span of 16 bytes a key.
    fn retracts(
        &self,
        call: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Rows,
    ) -> PluginResult<()>;
    /// What each upcast event adds to which aggregates.
    fn map(
        &self,
        call: &Call<'_>,
        keyspace: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut Emitted,
    ) -> PluginResult<()>;
    /// The canonical encoded aggregate key for the parts that a user typed.
    fn query_key(
        &self,
        call: &Call<'_>,
        keyspace: u32,
        typed: RSlice<'_, RStr<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()>;
    /// `state` (none: identity) with a run of deltas in key order folded in; the result replaces `out`.
    fn fold(
        &self,
        call: &Call<'_>,
        view: u32,
        state: ROption<RSlice<'_, u8>>,
        run: RSlice<'_, DeltaRef<'_>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()>;
    /// The states merged from left to right; the result replaces `out`.
    fn merge(
        &self,
        call: &Call<'_>,
        view: u32,
        states: RSlice<'_, RSlice<'_, u8>>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()>;
    /// The inverse of `state`; the result replaces `out`.
    fn invert(
        &self,
        call: &Call<'_>,
        view: u32,
        state: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()>;
    /// `state` of the aggregate `key` as JSON; the result replaces `out`.
    fn render(
        &self,
        call: &Call<'_>,
        view: u32,
        key: RSlice<'_, u8>,
        state: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()>;
    /// A Report's items in key order.
    #[sabi(last_prefix_field)]
    fn report(
        &self,
        call: &Call<'_>,
        report: u32,
        query: &ReportQuery<'_>,
        reader: &ReaderRefAbi<'_>,
        out: &mut RVec<ReportItem>,
    ) -> PluginResult<()>;
    /// Made-up data of an event type in its newest version, a pure function of the arguments; the result replaces
    /// `out`. `UNSUPPORTED` for a type without examples.
    fn example(
        &self,
        call: &Call<'_>,
        type_number: u32,
        seed: u64,
        extreme: bool,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        let (_, _, _, _, _) = (call, type_number, seed, extreme, out);
        RResult::RErr(failure(ErrorCode::UNSUPPORTED, "this plugin is older than examples"))
    }
    /// A delta of a Keyspace decoded and encoded again; the result replaces `out`.
    fn recode(
        &self,
        call: &Call<'_>,
        keyspace: u32,
        delta: RSlice<'_, u8>,
        out: &mut RVec<u8>,
    ) -> PluginResult<()> {
        let (_, _, _, _) = (call, keyspace, delta, out);
        RResult::RErr(failure(ErrorCode::UNSUPPORTED, "this plugin is older than this question"))
    }
    /// The Schema's verdicts on new events of older versions, their data as sent; only refusals are pushed. A plugin
    /// that is older than this method refuses none.
    fn admit_old(
        &self,
        call: &Call<'_>,
        schema: u32,
        events: RSlice<'_, EventRef<'_>>,
        out: &mut RVec<Verdict>,
    ) -> PluginResult<()> {
        let (_, _, _) = (call, schema, events);
        out.clear();
        RResult::ROk(())
    }
}
/// The owned form in which an instance crosses the boundary.
pub type InstanceBox = InstanceAbi_TO<'static, RBox<()>>;

/// The root module of a plugin library: a table that grows behind its last prefix field.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// Name, version and roots as JSON ([`Manifest`](crate::declare::Manifest)).
    pub manifest: extern "C" fn() -> RString,
    /// Makes one immutable instance for a root from its configuration, a JSON object.
    pub configure: extern "C" fn(root: RStr<'_>, config: RStr<'_>) -> PluginResult<InstanceBox>,
    /// A quick test by the plugin of itself, run in the probe child before the library is trusted.
    #[sabi(last_prefix_field)]
    pub self_check: extern "C" fn() -> PluginResult<()>,
}

impl std::fmt::Debug for PluginModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginModule")
    }
}

impl std::fmt::Debug for PluginModuleRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginModuleRef")
    }
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "laterbase_plugin";
    const NAME: &'static str = "laterbase_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}
