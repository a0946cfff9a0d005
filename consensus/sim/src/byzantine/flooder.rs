//! Sends heaps of messages about what does not exist: proposals out of turn,
//! votes and commit votes for unknown blocks in far views, timeouts of views long gone, hints,
//! acknowledgements and batches of far places, wrong reveals, and questions.
//!
//! It hopes to fill an honest node's memory, or to keep it busy asking for what
//! nobody has. Votes are kept only near the current view, one of a validator
//! per kind and view; of hints one per validator; lanes, orphans and questions
//! have bounds, and answers to one peer a shortest interval.

use super::{Letter, Lie, Parcel, Stage, changed};
use crate::keys::index;
use bizra_consensus::{Ask, Outgoing};
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::certificate::Certificate;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{BatchDigest, BlockId, ExecHash, Hash};
use bizra_types::message::{BatchAck, BatchHint, CommitVote, Timeout, Vote};
use bizra_types::numbers::{Epoch, Era, Height, LaneSeq, View};
use bizra_types::vrf::VrfInput;
use std::sync::Arc;

/// Messages to each other validator per tenth of a second.
const MESSAGES: usize = 40;
/// The only era there is.
const ERA: Era = Era::new(1);

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct Flooder;

impl Lie for Flooder {
    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..MESSAGES {
            let Some(letter) = nonsense(stage) else { continue };
            stage.lie();
            let to = stage.peers();
            stage.post(Parcel { to, letter, delay_micros: 0 });
        }
    }
}

fn nonsense(stage: &mut Stage<'_>) -> Option<Letter> {
    let view = far_view(stage);
    let block = BlockId(stage.noise());
    let digest = BatchDigest(stage.noise());
    let anyone = index(stage.rng.index(stage.size()));
    let committee = stage.committee();
    let author = committee.key(anyone).expect("a member");
    let own = committee.key(index(stage.me)).expect("a member");
    let lane_seq = far_seq(stage);
    let message = match stage.rng.below(13) {
        0 | 1 => Outgoing::Vote(Vote { era: ERA, view, block }),
        2 | 3 => {
            let exec = ExecHash(stage.noise());
            Outgoing::CommitVote(CommitVote { era: ERA, view, block, exec })
        }
        4 => old_timeout(stage)?,
        5 | 6 => {
            let view = stage.memory.view();
            Outgoing::BatchHint(BatchHint { view, author, lane_seq, digest })
        }
        7 => Outgoing::BatchAck(BatchAck { author, lane_seq, digest }),
        8 | 9 => batch(own, lane_seq, digest, stage),
        10 => {
            let known: Vec<_> = stage.memory.qcs.values().collect();
            let qc = *known.get(stage.rng.index(known.len().max(1)))?;
            Outgoing::Certificate(Certificate::Qc(qc.clone()))
        }
        11 => proposal(stage)?,
        _ if stage.rng.chance(500_000) => {
            let epoch = Epoch::new(stage.rng.below(8));
            let chain_id = stage.keyring.chain_id();
            Outgoing::Reveal(VrfInput { chain_id, epoch, seed: Hash::ZERO })
        }
        _ => {
            return Some(Letter::Ask(match stage.rng.below(3) {
                0 => Ask::Block { block, peer: anyone },
                1 => Ask::Chain { target: block, above: Height::ZERO, peer: anyone },
                _ => {
                    let after = LaneSeq::ZERO;
                    Ask::Batches { author, after, up_to: lane_seq, digest, peer: anyone }
                }
            }));
        }
    };
    Some(Letter::Own(message))
}

/// Near enough to be counted, or far, or the last there is.
fn far_view(stage: &mut Stage<'_>) -> View {
    let view = stage.memory.view().get();
    View::new(match stage.rng.below(4) {
        0 | 1 => view + stage.rng.below(20),
        2 => view + stage.rng.below(1 << 40),
        _ => u64::MAX - stage.rng.below(2),
    })
}

fn far_seq(stage: &mut Stage<'_>) -> LaneSeq {
    LaneSeq::new(match stage.rng.below(4) {
        0 | 1 => 1 + stage.rng.below(1_000),
        2 => 1 + stage.rng.below(1 << 40),
        _ => u64::MAX - stage.rng.below(2),
    })
}

/// What another proposed last, as its own.
fn proposal(stage: &mut Stage<'_>) -> Option<Outgoing> {
    let (_, last) = stage.memory.proposals.last_key_value()?;
    let last = last.first()?.clone();
    let timestamp_ms = stage.now.wall.saturating_add_ms(stage.rng.below(1 << 20));
    let block = changed(&last.block, |content| {
        content.proposer = index(stage.me);
        content.timestamp_ms = timestamp_ms;
    });
    Some(Outgoing::Proposal { block, tc: last.tc })
}

/// A timeout of the view after any certificate that it knows.
fn old_timeout(stage: &mut Stage<'_>) -> Option<Outgoing> {
    let known: Vec<_> = stage.memory.qcs.values().collect();
    let high_qc = Clone::clone(*known.get(stage.rng.index(known.len().max(1)))?);
    let high_qc_view = high_qc.vote.view;
    let timeout = Timeout { era: ERA, view: high_qc_view.next(), high_qc_view };
    let missing = vec![PublicKey(stage.noise()); 3];
    Some(Outgoing::Timeout { timeout, high_qc, entry_tc: None, missing })
}

fn batch(
    author: PublicKey,
    seq: LaneSeq,
    previous: BatchDigest,
    stage: &mut Stage<'_>,
) -> Outgoing {
    let record =
        BatchRecord { admitted_at_ms: stage.now.wall, bytes: Arc::from(stage.noise().as_slice()) };
    let records: Arc<[BatchRecord]> = Arc::new([record]);
    Outgoing::Batch { header: BatchHeader::new(ERA, author, seq, previous, &records), records }
}
