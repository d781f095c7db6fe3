//! The one test binary: every suite is a module.

mod plugins;
mod tidy;
