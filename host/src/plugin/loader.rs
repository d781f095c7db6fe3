//! Opens a plugin's library: the one place where foreign code comes into the process.
//!
//! The order is fixed: dlopen of a private copy, the symbol that the section names, the header's mark, the
//! layout of every type that crosses the boundary, and only then the first call. `abi_stable`'s own check
//! keeps a global map that depends on load order and dangles, and it refuses plugins that are older than the
//! host; so the layout is compared here, with fresh globals each time, and in both directions. A library is
//! never closed: thread-local destructors, threads and stray `'static` references of its code would be left
//! hanging.
#![expect(unsafe_code, reason = "opens dynamic libraries; each block says what it relies on")]

use super::load_error::LoadError;
use laterbase_plugin::abi::PluginModuleRef;
use laterbase_plugin::abi_stable::StableAbi;
use laterbase_plugin::abi_stable::abi_stability::abi_checking::{
    CheckingGlobals, check_layout_compatibility_with_globals,
};
use laterbase_plugin::abi_stable::library::{AbiHeader, AbiHeaderRef, LibHeader, LibraryError};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::error::Error;
use std::path::Path;

/// How many differences of layout are shown: the first is the cause, more are its consequences.
const DIFFERENCES_MAX: usize = 4;
/// How many lines of a report describe what was expected or found: name, type, size.
const DESCRIPTION_LINES: u32 = 3;
/// How much of a header's error is shown, in characters.
const REASON_CHARS_MAX: usize = 300;

/// The module of the library `copy`, a private copy that was never opened before, through its symbol `entry`.
pub(super) fn open(copy: &Path, entry: &str) -> Result<PluginModuleRef, LoadError> {
    let header = header(map(copy)?, entry)?;
    // The library stays mapped for ever, so the header's `'static` is true.
    let header = header.upgrade().map_err(|error| LoadError::Header { reason: one_line(&error) })?;
    check_layout(header)?;
    // SAFETY: the layouts of the module and of all types that it mentions were just found to agree in at
    // least one direction; prefix types carry the map of their own fields for what the older side lacks.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() };
    module.map_err(|error| LoadError::Header { reason: one_line(&error) })
}

/// Maps the library for the rest of the process's life.
fn map(copy: &Path) -> Result<&'static Library, LoadError> {
    // SAFETY: opening a library runs its initialisers, which is foreign code that the operator chose to
    // install; its file was found whole, for this machine and this interface, and a child process has already
    // run them.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|source| {
        let path = copy.display().to_string();
        let reason = causes(&source).replace(&format!("{path}: "), "").replace(&path, "the library");
        LoadError::Dlopen { reason, source }
    })?;
    Ok(Box::leak(Box::new(library)))
}

/// The header under the symbol `entry`.
fn header(library: &'static Library, entry: &str) -> Result<AbiHeaderRef, LoadError> {
    // SAFETY: an `AbiHeaderRef` is the address of a static that begins with an `AbiHeader`. That the symbol
    // names one is what the section promises; the header's mark is compared before anything behind it is
    // read.
    let symbol = unsafe { library.get::<AbiHeaderRef>(entry) };
    let symbol = symbol.map_err(|source| LoadError::Symbol { symbol: entry.to_owned(), source })?;
    Ok(*symbol)
}

/// Compares the layouts of all types that cross the boundary, host against plugin and plugin against host.
fn check_layout(header: &LibHeader) -> Result<(), LoadError> {
    let missing = || LoadError::Header { reason: "the library was built without its layout".to_owned() };
    let (host, plugin) = (PluginModuleRef::LAYOUT, header.layout().ok_or_else(missing)?);
    let Err(error) = check_layout_compatibility_with_globals(host, plugin, &CheckingGlobals::new()) else {
        return Ok(());
    };
    if check_layout_compatibility_with_globals(plugin, host, &CheckingGlobals::new()).is_ok() {
        return Ok(());
    }
    Err(LoadError::Layout { differences: differences(&error.to_string()) })
}

/// The differences that a layout report names, one text each; the report itself has hundreds of lines.
fn differences(report: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut within, mut wanted) = ("", 0_u32);
    let mut lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        match (line, found.last_mut()) {
            ("Layout of expected type:", _) => {
                within = lines.find_map(|line| line.strip_prefix("type:")).unwrap_or_default();
                wanted = 0;
            }
            ("Expected:" | "Found:", Some(difference)) => {
                difference.push_str(if line == "Found:" { ", found" } else { ": expected" });
                wanted = DESCRIPTION_LINES;
            }
            (line, last) => {
                if let Some(what) = line.strip_prefix("Error:") {
                    found.push(format!("{within}: {what}"));
                    wanted = 0;
                } else if let (Some(difference), 1..) = (last, wanted) {
                    difference.push(' ');
                    difference.push_str(line);
                    wanted -= 1;
                }
            }
        }
    }
    found.truncate(DIFFERENCES_MAX);
    found
}

/// An error and everything that caused it, in one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a header's error means, in one line.
fn one_line(error: &LibraryError) -> String {
    if let LibraryError::InvalidAbiHeader(found) = error {
        let host = AbiHeader::VALUE;
        if found.magic_string != host.magic_string {
            return "it is not a header of abi_stable".to_owned();
        }
        let (found, host) = ((found.abi_major, found.abi_minor), (host.abi_major, host.abi_minor));
        return format!("made with abi_stable {}.{}, this host has {}.{}", found.0, found.1, host.0, host.1);
    }
    let text = error.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: of a report's hundreds of lines, those that name the difference. Method: a report of the shape
    // that the checker writes.
    #[test]
    fn reports_are_short() {
        let described =
            |name| format!("    field_name:{name}\n    type:u32\n    size:4 align:4\n    package:'x'\n");
        let report = format!(
            "Compared <this>:\n    type:Root\nTo <other>:\n    type:Root\n\n1 error(s)inside:\n\
             Layout of expected type:\n    --- Type Layout ---\n    type:Inner\n    size:8 align:8\n\
             Layout of found type:\n    --- Type Layout ---\n    type:Inner\n\n\
             Error:unexpected field\nExpected:\n{}Found:\n{}",
            described("old"),
            described("new")
        );
        let expected = "Inner: unexpected field: expected field_name:old type:u32 size:4 align:4, \
                        found field_name:new type:u32 size:4 align:4";
        assert_eq!(differences(&report), [expected]);
        assert_eq!(differences(&report.repeat(9)).len(), DIFFERENCES_MAX);
        assert!(differences("nothing of the kind").is_empty());
    }
}
