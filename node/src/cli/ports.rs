//! Who holds a port.

use anyhow::{Result, bail};
use bizra_node::config::Config;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// The two kinds of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Why a port cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A process holds it; none if this user cannot see which.
    InUse(Option<Holder>),
    /// It cannot be had for another reason, as the system tells it.
    Other(String),
}

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    name: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(Some(holder)) => {
                write!(f, "in use by process {} ({})", holder.pid, holder.name)
            }
            Self::InUse(None) => f.write_str("in use by a process that this user cannot see"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// What keeps a node of this configuration from listening: purpose, address and
/// reason of each port that cannot be used.
///
/// The network itself would not notice another node on its TCP port: it shares
/// the port for its own connections, and so does the other.
pub(crate) fn obstacles(config: &Config) -> Result<Vec<(&'static str, SocketAddr, Obstacle)>> {
    let address = |text: String| {
        let parts: Vec<_> = text.split('/').collect();
        match parts[..] {
            ["", "ip4" | "ip6", ip, "tcp" | "udp", port, ..] => {
                Ok(SocketAddr::new(ip.parse()?, port.parse()?))
            }
            _ => bail!("{text} names no address of this machine"),
        }
    };
    let listens = [
        ("p2p (TCP)", address(config.p2p.listen_tcp.to_string())?, Protocol::Tcp),
        ("p2p (QUIC)", address(config.p2p.listen_quic.to_string())?, Protocol::Udp),
        ("API", config.api.listen, Protocol::Tcp),
        ("admin", config.admin.listen, Protocol::Tcp),
    ];
    Ok(listens
        .into_iter()
        .filter_map(|(what, address, protocol)| Some((what, address, obstacle(address, protocol)?)))
        .collect())
}

/// Why a port cannot be used; none if it can.
pub(crate) fn obstacle(address: SocketAddr, protocol: Protocol) -> Option<Obstacle> {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Some(Obstacle::InUse(holder(address.port(), protocol)))
        }
        Err(error) => Some(Obstacle::Other(error.to_string())),
    }
}

fn holder(port: u16, protocol: Protocol) -> Option<Holder> {
    let sockets: BTreeSet<String> = tables(protocol)
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| inodes(&table, port, protocol))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for file in files {
            let Ok(target) = fs::read_link(file.path()) else { continue };
            if target.to_str().is_some_and(|target| sockets.contains(target)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(Holder { pid, name: name.trim().to_owned() });
            }
        }
    }
    None
}

const fn tables(protocol: Protocol) -> [&'static str; 2] {
    match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    }
}

/// The inodes of the sockets that listen on a port, from a table of /proc/net.
fn inodes(table: &str, port: u16, protocol: Protocol) -> Vec<String> {
    const LISTENING: &str = "0A";
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let listens = protocol == Protocol::Udp || *state == LISTENING;
            (local.ends_with(&suffix) && listens).then(|| (*inode).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
        for (address, protocol) in [
            (tcp.local_addr().expect("bound"), Protocol::Tcp),
            (udp.local_addr().expect("bound"), Protocol::Udp),
        ] {
            let obstacle = obstacle(address, protocol).expect("the port is taken").to_string();
            let me = format!("in use by process {} (", std::process::id());
            assert!(obstacle.starts_with(&me), "{obstacle}");
        }
        let any_port = "127.0.0.1:0".parse().expect("an address");
        assert_eq!(obstacle(any_port, Protocol::Tcp), None);
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt \
                     uid  timeout inode\n\
                     0: 0100007F:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 \
                     77 1 x\n\
                     1: 0100007F:1B58 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 \
                     78 1 x\n\
                     2: 0100007F:1B59 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 \
                     79 1 x\n";
        assert_eq!(inodes(table, 7000, Protocol::Tcp), ["77"]);
        assert_eq!(inodes(table, 7000, Protocol::Udp), ["77", "78"]);
    }
}
