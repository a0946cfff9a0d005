//! `testnet init` and `testnet add`: the files of a network of local processes.

use super::fleet::Fleet;
use super::governance::entry_of;
use super::output::{Answer, WrongUse, count, print};
use anyhow::{Context as _, Result, bail};
use bizra_keys::KeyRing;
use bizra_ledger::policy::DEFAULT_POLICY;
use bizra_types::committee::{Committee, Validator};
use bizra_types::genesis::{Genesis, Parameters, Policy};
use bizra_types::numbers::{ProtocolVersion, TimestampMs};
use clap::Args;
use serde_json::json;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ports between one node's first and the next node's first.
const PORTS_PER_NODE: u16 = 10;

#[derive(Args)]
pub(crate) struct Init {
    /// How many validators.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) validators: u16,
    /// How many followers, which vote on nothing.
    #[arg(long, default_value_t = 0)]
    pub(crate) followers: u16,
    /// The folder to write; it must not exist, or be empty.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// First port of node 0; node K takes ten from here + 10 K on.
    #[arg(long, default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1024..))]
    pub(crate) base_port: u16,
    /// The address that every node listens on and is dialled at.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) ip: IpAddr,
    /// The chain's name, at most 64 bytes.
    #[arg(long, default_value = "testnet", value_parser = parse_name)]
    pub(crate) name: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Add {
    /// The folder that `testnet init` wrote.
    #[arg(long)]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    tcp: u16,
    quic: u16,
    api: u16,
    admin: u16,
}

pub(crate) fn init(arguments: &Init) -> Result<Answer> {
    let genesis = write(arguments)?;
    let facts = json!({
        "dir": arguments.dir.display().to_string(),
        "chain_id": genesis.chain_id().to_string(),
        "validators": arguments.validators,
        "base_port": arguments.base_port,
    });
    let text = format!(
        "{}: {}, chain {}\nstart them with: bizra testnet up --dir {}",
        arguments.dir.display(),
        count(arguments.validators.into(), "validator"),
        genesis.chain_id(),
        arguments.dir.display(),
    );
    print(arguments.json, &facts, &text)?;
    Ok(Answer::True)
}

/// Adds a node to the folder. The others let it in once they have read the list
/// of peers again; it has no seat before governance gives it one.
pub(crate) fn add(arguments: &Add) -> Result<Answer> {
    let fleet = Fleet::open(&arguments.dir)?;
    let number = u16::try_from(fleet.nodes.len()).context("too many nodes")?;
    let first = fleet.nodes[0].api_address();
    let base = first.port().checked_sub(2).context("node 0 has no ports of a testnet")?;
    let Some(ports) = ports(base, number) else {
        bail!("the ports of node {number} would lie beyond 65535");
    };
    let peers_file = fleet.dir.join("peers.json");
    let text = fs::read_to_string(&peers_file)
        .with_context(|| format!("{}: cannot read", peers_file.display()))?;
    let mut peers: serde_json::Value =
        serde_json::from_str(&text).with_context(|| peers_file.display().to_string())?;
    let bootnodes = peers["bootnodes"].as_array_mut();
    let bootnodes = bootnodes.with_context(|| format!("{}: no list", peers_file.display()))?;
    let (ring, addresses) = write_node(&fleet.dir, number, first.ip(), &ports)?;
    bootnodes.extend(addresses.map(serde_json::Value::from));
    write_file(&peers_file, &format!("{peers:#}\n"))?;
    let folder = fleet.dir.join(format!("node-{number}"));
    let entry = folder.join("entry.json");
    write_file(&entry, &format!("{:#}\n", entry_of(&format!("node-{number}"), &ring)))?;
    let facts = json!({
        "node": number,
        "config": folder.join("config.toml").display().to_string(),
        "entry": entry.display().to_string(),
    });
    let text = format!(
        "node {number}: {}\nlet the others read the list of peers again (SIGHUP), then propose it: \
         bizra gov propose committee --add {}",
        folder.display(),
        entry.display(),
    );
    print(arguments.json, &facts, &text)?;
    Ok(Answer::True)
}

/// Writes all files of a network. Nothing is left of a folder that it made and
/// could not complete.
pub(crate) fn write(arguments: &Init) -> Result<Genesis> {
    if arguments.followers > 0 {
        return Err(WrongUse(format!(
            "--followers {}: this version of the node has no followers yet; use --followers 0",
            arguments.followers
        ))
        .into());
    }
    // Checked before anything is written.
    let ports = (0..arguments.validators)
        .map(|number| ports(arguments.base_port, number))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            WrongUse(format!(
                "--base-port {}: {} take ports up to {}, beyond 65535",
                arguments.base_port,
                count(arguments.validators.into(), "validator"),
                u32::from(arguments.base_port)
                    + u32::from(PORTS_PER_NODE) * u32::from(arguments.validators)
                    - 1
            ))
        })?;
    let dir = &arguments.dir;
    let existed = dir.exists();
    if existed && dir.read_dir().with_context(|| dir.display().to_string())?.next().is_some() {
        bail!("{}: the folder is not empty, and keys are never overwritten", dir.display());
    }
    write_folder(arguments, &ports).inspect_err(|_| {
        if !existed {
            // Of two errors the first is the one to report.
            let _ = fs::remove_dir_all(dir);
        }
    })
}

fn write_folder(arguments: &Init, ports: &[Ports]) -> Result<Genesis> {
    let dir = &arguments.dir;
    fs::create_dir_all(dir).with_context(|| format!("{}: cannot make it", dir.display()))?;
    let mut validators = Vec::new();
    let mut bootnodes = Vec::new();
    for (number, ports) in (0..).zip(ports) {
        let (ring, addresses) = write_node(dir, number, arguments.ip, ports)?;
        bootnodes.extend(addresses);
        validators.push(Validator {
            name: format!("node-{number}"),
            peer_id: ring.network.peer_id().to_base58(),
            consensus_key: ring.consensus.public(),
            vrf_key: ring.vrf.public(),
            kem_key: ring.kem.public().as_bytes().to_vec(),
        });
    }
    let genesis = Genesis::new(
        arguments.name.clone(),
        now(),
        Committee::new(validators)?,
        ProtocolVersion::new(1),
        Parameters::default(),
        vec![Policy { name: "default".to_owned(), rego: DEFAULT_POLICY.to_owned() }],
    );
    let canonical = genesis.to_json();
    let readable: serde_json::Value =
        serde_json::from_slice(&canonical).context("the genesis file is not JSON")?;
    write_file(&dir.join("genesis.json"), &format!("{readable:#}\n"))?;
    write_file(&dir.join("peers.json"), &format!("{:#}\n", json!({ "bootnodes": bootnodes })))?;
    Ok(genesis)
}

/// Writes the folder of one node, and tells its addresses.
fn write_node(
    dir: &Path,
    number: u16,
    ip: IpAddr,
    ports: &Ports,
) -> Result<(KeyRing, [String; 2])> {
    let folder = dir.join(format!("node-{number}"));
    let ring = KeyRing::create(folder.join("keys"))?;
    fs::create_dir(folder.join("data"))
        .with_context(|| format!("{}: cannot make data/", folder.display()))?;
    write_file(&folder.join("config.toml"), &config(ip, ports))?;
    let peer_id = ring.network.peer_id().to_base58();
    let family = if ip.is_ipv4() { "ip4" } else { "ip6" };
    let host = format!("/{family}/{ip}");
    let addresses = [
        format!("{host}/tcp/{}/p2p/{peer_id}", ports.tcp),
        format!("{host}/udp/{}/quic-v1/p2p/{peer_id}", ports.quic),
    ];
    Ok((ring, addresses))
}

fn config(ip: IpAddr, ports: &Ports) -> String {
    let at = |port| std::net::SocketAddr::new(ip, port);
    format!(
        "data_dir = \"data\"\nkeys_dir = \"keys\"\ngenesis = \"../genesis.json\"\npeers = \
         \"../peers.json\"\n\n[p2p]\nlisten_tcp = \"{}\"\nlisten_quic = \"{}\"\n\n[api]\nlisten = \
         \"{}\"\n\n[admin]\nlisten = \"127.0.0.1:{}\"\n",
        at(ports.tcp),
        at(ports.quic),
        at(ports.api),
        ports.admin,
    )
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{}: cannot write", path.display()))
}

/// The ports of a node; none if they run over.
fn ports(base: u16, number: u16) -> Option<Ports> {
    let tcp = number.checked_mul(PORTS_PER_NODE)?.checked_add(base)?;
    tcp.checked_add(PORTS_PER_NODE - 1)?;
    Some(Ports { tcp, quic: tcp + 1, api: tcp + 2, admin: tcp + 3 })
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    TimestampMs::new(u64::try_from(since.as_millis()).expect("the clock is before 2^64 ms"))
}

fn parse_name(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("a chain's name has 1 to 64 bytes, not {}", text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_node::config::Config;
    use std::os::unix::fs::PermissionsExt as _;

    fn arguments(dir: &Path) -> Init {
        Init {
            validators: 4,
            followers: 0,
            dir: dir.join("net"),
            base_port: 9000,
            ip: IpAddr::from([127, 0, 0, 1]),
            name: "unit".to_owned(),
            json: false,
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments(folder.path());
        let written = write(&arguments).expect("written");
        let text = fs::read(arguments.dir.join("genesis.json")).expect("a genesis file");
        let genesis = Genesis::parse(&text).expect("valid");
        assert_eq!(genesis.chain_id(), written.chain_id());
        assert_eq!(genesis.committee.size(), 4);
        let text = fs::read_to_string(arguments.dir.join("peers.json")).expect("a list of peers");
        let peers = bizra_gossip::parse_peers(&text).expect("valid");
        assert_eq!(peers.len(), 8, "each validator by TCP and by QUIC");
        for (index, validator) in genesis.committee.iter() {
            let number = index.get();
            let node = arguments.dir.join(format!("node-{number}"));
            let config = Config::load_file(&node.join("config.toml")).expect("valid");
            let port = 9000 + 10 * number;
            let tcp = format!("/ip4/127.0.0.1/tcp/{port}");
            let quic = format!("/ip4/127.0.0.1/udp/{}/quic-v1", port + 1);
            assert_eq!(config.p2p.listen_tcp.to_string(), tcp);
            assert_eq!(config.p2p.listen_quic.to_string(), quic);
            assert_eq!(config.api.listen.to_string(), format!("127.0.0.1:{}", port + 2));
            assert_eq!(config.admin.listen.to_string(), format!("127.0.0.1:{}", port + 3));
            assert!(config.data_dir.is_dir());
            let same = |path: &Path, name| {
                path.canonicalize().expect("exists")
                    == arguments.dir.join(name).canonicalize().expect("exists")
            };
            assert!(same(&config.genesis, "genesis.json") && same(&config.peers, "peers.json"));
            let ring = KeyRing::load(&config.keys_dir).expect("keys of mode 0600");
            assert_eq!(ring.consensus.public(), validator.consensus_key);
            assert_eq!(ring.vrf.public(), validator.vrf_key);
            assert_eq!(ring.kem.public().as_bytes()[..], validator.kem_key[..]);
            let peer_id = ring.network.peer_id().to_base58();
            assert_eq!(peer_id, validator.peer_id);
            let listed: Vec<_> = peers
                .iter()
                .filter(|peer| peer.peer.to_string() == peer_id)
                .map(|peer| peer.address.to_string())
                .collect();
            assert_eq!(listed, [tcp, quic]);
            for file in config.keys_dir.read_dir().expect("a folder") {
                let mode = file.expect("an entry").metadata().expect("a file").permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
        }
    }

    #[test]
    fn a_node_is_added_with_keys_ports_and_an_entry_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments(folder.path());
        write(&arguments).expect("written");
        let adding = Add { dir: arguments.dir.clone(), json: false };
        for number in 4..6 {
            assert_eq!(add(&adding).expect("added"), Answer::True);
            let node = arguments.dir.join(format!("node-{number}"));
            let config = Config::load_file(&node.join("config.toml")).expect("valid");
            let port = 9002 + 10 * number;
            assert_eq!(config.api.listen.to_string(), format!("127.0.0.1:{port}"));
            let ring = KeyRing::load(&config.keys_dir).expect("keys of mode 0600");
            let text = fs::read_to_string(node.join("entry.json")).expect("an entry");
            let entry: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(entry, entry_of(&format!("node-{number}"), &ring));
            let text = fs::read_to_string(arguments.dir.join("peers.json")).expect("a list");
            let peers = bizra_gossip::parse_peers(&text).expect("valid");
            assert_eq!(peers.len(), 2 * (number + 1));
            let peer_id = ring.network.peer_id().to_base58();
            assert_eq!(peers.iter().filter(|it| it.peer.to_string() == peer_id).count(), 2);
        }
        let genesis = fs::read(arguments.dir.join("genesis.json")).expect("a genesis file");
        assert_eq!(Genesis::parse(&genesis).expect("valid").committee.size(), 4);
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments(folder.path());
        write(&arguments).expect("written");
        let before = fs::read(arguments.dir.join("genesis.json")).expect("a genesis file");
        let error = write(&arguments).expect_err("not empty");
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(fs::read(arguments.dir.join("genesis.json")).expect("still there"), before);
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        for (change, complaint) in [
            ((|it: &mut Init| it.base_port = 65_500) as fn(&mut Init), "beyond 65535"),
            (|it| it.followers = 2, "no followers yet"),
        ] {
            let mut arguments = arguments(folder.path());
            change(&mut arguments);
            let error = write(&arguments).expect_err("refused");
            assert!(error.is::<WrongUse>());
            assert!(error.to_string().contains(complaint), "{error}");
            assert!(!arguments.dir.exists());
        }
    }

    #[test]
    fn the_last_node_may_end_at_the_last_port() {
        assert_eq!(ports(65_526, 0).map(|ports| ports.admin), Some(65_529));
        assert_eq!(ports(65_527, 0), None);
        assert_eq!(ports(7000, 6).map(|ports| ports.api), Some(7062));
        assert_eq!(ports(7000, u16::MAX), None);
    }
}
