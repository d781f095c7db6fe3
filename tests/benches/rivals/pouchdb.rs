//! PouchDB-server: `POST` of a document or of `_bulk_docs`, read by `_changes` with the documents, in pages. It keeps
//! them in `LevelDB` without sync: what it acknowledged may be gone after a power cut.

use super::system::{Running, System, free_address};
use crate::load::{line, poster};
use laterbase_tests::Client;
use std::path::PathBuf;
use std::process::Command;

pub(crate) struct PouchDb {
    running: Running,
    version: String,
}

impl PouchDb {
    /// None if it is not on this machine: nobody looks for it outside the named folder.
    pub(crate) fn start() -> Option<Self> {
        let folder =
            PathBuf::from(std::env::var_os("LATERBASE_POUCHDB")?).join("node_modules/pouchdb-server");
        let package = std::fs::read(folder.join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
        let version = package.get("version")?.as_str()?.to_owned();
        let address = free_address();
        let scratch = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("node");
        command.arg(folder.join("bin/pouchdb-server"));
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.arg("--dir").arg(scratch.path().join("db"));
        command.arg("--config").arg(scratch.path().join("config.json")).arg("--no-stdout-logs");
        let running = Running::start(command, address, scratch);
        let made = Client::connect(address).and_then(|mut client| client.send("PUT", "/ev", &[], b""));
        assert_eq!(made.expect("an answer").status, 201);
        Some(Self { running, version })
    }
}

impl System for PouchDb {
    fn name(&self) -> &'static str {
        "PouchDB (no sync)"
    }

    fn describe(&self) -> String {
        format!("PouchDB-server {}: LevelDB without sync, so NOT durable", self.version)
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        let address = self.running.address;
        if events == 1 {
            return poster(address, "/ev", "application/json", line());
        }
        let documents = vec![line(); events].join(",");
        poster(address, "/ev/_bulk_docs", "application/json", format!(r#"{{"docs":[{documents}]}}"#))
    }

    fn read_back(&self) -> u64 {
        let mut client = Client::connect(self.running.address).expect("a connection");
        let (mut events, mut since) = (0, "0".to_owned());
        loop {
            let path = format!("/ev/_changes?include_docs=true&limit=10000&since={since}");
            let page = client.send("GET", &path, &[], b"").expect("an answer");
            let text = page.text();
            assert_eq!(page.status, 200, "{text}");
            let changes = text.matches("\"seq\":").count() as u64;
            if changes == 0 {
                return events;
            }
            events += changes;
            let last = text.rsplit_once("\"last_seq\":").map(|(_, rest)| rest.trim_start_matches('"'));
            let last = last.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            last.expect("where the page ends").clone_into(&mut since);
        }
    }
}
