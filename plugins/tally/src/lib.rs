//! The tutorial plugin: counts what is added, per item and per day, and remembers the newest.
//!
//! | event | data | |
//! |---|---|---|
//! | `add` | `{"item": text, "n": integer}` | adds `n` to `item` |
//! | `undo` | `{"key": event key}` | retracts an `add` |
//!
//! `events.rs` says what is stored, `views.rs` what is asked; this file puts them together.
#![forbid(unsafe_code)]

mod events;
mod views;

use laterbase_plugin::{BuildError, Instance, Setup, export_plugin};

export_plugin! { name: "tally", roots: ["tally"], configure: configure }

fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
    Instance::builder()
        .schema(events::Tally)
        .keyspace(views::ByItem)
        .keyspace(views::ByItemAndDay)
        .view(views::Total)
        .view(views::Daily)
        .view(views::Last)
        .build()
}

#[cfg(test)]
mod tests;
