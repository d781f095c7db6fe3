//! What all suites share: the real binary in a folder of its own, plugins that are built for a test, and, from the
//! host, what `laterbase plugin test` is made of: a plain HTTP client and the runner of scripts.

#[path = "harness/fixture.rs"]
mod fixture;
#[path = "harness/server.rs"]
mod server;

pub use fixture::{Panics, fixture, move_over, patched, tally_variant, variant};
pub use laterbase::cli::script::{Answer, Client, play, play_telling, redact, request};
pub use server::{Server, built, library, target};

use std::path::{Path, PathBuf};

/// The repository's top folder.
///
/// # Panics
/// Never: this package lies in a folder of it.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the top folder").to_owned()
}

/// The seed of a randomised test: `LATERBASE_SEED` or a fresh one. It is printed, so that a failure can be replayed.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("LATERBASE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    #[expect(clippy::print_stderr, reason = "whoever sees the test fail needs the seed")]
    let () = eprintln!("{test}: LATERBASE_SEED={seed}");
    seed
}

/// Every file below `folder` with its length, so that two listings show whether anything was created.
pub fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for file in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = file.path();
            // What views are computed to may be written at any time.
            if path.ends_with("derived") {
                continue;
            }
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, file.metadata().map_or(0, |meta| if meta.is_dir() { 0 } else { meta.len() })));
        }
    }
    found.sort();
    found
}
