//! Opens a plugin's library: the one place where foreign code comes into the process.
//!
//! The order is fixed: dlopen of a private copy, the symbol that the section names, the header's mark, the layout of
//! every type that crosses the boundary, and only then the first call. `abi_stable`'s own check keeps a global map
//! that depends on load order and dangles, and it refuses plugins that are older than the host; so the layout is
//! compared here, with fresh globals each time, and in both directions. A library is never closed: thread-local
//! destructors, threads and stray `'static` references of its code would be left hanging.
#![expect(unsafe_code, reason = "opens dynamic libraries; each block says what it relies on")]

use super::load_error::LoadError;
use laterbase_plugin::abi::PluginModuleRef;
use laterbase_plugin::abi_stable::StableAbi;
use laterbase_plugin::abi_stable::abi_stability::abi_checking::{
    CheckingGlobals, check_layout_compatibility_with_globals,
};
use laterbase_plugin::abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::error::Error;
use std::path::Path;

/// How many lines of a layout report are shown: the full one has hundreds.
const LAYOUT_LINES_MAX: usize = 8;

/// The module of the library `copy`, a private copy that was never opened before, through its symbol `entry`.
pub(super) fn open(copy: &Path, entry: &str) -> Result<PluginModuleRef, LoadError> {
    let header = header(map(copy)?, entry)?;
    // The library stays mapped for ever, so the header's `'static` is true.
    let header = header.upgrade().map_err(|error| LoadError::Header { reason: first_line(&error) })?;
    check_layout(header)?;
    // SAFETY: the layouts of the module and of all types that it mentions were just found to agree in at least one
    // direction; prefix types carry the map of their own fields for what the older side lacks.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() };
    module.map_err(|error| LoadError::Header { reason: first_line(&error) })
}

/// Maps the library for the rest of the process's life.
fn map(copy: &Path) -> Result<&'static Library, LoadError> {
    // SAFETY: opening a library runs its initialisers, which is foreign code that the operator chose to install; its
    // file was found whole, for this machine and this interface, and a child process has already run them.
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
    // SAFETY: an `AbiHeaderRef` is the address of a static that begins with an `AbiHeader`. That the symbol names one
    // is what the section promises; the header's mark is compared before anything behind it is read.
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
    Err(LoadError::Layout { lines: telling_lines(&error.to_string()) })
}

/// The lines of a layout report that name the difference: those behind `Error:` and the fields on the way there.
fn telling_lines(report: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut wanted = 0_u32;
    for line in report.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("Error:") {
            wanted = 3;
        }
        let trail = line.starts_with("field_name:") || line.starts_with("name:");
        if (wanted > 0 || trail) && !lines.iter().any(|seen| seen == line) {
            lines.push(line.to_owned());
        }
        wanted = wanted.saturating_sub(1);
    }
    lines.truncate(LAYOUT_LINES_MAX);
    lines
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

fn first_line(error: &LibraryError) -> String {
    let text = error.to_string();
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim().to_owned()
}
