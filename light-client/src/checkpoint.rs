//! What a client remembers of the chain.

use crate::error::CheckpointError;
use alloc::string::ToString;
use alloc::vec::Vec;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BlockId, ChainId, Hash};
use bizra_types::json::{Document, Limits, Members, Number, Value, canonical};
use bizra_types::numbers::{Era, Height};
use bizra_types::proof::tree::{EMPTY_ROOT, Log};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// Far above what a checkpoint takes.
const LIMITS: Limits = Limits { size_max: 4096, depth_max: 1 };

/// A final block that a client believes in, and the log after it.
///
/// The era's root and committee are part of it, because the log alone does not
/// bind them: whoever holds the keys of an old committee can put another
/// history under the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The chain.
    pub chain_id: ChainId,
    /// The era of the block.
    pub era: Era,
    /// The block that the era starts from.
    pub era_root: BlockId,
    /// Hash of the era's committee.
    pub committee: Hash,
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// The log after the block.
    pub log: Log,
}

impl Checkpoint {
    /// The genesis block, and the log that holds nothing.
    #[must_use]
    pub fn of_genesis(genesis: &Genesis) -> Self {
        let block = genesis.header().id();
        Self {
            chain_id: genesis.chain_id(),
            era: Era::new(1),
            era_root: block,
            committee: genesis.committee.hash(),
            height: Height::ZERO,
            block,
            log: Log { size: 0, root: EMPTY_ROOT },
        }
    }

    /// The canonical JSON text.
    ///
    /// # Panics
    /// When a number is above 2⁵³ − 1, which none of a checkpoint that was
    /// read or verified can be.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let text = |text: &dyn core::fmt::Display| Value::String(text.to_string());
        let number = |value| {
            Value::Number(Number::from_unsigned(value).expect("a checkpoint's numbers are small"))
        };
        let members = [
            ("version", Value::from(VERSION)),
            ("chain_id", text(&self.chain_id)),
            ("era", number(self.era.get())),
            ("era_root", text(&self.era_root)),
            ("committee", text(&self.committee)),
            ("height", number(self.height.get())),
            ("block", text(&self.block)),
            ("log_size", number(self.log.size)),
            ("log_root", text(&self.log.root)),
        ];
        let members = members.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        canonical(&Value::Object(Members::new(members).expect("member names are distinct")))
    }

    /// Reads JSON that fills `text` to the end.
    ///
    /// # Errors
    /// When the text is not strict JSON of exactly the known members.
    pub fn from_json(text: &[u8]) -> Result<Self, CheckpointError> {
        let document = Document::parse(text, LIMITS)?;
        let mut object = document.object()?;
        object.take("version")?.unsigned_in(VERSION.into()..=VERSION.into())?;
        let checkpoint = Self {
            chain_id: ChainId(object.take("chain_id")?.hex()?),
            era: Era::new(object.take("era")?.unsigned()?),
            era_root: BlockId(object.take("era_root")?.hex()?),
            committee: Hash(object.take("committee")?.hex()?),
            height: Height::new(object.take("height")?.unsigned()?),
            block: BlockId(object.take("block")?.hex()?),
            log: Log {
                size: object.take("log_size")?.unsigned()?,
                root: Hash(object.take("log_root")?.hex()?),
            },
        };
        object.finish()?;
        Ok(checkpoint)
    }
}
