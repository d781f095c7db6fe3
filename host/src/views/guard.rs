//! Whether a derived environment that is found on disk may be trusted.
//!
//! Its commits do not wait for the disk. The kernel keeps them when the process dies, but a power loss may leave any
//! mixture of old and new pages. So a small file beside the data says under which boot of the machine it was opened,
//! and whether it was closed in order, with everything on disk. It is itself on disk before the first commit.
//!
//! ```text
//! closed in order                -> trust
//! same boot as now               -> trust: the process died, the kernel did not
//! anything else, another format  -> delete the folder; the rows are computed again
//! ```

use super::error::ViewError;
use super::layout::FORMAT;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The name of the file, in the folder of the derived environment.
const NAME: &str = "opened";
/// Where Linux tells the id of this boot; elsewhere only a close in order is trusted.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Deletes what must not be trusted in `dir`, then marks it as open.
pub(super) fn enter(dir: &Path) -> Result<(), ViewError> {
    if !is_trusted(dir) {
        delete(dir)?;
    }
    std::fs::create_dir_all(dir).map_err(|source| failed("making its folder", source))?;
    write(dir, false)
}

/// Says that everything in `dir` is on disk.
pub(super) fn leave(dir: &Path) -> Result<(), ViewError> {
    write(dir, true)
}

/// Deletes everything in `dir`.
pub(super) fn delete(dir: &Path) -> Result<(), ViewError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("deleting its folder", source))
        }
        _ => Ok(()),
    }
}

fn is_trusted(dir: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(dir.join(NAME)) else { return false };
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let same_boot = boot_id().is_some_and(|boot| line("boot ") == Some(boot.as_str()));
    line("format ") == Some(FORMAT.to_string().as_str()) && (same_boot || line("closed ") == Some("yes"))
}

/// Writes the file so that it is whole and on disk when this returns.
fn write(dir: &Path, closed: bool) -> Result<(), ViewError> {
    let boot = boot_id().unwrap_or_default();
    let closed = if closed { "yes" } else { "no" };
    let text = format!("format {FORMAT}\nboot {boot}\nclosed {closed}\n");
    let part = dir.join("opened.part");
    let put = || {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    };
    put().map_err(|source| failed("writing its guard", source))
}

fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string(BOOT_ID).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

fn failed(step: &'static str, source: std::io::Error) -> ViewError {
    ViewError::Open { step, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave_mark(dir: &Path) {
        std::fs::write(dir.join("data"), "rows").unwrap();
    }

    fn is_kept(dir: &Path) -> bool {
        enter(dir).unwrap();
        dir.join("data").exists()
    }

    /// Goal: rows survive a close in order and the death of the process, nothing else. Method: edit the file as the
    /// machine's crash or another format would have left it.
    #[test]
    fn only_what_is_whole_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("derived");
        let edit = |from: &str, to: &str| {
            let text = std::fs::read_to_string(dir.join(NAME)).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(dir.join(NAME), text.replace(from, to)).unwrap();
        };
        enter(&dir).unwrap();
        leave_mark(&dir);
        assert!(is_kept(&dir), "the process died");
        let boot = boot_id().unwrap();
        edit(&boot, "another");
        assert!(!is_kept(&dir), "the machine died");
        leave_mark(&dir);
        leave(&dir).unwrap();
        edit(&boot, "another");
        assert!(is_kept(&dir), "closed in order, then the machine died");
        leave(&dir).unwrap();
        edit(&format!("format {FORMAT}"), "format 999");
        assert!(!is_kept(&dir), "another format");
        leave_mark(&dir);
        std::fs::remove_file(dir.join(NAME)).unwrap();
        assert!(!is_kept(&dir), "no guard");
    }
}
