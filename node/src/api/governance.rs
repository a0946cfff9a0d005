//! What is proposed, who votes how, and what governance has decided.
//!
//! Everything is told as of the last block that is final here.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use bizra_consensus::Evidence;
use bizra_ledger::evidence::{EvidenceFile, FiledEvidence, Kind, Signed, Statement};
use bizra_ledger::governance::{
    Ballots, Choice, ClosedProposal, Ending, Governance, Proposal, Tally, Thresholds,
};
use bizra_ledger::parameters::LedgerParameters;
use bizra_ledger::plain::Family;
use bizra_ledger::reputation::Reputation;
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Header, SignedProposal};
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::genesis;
use bizra_types::hash::RecordDigest;
use bizra_types::json::canonical;
use bizra_types::message::{SignedCommitVote, SignedTimeout, SignedVote, Vote};
use bizra_types::numbers::{Era, Height, ValidatorIndex};
use serde_json::{Value, json};
use std::sync::Arc;

use super::Api;
use super::error::Refusal;
use super::records::read_digest;
use super::request::{Parameters, PathText};
use crate::storage::{StorageError, Store};

/// Pieces of evidence of one answer, at most.
const EVIDENCE_MAX: usize = 100;
/// Batches among them, at most: each takes up to 64 KiB.
const INVALID_BATCHES_MAX: usize = 32;

/// `GET /v1/gov/proposals`: the open proposals, in the order in which they were
/// opened, and how many ballots decide.
pub(crate) async fn proposals(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let committee = committee(&api);
    let read = api.read(move |store| {
        let bench = Bench::read(store, &committee)?;
        let governance: Governance = store.entry(Family::Governance, &[])?.unwrap_or_default();
        let mut open = Vec::new();
        for known in governance.open {
            // A block that became final just now may have ended it.
            if let Some(proposal) = store.entry(Family::Proposal, &known.proposal.0)? {
                open.push(bench.open(&known.proposal, &proposal)?);
            }
        }
        let Thresholds { amendment, emergency, veto } = bench.thresholds;
        Ok(json!({
            "height": bench.height.get(),
            "validators": committee.size(),
            "needed": { "amendment": amendment, "emergency": emergency, "veto": veto },
            "proposals": open,
        }))
    });
    read.await.map(Json)
}

/// `GET /v1/gov/proposals/{id}`: a proposal by the digest of the record that
/// opened it: while it is open, who voted how and how far it is from passing;
/// afterwards, how it ended.
pub(crate) async fn proposal(
    State(api): State<Api>,
    path: PathText,
    uri: Uri,
) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let digest = read_digest(&path)?;
    let committee = committee(&api);
    let read = api.read(move |store| {
        let bench = Bench::read(store, &committee)?;
        if let Some(proposal) = store.entry(Family::Proposal, &digest.0)? {
            return bench.open(&digest, &proposal).map(Some);
        }
        let closed = store.entry(Family::ClosedProposal, &digest.0)?;
        closed.map(|closed| bench.closed(&digest, &closed)).transpose()
    });
    read.await?.map(Json).ok_or_else(|| {
        Refusal::not_found(format!(
            "no record {digest} has opened a proposal in a block that is final here"
        ))
    })
}

/// `GET /v1/gov/parameters`: the numbers that governance may change, each with
/// its range: those of the engine, then those of the ledger. What the genesis file
/// sets for ever is not among them.
pub(crate) async fn parameters(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let of_genesis = api.shared.genesis.parameters;
    let parameters = api.read(move |store| store.parameters(&of_genesis)).await?;
    let ranges = genesis::Parameters::RANGES.iter().chain(LedgerParameters::RANGES);
    let listed: Vec<Value> = parameters
        .iter()
        .zip(ranges)
        .filter(|((name, _), _)| !genesis::Parameters::FIXED.contains(name))
        .map(|((name, value), (_, range))| {
            json!({ "name": name, "value": value, "min": range.start(), "max": range.end() })
        })
        .collect();
    Ok(Json(json!({ "parameters": listed })))
}

/// `GET /v1/gov/reputation`: how the validators of the era stand.
pub(crate) async fn reputation(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let committee = committee(&api);
    let read = api.read(move |store| {
        let governance: Governance = store.entry(Family::Governance, &[])?.unwrap_or_default();
        let mut validators = Vec::with_capacity(committee.size());
        for (index, validator) in committee.iter() {
            let key = &validator.consensus_key;
            let standing = reputation_of(store, key)?;
            validators.push(json!({
                "index": index.get(),
                "name": validator.name,
                "consensus_key": key.to_string(),
                "score": standing.score,
                "seen_in": standing.seen_in,
                "quarantine_epochs": standing.quarantine_epochs,
            }));
        }
        Ok(json!({ "epoch": governance.epoch, "validators": validators }))
    });
    read.await.map(Json)
}

/// `GET /v1/gov/evidence`: what this node has caught others at, in the form of
/// `payload.data` of `evidence/file`, and which record has proven it already.
/// At most a hundred pieces.
pub(crate) async fn evidence(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let read = api.read(|store| {
        let batches = store.invalid_batches(INVALID_BATCHES_MAX)?;
        let mut files = Vec::new();
        for evidence in store.evidence(EVIDENCE_MAX - batches.len())? {
            files.extend(fileable(store, &evidence)?);
        }
        files.extend(batches.iter().map(EvidenceFile::of_batch));
        let mut told = Vec::with_capacity(files.len());
        for file in files {
            let filed: Option<FiledEvidence> = store.entry(Family::Evidence, &file.offence())?;
            let data = canonical(&file.to_data());
            let data: Value = serde_json::from_slice(&data).expect("canonical JSON is JSON");
            told.push(json!({
                "data": data,
                "filed": filed.map(|filed| json!({
                    "record": filed.record.to_string(),
                    "height": filed.height.get(),
                })),
            }));
        }
        Ok(json!({ "evidence": told }))
    });
    read.await.map(Json)
}

/// Evidence as a record files it. None for an era that is not known here.
fn fileable(store: &Store, evidence: &Evidence) -> Result<Option<EvidenceFile>, StorageError> {
    let vote = |it: &SignedVote| (Statement::Vote(it.vote), it.signature);
    let commit_vote = |it: &SignedCommitVote| (Statement::CommitVote(it.vote), it.signature);
    let timeout = |it: &SignedTimeout| (Statement::Timeout(it.timeout), it.signature);
    let proposal = |it: &SignedProposal| {
        let Header { era, view, .. } = *it.block.header();
        (Statement::Proposal(Vote { era, view, block: it.block.id() }), it.signature)
    };
    let batch = |it: &SignedBatch| (Statement::Batch(*it.header()), it.signature());
    let key_of = |era: Era, signer: ValidatorIndex| {
        Ok::<_, StorageError>(store.committee_of(era)?.and_then(|it| it.key(signer)))
    };
    let mut certificate = None;
    let (kind, accused, first, second) = match evidence {
        Evidence::Votes(one, other) => {
            (Kind::Votes, key_of(one.vote.era, one.signer)?, vote(one), Some(vote(other)))
        }
        Evidence::CommitVotes(one, other) => {
            let key = key_of(one.vote.era, one.signer)?;
            (Kind::CommitVotes, key, commit_vote(one), Some(commit_vote(other)))
        }
        Evidence::Timeouts(one, other) => {
            let key = key_of(one.timeout.era, one.signer)?;
            (Kind::Timeouts, key, timeout(one), Some(timeout(other)))
        }
        Evidence::Proposals(one, other) => {
            let header = one.block.header();
            let key = key_of(header.era, header.proposer)?;
            (Kind::Proposals, key, proposal(one), Some(proposal(other)))
        }
        Evidence::Batches(one, other) => {
            (Kind::Batches, Some(one.header().author), batch(one), Some(batch(other)))
        }
        Evidence::HiddenQc(one, other) => {
            let key = key_of(one.vote.era, one.signer)?;
            (Kind::HiddenQc, key, commit_vote(one), Some(timeout(other)))
        }
        Evidence::OtherExec(one, cert) => {
            certificate = Some(cert.clone());
            (Kind::OtherExec, key_of(one.vote.era, one.signer)?, commit_vote(one), None)
        }
    };
    let signed = |(statement, signature)| Signed { statement, signature };
    Ok(accused.map(|accused| EvidenceFile {
        accused,
        kind,
        first: signed(first),
        second: second.map(signed),
        records: Vec::new(),
        certificate,
    }))
}

/// What every proposal is held against.
struct Bench<'a> {
    store: &'a Store,
    committee: &'a Committee,
    height: Height,
    thresholds: Thresholds,
}

impl<'a> Bench<'a> {
    fn read(store: &'a Store, committee: &'a Committee) -> Result<Self, StorageError> {
        let height = store.head().height();
        let thresholds = Thresholds::of(committee, &store.ledger_parameters()?);
        Ok(Self { store, committee, height, thresholds })
    }

    fn open(&self, digest: &RecordDigest, proposal: &Proposal) -> Result<Value, StorageError> {
        let Proposal { proposer, procedure, opened_at, deliberated_until, decided_at, .. } =
            *proposal;
        let ballots: Ballots = self.store.entry(Family::Ballots, &digest.0)?.unwrap_or_default();
        let mut told = Vec::with_capacity(ballots.0.len());
        let mut counted = Vec::with_capacity(ballots.0.len());
        for (key, choice) in &ballots.0 {
            let counts = !reputation_of(self.store, key)?.is_in_quarantine();
            told.push(json!({
                "validator": self.name(key),
                "consensus_key": key.to_string(),
                "choice": choice.name(),
                "counts": counts,
            }));
            counted.extend(counts.then_some(*choice));
        }
        let silent: Vec<&str> = self
            .committee
            .iter()
            .filter(|(_, validator)| !ballots.0.contains_key(&validator.consensus_key))
            .map(|(_, validator)| &*validator.name)
            .collect();
        let rejections = counted.iter().filter(|choice| **choice == Choice::Reject).count();
        let tally = Tally::of(counted.into_iter());
        let needed = self.thresholds.approvals(procedure);
        let blocks_to = |height: Height| height.get().saturating_sub(self.height.get());
        Ok(json!({
            "proposal": digest.to_string(),
            "status": "open",
            "procedure": procedure.name(),
            "proposer": self.who(&proposer),
            "change": self.change(digest)?,
            "height": self.height.get(),
            "opened_at": opened_at.get(),
            "vote_from": deliberated_until.next().get(),
            "decided_at": decided_at.get(),
            "holds_from": decided_at.next().get(),
            "blocks_to_vote": blocks_to(deliberated_until),
            "blocks_to_decision": blocks_to(decided_at),
            "approvals": tally.approvals,
            "approvals_needed": needed,
            "approvals_missing": needed.saturating_sub(tally.approvals.into()),
            "rejections": rejections,
            "vetoes": tally.vetoes,
            "vetoes_needed": self.thresholds.veto,
            "ballots": told,
            "silent": silent,
        }))
    }

    fn closed(
        &self,
        digest: &RecordDigest,
        closed: &ClosedProposal,
    ) -> Result<Value, StorageError> {
        let is_enacted = closed.ending == Ending::Enacted;
        Ok(json!({
            "proposal": digest.to_string(),
            "status": closed.ending.name(),
            "procedure": closed.procedure.name(),
            "proposer": self.who(&closed.proposer),
            "change": self.change(digest)?,
            "height": self.height.get(),
            "opened_at": closed.opened_at.get(),
            "closed_at": closed.closed_at.get(),
            "holds_from": is_enacted.then(|| closed.closed_at.next().get()),
            "approvals": closed.tally.approvals,
            "vetoes": closed.tally.vetoes,
        }))
    }

    /// What is proposed, as its record says it.
    fn change(&self, digest: &RecordDigest) -> Result<Value, StorageError> {
        let record = self.store.record(digest)?;
        let envelope =
            record.and_then(|record| serde_json::from_slice::<Value>(&record.bytes).ok());
        let change = envelope.map(|mut it| it["payload"]["data"]["change"].take());
        change.ok_or_else(|| self.store.damaged(format!("the record of proposal {digest} is gone")))
    }

    fn who(&self, key: &PublicKey) -> Value {
        json!({ "validator": self.name(key), "consensus_key": key.to_string() })
    }

    /// Its name, while it has a seat.
    fn name(&self, key: &PublicKey) -> Option<&str> {
        let index = self.committee.index_of(key)?;
        self.committee.get(index).map(|validator| &*validator.name)
    }
}

fn reputation_of(store: &Store, key: &PublicKey) -> Result<Reputation, StorageError> {
    Ok(store.entry(Family::Reputation, &key.0)?.unwrap_or_default())
}

fn committee(api: &Api) -> Arc<Committee> {
    Arc::clone(&api.shared.status.borrow().committee)
}
