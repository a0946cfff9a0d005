//! Who is guilty, when two proofs contradict each other.
//!
//! Both hold by themselves, so more than f validators of one era signed what no
//! honest one signs both of. Four such pairs show in certificates ([`Offence`]):
//!
//! - two votes in a view;
//! - two commit votes in a view;
//! - a commit vote of view v, and a timeout of v or a later view whose high QC is
//!   of a view before v;
//! - two timeouts of which the later view's names the lower high QC, or two of one
//!   view that name different ones.
//!
//! An honest validator signs none of them: it votes, commit-votes and times out
//! once in a view; it commit-votes in v only while it has left neither v nor a
//! later view by timeout, and with a QC of v or later in its record; and the QC
//! in its record only rises, and is what its timeouts name.
//!
//! **When they contradict each other.** Of blocks of one era and one height, both
//! final, it shows at once. Of different heights it shows when the lower one
//! ended the era, has no earlier time or view than the higher one, or a log
//! that does not grow into the other's. Else the headers between them tell: each
//! names its parent and that one's QC by hash, so they lead from the higher
//! block down to the lower one or past it, and nobody need be believed.
//!
//! **They are enough.** Let C₁ of view v₁ and C₂ of view v₂ ≥ v₁ be the commit
//! certificates of two blocks of which neither is an ancestor of the other.
//!
//! 1. v₁ = v₂: f + 1 signed both.
//! 2. Else let X be the lowest block with a view ≥ v₁ on the branch that C₂ made
//!    final. Its parent, and so its justification, is of a view before v₁.
//!    1. X is of view v₁: QC(v₁) of C₁'s block and that of X, which is another
//!       block, share f + 1 signers.
//!    2. X is of a later view w + 1: an honest validator voted for it because of
//!       a TC(w) that names no QC higher than X's justification. It shares f + 1
//!       signers with C₁, and each of them hid the certificate of v₁.
//!
//! So certificates of the views from v₁ to before v₂ are enough, whatever blocks
//! they are of.
//!
//! **Which forks name whom.** With n validators, f = ⌊(n − 1) / 3⌋ and t > f liars:
//!
//! - *One view (v₁ = v₂).* The proofs alone name f + 1, whatever t is.
//! - *t ≤ 2f.* The certificates that honest validators keep name f + 1. A quorum
//!   has at least 2f + 1 members, so one of the signers of each certificate is
//!   honest and has seen what its vote rested on: the QC under its commit vote
//!   in C₁, the TC beside X when it voted for it, which need not be the one by
//!   which it entered the view, and QC(X) in the block after X, for which it
//!   voted. It keeps them, and that block too if another became final. So it does
//!   not matter whether the proofs come from the honest, but all honest
//!   validators may have to be asked.
//! - *t > 2f.* Where v₁ < v₂ the liars can see to it that nobody can be named.
//!   Let S be 2f + 1 of them. They sign C₁, then X and C₂ by a TC(w) that they
//!   show to nobody. For each A of f + 1 members of S there is a history with
//!   the same certificates in which A alone lied: A hid the QC of v₁ in
//!   TC(w), whose other signers, the f outside S, did not have it, and the rest
//!   of S, which is in no timeout, was shown that TC and did as rule 1 says.
//!   Nobody is in every A, so whoever is named may be honest. Only if a final
//!   block carried the TC of the views before it, and a commit certificate its
//!   QC, would every fork name f + 1. As it is, those are named of whom TCs
//!   or second QCs came to light.
//!
//! What nobody asked for, and what only liars saw, need not come to light: then
//! the answer is [`Comparison::CertificatesNeeded`], and still nobody honest is
//! named.

use crate::client::Client;
use crate::error::ProofError;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bizra_types::block::Header;
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::crypto::{Signature, SignatureMemo};
use bizra_types::execution::ExecFields;
use bizra_types::hash::{BlockId, Hash};
use bizra_types::message::CommitVote;
use bizra_types::numbers::{Era, ValidatorIndex, View};
use bizra_types::proof::FinalHead;
use bizra_types::verify::quorum_signatures;
use core::fmt;

/// What two proofs that both hold say of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are of one chain: one's block is the other's, or an ancestor of it.
    NoContradiction,
    /// They are of different heights, and whether the lower block is an
    /// ancestor of the higher one shows in the headers of the era's final blocks
    /// above it, from the last one of a view before `from` to before `to`.
    HeadersNeeded {
        /// The era.
        era: Era,
        /// View of the lower block.
        from: View,
        /// View of the higher one.
        to: View,
    },
    /// They contradict each other, and these validators of the era lied: at
    /// least f + 1, and none of them honest.
    Guilty {
        /// The era.
        era: Era,
        /// Its committee.
        committee: Committee,
        /// Who lied, and all that the certificates prove of it.
        guilty: BTreeMap<ValidatorIndex, BTreeSet<Offence>>,
    },
    /// They contradict each other, and who lied shows in the QCs and TCs of
    /// the era's views from `from` to before `to`, of which some are missing.
    CertificatesNeeded {
        /// The era.
        era: Era,
        /// View of the earlier commit certificate.
        from: View,
        /// View of the later one.
        to: View,
    },
}

/// Two signatures of one validator that exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Votes for two blocks of one view.
    TwoVotes {
        /// The view.
        view: View,
    },
    /// Commit votes for two blocks, or two results, of one view.
    TwoCommitVotes {
        /// The view.
        view: View,
    },
    /// A commit vote, and a timeout that hid the certificate it rests on.
    HiddenCertificate {
        /// View of the commit vote.
        committed: View,
        /// View of the timeout: that one or a later one.
        left: View,
    },
    /// Two timeouts that name QCs which nobody had in that order.
    TwoTimeouts {
        /// View of the one.
        left: View,
        /// View of the other, which names a lower QC; or the same view, of
        /// which they name different ones.
        later: View,
    },
}

/// What the validators of an era signed, as certificates show it.
#[derive(Default)]
struct Signed {
    votes: BTreeMap<(ValidatorIndex, View), BTreeSet<BlockId>>,
    commit_votes: BTreeMap<(ValidatorIndex, View), BTreeSet<CommitVote>>,
    /// Views that were left, each with the view of the high QC.
    timeouts: BTreeMap<ValidatorIndex, BTreeSet<(View, View)>>,
}

/// A final block of one era as one of the proofs shows it.
#[derive(Clone, Copy)]
struct Side<'a> {
    header: &'a Header,
    exec: &'a ExecFields,
    commit: &'a CommitCert,
}

/// What leads from a block down to those before it, by hash.
struct Known<'a> {
    headers: BTreeMap<BlockId, &'a Header>,
    /// Views of QCs by their identity.
    qc_views: BTreeMap<Hash, View>,
}

/// What two final blocks of one era are to each other.
enum Relation {
    Contrary,
    /// The one is the other or an ancestor of it.
    OneChain,
    Unknown,
}

impl Client {
    /// Compares two proofs that blocks are final. `certificates` and `headers`
    /// are what somebody kept, in any order; whatever is not genuine among them
    /// counts for nothing.
    ///
    /// # Errors
    /// When one of the proofs does not hold by itself.
    pub fn compare(
        &self,
        one: &FinalHead,
        other: &FinalHead,
        certificates: &[Certificate],
        headers: &[Header],
    ) -> Result<Comparison, ProofError> {
        self.verify_head(one)?;
        self.verify_head(other)?;
        let known = Known::of(certificates, headers);
        let mut committee = &*self.genesis().committee;
        let mut era = Era::new(1);
        for place in 0.. {
            let (left, right) = (side(one, place), side(other, place));
            let (low, high) = if left.header.height <= right.header.height {
                (left, right)
            } else {
                (right, left)
            };
            match known.relation(low, high) {
                Relation::Contrary => {
                    let commits = [left.commit, right.commit];
                    return Ok(self.judge(era, committee, commits, certificates));
                }
                Relation::OneChain => {}
                Relation::Unknown => {
                    let (from, to) = (low.header.view, high.header.view);
                    return Ok(Comparison::HeadersNeeded { era, from, to });
                }
            }
            match (one.eras.get(place), other.eras.get(place)) {
                (Some(change), Some(_)) => committee = &change.committee,
                _ => break,
            }
            era = era.next();
        }
        Ok(Comparison::NoContradiction)
    }

    /// `commits` are verified.
    fn judge(
        &self,
        era: Era,
        committee: &Committee,
        commits: [&CommitCert; 2],
        certificates: &[Certificate],
    ) -> Comparison {
        let mut signed = Signed::default();
        for commit in commits {
            signed.add_commit(commit);
        }
        for certificate in certificates.iter().filter(|it| era_of(it) == era) {
            self.examine(&mut signed, committee, certificate);
        }
        let guilty = signed.offences();
        if guilty.len() < committee.one_honest() {
            let [one, other] = commits.map(|commit| commit.vote.view);
            return Comparison::CertificatesNeeded {
                era,
                from: one.min(other),
                to: one.max(other),
            };
        }
        Comparison::Guilty { era, committee: committee.clone(), guilty }
    }

    /// Takes in what a certificate shows, as far as it is genuine.
    fn examine(&self, signed: &mut Signed, committee: &Committee, certificate: &Certificate) {
        let chain_id = self.chain_id();
        let is_genuine = |signers: &SignerSet, signatures: &[Signature], message: &[u8]| {
            are_good(committee, signers, signatures, core::iter::repeat(message))
        };
        let examine_qc = |signed: &mut Signed, qc: &Qc| {
            if is_genuine(&qc.signers, &qc.signatures, &qc.vote.signed_bytes(&chain_id)) {
                signed.add_qc(qc);
            }
        };
        match certificate {
            Certificate::Qc(qc) => examine_qc(signed, qc),
            Certificate::Tc(tc) => {
                let messages: Vec<_> =
                    tc.timeouts().map(|timeout| timeout.signed_bytes(&chain_id)).collect();
                let messages = messages.iter().map(Vec::as_slice);
                if are_good(committee, &tc.signers, &tc.signatures, messages) {
                    signed.add_tc(tc);
                }
                if tc.high_qc.vote.era == tc.era {
                    examine_qc(signed, &tc.high_qc);
                }
            }
            Certificate::Commit(cert) | Certificate::Filler(cert, _) => {
                if is_genuine(&cert.signers, &cert.signatures, &cert.vote.signed_bytes(&chain_id)) {
                    signed.add_commit(cert);
                }
            }
        }
    }
}

impl Signed {
    fn add_qc(&mut self, qc: &Qc) {
        for signer in qc.signers.iter() {
            self.votes.entry((signer, qc.vote.view)).or_default().insert(qc.vote.block);
        }
    }

    fn add_commit(&mut self, cert: &CommitCert) {
        for signer in cert.signers.iter() {
            self.commit_votes.entry((signer, cert.vote.view)).or_default().insert(cert.vote);
        }
    }

    fn add_tc(&mut self, tc: &Tc) {
        for (signer, high) in tc.signers.iter().zip(&tc.high_qc_views) {
            self.timeouts.entry(signer).or_default().insert((tc.view, *high));
        }
    }

    /// Everybody's signatures that exclude each other.
    fn offences(&self) -> BTreeMap<ValidatorIndex, BTreeSet<Offence>> {
        let mut guilty: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let mut accuse = |signer, offence| {
            guilty.entry(signer).or_default().insert(offence);
        };
        for ((signer, view), votes) in &self.votes {
            if votes.len() > 1 {
                accuse(*signer, Offence::TwoVotes { view: *view });
            }
        }
        for (signer, timeouts) in &self.timeouts {
            let mut highest: Option<(View, View)> = None;
            for (later, high) in timeouts {
                if let Some((left, known)) = highest
                    && (*later == left || *high < known)
                {
                    accuse(*signer, Offence::TwoTimeouts { left, later: *later });
                }
                if highest.is_none_or(|(_, known)| *high >= known) {
                    highest = Some((*later, *high));
                }
            }
        }
        for ((signer, committed), votes) in &self.commit_votes {
            if votes.len() > 1 {
                accuse(*signer, Offence::TwoCommitVotes { view: *committed });
            }
            for (left, high) in self.timeouts.get(signer).into_iter().flatten() {
                if high < committed && committed <= left {
                    let (committed, left) = (*committed, *left);
                    accuse(*signer, Offence::HiddenCertificate { committed, left });
                }
            }
        }
        guilty
    }
}

/// For people, after the name of whoever did it.
impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoVotes { view } => write!(f, "voted for two blocks in view {view}"),
            Self::TwoCommitVotes { view } => write!(f, "gave two commit votes in view {view}"),
            Self::HiddenCertificate { committed, left } => write!(
                f,
                "gave a commit vote in view {committed} and hid its certificate leaving view {left}"
            ),
            Self::TwoTimeouts { left, later } if left == later => {
                write!(f, "left view {left} with two different certificates")
            }
            Self::TwoTimeouts { left, later } => write!(
                f,
                "left view {later} with a lower certificate than it had leaving view {left}"
            ),
        }
    }
}

const fn era_of(certificate: &Certificate) -> Era {
    match certificate {
        Certificate::Qc(qc) => qc.vote.era,
        Certificate::Tc(tc) => tc.era,
        Certificate::Commit(cert) | Certificate::Filler(cert, _) => cert.vote.era,
    }
}

fn are_good<'a>(
    committee: &Committee,
    signers: &SignerSet,
    signatures: &[Signature],
    messages: impl Iterator<Item = &'a [u8]>,
) -> bool {
    // Forgetful: nothing is verified twice here.
    let mut memo = SignatureMemo::new(0);
    quorum_signatures(&mut memo, committee, signers, signatures, messages).is_ok()
}

/// What a proof says of its era at `place`: the block that ended it, or the
/// final block that it proves.
fn side(head: &FinalHead, place: usize) -> Side<'_> {
    match head.eras.get(place) {
        Some(change) => Side { header: &change.header, exec: &change.exec, commit: &change.commit },
        None => Side { header: &head.header, exec: &head.exec, commit: &head.commit },
    }
}

impl<'a> Known<'a> {
    fn of(certificates: &[Certificate], headers: &'a [Header]) -> Self {
        let qcs = certificates.iter().filter_map(|certificate| match certificate {
            Certificate::Qc(qc) => Some(qc),
            Certificate::Tc(tc) => Some(&tc.high_qc),
            Certificate::Commit(_) | Certificate::Filler(..) => None,
        });
        Self {
            headers: headers.iter().map(|header| (header.id(), header)).collect(),
            qc_views: qcs.map(|qc| (qc.identity(), qc.vote.view)).collect(),
        }
    }

    /// What two final blocks of one era are to each other, the second being no
    /// lower than the first.
    fn relation(&self, low: Side<'_>, high: Side<'_>) -> Relation {
        let id = low.header.id();
        if low.header.height == high.header.height {
            let is_same = (id, low.exec.hash()) == (high.header.id(), high.exec.hash());
            return if is_same { Relation::OneChain } else { Relation::Contrary };
        }
        // Nothing follows the end of an era within it; times and views ascend, and
        // the log only grows.
        if low.exec.next_committee != Hash::ZERO
            || low.header.timestamp_ms >= high.header.timestamp_ms
            || low.header.view >= high.header.view
            || low.exec.log_size > high.exec.log_size
            || (low.exec.log_size == high.exec.log_size && low.exec.log_root != high.exec.log_root)
        {
            return Relation::Contrary;
        }
        let mut above = high.header;
        while above.parent != id {
            let parent = self.headers.get(&above.parent);
            let qc_view = self.qc_views.get(&above.justify);
            let view = parent.map(|parent| &parent.view).or(qc_view);
            // Heights and views descend: the low one will not be met any more.
            if above.height <= low.header.height.next()
                || view.is_some_and(|view| *view <= low.header.view)
            {
                return Relation::Contrary;
            }
            match parent {
                Some(parent) => above = parent,
                None => return Relation::Unknown,
            }
        }
        Relation::OneChain
    }
}
