//! Pages come back as they were sent; whatever else comes is refused by name, and costs no memory.

use super::super::pack::{pack, unpack};
use super::*;
use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;

fn any_content() -> impl Strategy<Value = (u32, u32, Option<Vec<u8>>)> {
    let number = prop_oneof![4 => 0..3_u32, 1 => any::<u32>()];
    (number.clone(), number, proptest::option::weighted(0.7, vec(any::<u8>(), 0..40)))
}

/// Rows of three Origins in order, with gaps, at either end of the range of seqs.
fn any_page() -> impl Strategy<Value = Page> {
    let row = (0..3_u8, 1..4_u64, any::<[u8; 16]>(), any_content());
    (any::<u64>(), vec(row, 0..40), prop_oneof![Just(0), Just(SEQ_MAX - 200)]).prop_map(
        |(clock, mut raw, base)| {
            raw.sort_by_key(|(origin, ..)| *origin);
            let mut page = Page { clock: ValidTime(clock), ..Page::default() };
            let (mut seq, mut of) = (base, 0);
            for (origin, gap, key, (type_number, version, data)) in raw {
                seq = if origin == of { seq + gap } else { base + gap };
                of = origin;
                let content = match data {
                    None => Content::Alias(ValueHash(key)),
                    Some(bytes) => {
                        let start = page.data.len();
                        page.data.extend(bytes);
                        Content::Whole { type_number, version, data: start..page.data.len() }
                    }
                };
                let dot = Dot { origin: Origin([origin; 8]), seq: Seq(seq) };
                page.rows.push(Row { dot, key: EventKey(key), content });
            }
            page
        },
    )
}

/// A page's bytes as somebody may write them who keeps no rule.
#[derive(Debug, Clone)]
struct Wire {
    runs: Vec<([u8; 8], u64, u64)>,
    /// How many runs and kinds are announced, if not as many as there are.
    announced: [Option<u64>; 2],
    kinds: Vec<(u64, u64)>,
    /// Contents, times, tails, lengths, data.
    columns: [Vec<u8>; 5],
    /// What a column announces in the place of its length.
    length: Option<(usize, u64)>,
}

impl Wire {
    /// One row, of Origin 7 and seq 1, with 3 bytes.
    fn good() -> Self {
        let columns = [vec![1], vec![4], vec![9; 8], vec![3], b"abc".to_vec()];
        let runs = vec![([7; 8], 1, 1)];
        Self { runs, announced: [None; 2], kinds: vec![(1, 1)], columns, length: None }
    }

    fn plain(&self) -> Vec<u8> {
        let mut out = vec![0; 8];
        put(&mut out, self.announced[0].unwrap_or(self.runs.len() as u64));
        for (origin, first, rows) in &self.runs {
            out.extend(origin);
            put(&mut out, *first);
            put(&mut out, *rows);
        }
        put(&mut out, self.announced[1].unwrap_or(self.kinds.len() as u64));
        for (type_number, version) in &self.kinds {
            put(&mut out, *type_number);
            put(&mut out, *version);
        }
        for (at, column) in self.columns.iter().enumerate() {
            let lie = self.length.filter(|(lies, _)| *lies == at).map(|(_, length)| length);
            put(&mut out, lie.unwrap_or(column.len() as u64));
            out.extend(column);
        }
        out
    }

    /// What reading it comes to; never more memory than a few times its bytes.
    fn read(&self) -> std::result::Result<usize, FrameError> {
        read(&self.plain()).map(|page| page.len())
    }
}

/// Reads these bytes as a page that came whole over the network.
fn read(plain: &[u8]) -> std::result::Result<Page, FrameError> {
    let packed = pack(plain);
    let mut page = Ok(Page::default());
    let used = measure(|| page = Page::decode(&packed));
    let bytes_max = 12 * plain.len() as u64 + 1024;
    assert!(used.bytes_max <= bytes_max, "{} bytes for a page of {}", used.bytes_max, plain.len());
    page
}

fn form(read: std::result::Result<usize, FrameError>, words: &str) {
    match read {
        Err(FrameError::Form(reason)) if reason.contains(words) => {}
        other => panic!("expected {words:?}, got {other:?}"),
    }
}

/// Counts and lengths that nothing stands behind.
#[test]
fn lies_about_numbers() {
    assert_eq!(Wire::good().read(), Ok(1));
    for huge in [2, 9, u64::from(u32::MAX), u64::MAX] {
        let refused = Wire { announced: [Some(huge), None], ..Wire::good() }.read();
        assert!(refused.is_err(), "{huge} runs: {refused:?}");
        form(Wire { announced: [None, Some(huge)], ..Wire::good() }.read(), "more kinds than rows");
        for column in 0..5 {
            let lying = Wire { length: Some((column, huge)), ..Wire::good() };
            let enough = huge == Wire::good().columns[column].len() as u64;
            assert!(enough || lying.read().is_err(), "column {column} of {huge}");
        }
        let mut lengths = Vec::new();
        put(&mut lengths, huge);
        let mut beyond = Wire::good();
        beyond.columns[3] = lengths;
        let expected = if huge == 2 {
            FrameError::Form("bytes are left behind the page's rows")
        } else {
            FrameError::Truncated
        };
        assert_eq!(beyond.read(), Err(expected), "data of {huge} bytes in a column of 3");
    }
    let mut long = Wire::good();
    long.columns[1] = vec![0xff; 11];
    form(long.read(), "a number is out of range");
    form(
        Wire { kinds: vec![(u64::from(u32::MAX) + 1, 1)], ..Wire::good() }.read(),
        "a number is out of range",
    );
}

/// Runs that repeat, overlap, fall, are empty, begin at 0, or end beyond the last seq that there is.
#[test]
fn runs_that_are_none() {
    let runs = |runs: &[(u8, u64, u64)]| {
        let rows: usize = runs.iter().map(|(.., rows)| usize::try_from(*rows).unwrap_or(1).min(20_000)).sum();
        let column = |bytes: &[u8]| bytes.repeat(rows);
        Wire {
            runs: runs.iter().map(|(origin, first, rows)| ([*origin; 8], *first, *rows)).collect(),
            columns: [column(&[1]), column(&[4]), column(&[9; 8]), column(&[0]), Vec::new()],
            ..Wire::good()
        }
        .read()
    };
    assert_eq!(runs(&[(1, 1, 2), (1, 4, 1), (2, SEQ_MAX, 1)]), Ok(4));
    assert_eq!(runs(&[(1, 1, SYNC_PAGE_ROWS_MAX as u64)]), Ok(SYNC_PAGE_ROWS_MAX));
    form(runs(&[(1, 1, SYNC_PAGE_ROWS_MAX as u64 + 1)]), "more than the page has room for");
    let halves = SYNC_PAGE_ROWS_MAX as u64 / 2 + 1;
    form(runs(&[(1, 1, halves), (2, 1, halves)]), "more than the page has room for");
    for overlapping in
        [[(1, 1, 1), (1, 1, 1)], [(1, 1, 3), (1, 3, 1)], [(1, 5, 1), (1, 4, 1)], [(2, 1, 1), (1, 1, 1)]]
    {
        form(runs(&overlapping), "overlap or do not ascend");
    }
    form(runs(&[(1, 1, 0)]), "has no rows");
    form(runs(&[(1, 0, 1)]), "begins at seq 0");
    form(runs(&[(1, SEQ_MAX, 2)]), "out of range");
    form(runs(&[(1, SEQ_MAX + 1, 1)]), "out of range");
    form(runs(&[(1, u64::MAX, 1)]), "out of range");
    form(runs(&[(1, u64::MAX, 2)]), "out of range");
    form(runs(&[(1, 1, u64::from(u32::MAX))]), "more than the page has room for");
    form(runs(&[(1, 1, u64::MAX)]), "more than the page has room for");
}

/// A row of a kind that the page does not name, or with a field too few; and what nobody asked for behind the last.
#[test]
fn rows_that_are_none() {
    for kind in [2, u64::from(u32::MAX), u64::MAX] {
        let mut wire = Wire::good();
        wire.columns[0] = Vec::new();
        put(&mut wire.columns[0], kind);
        form(wire.read(), "names no kind");
    }
    form(Wire { kinds: Vec::new(), ..Wire::good() }.read(), "names no kind");
    for column in 0..5 {
        let mut short = Wire::good();
        short.columns[column].pop();
        assert_eq!(short.read(), Err(FrameError::Truncated), "column {column}");
        let mut long = Wire::good();
        long.columns[column].push(0);
        form(long.read(), "left behind");
    }
    let mut behind = Wire::good().plain();
    behind.push(0);
    form(read(&behind).map(|page| page.len()), "left behind");
}

/// A small frame that unpacks to much: kinds by the million, a million Origins.
#[test]
fn bombs() {
    let mut kinds = Wire::good();
    kinds.kinds = vec![(0, 0); 1_000_000];
    form(kinds.read(), "more kinds than rows");
    let mut origins = Wire { kinds: Vec::new(), ..Wire::good() };
    origins.runs = (0..1_000_000_u64).map(|number| (number.to_be_bytes(), 1, 1)).collect();
    form(origins.read(), "more than the page has room for");
    let plain = vec![0; PAGE_PLAIN_BYTES_MAX + 1];
    let bomb = pack(&plain);
    assert!(bomb.len() < 16 << 10, "{} bytes", bomb.len());
    let used = measure(|| {
        let bytes = PAGE_PLAIN_BYTES_MAX + 1;
        assert_eq!(Page::decode(&bomb), Err(FrameError::TooLong { bytes, bytes_max: PAGE_PLAIN_BYTES_MAX }));
    });
    assert!(used.bytes_max < 1024, "{} bytes", used.bytes_max);
}

proptest! {
    #[test]
    fn pages_round_trip(page in any_page()) {
        prop_assert_eq!(Page::decode(&page.encode()), Ok(page));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    // A page that ends early is never a page, wherever it ends.
    #[test]
    fn cut_pages_are_refused(page in any_page()) {
        let packed = page.encode();
        let plain = unpack(&packed, PAGE_PLAIN_BYTES_MAX).expect("just packed");
        for end in 0..plain.len() {
            prop_assert!(read(&plain[..end]).is_err(), "cut at {} of {}", end, plain.len());
        }
        for end in 0..packed.len() {
            prop_assert!(Page::decode(&packed[..end]).is_err(), "cut at {} of {}", end, packed.len());
        }
    }

}

proptest! {
    // One flipped bit under a right checksum is another page or an error; whatever is read can be written again.
    #[test]
    fn flipped_pages_are_pages_or_refused(page in any_page(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut plain = unpack(&page.encode(), PAGE_PLAIN_BYTES_MAX).expect("just packed");
        *at.get_mut(&mut plain) ^= 1_u8 << bit;
        if let Ok(read) = read(&plain) {
            prop_assert_eq!(Page::decode(&read.encode()), Ok(read));
        }
    }

    #[test]
    fn made_up_pages_do_no_harm(plain in vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..200)) {
        if let Ok(read) = read(&plain) {
            prop_assert_eq!(Page::decode(&read.encode()), Ok(read));
        }
        prop_assert!(Page::decode(&plain).is_err(), "no checksum is right by chance");
    }
}
