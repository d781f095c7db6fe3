//! `laterbase verify --server`: a running server checks its own rows, and this shows how far it is and what it found.

use super::verify::progress_bar;
use super::{EXIT_USAGE, fail};
use crate::peers::{Client, PeerAddress, Tcp};
use crate::sync::ExchangeError;
use crate::verify::{Kept, Report, Standing, Work};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime;

/// How often the server is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Listed {
    roots: Vec<ListedRoot>,
}

#[derive(Deserialize)]
struct ListedRoot {
    root: String,
    stored: bool,
}

/// Why there is no report.
enum Fault {
    /// The command line asks for what is not there.
    Usage(String),
    /// The server does not answer, or not as one does.
    Server(String),
}

pub(super) fn run(server: &PeerAddress, peer: Option<&PeerAddress>, named: &[String]) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    match runtime.block_on(verify(server, peer, named)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Fault::Usage(fault)) => fail(EXIT_USAGE, &fault),
        Err(Fault::Server(fault)) => fail(1, &format!("{server}: {fault}")),
    }
}

/// Checks one Root after the other; whether all are whole.
async fn verify(server: &PeerAddress, peer: Option<&PeerAddress>, named: &[String]) -> Result<bool, Fault> {
    let mut client = Client::new(Tcp, server.clone(), "", Arc::default());
    let roots = roots(&mut client, named).await?;
    if roots.is_empty() {
        say!("{server}: no roots");
    }
    let mut is_whole = true;
    for root in roots {
        let (report, folder) = report(&mut client, &root, peer).await?;
        is_whole &= report.is_whole();
        for line in report.lines(&root, &folder, peer, Kept::By(server)) {
            say!("{line}");
        }
    }
    Ok(is_whole)
}

/// The Roots that are named, or all that have files.
async fn roots(client: &mut Client<Tcp>, named: &[String]) -> Result<Vec<String>, Fault> {
    let Listed { roots } = read(&client.get("/_/roots").await?)?;
    let stored = roots.into_iter().filter(|root| root.stored).map(|root| root.root);
    let mut stored: Vec<String> = stored.collect();
    if let Some(strange) = named.iter().find(|root| !stored.contains(root)) {
        let there = if stored.is_empty() { "none".to_owned() } else { stored.join(", ") };
        return Err(Fault::Usage(format!(
            "the server has no data of a root {strange:?}; there are: {there}"
        )));
    }
    stored.retain(|root| named.is_empty() || named.contains(root));
    Ok(stored)
}

/// Lets the server check a Root, and waits for what it finds.
async fn report(
    client: &mut Client<Tcp>,
    root: &str,
    peer: Option<&PeerAddress>,
) -> Result<(Report, PathBuf), Fault> {
    let path = format!("/_/verify/{root}");
    let begin = json!({"peer": peer.map(ToString::to_string)}).to_string();
    let Standing { number, .. } = read(&client.post(&path, begin).await?)?;
    let bar = progress_bar(root);
    loop {
        let standing: Standing = read(&client.get(&path).await?)?;
        if standing.number != number {
            return Err(Fault::Server(format!("the check of {root} is gone: the server was started anew")));
        }
        match standing.work {
            Work::Done { report, folder } => {
                bar.finish_and_clear();
                return Ok((report, folder));
            }
            Work::Failed { error } => return Err(Fault::Server(format!("{root}: {error}"))),
            Work::Rows { rows, rows_max } => {
                bar.set_length(rows_max);
                bar.set_position(rows);
            }
            Work::Peer => bar.tick(),
            Work::None => return Err(Fault::Server(format!("the check of {root} has not begun"))),
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(json).map_err(|fault| Fault::Server(format!("this is no Laterbase: {fault}")))
}

impl From<ExchangeError> for Fault {
    fn from(fault: ExchangeError) -> Self {
        Self::Server(fault.to_string())
    }
}
