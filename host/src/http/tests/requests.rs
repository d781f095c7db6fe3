//! Requests that arrive whole: what each becomes, and what comes back.

use super::*;

const JSON: &str = "content-type: application/json\r\n";

// Every route answers, wrong ones are named errors, and only right ones get inward.
#[tokio::test]
async fn routes_and_methods() {
    let bench = Bench::new(Settings::default());
    let table = [
        ("GET /tally/e?vv=a&vv=b", "200"),
        ("GET /tally/total?key=P1", "200"),
        ("GET /_/livez", "200"),
        ("GET /_/readyz", "200"),
        ("GET /_/roots", "200"),
        ("GET /_/plugins", "200"),
        ("GET /_/metrics", "200"),
        ("GET /_/openapi.json", "200"),
        ("POST /_/plugins/tally/reload", "200"),
        ("POST /_/plugins/tally/reload?wait=false", "202"),
        ("DELETE /_/plugins/tally/reload", "200"),
        ("DELETE /_/plugins/tally/reload?wait=false", "400 bad_parameter"),
        ("GET /tally", "404 unknown_root"),
        ("GET /_/peers", "200"),
        ("GET /_/peer", "404 unknown_route"),
        ("GET /_/verify/tally", "200"),
        ("GET /_/verify/tally?x=1", "400 bad_parameter"),
        ("POST /_/verify/tally", "415 unsupported_media_type"),
        ("GET /_/sync/tally", "405 method_not_allowed"),
        ("GET /tally%2fe", "400 bad_name"),
        ("GET /..%2f..%2fetc", "400 bad_name"),
        ("GET /tally/../../etc/passwd", "400 bad_name"),
        ("GET /Tally/e", "400 bad_name"),
        ("GET /tally%00/e", "400 bad_name"),
        ("DELETE /e/e", "400 bad_name"),
        ("DELETE /tally/e", "405 method_not_allowed"),
        ("PUT /tally", "405 method_not_allowed"),
        ("POST /tally/total", "405 method_not_allowed"),
        ("GET /tally/e/changes", "405 method_not_allowed"),
        ("GET /_/plugins/tally/reload", "405 method_not_allowed"),
        ("GET /tally/e?since=1", "400 bad_parameter"),
        ("GET /tally?x=1", "400 bad_parameter"),
        ("GET /_/roots?x=1", "400 bad_parameter"),
        ("GET /tally/e\0", "400"),
        ("GET", "400"),
    ];
    for (line, expected) in table {
        assert_eq!(outcome(&bench.line(line, "").await), expected, "{line:?}");
    }
    let inward = [
        r#"feed tally ["a", "b"]"#,
        r#"view tally total ["P1"]"#,
        "reload tally true",
        "reload tally false",
        "cancel tally",
        "verify tally None",
    ];
    assert_eq!(bench.fake.calls(), inward);
}

// HEAD is GET without the body; OPTIONS and 405 say what there is.
#[tokio::test]
async fn head_options_allow() {
    let bench = Bench::new(Settings::default());
    let get = bench.line("GET /tally/total", "").await;
    let head = bench.line("HEAD /tally/total", "").await;
    assert_eq!((status(&get), status(&head)), ("200", "200"));
    assert_eq!((body(&get), body(&head)), (r#"{"value":1}"#, ""));
    for name in ["content-length", "content-type", "etag"] {
        assert_eq!(header(&get, name), header(&head, name), "{name}");
    }
    let options = bench.line("OPTIONS /tally/e", "origin: https://a.org\r\n").await;
    assert_eq!((status(&options), header(&options, "allow")), ("204", Some("GET, HEAD, POST, OPTIONS")));
    assert_eq!(header(&options, "access-control-allow-origin"), None);
    let refused = bench.line("PATCH /tally/total", "").await;
    assert_eq!(header(&refused, "allow"), Some("GET, HEAD, OPTIONS"));
}

// A view named in If-None-Match is not sent again; any other name, or none, gets it.
#[tokio::test]
async fn if_none_match() {
    let bench = Bench::new(Settings::default());
    let table = [
        ("", "200"),
        ("if-none-match: \"a1\"\r\n", "304"),
        ("if-none-match: W/\"a1\"\r\n", "304"),
        ("if-none-match: \"b\", \"a1\"\r\n", "304"),
        ("if-none-match: *\r\n", "304"),
        ("if-none-match: \"b\"\r\n", "200"),
        ("if-none-match: a1\r\n", "200"),
    ];
    for (headers, expected) in table {
        let answer = bench.line("GET /tally/total?key=P1", headers).await;
        assert_eq!(status(&answer), expected, "{headers}");
        assert_eq!(header(&answer, "etag"), Some("\"a1\""));
        assert_eq!(body(&answer).is_empty(), expected == "304");
    }
}

// A POST's headers and parameters reach the admission as meant, or are refused by name.
#[tokio::test]
async fn posts() {
    let bench = Bench::new(Settings::default());
    let long = format!("{JSON}idempotency-key: {}\r\n", "k".repeat(256));
    let edge = format!("{JSON}idempotency-key: {}\r\n", "k".repeat(255));
    let table = [
        ("/tally/e", JSON, "201"),
        ("/known/e", JSON, "200"),
        ("/tally/e", "content-type: Application/JSON; charset=\"UTF-8\"\r\n", "201"),
        ("/tally/e?atomic=false", "content-type: application/x-ndjson\r\n", "201"),
        ("/tally/e?format=epcis", "content-type: text/weird; a=b\r\n", "201"),
        ("/tally/e?format=epcis", "", "201"),
        ("/tally/e", edge.as_str(), "201"),
        ("/tally/e", "content-type: application/json; charset=latin1\r\n", "415 unsupported_media_type"),
        ("/tally/e", "content-type: application/vnd.laterbase.events\r\n", "201"),
        ("/tally/e", "content-type: application/x-www-form-urlencoded\r\n", "415 unsupported_media_type"),
        ("/tally/e", "", "415 unsupported_media_type"),
        ("/tally/e", long.as_str(), "400 bad_header"),
        ("/tally/e", "content-type: application/json\r\nidempotency-key: \r\n", "400 bad_header"),
        ("/tally/e", "content-type: application/json\r\nidempotency-key: a\tb\r\n", "400 bad_header"),
        (
            "/tally/e",
            "content-type: application/json\r\nidempotency-key: a\r\nidempotency-key: a\r\n",
            "400 bad_header",
        ),
        (
            "/tally/e",
            "content-type: application/json\r\ncontent-encoding: br\r\n",
            "415 unsupported_media_type",
        ),
        (
            "/tally/e",
            "content-type: application/json\r\ncontent-encoding: gzip, gzip\r\n",
            "415 unsupported_media_type",
        ),
        ("/tally/e?atomic=yes", JSON, "400 bad_parameter"),
        ("/full/e", JSON, "503 overloaded"),
        ("/tally/e/changes", "", "415 unsupported_media_type"),
        ("/tally/e/changes?vv=a", JSON, "400 bad_parameter"),
        ("/tally/e/changes", JSON, "200"),
    ];
    for (target, headers, expected) in table {
        assert_eq!(outcome(&bench.post(target, headers, b"{}").await), expected, "{target} {headers}");
    }
    let long_key = format!("admit tally Json true Some({:?}) 2 bytes", "k".repeat(255));
    let inward = [
        "admit tally Json true None 2 bytes",
        "admit known Json true None 2 bytes",
        "admit tally Json true None 2 bytes",
        "admit tally Ndjson false None 2 bytes",
        r#"admit tally Format { name: "epcis", content_type: "text/weird; a=b" } true None 2 bytes"#,
        r#"admit tally Format { name: "epcis", content_type: "" } true None 2 bytes"#,
        &long_key,
        "admit tally Frames true None 2 bytes",
        "admit full Json true None 2 bytes",
        "feed tally []",
    ];
    assert_eq!(bench.fake.calls(), inward);
}

// The answer to a POST has its events, unless the caller prefers it short and is told so.
#[tokio::test]
async fn prefer_minimal() {
    let bench = Bench::new(Settings::default());
    let whole = bench.post("/tally/e", &format!("{JSON}prefer: return=representation\r\n"), b"{}").await;
    let expected =
        r#"{"written":1,"duplicate":1,"rejected":0,"events":[{"status":"written"}],"vv":"v","now":"n"}"#;
    assert_eq!((body(&whole), header(&whole, "preference-applied")), (expected, None));
    let short =
        bench.post("/tally/e", &format!("{JSON}prefer: respond-async, return=minimal\r\n"), b"{}").await;
    let expected = r#"{"written":1,"duplicate":1,"rejected":0,"vv":"v","now":"n"}"#;
    assert_eq!((body(&short), header(&short, "preference-applied")), (expected, Some("return=minimal")));
}

// Long URLs: a feed is told of the other way to send its vv, everything else only that it is too long.
#[tokio::test]
async fn long_urls() {
    let bench = Bench::new(Settings::default());
    let long = "a".repeat(16 << 10);
    for (line, expected) in [
        (format!("GET /tally/e?vv={long}"), "414 vv_too_long"),
        (format!("GET /tally/total?key={long}"), "414 uri_too_long"),
        (format!("GET /{long}"), "400 bad_name"),
        (format!("GET /tally/e?vv={}", "a".repeat(70_000)), "414"),
    ] {
        assert_eq!(outcome(&bench.line(&line, "").await), expected, "{}", line.len());
    }
    let headers = format!("x: {}\r\n", "a".repeat(100 << 10));
    assert_eq!(status(&bench.line("GET /_/livez", &headers).await), "431");
    let many = "x: y\r\n".repeat(150);
    assert_eq!(status(&bench.line("GET /_/livez", &many).await), "431");
    assert_eq!(bench.fake.calls(), [""; 0]);
}

// A panic in a handler is one 500; the connection goes on.
#[tokio::test]
async fn a_panic_is_one_answer() {
    let bench = Bench::new(Settings::default());
    let mut stream = bench.connect();
    let request = format!("POST /panics/e HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.expect("open");
    assert_eq!(outcome(&one_answer(&mut stream).await), "500 internal");
    stream.write_all(b"GET /_/livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("still open");
    assert_eq!(status(&one_answer(&mut stream).await), "200");
}

// Only the configured origins are told that they may call, and what they may send.
#[tokio::test]
async fn cors() {
    let settings = Settings { origins: vec!["https://app.example".to_owned()], ..Settings::default() };
    let bench = Bench::new(settings);
    let allowed = "access-control-allow-origin";
    let ours = "origin: https://app.example\r\n";
    let answer = bench.line("GET /tally/total", ours).await;
    assert_eq!((status(&answer), header(&answer, allowed)), ("200", Some("https://app.example")));
    let exposed = header(&answer, "access-control-expose-headers").unwrap_or_default();
    assert!(exposed.contains("etag"), "{exposed}");
    let error = bench.line("GET /tally", ours).await;
    assert_eq!((status(&error), header(&error, allowed)), ("404", Some("https://app.example")));
    let foreign = bench.line("GET /tally/total", "origin: https://evil.example\r\n").await;
    assert_eq!((status(&foreign), header(&foreign, allowed)), ("200", None));
    let asks = "access-control-request-method: POST\r\naccess-control-request-headers: idempotency-key\r\n";
    let preflight = bench.line("OPTIONS /tally/e", &format!("{ours}{asks}")).await;
    assert_eq!((status(&preflight), header(&preflight, allowed)), ("200", Some("https://app.example")));
    let may_send = header(&preflight, "access-control-allow-headers").unwrap_or_default();
    assert!(may_send.contains("idempotency-key"), "{may_send}");
    let options = bench.line("OPTIONS /tally/e", ours).await;
    assert_eq!((status(&options), header(&options, "allow")), ("204", Some("GET, HEAD, POST, OPTIONS")));
}

// What Accept asks for is what comes, or 406 with what there is; a stream's id goes inward.
#[tokio::test]
async fn accepted_forms() {
    let bench = Bench::new(Settings::default());
    let table = [
        ("GET /tally/e", "", "200", "application/json", "Json"),
        ("GET /tally/e", "accept: application/x-ndjson\r\n", "200", "application/x-ndjson", "Ndjson"),
        ("GET /tally/e", "accept: text/csv\r\n", "200", "text/csv; charset=utf-8; header=present", "Csv"),
        (
            "GET /tally/e",
            "accept: application/vnd.laterbase.events, application/json;q=0.5\r\n",
            "200",
            "application/vnd.laterbase.events",
            "Frames",
        ),
        ("GET /tally/e", "accept: text/html\r\n", "406 not_acceptable", "application/problem+json", ""),
        (
            "GET /tally/total",
            "accept: application/x-ndjson\r\n",
            "406 not_acceptable",
            "application/problem+json",
            "",
        ),
        (
            "GET /tally/total?digest",
            "accept: text/csv\r\n",
            "406 not_acceptable",
            "application/problem+json",
            "",
        ),
        (
            "GET /tally/total?changes",
            "accept: text/csv\r\n",
            "406 not_acceptable",
            "application/problem+json",
            "",
        ),
        ("GET /_/roots", "accept: image/png\r\n", "406 not_acceptable", "application/problem+json", ""),
    ];
    for (line, headers, expected, content_type, form) in table {
        let answer = bench.line(line, headers).await;
        assert_eq!(
            (outcome(&answer).as_str(), header(&answer, "content-type")),
            (expected, Some(content_type)),
            "{line} {headers}"
        );
        if !form.is_empty() {
            assert_eq!(body(&answer), form);
        }
        let told = ["laterbase-cursor", "laterbase-left"].map(|name| header(&answer, name));
        let expected = if form == "Csv" { [Some("c"), Some("7")] } else { [None, None] };
        assert_eq!(told, expected, "{line} {headers}");
    }
    let view = bench.line("GET /tally/total?key=P1", "accept: text/csv\r\n").await;
    assert_eq!((body(&view), header(&view, "etag")), ("value\r\n1\r\n", Some("\"a1.csv\"")));
    let known =
        bench.line("GET /tally/total?key=P1", "accept: text/csv\r\nif-none-match: \"a1.csv\"\r\n").await;
    assert_eq!(status(&known), "304");
    let other = bench.line("GET /tally/total?key=P1", "accept: text/csv\r\nif-none-match: \"a1\"\r\n").await;
    assert_eq!(status(&other), "200");
    let calls = bench.fake.calls().len();
    let stream =
        bench.line("GET /tally/e?vv=a", "accept: text/event-stream\r\nlast-event-id: 7.0a\r\n").await;
    assert_eq!((status(&stream), header(&stream, "content-type")), ("200", Some("text/event-stream")));
    assert!(stream.contains("event: caught-up\nid: 7.0a\ndata: {}\n\n"), "{stream}");
    let refused = bench.line("GET /tally/e?limit=1", "accept: text/event-stream\r\n").await;
    assert_eq!(outcome(&refused), "400 bad_parameter");
    assert_eq!(bench.fake.calls()[calls..], [r#"follow tally ["a"] Some("7.0a")"#]);
}
