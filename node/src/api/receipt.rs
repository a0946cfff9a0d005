//! The receipt: one node's statement about a final record, around the proof
//! that needs no trust in that node.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bizra_ledger::envelope::{Content, Envelope};
use bizra_ledger::fate::recomputed;
use bizra_ledger::forms::{Score, Uuid};
use bizra_types::batch::SignedTicket;
use bizra_types::committee::Committee;
use bizra_types::hash::{RecordDigest, hex};
use bizra_types::proof::FinalityProof;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Api;
use super::error::Refusal;
use super::records::{splice, ticket_json};
use crate::storage::StoredRecord;

/// The gates that a final record has passed; FATE judges inferences alone.
const GATES: [&str; 10] = [
    "SCHEMA",
    "SIGNATURE",
    "TIMESTAMP",
    "REPLAY",
    "ROLE",
    "SNR",
    "IHSAN",
    "POLICY",
    "FATE",
    "FORMAL",
];

/// `200` with the receipt of a record that was executed, or `422` if its block
/// refused it. `latency` is from the submission to the block, if this node saw both.
pub(crate) async fn answer(
    api: &Api,
    digest: RecordDigest,
    ticket: Option<&SignedTicket>,
    latency: Option<Duration>,
) -> Result<Response, Refusal> {
    let read = api.read(move |store| {
        let Some(record) = store.record(&digest)? else { return Ok(None) };
        let block = store.block_at(record.outcome.height)?;
        Ok(Some((store.finality_proof(&digest)?, block, record)))
    });
    let (proof, block, record) = match read.await? {
        Some((Some(proof), Some(block), record)) => (proof, block, record),
        Some((None, _, record)) if record.outcome.log_index.is_none() => {
            return Err(Refusal::executed(&record.outcome).with("digest", digest.to_string()));
        }
        _ => {
            let detail = format!(
                "the outcome of the record is not readable yet; ask for \
                /v1/records/{digest}"
            );
            return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "NOT_FINAL", detail)
                .with("digest", digest.to_string())
                .with("status", "accepted"));
        }
    };
    let (envelope, _) = Envelope::parse(&record.bytes)
        .map_err(|rejection| api.failure("stored_envelope", &rejection))?;
    let statement = Statement {
        digest,
        record: &record,
        envelope: &envelope,
        block_id: block.id().to_string(),
        proof: &proof,
        committee: proof.head.committee(&api.shared.genesis.committee),
        latency,
    };
    let proof = proof.to_json().map_err(|error| api.failure("proof_form", &error))?;
    let mut receipt = statement.to_json().to_string().into_bytes();
    splice(&mut receipt, "finality_proof", &proof);
    let mut body = json!({
        "digest": digest.to_string(),
        "status": "final",
        "height": record.outcome.height.get(),
        "log_index": proof_index(&statement),
    });
    if let Some(ticket) = ticket {
        body["ticket"] = ticket_json(ticket);
    }
    let mut body = body.to_string().into_bytes();
    splice(&mut body, "receipt", &receipt);
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::OK, content_type, Body::from(body)).into_response())
}

/// What a receipt is made of.
struct Statement<'a> {
    digest: RecordDigest,
    record: &'a StoredRecord,
    envelope: &'a Envelope,
    block_id: String,
    proof: &'a FinalityProof,
    committee: &'a Committee,
    latency: Option<Duration>,
}

impl Statement<'_> {
    fn to_json(&self) -> Value {
        let commit = &self.proof.head.commit;
        let signed = commit.signers.iter().zip(&commit.signatures);
        let verifiers: Vec<Value> = signed
            .filter_map(|(index, signature)| {
                let validator = self.committee.get(index)?;
                Some(json!({
                    "sat_id": validator.name,
                    "public_key": validator.consensus_key.to_string(),
                    "signature": hex(&signature.0),
                }))
            })
            .collect();
        let inference = match &self.envelope.content {
            Content::Inference(inference) => Some(inference),
            _ => None,
        };
        let gates: Vec<&str> =
            GATES.into_iter().filter(|gate| *gate != "FATE" || inference.is_some()).collect();
        // SNR and Ihsan are the sender's word; FATE is what the gate decided on.
        let mut verification = json!({
            "gates_passed": gates,
            "scores": "claimed",
            "ihsan": score(self.envelope.metadata.ihsan_score),
        });
        if let (Some(inference), Some(snr)) = (inference, self.envelope.metadata.snr_score) {
            let fate = inference.fate.lower(recomputed(self.envelope, inference, snr));
            verification["fate"] = json!({
                "f": score(fate.fidelity),
                "a": score(fate.accountability),
                "t": score(fate.transparency),
                "e": score(fate.ethics),
            });
        }
        if let Some(snr) = self.envelope.metadata.snr_score {
            verification["snr"] = score(snr);
        }
        if let Some(latency) = self.latency {
            verification["latency_ms"] = json!(latency.as_secs_f64() * 1e3);
        }
        json!({
            "version": "1.0.0",
            "receipt_id": random_uuid().to_string(),
            "timestamp": OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .expect("the years of clocks have four digits"),
            "envelope_digest": self.digest.to_string(),
            "commit_ref": {
                "height": self.record.outcome.height.get(),
                "log_index": proof_index(self),
                "block_id": self.block_id,
            },
            "verification": verification,
            "verifier_set": verifiers,
            "quorum": {
                "required": self.committee.quorum(),
                "achieved": commit.signers.count(),
            },
            "policy_hash": hex(&self.envelope.policy_hash),
        })
    }
}

fn proof_index(statement: &Statement<'_>) -> u64 {
    statement.proof.log_index.get()
}

fn score(score: Score) -> Value {
    json!(f64::from(score.parts_per_million()) / 1e6)
}

/// A UUID of version 4.
fn random_uuid() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid(bytes)
}
