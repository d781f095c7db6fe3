//! Replicas that know the same events give the same answers, which a digest of a View shows.

use super::{add, expect_equal, get, post, stop, url};
use crate::changes::Stream;
use laterbase_tests::Server;
use serde_json::{Value, json};

const KEY: &str = "69f479a0000000004b9c5ee2fcd59e1f";

fn digest(server: &Server, view: &str) -> Value {
    get(server, &format!("/tally/{view}?digest")).json()
}

fn undo(id: &str, key: &str) -> String {
    json!({"type": "undo", "time": "2026-05-02T10:00:00Z", "id": id, "data": {"key": key}}).to_string()
}

fn value(n: i64) -> String {
    json!({"type": "add", "key": KEY, "data": {"item": "apples", "n": n}}).to_string()
}

// Goal: two replicas that received the same events in other orders, clashes and retractions among them, have the same
// digests of every View, and another one as long as anything differs; who listens hears of the clash.
// Method: the retraction comes before its event at one of them and behind it at the other, and each has another value
// of one key.
#[test]
fn digests_show_that_answers_are_equal() {
    let depot = Server::start(&[]).expect("a server");
    let mut truck = Server::start(&[]).expect("a server");
    let empty = digest(&depot, "total");
    assert_eq!((&empty["aggregates"], &empty["vv"]), (&json!(0), &json!("")));
    assert_eq!(empty["digest"], digest(&depot, "last")["digest"]);

    let retracted =
        post(&depot, &add("a", "pears", 5))["events"][0]["key"].as_str().expect("a key").to_owned();
    post(&depot, &value(3));
    for at in 0..40 {
        post(&depot, &add(&format!("d{at}"), &format!("item {}", at % 7), at));
    }
    post(&truck, &undo("u", &retracted));
    for at in (0..40).rev() {
        post(&truck, &add(&format!("t{at}"), &format!("item {}", at % 5), at));
    }
    post(&truck, &value(5));
    let mut stream = Stream::begin(&truck, "/tally/total?changes&key=apples", None);
    stream.until_caught_up();
    for view in ["total", "daily", "last"] {
        assert_ne!(digest(&depot, view)["digest"], digest(&truck, view)["digest"], "{view}");
    }
    drop(stream);
    stop(&mut truck);
    truck.restart_with(&["--peer", &url(&depot)]).expect("a restart");
    let mut stream = Stream::begin(&truck, "/tally/total?changes=0.0000000000000000&key=apples", None);
    let mine = stream.change();
    assert_eq!((&mine["event"], &mine["cause"]), (&json!(KEY), &json!("event")));
    expect_equal(&[&depot, &truck], "tally");
    for view in ["total", "daily", "last"] {
        let (one, other) = (digest(&depot, view), digest(&truck, view));
        assert_eq!(one, other, "{view}");
        assert_eq!(one["digest"].as_str().map(str::len), Some(32), "{one}");
    }
    let clash = std::iter::from_fn(|| stream.next()).find(|frame| frame.event == "change");
    let clash = clash.expect("the smaller value came").data;
    assert_eq!((&clash["cause"], &clash["value"]["n"]), (&json!("clash"), &json!(3)), "{clash}");

    let before = digest(&depot, "total");
    post(&depot, &undo("v", KEY));
    assert_ne!(digest(&depot, "total")["digest"], before["digest"]);
}
