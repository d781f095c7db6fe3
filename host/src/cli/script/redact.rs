//! What differs from run to run, replaced by its name, so that two transcripts of one story are equal.

/// Replaces what differs from run to run: origins, checks, cursors, libraries and where they lie, and the server's own
/// time.
pub fn redact(text: &str) -> String {
    let mut text =
        replace_hex(text, 16, "<origin>", |before, after| !before.ends_with('~') && after.starts_with(':'));
    text = replace_hex(&text, 8, "<check>", |before, _| before.ends_with('~'));
    text = replace_hex(&text, 16, "<origin>", |before, _| before.ends_with("\"origin\":\""));
    for name in ["now", "cursor", "file", "library"] {
        text = replace_member(&text, name);
    }
    without_request_id(text)
}

/// Every problem names its request; a transcript does without.
fn without_request_id(mut text: String) -> String {
    const MARK: &str = ",\"request_id\":\"";
    while let Some(start) = text.find(MARK) {
        let value = start + MARK.len();
        let Some(length) = text.get(value..).and_then(|rest| rest.find('"')) else { break };
        text.replace_range(start..=value + length, "");
    }
    text
}

/// Replaces runs of exactly `digits` hex digits whose surroundings fit.
fn replace_hex(text: &str, digits: usize, name: &str, fits: impl Fn(&str, &str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, found) = rest.split_at(start);
        let end = found.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(found.len());
        let (run, after) = found.split_at(end);
        out.push_str(before);
        out.push_str(if run.len() == digits && fits(&out, after) { name } else { run });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Replaces the text value of the JSON member `name`.
fn replace_member(text: &str, name: &str) -> String {
    let mark = format!("\"{name}\":\"");
    let Some((before, rest)) = text.split_once(&mark) else { return text.to_owned() };
    let after = rest.find('"').and_then(|end| rest.get(end..)).unwrap_or_default();
    format!("{before}{mark}<{name}>{}", replace_member(after, name))
}
