//! `laterbase man` and `laterbase completions`: what packages install beside the program, made from the commands
//! themselves, so that it cannot fall behind them; and what `--version` says.

use super::{Arguments, fail};
use crate::store::lmdb::FORMAT_VERSION;
use crate::sync::PROTOCOL;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The version of the program, and of everything that has to fit to something else.
pub(super) fn version() -> String {
    format!(
        "{}\nplugin abi {}\nsync protocol {PROTOCOL}\nstore format {FORMAT_VERSION}",
        env!("CARGO_PKG_VERSION"),
        laterbase_plugin::abi::ABI,
    )
}

/// The program without the commands by which it calls itself.
fn shown() -> Command {
    let all = Arguments::command();
    let visible = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("laterbase").version(env!("CARGO_PKG_VERSION")).subcommands(visible)
}

/// Prints the script that completes the command line in `shell`.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    generate(shell, &mut shown(), "laterbase", &mut script);
    match io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(1, &format!("the script cannot be written: {fault}")),
    }
}

/// Writes one page a command into `folder`.
pub(super) fn man(folder: &Path) -> ExitCode {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(1, &format!("{}: {fault}", folder.display())),
    }
}
