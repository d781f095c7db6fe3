//! Plugin crates that are no members of the workspace: built once a run, offline, from a copy below the target folder
//! with the workspace's own lock file. A copy keeps its path and what did not change, so cargo builds little again.

use super::server::target;
use super::top;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What a panic does in a library; decided when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panics {
    /// It can be stopped at the boundary.
    Unwind,
    /// It ends the process.
    Abort,
}

/// The library of the crate in `tests/fixtures/plugins/{name}`.
///
/// # Panics
/// If it does not build.
pub fn fixture(name: &str, panics: Panics) -> PathBuf {
    let folder = top().join("tests/fixtures/plugins").join(name);
    variant(name, &folder, panics, &|_, text| text.replace("../../../../plugin-api", &plugin_api()))
}

/// The folder of the one crate that plugins depend on, for manifests that lie elsewhere.
fn plugin_api() -> String {
    top().join("plugin-api").to_str().expect("a path in UTF-8").to_owned()
}

/// The library of the crate `name` in `folder`, each of whose files is passed through `change`, by its path inside the
/// crate. A name stands for one variant only.
///
/// # Panics
/// If it does not build.
pub fn variant(
    name: &str,
    folder: &Path,
    panics: Panics,
    change: &dyn Fn(&Path, String) -> String,
) -> PathBuf {
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let into = target().parent().expect("the target folder").join(match panics {
        Panics::Unwind => "fixtures",
        Panics::Abort => "fixtures-abort",
    });
    let library = into.join(format!("debug/lib{name}.so"));
    let mut done = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if done.contains(&library) {
        return library;
    }
    let copy = into.join("sources").join(name);
    fs::create_dir_all(copy.join("src")).expect("a folder");
    let sources = fs::read_dir(folder.join("src")).expect("sources").map(|file| file.expect("a file").path());
    for file in sources.chain([folder.join("Cargo.toml")]) {
        let inside = file.strip_prefix(folder).expect("a file of the folder");
        let text = fs::read_to_string(&file).expect("UTF-8");
        write_if_new(&copy.join(inside), &change(inside, text));
    }
    if !copy.join("Cargo.lock").exists() {
        fs::copy(top().join("Cargo.lock"), copy.join("Cargo.lock")).expect("copied");
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--offline", "--target-dir"]).arg(&into).current_dir(&copy);
    if panics == Panics::Abort {
        build.env("CARGO_PROFILE_DEV_PANIC", "abort");
    }
    assert!(build.status().expect("cargo runs").success(), "{name} does not build");
    done.insert(library.clone());
    library
}

/// Tally as the crate `name` in its next version, its source passed through `change`.
///
/// # Panics
/// If it does not build.
pub fn tally_variant(name: &str, change: &dyn Fn(String) -> String) -> PathBuf {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.2.0\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nlaterbase-plugin = {{ path = \"{}\" }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\n[workspace]\n",
        plugin_api()
    );
    variant(name, &top().join("plugins/tally"), Panics::Unwind, &|file, text| {
        if file == Path::new("Cargo.toml") { manifest.clone() } else { change(text) }
    })
}

/// Moves a copy of a file over another in one step, as a build script should.
///
/// # Panics
/// If it cannot be copied or moved.
pub fn move_over(from: &Path, onto: &Path) {
    let beside = onto.with_extension("new");
    fs::copy(from, &beside).expect("copied");
    fs::rename(&beside, onto).expect("moved");
}

/// Leaves a file alone that holds `text` already, so that cargo sees no change.
fn write_if_new(file: &Path, text: &str) {
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::write(file, text).expect("written");
    }
}

/// `bytes` with every `from` replaced by `to`, of the same length.
///
/// # Panics
/// If there is nothing to replace.
pub fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a patch keeps the length");
    let first = *from.first().expect("a patch is not empty");
    let candidates = bytes.iter().enumerate().filter(|(_, byte)| **byte == first).map(|(at, _)| at);
    let places: Vec<usize> =
        candidates.filter(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(from))).collect();
    let mut bytes = bytes.to_vec();
    assert!(!places.is_empty(), "nothing to patch: {}", String::from_utf8_lossy(from));
    for at in places {
        bytes.get_mut(at..at + to.len()).expect("it was found there").copy_from_slice(to);
    }
    bytes
}
