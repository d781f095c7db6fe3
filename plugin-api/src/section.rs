//! The `.laterbase` section of a plugin library: what it is, readable without running any of its code.
//!
//! ```text
//! offset  bytes  what
//!      0     16  the ASCII text `LATERBASE PLUGIN`
//!     16      4  n, the length of what follows, big-endian
//!     20      n  lines `key=value`, UTF-8, each ended by a line feed, each key once
//! 20 + n         zeros, if anything
//! ```
//! Keys: `name`, `version` (of the plugin's crate), `api` (version of this crate), `abi` (see [`crate::abi::ABI`]),
//! `entry` (the exported symbol), `panic` (`unwind` or `abort`), `target` (`x86_64-linux`). Readers pass over keys
//! that they do not know, so that later versions can add some.

use std::collections::BTreeMap;

/// The section's name.
pub const NAME: &str = ".laterbase";
/// The section's first 16 bytes.
pub const MAGIC: &[u8; 16] = b"LATERBASE PLUGIN";
/// The longest section that a reader accepts, in bytes.
pub const BYTES_MAX: usize = 4096;

/// What a plugin library says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The plugin's declared name.
    pub name: String,
    /// The version of the plugin's crate.
    pub version: String,
    /// The version of the `laterbase-plugin` crate that it was built with.
    pub api: String,
    /// The number of the binary interface that it was built for.
    pub abi: u32,
    /// The symbol of its entry.
    pub entry: String,
    /// True if its panics unwind, so that they can be stopped; false if they abort the process.
    pub unwinds: bool,
    /// The architecture and operating system that it was built for.
    pub target: String,
}

/// Why a section cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// It does not begin with the magic text.
    #[error("the section does not begin with LATERBASE PLUGIN")]
    Magic,
    /// It is longer than any plugin's.
    #[error("the section has {bytes} bytes, more than {BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It ends early.
    #[error("the section ends early")]
    Truncated,
    /// More follows: several plugins are linked into one file.
    #[error("more than one plugin in one file")]
    Several,
    /// Its text is not lines of `key=value`.
    #[error("the section's text is not lines of key=value")]
    Text,
    /// A key is there twice.
    #[error("{key} is there twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A key is missing, or its value is malformed.
    #[error("{key} is missing or malformed")]
    Value {
        /// The key.
        key: &'static str,
    },
}

/// Reads the bytes of a section.
pub fn parse(bytes: &[u8]) -> Result<Section, SectionError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SectionError::Magic)?;
    if bytes.len() > BYTES_MAX {
        return Err(SectionError::TooLong { bytes: bytes.len() });
    }
    let (length, rest) = rest.split_first_chunk().ok_or(SectionError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SectionError::Truncated)?;
    let (text, rest) = rest.split_at_checked(length).ok_or(SectionError::Truncated)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(SectionError::Several);
    }
    let text = std::str::from_utf8(text).map_err(|_| SectionError::Text)?;
    let mut values = BTreeMap::new();
    for line in text.split_terminator('\n') {
        let (key, value) = line.split_once('=').ok_or(SectionError::Text)?;
        if values.insert(key, value).is_some() {
            return Err(SectionError::Twice { key: key.to_owned() });
        }
    }
    let value = |key: &'static str| match values.get(key) {
        Some(value) if !value.is_empty() => Ok((*value).to_owned()),
        _ => Err(SectionError::Value { key }),
    };
    Ok(Section {
        name: value("name")?,
        version: value("version")?,
        api: value("api")?,
        abi: value("abi")?.parse().map_err(|_| SectionError::Value { key: "abi" })?,
        entry: value("entry")?,
        unwinds: match value("panic")?.as_str() {
            "unwind" => true,
            "abort" => false,
            _ => return Err(SectionError::Value { key: "panic" }),
        },
        target: value("target")?,
    })
}

/// The length of the section of a plugin, for [`write()`].
pub const fn length(name: &str, version: &str, unwinds: bool) -> usize {
    let mut counter = Writer { bytes: [], position: 0 };
    counter.section(name, version, unwinds, 0);
    counter.position
}

/// The section of a plugin.
///
/// # Panics
/// At compile time, if `N` is not its [`length()`].
pub const fn write<const N: usize>(name: &str, version: &str, unwinds: bool) -> [u8; N] {
    let mut writer = Writer { bytes: [0; N], position: 0 };
    writer.section(name, version, unwinds, N - MAGIC.len() - 4);
    assert!(writer.position == N, "the length is that of this section");
    writer.bytes
}

/// Writes into an array at compile time; what does not fit is only counted.
struct Writer<const N: usize> {
    bytes: [u8; N],
    position: usize,
}

impl<const N: usize> Writer<N> {
    const fn section(&mut self, name: &str, version: &str, unwinds: bool, text_length: usize) {
        self.put(MAGIC);
        assert!(text_length < BYTES_MAX, "names and versions are short");
        #[expect(clippy::cast_possible_truncation, reason = "asserted in the line above")]
        self.put(&(text_length as u32).to_be_bytes());
        self.line(b"name", name.as_bytes());
        self.line(b"version", version.as_bytes());
        self.line(b"api", env!("CARGO_PKG_VERSION").as_bytes());
        self.key(b"abi");
        self.digits(crate::abi::ABI);
        self.put(b"\n");
        self.key(b"entry");
        self.put(b"laterbase_plugin_");
        self.symbol(name.as_bytes());
        self.put(b"\n");
        self.line(b"panic", if unwinds { b"unwind" } else { b"abort" });
        self.key(b"target");
        self.put(std::env::consts::ARCH.as_bytes());
        self.put(b"-");
        self.put(std::env::consts::OS.as_bytes());
        self.put(b"\n");
    }

    const fn line(&mut self, key: &[u8], value: &[u8]) {
        self.key(key);
        self.put(value);
        self.put(b"\n");
    }

    const fn key(&mut self, key: &[u8]) {
        self.put(key);
        self.put(b"=");
    }

    const fn put(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            self.byte(*first);
            bytes = rest;
        }
    }

    /// A name as part of a symbol: hyphens become underscores.
    const fn symbol(&mut self, mut name: &[u8]) {
        while let Some((first, rest)) = name.split_first() {
            self.byte(if *first == b'-' { b'_' } else { *first });
            name = rest;
        }
    }

    const fn digits(&mut self, number: u32) {
        if number >= 10 {
            self.digits(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }

    const fn byte(&mut self, byte: u8) {
        if let Some((_, tail)) = self.bytes.split_at_mut_checked(self.position)
            && let Some((place, _)) = tail.split_first_mut()
        {
            *place = byte;
        }
        self.position += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const LENGTH: usize = length("my-tool", "1.2.3", true);
    const SECTION: [u8; LENGTH] = write("my-tool", "1.2.3", true);

    fn with(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short").to_be_bytes();
        [MAGIC.as_slice(), length.as_slice(), text.as_bytes()].concat()
    }

    // Goal: what the macro writes is what the host reads.
    #[test]
    fn written_and_read() {
        let section = parse(&SECTION).expect("the section is well-formed");
        assert_eq!(section.name, "my-tool");
        assert_eq!(section.version, "1.2.3");
        assert_eq!(section.api, env!("CARGO_PKG_VERSION"));
        assert_eq!(section.abi, crate::abi::ABI);
        assert_eq!(section.entry, "laterbase_plugin_my_tool");
        assert!(section.unwinds);
        assert_eq!(section.target, format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
        assert_eq!(parse(&[SECTION.as_slice(), &[0; 9]].concat()), Ok(section));
    }

    // Goal: every other text is refused by name.
    #[test]
    fn refusals() {
        assert_eq!(parse(b""), Err(SectionError::Magic));
        assert_eq!(parse(&[0; 64]), Err(SectionError::Magic));
        for cut in MAGIC.len()..LENGTH {
            assert_eq!(parse(&SECTION[..cut]), Err(SectionError::Truncated), "cut at {cut}");
        }
        assert_eq!(parse(&[SECTION, SECTION].concat()), Err(SectionError::Several));
        let long = [SECTION.as_slice(), &[0; BYTES_MAX]].concat();
        assert_eq!(parse(&long), Err(SectionError::TooLong { bytes: BYTES_MAX + LENGTH }));
        assert_eq!(parse(&with("name")), Err(SectionError::Text));
        assert_eq!(parse(&with("a=1\na=2\n")), Err(SectionError::Twice { key: "a".to_owned() }));
        assert_eq!(parse(&with("name=a\n")), Err(SectionError::Value { key: "version" }));
        let others = "name=a\nversion=1\napi=1\nentry=x\ntarget=t\n";
        assert_eq!(parse(&with(&format!("{others}abi=x\n"))), Err(SectionError::Value { key: "abi" }));
        let odd = with(&format!("{others}abi=1\npanic=maybe\n"));
        assert_eq!(parse(&odd), Err(SectionError::Value { key: "panic" }));
        let newer = with(&format!("{others}abi=1\npanic=abort\nlicence=MIT\n"));
        assert!(!parse(&newer).expect("unknown keys are passed over").unwinds);
    }
}
