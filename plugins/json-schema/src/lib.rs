//! Formats of one's own without code: event types by JSON Schema, and views by declaration, all of it in
//! `laterbase.toml`.
//!
//! ```text
//! declare                what the user wrote
//! schemas, graph         the schema files: read, connected, checked, compiled
//! tree, upcast, decimal  data with every digit: pointers, changes, exact numbers
//! types, example         event types: verdicts, old versions, retractions, made-up data
//! views                  keys and outputs, as Group or Commutative states
//! ```
//! Everything is a pure function of its arguments and the configuration; the host reads the files. The README is the
//! tutorial, and lists the names of all that can be wrong.
#![forbid(unsafe_code)]

pub mod decimal;
pub mod declare;
pub mod example;
pub mod graph;
pub mod schemas;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod types;
pub mod upcast;
pub mod views;

use crate::declare::{Config, FileText, TypeConfig, ViewConfig};
use crate::schemas::Library;
use crate::types::{Declared, TypeSchema};
use crate::views::{Field, Mixed, Space, Sums, Table};
use laterbase_plugin::{Builder, Instance, Named, Refusal, Setup, export_plugin};
use std::collections::BTreeSet;
use std::sync::Arc;

export_plugin! { name: "json-schema", roots: [], configure: configure }

fn configure(setup: &Setup<'_>) -> Result<Instance, Refusal> {
    let config: Config = setup.config()?;
    if config.types.is_empty() {
        return Err(Refusal::at("/types", "types_missing: a root has event types"));
    }
    check_names(&config)?;
    let library = Arc::new(Library::new(&files(&config))?);
    let mut builder = Instance::builder();
    let mut fields: Vec<Vec<Field>> = config.types.iter().map(|_| Vec::new()).collect();
    for (at, view) in config.views.iter().enumerate() {
        let place = format!("/views/{at}");
        let space = Space::new(view, &place)?;
        let numbers = types_of(view, &config.types, &mut fields, &space, &place)?;
        builder = with_view(builder, view, space, numbers);
    }
    for (at, (declared, fields)) in config.types.iter().zip(fields).enumerate() {
        let place = format!("/types/{at}");
        builder = with_type(builder, declared, Declared::new(declared, &library, fields, &place)?);
    }
    Ok(builder.build()?)
}

/// Numbers and names are given once, and those of views do as segments of URLs.
fn check_names(config: &Config) -> Result<(), Refusal> {
    let types = || config.types.iter().enumerate();
    once(types().map(|(at, declared)| (format!("/types/{at}/number"), declared.number.to_string())))?;
    once(types().map(|(at, declared)| (format!("/types/{at}/name"), declared.name.clone())))?;
    let views = || config.views.iter().enumerate();
    once(views().map(|(at, view)| (format!("/views/{at}/name"), view.name.clone())))?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = |name: &str| {
        name.bytes().next().is_some_and(plain)
            && name.bytes().all(|byte| plain(byte) || byte == b'_' || byte == b'-')
            && name.len() <= 63
            && name != "e"
    };
    match views().find(|(_, view)| !is_name(&view.name)) {
        Some((at, view)) => {
            let why = format!("bad_name: {:?} is not [a-z0-9][a-z0-9_-]{{0,62}}, or is reserved", view.name);
            Err(Refusal::at(format!("/views/{at}/name"), why))
        }
        None => Ok(()),
    }
}

/// Each of the names stands at one place only.
fn once(names: impl Iterator<Item = (String, String)>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (place, name) in names {
        if !seen.insert(name.clone()) {
            return Err(Refusal::at(place, format!("twice: {name} is given twice")));
        }
    }
    Ok(())
}

/// All schema files with their places in the configuration.
fn files(config: &Config) -> Vec<(String, &FileText)> {
    let of_types = config.types.iter().enumerate().flat_map(|(at, declared)| {
        let files = declared.schemas.iter().enumerate();
        files.map(move |(nth, file)| (format!("/types/{at}/schemas/{nth}"), file))
    });
    let others = config.refs.iter().enumerate().map(|(at, file)| (format!("/refs/{at}"), file));
    of_types.chain(others).collect()
}

/// The numbers of the types that a view counts; each of them then has to have the fields that the view reads.
fn types_of(
    view: &ViewConfig,
    types: &[TypeConfig],
    fields: &mut [Vec<Field>],
    space: &Space,
    place: &str,
) -> Result<Vec<u32>, Refusal> {
    let mut numbers = Vec::new();
    for (nth, name) in view.types.iter().enumerate() {
        let here = || format!("{place}/types/{nth}");
        let found = types.iter().zip(&mut *fields).find(|(declared, _)| declared.name == *name);
        let Some((declared, fields)) = found else {
            return Err(Refusal::at(here(), format!("unknown_type: no type is called {name:?}")));
        };
        if numbers.contains(&declared.number) {
            return Err(Refusal::at(here(), format!("twice: {name:?} is named twice")));
        }
        numbers.push(declared.number);
        fields.extend(space.fields().cloned());
    }
    if numbers.is_empty() {
        return Err(Refusal::at(
            format!("{place}/types"),
            "types_missing: a view counts events of some type",
        ));
    }
    Ok(numbers)
}

/// A view keeps its rows as long as what it is made of stays the same.
fn with_view(builder: Builder, view: &ViewConfig, space: Space, numbers: Vec<u32>) -> Builder {
    let name = || Named::new(view.name.clone());
    let space_depends = json(&(&numbers, &view.key, &view.outputs));
    let builder = builder.keyspace_named(name().depends(space_depends), numbers, space);
    let (table, named) = (Table::new(view), name().depends(json(&view.outputs)));
    if table.is_group() {
        builder.view_named(named, view.name.clone(), Sums(table))
    } else {
        builder.view_named(named, view.name.clone(), Mixed(table))
    }
}

fn with_type(builder: Builder, config: &TypeConfig, declared: Declared) -> Builder {
    let depends = json(&(&config.upcasts, &config.retracts));
    let named = Named::new(format!("type-{}", config.number)).depends(depends);
    if config.retracts.is_some() {
        builder.schema_named(named, TypeSchema::<true>(declared))
    } else {
        builder.schema_named(named, TypeSchema::<false>(declared))
    }
}

/// What something in the configuration says, as a text.
fn json(of: &impl serde::Serialize) -> String {
    serde_json::to_string(of).expect("what was read as JSON is JSON")
}
