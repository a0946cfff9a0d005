//! Time of the parts of the governance stack that every inference goes through.
//!
//! Targets: an observation of a unit 100 ns, FATE on parsed scores 50 ns, a
//! session transition with its node hashes 10 µs, a policy whose decision is
//! remembered 1 µs, the cheap gates 20 µs for an envelope of 1,600 bytes: its
//! form, its canonical form, its digest, its signature in a batch, time, role
//! and scores.

mod cpu_time;

use self::cpu_time::CpuTime;
use bizra_ledger::envelope::{Content, Envelope, Unsigned};
use bizra_ledger::fate::check_fate;
use bizra_ledger::forms::{Score, Uuid};
use bizra_ledger::gates::{Verdict, check_records, check_role, check_scores};
use bizra_ledger::inference::Transition;
use bizra_ledger::ntu::Unit;
use bizra_ledger::parameters::LedgerParameters;
use bizra_ledger::policy::{DEFAULT_POLICY, Policies, Policy, PolicyHash, Projection};
use bizra_ledger::session::{ParentRecord, SessionKey, Step, advance};
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::{PublicKey, Signature, check_each};
use bizra_types::hash::{ChainId, RecordDigest};
use bizra_types::numbers::{Height, TimestampMs};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use std::hint::black_box;
use std::sync::Arc;

/// A record as a client sends it, without envelope id, keys and hashes of its own.
const RECORD: &str = r#"{
    "version": "1.0.0",
    "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
    "timestamp": "2026-11-22T01:46:03Z",
    "nonce": "HASH",
    "sender": {"agent_type": "PAT", "agent_id": "bench", "public_key": "HASH"},
    "payload": {"action": "inference/commit", "policy_hash": "HASH", "data": {
        "session_id": "0189d3a0-0000-7000-8000-000000000000",
        "transition": "commit", "parents": [],
        "model": {"name": "tiny", "digest": "HASH", "evidence": "host_verified"},
        "tier": "EDGE", "input_commitment": "HASH", "output_commitment": "HASH",
        "operation": "chat", "operations": ["infer", "read"], "intent": ["infer"],
        "parameters_digest": "HASH", "usage": {"input_tokens": 12, "output_tokens": 34},
        "started_at": "2026-11-22T01:46:01Z", "finished_at": "2026-11-22T01:46:02Z",
        "finish_reason": "stop", "trace_id": "00112233445566778899aabbccddeeff",
        "fate": {"f": 1, "a": 1, "t": 0.9, "e": 0.97},
        "flags": {"personal_data": false, "toxicity": false, "violation": false},
        "budget": {"tier": "MICRO", "depth": 1, "tracks": 1, "retries": 0,
                   "entropy": 0.25, "knowledge_gap": 0.125, "mean_snr": 0.9}
    }},
    "metadata": {"ihsan_score": 0.97, "snr_score": 0.97, "urgency": "BATCH"}
}"#;

fn envelope() -> Envelope {
    let text = RECORD.replace("HASH", &"ab".repeat(32));
    let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
    let bytes = unsigned.with_signature(Signature([0; 64])).expect("small enough");
    Envelope::parse_canonical(&bytes).expect("the form is right")
}

/// Envelopes of a batch.
const BATCH: u32 = 256;

/// `timestamp` of [`RECORD`].
const TIMESTAMP: TimestampMs = TimestampMs::new(1_795_311_963_000);

/// A signed envelope of the key with this number, with a nonce of its own.
fn signed(key: u32, nonce: u32) -> Arc<[u8]> {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&key.to_le_bytes());
    let key = SigningKey::from_bytes(&seed);
    let public = PublicKey(key.verifying_key().to_bytes()).to_string();
    let text = RECORD
        .replacen("HASH", &format!("{nonce:064x}"), 1)
        .replacen("HASH", &public, 1)
        .replace("HASH", &"ab".repeat(32));
    let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
    let signature = key.sign(unsigned.digest().as_bytes()).to_bytes();
    unsigned.with_signature(Signature(signature)).expect("small enough")
}

/// The committee of one validator, who sends nothing.
fn committee() -> Committee {
    let validator = Validator {
        name: "validator".to_owned(),
        peer_id: "peer".to_owned(),
        consensus_key: PublicKey(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
        vrf_key: [1; 32],
        kem_key: Vec::new(),
    };
    Committee::new(vec![validator]).expect("the key is good")
}

fn gates(criterion: &mut Criterion<CpuTime>) {
    let (committee, parameters) = (committee(), LedgerParameters::default());
    let mut group = criterion.benchmark_group("gates");
    group.throughput(Throughput::Elements(BATCH.into()));
    // More keys than are remembered come again before the last batch has been.
    for (name, keys, batches) in
        [("16 keys", 16, 1), ("a key each", BATCH, 1), ("a key each, never met", BATCH, 40)]
    {
        let batches: Vec<Vec<Arc<[u8]>>> = (0..batches)
            .map(|batch| batch * BATCH)
            .map(|first| (0..BATCH).map(|at| signed(first + at % keys, first + at)).collect())
            .collect();
        let sizes = batches[0].iter().map(|bytes| bytes.len());
        println!("{name}: {} bytes on average", sizes.sum::<usize>() / batches[0].len());
        let records: Vec<Vec<(TimestampMs, &[u8])>> = batches
            .iter()
            .map(|batch| batch.iter().map(|bytes| (TIMESTAMP, &**bytes)).collect())
            .collect();

        let mut turn = records.iter().cycle();
        group.bench_function(format!("cheap gates, {BATCH} envelopes, {name}"), |bencher| {
            bencher.iter(|| {
                let records = turn.next().expect("there is a batch");
                let verdicts = check_records(black_box(records), &ChainId([9; 32]));
                for verdict in &verdicts {
                    let Verdict::Good(envelope) = verdict else { panic!("{verdict:?}") };
                    check_role(envelope, &committee).expect("a personal agent");
                    check_scores(envelope, &parameters).expect("good scores");
                }
            });
        });
        let envelopes: Vec<Vec<Envelope>> = batches
            .iter()
            .map(|batch| batch.iter().map(|it| Envelope::parse_canonical(it).expect("its form")))
            .map(Iterator::collect)
            .collect();
        let checks: Vec<Vec<_>> = envelopes
            .iter()
            .map(|batch| batch.iter().map(Envelope::signature_check).collect())
            .collect();
        let mut turn = checks.iter().cycle();
        group.bench_function(format!("of these signatures, {name}"), |bencher| {
            bencher.iter(|| {
                let checks = turn.next().expect("there is a batch");
                assert!(check_each(black_box(checks)).into_iter().all(|it| it));
            });
        });
        if keys == 16 {
            group.bench_function("of these form, canonical form and hashes", |bencher| {
                bencher.iter(|| {
                    for bytes in black_box(&batches[0]) {
                        Envelope::parse_canonical(bytes).expect("the form is right");
                    }
                });
            });
        }
    }
    group.finish();
}

fn stack(criterion: &mut Criterion<CpuTime>) {
    for window in [5, 128] {
        let mut unit = Unit::new(window);
        let scores: Vec<Score> = (0..1_024_u32)
            .map(|at| Score::from_parts_per_million(at * 7_919 % 1_000_001).expect("a share"))
            .collect();
        let mut at = 0;
        criterion.bench_function(&format!("observe a score, window {window}"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % scores.len();
                unit.observe(black_box(scores[at]));
            });
        });
        criterion.bench_function(&format!("potential, window {window}"), |bencher| {
            bencher.iter(|| black_box(&unit).potential());
        });
    }

    let envelope = envelope();
    let Content::Inference(inference) = &envelope.content else { panic!("an inference") };
    let parameters = LedgerParameters::default();
    let fate = check_fate(&envelope, inference, &parameters).expect("good scores");
    criterion.bench_function("FATE", |bencher| {
        bencher.iter(|| check_fate(black_box(&envelope), black_box(inference), &parameters));
    });

    let policy = Policy::compile(DEFAULT_POLICY).expect("a policy");
    let mut named = envelope.clone();
    named.policy_hash = PolicyHash::of(DEFAULT_POLICY).0;
    let mut policies = Policies::new([DEFAULT_POLICY]);
    policies.check(&named).expect("allowed");
    criterion.bench_function("POLICY, remembered", |bencher| {
        bencher.iter(|| policies.check(black_box(&named)));
    });
    let projection = Projection::of(&named);
    criterion.bench_function("POLICY, evaluated", |bencher| {
        bencher.iter(|| policy.decide(black_box(&projection)));
    });
    criterion.bench_function("POLICY, compiled", |bencher| {
        bencher.iter(|| Policy::compile(black_box(DEFAULT_POLICY)));
    });

    let key = SessionKey { owner: PublicKey([7; 32]), session_id: Uuid([1; 16]) };
    let step = |number: u8, transition| Step {
        record: RecordDigest([number; 32]),
        transition,
        height: Height::new(1),
        timestamp: TimestampMs::new(1),
        ihsan: Score::ONE,
        snr: Score::ONE,
        fate,
        window: 5,
    };
    let (session, node) = advance(key, None, &[], &step(1, Transition::Commit)).expect("allowed");
    let parents = [ParentRecord { record: RecordDigest([1; 32]), node: Some(node) }];
    let next = step(2, Transition::Commit);
    criterion.bench_function("session transition", |bencher| {
        bencher.iter(|| advance(key, Some(black_box(&session)), black_box(&parents), &next));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = gates, stack
}
criterion_main!(benches);
