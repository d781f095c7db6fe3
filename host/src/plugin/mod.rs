//! Plugins: found, checked, tried in a child process, loaded, configured, called and replaced while the host
//! runs.
//!
//! ```text
//! file -> stage (two equal reads, elf pre-check, private copy) -> probe (child: laws) -> loader (dlopen, layout)
//!      -> Instance per Root -> Catalog (who owns which name) -> Registry swaps it in atomically
//! ```
//! Invariants: the live path of a plugin's file is never opened by the dynamic linker; a library is never
//! unloaded; nothing that a plugin returns is used unchecked; whoever holds a [`catalog::Catalog`] goes on
//! with it unharmed while the next one takes over.

pub mod call_error;
pub mod catalog;
pub mod declared;
pub mod elf;
#[cfg(test)]
mod fake;
pub mod instance;
pub mod laws;
pub mod load_error;
mod loader;
mod meter;
pub mod module;
pub mod probe;
pub mod registry;
pub mod revision;
pub mod services;
mod stage;
pub mod status;
mod turn;
pub mod upcast;

pub use call_error::{Blame, CallError};
pub use catalog::{Catalog, KeyspaceRef, NameTaken, ReportRef, RootCatalog, SchemaRef, TypeRef, ViewRef};
pub use instance::{
    Instance, Intake, IntakeDraft, Mapping, Refusal, ReportAsk, ReportRow, delta_ref, event_ref,
};
pub use laterbase_plugin::EventRef;
pub use laterbase_plugin::abi::DeltaRef;
pub use laws::{Broken, Law, Sample, Tried};
pub use load_error::LoadError;
pub use registry::{Events, NoEvents, Options, Prepare, Registry, Reloaded};
pub use services::Services;
pub use status::{Failure, Status};
pub use turn::{Progress, Turn};
pub use upcast::{Unread, Upcast};

use laterbase_plugin::section::Section;
use std::path::Path;

/// What the library in `file` says of itself in its section; none of its code runs.
pub fn inspect(file: &Path) -> Result<Section, LoadError> {
    elf::inspect(&stage::Candidate::read(file)?.bytes)
}
