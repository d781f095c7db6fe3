//! What an operator sees: whether the server is well and why not, its figures, its log.

mod figures;
mod log;
mod standing;

use laterbase_tests::Server;
use serde_json::Value;

/// More questions than are asked until something is so, however busy the machine is.
const ASKED_MAX: u32 = 200_000;

/// Asks `look` again and again until it finds something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..ASKED_MAX {
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("never: {what}");
}

/// Status and JSON of `/_/readyz`.
fn readyz(server: &Server) -> (u16, Value) {
    let answer = server.get("/_/readyz").expect("an answer");
    (answer.status, answer.json())
}

/// The reasons that `/_/readyz` gives, by their words.
fn reasons(body: &Value) -> Vec<&str> {
    let reasons = body["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    reasons.iter().filter_map(|reason| reason["reason"].as_str()).collect()
}

/// The figures as text.
fn figures(server: &Server) -> String {
    server.get("/_/metrics").expect("an answer").text().to_owned()
}

/// The figure of one series, named with its labels.
fn figure(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

/// Asserts that exactly these reasons are told by the figures.
fn assert_told(text: &str, reasons: &[&str]) {
    for known in ["starting", "draining", "disk_full", "root_closed", "plugin_failed", "view_behind"] {
        let told = figure(text, &format!("laterbase_not_ready{{reason=\"{known}\"}}"));
        assert!((told > 0.0) == reasons.contains(&known), "{known}: {told}");
    }
}

/// One event of `tally`.
fn add(id: &str) -> String {
    let data = r#"{"item":"apples","n":1}"#;
    format!(r#"{{"type":"add","time":"2026-05-01T10:00:00Z","id":"{id}","data":{data}}}"#)
}
