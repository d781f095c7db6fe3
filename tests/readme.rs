//! The README does what it says: its commands run, its curls answer as printed, and the list of errors is whole.

use laterbase::problem::Code;
use laterbase_tests::{Client, Server, redact, top};
use std::fmt::Write;
use std::fs;
use std::process::Command;

fn readme() -> String {
    fs::read_to_string(top().join("README.md")).expect("a README")
}

/// The indented blocks, without their indent.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    for line in text.lines() {
        let block = blocks.last_mut().expect("never empty");
        match line.strip_prefix("    ") {
            Some(code) => writeln!(block, "{code}").expect("memory"),
            None if !block.is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The printed answers, in order.
pub(crate) fn answers(text: &str) -> Vec<String> {
    text.split("```json\n").skip(1).filter_map(|rest| rest.split("\n```").next()).map(str::to_owned).collect()
}

/// Performs a curl line: method, headers, body and target as the shell would hand them over.
pub(crate) fn perform(client: &mut Client, curl: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    let mut quoted = false;
    for char in curl.trim().chars() {
        match char {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("never empty").push(other),
        }
    }
    let (mut header, mut body, mut target) = (None, None, String::new());
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" => header = words.next(),
            "-d" => body = words.next(),
            url => url.strip_prefix("localhost:4000").expect("the README's address").clone_into(&mut target),
        }
    }
    let headers: Vec<_> = header.iter().filter_map(|header| header.split_once(": ")).collect();
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    client.send(method, &target, &headers, body.as_bytes()).expect("an answer").text().to_owned()
}

// Goal: a newcomer sees what the README prints. Method: its curls in order against a fresh server; origins, checks
// and the present time are compared by their places only.
#[test]
fn the_curls_answer_as_printed() {
    let text = readme();
    let curls: Vec<String> = commands(&text).into_iter().filter(|block| block.starts_with("curl ")).collect();
    let printed = answers(&text);
    assert_eq!((curls.len(), printed.len()), (3, 3));
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    for (curl, printed) in curls.iter().zip(printed) {
        let answer = perform(&mut client, curl);
        assert_eq!(redact(&answer), redact(&printed), "{curl}\n{answer}");
    }
}

// Goal: the spreadsheet of the README is imported as it says. Method: its commands by a shell, with the server's
// address added, against what is printed; then without the dry run.
#[test]
fn the_spreadsheet_is_imported() {
    let text = readme();
    let commands =
        commands(&text).into_iter().find(|block| block.contains("laterbase import")).expect("commands");
    let printed = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a report");
    let server = Server::start(&[]).expect("a server");
    let address = format!("laterbase import --server http://{} ", server.address());
    let commands = commands.replace("laterbase import ", &address);
    let folder = tempfile::tempdir().expect("a folder");
    let path = format!("{}:{}", laterbase_tests::target().display(), std::env::var("PATH").expect("a path"));
    for (commands, printed) in [
        (commands.clone(), printed.to_owned()),
        (commands.replace(" --dry-run", ""), printed.replace("dry run: nothing is written\n", "")),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &commands]).env("PATH", &path).current_dir(folder.path());
        let output = shell.output().expect("a shell");
        assert_eq!(output.status.code(), Some(1), "a row is refused: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed);
    }
    assert!(server.get("/tally/total?key=pears").expect("an answer").text().contains("\"n\":12"));
}

// Goal: the two commands are those that are promised. Method: the server of every other test is started by the words
// of the first (without `cargo run`, which would build it anew), and `.ci/run` takes the second from the README.
#[test]
fn the_two_commands_stand_there() {
    let blocks = commands(&readme());
    assert!(blocks.contains(&"cargo run --release -- serve\n".to_owned()), "{blocks:?}");
    assert!(blocks.contains(&"cargo test --workspace\n".to_owned()), "{blocks:?}");
    let manifest = fs::read_to_string(top().join("Cargo.toml")).expect("a manifest");
    assert!(
        manifest.contains("default-members = [\"host\", \"plugins/*\"]"),
        "the first command builds the plugins too"
    );
}

// Goal: every code that a program may meet is documented. Method: the list in the code is written out and compared;
// LATERBASE_BLESS=1 writes the file.
#[test]
fn the_list_of_errors_is_whole() {
    let mut list = String::from(
        "# Errors\n\nEvery error is `application/problem+json` (RFC 9457) with one of these codes in `code`. Codes are never\n\
         renamed or reused. `detail` says what was wrong, where, and what to do.\n\n| code | status | meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        writeln!(list, "| `{}` | {} | {} |", code.word(), code.status(), code.meaning()).expect("memory");
    }
    list.push_str(
        "\n`laterbase import` refuses rows with these codes before it sends them, and with those above behind that.\n\n\
         | code | meaning |\n|---|---|\n",
    );
    for (code, meaning) in laterbase::cli::ROW_CODES {
        writeln!(list, "| `{code}` | {meaning} |").expect("memory");
    }
    let path = top().join("host/ERRORS.md");
    if std::env::var_os("LATERBASE_BLESS").is_some() {
        fs::write(&path, &list).expect("written");
    }
    assert_eq!(fs::read_to_string(&path).expect("host/ERRORS.md"), list);
}
