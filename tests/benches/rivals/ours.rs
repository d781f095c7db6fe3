//! Laterbase itself: `POST` of NDJSON, and a walk over the feed in its largest pages.

use super::system::System;
use crate::load;
use laterbase_tests::Server;

pub(crate) struct Ours(Server);

impl Ours {
    pub(crate) fn start() -> Self {
        Self(Server::start(&[]).expect("a server"))
    }
}

impl System for Ours {
    fn name(&self) -> &'static str {
        "Laterbase"
    }

    fn describe(&self) -> String {
        format!("Laterbase {}: LMDB, fsync for each group commit", env!("CARGO_PKG_VERSION"))
    }

    fn connect(&self, events: usize) -> Box<dyn FnMut()> {
        load::writer(self.0.address(), "/tally/e", events)
    }

    fn rest(&self) {
        self.0.until_followed().expect("it says how far");
    }

    fn read_back(&self) -> u64 {
        load::walk(self.0.address())
    }
}
