//! Clients: they mint keys and write, here and there, and walk the feed page by page, storing what they get.

use super::node::{Fact, Node};
use super::plan::Claim;
use super::world::{Check, World};
use crate::core::event::{Dot, EventKey, Seq, ValidTime, Value};
use crate::core::gset::{self, Candidate, Look};
use crate::core::knowledge::{Knowledge, Verdict, VersionVector, judge, vv_of, vv_of_dots, vv_of_server};
use crate::feed::{FeedError, Page, Query, TypeNames};
use crate::store::Store;
use crate::wall::Wall;
use rand::rngs::StdRng;
use rand::{Rng, seq::IndexedRandom};
use std::collections::BTreeSet;

/// The name of the Root.
pub(super) const ROOT: &str = "depot";
/// How far ahead of a replica's clock an instant may be when it is admitted, in milliseconds.
const FUTURE_MS_MAX: i64 = 60_000;
/// Pages in which a client must come to the end of a walk once nothing changes.
const PAGES_MAX: usize = 2000;

/// No type has a name.
pub(super) struct Names;

impl TypeNames for Names {
    fn name(&self, _: u32) -> Option<String> {
        None
    }

    fn number(&self, _: &str) -> Option<u32> {
        None
    }
}

/// What a client wants to write.
type Draft = (EventKey, String);

/// A walk that is not at its end: what stands in the client's tables.
#[derive(Debug, Clone)]
struct Walking {
    cursor: String,
    /// The vv that it began with.
    vv: Vec<String>,
}

/// A client with tables of its own.
#[derive(Debug)]
pub(super) struct Client {
    has: BTreeSet<Fact>,
    /// The terms that it keeps, side by side.
    vv: Vec<String>,
    walk: Option<Walking>,
    /// What it wrote without getting an answer: it will write that again.
    unanswered: Vec<Draft>,
    /// The replica that it asks mostly.
    home: usize,
    /// It sends the vv that it began a walk with, not what it knows by now.
    is_strict: bool,
    claim: Claim,
    /// The time of the newest event that it was given, for those who go by it.
    newest: Option<ValidTime>,
}

impl Client {
    pub(super) fn new(rng: &mut StdRng, claim: Claim) -> Self {
        Self {
            has: BTreeSet::new(),
            vv: Vec::new(),
            walk: None,
            unanswered: Vec::new(),
            home: rng.random_range(0..3),
            is_strict: rng.random(),
            claim,
            newest: None,
        }
    }
}

/// Whether the key is derived from the content: then another value of it is the same event.
fn is_derived(key: EventKey) -> bool {
    key.tail()[0] < 32
}

fn value(data: &str) -> Value<'_> {
    Value { type_number: 1, version: 1, data: data.as_bytes() }
}

impl World {
    fn any_server(&mut self, client: usize) -> usize {
        if self.rng.random_bool(0.3) { self.any_node() } else { self.clients[client].home }
    }

    /// A client writes a few events, sometimes to two replicas, and sometimes hears nothing back.
    pub(super) fn post(&mut self) -> Check {
        let client = self.rng.random_range(0..self.clients.len());
        let server = self.any_server(client);
        let mut drafts = Vec::new();
        if self.rng.random_bool(0.4) {
            drafts.append(&mut self.clients[client].unanswered);
        }
        for _ in 0..self.rng.random_range(1..=3) {
            drafts.push(self.draft(server));
        }
        let mut servers = vec![server];
        if self.rng.random_bool(self.plan.doubles) {
            servers.push(self.any_node());
        }
        let mut is_answered = false;
        for server in servers {
            let dots = self.admit(server, &drafts)?;
            if self.rng.random_bool(0.85) {
                is_answered = true;
                self.answered(client, server, &dots)?;
            }
        }
        if !is_answered {
            self.clients[client].unanswered = drafts;
        }
        Ok(())
    }

    fn draft(&mut self, server: usize) -> Draft {
        let number = self.rng.random_range(0..100_000);
        let more = "x".repeat(self.rng.random_range(0..=self.plan.data_bytes_max));
        let new_data = format!("{{\"n\":{number},\"more\":\"{more}\"}}");
        let known = self.ledger.drafts.choose(&mut self.rng).cloned();
        let draft = match known {
            Some((key, data)) if self.rng.random_bool(0.15) => {
                (key, if self.rng.random_bool(0.4) { data } else { new_data })
            }
            _ => {
                let node = &self.nodes[server];
                let now = node.wall.now();
                let time = if self.rng.random_bool(0.4) {
                    let ms = self.now_ms() - self.rng.random_range(0..200_000);
                    ValidTime::from_millis(ms).expect("within NTP64")
                } else {
                    node.clock.lock().expect("no holder of the clock panics").tick(now)
                };
                (EventKey::new(time, self.rng.random()), new_data)
            }
        };
        self.ledger.drafts.push(draft.clone());
        draft
    }

    /// Admits what may be admitted, as the writer does, in one transaction; the dots for the answer.
    fn admit(&mut self, server: usize, drafts: &[Draft]) -> Check<Vec<(Fact, Dot)>> {
        let node = &self.nodes[server];
        let now = node.wall.now();
        let clock_max = node.clock.lock().expect("no holder of the clock panics").max();
        let in_time = drafts.iter().filter(|(key, _)| key.time().millis() - now.millis() <= FUTURE_MS_MAX);
        let mut dots = Vec::new();
        let mut written = 0;
        let committed = node.store.commit(&mut |tables| {
            (dots, written) = (Vec::new(), 0);
            for (key, data) in in_time.clone() {
                let candidate = Candidate::new(*key, value(data));
                match gset::look(tables, candidate, is_derived(*key))? {
                    Look::New => {
                        let dot = gset::admit(tables, candidate, now.millis().cast_unsigned())?;
                        dots.push(((*key, candidate.hash), dot));
                        written += 1;
                    }
                    Look::Duplicate { dot: Some(dot) } => dots.push(((*key, candidate.hash), dot)),
                    Look::Duplicate { dot: None } | Look::Clash { .. } => {}
                }
            }
            if written > 0 { tables.put_clock_max(clock_max.0) } else { Ok(()) }
        });
        committed.map_err(|error| format!("{server} cannot admit: {error}"))?;
        if written > 0 {
            node.replica.committed();
        }
        self.ledger.admitted.extend(dots.iter().map(|(fact, _)| *fact));
        self.log(|| format!("{server} admits {written}: {dots:?}"));
        self.look_at(server)?;
        Ok(dots)
    }

    /// The answer to a POST arrives: its events and dots are the client's own now.
    fn answered(&mut self, client: usize, server: usize, dots: &[(Fact, Dot)]) -> Check {
        let only: Vec<Dot> = dots.iter().map(|(_, dot)| *dot).collect();
        let vv = vv_of_dots(self.nodes[server].tables().as_ref(), &only);
        let vv = vv.map_err(|error| format!("{server} cannot answer a POST: {error}"))?;
        let client = &mut self.clients[client];
        client.has.extend(dots.iter().map(|(fact, _)| *fact));
        if client.claim != Claim::SinceTime && !vv.terms.is_empty() {
            client.vv.push(vv.to_string());
        }
        Ok(())
    }

    /// A client asks for its next page; answers get lost, and it crashes before it has stored all.
    pub(super) fn client_walks(&mut self) -> Check {
        let client = self.rng.random_range(0..self.clients.len());
        let server = self.any_server(client);
        let limit = self.rng.random_range(1..=6);
        let Some((query, page)) = self.ask_feed(client, server, limit)? else { return Ok(()) };
        if self.rng.random_bool(0.1) {
            return Ok(());
        }
        self.store_events(client, &page)?;
        if self.rng.random_bool(0.1) {
            return Ok(());
        }
        self.store_place(client, server, query, &page)
    }

    /// The page, unless the walk has to start again.
    fn ask_feed(&mut self, at: usize, server: usize, limit: usize) -> Check<Option<(Query, Page)>> {
        let client = &self.clients[at];
        let (cursor, vv) = match &client.walk {
            Some(walk) if client.is_strict => (Some(walk.cursor.clone()), walk.vv.clone()),
            Some(walk) => (Some(walk.cursor.clone()), client.vv.clone()),
            None => (None, client.vv.clone()),
        };
        let from = client.newest.filter(|_| client.claim == Claim::SinceTime);
        let query = Query { vv, cursor, limit, from, ..Query::default() };
        let page = crate::feed::page(self.nodes[server].tables().as_ref(), ROOT, &query, &Names);
        match page {
            Ok(page) => {
                let cursor = page.cursor.is_some();
                self.log(|| format!("client {at} gets {} events of {server}, more: {cursor}", page.len()));
                Ok(Some((query, page)))
            }
            Err(FeedError::PinGone { .. } | FeedError::CursorMismatch { .. }) => {
                self.report.pins_gone += 1;
                self.clients[at].walk = None;
                Ok(None)
            }
            Err(error) => Err(format!("{server} has no page for client {at}: {error}")),
        }
    }

    fn store_events(&mut self, client: usize, page: &Page) -> Check {
        for event in page.events() {
            let (fact, _) = read(event)?;
            self.clients[client].has.insert(fact);
        }
        Ok(())
    }

    /// Stores where the walk stands; at its end, what the client knows now.
    fn store_place(&mut self, at: usize, server: usize, query: Query, page: &Page) -> Check {
        let vv = match self.clients[at].claim {
            Claim::Pin => page.vv.clone(),
            Claim::ServerNow => page.vv.as_ref().map(|_| self.server_now(server)),
            Claim::GreatestSeq => Some(self.greatest_seqs(server, page)?),
            Claim::SinceTime => page.vv.as_ref().map(|_| String::new()),
        };
        let client = &mut self.clients[at];
        let Some(vv) = vv else {
            let cursor = page.cursor.clone().ok_or("a page has neither cursor nor vv")?;
            client.walk = Some(Walking { cursor, vv: query.vv });
            return Ok(());
        };
        client.vv.retain(|term| !query.vv.contains(term));
        client.vv.push(vv);
        client.vv.retain(|term| !term.is_empty());
        client.walk = None;
        let newest = client.has.iter().map(|(key, _)| key.time()).max();
        client.newest = newest;
        self.check_claims(at, server)
    }

    /// Every event that a client's claims hide at this replica is one that it has.
    fn check_claims(&self, at: usize, server: usize) -> Check {
        let (client, node) = (&self.clients[at], &self.nodes[server]);
        let (tables, head) = (node.tables(), node.head());
        for text in &client.vv {
            let vv: VersionVector =
                text.parse().map_err(|error| format!("a vv is not read back: {error}"))?;
            for term in vv.terms {
                let verdict = judge(tables.as_ref(), &head.knowledge, &term);
                if verdict.map_err(|error| error.to_string())? != Verdict::Counts {
                    continue;
                }
                for seq in term.intervals.iter().cloned().flatten().map(Seq) {
                    let row =
                        tables.dot(Dot { origin: term.origin, seq }).map_err(|error| error.to_string())?;
                    if row.is_some_and(|row| !client.has.contains(&(row.key, row.hash))) {
                        return Err(format!("client {at} claims {term} at {server} and lacks seq {}", seq.0));
                    }
                }
            }
        }
        Ok(())
    }

    fn server_now(&self, server: usize) -> String {
        vv_of_server(self.nodes[server].tables().as_ref()).expect("memory can be read").to_string()
    }

    fn greatest_seqs(&self, server: usize, page: &Page) -> Check<String> {
        let dots = page.events().map(|event| Ok(read(event)?.1)).collect::<Check<Vec<Dot>>>()?;
        let greatest: Knowledge = dots.into_iter().map(|dot| (dot.origin, dot.seq)).collect();
        let vv = vv_of(self.nodes[server].tables().as_ref(), &greatest);
        Ok(vv.map_err(|error| error.to_string())?.to_string())
    }

    /// Every client walks to the end, and then holds exactly what the replicas hold.
    pub(super) fn clients_finish(&mut self) -> Check {
        let held = self.nodes[0].facts();
        for client in 0..self.clients.len() {
            // A walk that began before the end is pinned to what was known then: another one follows on it.
            let (mut pages, mut walks) = (0, 1 + usize::from(self.clients[client].walk.is_some()));
            while walks > 0 {
                pages += 1;
                if pages > PAGES_MAX {
                    return Err(format!("client {client} comes to no end"));
                }
                let server = self.any_node();
                let Some((query, page)) = self.ask_feed(client, server, 50)? else {
                    walks = 1;
                    continue;
                };
                self.store_events(client, &page)?;
                self.store_place(client, server, query, &page)?;
                walks -= usize::from(self.clients[client].walk.is_none());
            }
            let has = &self.clients[client].has;
            if let Some((key, hash)) = held.difference(has).next() {
                return Err(format!("client {client} lacks an event at the end: {key} {hash}"));
            }
            let stray = has.difference(&held).find(|fact| !self.ledger.lost.contains(*fact));
            if let Some((key, hash)) = stray {
                return Err(format!("client {client} holds what no replica holds: {key} {hash}"));
            }
        }
        Ok(())
    }
}

/// An event of a page, read back from its JSON.
fn read(event: &[u8]) -> Check<(Fact, Dot)> {
    let json: serde_json::Value = serde_json::from_slice(event).map_err(|error| error.to_string())?;
    let key: EventKey = json["key"].as_str().and_then(|key| key.parse().ok()).ok_or("an event has no key")?;
    let data = json["data"].to_string();
    let (origin, seq) = json["dot"].as_str().and_then(|dot| dot.split_once(':')).ok_or("no dot")?;
    let origin = origin.parse().map_err(|_| "an event's dot has no origin")?;
    let seq = Seq(seq.parse().map_err(|_| "an event's dot has no seq")?);
    Ok(((key, value(&data).hash(key)), Dot { origin, seq }))
}

/// The state of a replica that nobody may change by asking.
pub(super) fn unchanged_by<T>(node: &Node, body: impl FnOnce() -> T) -> Check<T> {
    let before = node.head();
    let answer = body();
    if *before == *node.head() { Ok(answer) } else { Err("a question changes what is held".to_owned()) }
}
