//! As much of gRPC as a benchmark needs: messages of lengths and bytes over one HTTP/2 connection, which lives on a
//! runtime of the thread that uses it. The client is to cost the server that is measured as little as can be, so
//! nothing is decoded that need not be.

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How much may be under way to us, of a call and of the connection: never the limit.
const WINDOW: u32 = 1 << 26;

/// How much may come in one frame.
const FRAME: u32 = 1 << 20;

/// A connection.
pub(crate) struct Link {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    authority: String,
}

impl Link {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let requests = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let mut builder = Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).max_frame_size(FRAME);
            let (requests, connection) = builder.handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            requests
        });
        Self { runtime, requests, authority: address.to_string() }
    }

    /// Calls a method with one message, [framed](Message::framed), and shows each message of the answer.
    pub(crate) fn call(&mut self, method: &str, message: Bytes, mut each: impl FnMut(&[u8])) {
        let request = Request::post(format!("http://{}{method}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let requests = &mut self.requests;
        self.runtime.block_on(async {
            let (answer, mut body) = requests.send_request(request, false).expect("an open connection");
            body.send_data(message, true).expect("an open connection");
            let mut answer = answer.await.expect("an answer");
            let headers = std::mem::take(answer.headers_mut());
            let answer = answer.body_mut();
            let mut taken = BytesMut::new();
            while let Some(data) = answer.data().await {
                let data = data.expect("data");
                answer.flow_control().release_capacity(data.len()).expect("it was taken");
                taken.extend_from_slice(&data);
                while let Some(whole) = whole(&taken) {
                    let frame = taken.split_to(whole);
                    each(frame.get(HEAD..).unwrap_or(&[]));
                }
            }
            let trailers = answer.trailers().await.expect("trailers").unwrap_or_default();
            assert!(is_ok(&headers) || is_ok(&trailers), "{headers:?} {trailers:?}");
        });
    }
}

/// The kind of a field that has a length, strings and messages among them.
const BYTES: u8 = 2;

/// Before each message: whether it is packed, and its length.
const HEAD: usize = 5;

/// How long the first frame of a message is, once all of it is there.
fn whole(taken: &[u8]) -> Option<usize> {
    let [_, length @ ..] = taken.first_chunk::<HEAD>()?;
    let whole = HEAD + usize::try_from(u32::from_be_bytes(*length)).expect("it fits");
    (taken.len() >= whole).then_some(whole)
}

fn is_ok(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status == "0")
}

/// A message in the making: fields with their numbers.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn number(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.varint(value);
    }

    pub(crate) fn bytes(&mut self, field: u8, value: &[u8]) {
        self.0.push(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn message(&mut self, field: u8, value: &Self) {
        self.bytes(field, &value.0);
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [.., low] = (value & 0x7f).to_be_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    /// The message as it is sent.
    pub(crate) fn framed(&self) -> Bytes {
        let length = u32::try_from(self.0.len()).expect("a short message");
        [&[0], length.to_be_bytes().as_slice(), &self.0].concat().into()
    }

    /// The fields of a message with their numbers, those of bytes with these.
    pub(crate) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        std::iter::from_fn(move || {
            let (tag, rest) = varint(message)?;
            let (value, rest) = varint(rest)?;
            let length =
                if tag & 7 == u64::from(BYTES) { usize::try_from(value).expect("it fits") } else { 0 };
            let (bytes, rest) = rest.split_at_checked(length).expect("a whole message");
            message = rest;
            Some((tag >> 3, bytes))
        })
    }
}

/// The number that the bytes begin with, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(last + 1)?;
    let value = number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}
