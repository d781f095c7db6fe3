//! `UmaDB`: `Append` of events with a type, a tag and JSON as data, and one `Read` of everything. With its own append
//! condition, too, which is how its users keep repeats out: each event has a tag of its own, and the whole request is
//! refused if one of the tags is there.

use super::grpc::{Link, Message};
use super::system::{Running, System, found, free_address, version};
use crate::load::line;
use bytes::Bytes;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct UmaDb {
    running: Running,
    version: String,
    /// Whether appends are conditional, and the number of the next tag.
    tags: Option<AtomicU64>,
}

/// How many events each message of the answer to a `Read` has: the most that the server gives.
const PAGE: u64 = 4096;

impl UmaDb {
    /// Without a condition; none if it is not on this machine.
    pub(crate) fn start() -> Option<Self> {
        Self::launch(None)
    }

    /// With a condition.
    pub(crate) fn start_conditional() -> Option<Self> {
        Self::launch(Some(AtomicU64::new(0)))
    }

    fn launch(tags: Option<AtomicU64>) -> Option<Self> {
        let program = found("LATERBASE_UMADB", "umadb")?;
        let version = version(&program)?.rsplit(' ').next()?.to_owned();
        let address = free_address();
        let scratch = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(["--listen", &address.to_string()]).arg("--db-path").arg(scratch.path());
        Some(Self { running: Running::start(command, address, scratch), version, tags })
    }
}

impl System for UmaDb {
    fn name(&self) -> &'static str {
        if self.tags.is_some() { "UmaDB, condition" } else { "UmaDB" }
    }

    fn describe(&self) -> String {
        let how = if self.tags.is_some() {
            "appends under the condition that no tag is there"
        } else {
            "no condition"
        };
        format!("UmaDB {}: its default, fsync for each group of appends; {how}", self.version)
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        let mut link = Link::open(self.running.address);
        let data = line();
        let mut append = move |request: Bytes| {
            let mut answers = 0;
            link.call("/umadb.v1.DCB/Append", request, |_| answers += 1);
            assert_eq!(answers, 1);
        };
        let Some(tags) = &self.tags else {
            let mut request = Message::default();
            for _ in 0..events {
                request.message(1, &event("item", &data));
            }
            let request = request.framed();
            return Box::new(move || append(request.clone()));
        };
        // A connection has a range of tags of its own.
        let first = tags.fetch_add(1, Ordering::Relaxed) << 40;
        let mut tags = (first..).map(|tag| format!("t{tag}"));
        Box::new(move || {
            let (mut request, mut query) = (Message::default(), Message::default());
            for tag in tags.by_ref().take(events) {
                request.message(1, &event(&tag, &data));
                let mut item = Message::default();
                item.bytes(2, tag.as_bytes());
                query.message(1, &item);
            }
            let mut condition = Message::default();
            condition.message(1, &query);
            request.message(2, &condition);
            append(request.framed());
        })
    }

    fn read_back(&self) -> u64 {
        let mut link = Link::open(self.running.address);
        let mut request = Message::default();
        request.number(6, PAGE);
        let mut events = 0;
        link.call("/umadb.v1.DCB/Read", request.framed(), |page| {
            events += Message::fields(page).filter(|(field, _)| *field == 1).count() as u64;
        });
        events
    }
}

fn event(tag: &str, data: &str) -> Message {
    let mut event = Message::default();
    event.bytes(1, b"add");
    event.bytes(2, tag.as_bytes());
    event.bytes(3, data.as_bytes());
    event
}
