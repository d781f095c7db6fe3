//! Redis: a stream with its append-only file synced for every write, `XADD` in pipelines, `XRANGE` in pages. Its
//! protocol is text and lengths.

use super::system::{Running, System, found, free_address, version};
use crate::load::line;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// How many entries a page has when all are read.
const PAGE: &str = "10000";

pub(crate) struct Redis {
    running: Running,
    version: String,
}

impl Redis {
    /// None if it is not on this machine.
    pub(crate) fn start() -> Option<Self> {
        let program = found("LATERBASE_REDIS", "redis-server")?;
        let version = version(&program)?;
        let version = version.split("v=").nth(1)?.split(' ').next()?.to_owned();
        let address = free_address();
        let scratch = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        // Else it would write the file anew beside the others' runs.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        Some(Self { running: Running::start(command, address, scratch), version })
    }
}

impl System for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn describe(&self) -> String {
        format!("Redis {}: a stream, appendonly yes, appendfsync always", self.version)
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        let mut link = Link::open(self.running.address);
        let request = command(&["XADD", "ev", "*", "d", &line()]).repeat(events);
        Box::new(move || {
            link.send(&request);
            for _ in 0..events {
                assert!(link.text().contains('-'), "an id");
            }
        })
    }

    fn read_back(&self) -> u64 {
        let mut link = Link::open(self.running.address);
        let (mut events, mut from) = (0, "-".to_owned());
        loop {
            link.send(&command(&["XRANGE", "ev", &from, "+", "COUNT", PAGE]));
            let page = link.items();
            for _ in 0..page {
                assert_eq!(link.items(), 2, "an id and fields");
                from.clear();
                from.push('(');
                from.push_str(link.text());
                for _ in 0..link.items() {
                    link.text();
                }
            }
            if page == 0 {
                return events;
            }
            events += page;
        }
    }
}

/// A command as an array of strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// A connection.
struct Link {
    stream: BufReader<TcpStream>,
    /// What was read last.
    text: Vec<u8>,
}

impl Link {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::with_capacity(1 << 16, stream), text: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("written");
    }

    /// The length that a reply of this kind begins with.
    fn length(&mut self, kind: char) -> u64 {
        self.text.clear();
        self.stream.read_until(b'\n', &mut self.text).expect("a reply");
        let line = std::str::from_utf8(&self.text).expect("text").trim_end();
        let length = line.strip_prefix(kind).and_then(|length| length.parse().ok());
        length.unwrap_or_else(|| panic!("{line}"))
    }

    /// How many items the array has that comes now; they come next.
    fn items(&mut self) -> u64 {
        self.length('*')
    }

    /// The string that comes now.
    fn text(&mut self) -> &str {
        let length = usize::try_from(self.length('$')).expect("it fits");
        self.text.resize(length + 2, 0);
        self.stream.read_exact(&mut self.text).expect("a reply");
        std::str::from_utf8(&self.text).expect("text").trim_end()
    }
}
