//! `laterbase ready`: whether a running server serves, as an exit code. Where there is no other client, as in a
//! container, this is the health check.

use super::fail;
use crate::peers::{Client, PeerAddress, Tcp};
use crate::sync::ExchangeError;
use std::process::ExitCode;
use std::sync::Arc;

/// Asks `server` and prints what it says.
pub(super) fn run(server: &PeerAddress) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    let mut client = Client::new(Tcp, server.clone(), "", Arc::default());
    match runtime.block_on(client.get("/_/readyz")) {
        Ok(json) => {
            say!("{}", String::from_utf8_lossy(&json));
            ExitCode::SUCCESS
        }
        Err(ExchangeError::Refused { code, detail, .. }) => fail(1, &format!("{server}: {code}: {detail}")),
        Err(fault) => fail(1, &format!("{server}: {fault}")),
    }
}
