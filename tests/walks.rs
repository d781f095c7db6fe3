//! The feed: a walk gives each event once, in key order, whatever is written meanwhile, over kill -9.

use laterbase_tests::{Client, Server};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

fn add(client: &mut Client, id: &str, time: &str) {
    let body = format!(r#"{{"type":"add","time":"{time}","id":"{id}","data":{{"item":"i","n":1}}}}"#);
    let answer = client.send("POST", "/tally/e", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(answer.expect("an answer").status, 201);
}

fn page(client: &mut Client, limit: usize, vv: &str, cursor: Option<&str>) -> Value {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let target = format!("/tally/e?limit={limit}&vv={vv}{cursor}");
    let answer = client.send("GET", &target, &[], b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn keys(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["key"].as_str().expect("a key").to_owned()).collect()
}

/// Walks to the end; `between` runs between two pages.
fn walk(
    server: &mut Server,
    limit: usize,
    vv: &str,
    mut between: impl FnMut(&mut Server, usize),
) -> (Vec<String>, String) {
    let (mut all, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let mut client = server.client().expect("a connection");
        let page = page(&mut client, limit, vv, cursor.as_deref());
        all.extend(keys(&page));
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return (all, page["vv"].as_str().expect("a vv").to_owned());
        }
        between(server, pages);
        pages += 1;
    }
}

fn filled() -> Server {
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    for n in 0..60 {
        add(&mut client, &format!("first {n}"), &format!("2026-05-01T10:{:02}:00Z", (n * 37) % 60));
    }
    server
}

// Goal: walks with page sizes 1, 7 and 1000 give the same events in key order while back-dated events are written.
// Method: a writer posts from another thread as fast as it can, until the walks are done.
#[test]
fn walks_are_the_same_whatever_the_page_size_and_the_writer_does() {
    let mut server = filled();
    let (before, vv) = walk(&mut server, 1000, "", |_, _| {});
    assert_eq!(before.len(), 60);
    let (done, address) = (AtomicBool::new(false), server.address());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut client = Client::connect(address).expect("a connection");
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                add(&mut client, &format!("late {n}"), &format!("2026-04-{:02}T10:00:00Z", n % 28 + 1));
            }
        });
        for limit in [1, 7] {
            let (all, _) = walk(&mut server, limit, "", |_, _| {});
            let held: Vec<_> = all.iter().filter(|key| before.contains(key)).cloned().collect();
            assert_eq!(held, before, "limit {limit}");
            assert!(all.is_sorted(), "limit {limit}");
        }
        done.store(true, Ordering::Relaxed);
    });
    let (rest, _) = walk(&mut server, 7, &vv, |_, _| {});
    assert!(!rest.is_empty() && rest.iter().all(|key| !before.contains(key)));
    let (all, _) = walk(&mut server, 1000, "", |_, _| {});
    assert_eq!(all.len(), before.len() + rest.len());
}

// Goal: a walk goes on after kill -9 with its cursor, and the next walk gives exactly the rest.
// Method: kill between two pages and write a back-dated event behind the cursor, which the walk must not show.
#[test]
fn a_walk_goes_on_after_a_crash() {
    let mut server = filled();
    let (before, _) = walk(&mut server, 1000, "", |_, _| {});
    let (all, vv) = walk(&mut server, 7, "", |server, pages| {
        if pages == 2 {
            server.crash_and_restart().expect("a restart");
            add(&mut server.client().expect("a connection"), "behind", "2026-01-01T00:00:00Z");
            add(&mut server.client().expect("a connection"), "ahead", "2026-06-01T00:00:00Z");
        }
    });
    assert_eq!(all, before);
    let (rest, vv) = walk(&mut server, 1000, &vv, |_, _| {});
    assert_eq!(rest.len(), 2);
    assert_eq!(walk(&mut server, 1000, &vv, |_, _| {}).0, [] as [String; 0]);
}
