//! Proofs that hold, and every way in which one may not.

use crate::common::{
    TestChain, Tree, committee_size, envelope, overhead, proof, records, sign, sign_commit, team,
};
use bizra_light_client::{Client, EnvelopeError, FinalityProof, ProofError, VerifiedRecord};
use bizra_types::block::Closes;
use bizra_types::committee::SignerSet;
use bizra_types::crypto::PublicKey;
use bizra_types::envelope::SignedEnvelope;
use bizra_types::hash::{BlockId, ChainId, ExecHash, Hash, hex};
use bizra_types::json::{Limits, Value, canonical, parse};
use bizra_types::numbers::{Era, Height, LogIndex, ValidatorIndex, View};
use bizra_types::proof::tree::leaf_hash;
use bizra_types::verify::Fault;
use ed25519_dalek::SigningKey;

/// A chain of seven with a log of 1,000, two era changes behind it, one by way
/// of a filler; the proof is of record 617 against the third era.
fn long_chain() -> (TestChain, Vec<Vec<u8>>, FinalityProof) {
    let mut chain = TestChain::new(&team(10, 7));
    let records = records(1000);
    chain.commit(&Tree::of_records(&records[..3]));
    chain.end_era(&Tree::of_records(&records[..400]), &team(30, 4), false);
    chain.commit(&Tree::of_records(&records[..700]));
    chain.end_era(&Tree::of_records(&records[..900]), &team(50, 4), true);
    let tree = Tree::of_records(&records);
    let head = chain.commit(&tree);
    let proof = proof(&head, &records, &tree, 617);
    (chain, records, proof)
}

fn short_chain() -> (TestChain, FinalityProof) {
    let mut chain = TestChain::new(&team(10, 7));
    let records = records(5);
    let tree = Tree::of_records(&records);
    let head = chain.commit(&tree);
    (chain, proof(&head, &records, &tree, 3))
}

fn client(chain: &TestChain) -> Client {
    Client::from_genesis(&chain.genesis.to_json()).expect("it is a genesis file")
}

#[test]
fn every_record_of_a_log_is_proven() {
    let mut chain = TestChain::new(&team(10, 7));
    let records = records(1000);
    let tree = Tree::of_records(&records);
    let head = chain.commit(&tree);
    let client = client(&chain);
    for index in (0..1000).step_by(37).chain([999]) {
        let verified = client.verify(&proof(&head, &records, &tree, index)).expect("it is final");
        let VerifiedRecord { digest, log_index, envelope, head, .. } = verified;
        assert_eq!(digest, SignedEnvelope::verify(&records[index]).expect("it is good").digest);
        assert_eq!((log_index, envelope), (LogIndex::new(index as u64), records[index].clone()));
        assert_eq!((head.era, head.height), (Era::new(1), Height::new(1)));
        assert_eq!(head.timestamp_ms.get(), 1_795_311_000_250);
    }
}

#[test]
fn era_changes_are_followed_from_genesis() {
    let (chain, records, proof) = long_chain();
    let verified = client(&chain).verify(&proof).expect("it is final");
    assert_eq!((verified.head.era, verified.head.log.size), (Era::new(3), 1000));
    // The block that ends an era is final itself, with and without a filler.
    for (change, size) in [(0, 400), (1, 900)] {
        let mut chain = chain.clone();
        let ended = chain.eras[change].clone();
        chain.eras.truncate(change);
        let head = bizra_light_client::FinalHead {
            exec: ended.exec,
            header: ended.header,
            filler: ended.filler,
            commit: ended.commit,
            eras: chain.eras.clone(),
        };
        let tree = Tree::of_records(&records[..size]);
        let proof = crate::common::proof(&head, &records, &tree, 5);
        let verified = client(&chain).verify(&proof).expect("it is final");
        assert_eq!(verified.head.block, ended.header.id());
    }
}

#[test]
fn both_forms_mean_the_same() {
    let (chain, _, proof) = long_chain();
    let client = client(&chain);
    let (cbor, json) = (proof.to_cbor(), proof.to_json().expect("it is final"));
    assert_eq!(FinalityProof::from_cbor(&cbor).as_ref(), Ok(&proof));
    assert_eq!(FinalityProof::from_json(&json).as_ref(), Ok(&proof));
    assert_eq!(client.verify_bytes(&cbor), client.verify(&proof));
    assert_eq!(client.verify_bytes(&json), client.verify(&proof));
    let spaced = [b" \n\t", json.as_slice(), b"\n"].concat();
    assert_eq!(FinalityProof::from_either(&spaced).as_ref(), Ok(&proof));
    let head = &proof.head;
    assert_eq!(bizra_light_client::FinalHead::from_either(&head.to_cbor()).as_ref(), Ok(head));
    let json = head.to_json().expect("it is final");
    assert_eq!(bizra_light_client::FinalHead::from_either(&json).as_ref(), Ok(head));
}

#[test]
fn a_proof_is_small() {
    // A path of 20 hashes: the tree of the size that the limit is stated for.
    let records = records(1);
    let mut leaves = vec![Hash([0x5a; 32]); 1_000_000];
    leaves[999_000] = leaf_hash(&records[0]);
    let tree = Tree::new(leaves);
    let mut chain = TestChain::new(&team(10, 7));
    let head = chain.commit(&tree);
    let proof = FinalityProof {
        envelope: records[0].clone(),
        log_index: LogIndex::new(999_000),
        inclusion: tree.path(999_000),
        head,
    };
    client(&chain).verify(&proof).expect("it is final");
    let longest = FinalityProof { inclusion: tree.path(0), ..proof };
    assert_eq!(longest.inclusion.len(), 20);
    assert!(overhead(&longest) <= 1536, "{} bytes", overhead(&longest));
}

#[test]
fn an_era_change_costs_its_committee_and_little_more() {
    let (_, _, proof) = long_chain();
    let without = FinalityProof {
        head: bizra_light_client::FinalHead { eras: Vec::new(), ..proof.head.clone() },
        ..proof.clone()
    };
    let committees = committee_size(&team(30, 4)) + committee_size(&team(50, 4));
    let cost = overhead(&proof) - overhead(&without) - committees;
    assert!(cost <= 2 * 1200, "{cost} bytes for two changes");
}

#[test]
fn no_bit_of_the_cbor_is_free() {
    let (chain, _, proof) = long_chain();
    let client = client(&chain);
    let good = proof.to_cbor();
    client.verify_bytes(&good).expect("it is final");
    // KEM keys are mere payload of a committee's hash: one byte of 32 there.
    let payload = [0xce; 64];
    for at in 0..good.len() {
        if at % 32 != 0 && good[at..].starts_with(&payload) {
            continue;
        }
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(client.verify_bytes(&bad).is_err(), "bit {bit} of byte {at} is free");
        }
    }
}

#[test]
fn no_bit_of_the_json_is_free() {
    let (chain, proof) = short_chain();
    let client = client(&chain);
    let good = proof.to_json().expect("it is final");
    client.verify_bytes(&good).expect("it is final");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(client.verify_bytes(&bad).is_err(), "bit {bit} of byte {at} is free");
        }
    }
}

#[test]
fn a_proof_is_refused_when_cut_or_prolonged() {
    let (chain, proof) = short_chain();
    let client = client(&chain);
    for good in [proof.to_cbor(), proof.to_json().expect("it is final")] {
        for length in 0..good.len() {
            assert!(client.verify_bytes(&good[..length]).is_err(), "{length} bytes are enough");
        }
        for byte in 0..=255 {
            if good[0] == b'{' && u8::is_ascii_whitespace(&byte) {
                continue;
            }
            assert!(client.verify_bytes(&[good.as_slice(), &[byte]].concat()).is_err());
        }
    }
}

#[test]
fn json_members_are_the_known_ones() {
    let (_, proof) = short_chain();
    let good = proof.to_value().expect("it is final");
    let Value::Object(members) = &good else { panic!("a proof is an object") };
    for name in members.iter().map(|(name, _)| name.to_owned()) {
        let mut bad = members.clone();
        bad.remove(&name);
        let text = canonical(&Value::Object(bad));
        let error = FinalityProof::from_json(&text).expect_err("a member is missing");
        assert!(error.to_string().contains("is missing"), "{error}");
    }
    let mut bad = members.clone();
    bad.insert("note", "hello".into());
    let error = FinalityProof::from_json(&canonical(&Value::Object(bad))).expect_err("unknown");
    assert!(error.to_string().contains("`note` is an unknown member"), "{error}");
    let text = String::from_utf8(canonical(&good)).expect("JSON is UTF-8");
    let exec = proof.head.exec.log_root.to_string();
    for (from, to) in [
        (exec.as_str(), exec.to_uppercase().as_str()),
        (r#""version":1"#, r#""version":2"#),
        (r#""committee_size":7"#, r#""committee_size":1025"#),
        (r#""signers":[2,3,4,5,6]"#, r#""signers":[3,2,4,5,6]"#),
        (r#""signers":[2,3,4,5,6]"#, r#""signers":[2,2,4,5,6]"#),
        (r#""signers":[2,3,4,5,6]"#, r#""signers":[2,3,4,5,7]"#),
        (r#""signers":[2,3,4,5,6]"#, r#""signers":[2,3,4,5]"#),
        (r#""proposer":2"#, r#""proposer":65536"#),
        (r#""eras":[]"#, r#""eras":null"#),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(FinalityProof::from_json(bad.as_bytes()).is_err(), "{to} is accepted");
    }
}

#[test]
fn what_is_not_final_has_no_json() {
    let (_, proof) = short_chain();
    let mut bad = proof.clone();
    bad.envelope.push(b' ');
    assert!(bad.to_json().is_err());
    bad.envelope = b"7".to_vec();
    assert!(bad.to_json().is_err());
    let mut bad = proof;
    bad.head.exec.log_size = 1 << 53;
    assert!(bad.to_json().is_err());
    bad.head.exec.log_size -= 1;
    let text = bad.to_json().expect("the largest number");
    assert_eq!(FinalityProof::from_json(&text), Ok(bad));
}

#[test]
fn another_genesis_refuses() {
    let (_, proof) = short_chain();
    let mut other = TestChain::new(&team(10, 7));
    other.genesis.name = "other".to_owned();
    let error = client(&other).verify(&proof).expect_err("another chain");
    assert!(matches!(error, ProofError::Chain { .. }), "{error}");
    let other = TestChain::new(&team(11, 7));
    let error = client(&other).verify(&proof).expect_err("another committee");
    assert!(matches!(error, ProofError::Chain { .. }), "{error}");
}

#[track_caller]
fn refused(
    name: &str,
    chain: &TestChain,
    proof: &FinalityProof,
    is_right: fn(&ProofError) -> bool,
) {
    let client = client(chain);
    let error = client.verify(proof).expect_err(name);
    assert!(is_right(&error), "{name}: {error:?}");
    assert!(client.verify_bytes(&proof.to_cbor()).is_err(), "{name}: from bytes");
}

/// Each row damages a proof, and signs anew where a liar could.
#[test]
fn refusals_of_a_head() {
    let (chain, good) = short_chain();
    let resign = |proof: &mut FinalityProof| {
        proof.head.commit = chain.certify(&proof.head.header, &proof.head.exec);
    };

    let mut bad = good.clone();
    bad.head.header.timestamp_ms = bad.head.header.timestamp_ms.next();
    refused("header", &chain, &bad, |error| matches!(error, ProofError::Block { .. }));

    let mut bad = good.clone();
    bad.head.header.chain_id = ChainId([1; 32]);
    resign(&mut bad);
    refused("chain", &chain, &bad, |error| matches!(error, ProofError::Chain { .. }));

    let mut bad = good.clone();
    bad.head.header.era = Era::new(2);
    resign(&mut bad);
    refused("era", &chain, &bad, |error| matches!(error, ProofError::Era { .. }));

    let mut bad = good.clone();
    bad.head.commit.vote.era = Era::new(2);
    refused("era of vote", &chain, &bad, |error| matches!(error, ProofError::Era { .. }));

    let mut bad = good.clone();
    bad.head.header.height = Height::ZERO;
    resign(&mut bad);
    refused("height", &chain, &bad, |error| matches!(error, ProofError::Height { .. }));

    let mut bad = good.clone();
    let vote = bizra_types::message::CommitVote { view: View::new(9), ..bad.head.commit.vote };
    bad.head.commit = sign_commit(&chain.team, &chain.genesis.chain_id(), vote, 0..5);
    refused("view", &chain, &bad, |error| matches!(error, ProofError::View { .. }));

    let mut bad = good.clone();
    bad.head.exec.state_root = Hash([1; 32]);
    refused("exec", &chain, &bad, |error| matches!(error, ProofError::Exec { .. }));

    let mut bad = good.clone();
    bad.head.header.closes = Some(Closes { block: BlockId::ZERO, exec: bad.head.exec.hash() });
    resign(&mut bad);
    refused("filler as block", &chain, &bad, |error| matches!(error, ProofError::Filler(_)));

    let mut bad = good.clone();
    let closes = Closes { block: bad.head.header.id(), exec: bad.head.exec.hash() };
    let filler = bizra_types::block::Header { closes: Some(closes), ..bad.head.header };
    bad.head.commit = chain.certify(&filler, &bad.head.exec);
    bad.head.filler = Some(filler);
    refused("filler in mid-era", &chain, &bad, |error| {
        matches!(error, ProofError::FillerWithoutEnd)
    });
}

#[test]
fn refusals_of_a_certificate() {
    let (chain, good) = short_chain();
    let signed = |signers: &[usize]| {
        let mut bad = good.clone();
        let head = &good.head;
        bad.head.commit = chain.certify_by(&head.header, &head.exec, signers.iter().copied());
        bad
    };
    client(&chain).verify(&signed(&[0, 2, 4, 5, 6])).expect("any quorum will do");
    let quorum =
        |error: &ProofError| matches!(error, ProofError::Certificate(Fault::Quorum { .. }));
    refused("four", &chain, &signed(&[0, 1, 2, 3]), quorum);
    refused("nobody", &chain, &signed(&[]), quorum);
    let exactly = |error: &ProofError| matches!(error, ProofError::Signers { quorum: 5, .. });
    refused("six", &chain, &signed(&[0, 1, 2, 3, 4, 5]), exactly);
    refused("seven", &chain, &signed(&[0, 1, 2, 3, 4, 5, 6]), exactly);

    let bad_signature = |error: &ProofError| *error == ProofError::Certificate(Fault::Signature);
    let mut bad = good.clone();
    bad.head.commit.signatures.swap(0, 1);
    refused("swapped", &chain, &bad, bad_signature);

    let mut bad = good.clone();
    bad.head.commit.signatures[4] = bad.head.commit.signatures[3];
    refused("one signature twice", &chain, &bad, bad_signature);

    let members = [0, 1, 2, 3, 4].map(ValidatorIndex::new);
    let mut bad = good.clone();
    bad.head.commit.signers = SignerSet::of(7, members);
    refused("other signers", &chain, &bad, bad_signature);

    for size in [5, 8] {
        let mut bad = good.clone();
        bad.head.commit.signers = SignerSet::of(size, members);
        refused("bitmap of another size", &chain, &bad, quorum);
    }

    let mut bad = good.clone();
    let vote = bad.head.commit.vote;
    bad.head.commit = sign_commit(&chain.team, &ChainId([7; 32]), vote, 0..5);
    refused("signed for another chain", &chain, &bad, bad_signature);

    let mut bad = good.clone();
    bad.head.commit =
        sign_commit(&team(40, 7), &chain.genesis.chain_id(), good.head.commit.vote, 0..5);
    refused("signed by strangers", &chain, &bad, bad_signature);

    // One signature missing beside an intact bitmap cannot even be encoded.
    let mut bad = good.clone();
    bad.head.commit.signatures.pop();
    assert!(matches!(
        client(&chain).verify(&bad),
        Err(ProofError::Certificate(Fault::Quorum { .. }))
    ));
}

#[test]
fn refusals_of_a_place_in_the_log() {
    let (chain, good) = short_chain();
    let inclusion = |error: &ProofError| matches!(error, ProofError::Inclusion { .. });
    for index in [0, 1, 2, 4, 5, 6, 1 << 40, u64::MAX] {
        let bad = FinalityProof { log_index: LogIndex::new(index), ..good.clone() };
        refused("index", &chain, &bad, inclusion);
    }
    let mut bad = good.clone();
    bad.inclusion.pop();
    refused("short path", &chain, &bad, inclusion);
    let mut bad = good.clone();
    bad.inclusion.push(Hash::ZERO);
    refused("long path", &chain, &bad, inclusion);
    let mut bad = good.clone();
    bad.inclusion.swap(0, 1);
    refused("path in another order", &chain, &bad, inclusion);
    let mut bad = good.clone();
    bad.head.exec.log_size += 1;
    assert!(client(&chain).verify(&bad).is_err());
    let bad = FinalityProof { envelope: envelope(77, None), ..good };
    refused("another record", &chain, &bad, inclusion);
}

/// A liar that holds a quorum could put anything into the log; the client
/// still says what is no record.
#[test]
fn refusals_of_an_envelope() {
    let team = team(10, 7);
    let in_log = |bytes: Vec<u8>| {
        let mut chain = TestChain::new(&team);
        let records = vec![envelope(1, None), bytes];
        let tree = Tree::of_records(&records);
        let head = chain.commit(&tree);
        (proof(&head, &records, &tree, 1), chain)
    };
    let verdict = |bytes: Vec<u8>| {
        let (proof, chain) = in_log(bytes);
        client(&chain).verify(&proof)
    };
    let good = String::from_utf8(envelope(0, None)).expect("JSON is UTF-8");
    verdict(good.clone().into_bytes()).expect("it is a record");

    let with_space = good.replacen(':', ": ", 1);
    let at = good.find(':').expect("there is a colon") + 1;
    assert_eq!(
        verdict(with_space.into_bytes()),
        Err(ProofError::Envelope(EnvelopeError::NotCanonical(at)))
    );
    for bad in ["", "{}", "7", "\u{feff}{}", r#"{"a":1,"a":1}"#] {
        assert!(matches!(
            verdict(bad.into()),
            Err(ProofError::Envelope(EnvelopeError::Json(_) | EnvelopeError::Schema(_)))
        ));
    }
    for (from, to) in [
        (r#""algorithm":"ed25519""#, r#""algorithm":"ed448""#),
        (r#""signed_fields":["version","#, r#""signed_fields":["#),
        (r#""signed_fields":["version","#, r#""signed_fields":["nonce","#),
        (r#""public_key":"#, r#""public_kez":"#),
    ] {
        assert!(good.contains(from), "{from}");
        let error = verdict(good.replacen(from, to, 1).into_bytes()).expect_err(to);
        assert!(
            matches!(&error, ProofError::Envelope(EnvelopeError::Schema(_))),
            "{to}: {error:?}"
        );
    }
    let changed = good.replacen("0.97", "0.98", 1);
    assert_ne!(changed, good);
    assert_eq!(verdict(changed.into_bytes()), Err(ProofError::Envelope(EnvelopeError::Signature)));

    let (text, key) = unsigned_with_key([0x11; 32], |public| hex(&public.0));
    let wrong = sign(&text, &SigningKey::from_bytes(&[0x12; 32]));
    assert_eq!(verdict(wrong), Err(ProofError::Envelope(EnvelopeError::Signature)));
    verdict(sign(&text, &key)).expect("the right key");

    // The neutral point verifies an all-zero signature of anything.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let small = PublicKey(neutral);
    let (text, key) = unsigned_with_key([0x11; 32], |_| hex(&neutral));
    let signed = String::from_utf8(sign(&text, &key)).expect("JSON is UTF-8");
    assert_eq!(
        verdict(signed.into_bytes()),
        Err(ProofError::Envelope(EnvelopeError::SmallOrder(small)))
    );

    let chain_id = TestChain::new(&team).genesis.chain_id();
    verdict(envelope(0, Some(chain_id))).expect("it names this chain");
    let other = ChainId([9; 32]);
    assert_eq!(
        verdict(envelope(0, Some(other))),
        Err(ProofError::EnvelopeChain { found: other, expected: chain_id })
    );
}

fn unsigned_with_key(seed: [u8; 32], public: impl Fn(PublicKey) -> String) -> (String, SigningKey) {
    let key = SigningKey::from_bytes(&seed);
    let public = public(PublicKey(key.verifying_key().to_bytes()));
    let Ok(Value::Object(mut members)) = parse(&envelope(0, None), Limits::ENVELOPE) else {
        panic!("an envelope is an object")
    };
    members.remove("signature");
    let Some(Value::Object(mut sender)) = members.remove("sender") else {
        panic!("a sender is an object")
    };
    sender.insert("public_key", public.as_str().into());
    members.insert("sender", Value::Object(sender));
    let text = String::from_utf8(canonical(&Value::Object(members))).expect("JSON is UTF-8");
    (text, key)
}

#[test]
fn refusals_of_an_era_change() {
    let (chain, _, good) = long_chain();
    let era = |error: &ProofError| matches!(error, ProofError::Era { .. });

    let mut bad = good.clone();
    bad.head.eras.pop();
    refused("last change missing", &chain, &bad, era);
    let mut bad = good.clone();
    bad.head.eras.remove(0);
    refused("first change missing", &chain, &bad, era);
    let mut bad = good.clone();
    bad.head.eras.swap(0, 1);
    refused("changes swapped", &chain, &bad, era);
    let mut bad = good.clone();
    bad.head.eras.push(good.head.eras[1].clone());
    refused("a change twice", &chain, &bad, era);

    let mut bad = good.clone();
    bad.head.eras[0].committee = team(70, 7).committee;
    refused("another committee", &chain, &bad, |error| {
        matches!(error, ProofError::Committee { .. })
    });

    let mut bad = good.clone();
    bad.head.eras[1].filler = None;
    refused("filler left out", &chain, &bad, |error| matches!(error, ProofError::Block { .. }));

    let mut bad = good.clone();
    bad.head.eras[1].header.timestamp_ms = bad.head.eras[1].header.timestamp_ms.next();
    refused("filler of another block", &chain, &bad, |error| {
        matches!(error, ProofError::FillerClosesOther(_))
    });

    let mut bad = good.clone();
    bad.head.eras[1].exec.plain_digest = Hash::ZERO;
    refused("filler of another exec", &chain, &bad, |error| {
        matches!(error, ProofError::FillerClosesOther(_))
    });

    let mut bad = good.clone();
    let filler = bad.head.eras[1].filler.as_mut().expect("the second change has a filler");
    filler.closes = None;
    refused("filler that closes nothing", &chain, &bad, |error| {
        matches!(error, ProofError::FillerClosesOther(_))
    });

    // The old committee signs on behalf of the new one.
    let mut bad = good.clone();
    let vote = good.head.commit.vote;
    bad.head.commit = sign_commit(&team(30, 4), &chain.genesis.chain_id(), vote, 0..3);
    refused("signed by another era's committee", &chain, &bad, |error| {
        *error == ProofError::Certificate(Fault::Signature)
    });

    // Two of the three signers sat in the committee before: overlap proves nothing.
    let mut mixed = team(30, 4);
    mixed.keys[2] = team(50, 4).keys[2].clone();
    let mut bad = good.clone();
    bad.head.commit = sign_commit(&mixed, &chain.genesis.chain_id(), vote, 0..3);
    refused("signed by a mixture", &chain, &bad, |error| {
        *error == ProofError::Certificate(Fault::Signature)
    });
}

/// Whoever holds a quorum of an era's keys still cannot make time or the log
/// run backwards, or end an era without naming who follows.
#[test]
fn refusals_of_impossible_histories() {
    let first = team(10, 7);
    let mut chain = TestChain::new(&first);
    let records = records(8);
    let tree = Tree::of_records(&records);
    let genesis = chain.clone();

    chain.end_era(&tree, &team(30, 7), false);
    let mut shrunk = chain.clone();
    let small = Tree::of_records(&records[..4]);
    let head = shrunk.commit(&small);
    refused("log shrinks", &chain, &proof(&head, &records, &small, 1), |error| {
        matches!(error, ProofError::LogSize { found: 4, previous: 8 })
    });

    let mut head = chain.clone().commit(&tree);
    head.header.height = Height::new(1);
    head.commit = chain.certify(&head.header, &head.exec);
    refused("height repeats", &chain, &proof(&head, &records, &tree, 1), |error| {
        matches!(error, ProofError::Height { .. })
    });

    let mut head = chain.clone().commit(&tree);
    let change = &mut head.eras[0];
    change.exec.next_committee = Hash::ZERO;
    change.commit = genesis.certify(&change.header, &change.exec);
    refused("an era that did not end", &chain, &proof(&head, &records, &tree, 1), |error| {
        matches!(error, ProofError::Committee { expected: Hash::ZERO, .. })
    });

    let mut head = chain.clone().commit(&tree);
    head.eras[0].header.closes = Some(Closes { block: BlockId::ZERO, exec: ExecHash::ZERO });
    refused("an era ended by a filler", &chain, &proof(&head, &records, &tree, 1), |error| {
        matches!(error, ProofError::Filler(_))
    });

    let mut chain = TestChain::new(&first);
    let mut head = chain.end_era(&tree, &team(30, 7), true);
    let filler = head.filler.as_mut().expect("it closes by a filler");
    filler.height = filler.height.next();
    head.commit = genesis.certify(filler, &head.exec);
    refused("filler of another height", &genesis, &proof(&head, &records, &tree, 1), |error| {
        matches!(error, ProofError::FillerClosesOther(_))
    });

    let mut head = TestChain::new(&first).end_era(&tree, &team(30, 7), true);
    let filler = head.filler.as_mut().expect("it closes by a filler");
    filler.chain_id = ChainId([3; 32]);
    head.commit = genesis.certify(filler, &head.exec);
    refused("filler of another chain", &genesis, &proof(&head, &records, &tree, 1), |error| {
        matches!(error, ProofError::Chain { .. })
    });
}
