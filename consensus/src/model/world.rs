//! What does not change while a model is explored: the blocks that can be
//! proposed at all, and what the real counting makes of each set of signers.

use crate::testing::committee;
use crate::votes::{Change, Votes};
use bizra_types::block::{Block, BlockContent};
use bizra_types::certificate::Qc;
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::crypto::Signature;
use bizra_types::hash::{BlockId, ChainId, ExecHash};
use bizra_types::message::{
    CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{Era, Height, ProtocolVersion, TimestampMs, ValidatorIndex, View};
use std::collections::BTreeMap;

pub(super) const ERA: Era = Era::new(1);

/// A block by its place in [`World::blocks`]; 0 is the root.
pub(super) type Number = u8;

/// A set of blocks, one bit for each.
pub(super) type Blocks = u128;

/// The root, certified without signatures.
pub(super) const ROOT: Number = 0;

/// A block that can be proposed.
#[derive(Debug)]
pub(super) struct Known {
    /// The block; none for the root.
    pub(super) block: Option<Block>,
    /// Its certificate, without the signatures.
    pub(super) qc: Qc,
    pub(super) view: u8,
    pub(super) parent: Number,
    /// Which of the blocks with this view and parent.
    pub(super) variant: u8,
    /// Itself and everything below.
    pub(super) path: Blocks,
}

/// The tables for `HONEST` validators and as many liars as these can bear.
#[derive(Debug)]
pub(super) struct World<const HONEST: usize> {
    pub(super) blocks: Vec<Known>,
    /// The blocks of each view.
    pub(super) of_view: Vec<Blocks>,
    numbers: BTreeMap<BlockId, Number>,
    /// By the set of honest signers of a block: whether they and the liars
    /// make a QC.
    pub(super) is_certified: Vec<bool>,
    /// The same for commit certificates.
    pub(super) is_final: Vec<bool>,
    /// By the view of the high QC in each honest validator's timeout: the
    /// lowest view that the highest QC of a TC can have. Patterns of which no
    /// TC can be made are not in it.
    pub(super) left_with: BTreeMap<[Option<u8>; HONEST], u8>,
}

impl<const HONEST: usize> World<HONEST> {
    /// All blocks of `views` views, `variants` of each view and parent.
    ///
    /// # Panics
    /// When these are too many for a set of blocks.
    pub(super) fn new(views: u8, variants: u8) -> Self {
        let committee = committee(HONEST + (HONEST - 1) / 2);
        assert_eq!(committee.size() - committee.faulty_max(), HONEST, "the honest of 3f + 1");
        let blocks = blocks(&committee, views, variants);
        let numbers = blocks.iter().zip(0..).map(|(known, number)| (known.qc.vote.block, number));
        let mut of_view = vec![0; usize::from(views) + 1];
        for (known, number) in blocks.iter().zip(0..) {
            of_view[usize::from(known.view)] |= bit(number);
        }
        Self {
            of_view,
            numbers: numbers.collect(),
            is_certified: (0..1 << HONEST).map(|set| is_certified(&committee, set)).collect(),
            is_final: (0..1 << HONEST).map(|set| is_final(&committee, set)).collect(),
            left_with: left_with(&committee, views),
            blocks,
        }
    }

    pub(super) fn known(&self, number: Number) -> &Known {
        &self.blocks[usize::from(number)]
    }

    pub(super) fn number(&self, block: BlockId) -> Number {
        self.numbers[&block]
    }

    /// All blocks but the root.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> + use<HONEST> {
        1..Number::try_from(self.blocks.len()).expect("checked when they were made")
    }
}

/// What executing a block gives: a function of the block.
pub(super) const fn exec_of(block: BlockId) -> ExecHash {
    ExecHash(block.0)
}

/// The bit of a block.
pub(super) const fn bit(number: Number) -> Blocks {
    1 << number
}

/// The blocks of a set.
pub(super) fn members(blocks: Blocks) -> impl Iterator<Item = Number> {
    (0..128).filter(move |number| blocks & bit(*number) != 0)
}

fn blocks(committee: &Committee, views: u8, variants: u8) -> Vec<Known> {
    let qc = |view: u8, block: BlockId| Qc {
        vote: Vote { era: ERA, view: View::new(view.into()), block },
        signers: SignerSet::empty(committee.size()),
        signatures: Vec::new(),
    };
    let root = BlockId::ZERO;
    let mut blocks = vec![Known {
        block: None,
        qc: Qc::root(ERA, root, committee.size()),
        view: 0,
        parent: ROOT,
        variant: 0,
        path: bit(ROOT),
    }];
    for view in 1..=views {
        for parent in 0..blocks.len() {
            for variant in 0..variants {
                let below = &blocks[parent];
                let block = Block::new(BlockContent {
                    protocol_version: ProtocolVersion::new(1),
                    chain_id: ChainId::ZERO,
                    height: Height::new(u64::from(below.path.count_ones())),
                    view: View::new(view.into()),
                    justify: below.qc.clone(),
                    citations: Vec::new(),
                    reveals: Vec::new(),
                    timestamp_ms: TimestampMs::new(variant.into()),
                    proposer: ValidatorIndex::ZERO,
                    closes: None,
                });
                let number = Number::try_from(blocks.len()).expect("at most 128 blocks");
                assert!(number < 128, "at most 128 blocks");
                blocks.push(Known {
                    qc: qc(view, block.id()),
                    block: Some(block),
                    view,
                    parent: Number::try_from(parent).expect("at most 128 blocks"),
                    variant,
                    path: below.path | bit(number),
                });
            }
        }
    }
    blocks
}

/// The honest of a set, then the liars.
fn signers(committee: &Committee, set: usize) -> impl Iterator<Item = ValidatorIndex> {
    let honest = committee.size() - committee.faulty_max();
    committee.indices().filter(move |signer| {
        let place = usize::from(signer.get());
        place >= honest || set & (1 << place) != 0
    })
}

fn signature() -> Signature {
    Signature([0; 64])
}

fn is_certified(committee: &Committee, set: usize) -> bool {
    let vote = Vote { era: ERA, view: View::new(1), block: BlockId([1; 32]) };
    let mut votes = Votes::default();
    signers(committee, set).any(|signer| {
        let vote = SignedVote { vote, signer, signature: signature() };
        matches!(votes.add_vote(committee, View::new(1), vote), Change::Certified(_))
    })
}

fn is_final(committee: &Committee, set: usize) -> bool {
    let block = BlockId([1; 32]);
    let vote = CommitVote { era: ERA, view: View::new(1), block, exec: exec_of(block) };
    let mut votes = Votes::default();
    signers(committee, set).any(|signer| {
        let vote = SignedCommitVote { vote, signer, signature: signature() };
        matches!(votes.add_commit_vote(committee, View::new(1), vote), Change::Certified(_))
    })
}

fn left_with<const HONEST: usize>(
    committee: &Committee,
    views: u8,
) -> BTreeMap<[Option<u8>; HONEST], u8> {
    // Every high QC is below the view that is left.
    let choices = usize::from(views) + 1;
    let mut table = BTreeMap::new();
    for mut pattern in 0..choices.pow(u32::try_from(HONEST).expect("a small committee")) {
        let high_qc_views: [Option<u8>; HONEST] = core::array::from_fn(|_| {
            let choice = u8::try_from(pattern % choices).expect("few views");
            pattern /= choices;
            choice.checked_sub(1)
        });
        if let Some(lowest) = lowest_tc(committee, views, &high_qc_views) {
            table.insert(high_qc_views, lowest);
        }
    }
    table
}

/// Tries every quorum. Liars hide what they know: a higher QC in their
/// timeouts would only narrow what a TC justifies.
fn lowest_tc(committee: &Committee, view: u8, high_qc_views: &[Option<u8>]) -> Option<u8> {
    let quorums = (0_usize..1 << committee.size())
        .filter(|set| set.count_ones() as usize == committee.quorum());
    let certificates = quorums.filter_map(|quorum| {
        let mut votes = Votes::default();
        let mut certificate = None;
        for signer in committee.indices() {
            let place = usize::from(signer.get());
            let high_qc_view = match high_qc_views.get(place) {
                _ if quorum & (1 << place) == 0 => continue,
                Some(honest) => (*honest)?,
                None => 0,
            };
            let timeout = timeout(committee, view, high_qc_view, signer);
            match votes.add_timeout(committee, View::new(view.into()), timeout) {
                Change::Certified(tc) => certificate = Some(tc),
                change => assert_eq!(change, Change::Counted, "each signs once"),
            }
        }
        certificate
    });
    certificates
        .map(|tc| {
            assert_eq!(Some(&tc.high_qc.vote.view), tc.high_qc_views.iter().max());
            u8::try_from(tc.high_qc.vote.view.get()).expect("few views")
        })
        .min()
}

fn timeout(
    committee: &Committee,
    view: u8,
    high_qc_view: u8,
    signer: ValidatorIndex,
) -> SignedTimeout {
    let high_qc_view = View::new(high_qc_view.into());
    let vote = Vote { era: ERA, view: high_qc_view, block: BlockId::ZERO };
    let signers = SignerSet::empty(committee.size());
    SignedTimeout {
        timeout: Timeout { era: ERA, view: View::new(view.into()), high_qc_view },
        signer,
        signature: signature(),
        high_qc: Qc { vote, signers, signatures: Vec::new() },
        entry_tc: None,
        missing: Vec::new(),
    }
}
