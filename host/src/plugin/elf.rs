//! Looks at a library's bytes in memory, before the dynamic linker may: a truncated file would kill the host
//! with SIGBUS inside `dlopen`, and a foreign one gives a misleading error there. Nothing is mapped and
//! nothing is run.

use super::load_error::LoadError;
use laterbase_plugin::abi::ABI;
use laterbase_plugin::section::{self, Section};
use object::LittleEndian;
use object::elf::{ELFCLASS64, ELFDATA2LSB, ET_DYN, FileHeader64, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

type Header = FileHeader64<LittleEndian>;

/// The ELF machine number of the processor that this host runs on.
pub(super) const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    62
};

/// What a library says of itself in its section, once it is known that this host can load it.
pub fn check(bytes: &[u8]) -> Result<Section, LoadError> {
    let section = inspect(bytes)?;
    if section.abi != ABI {
        return Err(LoadError::WrongAbi { plugin: section.abi, host: ABI });
    }
    if !section.unwinds {
        return Err(LoadError::PanicAbort);
    }
    Ok(section)
}

/// What a library for this machine says of itself, though it may be built for another plugin interface.
pub fn inspect(bytes: &[u8]) -> Result<Section, LoadError> {
    let header = check_header(bytes)?;
    let endian = LittleEndian;
    let length = bytes.len() as u64;
    let segments = header.e_phoff.get(endian);
    let segments_bytes = u64::from(header.e_phnum.get(endian)) * u64::from(header.e_phentsize.get(endian));
    within("the table of segments", segments, segments_bytes, length)?;
    let sections_bytes = u64::from(header.e_shnum.get(endian)) * u64::from(header.e_shentsize.get(endian));
    within("the table of sections", header.e_shoff.get(endian), sections_bytes, length)?;
    let unreadable = |error: object::read::Error| LoadError::Malformed(error);
    for (number, segment) in header.program_headers(endian, bytes).map_err(unreadable)?.iter().enumerate() {
        let what = format!("segment {number}");
        within(&what, segment.p_offset(endian), segment.p_filesz(endian), length)?;
    }
    for (number, section) in header.section_headers(endian, bytes).map_err(unreadable)?.iter().enumerate() {
        if section.sh_type(endian) != SHT_NOBITS {
            let what = format!("section {number}");
            within(&what, section.sh_offset(endian), section.sh_size(endian), length)?;
        }
    }
    let sections = header.sections(endian, bytes).map_err(unreadable)?;
    let found = sections.section_by_name(endian, section::NAME.as_bytes()).ok_or(LoadError::NoSection)?;
    let contents = found.1.data(endian, bytes).map_err(unreadable)?;
    Ok(section::parse(contents)?)
}

/// The file header of a 64-bit little-endian library for this machine.
fn check_header(bytes: &[u8]) -> Result<&Header, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::NotElf { found: "the file is empty" });
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(LoadError::NotElf { found: "it does not begin with the ELF mark" });
    }
    let length = bytes.len() as u64;
    let (Some(class), Some(data)) = (bytes.get(4).copied(), bytes.get(5).copied()) else {
        return Err(LoadError::Truncated { what: "the file header".to_owned(), end: 64, length });
    };
    if class != ELFCLASS64.0 || data != ELFDATA2LSB.0 {
        return Err(LoadError::WrongClass { class, data });
    }
    let (header, _) = object::from_bytes::<Header>(bytes).map_err(|()| LoadError::Truncated {
        what: "the file header".to_owned(),
        end: 64,
        length,
    })?;
    let machine = header.e_machine.get(LittleEndian).0;
    if machine != MACHINE {
        return Err(LoadError::WrongMachine { machine, host: MACHINE });
    }
    if header.e_type.get(LittleEndian) != ET_DYN {
        return Err(LoadError::NotElf { found: "an ELF file, but not a shared library" });
    }
    Ok(header)
}

/// An error if `size` bytes at `offset` reach beyond the file.
fn within(what: &str, offset: u64, size: u64, length: u64) -> Result<(), LoadError> {
    match offset.checked_add(size) {
        Some(end) if end <= length => Ok(()),
        end => Err(LoadError::Truncated { what: what.to_owned(), end: end.unwrap_or(u64::MAX), length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    /// A well-formed library with nothing in it but a `.laterbase` section.
    fn library(section: &[u8]) -> Vec<u8> {
        let names = b"\0.laterbase\0.shstrtab\0";
        let (begin, names_at) = (64 + 56, 64 + 56 + section.len());
        let table_at = names_at + names.len();
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let put = |bytes: &mut Vec<u8>, width: usize, numbers: &[usize]| {
            for number in numbers {
                bytes.extend(
                    (0..width).map(|byte| u8::try_from(number >> (8 * byte) & 0xff).expect("masked")),
                );
            }
        };
        put(&mut bytes, 2, &[3, MACHINE.into()]);
        put(&mut bytes, 4, &[1]);
        put(&mut bytes, 8, &[0, 64, table_at]);
        put(&mut bytes, 4, &[0]);
        put(&mut bytes, 2, &[64, 56, 1, 64, 3, 2]);
        // The segment: loads the whole of header, segment table and section.
        put(&mut bytes, 4, &[1, 4]);
        put(&mut bytes, 8, &[0, 0, 0, names_at, names_at, 4096]);
        bytes.extend(section);
        bytes.extend(names);
        let mut row = |name, kind, at, size| {
            put(&mut bytes, 4, &[name, kind]);
            put(&mut bytes, 8, &[0, 0, at, size]);
            put(&mut bytes, 4, &[0, 0]);
            put(&mut bytes, 8, &[1, 0]);
        };
        row(0, 0, 0, 0);
        row(1, 1, begin, section.len());
        row(12, 3, names_at, names.len());
        bytes
    }

    fn section() -> Vec<u8> {
        const LENGTH: usize = section::length("demo", "1.0.0", true);
        section::write::<LENGTH>("demo", "1.0.0", true).to_vec()
    }

    fn code(bytes: &[u8]) -> Code {
        check(bytes).expect_err("it is refused").code()
    }

    // Goal: a sound library is read, so that the refusals below have one cause each.
    #[test]
    fn sound() {
        let section = check(&library(&section())).expect("it is sound");
        assert_eq!((section.name.as_str(), section.entry.as_str()), ("demo", "laterbase_plugin_demo"));
    }

    // Goal: whatever the length at which a file is cut, the cut is found before the dynamic linker sees it.
    #[test]
    fn truncated_at_every_length() {
        let whole = library(&section());
        for length in 0..whole.len() {
            let expected = if length < 4 { Code::PluginNotElf } else { Code::PluginTruncated };
            assert_eq!(code(&whole[..length]), expected, "cut at {length}");
        }
    }

    // Goal: each kind of foreign file has its own name.
    #[test]
    fn foreign() {
        let patched = |at: usize, byte: u8| {
            let mut bytes = library(&section());
            bytes[at] = byte;
            code(&bytes)
        };
        assert_eq!(code(b""), Code::PluginNotElf);
        assert_eq!(code(b"#!/bin/sh\n"), Code::PluginNotElf);
        assert_eq!(patched(4, 1), Code::PluginWrongClass);
        assert_eq!(patched(5, 2), Code::PluginWrongClass);
        assert_eq!(patched(16, 2), Code::PluginNotElf);
        assert_eq!(patched(18, 40), Code::PluginWrongMachine);
        // The first letter of the section's name.
        assert_eq!(patched(64 + 56 + section().len() + 1, b'x'), Code::PluginNoSection);
    }

    // Goal: what the section says decides, by name.
    #[test]
    fn sections() {
        let with = |from: &str, to: &str| {
            let text = String::from_utf8(section()[20..].to_vec()).expect("text").replace(from, to);
            let length = u32::try_from(text.len()).expect("short").to_be_bytes();
            code(&library(&[section::MAGIC.as_slice(), &length, text.as_bytes()].concat()))
        };
        assert_eq!(with(&format!("abi={ABI}"), "abi=999"), Code::PluginWrongAbi);
        assert_eq!(with("panic=unwind", "panic=abort"), Code::PluginPanicAbort);
        assert_eq!(with("name=demo", "nome=demo"), Code::PluginBadSection);
        assert_eq!(code(&library(b"")), Code::PluginBadSection);
        assert_eq!(code(&library(&[section(), section()].concat())), Code::PluginBadSection);
    }

    // Goal: no bytes at all make the check panic. Method: every byte of the headers set to every of a few
    // values.
    #[test]
    fn no_byte_panics() {
        let whole = library(&section());
        for at in (0..64 + 56).chain(whole.len() - 3 * 64..whole.len()) {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                // Some of these are sound; what counts is that there is an answer.
                let _answer = check(&bytes).is_ok();
            }
        }
    }
}
