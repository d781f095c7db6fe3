//! The accept loop: connections with time-outs and a cap, and a drain that loses no request in flight.
//!
//! ```text
//! serving ── signal ──> draining ── all connections done, or drain_timeout ──> closed
//!            readyz 503, no new connections,          what is left is cut off
//!            idle ones closed, requests in flight
//!            finish, later ones get `draining`
//! ```
//! `axum::serve` has no header time-out and no cap, hence this loop around hyper's connection.

use super::body::Budget;
use super::cors::{self, OriginError};
use super::guard::{Guarded, LINGER};
use super::handler::{Edge, answer};
use super::meter::Meters;
use super::service::Service;
use super::settings::Settings;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::ACCESS_CONTROL_REQUEST_METHOD;
use axum::http::{Method, Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// Connections above the cap that are being told so; further ones are closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long a connection that has sent no whole request may go on once the server drains.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

/// How long to wait when the system has no file descriptor for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// `[http] origins` holds something else.
    #[error(transparent)]
    Origin(#[from] OriginError),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    Clean,
    /// So many connections were cut off when the time was up.
    Cut(usize),
}

/// What a connection should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Go on.
    Serving,
    /// Finish the request in flight, then close.
    Draining,
    /// Close.
    Closed,
}

/// Where connections come from; replaced in simulations.
pub trait Accept: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // An answer is one small write: waiting to fill a packet would only delay it. Failing that, it is slower.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }
}

/// A server that listens and does not yet answer.
#[derive(Debug)]
pub struct Server<L = TcpListener> {
    listener: L,
    address: SocketAddr,
    settings: Settings,
}

impl Server {
    /// Takes the address; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, settings: Settings) -> Result<Self, BindError> {
        let failed = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Self::on(listener, address, settings)
    }
}

impl<L: Accept> Server<L> {
    /// A server on a `listener` that listens on `address`.
    pub(crate) fn on(listener: L, address: SocketAddr, settings: Settings) -> Result<Self, BindError> {
        cors::layer(&settings.origins)?;
        Ok(Self { listener, address, settings })
    }

    /// The address it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` ends, then drains. Dropping this future closes every connection.
    pub async fn serve<S: Service>(mut self, service: S, shutdown: impl Future<Output = ()>) -> Drained {
        let drain_timeout = self.settings.drain_timeout;
        let connections_max = self.settings.connections_max.clamp(1, Semaphore::MAX_PERMITS >> 1);
        let slots = Arc::new(Semaphore::new(connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let (phase, watched) = watch::channel(Phase::Serving);
        let site = Arc::new(Site::new(service, self.settings));
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            let Ok(stream) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => drop(tokio::spawn(slotted(stream, Arc::clone(&site), watched.clone(), slot))),
                Err(_) => refuse(stream, &refusals),
            }
        }
        site.edge.draining.store(true, Ordering::Release);
        tracing::info!("draining: requests in flight are finished");
        drop(self.listener);
        drop(watched);
        phase.send_replace(Phase::Draining);
        let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let drained = match timeout(drain_timeout, slots.acquire_many(all)).await {
            Ok(_) => Drained::Clean,
            Err(_) => Drained::Cut(connections_max - slots.available_permits()),
        };
        phase.send_replace(Phase::Closed);
        drained
    }
}

/// The handler with what it needs, shared by all connections.
pub(super) struct Site<S> {
    /// What all requests share.
    pub(super) edge: Arc<Edge<S>>,
    /// The handler with CORS headers, if the configuration names origins.
    cors: Option<Router>,
}

impl<S: Service> Site<S> {
    pub(super) fn new(service: S, settings: Settings) -> Self {
        let budget = Budget::new(settings.bodies_bytes_max);
        let layer = cors::layer(&settings.origins).expect("bind checked the origins");
        let edge = Arc::new(Edge {
            service,
            settings,
            budget,
            draining: AtomicBool::new(false),
            meters: Meters::default(),
        });
        let handle = |State(edge): State<Arc<Edge<S>>>, request: Request<Body>| answer(edge, request);
        // One handler for all paths: axum would decode what it matches, and names must be seen raw.
        let cors =
            layer.map(|layer| Router::new().fallback(handle).with_state(Arc::clone(&edge)).layer(layer));
        Self { edge, cors }
    }

    /// The CORS layer takes every OPTIONS for a preflight, so only those go through it.
    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match &self.cors {
            Some(cors) if preflight || *request.method() != Method::OPTIONS => {
                cors.clone().oneshot(request).await
            }
            // There is one handler, so nothing is to be routed.
            _ => Ok(answer(Arc::clone(&self.edge), request).await),
        }
    }
}

/// Serves one connection, which gives its slot back when it ends.
async fn slotted<T, S>(
    stream: T,
    site: Arc<Site<S>>,
    phase: watch::Receiver<Phase>,
    slot: OwnedSemaphorePermit,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let _open = Open::begin();
    connection(stream, site, phase).await;
    drop(slot);
}

/// Counts an open connection for as long as it is, also where a panic ends it.
struct Open(metrics::Gauge);

impl Open {
    fn begin() -> Self {
        let open = metrics::gauge!("laterbase_http_connections");
        open.increment(1);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Serves one connection until either side closes it.
pub(super) async fn connection<T, S>(stream: T, site: Arc<Site<S>>, mut phase: watch::Receiver<Phase>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let settings = site.edge.settings.clone();
    let asked = AtomicBool::new(false);
    let handle = |request: Request<hyper::body::Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let site = Arc::clone(&site);
        async move { site.route(request.map(Body::new)).await }
    };
    let io = TokioIo::new(Guarded::new(stream, settings.write_timeout));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_header_size(settings.head_bytes_max)
            .serve_connection(io, service_fn(handle))
    );
    let mut ended = tokio::select! {
        ended = &mut served => Some(ended),
        () = left(&mut phase, Phase::Serving) => None,
    };
    if ended.is_none() {
        served.as_mut().graceful_shutdown();
        tokio::select! {
            last = &mut served => ended = Some(last),
            () = left(&mut phase, Phase::Draining) => {}
            () = silent(&asked) => {}
        }
    }
    if let Some(Err(error)) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// Ends when the server is past `this` phase, or gone.
async fn left(phase: &mut watch::Receiver<Phase>, this: Phase) {
    let past = |now: &Phase| *now != this && *now != Phase::Serving;
    if phase.wait_for(past).await.is_err() {
        tracing::debug!("the server was dropped while a connection was open");
    }
}

/// Ends after the grace if no request was ever seen on the connection: nothing is lost by closing it.
async fn silent(asked: &AtomicBool) {
    sleep(DRAIN_GRACE).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Tells a connection above the cap to come back, if there is room for even that.
fn refuse<T>(mut stream: T, refusals: &Arc<Semaphore>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    metrics::counter!("laterbase_http_connections_refused_total").increment(1);
    let Ok(slot) = Arc::clone(refusals).try_acquire_owned() else { return };
    let answer = refusal();
    drop(tokio::spawn(async move {
        let told = async {
            stream.write_all(&answer).await?;
            let mut guarded = Guarded::new(stream, LINGER);
            guarded.shutdown().await
        };
        if timeout(LINGER * 2, told).await.is_err() {
            tracing::debug!("a connection above the cap did not take its answer");
        }
        drop(slot);
    }));
}

/// The whole answer to a connection above the cap, written without reading a request.
fn refusal() -> Vec<u8> {
    use crate::problem::{Code, Problem};
    let detail = "the server holds as many connections as it may";
    let problem = Problem::new(Code::TooManyConnections, detail).retry_after(1);
    let body = super::reply::problem_bytes(&problem);
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}
