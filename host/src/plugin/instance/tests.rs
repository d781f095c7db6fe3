//! What a lying plugin gives back is an error of that call, never a panic and never believed.

use super::*;
use crate::plugin::fake::{Answers, declaration, instance};
use laterbase_plugin::abi::{ErrorCode, MapFailure, Verdict};
use std::sync::Arc;

fn events(count: u64) -> Vec<EventRef<'static>> {
    let value = Value { type_number: 1, version: 3, data: b"x" };
    (0..count).map(|number| event_ref(EventKey::new(ValidTime(number), [0; 8]), value)).collect()
}

fn asked(answers: Answers) -> Arc<Instance> {
    instance("liar", declaration(), answers)
}

fn rows(bytes: &[u8], spans: &[(u32, u32, u32)]) -> Answers {
    let span = |&(item, offset, length): &(u32, u32, u32)| Span { item, offset, length };
    let spans: Vec<Span> = spans.iter().map(span).collect();
    Answers { rows: Rows { bytes: bytes.to_vec().into(), spans: spans.into() }, ..Answers::default() }
}

fn is_malformed<T>(result: &Result<T, CallError>) -> bool {
    matches!(result, Err(CallError::Malformed(_)))
}

// Goal: verdicts on events that were not in the batch are not believed.
#[test]
fn verdicts_out_of_range() {
    let verdict = |event| Verdict { event, pointer: "/a".into(), message: "no".into() };
    let liar = |event| asked(Answers { verdicts: vec![verdict(event)], ..Answers::default() });
    let services = Services::default();
    assert!(is_malformed(&liar(1).admit(&services, 0, &events(1))));
    assert!(is_malformed(&liar(u32::MAX).admit(&services, 0, &events(1))));
    let refusals = liar(0).admit(&services, 0, &events(300)).expect("both batches answer");
    let at: Vec<usize> = refusals.iter().map(|refusal| refusal.event).collect();
    assert_eq!(at, [0, BATCH_EVENTS]);
}

// Goal: pieces that lie outside of the bytes, belong to no event, or are too many or too few are not
// believed.
#[test]
fn pieces_out_of_bounds() {
    let services = Services::default();
    let good = asked(rows(b"new", &[(0, 0, 3)]));
    assert_eq!(good.upcast(&services, 0, &events(1)), [Ok(b"new".to_vec())]);
    let lies: [&[(u32, u32, u32)]; 5] = [
        &[(0, 1, 3)],
        &[(0, u32::MAX, u32::MAX)],
        &[(1, 0, 3)],
        &[(0, 0, 1), (0, 1, 1)],
        &[(u32::MAX, 0, 0)],
    ];
    for lie in lies {
        let results = asked(rows(b"new", lie)).upcast(&services, 0, &events(1));
        assert_eq!(results.len(), 1);
        assert!(results.iter().all(is_malformed), "{lie:?}");
    }
    // Two events, one answer: the second has none, and asked alone the first has one.
    let results = good.upcast(&services, 0, &events(2));
    assert_eq!(results, [Ok(b"new".to_vec()), Ok(b"new".to_vec())]);
}

// Goal: a retracted key has 16 bytes.
#[test]
fn retracted_keys() {
    let services = Services::default();
    let good = asked(rows(&[7; 32], &[(0, 0, 16), (0, 16, 16)]));
    assert_eq!(good.retracts(&services, 0, &events(1)), [Ok(vec![EventKey([7; 16]); 2])]);
    let short = asked(rows(&[7; 32], &[(0, 0, 15)]));
    assert!(short.retracts(&services, 0, &events(1)).iter().all(is_malformed));
}

// Goal: emissions out of bounds fail their batch's events, bad keys fail their event, and good neighbours
// stay.
#[test]
fn emissions() {
    let mut bytes = Vec::new();
    aggregate::encode(["k"], &mut bytes);
    let key_length = u32::try_from(bytes.len()).expect("short");
    bytes.extend(b"delta");
    let row = |event, key_length, delta_offset, delta_length| Emission {
        event,
        key_offset: 0,
        key_length,
        delta_offset,
        delta_length,
    };
    let emitting = |emissions: &[Emission], failures: &[MapFailure]| {
        let emitted = Emitted {
            bytes: bytes.clone().into(),
            rows: emissions.to_vec().into(),
            failures: failures.to_vec().into(),
        };
        asked(Answers { emitted, ..Answers::default() })
            .map(&Services::default(), 0, &events(2))
            .expect("asked")
    };
    let good = row(1, key_length, key_length, 5);
    let mapping = emitting(&[good], &[]);
    let rows: Vec<_> = mapping.rows().collect();
    assert_eq!(rows, [(1, &bytes[..key_length as usize], b"delta".as_slice())]);
    for lie in [row(0, 99, 0, 0), row(0, key_length, 5, u32::MAX), row(2, key_length, 0, 0)] {
        let mapping = emitting(&[good, lie], &[]);
        assert_eq!((mapping.rows().count(), mapping.failures().len()), (0, 2), "{lie:?}");
    }
    let bad_key = emitting(&[row(0, key_length - 1, 0, 0), row(0, key_length, 0, 0), good], &[]);
    assert_eq!(bad_key.rows().map(|row| row.0).collect::<Vec<_>>(), [1]);
    assert!(matches!(bad_key.failures(), [(0, CallError::Malformed(_))]));
    let failure = MapFailure { event: 1, code: ErrorCode::REFUSED, message: "no".into() };
    let failed = emitting(&[good], &[failure]);
    assert_eq!(failed.rows().count(), 0);
    assert!(matches!(failed.failures(), [(1, CallError::Refused(_))]));
}

// Goal: an intake's events are of types and versions that the plugin declares.
#[test]
fn intakes() {
    let event = |type_number, version| IntakeEvent {
        pointer: "/0".into(),
        refused: ROption::RNone,
        type_number,
        version,
        time: ROption::RSome(5),
        tail: ROption::RNone,
        data: b"x".to_vec().into(),
        id: "i".into(),
        same_key_is_same_event: true,
    };
    let read = |event| {
        let liar = asked(Answers { intake: vec![event], ..Answers::default() });
        liar.intake(&Services::default(), "lines", "text/plain", b"")
    };
    let good = read(event(1, 2)).expect("declared").remove(0);
    assert_eq!((good.pointer.as_str(), good.id.as_str()), ("/0", "i"));
    assert_eq!(good.event.expect("not refused").time, Some(ValidTime(5)));
    for (type_number, version) in [(1, 0), (1, 4), (3, 1)] {
        assert!(is_malformed(&read(event(type_number, version))), "{type_number} {version}");
    }
    let refused = IntakeEvent { refused: ROption::RSome("no".into()), ..event(9, 9) };
    assert_eq!(read(refused).expect("a verdict").remove(0).event, Err("no".to_owned()));
}

// Goal: a typed key and a rendered state are what they must be.
#[test]
fn keys_and_json() {
    let services = Services::default();
    let answering = |bytes: &[u8]| asked(Answers { bytes: bytes.to_vec(), ..Answers::default() });
    assert!(is_malformed(&answering(b"raw").query_key(&services, 0, &["a"])));
    assert!(is_malformed(&answering(b"k\0\x01l\0\x01\0\0").query_key(&services, 0, &["a"])));
    assert_eq!(answering(b"k\0\x01\0\0").query_key(&services, 0, &["a"]), Ok(b"k\0\x01\0\0".to_vec()));
    assert!(is_malformed(&answering(b"{").render(&services, 0, b"", b"")));
    let json = answering(b"{\"n\":1.50}").render(&services, 0, b"", b"").expect("JSON");
    assert_eq!(json.get(), "{\"n\":1.50}");
}

// Goal: a call that nobody waits for any more ends between batches.
#[test]
fn cancelled() {
    let services = Services { cancelled: Some(Arc::new(true.into())), ..Services::default() };
    let plugin = asked(Answers::default());
    assert!(matches!(plugin.map(&services, 0, &events(1)), Err(CallError::Cancelled(_))));
    let results = plugin.upcast(&services, 0, &events(2));
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| matches!(result, Err(CallError::Cancelled(_)))));
}

// Goal: a plugin that was built before examples were asked for has none, and is no worse for it.
#[test]
fn older_than_the_question() {
    let old = instance("old", declaration(), Answers::default());
    assert_eq!(old.example(&Services::default(), 1, 7, false), Ok(None));
    assert_eq!(old.recode(&Services::default(), 0, b"delta"), Ok(None));
}
