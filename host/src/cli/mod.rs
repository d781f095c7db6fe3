//! The command line: what each command takes, and what it prints.
//!
//! Exit codes: 0 after a clean end, 1 when a command's work failed (an import: some rows were refused), 2 usage, 74 an
//! import or export stopped before its end, 75 data directory in use, 78 bad configuration.

/// Prints a line. Whoever closes the pipe, as `head` does, wants no more: the command goes on to its exit code.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _closed = writeln!(std::io::stdout(), $($line)*);
    }};
}

/// The same to standard error.
macro_rules! warn {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _closed = writeln!(std::io::stderr(), $($line)*);
    }};
}

mod ask;
mod bench;
mod export;
mod import;
mod log;
mod paper;
mod peers;
mod plugin;
mod plugins;
mod ready;
mod repair;
pub mod script;
mod serve;
mod template;
mod verify;
mod watch;

pub use import::ROW_CODES;

use crate::peers::PeerAddress;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Another process holds the data directory (`EX_TEMPFAIL` of sysexits.h).
const EXIT_IN_USE: u8 = 75;
/// What was begun did not come to its end (`EX_IOERR` of sysexits.h).
const EXIT_IO: u8 = 74;
/// The configuration cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;
/// The command line asks for something that is not allowed.
const EXIT_USAGE: u8 = 2;

/// An event store for supply chain and logistics that keeps working when the network does not.
///
/// Events are posted to /ROOT/e at the time they happened, late or not; views under /ROOT/VIEW are computed by
/// plugins and repair themselves.
#[derive(Debug, Parser)]
#[command(version, long_version = paper::version(), about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is told to stop (SIGTERM or Ctrl-C); SIGHUP reloads changed plugins.
    Serve(ServeArguments),
    /// Show how it stands with the peers of a running server.
    Peers {
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
        server: String,
    },
    /// Ask a running server whether it serves: exit code 0 if it does, else 1 and the reasons.
    Ready {
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
        server: PeerAddress,
    },
    /// Check the events on disk: every row, and each against all that speak of it. While a server uses them, let that
    /// server do it (--server).
    Verify(VerifyArguments),
    /// Write the events of a root to a file, in the order in which they happened.
    Export(export::ExportArguments),
    /// Write the events of a file through a running server: NDJSON, CSV with a mapping of its columns, or a plugin's
    /// format. Importing a file again writes nothing.
    Import(Box<import::ImportArguments>),
    /// Make, look at and check plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print the script that completes this program's command line in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual, one page a command, in the form that man(1) reads.
    Man {
        /// The folder to write to; made if it is not there.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Tries a plugin library in a process of its own (the server calls this).
    #[command(hide = true)]
    PluginProbe {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks one Root in a process of its own (`verify` calls this).
    #[command(hide = true)]
    VerifyRoot {
        /// Another process may write meanwhile.
        #[arg(long)]
        shared: bool,
        events: PathBuf,
    },
    /// Compares one Root with a peer in a process of its own (`verify --peer` calls this).
    #[command(hide = true)]
    RepairRoot { events: PathBuf, root: String, peer: PeerAddress },
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// The data directory; made if it is not there [default: ./data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one [default: 127.0.0.1:4000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A folder of plugin libraries; may be repeated [default: the folder of this program].
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
    /// Another replica to keep equal with, as http://HOST:PORT; may be repeated.
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// A configuration file; flags win over it [default: ./laterbase.toml if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reload plugins whenever their libraries, or the files that they are configured with, change.
    #[arg(long)]
    watch: bool,
    /// What is logged: error, warn, info, debug or trace; also by module, as laterbase=debug,info [default: what the
    /// variable `LATERBASE_LOG` or `RUST_LOG` says, or info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How the log is written, to standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
    /// Dial no peers, whatever the configuration says (`plugin test` calls this).
    #[arg(long, hide = true, conflicts_with = "peer")]
    without_peers: bool,
    /// Allow an address that other machines can reach, although there is no TLS and there are no tokens yet.
    #[arg(long)]
    insecure: bool,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// A running server to ask, instead of a data directory that no server uses.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    server: Option<PeerAddress>,
    /// A running replica to compare with: names what differs, and puts back what is gone here.
    #[arg(long, value_name = "URL")]
    peer: Option<PeerAddress>,
    /// The roots to check [default: all].
    #[arg(value_name = "ROOT")]
    roots: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Make a new plugin crate that builds, loads and passes its own test as it stands.
    New {
        /// The plugin's name: lower-case letters, digits, - and _.
        name: String,
        /// The folder to make it in [default: ./NAME].
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// Where the crate laterbase-plugin lies [default: beside the sources of this program, if they are there].
        #[arg(long, value_name = "DIR")]
        api: Option<PathBuf>,
    },
    /// Show what a library says of itself, without running any of its code.
    Inspect {
        /// The library.
        library: PathBuf,
    },
    /// Load a library in a process of its own, as the server would, test what it declares on made-up and given events,
    /// and show what it offers.
    Check(CheckArguments),
    /// Measure what each hook of a library costs on the events of a file, through the same boundary as in the server.
    Bench(CheckArguments),
    /// Play scripts of requests, each against a fresh server of its own, and compare what it answers with the file
    /// beside the script.
    Test(script::TestArguments),
    /// Show the plugins of a running server: state, generation, what they offer, and their last error.
    List {
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
        server: PeerAddress,
    },
    /// Replace a plugin of a running server by what its file and its configuration hold now, and wait until the new
    /// generation serves; whatever is wrong with it, the old one serves on.
    Reload {
        /// The plugin's name.
        name: String,
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
        server: PeerAddress,
    },
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The library.
    library: PathBuf,
    /// Events to test the declared laws on, as POST /ROOT/e takes them: JSON, or NDJSON in a file named so.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// The root that the events are for [default: the plugin's only one].
    #[arg(long, value_name = "NAME", requires = "events")]
    root: Option<String>,
    /// The format of the events that an intake of the plugin reads.
    #[arg(long, value_name = "NAME", requires = "events")]
    format: Option<String>,
    /// A configuration file: the plugin is configured as the server would [default: without one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that the arguments ask for.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Peers { server } => peers::run(&server),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Ready { server } => ready::run(&server),
        Command::Completions { shell } => paper::completions(shell),
        Command::Man { folder } => paper::man(&folder),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::VerifyRoot { shared, events } => verify::run_child(&events, shared),
        Command::RepairRoot { events, root, peer } => repair::run_child(&events, &root, &peer),
        Command::Plugin(PluginCommand::New { name, folder, api }) => template::run(&name, folder, api),
        Command::Plugin(PluginCommand::Inspect { library }) => plugin::inspect(&library),
        Command::Plugin(PluginCommand::Check(arguments)) => plugin::check(&arguments),
        Command::Plugin(PluginCommand::Bench(arguments)) => bench::run(&arguments),
        Command::Plugin(PluginCommand::Test(arguments)) => script::run(&arguments),
        Command::Plugin(PluginCommand::List { server }) => plugins::list(&server),
        Command::Plugin(PluginCommand::Reload { name, server }) => plugins::reload(&server, &name),
        Command::PluginProbe { arguments } => plugin::probe(&arguments),
    }
}

/// Prints a failure and gives the exit code for it.
fn fail(code: u8, what: &str) -> ExitCode {
    warn!("laterbase: {what}");
    ExitCode::from(code)
}
