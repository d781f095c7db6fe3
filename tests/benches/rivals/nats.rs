//! NATS `JetStream`: a stream of one subject in a file that is synced for every write. One event is published and its
//! acknowledgement awaited; many are one atomic batch; all are pulled in pages by a consumer that need not acknowledge.
//! Its protocol is lines of text, each followed by as many bytes as it says.

use super::system::{Running, System, found, free_address, version};
use crate::load::line;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many events a pull asks for. Two pulls are under way at a time.
const PAGE: u64 = 10_000;

pub(crate) struct Nats {
    running: Running,
    version: String,
    links: AtomicU64,
}

impl Nats {
    /// None if it is not on this machine.
    pub(crate) fn start() -> Option<Self> {
        let program = found("LATERBASE_NATS", "nats-server")?;
        let version = version(&program)?.rsplit('v').next()?.to_owned();
        let address = free_address();
        let scratch = tempfile::tempdir().expect("a folder");
        let settings = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 20G }}\n",
            scratch.path().display()
        );
        let file = scratch.path().join("nats.conf");
        std::fs::write(&file, settings).expect("written");
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        let this =
            Self { running: Running::start(command, address, scratch), version, links: AtomicU64::new(0) };
        let stream = r#"{"name":"EV","subjects":["ev"],"storage":"file","allow_atomic":true}"#;
        let made = this.link().ask("$JS.API.STREAM.CREATE.EV", stream);
        assert!(made.contains("\"config\""), "{made}");
        Some(this)
    }

    fn link(&self) -> Link {
        Link::open(self.running.address, self.links.fetch_add(1, Ordering::Relaxed))
    }
}

impl System for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn describe(&self) -> String {
        format!("NATS {}: JetStream in a file, sync_interval always", self.version)
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        let (mut link, payload) = (self.link(), line());
        let mut batches = 0;
        Box::new(move || {
            batches += 1;
            if events == 1 {
                link.publish("ev", &payload);
            } else {
                let batch = format!("{}-{batches}", link.inbox);
                link.publish_batch(&batch, &payload, events);
            }
            let acknowledged = link.next().expect("an acknowledgement");
            assert!(acknowledged.contains("\"seq\":"), "{acknowledged}");
        })
    }

    fn read_back(&self) -> u64 {
        let mut link = self.link();
        let stream = link.ask("$JS.API.STREAM.INFO.EV", "");
        let stream: Value = serde_json::from_str(&stream).expect("JSON");
        let events = stream.pointer("/state/messages").and_then(Value::as_u64).expect("a count");
        let consumer = r#"{"stream_name":"EV","config":{"ack_policy":"none","deliver_policy":"all","mem_storage":true}}"#;
        let consumer = link.ask("$JS.API.CONSUMER.CREATE.EV", consumer);
        let consumer: Value = serde_json::from_str(&consumer).expect("JSON");
        let pull = format!(
            "$JS.API.CONSUMER.MSG.NEXT.EV.{}",
            consumer.get("name").and_then(Value::as_str).expect("a name")
        );
        let page = format!(r#"{{"batch":{PAGE},"expires":60000000000}}"#);
        link.publish(&pull, &page);
        for at in 0..events {
            if at % PAGE == 0 {
                link.publish(&pull, &page);
            }
            let event = link.next();
            assert!(event.is_some(), "event {at} of {events}");
        }
        events
    }
}

/// A connection, whose replies and pulled events all come to one subject.
struct Link {
    stream: BufReader<TcpStream>,
    inbox: String,
    line: String,
    bytes: Vec<u8>,
}

impl Link {
    fn open(address: SocketAddr, number: u64) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let inbox = format!("_INBOX.{number}");
        let stream = BufReader::with_capacity(1 << 16, stream);
        let mut this = Self { stream, inbox, line: String::new(), bytes: Vec::new() };
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"protocol":1}"#;
        this.send(format!("CONNECT {options}\r\nSUB {} 1\r\n", this.inbox).as_bytes());
        this
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("written");
    }

    fn publish(&mut self, subject: &str, payload: &str) {
        let message = format!("PUB {subject} {} {}\r\n{payload}\r\n", self.inbox, payload.len());
        self.send(message.as_bytes());
    }

    /// Publishes and awaits the reply.
    fn ask(&mut self, subject: &str, payload: &str) -> String {
        self.publish(subject, payload);
        self.next().expect("a reply").to_owned()
    }

    /// So many of one payload as a batch, of which all or nothing is kept; the last is replied to.
    fn publish_batch(&mut self, batch: &str, payload: &str, events: usize) {
        let mut message = String::with_capacity(events * (payload.len() + 120));
        for at in 1..=events {
            let (reply, commit) =
                if at == events { (self.inbox.as_str(), "Nats-Batch-Commit: 1\r\n") } else { ("", "") };
            let headers =
                format!("NATS/1.0\r\nNats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {at}\r\n{commit}\r\n");
            let (of_headers, of_all) = (headers.len(), headers.len() + payload.len());
            write!(message, "HPUB ev {reply} {of_headers} {of_all}\r\n{headers}{payload}\r\n")
                .expect("memory");
        }
        self.send(message.as_bytes());
    }

    /// The payload of the next message; none if it is only a status.
    fn next(&mut self) -> Option<&str> {
        let (headers, all) = self.lengths();
        self.bytes.resize(all + 2, 0);
        self.stream.read_exact(&mut self.bytes).expect("a message");
        let text = std::str::from_utf8(&self.bytes).expect("text");
        if text.starts_with("NATS/1.0 ") && headers > 0 {
            return None;
        }
        text.get(headers..all)
    }

    /// How long the headers of the next message are, and all of it.
    fn lengths(&mut self) -> (usize, usize) {
        loop {
            self.line.clear();
            assert!(
                self.stream.read_line(&mut self.line).expect("a line") > 0,
                "the server closed the connection"
            );
            let mut words = self.line.split_whitespace();
            let kind = words.next();
            let mut numbers = words.rev().map_while(|word| word.parse().ok());
            match kind {
                Some("MSG") => return (0, numbers.next().expect("a length")),
                Some("HMSG") => {
                    let all = numbers.next().expect("a length");
                    return (numbers.next().expect("a length of headers"), all);
                }
                Some("PING") => self.send(b"PONG\r\n"),
                Some("INFO" | "PONG" | "+OK") => {}
                _ => panic!("{}", self.line),
            }
        }
    }
}
