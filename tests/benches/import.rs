//! How fast a table is imported, against the same events written over HTTP by 8 clients in requests of 1,000: `cargo
//! bench -p laterbase-tests --bench import`. `LATERBASE_BENCH_ROWS` sets how many rows (default 1,000,000).
//!
//! Each run has a fresh server. The clients send finished requests; the import reads the file, splits, maps and writes
//! them, in a process of its own on the same machine.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

use laterbase_tests::{Client, Server, built};
use std::fmt::Write;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
const EVENTS_PER_REQUEST: usize = 1000;
/// The better of so many runs counts: a neighbour can only slow one down.
const RUNS: usize = 2;

fn main() {
    let rows = std::env::var("LATERBASE_BENCH_ROWS").ok().and_then(|text| text.parse().ok());
    let rows: usize = rows.unwrap_or(1_000_000);
    let (mut clients, mut import, mut again) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        clients = clients.min(write_by_clients(rows));
        let (first, second) = import_table(rows);
        (import, again) = (import.min(first), again.min(second));
    }
    let [clients, import, again] = [clients, import, again].map(|time| per_second(rows, time));
    println!("8 clients x 1000 events      {clients:>12.0} events/s");
    println!("import of {rows} rows     {import:>12.0} events/s, ratio {:.2}", import / clients);
    println!("the same again               {again:>12.0} events/s, ratio {:.2}", again / clients);
}

/// The time, the docket and the item of a row: a warehouse's year, in order.
fn row(at: usize) -> (String, String, String) {
    let (day, second) = (at / 50_000, at % 50_000);
    let time = format!(
        "2025-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        day / 28 % 12 + 1,
        day % 28 + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    (time, format!("docket {at}"), format!("article {}", at % 5000))
}

fn write_by_clients(rows: usize) -> Duration {
    let server = Server::start(&[]).expect("a server");
    let mut requests: Vec<String> = Vec::new();
    for at in 0..rows {
        if at % EVENTS_PER_REQUEST == 0 {
            requests.push(String::new());
        }
        let (time, id, item) = row(at);
        let request = requests.last_mut().expect("one was pushed");
        let line = format!(
            r#"{{"type":"add","time":"{time}","id":"{id}","data":{{"item":"{item}","n":{}}}}}"#,
            at % 9
        );
        writeln!(request, "{line}").expect("memory");
    }
    requests.reverse();
    let requests = Mutex::new(requests);
    let begun = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                let mut client = Client::connect(server.address()).expect("a connection");
                let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
                while let Some(body) = requests.lock().expect("no holder panics").pop() {
                    let answer =
                        client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
                    assert_eq!(answer.status, 201, "{}", answer.text());
                }
            });
        }
    });
    begun.elapsed()
}

/// How long the import takes, and how long once all is there.
fn import_table(rows: usize) -> (Duration, Duration) {
    let server = Server::start(&[]).expect("a server");
    let mut table = "When,Docket,Article,Qty\n".to_owned();
    for at in 0..rows {
        let (time, id, item) = row(at);
        writeln!(table, "{time},{id},{item},{}", at % 9).expect("memory");
    }
    std::fs::write(server.folder().join("rows.csv"), table).expect("written");
    let import = |expected: &str| {
        let begun = Instant::now();
        let mut command = Command::new(built());
        command.args(["import", "tally", "rows.csv", "--server", &format!("http://{}", server.address())]);
        command.args(["--type", "add", "--time", "When", "--id", "Docket"]);
        command.args(["--data", "item=Article", "--data", "n=Qty:integer"]).current_dir(server.folder());
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains(&format!("{expected}{rows}\n")), "{report}");
        begun.elapsed()
    };
    (import("written    "), import("duplicate  "))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
