//! `laterbase plugin new`: a crate that builds, loads and passes its own test as it stands.

use super::{EXIT_USAGE, fail};
use crate::plugin::declared::is_name;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The files of a new plugin, with `{name}`, `{crate}` and `{api}` to be filled in.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("scripts/pieces.txt", include_str!("template/pieces.txt")),
    ("scripts/pieces.out", include_str!("template/pieces.out")),
];

/// Where the author's crate lay when this program was built.
const API: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");

pub(super) fn run(name: &str, folder: Option<PathBuf>, api: Option<PathBuf>) -> ExitCode {
    if !is_name(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        let rule = "1 to 63 of a-z, 0-9, - and _, the first a letter, and not the word e";
        return fail(EXIT_USAGE, &format!("{name:?} is not a plugin name: {rule}"));
    }
    let folder = folder.unwrap_or_else(|| PathBuf::from(name));
    match make(name, &folder, &dependency(api)) {
        Ok(()) => {
            say!("made {}; next:", folder.display());
            say!("    cd {} && cargo test && cargo build --release", folder.display());
            say!("    laterbase plugin test --plugins target/release scripts/*.txt");
            ExitCode::SUCCESS
        }
        Err(fault) => fail(1, &format!("{}: {fault}", folder.display())),
    }
}

/// The author's crate as a dependency: where it lies, or by version.
fn dependency(api: Option<PathBuf>) -> String {
    let path = api.or_else(|| Some(PathBuf::from(API)).filter(|path| path.join("Cargo.toml").is_file()));
    let path = path.and_then(|path| path.canonicalize().ok());
    match path {
        Some(path) => format!("{{ path = {:?} }}", path.display().to_string()),
        None => "\"1\"".to_owned(),
    }
}

fn make(name: &str, folder: &Path, api: &str) -> io::Result<()> {
    // A folder that is there already is somebody's: nothing in it is touched.
    fs::create_dir(folder)?;
    for (file, text) in FILES {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let text =
            text.replace("{name}", name).replace("{crate}", &name.replace('-', "_")).replace("{api}", api);
        fs::write(path, text)?;
    }
    Ok(())
}
