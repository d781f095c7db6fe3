//! Server-sent events: how a frame is written, and the stream that carries frames to a client.
//!
//! A few frames wait for a client at most; whoever writes them waits with them, so a slow client costs its own stream
//! only. When the client leaves, the next write says so.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::fmt::Write as _;
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
#[derive(Debug)]
pub struct Stream(mpsc::Receiver<Bytes>);

/// Writes to one client.
#[derive(Debug)]
pub struct Writer(mpsc::Sender<Bytes>);

/// A stream and its writer; it ends when the writer is dropped.
pub fn stream() -> (Writer, Stream) {
    let (writer, reader) = mpsc::channel(FRAMES_MAX);
    (Writer(writer), Stream(reader))
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
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
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
            let frame = stream.0.recv().await.expect("a frame");
            text.push_str(std::str::from_utf8(&frame).expect("UTF-8"));
        }
        let expected = "event: change\nid: 7.0a\ndata: {\"a\":\ndata: 1}\n\nevent: caught-up\ndata: {}\n\n: still here\nid: 8.0b\n\n";
        assert_eq!(text, expected);
        drop(stream);
        writer.gone().await;
        assert_eq!(writer.event("change", None, "{}").await, Err(Gone));
    }
}
