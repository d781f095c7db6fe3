//! The `laterbase` program: arguments in, exit code out. The only place that prints an outcome or ends the process.

use clap::Parser;
use laterbase::cli::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Arguments::parse())
}
