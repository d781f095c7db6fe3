//! `/_/readyz`, the figures and the log tell apart: starting, draining, disk full, a plugin that failed, a view that
//! is behind, a root that an input/output error closed.

use super::{add, assert_told, figure, figures, readyz, reasons, until};
use laterbase_tests::{Panics, Server, fixture, library, request};
use serde_json::json;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of plugins with `tally` and `hostile`, and the configuration that `hostile` gets for its root.
fn with_hostile(folder: &Path, config: &str) {
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).expect("made");
    fs::copy(library("tally"), plugins.join("libtally.so")).expect("copied");
    fs::copy(fixture("hostile", Panics::Unwind), plugins.join("libhostile.so")).expect("copied");
    let config = format!("[plugin.hostile.roots]\nhostile = {config}\n[limits]\nview_behind_arrivals = 1\n");
    fs::write(folder.join("laterbase.toml"), config).expect("written");
}

/// From the system's headers.
const O_NONBLOCK: i32 = 0o4000;

/// A named pipe, and letting go whoever waits at it.
struct Gate(PathBuf);

impl Gate {
    fn new(folder: &Path) -> Self {
        let pipe = folder.join("gate");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        Self(pipe)
    }

    /// Nobody waits at it from now on.
    fn open(&self) {
        let aside = self.0.with_extension("open");
        if fs::rename(&self.0, &aside).is_ok() {
            // Without waiting for a reader: there may be none.
            let _nobody = fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&aside);
        }
    }
}

/// A test that fails lets go, too: its server would never end.
impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

// Goal: while plugins are loaded the server says that it is starting, and is alive; requests that came meanwhile are
// answered when it is ready. Method: a plugin whose `configure` waits at a pipe.
#[test]
fn starting_is_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(scratch.path(), &["--plugins", "plugins"]);
    assert!(server.is_err(), "there is no such folder");
    let gate = Gate::new(scratch.path());
    with_hostile(scratch.path(), "{}");
    server = Server::start_in(scratch.path(), &["--plugins", "plugins"]);
    let mut server = server.expect("a server");
    let address = server.address();
    server.kill().expect("it ran");
    let config =
        format!("[plugin.hostile.roots]\nhostile = {{ wait_in = \"configure\", wait_at = {:?} }}\n", gate.0);
    fs::write(scratch.path().join("laterbase.toml"), config).expect("written");
    std::thread::scope(|scope| {
        let started = scope.spawn(|| server.restart());
        let get = move |path: &str| request(address, "GET", path, &[], b"");
        let answer = until("it starts", || get("/_/readyz").ok());
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"], reasons(&body)),
            (503, &json!("starting"), vec!["starting"])
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(get("/_/livez").expect("an answer").status, 200);
        let waiting = ["/tally/e", "/tally/total", "/_/roots"].map(|path| scope.spawn(move || get(path)));
        let text = get("/_/metrics").expect("an answer").text().to_owned();
        assert_told(&text, &["starting"]);
        assert!(figure(&text, "laterbase_ready") < 1.0);
        gate.open();
        started.join().expect("no panic").expect("it starts");
        for waiting in waiting {
            assert_eq!(waiting.join().expect("no panic").expect("an answer").status, 200);
        }
    });
    assert_eq!(readyz(&server), (200, json!({"status": "ready", "reasons": []})));
    assert_told(&figures(&server), &[]);
    let log = server.log().expect("a log");
    let (starting, ready) = (log.rfind("starting"), log.rfind("ready"));
    assert!(starting.is_some() && starting < ready, "{log}");
}

// Goal: a server that is told to stop says so to whoever asks meanwhile, and finishes what is under way. Method: one
// request whose body is missing, two whose last byte is.
#[test]
fn draining_is_told() {
    let mut server = Server::start(&[]).expect("a server");
    let client = || server.client().expect("a connection");
    let (mut writing, mut asking, mut measuring) = (client(), client(), client());
    let event = add("1");
    let head = format!(
        "POST /tally/e HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        event.len()
    );
    writing.raw(head.as_bytes()).expect("sent");
    assert_eq!(writing.answer(true).expect("it wants the body").status, 100);
    asking.raw(b"GET /_/readyz HTTP/1.1\r\nhost: x\r\n\r").expect("sent");
    measuring.raw(b"GET /_/metrics HTTP/1.1\r\nhost: x\r\n\r").expect("sent");
    // With the one that asks.
    until("all are accepted", || {
        (figure(&figures(&server), "laterbase_http_connections") >= 4.0).then_some(())
    });
    server.signal("TERM").expect("sent");
    until("it drains", || server.log().expect("a log").contains("draining").then_some(()));
    for late in [&mut asking, &mut measuring] {
        late.raw(b"\n").expect("still open");
    }
    let answer = asking.answer(false).expect("an answer");
    let body = answer.json();
    assert_eq!((answer.status, &body["code"], reasons(&body)), (503, &json!("draining"), vec!["draining"]));
    let measured = measuring.answer(false).expect("an answer");
    assert_told(measured.text(), &["draining"]);
    writing.raw(event.as_bytes()).expect("still open");
    assert_eq!(writing.answer(false).expect("an answer").status, 201);
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
}

// Goal: a file that is no plugin does not keep the others from serving, and is named.
#[test]
fn a_failed_plugin_is_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    with_hostile(scratch.path(), "{}");
    fs::write(scratch.path().join("plugins/libbroken.so"), "no library").expect("written");
    let server = Server::start_in(scratch.path(), &["--plugins", "plugins"]).expect("a server");
    let (status, body) = readyz(&server);
    assert_eq!((status, &body["status"], reasons(&body)), (200, &json!("degraded"), vec!["plugin_failed"]));
    assert_eq!(body["reasons"][0]["plugin"], "libbroken.so");
    let text = figures(&server);
    assert_told(&text, &["plugin_failed"]);
    assert!(figure(&text, "laterbase_plugins{state=\"failed\"}") > 0.0);
    let log = server.log().expect("a log");
    assert!(log.contains("plugin_not_elf") && log.contains("plugin_failed"), "{log}");
    fs::remove_file(scratch.path().join("plugins/libbroken.so")).expect("removed");
    assert_eq!(server.post("/tally/e", &add("1")).expect("an answer").status, 201);
}

// Goal: a view whose index lags behind is told, with how far, until it has caught up. Method: a plugin whose `map`
// waits at a pipe for one event.
#[test]
fn a_view_behind_is_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let gate = Gate::new(scratch.path());
    let waits = format!("{{ wait_in = \"map\", wait_at = {:?}, only = \"69f479a0\" }}", gate.0);
    with_hostile(scratch.path(), &waits);
    let server = Server::start_in(scratch.path(), &["--plugins", "plugins"]).expect("a server");
    let event = |key: &str| json!({"type": "poke", "version": 2, "key": key, "data": 1});
    let keys = ["69f479a0000000004b9c5ee2fcd59e1f", "69f479a1000000004b9c5ee2fcd59e1f"];
    let body = json!(keys.map(event)).to_string();
    assert_eq!(server.post("/hostile/e", &body).expect("an answer").status, 201);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.get("/hostile/sum"));
        let behind = until("the view is behind", || {
            let (status, body) = readyz(&server);
            (reasons(&body) == ["view_behind"]).then_some((status, body))
        });
        assert_eq!((behind.0, &behind.1["status"]), (200, &json!("degraded")));
        assert_eq!(behind.1["reasons"][0]["root"], "hostile");
        let text = figures(&server);
        assert_told(&text, &["view_behind"]);
        let lag = text.lines().find(|line| line.starts_with("laterbase_view_lag_arrivals{root=\"hostile\""));
        assert!(lag.is_some_and(|line| line.ends_with(" 2")), "{text}");
        assert!(server.log().expect("a log").contains("view_behind"));
        assert_eq!(server.post("/tally/e", &add("1")).expect("an answer").status, 201);
        gate.open();
        let answer = asked.join().expect("no panic").expect("an answer");
        assert_eq!(answer.json()["items"].as_array().map(Vec::len), Some(2));
    });
    assert_eq!(readyz(&server), (200, json!({"status": "ready", "reasons": []})));
    assert!(server.log().expect("a log").contains("well again"));
}

/// A small file system of its own, or, where this user may not mount one, none.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "laterbase-test"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut full = fs::File::create(self.0.join("filler")).expect("made");
        for piece in [1 << 16, 1 << 10, 1] {
            while std::io::Write::write_all(&mut full, &vec![1; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

// Goal: a full disk refuses writes by name, is told, answers what it has, and is over when there is room again.
// Method: the data directory on a small file system that is filled. Where none can be mounted, more room is asked for
// than any disk has, and only what is told is tested.
#[test]
fn a_full_disk_is_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::mount(&scratch.path().join("data"));
    let least = if disk.is_some() { "1048576" } else { "9223372036854775807" };
    let config = format!("[limits]\ndisk_free_bytes_min = {least}\n");
    fs::write(scratch.path().join("laterbase.toml"), config).expect("written");
    // Private copies of plugins lie beside the data.
    let plugins = scratch.path().join("plugins");
    fs::create_dir(&plugins).expect("made");
    fs::copy(library("tally"), plugins.join("libtally.so")).expect("copied");
    let server = Server::start_in(scratch.path(), &["--plugins", "plugins"]).expect("a server");
    if disk.is_some() {
        assert_eq!(readyz(&server).0, 200);
    }
    assert_eq!(server.post("/tally/e", &add("1")).expect("an answer").status, 201);
    if let Some(disk) = &disk {
        disk.fill();
        // What is on the pages that are there already may still be written.
        let refused = until("it refuses", || {
            let events: Vec<String> = (0..500).map(|number| add(&format!("more {number}"))).collect();
            let answer = server.post("/tally/e", &format!("[{}]", events.join(","))).expect("an answer");
            (answer.status >= 500).then_some(answer)
        });
        assert_eq!((refused.status, &refused.json()["code"]), (507, &json!("disk_full")));
    }
    let (status, body) = readyz(&server);
    assert_eq!((status, &body["code"], reasons(&body)), (503, &json!("not_ready"), vec!["disk_full"]));
    let text = figures(&server);
    assert_told(&text, &["disk_full"]);
    assert!(figure(&text, "laterbase_ready") < 1.0);
    assert!(server.log().expect("a log").contains("disk_full"));
    assert_eq!(server.get("/tally/e").expect("an answer").json()["events"].as_array().map(Vec::len), Some(1));
    if let Some(disk) = disk {
        disk.free();
        assert_eq!(readyz(&server).0, 200);
        assert_eq!(server.post("/tally/e", &add("2")).expect("an answer").status, 201);
        drop(server);
    }
}

// Goal: an input/output error at a commit closes that root only, and is told until the server is started again. Method:
// the system refuses to write behind a place in the file.
#[test]
fn a_closed_root_is_told() {
    let mut server = Server::start(&[]).expect("a server");
    assert_eq!(server.post("/tally/e", &add("1")).expect("an answer").status, 201);
    server.kill().expect("it ran");
    server.restart_under("trap '' XFSZ").expect("a server");
    let pid = server.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=1048576"]).status();
    assert!(limited.expect("prlimit runs").success());
    let large = "x".repeat(900_000);
    let event = |id: u32| {
        format!(
            r#"{{"type":"add","time":"2026-05-01T10:00:00Z","id":"{id}","data":{{"item":"{large}","n":1}}}}"#
        )
    };
    let failed = server.post("/tally/e", &format!("[{},{}]", event(2), event(3))).expect("an answer");
    assert_eq!(
        (failed.status, &failed.json()["code"]),
        (503, &json!("outcome_unknown")),
        "{}",
        failed.text()
    );
    let closed = server.post("/tally/e", &add("4")).expect("an answer");
    assert_eq!(closed.json()["code"], "root_closed");
    let (status, body) = readyz(&server);
    assert_eq!((status, reasons(&body)), (200, vec!["root_closed"]), "{body}");
    assert_eq!(body["reasons"][0]["root"], "tally");
    let text = figures(&server);
    assert_told(&text, &["root_closed"]);
    assert!(figure(&text, "laterbase_root_closed{root=\"tally\"}") > 0.0);
    assert!(server.log().expect("a log").contains("root_closed"));
    server.kill().expect("it ran");
    server.restart().expect("a server");
    assert_eq!(server.post("/tally/e", &add("4")).expect("an answer").status, 201);
    assert_eq!(readyz(&server), (200, json!({"status": "ready", "reasons": []})));
}
