//! Frames and bundles come back as they were sent; whatever else comes is refused by name, and costs no memory.

use super::*;
use allocation_counter::measure;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// What serde sets aside at once for a list, however long it is said to be.
const SET_ASIDE: u64 = 1 << 20;

fn any_state() -> impl Strategy<Value = State> {
    let held = btree_map(any::<[u8; 8]>(), (1..=SEQ_MAX, any::<[u8; 16]>()), 0..6);
    (any::<[u8; 8]>(), held).prop_map(|(current, held)| {
        let held: Vec<_> = held.into_iter().map(|(origin, (last, sum))| (origin, last, sum)).collect();
        let bytes = postcard::to_allocvec(&(current, held)).expect("bytes and numbers");
        postcard::from_bytes(&bytes).expect("a state's own form")
    })
}

fn any_lasts() -> impl Strategy<Value = Lasts> {
    btree_map(any::<[u8; 8]>(), 1..=SEQ_MAX, 0..6).prop_map(|lasts| lasts.into_iter().collect())
}

fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let ends = (1..=SEQ_MAX, 1..=SEQ_MAX);
    btree_map(any::<[u8; 8]>(), ends, 0..6).prop_map(|spans| {
        let span = |(origin, (one, other)): ([u8; 8], (u64, u64))| Span {
            origin,
            first: one.min(other),
            last: one.max(other),
        };
        spans.into_iter().map(span).collect()
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..60)
}

fn any_question() -> impl Strategy<Value = Question> {
    let watch = (any::<Digest>(), any::<[u8; 8]>(), 0..=SEQ_MAX, any::<u32>());
    prop_oneof![
        any::<Digest>().prop_map(|digest| Question::Greet { digest }),
        any_state().prop_map(|state| Question::Meet { state }),
        (any_lasts(), any_spans(), any::<bool>(), any::<u32>())
            .prop_map(|(known, want, whole, bytes_max)| Question::Pull { known, want, whole, bytes_max }),
        any_lasts().prop_map(|known| Question::Offer { known }),
        any_bytes().prop_map(|page| Question::Push { page }),
        watch.prop_map(|(digest, current, last, wait_ms)| Question::Watch { digest, current, last, wait_ms }),
        any_bytes().prop_map(|message| Question::Reconcile { message }),
        vec(any::<Name>(), 0..6).prop_map(|names| Question::Fetch { names }),
        any_bytes().prop_map(|bundle| Question::Heal { bundle }),
        any::<Option<DictionaryName>>().prop_map(|held| Question::Dictionary { held }),
    ]
}

fn any_tell() -> impl Strategy<Value = Tell> {
    prop_oneof![
        any::<u64>().prop_map(|now_ms| Tell::Same { now_ms }),
        (any_state(), vec(any::<([u8; 8], [u8; 16])>(), 0..4), any::<u64>())
            .prop_map(|(state, forked, now_ms)| Tell::State { state, forked, now_ms }),
        any_bytes().prop_map(|page| Tell::Page { page }),
        (any_lasts(), any_spans()).prop_map(|(known, want)| Tell::Want { known, want }),
        (any_lasts(), any::<bool>()).prop_map(|(known, whole)| Tell::Took { known, whole }),
        (any::<Digest>(), any::<u64>(), proptest::option::of(any_bytes()))
            .prop_map(|(digest, last, page)| Tell::News { digest, last, page }),
        any_bytes().prop_map(|message| Tell::Reconciled { message }),
        (any_bytes(), any::<u32>()).prop_map(|(bundle, names)| Tell::Bundle { bundle, names }),
        any::<u64>().prop_map(|admitted| Tell::Healed { admitted }),
        (any::<Option<DictionaryName>>(), any_bytes())
            .prop_map(|(name, packed)| Tell::Dictionary { name, packed }),
        Just(Tell::NoDictionary),
    ]
}

fn any_told() -> impl Strategy<Value = Told> {
    let dots = vec((any::<[u8; 8]>(), any::<u64>()), 0..4);
    (any::<[u8; 16]>(), any::<u32>(), any::<u32>(), any_bytes(), dots)
        .prop_map(|(key, type_number, version, data, dots)| Told { key, type_number, version, data, dots })
}

/// Reads with a look at the memory: what the bytes say may take a few times as much as they are long, and no more.
fn bounded<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, FrameError>) -> Result<T, FrameError> {
    let mut answer = None;
    let used = measure(|| answer = Some(read(bytes)));
    let bytes_max = 8 * bytes.len() as u64 + 2 * SET_ASIDE;
    assert!(used.bytes_max <= bytes_max, "{} bytes for a frame of {}", used.bytes_max, bytes.len());
    answer.expect("it was read")
}

/// A question's frame, written by somebody who keeps no rule: its number, then these fields.
fn ask(question: u8, fields: &[&[u8]]) -> Result<Ask, FrameError> {
    bounded(&[&[PROTOCOL, 5, question], fields.concat().as_slice()].concat(), Ask::decode)
}

fn tell(answer: u8, fields: &[&[u8]]) -> Result<Tell, FrameError> {
    bounded(&[&[PROTOCOL, answer], fields.concat().as_slice()].concat(), Tell::decode)
}

fn number(number: u64) -> Vec<u8> {
    postcard::to_allocvec(&number).expect("a number")
}

fn list<T: Serialize>(items: &[T]) -> Vec<u8> {
    postcard::to_allocvec(items).expect("bytes and numbers")
}

fn is_form<T>(read: Result<T, FrameError>) -> bool {
    read.is_err_and(|error| matches!(error, FrameError::Form(_)))
}

/// Lists that say they are longer than any memory, where each kind of frame has one.
#[test]
fn lies_about_numbers() {
    for huge in [u64::from(u32::MAX), u64::MAX] {
        let count = number(huge);
        for question in [2, 3, 4, 6, 7, 8] {
            assert!(is_form(ask(question, &[&count])), "question {question}");
            assert!(is_form(ask(question, &[&count, &[1; 2000]])), "question {question}");
        }
        assert!(is_form(ask(1, &[&[0; 8], &count, &[1; 2000]])));
        for answer in [2, 3, 4, 6, 7] {
            assert!(is_form(tell(answer, &[&count, &[1; 2000]])), "answer {answer}");
        }
        assert!(is_form(tell(1, &[&[0; 8], &[0], &count, &[1; 2000]])));
        assert!(is_form(tell(5, &[&[0; 16], &[1], &count, &[1; 2000]])));
    }
    assert!(is_form(tell(9, &[&[0], &number(u64::MAX), &[1; 2000]])), "a dictionary");
    assert!(is_form(ask(10, &[&[0; 99]])), "there is no such question");
    assert!(is_form(tell(11, &[&[0; 99]])), "there is no such answer");
}

/// Origins that repeat or fall, seqs that are none, spans that end before they begin.
#[test]
fn dots_that_are_none() {
    let last = |origin: u8, last: u64| ([origin; 8], last);
    for bad in [
        vec![last(1, 0)],
        vec![last(1, SEQ_MAX + 1)],
        vec![last(1, u64::MAX)],
        vec![last(1, 1); 2],
        vec![last(2, 1), last(1, 1)],
    ] {
        let lasts = list(&bad);
        assert!(is_form(ask(3, &[&lasts])), "{bad:?}");
        assert!(is_form(ask(2, &[&lasts, &[0], &[0], &[0]])), "{bad:?}");
        assert!(is_form(tell(3, &[&lasts, &[0], &[0]])), "{bad:?}");
        assert!(is_form(tell(4, &[&lasts, &[0]])), "{bad:?}");
        let held: Vec<_> = bad.iter().map(|(origin, last)| (*origin, *last, [0_u8; 16])).collect();
        assert!(is_form(ask(1, &[&[0; 8], &list(&held)])), "{bad:?}");
        assert!(is_form(tell(1, &[&[0; 8], &list(&held), &[0], &[0]])), "{bad:?}");
    }
    let span = |first: u64, last: u64| ([1_u8; 8], first, last);
    for bad in [
        vec![span(0, 1)],
        vec![span(2, 1)],
        vec![span(1, SEQ_MAX + 1)],
        vec![span(u64::MAX, u64::MAX)],
        vec![span(1, 1); 2],
    ] {
        assert!(is_form(ask(2, &[&[0], &list(&bad), &[0], &[0]])), "{bad:?}");
        assert!(is_form(tell(3, &[&[0], &list(&bad), &[0]])), "{bad:?}");
    }
    let watch = |last: u64| ask(5, &[&[0; 16], &[0; 8], &number(last), &number(9)]);
    assert!(watch(SEQ_MAX).is_ok());
    assert!(is_form(watch(SEQ_MAX + 1)) && is_form(watch(u64::MAX)));
}

/// A million Origins, one name too many.
#[test]
fn too_many() {
    let origins = |count: u64| (0..count).map(|number| (number.to_be_bytes(), 1_u64)).collect::<Vec<_>>();
    let million = FrameError::TooLong { bytes: 1_000_000, bytes_max: ORIGINS_MAX };
    assert_eq!(ask(3, &[&list(&origins(1_000_000))]), Err(million));
    let many = origins(ORIGINS_MAX as u64 + 1);
    let refused = FrameError::TooLong { bytes: ORIGINS_MAX + 1, bytes_max: ORIGINS_MAX };
    assert_eq!(tell(4, &[&list(&many), &[0]]), Err(refused.clone()));
    let held: Vec<_> = many.iter().map(|(origin, last)| (*origin, *last, [0_u8; 16])).collect();
    assert_eq!(ask(1, &[&[0; 8], &list(&held)]), Err(refused.clone()));
    let spans: Vec<_> = many.iter().map(|(origin, last)| (*origin, *last, *last)).collect();
    assert_eq!(ask(2, &[&[0], &list(&spans), &[0], &[0]]), Err(refused.clone()));
    let forked: Vec<_> = many.iter().map(|(origin, _)| (*origin, [0_u8; 16])).collect();
    assert_eq!(tell(1, &[&[0; 8], &[0], &list(&forked), &[0]]), Err(refused));
    let names = vec![([0_u8; 16], [0_u8; 16]); SYNC_NAMES_MAX + 1];
    assert!(matches!(ask(7, &[&list(&names)]), Err(FrameError::TooLong { .. })));
}

/// Behind a question stands the name of a dictionary or nothing; behind an answer, nothing.
#[test]
fn what_stands_behind() {
    let greet = Ask { link: 5, question: Question::Greet { digest: Digest::default() }, dictionary: None };
    let plain = greet.encode();
    let named = Ask { dictionary: Some(*b"name"), ..greet };
    assert_eq!(named.encode(), [plain.as_slice(), b"name"].concat());
    for behind in 0..9 {
        let read = Ask::decode(&[plain.as_slice(), &vec![7; behind]].concat());
        assert_eq!(read.is_ok(), matches!(behind, 0 | 4), "{behind} bytes");
        let tell = Tell::decode(&[Tell::NoDictionary.encode(), vec![7; behind]].concat());
        assert_eq!(tell.is_ok(), behind == 0, "{behind} bytes");
    }
}

/// The version stands in front of everything else, so that any other can be told by name.
#[test]
fn other_versions() {
    assert_eq!(Ask::decode(&[]), Err(FrameError::Truncated));
    for found in [0, 2, 255] {
        let refused = FrameError::Version { found, known: PROTOCOL };
        assert_eq!(Ask::decode(&[found]), Err(refused.clone()));
        assert_eq!(Tell::decode(&[found, 0, 0]), Err(refused));
    }
}

/// Reads these bytes as a bundle that came whole over the network.
fn bundle(plain: &[u8]) -> Result<Vec<Told>, FrameError> {
    let packed = crate::sync::pack::pack(plain);
    bounded(plain, |_| decode_bundle(&packed))
}

/// Events by the million in few bytes, lists without an end, bytes behind the last event.
#[test]
fn bundles_that_are_none() {
    let empty = Told { key: [0; 16], type_number: 0, version: 0, data: Vec::new(), dots: Vec::new() };
    let many = |count: usize| bundle(&list(&vec![empty.clone(); count])).map(|events| events.len());
    assert_eq!(many(SYNC_NAMES_MAX), Ok(SYNC_NAMES_MAX));
    for count in [SYNC_NAMES_MAX + 1, 1_000_000] {
        assert_eq!(many(count), Err(FrameError::TooLong { bytes: count, bytes_max: SYNC_NAMES_MAX }));
    }
    for huge in [1, u64::from(u32::MAX), u64::MAX] {
        assert!(bundle(&number(huge)).is_err(), "{huge} events");
        let head = [vec![1], vec![0; 18], number(huge)].concat();
        assert!(is_form(bundle(&head)), "data of {huge} bytes");
        assert!(is_form(bundle(&[vec![1], vec![0; 19], number(huge)].concat())), "{huge} dots");
    }
    assert!(is_form(bundle(&[])));
    assert!(is_form(bundle(&[list(&[empty]), vec![0]].concat())));
}

proptest! {
    #[test]
    fn frames_round_trip(
        link in any::<u64>(),
        question in any_question(),
        dictionary in any::<Option<DictionaryName>>(),
        tell in any_tell(),
    ) {
        let ask = Ask { link, question, dictionary };
        prop_assert_eq!(Ask::decode(&ask.encode()), Ok(ask));
        prop_assert_eq!(Tell::decode(&tell.encode()), Ok(tell));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // A frame that ends early is none, wherever it ends, and neither is one that goes on behind its end.
    #[test]
    fn cut_frames_are_refused(question in any_question(), tell in any_tell()) {
        let (mut ask, mut tell) = (Ask { link: 9, question, dictionary: None }.encode(), tell.encode());
        for end in 0..ask.len() {
            prop_assert!(bounded(&ask[..end], Ask::decode).is_err(), "cut at {}", end);
        }
        for end in 0..tell.len() {
            prop_assert!(bounded(&tell[..end], Tell::decode).is_err(), "cut at {}", end);
        }
        ask.push(0);
        tell.push(0);
        prop_assert!(is_form(Ask::decode(&ask)) && is_form(Tell::decode(&tell)));
    }

}

proptest! {
    // A flipped bit makes another frame or none; what is read can be written and read again.
    #[test]
    fn flipped_frames_are_frames_or_refused(
        question in any_question(),
        tell in any_tell(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (mut ask, mut tell) = (Ask { link: 9, question, dictionary: None }.encode(), tell.encode());
        *at.get_mut(&mut ask) ^= 1_u8 << bit;
        *at.get_mut(&mut tell) ^= 1_u8 << bit;
        if let Ok(ask) = bounded(&ask, Ask::decode) {
            prop_assert_eq!(Ask::decode(&ask.encode()), Ok(ask));
        }
        if let Ok(tell) = bounded(&tell, Tell::decode) {
            prop_assert_eq!(Tell::decode(&tell.encode()), Ok(tell));
        }
    }

    #[test]
    fn made_up_frames_do_no_harm(kind in 0..10_u8, rest in vec(any::<u8>(), 0..120)) {
        drop(ask(kind, &[&rest]));
        drop(tell(kind, &[&rest]));
        drop(bounded(&rest, Ask::decode));
        drop(bounded(&rest, Tell::decode));
    }

    #[test]
    fn bundles_round_trip(events in vec(any_told(), 0..6)) {
        prop_assert_eq!(decode_bundle(&encode_bundle(&events)), Ok(events));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bundles_are_bundles_or_refused(
        events in vec(any_told(), 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let mut plain = list(&events);
        for end in 0..plain.len() {
            prop_assert!(bundle(&plain[..end]).is_err(), "cut at {}", end);
        }
        *at.get_mut(&mut plain) ^= 1_u8 << bit;
        if let Ok(events) = bundle(&plain) {
            prop_assert_eq!(decode_bundle(&encode_bundle(&events)), Ok(events));
        }
    }

}

proptest! {
    #[test]
    fn made_up_bundles_do_no_harm(plain in vec(any::<u8>(), 0..120)) {
        drop(bundle(&plain));
        drop(decode_bundle(&plain));
    }
}
