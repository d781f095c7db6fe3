//! Who owns which name, what changes a revision, and the one read path.

use super::*;
use crate::core::event::{EventKey, ValidTime, Value};
use crate::plugin::fake::{Answers, declaration, instance};
use crate::plugin::{Services, Unread, event_ref};
use laterbase_plugin::declare::Declaration;

/// A second plugin's declaration that shares no name with the first's.
fn other() -> Declaration {
    let mut other = declaration();
    let schema = &mut other.schemas[0];
    schema.types[0].name = "bought".to_owned();
    schema.types[1].name = "sold".to_owned();
    (schema.types[0].number, schema.types[1].number) = (11, 12);
    schema.formats[0] = "forms".to_owned();
    other.keyspaces[0].types = vec![1, 11];
    other.views[0].name = "other".to_owned();
    other.reports[0].name = "others".to_owned();
    other
}

fn build(second: Declaration) -> Result<Arc<RootCatalog>, NameTaken> {
    let first = instance("first", declaration(), Answers::default());
    let second = instance("second", second, Answers::default());
    let catalog = Catalog::build([&first, &second])?;
    Ok(Arc::clone(catalog.root("root").expect("both are for it")))
}

// Goal: two plugins share a root; everything is found by name and number.
#[test]
fn two_plugins_in_one_root() {
    let root = build(other()).expect("no name twice");
    assert_eq!(root.types().map(|known| known.number).collect::<Vec<_>>(), [1, 2, 11, 12]);
    assert_eq!(root.type_named("sold").map(|known| known.number), Some(12));
    assert_eq!(
        root.views().map(|view| view.declaration().name.as_str()).collect::<Vec<_>>(),
        ["other", "sum"]
    );
    let view = root.view("other").expect("there");
    assert_eq!((view.instance.identity().plugin.as_str(), view.index), ("second", 0));
    assert_eq!(view.keyspace.declaration().types, [1, 11]);
    assert_eq!(root.format("forms").map(|schema| schema.declaration().name.as_str()), Some("things"));
    assert!(root.report("others").is_some() && root.view("others").is_none());
}

// Goal: every kind of name has one owner, and the error names it.
#[test]
fn one_owner_a_name() {
    let taken = |change: fn(&mut Declaration)| {
        let mut second = other();
        change(&mut second);
        let NameTaken { root, kind, name, owner } = build(second).expect_err("taken");
        assert_eq!((root.as_str(), owner.as_str()), ("root", "first"));
        (kind, name)
    };
    let is = |kind, name: &str| (kind, name.to_owned());
    assert_eq!(taken(|d| d.schemas[0].types[0].name = "made".to_owned()), is("event type", "made"));
    assert_eq!(taken(|d| d.schemas[0].types[0].number = 2), is("event type number", "2"));
    assert_eq!(taken(|d| d.schemas[0].formats[0] = "lines".to_owned()), is("format", "lines"));
    assert_eq!(taken(|d| d.views[0].name = "sum".to_owned()), is("view", "sum"));
    assert_eq!(taken(|d| d.views[0].name = "list".to_owned()), is("view", "list"));
    assert_eq!(taken(|d| d.reports[0].name = "sum".to_owned()), is("report", "sum"));
}

// Goal: a revision changes with everything that changes results, with a Schema of another plugin beneath too,
// and with nothing else.
#[test]
fn revisions() {
    let revisions = |change: fn(&mut Declaration, &mut Declaration)| {
        let (mut first, mut second) = (declaration(), other());
        change(&mut first, &mut second);
        let first = instance("first", first, Answers::default());
        let second = instance("second", second, Answers::default());
        let catalog = Catalog::build([&first, &second]).expect("no name twice");
        let root = catalog.root("root").expect("there");
        let (sum, other) = (root.view("sum").expect("there"), root.view("other").expect("there"));
        [
            sum.keyspace.revision,
            sum.revision,
            other.keyspace.revision,
            other.revision,
            root.retractions_revision(),
        ]
    };
    let before = revisions(|_, _| ());
    let changed = |change| {
        let after = revisions(change);
        before.iter().zip(after).map(|(before, after)| *before != after).collect::<Vec<bool>>()
    };
    assert_eq!(changed(|_, _| ()), [false; 5]);
    assert_eq!(changed(|first, _| first.views[0].revision = 2), [false, true, false, false, false]);
    assert_eq!(changed(|first, _| first.keyspaces[0].revision = 2), [true, true, false, false, false]);
    // The second plugin maps a type of the first.
    assert_eq!(changed(|first, _| first.schemas[0].revision = 2), [true; 5]);
    assert_eq!(changed(|_, second| second.schemas[0].revision = 2), [false, false, true, true, true]);
    assert_eq!(changed(|_, second| second.reports[0].revision = 2), [false; 5]);
    assert_eq!(changed(|_, second| second.schemas[0].retracts = false), [false, false, false, false, true]);
}

// Goal: the one read path keeps the order, asks only for old versions, and names what it cannot read.
#[test]
fn upcast_in_order() {
    let root = build(other()).expect("no name twice");
    let event = |(number, (type_number, version))| {
        event_ref(EventKey::new(ValidTime(number), [0; 8]), Value { type_number, version, data: b"x" })
    };
    let stored = [(1, 3), (11, 1), (99, 1), (1, 1), (2, 2), (2, 1), (1, 0)];
    let events: Vec<_> = (0..).zip(stored).map(event).collect();
    let results = root.upcast(&Services::default(), &events);
    let read: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(event) => format!("{} {}", event.version, String::from_utf8_lossy(&event.data)),
            Err(Unread::UnknownType { type_number }) => format!("type {type_number}"),
            Err(Unread::UnknownVersion { type_name, version, newest }) => {
                format!("{type_name} {version} of {newest}")
            }
            Err(Unread::Failed(error)) => error.to_string(),
        })
        .collect();
    assert_eq!(read, ["3 x", "3 x+", "type 99", "3 x+", "lost 2 of 1", "1 x", "made 0 of 3"]);
    for (event, result) in events.iter().zip(&results) {
        assert!(result.as_ref().map_or(true, |upcast| upcast.key == event.key));
    }
}
