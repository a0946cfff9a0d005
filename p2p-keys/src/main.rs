//! `bizra-p2p`: makes, shows, rotates and uses key files.

use anyhow::{Context as _, Result, bail};
use bizra_keys::sealing::{OVERHEAD_BYTES, PLAIN_BYTES_MAX};
use bizra_keys::{KemKey, KemPublicKey, Key, KeyKind, NetworkKey, file};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use multiaddr::{Multiaddr, Protocol};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Makes, shows, rotates and uses the key files of a node.
///
/// Key files have mode 0600 and hold one key each; a file that others could
/// read is refused. Secrets are never printed and files never overwritten.
#[derive(Parser)]
#[command(
    name = "bizra-p2p",
    version,
    after_help = "Exit code: 0 done, 1 refused or failed, 2 wrong use of the command."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a new key to a new file.
    Keygen(Keygen),
    /// Print the peer id of a network key.
    Peerid(Peerid),
    /// Print the address under which peers reach the owner of a network key.
    Multiaddr(MultiaddrOf),
    /// Check a key file and print its kind and public part.
    Inspect(Inspect),
    /// Encrypt a file to a KEM key (X25519 + ML-KEM-768).
    Seal(Seal),
    /// Decrypt a file that was sealed to a KEM key.
    Unseal(Unseal),
    /// Put a new key in a file's place and keep the old one beside it.
    Rotate(Rotate),
}

#[derive(Args)]
struct Keygen {
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the key is for.
    #[arg(long, default_value = "network", value_parser = kind_parser())]
    kind: KeyKind,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Peerid {
    /// A network key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct MultiaddrOf {
    /// A network key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The address that peers dial, IPv4 or IPv6.
    #[arg(long, value_parser = parse_dialled_ip)]
    ip: IpAddr,
    /// The port that peers dial.
    #[arg(long, default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// QUIC over UDP in place of TCP.
    #[arg(long)]
    quic: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Inspect {
    /// A key file of any kind.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Seal {
    /// The recipient's KEM public key: 2,432 hex digits, as `inspect` prints them.
    #[arg(long, value_name = "KEM_PUBLIC_HEX", value_parser = parse_kem_public)]
    to: KemPublicKey,
    /// What to seal, at most 64 MiB.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The sealed file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Unseal {
    /// The recipient's KEM key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A sealed file.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The file to write, with mode 0600; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Rotate {
    /// A key file of any kind.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_nearest_flag(error).exit());
    match run(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Keygen(arguments) => keygen(&arguments),
        Verb::Peerid(arguments) => peerid(&arguments),
        Verb::Multiaddr(arguments) => multiaddr(&arguments),
        Verb::Inspect(arguments) => inspect(&arguments),
        Verb::Seal(arguments) => seal(&arguments),
        Verb::Unseal(arguments) => unseal(&arguments),
        Verb::Rotate(arguments) => rotate(&arguments),
    }
}

fn keygen(arguments: &Keygen) -> Result<()> {
    let key = Key::generate(arguments.kind);
    key.write_new(&arguments.out)?;
    print_key(&key, &arguments.out, arguments.json)
}

fn peerid(arguments: &Peerid) -> Result<()> {
    let peer_id = NetworkKey::load(&arguments.key)?.peer_id().to_base58();
    print(arguments.json, &json!({ "peer_id": peer_id }), &peer_id)
}

fn multiaddr(arguments: &MultiaddrOf) -> Result<()> {
    let peer_id = NetworkKey::load(&arguments.key)?.peer_id();
    let address = Multiaddr::from(arguments.ip);
    let address = if arguments.quic {
        address.with(Protocol::Udp(arguments.port)).with(Protocol::QuicV1)
    } else {
        address.with(Protocol::Tcp(arguments.port))
    };
    let address = address.with(Protocol::P2p(peer_id)).to_string();
    print(arguments.json, &json!({ "multiaddr": address }), &address)
}

fn inspect(arguments: &Inspect) -> Result<()> {
    print_key(&Key::load(&arguments.file)?, &arguments.file, arguments.json)
}

fn seal(arguments: &Seal) -> Result<()> {
    let plain = read_bounded(&arguments.input, PLAIN_BYTES_MAX)?;
    let sealed = bizra_keys::seal(&arguments.to, &plain)
        .with_context(|| arguments.input.display().to_string())?;
    file::write_new_file(&arguments.out, 0o644, &sealed)?;
    print_written(&arguments.out, sealed.len(), arguments.json)
}

fn unseal(arguments: &Unseal) -> Result<()> {
    let key = KemKey::load(&arguments.key)?;
    let sealed = read_bounded(&arguments.input, PLAIN_BYTES_MAX + OVERHEAD_BYTES)?;
    let plain = key.unseal(&sealed).with_context(|| arguments.input.display().to_string())?;
    file::write_new_file(&arguments.out, 0o600, &plain)?;
    print_written(&arguments.out, plain.len(), arguments.json)
}

fn rotate(arguments: &Rotate) -> Result<()> {
    let rotation = file::rotate(&arguments.key)?;
    let (old, new) = (rotation.old.public_text(), rotation.new.public_text());
    let facts = json!({
        "kind": rotation.new.kind().as_str(),
        "file": arguments.key.display().to_string(),
        "old_public": old,
        "new_public": new,
        "retired": rotation.retired.display().to_string(),
    });
    let text = format!(
        "kind: {}\nold public: {old}\nnew public: {new}\nretired: {}",
        rotation.new.kind(),
        rotation.retired.display(),
    );
    print(arguments.json, &facts, &text)
}

fn print_key(key: &Key, path: &Path, as_json: bool) -> Result<()> {
    let (kind, public) = (key.kind(), key.public_text());
    let facts = json!({
        "kind": kind.as_str(),
        "public": public,
        "file": path.display().to_string(),
    });
    let text = format!("kind: {kind}\npublic: {public}\nfile: {}", path.display());
    print(as_json, &facts, &text)
}

fn print_written(path: &Path, bytes: usize, as_json: bool) -> Result<()> {
    let facts = json!({ "file": path.display().to_string(), "bytes": bytes });
    print(as_json, &facts, &format!("{}: {bytes} bytes", path.display()))
}

fn print(as_json: bool, facts: &Value, text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json { writeln!(out, "{facts}") } else { writeln!(out, "{text}") }
        .context("cannot write to standard output")
}

fn read_bounded(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let context = || format!("{}: cannot read", path.display());
    let file = File::open(path).with_context(context)?;
    let size = usize::try_from(file.metadata().with_context(context)?.len())?.min(limit);
    // Room for all from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() > limit {
        bail!("{}: more than the {limit} bytes that are allowed", path.display());
    }
    Ok(bytes)
}

/// Adds the nearest flag of the verb where clap finds none: its measure gives
/// up on transposed letters in short words.
fn with_nearest_flag(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument || error.get(ContextKind::SuggestedArg).is_some()
    {
        return error;
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let command = Cli::command();
    let verb = std::env::args().nth(1).and_then(|name| command.find_subcommand(name));
    let nearest = verb
        .into_iter()
        .flat_map(|verb| verb.get_arguments().filter_map(|argument| argument.get_long()))
        .map(|flag| format!("--{flag}"))
        .map(|flag| (strsim::damerau_levenshtein(wrong, &flag), flag))
        .min();
    if let Some((1..=2, flag)) = nearest {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(flag));
    }
    error
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = KeyKind> {
    PossibleValuesParser::new(KeyKind::ALL.map(KeyKind::as_str))
        .map(|text| text.parse().expect("clap lets only known kinds pass"))
}

fn parse_kem_public(text: &str) -> Result<KemPublicKey, String> {
    KemPublicKey::from_hex(text).ok_or_else(|| {
        format!(
            "not a KEM public key: expected 2432 lower-case hex digits that encode one, \
             found {} characters",
            text.chars().count()
        )
    })
}

fn parse_dialled_ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|error| format!("{error}"))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("peers cannot dial {ip}: give the address of one host"));
    }
    Ok(ip)
}
