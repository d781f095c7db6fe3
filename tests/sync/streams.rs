//! One stream of EPCIS events, scanned at three servers that are killed at random: all three end with the views that a
//! program computed which saw everything in order.

use super::{dialling, expect_equal};
use crate::epcis::{data, expect_the_views};
use laterbase_tests::{Client, Server, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Lines in one request: few, so that a kill falls into many a request.
const LINES_PER_REQUEST: usize = 40;
/// So often a server is killed while lines are posted.
const KILLS: usize = 9;

/// Where a line is scanned: at the server of its hash, and every eighth at the next one, too.
fn scanned_at(line: &str, site: usize) -> bool {
    let hash = blake3::hash(line.as_bytes());
    let [first, second] = [hash.as_bytes()[0], hash.as_bytes()[1]].map(usize::from);
    first % 3 == site || (second % 8 == 0 && (first + 1) % 3 == site)
}

/// What writers and the killer tell each other.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicUsize,
    /// A server did not come back: nobody need write to it.
    over: AtomicBool,
}

/// Posts all lines to a server that dies and comes back: what got no answer is sent again.
fn post_stubbornly(address: SocketAddr, lines: &[&str], progress: &Progress) {
    let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
    let mut client = None;
    for part in lines.chunks(LINES_PER_REQUEST) {
        while !progress.over.load(Ordering::Relaxed) {
            let Some(mut connected) = client.take().or_else(|| Client::connect(address).ok()) else {
                std::thread::yield_now();
                continue;
            };
            let body = part.join("\n");
            let Ok(answer) = connected.send("POST", "/epcis/e?format=epcis", &headers, body.as_bytes())
            else {
                continue;
            };
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            client = Some(connected);
            progress.acknowledged.fetch_add(part.len(), Ordering::Relaxed);
            break;
        }
    }
}

// Goal: three servers in a row converge to equal Knowledge, feeds and views, and to the expected views, although each
// saw another part of the stream and all were killed again and again, also while they caught up.
// Method: a writer per server, which sends again what got no answer; kills by a seeded die, spread over the writing.
#[test]
fn three_servers_converge_while_they_are_killed() {
    let mut random = StdRng::seed_from_u64(seed("sync"));
    let events = data("events.ndjson.gz");
    let parts: [Vec<&str>; 3] =
        [0, 1, 2].map(|site| events.lines().filter(|line| scanned_at(line, site)).collect());
    let all: usize = parts.iter().map(Vec::len).sum();
    assert!(all > events.lines().count() && parts.iter().all(|part| part.len() > 1000));

    let depot = Server::start(&[]).expect("a server");
    let ship = dialling(&depot);
    let truck = dialling(&ship);
    let mut servers = [depot, ship, truck];
    let progress = Progress::default();
    std::thread::scope(|threads| {
        for (server, part) in servers.iter().zip(&parts) {
            let (address, progress) = (server.address(), &progress);
            threads.spawn(move || post_stubbornly(address, part, progress));
        }
        for kill in 0..KILLS {
            let due = all * kill / KILLS + random.random_range(0..all / KILLS / 2);
            while progress.acknowledged.load(Ordering::Relaxed) < due {
                std::thread::yield_now();
            }
            let restarted = servers[random.random_range(0..3)].crash_and_restart();
            progress.over.store(restarted.is_err(), Ordering::Relaxed);
            restarted.expect("a restart");
        }
    });
    for site in [1, random.random_range(0..3)] {
        servers[site].crash_and_restart().expect("a restart");
    }
    let [depot, ship, truck] = &servers;
    expect_equal(&[depot, ship, truck], "epcis");
    for server in &servers {
        expect_the_views(&mut server.client().expect("a connection"));
    }
}
