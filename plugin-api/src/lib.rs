//! What a Laterbase plugin author depends on.

pub mod abi;
mod adapter;
pub mod aggregate;
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
mod view;

extern crate self as laterbase_plugin;

#[doc(hidden)]
pub use abi_stable;
pub use codec::{Canonical, CodecError};
pub use declare::AlgebraKind;
pub use event::{EventKey, EventRef, ValidTime};
pub use export::StaticPlugin;
pub use instance::{BuildError, Builder, Instance, Setup};
pub use keyspace::{AggregateKey, Emit, KeyOf, Keyspace};
#[doc(hidden)]
pub use laterbase_plugin_derive::entry;
pub use laterbase_plugin_derive::{Canonical, EventData, EventType};
pub use refusal::{Refusal, from_json};
pub use report::{Answer, Bounds, Level, Query, Reader, Report, ReportError, StateOf};
pub use schema::{DeclaredType, Event, EventData, EventType, Intake, IntakeRow, RawEvent, Schema};
pub use view::{Algebra, Associative, Commutative, DeltaFor, Group, Invert, KeyFor, Merge, Ordered, View};
