//! Time to judge a proof: against the genesis committee, after two era changes,
//! and of an entry of the state.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/common.rs"]
mod common;

use bizra_light_client::{Client, StateProof};
use bizra_types::hash::Hash;
use bizra_types::proof::state::{StateEntry, StatePath};
use common::{TestChain, Tree, proof, records, team};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

fn verify(criterion: &mut Criterion) {
    let records = records(1000);
    let tree = Tree::of_records(&records);
    let mut chain = TestChain::new(&team(10, 7));
    let client = Client::from_genesis(&chain.genesis.to_json()).expect("it is a genesis file");

    let bytes = proof(&chain.commit(&tree), &records, &tree, 617).to_cbor();
    client.verify_bytes(&bytes).expect("it is final");
    criterion.bench_function("verify, era 1", |bencher| {
        bencher.iter(|| client.verify_bytes(black_box(&bytes)));
    });

    // As long as in a tree of a million entries.
    let path =
        StatePath { entry: StateEntry::Present(vec![7; 41]), siblings: vec![Hash([1; 32]); 21] };
    let key = vec![8; 32];
    let mut with_state = chain.clone();
    with_state.state_root = path.root(10, &key).expect("it is short enough");
    let head = with_state.commit(&tree);
    let bytes = StateProof { family: 10, key, path, head }.to_cbor();
    client.verify_state_bytes(&bytes).expect("it is so");
    criterion.bench_function("verify a state proof, era 1", |bencher| {
        bencher.iter(|| client.verify_state_bytes(black_box(&bytes)));
    });

    chain.end_era(&tree, &team(30, 7), false);
    chain.end_era(&tree, &team(50, 7), true);
    let bytes = proof(&chain.commit(&tree), &records, &tree, 617).to_cbor();
    client.verify_bytes(&bytes).expect("it is final");
    criterion.bench_function("verify, era 3", |bencher| {
        bencher.iter(|| client.verify_bytes(black_box(&bytes)));
    });
}

criterion_group!(benches, verify);
criterion_main!(benches);
