//! One key, two values, written at two servers before they meet.

use super::{dialling, expect_equal, get, post, stop, url, values};
use laterbase_tests::{Server, redact, top};
use serde_json::json;

const KEY: &str = "69f479a0000000004b9c5ee2fcd59e1f";

fn value(n: i64) -> String {
    json!({"type": "add", "key": KEY, "data": {"item": "apples", "n": n}}).to_string()
}

fn total(server: &Server) -> String {
    get(server, "/tally/total?key=apples").json()["value"].to_string()
}

/// What people see of the clash at `server`.
fn story(server: &Server) -> String {
    let [feed, total] = ["/tally/e", "/tally/total?key=apples"].map(|target| {
        let answer = get(server, target);
        format!("--- GET {target}\n{}\n", redact(answer.text()))
    });
    // The vv names both Origins in their order, which is random, but both with one dot.
    feed + &total
}

// Goal: both values stay, the smaller holds the key, everywhere and whichever came first; the other is fed with
// `clash`, and views count the winner only, also where the loser was counted before the two met.
// Method: both orders of who has which value; the views are read before and after.
#[test]
fn one_key_with_two_values_ends_the_same_everywhere() {
    let mut stories = Vec::new();
    for (at_depot, at_truck) in [(3, 5), (5, 3)] {
        let depot = Server::start(&[]).expect("a server");
        let mut truck = Server::start(&[]).expect("a server");
        for (server, n) in [(&depot, at_depot), (&truck, at_truck)] {
            assert_eq!(post(server, &value(n))["written"], 1);
            assert_eq!(total(server), format!(r#"{{"n":{n},"count":1}}"#));
        }
        stop(&mut truck);
        truck.restart_with(&["--peer", &url(&depot)]).expect("a restart");
        let ship = dialling(&truck);
        let servers = [&depot, &truck, &ship];
        expect_equal(&servers, "tally");
        let data = |n| json!({"item": "apples", "n": n});
        for server in servers {
            let expected = [(KEY.to_owned(), false, data(3)), (KEY.to_owned(), true, data(5))];
            assert_eq!(values(server, "tally"), expected);
            assert_eq!(total(server), r#"{"n":3,"count":1}"#);
            // Both are known now, and a third is refused.
            assert_eq!([3, 5].map(|n| post(server, &value(n))["duplicate"].clone()), [1, 1]);
            assert_eq!(server.post("/tally/e", &value(4)).expect("an answer").status, 409);
        }
        stories.extend(servers.map(story));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(top().join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("sync-clash", stories[0]));
    assert!(stories.iter().all(|story| *story == stories[0]), "{stories:#?}");
}
