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

mod load;

use laterbase_tests::Server;
use load::{RUNS, line, load, per_second};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
                *best = best.max(load(|events| system.connect(events), clients, events, load::time()));
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

struct Ours(Server);

impl System for Ours {
    fn describe(&self) -> String {
        format!("Laterbase {}: LMDB, fsync for each group commit", env!("CARGO_PKG_VERSION"))
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        load::catch_up(&self.0);
        load::writer(self.0.address(), "/tally/e", events)
    }

    fn read_back(&self) -> u64 {
        load::walk(self.0.address())
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
