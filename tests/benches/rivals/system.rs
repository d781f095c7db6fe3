//! What the benchmark asks of a system, and what the systems have in common: a program that is found on the machine,
//! started in a folder of its own and ended with it.

#![expect(clippy::disallowed_methods, reason = "a benchmark waits by the clock for a program to listen")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_mins(1);

/// A system under load.
pub(crate) trait System: Sync {
    /// Its name, for the head of a column.
    fn name(&self) -> &'static str;
    /// Its version and how it keeps events.
    fn describe(&self) -> String;
    /// A connection of its own, which writes requests of so many events.
    fn connect(&self, events: usize) -> Box<dyn FnMut()>;
    /// Waits until it does nothing more on its own, which would take the others' time.
    fn rest(&self) {}
    /// Reads everything back, in the system's own order; how many events that were.
    fn read_back(&self) -> u64;
}

/// What the variable names, or else the program of this name on the PATH.
pub(crate) fn found(variable: &str, name: &str) -> Option<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(named) => return Some(named.into()),
        None => std::env::var_os("PATH")?,
    };
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The first line that the program prints when asked for its version.
pub(crate) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

/// An address at which nothing listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}

/// A running program with its folder.
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _scratch: tempfile::TempDir,
}

impl Running {
    /// Starts `command` and waits until something listens at `address`.
    pub(crate) fn start(mut command: Command, address: SocketAddr, scratch: tempfile::TempDir) -> Self {
        let quiet = command.current_dir(scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            quiet.spawn().unwrap_or_else(|fault| panic!("{}: {fault}", quiet.get_program().display()));
        let mut this = Self { child, address, _scratch: scratch };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = this.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{} ended: {ended:?}", command.get_program().display());
            assert!(begun.elapsed() < PATIENCE, "{} does not listen", command.get_program().display());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        this
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}
