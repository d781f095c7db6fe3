//! Checks on the code itself: what the documents promise about its shape is kept by this test.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a source file may have.
const FILE_LINES_MAX: usize = 600;
/// The most columns that a source line may have.
const LINE_COLUMNS_MAX: usize = 120;

/// Which module of the host may use which others. This table is the architecture: what is not here is not allowed.
const IMPORTS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("problem", &["core"]),
    ("wall", &["core"]),
    ("store", &["core", "problem"]),
    ("plugin", &["core", "problem"]),
    ("admit", &["core", "problem", "wall", "store", "plugin"]),
    ("feed", &["core", "problem"]),
    ("sync", &["core", "problem", "wall", "store"]),
    ("views", &["core", "problem", "store", "plugin"]),
    ("config", &["core"]),
    ("root", &["core", "problem", "wall", "store", "plugin", "admit", "feed", "sync", "views"]),
    ("peers", &["core", "problem", "sync"]),
    (
        "host",
        &[
            "core", "problem", "wall", "store", "plugin", "admit", "sync", "views", "config", "root",
            "peers", "metering",
        ],
    ),
    ("verify", &["core", "problem", "store", "sync", "peers"]),
    ("http", &["core", "problem", "admit"]),
    ("metering", &[]),
    (
        "service",
        &[
            "core", "problem", "store", "plugin", "admit", "feed", "sync", "views", "config", "root",
            "peers", "verify", "host", "http", "metering",
        ],
    ),
    ("simulation", &["core", "problem", "wall", "store", "admit", "sync", "peers", "http", "service"]),
    (
        "cli",
        &[
            "core", "problem", "wall", "store", "sync", "plugin", "admit", "config", "peers", "verify",
            "host", "service",
        ],
    ),
];

/// What the unit tests of a module may use besides: the things that a test puts in the place of a host's.
const TEST_IMPORTS: &[(&str, &[&str])] = &[("peers", &["store", "wall"])];

/// The only files in which unsafe code may stand.
const UNSAFE_FILES: &[&str] = &[
    "host/src/plugin/loader.rs",
    "host/src/store/environment.rs",
    "plugin-api/src/abi.rs",
    "plugin-api/src/export.rs",
];

/// The repository's top folder.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the top folder").to_owned()
}

/// Every Rust source of the project with its text, by path from the top.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["host", "plugin-api", "plugins", "tests"] {
        collect(&top().join(folder), &mut found);
    }
    assert!(found.len() > 30, "the walk found too little: {}", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|f| f.expect("a file").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        if path.is_dir() && name != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let shown = path.strip_prefix(top()).expect("below the top").display().to_string();
            found.push((shown, fs::read_to_string(&path).expect("UTF-8")));
        }
    }
}

fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// A reader learns from the first lines what a file is for.
#[test]
fn every_file_opens_with_its_purpose() {
    let headless = |(path, text): &(String, String)| (!text.starts_with("//! ")).then(|| path.clone());
    assert_none(&sources().iter().filter_map(headless).collect::<Vec<_>>(), "files without a `//!` head");
}

/// A file that outgrows the limit is two ideas.
#[test]
fn files_and_lines_are_short() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{path}: {lines} lines"));
        }
        // A sentence in quotes is not broken: people search for it.
        let lines = text.lines().enumerate().filter(|(_, line)| !line.contains('"'));
        let long = lines.filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX);
        faults.extend(long.map(|(at, _)| format!("{path}:{}: a long line", at + 1)));
    }
    assert_none(&faults, "too long");
}

/// Data flows one way.
#[test]
fn imports_keep_the_table() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(rest) = path.strip_prefix("host/src/") else { continue };
        let module = rest.split(['/', '.']).next().expect("a first segment");
        // Tests look at a module from all sides.
        let is_test = rest.split('/').any(|folder| matches!(folder, "tests" | "simulation"));
        if is_test || matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("{path}: the module {module} is not in the table"));
            continue;
        };
        let is_test = path.contains("/tests/");
        let besides = TEST_IMPORTS.iter().find(|(name, _)| is_test && *name == module);
        let besides = besides.map_or(&[] as &[&str], |(_, besides)| besides);
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let is_allowed = allowed.contains(&used.as_str()) || besides.contains(&used.as_str());
            if !used.is_empty() && used != module && !is_allowed {
                faults.push(format!("{path}: uses crate::{used}"));
            }
        }
    }
    assert_none(&faults, "imports against the table");
}

/// The heart is pure: no files, no clock, no chance, no threads.
#[test]
fn core_is_pure() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !path.starts_with("host/src/core/") {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in
            ["std::fs", "std::net", "std::thread", "SystemTime", "Instant::now", "rand::", "tokio", "async "]
        {
            if text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) {
                faults.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none(&faults, "impure");
}

/// Unsafe code stands only where its rules are written down.
#[test]
fn unsafe_stands_only_in_the_files_named_for_it() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let fixture = path.starts_with("tests/fixtures/") || path == "tests/tidy.rs";
        if fixture || UNSAFE_FILES.contains(&path.as_str()) {
            continue;
        }
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| line.contains("unsafe ") || line.contains("unsafe_code, reason"));
        faults.extend(found.map(|line| format!("{path}: {}", line.trim())));
    }
    assert_none(&faults, "unsafe elsewhere");
}

/// Plugins are safe code, and each is a complete example.
#[test]
fn plugins_are_complete_examples() {
    for plugin in fs::read_dir(top().join("plugins")).expect("plugins") {
        let plugin = plugin.expect("a folder").path();
        let lib = fs::read_to_string(plugin.join("src/lib.rs")).expect("src/lib.rs");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{}: forbids no unsafe code", plugin.display());
        assert!(plugin.join("README.md").is_file(), "{}: has no README.md", plugin.display());
    }
}

/// Nothing is left for later without a name.
#[test]
fn nothing_unfinished() {
    let marks = ["TO", "FIX"].map(|mark| mark.to_owned() + if mark == "TO" { "DO" } else { "ME" });
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let found = text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        faults.extend(found.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())));
    }
    assert_none(&faults, "unfinished work");
}

/// The visible top level is six names, the lock file and licences.
#[test]
fn the_top_level_is_six_names() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "host",
        "plugin-api",
        "plugins",
        "tests",
        "target",
        "data",
    ];
    let names = fs::read_dir(top()).expect("the top").map(|f| f.expect("a file").file_name());
    let strange: Vec<_> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| !name.starts_with('.') && !allowed.contains(&name.as_str()))
        .collect();
    assert_none(&strange, "not one of the six names");
}
