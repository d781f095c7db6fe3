//! Real servers that sync over loopback: whatever is written where, and whoever is killed, copied or rolled back
//! meanwhile, all end with the same events.
//!
//! Nothing here waits for time to pass. A test asks until an answer fits, and between two questions it lets the server
//! hold back an answer until it has news, as a peer would.

mod answers;
mod clashes;
mod clients;
mod dictionary;
mod forged;
mod forks;
mod live;
mod restored;
mod standing;
mod streams;
mod wire;

use laterbase_tests::{Answer, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use wire::Listener;

/// A test that asked so often has failed; each question may be held back for [`wire::HELD_MS`].
const ASKED_MAX: usize = 1200;

/// One term of what a server knows: Origin, interval, check.
type Term = (String, String, String);

/// How others dial `server`.
fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

/// A server that dials `peer`.
fn dialling(peer: &Server) -> Server {
    Server::start(&["--peer", &url(peer)]).expect("a server")
}

fn get(server: &Server, target: &str) -> Answer {
    server.get(target).unwrap_or_else(|fault| panic!("{target}: {fault:#}"))
}

/// What a root's own page says of it.
fn info(server: &Server, root: &str) -> Value {
    get(server, &format!("/{root}")).json()
}

/// The Origin under which `server` admits.
fn origin(server: &Server, root: &str) -> String {
    info(server, root)["origin"].as_str().expect("an origin").to_owned()
}

/// What `server` knows, as a set of terms.
fn knowledge(server: &Server, root: &str) -> BTreeSet<Term> {
    let info = info(server, root);
    let term = |term: &str| {
        let (origin, rest) = term.split_once(':').expect("origin:interval");
        let (interval, check) = rest.split_once('~').expect("servers write checks");
        (origin.to_owned(), interval.to_owned(), check.to_owned())
    };
    info["vv"].as_str().expect("a vv").split(';').filter(|text| !text.is_empty()).map(term).collect()
}

/// The bodies of all pages of a whole walk.
fn feed(server: &Server, root: &str) -> Vec<String> {
    let (mut client, mut pages, mut cursor) = (server.client().expect("a connection"), vec![], String::new());
    loop {
        let page = client.send("GET", &format!("/{root}/e?limit=500{cursor}"), &[], b"").expect("an answer");
        assert_eq!(page.status, 200, "{}", page.text());
        pages.push(page.text().to_owned());
        match page.json()["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

/// All values that `server` feeds: (key, whether it lost its key, data), in the feed's order.
fn values(server: &Server, root: &str) -> Vec<(String, bool, Value)> {
    let mut values = Vec::new();
    for page in feed(server, root) {
        let page: Value = serde_json::from_str(&page).expect("JSON");
        values.extend(page["events"].as_array().expect("events").iter().map(|event| {
            let key = event["key"].as_str().expect("a key").to_owned();
            (key, event["clash"] == json!(true), event["data"].clone())
        }));
    }
    values
}

/// The event `add` of tally with an id of its own.
fn add(id: &str, item: &str, n: i64) -> String {
    let data = json!({"item": item, "n": n});
    json!({"type": "add", "time": "2026-05-01T10:00:00Z", "id": id, "data": data}).to_string()
}

/// Posts to tally what must be taken; the answer.
fn post(server: &Server, body: &str) -> Value {
    let answer = server.post("/tally/e", body).expect("an answer");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

/// Posts one event for each of `ids` and gives the Origin of the last one's dot.
fn post_all(server: &Server, ids: &[&str]) -> String {
    let events: Vec<String> = ids.iter().map(|id| add(id, id, 1)).collect();
    let answer = post(server, &format!("[{}]", events.join(",")));
    assert_eq!(answer["written"], ids.len(), "{answer}");
    let dot = answer["events"][ids.len() - 1]["dot"].as_str().expect("a dot");
    dot.split(':').next().expect("an origin").to_owned()
}

/// The ids of [`post_all`] whose events `server` holds, sorted.
fn ids(server: &Server) -> Vec<String> {
    let item = |(_, _, data): (_, _, Value)| data["item"].as_str().expect("an item").to_owned();
    let mut ids: Vec<String> = values(server, "tally").into_iter().map(item).collect();
    ids.sort();
    ids
}

/// Asks until `fits` gives something.
fn until<T>(server: &Server, root: &str, what: &str, mut fits: impl FnMut() -> Option<T>) -> T {
    let mut listener = Listener::new(server, root);
    for _ in 0..ASKED_MAX {
        if let Some(found) = fits() {
            return found;
        }
        listener.news();
    }
    let (peers, known) = (get(server, "/_/peers").text().to_owned(), knowledge(server, root));
    panic!("asked {ASKED_MAX} times, still not: {what}; it knows {known:?}, its peers: {peers}");
}

/// Waits until all know exactly the same, and asserts that they feed the same bytes.
fn expect_equal(servers: &[&Server], root: &str) {
    let [first, others @ ..] = servers else { panic!("at least one server") };
    for other in others {
        until(other, root, "both know the same", || {
            let known = knowledge(first, root);
            (!known.is_empty() && known == knowledge(other, root)).then_some(())
        });
    }
    for other in others {
        assert!(feed(first, root) == feed(other, root), "equal Knowledge, other feeds");
    }
}

/// Waits until all hold the same values, whatever their dots.
fn expect_equal_values(servers: &[&Server], root: &str, count: usize) {
    for (at, server) in servers.iter().enumerate() {
        until(server, root, &format!("server {at} has all {count} values"), || {
            (values(server, root).len() >= count).then_some(())
        });
    }
    let [first, others @ ..] = servers else { panic!("at least one server") };
    for other in others {
        assert_eq!(values(first, root), values(other, root));
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for file in fs::read_dir(from).expect("a folder") {
        let (path, name) = file.map(|file| (file.path(), file.file_name())).expect("a file");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

/// Stops a server in peace.
fn stop(server: &mut Server) {
    server.signal("TERM").expect("sent");
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
}
