//! What HTTP alone costs: axum in a process of its own, which answers every request with the same bytes. The benchmark
//! starts itself for it.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// So many bytes are answered, if this is set.
const VARIABLE: &str = "LATERBASE_BENCH_CONSTANT";

/// A running one.
pub(crate) struct Constant {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Constant {
    /// Starts one that answers `bytes` bytes.
    pub(crate) fn start(bytes: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a benchmark has a path"));
        command.env(VARIABLE, bytes.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let told = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        told.expect("it says where it listens");
        Self { child, address: line.trim().parse().expect("an address") }
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// How many bytes this process is to answer, if it was started for that.
pub(crate) fn asked() -> Option<usize> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

/// Answers until the process is killed.
pub(crate) fn serve(bytes: usize) {
    let answer = "x".repeat(bytes);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address"));
        let handle = move || {
            let answer = answer.clone();
            async move { ([(CONTENT_TYPE, "application/json")], answer) }
        };
        axum::serve(listener, Router::new().fallback(handle)).await.expect("it serves");
    });
}
