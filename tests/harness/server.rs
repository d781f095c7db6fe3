//! The real binary, started in a folder of its own, killed and started again at will. It keeps its address over
//! restarts, so that its peers find it again.

use super::client::{Answer, Client, request};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The folder in which cargo put this test's profile: `target/debug` or `target/release`.
///
/// # Panics
/// If the test was moved away from there.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("target/profile/deps/test").to_owned()
}

/// Builds the binary and the plugin libraries once per test run, and gives the binary's path.
///
/// # Panics
/// If the workspace does not build.
pub fn built() -> PathBuf {
    static BUILD: Once = Once::new();
    BUILD.call_once(|| {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--workspace", "--quiet"]).current_dir(super::top());
        if target().ends_with("release") {
            build.arg("--release");
        }
        let folder = target();
        build.env("CARGO_TARGET_DIR", folder.parent().expect("the target folder"));
        assert!(build.status().expect("cargo runs").success(), "the workspace does not build");
    });
    target().join("laterbase")
}

/// The library of the plugin crate `name`.
pub fn library(name: &str) -> PathBuf {
    built();
    target().join(format!("lib{name}.so"))
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    scratch: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts a server in a fresh folder that is removed with it. Its data lies in `data` below.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let mut server = Self::start_in(scratch.path(), arguments)?;
        server.scratch = Some(scratch);
        Ok(server)
    }

    /// Starts a server in `folder`.
    pub fn start_in(folder: &Path, arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (child, address) = spawn(folder, &arguments, own_address())?;
        Ok(Self { child, folder: folder.to_owned(), arguments, address, scratch: None })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would end the process, and starts it again on the same folder.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.restart()
    }

    /// Starts it again, after it was killed or has ended, on the same folder and address.
    pub fn restart(&mut self) -> Result<()> {
        (self.child, self.address) = spawn(&self.folder, &self.arguments, self.address)?;
        Ok(())
    }

    /// Starts it again under a shell that first does `before`, for limits that the system sets to a process.
    pub fn restart_under(&mut self, before: &str) -> Result<()> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(built());
        (self.child, self.address) = run(shell, &self.folder, &self.arguments, self.address)?;
        Ok(())
    }

    /// Starts it again from another copy of the program, with the plugins that lie beside that.
    pub fn restart_from(&mut self, program: &Path) -> Result<()> {
        let command = Command::new(program);
        (self.child, self.address) = run(command, &self.folder, &self.arguments, self.address)?;
        Ok(())
    }

    /// All that it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("log"))?)
    }

    /// The same with other arguments from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.restart()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends the signal `name` (TERM, HUP).
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        anyhow::ensure!(sent.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Waits for it to end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// A kept connection to it.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    /// One GET.
    pub fn get(&self, target: &str) -> Result<Answer> {
        request(self.address, "GET", target, &[], b"")
    }

    /// Asks until the views have followed what arrived: a query is put off while much is missing.
    ///
    /// # Errors
    /// If the server cannot be asked, or answers anything but 200 or 503.
    pub fn until_answered(&self, target: &str) -> Result<()> {
        loop {
            let answer = self.get(target)?;
            match answer.status {
                200 => return Ok(()),
                status => ensure!(status == 503, "{}", answer.text()),
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// One POST of JSON.
    pub fn post(&self, target: &str, body: &str) -> Result<Answer> {
        request(self.address, "POST", target, &[("content-type", "application/json")], body.as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A loopback address that only this server listens on: the port that it gets is still free when it starts again.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from((own, 0))
}

fn spawn(folder: &Path, arguments: &[String], listen: SocketAddr) -> Result<(Child, SocketAddr)> {
    run(Command::new(built()), folder, arguments, listen)
}

fn run(
    mut command: Command,
    folder: &Path,
    arguments: &[String],
    listen: SocketAddr,
) -> Result<(Child, SocketAddr)> {
    command.args(["serve", "--listen", &listen.to_string()]).args(arguments).current_dir(folder);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let mut child = command.stdout(Stdio::piped()).stderr(log).stdin(Stdio::null()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let address =
        line.trim().strip_prefix("laterbase listening on http://").and_then(|text| text.parse().ok());
    let Some(address) = address else {
        let _status = child.wait();
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        anyhow::bail!("no ready line but {line:?}; its log:\n{log}");
    };
    Ok((child, address))
}
