//! The command line.
//!
//! | module | holds |
//! |---|---|
//! | `output` | facts for people and as JSON; the three exit codes |
//! | `suggest` | the nearest flag to a misspelt one |
//! | `http`, `events` | asking a node; following its events |
//! | `node` | `run` and `config check` |
//! | `testnet` | `testnet init`, `testnet add` |
//! | `fleet` | `testnet up`, `status` and `down`: one process per node |
//! | `ports` | who holds a port |
//! | `sender` | building and signing records |
//! | `records` | `submit`, `record sign`, `record open` |
//! | `proofs` | `proof get`, `proof verify`, `proof compare` |
//! | `governance` | `gov` |
//! | `flow` | the open-loop flow of records that `load` and `demo` measure |
//! | `progress` | how far a flow is, on a terminal or in lines |
//! | `load` | `load` |
//! | `demo` | `demo` |
//! | `asking` | `status` and `events` |
//! | `patterns` | `patterns` |
//! | `audit` | `audit export`, `audit replay` |

mod asking;
mod audit;
mod demo;
mod events;
mod fleet;
mod flow;
mod governance;
mod http;
mod load;
mod node;
mod output;
mod patterns;
mod ports;
mod progress;
mod proofs;
mod records;
mod sender;
mod suggest;
mod testnet;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};
use output::{Answer, WrongUse, told};
use std::process::ExitCode;

/// Runs and uses nodes of a BIZRA network.
#[derive(Parser)]
#[command(
    name = "bizra",
    version,
    propagate_version = true,
    after_help = "Exit code: 0 what was asked is true, 1 it is not, 2 wrong use of the command."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A network of local processes: make, start, look at and stop it.
    #[command(subcommand)]
    Testnet(Testnet),
    /// Show the whole thing on this machine: seven validators, two of them killed and brought back.
    Demo(demo::Arguments),
    /// Run one node until SIGINT or SIGTERM.
    Run(node::Run),
    /// Submit signed records.
    Submit(records::Submit),
    /// Sign a record, or check what it commits to.
    #[command(subcommand)]
    Record(Record),
    /// Fetch a finality proof, or verify one offline.
    #[command(subcommand)]
    Proof(Proof),
    /// Governance: what is proposed, proposing and voting.
    #[command(subcommand)]
    Gov(governance::Governance),
    /// Take a whole chain away in a file, and judge it anew.
    #[command(subcommand)]
    Audit(Audit),
    /// Submit records at a fixed rate and measure the time to finality.
    Load(load::Arguments),
    /// Print what a node says of itself.
    Status(asking::Status),
    /// Follow the blocks of a node.
    Events(asking::Events),
    /// Print the patterns that a node knows, the best first, or vote for one.
    Patterns(patterns::Patterns),
    /// Look at configuration files.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum Testnet {
    /// Write genesis, peers, and per node its configuration and keys.
    Init(testnet::Init),
    /// Add a node without a seat, and what to propose to give it one.
    Add(testnet::Add),
    /// Start the nodes; print `ready` once every one is, and stay until SIGINT or SIGTERM.
    Up(fleet::Up),
    /// Show which nodes run, and how far each is.
    Status(fleet::Status),
    /// Stop every node of the folder.
    Down(fleet::Down),
}

#[derive(Subcommand)]
enum Record {
    /// Fill in, commit and sign an unsigned record.
    Sign(records::Sign),
    /// Check an opening against a record.
    Open(records::Open),
}

#[derive(Subcommand)]
enum Proof {
    /// Fetch the finality proof of a record.
    Get(proofs::Get),
    /// Fetch the proof of what the state has for a key, or that it has nothing.
    State(proofs::State),
    /// Fetch the proof of how many records a closed session has, and of its last one.
    Session(proofs::Session),
    /// Verify a proof of either kind with nothing but the genesis file.
    Verify(proofs::Verify),
    /// Compare two proofs and, if they contradict each other, name who lied.
    Compare(proofs::Compare),
}

#[derive(Subcommand)]
enum Audit {
    /// Write the chain from genesis to a height to a file.
    Export(audit::Export),
    /// Verify every certificate and execute every record of an export, with nothing but the
    /// genesis file.
    Replay(audit::Replay),
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Say what is wrong with a configuration, or what is in force.
    Check(node::Check),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::try_parse()
        .unwrap_or_else(|error| suggest::with_nearest_flag(error, Cli::command()).exit());
    match run(cli.verb) {
        Ok(Answer::True) => ExitCode::SUCCESS,
        Ok(Answer::False) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::from(if error.is::<WrongUse>() { 2 } else { 1 })
        }
    }
}

fn run(verb: Verb) -> Result<Answer> {
    match verb {
        Verb::Testnet(Testnet::Init(arguments)) => testnet::init(&arguments),
        Verb::Testnet(Testnet::Add(arguments)) => testnet::add(&arguments),
        Verb::Testnet(Testnet::Up(arguments)) => wait_for(fleet::up(&arguments)),
        Verb::Testnet(Testnet::Status(arguments)) => wait_for(fleet::status(&arguments)),
        Verb::Testnet(Testnet::Down(arguments)) => wait_for(fleet::down(&arguments)),
        Verb::Demo(arguments) => wait_for(demo::run(&arguments)),
        Verb::Run(arguments) => node::run(&arguments),
        Verb::Submit(arguments) => wait_for(records::submit(&arguments)),
        Verb::Record(Record::Sign(arguments)) => wait_for(records::sign(&arguments)),
        Verb::Record(Record::Open(arguments)) => records::open(&arguments),
        Verb::Proof(Proof::Get(arguments)) => wait_for(proofs::get(&arguments)),
        Verb::Proof(Proof::State(arguments)) => wait_for(proofs::state(&arguments)),
        Verb::Proof(Proof::Session(arguments)) => wait_for(proofs::session(&arguments)),
        Verb::Proof(Proof::Verify(arguments)) => proofs::verify(&arguments),
        Verb::Proof(Proof::Compare(arguments)) => proofs::compare(&arguments),
        Verb::Gov(governance) => wait_for(governance::run(&governance)),
        Verb::Audit(Audit::Export(arguments)) => wait_for(audit::export(&arguments)),
        Verb::Audit(Audit::Replay(arguments)) => audit::replay(&arguments),
        Verb::Load(arguments) => wait_for(load::run(&arguments)),
        Verb::Status(arguments) => wait_for(asking::status(&arguments)),
        Verb::Events(arguments) => wait_for(asking::events(&arguments)),
        Verb::Patterns(arguments) => wait_for(patterns::patterns(&arguments)),
        Verb::Config(ConfigVerb::Check(arguments)) => node::check(&arguments),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "bizra", &mut std::io::stdout());
            Ok(Answer::True)
        }
    }
}

fn wait_for(work: impl Future<Output = Result<Answer>>) -> Result<Answer> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
