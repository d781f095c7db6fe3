//! How errors look: one whole object, and every code with its status.

use super::super::reply;
use super::*;
use http_body_util::BodyExt;

// The object as a client gets it; an error's own members come last and replace nothing.
#[tokio::test]
async fn a_problem_as_sent() {
    let bench = Bench::new(Settings::default());
    let answer = bench.line("GET /nowhere", "x-request-id: r.1\r\n").await;
    assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
    let expected = concat!(
        r#"{"type":"urn:laterbase:problem:unknown_root","#,
        r#""title":"No plugin declares this root and no data of it is on disk.","#,
        r#""status":404,"detail":"no root nowhere","code":"unknown_root","roots":["tally"],"request_id":"r.1"}"#
    );
    assert_eq!((body(&answer), header(&answer, "x-request-id")), (expected, Some("r.1")));
    let busy = bench.post("/full/e", "content-type: application/json\r\n", b"{}").await;
    assert_eq!(header(&busy, "retry-after"), Some("2"));
}

// Every code is answered with its own status, as an object that says the same.
#[tokio::test]
async fn every_code() {
    let mut lines = Vec::new();
    for code in Code::ALL {
        let reply = reply::problem(&Problem::new(*code, "why"));
        let (parts, body) = reply.into_parts();
        let body = body.collect().await.expect("bytes in memory").to_bytes();
        let object: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(object["status"], parts.status.as_u16(), "{code:?}");
        assert_eq!(object["type"], format!("urn:laterbase:problem:{}", code.word()));
        let closes = if parts.headers.contains_key("connection") { " closes" } else { "" };
        lines.push(format!("{} {}{closes}", parts.status.as_u16(), code.word()));
    }
    lines.sort();
    let expected = include_str!("codes.txt");
    assert_eq!(
        lines.join("\n"),
        expected.trim_end(),
        "codes are never renamed; a new one is added to codes.txt"
    );
}
