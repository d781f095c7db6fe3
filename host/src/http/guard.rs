//! A connection's bytes, guarded against clients that stop reading, and closed without losing the last answer.
//!
//! Closing a socket that still has unread bytes makes the kernel reset the connection, and the client may lose an
//! answer such as 413 that it had not read yet. So closing shuts the writing half first, then throws away what comes
//! for a moment.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may go on sending after its answer.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The stream with its guards.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    stream: T,
    /// The longest time that no byte can be written.
    write_timeout: Duration,
    /// Runs while a write waits, and while the closing stream lingers.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the writing half is shut.
    shut: bool,
}

impl<T> Guarded<T> {
    /// Guards a stream.
    pub(super) fn new(stream: T, write_timeout: Duration) -> Self {
        Self { stream, write_timeout, timer: None, shut: false }
    }

    /// Whether the time set at the first call since the timer was cleared is over.
    fn expired(&mut self, after: Duration, context: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(after)));
        timer.as_mut().poll(context).is_ready()
    }

    /// Lets a write's result through, or ends a wait that has become too long.
    fn watch<R>(&mut self, result: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.timer = None;
            return result;
        }
        if self.expired(self.write_timeout, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.shut = true;
            self.timer = None;
        }
        loop {
            if self.expired(LINGER, context) {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = [0; 8 << 10];
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
