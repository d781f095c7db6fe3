//! Why a plugin's file does not become a serving generation: one variant a reason, each with its stable code.

use super::call_error::CallError;
use super::catalog::NameTaken;
use super::declared::DeclarationError;
use super::laws::Broken;
use crate::problem::{Code, Problem};
use laterbase_plugin::section::SectionError;
use serde_json::Value;
use std::path::PathBuf;

/// A failure whose cause this module does not know the type of.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a plugin cannot be loaded or replaced.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there.
    #[error("{}: no such file", file.display())]
    NotFound {
        /// Where it should be.
        file: PathBuf,
    },
    /// The path is a directory, a socket or the like.
    #[error("{}: not a regular file", file.display())]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The path.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Two reads differ: somebody is writing the file.
    #[error("{}: two reads differ; move a finished file into place, do not copy over it", file.display())]
    Unstable {
        /// The path.
        file: PathBuf,
    },
    /// Not ELF at all, or ELF but not a shared library.
    #[error("not an ELF library: {found}")]
    NotElf {
        /// What it is instead.
        found: &'static str,
    },
    /// The file ends before something that its headers promise.
    #[error("truncated: {what} ends at byte {end} of {length}")]
    Truncated {
        /// The header, segment or section.
        what: String,
        /// Where it should end.
        end: u64,
        /// How long the file is.
        length: u64,
    },
    /// Not 64-bit little-endian.
    #[error("not 64-bit little-endian: class {class}, data {data}")]
    WrongClass {
        /// ELF class: 1 is 32-bit, 2 is 64-bit.
        class: u8,
        /// ELF data: 1 is little-endian, 2 is big-endian.
        data: u8,
    },
    /// Built for another machine.
    #[error("built for {}, this host is {}", machine_name(*machine), machine_name(*host))]
    WrongMachine {
        /// The file's ELF machine number.
        machine: u16,
        /// The host's.
        host: u16,
    },
    /// The library has no `.laterbase` section.
    #[error("no .laterbase section: not a Laterbase plugin")]
    NoSection,
    /// The section's contents make no sense.
    #[error("the .laterbase section is not readable: {0}")]
    BadSection(#[from] SectionError),
    /// The section says another name or version than the library itself.
    #[error("the .laterbase section says {section}, the library itself says {library}")]
    OtherSection {
        /// Name and version in the section.
        section: String,
        /// Name and version that the library's code gives.
        library: String,
    },
    /// The tables of the file contradict each other.
    #[error("not a well-formed ELF file: {0}")]
    Malformed(#[source] object::read::Error),
    /// Built for another number of the binary interface.
    #[error(
        "built for plugin interface {plugin}, this host speaks {host}: rebuild it with a current laterbase-plugin"
    )]
    WrongAbi {
        /// The plugin's number.
        plugin: u32,
        /// The host's number.
        host: u32,
    },
    /// Built so that a panic kills the process.
    #[error("built with panic=\"abort\": a panic would take the host down; build it with panic=\"unwind\"")]
    PanicAbort,
    /// The private copy cannot be written.
    #[error("private copy in {}: {source}", folder.display())]
    Stage {
        /// Where the copy goes.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The child process that should try the plugin cannot be started.
    #[error("probe {}: {source}", program.display())]
    ProbeStart {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The child process died, or ended without a result.
    #[error("the probe {how}{during}{}", tail(said))]
    ProbeCrashed {
        /// `died with SIGBUS`, `ended with code 3`…
        how: String,
        /// ` while it tried view total of root tally`; empty if that is not known.
        during: String,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// The child process did not finish in time.
    #[error("the probe did not finish within {deadline_ms} ms{during}")]
    ProbeTimeout {
        /// The deadline in milliseconds.
        deadline_ms: u64,
        /// ` while it tried view total of root tally`; empty if that is not known.
        during: String,
    },
    /// What the plugin declares is not true of some events.
    #[error("{0}")]
    LawBroken(Box<Broken>),
    /// The child process found one of the failures below.
    #[error("{detail}")]
    Probed {
        /// Which.
        code: Code,
        /// Its sentence.
        detail: String,
    },
    /// The dynamic linker refuses the library.
    #[error("dlopen: {reason}")]
    Dlopen {
        /// What it says, without the private path.
        reason: String,
        /// The whole error.
        source: libloading::Error,
    },
    /// The library lacks the symbol that its section names.
    #[error("no symbol {symbol}")]
    Symbol {
        /// The symbol.
        symbol: String,
        /// What the dynamic linker says.
        source: libloading::Error,
    },
    /// The entry was made by an `abi_stable` that this host does not understand.
    #[error("entry header: {reason}")]
    Header {
        /// What `abi_stable` says.
        reason: String,
    },
    /// The types that cross the boundary are laid out differently.
    #[error("layout: {}", differences.join("; "))]
    Layout {
        /// What differs, one text each.
        differences: Vec<String>,
    },
    /// The plugin's own check of itself fails.
    #[error("self check: {0}")]
    SelfCheck(#[source] CallError),
    /// The configuration cannot be read.
    #[error("configuration: {0}")]
    Configuration(#[source] Cause),
    /// The plugin refuses its configuration.
    #[error("configure for root {root}: {source}")]
    Configure {
        /// The Root.
        root: String,
        /// Why.
        source: CallError,
    },
    /// What the plugin declares contradicts itself.
    #[error("declaration{}: {source}", for_root(root.as_deref()))]
    Declaration {
        /// The Root; none for the manifest.
        root: Option<String>,
        /// What is wrong.
        source: DeclarationError,
    },
    /// Another plugin owns a name that this one declares.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// Another file, or the program itself, has a plugin of this name already.
    #[error("a plugin named {name} is loaded already, from {owner}")]
    PluginTaken {
        /// The plugin's declared name.
        name: String,
        /// Where the first one comes from.
        owner: String,
    },
    /// The file is now a plugin of another name.
    #[error("the file holds plugin {found}, not {expected}")]
    NameMismatch {
        /// The plugin that was to be reloaded.
        expected: String,
        /// What the file declares.
        found: String,
    },
    /// So many libraries are loaded that no further one is.
    #[error("{loaded} libraries are loaded, the limit is {loaded_max}: restart the server")]
    GenerationBudget {
        /// How many are loaded; none is ever unloaded.
        loaded: u32,
        /// The limit.
        loaded_max: u32,
    },
    /// The new generation's views could not be built.
    #[error("views: {0}")]
    ViewBuild(#[source] Cause),
    /// The plugin is linked into the program.
    #[error("plugin {name} is linked into the program")]
    Static {
        /// The plugin's declared name.
        name: String,
    },
    /// No plugin of this name is known.
    #[error("no plugin named {name}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The new generation gives other results than the one that serves under the same revision.
    #[error("{}", .0.detail)]
    Drift(Box<Problem>),
    /// Somebody wants the reload no more.
    #[error("the reload was cancelled; what served before goes on serving")]
    Cancelled,
    /// One replacement at a time.
    #[error("{running} is being reloaded: wait for it, or cancel it with DELETE /_/plugins/{{name}}/reload")]
    InProgress {
        /// The plugin that is being replaced.
        running: String,
    },
    /// There is nothing to cancel.
    #[error("plugin {name} is not being reloaded")]
    NotReloading {
        /// The plugin's name.
        name: String,
    },
    /// A folder of plugins cannot be listed.
    #[error("folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl LoadError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::PluginNotFound,
            Self::NotAFile { .. } => Code::PluginNotAFile,
            Self::Unreadable { .. } | Self::Folder { .. } => Code::PluginUnreadable,
            Self::Unstable { .. } => Code::PluginUnstable,
            Self::NotElf { .. } | Self::Malformed(_) => Code::PluginNotElf,
            Self::Truncated { .. } => Code::PluginTruncated,
            Self::WrongClass { .. } => Code::PluginWrongClass,
            Self::WrongMachine { .. } => Code::PluginWrongMachine,
            Self::NoSection => Code::PluginNoSection,
            Self::BadSection(_) | Self::OtherSection { .. } => Code::PluginBadSection,
            Self::WrongAbi { .. } => Code::PluginWrongAbi,
            Self::PanicAbort => Code::PluginPanicAbort,
            Self::Stage { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Code::DiskFull,
            Self::Stage { .. } => Code::Storage,
            Self::ProbeStart { .. } | Self::ProbeCrashed { .. } => Code::PluginProbeCrashed,
            Self::ProbeTimeout { .. } => Code::PluginProbeTimeout,
            Self::LawBroken(_) => Code::LawBroken,
            Self::Probed { code, .. } => *code,
            Self::Dlopen { .. } => Code::PluginDlopen,
            Self::Symbol { .. } => Code::PluginSymbol,
            Self::Header { .. } => Code::PluginHeader,
            Self::Layout { .. } => Code::PluginLayout,
            Self::SelfCheck(_) => Code::PluginSelfCheck,
            Self::Configuration(_) => Code::BadConfig,
            Self::Configure { .. } => Code::PluginConfigure,
            Self::Declaration { .. } => Code::PluginDeclaration,
            Self::NameTaken(_) | Self::PluginTaken { .. } => Code::NameTaken,
            Self::NameMismatch { .. } => Code::NameMismatch,
            Self::GenerationBudget { .. } => Code::GenerationBudget,
            Self::ViewBuild(_) => Code::ViewBuild,
            Self::Drift(_) => Code::Drift,
            Self::Cancelled => Code::ReloadCancelled,
            Self::InProgress { .. } => Code::ReloadInProgress,
            Self::NotReloading { .. } => Code::NotReloading,
            Self::Static { .. } => Code::PluginStatic,
            Self::Unknown { .. } => Code::UnknownPlugin,
        }
    }

    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        if let Self::Drift(problem) = self {
            return Problem::clone(problem);
        }
        let problem = Problem::new(self.code(), self.to_string());
        if let Self::NameTaken(NameTaken { root, kind, name, owner }) = self {
            let problem = problem.with("root", root.as_str()).with("kind", *kind);
            return problem.with("name", name.as_str()).with("owner", owner.as_str());
        }
        if let Self::LawBroken(broken) = self
            && let Ok(Value::Object(members)) = serde_json::to_value(broken)
        {
            return Problem { members, ..problem };
        }
        problem
    }
}

fn for_root(root: Option<&str>) -> String {
    root.map(|root| format!(" for root {root}")).unwrap_or_default()
}

fn tail(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86 (32-bit)".to_owned(),
        40 => "arm (32-bit)".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv".to_owned(),
        other => format!("machine {other}"),
    }
}
