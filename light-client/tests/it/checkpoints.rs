//! What a client that remembers finds out.

use crate::common::{TestChain, Tree, proof, records, team};
use bizra_light_client::{
    AdvanceError, Checkpoint, CheckpointError, Client, FinalHead, ProofError,
};
use bizra_types::hash::{BlockId, ChainId, Hash};
use bizra_types::json::{Limits, Value, canonical, parse};
use bizra_types::numbers::{Era, Height, View};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

fn client(chain: &TestChain) -> Client {
    Client::from_genesis(&chain.genesis.to_json()).expect("it is a genesis file")
}

/// The consistency proof as another implementation makes it.
fn consistency(records: &[Vec<u8>], from: usize, to: usize) -> Vec<Hash> {
    if from == 0 || from == to {
        return Vec::new();
    }
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for record in &records[..to] {
        tree.push(record.clone());
    }
    let proof = tree.prove_consistency(to - from);
    let (hashes, rest) = proof.as_bytes().as_chunks::<32>();
    assert!(rest.is_empty());
    hashes.iter().map(|hash| Hash(*hash)).collect()
}

/// Heads of one chain at log sizes 10, 16 and 61, the last two in era 2.
fn three_heads() -> (TestChain, Vec<Vec<u8>>, [FinalHead; 3]) {
    let mut chain = TestChain::new(&team(10, 7));
    let records = records(64);
    let first = chain.commit(&Tree::of_records(&records[..10]));
    chain.end_era(&Tree::of_records(&records[..12]), &team(30, 7), true);
    let second = chain.commit(&Tree::of_records(&records[..16]));
    let third = chain.commit(&Tree::of_records(&records[..61]));
    (chain, records, [first, second, third])
}

#[test]
fn a_checkpoint_moves_forward() {
    let (chain, records, heads) = three_heads();
    let mut client = client(&chain);
    assert_eq!(client.checkpoint(), Checkpoint::of_genesis(&chain.genesis));
    let mut from = 0;
    for (head, to) in heads.iter().zip([10, 16, 61]) {
        let verified = client.advance(head, &consistency(&records, from, to)).expect("it grows");
        let checkpoint = client.checkpoint();
        assert_eq!((checkpoint.log, checkpoint.block), (verified.log, head.header.id()));
        assert_eq!(checkpoint.height, head.header.height);
        client.advance(head, &[]).expect("standing still is allowed");
        assert_eq!(client.checkpoint(), checkpoint);
        from = to;
    }
    assert_eq!(client.checkpoint().era, Era::new(2));
    assert_eq!(client.checkpoint().era_root, chain.eras[0].header.id());
}

#[test]
fn a_checkpoint_survives_its_file() {
    let (chain, records, [_, second, third]) = three_heads();
    let mut first_run = client(&chain);
    first_run.advance(&second, &[]).expect("from nothing");
    let file = first_run.checkpoint().to_json();
    let pinned = Checkpoint::from_json(&file).expect("it was written here");
    assert_eq!(pinned, first_run.checkpoint());
    let mut second_run = client(&chain).with_checkpoint(pinned).expect("of this chain");
    second_run.advance(&third, &consistency(&records, 16, 61)).expect("it grows");

    let Ok(Value::Object(members)) = parse(&file, Limits::ENVELOPE) else {
        panic!("a checkpoint is an object")
    };
    for name in members.iter().map(|(name, _)| name.to_owned()) {
        let mut bad = members.clone();
        bad.remove(&name);
        assert!(Checkpoint::from_json(&canonical(&Value::Object(bad))).is_err(), "{name}");
    }
    let mut bad = members;
    bad.insert("note", true.into());
    assert!(Checkpoint::from_json(&canonical(&Value::Object(bad))).is_err());
}

#[test]
fn a_log_that_does_not_continue_is_refused() {
    let (chain, records, [first, second, third]) = three_heads();
    let mut client = client(&chain);
    client.advance(&first, &[]).expect("from nothing");
    let before = client.checkpoint();
    let good = consistency(&records, 10, 61);
    for bad in [
        Vec::new(),
        good[1..].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[Hash::ZERO]].concat(),
        consistency(&records, 9, 61),
        consistency(&records, 10, 16),
    ] {
        assert_eq!(
            client.advance(&third, &bad),
            Err(AdvanceError::Inconsistent { from: 10, to: 61 })
        );
    }
    assert_eq!(client.checkpoint(), before);
    client.advance(&third, &good).expect("it grows");
    for behind in [&second, &first] {
        let error = client.advance(behind, &[]).expect_err("a rollback");
        match behind.header.era.get() {
            2 => assert!(matches!(error, AdvanceError::Behind { .. }), "{error}"),
            _ => {
                assert!(matches!(error, AdvanceError::Proof(ProofError::OldEra { .. })), "{error}")
            }
        }
    }
}

/// The committee shows this client one log and another client another.
#[test]
fn a_split_view_is_refused() {
    let (chain, records, [first, ..]) = three_heads();
    let mut others = records.clone();
    others[7].push(b' ');

    // The same height with another block, also by mere verification.
    let mut fork = TestChain::new(&team(10, 7));
    let tree = Tree::of_records(&others[..10]);
    let forked = fork.commit(&tree);
    assert_eq!(forked.header, first.header, "only the executed state differs");
    let mut client = client(&chain);
    client.verify(&proof(&forked, &others, &tree, 3)).expect("nothing is remembered yet");
    client.advance(&first, &[]).expect("from nothing");
    let error = client.verify(&proof(&forked, &others, &tree, 3)).expect_err("a split view");
    assert!(matches!(error, ProofError::SplitView { .. }), "{error}");
    assert!(matches!(
        client.advance(&forked, &[]),
        Err(AdvanceError::Proof(ProofError::SplitView { .. }))
    ));

    // A later block with the same size and another root, then a smaller log.
    let later = fork.commit(&tree);
    assert!(matches!(client.verify_head(&later), Err(ProofError::SplitView { .. })));
    let smaller = fork.commit(&Tree::of_records(&records[..9]));
    assert!(matches!(client.verify_head(&smaller), Err(ProofError::SplitView { .. })));

    // A longer log that does not hold what was seen.
    let longer = fork.commit(&Tree::of_records(&others[..20]));
    for path in [consistency(&records, 10, 20), consistency(&others, 10, 20)] {
        assert_eq!(
            client.advance(&longer, &path),
            Err(AdvanceError::Inconsistent { from: 10, to: 20 })
        );
    }
}

/// The committee lets its era end before, beside or after a block that this
/// client has seen: only the last can be of the same chain.
#[test]
fn an_era_does_not_end_before_what_was_seen_of_it() {
    let records = records(40);
    let tree = |size: usize| Tree::of_records(&records[..size]);
    let mut chain = TestChain::new(&team(10, 7));
    let forks = [1, 2, 3].map(|height| {
        let mut fork = TestChain::new(&team(10, 7));
        for before in 1..height {
            fork.commit(&tree(10 * before));
        }
        fork.skip_to(View::new(9));
        let end = fork.end_era(&tree(10 * height), &team(30, 7), false);
        [end, fork.commit(&tree(40))]
    });
    chain.commit(&tree(10));
    let seen = chain.commit(&tree(20));
    let naive = client(&chain);
    for head in forks.iter().flatten() {
        naive.verify_head(head).expect("nothing is remembered yet");
    }
    let mut pinned = client(&chain);
    pinned.advance(&seen, &[]).expect("from nothing");
    let [before, beside, after] = &forks;
    for head in before.iter().chain(beside) {
        let error = pinned.verify_head(head).expect_err("the era had not ended");
        assert!(matches!(error, ProofError::SplitView { .. }), "{error}");
    }
    for head in after {
        pinned.verify_head(head).expect("it may be of this chain");
    }
}

/// All keys of era 1 are stolen after era 2 has begun: the thief puts another
/// era 2 under the very same records.
#[test]
fn stolen_keys_of_an_old_era_are_worthless_against_a_checkpoint() {
    let (chain, records, [first, second, _]) = three_heads();
    let thieves = team(90, 7);
    let mut rewritten = TestChain::new(&team(10, 7));
    rewritten.commit(&Tree::of_records(&records[..10]));
    rewritten.end_era(&Tree::of_records(&records[..12]), &thieves, false);
    let mut forged_records = records.clone();
    forged_records[60] = crate::common::envelope(666, None);
    let tree = Tree::of_records(&forged_records[..61]);
    let forged = rewritten.commit(&tree);

    let naive = client(&chain);
    naive.verify(&proof(&forged, &forged_records, &tree, 60)).expect("genesis alone cannot tell");

    let mut pinned = client(&chain);
    pinned.advance(&second, &[]).expect("from nothing");
    let path = consistency(&forged_records, 16, 61);
    let error = pinned.advance(&forged, &path).expect_err("another era 2");
    assert!(
        matches!(error, AdvanceError::Proof(ProofError::OtherHistory { .. })),
        "the logs are consistent, the histories are not: {error}"
    );
    let error = pinned.verify_head(&first).expect_err("an old era");
    assert!(matches!(error, ProofError::OldEra { .. }), "{error}");
}

#[test]
fn impossible_checkpoints_are_refused() {
    let (chain, _, [first, second, _]) = three_heads();
    let mut known = client(&chain);
    known.advance(&first, &[]).expect("from nothing");
    let good = known.checkpoint();
    client(&chain).with_checkpoint(good).expect("it is possible");
    let start = Checkpoint::of_genesis(&chain.genesis);
    client(&chain).with_checkpoint(start).expect("it is possible");

    let chain_id = ChainId([1; 32]);
    assert_eq!(
        client(&chain).with_checkpoint(Checkpoint { chain_id, ..good }).map(drop),
        Err(CheckpointError::Chain { found: chain_id, expected: chain.genesis.chain_id() })
    );
    let mut empty = good.log;
    empty.size = 0;
    for bad in [
        Checkpoint { era: Era::ZERO, ..good },
        Checkpoint { era_root: BlockId::ZERO, ..good },
        Checkpoint { committee: Hash::ZERO, ..good },
        Checkpoint { height: Height::ZERO, ..good },
        Checkpoint { log: empty, ..good },
    ] {
        let refused = client(&chain).with_checkpoint(bad).map(drop);
        assert!(matches!(refused, Err(CheckpointError::Impossible { .. })), "{bad:?}");
    }
    // A later era cannot be judged from the genesis file; a proof will tell.
    let wrong = Checkpoint { era: Era::new(2), ..good };
    let trusting = client(&chain).with_checkpoint(wrong).expect("it might be");
    let error = trusting.verify_head(&second).expect_err("it was wrong");
    assert!(matches!(error, ProofError::OtherHistory { .. }), "{error}");
}
