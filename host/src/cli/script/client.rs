//! A plain HTTP/1.1 client over one kept connection: what it sends is what its caller wrote, byte for byte.
//!
//! The client for peers (`peers::Client`) reads answers for what they mean; a transcript shows them as they came.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes; whoever waits this long is told that it failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.text()))
    }

    /// The header `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)
            .map_err(|fault| Error::new(fault.kind(), format!("no server at {address}: {fault}")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// Sends a request and reads its answer. `target` goes into the request line as it is.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = head(method, target, headers);
        if !body.is_empty() || method == "POST" {
            write!(head, "content-length: {}\r\n", body.len()).map_err(Error::other)?;
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes)?;
        self.answer(method == "HEAD")
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer; `bodiless` for the answer to a HEAD.
    pub fn answer(&mut self, bodiless: bool) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if bodiless || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks()?;
        } else {
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            answer.body.resize(length.ok_or_else(|| no("length"))?, 0);
            self.stream.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| no("status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| no("header line"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// Sends a GET whose answer is a stream; its status and headers.
    pub fn stream(&mut self, target: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
        self.raw(format!("{}\r\n", head("GET", target, headers)).as_bytes())?;
        self.head()
    }

    /// The next frame of a stream, each of which comes as one chunk; none at its end.
    pub fn frame(&mut self) -> io::Result<Option<String>> {
        let chunk = self.chunk()?;
        let text = String::from_utf8(chunk).map_err(|fault| Error::new(ErrorKind::InvalidData, fault))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::from_str_radix(self.line()?.trim(), 16).map_err(|_| no("length of a chunk"))?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok(chunk)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(in_words)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The request line and the headers, each line ended.
fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head
}

/// The system says of a wait that ended only that there is nothing yet.
fn in_words(fault: Error) -> Error {
    if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return Error::new(ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
    }
    fault
}

/// What an answer should have had.
fn no(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("an answer without a {what}"))
}

/// One request over a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    Client::connect(address)?.send(method, target, headers, body)
}
