//! The network: who is connected, and how bytes travel between nodes.
//!
//! Validators keep a full mesh of direct streams; everyone may gossip and ask.
//! This crate knows no consensus rule and no ledger: it authenticates the peer,
//! bounds everything, and hands bytes up.
//!
//! | module | holds |
//! |---|---|
//! | `network` | [`Network`], the handle, and the swarm task, which only routes |
//! | `config` | addresses, members and limits |
//! | `links` | admission of connections, opening and accepting of streams |
//! | `multiplexer` | yamux with fewer system calls |
//! | `dialler` | when to dial whom |
//! | `roster` | members, faults, bans |
//! | `streams` | the reader and writer tasks of the direct streams |
//! | `frame`, `handshake`, `heartbeat` | what is on a direct stream |
//! | `queue`, `mailbox` | bounded waiting rooms, outward and inward |
//! | `requests` | one stream per question |
//! | `topics` | gossipsub |
//! | [`wire`] | the typed messages and their encodings |

extern crate alloc;

mod config;
mod dialler;
mod frame;
mod handshake;
mod heartbeat;
mod links;
mod mailbox;
mod metrics;
mod multiplexer;
mod network;
mod queue;
mod requests;
mod roster;
mod streams;
mod topics;
pub mod wire;

pub use config::{
    Limits, NetworkConfig, PeerAddress, PeerAddressError, TransportKind, parse_peers,
};
pub use handshake::{Hello, Incompatible};
pub use libp2p::identity::Keypair;
pub use libp2p::{Multiaddr, PeerId};
pub use mailbox::{Event, EventReceiver};
pub use network::{Network, PeerStatus, PublishError, StartError};
pub use queue::SendError;
pub use requests::{AnswerTooLarge, REQUEST_SIZE_MAX, RESPONSE_SIZE_MAX, Reply, RequestError};
pub use roster::Fault;
pub use streams::Channel;
pub use topics::{GOSSIP_SIZE_MAX, GossipId, Topic, Verdict};
