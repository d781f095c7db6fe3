//! `laterbase peers`: how it stands with the peers of a running server, as a table.

use super::{EXIT_USAGE, fail};
use crate::peers::{Client, PeerAddress, Tcp};
use serde::Deserialize;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Deserialize)]
struct Shown {
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    url: String,
    last_error: Option<Failure>,
    bytes_in: u64,
    bytes_out: u64,
    roots: Vec<Root>,
}

#[derive(Deserialize)]
struct Root {
    #[serde(rename = "root")]
    name: String,
    connected: bool,
    last_error: Option<Failure>,
    to_pull: u64,
    to_push: u64,
    seconds_behind: Option<u64>,
    events_in: u64,
    events_out: u64,
    clock_offset_ms: i64,
    forks_healed: u64,
}

#[derive(Deserialize)]
struct Failure {
    at: String,
    error: String,
}

/// Asks `server` and prints what it says.
pub(super) fn run(server: &str) -> ExitCode {
    let server: PeerAddress = match server.parse() {
        Ok(server) => server,
        Err(fault) => return fail(EXIT_USAGE, &format!("{fault}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    let mut client = Client::new(Tcp, server.clone(), "", Arc::default());
    let shown = runtime.block_on(client.get("/_/peers")).map_err(|fault| fault.to_string());
    let shown = shown.and_then(|json| {
        serde_json::from_slice::<Shown>(&json).map_err(|fault| format!("this is no Laterbase: {fault}"))
    });
    match shown {
        Ok(shown) => {
            for line in lines(&shown) {
                say!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => fail(1, &format!("{server} does not answer: {fault}")),
    }
}

fn lines(shown: &Shown) -> Vec<String> {
    if shown.peers.is_empty() {
        return vec![
            "this server dials no peers (serve --peer URL, or [peers] in laterbase.toml)".to_owned(),
        ];
    }
    let mut lines = Vec::new();
    for peer in &shown.peers {
        lines.push(format!("{}  {} B in, {} B out", peer.url, peer.bytes_in, peer.bytes_out));
        let unreached = peer.last_error.as_ref();
        lines.extend(unreached.map(|failure| format!("  not reached at {}: {}", failure.at, failure.error)));
        for root in &peer.roots {
            lines.push(line(root));
            let failed = root.last_error.as_ref();
            lines.extend(failed.map(|failure| format!("    {}: {}", failure.at, failure.error)));
        }
    }
    lines
}

fn line(root: &Root) -> String {
    let standing = match (root.connected, root.seconds_behind) {
        (true, Some(0)) => "in step".to_owned(),
        (true, Some(seconds)) => format!("{seconds} s behind"),
        (true, None) => "first sync".to_owned(),
        (false, _) => "not connected".to_owned(),
    };
    let Root { name, to_pull, to_push, events_in, events_out, clock_offset_ms, forks_healed, .. } = root;
    format!(
        "  {name:<20} {standing:<14} to pull {to_pull}, to push {to_push}; events {events_in} in, \
         {events_out} out; clock {clock_offset_ms:+} ms; forks healed {forks_healed}"
    )
}
