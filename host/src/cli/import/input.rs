//! The file that is imported, through a window of bounded size: read, unpacked, hashed up to where it is used.
//!
//! Memory does not grow with the file, nor with a line in it: the window holds one row of the longest that is taken,
//! and whoever scans gives up on a longer one. A file is read as long as it was when it was opened: what is appended
//! meanwhile may be half a row; a file that has become shorter is an error, and its last row is not used.

use super::Fault;
use crate::core::limits::IMPORT_ROW_BYTES_MAX;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read at a time, at least, in bytes.
const STEP_BYTES: usize = 256 << 10;

/// How compressed files begin.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A file being imported.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    name: String,
    /// What is read and not used lies in `start..end`.
    window: Vec<u8>,
    start: usize,
    end: usize,
    is_at_end: bool,
    /// How many bytes were used, unpacked.
    offset: u64,
    /// Over all bytes before `hashed`, of which the window still holds some before `start`.
    hasher: blake3::Hasher,
    hashed: usize,
    progress: Arc<Meter>,
    /// How long the file was when it was opened; none of standard input.
    length: Option<u64>,
}

/// How far an import is in the bytes of its file, as they lie there.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
}

impl Meter {
    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// How far a file was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes, unpacked.
    pub(super) offset: u64,
    /// BLAKE3 over all of them, in hex.
    pub(super) hash: String,
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    progress: Arc<Meter>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Input {
    /// Opens a file; `-` is standard input. A file that is compressed by zstd or gzip is unpacked.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let (name, progress) = (path.display().to_string(), Arc::new(Meter::default()));
        if path == Path::new("-") {
            let reader = Counted { reader: io::stdin(), progress: Arc::clone(&progress) };
            return Self::unpacking("standard input".to_owned(), reader, progress, None);
        }
        let usage = |fault: &dyn std::fmt::Display| Fault::Usage(format!("{name}: {fault}"));
        let file = File::open(path).map_err(|fault| usage(&fault))?;
        let metadata = file.metadata().map_err(|fault| usage(&fault))?;
        if metadata.is_dir() {
            return Err(usage(&"this is a folder: name a file"));
        }
        let length = metadata.is_file().then_some(metadata.len());
        let reader =
            Counted { reader: file.take(length.unwrap_or(u64::MAX)), progress: Arc::clone(&progress) };
        Self::unpacking(name, reader, progress, length)
    }

    fn unpacking(
        name: String,
        reader: impl Read + Send + 'static,
        progress: Arc<Meter>,
        length: Option<u64>,
    ) -> Result<Self, Fault> {
        let mut reader = BufReader::with_capacity(STEP_BYTES, reader);
        let stopped = |fault: io::Error| Fault::Stopped(format!("{name}: {fault}"));
        let begin = reader.fill_buf().map_err(stopped)?;
        let reader: Box<dyn Read + Send> = if begin.starts_with(ZSTD) {
            Box::new(zstd::Decoder::with_buffer(reader).map_err(stopped)?)
        } else if begin.starts_with(GZIP) {
            Box::new(flate2::bufread::MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        Ok(Self {
            reader,
            name,
            window: vec![0; STEP_BYTES],
            start: 0,
            end: 0,
            is_at_end: false,
            offset: 0,
            hasher: blake3::Hasher::new(),
            hashed: 0,
            progress,
            length,
        })
    }

    /// What people call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Arc<Meter> {
        Arc::clone(&self.progress)
    }

    /// The file's length as it lies there; none of standard input.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// What is read and not used.
    pub(super) fn data(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether nothing follows on [`data`](Self::data).
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Reads more.
    pub(super) fn fill(&mut self) -> Result<(), Fault> {
        if self.is_at_end {
            return Ok(());
        }
        if self.start > 0 {
            self.hash();
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            (self.start, self.hashed) = (0, 0);
        }
        if self.window.len() - self.end < STEP_BYTES {
            let grown = (self.window.len() * 2).min(IMPORT_ROW_BYTES_MAX + STEP_BYTES);
            self.window.resize(grown.max(self.window.len()), 0);
        }
        let room = self.window.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match self.reader.read(room) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|fault| Fault::Stopped(format!("{}: {fault}", self.name)))?,
            }
        };
        self.end += read;
        if read == 0 {
            self.is_at_end = true;
            return self.check_length();
        }
        Ok(())
    }

    /// A file that was cut while it was read ends in the middle of something.
    fn check_length(&self) -> Result<(), Fault> {
        let read = self.progress.bytes();
        match self.length {
            Some(length) if read < length => Err(Fault::Stopped(format!(
                "{}: file_shrank: it had {length} bytes when the import began, and ends after {read}",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// How many bytes were used, unpacked.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on behind `bytes` of the data.
    pub(super) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Goes on at `offset`, which lies ahead; whether there is so much.
    pub(super) fn skip_to(&mut self, offset: u64) -> Result<bool, Fault> {
        while self.offset < offset {
            let ahead = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            self.consume(ahead);
            if self.offset < offset {
                if self.is_at_end {
                    return Ok(false);
                }
                self.fill()?;
            }
        }
        Ok(self.offset == offset)
    }

    /// How far it was used.
    pub(super) fn place(&mut self) -> Place {
        self.hash();
        Place { offset: self.offset, hash: self.hasher.finalize().to_hex().to_string() }
    }

    fn hash(&mut self) {
        self.hasher.update(self.window.get(self.hashed..self.start).unwrap_or_default());
        self.hashed = self.start;
    }
}
