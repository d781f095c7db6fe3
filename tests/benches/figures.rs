//! The figures of the documentation, as ratios within one run: `cargo bench -p laterbase-tests`.
//!
//! `LATERBASE_RIVAL` names a program that is started as `RIVAL ADDRESS FOLDER commit` and takes `POST /e` (NDJSON) and
//! `GET /e`; it then runs the same load, in turn with the server. `LATERBASE_BENCH_MS` sets how long each load runs.
//! Words behind `--` choose figures by a part of their names.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

use laterbase::core::event::{EventKey, ValidTime};
use laterbase::plugin::{NoEvents, Options, Registry, Services, delta_ref};
use laterbase_tests::{Client, Server, library};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often each load runs; the best run counts, because a neighbour can only slow one down.
const RUNS: usize = 3;

/// A run ends after so many events, too: a million behind, the views of the server are brought up to date beside it.
const EVENTS_MAX: u64 = 1_000_000;

/// A server under load: where it is, and how it is asked.
struct Target {
    address: SocketAddr,
    path: &'static str,
    /// The event of 200 bytes on the wire.
    line: String,
}

fn main() {
    let ms = std::env::var("LATERBASE_BENCH_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let server = Server::start(&[]).expect("a server");
    let padding = "x".repeat(200 - r#"{"type":"add","data":{"item":"","n":1}}"#.len());
    let ours = Target {
        address: server.address(),
        path: "/tally/e",
        line: format!(r#"{{"type":"add","data":{{"item":"{padding}","n":1}}}}"#),
    };
    let rival = Rival::start();
    for (clients, events) in [(64, 1), (8, 1000)] {
        let what = format!("{clients} clients x {events} events");
        if !is_wanted(&what) {
            continue;
        }
        let mut best = [0.0_f64; 2];
        for _ in 0..RUNS {
            best[0] = best[0].max(load(&ours, clients, events, Duration::from_millis(ms)));
            // Or the views would be brought up to date beside the rival's run.
            catch_up(&server);
            if let Some(rival) = &rival {
                best[1] = best[1].max(load(&rival.target, clients, events, Duration::from_millis(ms)));
            }
        }
        report(&what, "events/s", best);
    }
    if is_wanted("feed read back") {
        let mut best = [feed(&ours), 0.0];
        if let Some(rival) = &rival {
            best[1] = read_all(&rival.target);
        }
        report("feed read back", "events/s", best);
    }
    if is_wanted("fold through the boundary") {
        fold();
    }
}

/// Waits until the views are up to date: a read tells, which is put off while much is missing.
fn catch_up(server: &Server) {
    loop {
        let answer = server.get("/tally/total?limit=1").expect("an answer");
        match answer.status {
            200 => return,
            status => assert_eq!(status, 503, "{}", answer.text()),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Whether the command line asks for this figure; without words it asks for all.
fn is_wanted(what: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| what.contains(&word))
}

fn report(what: &str, unit: &str, [ours, rival]: [f64; 2]) {
    if rival > 0.0 {
        println!("{what:<28} {ours:>12.0} {unit}, rival {rival:>12.0}, ratio {:.2}", ours / rival);
    } else {
        println!("{what:<28} {ours:>12.0} {unit}");
    }
}

/// Events per second that `clients` connections get acknowledged, `events` a request.
fn load(target: &Target, clients: usize, events: u64, time: Duration) -> f64 {
    let body = vec![target.line.as_str(); usize::try_from(events).expect("few")].join("\n");
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..clients {
            threads.spawn(|| {
                let mut client = Client::connect(target.address).expect("a connection");
                let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
                while !done.load(Ordering::Relaxed) {
                    let answer =
                        client.send("POST", target.path, &headers, body.as_bytes()).expect("an answer");
                    assert!(answer.status < 300, "{}", answer.text());
                    acknowledged.fetch_add(events, Ordering::Relaxed);
                }
            });
        }
        while started.elapsed() < time && acknowledged.load(Ordering::Relaxed) < EVENTS_MAX {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
    });
    per_second(acknowledged.load(Ordering::Relaxed), started.elapsed())
}

/// Events per second of a whole walk in the largest pages.
fn feed(target: &Target) -> f64 {
    let mut client = Client::connect(target.address).expect("a connection");
    let (mut events, mut cursor, started) = (0, String::new(), Instant::now());
    loop {
        let path = format!("{}?limit=10000&max_bytes=16000000{cursor}", target.path);
        let page = client.send("GET", &path, &[], b"").expect("an answer");
        let text = page.text();
        events += text.matches("{\"key\":").count() as u64;
        let tail = text.get(text.len().saturating_sub(4096)..).unwrap_or(text);
        match tail.split_once("\"cursor\":\"").and_then(|(_, rest)| rest.split('"').next()) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return per_second(events, started.elapsed()),
        }
    }
}

/// Events per second of the rival's one answer.
fn read_all(target: &Target) -> f64 {
    let started = Instant::now();
    let mut client = Client::connect(target.address).expect("a connection");
    let answer = client.send("GET", target.path, &[], b"").expect("an answer");
    per_second(
        answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64,
        started.elapsed(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// The fold of a loaded plugin against the same sum in this program.
fn fold() {
    let scratch = tempfile::tempdir().expect("a folder");
    let registry = Registry::new(Options {
        stage: scratch.path().to_owned(),
        probe: None,
        events: Arc::new(NoEvents),
        configurations: Arc::new(BTreeMap::new()),
        program: [0; 32],
        generations_warn: 10,
        generations_max: 10,
    });
    registry.load_file(&library("tally"), ValidTime(0), &mut |_| Ok(())).expect("it loads");
    let catalog = registry.catalog();
    let root = catalog.root("tally").expect("declared");
    let view = root.view("total").expect("offered");
    let deltas: Vec<[u8; 8]> = (0..1_000_000_i64).map(i64::to_be_bytes).collect();
    let run: Vec<_> = deltas.iter().map(|delta| delta_ref(EventKey::default(), delta)).collect();
    let timed = |work: &dyn Fn()| {
        let times = (0..RUNS).map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        });
        per_second(1_000_000, times.min().expect("some runs"))
    };
    let through = timed(&|| {
        let mut state: Option<Vec<u8>> = None;
        for batch in run.chunks(256) {
            let folded = view.instance.fold(&Services::default(), view.index, state.as_deref(), batch);
            state = Some(folded.expect("it folds"));
        }
        black_box(state);
    });
    let inside = timed(&|| {
        let mut state = (0_i64, 0_i64);
        for delta in &run {
            let n = delta.delta.as_slice().try_into().map(i64::from_be_bytes).expect("eight bytes");
            state = black_box((state.0.wrapping_add(n), state.1 + 1));
        }
        black_box(state);
    });
    println!(
        "fold through the boundary    {through:>12.0} events/s, in-process {inside:>12.0}, ratio {:.2}",
        through / inside
    );
}

/// The other program, in a folder of its own.
struct Rival {
    child: Child,
    target: Target,
    _scratch: tempfile::TempDir,
}

impl Rival {
    fn start() -> Option<Self> {
        let program = std::env::var_os("LATERBASE_RIVAL")?;
        let scratch = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let mut command = Command::new(program);
        command.arg(address.to_string()).arg(scratch.path().join("data")).arg("commit").stdout(Stdio::null());
        let child = command.spawn().expect("the rival runs");
        while Client::connect(address).is_err() {
            std::thread::yield_now();
        }
        let target = Target { address, path: "/e", line: "x".repeat(200) };
        Some(Self { child, target, _scratch: scratch })
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}
