//! Frames of the sync protocol, built by hand as a stranger would, and a listener that waits for news as a peer does.

use laterbase::sync::{MEDIA_TYPE, PROTOCOL};
use laterbase_tests::{Answer, Client, Server};
use serde::Serialize;
use std::net::SocketAddr;

/// For how long a server holds back its answer while it has no news.
pub(super) const HELD_MS: u32 = 50;

/// The mirror of a question between replicas; the order of the variants is the protocol.
#[derive(Serialize, Clone)]
pub(super) enum Question {
    Greet { digest: [u8; 16] },
    Meet { current: [u8; 8], held: Vec<([u8; 8], u64, [u8; 16])> },
    Pull { known: Vec<([u8; 8], u64)>, want: Vec<([u8; 8], u64, u64)>, whole: bool, bytes_max: u32 },
    Offer { known: Vec<([u8; 8], u64)> },
    Push { page: Vec<u8> },
    Watch { digest: [u8; 16], current: [u8; 8], last: u64, wait_ms: u32 },
    Reconcile { message: Vec<u8> },
    Fetch { names: Vec<([u8; 16], [u8; 16])> },
    Heal { bundle: Vec<u8> },
}

impl Question {
    /// The question as a frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let link = 7_u64;
        postcard::to_extend(&(link, self), vec![PROTOCOL]).expect("bytes and numbers serialise")
    }
}

/// Sends a frame.
pub(super) fn send(client: &mut Client, root: &str, frame: &[u8]) -> Answer {
    let target = format!("/_/sync/{root}");
    client.send("POST", &target, &[("content-type", MEDIA_TYPE)], frame).expect("an answer")
}

/// Hears when a server has news of a root.
pub(super) struct Listener {
    address: SocketAddr,
    root: String,
    client: Option<Client>,
    digest: [u8; 16],
}

impl Listener {
    pub(super) fn new(server: &Server, root: &str) -> Self {
        Self { address: server.address(), root: root.to_owned(), client: None, digest: [0; 16] }
    }

    /// Returns when the server holds something else than it did, or after a while.
    pub(super) fn news(&mut self) {
        let client = match self.client.take() {
            Some(client) => Some(client),
            None => Client::connect(self.address).ok(),
        };
        // A server that is down has no news.
        let Some(mut client) = client else { return std::thread::yield_now() };
        let watch = Question::Watch { digest: self.digest, current: [0; 8], last: 0, wait_ms: HELD_MS };
        let target = format!("/_/sync/{}", self.root);
        let headers = [("content-type", MEDIA_TYPE)];
        let Ok(answer) = client.send("POST", &target, &headers, &watch.frame()) else { return };
        assert_eq!(answer.status, 200, "{}", answer.text());
        // Protocol version, then 5 (`News`) and the digest, or 0 (`Same`).
        if let [PROTOCOL, 5, rest @ ..] = answer.body.as_slice() {
            self.digest.copy_from_slice(&rest[..16]);
        }
        self.client = Some(client);
    }
}

/// A page of rows as bytes, built column by column.
#[derive(Clone, Default)]
pub(super) struct Page {
    /// Origin, first seq, number of rows.
    pub(super) runs: Vec<([u8; 8], u64, u64)>,
    /// The data of each row; its key's tail and time follow from its place.
    pub(super) rows: Vec<Vec<u8>>,
}

impl Page {
    /// The page before it is packed.
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut out = 0_u64.to_be_bytes().to_vec();
        number(&mut out, self.runs.len() as u64);
        for (origin, first, rows) in &self.runs {
            out.extend_from_slice(origin);
            number(&mut out, *first);
            number(&mut out, *rows);
        }
        // One kind: type 1, version 1.
        out.extend_from_slice(&[1, 1, 1]);
        let (mut times, mut tails, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (at, row) in self.rows.iter().enumerate() {
            // The first at 2^60 of NTP64, in 1978; all others at the same time. Differences are zigzag.
            number(&mut times, if at == 0 { 1 << 61 } else { 0 });
            tails.extend_from_slice(&(at as u64).to_be_bytes());
            number(&mut lengths, row.len() as u64);
        }
        let contents = vec![1; self.rows.len()];
        for column in [contents, times, tails, lengths, self.rows.concat()] {
            number(&mut out, column.len() as u64);
            out.extend_from_slice(&column);
        }
        out
    }

    /// The page as it travels.
    pub(super) fn packed(&self) -> Vec<u8> {
        packed(&self.plain())
    }
}

/// Plain bytes with the head that a page or a bundle has.
pub(super) fn packed(plain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(plain.len()).expect("little");
    [&[0][..], &length.to_be_bytes(), &blake3::hash(plain).as_bytes()[..16], plain].concat()
}

/// Appends a number as LEB128.
pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}
