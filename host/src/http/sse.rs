//! Server-sent events: how a frame is written, and the stream that carries frames to a client.
//!
//! A few frames wait for a client at most; whoever writes them waits with them, so a slow client costs its own stream
//! only. When the client leaves, the next write says so.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// So many frames wait for a client at most.
const FRAMES_MAX: usize = 8;

/// The client left, or the server closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the stream any more")]
pub struct Gone;

/// What a client reads.
pub struct Stream {
    frames: mpsc::Receiver<Bytes>,
    /// What writes the frames, where the one who reads them drives it.
    driver: Option<Driver>,
}

/// It ends when the stream does.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Writes to one client.
#[derive(Debug)]
pub struct Writer(mpsc::Sender<Bytes>);

/// A stream and its writer; it ends when the writer is dropped.
pub fn stream() -> (Writer, Stream) {
    let (writer, frames) = mpsc::channel(FRAMES_MAX);
    (Writer(writer), Stream { frames, driver: None })
}

/// A stream that is written while it is read, by the same task: what `run` makes is asked for more only when the client
/// takes it, and is dropped with the connection. Thousands of those that wait cost little.
pub fn driven<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(Writer) -> F) -> Stream {
    let (writer, frames) = mpsc::channel(1);
    Stream { frames, driver: Some(Box::pin(run(Writer(writer)))) }
}

impl Writer {
    /// Writes the event `name`; `id` is what the client sends as `Last-Event-ID` when it comes back.
    pub async fn event(&self, name: &str, id: Option<&str>, data: &str) -> Result<(), Gone> {
        let mut frame = format!("event: {name}\n");
        if let Some(id) = id {
            writeln!(frame, "id: {id}").expect("a text takes all");
        }
        for line in data.split(['\n', '\r']) {
            writeln!(frame, "data: {line}").expect("a text takes all");
        }
        frame.push('\n');
        self.send(frame).await
    }

    /// Writes what clients skip, so that both sides notice a dead line; `id` moves on where they go on.
    pub async fn pulse(&self, id: &str) -> Result<(), Gone> {
        self.send(format!(": still here\nid: {id}\n\n")).await
    }

    /// Writes frames as they are.
    pub async fn frames(&self, frames: Bytes) -> Result<(), Gone> {
        self.0.send(frames).await.map_err(|_| Gone)
    }

    /// Ends when the client is gone.
    pub async fn gone(&self) {
        self.0.closed().await;
    }

    async fn send(&self, frame: String) -> Result<(), Gone> {
        self.0.send(Bytes::from(frame)).await.map_err(|_| Gone)
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.frames.poll_recv(context);
        let next = match (next, &mut self.driver) {
            (Poll::Pending, Some(driver)) => {
                if driver.as_mut().poll(context).is_ready() {
                    self.driver = None;
                }
                self.frames.poll_recv(context)
            }
            (next, _) => next,
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("driven", &self.driver.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A frame is lines, whatever line ends its data has; a writer hears that its client left.
    #[tokio::test]
    async fn frames() {
        let (writer, mut stream) = stream();
        writer.event("change", Some("7.0a"), "{\"a\":\n1}").await.expect("there is room");
        writer.event("caught-up", None, "{}").await.expect("there is room");
        writer.pulse("8.0b").await.expect("there is room");
        let mut text = String::new();
        for _ in 0..3 {
            let frame = stream.frames.recv().await.expect("a frame");
            text.push_str(std::str::from_utf8(&frame).expect("UTF-8"));
        }
        let expected = "event: change\nid: 7.0a\ndata: {\"a\":\ndata: 1}\n\nevent: caught-up\ndata: {}\n\n: still here\nid: 8.0b\n\n";
        assert_eq!(text, expected);
        drop(stream);
        writer.gone().await;
        assert_eq!(writer.event("change", None, "{}").await, Err(Gone));
    }
}
