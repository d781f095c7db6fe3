//! A simulated host: the real server and dialler, with a replica in memory behind them.

use super::{PORT, ROOT};
use crate::admit::{Answer, Request};
use crate::core::clock::Clock;
use crate::core::event::{EventKey, Origin, ValidTime, Value};
use crate::core::gset::{self, Candidate, Look};
use crate::http::names::{PluginName, RootName, ViewName};
use crate::http::service::{FeedAnswer, FeedQuery, Offer, ReloadAnswer, Service, ViewAnswer, ViewQuery};
use crate::http::sse::Stream;
use crate::http::{Accept, Server, Settings};
use crate::peers::{Connect, Dialler, PeerStatus, Roots};
use crate::problem::{Code, Problem};
use crate::service::news;
use crate::store::MemoryStore;
use crate::sync::{Ask, Replica, SyncError};
use crate::wall::Wall;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

/// What of a host outlives its crashes.
pub(super) struct Node {
    name: &'static str,
    store: Arc<MemoryStore>,
    peers: Vec<&'static str>,
    chance: Mutex<StdRng>,
}

/// The simulation's time of day.
#[derive(Debug)]
struct Simulated;

impl Wall for Simulated {
    fn now(&self) -> ValidTime {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let ms = 1_800_000_000_000 + i64::try_from(elapsed).expect("not so long");
        ValidTime::from_millis(ms).expect("within NTP64")
    }
}

/// The simulated network.
#[derive(Clone)]
struct Net;

impl Connect for Net {
    type Stream = TcpStream;

    async fn connect(&self, authority: &str) -> io::Result<TcpStream> {
        let (host, _) = authority.split_once(':').expect("an authority has a port");
        TcpStream::connect((host, PORT)).await
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// One life of a host, as its routes and its dialler see it.
struct Life {
    replica: Arc<Replica>,
    node: Arc<Node>,
    stopped: watch::Receiver<bool>,
    made: watch::Sender<u64>,
}

impl Node {
    pub(super) fn new(
        name: &'static str,
        store: Arc<MemoryStore>,
        peers: Vec<&'static str>,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self { name, store, peers, chance: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    fn random(&self) -> u64 {
        self.chance.lock().expect("no panic").random()
    }

    /// One life, until the simulation ends it.
    pub(super) async fn run(self: Arc<Self>) -> turmoil::Result {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let address = listener.local_addr()?;
        let (clock, _) = Clock::new(ValidTime::default(), Simulated.now());
        let store = Arc::clone(&self.store);
        let node = Arc::clone(&self);
        let mint = Box::new(move || Origin(node.random().to_be_bytes()));
        let replica = Replica::new(store, Arc::new(Mutex::new(clock)), Arc::new(Simulated), mint);
        let (stop, stopped) = watch::channel(false);
        let life = Arc::new(Life {
            replica: Arc::new(replica),
            node: Arc::clone(&self),
            stopped,
            made: watch::Sender::new(0),
        });
        for peer in &self.peers {
            let dialler = Dialler {
                peer: format!("http://{peer}:{PORT}").parse()?,
                only: None,
                roots: Arc::clone(&life),
                status: Arc::new(PeerStatus::default()),
                connect: Net,
            };
            drop(tokio::task::spawn_local(dialler.run(stop.subscribe())));
        }
        let server = Server::on(listener, address, Settings::default())?;
        server.serve(Front(life), std::future::pending()).await;
        Ok(())
    }
}

impl Roots for Life {
    fn stored(&self) -> Vec<String> {
        vec![ROOT.to_owned()]
    }

    fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    fn replica(&self, _: &str) -> Result<Arc<Replica>, Problem> {
        Ok(Arc::clone(&self.replica))
    }

    fn now(&self) -> ValidTime {
        Simulated.now()
    }

    fn random(&self) -> u64 {
        self.node.random()
    }
}

/// The routes of a life.
struct Front(Arc<Life>);

impl Front {
    fn none<T>() -> Result<T, Problem> {
        Err(Problem::new(Code::UnknownRoute, "not in a simulation"))
    }
}

impl Service for Front {
    /// The body is the event.
    async fn admit(&self, _: RootName, request: Request) -> Result<Answer, Problem> {
        let now = Simulated.now();
        let tail = *blake3::hash(&request.body).as_bytes().first_chunk().expect("32 bytes hold 8");
        let value = Value { type_number: 1, version: 1, data: &request.body };
        let candidate = Candidate::new(EventKey::new(now, tail), value);
        let replica = &self.0.replica;
        let committed = replica.store().commit(&mut |tables| match gset::look(tables, candidate, false)? {
            Look::New => gset::admit(tables, candidate, 0).map(drop),
            Look::Duplicate { .. } | Look::Clash { .. } => Ok(()),
        });
        committed.map_err(|fault| fault.problem())?;
        replica.committed();
        let (vv, now) = (self.0.node.name.to_owned(), now.to_string());
        Ok(Answer { written: 1, duplicate: 0, rejected: 0, events: Vec::new(), vv, now })
    }

    async fn roots(&self) -> Result<Bytes, Problem> {
        Ok(serde_json::json!({"roots": [{"root": ROOT, "stored": true}]}).to_string().into())
    }

    async fn sync(&self, _: RootName, frame: Bytes) -> Result<Bytes, Problem> {
        let ask = Ask::decode(&frame).map_err(|fault| SyncError::from(fault).problem())?;
        let ask = Arc::new(ask);
        if ask.wait_ms() > 0 {
            news(&self.0.replica, &ask, self.0.stopped.clone()).await?;
        }
        self.0.replica.answer(&ask).map(Bytes::from).map_err(|fault| fault.problem())
    }

    async fn feed(&self, _: RootName, _: FeedQuery) -> Result<FeedAnswer, Problem> {
        Self::none()
    }

    async fn follow(&self, _: RootName, _: FeedQuery, _: Option<String>) -> Result<Stream, Problem> {
        Self::none()
    }

    async fn view(&self, _: RootName, _: ViewName, _: ViewQuery) -> Result<ViewAnswer, Problem> {
        Self::none()
    }

    async fn changes(&self, _: RootName, _: ViewName, _: ViewQuery) -> Result<Stream, Problem> {
        Self::none()
    }

    async fn root_info(&self, _: RootName) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn offers(&self) -> Result<Vec<Offer>, Problem> {
        Ok(Vec::new())
    }

    async fn plugins(&self) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn reload(&self, _: PluginName, _: bool) -> Result<ReloadAnswer, Problem> {
        Self::none()
    }

    async fn cancel(&self, _: PluginName) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn verify(&self, _: RootName, _: Option<Bytes>) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn peers(&self) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn ready(&self) -> Result<Bytes, Problem> {
        Self::none()
    }

    async fn metrics(&self) -> Result<Bytes, Problem> {
        Self::none()
    }
}
