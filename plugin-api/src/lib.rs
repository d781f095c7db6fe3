//! What a Laterbase plugin author depends on.

pub mod abi;
pub mod aggregate;
pub mod declare;
pub mod event;

#[doc(hidden)]
pub use abi_stable;
pub use event::{EventKey, EventRef, ValidTime};
