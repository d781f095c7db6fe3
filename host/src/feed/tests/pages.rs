//! Single pages: their bytes, their bounds, filters, and every error by name.

use super::model::*;
use crate::core::event::*;
use crate::core::knowledge::{DotSet, Term, vv_of_server};
use crate::feed::query::Filters;
use crate::feed::walk::{Bounds, Way};
use crate::feed::{FeedError, Page, Query, page};
use crate::problem::Code;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn get(replica: &Replica, query: &Query) -> Result<Page, FeedError> {
    page(replica, ROOT, query, &Names)
}

fn code(result: Result<Page, FeedError>) -> Code {
    result.expect_err("the page is refused").problem().code
}

fn json(replica: &Replica, query: &Query) -> String {
    String::from_utf8(get(replica, query).expect("a page").into_body()).expect("JSON is UTF-8")
}

/// Ten events of Origin 1, one a second.
fn ten() -> Replica {
    let mut replica = Replica::default();
    for n in 0..10 {
        replica.admit(1, key(1000 * n, 0), &value(1 + u32::from(n % 2 == 1), &n.to_string()));
    }
    replica
}

// The page's bytes are a contract: member names, their order, what is left out.
#[test]
fn page_golden() {
    let mut replica = Replica::default();
    replica.admit(1, key(7, 1), &value(1, r#"{"n":1.50,"s":"é"}"#));
    replica.admit(2, key(7, 1), &value(2, "[1,\r\n2]"));
    replica.admit(1, key(8, 0), &Owned { type_number: 9, data: vec![0xff, 0] });
    assert_eq!(
        json(&replica, &Query::default()),
        concat!(
            r#"{"events":[{"key":"6955b90001cac0830101010101010101","time":"2026-01-01T00:00:00.007Z","type":1,"#,
            r#""type_name":"add","version":1,"dot":"0101010101010101:1","data":{"n":1.50,"s":"é"}},"#,
            r#"{"key":"6955b90001cac0830101010101010101","time":"2026-01-01T00:00:00.007Z","type":2,"#,
            r#""type_name":"undo \"it\"","version":1,"dot":"0202020202020202:1","clash":true,"data":[1,  2]},"#,
            r#"{"key":"6955b900020c49ba0000000000000000","time":"2026-01-01T00:00:00.008Z","type":9,"#,
            r#""type_name":null,"version":1,"dot":"0101010101010101:2","data_base64":"/wA="}],"#,
            r#""left":0,"vv":"0101010101010101:1-2~914ba804;0202020202020202:1~b1c01b64"}"#
        )
    );
}

#[test]
fn empty_root() {
    assert_eq!(json(&Replica::default(), &Query::default()), r#"{"events":[],"left":0,"vv":""}"#);
}

#[test]
fn events_stand_alone() {
    let replica = ten();
    let page = get(&replica, &Query::default()).expect("a page");
    assert_eq!((page.len(), page.is_empty()), (10, false));
    for (index, event) in page.events().enumerate() {
        let event: serde_json::Value = serde_json::from_slice(event).expect("one JSON object");
        assert_eq!(event["data"], index);
    }
    assert_eq!(page.events().count(), 10);
}

// Bytes that are nearly JSON must not break the page: they are given as base64.
#[test]
fn only_json_is_handed_through() {
    for (data, is_json) in [
        ("{}", true),
        ("1e400", true),
        ("\"\\u0000\"", true),
        ("", false),
        ("{", false),
        ("1 2", false),
        ("{}}", false),
        ("{},{}", false),
        ("NaN", false),
        ("\"\n\"", false),
        ("01", false),
    ] {
        let mut replica = Replica::default();
        replica.admit(1, key(0, 0), &value(1, data));
        let text = json(&replica, &Query::default());
        assert_eq!(text.contains("\"data\":"), is_json, "{text}");
        serde_json::from_str::<serde_json::Value>(&text.replace("1e400", "1")).expect("the page is JSON");
    }
    let mut replica = Replica::default();
    replica.admit(1, key(0, 0), &Owned { type_number: 1, data: b"\"\xff\"".to_vec() });
    assert!(json(&replica, &Query::default()).contains("data_base64"), "a text that is not UTF-8");
}

#[test]
fn limit_and_bytes_close_a_page() {
    let mut replica = ten();
    for limit in [1, 3, 9] {
        let page = get(&replica, &knowing("", limit)).expect("a page");
        assert_eq!((page.len(), page.left), (limit, Some(10 - limit as u64)));
    }
    let page = get(&replica, &knowing("", 10)).expect("a page");
    assert_eq!((page.len(), page.cursor), (10, None), "a full page with nothing behind it is the last");
    // A page of three events, from its opening bracket on, and around that length.
    let page = get(&replica, &knowing("", 3)).expect("a page");
    let three = r#"{"events":["#.len() + page.events().map(|event| event.len() + 1).sum::<usize>() - 1;
    for (max_bytes, expected) in [(1, 1), (three - 1, 2), (three, 3), (usize::MAX, 10)] {
        let query = Query { max_bytes, ..Query::default() };
        assert_eq!(get(&replica, &query).expect("a page").len(), expected, "{max_bytes}");
        let (seen, _) = walk(&mut replica, query, |_| ());
        assert_eq!(seen.len(), 10);
    }
    // The limit may change between pages.
    let first = get(&replica, &knowing("", 2)).expect("a page");
    let rest = get(&replica, &Query { cursor: first.cursor, ..knowing("", 100) }).expect("a page");
    assert_eq!(rest.len(), 8);
}

fn filtered(from_ms: Option<i64>, to_ms: Option<i64>, types: &[&str]) -> Query {
    let instant = |ms: i64| key(ms, 0).time();
    let types = types.iter().map(|name| (*name).to_owned()).collect();
    Query { from: from_ms.map(instant), to: to_ms.map(instant), types, ..knowing("", 3) }
}

#[test]
fn filters_choose_events_and_scope_the_vv() {
    let mut replica = ten();
    let cases: [(Query, &[u64]); 8] = [
        (filtered(Some(2000), Some(5000), &[]), &[2, 3, 4]),
        (filtered(Some(2001), Some(5001), &[]), &[3, 4, 5]),
        (filtered(None, Some(2000), &[]), &[0, 1]),
        (filtered(Some(8000), None, &[]), &[8, 9]),
        (filtered(None, None, &["undo \"it\""]), &[1, 3, 5, 7, 9]),
        (filtered(Some(4000), None, &["2"]), &[5, 7, 9]),
        (filtered(None, None, &["1", "add", "2"]), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (filtered(Some(5000), Some(5000), &["7"]), &[]),
    ];
    let mut vvs = BTreeSet::new();
    for (query, expected) in cases {
        let (seen, vv) = walk(&mut replica, query.clone(), |_| ());
        let expected: Vec<EventKey> = expected.iter().map(|n| key(1000 * n.cast_signed(), 0)).collect();
        assert_eq!(seen.iter().map(|event| event.key).collect::<Vec<_>>(), expected, "{query:?}");
        assert!(get(&replica, &query).expect("a page").left.is_none(), "left is absent under filters");
        let (scope, rest) = vv.split_once(';').expect("a scope");
        assert!(scope.starts_with('@') && scope.len() == 9, "{vv}");
        assert_eq!(rest, vv_of_server(&replica).expect("held").to_string());
        // Good for the same filters, refused for any others and for none.
        let again = Query { vv: vec![vv.clone()], ..query.clone() };
        assert!(walk(&mut replica, again, |_| ()).0.is_empty());
        assert_eq!(code(get(&replica, &Query { vv: vec![vv.clone()], ..Query::default() })), Code::VvScope);
        let other = Query { vv: vec![vv.clone()], ..filtered(Some(1), None, &[]) };
        assert_eq!(code(get(&replica, &other)), Code::VvScope);
        vvs.insert(vv);
    }
    assert_eq!(vvs.len(), 8, "each set of filters has a scope of its own");
    // Dots known without a scope, such as those of an own POST, may stand beside it.
    let query = filtered(Some(8000), None, &[]);
    let (_, vv) = walk(&mut replica, query.clone(), |_| ());
    let posted = replica.admit(1, key(8500, 0), &value(1, "1"));
    let alone = Query { vv: vec![vv.clone()], ..query.clone() };
    assert_eq!(walk(&mut replica, alone, |_| ()).0.len(), 1);
    let both = Query { vv: vec![vv, posted.to_string()], ..query };
    assert!(walk(&mut replica, both, |_| ()).0.is_empty());
}

// Times in keys round to milliseconds, so a bound between two milliseconds means the next one; as NTP64 floors, a
// whole millisecond must not be taken for the one before or after.
#[test]
fn bounds_round_like_times() {
    let mut replica = Replica::default();
    for ms in 0..1000 {
        replica.admit(1, key(ms, 0), &value(1, "1"));
    }
    let count = |from: Option<ValidTime>, to| {
        let page = get(&replica, &Query { from, to, ..Query::default() }).expect("a page");
        i64::try_from(page.len()).expect("at most 1000")
    };
    for ms in (0..1000).step_by(83) {
        let instant = key(ms, 0).time();
        assert_eq!((count(Some(instant), None), count(None, Some(instant))), (1000 - ms, ms));
    }
    for ms in 0..1000 {
        let time = key(ms, 0).time();
        assert_eq!(crate::feed::query::next_ms(time), time.millis(), "a whole millisecond is its own bound");
    }
    for ms in [0, 1, 123, 998] {
        let later = key(ms, 0).time().0 + (1 << 32) / 4000;
        let later = Some(ValidTime(later));
        assert_eq!((count(later, None), count(None, later)), (999 - ms, ms + 1), "a quarter of a ms later");
    }
    assert_eq!(count(Some(ValidTime(0)), Some(ValidTime(u64::MAX))), 1000);
    assert_eq!(count(Some(ValidTime(u64::MAX)), None), 0);
}

#[test]
fn bad_parameters_are_named() {
    let query = Query { types: vec!["nothing".to_owned()], ..Query::default() };
    assert_eq!(code(get(&ten(), &query)), Code::BadParameter);
    let query = Query { vv: vec!["nonsense".to_owned()], ..Query::default() };
    assert_eq!(code(get(&ten(), &query)), Code::BadVv);
    for query in [knowing("", 0), Query { max_bytes: 0, ..Query::default() }] {
        assert_eq!(code(get(&ten(), &query)), Code::BadParameter);
    }
}

#[test]
fn cursor_belongs_to_its_root_and_filters() {
    let replica = ten();
    let cursor = get(&replica, &knowing("", 3)).expect("a page").cursor;
    let query = Query { cursor: cursor.clone(), ..knowing("", 3) };
    assert_eq!(code(page(&replica, "other", &query, &Names)), Code::CursorMismatch);
    let with_filters = Query { cursor, ..filtered(Some(1), None, &[]) };
    assert_eq!(code(get(&replica, &with_filters)), Code::CursorMismatch);
    let cursor = get(&replica, &filtered(Some(0), None, &[])).expect("a page").cursor;
    assert!(get(&replica, &Query { cursor: cursor.clone(), ..filtered(Some(0), None, &[]) }).is_ok());
    assert_eq!(
        code(get(&replica, &Query { cursor: cursor.clone(), ..filtered(Some(1), None, &[]) })),
        Code::CursorMismatch
    );
    assert_eq!(code(get(&replica, &Query { cursor, ..knowing("", 3) })), Code::CursorMismatch);
}

// A replica that lost what the walk was pinned to, or never had it, must say so: going on would skip events.
#[test]
fn pin_gone() {
    let mut replica = ten();
    replica.admit(2, key(1, 1), &value(1, "1"));
    let cursor = get(&replica, &knowing("", 3)).expect("a page").cursor;
    let query = Query { cursor, ..knowing("", 3) };
    assert!(get(&replica, &query).is_ok());
    assert_eq!(code(get(&ten(), &query)), Code::PinGone, "an Origin is not held");
    assert_eq!(code(get(&Replica::default(), &query)), Code::PinGone);
    let mut forked = ten();
    forked.admit(2, key(1, 1), &value(1, "2"));
    assert_eq!(code(get(&forked, &query)), Code::PinGone, "a dot admitted something else");
}

/// As many Origins as a cursor can carry, and one more.
fn of_many_origins(count: u8) -> Replica {
    let mut replica = Replica::default();
    for n in 1..=count {
        replica.admit(n, key(i64::from(n), 0), &value(1, "1"));
    }
    replica
}

#[test]
fn big_pin_is_kept_under_a_name() {
    let small = get(&of_many_origins(102), &knowing("", 1)).expect("a page");
    assert!(small.keep_pin.is_none());
    let mut replica = of_many_origins(103);
    let first = get(&replica, &knowing("", 1)).expect("a page");
    let keep = first.keep_pin.expect("a pin to keep");
    let cursor = first.cursor.expect("more follows");
    assert!(cursor.len() < 200, "{}", cursor.len());
    let query = Query { cursor: Some(cursor), ..knowing("", 1) };
    assert_eq!(code(get(&replica, &query)), Code::PinGone, "it is not kept");
    replica.pins.insert(keep.name, keep.bytes[20..].to_vec());
    assert_eq!(code(get(&replica, &query)), Code::PinGone, "it is damaged");
    replica.pins.insert(keep.name, keep.bytes);
    assert!(get(&replica, &query).expect("a page").keep_pin.is_none(), "it is kept once");
    let mut tail = 0;
    let (seen, _) = walk(&mut replica, knowing("", 10), |replica| {
        tail += 1;
        replica.admit(1, key(1, tail), &value(1, "1"));
    });
    assert_eq!(seen.len(), 103);
}

proptest! {
    // A cursor that was cut, changed or made up is refused by name; it never panics and never goes on elsewhere.
    #[test]
    fn damaged_cursors_are_named(at in any::<prop::sample::Index>(), bit in 0..7_u8, cut in any::<bool>()) {
        let replica = ten();
        let cursor = get(&replica, &knowing("", 3)).expect("a page").cursor.expect("more follows");
        let mut bytes = cursor.into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert_eq!(code(get(&replica, &Query { cursor: Some(text), ..knowing("", 3) })), Code::BadCursor);
    }

    // Bytes that somebody made up and gave a right checksum: an error by name or a walk, but no panic.
    #[test]
    fn forged_cursors_do_no_harm(flags in 0..9_u8, body in proptest::collection::vec(any::<u8>(), 0..120)) {
        let replica = ten();
        let mut bytes = vec![1, flags];
        bytes.extend(&blake3::hash(ROOT.as_bytes()).as_bytes()[..8]);
        bytes.extend([0; 4]);
        bytes.extend(body);
        let checksum = blake3::hash(&bytes);
        bytes.extend(&checksum.as_bytes()[..8]);
        let cursor = Some(data_encoding::BASE64URL_NOPAD.encode(&bytes));
        if let Err(error) = get(&replica, &Query { cursor, ..knowing("", 3) }) {
            let expected = [Code::BadCursor, Code::PinGone, Code::CursorMismatch];
            prop_assert!(expected.contains(&error.problem().code), "{}", error);
        }
    }
}

#[test]
fn overlong_cursor_is_named() {
    let query = Query { cursor: Some("A".repeat(1 << 20)), ..knowing("", 3) };
    let reason = get(&ten(), &query).expect_err("the page is refused").to_string();
    assert_eq!(reason, "the cursor is longer than any that is written here", "it is not even decoded");
}

// Looking for a needle must not take a request for ever: pages may be empty, but each goes on, and the event is found.
// Lacking little of much must not read much.
#[test]
fn work_is_bounded() {
    let mut replica = Replica::default();
    for n in 0..70_000 {
        replica.admit(1, key(n, 0), &value(1, "1"));
    }
    let vv = vv_of_server(&replica).expect("held").to_string();
    replica.admit(1, key(69_000, 7), &value(2, "2"));
    let visited = |replica: &Replica| std::mem::take(&mut *replica.visited.borrow_mut());

    visited(&replica);
    let (seen, _) = walk(&mut replica, knowing(&vv, 10), |_| ());
    assert_eq!(seen.len(), 1);
    let (events, dots) = visited(&replica);
    assert!(events == 0 && dots < 10, "one dot is lacking: {events} events and {dots} dots were read");

    let query = Query { limit: 100, ..filtered(Some(100), Some(110), &[]) };
    assert_eq!(get(&replica, &query).expect("a page").len(), 10);
    let (events, dots) = visited(&replica);
    assert!(
        events < 15 && dots == 0,
        "bounds of time bound the work: {events} events and {dots} dots were read"
    );

    let query = filtered(None, None, &["2"]);
    let page = get(&replica, &query).expect("a page");
    let (events, _) = visited(&replica);
    assert!(events <= 65_537, "{events}");
    assert!(page.is_empty() || page.cursor.is_none());
    let (seen, _) = walk(&mut replica, query, |_| ());
    assert_eq!(seen.len(), 1);
}

/// Walks by one way to the end, everything wanted that `known` does not name. Gives pages and dots.
fn walk_by(
    replica: &Replica,
    way: Way,
    filters: &Filters,
    known: &DotSet,
    events_max: usize,
) -> (usize, u64) {
    let walk = plain_walk(replica, filters, &replica.known, known);
    let bounds = Bounds { events_max, bytes_max: 16 << 20 };
    let (mut mark, mut pages, mut dots) = (None, 0, 0);
    loop {
        let walked = walk.page_by([way], mark, bounds).expect("held");
        assert!(walked.more != mark, "the walk goes on");
        (mark, pages, dots) = (walked.more, pages + 1, dots + walked.dots);
        if mark.is_none() {
            return (pages, dots);
        }
    }
}

// The same for bytes: events that are looked at and not given out count, however few they are.
#[test]
fn bytes_looked_at_are_bounded() {
    let mut replica = Replica::default();
    let long = Owned { type_number: 1, data: vec![b'1'; 20 << 20] };
    for n in 0..5 {
        replica.admit(1, key(n, 0), &long);
    }
    replica.admit(1, key(9, 0), &value(2, "2"));
    let filters = Filters { types: [2].into(), ..Filters::default() };
    for way in [Way::Scan(u64::MAX), Way::Collect] {
        let walked = walk_by(&replica, way, &filters, &DotSet::default(), 10);
        assert_eq!(walked, (2, 1), "64 MiB are looked at in one page, not 100: {way:?}");
    }
}

// A collecting page throws away what will not fit; the walk must find it again, however many values a key has.
#[test]
fn collecting_cuts_and_goes_on() {
    let mut replica = Replica::default();
    for n in 0..3000 {
        replica.admit(1, key(10_000 - 2 * n, 0), &value(1, "1"));
    }
    for n in 0..300 {
        replica.admit(2, key(5000, 0), &value(1, &n.to_string()));
    }
    for n in 0..9000 {
        replica.admit(3, key(3001 + 2 * (n % 4000), 0), &value(1, &(n % 7).to_string()));
    }
    let walked = walk_by(&replica, Way::Collect, &Filters::default(), &DotSet::default(), 5000);
    assert_eq!(walked, (3, replica.known.count()));
}

// Lacking dots may all name events that the caller knows by other dots: pages are empty then, and yet go on.
#[test]
fn collecting_goes_on_over_known_events() {
    let mut replica = Replica::default();
    for n in 0..12_000 {
        replica.admit(1, key(n, 0), &value(1, "1"));
        if n < 11_000 {
            replica.admit(2, key(n, 0), &value(1, "1"));
        }
    }
    let terms = [Term { origin: origin(2), intervals: vec![1..=11_000], check: None }];
    let (pages, dots) = walk_by(&replica, Way::Collect, &Filters::default(), &DotSet::of_terms(&terms), 10);
    assert_eq!(dots, 1000);
    assert!(pages > 100);
}
