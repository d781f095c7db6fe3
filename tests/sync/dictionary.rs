//! Live pages get small once a root has enough events to make a dictionary of, and stay so after a restart.

use super::{dialling, expect_equal, get, info, post, until};
use laterbase_tests::Server;
use serde_json::json;

/// Events posted on each side, one after the other.
const POSTS: u64 = 8;
/// Events that make a dictionary due, on the side that asks for it, too.
const MANY: u64 = 6000;

/// Events of which each looks much like any other.
fn events(ids: std::ops::Range<u64>) -> String {
    let event = |id: u64| {
        let item = format!(
            "pallet {:08} of lorry {:04}, from the depot at the harbour to the shop in the old town, door {}",
            id * 7919 % 100_000_000,
            id % 977,
            id % 17
        );
        json!({"type": "add", "time": "2026-05-01T10:00:00Z", "id": id.to_string(), "data": {"item": item, "n": 1}})
    };
    json!(ids.map(event).collect::<Vec<_>>()).to_string()
}

fn has(server: &Server, count: u64) {
    until(server, "tally", "it has all events", || {
        (info(server, "tally")["events"] == json!(count)).then_some(())
    });
}

/// The bytes that went either way over the dialler's connections.
fn moved(truck: &Server) -> u64 {
    let peers = get(truck, "/_/peers").json();
    ["bytes_in", "bytes_out"].map(|way| peers["peers"][0][way].as_u64().expect("a number")).iter().sum()
}

/// What an event costs when each travels alone, from either side.
fn cost(depot: &Server, truck: &Server, next: &mut u64) -> u64 {
    let before = moved(truck);
    for _ in 0..POSTS {
        for (from, to) in [(depot, truck), (truck, depot)] {
            post(from, &events(*next..*next + 1));
            *next += 1;
            has(to, *next);
        }
    }
    (moved(truck) - before) / (2 * POSTS)
}

#[test]
fn live_events_cost_less_with_a_dictionary() {
    let mut depot = Server::start(&[]).expect("a server");
    let truck = dialling(&depot);
    let mut next = 1;
    post(&depot, &events(0..1));
    has(&truck, 1);
    let alone = cost(&depot, &truck, &mut next);
    for _ in 0..MANY / 500 {
        post(&depot, &events(next..next + 500));
        next += 500;
    }
    has(&truck, next);
    let packed = cost(&depot, &truck, &mut next);
    depot.crash_and_restart().expect("a restart");
    let again = cost(&depot, &truck, &mut next);
    println!("bytes a live event costs: {alone}, with a dictionary {packed}, after a restart {again}");
    assert!(packed * 4 < alone * 3, "{packed} with a dictionary, {alone} without");
    assert!(again * 4 < alone * 3, "{again} after a restart, {alone} without");
    expect_equal(&[&depot, &truck], "tally");
}
