//! The one test binary: every suite is a module.
#![expect(clippy::indexing_slicing, reason = "a test that finds nothing there fails, as it should")]

mod authoring;
mod changes;
mod compare;
mod crash;
mod epcis;
mod failing;
mod formats;
mod forms;
mod fuzzed;
mod hostile;
mod import;
mod json_schema;
mod laws;
mod live;
mod observing;
mod openapi;
mod packaging;
mod played;
mod plugins;
mod queries;
mod readme;
mod reports;
mod revisions;
mod scripts;
mod sync;
mod tidy;
mod verify;
mod walks;
mod watching;
