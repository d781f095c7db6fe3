//! The checks that a running server makes: one at a time, shown while they run and until the next one of the same Root.

use super::Report;
use crate::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last check of each Root.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<BTreeMap<String, Standing>>);

/// How it stands with a Root's last check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The number of the check since the server's start, 0 if there was none.
    pub number: u64,
    /// What it does, or what came of it.
    #[serde(flatten)]
    pub work: Work,
}

/// What a check does, or what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Work {
    /// There was none.
    #[default]
    None,
    /// Reads rows.
    Rows {
        /// Rows that were read.
        rows: u64,
        /// Rows that there are.
        rows_max: u64,
    },
    /// Compares with a peer.
    Peer,
    /// It is over.
    Done {
        /// What was found.
        report: Report,
        /// Where the Root lies.
        folder: PathBuf,
    },
    /// It came to nothing.
    Failed {
        /// Why.
        error: String,
    },
}

/// A check that runs; dropped before its end it has failed.
#[derive(Debug)]
pub struct Running {
    jobs: Arc<Jobs>,
    root: String,
    number: u64,
}

impl Jobs {
    /// Begins a check of `root`, if no other runs.
    pub fn begin(self: &Arc<Self>, root: &str) -> Result<Running, Problem> {
        let mut jobs = lock(&self.0);
        if let Some((other, _)) = jobs.iter().find(|(_, standing)| standing.work.is_running()) {
            let detail = format!("a check of root {other} runs: see /_/verify/{other}, and try again later");
            return Err(Problem::new(Code::VerifyRunning, detail).retry_after(1));
        }
        let number = jobs.values().map(|standing| standing.number).max().unwrap_or_default() + 1;
        jobs.insert(root.to_owned(), Standing { number, work: Work::Rows { rows: 0, rows_max: 0 } });
        Ok(Running { jobs: Arc::clone(self), root: root.to_owned(), number })
    }

    /// How it stands with the last check of `root`.
    pub fn standing(&self, root: &str) -> Standing {
        lock(&self.0).get(root).cloned().unwrap_or_default()
    }
}

impl Running {
    /// What it does now.
    pub fn does(&self, work: Work) {
        lock(&self.jobs.0).insert(self.root.clone(), Standing { number: self.number, work });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.jobs.standing(&self.root).work.is_running() {
            self.does(Work::Failed { error: "the check ended before its time; the log says why".to_owned() });
        }
    }
}

impl Work {
    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Rows { .. } | Self::Peer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One at a time, and one that is given up makes room for the next.
    #[test]
    fn one_at_a_time() {
        let jobs = Arc::new(Jobs::default());
        assert_eq!(jobs.standing("tally"), Standing::default());
        let running = jobs.begin("tally").expect("the first");
        let refused = jobs.begin("epcis").expect_err("one runs");
        assert_eq!(refused.code, Code::VerifyRunning);
        assert!(refused.detail.contains("root tally"), "{refused:?}");
        running.does(Work::Peer);
        assert_eq!(jobs.standing("tally"), Standing { number: 1, work: Work::Peer });
        drop(running);
        assert!(matches!(jobs.standing("tally").work, Work::Failed { .. }));
        let running = jobs.begin("epcis").expect("none runs");
        running.does(Work::Failed { error: "of its own".to_owned() });
        drop(running);
        let expected = Standing { number: 2, work: Work::Failed { error: "of its own".to_owned() } };
        let json = serde_json::to_string(&jobs.standing("epcis")).expect("JSON");
        assert_eq!(json, r#"{"number":2,"state":"failed","error":"of its own"}"#);
        assert_eq!(serde_json::from_str::<Standing>(&json).expect("read"), expected);
    }
}
