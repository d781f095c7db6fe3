//! Laterbase beside the systems found on this machine, on one workload, as ratios: `cargo bench -p laterbase-tests
//! --bench rivals`. `LATERBASE_BENCH_MS` sets how long each load runs (default 3000).
//!
//! Every system is started in a folder of its own on loopback with each acknowledged event durable, is driven over its
//! usual protocol by the same number of clients, one request at a time each, and takes events of 200 bytes of JSON.
//! Systems take turns, and the best of three runs counts for each, because a neighbour can only slow one down.
//!
//! | system | how it is driven | what it does for an event |
//! |---|---|---|
//! | Laterbase | `POST /tally/e`, NDJSON | parses, validates by a plugin, looks for duplicates, keeps by time, fsync |
//! | PostgreSQL | prepared `INSERT` into (bigserial, timestamptz, jsonb) | parses, keeps by number, WAL fdatasync |
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

use laterbase_tests::{Client, Server};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often each load runs.
const RUNS: usize = 3;

/// A run ends after so many events, too.
const EVENTS_MAX: u64 = 1_000_000;

/// The event, of 200 bytes on the wire.
fn line() -> String {
    let padding = "x".repeat(200 - r#"{"type":"add","data":{"item":"","n":1}}"#.len());
    format!(r#"{{"type":"add","data":{{"item":"{padding}","n":1}}}}"#)
}

/// A system under load.
trait System: Sync {
    /// Its name, version and how it keeps events, for the table.
    fn describe(&self) -> String;
    /// A connection of its own, which writes requests of so many events.
    fn connect(&self, events: usize) -> Box<dyn FnMut()>;
    /// Reads everything back, in the system's own order; how many events that were.
    fn read_back(&self) -> u64;
}

fn main() {
    let ms = std::env::var("LATERBASE_BENCH_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let ours = Ours(Server::start(&[]).expect("a server"));
    let postgres = Postgres::start();
    let mut systems: Vec<&dyn System> = vec![&ours];
    match &postgres {
        Some(postgres) => systems.push(postgres),
        None => println!("PostgreSQL is not on this machine (initdb and postgres, on the PATH)"),
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, shared by clients and servers");
    for system in &systems {
        println!("{}", system.describe());
    }
    for (clients, events) in [(1, 1), (64, 1), (8, 1000)] {
        let mut best = vec![0.0_f64; systems.len()];
        for _ in 0..RUNS {
            for (system, best) in systems.iter().zip(&mut best) {
                *best = best.max(load(*system, clients, events, Duration::from_millis(ms)));
            }
        }
        report(&format!("{clients} clients x {events} events"), &best);
    }
    let read = systems.iter().map(|system| {
        let started = Instant::now();
        per_second(system.read_back(), started.elapsed())
    });
    report("read back", &read.collect::<Vec<_>>());
}

fn report(what: &str, figures: &[f64]) {
    let Some((ours, rivals)) = figures.split_first() else { return };
    let rivals = rivals.iter().map(|rival| format!(", rival {rival:>10.0}, ratio {:.2}", ours / rival));
    println!("{what:<24} {ours:>10.0} events/s{}", rivals.collect::<String>());
}

/// Events per second that `clients` connections get acknowledged, `events` a request.
fn load(system: &dyn System, clients: usize, events: u64, time: Duration) -> f64 {
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (ready, begin) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut started = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..clients {
            threads.spawn(|| {
                let mut write = system.connect(usize::try_from(events).expect("few"));
                ready.fetch_add(1, Ordering::Relaxed);
                while !begin.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                while !done.load(Ordering::Relaxed) {
                    write();
                    acknowledged.fetch_add(events, Ordering::Relaxed);
                }
            });
        }
        while ready.load(Ordering::Relaxed) < clients as u64 {
            std::thread::yield_now();
        }
        started = Instant::now();
        begin.store(true, Ordering::Relaxed);
        while started.elapsed() < time && acknowledged.load(Ordering::Relaxed) < EVENTS_MAX {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
    });
    per_second(acknowledged.load(Ordering::Relaxed), started.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

struct Ours(Server);

impl Ours {
    /// Waits until the views are up to date, or they would be brought so beside a rival's run.
    fn rest(&self) {
        while self.0.get("/tally/total?limit=1").expect("an answer").status != 200 {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl System for Ours {
    fn describe(&self) -> String {
        self.rest();
        format!("Laterbase {}: LMDB, fsync for each group commit", env!("CARGO_PKG_VERSION"))
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        self.rest();
        let mut client = Client::connect(self.0.address()).expect("a connection");
        let body = vec![line(); events].join("\n");
        Box::new(move || {
            let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
            let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 201, "{}", answer.text());
        })
    }

    fn read_back(&self) -> u64 {
        let mut client = Client::connect(self.0.address()).expect("a connection");
        let (mut events, mut cursor) = (0, String::new());
        loop {
            let path = format!("/tally/e?limit=10000&max_bytes=16000000{cursor}");
            let page = client.send("GET", &path, &[], b"").expect("an answer");
            let text = page.text();
            events += text.matches("{\"key\":").count() as u64;
            let tail = text.get(text.len().saturating_sub(4096)..).unwrap_or(text);
            match tail.split_once("\"cursor\":\"").and_then(|(_, rest)| rest.split('"').next()) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }
}

/// A cluster of its own in a temporary folder.
struct Postgres {
    child: Child,
    address: SocketAddr,
    version: String,
    _scratch: tempfile::TempDir,
}

/// How the cluster is set: durable, with room for the load.
const SETTINGS: &str = "unix_socket_directories=''\nfsync=on\nsynchronous_commit=on\nwal_sync_method=fdatasync\n\
                        shared_buffers=512MB\nmax_wal_size=4GB\nmax_connections=150\n";

impl Postgres {
    fn start() -> Option<Self> {
        let [initdb, postgres] = ["initdb", "postgres"].map(found);
        let (initdb, postgres) = (fs::canonicalize(initdb?).ok()?, fs::canonicalize(postgres?).ok()?);
        let version = Command::new(&postgres).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let scratch = tempfile::tempdir().expect("a folder");
        let data = scratch.path().join("data");
        // It refuses to run as root: then it runs as the user that its package made.
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
        if is_root {
            own(scratch.path())?;
        }
        let command = |program: &Path| {
            if !is_root {
                return Command::new(program);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        };
        let made = command(&initdb)
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-E", "UTF8", "-U", "postgres"])
            .output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let settings = format!("listen_addresses='127.0.0.1'\nport={}\n{SETTINGS}", address.port());
        fs::write(data.join("postgresql.auto.conf"), settings).expect("written");
        let quiet =
            command(&postgres).arg("-D").arg(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let this = Self { child: quiet.expect("it runs"), address, version, _scratch: scratch };
        let mut client = loop {
            match this.try_client() {
                Ok(client) => break client,
                Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
            }
        };
        let table = "CREATE TABLE events(id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), \
                     data jsonb NOT NULL)";
        client.batch_execute(table).expect("a table");
        Some(this)
    }

    fn try_client(&self) -> Result<postgres::Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("postgres").dbname("postgres");
        config.connect(postgres::NoTls)
    }
}

/// The program of this name on the PATH.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Gives the folder to the user `postgres`; none if there is no such user.
fn own(folder: &Path) -> Option<()> {
    let owned = Command::new("chown").arg("postgres").arg(folder).status().ok()?;
    owned.success().then_some(())
}

impl System for Postgres {
    fn describe(&self) -> String {
        format!("{}: fsync=on, synchronous_commit=on, wal_sync_method=fdatasync", self.version)
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        let mut client = self.try_client().expect("a connection");
        let lines = vec![line(); events];
        let sql = "INSERT INTO events(data) SELECT x::jsonb FROM unnest($1::text[]) x";
        let one = "INSERT INTO events(data) VALUES ($1::text::jsonb)";
        let statement = client.prepare(if events == 1 { one } else { sql }).expect("a statement");
        Box::new(move || {
            let written = match lines.as_slice() {
                [line] => client.execute(&statement, &[line]),
                lines => client.execute(&statement, &[&lines]),
            };
            assert_eq!(written.expect("written"), lines.len() as u64);
        })
    }

    fn read_back(&self) -> u64 {
        use postgres::fallible_iterator::FallibleIterator;
        let mut client = self.try_client().expect("a connection");
        let nothing: [i32; 0] = [];
        let rows = client.query_raw("SELECT id, data::text FROM events ORDER BY id", nothing);
        rows.expect("rows").count().expect("rows") as u64
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}
