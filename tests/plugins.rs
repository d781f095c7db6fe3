//! Plugins from the outside of the Registry: hostile files are refused by name, a reload is atomic, and
//! nothing that a plugin does reaches beyond its own call.
//!
//! Most hostile files are a sound library with a few bytes changed. Those that need code of their own are the
//! crates below `fixtures/plugins`, built once a run in a target folder of their own.

use laterbase::core::event::{EventKey, ValidTime, Value};
use laterbase::plugin::load_error::Cause;
use laterbase::plugin::module::Configuration;
use laterbase::plugin::probe::Probe;
use laterbase::plugin::registry::Configurations;
use laterbase::plugin::{
    CallError, Catalog, Instance, LoadError, Options, Registry, Reloaded, Services, Status, delta_ref,
    event_ref,
};
use laterbase::problem::Code;
use laterbase_tests::{Panics, built, library, patched};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW: ValidTime = ValidTime(1 << 62);

/// A Registry with a folder of plugins of its own.
struct Bench {
    scratch: tempfile::TempDir,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut options = Options {
            probe: Some(Probe::new(built())),
            program: [7; 32],
            generations_warn: 1000,
            generations_max: 1000,
            ..Options::new(scratch.path().join("stage"))
        };
        change(&mut options);
        fs::create_dir(scratch.path().join("plugins")).expect("a folder");
        Self { registry: Registry::new(options), scratch }
    }

    /// A Registry in which `hostile` is configured to fail in `hook`; it would not pass a trial of its laws.
    fn failing_in(hook: &str) -> Self {
        Self::with(|options| {
            options.probe = None;
            let config = json!({ "fail": hook }).as_object().expect("an object").clone();
            let configuration = BTreeMap::from([("hostile".to_owned(), config)]);
            options.configurations = Arc::new(BTreeMap::from([("hostile".to_owned(), configuration)]));
        })
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("plugins")
    }

    /// Moves finished bytes into place, as an operator should.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (unfinished, file) = (self.folder().join(".unfinished"), self.folder().join(name));
        fs::write(&unfinished, bytes).expect("written");
        fs::rename(&unfinished, &file).expect("moved");
        file
    }

    fn load(&self, name: &str, bytes: &[u8]) -> Result<Reloaded, LoadError> {
        self.registry.load_file(&self.put(name, bytes), NOW, &mut |_| Ok(()))
    }

    fn reload(&self, name: &str) -> Result<Reloaded, LoadError> {
        self.registry.reload(name, NOW, &mut |_| Ok(()))
    }

    fn status(&self, name: &str) -> Status {
        let all = self.registry.status();
        all.into_iter().find(|status| status.name.as_deref() == Some(name)).expect("the plugin is listed")
    }

    /// The instance of the plugin that owns the root.
    fn instance(&self, root: &str) -> Arc<Instance> {
        let catalog = self.registry.catalog();
        Arc::clone(catalog.root(root).expect("the root is declared").instances().first().expect("one plugin"))
    }

    /// No private copy is left behind.
    fn assert_stage_is_empty(&self) {
        let left = fs::read_dir(self.scratch.path().join("stage")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "private copies are left");
    }
}

fn tally() -> Vec<u8> {
    fs::read(library("tally")).expect("the library is built")
}

/// The same library as far as anybody can tell, with another hash.
fn rebuilt(bytes: &[u8], number: u64) -> Vec<u8> {
    [bytes, &number.to_be_bytes()].concat()
}

/// The library of the fixture crate `name`.
fn fixture(name: &str) -> Vec<u8> {
    built_for(name, Panics::Unwind)
}

fn built_for(name: &str, panics: Panics) -> Vec<u8> {
    fs::read(laterbase_tests::fixture(name, panics)).expect("the library is built")
}

fn code(result: Result<Reloaded, LoadError>) -> Code {
    result.expect_err("it is refused").code()
}

fn key(number: u64) -> EventKey {
    EventKey::new(ValidTime(number), [0; 8])
}

/// What `total` of the root `tally` answers for three events of one item.
fn total(catalog: &Catalog) -> String {
    let root = catalog.root("tally").expect("the root is declared");
    let data = [br#"{"item":"a","n":1}"#.as_slice(), br#"{"item":"a","n":2}"#, br#"{"item":"a","n":39}"#];
    let value = |data| Value { type_number: 1, version: 1, data };
    let events: Vec<_> = (1..).zip(data).map(|(number, data)| event_ref(key(number), value(data))).collect();
    let services = Services::default();
    let upcast: Vec<_> =
        root.upcast(&services, &events).into_iter().map(|event| event.expect("current")).collect();
    let upcast: Vec<_> = upcast.iter().map(laterbase::plugin::Upcast::event_ref).collect();
    assert_eq!(root.admit(&services, &upcast), Ok(vec![]));
    let view = root.view("total").expect("tally has it");
    let instance = &view.instance;
    let mapping = instance.map(&services, view.keyspace.index, &upcast).expect("not cancelled");
    assert_eq!(mapping.failures(), []);
    let rows: Vec<_> = mapping.rows().collect();
    let run: Vec<_> = rows.iter().map(|(event, _, delta)| delta_ref(upcast[*event].key, delta)).collect();
    let state = instance.fold(&services, view.index, None, &run).expect("it folds");
    instance.render(&services, view.index, rows[0].1, &state).expect("it renders").get().to_owned()
}

const TOTAL: &str = r#"{"n":42,"count":3}"#;

/// Goal: a plugin in the folder serves its roots, and the status tells what it is.
#[test]
fn a_plugin_loads_and_answers() {
    let bench = Bench::new();
    assert_eq!(bench.load("libtally.so", &tally()).expect("it loads"), Reloaded::Swapped { generation: 1 });
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
    let status = bench.status("tally");
    assert_eq!((status.state, status.generation), ("serving", Some(1)));
    assert_eq!(status.library, Some(blake3::hash(&tally()).to_hex().to_string()));
    let root = status.roots.first().expect("one root");
    assert_eq!((root.root.as_str(), root.types.join(" ")), ("tally", "add undo".to_owned()));
    assert_eq!(root.views.join(" "), "total daily last");
    bench.assert_stage_is_empty();
}

/// Goal: bytes that serve already are not loaded again; new ones are the next generation, and views of another build
/// that declares the same keep their revisions, and with them their rows.
#[test]
fn only_changes_are_loaded() {
    let bench = Bench::new();
    bench.load("libtally.so", &tally()).expect("it loads");
    assert_eq!(bench.reload("tally").expect("nothing to do"), Reloaded::Unchanged { generation: 1 });
    let revision = |bench: &Bench| {
        bench.registry.catalog().root("tally").and_then(|root| root.view("total").map(|view| view.revision))
    };
    let before = revision(&bench);
    bench.put("libtally.so", &rebuilt(&tally(), 1));
    assert_eq!(bench.reload("tally").expect("it reloads"), Reloaded::Swapped { generation: 2 });
    assert_eq!(revision(&bench), before, "the library's bytes are no part of it");
    assert_eq!(bench.instance("tally").identity().generation, 2);
    assert_eq!(bench.registry.generations_loaded(), 2);
}

/// Goal: no call fails while the plugin under it is replaced a hundred times, and old generations go. Method:
/// threads ask without a pause; every Catalog that was replaced is gone when nobody holds it any more.
#[test]
fn a_hundred_reloads_under_load() {
    // The probe is tested elsewhere; without it a reload takes milliseconds.
    let bench = Bench::with(|options| options.probe = None);
    bench.load("libtally.so", &tally()).expect("it loads");
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut old = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(total(&bench.registry.catalog()), TOTAL);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..100_u8 {
            old.push(Arc::downgrade(&bench.registry.catalog()));
            // One more byte makes another build of it, without writing all of it again.
            let mut file =
                fs::OpenOptions::new().append(true).open(bench.folder().join("libtally.so")).expect("there");
            file.write_all(&[number]).expect("written");
            let reloaded = bench.reload("tally").expect("it reloads");
            assert_eq!(reloaded, Reloaded::Swapped { generation: u32::from(number) + 2 });
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(asked.load(Ordering::Relaxed) > 100, "the threads asked");
    assert!(old.iter().all(|catalog| catalog.strong_count() == 0), "a replaced catalog is still held");
    bench.assert_stage_is_empty();
}

/// Goal: each kind of bad file has its own code, and the generation that served goes on. Method: one
/// Registry, one file after the other moved over the live one.
#[test]
fn hostile_files_are_refused_by_name() {
    let bench = Bench::new();
    let sound = tally();
    bench.load("libtally.so", &sound).expect("it loads");
    let byte = |at: usize, to: u8| {
        let mut bytes = sound.clone();
        bytes[at] = to;
        bytes
    };
    let abi = format!("abi={}\n", laterbase_plugin::abi::ABI);
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("empty", vec![], Code::PluginNotElf),
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), Code::PluginNotElf),
        ("an executable", byte(16, 2), Code::PluginNotElf),
        ("32-bit", byte(4, 1), Code::PluginWrongClass),
        ("big-endian", byte(5, 2), Code::PluginWrongClass),
        ("another machine", byte(18, 40), Code::PluginWrongMachine),
        ("no section", patched(&sound, b"\0.laterbase\0", b"\0.letterbox\0"), Code::PluginNoSection),
        ("a bad section", patched(&sound, b"LATERBASE PLUGIN", b"LATERBASE PLAGIN"), Code::PluginBadSection),
        ("another abi", patched(&sound, abi.as_bytes(), b"abi=9\n"), Code::PluginWrongAbi),
        ("an empty line", patched(&sound, b"panic=unwind\n", b"panic=abort\n\n"), Code::PluginBadSection),
        ("panic=abort", built_for("rival", Panics::Abort), Code::PluginPanicAbort),
        (
            "another entry",
            patched(&sound, b"entry=laterbase_plugin_tally", b"entry=laterbase_plugin_tilly"),
            Code::PluginSymbol,
        ),
        (
            "another abi_stable",
            patched(&sound, b"abi stable library for Rust", b"abi stable library for Rest"),
            Code::PluginHeader,
        ),
        (
            "another layout",
            patched(&sound, b"manifest;configure;", b"manifest;konfigure;"),
            Code::PluginLayout,
        ),
        ("another name", fixture("hostile"), Code::NameMismatch),
    ];
    for (what, bytes, expected) in cases {
        bench.put("libtally.so", &bytes);
        let error = bench.reload("tally").expect_err(what);
        assert_eq!(error.code(), expected, "{what}: {error}");
        let status = bench.status("tally");
        assert_eq!((status.state, status.generation), ("serving", Some(1)), "{what}");
        let failure = status.error.expect("the reason is kept");
        assert_eq!((failure.code, failure.detail), (expected.word(), error.to_string()), "{what}");
        assert_eq!(total(&bench.registry.catalog()), TOTAL, "{what}");
        bench.assert_stage_is_empty();
    }
    // Nothing of this was opened in this process.
    assert_eq!(bench.registry.generations_loaded(), 1);
    // A sound file afterwards clears the reason.
    bench.put("libtally.so", &rebuilt(&sound, 1));
    assert_eq!(bench.reload("tally").expect("it reloads"), Reloaded::Swapped { generation: 2 });
    assert_eq!(bench.status("tally").error, None);
}

/// Goal: where no child tries a plugin first, the host's own checks refuse it, and what was refused spoils
/// nothing for the next one (the checker that comes with `abi_stable` remembers layouts for ever).
#[test]
fn refused_in_process() {
    let bench = Bench::with(|options| options.probe = None);
    let sound = tally();
    let cases = [
        (patched(&sound, b"manifest;configure;", b"manifest;konfigure;"), Code::PluginLayout),
        (patched(&sound, b"abi stable library for Rust", b"abi stable library for Rest"), Code::PluginHeader),
        (patched(&fixture("hostile"), b"SELF_CHECK=sound", b"SELF_CHECK=fails"), Code::PluginSelfCheck),
    ];
    for (number, (bytes, expected)) in (1_u32..).zip(cases) {
        let error = bench.load("plugin.so", &bytes).expect_err("refused");
        assert_eq!(error.code(), expected, "{error}");
        let said = error.to_string();
        assert!(said.len() < 600, "a report of hundreds of lines helps nobody: {said}");
        assert!(expected != Code::PluginLayout || said.contains("konfigure"), "the field is named: {said}");
        assert_eq!(bench.registry.generations_loaded(), number, "what was opened counts");
    }
    assert_eq!(bench.load("plugin.so", &sound).expect("sound"), Reloaded::Swapped { generation: 1 });
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
}

/// Goal: a library that is cut anywhere is found before the dynamic linker sees it.
#[test]
fn truncated_files_are_refused() {
    let bench = Bench::new();
    let sound = tally();
    bench.load("libtally.so", &sound).expect("it loads");
    let (mut cuts, mut cut) = (vec![4, 63, 64, 5_000, 300_000, sound.len() - 1], 100);
    while cut < sound.len() {
        cuts.push(cut);
        cut = cut * 2 + 1;
    }
    for cut in cuts {
        bench.put("libtally.so", &sound[..cut]);
        assert_eq!(code(bench.reload("tally")), Code::PluginTruncated, "cut at {cut}");
        assert_eq!(total(&bench.registry.catalog()), TOTAL, "cut at {cut}");
    }
}

/// Goal: what is no file is refused by name; a file that vanished leaves its plugin serving.
#[test]
fn missing_files_and_folders() {
    let bench = Bench::new();
    let file = bench.put("libtally.so", &tally());
    bench.registry.load_file(&file, NOW, &mut |_| Ok(())).expect("it loads");
    fs::remove_file(&file).expect("removed");
    assert_eq!(code(bench.reload("tally")), Code::PluginNotFound);
    fs::create_dir(&file).expect("a folder");
    assert_eq!(code(bench.reload("tally")), Code::PluginNotAFile);
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
    assert_eq!(code(bench.reload("nobody")), Code::UnknownPlugin);
}

/// Goal: whatever ends a process in the plugin's self check ends only the child, and is named.
#[test]
fn the_probe_dies_for_the_host() {
    let bench = Bench::with(|options| {
        options.probe = Some(Probe { program: built(), deadline: Duration::from_secs(2) });
    });
    let hostile = fixture("hostile");
    let cases = [
        (b"SELF_CHECK=panic", Code::PluginSelfCheck, "told to panic"),
        (b"SELF_CHECK=fails", Code::PluginSelfCheck, "told to fail"),
        (b"SELF_CHECK=abort", Code::PluginProbeCrashed, "died with SIGABRT"),
        (b"SELF_CHECK=leave", Code::PluginProbeCrashed, "ended with code 3"),
        (b"SELF_CHECK=sleep", Code::PluginProbeTimeout, "within 2000 ms"),
    ];
    for (check, expected, words) in cases {
        let error = bench.load("libhostile.so", &patched(&hostile, b"SELF_CHECK=sound", check));
        let error = error.expect_err("it is refused");
        assert_eq!(error.code(), expected, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(bench.status("hostile").state, "failed");
        bench.assert_stage_is_empty();
    }
    assert_eq!(bench.registry.generations_loaded(), 0);
    assert_eq!(bench.load("libhostile.so", &hostile).expect("sound"), Reloaded::Swapped { generation: 1 });
}

/// Goal: a plugin that panics in `configure`, or refuses its configuration, is not loaded.
#[test]
fn configurations_are_refused() {
    for (hook, words) in [("configure", "told to fail in configure"), ("refuse", "told to refuse")] {
        let error = Bench::failing_in(hook).load("libhostile.so", &fixture("hostile")).expect_err("refused");
        assert_eq!(error.code(), Code::PluginConfigure);
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Goal: a panic in any hook is an error of that call, which names the plugin and the hook.
#[test]
fn panics_stop_at_the_boundary() {
    type Call<'a> = &'a dyn Fn(&Instance) -> Option<CallError>;
    let hostile = fixture("hostile");
    let services = Services::default();
    let event = |version| event_ref(key(1), Value { type_number: 1, version, data: b"x" });
    let delta = [delta_ref(key(1), &[0; 8])];
    let calls: [(&str, Call<'_>); 9] = [
        ("admit", &|it| it.admit(&services, 0, &[event(2)]).err()),
        ("upcast", &|it| it.upcast(&services, 0, &[event(1)]).remove(0).err()),
        ("intake", &|it| it.intake(&services, "pokes", "", b"").err()),
        ("retracts", &|it| it.retracts(&services, 0, &[event(2)]).remove(0).err()),
        ("map", &|it| Some(it.map(&services, 0, &[event(2)]).ok()?.failures().first()?.1.clone())),
        ("query_key", &|it| it.query_key(&services, 0, &["a"]).err()),
        ("fold", &|it| it.fold(&services, 0, None, &delta).err()),
        ("merge", &|it| it.merge(&services, 0, &[&[0; 8], &[0; 8]]).err()),
        ("invert", &|it| it.invert(&services, 0, &[0; 8]).err()),
    ];
    for (hook, call) in calls {
        let bench = Bench::failing_in(hook);
        bench.load("libhostile.so", &hostile).expect("it loads");
        let error = call(&bench.instance("hostile")).unwrap_or_else(|| panic!("{hook} does not fail"));
        assert!(matches!(error, CallError::Panicked(_)), "{hook}: {error}");
        let blame = error.blame();
        assert_eq!((blame.plugin.as_str(), blame.generation, blame.hook), ("hostile", 1, hook));
        assert!(blame.message.contains(&format!("told to fail in {hook}")), "{error}");
        assert_eq!(error.problem().code, Code::PluginFailed);
    }
}

/// Goal: one bad event fails by itself; its neighbours in the batch go on.
#[test]
fn one_bad_event_harms_no_other() {
    let bench = Bench::new();
    bench.load("libhostile.so", &fixture("hostile")).expect("it loads");
    let catalog = bench.registry.catalog();
    let root = catalog.root("hostile").expect("declared");
    let services = Services::default();
    let events: Vec<_> = (0..600)
        .map(|number| {
            let data: &[u8] = if number == 300 { b"bad" } else { b"x" };
            event_ref(key(number), Value { type_number: 1, version: 1, data })
        })
        .collect();
    let upcast = root.upcast(&services, &events);
    for (number, upcast) in upcast.iter().enumerate() {
        match upcast {
            Ok(event) => assert_eq!((event.data.as_ref(), event.version), (b"x+".as_slice(), 2)),
            Err(error) => assert_eq!(number, 300, "{error}"),
        }
    }
    assert!(upcast[300].is_err());
    let newest: Vec<_> =
        events.iter().map(|event| laterbase::plugin::EventRef { version: 2, ..*event }).collect();
    let mapping = bench.instance("hostile").map(&services, 0, &newest).expect("not cancelled");
    assert_eq!(mapping.failures().iter().map(|(event, _)| *event).collect::<Vec<_>>(), [300]);
    let mapped: Vec<_> = mapping.rows().map(|(event, _, _)| event).collect();
    assert_eq!(mapped, (0..600).filter(|event| *event != 300).collect::<Vec<_>>());
    // A type that nobody declares and a version from the future are named.
    let foreign = [(9, 1, "declares"), (1, 3, "version 3"), (1, 0, "version 0")];
    for (type_number, version, words) in foreign {
        let event = event_ref(key(1), Value { type_number, version, data: b"x" });
        let error = root.upcast(&services, &[event]).remove(0).expect_err("unreadable").to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Goal: a key that no table could hold fails its event only.
#[test]
fn keys_that_are_too_long() {
    let bench = Bench::failing_in("long");
    bench.load("libhostile.so", &fixture("hostile")).expect("it loads");
    let event = event_ref(key(1), Value { type_number: 1, version: 2, data: b"x" });
    let mapping = bench.instance("hostile").map(&Services::default(), 0, &[event]).expect("not cancelled");
    assert_eq!(mapping.rows().count(), 0);
    assert!(matches!(mapping.failures(), [(0, CallError::Malformed(_))]), "{:?}", mapping.failures());
}

/// Goal: the second owner of a name is refused whole, whichever comes second, and the first is named.
#[test]
fn the_second_owner_is_refused_whole() {
    let (tally, rival) = (tally(), fixture("rival"));
    for (first, second, owner) in [(&tally, &rival, "tally"), (&rival, &tally, "rival")] {
        let bench = Bench::new();
        bench.load("first.so", first).expect("it loads");
        let error = bench.load("second.so", second).expect_err("refused");
        assert_eq!(error.code(), Code::NameTaken);
        assert_eq!(error.to_string(), format!("root tally: view \"total\" belongs to plugin {owner}"));
        let problem = error.problem();
        assert_eq!(problem.members.get("owner"), Some(&json!(owner)));
        // `rival` alone would offer the root `rival`; refused whole, it does not.
        assert_eq!(bench.registry.catalog().root("rival").is_some(), owner == "rival");
        // It stays second when the first is replaced.
        bench.put("first.so", &rebuilt(first, 1));
        assert_eq!(bench.reload(owner).expect("it reloads"), Reloaded::Swapped { generation: 2 });
    }
}

/// Goal: one plugin in two files is loaded once.
#[test]
fn one_plugin_in_two_files() {
    let bench = Bench::new();
    bench.load("a.so", &tally()).expect("it loads");
    let error = bench.load("b.so", &rebuilt(&tally(), 1)).expect_err("refused");
    assert_eq!(error.code(), Code::NameTaken);
    let first = bench.folder().join("a.so").display().to_string();
    assert_eq!(error.to_string(), format!("a plugin named tally is loaded already, from {first}"));
    assert_eq!(bench.registry.generations_loaded(), 1);
    assert_eq!(bench.reload("tally").expect("the first"), Reloaded::Unchanged { generation: 1 });
}

/// Goal: a new generation whose views cannot be built does not serve.
#[test]
fn views_that_cannot_be_built() {
    let bench = Bench::new();
    bench.load("libtally.so", &tally()).expect("it loads");
    bench.put("libtally.so", &rebuilt(&tally(), 1));
    let mut seen = None;
    let result = bench.registry.reload("tally", NOW, &mut |next| {
        // The old generation serves while the new one is prepared, and the status says so.
        seen = Some((bench.instance("tally").identity().generation, bench.status("tally").state));
        assert_eq!(total(next), TOTAL);
        Err("no space for views".into())
    });
    assert_eq!(code(result), Code::ViewBuild);
    assert_eq!(seen, Some((1, "building")));
    assert_eq!((bench.status("tally").state, bench.status("tally").generation), ("serving", Some(1)));
    assert!(bench.status("tally").error.is_some_and(|error| error.detail.contains("no space for views")));
}

/// Goal: in a named folder every file counts, in the program's own only what is a plugin; a signal reads both
/// again.
#[test]
fn folders() {
    for named in [true, false] {
        let bench = Bench::new();
        bench.put("README", b"not a plugin");
        bench.put("libz.so", &patched(&tally(), b"\0.laterbase\0", b"\0.letterbox\0"));
        bench.put("libtally.so", &tally());
        bench
            .registry
            .load_folder(&bench.folder(), named, NOW, &mut |_| Ok(()))
            .expect("the folder is there");
        let failures: Vec<_> =
            bench.registry.status().into_iter().filter_map(|status| status.error).collect();
        let codes: Vec<_> = failures.iter().map(|failure| failure.code).collect();
        let expected: &[&str] = if named { &["plugin_not_elf", "plugin_no_section"] } else { &[] };
        assert_eq!(codes, expected);
        assert_eq!(bench.status("tally").state, "serving");

        bench.put("libtally.so", &rebuilt(&tally(), 1));
        bench.put("librival.so", &fixture("hostile"));
        let outcomes = bench.registry.reload_all(NOW, &mut |_| Ok(()));
        let swapped =
            outcomes.iter().filter(|(_, outcome)| matches!(outcome, Ok(Reloaded::Swapped { .. }))).count();
        assert_eq!((swapped, outcomes.len()), (2, if named { 4 } else { 2 }));
        assert_eq!(bench.status("tally").generation, Some(2));
        assert_eq!(bench.status("hostile").generation, Some(1));
    }
    let missing = Path::new("/nowhere/plugins");
    let error = Bench::new().registry.load_folder(missing, true, NOW, &mut |_| Ok(())).expect_err("missing");
    assert_eq!(error.code(), Code::PluginUnreadable);
}

/// Goal: what is linked into the program serves as generation 0 and cannot be replaced, and owns its name.
#[test]
fn linked_plugins() {
    let bench = Bench::new();
    bench.registry.add_static(tally::plugin()).expect("it is sound");
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
    assert_eq!(bench.status("tally").generation, Some(0));
    assert_eq!(code(bench.reload("tally")), Code::PluginStatic);
    assert_eq!(code(bench.load("libtally.so", &tally())), Code::NameTaken);
    assert_eq!(bench.registry.add_static(tally::plugin()).expect_err("twice").code(), Code::NameTaken);
}

/// Goal: no more libraries are opened than the budget allows.
#[test]
fn the_budget_of_generations() {
    let bench = Bench::with(|options| options.generations_max = 2);
    for number in 0..2 {
        bench.load("libtally.so", &rebuilt(&tally(), number)).expect("within the budget");
    }
    assert_eq!(code(bench.load("libtally.so", &rebuilt(&tally(), 2))), Code::GenerationBudget);
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
}

/// A configuration that a test changes, as an operator edits the file.
#[derive(Debug)]
struct Edited(Mutex<Result<BTreeMap<String, Configuration>, String>>);

impl Configurations for Edited {
    fn read(&self, plugin: &str) -> Result<Configuration, Cause> {
        let all = self.0.lock().expect("no test panics while it edits").clone()?;
        Ok(all.get(plugin).cloned().unwrap_or_default())
    }
}

/// Goal: another configuration is another generation of the same code; one that cannot be read leaves the old one.
#[test]
fn a_new_configuration_is_a_new_generation() {
    let edited = Arc::new(Edited(Mutex::new(Ok(BTreeMap::new()))));
    let bench = Bench::with(|options| options.configurations = Arc::clone(&edited) as _);
    bench.load("libtally.so", &tally()).expect("it loads");
    let roots = BTreeMap::from([("second".to_owned(), serde_json::Map::new())]);
    *edited.0.lock().expect("free") = Ok(BTreeMap::from([("tally".to_owned(), roots)]));
    assert_eq!(bench.reload("tally").expect("it reloads"), Reloaded::Swapped { generation: 2 });
    assert_eq!(bench.reload("tally").expect("the same"), Reloaded::Unchanged { generation: 2 });
    assert_eq!(bench.registry.generations_loaded(), 1, "no library was opened again");
    *edited.0.lock().expect("free") = Err("line 7".to_owned());
    assert_eq!(code(bench.reload("tally")), Code::BadConfig);
    assert!(bench.status("tally").error.is_some_and(|failure| failure.detail.contains("line 7")));
    assert_eq!(bench.registry.catalog().roots().count(), 2);
    assert_eq!(total(&bench.registry.catalog()), TOTAL);
}

/// Goal: a configured root is added to those that the plugin declares.
#[test]
fn roots_from_the_configuration() {
    let bench = Bench::with(|options| {
        let roots = BTreeMap::from([("second".to_owned(), serde_json::Map::new())]);
        options.configurations = Arc::new(BTreeMap::from([("tally".to_owned(), roots)]));
    });
    bench.load("libtally.so", &tally()).expect("it loads");
    let catalog = bench.registry.catalog();
    assert_eq!(catalog.roots().map(|root| root.name()).collect::<Vec<_>>(), ["second", "tally"]);
}
