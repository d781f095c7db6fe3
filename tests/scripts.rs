//! Transcripts: every script below `tests/scripts` and `plugins/*/scripts` is played against a fresh server, and what
//! it answered is compared with the snapshot of the same name. A change of behaviour shows as a change of a snapshot.

use laterbase_tests::{Server, play, top};
use std::fs;
use std::path::{Path, PathBuf};

fn scripts_in(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder of scripts").map(|file| file.expect("a file").path());
    let mut scripts: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    scripts.sort();
    scripts
}

/// Plays every script of a folder; snapshots lie in `snapshots`.
fn check(folder: &Path, snapshots: &Path) {
    let scripts = scripts_in(folder);
    assert!(!scripts.is_empty(), "{}: no scripts", folder.display());
    for script in scripts {
        let name = script.file_stem().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        let text = fs::read_to_string(&script).expect("UTF-8");
        let mut server = Server::start(&[]).expect("a server");
        let transcript =
            play(&mut server, &text).unwrap_or_else(|fault| panic!("{}: {fault:#}", script.display()));
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(snapshots);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, transcript));
    }
}

// Goal: what users see over HTTP, told as stories. Method: real binary, one request after the other.
#[test]
fn the_server_tells_its_stories() {
    check(&top().join("tests/scripts"), &top().join("tests/snapshots"));
}

// Goal: each bundled plugin's own stories. Method: the same, from the plugin's folder.
#[test]
fn the_plugins_tell_their_stories() {
    for plugin in ["tally", "epcis"] {
        let folder = top().join("plugins").join(plugin);
        check(&folder.join("scripts"), &folder.join("snapshots"));
    }
}
