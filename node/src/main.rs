//! `bizra`: runs a node, and everything a person does with one.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
