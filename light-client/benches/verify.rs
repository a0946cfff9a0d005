//! Time to judge a proof: against the genesis committee, and after two era
//! changes.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/common.rs"]
mod common;

use bizra_light_client::Client;
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
