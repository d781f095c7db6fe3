//! The laws of sums, prefixes and interval sets, and every error of the text form.

use super::*;
use proptest::prelude::*;

fn origin(n: u8) -> Origin {
    Origin([n; 8])
}

fn dot(n: u8, seq: u64) -> Dot {
    Dot { origin: origin(n), seq: Seq(seq) }
}

fn a_sum(seq: u64) -> Sum {
    Sum::of(Seq(seq), EventKey([seq.to_be_bytes()[7]; 16]), ValueHash([3; 16]))
}

// The sum must not depend on order, must come apart again, and must change with each part it is made of.
#[test]
fn sum_adds_and_comes_apart() {
    let (a, b) = (a_sum(1), a_sum(2));
    assert_eq!(a.plus(b), b.plus(a));
    assert_eq!(a.plus(b).minus(b), a);
    assert_eq!(Sum(u128::MAX).plus(Sum(1)), Sum::ZERO);
    assert_eq!(Sum((0x1234_5678 << 96) + 99).check(), 0x1234_5678);
    let key = EventKey([1; 16]);
    let sums = [
        Sum::of(Seq(1), key, ValueHash([0; 16])),
        Sum::of(Seq(2), key, ValueHash([0; 16])),
        Sum::of(Seq(1), EventKey([2; 16]), ValueHash([0; 16])),
        Sum::of(Seq(1), key, ValueHash([1; 16])),
    ];
    for (i, a) in sums.iter().enumerate() {
        assert!(sums.iter().skip(i + 1).all(|b| a.check() != b.check()));
    }
}

// The check is part of the wire contract: a change of its recipe must show.
#[test]
fn sum_golden() {
    let sum = Sum::of(Seq(1), EventKey([0x11; 16]), ValueHash([0x22; 16]));
    let mut input = vec![0, 0, 0, 0, 0, 0, 0, 1];
    input.extend([0x11; 16]);
    input.extend([0x22; 16]);
    let expected: [u8; 32] = *blake3::hash(&input).as_bytes();
    assert_eq!(sum.0.to_be_bytes(), expected[..16]);
    assert_eq!(sum.check().to_be_bytes(), expected[..4]);
}

#[test]
fn knowledge_is_prefixes() {
    let mut a = Knowledge::new();
    a.advance(dot(1, 1));
    a.advance(dot(1, 2));
    a.advance(dot(2, 1));
    assert_eq!(a.get(origin(1)), Seq(2));
    assert_eq!(a.get(origin(9)), Seq(0));
    assert!(a.holds(dot(1, 1)) && a.holds(dot(1, 2)));
    assert!(!a.holds(dot(1, 0)) && !a.holds(dot(1, 3)) && !a.holds(dot(9, 1)));
    let b: Knowledge = [(origin(1), Seq(1)), (origin(3), Seq(5)), (origin(4), Seq(0))].into_iter().collect();
    assert_eq!(b.origins(), 2, "seq 0 says nothing");
    assert!(!a.covers(&b) && !b.covers(&a));
    assert_eq!((a.minus(&b), b.minus(&a)), (2, 5));
    let both = a.union(&b);
    assert!(both.covers(&a) && both.covers(&b));
    assert_eq!(both.count(), 2 + 1 + 5);
}

// A gap in a prefix would be a dot claimed and not held, which is how events are lost.
#[test]
fn advance_refuses_a_gap() {
    let result = std::panic::catch_unwind(|| Knowledge::new().advance(dot(1, 2)));
    assert!(result.is_err());
}

const O: &str = "00000000000000aa";

#[test]
fn text_examples() {
    let text = "9f3c21aa00000001:1-80~9f3c21aa;9f3c21aa00000002:1-7";
    for text in ["", "@0000abcd;", text, "@0000abcd;9f3c21aa00000002:1,3-4,9~00000000;9f3c21aa00000002:2"] {
        let vv: VersionVector = text.parse().expect("the example is of the form");
        assert_eq!(vv.to_string(), text);
    }
    let vv: VersionVector = text.parse().expect("the example is of the form");
    assert_eq!(vv.terms[0].check, Some(0x9f3c_21aa));
    assert_eq!(vv.terms[1].intervals, vec![1..=7]);
}

fn refused(text: &str) -> VvError {
    text.parse::<VersionVector>().expect_err(text)
}

#[test]
fn text_errors_by_name() {
    let term = 1;
    let of_numbers = |numbers: &str| refused(&format!("{O}:{numbers}"));
    assert_eq!(refused("@12345678"), VvError::BadScope);
    assert_eq!(refused("@1234567;"), VvError::BadScope);
    assert_eq!(refused("@1234567G;"), VvError::BadScope);
    assert_eq!(refused(";"), VvError::EmptyTerm { term });
    assert_eq!(refused(&format!("{O}:1;")), VvError::EmptyTerm { term: 2 });
    assert_eq!(refused(&format!("{O}:1;@12345678;")), VvError::NoColon { term: 2 });
    assert_eq!(refused(O), VvError::NoColon { term });
    assert_eq!(refused("00000000000000a:1"), VvError::BadOrigin { term });
    assert_eq!(refused("00000000000000AA:1"), VvError::BadOrigin { term });
    assert_eq!(refused("\u{e9}:1"), VvError::BadOrigin { term });
    for bad in ["", "a", "+1", " 1", "1 ", "01", "1-", "-1", "1-2-3", "1,,2", "1,", "1.5", "١"] {
        assert_eq!(of_numbers(bad), VvError::BadNumber { term }, "{bad}");
    }
    assert_eq!(of_numbers("0"), VvError::SeqZero { term });
    assert_eq!(of_numbers("0-4"), VvError::SeqZero { term });
    assert_eq!(of_numbers("4-3"), VvError::Reversed { term });
    assert_eq!(of_numbers("1-3,3"), VvError::Unsorted { term });
    assert_eq!(of_numbers("5,1"), VvError::Unsorted { term });
    assert_eq!(of_numbers("1-5,2-3"), VvError::Unsorted { term });
    for huge in
        [format!("1-{}", u64::MAX), u64::MAX.to_string(), format!("1-{}", SEQ_MAX + 1), "9".repeat(40)]
    {
        assert_eq!(of_numbers(&huge), VvError::SeqTooLarge { term }, "{huge}");
    }
    for check in ["1~", "1~1234567", "1~123456789", "1~1234567A", "1~12345678~", "~12345678~12345678"] {
        assert_eq!(of_numbers(check), VvError::BadCheck { term }, "{check}");
    }
    assert_eq!(vv_from_str("@12345678;", 9), Err(VvError::TooLong { bytes: 10, bytes_max: 9 }));
}

#[test]
fn text_bounds() {
    let term = format!("{O}:1");
    let at_most = vec![term.as_str(); TERMS_MAX].join(";");
    assert_eq!(at_most.parse::<VersionVector>().map(|vv| vv.terms.len()), Ok(TERMS_MAX));
    assert_eq!(refused(&format!("{at_most};{term}")), VvError::TooManyTerms);
    let numbers: Vec<String> = (1..=TERMS_MAX as u64).map(|n| (2 * n).to_string()).collect();
    let at_most = format!("{O}:{}", numbers.join(","));
    assert!(at_most.parse::<VersionVector>().is_ok());
    assert_eq!(refused(&format!("{at_most};{term}")), VvError::TooManyIntervals);
    assert_eq!(refused(&format!("{at_most},{SEQ_MAX}")), VvError::TooManyIntervals);
}

fn any_interval() -> impl Strategy<Value = (u64, u64)> {
    (1..40_u64, 0..6_u64).prop_map(|(first, more)| (first, first + more))
}

/// Terms that keep the rules: intervals are sorted and those that overlap the one before are left out.
fn any_term() -> impl Strategy<Value = Term> {
    let check = proptest::option::of(any::<u32>());
    (1..4_u8, proptest::collection::vec(any_interval(), 1..5), check).prop_map(|(n, mut raw, check)| {
        raw.sort_unstable();
        let mut intervals: Vec<RangeInclusive<u64>> = Vec::new();
        for (first, last) in raw {
            if intervals.last().is_none_or(|before| first > *before.end()) {
                intervals.push(first..=last);
            }
        }
        Term { origin: origin(n), intervals, check }
    })
}

fn any_vv() -> impl Strategy<Value = VersionVector> {
    (proptest::option::of(any::<u32>()), proptest::collection::vec(any_term(), 0..6))
        .prop_map(|(scope, terms)| VersionVector { scope, terms })
}

proptest! {
    #[test]
    fn text_round_trips(vv in any_vv()) {
        prop_assert_eq!(vv.to_string().parse::<VersionVector>(), Ok(vv));
    }

    // Whatever reads as a vv is written back as the very text, or at least as one of the same meaning.
    #[test]
    fn text_never_panics(text in "[@0-9a-f:;,~-]{0,60}") {
        if let Ok(vv) = text.parse::<VersionVector>() {
            prop_assert_eq!(vv.to_string().parse::<VersionVector>(), Ok(vv));
        }
    }

    // Any text at all, cut anywhere, costs a few times its length: a term of 18 characters is kept in 136 bytes.
    #[test]
    fn text_is_paid_for(vv in any_vv(), garbage in "\\PC{0,40}", at in any::<prop::sample::Index>()) {
        let mut text = vv.to_string();
        text.truncate(at.index(text.len() + 1));
        for text in [text.clone(), text + &garbage, garbage] {
            let used = allocation_counter::measure(|| drop(text.parse::<VersionVector>()));
            prop_assert!(used.bytes_max <= 16 * text.len() as u64 + 256, "{} bytes for {}", used.bytes_max, text);
        }
    }

    // A set of intervals must agree with the plain set of the dots that the terms name.
    #[test]
    fn dot_set_is_the_set(vv in any_vv(), last in 0..50_u64) {
        let set = DotSet::of_terms(&vv.terms);
        let named = |dot: Dot| vv.terms.iter().any(|term| {
            term.origin == dot.origin && term.intervals.iter().any(|i| i.contains(&dot.seq.0))
        });
        let pin: Knowledge = (1..4).map(|n| (origin(n), Seq(last))).collect();
        let missing: Vec<Dot> = set
            .missing(&pin)
            .flat_map(|(origin, gap)| gap.map(move |seq| Dot { origin, seq: Seq(seq) }))
            .collect();
        let expected: Vec<Dot> =
            (1..4).flat_map(|n| (1..=last).map(move |seq| dot(n, seq))).filter(|d| !named(*d)).collect();
        prop_assert_eq!(set.missing_count(&pin), expected.len() as u64);
        prop_assert_eq!(missing, expected);
        for seq in 0..60 {
            prop_assert_eq!(set.contains(dot(2, seq)), named(dot(2, seq)));
        }
    }
}
