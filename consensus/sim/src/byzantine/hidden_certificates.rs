//! Signs a timeout for each view that it commit-votes in, and names in every
//! timeout the oldest certificate that it can, and all authors as missing.
//!
//! This is the lie that forks: it helps a block to be final and helps a TC that
//! knows nothing of it. CommitCert(v) and TC(v) would need f + 1 honest
//! validators who signed both, which rules 2 and 4 forbid; and the TC of any
//! later view has an honest signer whose high QC is not older than v. Commit
//! vote and timeout together are evidence. A report of missing batches counts
//! when f + 1 make it, and then asks no more than f + 1 acknowledgements.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;
use bizra_types::certificate::Qc;
use bizra_types::crypto::PublicKey;
use bizra_types::message::Timeout;

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct HiddenCertificates;

impl Lie for HiddenCertificates {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match &parcel.letter {
            Letter::Own(Outgoing::CommitVote(vote)) => {
                let block = stage.memory.block(vote.block).cloned();
                let proposals = stage.memory.proposals.get(&vote.view).into_iter().flatten();
                let tc = proposals.filter_map(|proposal| proposal.tc.clone()).next();
                stage.post(parcel);
                let Some(block) = block else { return };
                let high_qc = block.justify().clone();
                let view = block.header().view;
                let timeout =
                    Timeout { era: high_qc.vote.era, view, high_qc_view: high_qc.vote.view };
                let is_direct = Some(high_qc.vote.view) == view.previous();
                let entry_tc = tc.filter(|_| !is_direct);
                let count = 1 + stage.rng.index(stage.size() - 1);
                let to = stage.some_peers(count);
                let missing = everyone(stage);
                stage.lie();
                stage.tell(to, Outgoing::Timeout { timeout, high_qc, entry_tc, missing });
            }
            Letter::Own(Outgoing::Timeout { timeout, entry_tc: Some(tc), .. }) => {
                let older = stage.memory.qcs.values().find(|qc| is_older(qc, timeout));
                let Some(high_qc) = older.cloned() else { return stage.post(parcel) };
                let timeout = Timeout { high_qc_view: high_qc.vote.view, ..*timeout };
                let (entry_tc, missing) = (Some(tc.clone()), everyone(stage));
                stage.lie();
                stage.post(parcel.with(Outgoing::Timeout { timeout, high_qc, entry_tc, missing }));
            }
            _ => stage.post(parcel),
        }
    }
}

fn is_older(qc: &Qc, timeout: &Timeout) -> bool {
    qc.vote.view < timeout.high_qc_view
}

fn everyone(stage: &Stage<'_>) -> Vec<PublicKey> {
    stage.committee().iter().map(|(_, validator)| validator.consensus_key).collect()
}
