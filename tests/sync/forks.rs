//! A copied data directory served beside the first: two servers that take themselves for the same.

use super::{copy, dialling, expect_equal_values, ids, post_all, stop, url};
use laterbase_tests::Server;
use std::fs;

const BEFORE: [&str; 5] = ["before 1", "before 2", "before 3", "before 4", "before 5"];

/// A server with events, and a second one over a copy of its data, each with events that the other lacks.
fn twins() -> (Server, Server) {
    let mut first = Server::start(&[]).expect("a server");
    post_all(&first, &BEFORE);
    stop(&mut first);
    let mut second = Server::start(&[]).expect("a server");
    stop(&mut second);
    let data = second.folder().join("data");
    fs::remove_dir_all(&data).expect("removed");
    copy(&first.folder().join("data"), &data);
    first.restart().expect("a restart");
    second.restart().expect("a restart");
    post_all(&first, &["first 1", "first 2"]);
    post_all(&second, &["second 1", "second 2", "second 3"]);
    (first, second)
}

/// Waits until all hold everything, then lets each write once more, and waits again.
fn converge(servers: &[&Server]) {
    let written = ["first 1", "first 2", "second 1", "second 2", "second 3"];
    let mut expected: Vec<String> = BEFORE.iter().chain(&written).map(|id| (*id).to_owned()).collect();
    expect_equal_values(servers, "tally", expected.len());
    for server in servers {
        assert_eq!(ids(server), expected);
    }
    for (at, server) in servers.iter().enumerate() {
        post_all(server, &[&format!("third {at}")]);
    }
    expected.extend((0..servers.len()).map(|at| format!("third {at}")));
    expect_equal_values(servers, "tally", expected.len());
    for server in servers {
        assert_eq!(ids(server), expected);
    }
}

// Goal: two servers over copies of one directory lose nothing when they meet, whatever each wrote before and after.
#[test]
fn a_copied_directory_beside_the_first_loses_nothing() {
    let (first, mut second) = twins();
    stop(&mut second);
    second.restart_with(&["--peer", &url(&first)]).expect("a restart");
    converge(&[&first, &second]);
}

// Goal: the same where the two never meet, but a third dials both, or both dial a third.
#[test]
fn two_copies_lose_nothing_through_a_third() {
    let (first, second) = twins();
    let hub = Server::start(&["--peer", &url(&first), "--peer", &url(&second)]).expect("a server");
    converge(&[&first, &second, &hub]);

    let (mut first, mut second) = twins();
    let hub = Server::start(&[]).expect("a server");
    for twin in [&mut first, &mut second] {
        stop(twin);
        twin.restart_with(&["--peer", &url(&hub)]).expect("a restart");
    }
    converge(&[&first, &second, &hub]);
    let late = dialling(&hub);
    expect_equal_values(&[&late, &hub], "tally", ids(&hub).len());
}
