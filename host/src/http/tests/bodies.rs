//! Bodies that are too large, too slow, or not what they say.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use tokio::time::{Duration, Instant, sleep};

const GZIP: &str = "content-type: application/json\r\ncontent-encoding: gzip\r\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn small() -> Settings {
    Settings { body_bytes_max: 10_000, inflated_bytes_max: 20_000, ..Settings::default() }
}

// Sizes at their very edges: as declared, as counted, and after decompression.
#[tokio::test]
async fn sizes() {
    let bench = Bench::new(small());
    let json = "content-type: application/json\r\n";
    assert_eq!(outcome(&bench.post("/t/e", json, &[b' '; 10_000]).await), "201");
    let refused = bench.post("/t/e", json, &[b' '; 10_001]).await;
    assert_eq!(
        (outcome(&refused).as_str(), header(&refused, "connection")),
        ("413 body_too_large", Some("close"))
    );
    assert!(body(&refused).contains(r#""limit":10000,"#), "{refused}");
    assert_eq!(outcome(&bench.post("/t/e", GZIP, &gzip(&vec![b' '; 20_000])).await), "201");
    assert_eq!(outcome(&bench.post("/t/e", GZIP, &gzip(&vec![b' '; 20_001])).await), "413 body_too_large");
    let taken: Vec<String> =
        bench.fake.calls().iter().map(|call| call[call.len() - 11..].to_owned()).collect();
    assert_eq!(taken, ["10000 bytes", "20000 bytes"]);
}

// A gigabyte is refused from its announcement alone: no byte of it is sent here.
#[tokio::test]
async fn a_declared_gigabyte() {
    let bench = Bench::new(Settings::default());
    let head = "POST /t/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let answer = bench.ask(format!("{head}content-length: 1073741824\r\n\r\n")).await;
    assert_eq!(outcome(&answer), "413 body_too_large");
    let answer = bench.ask(format!("{head}content-length: 1073741824\r\nexpect: 100-continue\r\n\r\n")).await;
    assert_eq!(outcome(&answer), "413 body_too_large");
}

// A chunked body without end is counted and refused at the limit.
#[tokio::test]
async fn endless_chunks() {
    let bench = Bench::new(small());
    let mut stream = bench.connect();
    let head = "POST /t/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("open");
    let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1000));
    for _ in 0..11 {
        stream.write_all(chunk.as_bytes()).await.expect("open");
    }
    assert_eq!(outcome(&to_end(&mut stream).await), "413 body_too_large");
    assert_eq!(bench.fake.calls(), [""; 0]);
}

// What says gzip and is not, or ends too soon, is refused; several members in a row are one body.
#[tokio::test]
async fn broken_gzip() {
    let bench = Bench::new(Settings::default());
    let whole = gzip(b"{\"a\":1}");
    let table = [
        (whole.clone(), "201"),
        ([whole.clone(), whole.clone()].concat(), "201"),
        (whole[..whole.len() - 1].to_vec(), "400 bad_encoding"),
        (b"{}".to_vec(), "400 bad_encoding"),
        ([whole.as_slice(), b"x"].concat(), "400 bad_encoding"),
        (Vec::new(), "400 bad_encoding"),
    ];
    for (body, expected) in table {
        assert_eq!(outcome(&bench.post("/t/e", GZIP, &body).await), expected, "{body:?}");
    }
    assert_eq!(bench.fake.calls()[1], "admit t Json true None 14 bytes");
    assert_eq!(bench.fake.calls().len(), 2);
}

// A bomb is measured before it is unpacked. The control is an honest body of nearly the same size, which is too much
// for the memory set aside here: so the bomb, refused by its size, cannot have taken that memory.
#[tokio::test]
async fn gzip_bomb() {
    let settings = Settings { inflated_bytes_max: 6 << 20, bodies_bytes_max: 1 << 20, ..Settings::default() };
    let bench = Bench::new(settings);
    let honest = gzip(&vec![b' '; 6 << 20]);
    let bomb = gzip(&vec![b' '; (6 << 20) + 1]);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    assert_eq!(outcome(&bench.post("/t/e", GZIP, &honest).await), "503 overloaded");
    assert_eq!(outcome(&bench.post("/t/e", GZIP, &bomb).await), "413 body_too_large");
    // Whatever was taken has been given back.
    let full = vec![b' '; 1 << 20];
    let json = "content-type: application/json\r\n";
    assert_eq!(outcome(&bench.post("/t/e", json, &full).await), "201");
}

// A body that stops moving is refused after eight seconds, and the connection with it.
#[tokio::test(start_paused = true)]
async fn a_stalled_body() {
    let bench = Bench::new(Settings::default());
    let start = Instant::now();
    let head =
        "POST /t/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = bench.ask(head).await;
    assert_eq!(
        (outcome(&answer).as_str(), header(&answer, "connection")),
        ("408 body_timeout", Some("close"))
    );
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(8) && waited < Duration::from_secs(10), "{waited:?}");
    assert_eq!(bench.fake.calls(), [""; 0]);
}

// A byte a second moves, but not as fast as the least pace: it does not hold the connection either.
#[tokio::test(start_paused = true)]
async fn a_dripping_body() {
    let bench = Bench::new(Settings::default());
    let mut stream = bench.connect();
    let start = Instant::now();
    let head =
        "POST /t/e HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("open");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drip = async {
        while writer.write_all(b" ").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = to_end(&mut reader) => answer,
        () = drip => unreachable!("it never ends"),
    };
    assert_eq!(outcome(&answer), "408 body_timeout");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

// A slow but steady upload over a poor link is let through, however long it takes.
#[tokio::test(start_paused = true)]
async fn a_slow_honest_body() {
    let bench = Bench::new(Settings::default());
    let mut stream = bench.connect();
    let start = Instant::now();
    let head = "POST /t/e HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
        content-length: 120000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("open");
    for _ in 0..60 {
        stream.write_all(&[b' '; 2000]).await.expect("open");
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(outcome(&to_end(&mut stream).await), "201");
    assert!(start.elapsed() >= Duration::from_mins(1));
}

// Zstandard is read within the same limits: at their edges, as a bomb, with too large a window, cut, twice in a row.
#[tokio::test]
async fn zstd_bodies() {
    const ZSTD: &str = "content-type: application/json\r\ncontent-encoding: zstd\r\n";
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("into memory");
    let bench = Bench::new(small());
    assert_eq!(outcome(&bench.post("/t/e", ZSTD, &zstd(&vec![b' '; 20_000])).await), "201");
    assert_eq!(outcome(&bench.post("/t/e", ZSTD, &zstd(&vec![b' '; 20_001])).await), "413 body_too_large");
    let whole = zstd(b"{\"a\":1}");
    // A frame of one raw block, whose head asks for a window of this power of two.
    let windowed = |log: u8| [b"\x28\xb5\x2f\xfd\x00", &[(log - 10) << 3][..], b"\x39\0\0{\"a\":1}"].concat();
    let table = [
        (whole.clone(), "201"),
        ([whole.clone(), whole.clone()].concat(), "201"),
        (whole[..whole.len() - 1].to_vec(), "400 bad_encoding"),
        (b"{}".to_vec(), "400 bad_encoding"),
        (windowed(23), "201"),
        (windowed(27), "400 bad_encoding"),
    ];
    for (body, expected) in table {
        assert_eq!(outcome(&bench.post("/t/e", ZSTD, &body).await), expected, "{body:?}");
    }
    assert_eq!(bench.fake.calls()[2], "admit t Json true None 14 bytes");
    let settings = Settings { inflated_bytes_max: 6 << 20, bodies_bytes_max: 1 << 20, ..Settings::default() };
    let bench = Bench::new(settings);
    let honest = zstd(&vec![b' '; 6 << 20]);
    assert_eq!(outcome(&bench.post("/t/e", ZSTD, &honest).await), "503 overloaded");
    let bomb = zstd(&vec![b' '; 100 << 20]);
    assert_eq!(outcome(&bench.post("/t/e", ZSTD, &bomb).await), "413 body_too_large");
}

// An answer is packed as the client takes it, if it is large enough; its name says that its bytes are others.
#[tokio::test]
async fn packed_answers() {
    let bench = Bench::new(Settings::default());
    let (mut stream, mut large) = (bench.connect(), Vec::new());
    let asked =
        "GET /_/openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept-encoding: zstd\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.expect("the pipe holds it");
    stream.read_to_end(&mut large).await.expect("the other side closes in order");
    let plain = bench.line("GET /_/openapi.json", "").await;
    let end = large.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&large[..end]).into_owned();
    assert_eq!(
        (header(&head, "content-encoding"), header(&head, "vary")),
        (Some("zstd"), Some("accept-encoding"))
    );
    assert_eq!(zstd::decode_all(&large[end..]).expect("zstd"), body(&plain).as_bytes());
    assert_eq!(header(&plain, "vary"), Some("accept-encoding"));
    let small = bench.line("GET /_/livez", "accept-encoding: gzip\r\n").await;
    assert_eq!((body(&small), header(&small, "content-encoding")), (r#"{"live":true}"#, None));
    let stream = bench.line("GET /tally/e", "accept: text/event-stream\r\naccept-encoding: gzip\r\n").await;
    assert_eq!(header(&stream, "content-encoding"), None);
}
