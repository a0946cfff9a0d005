//! Governance in the draft of a block: epochs at its beginning, proposals, ballots and evidence
//! among its records, decisions at its end.

use super::actions::Failure;
use super::{BlockInput, Draft};
use crate::codes::{Code, Rejection};
use crate::envelope::Envelope;
use crate::evidence::{EvidenceFile, FiledEvidence, check_broken, filed_before, not_a_validator};
use crate::governance::{
    Ballots, Change, Choice, ClosedProposal, Ending, GovernanceAction, OpenProposal, POLICIES_MAX,
    Procedure, Proposal, ReleaseAttest, Tally, Thresholds, changed_committee, check_activation,
    revoked,
};
use crate::identity::KeyEntry;
use crate::log::StorageError;
use crate::outcomes::OutcomeFlags;
use crate::pattern::Elevation;
use crate::plain::{Family, OutcomeEntry};
use crate::policy::{PolicyHash, PolicyInForce, PolicyText};
use crate::reputation::Reputation;
use alloc::sync::Arc;
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::Encode;
use bizra_types::execution::{Activation, Decisions, ParameterChange};
use bizra_types::genesis;
use bizra_types::hash::RecordDigest;
use bizra_types::numbers::Height;

/// What the enactment of a change writes.
enum Enactment<'a> {
    Parameter { name: &'a str, value: u64 },
    Policy { name: &'a str, rego: &'a str },
    Committee(Committee),
    Version(Activation),
    Revocation { key: PublicKey, entry: KeyEntry },
}

impl Draft<'_> {
    /// Begins a governance epoch if the block does, and notes whose reveals it holds. Before the
    /// first reveal of the chain there is nobody to be judged.
    pub(super) fn note_reveals(&mut self, block: &BlockInput<'_>) -> Result<(), StorageError> {
        if self.governance.epoch.is_none() && block.reveals.is_empty() {
            return Ok(());
        }
        let epoch = block.timestamp.get() / self.parameters.governance_epoch_ms;
        // Not `<`: when the length of an epoch is changed, their numbers start anew.
        if let Some(over) = self.governance.epoch.replace(epoch)
            && over != epoch
        {
            for (_, member) in block.committee.iter() {
                let key = &member.consensus_key.0;
                let reputation: Reputation =
                    self.read(Family::Reputation, key)?.unwrap_or_default();
                let reputation = reputation.after(over, &self.parameters);
                self.write(Family::Reputation, key, &reputation);
            }
        }
        for validator in block.reveals {
            let key = block.committee.key(*validator).expect("a block holds reveals of members");
            let reputation: Reputation = self.read(Family::Reputation, &key.0)?.unwrap_or_default();
            if reputation.seen_in != Some(epoch) {
                let reputation = Reputation { seen_in: Some(epoch), ..reputation };
                self.write(Family::Reputation, &key.0, &reputation);
            }
        }
        Ok(())
    }

    pub(super) fn govern(
        &mut self,
        envelope: &Envelope,
        action: &GovernanceAction,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let sender = envelope.sender.public_key;
        self.check_say(&sender)?;
        match action {
            GovernanceAction::Propose { procedure, change } => {
                self.propose(envelope.digest, sender, *procedure, change, block)?;
            }
            GovernanceAction::Vote { proposal, choice } => {
                self.vote(*proposal, sender, *choice, block)?;
            }
        }
        Ok(OutcomeFlags::default())
    }

    pub(super) fn attest(
        &mut self,
        sender: PublicKey,
        attest: &ReleaseAttest,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        self.check_say(&sender)?;
        self.write(Family::Release, &attest.key(&sender), &attest.at(block.height));
        Ok(OutcomeFlags::default())
    }

    /// Takes a validator's vote for an offer of a pattern. Like a ballot it counts while its
    /// validator has a seat and is not in quarantine, and as many as an amendment needs are enough.
    pub(super) fn elevate(
        &mut self,
        sender: PublicKey,
        elevation: &Elevation,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        self.check_say(&sender)?;
        let key = elevation.digest.as_bytes();
        let known = self.read(Family::Pattern, key)?.unwrap_or_default();
        let mut votes = elevation.vote(sender, known, block.committee)?;
        let mut approvals = 0;
        for voter in &votes.voters {
            approvals += u16::from(self.quarantine(voter)?.is_none());
        }
        let thresholds = Thresholds::of(block.committee, &self.parameters);
        if thresholds.is_approved(Procedure::Amendment, Tally { approvals, vetoes: 0 }) {
            votes.validated_at = Some(block.height);
        }
        self.write(Family::Pattern, key, &votes);
        Ok(OutcomeFlags::default())
    }

    /// Punishes what evidence proves, once.
    pub(super) fn punish(
        &mut self,
        envelope: &Envelope,
        evidence: &EvidenceFile,
        block: &BlockInput<'_>,
    ) -> Result<OutcomeFlags, Failure> {
        let accused = evidence.accused;
        let standing: Option<Reputation> = self.read(Family::Reputation, &accused.0)?;
        if standing.is_none() && block.committee.index_of(&accused).is_none() {
            return Err(not_a_validator().into());
        }
        let offence = evidence.offence();
        if let Some(filed) = self.read(Family::Evidence, &offence)? {
            return Err(filed_before(&filed).into());
        }
        evidence.check_final(&envelope.own_chain(), block.committee)?;
        let standing = standing.unwrap_or_default();
        let standing = match evidence.promise() {
            Some(promise) => {
                let key = OutcomeEntry::key(&promise.digest);
                let outcome: Option<OutcomeEntry> = self.read(Family::Outcome, key)?;
                check_broken(promise, outcome.is_some(), block.timestamp)?;
                standing.after_broken_promise()
            }
            None => standing.after_equivocation(),
        };
        self.write(Family::Reputation, &accused.0, &standing);
        let filed = FiledEvidence { record: envelope.digest, height: block.height };
        self.write(Family::Evidence, &offence, &filed);
        Ok(OutcomeFlags::default())
    }

    /// Decides the proposals whose time is over, and writes what has become of governance.
    pub(super) fn decide(&mut self, block: &BlockInput<'_>) -> Result<Decisions, StorageError> {
        let mut decisions = Decisions::default();
        let thresholds = Thresholds::of(block.committee, &self.parameters);
        let due: Vec<OpenProposal> = self
            .governance
            .open
            .iter()
            .copied()
            .filter(|open| open.decided_at == block.height)
            .collect();
        for OpenProposal { proposal: digest, .. } in due {
            let proposal = self.open_proposal(&digest)?;
            let tally = self.tally(&self.ballots(&digest)?)?;
            let ending = if thresholds.is_vetoed(tally) {
                Ending::Vetoed
            } else if !thresholds.is_approved(proposal.procedure, tally) {
                Ending::Refused
            } else {
                let enactment = proposal.change.check_policy().map_err(Failure::from);
                match enactment.and_then(|()| self.enactment(&proposal, block)) {
                    Err(Failure::Storage(error)) => return Err(error),
                    Err(Failure::Refused(_)) => Ending::Void,
                    Ok(Enactment::Committee(_)) if decisions.next_committee.is_some() => {
                        Ending::Void
                    }
                    Ok(enactment) => {
                        self.enact(enactment, &mut decisions, block)?;
                        Ending::Enacted
                    }
                }
            };
            self.close(&digest, &proposal, ending, tally, block.height);
        }
        if let Some(next) = &decisions.next_committee {
            self.drop_ballots_of_leavers(next)?;
        }
        if self.governance != self.parent_governance {
            let governance = core::mem::take(&mut self.governance);
            self.write(Family::Governance, &[], &governance);
        }
        Ok(decisions)
    }

    fn propose(
        &mut self,
        digest: RecordDigest,
        proposer: PublicKey,
        procedure: Procedure,
        change: &Change,
        block: &BlockInput<'_>,
    ) -> Result<(), Failure> {
        self.governance.check_room(proposer, procedure, block.committee)?;
        let change = change.clone();
        let proposal = Proposal::new(proposer, procedure, change, block.height, &self.parameters);
        self.enactment(&proposal, block)?;
        let decided_at = proposal.decided_at;
        self.write(Family::Proposal, &digest.0, &proposal);
        let open = OpenProposal { proposal: digest, proposer, procedure, decided_at };
        self.governance.open.push(open);
        Ok(())
    }

    fn vote(
        &mut self,
        digest: RecordDigest,
        validator: PublicKey,
        choice: Choice,
        block: &BlockInput<'_>,
    ) -> Result<(), Failure> {
        let Some(proposal) = self.read::<Proposal>(Family::Proposal, &digest.0)? else {
            let closed = self.read(Family::ClosedProposal, &digest.0)?;
            return Err(not_open(closed.as_ref()).into());
        };
        proposal.check_ballot(choice, block.height)?;
        let mut ballots = self.ballots(&digest)?;
        ballots.0.insert(validator, choice);
        let tally = self.tally(&ballots)?;
        if Thresholds::of(block.committee, &self.parameters).is_vetoed(tally) {
            self.close(&digest, &proposal, Ending::Vetoed, tally, block.height);
        } else {
            self.write(Family::Ballots, &digest.0, &ballots);
        }
        Ok(())
    }

    /// What a proposal would write, if the state allows it.
    fn enactment<'a>(
        &self,
        proposal: &'a Proposal,
        block: &BlockInput<'_>,
    ) -> Result<Enactment<'a>, Failure> {
        Ok(match &proposal.change {
            Change::Parameter { name, value } => Enactment::Parameter { name, value: *value },
            Change::Policy { name, rego } => Enactment::Policy { name, rego },
            Change::Committee { put, remove } => {
                Enactment::Committee(changed_committee(block.committee, put, remove)?)
            }
            Change::Version(activation) => {
                check_activation(*activation, block.protocol_version, proposal.decided_at)?;
                Enactment::Version(*activation)
            }
            Change::Revocation { key } => {
                let entry: Option<KeyEntry> = self.read(Family::Key, &key.0)?;
                let entry = revoked(*key, entry.as_ref(), block.height)?;
                Enactment::Revocation { key: *key, entry }
            }
        })
    }

    fn enact(
        &mut self,
        enactment: Enactment<'_>,
        decisions: &mut Decisions,
        block: &BlockInput<'_>,
    ) -> Result<(), StorageError> {
        match enactment {
            Enactment::Parameter { name, value } => {
                self.write(Family::Parameter, name.as_bytes(), &value);
                let mut of_engine = genesis::Parameters::RANGES.iter().map(|(known, _)| *known);
                let of_engine = of_engine.find(|known| *known == name);
                decisions.parameters.extend(of_engine.map(|name| ParameterChange { name, value }));
            }
            Enactment::Policy { name, rego } => self.put_in_force(name, rego, block),
            Enactment::Committee(next) => {
                self.rotate_reputations(block.committee, &next)?;
                self.write(Family::Committee, &[], &next);
                decisions.next_committee = Some(Arc::new(next));
            }
            Enactment::Version(activation) => {
                let Activation { version, height } = activation;
                decisions.activation = Some(activation);
                self.write(Family::Activation, &version.to_bytes(), &height);
            }
            Enactment::Revocation { key, entry } => self.write(Family::Key, &key.0, &entry),
        }
        Ok(())
    }

    /// Makes a policy the latest one in force, and gives those before it their grace.
    fn put_in_force(&mut self, name: &str, rego: &str, block: &BlockInput<'_>) {
        let hash = PolicyHash::of(rego);
        let mut policies = core::mem::take(&mut self.governance.policies);
        if policies.is_empty() {
            let genesis = self.policies.of_genesis();
            policies.extend(genesis.map(|hash| PolicyInForce { hash, until: None }));
        }
        let until = block.timestamp.saturating_add_ms(self.parameters.policy_grace_ms);
        for policy in &mut policies {
            policy.until.get_or_insert(until);
        }
        // It may be one of those, taken back.
        policies.retain(|policy| policy.hash != hash);
        policies.push(PolicyInForce { hash, until: None });
        let mut excess = policies.len().saturating_sub(POLICIES_MAX);
        let mut gone = Vec::new();
        policies.retain(|policy| {
            let is_kept = excess == 0 && policy.is_in_force(block.timestamp);
            if !is_kept {
                excess = excess.saturating_sub(1);
                gone.push(policy.hash);
            }
            is_kept
        });
        self.governance.policies = policies;
        for hash in gone {
            self.delete(Family::Policy, &hash.0);
        }
        let text =
            PolicyText { name: name.to_owned(), rego: rego.to_owned(), height: block.height };
        self.write(Family::Policy, &hash.0, &text);
    }

    /// A member with a new key keeps its reputation.
    fn rotate_reputations(
        &mut self,
        current: &Committee,
        next: &Committee,
    ) -> Result<(), StorageError> {
        let mut moved = Vec::new();
        for (_, old) in current.iter() {
            let is_rotated =
                |new: &&Validator| new.name == old.name && new.consensus_key != old.consensus_key;
            if let Some((_, new)) = next.iter().find(|(_, new)| is_rotated(new)) {
                let key = &old.consensus_key.0;
                if let Some(reputation) = self.read::<Reputation>(Family::Reputation, key)? {
                    self.delete(Family::Reputation, key);
                    moved.push((new.consensus_key, reputation));
                }
            }
        }
        for (key, reputation) in moved {
            self.write(Family::Reputation, &key.0, &reputation);
        }
        Ok(())
    }

    fn drop_ballots_of_leavers(&mut self, next: &Committee) -> Result<(), StorageError> {
        for OpenProposal { proposal, .. } in self.governance.open.clone() {
            let mut ballots = self.ballots(&proposal)?;
            let count = ballots.0.len();
            ballots.0.retain(|validator, _| next.index_of(validator).is_some());
            if ballots.0.len() < count {
                self.write(Family::Ballots, &proposal.0, &ballots);
            }
        }
        Ok(())
    }

    /// Ends a proposal.
    fn close(
        &mut self,
        digest: &RecordDigest,
        proposal: &Proposal,
        ending: Ending,
        tally: Tally,
        height: Height,
    ) {
        self.governance.open.retain(|open| open.proposal != *digest);
        self.delete(Family::Proposal, &digest.0);
        self.delete(Family::Ballots, &digest.0);
        let closed = proposal.closed(height, ending, tally);
        self.write(Family::ClosedProposal, &digest.0, &closed);
    }

    /// That a validator is not in quarantine.
    fn check_say(&self, validator: &PublicKey) -> Result<(), Failure> {
        match self.quarantine(validator)? {
            Some(reputation) => Err(reputation.refusal().into()),
            None => Ok(()),
        }
    }

    /// The reputation of a validator that is in quarantine.
    fn quarantine(&self, validator: &PublicKey) -> Result<Option<Reputation>, StorageError> {
        let reputation: Option<Reputation> = self.read(Family::Reputation, &validator.0)?;
        Ok(reputation.filter(Reputation::is_in_quarantine))
    }

    /// The ballots that count: all but those of validators in quarantine.
    fn tally(&self, ballots: &Ballots) -> Result<Tally, StorageError> {
        let mut choices = Vec::with_capacity(ballots.0.len());
        for (validator, choice) in &ballots.0 {
            if self.quarantine(validator)?.is_none() {
                choices.push(*choice);
            }
        }
        Ok(Tally::of(choices.into_iter()))
    }

    fn ballots(&self, digest: &RecordDigest) -> Result<Ballots, StorageError> {
        Ok(self.read(Family::Ballots, &digest.0)?.unwrap_or_default())
    }

    fn open_proposal(&self, digest: &RecordDigest) -> Result<Proposal, StorageError> {
        self.read(Family::Proposal, &digest.0)?
            .ok_or_else(|| StorageError(format!("the open proposal {digest} is missing")))
    }
}

fn not_open(closed: Option<&ClosedProposal>) -> Rejection {
    let detail = match closed {
        Some(closed) => {
            let (ending, height) = (closed.ending.name(), closed.closed_at);
            format!("must be an open proposal, but was {ending} at height {height}")
        }
        None => "must be an open proposal, but there is none of this name".to_owned(),
    };
    Rejection::new(Code::State, "payload.data.proposal", detail)
}
