//! The genesis file: everything that must be known before the first block.
//!
//! Its canonical form (RFC 8785) hashes to the chain's id, so white space and
//! member order in the file mean nothing and everything else does.

use crate::block::Header;
use crate::committee::{Committee, CommitteeError, NAME_BYTES_MAX, PEER_ID_BYTES_MAX, Validator};
use crate::hash::{ChainId, Context, hex};
use crate::json::{self, Document, JsonError, Limits, Member, Members, Number, SchemaError, Value};
use crate::numbers::{ProtocolVersion, TimestampMs};
use crate::verify::Chain;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Largest genesis file, in bytes.
pub const GENESIS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A checked genesis file.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The chain's name, for people.
    pub name: String,
    /// Chain time of the genesis block.
    pub time_ms: TimestampMs,
    /// The first era's validators.
    pub committee: Arc<Committee>,
    /// The rules in force at height 0.
    pub protocol_version: ProtocolVersion,
    /// Governed parameters at height 0.
    pub parameters: Parameters,
    /// Policies in force at height 0.
    pub policies: Vec<Policy>,
    chain_id: ChainId,
}

/// A policy bundle as the genesis file carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For people.
    pub name: String,
    /// The Rego text.
    pub rego: String,
}

/// Why a genesis file was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenesisError {
    /// Not JSON, or not strict JSON.
    #[error("genesis file: {0}")]
    Json(#[from] JsonError),
    /// A member is missing, unknown or of the wrong form.
    #[error("genesis file: {0}")]
    Schema(#[from] SchemaError),
    /// The validators are no committee.
    #[error("genesis file: {0}")]
    Committee(#[from] CommitteeError),
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident: $min:literal..=$max:literal = $default:literal,)*) => {
        /// Governed numbers that everyone must agree on; integers all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Parameters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Default for Parameters {
            /// The values of Alpha-100.
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Parameters {
            /// What each parameter may be, in the order of their definition.
            pub const RANGES: &[(&'static str, RangeInclusive<u64>)] =
                &[$((stringify!($name), $min..=$max)),*];

            /// Gives the parameter of this name another value.
            ///
            /// # Panics
            /// When there is none of this name.
            pub fn set(&mut self, name: &str, value: u64) {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => panic!("there is no parameter {name}"),
                }
            }

            fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
                let mut object = member.object()?;
                $(let $name = object.take(stringify!($name))?.unsigned_in($min..=$max)?;)*
                object.finish()?;
                Ok(Self { $($name),* })
            }

            /// Every parameter with its value, in the order of their definition.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

parameters! {
    /// Shortest view timer, in ms.
    view_timer_ms_min: 10..=60_000 = 300,
    /// Longest view timer, in ms.
    view_timer_ms_max: 1_000..=600_000 = 60_000,
    /// View timer in round trips to the quorum-th nearest peer.
    view_timer_round_trips: 2..=100 = 8,
    /// A leader with nothing to order waits so long for a block of time, in ms.
    idle_block_ms: 50..=60_000 = 1_000,
    /// A leader that was silent so long may be skipped early, in ms.
    leader_silence_ms: 50..=60_000 = 600,
    /// Length of a VRF epoch, in ms of chain time.
    vrf_epoch_ms: 100..=86_400_000 = 3_000,
    /// How far a block's time may be ahead of a voter's clock, in ms.
    clock_ahead_ms: 1..=60_000 = 500,
    /// Most bytes of batches that one block may cite.
    block_bytes_max: 262_144..=67_108_864 = 4_194_304,
    /// Most bytes that a leader cites before a quorum has acknowledged them.
    unacknowledged_bytes_max: 262_144..=67_108_864 = 1_048_576,
    /// Uncommitted blocks in a row after which only empty ones get a vote.
    uncommitted_blocks_max: 4..=10_000 = 64,
    /// Views for which an author reported as missing is cited only with acknowledgements.
    withholding_views: 1..=100_000 = 100,
    /// How long after admission a record must have an outcome, in ms.
    ticket_deadline_ms: 1_000..=604_800_000 = 86_400_000,
    /// How far a record's timestamp may be from its admission, in ms.
    record_time_window_ms: 1_000..=86_400_000 = 120_000,
}

impl Parameters {
    /// Those that the genesis file sets for ever. Epochs of another length would count time that
    /// has passed anew, and draw leaders for an epoch twice; the size of a block and the window of
    /// a record decide what is invalid, which two validators must not see differently while a
    /// change reaches them; the deadline of a ticket is of the validator that signs it.
    pub const FIXED: [&str; 4] =
        ["vrf_epoch_ms", "block_bytes_max", "ticket_deadline_ms", "record_time_window_ms"];
}

impl Validator {
    /// Reads a validator as the genesis file and a change of the committee name it.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let validator = Self {
            name: object.take("name")?.text(NAME_BYTES_MAX)?.to_string(),
            peer_id: object.take("peer_id")?.text(PEER_ID_BYTES_MAX)?.to_string(),
            consensus_key: crate::crypto::PublicKey(object.take("consensus_key")?.hex()?),
            vrf_key: object.take("vrf_key")?.hex()?,
            kem_key: object.take("kem_key")?.hex::<1216>()?.to_vec(),
        };
        object.finish()?;
        Ok(validator)
    }
}

impl Genesis {
    /// Puts a genesis together.
    ///
    /// # Panics
    /// When the chain's time is beyond 2⁵³ ms.
    #[must_use]
    pub fn new(
        name: String,
        time_ms: TimestampMs,
        committee: Committee,
        protocol_version: ProtocolVersion,
        parameters: Parameters,
        policies: Vec<Policy>,
    ) -> Self {
        let mut genesis = Self {
            name,
            time_ms,
            committee: Arc::new(committee),
            protocol_version,
            parameters,
            policies,
            chain_id: ChainId::ZERO,
        };
        let canonical = json::canonical(&genesis.to_value());
        genesis.chain_id = ChainId(Context::Genesis.hash(&[&canonical]).0);
        genesis
    }

    /// Reads a genesis file.
    ///
    /// # Errors
    /// When it is not strict JSON of exactly the known members, or its
    /// validators are no committee.
    pub fn parse(text: &[u8]) -> Result<Self, GenesisError> {
        let limits = Limits { size_max: GENESIS_BYTES_MAX, depth_max: 8 };
        let document = Document::parse(text, limits)?;
        let mut object = document.object()?;
        let name = object.take("name")?.text(64)?.to_string();
        let time_ms = TimestampMs::new(object.take("time_ms")?.unsigned()?);
        let version = object.take("protocol_version")?.unsigned_in(1..=u64::from(u16::MAX))?;
        let version = u16::try_from(version).expect("the range is that of u16");
        let parameters = Parameters::read(&object.take("parameters")?)?;
        let mut validators = Vec::new();
        for member in object.take("committee")?.items(crate::committee::COMMITTEE_SIZE_MAX)? {
            validators.push(Validator::read(&member)?);
        }
        let mut policies = Vec::new();
        for member in object.take("policies")?.items(64)? {
            let mut policy = member.object()?;
            policies.push(Policy {
                name: policy.take("name")?.text(128)?.to_string(),
                rego: policy.take("rego")?.string()?.to_string(),
            });
            policy.finish()?;
        }
        object.finish()?;
        let committee = Committee::new(validators)?;
        let version = ProtocolVersion::new(version);
        Ok(Self::new(name, time_ms, committee, version, parameters, policies))
    }

    /// The canonical text of the file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        json::canonical(&self.to_value())
    }

    /// The chain's id: hash of the canonical text.
    #[must_use]
    pub const fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The header of the genesis block.
    #[must_use]
    pub fn header(&self) -> Header {
        Header::genesis(self.protocol_version, self.chain_id, self.time_ms)
    }

    /// The chain in its first era.
    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain::new(self.chain_id, Arc::clone(&self.committee), self.header().id())
    }

    fn to_value(&self) -> Value {
        let committee = self.committee.iter().map(|(_, validator)| {
            object([
                ("name", text(&validator.name)),
                ("peer_id", text(&validator.peer_id)),
                ("consensus_key", text(&validator.consensus_key.to_string())),
                ("vrf_key", text(&hex(&validator.vrf_key))),
                ("kem_key", text(&hex(&validator.kem_key))),
            ])
        });
        let policies = self
            .policies
            .iter()
            .map(|policy| object([("name", text(&policy.name)), ("rego", text(&policy.rego))]));
        object([
            ("name", text(&self.name)),
            ("time_ms", number(self.time_ms.get())),
            ("protocol_version", number(self.protocol_version.get().into())),
            ("committee", Value::Array(committee.collect())),
            (
                "parameters",
                object(self.parameters.iter().map(|(name, value)| (name, number(value)))),
            ),
            ("policies", Value::Array(policies.collect())),
        ])
    }
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    Value::Object(Members::new(members).expect("member names are distinct"))
}

fn text(text: &str) -> Value {
    Value::String(text.to_string())
}

fn number(value: u64) -> Value {
    Value::Number(Number::from_unsigned(value).expect("governed numbers are below 2^53"))
}
