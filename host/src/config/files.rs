//! Files that the configuration of a plugin names: their texts take the place of their names.
//!
//! Plugins read no files. A table `{ file = "NAME" }` anywhere in the configuration for a root reaches the plugin as
//! `{"file": "NAME", "text": "…"}`, so that what a file says is part of what the plugin is configured with.

use super::ConfigError;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The member that names a file.
const NAME: &str = "file";
/// The member that has its text.
const TEXT: &str = "text";
/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How the TOML reader hands over a date or a time to a reader of JSON.
const DATE: &str = "$__toml_private_datetime";

/// Makes texts of the dates and times in `value`, which JSON has not.
pub(super) fn dates_as_texts(value: &mut Value) {
    match value {
        Value::Object(members) => match members.get(DATE).and_then(Value::as_str) {
            Some(date) => *value = date.to_owned().into(),
            None => members.values_mut().for_each(dates_as_texts),
        },
        Value::Array(items) => items.iter_mut().for_each(dates_as_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is done with a table that names a file, and its name.
type Visit<'v, E> = &'v mut dyn FnMut(&mut Map<String, Value>, String) -> Result<(), E>;

/// Where the files lie that `config` names, relative to `folder`.
pub(super) fn named(config: &Map<String, Value>, folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let listed = each::<Infallible>(&mut config.clone(), &mut |_, name| {
        paths.push(folder.join(name));
        Ok(())
    });
    listed.map_or_else(|never| match never {}, |()| paths)
}

/// Puts the texts of all files into `config`; names are relative to `folder`.
pub(super) fn resolve(config: &mut Map<String, Value>, folder: &Path) -> Result<(), ConfigError> {
    each(config, &mut |table, name| {
        let path = folder.join(&name);
        let text = text_of(&path).map_err(|source| ConfigError::Read { path, source })?;
        table.insert(TEXT.to_owned(), text.into());
        Ok(())
    })
}

/// Visits each table that names a file and nothing else.
fn each<E>(config: &mut Map<String, Value>, visit: Visit<'_, E>) -> Result<(), E> {
    if let Some(Value::String(name)) = config.get(NAME)
        && config.len() == 1
    {
        let name = name.clone();
        return visit(config, name);
    }
    config.values_mut().try_for_each(|value| each_in(value, visit))
}

fn each_in<E>(value: &mut Value, visit: Visit<'_, E>) -> Result<(), E> {
    match value {
        Value::Object(members) => each(members, visit),
        Value::Array(items) => items.iter_mut().try_for_each(|item| each_in(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn text_of(path: &Path) -> std::io::Result<String> {
    // A look at the kind first: opening a named pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
