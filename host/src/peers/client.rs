//! The way to a peer: one kept connection, frames as bodies of POST, time limits that tell slow from dead.

use super::address::PeerAddress;
use super::status::Bytes as Counted;
use crate::core::limits::SYNC_FRAME_BYTES_MAX;
use crate::sync::{Exchange, ExchangeError, MEDIA_TYPE, Moved};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may be silent, besides what it was allowed to wait for news.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// An answer that takes longer than a silence may must come at least this fast. Where a line is slower than that,
/// pages shrink until they take no longer.
const BYTES_PER_S_MIN: u64 = 1 << 10;

/// Opens connections; replaced in simulations.
pub trait Connect: Clone + 'static {
    /// What it opens.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Opens a connection to `authority`, a host and a port.
    fn connect(&self, authority: &str) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// Connections over TCP.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Connect for Tcp {
    type Stream = TcpStream;

    async fn connect(&self, authority: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A client of one peer.
pub struct Client<C> {
    connect: C,
    peer: PeerAddress,
    path: String,
    counted: Arc<Counted>,
    kept: Option<Connection>,
    /// How long the peer may hold back the next answer.
    wait: Duration,
    progress: Option<Progress>,
}

/// Hears what was moved so far, and how many dots are still to be pulled and pushed.
pub type Progress = Box<dyn FnMut(Moved, u64, u64)>;

impl<C: std::fmt::Debug> std::fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("connect", &self.connect)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A connection; dropping it closes it, whatever the peer still has to read.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What moves its bytes.
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A problem document as far as it is shown.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    code: String,
    detail: String,
}

impl<C: Connect> Client<C> {
    /// A client for frames about the Root `root`; nothing is connected yet.
    pub fn new(connect: C, peer: PeerAddress, root: &str, counted: Arc<Counted>) -> Self {
        let (path, wait) = (format!("/_/sync/{root}"), Duration::ZERO);
        Self { connect, peer, path, counted, kept: None, wait, progress: None }
    }

    /// From now on `progress` hears what rounds move.
    #[must_use]
    pub fn showing(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// From now on answers may be held back for so long.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Asks for `path` with GET; the answer's body.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, ExchangeError> {
        self.ask(Method::GET, path, HeaderMap::new(), Bytes::new()).await
    }

    /// Posts JSON to `path`; the answer's body.
    pub async fn post(&mut self, path: &str, json: String) -> Result<Bytes, ExchangeError> {
        self.ask(Method::POST, path, content_type("application/json"), json.into()).await
    }

    /// Asks for `path`; the answer's body. It may be sent twice.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, ExchangeError> {
        let had_connection = self.kept.as_ref().is_some_and(|kept| !kept.sender.is_closed());
        match self.send(method.clone(), path, headers.clone(), body.clone()).await {
            // A kept connection may just have been closed for idleness. Every frame may be sent twice.
            Err(ExchangeError::Connection(_)) if had_connection => {
                self.send(method, path, headers, body).await
            }
            answered => answered,
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, ExchangeError> {
        let mut connection = match self.kept.take().filter(|kept| !kept.sender.is_closed()) {
            Some(kept) => kept,
            None => self.open().await?,
        };
        let sent = body.len() as u64;
        let request = Request::builder().method(method).uri(path).header(HOST, self.peer.authority());
        let mut request = request.body(Full::new(body)).map_err(|error| broke(&error))?;
        request.headers_mut().extend(headers);
        let patience = self.wait + SILENCE_MAX;
        let answered = in_time(patience, connection.sender.send_request(request)).await?;
        let response = answered.map_err(|error| broke(&error))?;
        let status = response.status();
        let received = receive(response).await?;
        self.counted.add(sent, received.len() as u64);
        self.kept = Some(connection);
        if status.is_success() {
            return Ok(received);
        }
        let Refusal { code, detail } = serde_json::from_slice(&received).unwrap_or_default();
        Err(ExchangeError::Refused { status: status.as_u16(), code, detail })
    }

    async fn open(&self) -> Result<Connection, ExchangeError> {
        let connecting = self.connect.connect(self.peer.authority());
        let stream = in_time(CONNECT_TIMEOUT, connecting).await?.map_err(|error| broke(&error))?;
        let shaken = in_time(CONNECT_TIMEOUT, handshake(TokioIo::new(stream))).await?;
        let (sender, connection) = shaken.map_err(|error| broke(&error))?;
        let moving = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        });
        Ok(Connection { sender, task: moving.abort_handle() })
    }
}

impl<C: Connect> Exchange for Client<C> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let path = self.path.clone();
        self.ask(Method::POST, &path, content_type(MEDIA_TYPE), ask.into()).await.map(Vec::from)
    }

    async fn alongside<A: Send + 'static, T: Send + 'static>(
        &mut self,
        ask: Vec<u8>,
        read: impl FnOnce(Vec<u8>) -> A + Send + 'static,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> (Result<A, ExchangeError>, T) {
        let working = tokio::task::spawn_blocking(work);
        let answer = match self.exchange(ask).await {
            Ok(answer) => Ok(done(tokio::task::spawn_blocking(move || read(answer))).await),
            Err(error) => Err(error),
        };
        (answer, done(working).await)
    }

    fn progressed(&mut self, moved: Moved, to_pull: u64, to_push: u64) {
        if let Some(progress) = &mut self.progress {
            progress(moved, to_pull, to_push);
        }
    }
}

fn content_type(media_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
}

/// What `working` comes to; a panic goes on here.
async fn done<T>(working: JoinHandle<T>) -> T {
    match working.await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The whole body, if it is not too long, never stands still for long and does not crawl.
async fn receive(response: Response<Incoming>) -> Result<Bytes, ExchangeError> {
    let mut body = response.into_body();
    let mut received = Vec::new();
    let begun = Instant::now();
    while let Some(frame) = in_time(SILENCE_MAX, body.frame()).await? {
        let Ok(data) = frame.map_err(|error| broke(&error))?.into_data() else { continue };
        if received.len() + data.len() > SYNC_FRAME_BYTES_MAX {
            let limit = format!("the answer is longer than {SYNC_FRAME_BYTES_MAX} bytes");
            return Err(ExchangeError::Connection(limit));
        }
        received.extend_from_slice(&data);
        let paid = Duration::from_secs(received.len() as u64 / BYTES_PER_S_MIN);
        if begun.elapsed() > SILENCE_MAX + paid {
            return Err(ExchangeError::TooSlow { bytes_per_s_min: BYTES_PER_S_MIN });
        }
    }
    Ok(received.into())
}

async fn in_time<F: Future>(limit: Duration, future: F) -> Result<F::Output, ExchangeError> {
    timeout(limit, future).await.map_err(|_| ExchangeError::TimedOut { seconds: limit.as_secs() })
}

/// The error with its causes in one line.
fn broke(error: &dyn std::error::Error) -> ExchangeError {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    ExchangeError::Connection(line)
}
