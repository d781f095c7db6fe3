//! `PostgreSQL`: a cluster of its own, prepared inserts into (bigserial, timestamptz, jsonb), all rows by number.

use super::system::{Running, System, found, free_address, version};
use crate::load::line;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(crate) struct Postgres {
    running: Running,
    version: String,
}

/// How the cluster is set: durable, with room for the load.
const SETTINGS: &str = "unix_socket_directories=''\nfsync=on\nsynchronous_commit=on\nwal_sync_method=fdatasync\n\
                        shared_buffers=512MB\nmax_wal_size=4GB\nmax_connections=150\n";

impl Postgres {
    /// None if it is not on this machine.
    pub(crate) fn start() -> Option<Self> {
        let postgres = fs::canonicalize(found("LATERBASE_POSTGRES", "postgres")?).ok()?;
        let initdb = postgres.with_file_name("initdb");
        let version = version(&postgres)?;
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
        let address = free_address();
        let settings = format!("listen_addresses='127.0.0.1'\nport={}\n{SETTINGS}", address.port());
        fs::write(data.join("postgresql.auto.conf"), settings).expect("written");
        let mut server = command(&postgres);
        server.arg("-D").arg(&data);
        let this = Self { running: Running::start(server, address, scratch), version };
        // It listens before it takes connections.
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
        config.host("127.0.0.1").port(self.running.address.port()).user("postgres").dbname("postgres");
        config.connect(postgres::NoTls)
    }
}

/// Gives the folder to the user `postgres`; none if there is no such user.
fn own(folder: &Path) -> Option<()> {
    let owned = Command::new("chown").arg("postgres").arg(folder).status().ok()?;
    owned.success().then_some(())
}

impl System for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

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
