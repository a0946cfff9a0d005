//! Evidence on a chain of blocks: what proves something, what it costs, and what proves nothing.

use super::*;
use crate::evidence::{FiledEvidence, Statement};
use crate::gates::check_content;
use crate::parameters::LedgerParameters;
use crate::testing::{key, signed};
use bizra_types::batch::{BatchHeader, BatchRecord, Ticket};
use bizra_types::certificate::CommitCert;
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::{Era, LaneSeq, View};
use ed25519_dalek::Signer as _;

use Code::Evidence;

/// Who is accused in these tests, by the seed of its key.
const ACCUSED: u8 = 2;

fn vote(view: u64, block: u8) -> Vote {
    Vote { era: Era::new(1), view: View::new(view), block: BlockId([block; 32]) }
}

fn commit_vote(view: u64, exec: u8) -> CommitVote {
    let Vote { era, view, block } = vote(view, 1);
    CommitVote { era, view, block, exec: ExecHash([exec; 32]) }
}

fn timeout(view: u64, high_qc_view: u64) -> Timeout {
    let (view, high_qc_view) = (View::new(view), View::new(high_qc_view));
    Timeout { era: Era::new(1), view, high_qc_view }
}

fn header(author: u8, lane_seq: u64, records: &[BatchRecord]) -> BatchHeader {
    let (author, lane_seq) = (public(author), LaneSeq::new(lane_seq));
    BatchHeader::new(Era::new(1), author, lane_seq, BatchDigest::ZERO, records)
}

fn records(bytes: &[Arc<[u8]>]) -> Vec<BatchRecord> {
    let admitted_at_ms = TimestampMs::new(TIMESTAMP_MS);
    bytes.iter().map(|bytes| BatchRecord { admitted_at_ms, bytes: Arc::clone(bytes) }).collect()
}

fn ticket(digest: RecordDigest, deadline_ms: u64) -> Statement {
    let admitted_at_ms = TimestampMs::new(TIMESTAMP_MS);
    let deadline_ms = TimestampMs::new(deadline_ms);
    Statement::Ticket(Era::new(1), Ticket { digest, admitted_at_ms, deadline_ms })
}

/// An object of `statement` and `signature`, by this key on this chain.
fn said_on(chain: &ChainId, seed: u8, statement: &Statement) -> String {
    let signature = Signature(key(seed).sign(&statement.signed_bytes(chain)).to_bytes());
    let statement = hex(&statement.to_bytes());
    format!(r#"{{"statement":"{statement}","signature":"{signature}"}}"#)
}

fn said(statement: &Statement) -> String {
    said_on(&CHAIN, ACCUSED, statement)
}

fn pair_of(accused: u8, kind: &str, first: &str, second: &str) -> String {
    let accused = public(accused);
    format!(r#"{{"accused":"{accused}","kind":"{kind}","first":{first},"second":{second}}}"#)
}

fn pair(kind: &str, first: Statement, second: Statement) -> String {
    pair_of(ACCUSED, kind, &said(&first), &said(&second))
}

fn promise(statement: &Statement) -> String {
    let accused = public(ACCUSED);
    format!(r#"{{"accused":"{accused}","kind":"ticket","ticket":{}}}"#, said(statement))
}

fn invalid_record(header: BatchHeader, records: &[BatchRecord]) -> String {
    let mut bytes = Vec::new();
    bizra_types::encoding::encode_list(records, &mut bytes);
    format!(
        r#"{{"accused":"{}","kind":"invalid_record","batch":{},"records":"{}"}}"#,
        public(ACCUSED),
        said(&Statement::Batch(header)),
        hex(&bytes)
    )
}

/// That a quorum of four signed `exec` in a view, and the accused another one.
fn other_exec(first: CommitVote, certificate: &CommitCert) -> String {
    let accused = public(ACCUSED);
    let first = said(&Statement::CommitVote(first));
    let certificate = hex(&certificate.to_bytes());
    format!(
        r#"{{"accused":"{accused}","kind":"other_exec","first":{first},"certificate":"{certificate}"}}"#
    )
}

/// A certificate of what these keys of the committee 1 to 4 sign on a chain.
fn certificate_on(chain: &ChainId, vote: CommitVote, seeds: &[u8]) -> CommitCert {
    let committee = committee(1..=4);
    let mut signers: Vec<_> = seeds
        .iter()
        .map(|seed| (committee.index_of(&public(*seed)).expect("it has a seat"), *seed))
        .collect();
    signers.sort_unstable();
    let message = vote.signed_bytes(chain);
    let sign = |seed| Signature(key(seed).sign(&message).to_bytes());
    CommitCert {
        vote,
        signers: SignerSet::of(committee.size(), signers.iter().map(|(index, _)| *index)),
        signatures: signers.iter().map(|(_, seed)| sign(*seed)).collect(),
    }
}

fn certificate(vote: CommitVote) -> CommitCert {
    certificate_on(&CHAIN, vote, &[1, 3, 4])
}

impl World {
    fn file(&mut self, data: &str) -> BlockRecord {
        self.record("PAT", 9, "evidence/file", &json(data))
    }

    /// The code of evidence in a block of its own, and what the accused is left with.
    fn filed(&mut self, data: &str) -> (Code, Reputation) {
        let record = self.file(data);
        let codes = self.codes(&[record]);
        let left = self.entry(Family::Reputation, &public(ACCUSED).0).unwrap_or_default();
        (codes[0], left)
    }
}

/// Everything that no honest validator signs beside something else, with a second proof of it.
fn contradictions() -> Vec<(String, String)> {
    let batch = |bytes: u8| {
        Statement::Batch(header(ACCUSED, 4, &records(&[Arc::from([bytes].as_slice())])))
    };
    let hidden = |timeout| {
        pair("hidden_qc", Statement::CommitVote(commit_vote(7, 1)), Statement::Timeout(timeout))
    };
    vec![
        (
            pair("proposals", Statement::Proposal(vote(7, 1)), Statement::Proposal(vote(7, 2))),
            pair("proposals", Statement::Proposal(vote(7, 3)), Statement::Proposal(vote(7, 2))),
        ),
        (
            pair("votes", Statement::Vote(vote(7, 1)), Statement::Vote(vote(7, 2))),
            pair("votes", Statement::Vote(vote(7, 2)), Statement::Vote(vote(7, 1))),
        ),
        (
            pair(
                "commit_votes",
                Statement::CommitVote(commit_vote(7, 1)),
                Statement::CommitVote(commit_vote(7, 2)),
            ),
            pair(
                "commit_votes",
                Statement::CommitVote(commit_vote(7, 3)),
                Statement::CommitVote(commit_vote(7, 2)),
            ),
        ),
        (
            pair("timeouts", Statement::Timeout(timeout(7, 5)), Statement::Timeout(timeout(7, 6))),
            pair("timeouts", Statement::Timeout(timeout(7, 4)), Statement::Timeout(timeout(7, 6))),
        ),
        (pair("batches", batch(1), batch(2)), pair("batches", batch(3), batch(2))),
        (hidden(timeout(7, 6)), hidden(timeout(9, 3))),
        (
            other_exec(commit_vote(7, 1), &certificate(commit_vote(7, 2))),
            other_exec(commit_vote(7, 3), &certificate(commit_vote(7, 2))),
        ),
    ]
}

#[test]
fn a_lie_is_punished_once_whoever_shows_it() {
    for (evidence, again) in contradictions() {
        let mut world = World::new(1..=4);
        let caught = Reputation::default().after_equivocation();
        assert_eq!(world.filed(&evidence), (Success, caught), "{evidence}");
        assert_eq!(world.filed(&evidence), (State, caught), "the same: {evidence}");
        assert_eq!(world.filed(&again), (State, caught), "another proof of it: {evidence}");
        let by_a_validator = world.record("SAT", 1, "evidence/file", &json(&evidence));
        assert_eq!(world.code(by_a_validator), State, "it may file, and comes too late");
    }
}

#[test]
fn each_lie_has_an_entry_of_its_own() {
    let mut world = World::new(1..=4);
    let mut offences = Vec::new();
    for (evidence, _) in contradictions() {
        let record = world.file(&evidence);
        let (digest, envelope) = (digest(&record), record.verdict.envelope().cloned());
        assert_eq!(world.codes(&[record]), [Success], "{evidence}");
        let Some(Content::Evidence(file)) = envelope.map(|it| it.content) else {
            panic!("it is evidence")
        };
        let filed: FiledEvidence =
            world.entry(Family::Evidence, &file.offence()).expect("it is kept");
        assert_eq!(filed, FiledEvidence { record: digest, height: Height::new(world.height) });
        assert_eq!(canonical(&file.to_data()), canonical(&json(&evidence)));
        offences.push(file.offence());
    }
    offences.sort();
    offences.dedup();
    assert_eq!(offences.len(), contradictions().len());
}

#[test]
fn what_proves_nothing_has_its_code_and_a_sentence() {
    let both = "`payload.data.second` must exclude `first`, but an honest validator may sign both";
    let signature = |member: &str| {
        format!(
            "`payload.data.{member}.signature` must be that of the accused over the statement, on \
             this chain"
        )
    };
    let whose = "`payload.data.records` must be those of the batch, and the batch one of the \
                 accused";
    let another_exec = "`payload.data.certificate` must be of the block and view of `first`, with \
                        another `exec`";
    let (good, other) = (records(&[signed(1, 1)]), records(&[signed(1, 2)]));
    let vote_of = |view, block| Statement::Vote(vote(view, block));
    let batch_of = |author, seq| Statement::Batch(header(author, seq, &good));
    let rows = [
        (pair("votes", vote_of(7, 1), vote_of(7, 1)), both.to_owned()),
        (pair("votes", vote_of(7, 1), vote_of(8, 2)), both.to_owned()),
        (
            pair("votes", vote_of(7, 1), Statement::Vote(Vote { era: Era::new(2), ..vote(7, 2) })),
            both.to_owned(),
        ),
        (
            pair("timeouts", Statement::Timeout(timeout(7, 5)), Statement::Timeout(timeout(8, 6))),
            both.to_owned(),
        ),
        (pair("batches", batch_of(ACCUSED, 4), batch_of(ACCUSED, 5)), both.to_owned()),
        (pair("batches", batch_of(3, 4), batch_of(ACCUSED, 4)), both.to_owned()),
        (
            pair(
                "hidden_qc",
                Statement::CommitVote(commit_vote(7, 1)),
                Statement::Timeout(timeout(7, 7)),
            ),
            both.to_owned(),
        ),
        (
            pair(
                "hidden_qc",
                Statement::CommitVote(commit_vote(7, 1)),
                Statement::Timeout(timeout(6, 5)),
            ),
            both.to_owned(),
        ),
        (pair_of(3, "votes", &said(&vote_of(7, 1)), &said(&vote_of(7, 2))), signature("first")),
        (
            pair_of(
                ACCUSED,
                "votes",
                &said(&vote_of(7, 1)),
                &said_on(&ChainId([7; 32]), ACCUSED, &vote_of(7, 2)),
            ),
            signature("second"),
        ),
        // A vote is no proposal, whoever signed it.
        (
            pair_of(
                ACCUSED,
                "proposals",
                &said(&vote_of(7, 1)),
                &said(&Statement::Proposal(vote(7, 2))),
            ),
            signature("first"),
        ),
        (
            invalid_record(header(ACCUSED, 1, &good), &good),
            "`payload.data.records` must hold one that no honest validator takes, but each is good"
                .to_owned(),
        ),
        (invalid_record(header(ACCUSED, 1, &good), &other), whose.to_owned()),
        (invalid_record(header(3, 1, &good), &good), whose.to_owned()),
        (other_exec(commit_vote(7, 1), &certificate(commit_vote(7, 1))), another_exec.to_owned()),
        (other_exec(commit_vote(7, 1), &certificate(commit_vote(8, 2))), another_exec.to_owned()),
        (
            other_exec(
                commit_vote(7, 1),
                &certificate(CommitVote { block: BlockId([2; 32]), ..commit_vote(7, 2) }),
            ),
            another_exec.to_owned(),
        ),
    ];
    let mut world = World::new(1..=4);
    for (evidence, sentence) in rows {
        let record = world.file(&evidence);
        let envelope = record.verdict.envelope().expect("the form is right").clone();
        let rejection = check_content(&envelope, &LedgerParameters::default());
        let rejection = rejection.expect_err("it proves nothing");
        assert_eq!(rejection.to_string(), format!("EVIDENCE: {sentence}"), "{evidence}");
        assert_eq!(world.code(record), Evidence, "{evidence}");
    }
    assert_eq!(world.entry::<Reputation>(Family::Reputation, &public(ACCUSED).0), None);
}

#[test]
fn a_block_is_final_by_a_quorum_of_those_who_order_the_evidence() {
    let of = |vote| commit_vote(7, vote);
    let mut forged = certificate(of(2));
    forged.signatures.swap(0, 1);
    for (bad, fault) in [
        (
            certificate_on(&CHAIN, of(2), &[1, 3]),
            "a certificate of 2 signers of 4, where 3 of 4 are needed",
        ),
        (forged, "a signature does not verify"),
        (certificate_on(&ChainId([7; 32]), of(2), &[1, 3, 4]), "a signature does not verify"),
    ] {
        let mut world = World::new(1..=4);
        let record = world.file(&other_exec(of(1), &bad));
        let envelope = record.verdict.envelope().expect("the form is right").clone();
        let Content::Evidence(file) = &envelope.content else { panic!("it is evidence") };
        let rejection = file.check_final(&CHAIN, &world.committee).expect_err("it is not final");
        let sentence = format!(
            "EVIDENCE: `payload.data.certificate` must be of a quorum of the validators who order \
             this record, on this chain, but: {fault}"
        );
        assert_eq!(rejection.to_string(), sentence);
        assert_eq!(world.code(record), Evidence, "{fault}");
    }
    let good = other_exec(of(1), &certificate(of(2)));
    let mut others = World::new([1, 2, 3, 5]);
    assert_eq!(others.filed(&good), (Evidence, Reputation::default()), "4 has lost its seat");
    let mut more = World::new(1..=7);
    assert_eq!(more.filed(&good), (Evidence, Reputation::default()), "3 of 7 are no quorum");
    assert_eq!(World::new(1..=4).filed(&good).0, Success);
}

#[test]
fn only_validators_are_accused_and_those_who_were_one() {
    let mut world = World::new([1, 3, 4, 5]);
    let (evidence, _) = contradictions().swap_remove(1);
    let record = world.file(&evidence);
    assert_eq!(world.code(record), Evidence);
    // It was there once, and has a reputation since.
    world.ledger.seed(Family::Reputation, &public(ACCUSED).0, &Reputation::default());
    let (code, left) = world.filed(&evidence);
    assert_eq!((code, left.is_in_quarantine()), (Success, true));
}

#[test]
fn a_batch_with_a_record_that_nobody_takes_is_a_lie() {
    let mut world = World::new(1..=4);
    let forged: Arc<[u8]> = {
        let mut members = unsigned(1, 5);
        edit(&mut members, "sender.public_key", Some(public(3).to_string().as_str().into()));
        with_signature(&members, 7)
    };
    for (place, bytes) in [(1, forged), (2, Arc::from(b"no JSON".as_slice()))] {
        let records = records(&[signed(1, 1), bytes]);
        let evidence = invalid_record(header(ACCUSED, place, &records), &records);
        let (code, left) = world.filed(&evidence);
        assert_eq!((code, left.is_in_quarantine()), (Success, true));
        assert_eq!(world.filed(&evidence).0, State);
    }
}

#[test]
fn a_broken_promise_costs_less_and_silences_nobody() {
    let mut world = World::new(1..=4);
    let rich = Reputation { score: 7_000, ..Reputation::default() };
    world.ledger.seed(Family::Reputation, &public(ACCUSED).0, &rich);
    let lost = RecordDigest([0xaa; 32]);
    let deadline = world.now;
    let evidence = promise(&ticket(lost, deadline));
    assert_eq!(world.filed(&evidence), (Evidence, rich), "its time is not over");
    assert!(world.now > deadline);
    let left = Reputation { score: 6_000, ..rich };
    assert_eq!(world.filed(&evidence), (Success, left));
    assert_eq!(world.filed(&evidence), (State, left));
    let later = promise(&ticket(lost, deadline - 1));
    assert_eq!(world.filed(&later), (State, left), "one record is one promise");

    let kept = world.record("SAT", 1, "governance/propose", &json(
        r#"{"procedure":"amendment","change":{"kind":"parameter","name":"snr_min_ppm","value":1}}"#,
    ));
    let kept_digest = digest(&kept);
    assert_eq!(world.codes(&[kept]), [Success]);
    let evidence = promise(&ticket(kept_digest, deadline));
    assert_eq!(world.filed(&evidence), (Evidence, left), "it has an outcome");
}

#[test]
fn the_forms_of_evidence_are_closed() {
    let good = contradictions().swap_remove(1).0;
    let edited = |path: &str, value: Option<Value>| {
        let mut data = object(&good);
        edit(&mut data, path, value);
        String::from_utf8(canonical(&Value::Object(data))).expect("text")
    };
    let second = "`payload.data.second";
    for (data, sentence) in [
        (edited("accused", None), "`payload.data.accused` is missing".to_owned()),
        (edited("second", None), format!("{second}` is missing")),
        (edited("second.signature", None), format!("{second}.signature` is missing")),
        (edited("records", Some("00".into())), "`payload.data.records`".to_owned()),
        (edited("kind", Some("gossip".into())), "`payload.data.kind`".to_owned()),
        (edited("kind", Some("ticket".into())), "`payload.data.ticket` is missing".to_owned()),
        (
            edited("second.statement", Some("0G".into())),
            format!("{second}.statement` must be lower-case hex"),
        ),
        (
            edited("second.statement", Some("00".into())),
            format!("{second}.statement` must be what its kind encodes, but"),
        ),
        (
            edited("second.statement", Some("00".repeat(49).as_str().into())),
            format!("{second}.statement` must be what its kind encodes, but"),
        ),
    ] {
        let refusal = refusal("evidence/file", &data);
        assert!(refusal.starts_with(&format!("SCHEMA: {sentence}")), "{refusal}");
    }
}
