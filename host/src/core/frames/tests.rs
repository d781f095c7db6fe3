//! Frames are read as they were written, whatever is in them and wherever they are cut, and every fault is named.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const MAX: usize = 1 << 20;

/// A frame that owns its fields.
#[derive(Debug, Clone)]
enum Owned {
    Event {
        when: FrameTime,
        id: Option<String>,
        number: u32,
        version: u32,
        data: Vec<u8>,
        dot: Option<Dot>,
        clash: bool,
    },
    End {
        left: Option<u64>,
        cursor: Option<String>,
        vv: Option<String>,
    },
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Event { when, id, number, version, data, dot, clash } => Frame::Event(EventFrame {
                when: *when,
                id: id.as_deref().filter(|_| matches!(when, FrameTime::At(_))),
                type_number: *number,
                version: Some(*version).filter(|version| *version > 0),
                data,
                dot: *dot,
                clash: *clash,
            }),
            Self::End { left, cursor, vv } => {
                Frame::End(EndFrame { left: *left, cursor: cursor.as_deref(), vv: vv.as_deref() })
            }
        }
    }
}

fn frames() -> impl Strategy<Value = Vec<Owned>> {
    let when = prop_oneof![
        Just(FrameTime::Now),
        any::<u64>().prop_map(|time| FrameTime::At(ValidTime(time))),
        any::<[u8; 16]>().prop_map(|key| FrameTime::Key(EventKey(key))),
    ];
    let dot = (any::<[u8; 8]>(), any::<u64>()).prop_map(|(o, seq)| Dot { origin: Origin(o), seq: Seq(seq) });
    let fields = (
        when,
        prop::option::of(".{1,12}"),
        any::<u32>(),
        0..3_u32,
        vec(any::<u8>(), 0..40),
        prop::option::of(dot),
        any::<bool>(),
    );
    let event = fields.prop_map(|(when, id, number, version, data, dot, clash)| Owned::Event {
        when,
        id,
        number,
        version,
        data,
        dot,
        clash,
    });
    let text = || prop::option::of(".{0,12}");
    let end = (prop::option::of(any::<u64>()), text(), text());
    let end = end.prop_map(|(left, cursor, vv)| Owned::End { left, cursor, vv });
    vec(prop_oneof![4 => event, 1 => end], 0..6)
}

fn written(frames: &[Owned]) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for frame in frames {
        write(&mut bytes, &frame.frame());
    }
    bytes
}

proptest! {
    // Every frame comes back as it was, from a whole body and from one that comes byte by byte.
    #[test]
    fn frames_are_read_as_written(frames in frames()) {
        let bytes = written(&frames);
        let read: Result<Vec<Frame<'_>>, _> = Frames::new(&bytes, MAX).collect();
        let expected: Vec<Frame<'_>> = frames.iter().map(Owned::frame).collect();
        prop_assert_eq!(read.as_ref(), Ok(&expected));
        let (mut at, mut end, mut count) = (HEAD.len(), HEAD.len(), 0);
        while at < bytes.len() {
            match read_frame(&bytes[at..end], at, MAX) {
                Ok(None) => end += 1,
                Ok(Some((frame, length))) => {
                    prop_assert_eq!(frame, expected[count]);
                    prop_assert_eq!(at + length, end, "not one byte more is needed");
                    (at, count) = (end, count + 1);
                }
                Err(fault) => prop_assert!(false, "{}", fault),
            }
        }
        prop_assert_eq!(count, expected.len());
    }

    // Cut anywhere but between two frames, the body is told to be cut off, and where; what came before is given.
    #[test]
    fn cut_bodies_are_named(frames in frames(), place in any::<prop::sample::Index>()) {
        let bytes = written(&frames);
        let cut = place.index(bytes.len());
        let mut ends = vec![HEAD.len()];
        for frame in &frames {
            ends.push(ends[ends.len() - 1] + written(std::slice::from_ref(frame)).len() - HEAD.len());
        }
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let last = Frames::new(&bytes[..cut], MAX).last();
        if ends.contains(&cut) {
            prop_assert!(last.is_none_or(|last| last.is_ok()));
        } else {
            let at = whole.checked_sub(1).map_or(0, |last| ends[last]);
            prop_assert_eq!(last, Some(Err(FramesError::Truncated { at })));
        }
    }

    // A flipped bit never goes by: a checksum, a length or the head tells. A frame that grew may also seem cut off.
    #[test]
    fn flipped_bits_are_noticed(frames in frames(), place in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = written(&frames);
        let at = place.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Frames::new(&bytes, MAX).any(|frame| frame.is_err()));
    }

    // Whatever bytes come, reading them ends, and what is read is written alike.
    #[test]
    fn any_content_is_read_or_refused(mut content in vec(any::<u8>(), 0..60), known in any::<bool>()) {
        if known && content.len() > 1 {
            content[0] = 1 + content[0] % 2;
            content[1] %= 32;
        }
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let check = checksum(length, &content).to_be_bytes();
        let bytes = [&HEAD[..], &length, &check, &content].concat();
        match Frames::new(&bytes, MAX).next().expect("there is one") {
            Ok(frame) => {
                let mut again = HEAD.to_vec();
                write(&mut again, &frame);
                prop_assert_eq!(again, bytes);
            }
            Err(fault) => prop_assert!(matches!(fault, FramesError::Malformed { at: 5, .. }), "{}", fault),
        }
    }
}

// The table of FORMAT.md, byte for byte, and each fault of the whole body by its name.
#[test]
fn layout_and_faults() {
    let dot = Dot { origin: Origin([0xa1; 8]), seq: Seq(7) };
    let event = EventFrame {
        when: FrameTime::Key(EventKey([0x65; 16])),
        id: None,
        type_number: 7,
        version: Some(1),
        data: b"{\"n\":2}",
        dot: Some(dot),
        clash: false,
    };
    let mut bytes = HEAD.to_vec();
    write(&mut bytes, &Frame::Event(event));
    write(&mut bytes, &Frame::End(EndFrame { left: Some(0), cursor: None, vv: Some("v") }));
    let text = data_encoding::HEXLOWER.encode(&bytes);
    let format = include_str!("../../../FORMAT.md");
    let example = format.split("```frames\n").nth(1).and_then(|rest| rest.split("```").next());
    let example: String = example.expect("an example").split_whitespace().collect();
    assert_eq!(text, example, "FORMAT.md shows other bytes");

    let fault = |bytes: &[u8], max| Frames::new(bytes, max).find_map(Result::err);
    assert_eq!(fault(b"[{}]", MAX), Some(FramesError::NoFrames));
    assert_eq!(fault(b"", MAX), Some(FramesError::Truncated { at: 0 }));
    assert_eq!(fault(b"LBEV", MAX), Some(FramesError::Truncated { at: 0 }));
    assert_eq!(fault(b"LBEV\x02", MAX), Some(FramesError::Version { found: 2 }));
    assert_eq!(fault(&bytes, 40), Some(FramesError::TooLong { at: 5, bytes: 57, bytes_max: 40 }));
    assert_eq!(
        fault(b"LBEV\x01\xff\xff\xff\xff", MAX).map(|fault| fault.to_string()).as_deref(),
        Some("the frame at byte 5 has 4294967303 bytes, and 1048576 is the limit")
    );
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(fault(&bytes, MAX), Some(FramesError::Damaged { at: 62 }));
}
