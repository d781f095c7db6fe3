//! What the routes do: the host's side of the trait that `http` calls through.
//!
//! Reads of tables and calls into plugins may block, so they run on threads that may; one permit each keeps their
//! number within the readers that the storage engine has room for.

mod admissions;
mod changes;
mod checking;
mod entrance;
mod live;
mod measure;
mod query;
mod standing;

use self::admissions::Admissions;
use self::entrance::Entrance;
use crate::admit;
use crate::config::Config;
use crate::core::knowledge::vv_of;
use crate::core::limits::SYNC_WAIT_MS_MAX;
use crate::feed;
use crate::host::Host;
use crate::http::names::{PluginName, RootName, ViewName};
use crate::http::service::{
    Aspect, FeedAnswer, FeedQuery, Offer, Offered, PageFormat, ReloadAnswer, Service, ViewAnswer, ViewQuery,
};
use crate::http::sse::Stream;
use crate::http::{BindError, Drained, Server, Settings};
use crate::metering;
use crate::peers::{Dialler, Tcp};
use crate::plugin::Turn;
use crate::plugin::catalog::RootCatalog;
use crate::plugin::registry::Reloaded;
use crate::problem::{Code, Problem};
use crate::root::Root;
use crate::sync::{Ask, Replica, SyncError};
use crate::verify::Jobs;
use bytes::Bytes;
use laterbase_plugin::declare::AlgebraKind;
use live::Tails;
use metrics::counter;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// A host that has its address and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    server: Early,
    host: Arc<Host>,
}

impl Bound {
    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Answers, and dials the peers, until `shutdown` ends, then lets requests in flight finish.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Drained {
        self.server.serve(std::future::ready(self.host), shutdown).await
    }
}

impl Host {
    /// Takes the address to listen on.
    pub async fn bind(self: &Arc<Self>, listen: SocketAddr) -> Result<Bound, BindError> {
        let server = Early::bind(listen, self.config()).await?;
        Ok(Bound { server, host: Arc::clone(self) })
    }
}

/// A server that has its address before its host is open: opening may take long, for plugins are tried.
#[derive(Debug)]
pub struct Early(Server);

impl Early {
    /// Takes the address to listen on, for a host with this configuration.
    pub async fn bind(listen: SocketAddr, config: &Config) -> Result<Self, BindError> {
        crate::metering::start();
        let limits = config.limits();
        let settings = Settings {
            body_bytes_max: limits.request_body_bytes_max,
            inflated_bytes_max: limits.request_inflated_bytes_max,
            uri_bytes_max: limits.uri_bytes_max,
            connections_max: limits.connections_max,
            header_timeout: Duration::from_millis(limits.header_ms_max),
            body_timeout: Duration::from_millis(limits.body_ms_max),
            drain_timeout: Duration::from_millis(limits.drain_ms_max),
            page_events_max: limits.page_events_max,
            page_bytes_max: limits.page_bytes_max,
            origins: config.http.origins.clone(),
            ..Settings::default()
        };
        Server::bind(listen, settings).await.map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Answers until `shutdown` ends, then lets requests in flight finish: that it is starting until `host` is there,
    /// from then on as that host, whose peers it dials.
    pub async fn serve(
        self,
        host: impl Future<Output = Arc<Host>>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let (stop, stopped) = watch::channel(false);
        let entrance = Entrance::default();
        let opened = async {
            let host = host.await;
            measure::once(&host);
            dial(&host, &stopped);
            let reports = Arc::new(Semaphore::new(host.limits().reports_max));
            entrance.open(Front {
                host,
                reports,
                stopped: stopped.clone(),
                checks: Arc::default(),
                tails: Arc::default(),
                told: Arc::default(),
                admissions: Admissions::new(),
            });
            metering::upkeep().await
        };
        let told = async {
            shutdown.await;
            // Peers that wait for news are answered, so that the drain need not wait for them.
            stop.send_replace(true);
        };
        tokio::select! {
            drained = self.0.serve(entrance.clone(), told) => drained,
            never = opened => match never {},
        }
    }
}

/// A host as the routes see it.
#[derive(Debug, Clone)]
struct Front {
    host: Arc<Host>,
    /// A permit for each Report that may run: one that never returns keeps its thread, and its permit, for good.
    reports: Arc<Semaphore>,
    /// True once the server is told to stop.
    stopped: watch::Receiver<bool>,
    /// The checks of Roots' rows.
    checks: Arc<Jobs>,
    /// What live readers of a Root's feed share.
    tails: Arc<Tails>,
    /// What the log was told to be wrong.
    told: Arc<Mutex<BTreeSet<String>>>,
    /// What is counted of admissions.
    admissions: Admissions,
}

/// Dials all peers on a thread of their own: their work on the tables blocks.
fn dial(host: &Arc<Host>, stopped: &watch::Receiver<bool>) {
    if host.peers().is_empty() {
        return;
    }
    let (host, stopped) = (Arc::clone(host), stopped.clone());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "peers are not dialled"),
        };
        let tasks = LocalSet::new();
        for peer in host.peers() {
            let dialler = Dialler {
                peer: peer.address.clone(),
                only: peer.roots.clone(),
                roots: Arc::clone(&host),
                status: host.standing().peer(&peer.address),
                connect: Tcp,
            };
            drop(tasks.spawn_local(dialler.run(stopped.clone())));
        }
        runtime.block_on(tasks);
    };
    let thread = std::thread::Builder::new().name("laterbase-sync".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::error!(%error, "peers are not dialled");
    }
}

/// Waits until the replica holds something else than the peer knows, or the time is up.
pub(crate) async fn news(
    replica: &Arc<Replica>,
    ask: &Arc<Ask>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Problem> {
    let mut until = pin!(sleep(wait(ask)));
    let mut commits = replica.commits();
    loop {
        commits.mark_unchanged();
        let (replica, asked) = (Arc::clone(replica), Arc::clone(ask));
        if !blocking(move || replica.is_quiet(&asked).map_err(|fault| fault.problem())).await? {
            return Ok(());
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return Ok(()) },
            () = &mut until => return Ok(()),
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        }
    }
}

/// For how long an answer may be held back.
fn wait(ask: &Ask) -> Duration {
    Duration::from_millis(ask.wait_ms().min(SYNC_WAIT_MS_MAX).into())
}

impl Service for Front {
    async fn admit(&self, root: RootName, request: admit::Request) -> Result<admit::Answer, Problem> {
        let (root, catalog) = self.host.root(root.as_str())?;
        let (begun, is_dry) = (Instant::now(), request.dry_run);
        let answer = root.admit(&catalog, request).await?;
        if !is_dry {
            self.admissions.count(begun, &answer);
        }
        Ok(answer)
    }

    async fn feed(&self, root: RootName, query: FeedQuery) -> Result<FeedAnswer, Problem> {
        let (root, catalog) = self.host.root(root.as_str())?;
        let query = self.feed_query(query);
        blocking(move || {
            let page = root.feed(&catalog, &query)?;
            let (cursor, left, vv) = (page.cursor.clone(), page.left, page.vv.clone());
            Ok(FeedAnswer { body: page.into_body().into(), cursor, left, vv })
        })
        .await
    }

    async fn follow(&self, root: RootName, query: FeedQuery, id: Option<String>) -> Result<Stream, Problem> {
        let query = self.feed_query(query);
        self.live(root.as_str(), query, id).await
    }

    async fn view(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<ViewAnswer, Problem> {
        let (root, catalog) = self.host.root(root.as_str())?;
        let is_report = catalog.report(view.as_str()).is_some();
        match query.aspect {
            Aspect::Answer if is_report => self.report((root, catalog), view.as_str(), query).await,
            Aspect::Answer | Aspect::Changes(_) => {
                // Another thread takes longer to wake than a known answer.
                if let Some(answer) = query::view_again(&root, &catalog, view.as_str(), &query) {
                    return Ok(answer);
                }
                blocking(move || query::view(&root, &catalog, view.as_str(), query)).await
            }
            Aspect::Digest => query::digest((root, catalog), view.as_str(), query).await,
        }
    }

    async fn changes(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<Stream, Problem> {
        let (known, catalog) = self.host.root(root.as_str())?;
        query::check_view(&known, &catalog, view.as_str(), &query)?;
        let since = match &query.aspect {
            Aspect::Changes(since) => since.clone(),
            Aspect::Answer | Aspect::Digest => None,
        };
        self.stream(root.as_str(), view.as_str(), query, since).await
    }

    async fn root_info(&self, root: RootName) -> Result<Bytes, Problem> {
        let (root, catalog) = self.host.root(root.as_str())?;
        blocking(move || info(&root, &catalog).map(|info| info.to_string().into())).await
    }

    async fn roots(&self) -> Result<Bytes, Problem> {
        let roots = self.host.roots();
        let summaries = roots.iter().map(|(root, catalog)| {
            let plugins: Vec<&str> =
                catalog.instances().iter().map(|instance| instance.identity().plugin.as_str()).collect();
            json!({"root": root.name(), "plugins": plugins, "stored": root.is_stored()})
        });
        Ok(json!({"roots": summaries.collect::<Vec<_>>()}).to_string().into())
    }

    async fn offers(&self) -> Result<Vec<Offer>, Problem> {
        Ok(self.host.roots().iter().map(|(root, catalog)| offer(root.name(), catalog)).collect())
    }

    async fn plugins(&self) -> Result<Bytes, Problem> {
        let mut status = self.host.registry().status();
        for (keyspace, warning) in self.host.roots().iter().flat_map(|(root, _)| root.warnings()) {
            let plugin = keyspace.split_once('.').map(|(plugin, _)| plugin);
            let of_plugin =
                status.iter_mut().filter(|status| plugin.is_some() && status.name.as_deref() == plugin);
            of_plugin.for_each(|status| status.warnings.push(warning.clone()));
        }
        let loaded = self.host.registry().generations_loaded();
        let body = json!({"plugins": status, "generations_loaded": loaded, "generations_max": self.host.limits().generations_max});
        Ok(body.to_string().into())
    }

    async fn reload(&self, plugin: PluginName, wait: bool) -> Result<ReloadAnswer, Problem> {
        let (host, name) = (Arc::clone(&self.host), plugin.as_str().to_owned());
        self.known_plugin(&name)?;
        let turn = host.registry().take_turn(&name).map_err(|fault| fault.problem())?;
        if wait {
            return blocking(move || reload(&host, &turn, &name)).await;
        }
        let json = json!({"plugin": name, "state": "building"}).to_string().into();
        // Its outcome is kept and shown by the list of plugins.
        let span = tracing::Span::current();
        drop(tokio::task::spawn_blocking(move || span.in_scope(|| reload(&host, &turn, &name))));
        Ok(ReloadAnswer { done: false, json })
    }

    async fn cancel(&self, plugin: PluginName) -> Result<Bytes, Problem> {
        let (host, name) = (Arc::clone(&self.host), plugin.as_str().to_owned());
        self.known_plugin(&name)?;
        blocking(move || {
            host.registry().cancel(&name).map_err(|fault| fault.problem())?;
            let mut status = host.registry().status().into_iter();
            let status = status.rfind(|status| status.name.as_deref() == Some(&name));
            // What had been done already when the wish came cannot be cancelled: the generation tells.
            let generation = status.and_then(|status| status.generation);
            Ok(json!({"plugin": name, "state": "serving", "generation": generation}).to_string().into())
        })
        .await
    }

    async fn sync(&self, root: RootName, frame: Bytes) -> Result<Bytes, Problem> {
        let problem = |fault: &SyncError| fault.problem();
        let ask = Arc::new(Ask::decode(&frame).map_err(|fault| problem(&fault.into()))?);
        let needs_files = || Replica::needs_files(&ask).map_err(|fault| problem(&fault));
        let root = self.host.root_for_peer(root.as_str(), &needs_files)?;
        if ask.wait_ms() > 0 {
            let mut stopped = self.stopped.clone();
            if let Some(opened) = root.opened()? {
                news(&opened.replica, &ask, stopped).await?;
            } else {
                tokio::select! {
                    () = sleep(wait(&ask)) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            }
        }
        blocking(move || root.answer(&ask).map(Bytes::from).map_err(|fault| problem(&fault))).await
    }

    async fn verify(&self, root: RootName, begin: Option<Bytes>) -> Result<Bytes, Problem> {
        let (root, _) = self.host.root(root.as_str())?;
        if let Some(begin) = begin {
            let (host, jobs) = (Arc::clone(&self.host), Arc::clone(&self.checks));
            let root = Arc::clone(&root);
            blocking(move || checking::begin(&host, &jobs, &root, &begin)).await?;
        }
        let standing = self.checks.standing(root.name());
        Ok(serde_json::to_vec(&standing).expect("a report has only text and numbers").into())
    }

    async fn peers(&self) -> Result<Bytes, Problem> {
        Ok(self.host.standing().show(self.host.now()).to_string().into())
    }

    async fn ready(&self) -> Result<Bytes, Problem> {
        let front = self.clone();
        blocking(move || front.ready_now().map(Bytes::from)).await
    }

    async fn metrics(&self) -> Result<Bytes, Problem> {
        let front = self.clone();
        blocking(move || {
            // Whether all is well is a figure, not an answer, here.
            drop(front.ready_now());
            measure::measure(&front.host);
            Ok(metering::text().into())
        })
        .await
    }
}

impl Front {
    fn feed_query(&self, query: FeedQuery) -> feed::Query {
        feed::Query {
            vv: query.vv,
            cursor: query.cursor,
            limit: query.limit.unwrap_or(self.host.limits().page_events_default),
            max_bytes: query.max_bytes.unwrap_or(self.host.limits().page_bytes_default),
            from: query.from,
            to: query.to,
            types: query.type_.into_iter().collect(),
            format: match query.format {
                PageFormat::Json => feed::Format::Json,
                PageFormat::Ndjson => feed::Format::Ndjson,
                PageFormat::Frames => feed::Format::Frames,
                PageFormat::Csv => feed::Format::Csv,
            },
        }
    }

    /// An error if no plugin of this name is there.
    fn known_plugin(&self, name: &str) -> Result<(), Problem> {
        if self.host.registry().status().iter().any(|status| status.name.as_deref() == Some(name)) {
            return Ok(());
        }
        Err(Problem::new(Code::UnknownPlugin, format!("no plugin {name:?} is loaded; see /_/plugins")))
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let span = tracing::Span::current();
    let worked = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    worked.unwrap_or_else(|fault| {
        Err(Problem::new(Code::Storage, format!("the work for this answer failed: {fault}")))
    })
}

fn reload(host: &Host, turn: &Turn, name: &str) -> Result<ReloadAnswer, Problem> {
    let reloaded = host.reload(turn, name);
    let outcome = match &reloaded {
        Ok(Reloaded::Swapped { .. }) => "swapped",
        Ok(Reloaded::Unchanged { .. }) => "unchanged",
        Err(_) => "failed",
    };
    counter!("laterbase_plugin_reloads_total", "outcome" => outcome).increment(1);
    let (state, generation) = match reloaded.map_err(|fault| fault.problem())? {
        Reloaded::Swapped { generation } => ("reloaded", generation),
        Reloaded::Unchanged { generation } => ("unchanged", generation),
    };
    let json = json!({"plugin": name, "state": state, "generation": generation}).to_string().into();
    Ok(ReloadAnswer { done: true, json })
}

/// What plugins offer to a Root.
fn offer(root: &str, catalog: &RootCatalog) -> Offer {
    let views = catalog.views().map(|view| Offered {
        name: view.declaration().name.clone(),
        is_ordered: view.declaration().algebra == AlgebraKind::Ordered,
        is_report: false,
    });
    let reports = catalog.reports().map(|report| Offered {
        name: report.declaration().name.clone(),
        is_ordered: false,
        is_report: true,
    });
    Offer {
        root: root.to_owned(),
        types: catalog.types().map(|known| known.name.clone()).collect(),
        formats: catalog.formats().map(str::to_owned).collect(),
        views: views.chain(reports).collect(),
    }
}

fn info(root: &Root, catalog: &RootCatalog) -> Result<Value, Problem> {
    let types = catalog.types();
    let types =
        types.map(|known| json!({"number": known.number, "name": known.name, "version": known.version}));
    let views: Vec<&str> = catalog.views().map(|view| view.declaration().name.as_str()).collect();
    let reports: Vec<&str> = catalog.reports().map(|report| report.declaration().name.as_str()).collect();
    let (events, origin, vv) = match root.opened()? {
        None => (0, Value::Null, String::new()),
        Some(opened) => {
            let tables = opened.store.read().map_err(|fault| fault.problem())?;
            let head = tables.head().map_err(|fault| fault.problem())?;
            let vv = vv_of(tables.as_ref(), &head.knowledge).map_err(|fault| fault.problem())?;
            (head.events, head.origin.to_string().into(), vv.to_string())
        }
    };
    Ok(json!({
        "root": root.name(), "events": events, "views": views, "reports": reports,
        "types": types.collect::<Vec<_>>(), "formats": catalog.formats().collect::<Vec<_>>(),
        "origin": origin, "vv": vv,
    }))
}
