//! Looks at a library's bytes in memory, before the dynamic linker may: a truncated file would kill the host with
//! SIGBUS inside `dlopen`, and a foreign one gives a misleading error there. Nothing is mapped and nothing is run.

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

/// What a library says of itself, though this host may not be able to load it: for looking at foreign files.
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
