//! More twins than f: two chains come about, and proofs of both name the twins.
//!
//! A scenario is played as always, but what rests on agreement is not judged:
//! an honest validator that meets what cannot be raises alarms or goes no
//! further. Then the network is whole for some time. After that each two honest
//! validators whose final chains differ hand over the proofs of their blocks at
//! one height, and the certificates that a validator keeps: TCs from its
//! records, and the QCs in its blocks and its record. [`Client::compare`] must name at
//! least f + 1 of the twins and nobody else.
//!
//! The client verifies real signatures, and those of the simulator are not. What
//! lies on an honest disk has passed the verifier, which knows who signed what;
//! so each signature there is given anew, by Ed25519, before it is handed over.

use super::{Checked, Stage};
use crate::keys::{index, real_signature};
use crate::oracles::{Breach, Invariant};
use crate::twins::Scenario;
use bizra_light_client::{Client, Comparison, FinalHead, Offence};
use bizra_types::block::Block;
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::encoding::Encode as _;
use bizra_types::hash::ChainId;
use bizra_types::numbers::ValidatorIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What needs agreement, or that at most f lie.
const MUTED: [Invariant; 6] = [
    Invariant::Agreement,
    Invariant::NoAlarm,
    Invariant::LiarsAreNamed,
    // Whoever repeats a vote may meanwhile have dropped the block, because one
    // of an earlier view, on another branch, became final.
    Invariant::PersistBeforeSend,
    Invariant::Liveness,
    Invariant::Bounded,
];
/// Repetitions for which the network is whole: chains that differ grow.
const WHOLE_ROUNDS: usize = 10;

/// What came of a scenario with liars beyond f.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The rule that was broken, if one was.
    pub breach: Option<Breach>,
    /// What came of each two honest validators whose final chains differ.
    pub judgements: Vec<Judgement>,
    /// Messages that were delivered.
    pub events: u64,
}

/// What comes of comparing the proofs of two validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// At least f + 1 twins were named, and nobody else.
    Named {
        /// How many.
        liars: usize,
        /// The kinds of lies of which each alone would name f + 1.
        by: BTreeSet<Lie>,
        /// Whether it took certificates of other honest validators than the two.
        by_all: bool,
    },
    /// What shows who lied lies on no honest disk, or was held back.
    CertificatesNeeded,
    /// There is no height that both can prove and at which they differ.
    NoProofs,
}

/// Kinds of [`Offence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Two commit votes in a view.
    CommitVotes,
    /// Two votes in a view.
    Votes,
    /// A timeout that hid a certificate.
    Timeouts,
}

/// Certificates by what they were before they were signed anew.
type Certificates = BTreeMap<Vec<u8>, Certificate>;

/// Plays a scenario and judges those whose final chains differ.
/// `shows_timeouts` hands the client TCs too.
#[must_use]
pub fn blame(scenario: &Scenario, shows_timeouts: bool) -> Trial {
    let mut stage = Stage::new(scenario, false, &MUTED);
    let result = catch_unwind(AssertUnwindSafe(|| {
        stage.play_views()?;
        stage.go_on()
    }));
    let result = stage.oracles.on_end(result);
    let (breach, judgements) = match result.and_then(|()| stage.judge(shows_timeouts)) {
        Ok(judgements) => (None, judgements),
        Err(breach) => (Some(*breach), Vec::new()),
    };
    Trial { breach, judgements, events: stage.trace.events() }
}

impl Stage<'_> {
    /// The network is whole, for all that it helps.
    fn go_on(&mut self) -> Checked {
        self.view = None;
        self.flights.extend(std::mem::take(&mut self.waiting));
        let honest = self.scenario.honest();
        for round in 0..WHOLE_ROUNDS {
            self.deliver()?;
            self.admit(honest[round % honest.len()])?;
            self.repeat()?;
        }
        self.deliver()
    }

    fn judge(&self, shows_timeouts: bool) -> Result<Vec<Judgement>, Box<Breach>> {
        let honest = self.scenario.honest();
        let pairs: Vec<_> = honest
            .iter()
            .flat_map(|one| honest.iter().map(move |other| (*one, *other)))
            .filter(|(one, other)| one < other && self.differ(*one, *other))
            .collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let client = Client::new(self.keyring.genesis().as_ref().clone());
        let shown = honest.iter().map(|it| (*it, self.certificates(*it, shows_timeouts)));
        let shown: BTreeMap<usize, Certificates> = shown.collect();
        pairs.into_iter().map(|pair| self.judge_pair(&client, pair, &shown)).collect()
    }

    fn judge_pair(
        &self,
        client: &Client,
        (one, other): (usize, usize),
        shown: &BTreeMap<usize, Certificates>,
    ) -> Result<Judgement, Box<Breach>> {
        let breach = |detail: String| {
            let breach = Breach { invariant: Invariant::Blame, detail };
            Box::new(Breach { detail: format!("{one} and {other}: {}", breach.detail), ..breach })
        };
        let Some((left, right)) = self.proofs(one, other) else {
            return Ok(Judgement::NoProofs);
        };
        let faulty_max = self.keyring.genesis().committee.faulty_max();
        let twins: Vec<_> = self.scenario.twins().iter().map(|twin| index(*twin)).collect();
        for by_all in [false, true] {
            let from = shown.iter().filter(|(it, _)| by_all || [one, other].contains(*it));
            let certificates: Certificates =
                from.flat_map(|(_, certificates)| certificates.clone()).collect();
            let certificates: Vec<_> = certificates.into_values().collect();
            match client.compare(&left, &right, &certificates) {
                Ok(Comparison::Guilty { guilty, .. }) => {
                    if guilty.len() <= faulty_max || guilty.keys().any(|it| !twins.contains(it)) {
                        return Err(breach(format!("{guilty:?} are named, {twins:?} lie")));
                    }
                    let by = sufficient(&guilty, faulty_max);
                    return Ok(Judgement::Named { liars: guilty.len(), by, by_all });
                }
                Ok(Comparison::CertificatesNeeded { .. }) => {}
                unexpected => return Err(breach(format!("{unexpected:?}"))),
            }
        }
        Ok(Judgement::CertificatesNeeded)
    }

    /// Whether the final chains of two instances differ at some height.
    fn differ(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|it| self.instances[it].disk.stored().finals());
        one.zip(other).any(|((left, _), (right, _))| left.id() != right.id())
    }

    /// The proofs of two instances for the first height that both can prove and
    /// at which they differ.
    fn proofs(&self, one: usize, other: usize) -> Option<(FinalHead, FinalHead)> {
        let [left, right] = [one, other].map(|it| self.instances[it].disk.stored().finals());
        left.zip(right).find_map(|((left, of_left), (right, of_right))| {
            let (Some(Certificate::Commit(of_left)), Some(Certificate::Commit(of_right))) =
                (of_left, of_right)
            else {
                return None;
            };
            (left.id() != right.id())
                .then(|| (self.proof(one, left, of_left), self.proof(other, right, of_right)))
        })
    }

    fn proof(&self, number: usize, block: &Block, cert: &CommitCert) -> FinalHead {
        let exec = self.instances[number].execs[&block.id()];
        let committee = &self.keyring.genesis().committee;
        // A proof carries exactly a quorum of signatures.
        let signers = SignerSet::of(committee.size(), cert.signers.iter().take(committee.quorum()));
        let message = cert.vote.signed_bytes(&self.keyring.chain_id());
        let signatures = signers.iter().map(|signer| sign(signer, &message)).collect();
        let commit = CommitCert { vote: cert.vote, signers, signatures };
        FinalHead { exec, header: *block.header(), filler: None, commit, eras: Vec::new() }
    }

    /// The certificates that an instance keeps, signed anew.
    fn certificates(&self, number: usize, shows_timeouts: bool) -> Certificates {
        let chain_id = self.keyring.chain_id();
        let stored = self.instances[number].disk.stored();
        let tcs = stored.timeouts().filter(|_| shows_timeouts).map(|tc| {
            let signed = Certificate::Tc(resigned_tc(tc, &chain_id));
            (Certificate::Tc(tc.clone()).to_bytes(), signed)
        });
        let qcs = stored.qcs().map(|qc| {
            let signed = Certificate::Qc(resigned_qc(qc, &chain_id));
            (Certificate::Qc(qc.clone()).to_bytes(), signed)
        });
        tcs.chain(qcs).collect()
    }
}

/// The kinds of lies by which alone more than f are named.
fn sufficient(
    guilty: &BTreeMap<ValidatorIndex, BTreeSet<Offence>>,
    faulty_max: usize,
) -> BTreeSet<Lie> {
    let mut liars: BTreeMap<Lie, BTreeSet<ValidatorIndex>> = BTreeMap::new();
    for (liar, offences) in guilty {
        for offence in offences {
            let lie = match offence {
                Offence::TwoCommitVotes { .. } => Lie::CommitVotes,
                Offence::TwoVotes { .. } => Lie::Votes,
                Offence::HiddenCertificate { .. } => Lie::Timeouts,
            };
            liars.entry(lie).or_default().insert(*liar);
        }
    }
    liars.into_iter().filter(|(_, liars)| liars.len() > faulty_max).map(|(lie, _)| lie).collect()
}

fn resigned_qc(qc: &Qc, chain_id: &ChainId) -> Qc {
    let message = qc.vote.signed_bytes(chain_id);
    let signatures = qc.signers.iter().map(|signer| sign(signer, &message)).collect();
    Qc { signatures, ..qc.clone() }
}

fn resigned_tc(tc: &Tc, chain_id: &ChainId) -> Tc {
    let signatures = tc
        .signers
        .iter()
        .zip(tc.timeouts())
        .map(|(signer, timeout)| sign(signer, &timeout.signed_bytes(chain_id)))
        .collect();
    Tc { signatures, high_qc: resigned_qc(&tc.high_qc, chain_id), ..tc.clone() }
}

fn sign(signer: ValidatorIndex, message: &[u8]) -> Signature {
    real_signature(usize::from(signer.get()), message)
}
