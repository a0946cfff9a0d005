//! What two nodes tell each other when a direct stream opens.
//!
//! The opener sends a [`Hello`] frame; the acceptor answers with one byte, an
//! [`Answer`]. Only then is the stream open: a multiplexer reports a stream as
//! open long before the other side has taken it up.

use bizra_types::encode_fields;
use bizra_types::genesis::Genesis;
use bizra_types::hash::ChainId;
use bizra_types::numbers::{Era, Height, ProtocolVersion};

/// A [`Hello`] in its frame takes no more than this.
pub(crate) const HELLO_SIZE_MAX: usize = 256;

/// Who we are: chain, versions and how far we got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest protocol version that this binary runs.
    pub protocol_version_min: ProtocolVersion,
    /// The newest protocol version that this binary runs.
    pub protocol_version_max: ProtocolVersion,
    /// The chain.
    pub chain_id: ChainId,
    /// The era that the node is in.
    pub era: Era,
    /// The height of its last final block.
    pub height: Height,
}

encode_fields!(Hello { protocol_version_min, protocol_version_max, chain_id, era, height });

impl Hello {
    /// What a node says that has the genesis block alone and runs the version of its chain.
    #[must_use]
    pub fn at_genesis(genesis: &Genesis) -> Self {
        Self {
            protocol_version_min: genesis.protocol_version,
            protocol_version_max: genesis.protocol_version,
            chain_id: genesis.chain_id(),
            era: genesis.header().era,
            height: Height::ZERO,
        }
    }

    /// Whether a node that says `theirs` can take part with us.
    ///
    /// # Errors
    /// When it is on another chain, or no version is common to both.
    pub fn check(&self, theirs: &Self) -> Result<(), Incompatible> {
        if self.chain_id != theirs.chain_id {
            return Err(Incompatible::Chain { ours: self.chain_id, theirs: theirs.chain_id });
        }
        if self.protocol_version_max < theirs.protocol_version_min
            || theirs.protocol_version_max < self.protocol_version_min
        {
            return Err(Incompatible::Version {
                ours: (self.protocol_version_min, self.protocol_version_max),
                theirs: (theirs.protocol_version_min, theirs.protocol_version_max),
            });
        }
        Ok(())
    }
}

/// Why a peer cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// It is on another chain.
    #[error("its chain is {theirs}, ours is {ours}")]
    Chain {
        /// Our chain.
        ours: ChainId,
        /// The chain it named.
        theirs: ChainId,
    },
    /// It runs no protocol version that we run.
    #[error(
        "it runs protocol versions {} to {}, we run {} to {}",
        theirs.0, theirs.1, ours.0, ours.1
    )]
    Version {
        /// Our oldest and newest version.
        ours: (ProtocolVersion, ProtocolVersion),
        /// The oldest and newest version it named.
        theirs: (ProtocolVersion, ProtocolVersion),
    },
}

/// The acceptor's one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    /// The stream is open.
    Open = 1,
    /// The opener is on another chain.
    OtherChain = 2,
    /// No version is common.
    NoCommonVersion = 3,
    /// The opener is not a validator here.
    NotAllowed = 4,
    /// Too much is under way; try again later.
    Busy = 5,
}

impl Answer {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Open),
            2 => Some(Self::OtherChain),
            3 => Some(Self::NoCommonVersion),
            4 => Some(Self::NotAllowed),
            5 => Some(Self::Busy),
            _ => None,
        }
    }
}

impl From<Incompatible> for Answer {
    fn from(reason: Incompatible) -> Self {
        match reason {
            Incompatible::Chain { .. } => Self::OtherChain,
            Incompatible::Version { .. } => Self::NoCommonVersion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::encoding::{Decode, Encode};

    fn hello(chain: u8, min: u16, max: u16) -> Hello {
        Hello {
            protocol_version_min: ProtocolVersion::new(min),
            protocol_version_max: ProtocolVersion::new(max),
            chain_id: ChainId([chain; 32]),
            era: Era::new(1),
            height: Height::new(7),
        }
    }

    #[test]
    fn versions_overlap_or_not() {
        let ours = hello(1, 3, 4);
        for (min, max, compatible) in
            [(3, 4, true), (4, 5, true), (1, 3, true), (1, 9, true), (1, 2, false), (5, 6, false)]
        {
            assert_eq!(ours.check(&hello(1, min, max)).is_ok(), compatible, "{min} to {max}");
        }
    }

    #[test]
    fn the_refusal_names_both() {
        let error = hello(1, 1, 1).check(&hello(2, 1, 1)).unwrap_err().to_string();
        assert_eq!(error, format!("its chain is {}, ours is {}", "02".repeat(32), "01".repeat(32)));
        let error = hello(1, 1, 2).check(&hello(1, 3, 4)).unwrap_err().to_string();
        assert_eq!(error, "it runs protocol versions 3 to 4, we run 1 to 2");
    }

    #[test]
    fn a_hello_survives_its_encoding_and_fits_its_frame() {
        let bytes = hello(5, 1, 2).to_bytes();
        assert_eq!(Hello::from_bytes(&bytes), Ok(hello(5, 1, 2)));
        assert!(bytes.len() < HELLO_SIZE_MAX);
        assert!(Hello::from_bytes(&bytes[1..]).is_err());
    }
}
