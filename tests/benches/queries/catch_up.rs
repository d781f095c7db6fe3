//! From stored events to an answer: one view alone, and all views of a server, against parsing the same events and
//! folding them into a map.

use super::lots::Lots;
use super::times::ratio;
use epcis::facts::ByEpc;
use epcis::schema::Epcis;
use epcis::views::last_seen::LastSeen;
use laterbase::core::event::{EventKey, Origin};
use laterbase::plugin::{Options, Registry};
use laterbase::store::{LmdbStore, Store};
use laterbase::views::{Bounds, Computes, ViewError, Views};
use laterbase_plugin::{BuildError, Instance, Setup, export_plugin};
use laterbase_tests::Server;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

export_plugin! { name: "seen", roots: ["seen"], configure: configure }

fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
    Instance::builder().schema(Epcis).keyspace(ByEpc).view(LastSeen).build()
}

/// Events in one request.
const BATCH: u64 = 1_000;

pub(crate) fn run(events: u64) {
    let lots = Lots::new(events);
    let mut server = Server::start(&[]).expect("a server");
    post(&server, &lots);
    let all = restarted(&mut server);
    server.signal("TERM").expect("sent");
    server.wait().expect("it ends");
    let stored = server.folder().join("data/roots/epcis/events");
    let store: Arc<dyn Store> = Arc::new(LmdbStore::open(&stored, Origin([1; 8])).expect("it opens"));
    let (followed, indexed, answers) = one_view(&store);
    let (plain, things) = plainly(&store);
    println!(
        "catch-up with {} events about {} things; parsed and folded plainly {plain:.2?}",
        lots.events(),
        things.len()
    );
    let tell = |what: &str, time: Duration| {
        println!("{what:<46} {time:>9.2?}: {:.2} of the plain speed, goal >= 0.3", ratio(plain, time));
    };
    tell("catch-up of one view, until it answers", followed);
    tell("catch-up of one view, until it is in the index", indexed);
    println!(
        "{:<46} {all:>9.2?}: {:.2} of the plain speed",
        "catch-up of a server with all views",
        ratio(plain, all)
    );
    for (thing, answer) in answers {
        let plain = things.get(epcis::ident::canonical(&thing).as_ref()).expect("the same things");
        assert_eq!(answer, (plain.events, plain.step.clone()), "{thing}");
    }
}

fn post(server: &Server, lots: &Lots) {
    let mut client = server.client().expect("a connection");
    let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
    for first in (0..lots.events()).step_by(usize::try_from(BATCH).expect("small")) {
        let lines: Vec<String> = (first..lots.events().min(first + BATCH)).map(|n| lots.event(n)).collect();
        let answer = client.send("POST", "/epcis/e?format=epcis", &headers, lines.join("\n").as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// How long a server that finds no rows of its views takes to answer.
fn restarted(server: &mut Server) -> Duration {
    server.kill().expect("it runs");
    fs::remove_dir_all(server.folder().join("data/roots/epcis/derived")).expect("there were views");
    server.restart().expect("it starts");
    while server.get("/_/readyz").expect("an answer").status != 200 {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let thing = Lots::things(1).swap_remove(0);
    let begun = Instant::now();
    server.until_answered(&format!("/epcis/last_seen?key={thing}")).expect("answers");
    begun.elapsed()
}

/// What is compared: how many events a thing is in, and what was done to it last.
type Seen = (u64, Option<String>);

/// How long one view takes until it answers, and until all is in the index; and some answers.
fn one_view(store: &Arc<dyn Store>) -> (Duration, Duration, Vec<(String, Seen)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = plugins(folder.path());
    let views = Views::open(folder.path(), Arc::clone(store));
    views.adopt(&plugins);
    let begun = Instant::now();
    let ask = |thing: &str| views.one(&plugins, "last_seen", &[thing.to_owned()], &Bounds::default());
    let first = Lots::things(1).swap_remove(0);
    while let Err(ViewError::Building { .. }) = ask(&first) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let followed = begun.elapsed();
    views.wake(true);
    views.settle().expect("it settles");
    let indexed = begun.elapsed();
    let answer = |thing: String| {
        let answer = ask(&thing).expect("it answers").expect("it was seen");
        let value: serde_json::Value = serde_json::from_str(answer.value.get()).expect("JSON");
        let step = value.get("step").and_then(|step| Some(step.as_str()?.to_owned()));
        (thing, (answer.events, step))
    };
    (followed, indexed, (0..100).flat_map(Lots::things).map(answer).collect())
}

fn plugins(folder: &Path) -> Arc<dyn Computes> {
    let registry = Registry::new(Options::new(folder.join("stage")));
    registry.add_static(plugin()).expect("it loads");
    Arc::clone(registry.catalog().root("seen").expect("declared")) as _
}

/// What plain code reads of an event, out of the event's own bytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plain<'d> {
    #[serde(borrow, default)]
    epc_list: Vec<&'d str>,
    #[serde(borrow, default, rename = "childEPCs")]
    child_epcs: Vec<&'d str>,
    #[serde(rename = "parentID")]
    parent_id: Option<&'d str>,
    biz_step: Option<&'d str>,
    disposition: Option<&'d str>,
    #[serde(borrow)]
    read_point: Option<Place<'d>>,
    #[serde(borrow)]
    biz_location: Option<Place<'d>>,
}

#[derive(Deserialize)]
struct Place<'d> {
    id: &'d str,
}

/// What it keeps of a thing: its newest sighting, and in how many events it is.
#[derive(Default)]
struct Thing {
    last: EventKey,
    step: Option<String>,
    read_point: Option<String>,
    biz_location: Option<String>,
    disposition: Option<(EventKey, String)>,
    events: u64,
}

/// Parses all events, which lie in memory, and folds them into a map.
fn plainly(store: &Arc<dyn Store>) -> (Duration, BTreeMap<String, Thing>) {
    let mut events: Vec<(EventKey, Vec<u8>)> = Vec::new();
    let tables = store.read().expect("it reads");
    let walked = tables.walk(None, &mut |event| {
        events.push((event.key, event.value.data.to_vec()));
        ControlFlow::Continue(())
    });
    walked.expect("it reads");
    let begun = Instant::now();
    let mut things: BTreeMap<String, Thing> = BTreeMap::new();
    for (key, data) in &events {
        let event: Plain<'_> = serde_json::from_slice(data).expect("JSON");
        for thing in event.epc_list.iter().chain(&event.child_epcs).chain(&event.parent_id) {
            match things.get_mut(*thing) {
                Some(known) => see(known, *key, &event),
                None => see(things.entry((*thing).to_owned()).or_default(), *key, &event),
            }
        }
    }
    (begun.elapsed(), things)
}

fn see(thing: &mut Thing, key: EventKey, event: &Plain<'_>) {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let id = |place: &Option<Place<'_>>| place.as_ref().map(|place| place.id.to_owned());
    thing.events += 1;
    if thing.events == 1 || key > thing.last {
        thing.last = key;
        (thing.step, thing.read_point, thing.biz_location) =
            (owned(event.biz_step), id(&event.read_point), id(&event.biz_location));
    }
    if let Some(disposition) = event.disposition
        && thing.disposition.as_ref().is_none_or(|(known, _)| key > *known)
    {
        thing.disposition = Some((key, disposition.to_owned()));
    }
}
