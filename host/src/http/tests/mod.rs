//! HTTP over real connections, with a service that only takes down what it is asked.
//!
//! Where time matters the connection is a pipe in memory and the clock is tokio's paused one: it jumps to the next
//! timer as soon as nothing else can happen, so a test of five seconds takes none.

mod bodies;
mod codes;
mod connections;
mod requests;

use super::listener::{Phase, Site, connection};
use super::names::{PluginName, RootName, ViewName};
use super::service::{FeedAnswer, FeedQuery, Offer, ReloadAnswer, Service, ViewAnswer, ViewQuery};
use super::settings::Settings;
use super::sse::{self, Stream};
use crate::admit::{self, Answer};
use crate::problem::{Code, Problem};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, watch};

/// Takes down its calls. The root's name decides what happens: `panics`, `waits` until told, `full`, `known`.
#[derive(Debug, Default)]
pub(super) struct Fake {
    calls: Mutex<Vec<String>>,
    /// Told when an admission to `waits` has begun.
    entered: Notify,
    /// Lets it go on.
    release: Notify,
}

impl Fake {
    fn note(&self, call: String) {
        self.calls.lock().expect("no test panics while it notes").push(call);
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no test panics while it notes").clone()
    }
}

impl Service for Arc<Fake> {
    async fn admit(&self, root: RootName, request: admit::Request) -> Result<Answer, Problem> {
        let admit::Request { body, content, atomic, idempotency_key, minimal, dry_run } = request;
        self.note(format!("admit {root} {content:?} {atomic} {idempotency_key:?} {} bytes", body.len()));
        if dry_run {
            self.note("dry run".to_owned());
        }
        match root.as_str() {
            "panics" => panic!("as the test wants"),
            "full" => return Err(Problem::new(Code::Overloaded, "the queue is full").retry_after(2)),
            "waits" => {
                self.entered.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        let written = usize::from(root.as_str() != "known");
        let (vv, now) = ("v".to_owned(), "n".to_owned());
        Ok(Answer {
            written,
            duplicate: 1,
            rejected: 0,
            events: if minimal {
                Vec::new()
            } else {
                vec![admit::EventAnswer { status: "written", ..admit::EventAnswer::default() }]
            },
            vv,
            now,
        })
    }

    async fn feed(&self, root: RootName, query: FeedQuery) -> Result<FeedAnswer, Problem> {
        self.note(format!("feed {root} {:?}", query.vv));
        let body = Bytes::from(format!("{:?}", query.format));
        Ok(FeedAnswer { body, cursor: Some("c".to_owned()), left: Some(7), vv: None })
    }

    async fn follow(&self, root: RootName, query: FeedQuery, id: Option<String>) -> Result<Stream, Problem> {
        self.note(format!("follow {root} {:?} {id:?}", query.vv));
        Ok(sse::driven(|writer| async move {
            writer.event("caught-up", Some("7.0a"), "{}").await.expect("somebody reads");
        }))
    }

    async fn view(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<ViewAnswer, Problem> {
        self.note(format!("view {root} {view} {:?}", query.keys));
        Ok(ViewAnswer { json: Bytes::from_static(br#"{"value":1}"#), etag: "a1".to_owned() })
    }

    async fn changes(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<Stream, Problem> {
        self.note(format!("changes {root} {view} {:?}", query.aspect));
        let (writer, stream) = sse::stream();
        writer.event("caught-up", Some("7.0a"), "{}").await.expect("there is room");
        Ok(stream)
    }

    async fn root_info(&self, root: RootName) -> Result<Bytes, Problem> {
        let problem = Problem::new(Code::UnknownRoot, format!("no root {root}"));
        Err(problem.with("roots", vec!["tally"]).with("code", "not replaced"))
    }

    async fn roots(&self) -> Result<Bytes, Problem> {
        Ok(Bytes::from_static(b"[]"))
    }

    async fn offers(&self) -> Result<Vec<Offer>, Problem> {
        Ok(Vec::new())
    }

    async fn plugins(&self) -> Result<Bytes, Problem> {
        Ok(Bytes::from_static(b"[]"))
    }

    async fn reload(&self, plugin: PluginName, wait: bool) -> Result<ReloadAnswer, Problem> {
        self.note(format!("reload {plugin} {wait}"));
        Ok(ReloadAnswer { done: wait, json: Bytes::from_static(b"{}") })
    }

    async fn cancel(&self, plugin: PluginName) -> Result<Bytes, Problem> {
        self.note(format!("cancel {plugin}"));
        Ok(Bytes::from_static(b"{}"))
    }

    async fn sync(&self, root: RootName, frame: Bytes) -> Result<Bytes, Problem> {
        self.note(format!("sync {root} {} bytes", frame.len()));
        Ok(frame)
    }

    async fn verify(&self, root: RootName, begin: Option<Bytes>) -> Result<Bytes, Problem> {
        self.note(format!("verify {root} {begin:?}"));
        Ok(Bytes::from_static(b"{}"))
    }

    async fn peers(&self) -> Result<Bytes, Problem> {
        Ok(Bytes::from_static(br#"{"peers":[]}"#))
    }

    async fn ready(&self) -> Result<Bytes, Problem> {
        Ok(Bytes::from_static(br#"{"ready":true}"#))
    }

    async fn metrics(&self) -> Result<Bytes, Problem> {
        Ok(Bytes::from_static(b"up 1\n"))
    }
}

/// A server without a socket, and its service.
struct Bench {
    fake: Arc<Fake>,
    site: Arc<Site<Arc<Fake>>>,
    /// Dropping it closes every connection.
    phase: watch::Sender<Phase>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let fake = Arc::new(Fake::default());
        let site = Arc::new(Site::new(Arc::clone(&fake), settings));
        Self { fake, site, phase: watch::Sender::new(Phase::Serving) }
    }

    /// A connection to it.
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        drop(tokio::spawn(connection(theirs, Arc::clone(&self.site), self.phase.subscribe())));
        ours
    }

    /// What comes back until the server closes; `request` should ask for that.
    async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).await.expect("the pipe holds it");
        to_end(&mut stream).await
    }

    /// The answer to one request line with further header lines.
    async fn line(&self, line: &str, headers: &str) -> String {
        self.ask(format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")).await
    }

    /// The answer to a POST.
    async fn post(&self, target: &str, headers: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.ask([head.as_bytes(), body].concat()).await
    }
}

/// Everything until the other side closes.
async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("the other side closes in order");
    String::from_utf8(bytes).expect("answers are text")
}

/// One answer of a connection that stays open: its head, and the body that its length announces.
async fn one_answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    let mut text = String::new();
    loop {
        let byte = stream.read_u8().await.expect("an answer comes");
        text.push(char::from(byte));
        if text.ends_with("\r\n\r\n") {
            break;
        }
    }
    let length = header(&text, "content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("the body comes");
    text + std::str::from_utf8(&body).expect("answers are text")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| *known == name)
        .map(|found| found.1)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The status, and the code if it is an error.
fn outcome(answer: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(body(answer)).unwrap_or_default();
    match json.get("code").and_then(|code| code.as_str()) {
        Some(code) => format!("{} {code}", status(answer)),
        None => status(answer).to_owned(),
    }
}
