//! Counting: votes, commit votes and timeouts become certificates, and two
//! that exclude each other become evidence.
//!
//! Of each validator at most one message per kind and view is kept, and only
//! for views near the current one, so nobody can fill the memory.

use crate::effects::Evidence;
use bizra_types::certificate::{CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::crypto::Signature;
use bizra_types::message::{SignedCommitVote, SignedTimeout, SignedVote, Timeout};
use bizra_types::numbers::{ValidatorIndex, View};
use bizra_types::planted::{Bug, is_planted};
use std::collections::BTreeMap;

/// Views ahead of the current one for which votes are kept.
const VIEWS_AHEAD_MAX: u64 = 16;
/// Views behind the current one for which they are kept: for late
/// certificates, for evidence, and to recognise a repeated commit vote.
const VIEWS_BEHIND_MAX: u64 = 32;

type Book<T> = BTreeMap<View, BTreeMap<ValidatorIndex, T>>;

/// Everything counted in one era.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    votes: Book<SignedVote>,
    commit_votes: Book<SignedCommitVote>,
    timeouts: Book<SignedTimeout>,
    /// How many a quorum may lack: none, where no bug is planted.
    lacking: usize,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change<C> {
    /// Its view is too far away, or it was counted before.
    Nothing,
    /// It was counted.
    Counted,
    /// It was counted and completes a certificate.
    Certified(C),
    /// It excludes an earlier one of the same signer, which stays.
    Equivocated(Box<Evidence>),
}

impl Votes {
    /// Forgets what is too far behind `view`.
    pub(crate) fn enter(&mut self, view: View) {
        let lowest = View::new(view.get().saturating_sub(VIEWS_BEHIND_MAX));
        self.votes = self.votes.split_off(&lowest);
        self.commit_votes = self.commit_votes.split_off(&lowest);
        self.timeouts = self.timeouts.split_off(&lowest);
        self.lacking = 0;
    }

    /// What [`Bug::QuorumOfLivePeers`] does.
    pub(crate) const fn count_over(&mut self, committee: &Committee, live: usize) {
        self.lacking = committee.quorum().saturating_sub(live * 2 / 3 + 1);
    }

    pub(crate) fn add_vote(
        &mut self,
        committee: &Committee,
        current: View,
        vote: SignedVote,
    ) -> Change<Qc> {
        if !is_near(current, vote.vote.view) {
            return Change::Nothing;
        }
        let votes = self.votes.entry(vote.vote.view).or_default();
        match votes.get(&vote.signer) {
            Some(first) if first.vote == vote.vote && is_planted(Bug::DuplicateVotesCounted) => {
                self.lacking += 1;
                None
            }
            Some(first) if first.vote == vote.vote => return Change::Nothing,
            Some(_) if is_planted(Bug::EvidenceDropsFirst) => votes.insert(vote.signer, vote),
            Some(first) => return Change::Equivocated(Box::new(Evidence::Votes(*first, vote))),
            None => votes.insert(vote.signer, vote),
        };
        let equal = votes.values().filter(|other| other.vote == vote.vote);
        let equal = equal.map(|other| (other.signer, other.signature));
        match quorum_of(committee, self.lacking, equal) {
            Some((signers, signatures)) => {
                Change::Certified(Qc { vote: vote.vote, signers, signatures })
            }
            None => Change::Counted,
        }
    }

    /// Takes in the votes that a QC is made of, and returns evidence against those
    /// of its signers whose vote here is another: who votes twice does not show
    /// both votes to one validator.
    pub(crate) fn add_qc(&mut self, current: View, qc: &Qc) -> Vec<Evidence> {
        if !is_near(current, qc.vote.view) {
            return Vec::new();
        }
        let votes = self.votes.entry(qc.vote.view).or_default();
        let signed = qc.signers.iter().zip(&qc.signatures);
        signed
            .filter_map(|(signer, signature)| {
                let vote = SignedVote { vote: qc.vote, signer, signature: *signature };
                let first = votes.entry(signer).or_insert(vote);
                (first.vote != vote.vote).then_some(Evidence::Votes(*first, vote))
            })
            .collect()
    }

    pub(crate) fn add_commit_vote(
        &mut self,
        committee: &Committee,
        current: View,
        vote: SignedCommitVote,
    ) -> Change<CommitCert> {
        if !is_near(current, vote.vote.view) {
            return Change::Nothing;
        }
        if let Some(evidence) = self.hidden_qc(&vote) {
            return Change::Equivocated(Box::new(evidence));
        }
        let votes = self.commit_votes.entry(vote.vote.view).or_default();
        match votes.get(&vote.signer) {
            Some(first) if first.vote == vote.vote => return Change::Nothing,
            Some(first) => {
                return Change::Equivocated(Box::new(Evidence::CommitVotes(*first, vote)));
            }
            None => votes.insert(vote.signer, vote),
        };
        let equal = votes.values().filter(|other| other.vote == vote.vote);
        let equal = equal.map(|other| (other.signer, other.signature));
        match quorum_of(committee, self.lacking, equal) {
            Some((signers, signatures)) => {
                Change::Certified(CommitCert { vote: vote.vote, signers, signatures })
            }
            None => Change::Counted,
        }
    }

    pub(crate) fn add_timeout(
        &mut self,
        committee: &Committee,
        current: View,
        timeout: SignedTimeout,
    ) -> Change<Tc> {
        let view = timeout.timeout.view;
        if !is_near(current, view) {
            return Change::Nothing;
        }
        let hidden_from = timeout.timeout.high_qc_view.next();
        let hidden = self
            .commit_votes
            .range(hidden_from..=view)
            .find_map(|(_, votes)| votes.get(&timeout.signer));
        if let Some(vote) = hidden {
            let evidence = Evidence::HiddenQc(*vote, timeout);
            return Change::Equivocated(Box::new(evidence));
        }
        let timeouts = self.timeouts.entry(view).or_default();
        match timeouts.get(&timeout.signer) {
            Some(first) if first.timeout == timeout.timeout => return Change::Nothing,
            Some(first) => {
                let evidence = Evidence::Timeouts(first.clone(), timeout);
                return Change::Equivocated(Box::new(evidence));
            }
            None => timeouts.insert(timeout.signer, timeout),
        };
        if timeouts.len() == needed(committee, self.lacking) {
            Change::Certified(timeout_certificate(committee, timeouts))
        } else {
            Change::Counted
        }
    }

    /// Evidence that follows from a commit certificate: against its signers, by
    /// what else they signed, and against whoever gives its block another exec.
    pub(crate) fn against(&self, cert: &CommitCert) -> Vec<Evidence> {
        let votes = self.commit_votes.get(&cert.vote.view).into_iter().flat_map(BTreeMap::values);
        let by_votes = votes.filter_map(|vote| contradiction(vote, cert));
        let signed = cert_votes(cert);
        by_votes.chain(signed.filter_map(|vote| self.hidden_qc(&vote))).collect()
    }

    /// The lie that forks: a commit vote, and a timeout that hides its QC.
    fn hidden_qc(&self, vote: &SignedCommitVote) -> Option<Evidence> {
        let timeout = self.timeouts.range(vote.vote.view..).find_map(|(_, timeouts)| {
            timeouts
                .get(&vote.signer)
                .filter(|timeout| timeout.timeout.high_qc_view < vote.vote.view)
        })?;
        Some(Evidence::HiddenQc(*vote, timeout.clone()))
    }

    /// Who voted in `view`.
    pub(crate) fn voters(&self, view: View) -> Vec<ValidatorIndex> {
        self.votes.get(&view).map(|votes| votes.keys().copied().collect()).unwrap_or_default()
    }

    /// The timeouts of `view`.
    pub(crate) fn timeouts(&self, view: View) -> impl Iterator<Item = &SignedTimeout> {
        self.timeouts.get(&view).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether this very commit vote was counted before.
    pub(crate) fn is_known(&self, vote: &SignedCommitVote) -> bool {
        self.commit_votes
            .get(&vote.vote.view)
            .and_then(|votes| votes.get(&vote.signer))
            .is_some_and(|known| known.vote == vote.vote)
    }
}

/// What a commit vote and a certificate of its view prove against the voter: that
/// it gives the block another exec, or that it signed both.
pub(crate) fn contradiction(vote: &SignedCommitVote, cert: &CommitCert) -> Option<Evidence> {
    if vote.vote.view != cert.vote.view || vote.vote == cert.vote {
        return None;
    }
    if vote.vote.block == cert.vote.block {
        return Some(Evidence::OtherExec(*vote, cert.clone()));
    }
    let other = cert_votes(cert).find(|other| other.signer == vote.signer)?;
    Some(Evidence::CommitVotes(other, *vote))
}

/// What a timeout and a commit certificate prove against a signer of both: that
/// the timeout hides the QC on which its commit vote rests.
pub(crate) fn hides(timeout: &SignedTimeout, cert: &CommitCert) -> Option<Evidence> {
    let Timeout { view, high_qc_view, .. } = timeout.timeout;
    if cert.vote.view <= high_qc_view || cert.vote.view > view {
        return None;
    }
    let vote = cert_votes(cert).find(|vote| vote.signer == timeout.signer)?;
    Some(Evidence::HiddenQc(vote, timeout.clone()))
}

/// The commit votes that a certificate is made of.
fn cert_votes(cert: &CommitCert) -> impl Iterator<Item = SignedCommitVote> {
    cert.signers.iter().zip(&cert.signatures).map(|(signer, signature)| SignedCommitVote {
        vote: cert.vote,
        signer,
        signature: *signature,
    })
}

fn is_near(current: View, view: View) -> bool {
    (view.get() <= current.get().saturating_add(VIEWS_AHEAD_MAX)
        || is_planted(Bug::UnboundedFutureViews))
        && view.get() >= current.get().saturating_sub(VIEWS_BEHIND_MAX)
}

/// Signers and signatures, at the moment when exactly a quorum of the
/// registered committee is reached: certificates are made once, and small.
fn quorum_of(
    committee: &Committee,
    lacking: usize,
    votes: impl Iterator<Item = (ValidatorIndex, Signature)>,
) -> Option<(SignerSet, Vec<Signature>)> {
    let (signers, signatures): (Vec<_>, Vec<_>) = votes.unzip();
    (signers.len() == needed(committee, lacking))
        .then(|| (SignerSet::of(committee.size(), signers), signatures))
}

fn needed(committee: &Committee, lacking: usize) -> usize {
    committee.quorum().saturating_sub(lacking).max(1)
}

fn timeout_certificate(
    committee: &Committee,
    timeouts: &BTreeMap<ValidatorIndex, SignedTimeout>,
) -> Tc {
    let highest = timeouts
        .values()
        .max_by_key(|timeout| timeout.timeout.high_qc_view)
        .expect("a quorum is never empty");
    Tc {
        era: highest.timeout.era,
        view: highest.timeout.view,
        signers: SignerSet::of(committee.size(), timeouts.keys().copied()),
        high_qc_views: timeouts.values().map(|timeout| timeout.timeout.high_qc_view).collect(),
        signatures: timeouts.values().map(|timeout| timeout.signature).collect(),
        high_qc: highest.high_qc.clone(),
    }
}

#[cfg(test)]
mod tests;
