//! The text of a script as steps, each with its line. Whatever would be passed over in silence is a fault instead: a
//! test that leaves out what its author wrote proves nothing.

use super::{Fault, What};

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'s> {
    /// Its first line, counted from one.
    pub(super) line: usize,
    pub(super) does: Does<'s>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Does<'s> {
    /// What stands behind the `#`.
    Comment(&'s str),
    /// Remembers what stands at a place of the last answer.
    Let { name: &'s str, place: &'s str },
    /// Kills the server and starts it again.
    Crash,
    /// The same, and deletes the data in between.
    Forget,
    /// `asked` is METHOD TARGET; `rest` the headers, an empty line and the body.
    Ask { asked: &'s str, rest: &'s str },
}

/// Reads a script.
pub(super) fn steps(script: &str) -> Result<Vec<Step<'_>>, Fault> {
    let (mut steps, mut has_asked) = (Vec::new(), false);
    for (line, part) in parts(script) {
        let (first, rest) = part.split_once('\n').unwrap_or((part, ""));
        let does = does(first.trim_end(), rest).map_err(|what| Fault { line, what })?;
        match does {
            Does::Ask { rest, .. } => {
                has_asked = true;
                check_headers(line, rest)?;
            }
            Does::Let { .. } if !has_asked => return Err(Fault { line, what: What::TooEarly }),
            Does::Comment(_) | Does::Let { .. } | Does::Crash | Does::Forget => stray(line + 1, rest)?,
        }
        steps.push(Step { line, does });
    }
    if has_asked { Ok(steps) } else { Err(Fault { line: 1, what: What::Nothing }) }
}

/// The script's parts with their first lines: comments, and steps with the lines that belong to them.
fn parts(script: &str) -> Vec<(usize, &str)> {
    let (mut starts, mut at) = (vec![(1, 0)], 0);
    for (line, text) in (1..).zip(script.split_inclusive('\n')) {
        if line > 1 && is_start(text) {
            starts.push((line, at));
        }
        at += text.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([script.len()]);
    let parts = starts.iter().zip(ends);
    let parts = parts.filter_map(|((line, start), end)| Some((*line, script.get(*start..end)?.trim_end())));
    parts.filter(|(_, part)| !part.is_empty()).collect()
}

fn is_start(line: &str) -> bool {
    line.starts_with("--- ") || line.starts_with('#')
}

fn does<'s>(first: &'s str, rest: &'s str) -> Result<Does<'s>, What> {
    if let Some(comment) = first.strip_prefix('#') {
        return Ok(Does::Comment(comment));
    }
    let Some(step) = first.strip_prefix("--- ") else { return Err(What::Stray(first.to_owned())) };
    if let Some(binding) = step.strip_prefix("let ") {
        let (name, place) = binding.split_once('=').ok_or(What::Let)?;
        let (name, place) = (name.trim(), place.trim());
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return if is_name && !place.is_empty() { Ok(Does::Let { name, place }) } else { Err(What::Let) };
    }
    match step.split_once(' ') {
        None if step == "crash" => Ok(Does::Crash),
        None if step == "forget" => Ok(Does::Forget),
        Some((method, target)) if is_method(method) && target.starts_with(['/', '{']) => {
            Ok(Does::Ask { asked: step, rest })
        }
        _ => Err(What::NoStep(first.to_owned())),
    }
}

fn is_method(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
}

/// The headers and the body of a request.
pub(super) fn head_and_body(rest: &str) -> (&str, &str) {
    match rest.strip_prefix('\n') {
        Some(body) => ("", body.trim_start()),
        None => rest.split_once("\n\n").unwrap_or((rest, "")),
    }
}

fn check_headers(line: usize, rest: &str) -> Result<(), Fault> {
    let (head, _) = head_and_body(rest);
    let is_header = |text: &str| text.split_once(": ").is_some_and(|(name, _)| !name.contains([' ', '"']));
    match (line + 1..).zip(head.lines()).find(|(_, text)| !is_header(text)) {
        Some((line, text)) => Err(Fault { line, what: What::NoHeader(text.to_owned()) }),
        None => Ok(()),
    }
}

/// Below what takes no lines nothing may stand.
fn stray(line: usize, rest: &str) -> Result<(), Fault> {
    match (line..).zip(rest.lines()).find(|(_, text)| !text.trim().is_empty()) {
        Some((line, text)) => Err(Fault { line, what: What::Stray(text.to_owned()) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_step_by_step() {
        let script =
            "# first\n\n--- POST /a/e\nx: y\n\n{}\n#not a body\n--- let k = /key\n--- crash \n--- GET {k}\n";
        let steps = steps(script).expect("a sound script");
        let expected = [
            (1, Does::Comment(" first")),
            (3, Does::Ask { asked: "POST /a/e", rest: "x: y\n\n{}" }),
            (7, Does::Comment("not a body")),
            (8, Does::Let { name: "k", place: "/key" }),
            (9, Does::Crash),
            (10, Does::Ask { asked: "GET {k}", rest: "" }),
        ];
        assert_eq!(steps, expected.map(|(line, does)| Step { line, does }));
        assert_eq!(head_and_body("x: y\n\n{}\n\n{}"), ("x: y", "{}\n\n{}"));
        assert_eq!(head_and_body("\n{}"), ("", "{}"));
    }

    // Nothing that an author wrote is passed over.
    #[test]
    fn what_cannot_be_read_is_named_by_its_line() {
        for (script, line, word) in [
            ("", 1, "nothing is asked"),
            ("# only words\n", 1, "nothing is asked"),
            ("\nGET /a\n", 1, "belongs to no step"),
            ("# words\nmore words\n--- GET /a\n", 2, "belongs to no step"),
            ("--- GET /a\n--- crash\n\n{}\n", 4, "belongs to no step"),
            ("--- GET /a\n--- crahs\n", 2, "is no step"),
            ("--- GET /a\n--- get /a\n", 2, "is no step"),
            ("--- GET a\n", 1, "is no step"),
            ("--- POST /a\n{\"n\":1}\n", 2, "is no header"),
            ("--- POST /a\nx: y\n{\"n\": 1}\n\n{}\n", 3, "is no header"),
            ("--- let a = /b\n--- GET /a\n", 1, "before `let`"),
            ("--- GET /a\n--- let a /b\n", 2, "let NAME = PLACE"),
            ("--- GET /a\n--- let a b = /b\n", 2, "let NAME = PLACE"),
        ] {
            let fault = steps(script).expect_err(script);
            assert_eq!(fault.line, line, "{script:?}: {fault}");
            assert!(fault.to_string().contains(word), "{script:?}: {fault}");
        }
    }
}
