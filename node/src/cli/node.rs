//! `run` and `config check`.

use super::output::{Answer, WrongUse, count, print};
use super::ports::obstacles;
use anyhow::{Context as _, Result, bail};
use bizra_node::config::{Config, ConfigError, FILE_VARIABLE};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    flags: Flags,
    /// Check the values alone, not the files they name.
    #[arg(long)]
    values_only: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct File {
    /// The configuration file; BIZRA_CONFIG if the flag is absent.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl File {
    fn path(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from))
    }
}

macro_rules! flags {
    ($($(#[$doc:meta])* $field:ident = $key:literal $value:literal,)*) => {
        /// One flag per key of the configuration.
        #[derive(Args)]
        #[command(next_help_heading = "In place of the configuration file")]
        struct Flags {
            $($(#[$doc])* #[arg(long, value_name = $value)] $field: Option<String>,)*
        }

        impl Flags {
            #[cfg(test)]
            const NAMES: &[&str] = &[$($key),*];

            fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
                [$(($key, self.$field.clone())),*]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value?)))
            }
        }
    };
}

flags! {
    /// The database.
    data_dir = "data_dir" "DIR",
    /// The folder of the four key files.
    keys_dir = "keys_dir" "DIR",
    /// The chain's genesis file.
    genesis = "genesis" "FILE",
    /// The peers to stay connected to.
    peers = "peers" "FILE",
    /// How much of the disk must stay free for the node to sign anything.
    storage_reserve_mib = "storage.reserve_mib" "MIB",
    /// Where to listen with TLS on TCP.
    p2p_listen_tcp = "p2p.listen_tcp" "ADDRESS",
    /// Where to listen with QUIC.
    p2p_listen_quic = "p2p.listen_quic" "ADDRESS",
    /// The transport that is dialled first.
    p2p_dial_first = "p2p.dial_first" "tcp|quic",
    /// Whether peers that are neither listed nor validators may connect.
    p2p_followers_allowed = "p2p.followers_allowed" "BOOL",
    /// Where the public API listens.
    api_listen = "api.listen" "IP:PORT",
    /// Where probes, metrics and administration listen.
    admin_listen = "admin.listen" "IP:PORT",
    /// The file with the token of the admin port.
    admin_token_file = "admin.token_file" "FILE",
    /// The form of the log.
    log_format = "log.format" "text|json",
    /// How much is logged.
    log_level = "log.level" "FILTER",
}

pub(crate) fn run(arguments: &Run) -> Result<Answer> {
    let config = Config::load(arguments.file.path().as_deref(), arguments.flags.pairs())
        .map_err(|error| WrongUse(format!("the configuration is not valid\n{error}")))?;
    let taken: Vec<_> = obstacles(&config)?
        .iter()
        .map(|(what, address, why)| format!("cannot listen at {address} ({what}): {why}"))
        .collect();
    if !taken.is_empty() {
        bail!("{}", taken.join("\n"));
    }
    raise_file_limit()?;
    bizra_node::run::run(&config)?;
    Ok(Answer::True)
}

/// Takes as many open files as this user may have. The usual limit of a shell is
/// below what connections and database need together, and a database that
/// cannot open a file ends the node.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

pub(crate) fn check(arguments: &Check) -> Result<Answer> {
    let loaded = Config::load(arguments.file.path().as_deref(), arguments.flags.pairs());
    let (config, faults) = match loaded {
        Ok(config) => {
            let faults = if arguments.values_only { Vec::new() } else { faults_of_files(&config) };
            (Some(config), faults)
        }
        Err(ConfigError(problems)) => {
            (None, problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    };
    let effective = config.as_ref().map(Config::effective);
    let facts = json!({
        "valid": faults.is_empty(),
        "problems": faults,
        "effective": effective.as_ref().map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
                .collect::<Map<_, _>>()
        }),
    });
    let mut text = faults.clone();
    for (name, value) in effective.into_iter().flatten() {
        text.push(format!("{name} = {value:?}"));
    }
    text.push(match faults.len() {
        0 => "valid".to_owned(),
        number => format!("not valid: {}", count(number, "problem")),
    });
    print(arguments.json, &facts, &text.join("\n"))?;
    Ok(Answer::of(faults.is_empty()))
}

/// What is wrong with the files that a configuration names.
fn faults_of_files(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |path: &Path, key: &str, error: &dyn std::fmt::Display| {
        faults.push(format!("{}: {error} (set as {key})", path.display()));
    };
    match std::fs::read(&config.genesis) {
        Ok(text) => match bizra_types::genesis::Genesis::parse(&text) {
            Ok(genesis) => {
                let texts = genesis.policies.iter().map(|policy| &*policy.rego);
                for error in bizra_ledger::policy::Policies::new(texts).errors() {
                    fault(&config.genesis, "genesis", error);
                }
            }
            Err(error) => fault(&config.genesis, "genesis", &error),
        },
        Err(error) => fault(&config.genesis, "genesis", &error),
    }
    match std::fs::read_to_string(&config.peers) {
        Ok(text) => {
            if let Err(error) = bizra_gossip::parse_peers(&text) {
                fault(&config.peers, "peers", &error);
            }
        }
        Err(error) => fault(&config.peers, "peers", &error),
    }
    if let Err(error) = bizra_keys::KeyRing::load(&config.keys_dir) {
        faults.push(format!("{error} (set as keys_dir)"));
    }
    if let Err(error) = config.admin.token() {
        faults.push(format!("{error} (set as admin.token_file)"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_node::config::KEYS;
    use clap::Command;

    #[test]
    fn every_key_has_its_flag() {
        let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(Flags::NAMES, names);
        let command = Flags::augment_args(Command::new("test"));
        let flags: Vec<_> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
        assert_eq!(flags, KEYS.iter().map(bizra_node::config::Key::flag).collect::<Vec<_>>());
    }
}
