//! A running server under a plugin whose code panics: the answer that it spoils names the plugin and the hook, and
//! every other answer is as if nothing had happened.

use laterbase_tests::{Client, Panics, Server, fixture, library};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const KEYS: [&str; 2] = ["69f479a0000000004b9c5ee2fcd59e1f", "69f479a1000000004b9c5ee2fcd59e1f"];

/// A server in `folder` with tally, and with the plugin `hostile` for two roots: in `hostile` it panics in `hook`, in
/// `sound` it does not.
fn failing_in(hook: &str, folder: &Path) -> Server {
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).expect("made");
    fs::copy(library("tally"), plugins.join("libtally.so")).expect("copied");
    fs::copy(fixture("hostile", Panics::Unwind), plugins.join("libhostile.so")).expect("copied");
    // What fails on made-up events would not be loaded.
    let only = if hook == "query_key" { "a" } else { "4b9c5ee2fcd59e1f" };
    let hostile = format!("{{ fail = \"{hook}\", only = \"{only}\" }}");
    let config = format!("[plugin.hostile.roots]\nhostile = {hostile}\nsound = {{}}\n");
    fs::write(folder.join("laterbase.toml"), config).expect("written");
    Server::start_in(folder, &["--plugins", "plugins"]).expect("a server")
}

/// One connection, and what was asked over it.
struct Asker {
    client: Client,
    hook: &'static str,
}

impl Asker {
    /// The status and the body of an answer; the connection must have survived whatever was before.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let headers = [("content-type", "application/json")];
        let answer = self.client.send(method, target, &headers, body.as_bytes());
        let answer = answer.unwrap_or_else(|fault| panic!("{}: {target}: {fault:#}", self.hook));
        (answer.status, answer.json())
    }

    /// Two events, the first of the newest version and the second of the one before it.
    fn poke(&mut self, root: &str) -> (u16, Value) {
        let event = |at: usize| json!({"type": "poke", "version": 2 - at, "key": KEYS[at], "data": at});
        self.ask("POST", &format!("/{root}/e"), &json!([event(0), event(1)]).to_string())
    }

    /// Asserts that the answer is this panic, by name.
    fn spoilt(&self, (status, body): &(u16, Value)) {
        assert_eq!((*status, &body["code"]), (500, &json!("plugin_failed")), "{}: {body}", self.hook);
        let detail = body["detail"].as_str().expect("a detail");
        let told = format!("told to fail in {}", self.hook);
        assert!(detail.contains("hostile") && detail.contains(&told), "{detail}");
    }

    /// Asserts that a list has the items of the events `expected`, each counted once, and names this panic for the
    /// others.
    fn listed(&mut self, target: &str, expected: &[usize]) {
        let (status, body) = self.ask("GET", target, "");
        let items: Vec<Value> = expected.iter().map(|at| json!({"key": KEYS[*at], "value": 1})).collect();
        assert_eq!((status, &body["items"]), (200, &Value::from(items)), "{}: {target}: {body}", self.hook);
        let set_aside = body["incomplete"].as_array().map_or(&[][..], Vec::as_slice);
        let told = format!("told to fail in {}", self.hook);
        let named =
            set_aside.iter().filter(|one| one["reason"].as_str().is_some_and(|it| it.contains(&told)));
        assert_eq!(named.count(), KEYS.len() - expected.len(), "{}: {target}: {body}", self.hook);
    }

    /// Asserts that the feed has both events, as they were stored.
    fn fed(&mut self, root: &str) {
        let (_, feed) = self.ask("GET", &format!("/{root}/e"), "");
        let events = feed["events"].as_array().expect("events");
        let shown: Vec<_> = events.iter().map(|event| (&event["key"], &event["version"])).collect();
        assert_eq!(shown, [(&json!(KEYS[0]), &json!(2)), (&json!(KEYS[1]), &json!(1))], "{}", self.hook);
    }

    /// Asserts that the plugin's other root, the other plugin and the host answer as ever.
    fn others_go_on(&mut self) {
        assert_eq!(self.poke("sound").0, 201, "{}", self.hook);
        for view in ["sum", "latest"] {
            self.listed(&format!("/sound/{view}"), &[0, 1]);
        }
        self.fed("sound");
        let add = r#"{"type":"add","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"apples","n":21}}"#;
        assert_eq!(self.ask("POST", "/tally/e", add).0, 201, "{}", self.hook);
        let (_, total) = self.ask("GET", "/tally/total?key=apples", "");
        assert_eq!(total["value"]["n"], 21, "{}: {total}", self.hook);
        let (_, plugins) = self.ask("GET", "/_/plugins", "");
        let states: Vec<_> =
            plugins["plugins"].as_array().expect("all").iter().map(|it| &it["state"]).collect();
        assert_eq!(states, ["serving"; 2], "{}: {plugins}", self.hook);
        assert_eq!(self.ask("GET", "/_/readyz", "").0, 200, "{}", self.hook);
    }
}

fn under(hook: &'static str, story: impl Fn(&mut Asker)) {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut server = failing_in(hook, scratch.path());
    let mut asker = Asker { client: server.client().expect("a connection"), hook };
    story(&mut asker);
    asker.others_go_on();
    server.signal("TERM").expect("sent");
    drop(asker);
    assert_eq!(server.wait().expect("it ended").code(), Some(0), "{hook}: a clean end");
}

// Goal: a view whose `render` panics answers with a named error, for one aggregate, a list and a window; its neighbour
// over the same Keyspace, the feed and all others answer. Method: the real server, one connection.
#[test]
fn a_view_that_panics_spoils_its_own_answers() {
    under("render", |asker| {
        assert_eq!(asker.poke("hostile").0, 201);
        let one = format!("/hostile/sum?key={}", KEYS[0]);
        for target in [&one, "/hostile/sum", "/hostile/sum?from=2026-01-01T00:00:00Z", &one] {
            let answer = asker.ask("GET", target, "");
            asker.spoilt(&answer);
            asker.listed("/hostile/latest", &[0, 1]);
        }
        asker.fed("hostile");
    });
}

// Goal: an event on which `fold` panics is set aside for that view, in every answer and by name; the view's neighbour
// does not notice.
#[test]
fn a_fold_that_panics_sets_its_event_aside() {
    under("fold", |asker| {
        assert_eq!(asker.poke("hostile").0, 201);
        let one = format!("/hostile/sum?key={}", KEYS[0]);
        for _ in 0..2 {
            let (status, body) = asker.ask("GET", &one, "");
            assert_eq!((status, &body["value"], &body["events"]), (200, &json!(0), &json!(1)), "{body}");
            assert_eq!(body["incomplete"][0]["key"], json!(KEYS[0]), "{body}");
            let (_, listed) = asker.ask("GET", "/hostile/sum?from=2026-01-01T00:00:00Z", "");
            assert_eq!(listed["incomplete"].as_array().map(Vec::len), Some(2), "{listed}");
            asker.listed("/hostile/latest", &[0, 1]);
        }
        asker.fed("hostile");
    });
}

// Goal: a panic in what reads a typed key spoils the question with a key, and no list.
#[test]
fn a_key_that_panics_spoils_its_question() {
    under("query_key", |asker| {
        assert_eq!(asker.poke("hostile").0, 201);
        let answer = asker.ask("GET", "/hostile/latest?key=a", "");
        asker.spoilt(&answer);
        asker.listed("/hostile/latest", &[0, 1]);
    });
}

// Goal: a Schema that panics at admission stores nothing of the request, and blames the event on which it did, not its
// sender: `admit` fails on the first event, `upcast` on the one of the older version.
#[test]
fn an_admission_that_panics_stores_nothing() {
    for (hook, event) in [("admit", 0), ("upcast", 1)] {
        under(hook, |asker| {
            let answer = asker.poke("hostile");
            asker.spoilt(&answer);
            let named = ["plugin", "hook", "event"].map(|member| &answer.1[member]);
            assert_eq!(named, [&json!("hostile"), &json!(hook), &json!(event)]);
            let (_, feed) = asker.ask("GET", "/hostile/e", "");
            assert_eq!(feed["events"], json!([]));
        });
    }
}

// Goal: an event on which indexing panics is stored and fed, and set aside by name in every list.
#[test]
fn an_event_that_panics_is_set_aside() {
    for hook in ["map", "retracts"] {
        under(hook, |asker| {
            assert_eq!(asker.poke("hostile").0, 201, "{hook}");
            for view in ["sum", "latest"] {
                asker.listed(&format!("/hostile/{view}"), &[]);
            }
            asker.fed("hostile");
        });
    }
}
