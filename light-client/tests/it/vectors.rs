//! Golden vectors of whole proofs, for whoever writes another verifier.
//!
//! `tests/vectors/proofs.json`, and `state.json` beside it, are compared with
//! what the code gives today; `UPDATE_VECTORS=1 cargo test -p bizra-light-client`
//! writes them anew, and the difference is a change of format for everyone.

use crate::common::{TestChain, Tree, proof, records, team};
use bizra_light_client::{Client, FinalityProof};
use bizra_types::hash::{Hash, hex};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn proofs_are_the_recorded_ones() {
    compare("proofs.json", &json!({ "chains": [seven_validators(), three_eras()] }));
}

fn seven_validators() -> Value {
    let mut chain = TestChain::new(&team(10, 7));
    let records = records(5);
    let tree = Tree::of_records(&records);
    let head = chain.commit(&tree);
    let good = proof(&head, &records, &tree, 3);
    let lone = Tree::of_records(&records[..1]);
    let mut other = TestChain::new(&team(10, 7));
    let first = proof(&other.commit(&lone), &records, &lone, 0);

    let mut six = good.clone();
    six.head.commit = chain.certify_by(&head.header, &head.exec, 0..6);
    let mut four = good.clone();
    four.head.commit = chain.certify_by(&head.header, &head.exec, 0..4);
    let mut swapped = good.clone();
    swapped.head.commit.signatures.swap(0, 1);
    let mut index = good.clone();
    index.log_index = index.log_index.next();
    let mut path = good.clone();
    path.inclusion[0] = Hash::ZERO;
    let mut exec = good.clone();
    exec.head.exec.state_root = Hash::ZERO;
    let mut header = good.clone();
    header.head.header.proposer = header.head.header.proposer.next();
    let mut longer = good.to_cbor();
    longer.push(0);
    let rejected = [
        ("six signatures", six.to_cbor()),
        ("four signatures", four.to_cbor()),
        ("signatures swapped", swapped.to_cbor()),
        ("another index", index.to_cbor()),
        ("another path", path.to_cbor()),
        ("another exec", exec.to_cbor()),
        ("another header", header.to_cbor()),
        ("trailing byte", longer),
    ];
    let accepted = [("one of five records", good), ("the only record", first)];
    entry(&chain, &accepted, &rejected)
}

fn three_eras() -> Value {
    let mut chain = TestChain::new(&team(10, 4));
    let records = records(6);
    let ended = chain.end_era(&Tree::of_records(&records[..2]), &team(30, 4), false);
    let by_filler = chain.end_era(&Tree::of_records(&records[..4]), &team(50, 1), true);
    let tree = Tree::of_records(&records);
    let head = chain.commit(&tree);
    let good = proof(&head, &records, &tree, 1);

    let mut skipped = good.clone();
    skipped.head.eras.remove(0);
    let mut swapped = good.clone();
    swapped.head.eras.swap(0, 1);
    let mut no_filler = good.clone();
    no_filler.head.eras[1].filler = None;
    let mut committee = good.clone();
    committee.head.eras[0].committee = team(70, 4).committee;
    let rejected = [
        ("first change missing", skipped.to_cbor()),
        ("changes swapped", swapped.to_cbor()),
        ("filler missing", no_filler.to_cbor()),
        ("another committee", committee.to_cbor()),
    ];
    let four = Tree::of_records(&records[..4]);
    let two = Tree::of_records(&records[..2]);
    let accepted = [
        ("in the third era", good),
        ("against the block that ended the first era", proof(&ended, &records, &two, 1)),
        ("against a block that ended its era by a filler", proof(&by_filler, &records, &four, 2)),
    ];
    entry(&chain, &accepted, &rejected)
}

fn entry(
    chain: &TestChain,
    accepted: &[(&str, FinalityProof)],
    rejected: &[(&str, Vec<u8>)],
) -> Value {
    let genesis = chain.genesis.to_json();
    let client = Client::from_genesis(&genesis).expect("it is a genesis file");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is UTF-8");
    let accepted: Vec<_> = accepted
        .iter()
        .map(|(name, proof)| {
            let verified = client.verify(proof).expect(name);
            json!({
                "name": name,
                "cbor": hex(&proof.to_cbor()),
                "json": text(proof.to_json().expect(name)),
                "digest": verified.digest.to_string(),
                "log_index": verified.log_index.get(),
                "era": verified.head.era.get(),
                "height": verified.head.height.get(),
                "block": verified.head.block.to_string(),
                "timestamp_ms": verified.head.timestamp_ms.get(),
                "log_size": verified.head.log.size,
                "log_root": verified.head.log.root.to_string(),
            })
        })
        .collect();
    let rejected: Vec<_> = rejected
        .iter()
        .map(|(name, bytes)| {
            let error = client.verify_bytes(bytes).expect_err(name);
            json!({ "name": name, "cbor": hex(bytes), "error": error.to_string() })
        })
        .collect();
    json!({
        "genesis": text(genesis),
        "chain_id": chain.genesis.chain_id().to_string(),
        "accepted": accepted,
        "rejected": rejected,
    })
}

/// Compares a file of vectors with what the code gives.
pub(crate) fn compare(file: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    let mut text = serde_json::to_string_pretty(value).expect("a value can be written");
    text.push('\n');
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, text).expect("the folder of the vectors can be written");
        return;
    }
    let recorded = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_VECTORS=1 writes it", path.display()));
    let differs = recorded.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert_eq!(differs, None, "{file} has another line (recorded, now)");
    assert_eq!(recorded, text, "{file}");
}
