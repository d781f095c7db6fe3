//! Events as binary frames: the bytes behind `application/vnd.laterbase.events`, for writing, for the feed and for
//! files. FORMAT.md has the table of every field.
//!
//! ```text
//! body    "LBEV" | version 1 | frame | frame | …
//! frame   length 4 | CRC-32C over length and content 4 | content: kind 1, fields
//! event   flags 1 | [key 16 or time 8] | [id: length 2, text] | [dot 16] | type 4 | version 4 | data: the rest
//! end     flags 1 | [left 8] | [cursor: length 4, text] | [vv: length 4, text]
//! ```
//! A frame names its own length and carries its own checksum, so a reader of a long file needs memory for one frame
//! and says at which byte something is wrong. What a feed writes can be written to another server as it is: a dot and
//! the flag of a clash say nothing there, and an end is passed over.

use super::event::{Dot, EventKey, Origin, Seq, ValidTime};

/// What every body begins with: four letters and the version of this layout.
pub const HEAD: [u8; 5] = *b"LBEV\x01";

/// What stands in front of a frame's content.
const PREFIX_BYTES: usize = 8;

/// More than an event's frame has besides its data: fixed fields, and an id of 64 KiB.
pub const FRAME_OVERHEAD_BYTES: usize = 66 << 10;

const EVENT: u8 = 1;
const END: u8 = 2;

const KEY: u8 = 1;
const TIME: u8 = 2;
const ID: u8 = 4;
const DOT: u8 = 8;
const CLASH: u8 = 16;

const LEFT: u8 = 1;
const CURSOR: u8 = 2;
const VV: u8 = 4;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'f> {
    /// An event.
    Event(EventFrame<'f>),
    /// The end of a feed's page.
    End(EndFrame<'f>),
}

/// An event in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFrame<'f> {
    /// When it happened.
    pub when: FrameTime,
    /// Its id, of which the tail of its key is made; at most 65,535 bytes, only beside a time.
    pub id: Option<&'f str>,
    /// The number of its type.
    pub type_number: u32,
    /// The version that its data is written in; none: the Schema's newest.
    pub version: Option<u32>,
    /// The user's bytes.
    pub data: &'f [u8],
    /// The least dot under which the replica that wrote the frame knows it.
    pub dot: Option<Dot>,
    /// Whether it lost its key to a smaller value there.
    pub clash: bool,
}

/// When an event in a frame happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTime {
    /// When it is written.
    Now,
    /// At this instant.
    At(ValidTime),
    /// The whole key is given.
    Key(EventKey),
}

/// What stands behind the events of a feed's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndFrame<'f> {
    /// How many dots are left behind the page, at most.
    pub left: Option<u64>,
    /// Where to go on; none on the last page.
    pub cursor: Option<&'f str>,
    /// What the caller knows then; only on the last page.
    pub vv: Option<&'f str>,
}

/// Why bytes are no frames. Places are bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramesError {
    /// The first bytes are others.
    #[error("the body does not begin with the four letters LBEV: it holds no binary frames")]
    NoFrames,
    /// A later version of the layout, or an earlier one.
    #[error("the binary frames are of version {found}; this program reads version {}", HEAD[4])]
    Version {
        /// Theirs.
        found: u8,
    },
    /// The bytes end before the frame does.
    #[error("the frame at byte {at} is cut off: the body ends before it does")]
    Truncated {
        /// Where the frame begins.
        at: usize,
    },
    /// The frame is longer than any may be.
    #[error("the frame at byte {at} has {bytes} bytes, and {bytes_max} is the limit")]
    TooLong {
        /// Where it begins.
        at: usize,
        /// How long it says it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The checksum does not agree.
    #[error("the frame at byte {at} is damaged: its checksum does not agree")]
    Damaged {
        /// Where it begins.
        at: usize,
    },
    /// Whole, but not of this layout.
    #[error("the frame at byte {at} {reason}")]
    Malformed {
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Appends a frame to `out`. An id longer than it may be, or where none may be, is left out.
///
/// # Panics
/// If a text or the data has 4 GiB or more.
pub fn write(out: &mut Vec<u8>, frame: &Frame<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    match frame {
        Frame::Event(event) => write_event(out, event),
        Frame::End(end) => write_end(out, end),
    }
    let length = u32::try_from(out.len() - start - PREFIX_BYTES).expect("a frame is shorter than 4 GiB");
    let length = length.to_be_bytes();
    let content = out.get(start + PREFIX_BYTES..).expect("it was just written");
    let check = checksum(length, content).to_be_bytes();
    let prefix = out.get_mut(start..start + PREFIX_BYTES).expect("it was just written");
    prefix.copy_from_slice([length, check].as_flattened());
}

fn write_event(out: &mut Vec<u8>, event: &EventFrame<'_>) {
    let EventFrame { when, id, type_number, version, data, dot, clash } = event;
    let is_at = matches!(when, FrameTime::At(_));
    let id = id.filter(|_| is_at).and_then(|id| Some((id, u16::try_from(id.len()).ok()?)));
    let place = match when {
        FrameTime::Now => 0,
        FrameTime::At(_) => TIME,
        FrameTime::Key(_) => KEY,
    };
    let flags = place | flag(id.is_some(), ID) | flag(dot.is_some(), DOT) | flag(*clash, CLASH);
    out.extend_from_slice(&[EVENT, flags]);
    match when {
        FrameTime::Now => {}
        FrameTime::At(time) => out.extend_from_slice(&time.0.to_be_bytes()),
        FrameTime::Key(key) => out.extend_from_slice(&key.0),
    }
    if let Some((id, length)) = id {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(id.as_bytes());
    }
    if let Some(dot) = dot {
        out.extend_from_slice(&dot.origin.0);
        out.extend_from_slice(&dot.seq.0.to_be_bytes());
    }
    out.extend_from_slice(&type_number.to_be_bytes());
    out.extend_from_slice(&version.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(data);
}

fn write_end(out: &mut Vec<u8>, end: &EndFrame<'_>) {
    let EndFrame { left, cursor, vv } = end;
    let flags = flag(left.is_some(), LEFT) | flag(cursor.is_some(), CURSOR) | flag(vv.is_some(), VV);
    out.extend_from_slice(&[END, flags]);
    if let Some(left) = left {
        out.extend_from_slice(&left.to_be_bytes());
    }
    for text in [cursor, vv].into_iter().flatten() {
        let length = u32::try_from(text.len()).expect("a text is shorter than 4 GiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Checks the first bytes of a body; none if there are too few to tell.
pub fn read_head(bytes: &[u8]) -> Result<Option<usize>, FramesError> {
    let letters = HEAD.iter().zip(bytes).take(4);
    if letters.into_iter().any(|(ours, theirs)| ours != theirs) {
        return Err(FramesError::NoFrames);
    }
    match bytes.get(4) {
        None => Ok(None),
        Some(version) if *version == HEAD[4] => Ok(Some(HEAD.len())),
        Some(version) => Err(FramesError::Version { found: *version }),
    }
}

/// The frame at the start of `bytes`, which begin at byte `at` of the body, and how many bytes it takes; none if they
/// end before the frame does. A frame longer than `frame_bytes_max` is refused before it is there.
pub fn read_frame(
    bytes: &[u8],
    at: usize,
    frame_bytes_max: usize,
) -> Result<Option<(Frame<'_>, usize)>, FramesError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let content_bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let frame_bytes = content_bytes.saturating_add(PREFIX_BYTES);
    if frame_bytes > frame_bytes_max {
        return Err(FramesError::TooLong { at, bytes: frame_bytes, bytes_max: frame_bytes_max });
    }
    let Some((check, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some(content) = rest.get(..content_bytes) else { return Ok(None) };
    if checksum(*length, content) != u32::from_be_bytes(*check) {
        return Err(FramesError::Damaged { at });
    }
    let frame = Fields(content).frame().map_err(|reason| FramesError::Malformed { at, reason })?;
    Ok(Some((frame, frame_bytes)))
}

/// The frames of a whole body, up to the first fault.
#[derive(Debug, Clone)]
pub struct Frames<'f> {
    body: &'f [u8],
    at: usize,
    frame_bytes_max: usize,
    is_over: bool,
}

impl<'f> Frames<'f> {
    /// The frames of `body`, none of which may be longer than `frame_bytes_max`.
    pub fn new(body: &'f [u8], frame_bytes_max: usize) -> Self {
        Self { body, at: 0, frame_bytes_max, is_over: false }
    }

    fn advance(&mut self) -> Result<Option<Frame<'f>>, FramesError> {
        if self.at == 0 {
            self.at = read_head(self.body)?.ok_or(FramesError::Truncated { at: 0 })?;
        }
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (frame, bytes) =
            read_frame(rest, self.at, self.frame_bytes_max)?.ok_or(FramesError::Truncated { at: self.at })?;
        self.at += bytes;
        Ok(Some(frame))
    }
}

impl<'f> Iterator for Frames<'f> {
    type Item = Result<Frame<'f>, FramesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.advance().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A frame's content while it is read.
struct Fields<'f>(&'f [u8]);

const SHORT: &str = "ends in the middle of a field";

impl<'f> Fields<'f> {
    fn frame(mut self) -> Result<Frame<'f>, &'static str> {
        let [kind, flags] = self.take()?;
        match kind {
            EVENT => self.event(flags).map(Frame::Event),
            END => self.end(flags).map(Frame::End),
            _ => Err("is of a kind that this version does not know"),
        }
    }

    fn event(&mut self, flags: u8) -> Result<EventFrame<'f>, &'static str> {
        if flags >= CLASH << 1 {
            return Err("has flags that this version does not know");
        }
        let when = match (flags & KEY > 0, flags & TIME > 0) {
            (false, false) => FrameTime::Now,
            (true, false) => FrameTime::Key(EventKey(self.take()?)),
            (false, true) => FrameTime::At(ValidTime(u64::from_be_bytes(self.take()?))),
            (true, true) => return Err("has a key and a time: the key holds the time"),
        };
        let id = if flags & ID > 0 {
            let length = u16::from_be_bytes(self.take()?);
            Some(self.text(length.into())?)
        } else {
            None
        };
        if id.is_some_and(|id| id.is_empty() || flags & TIME == 0) {
            return Err("has an id that is empty or stands without a time");
        }
        let dot = if flags & DOT > 0 {
            let (origin, seq) = (Origin(self.take()?), Seq(u64::from_be_bytes(self.take()?)));
            Some(Dot { origin, seq })
        } else {
            None
        };
        let type_number = u32::from_be_bytes(self.take()?);
        let version = Some(u32::from_be_bytes(self.take()?)).filter(|version| *version > 0);
        let data = std::mem::take(&mut self.0);
        Ok(EventFrame { when, id, type_number, version, data, dot, clash: flags & CLASH > 0 })
    }

    fn end(&mut self, flags: u8) -> Result<EndFrame<'f>, &'static str> {
        if flags >= VV << 1 {
            return Err("has flags that this version does not know");
        }
        let left = if flags & LEFT > 0 { Some(u64::from_be_bytes(self.take()?)) } else { None };
        let cursor = if flags & CURSOR > 0 { Some(self.long_text()?) } else { None };
        let vv = if flags & VV > 0 { Some(self.long_text()?) } else { None };
        if self.0.is_empty() {
            Ok(EndFrame { left, cursor, vv })
        } else {
            Err("goes on behind its last field")
        }
    }

    fn long_text(&mut self) -> Result<&'f str, &'static str> {
        let length = u32::from_be_bytes(self.take()?);
        self.text(usize::try_from(length).map_err(|_| SHORT)?)
    }

    fn text(&mut self, length: usize) -> Result<&'f str, &'static str> {
        let (text, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| "has a text that is not UTF-8")
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (first, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*first)
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), content)
}

#[cfg(test)]
mod tests;
