//! While servers are connected, an event travels at once: by an answer that was held back, or by a push.

use super::wire::Listener;
use super::{ASKED_MAX, add, dialling, expect_equal, post, until, values};
use laterbase_tests::Server;

/// Events posted one after the other, each when the one before is everywhere.
const EVENTS: usize = 20;

/// Waits until `server` has `count` events; how often it was asked.
fn arrived(server: &Server, count: usize) -> usize {
    let mut listener = Listener::new(server, "tally");
    for asked in 0..ASKED_MAX {
        if values(server, "tally").len() >= count {
            return asked;
        }
        listener.news();
    }
    panic!("asked {ASKED_MAX} times for {count} events");
}

// Goal: an event posted anywhere in a row of three servers arrives at both others live, without a round that comes
// round by itself (the slowest is held back for 25 s). Method: 20 events, one after the other, within the number of
// questions that others get for one wait; how long each took is printed, not asserted.
#[test]
fn an_event_arrives_everywhere_at_once() {
    let depot = Server::start(&[]).expect("a server");
    let ship = dialling(&depot);
    let truck = dialling(&ship);
    post(&depot, &add("first", "first", 1));
    until(&truck, "tally", "the three are connected", || (values(&truck, "tally").len() == 1).then_some(()));
    let servers = [&depot, &ship, &truck];
    let (mut asked, mut took) = (0, Vec::new());
    for event in 0..EVENTS {
        let id = event.to_string();
        #[expect(clippy::disallowed_methods, reason = "how long it took is printed for people")]
        let begin = std::time::Instant::now();
        post(servers[event % 3], &add(&id, &id, 1));
        for server in servers {
            asked += arrived(server, event + 2);
        }
        took.push(begin.elapsed().as_millis());
        assert!(asked < ASKED_MAX, "{asked} questions for {event} events: they wait for rounds");
    }
    println!("posted at depot, ship, truck in turn, everywhere after (ms): {took:?}");
    expect_equal(&servers, "tally");
}
