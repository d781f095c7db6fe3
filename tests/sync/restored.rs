//! A server whose data went back in time: an older copy of its folder was put in its place, or the machine's disk was
//! rolled back under it. What it forgot comes back, what it writes then is nobody's but its own.

use super::{copy, dialling, expect_equal, expect_equal_values, ids, origin, post_all, stop, url};
use laterbase_tests::Server;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How the older data get into their place.
#[derive(Clone, Copy, Debug)]
enum Put {
    /// As new files.
    Copied,
    /// As the bytes of the files that are there: nothing but the contents tells.
    InPlace,
}

/// Who dials whom when the two meet again.
#[derive(Clone, Copy, Debug)]
enum Dials {
    /// The server that went back.
    Restored,
    /// The other.
    Other,
}

const KEPT: [&str; 3] = ["kept 1", "kept 2", "kept 3"];
const LOST: [&str; 4] = ["lost 1", "lost 2", "lost 3", "lost 4"];

fn put(older: &Path, data: &Path, how: Put) {
    match how {
        Put::Copied => {
            fs::remove_dir_all(data).expect("removed");
            copy(older, data);
        }
        // Copying onto a file that is there keeps the file.
        Put::InPlace => copy(older, data),
    }
}

/// A depot, and a truck that has written `KEPT` and `LOST`, was stopped and knows only `KEPT` again; with the truck's
/// Origin. The depot knows everything.
fn rolled_back(how: Put) -> (Server, Server, String) {
    let depot = Server::start(&[]).expect("a server");
    let mut truck = dialling(&depot);
    let before = post_all(&truck, &KEPT);
    expect_equal_values(&[&truck, &depot], "tally", KEPT.len());
    stop(&mut truck);
    let [data, older] = ["data", "older"].map(|name| truck.folder().join(name));
    copy(&data, &older);
    truck.restart().expect("a restart");
    assert_eq!(post_all(&truck, &LOST), before, "a restart keeps the Origin");
    expect_equal_values(&[&truck, &depot], "tally", KEPT.len() + LOST.len());
    stop(&mut truck);
    put(&older, &data, how);
    (depot, truck, before)
}

/// Lets the two meet, by whoever dials.
fn meet(depot: &mut Server, truck: &mut Server, dials: Dials) {
    let (dialler, peer) = match dials {
        Dials::Restored => (truck, depot),
        Dials::Other => (depot, truck),
    };
    stop(dialler);
    dialler.restart_with(&["--peer", &url(peer)]).expect("a restart");
}

fn sorted(groups: &[&[&str]]) -> Vec<String> {
    let all: BTreeSet<String> =
        groups.iter().flat_map(|group| group.iter().map(|id| (*id).to_owned())).collect();
    all.into_iter().collect()
}

// Goal: a server that went back in time and writes before it meets anyone loses nothing and nobody misses an event,
// however the older data came there and whoever dials; and both go on to exchange what is written later.
// Method: the older data put in place, new events at both, meeting, new events again.
#[test]
fn what_a_restored_server_forgot_comes_back() {
    for how in [Put::Copied, Put::InPlace] {
        for dials in [Dials::Restored, Dials::Other] {
            let (mut depot, mut truck, before) = rolled_back(how);
            truck.restart_with(&[]).expect("a restart");
            assert_eq!(ids(&truck), sorted(&[&KEPT]), "it went back");
            let (early, there) = (["early 1", "early 2"], ["there 1"]);
            post_all(&truck, &early);
            post_all(&depot, &there);
            meet(&mut depot, &mut truck, dials);
            let so_far = sorted(&[&KEPT, &LOST, &early, &there]);
            expect_equal_values(&[&truck, &depot], "tally", so_far.len());
            assert_eq!((ids(&truck), ids(&depot)), (so_far.clone(), so_far), "{how:?} {dials:?}");

            let late = ["late 1", "late 2"];
            let after = post_all(&truck, &late);
            if let Dials::Restored = dials {
                assert_ne!(after, before, "{how:?}: it admits under a new Origin");
            }
            post_all(&depot, &["there 2"]);
            let all = sorted(&[&KEPT, &LOST, &early, &there, &late, &["there 2"]]);
            expect_equal_values(&[&truck, &depot], "tally", all.len());
            assert_eq!((ids(&truck), ids(&depot)), (all.clone(), all), "{how:?} {dials:?}");

            // A third that meets only the restored one misses nothing.
            let ship = dialling(&truck);
            expect_equal_values(&[&ship, &truck], "tally", ids(&truck).len());
        }
    }
}

// Goal: data that were copied into their place are another incarnation: what is admitted first is under a new Origin
// already, also if nobody is ever dialled; restarts begin none. Method: events before anyone is met, and after.
#[test]
fn a_copy_in_its_place_is_a_new_incarnation() {
    let (mut depot, mut truck, before) = rolled_back(Put::Copied);
    truck.restart_with(&[]).expect("a restart");
    let after = post_all(&truck, &["early 1"]);
    assert_ne!(after, before);
    truck.crash_and_restart().expect("a restart");
    assert_eq!(post_all(&truck, &["early 2"]), after);
    meet(&mut depot, &mut truck, Dials::Other);
    expect_equal(&[&truck, &depot], "tally");
    assert_eq!(ids(&truck), sorted(&[&KEPT, &LOST, &["early 1", "early 2"]]));
    assert_eq!(post_all(&truck, &["late"]), after);
}

// Goal: a server that went back unnoticed finds it out from its first pull, and the next event begins a new Origin;
// one that is merely restarted keeps its own. Method: meeting before anything is written.
#[test]
fn a_pull_of_own_events_begins_a_new_origin() {
    let (mut depot, mut truck, before) = rolled_back(Put::InPlace);
    truck.restart_with(&[]).expect("a restart");
    assert_eq!(origin(&truck, "tally"), before);
    meet(&mut depot, &mut truck, Dials::Restored);
    expect_equal_values(&[&truck, &depot], "tally", KEPT.len() + LOST.len());
    let after = post_all(&truck, &["late 1"]);
    assert_ne!(after, before);
    expect_equal_values(&[&truck, &depot], "tally", KEPT.len() + LOST.len() + 1);
    truck.crash_and_restart().expect("a restart");
    assert_eq!(post_all(&truck, &["late 2"]), after, "a restart begins none");
    expect_equal_values(&[&truck, &depot], "tally", KEPT.len() + LOST.len() + 2);
}
