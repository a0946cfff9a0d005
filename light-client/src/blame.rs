//! Who is guilty, when two proofs contradict each other.
//!
//! Both hold by themselves, so more than f validators of one era signed what
//! no honest one signs both of. Whoever commit-voted for two things in one
//! view is named by the two certificates alone. If the views differ, the lie
//! lies between them: somebody left a later view with a timeout that hid the
//! certificate which the earlier commit vote needs. Then the timeout
//! certificates of the views between are needed, which validators keep.

use crate::client::Client;
use crate::error::ProofError;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bizra_types::block::Header;
use bizra_types::certificate::{CommitCert, Tc};
use bizra_types::committee::Committee;
use bizra_types::crypto::SignatureMemo;
use bizra_types::execution::ExecFields;
use bizra_types::numbers::{Era, ValidatorIndex, View};
use bizra_types::proof::FinalHead;
use bizra_types::verify::quorum_signatures;

/// What two proofs that both hold say of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Nothing in them contradicts: they may be of one chain. Blocks of
    /// different heights can contradict each other without its showing here.
    NoContradiction,
    /// They contradict each other, and these validators of the era signed both
    /// sides: at least f + 1, and none of them honest.
    Guilty {
        /// The era.
        era: Era,
        /// Its committee.
        committee: Committee,
        /// Who lied, ascending.
        guilty: BTreeSet<ValidatorIndex>,
    },
    /// They contradict each other, and who lied shows in the timeout
    /// certificates of some view of the era from `from` to before `to`.
    TimeoutsNeeded {
        /// The era.
        era: Era,
        /// View of the earlier certificate.
        from: View,
        /// View of the later one.
        to: View,
    },
}

/// A final block of one era as one of the proofs shows it.
#[derive(Clone, Copy)]
struct Side<'a> {
    header: &'a Header,
    exec: &'a ExecFields,
    commit: &'a CommitCert,
    /// It ended the era.
    is_last: bool,
}

impl Client {
    /// Compares two proofs that blocks are final. `timeouts` are timeout
    /// certificates that somebody kept; whatever is not genuine among them
    /// counts for nothing.
    ///
    /// # Errors
    /// When one of the proofs does not hold by itself.
    pub fn compare(
        &self,
        one: &FinalHead,
        other: &FinalHead,
        timeouts: &[Tc],
    ) -> Result<Comparison, ProofError> {
        self.verify_head(one)?;
        self.verify_head(other)?;
        let mut committee = &*self.genesis().committee;
        let mut era = Era::new(1);
        for place in 0.. {
            let (left, right) = (side(one, place), side(other, place));
            let (Some(left), Some(right)) = (left, right) else { break };
            if are_contrary(left, right) {
                return Ok(self.judge(era, committee, left, right, timeouts));
            }
            match (one.eras.get(place), other.eras.get(place)) {
                (Some(change), Some(_)) => committee = &change.committee,
                _ => break,
            }
            era = era.next();
        }
        Ok(Comparison::NoContradiction)
    }

    fn judge(
        &self,
        era: Era,
        committee: &Committee,
        one: Side<'_>,
        other: Side<'_>,
        timeouts: &[Tc],
    ) -> Comparison {
        let (first, second) = if one.commit.vote.view <= other.commit.vote.view {
            (one.commit, other.commit)
        } else {
            (other.commit, one.commit)
        };
        let (from, to) = (first.vote.view, second.vote.view);
        let guilty = if from == to {
            first.signers.iter().filter(|signer| second.signers.contains(*signer)).collect()
        } else {
            timeouts
                .iter()
                .filter(|tc| tc.era == era && (from..to).contains(&tc.view))
                .filter(|tc| self.is_genuine(committee, tc))
                .flat_map(|tc| tc.signers.iter().zip(&tc.high_qc_views))
                .filter(|(signer, high)| first.signers.contains(*signer) && **high < from)
                .map(|(signer, _)| signer)
                .collect::<BTreeSet<_>>()
        };
        if guilty.len() < committee.one_honest() {
            return Comparison::TimeoutsNeeded { era, from, to };
        }
        Comparison::Guilty { era, committee: committee.clone(), guilty }
    }

    fn is_genuine(&self, committee: &Committee, tc: &Tc) -> bool {
        let chain_id = self.chain_id();
        let messages: Vec<_> =
            tc.timeouts().map(|timeout| timeout.signed_bytes(&chain_id)).collect();
        let messages = messages.iter().map(Vec::as_slice);
        let mut memo = SignatureMemo::new(0);
        quorum_signatures(&mut memo, committee, &tc.signers, &tc.signatures, messages).is_ok()
    }
}

/// What a proof says of its era at `place`: the block that ended it, or the
/// final block that it proves.
fn side(head: &FinalHead, place: usize) -> Option<Side<'_>> {
    match head.eras.get(place) {
        Some(change) => Some(Side {
            header: &change.header,
            exec: &change.exec,
            commit: &change.commit,
            is_last: true,
        }),
        None => (place == head.eras.len()).then_some(Side {
            header: &head.header,
            exec: &head.exec,
            commit: &head.commit,
            is_last: false,
        }),
    }
}

/// Whether two final blocks of one era cannot be of one chain.
fn are_contrary(one: Side<'_>, other: Side<'_>) -> bool {
    let (low, high) =
        if one.header.height <= other.header.height { (one, other) } else { (other, one) };
    if low.header.height == high.header.height {
        return (low.header.id(), low.exec.hash()) != (high.header.id(), high.exec.hash());
    }
    // Nothing follows the end of an era within it, and the log only grows.
    low.is_last
        || low.exec.log_size > high.exec.log_size
        || (low.exec.log_size == high.exec.log_size && low.exec.log_root != high.exec.log_root)
}
