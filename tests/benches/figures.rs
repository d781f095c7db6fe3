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

mod load;

use laterbase::core::event::{EventKey, ValidTime};
use laterbase::plugin::{Options, Registry, Services, delta_ref};
use laterbase_tests::{Client, Server, library};
use load::{RUNS, load, per_second};
use std::hint::black_box;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn main() {
    let server = Server::start(&[]).expect("a server");
    let rival = Rival::start();
    for (clients, events) in [(64, 1), (8, 1000)] {
        let what = format!("{clients} clients x {events} events");
        if !is_wanted(&what) {
            continue;
        }
        let mut best = [0.0_f64; 2];
        for _ in 0..RUNS {
            let ours = |events| load::writer(server.address(), "/tally/e", events);
            best[0] = best[0].max(load(ours, clients, events, load::time()));
            // Or the views would follow beside a rival's run.
            server.until_followed().expect("it says how far");
            if let Some(rival) = &rival {
                let theirs = |events| load::writer(rival.address, "/e", events);
                best[1] = best[1].max(load(theirs, clients, events, load::time()));
            }
        }
        report(&what, "events/s", best);
    }
    if is_wanted("feed read back") {
        let started = Instant::now();
        let mut best = [per_second(load::walk(server.address()), started.elapsed()), 0.0];
        if let Some(rival) = &rival {
            best[1] = read_all(rival.address);
        }
        report("feed read back", "events/s", best);
    }
    if is_wanted("fold through the boundary") {
        fold();
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

/// Events per second of the rival's one answer.
fn read_all(address: SocketAddr) -> f64 {
    let started = Instant::now();
    let mut client = Client::connect(address).expect("a connection");
    let answer = client.send("GET", "/e", &[], b"").expect("an answer");
    per_second(
        answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64,
        started.elapsed(),
    )
}

/// The fold of a loaded plugin against the same sum in this program.
fn fold() {
    let scratch = tempfile::tempdir().expect("a folder");
    let registry = Registry::new(Options::new(scratch.path().to_owned()));
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
    address: SocketAddr,
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
        Some(Self { child, address, _scratch: scratch })
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}
