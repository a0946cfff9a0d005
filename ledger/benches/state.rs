//! Time of executing blocks on a state tree of 50,000 entries, and of proofs
//! from it.
//!
//! Targets: 1,000 records into log, families and tree 5 ms, a state proof 50 µs,
//! the proof that a record is in the log 20 µs.
//! What receipt does before is not in it: reading a record and its signature.
//! What is committed lies in the maps of [`MemoryLedger`], whose searches are.

mod cpu_time;

use self::cpu_time::CpuTime;
use bizra_ledger::envelope::{Envelope, Unsigned};
use bizra_ledger::execution::{Base as _, BlockInput, BlockRecord, Overlay, Parent, execute};
use bizra_ledger::gates::Verdict;
use bizra_ledger::log::{consistency_proof, inclusion_proof};
use bizra_ledger::memory::MemoryLedger;
use bizra_ledger::plain::Family;
use bizra_ledger::policy::{DEFAULT_POLICY, Policies, PolicyHash};
use bizra_ledger::state::prove;
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::Context;
use bizra_types::numbers::{ProtocolVersion, TimestampMs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

/// Records of a block.
const RECORDS: u64 = 1_000;

/// Entries of the tree before the block that is measured.
const ENTRIES: u64 = 50_000;

/// A record without its keys and numbers.
const RECORD: &str = r#"{
    "version": "1.0.0",
    "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
    "timestamp": "2026-11-22T01:46:03Z",
    "nonce": "NONCE",
    "sender": {"agent_type": "PAT", "agent_id": "bench", "public_key": "SENDER"},
    "payload": {"action": "ACTION", "policy_hash": "POLICY", "data": DATA},
    "metadata": {"ihsan_score": 0.97, "snr_score": 0.97, "urgency": "BATCH",
                 "chain_id": "HASH"}
}"#;

const INFERENCE: &str = r#"{
    "session_id": "0189d3a0-0000-7000-8000-SESSION",
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
}"#;

/// One validator, who has no part in what is measured.
fn committee() -> Committee {
    let validator = Validator {
        name: "validator".to_owned(),
        peer_id: "peer".to_owned(),
        consensus_key: PublicKey(
            ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes(),
        ),
        vrf_key: [1; 32],
        kem_key: Vec::new(),
    };
    Committee::new(vec![validator]).expect("the key is good")
}

fn sender(number: u64) -> PublicKey {
    PublicKey(Context::List.hash(&[&number.to_le_bytes()]).0)
}

fn record(number: u64, sender: PublicKey, action: &str, data: &str) -> BlockRecord {
    let text = RECORD
        .replace("DATA", data)
        .replace("ACTION", action)
        .replace("SENDER", &sender.to_string())
        .replace("NONCE", &format!("{number:064x}"))
        .replace("SESSION", &format!("{number:012x}"))
        .replace("POLICY", &PolicyHash::of(DEFAULT_POLICY).to_string())
        .replace("HASH", &"ab".repeat(32));
    let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
    let bytes = unsigned.with_signature(Signature([0; 64])).expect("small enough");
    let envelope = Envelope::parse_canonical(&bytes).expect("the form is right");
    let verdict = Verdict::Good(Arc::new(envelope));
    BlockRecord { author: PublicKey([9; 32]), bytes, verdict }
}

/// Registrations of as many keys, which put an entry each into the tree.
fn registrations(numbers: core::ops::Range<u64>) -> Vec<BlockRecord> {
    numbers.map(|number| record(number, sender(number), "identity/register", "{}")).collect()
}

/// Inferences of one key, each in a session of its own.
fn inferences(numbers: core::ops::Range<u64>) -> Vec<BlockRecord> {
    numbers.map(|number| record(number, sender(0), "inference/commit", INFERENCE)).collect()
}

fn run(ledger: &MemoryLedger, records: &[BlockRecord], policies: &mut Policies) -> Overlay {
    let parent = Parent::new(ledger, vec![]).expect("memory does not fail");
    let height = parent.head().height.next();
    let timestamp = TimestampMs::new(1_795_311_963_000 + height.get());
    let block = BlockInput {
        height,
        timestamp,
        protocol_version: ProtocolVersion::new(1),
        committee: &committee(),
        reveals: &[],
        records,
    };
    execute(&parent, &block, policies).expect("memory does not fail")
}

fn state(criterion: &mut Criterion<CpuTime>) {
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let mut ledger = MemoryLedger::genesis();
    for first in (0..ENTRIES).step_by(1_000) {
        let overlay = run(&ledger, &registrations(first..first + 1_000), &mut policies);
        assert_eq!(overlay.logged().count(), 1_000);
        ledger.commit(&overlay);
    }
    let tree = ledger.head().expect("memory does not fail").state;
    assert_eq!(tree.version.get(), ENTRIES / 1_000);

    let blocks = [
        ("inferences into log and plain families", inferences(ENTRIES..ENTRIES + RECORDS)),
        (
            "registrations into log, plain families and tree",
            registrations(ENTRIES..ENTRIES + RECORDS),
        ),
    ];
    for (name, records) in blocks {
        let overlay = run(&ledger, &records, &mut policies);
        assert_eq!(overlay.logged().count() as u64, RECORDS, "{:?}", overlay.outcomes()[0]);
        println!("{name}: {} new nodes of the tree", overlay.state_nodes().count());
        criterion.bench_function(&format!("execute {RECORDS} {name}"), |bencher| {
            bencher.iter_with_large_drop(|| {
                run(black_box(&ledger), black_box(&records), &mut policies)
            });
        });
    }

    for (name, number) in [("of an entry", ENTRIES / 2), ("that there is none", ENTRIES + 1)] {
        let key = sender(number).0;
        criterion.bench_function(&format!("state proof {name}, {ENTRIES} entries"), |bencher| {
            bencher.iter(|| prove(&tree, Family::Key, black_box(&key), &ledger));
        });
    }
    criterion.bench_function(&format!("inclusion proof, log of {ENTRIES} records"), |bencher| {
        bencher.iter(|| inclusion_proof(ENTRIES, black_box(ENTRIES / 3), &ledger));
    });
    criterion.bench_function(&format!("consistency proof, log of {ENTRIES} records"), |bencher| {
        bencher.iter(|| consistency_proof(black_box(ENTRIES / 3), ENTRIES, &ledger));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).sample_size(20);
    targets = state
}
criterion_main!(benches);
