//! The real binary, started in a folder of its own: `laterbase::cli::script::Server` with what only tests ask of it.

use anyhow::{Result, ensure};
use laterbase::cli::script::{self, Answer, Launch, request};
use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Once;
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
    process: script::Server,
    scratch: Option<tempfile::TempDir>,
}

impl Deref for Server {
    type Target = script::Server;

    fn deref(&self) -> &script::Server {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut script::Server {
        &mut self.process
    }
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
        let process = script::Server::start(Launch {
            program: (built(), Vec::new()),
            arguments: arguments.iter().map(OsString::from).collect(),
            folder: folder.to_owned(),
            data: folder.join("data"),
            log: folder.join("log"),
        })?;
        Ok(Self { process, scratch: None })
    }

    /// Starts it again under a shell that first does `before`, for limits that the system sets to a process.
    pub fn restart_under(&mut self, before: &str) -> Result<()> {
        let script = format!("{before}; exec \"$0\" \"$@\"");
        self.restart_as(("sh".into(), vec!["-c".into(), script.into(), built().into()]))
    }

    /// Starts it again from another copy of the program, with the plugins that lie beside that.
    pub fn restart_from(&mut self, program: &Path) -> Result<()> {
        self.restart_as((program.to_owned(), Vec::new()))
    }

    /// Starts it again as another program, this once.
    fn restart_as(&mut self, program: (PathBuf, Vec<OsString>)) -> Result<()> {
        let usual = std::mem::replace(&mut self.launch().program, program);
        let restarted = self.restart();
        self.launch().program = usual;
        Ok(restarted?)
    }

    /// Starts it again with other arguments from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.launch().arguments = arguments.iter().map(OsString::from).collect();
        Ok(self.restart()?)
    }

    /// Sends the signal `name` (TERM, HUP).
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        ensure!(sent.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Waits for it to end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child().wait()?)
    }

    /// One GET.
    pub fn get(&self, target: &str) -> Result<Answer> {
        Ok(request(self.address(), "GET", target, &[], b"")?)
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

    /// How many arrivals the views lack, as the server says in its metrics.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub fn views_lag(&self) -> Result<u64> {
        let metrics = self.get("/_/metrics")?;
        let lines = metrics.text().lines().filter(|line| line.starts_with("laterbase_view_lag_arrivals{"));
        let figures = lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?));
        Ok(figures.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0))
    }

    /// Waits until the views have followed all arrivals by themselves. Who asks them, as
    /// [`Self::until_answered`] does, has them follow beside whatever comes next.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub fn until_followed(&self) -> Result<()> {
        while self.views_lag()? > 0 {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One POST of JSON.
    pub fn post(&self, target: &str, body: &str) -> Result<Answer> {
        let headers = [("content-type", "application/json")];
        Ok(request(self.address(), "POST", target, &headers, body.as_bytes())?)
    }
}
