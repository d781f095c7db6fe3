//! What an author reads when a plugin does not compile: the compiler runs on small mistakes, and must say a sentence
//! that helps. An integration test, because cargo then has built the library that the mistakes are compiled against.

use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

/// A plugin but for the View's algebra.
const PLUGIN: &str = "
    #![forbid(unsafe_code)]
    use laterbase_plugin::*;
    #[derive(serde::Deserialize)] pub struct Add { pub item: String, pub n: i64 }
    impl EventType for Add { const NUMBER: u32 = 1; const NAME: &'static str = \"add\"; }
    pub struct ByItem;
    impl Keyspace for ByItem {
        type Event = Add; type Key = String; type Delta = i64;
        fn map(&self, e: &Event<Add>, out: &mut Emit<Self>) { out.emit(&e.data.item, e.data.n); }
    }
    pub struct Total;
";

/// The newest build of the library `name` beside this test.
fn library(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a running test has a path");
    let folder = here.parent().expect("a file is in a folder");
    let files =
        std::fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("it can be listed"));
    let fits = |path: &PathBuf| {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        file.strip_suffix(".rlib").is_some_and(|file| file.starts_with(&format!("lib{name}-")))
    };
    let age =
        |path: &PathBuf| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let newest = files.map(|file| file.path()).filter(fits).max_by_key(age);
    newest.expect("cargo builds the library before its integration tests")
}

/// What the compiler says of `source`, on one line; none if it compiles.
fn complaint(name: &str, source: &str) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.rs"));
    std::fs::write(&file, source).expect("the folder for tests can be written");
    let plugin = library("laterbase_plugin");
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--cap-lints=allow"])
        .args(["--out-dir", folder.to_str().expect("the folder's name is text")])
        .arg(format!("--extern=laterbase_plugin={}", plugin.display()))
        .arg(format!("--extern=serde={}", library("serde").display()))
        .arg(format!("-Ldependency={}", plugin.parent().expect("a file is in a folder").display()))
        .arg(&file)
        .env("CARGO_PKG_VERSION", "1.2.3")
        .output()
        .expect("the compiler that built this test is there");
    let text = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    (!output.status.success()).then_some(text)
}

fn check(name: &str, source: &str, sentence: &str) {
    let complaint = complaint(name, source).unwrap_or_else(|| panic!("{name} compiles"));
    assert!(complaint.contains(sentence), "{name}: {complaint}");
}

fn total(algebra: &str, rest: &str) -> String {
    format!(
        "{PLUGIN} impl View for Total {{
            const NAME: &'static str = \"total\"; type Over = ByItem; type State = i64; type Algebra = {algebra};
            fn fold(&self, s: &mut i64, _: EventKey, n: i64) {{ *s += n; }}
        }} {rest}"
    )
}

const MERGE: &str =
    "impl Merge for Total { fn merge(&self, left: &mut i64, right: i64) { *left += right; } }";
const INVERT: &str = "impl Invert for Total { fn invert(&self, s: &mut i64) { *s = -*s; } }";

// Goal: the mistakes below differ from this by one thing each, so it must compile; with hyphens in its name, too.
#[test]
fn the_plugin_without_a_mistake() {
    let export = "
        fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> { Instance::builder().build() }
        export_plugin! { name: \"my-tool_2\", roots: [], configure: configure, self_check: || Ok(()) }
    ";
    let whole = total("Group", &format!("{MERGE} {INVERT} {export}"));
    assert_eq!(complaint("whole", &whole), None);
    let bad = whole.replace("my-tool_2", "My Tool");
    check("name", &bad, "a plugin's name is [a-z0-9][a-z0-9_-]{0,62}");
}

// Goal: an algebra without what it needs is refused, and the sentence says what to write.
#[test]
fn algebras() {
    check(
        "group",
        &total("Group", MERGE),
        "`Total` declares `type Algebra = Group`, but does not implement `Invert`",
    );
    check(
        "commutative",
        &total("Commutative", ""),
        "`Total` declares an algebra whose states merge, but does not implement `Merge`",
    );
}

// Goal: what has no canonical encoding, or several, is refused, and the sentence names the cure.
#[test]
fn encodings() {
    check(
        "float",
        &total("Ordered", "#[derive(Canonical)] struct S { x: f64 }"),
        "use integers instead of floats",
    );
    let map = "#[derive(Canonical)] struct S(std::collections::HashMap<String, u8>);";
    check("map", &total("Ordered", map), "BTreeMap or BTreeSet instead of HashMap or HashSet");
    let generic = "#[derive(Canonical)] struct S<T>(T);";
    check("generic", &total("Ordered", generic), "Canonical is derived for types without generics");
    let union = "#[derive(Canonical)] union S { x: u8 }";
    check("union", &total("Ordered", union), "a union has no canonical encoding: use an enum");
}

// Goal: events and keys of the wrong shape are refused with a sentence.
#[test]
fn events_and_keys() {
    let unnumbered = "#[derive(serde::Deserialize, EventType)] struct E { x: u8 }";
    check("number", &total("Ordered", unnumbered), "#[event(number = 1)]");
    let misspelt = "#[derive(serde::Deserialize, EventType)] #[event(nummer = 1)] struct E { x: u8 }";
    check("attribute", &total("Ordered", misspelt), "expected number, name or version");
    let key = total("Ordered", "").replace("out.emit(&e.data.item,", "out.emit((&e.data.item, 1),");
    check("key", &key, "is not a key of this Keyspace, which are `String`");
    let event = total("Ordered", "")
        .replace("type Event = Add", "type Event = String")
        .replace("Event<Add>", "Event<String>");
    check("event", &event, "`String` is not the data of any event type");
}
