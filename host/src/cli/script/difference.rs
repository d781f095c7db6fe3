//! Where two transcripts differ, for a person: like `diff -u`, but each part names the place in the file and the
//! request that was answered, and of a long line only what stands around the first difference is shown.

use similar::{ChangeTag, DiffOp, TextDiff};

/// Lines around a difference.
const AROUND: usize = 3;
/// More lines than this are not shown.
const LINES_MAX: usize = 80;
/// The longest line that is shown whole, in characters.
const COLUMNS_MAX: usize = 160;
/// What is shown of a longer one in front of the first difference.
const COLUMNS_BEFORE: usize = 60;

/// The lines that show how `answered` differs from `expected`, the text of `file`.
pub(super) fn difference(file: &str, expected: &str, answered: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(expected, answered);
    let mut lines = Vec::new();
    for part in diff.grouped_ops(AROUND) {
        let Some(first) = part.iter().find(|op| !matches!(op, DiffOp::Equal { .. })) else { continue };
        let asked = request(answered, first.new_range().start);
        lines.push(format!("@@ {file}:{}{asked} @@", first.old_range().start + 1));
        for op in &part {
            lines.extend(shown(&diff, op));
        }
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.truncate(LINES_MAX);
        lines.push(format!("   and {more} more lines"));
    }
    lines
}

/// The last request of `text` that begins in its first lines, up to the one at `end`.
fn request(text: &str, end: usize) -> String {
    let asked = text.lines().take(end + 1).filter(|line| line.starts_with("--- ")).last();
    asked.map(|line| format!(", {line}")).unwrap_or_default()
}

fn shown(diff: &TextDiff<'_, '_, '_, str>, op: &DiffOp) -> Vec<String> {
    let of = |wanted: ChangeTag| -> Vec<&str> {
        let changes = diff.iter_changes(op).filter(|change| change.tag() == wanted);
        changes.map(|change| change.value().trim_end_matches('\n')).collect()
    };
    let (same, gone, come) = (of(ChangeTag::Equal), of(ChangeTag::Delete), of(ChangeTag::Insert));
    let mut lines: Vec<String> = same.iter().map(|line| format!(" {}", window(line, 0))).collect();
    for (mark, side, other) in [('-', &gone, &come), ('+', &come, &gone)] {
        for (at, line) in side.iter().enumerate() {
            let from = other.get(at).map_or(0, |other| in_common(line, other));
            lines.push(format!("{mark}{}", window(line, from)));
        }
    }
    lines
}

/// How many characters two lines begin with alike.
fn in_common(left: &str, right: &str) -> usize {
    left.chars().zip(right.chars()).take_while(|(left, right)| left == right).count()
}

/// `line`, or if it is long what stands around its character number `at`.
fn window(line: &str, at: usize) -> String {
    let length = line.chars().count();
    if length <= COLUMNS_MAX {
        return line.to_owned();
    }
    let start = at.saturating_sub(COLUMNS_BEFORE).min(length - COLUMNS_MAX);
    let before = if start > 0 { "…" } else { "" };
    let after = if start + COLUMNS_MAX < length { "…" } else { "" };
    let middle: String = line.chars().skip(start).take(COLUMNS_MAX).collect();
    format!("{before}{middle}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_place_and_its_request() {
        let expected = "# words\n--- GET /a\n\n=> 200\n{\"n\":1}\n\n--- GET /b\n\n=> 200\n{\"n\":2}\n";
        let answered = expected.replace("{\"n\":2}", "{\"n\":3}");
        let lines = difference("s.out", expected, &answered);
        assert_eq!(
            lines,
            ["@@ s.out:10, --- GET /b @@", " --- GET /b", " ", " => 200", "-{\"n\":2}", "+{\"n\":3}"]
        );
        assert_eq!(difference("s.out", expected, expected), Vec::<String>::new());
    }

    // A page of events is one line of many kilobytes; what differs in it must be seen.
    #[test]
    fn a_long_line_is_shown_around_its_difference() {
        let (before, after) = ("ä".repeat(500), "x".repeat(500));
        let [expected, answered] = ["old", "new"].map(|word| format!("{before}{word}{after}\n"));
        let lines = difference("s.out", &expected, &answered);
        assert!(lines[1].starts_with("-…ä") && lines[1].contains("äoldx"), "{lines:?}");
        assert!(lines[2].ends_with("x…") && lines[2].contains("änewx"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS_MAX + 3), "{lines:?}");
        assert_eq!(window(&format!("{before}y"), 500).chars().last(), Some('y'));
    }

    #[test]
    fn a_great_difference_is_cut() {
        let long = |word: &str| {
            (0..500).fold(String::new(), |text, n| {
                format!(
                    "{text}{word} {n}
"
                )
            })
        };
        let lines = difference("s.out", &long("a"), &long("b"));
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines.last().map(String::as_str), Some("   and 921 more lines"));
    }
}
