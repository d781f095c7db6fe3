//! A server in a process of its own, killed and started again at will. It keeps its address over restarts, so that
//! its clients and peers find it again.

use super::client::Client;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program, and arguments in front of all others.
    pub program: (PathBuf, Vec<OsString>),
    /// What follows `serve --listen ADDRESS`.
    pub arguments: Vec<OsString>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// Its data directory as `arguments` have it.
    pub data: PathBuf,
    /// What it says to standard error is put behind this file.
    pub log: PathBuf,
}

/// A server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its process cannot be started or killed, or its files cannot be reached.
    #[error("{what}: {source}")]
    Io {
        /// The program or the file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the server does not start:\n{}", log.trim_end())]
    NotReady {
        /// Its exit code; none: a signal ended it.
        code: Option<i32>,
        /// What it said to standard error.
        log: String,
    },
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    launch: Launch,
    address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub fn start(launch: Launch) -> Result<Self, StartError> {
        let (child, address) = launch.run(own_address())?;
        Ok(Self { child, launch, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is started the next time.
    pub fn launch(&mut self) -> &mut Launch {
        &mut self.launch
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        &self.launch.folder
    }

    /// All that it has said to standard error so far.
    pub fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.launch.log)
    }

    /// A kept connection to it.
    pub fn client(&self) -> io::Result<Client> {
        Client::connect(self.address)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again, after it was killed or has ended, on the same folder and address.
    pub fn restart(&mut self) -> Result<(), StartError> {
        (self.child, self.address) = self.launch.run(self.address)?;
        Ok(())
    }

    /// Kills it as a power cut would end the process, and starts it again on the same folder.
    pub fn crash_and_restart(&mut self) -> Result<(), StartError> {
        self.kill().map_err(at("the server"))?;
        self.restart()
    }

    /// The same, and deletes its data in between.
    pub fn forget_and_restart(&mut self) -> Result<(), StartError> {
        self.kill().map_err(at("the server"))?;
        std::fs::remove_dir_all(&self.launch.data).map_err(at(&self.launch.data.display().to_string()))?;
        self.restart()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Launch {
    fn run(&self, listen: SocketAddr) -> Result<(Child, SocketAddr), StartError> {
        let (program, before) = &self.program;
        let log_failed = || at(&self.log.display().to_string());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let mut command = Command::new(program);
        command.args(before).args(["serve", "--listen", &listen.to_string()]).args(&self.arguments);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.map_err(log_failed())?);
        let mut child = command.spawn().map_err(at(&program.display().to_string()))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("its standard output is a pipe");
        // What cannot be read is no ready line either.
        let _read = BufReader::new(output).read_line(&mut line);
        let address = line.trim().strip_prefix("laterbase listening on http://");
        if let Some(address) = address.and_then(|text| text.parse().ok()) {
            return Ok((child, address));
        }
        let status = child.wait().map_err(at("the server"))?;
        let log = std::fs::read_to_string(&self.log).map_err(log_failed())?;
        Err(StartError::NotReady { code: status.code(), log })
    }
}

fn at(what: &str) -> impl FnOnce(io::Error) -> StartError + use<> {
    let what = what.to_owned();
    |source| StartError::Io { what, source }
}

/// A loopback address that only this server listens on: the port that it gets is still free when it starts again.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from((own, 0))
}
