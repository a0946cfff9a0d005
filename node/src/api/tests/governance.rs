//! What the public port tells of governance.

use super::*;
use crate::storage::testing::{put_entry, said_by};
use bizra_consensus::Evidence;
use bizra_ledger::plain::Family;
use bizra_ledger::reputation::Reputation;
use bizra_types::crypto::PublicKey;
use bizra_types::genesis;
use bizra_types::hash::{BlockId, ExecHash};
use bizra_types::message::{CommitVote, SignedCommitVote, SignedVote, Vote};
use bizra_types::numbers::View;

/// A change that can be enacted.
const CHANGE: &str = r#"{"kind":"parameter","name":"snr_min_ppm","value":900000}"#;

impl Node {
    /// A block in which a validator says something, and the digest of that.
    pub(super) fn say(&mut self, validator: u8, action: &str, data: &str) -> RecordDigest {
        let nonce = u64::from(validator) + 1_000 * self.shared.store.head().height().get();
        let chain = self.chain.genesis.chain_id();
        let record = said_by(validator, &chain, nonce, action, data);
        let batch = self.chain.batch(validator, &[Arc::clone(&record)]);
        self.chain.grow(&self.shared.store, &[batch]);
        digest_of(&record)
    }

    /// Has a validator propose [`CHANGE`].
    pub(super) fn propose(&mut self, procedure: &str) -> RecordDigest {
        let data = format!(r#"{{"procedure":"{procedure}","change":{CHANGE}}}"#);
        self.say(0, "governance/propose", &data)
    }

    /// Puts two votes of validator 2 into the store, which exclude each other, and
    /// tells whose they are.
    pub(super) fn catch_a_liar(&self) -> PublicKey {
        let chain = self.chain.genesis.chain_id();
        let liar = validator_key(2);
        let vote = |block: u8| {
            let (era, view) = (Era::new(1), View::new(5));
            let vote = Vote { era, view, block: BlockId([block; 32]) };
            let signature = liar.sign(&vote.signed_bytes(&chain));
            SignedVote { vote, signer: ValidatorIndex::new(2), signature }
        };
        let caught = Evidence::Votes(vote(1), vote(2));
        self.shared.store.store_evidence(&caught).expect("the store can be written");
        liar.public()
    }

    /// Files the one thing that the node has caught, at validator 2, as the node tells it; then it
    /// is told as filed, and punished.
    async fn assert_filed_as_told(mut self, kind: &str) {
        let told = self.get("/v1/gov/evidence").await.json();
        let told = &told["evidence"][0];
        assert_eq!(told["data"]["kind"], kind);
        assert_eq!(told["data"]["accused"], validator_key(2).public().to_string());
        assert!(told["filed"].is_null());

        let digest = self.say(0, "evidence/file", &told["data"].to_string());
        let told = self.get("/v1/gov/evidence").await.json();
        let filed = serde_json::json!({ "record": digest.to_string(), "height": 1 });
        assert_eq!(told["evidence"][0]["filed"], filed);
        let told = self.get("/v1/gov/reputation").await.json();
        assert_eq!(told["validators"][2]["quarantine_epochs"], 4);
    }

    pub(super) fn vote(&mut self, validator: u8, proposal: RecordDigest, choice: &str) {
        let data = format!(r#"{{"proposal":"{proposal}","choice":"{choice}"}}"#);
        self.say(validator, "governance/vote", &data);
    }

    pub(super) fn grow_to(&mut self, height: u64) {
        while self.shared.store.head().height().get() < height {
            self.chain.grow(&self.shared.store, &[]);
        }
    }
}

#[tokio::test]
async fn a_proposal_tells_who_voted_and_how_far_it_is() {
    let mut node = Node::start().await;
    let none = node.get("/v1/gov/proposals").await.json();
    assert_eq!(none["proposals"], serde_json::json!([]));
    assert_eq!(
        none["needed"],
        serde_json::json!({ "amendment": 3, "emergency": 4, "veto": 2 }),
        "of four"
    );

    let digest = node.propose("emergency");
    let path = format!("/v1/gov/proposals/{digest}");
    let told = node.get(&path).await.json();
    let change: Value = serde_json::from_str(CHANGE).unwrap();
    for (name, value) in [
        ("proposal", Value::from(digest.to_string())),
        ("status", "open".into()),
        ("procedure", "emergency".into()),
        ("change", change.clone()),
        ("opened_at", 1.into()),
        ("vote_from", 12.into()),
        ("decided_at", 71.into()),
        ("holds_from", 72.into()),
        ("blocks_to_vote", 10.into()),
        ("blocks_to_decision", 70.into()),
        ("approvals", 0.into()),
        ("approvals_needed", 4.into()),
        ("approvals_missing", 4.into()),
        ("vetoes_needed", 2.into()),
        ("ballots", Value::Array(Vec::new())),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(told["proposer"]["validator"], "validator-0");
    assert_eq!(told["silent"].as_array().map(Vec::len), Some(4));
    let listed = node.get("/v1/gov/proposals").await.json();
    assert_eq!(listed["proposals"], serde_json::json!([told]));

    node.grow_to(11);
    node.vote(1, digest, "approve");
    node.vote(2, digest, "reject");
    node.vote(3, digest, "veto");
    let told = node.get(&path).await.json();
    let counts = ["approvals", "approvals_missing", "rejections", "vetoes"];
    assert_eq!(counts.map(|name| told[name].as_u64().unwrap()), [1, 3, 1, 1]);
    assert_eq!((&told["blocks_to_vote"], &told["blocks_to_decision"]), (&0.into(), &57.into()));
    assert_eq!(told["silent"], serde_json::json!(["validator-0"]));
    let ballots: BTreeSet<(String, String)> = told["ballots"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            assert_eq!(it["counts"], true);
            let word = |name: &str| it[name].as_str().expect("a word").to_owned();
            (word("validator"), word("choice"))
        })
        .collect();
    let expected = [("validator-1", "approve"), ("validator-2", "reject"), ("validator-3", "veto")]
        .map(|(name, choice)| (name.to_owned(), choice.to_owned()));
    assert_eq!(ballots, BTreeSet::from(expected));

    for validator in 0..4 {
        node.vote(validator, digest, "approve");
    }
    node.grow_to(71);
    let told = node.get(&path).await.json();
    for (name, value) in [
        ("status", Value::from("enacted")),
        ("change", change),
        ("opened_at", 1.into()),
        ("closed_at", 71.into()),
        ("holds_from", 72.into()),
        ("approvals", 4.into()),
        ("vetoes", 0.into()),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    let none = node.get("/v1/gov/proposals").await.json();
    assert_eq!(none["proposals"], serde_json::json!([]));
    let parameters = node.get("/v1/gov/parameters").await.json();
    let listed = parameters["parameters"].as_array().expect("a list");
    for expected in [
        serde_json::json!(
            { "name": "idle_block_ms", "value": 1_000, "min": 50, "max": 60_000 }
        ),
        serde_json::json!(
            { "name": "snr_min_ppm", "value": 900_000, "min": 0, "max": 1_000_000 }
        ),
    ] {
        assert!(listed.contains(&expected), "{listed:?}");
    }
    let all = node.get("/v1/params").await.json();
    let governed: BTreeSet<&str> =
        listed.iter().map(|it| it["name"].as_str().expect("a name")).collect();
    let left_out = all["parameters"].as_object().expect("an object").keys();
    let left_out = left_out.map(String::as_str).filter(|name| !governed.contains(name));
    assert_eq!(left_out.collect::<BTreeSet<_>>(), BTreeSet::from(genesis::Parameters::FIXED));
}

#[tokio::test]
async fn a_ballot_of_a_validator_in_quarantine_is_shown_and_does_not_count() {
    let mut node = Node::start().await;
    let digest = node.propose("emergency");
    node.grow_to(11);
    node.vote(1, digest, "approve");
    let liar = validator_key(1).public();
    let standing = Reputation { score: 4_500, ..Reputation::default() }.after_equivocation();
    put_entry(&node.shared.store, Family::Reputation, &liar.0, &standing);
    let told = node.get(&format!("/v1/gov/proposals/{digest}")).await.json();
    assert_eq!((&told["approvals"], &told["ballots"][0]["counts"]), (&0.into(), &false.into()));

    let told = node.get("/v1/gov/reputation").await.json();
    assert!(told["epoch"].is_null());
    let validators = told["validators"].as_array().expect("a list");
    let standings: Vec<_> = validators
        .iter()
        .map(|it| (it["score"].as_u64().unwrap(), it["quarantine_epochs"].as_u64().unwrap()))
        .collect();
    assert_eq!(standings, [(500, 0), (0, 4), (500, 0), (500, 0)]);
    assert_eq!(validators[1]["consensus_key"], liar.to_string());
}

#[tokio::test]
async fn what_is_no_proposal_is_told() {
    let mut node = Node::start().await;
    let inference = record(1);
    node.commit(&[Arc::clone(&inference)]);
    for (path, status, name) in [
        (format!("/v1/gov/proposals/{}", digest_of(&inference)), 404, "NOT_FOUND"),
        (format!("/v1/gov/proposals/{}", "AB".repeat(32)), 400, "BAD_DIGEST"),
        ("/v1/gov/proposals?status=open".to_owned(), 400, "BAD_QUERY"),
        ("/v1/gov/parameters?name=x".to_owned(), 400, "BAD_QUERY"),
        ("/v1/gov/reputation?key=x".to_owned(), 400, "BAD_QUERY"),
        ("/v1/gov".to_owned(), 404, "NOT_FOUND"),
    ] {
        let answer = node.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (status, name), "{path}");
    }
}

#[tokio::test]
async fn evidence_is_told_as_it_is_filed() {
    let node = Node::start().await;
    let none = node.get("/v1/gov/evidence").await.json();
    assert_eq!(none, serde_json::json!({ "evidence": [] }));
    node.catch_a_liar();
    node.assert_filed_as_told("votes").await;
}

#[tokio::test]
async fn a_batch_that_no_honest_validator_makes_is_told_as_it_is_filed() {
    let node = Node::start().await;
    let bad = b"{}".as_slice().into();
    let batch = node.chain.clone().batch(2, &[record(1), bad]);
    assert_eq!(node.shared.store.store_invalid_batch(&batch), Ok(true));
    node.assert_filed_as_told("invalid_record").await;
}

#[tokio::test]
async fn another_exec_of_a_final_block_is_told_as_it_is_filed() {
    let node = Node::start().await;
    let block = node.chain.clone().block(&[]);
    let cert = node.chain.commit(&[(block, ExecHash([1; 32]))]).cert;
    let vote = CommitVote { exec: ExecHash([2; 32]), ..cert.vote };
    let signature = validator_key(2).sign(&vote.signed_bytes(&node.chain.genesis.chain_id()));
    let vote = SignedCommitVote { vote, signer: ValidatorIndex::new(2), signature };
    let caught = Evidence::OtherExec(vote, cert);
    node.shared.store.store_evidence(&caught).expect("the store can be written");
    node.assert_filed_as_told("other_exec").await;
}
