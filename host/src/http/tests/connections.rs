//! Connections: slow ones, too many of them, ones that leave, and the drain.

use super::super::listener::{Drained, Server};
use super::*;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};

const POST_WAITS: &[u8] =
    b"POST /waits/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const LIVE: &[u8] = b"GET /_/livez HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server on a free port.
struct Listening {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

async fn listen(settings: Settings) -> Listening {
    let server = Server::bind(([127, 0, 0, 1], 0).into(), settings).await.expect("a free port");
    let address = server.address();
    let fake = Arc::new(Fake::default());
    let (stop, stopped) = oneshot::channel();
    let service = Arc::clone(&fake);
    let shutdown = async move { drop(stopped.await) };
    let running = tokio::spawn(server.serve(service, shutdown));
    Listening { address, fake, stop, served: running }
}

async fn connect(server: &Listening) -> TcpStream {
    TcpStream::connect(server.address).await.expect("it listens")
}

async fn asked(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("open");
    one_answer(stream).await
}

// Half a header, or none, holds a connection for five seconds; a used connection likewise when it idles.
#[tokio::test(start_paused = true)]
async fn a_slow_header() {
    let bench = Bench::new(Settings::default());
    for sent in [&b"GET /_/livez HTTP/1.1\r\nho"[..], b"", b"GET"] {
        let start = Instant::now();
        let mut stream = bench.connect();
        stream.write_all(sent).await.expect("open");
        assert_eq!(status(&to_end(&mut stream).await), "closed");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(10), "{waited:?}");
    }
    let mut stream = bench.connect();
    stream.write_all(LIVE).await.expect("open");
    assert_eq!(status(&one_answer(&mut stream).await), "200");
    let start = Instant::now();
    assert_eq!(to_end(&mut stream).await, "");
    assert!(start.elapsed() < Duration::from_secs(10));
}

// A client that asks much and reads nothing is cut off, and holds no memory for ever.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read() {
    let bench = Bench::new(Settings::default());
    let (mut ours, theirs) = tokio::io::duplex(64);
    let start = Instant::now();
    let served = tokio::spawn(connection(theirs, Arc::clone(&bench.site), bench.phase.subscribe()));
    ours.write_all(b"GET /_/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
    served.await.expect("no panic");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(40), "{waited:?}");
}

// The cap: the one connection too many is told when to come back; a freed place is taken again.
#[tokio::test]
async fn one_connection_too_many() {
    let server = listen(Settings { connections_max: 1, ..Settings::default() }).await;
    let mut first = connect(&server).await;
    assert_eq!(status(&asked(&mut first, LIVE).await), "200");
    let mut second = connect(&server).await;
    let refused = to_end(&mut second).await;
    assert_eq!(outcome(&refused), "503 too_many_connections");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    assert_eq!(status(&asked(&mut first, LIVE).await), "200", "the first is undisturbed");
    drop((first, second));
    // The place is free once the server has seen the first one leave; until then it says so.
    let mut found = String::new();
    for _ in 0..10_000 {
        let mut next = connect(&server).await;
        found = asked(&mut next, LIVE).await;
        if status(&found) == "200" {
            break;
        }
    }
    assert_eq!(status(&found), "200");
}

// Clients that leave in mid-header, in mid-body and in mid-answer disturb nobody, and store nothing.
#[tokio::test]
async fn early_disconnects() {
    let server = listen(Settings::default()).await;
    for sent in [&POST_WAITS[..20], &POST_WAITS[..POST_WAITS.len() - 1]] {
        let mut leaver = connect(&server).await;
        leaver.write_all(sent).await.expect("open");
        drop(leaver);
    }
    let mut leaver = connect(&server).await;
    leaver.write_all(POST_WAITS).await.expect("open");
    server.fake.entered.notified().await;
    drop(leaver);
    let mut honest = connect(&server).await;
    assert_eq!(status(&asked(&mut honest, LIVE).await), "200");
    assert_eq!(server.fake.calls().len(), 1, "only the whole request went inward");
}

// The signal: what is in flight is answered, idle connections close, new ones find nobody, and the end is clean.
#[tokio::test]
async fn drain_finishes_what_is_in_flight() {
    let server = listen(Settings::default()).await;
    let mut idle = connect(&server).await;
    assert_eq!(status(&asked(&mut idle, LIVE).await), "200");
    let mut busy = connect(&server).await;
    busy.write_all(POST_WAITS).await.expect("open");
    server.fake.entered.notified().await;
    server.stop.send(()).expect("it serves");
    assert_eq!(to_end(&mut idle).await, "", "closed without an answer, as none was asked");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens");
    server.fake.release.notify_one();
    let answer = to_end(&mut busy).await;
    assert_eq!((status(&answer), header(&answer, "connection")), ("201", Some("close")));
    drop((idle, busy));
    assert_eq!(server.served.await.expect("no panic"), Drained::Clean);
}

// A request that does not end is cut off when the drain's time is up.
#[tokio::test(start_paused = true)]
async fn drain_has_a_deadline() {
    let server = listen(Settings::default()).await;
    let mut busy = connect(&server).await;
    busy.write_all(POST_WAITS).await.expect("open");
    server.fake.entered.notified().await;
    let start = Instant::now();
    server.stop.send(()).expect("it serves");
    assert_eq!(server.served.await.expect("no panic"), Drained::Cut(1));
    assert_eq!(start.elapsed().as_secs(), 5);
    let mut rest = Vec::new();
    // An end or a reset, as the system likes: but an end.
    drop(busy.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
}

// A connection that never asked anything does not hold up the drain.
#[tokio::test(start_paused = true)]
async fn drain_does_not_wait_for_the_silent() {
    let bench = Bench::new(Settings::default());
    let mut silent = bench.connect();
    silent.write_all(b"GET /_/li").await.expect("open");
    let start = Instant::now();
    bench.phase.send_replace(Phase::Draining);
    assert_eq!(to_end(&mut silent).await, "");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

// While the server drains it is alive and not ready, and refuses whatever still gets through.
#[tokio::test]
async fn draining_refuses() {
    let bench = Bench::new(Settings::default());
    bench.site.edge.draining.store(true, Ordering::Release);
    let table = [
        ("GET /_/livez", "200"),
        ("GET /_/readyz", "503 draining"),
        ("GET /tally/e", "503 draining"),
        ("GET /tally/total", "503 draining"),
    ];
    for (line, expected) in table {
        assert_eq!(outcome(&bench.line(line, "").await), expected, "{line}");
    }
    let mut stream = bench.connect();
    stream.write_all(b"GET /_/readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
    let refused = to_end(&mut stream).await;
    assert_eq!((header(&refused, "connection"), header(&refused, "retry-after")), (Some("close"), Some("1")));
    assert_eq!(bench.fake.calls(), [""; 0]);
}
