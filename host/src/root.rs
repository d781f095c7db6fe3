//! One Root: its tables, its writer and its views, opened when they are first needed.
//!
//! A declared Root exists from the moment a plugin declares it; its files appear at its first write. Until then
//! reads answer as from an empty Root. A Root whose files are there is opened at its first use, whether or not a
//! plugin claims it.

use crate::admit::{Admission, Answer, Desk, Door, Request};
use crate::core::clock::Clock;
use crate::core::event::{Arrival, Origin, ValidTime, Value};
use crate::core::limits::{SAMPLE_BYTES_MAX, SAMPLE_EVENTS_MAX};
use crate::core::tables::{Head, Tables, TablesMut};
use crate::feed::{self, FeedError, LivePage, Page, Reader, Told};
use crate::plugin::Sample;
use crate::plugin::catalog::RootCatalog;
use crate::problem::{Code, Problem};
use crate::store::{LmdbStore, MemoryStore, Store};
use crate::sync::{Ask, Replica, SyncError};
use crate::views::{Computes, Views};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How long a pin that is too big for its cursor is kept: 24 hours in milliseconds.
const PIN_KEEP_MS: u64 = 24 * 3600 * 1000;

/// Arrivals in a row that a sample takes.
const STRETCH: u64 = 128;

/// One Root of a host.
#[derive(Debug)]
pub struct Root {
    name: String,
    folder: PathBuf,
    desk: Desk,
    /// What plugins offer; a Root that is opened later starts with it.
    offered: ArcSwap<RootCatalog>,
    clock: Arc<Mutex<Clock>>,
    /// Set once the files are open.
    opened: ArcSwapOption<Opened>,
    /// Held while the files are being opened or made.
    opening: Mutex<()>,
    /// Counts up when the files are made.
    made: watch::Sender<u64>,
}

/// A Root whose files are open.
#[derive(Debug)]
pub struct Opened {
    /// The tables.
    pub store: Arc<dyn Store>,
    /// The same, as they lie on disk.
    pub disk: Arc<LmdbStore>,
    /// The way in.
    pub admission: Arc<Admission>,
    /// The way out.
    pub views: Arc<Views>,
    /// The way to and from peers.
    pub replica: Arc<Replica>,
}

impl Root {
    /// The Root `name` with its files, if it has any, in `folder`. `made` counts up when files are made.
    pub fn new(name: &str, folder: PathBuf, desk: Desk, made: watch::Sender<u64>) -> Self {
        let (clock, _) = Clock::new(ValidTime::default(), desk.wall.now());
        Self {
            name: name.to_owned(),
            folder,
            clock: Arc::new(Mutex::new(clock)),
            desk,
            offered: ArcSwap::default(),
            opened: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            made,
        }
    }

    /// The Root's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The open Root; none if it has no files yet.
    pub fn opened(&self) -> Result<Option<Arc<Opened>>, Problem> {
        if let Some(opened) = self.opened.load_full() {
            return Ok(Some(opened));
        }
        if self.folder.exists() { self.open().map(Some) } else { Ok(None) }
    }

    /// The open Root; none if nobody has needed it yet.
    pub fn open_now(&self) -> Option<Arc<Opened>> {
        self.opened.load_full()
    }

    /// The open Root; its files are made if there are none.
    pub fn open(&self) -> Result<Arc<Opened>, Problem> {
        if let Some(opened) = self.opened.load_full() {
            return Ok(opened);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = self.opened.load_full() {
            return Ok(opened);
        }
        let is_new = !self.folder.exists();
        let opened = Arc::new(self.start()?);
        self.opened.store(Some(Arc::clone(&opened)));
        if is_new {
            self.made.send_modify(|made| *made += 1);
        }
        Ok(opened)
    }

    fn start(&self) -> Result<Opened, Problem> {
        let mint = Origin(rand::random());
        let store = LmdbStore::open(&self.folder.join("events"), mint).map_err(|fault| fault.problem())?;
        let disk = Arc::new(store);
        let store: Arc<dyn Store> = Arc::<LmdbStore>::clone(&disk);
        let head = store.read().and_then(|tables| tables.head()).map_err(|fault| fault.problem())?;
        self.set_clock(head.clock_max);
        let failed =
            |fault: std::io::Error| Problem::new(Code::Storage, format!("root {}: {fault}", self.name));
        let views = Arc::new(Views::open(&self.folder, Arc::clone(&store)));
        let plugins: Arc<dyn Computes> = self.offered.load_full() as _;
        views.adopt(&plugins);
        let waked = Arc::downgrade(&views);
        let wake_views = move |rested| {
            if let Some(views) = waked.upgrade() {
                views.wake(rested);
            }
        };
        let merged = wake_views.clone();
        let mint = Box::new(|| Origin(rand::random()));
        let (clock, wall) = (Arc::clone(&self.clock), Arc::clone(&self.desk.wall));
        let replica = Replica::new(Arc::clone(&store), clock, wall, mint).telling(merged);
        let replica = Arc::new(replica);
        let told = Arc::clone(&replica);
        let wake = Box::new(move |rested| {
            wake_views(rested);
            if !rested {
                told.committed();
            }
        });
        let clock = Arc::clone(&self.clock);
        let admission =
            Admission::start(&self.name, Arc::clone(&store), clock, &self.desk, wake).map_err(failed)?;
        Ok(Opened { store, disk, admission: Arc::new(admission), views, replica })
    }

    /// Goes on from the stamps that were given before the restart.
    fn set_clock(&self, persisted: u64) {
        let (clock, ahead) = Clock::new(ValidTime(persisted), self.desk.wall.now());
        if ahead {
            tracing::warn!(
                root = self.name,
                "the persisted clock is far ahead of the wall clock: ticking from the latter"
            );
            metrics::counter!("laterbase_clock_resets_total").increment(1);
        }
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// Takes a request in.
    pub async fn admit(&self, catalog: &Arc<RootCatalog>, request: Request) -> Result<Answer, Problem> {
        self.desk.admit(catalog, &self.clock, self, request).await
    }

    /// One page of the feed. Blocks.
    pub fn feed(&self, catalog: &RootCatalog, query: &feed::Query) -> Result<Page, Problem> {
        let Some(opened) = self.opened()? else {
            return page(&MemoryStore::new(Origin([0; 8])), &self.name, query, catalog);
        };
        let page = page(opened.store.as_ref(), &self.name, query, catalog)?;
        if let Some(pin) = &page.keep_pin {
            let now_ms = self.desk.wall.now().millis().cast_unsigned();
            let mut keep = |tables: &mut dyn TablesMut| {
                tables.put_pin(pin.name, &pin.bytes, now_ms, now_ms + PIN_KEEP_MS)
            };
            opened.store.commit(&mut keep).map_err(|fault| fault.problem())?;
        }
        Ok(page)
    }

    /// A live reader that begins, whether the id that it had last is one of this Root's, and the last arrival. Blocks.
    pub fn reader(
        &self,
        catalog: &RootCatalog,
        query: &feed::Query,
        id: Option<&str>,
    ) -> Result<(Reader, bool, Told), Problem> {
        self.tables_for_reading(&mut |tables| Reader::begin(tables, query, catalog, id))
    }

    /// The next frames of a live reader out of the store. Blocks.
    pub fn live_page(&self, catalog: &RootCatalog, reader: &mut Reader) -> Result<LivePage, Problem> {
        self.tables_for_reading(&mut |tables| reader.page(tables, catalog))
    }

    fn tables_for_reading<T>(
        &self,
        read: &mut dyn FnMut(&dyn Tables) -> Result<T, FeedError>,
    ) -> Result<T, Problem> {
        let empty = MemoryStore::new(Origin([0; 8]));
        let opened = self.opened()?;
        let store: &dyn Store = opened.as_ref().map_or(&empty, |opened| opened.store.as_ref());
        let tables = store.read().map_err(|fault| fault.problem())?;
        read(tables.as_ref()).map_err(|fault| fault.problem())
    }

    /// The answer to a peer's frame, except that a question for news is answered at once. A Root without files
    /// answers as an empty one; they are made when a peer sends something. Blocks.
    pub fn answer(&self, ask: &Ask) -> Result<Vec<u8>, SyncError> {
        let opened = match self.opened().map_err(SyncError::Closed)? {
            None if Replica::needs_files(ask)? => Some(self.open().map_err(SyncError::Closed)?),
            opened => opened,
        };
        if let Some(opened) = opened {
            return opened.replica.answer(ask);
        }
        let store = Arc::new(MemoryStore::new(Origin([0; 8])));
        let (clock, wall) = (Arc::clone(&self.clock), Arc::clone(&self.desk.wall));
        Replica::new(store, clock, wall, Box::new(|| Origin([0; 8]))).answer(ask)
    }

    /// Some of its events, to try the laws of plugins on: all of a small Root, of a large one stretches of arrivals
    /// from its beginning to its end, because what arrived together tends to be about the same things.
    pub fn sample(&self) -> Result<Vec<Sample>, Problem> {
        let Some(opened) = self.opened()? else { return Ok(Vec::new()) };
        let tables = opened.store.read().map_err(|fault| fault.problem())?;
        let arrivals = tables.head().map_err(|fault| fault.problem())?.arrivals;
        let (mut sample, mut bytes) = (Vec::new(), 0);
        for number in sampled(arrivals) {
            let row = tables.arrival(Arrival(number)).map_err(|fault| fault.problem())?;
            let Some(row) = row else { continue };
            let event = tables.event(row.key).map_err(|fault| fault.problem())?;
            let Some(event) = event.filter(|event| event.hash == row.hash) else { continue };
            let Value { type_number, version, data } = event.value;
            bytes += data.len();
            if bytes > SAMPLE_BYTES_MAX {
                break;
            }
            sample.push(Sample { key: row.key, type_number, version, data: data.to_vec() });
        }
        Ok(sample)
    }

    /// Tells when files of any Root are made.
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// How much it holds, if it is open.
    pub fn head(&self) -> Option<Arc<Head>> {
        let opened = self.opened.load_full()?;
        opened.store.read().and_then(|tables| tables.head()).ok()
    }

    /// What is odd about the rows of its views, by the Keyspace with its plugin's name in front.
    pub fn warnings(&self) -> BTreeMap<String, String> {
        self.opened.load().as_ref().map(|opened| opened.views.warnings()).unwrap_or_default()
    }

    /// True if the Root has files.
    pub fn is_stored(&self) -> bool {
        self.opened.load().is_some() || self.folder.exists()
    }

    /// From now on the views follow what `catalog` offers.
    pub fn adopt(&self, catalog: &Arc<RootCatalog>) {
        self.offered.store(Arc::clone(catalog));
        if let Some(opened) = self.opened.load_full() {
            let plugins: Arc<dyn Computes> = Arc::clone(catalog) as _;
            opened.views.adopt(&plugins);
        }
    }
}

/// The numbers of the arrivals that a sample is of.
fn sampled(arrivals: u64) -> Box<dyn Iterator<Item = u64>> {
    let most = SAMPLE_EVENTS_MAX as u64;
    if arrivals <= most {
        return Box::new(1..=arrivals);
    }
    let stretches = most / STRETCH;
    Box::new((0..stretches).flat_map(move |stretch| {
        let first = 1 + stretch * (arrivals - STRETCH) / (stretches - 1);
        first..first + STRETCH
    }))
}

fn page(store: &dyn Store, root: &str, query: &feed::Query, catalog: &RootCatalog) -> Result<Page, Problem> {
    let tables = store.read().map_err(|fault| fault.problem())?;
    feed::page(tables.as_ref(), root, query, catalog).map_err(|fault| fault.problem())
}

impl feed::TypeNames for RootCatalog {
    fn name(&self, number: u32) -> Option<String> {
        self.event_type(number).map(|declared| declared.name.clone())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.type_named(name).map(|declared| declared.number)
    }
}

impl Door for Root {
    fn opened(&self) -> Result<Option<Arc<Admission>>, Problem> {
        Ok(Self::opened(self)?.map(|opened| Arc::clone(&opened.admission)))
    }

    fn open(&self) -> Result<Arc<Admission>, Problem> {
        Ok(Arc::clone(&Self::open(self)?.admission))
    }
}
