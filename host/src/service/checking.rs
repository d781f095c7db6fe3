//! A check of a Root's rows while the server runs: a child reads them, this process compares and puts back.

use crate::core::tables::TableError;
use crate::host::Host;
use crate::peers::PeerAddress;
use crate::problem::{Code, Problem};
use crate::root::{Opened, Root};
use crate::verify::{Compared, Jobs, Report, Running, Work, check, compare};
use serde::Deserialize;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The body of `POST /_/verify/{root}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    peer: Option<String>,
}

/// Begins a check; it goes on behind the answer.
pub(super) fn begin(host: &Host, jobs: &Arc<Jobs>, root: &Root, body: &[u8]) -> Result<(), Problem> {
    let Begin { peer } = serde_json::from_slice(body).map_err(|fault| {
        Problem::new(Code::BadJson, format!("send an object, with or without \"peer\": {fault}"))
    })?;
    let peer = peer.map(|peer| peer.parse::<PeerAddress>()).transpose();
    let peer =
        peer.map_err(|fault| Problem::new(Code::BadParameter, fault.to_string()).with("parameter", "peer"))?;
    let Some(program) = host.probe() else {
        let detail = "this server was opened without a program for what is checked in a process of its own";
        return Err(Problem::new(Code::Unavailable, detail));
    };
    let Some(opened) = root.opened()? else {
        let detail = format!("no data of the root {} is on disk: there is nothing to check", root.name());
        return Err(Problem::new(Code::UnknownRoot, detail));
    };
    let checking = Checking {
        running: jobs.begin(root.name())?,
        program: program.to_owned(),
        root: root.name().to_owned(),
        folder: root.folder().to_owned(),
        opened,
        peer,
    };
    let span = tracing::Span::current();
    drop(tokio::task::spawn_blocking(move || span.in_scope(|| checking.run())));
    Ok(())
}

struct Checking {
    running: Running,
    program: PathBuf,
    root: String,
    folder: PathBuf,
    opened: Arc<Opened>,
    peer: Option<PeerAddress>,
}

impl Checking {
    fn run(self) {
        let mut check = || {
            let mut progress = |rows, rows_max| self.running.does(Work::Rows { rows, rows_max });
            let checked = check(&self.program, &self.folder, true, &mut progress);
            // A child that died has left its reader behind.
            self.opened.disk.environment().forget_dead_readers().map_err(io_error)?;
            checked
        };
        let report = match &self.peer {
            None => Report::make(&mut check, None),
            Some(peer) => Report::make(
                &mut check,
                Some(&mut |checked| {
                    self.running.does(Work::Peer);
                    // What ended the child would end this process.
                    Ok(if checked.is_finished() {
                        compare(&self.opened.disk, &self.root, peer)
                    } else {
                        Compared::failed("the check did not come to its end".to_owned())
                    })
                }),
            ),
        };
        self.running.does(match report {
            Ok(report) => Work::Done { report, folder: self.folder.clone() },
            Err(fault) => Work::Failed { error: format!("the check does not start: {fault}") },
        });
    }
}

fn io_error(fault: TableError) -> io::Error {
    io::Error::other(fault)
}
