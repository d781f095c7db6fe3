//! What packages are made of: manual pages, completions, versions, the unit of the service manager, the container.

use laterbase_tests::{Server, built, library, top};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};

fn laterbase(arguments: &[&str]) -> Output {
    Command::new(built()).args(arguments).output().expect("it runs")
}

fn printed(arguments: &[&str]) -> String {
    let output = laterbase(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The commands below `path` that `--help` lists.
fn commands(path: &[&str]) -> BTreeSet<String> {
    let help = printed(&[path, &["--help"]].concat());
    let listed =
        help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let words = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    words.filter(|word| !word.is_empty() && *word != "help").map(str::to_owned).collect()
}

/// Every command that a user may give, words joined by dashes, as pages are named.
fn all_commands() -> BTreeSet<String> {
    let first = commands(&[]);
    assert!(first.contains("serve") && first.contains("plugin"), "{first:?}");
    let below =
        first.iter().flat_map(|name| commands(&[name]).into_iter().map(move |sub| format!("{name}-{sub}")));
    first.iter().cloned().chain(below).collect()
}

// Goal: there is a manual page for every command, that names its flags, and no other. Method: what `--help` lists.
#[test]
fn every_command_has_its_page() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("man");
    printed(&["man", folder.to_str().expect("UTF-8")]);
    let pages = fs::read_dir(&folder).expect("pages").map(|page| page.expect("a page").file_name());
    let pages: BTreeSet<String> = pages.filter_map(|page| page.into_string().ok()).collect();
    let mut expected: BTreeSet<String> =
        all_commands().iter().map(|name| format!("laterbase-{name}.1")).collect();
    expected.insert("laterbase.1".to_owned());
    assert_eq!(pages, expected);
    let serve = fs::read_to_string(folder.join("laterbase-serve.1")).expect("a page");
    for flag in ["data", "listen", "plugins", "peer", "config", "log", "log\\-format"] {
        assert!(serve.contains(&format!("\\-\\-{flag}")), "{flag}: {serve}");
    }
    if let Ok(groff) = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-P-cbou"])
        .arg(folder.join("laterbase.1"))
        .output()
    {
        let text = String::from_utf8_lossy(&groff.stdout).into_owned();
        assert!(text.contains("NAME") && text.contains("laterbase"), "{text}");
    }
}

// Goal: every shell's script knows every command. Method: by name; bash also runs it.
#[test]
fn every_command_completes() {
    let scratch = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for command in all_commands() {
            let word = command.rsplit_once('-').map_or(command.as_str(), |(_, last)| last);
            assert!(script.contains(word), "{shell}: {command}");
        }
        assert!(!script.contains("verify-root"), "{shell}: what the program calls itself is hidden");
    }
    let script = scratch.path().join("laterbase.bash");
    fs::write(&script, printed(&["completions", "bash"])).expect("written");
    let ask = "source \"$0\"; COMP_WORDS=(laterbase re); COMP_CWORD=1; _laterbase laterbase re laterbase; echo ${COMPREPLY[@]}";
    let answer = Command::new("bash").args(["-c", ask]).arg(&script).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "ready", "{answer:?}");
}

// Goal: the version says what has to fit to something else.
#[test]
fn the_version_names_what_must_fit() {
    let version = printed(&["--version"]);
    let abi = laterbase_plugin::abi::ABI;
    for line in [&format!("plugin abi {abi}"), "sync protocol 1", "store format 1"] {
        assert!(version.lines().any(|known| known == line), "{line}: {version}");
    }
    assert_eq!(printed(&["-V"]), format!("laterbase {}\n", env!("CARGO_PKG_VERSION")));
}

// Goal: the health check is an exit code. Method: a server, none, and one that is not well.
#[test]
fn readiness_is_an_exit_code() {
    let mut server = Server::start(&[]).expect("a server");
    let url = format!("http://{}", server.address());
    let said = printed(&["ready", "--server", &url]);
    assert!(said.contains("\"ready\""), "{said}");
    server.kill().expect("it ran");
    fs::write(
        server.folder().join("laterbase.toml"),
        "[limits]\ndisk_free_bytes_min = 9223372036854775807\n",
    )
    .expect("written");
    server.restart().expect("a server");
    let refused = laterbase(&["ready", "--server", &url]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(why.contains("not_ready: disk_full"), "{why}");
    server.kill().expect("it ran");
    let nobody = laterbase(&["ready", "--server", &url]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("refused"));
}

// Goal: a service manager hears when the server answers and when it drains. Method: a socket in its place.
#[test]
fn the_service_manager_is_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_mins(1))).expect("set");
    let hear = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    let mut server = Server::start(&[]).expect("a server");
    server.kill().expect("it ran");
    server.restart_under(&format!("export NOTIFY_SOCKET='{}'", path.display())).expect("a server");
    assert_eq!(hear(), "READY=1");
    server.signal("TERM").expect("sent");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
}

/// The line of a container file or unit that begins with `word`.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    let found = text.lines().rfind(|line| line.starts_with(word));
    found.unwrap_or_else(|| panic!("no {word}"))
}

/// The words of the JSON array in a line of a container file.
fn words(line: &str) -> Vec<String> {
    let (_, array) = line.split_once('[').expect("an array");
    serde_json::from_str(&format!("[{array}")).expect("JSON")
}

// Goal: the unit is one that its manager takes, and its command line one that the program takes. Method: systemd's own
// check, where it is installed, of a copy that names a program that is there.
#[test]
fn the_unit_is_sound() {
    let unit = fs::read_to_string(top().join("host/packaging/laterbase.service")).expect("a unit");
    let start = line(&unit, "ExecStart=").trim_start_matches("ExecStart=");
    let mut given = start.split(' ').skip(1);
    assert_eq!(given.next(), Some("serve"));
    assert_taken(&given.collect::<Vec<_>>());
    assert_eq!(line(&unit, "Type="), "Type=notify", "the program tells");
    let scratch = tempfile::tempdir().expect("a folder");
    let copy = scratch.path().join("laterbase.service");
    let program = built().to_str().expect("UTF-8").to_owned();
    let local = unit
        .replace("/usr/lib/laterbase/laterbase", &program)
        .replace("Documentation=man:laterbase(1)\n", "");
    fs::write(&copy, local).expect("written");
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output()
    else {
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_it: Vec<&str> = said.lines().filter(|line| line.contains("laterbase.service")).collect();
    assert!(of_it.is_empty(), "{said}");
}

/// Asserts that `serve` takes these arguments: it runs with them, but for where.
fn assert_taken(arguments: &[&str]) {
    let own = arguments.chunks(2).filter(|pair| !matches!(pair, ["--data" | "--listen", _]));
    let own: Vec<&str> = own.flatten().copied().collect();
    drop(Server::start(&own).unwrap_or_else(|fault| panic!("{own:?}: {fault:#}")));
}

// Goal: the container file's steps give a server that answers and whose health check passes. Method: what it copies,
// laid out in a folder, its command run there; building the image needs images from elsewhere.
#[test]
fn the_container_runs() {
    let file = fs::read_to_string(top().join("host/packaging/Containerfile")).expect("a file");
    assert_ne!(line(&file, "USER").trim_start_matches("USER "), "root");
    assert_eq!(words(line(&file, "ENTRYPOINT")), ["laterbase"]);
    let command = words(line(&file, "CMD"));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(command[0], "serve");
    let pair = |flag: &str| command.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    assert_eq!((pair("--data"), pair("--listen")), (Some("/data"), Some("0.0.0.0:4000")));
    assert!(command.contains(&"--insecure") && file.contains("VOLUME /data") && file.contains("EXPOSE 4000"));

    let scratch = tempfile::tempdir().expect("a folder");
    let image = scratch.path().join("usr/lib/laterbase");
    fs::create_dir_all(&image).expect("made");
    let release = built().parent().expect("a folder").to_owned();
    assert!(file.contains("target/release/laterbase target/release/lib*.so"), "they are copied");
    let bundled = bundled();
    for name in bundled.iter().map(String::as_str).chain(["laterbase"]) {
        fs::copy(release.join(name), image.join(name)).expect("copied");
    }
    let mut server = Server::start(&["--insecure", "--log-format", "json"]).expect("a server");
    server.kill().expect("it ran");
    server.restart_from(&image.join("laterbase")).expect("a server");
    let plugins = server.get("/_/plugins").expect("an answer").json();
    assert_eq!(plugins["plugins"].as_array().map(Vec::len), Some(bundled.len()), "{plugins}");
    assert!(file.contains("podman build --format docker"), "podman drops the check in its own format");
    let health = file.split("HEALTHCHECK").nth(1).expect("a health check");
    let check = words(line(health, " ").split(" CMD ").nth(1).unwrap_or_default());
    assert_eq!(check, ["laterbase", "ready"]);
    let url = format!("http://{}", server.address());
    let checked = run_in(&image, &["ready", "--server", &url]);
    assert!(checked.status.success(), "{checked:?}");
}

/// The libraries that a build of the default members makes.
fn bundled() -> Vec<String> {
    let folders = fs::read_dir(top().join("plugins")).expect("plugins");
    let names = folders.map(|folder| folder.expect("a folder").file_name().into_string().expect("UTF-8"));
    names.map(|name| format!("lib{}.so", name.replace('-', "_"))).collect()
}

// Goal: the container's build is sent the workspace and nothing else. Method: what is let through, against the members.
#[test]
fn the_container_is_sent_the_workspace() {
    let ignored =
        fs::read_to_string(top().join("host/packaging/Containerfile.dockerignore")).expect("a file");
    let rules: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((rules.first(), rules.last()), (Some(&"*"), Some(&"**/target")), "the last that fits holds");
    let sent: BTreeSet<String> =
        rules.iter().filter_map(|rule| rule.strip_prefix('!')).map(str::to_owned).collect();
    let manifest = fs::read_to_string(top().join("Cargo.toml")).expect("a manifest");
    let members = words(line(&manifest, "members"));
    let folders = members.iter().filter_map(|member| member.split('/').next());
    let needed: BTreeSet<String> = folders.chain(["Cargo.toml", "Cargo.lock"]).map(str::to_owned).collect();
    assert_eq!(sent, needed);
}

fn run_in(image: &Path, arguments: &[&str]) -> Output {
    Command::new(image.join("laterbase")).args(arguments).output().expect("it runs")
}

// Goal: whoever closes the pipe, as `head` does, ends no command with a panic. Method: a pipe that nobody reads.
#[test]
fn a_closed_pipe_is_no_failure() {
    for file in ["stdout", "stderr"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(built());
        command.args(["plugin", "inspect"]).arg(library(if file == "stdout" { "tally" } else { "nothing" }));
        match file {
            "stdout" => command.stdout(writer),
            _ => command.stderr(writer),
        };
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(file == "stderr")), "{file}: {said}");
        assert_eq!(said, "", "{file}");
    }
}
