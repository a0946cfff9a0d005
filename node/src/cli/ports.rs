//! Who holds a port.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// The two kinds of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Why a port cannot be used, in words that name its holder; none if it can.
pub(crate) fn obstacle(address: SocketAddr, protocol: Protocol) -> Option<String> {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Some(format!("in use by {}", holder(address.port(), protocol)))
        }
        Err(error) => Some(error.to_string()),
    }
}

fn holder(port: u16, protocol: Protocol) -> String {
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
                return format!("process {pid} ({})", name.trim());
            }
        }
    }
    "a process that this user cannot see".to_owned()
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
            let obstacle = obstacle(address, protocol).expect("the port is taken");
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
