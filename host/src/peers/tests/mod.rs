//! Dialling peers that misbehave, over pipes in memory and under tokio's paused clock: hours pass in a moment.

mod backoff;
mod dictionaries;
mod hostile;
mod stubborn;

use super::*;
use crate::core::clock::Clock;
use crate::core::event::{EventKey, Origin, ValidTime, Value};
use crate::core::gset::{self, Candidate};
use crate::core::knowledge::Knowledge;
use crate::problem::{Code, Problem};
use crate::store::MemoryStore;
use crate::sync::{Ask, PROTOCOL, Replica};
use crate::wall::Wall;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// The one Root of both sides.
const ROOT: &str = "tally";
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_mins(20);

/// A wall clock that follows tokio's.
#[derive(Debug)]
struct Told(Instant);

impl Wall for Told {
    fn now(&self) -> ValidTime {
        let since = i64::try_from(self.0.elapsed().as_millis()).expect("not so long");
        ValidTime::from_millis(1_800_000_000_000 + since).expect("within NTP64")
    }
}

/// A replica that admits under Origin `number` and has admitted `events`.
fn replica(number: u8, events: u64) -> Arc<Replica> {
    replica_with(number, events, u64::MAX)
}

/// The same, with a dictionary from so many arrivals on.
fn replica_with(number: u8, events: u64, dictionary_from: u64) -> Arc<Replica> {
    let wall = Told(Instant::now());
    let (clock, _) = Clock::new(ValidTime::default(), wall.now());
    let store = Arc::new(MemoryStore::new(Origin([number; 8])));
    let mint = Box::new(move || Origin([number + 100; 8]));
    let replica = Replica::new(store, Arc::new(Mutex::new(clock)), Arc::new(wall), mint);
    let replica = Arc::new(replica.with_dictionary_from(dictionary_from));
    for event in 0..events {
        post(&replica, number, event, 20);
    }
    replica
}

fn post(replica: &Replica, number: u8, event: u64, bytes: usize) {
    let key = EventKey::new(ValidTime(event << 32), [number; 8]);
    // Nothing that could be compressed.
    let mut data = vec![0; bytes];
    blake3::Hasher::new().update(&key.0).finalize_xof().fill(&mut data);
    let value = Value { type_number: 1, version: 1, data: &data };
    let admitted = replica.store().commit(&mut |tables| {
        gset::admit(tables, Candidate::new(key, value), 1)?;
        Ok(())
    });
    admitted.expect("memory commits");
    replica.committed();
}

fn knowledge(replica: &Replica) -> Knowledge {
    replica.state().expect("memory reads").knowledge()
}

/// What a peer does with a request.
enum Reply {
    /// Answers with a status and a body.
    Answer(u16, Vec<u8>),
    /// Writes these bytes and closes.
    Raw(Vec<u8>),
    /// Writes the first bytes, then the others one by one, with a pause before each.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Writes the first bytes, then the second for ever.
    Flood(Vec<u8>, Vec<u8>),
    /// Says nothing and keeps the connection.
    Silence,
}

/// What a peer does: from the path and the body of a request to the reply, or none to answer honestly.
type Manners = Arc<dyn Fn(&str, &[u8]) -> Option<Reply> + Send + Sync>;

fn honest() -> Manners {
    Arc::new(|_, _| None)
}

/// A peer, and the network to it.
struct Peer {
    replica: Arc<Replica>,
    manners: Mutex<Option<Manners>>,
    /// When it was dialled.
    dialled: Mutex<Vec<Instant>>,
    /// Has a copy in every stream that the dialler still holds.
    held: Arc<()>,
}

impl Peer {
    fn new(replica: Arc<Replica>) -> Arc<Self> {
        let (manners, dialled, held) = (Mutex::default(), Mutex::default(), Arc::default());
        Arc::new(Self { replica, manners, dialled, held })
    }

    /// From now on it behaves like this; none: it does not listen.
    fn behave(&self, manners: Option<Manners>) {
        *self.manners.lock().expect("no panic") = manners;
    }

    fn manners(&self) -> Option<Manners> {
        self.manners.lock().expect("no panic").clone()
    }

    fn dialled(&self) -> Vec<Instant> {
        self.dialled.lock().expect("no panic").clone()
    }

    /// Serves one connection.
    async fn serve(self: Arc<Self>, mut stream: DuplexStream) -> io::Result<()> {
        loop {
            let (path, body) = request(&mut stream).await?;
            let manners = self.manners().ok_or(io::ErrorKind::ConnectionReset)?;
            let reply = match manners(&path, &body) {
                Some(reply) => reply,
                None => self.honestly(&path, &body).await,
            };
            match reply {
                Reply::Answer(status, body) => stream.write_all(&http(status, &body)).await?,
                Reply::Raw(bytes) => return stream.write_all(&bytes).await,
                Reply::Silence => return std::future::pending().await,
                Reply::Drip(first, bytes, pause) => {
                    stream.write_all(&first).await?;
                    for byte in bytes {
                        sleep(pause).await;
                        stream.write_all(&[byte]).await?;
                    }
                }
                Reply::Flood(first, again) => {
                    stream.write_all(&first).await?;
                    loop {
                        stream.write_all(&again).await?;
                    }
                }
            }
        }
    }

    async fn honestly(&self, path: &str, body: &[u8]) -> Reply {
        if path == "/_/roots" {
            return Reply::Answer(200, roots(&[ROOT]));
        }
        let ask = Ask::decode(body).expect("the dialler writes frames");
        let mut commits = self.replica.commits();
        let until = Instant::now() + Duration::from_millis(ask.wait_ms().into());
        while Instant::now() < until && self.replica.is_quiet(&ask).expect("memory reads") {
            drop(tokio::time::timeout_at(until, commits.changed()).await);
        }
        match self.replica.answer(&ask) {
            Ok(answer) => Reply::Answer(200, answer),
            Err(fault) => Reply::Answer(400, format!("{{\"code\":\"x\",\"detail\":\"{fault}\"}}").into()),
        }
    }
}

/// The next request: its path and its body. A body that the pipe does not hold is never read.
async fn request(stream: &mut DuplexStream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("a head is text").to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    if length > PIPE {
        std::future::pending::<()>().await;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((head.split(' ').nth(1).expect("a path").to_owned(), body))
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// The answer about these Roots.
fn roots<T: AsRef<str>>(names: &[T]) -> Vec<u8> {
    let roots: Vec<_> =
        names.iter().map(|name| serde_json::json!({"root": name.as_ref(), "stored": true})).collect();
    serde_json::json!({"roots": roots}).to_string().into()
}

/// The number of a frame's question; none if it is no frame.
fn question(body: &[u8]) -> Option<u8> {
    let link = body.get(1..)?.iter().position(|byte| byte & 0x80 == 0)?;
    body.get(link + 2).copied()
}

/// An answer's frame by its number, with one field of bytes.
fn carrying(answer: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![PROTOCOL, answer], postcard::to_allocvec(bytes).expect("bytes")].concat()
}

/// Bytes that fit into a pipe.
const PIPE: usize = 64 << 10;

/// The way to a peer.
#[derive(Clone)]
struct Pipes(Arc<Peer>);

impl Connect for Pipes {
    type Stream = Held;

    async fn connect(&self, _: &str) -> io::Result<Held> {
        self.0.dialled.lock().expect("no panic").push(Instant::now());
        if self.0.manners().is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        drop(tokio::spawn(Arc::clone(&self.0).serve(theirs)));
        Ok(Held { stream: ours, _held: Arc::clone(&self.0.held) })
    }
}

/// The dialler's end of a pipe.
struct Held {
    stream: DuplexStream,
    _held: Arc<()>,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The dialler's side.
struct Ours {
    replica: Arc<Replica>,
    wall: Told,
    /// The Roots that a replica was asked for.
    opened: Mutex<Vec<String>>,
    made: watch::Sender<u64>,
}

impl Roots for Ours {
    fn stored(&self) -> Vec<String> {
        vec![ROOT.to_owned()]
    }

    fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    fn replica(&self, root: &str) -> Result<Arc<Replica>, Problem> {
        self.opened.lock().expect("no panic").push(root.to_owned());
        if root == ROOT {
            Ok(Arc::clone(&self.replica))
        } else {
            Err(Problem::new(Code::TooManyRoots, "enough"))
        }
    }

    fn now(&self) -> ValidTime {
        self.wall.now()
    }
}

/// A dialler and the peer that it dials.
struct Bench {
    ours: Arc<Ours>,
    peer: Arc<Peer>,
    standing: Peers,
    address: PeerAddress,
    /// Dropping it stops the dialler.
    stop: watch::Sender<bool>,
}

impl Bench {
    /// We hold 3 events of our own, the peer 30.
    fn new() -> Self {
        Self::with(u64::MAX)
    }

    /// The same, and both have dictionaries from so many arrivals on.
    fn with(dictionary_from: u64) -> Self {
        let wall = Told(Instant::now());
        let ours = Arc::new(Ours {
            replica: replica_with(1, 3, dictionary_from),
            wall,
            opened: Mutex::default(),
            made: watch::Sender::new(0),
        });
        let address = "http://peer:4000".parse().expect("an address");
        let (peer, stop) = (Peer::new(replica_with(2, 30, dictionary_from)), watch::Sender::new(false));
        Self { ours, peer, standing: Peers::default(), address, stop }
    }

    fn dial(&self, only: Option<Vec<String>>) {
        let dialler = Dialler {
            peer: self.address.clone(),
            only,
            roots: Arc::clone(&self.ours),
            status: self.standing.peer(&self.address),
            connect: Pipes(Arc::clone(&self.peer)),
        };
        drop(tokio::task::spawn_local(dialler.run(self.stop.subscribe())));
    }

    /// The peer's status.
    fn status(&self) -> serde_json::Value {
        self.standing.show(self.ours.now())["peers"][0].clone()
    }

    /// The errors that the status shows: of the peer, of its one Root.
    fn errors(&self) -> Vec<String> {
        let status = self.status();
        let roots = status["roots"].as_array().into_iter().flatten();
        let shown = roots.filter(|root| root["root"] == ROOT).chain([&status]);
        shown.filter_map(|shown| shown["last_error"]["error"].as_str().map(str::to_owned)).collect()
    }

    /// Waits, by the paused clock.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let late = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < late, "{what}: {:?}", self.errors());
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_error(&self, words: &str) {
        let shown = |bench: &Self| bench.errors().iter().any(|error| error.contains(words));
        self.until(&format!("the status says {words:?}"), shown).await;
    }

    /// The peer behaves again: both come to hold the same, and the error goes away.
    async fn recovers(&self) {
        self.peer.behave(Some(honest()));
        let same = |bench: &Self| knowledge(&bench.ours.replica) == knowledge(&bench.peer.replica);
        self.until("both hold the same", same).await;
        self.until("no error is shown", |bench| bench.errors().is_empty()).await;
    }

    /// A peer of these manners ends in an error of these words, is dialled seldom, costs nothing that is kept, and is
    /// taken back when it behaves.
    async fn survives(&self, manners: Manners, words: &str) {
        let before = knowledge(&self.ours.replica);
        self.peer.behave(Some(manners));
        self.dial(None);
        self.until_error(words).await;
        // By then all pauses are the longest: 15 to 30 s.
        sleep(Duration::from_mins(5)).await;
        let dialled = self.peer.dialled().len();
        sleep(Duration::from_mins(5)).await;
        let dialled = self.peer.dialled().len() - dialled;
        assert!((1..=80).contains(&dialled), "dialled {dialled} times in 5 minutes");
        assert_eq!(knowledge(&self.ours.replica), before, "nothing of it is stored");
        let held = Arc::strong_count(&self.peer.held) - 1;
        assert!(held <= 4, "{held} connections are held");
        self.recovers().await;
    }
}

/// Runs a test that spawns local tasks.
async fn locally(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}
