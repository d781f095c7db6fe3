//! `laterbase plugin test`: an author's scripts are played as this project's own are, differences are shown by their
//! places, and whatever is wrong is named. That the template's own script passes is told in `authoring.rs`.

use laterbase_tests::{built, library, tally_variant, top};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of an author's: plugins in `plugins`, scripts beside it.
struct Author {
    folder: TempDir,
}

/// What a run said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Author {
    fn with(scripts: &[(&str, &str)]) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["plugins", "temporary"] {
            fs::create_dir(this.path(folder)).expect("made");
        }
        fs::copy(library("tally"), this.path("plugins/libtally.so")).expect("copied");
        for (name, text) in scripts {
            this.write(name, text);
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("written")
    }

    /// Runs `laterbase plugin test` in the author's folder; it leaves nothing of its own behind.
    fn test(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(built());
        command.args(["plugin", "test"]).args(arguments).current_dir(self.folder.path());
        let output = command.env("TMPDIR", self.path("temporary")).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let said = Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert_eq!(fs::read_dir(self.path("temporary")).expect("a folder").count(), 0, "{said:?}");
        said
    }
}

/// A story over a crash and a loss of all data.
const STORY: &str = r#"# One event.
--- POST /tally/e
content-type: application/json

{"type":"add","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"apples","n":40}}
--- let key = /events/0/key
--- crash
--- GET /tally/total?key=apples
--- POST /tally/e
content-type: application/json

{"type":"undo","time":"2026-05-02T10:00:00Z","id":"2","data":{"key":"{key}"}}
--- GET /tally/total
--- forget
--- GET /tally/e
"#;

fn story(folder: &str) -> String {
    fs::read_to_string(top().join(folder)).expect("UTF-8")
}

/// The transcript in a snapshot, without what stands above it.
fn told(snapshot: &Path) -> String {
    let text = fs::read_to_string(snapshot).expect("UTF-8");
    text.splitn(3, "---\n").nth(2).expect("a snapshot").to_owned()
}

// Goal: an author sees what this project's tests see, and only the differences cost a failure.
// Method: tally's own story is blessed, and is its snapshot to the byte; played again it passes, with lines that end
// otherwise, too.
#[test]
fn an_authors_story_is_told_as_ours() {
    let author = Author::with(&[("tutorial.txt", &story("plugins/tally/scripts/tutorial.txt"))]);
    let arguments = ["--plugins", "plugins", "tutorial.txt"];
    let missing = author.test(&arguments);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.out.contains("missing  tutorial.out: --bless writes"), "{missing:?}");
    assert!(!author.path("tutorial.out").exists());

    let blessed = author.test(&["--plugins", "plugins", "tutorial.txt", "--bless"]);
    assert_eq!((blessed.code, blessed.err.as_str()), (Some(0), ""), "{blessed:?}");
    assert_eq!(blessed.out, "new      tutorial.out\n1 played, 0 failed, 1 written\n");
    assert_eq!(author.read("tutorial.out"), told(&top().join("plugins/tally/snapshots/tutorial.snap")));

    let same = "same     tutorial.txt\n1 played, 0 failed";
    let again = author.test(&arguments);
    assert_eq!((again.code, again.out), (Some(0), format!("{same}\n")));
    for name in ["tutorial.txt", "tutorial.out"] {
        author.write(name, &author.read(name).replace('\n', "\r\n"));
    }
    let again = author.test(&["--plugins", "plugins", "--bless", "tutorial.txt"]);
    assert_eq!((again.code, again.out), (Some(0), format!("{same}, 0 written\n")));
    author.write("tutorial.out", author.read("tutorial.out").trim_end());
    assert_eq!(author.test(&arguments).code, Some(0), "an editor may leave out the last end of line");
}

// Goal: a difference is shown by its line and its request, the other scripts are played, nothing is written; --bless
// takes it. Method: a wrong sum in the middle of three scripts, one of which crashes and forgets.
#[test]
fn a_difference_is_shown_by_its_place() {
    let tutorial = story("plugins/tally/scripts/tutorial.txt");
    let author = Author::with(&[("a.txt", STORY), ("b.txt", &tutorial), ("c.txt", STORY)]);
    let scripts = ["a.txt", "b.txt", "c.txt"];
    let blessed = author.test(&[&scripts[..], &["--bless"]].concat());
    assert_eq!(blessed.code, Some(0), "{blessed:?}");
    let answers = author.read("a.out");
    let last = answers.lines().last().expect("an answer");
    assert!(answers.contains("\"n\":40") && last.starts_with("{\"events\":[],\"left\":0"), "{answers}");
    assert_eq!(answers.matches("--- crash\n").count() + answers.matches("--- forget\n").count(), 2);

    let wrong = author.read("b.out").replacen("\"n\":15", "\"n\":16", 1);
    author.write("b.out", &wrong);
    let at = 1 + wrong.lines().position(|line| line.contains("\"n\":16")).expect("it stands there");
    let differs = author.test(&scripts);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    for line in [
        "same     a.txt".to_owned(),
        "differs  b.txt is not answered as in b.out".to_owned(),
        format!("@@ b.out:{at}, --- GET /tally/total @@"),
        "same     c.txt".to_owned(),
        "3 played, 1 failed".to_owned(),
    ] {
        assert!(differs.out.lines().any(|known| known == line), "{line}: {differs:?}");
    }
    let starts = |mark: &str, sum: &str| {
        differs.out.lines().filter(|line| line.starts_with(mark) && line.contains(sum)).count()
    };
    assert_eq!((starts("-", "\"n\":16"), starts("+", "\"n\":15")), (1, 1), "{differs:?}");
    assert_eq!(
        differs.err,
        "laterbase: failed: b.txt; where the answers are meant to be so, --bless writes them\n"
    );
    assert_eq!(author.read("b.out"), wrong, "a comparison writes nothing");

    let blessed = author.test(&[&scripts[..], &["--bless"]].concat());
    assert_eq!(
        (blessed.code, blessed.out.as_str()),
        (Some(0), "same     a.txt\nchanged  b.out\nsame     c.txt\n3 played, 0 failed, 1 written\n")
    );
    assert_eq!(author.test(&["b.txt"]).code, Some(0));
}

// Goal: a script that cannot be read or played is named, with its line; those beside it are played all the same, and
// --bless writes nothing for it.
#[test]
fn a_bad_script_is_named_by_its_line() {
    let author = Author::with(&[
        ("good.txt", "--- GET /tally\n"),
        ("typo.txt", "--- GET /tally\n--- crahs\n"),
        ("header.txt", "--- POST /tally/e\ncontent-type: application/json\n{}\n"),
        ("place.txt", "# Where?\n--- GET /tally\n--- let key = /events/0/key\n"),
        ("empty.txt", ""),
    ]);
    fs::write(author.path("bytes.txt"), b"--- GET /\xff\n").expect("written");
    let scripts =
        ["typo.txt", "header.txt", "place.txt", "empty.txt", "bytes.txt", "nowhere.txt", "good.txt"];
    let said = author.test(&[&scripts[..], &["--bless"]].concat());
    assert_eq!(said.code, Some(1), "{said:?}");
    for (script, words) in [
        ("typo.txt, line 2", "\"--- crahs\" is no step"),
        ("header.txt, line 3", "\"{}\" is no header"),
        ("place.txt, line 3", "has no /events/0/key: {\"root\":\"tally\""),
        ("empty.txt, line 1", "nothing is asked"),
        ("bytes.txt", "UTF-8"),
        ("nowhere.txt", "No such file"),
    ] {
        let start = format!("failed   {script}: ");
        let named = said.out.lines().any(|line| line.starts_with(&start) && line.contains(words));
        assert!(named, "{script}: {words}: {said:?}");
    }
    assert!(said.out.contains("new      good.out\n7 played, 6 failed, 1 written\n"), "{said:?}");
    let named = scripts[..6].join(", ");
    assert_eq!(said.err, format!("laterbase: failed: {named}\n"));
    let written = ["typo", "header", "place", "empty", "bytes"];
    assert!(written.iter().all(|name| !author.path(&format!("{name}.out")).exists()), "{said:?}");
}

// Goal: a plugin that is refused, and a server that does not start, are said once and end the run, with the exit code
// that the server has for it.
#[test]
fn a_server_that_cannot_be_used_is_named() {
    let author = Author::with(&[("a.txt", STORY), ("b.txt", STORY), ("bad.toml", "[limits]\nno_such = 1\n")]);
    author.write("plugins/libbad.so", "text");
    for (arguments, code, words) in [
        (["--plugins", "plugins"], 1, "libbad.so: plugin_not_elf: "),
        (["--plugins", "nowhere"], 1, "nowhere"),
        (["--config", "bad.toml"], 78, "unknown field `no_such`"),
    ] {
        let said = author.test(&[&["a.txt", "b.txt"][..], &arguments].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.err.contains(words), "{words}: {said:?}");
        assert_eq!(said.err.matches(words).count(), 1, "{said:?}");
    }
}

/// Tally, but that 123456789 pieces end the process that folds them.
fn fatal() -> PathBuf {
    tally_variant("fatal", &|text| {
        let text = text.replace("name: \"tally\"", "name: \"fatal\"");
        text.replace("state.add(n);", "if n == 123_456_789 { std::process::abort() }\n        state.add(n);")
    })
}

// Goal: a plugin that ends the server is found by the request that it happened at; the next script has another server.
#[test]
fn a_plugin_that_ends_the_server_is_named_by_its_request() {
    let deadly = STORY.replace("\"n\":40", "\"n\":123456789").replace("--- crash\n", "");
    let author = Author::with(&[("deadly.txt", &deadly), ("good.txt", STORY)]);
    fs::remove_file(author.path("plugins/libtally.so")).expect("removed");
    fs::copy(fatal(), author.path("plugins/libfatal.so")).expect("copied");
    let said = author.test(&["--plugins", "plugins", "--bless", "deadly.txt", "good.txt"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    // Views follow by themselves, so it may happen while the event is answered, at the question, or between them.
    let words = ["the server closed the connection", "no server at", "Connection reset", "Broken pipe"];
    let first = said.out.lines().next().unwrap_or_default();
    let named = first.starts_with("failed   deadly.txt, line ") && first.contains("/tally/");
    assert!(named && words.iter().any(|word| first.contains(word)), "{said:?}");
    assert!(said.out.contains("new      good.out\n2 played, 1 failed, 1 written\n"), "{said:?}");
}

// Goal: no script is taken for answers, and no two write to one file. Method: both are usage.
#[test]
fn each_script_has_a_file_of_its_own() {
    let author = Author::with(&[("a.txt", STORY), ("a.story", STORY), ("a.out", "as it was\n")]);
    for (scripts, words) in [
        (&["a.txt", "a.out"][..], "a.out: files named .out hold answers"),
        (&["a.txt", "a.story"], "a.txt and a.story are both answered in a.out"),
        (&[], "SCRIPT"),
    ] {
        let said = author.test(&[&["--bless"], scripts].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(words), "{words}: {said:?}");
    }
    assert_eq!(author.read("a.out"), "as it was\n");
}

// Goal: a configuration is used as `serve` uses it, also the one that lies there, but what a test writes reaches no
// peer and no data. Method: one that names a root, a data directory, an address and a peer.
#[test]
fn a_configuration_is_used_without_its_peers() {
    let script = "--- GET /_/peers\n--- GET /_/roots\n";
    let author = Author::with(&[("a.txt", script)]);
    author.write(
        "laterbase.toml",
        "data = \"precious\"\nlisten = \"127.0.0.1:4000\"\nplugins = [\"plugins\"]\n\
         [peers]\nall = [\"http://127.0.0.1:1\"]\nroots.tally = [\"http://127.0.0.1:2\"]\n\
         [plugin.tally.roots.shed-7]\n",
    );
    let said = author.test(&["--bless", "a.txt"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let answers = author.read("a.out");
    assert!(answers.contains("{\"peers\":[]}") && answers.contains("shed-7"), "{answers}");
    assert!(!author.path("precious").exists());
    fs::rename(author.path("laterbase.toml"), author.path("other.toml")).expect("moved");
    let said = author.test(&["--config", "other.toml", "a.txt"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
