//! What a Laterbase plugin author depends on: event types and Schemas, Keyspaces, Views, Reports, and `export_plugin!`.
//!
//! An author implements [`Schema`], [`Keyspace`], [`View`] and [`Report`], all safe Rust on typed values, puts them
//! together with [`Instance::builder`] and exports them with [`export_plugin!`]. Beneath, in this order:
//!
//! ```text
//! author's traits   schema, keyspace, view, report, refusal, codec     typed, one event at a time
//! adapter, guard    decode, call, encode; stop panics                  batches of bytes
//! chance            examples of event types, for the host's checks  nothing to write
//! abi, declare      the only types that cross the boundary             stable layout, append only
//! export, section   entry symbol, root module, `.laterbase` section    what a loader looks for
//! ```
//! [`testing`] drives a plugin through that boundary without a host. `abi_stable` is hidden in here: neither authors
//! nor their manifests name it. The README has a whole plugin and the rules of the boundary and of growth.

pub mod abi;
mod adapter;
pub mod aggregate;
mod chance;
pub mod codec;
pub mod declare;
pub mod event;
pub mod export;
mod guard;
mod instance;
mod keyspace;
mod refusal;
mod report;
mod schema;
pub mod section;
pub mod testing;
#[cfg(test)]
mod tests;
mod view;

extern crate self as laterbase_plugin;

#[doc(hidden)]
pub use abi_stable;
pub use chance::Chance;
pub use codec::{Canonical, CodecError};
pub use declare::AlgebraKind;
pub use event::{EventKey, EventRef, ValidTime};
pub use export::StaticPlugin;
pub use instance::{BuildError, Builder, Instance, Named, Setup};
pub use keyspace::{AggregateKey, Emit, KeyOf, Keyspace};
#[doc(hidden)]
pub use laterbase_plugin_derive::entry;
pub use laterbase_plugin_derive::{Canonical, EventData, EventType};
pub use refusal::{Refusal, from_json};
pub use report::{Answer, Bounds, Level, Query, Reader, Report, ReportError, StateOf};
pub use schema::{DeclaredType, Event, EventData, EventType, Intake, IntakeRow, RawEvent, Schema};
pub use view::{Algebra, Associative, Commutative, DeltaFor, Group, Invert, KeyFor, Merge, Ordered, View};

/// The plugins that the documents show, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../plugins/tally/README.md")]
pub mod documents {}
