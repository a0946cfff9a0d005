//! More twins than f: two chains come about, and proofs of both name the twins.
//!
//! A scenario is played as always, but what rests on agreement is not judged:
//! an honest validator that meets what cannot be raises alarms or goes no
//! further. Then the network is whole for some time. After that each honest
//! validator and each other instance, honest or not, whose final chain differs
//! from its, hand over proofs of blocks that exclude each other, of one height and
//! of different ones. The honest answer as a node answers `GET /v1/certificates`
//! for the views between the two blocks: with the certificates that their votes
//! rest on, and with their blocks, final or not, and the QCs in them.
//! [`Client::compare`], which is what `bizra proof compare` asks,
//! must name at least f + 1 of the twins and nobody else.
//!
//! The client verifies real signatures, and those of the simulator are not. What
//! lies on an honest disk has passed the verifier, which knows who signed what;
//! so each signature there is given anew, by Ed25519, before it is handed over.

use super::{Checked, Stage};
use crate::keys::{index, real_signature};
use crate::oracles::{Breach, Invariant};
use crate::twins::Scenario;
use bizra_light_client::{Client, Comparison, FinalHead, Offence};
use bizra_types::block::{Block, Header};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::encoding::Encode as _;
use bizra_types::hash::ChainId;
use bizra_types::numbers::{ValidatorIndex, View};
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
    /// What came of each honest validator and each instance whose final chain
    /// differs from its.
    pub judgements: Vec<Judgement>,
    /// Messages that were delivered.
    pub events: u64,
}

/// What comes of comparing the proofs of two validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// At least f + 1 twins were named, and nobody else, whichever proofs were compared.
    Named {
        /// How many, by those proofs that named the fewest.
        liars: usize,
        /// The kinds of lies of which each alone would name f + 1, by some of the proofs.
        by: BTreeSet<Lie>,
        /// Whether it took certificates of other honest validators than the two.
        by_all: bool,
        /// Whether only headers show that some of the proofs contradict each other.
        by_headers: bool,
    },
    /// What shows who lied, or that the proofs contradict each other, lies on no
    /// honest disk, or was held back.
    CertificatesNeeded,
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
    /// Two timeouts that nobody gives both.
    TwoTimeouts,
}

/// What an honest validator keeps, its certificates signed anew.
struct Kept {
    /// On which its votes rest.
    certificates: Vec<Certificate>,
    /// Final blocks, ascending, with the QCs in them.
    finals: Vec<(Header, Qc)>,
    /// Other blocks.
    apart: Vec<(Header, Qc)>,
}

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
        let is_pair = |one: usize, other: usize| {
            (one < other || !honest.contains(&other)) && self.differ(one, other)
        };
        let pairs: Vec<_> = honest
            .iter()
            .flat_map(|one| (0..self.scenario.instances()).map(move |other| (*one, other)))
            .filter(|(one, other)| is_pair(*one, *other))
            .collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let client = Client::new(self.keyring.genesis().as_ref().clone());
        let kept = honest.iter().map(|it| (*it, self.kept(*it, shows_timeouts)));
        let kept: BTreeMap<usize, Kept> = kept.collect();
        pairs.into_iter().map(|pair| self.judge_pair(&client, pair, &kept)).collect()
    }

    fn judge_pair(
        &self,
        client: &Client,
        (one, other): (usize, usize),
        kept: &BTreeMap<usize, Kept>,
    ) -> Result<Judgement, Box<Breach>> {
        let mut worst: Option<Judgement> = None;
        for (left, right) in self.proofs(one, other) {
            let heights = (left.header.height, right.header.height);
            let judged = self.judge_proofs(client, (one, other), (&left, &right), kept);
            let judged = judged.map_err(|detail| {
                let detail = format!("{one} and {other} at heights {heights:?}: {detail}");
                Box::new(Breach { invariant: Invariant::Blame, detail })
            })?;
            worst = Some(match worst {
                Some(before) => before.and(judged),
                None => judged,
            });
        }
        Ok(worst.expect("a chain ends in a block that it can prove"))
    }

    fn judge_proofs(
        &self,
        client: &Client,
        (one, other): (usize, usize),
        (left, right): (&FinalHead, &FinalHead),
        kept: &BTreeMap<usize, Kept>,
    ) -> Result<Judgement, String> {
        let faulty_max = self.keyring.genesis().committee.faulty_max();
        let twins: Vec<_> = self.scenario.twins().iter().map(|twin| index(*twin)).collect();
        let by_headers =
            matches!(client.compare(left, right, &[], &[]), Ok(Comparison::HeadersNeeded { .. }));
        let views = [left, right].map(|head| head.header.view);
        let (from, to) = (views[0].min(views[1]), views[0].max(views[1]));
        for by_all in [false, true] {
            let (mut certificates, mut headers) = (Vec::new(), Vec::new());
            for (_, kept) in kept.iter().filter(|(it, _)| by_all || [one, other].contains(*it)) {
                kept.answer(from, to, &mut certificates, &mut headers);
            }
            // Most have been kept by several.
            certificates.sort_by_cached_key(Certificate::to_bytes);
            certificates.dedup();
            match client.compare(left, right, &certificates, &headers) {
                Ok(Comparison::Guilty { guilty, .. }) => {
                    if guilty.len() <= faulty_max || guilty.keys().any(|it| !twins.contains(it)) {
                        return Err(format!("{guilty:?} are named, {twins:?} lie"));
                    }
                    let by = sufficient(&guilty, faulty_max);
                    return Ok(Judgement::Named { liars: guilty.len(), by, by_all, by_headers });
                }
                Ok(Comparison::CertificatesNeeded { .. } | Comparison::HeadersNeeded { .. }) => {}
                unexpected => return Err(format!("{unexpected:?}")),
            }
        }
        Ok(Judgement::CertificatesNeeded)
    }

    /// Whether the final chains of two instances differ at some height.
    fn differ(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|it| self.instances[it].disk.stored().finals());
        one.zip(other).any(|((left, _), (right, _))| left.id() != right.id())
    }

    /// Proofs of two instances for blocks that exclude each other: of those from
    /// the height on at which their chains part, the first and the last that each
    /// can prove.
    fn proofs(&self, one: usize, other: usize) -> Vec<(FinalHead, FinalHead)> {
        let [left, right] = [one, other].map(|it| self.instances[it].disk.stored().finals());
        let common = left.zip(right).take_while(|((one, _), (other, _))| one.id() == other.id());
        let common = common.count();
        let ends = |number: usize| -> Vec<FinalHead> {
            let apart = self.instances[number].disk.stored().finals().skip(common);
            let mut provable = apart.filter_map(|(block, certificate)| match certificate {
                Some(Certificate::Commit(cert)) => Some((block, cert)),
                _ => None,
            });
            let first = provable.next();
            let ends = first.into_iter().chain(provable.last());
            ends.map(|(block, cert)| self.proof(number, block, cert)).collect()
        };
        let (left, right) = (ends(one), ends(other));
        let with_all =
            |left: &FinalHead| right.iter().map(|it| (left.clone(), it.clone())).collect();
        left.iter().flat_map(|it| -> Vec<_> { with_all(it) }).collect()
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

    fn kept(&self, number: usize, shows_timeouts: bool) -> Kept {
        let chain_id = self.keyring.chain_id();
        let stored = self.instances[number].disk.stored();
        let kept = stored.kept().filter_map(|certificate| match certificate {
            Certificate::Qc(qc) => Some(Certificate::Qc(resigned_qc(qc, &chain_id))),
            Certificate::Tc(tc) => {
                shows_timeouts.then(|| Certificate::Tc(resigned_tc(tc, &chain_id)))
            }
            other => unreachable!("no vote rests on {other:?}"),
        });
        let with_qc = |block: &Block| (*block.header(), resigned_qc(block.justify(), &chain_id));
        Kept {
            certificates: kept.collect(),
            finals: stored.finals().map(|(block, _)| with_qc(block)).collect(),
            apart: stored.blocks_apart().map(with_qc).collect(),
        }
    }
}

impl Kept {
    /// What a validator answers who is asked for the views from `from` to before
    /// `to`: `GET /v1/certificates` of a node.
    fn answer(
        &self,
        from: View,
        to: View,
        certificates: &mut Vec<Certificate>,
        headers: &mut Vec<Header>,
    ) {
        let is_asked = |view: View| from <= view && view < to;
        certificates.extend(self.certificates.iter().filter(|it| is_asked(view_of(it))).cloned());
        let before = self.finals.iter().rposition(|(header, _)| header.view < from);
        let finals = &self.finals[before.unwrap_or_default()..];
        for (header, qc) in finals.iter().take_while(|(_, qc)| qc.vote.view < to) {
            headers.push(*header);
            certificates.extend(is_asked(qc.vote.view).then(|| Certificate::Qc(qc.clone())));
        }
        let apart = self.apart.iter().filter(|(header, _)| (from..=to).contains(&header.view));
        for (header, qc) in apart {
            headers.push(*header);
            certificates.push(Certificate::Qc(qc.clone()));
        }
    }
}

impl Judgement {
    /// What came of both of two comparisons.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Named { liars, mut by, by_all, by_headers },
                Self::Named { liars: others, by: kinds, by_all: all, by_headers: headers },
            ) => {
                by.extend(kinds);
                let (by_all, by_headers) = (by_all || all, by_headers || headers);
                Self::Named { liars: liars.min(others), by, by_all, by_headers }
            }
            _ => Self::CertificatesNeeded,
        }
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
                Offence::TwoTimeouts { .. } => Lie::TwoTimeouts,
            };
            liars.entry(lie).or_default().insert(*liar);
        }
    }
    liars.into_iter().filter(|(_, liars)| liars.len() > faulty_max).map(|(lie, _)| lie).collect()
}

fn view_of(certificate: &Certificate) -> View {
    match certificate {
        Certificate::Qc(qc) => qc.vote.view,
        Certificate::Tc(tc) => tc.view,
        Certificate::Commit(cert) | Certificate::Filler(cert, _) => cert.vote.view,
    }
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
