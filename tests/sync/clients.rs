//! Clients that move between servers: phones that lose an answer, walks that go on elsewhere.

use super::{expect_equal, get, knowledge, origin, post, post_all, stop, until, url, values};
use laterbase_tests::{Client, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An event under the `n`-th key that a phone minted.
fn minted(n: u32) -> String {
    let key = format!("69f479a0000000004b9c5ee2{n:08x}");
    json!({"type": "add", "key": key, "data": {"item": "apples", "n": 1}}).to_string()
}

/// Sends `event` and does not read the answer.
fn send(server: &Server, event: &str) -> Client {
    let mut client = server.client().expect("a connection");
    let length = event.len();
    let request = format!(
        "POST /tally/e HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{event}"
    );
    client.raw(request.as_bytes()).expect("sent");
    client
}

fn until_it_has(server: &Server, count: usize) {
    until(server, "tally", "the event is here", || (values(server, "tally").len() == count).then_some(()));
}

// Goal: a phone that lost the answer of one server and asks another writes its event once, and no Origin is begun for
// it, whether the second server knows the event already or learns of it later.
// Method: keys that the phone minted; answers lost after the event was stored, and at any moment.
#[test]
fn a_phone_that_loses_an_answer_writes_once() {
    let depot = Server::start(&[]).expect("a server");
    let mut truck = Server::start(&[]).expect("a server");
    let phone = send(&depot, &minted(1));
    until_it_has(&depot, 1);
    drop(phone);
    assert_eq!(post(&truck, &minted(1))["written"], 1);
    let origins = [origin(&depot, "tally"), origin(&truck, "tally")];

    stop(&mut truck);
    truck.restart_with(&["--peer", &url(&depot)]).expect("a restart");
    expect_equal(&[&depot, &truck], "tally");
    assert_eq!(values(&truck, "tally").len(), 1);

    let phone = send(&depot, &minted(2));
    until_it_has(&truck, 2);
    drop(phone);
    assert_eq!(post(&truck, &minted(2))["duplicate"], 1);

    drop(send(&depot, &minted(3)));
    post(&truck, &minted(3));
    assert_eq!(post(&depot, &minted(3))["rejected"], 0);
    expect_equal(&[&depot, &truck], "tally");
    assert_eq!(values(&depot, "tally").len(), 3);
    assert_eq!([origin(&depot, "tally"), origin(&truck, "tally")], origins);
    let known: BTreeSet<String> = knowledge(&truck, "tally").into_iter().map(|(origin, ..)| origin).collect();
    assert_eq!(known, BTreeSet::from(origins));
}

fn page(server: &Server, cursor: Option<&str>) -> Value {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let answer = get(server, &format!("/tally/e?limit=7{cursor}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn items(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["data"]["item"].as_str().expect("an item").to_owned()).collect()
}

// Goal: a walk begun at one server goes on at another with the same cursor as soon as that one holds what the walk is
// pinned to, gives each event once and none beyond the pin; before, the answer is 410 by name.
// Method: three pages at the depot, the rest at the truck, which has events of its own in between.
#[test]
fn a_walk_goes_on_at_another_server() {
    let depot = Server::start(&[]).expect("a server");
    let mut truck = Server::start(&[]).expect("a server");
    let ids: Vec<String> = (0..40).map(|n| format!("depot {n}")).collect();
    post_all(&depot, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    let own = ["truck 1", "truck 2", "truck 3", "truck 4"];
    post_all(&truck, &own);

    let (mut walked, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..3 {
        let page = page(&depot, cursor.as_deref());
        walked.extend(items(&page));
        cursor = page["cursor"].as_str().map(str::to_owned);
    }
    let target = format!("/tally/e?limit=7&cursor={}", cursor.as_deref().expect("more follows"));
    let early = get(&truck, &target);
    assert_eq!((early.status, &early.json()["code"]), (410, &json!("pin_gone")));

    stop(&mut truck);
    truck.restart_with(&["--peer", &url(&depot)]).expect("a restart");
    let first = until(&truck, "tally", "the truck holds the pin", || {
        let answer = get(&truck, &target);
        assert!(answer.status == 200 || answer.json()["code"] == "pin_gone", "{}", answer.text());
        (answer.status == 200).then(|| answer.json())
    });
    let mut last = first;
    loop {
        walked.extend(items(&last));
        let Some(next) = last["cursor"].as_str() else { break };
        last = page(&truck, Some(next));
    }
    walked.sort();
    let mut expected = ids;
    expected.sort();
    assert_eq!(walked, expected);

    expect_equal(&[&depot, &truck], "tally");
    let vv = last["vv"].as_str().expect("what the walk knows");
    for server in [&depot, &truck] {
        let mut rest = items(&get(server, &format!("/tally/e?vv={vv}")).json());
        rest.sort();
        assert_eq!(rest, own);
    }
}
