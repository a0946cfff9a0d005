use super::testing::{
    CHILD_FOLDER, RunBlock, TestChain, genesis, on_small_disk, record, registration, validator_key,
};
use super::*;
use bizra_consensus::{Activation, ClosedEra, Evidence, Opening, Persist, SafetyRecord};
use bizra_keys::SenderKey;
use bizra_ledger::codes::Code;
use bizra_ledger::envelope::Envelope;
use bizra_ledger::evidence::EvidenceFile;
use bizra_ledger::forms::Uuid;
use bizra_ledger::log::LogError;
use bizra_ledger::outcomes::signed_bytes_hash;
use bizra_ledger::plain::Family;
use bizra_ledger::state::STATE_VERSIONS_KEPT;
use bizra_light_client::Client;
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Block, Header, SignedProposal};
use bizra_types::certificate::{Certificate, Tc};
use bizra_types::crypto::Signature;
use bizra_types::hash::{BatchDigest, BlockId, ExecHash};
use bizra_types::message::{
    CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{
    Era, LaneSeq, LogIndex, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use rocksdb::IteratorMode;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn open(dir: &TempDir, genesis: &Genesis) -> Store {
    Store::open(dir.path(), genesis).expect("the folder opens")
}

/// The error of an open that must fail.
fn refused(dir: &TempDir, genesis: &Genesis) -> StorageError {
    Store::open(dir.path(), genesis).map(|_| ()).expect_err("the folder must be refused")
}

fn full_safety_record() -> SafetyRecord {
    let chain = TestChain::new("a");
    let qc = chain.qc();
    let era = Era::new(1);
    let timeout = Timeout { era, view: View::new(7), high_qc_view: View::ZERO };
    SafetyRecord {
        era,
        current_view: View::new(8),
        last_voted: Some(Vote { era, view: View::new(6), block: BlockId([1; 32]) }),
        last_timeout: Some((timeout, qc.clone())),
        last_commit_vote: Some(CommitVote {
            era,
            view: View::new(5),
            block: BlockId([2; 32]),
            exec: ExecHash([3; 32]),
        }),
        last_proposal: Some((View::new(4), BlockId([4; 32]))),
        last_batch: Some((LaneSeq::new(9), BatchDigest([5; 32]))),
        high_tc: Some(Tc {
            era,
            view: View::new(7),
            signers: qc.signers.clone(),
            high_qc_views: Vec::new(),
            signatures: Vec::new(),
            high_qc: qc.clone(),
        }),
        high_qc: qc,
    }
}

#[test]
fn a_safety_record_has_one_encoding() {
    let full = full_safety_record();
    let empty = SafetyRecord {
        last_voted: None,
        last_timeout: None,
        last_commit_vote: None,
        last_proposal: None,
        last_batch: None,
        high_tc: None,
        ..full.clone()
    };
    for safety in [full, empty] {
        let mut bytes = formats::safety_bytes(&safety);
        assert_eq!(formats::read_safety(&bytes), Ok(safety));
        for length in 0..bytes.len() {
            assert!(formats::read_safety(&bytes[..length]).is_err(), "{length} bytes");
        }
        bytes.push(0);
        assert_eq!(formats::read_safety(&bytes), Err(DecodeError::Trailing(1)));
    }
}

#[test]
fn every_certificate_that_a_vote_rests_on_is_kept() {
    let (dir, chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let record = full_safety_record();
    let tc_of = |view| {
        let tc = record.high_tc.clone().expect("a full record has one");
        Tc { view: View::new(view), ..tc }
    };
    let persist = |store: &Store, high_tc: Option<Tc>| {
        let certificates = Vec::from_iter(high_tc.map(Certificate::Tc));
        let persist = Persist { certificates, ..Persist::default() };
        store.persist(&persist).expect("the folder can be written");
    };
    for high_tc in [None, Some(tc_of(7)), Some(tc_of(7)), Some(tc_of(300))] {
        persist(&store, high_tc);
    }
    drop(store);
    let store = open(&dir, &chain.genesis);
    persist(&store, Some(tc_of(300)));
    persist(&store, Some(tc_of(301)));
    let kept = |from, to| {
        let certificates = store.certificates_of_views(record.era, View::new(from), View::new(to));
        certificates.expect("the folder can be read").0
    };
    let [first, second, third] = [7, 300, 301].map(|view| Certificate::Tc(tc_of(view)));
    assert_eq!(kept(0, 1_000), [first.clone(), second.clone(), third]);
    assert_eq!(kept(7, 301), [first, second]);
    assert!(kept(8, 300).is_empty());
}

#[test]
fn a_root_has_one_encoding() {
    let mut chain = TestChain::new("a");
    let batch = chain.batch(0, &[record(1)]);
    let block = chain.block(&[batch]);
    let mut root = chain.commit(&[(block, ExecHash([7; 32]))]).root;
    root.epoch.reveals.extend([2, 3].map(|index| (ValidatorIndex::new(index), [9; 32])));
    let version = ProtocolVersion::new(2);
    root.versions.next = Some(Activation { height: Height::new(100), version });
    root.parameters.idle_block_ms = 70;
    root.opening = Some(Opening {
        committee: Arc::clone(&chain.genesis.committee),
        filler: Some(chain.genesis.header()),
    });
    let mut bytes = formats::root_bytes(&root);
    assert_eq!(formats::read_root(&bytes), Ok(root));
    for length in 0..bytes.len() {
        assert!(formats::read_root(&bytes[..length]).is_err(), "{length} bytes");
    }
    bytes.push(0);
    assert_eq!(formats::read_root(&bytes), Err(DecodeError::Trailing(1)));
    bytes.pop();
    let reveals = [[2, 0], [3, 0]].map(|index| [&index[..], &[9; 32]].concat());
    let at = bytes.windows(68).position(|it| it == reveals.concat()).expect("they are there");
    bytes[at..at + 68].copy_from_slice(&[&reveals[1][..], &reveals[0]].concat());
    assert_eq!(formats::read_root(&bytes), Err(DecodeError::Unordered("reveals of an epoch")));
}

#[test]
fn evidence_of_every_kind_is_kept_once_and_whole() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let (era, signer, signature) = (Era::new(1), ValidatorIndex::new(3), Signature([8; 64]));
    let vote = |byte| SignedVote {
        vote: Vote { era, view: View::new(2), block: BlockId([byte; 32]) },
        signer,
        signature,
    };
    let commit_vote = |byte| SignedCommitVote {
        vote: CommitVote {
            era,
            view: View::new(2),
            block: BlockId([1; 32]),
            exec: ExecHash([byte; 32]),
        },
        signer,
        signature,
    };
    let timeout = |view| SignedTimeout {
        timeout: Timeout { era, view: View::new(view), high_qc_view: View::ZERO },
        signer,
        signature,
        high_qc: chain.qc(),
        entry_tc: None,
        missing: vec![validator_key(1).public()],
    };
    let cert = chain.commit(&[(chain.clone().block(&[]), ExecHash([2; 32]))]).cert;
    let timeouts = (timeout(3), timeout(4));
    let batches = (chain.batch(1, &[record(1)]), chain.clone().batch(1, &[record(2)]));
    let proposal = |block: Block| SignedProposal { block, tc: None, signature };
    let proposals =
        (proposal(chain.clone().block(&[])), proposal(chain.block_in(View::new(3), &[])));
    let all = [
        Evidence::Votes(vote(1), vote(2)),
        Evidence::CommitVotes(commit_vote(1), commit_vote(2)),
        Evidence::Timeouts(timeouts.0.clone(), timeouts.1.clone()),
        Evidence::Proposals(proposals.0, proposals.1),
        Evidence::Batches(batches.0, batches.1),
        Evidence::HiddenQc(commit_vote(1), timeouts.1),
        Evidence::OtherExec(commit_vote(1), cert),
    ];
    for evidence in all.iter().chain(&all) {
        store.store_evidence(evidence).expect("the store can be written");
    }
    let kept = store.evidence(100).expect("the store can be read");
    assert_eq!(kept.len(), all.len());
    for evidence in &all {
        assert!(kept.contains(evidence), "{evidence:?}");
    }
    assert_eq!(store.evidence(2).map(|some| some.len()), Ok(2));
}

#[test]
fn evidence_does_not_fill_the_disk() {
    let (dir, chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    // A liar makes two batches at every place of its lane.
    let keep = |author, count: usize| {
        let (mut one, mut other) = (chain.clone(), chain.clone());
        for number in (1..).take(count) {
            let pair = (one.batch(author, &[record(number)]), other.batch(author, &[record(99)]));
            store.store_evidence(&Evidence::Batches(pair.0, pair.1)).expect("writable");
        }
        store.evidence(usize::MAX).expect("readable").len()
    };
    assert_eq!(keep(1, EVIDENCE_MAX + 5), EVIDENCE_MAX);
    assert_eq!(keep(2, 2), EVIDENCE_MAX + 2);
    store.keep_free(u64::MAX);
    let era = Era::new(1);
    let vote = |byte| SignedVote {
        vote: Vote { era, view: View::new(2), block: BlockId([byte; 32]) },
        signer: ValidatorIndex::new(3),
        signature: Signature([8; 64]),
    };
    let refused = store.store_evidence(&Evidence::Votes(vote(1), vote(2)));
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
}

#[test]
fn an_invalid_batch_is_kept_once_for_its_place_and_if_it_can_be_filed() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let bad = |size: usize| -> Arc<[u8]> { vec![b'{'; size].into() };
    let keep = |batch: &SignedBatch| store.store_invalid_batch(batch).expect("writable");

    let (mut fork, good) = (chain.clone(), chain.clone().batch(1, &[record(1)]));
    assert!(!keep(&good), "nothing is wrong with it");
    // Some 30 KB make 60 KB of hex, for which an envelope has room beside its other members.
    let first = chain.batch(1, &[record(1), bad(28_000)]);
    assert!(keep(&first));
    assert!(!keep(&first), "it is there");
    let other = fork.batch(1, &[bad(3)]);
    assert!(!keep(&other), "another batch of the same place");
    let large = chain.batch(1, &[bad(32_000)]);
    assert!(!keep(&large), "no envelope has room for it");
    let second = chain.batch(1, &[bad(3)]);
    let unsigned = SignedBatch::new(*second.header(), Signature([0; 64]), second.records().clone());
    assert!(!keep(&unsigned.expect("whole")), "anybody can make one");
    assert!(keep(&second), "and it takes no room away");
    assert_eq!(store.evidence(9), Ok(Vec::new()));
    let kept = |batches: &[&Arc<SignedBatch>]| -> Vec<SignedBatch> {
        batches.iter().map(|batch| SignedBatch::clone(batch)).collect()
    };
    assert_eq!(store.invalid_batches(9), Ok(kept(&[&second, &first])));
    assert_eq!(store.invalid_batches(1), Ok(kept(&[&second])));

    for _ in 2..EVIDENCE_MAX + 5 {
        keep(&chain.batch(1, &[bad(3)]));
    }
    assert_eq!(store.invalid_batches(99).map(|it| it.len()), Ok(EVIDENCE_MAX));
    assert!(keep(&chain.batch(2, &[bad(3)])), "another author");
    // Each can be filed by what the store has.
    for batch in store.invalid_batches(99).expect("readable") {
        let file = EvidenceFile::of_batch(&batch);
        assert_eq!((file.fits(), file.check(&chain.genesis.chain_id())), (true, Ok(())));
    }
    drop(store);
    assert_eq!(open(&dir, &chain.genesis).invalid_batches(99).map(|it| it.len()), Ok(17));
}

#[test]
fn what_was_persisted_is_restored() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let restored = store.restored().expect("the store can be read");
    assert_eq!(restored.root, ChainHead::genesis(&chain.genesis).root);
    assert!(restored.safety.is_empty() && restored.blocks.is_empty());
    assert!(restored.batches.is_empty());

    let theirs = chain.batch(1, &[record(1), record(2)]);
    let own = chain.batch(0, &[record(3)]);
    let cited = [Arc::clone(&own), Arc::clone(&theirs)];
    let first = chain.block(&cited);
    let second = chain.block(&[]);
    let mut persist = chain.vote(&first, &[Arc::clone(&theirs)]);
    persist.own_batches = vec![(*own.header(), Arc::clone(own.records()))];
    store.persist(&persist).expect("the store can be written");
    let closed = ClosedEra {
        era: Era::new(1),
        next: Arc::clone(&chain.genesis.committee),
        certificate: Certificate::Qc(full_safety_record().high_qc),
    };
    let last = Persist {
        closed: vec![closed.clone()],
        safety: vec![(validator_key(1).public(), full_safety_record())],
        blocks: vec![second.clone()],
        ..Persist::default()
    };
    store.persist(&last).expect("the store can be written");
    drop(store);

    let store = open(&dir, &chain.genesis);
    let restored = store.restored().expect("the store can be read");
    let mut safety = [persist.safety, last.safety].concat();
    safety.sort_by_key(|(key, _)| key.0);
    assert_eq!(restored.safety, safety);
    assert_eq!(restored.closed, [closed]);
    assert_eq!(restored.blocks, [first, second]);
    let unsigned = SignedBatch::new(*own.header(), Signature([0; 64]), Arc::clone(own.records()));
    let unsigned = unsigned.expect("the header is theirs");
    assert_eq!(restored.batches.len(), 2);
    assert!(restored.batches.contains(&theirs));
    assert!(restored.batches.contains(&Arc::new(unsigned)));

    store.store_signature(&own).expect("the store can be written");
    let restored = store.restored().expect("the store can be read");
    assert!(restored.batches.contains(&own));
    let header = own.header();
    let digest = header.digest(&chain.genesis.chain_id());
    let found = store.batch(header.author, header.lane_seq, digest).expect("readable");
    assert_eq!(found.as_ref(), Some(&*own));
}

#[test]
fn a_commit_is_found_by_every_key() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let bad: Arc<[u8]> = b"{}".as_slice().into();
    let batch = chain.batch(2, &[record(1), Arc::clone(&bad), record(2)]);
    let repeat = chain.batch(3, &[record(1), record(3)]);
    let batches = [batch, repeat];
    let run = chain.grow(&store, &batches);
    drop(store);

    let store = open(&dir, &chain.genesis);
    let one = Height::new(1);
    assert_eq!(store.head().height(), one);
    assert_eq!(store.head().fields.log_size, 3);
    assert_eq!(store.head().root.header, *run.block.header());
    assert_eq!(store.block_at(one), Ok(Some(run.block.clone())));
    assert_eq!(store.block_at(Height::ZERO), Ok(None));
    assert_eq!(store.exec_at(one), Ok(Some(*run.overlay.fields())));
    let digests: Vec<_> = (1..=3).map(digest_of).collect();
    for (number, digest) in (1..).zip(&digests) {
        let found = store.record(digest).expect("readable").expect("known");
        assert_eq!(found.bytes, record(number));
        let expected = StoredOutcome {
            digest: Some(*digest),
            height: one,
            code: Code::Success,
            log_index: Some(LogIndex::new(number - 1)),
        };
        assert_eq!(found.outcome, expected);
        let hash = signed_bytes_hash(&record(number));
        assert_eq!(store.outcome_of_bytes(&hash), Ok(Some(expected)));
    }
    let outcome = store.outcome_of_bytes(&signed_bytes_hash(&bad)).expect("readable");
    let outcome = outcome.expect("known");
    assert_eq!((outcome.code, outcome.digest), (Code::Schema, None));
    let committed = store.committed_at(one).expect("readable").expect("known");
    let codes: Vec<_> = committed.records.iter().map(|record| record.1).collect();
    assert_eq!(codes, [0, 1, 0, 255, 0]);
    assert_eq!(committed.records[3], (Some(digests[0]), 255, Some(LogIndex::new(0))));

    let found = |key, after: Option<u64>, limit| {
        let start = after.map_or(LogIndex::ZERO, |after| LogIndex::new(after.saturating_add(1)));
        let found = store.search(key, start..LogIndex::MAX, limit).expect("readable");
        found.into_iter().map(|(index, digest)| (index.get(), digest)).collect::<Vec<_>>()
    };
    let session = |number| {
        IndexKey::Session(
            Uuid::parse(&format!("0189d3a0-0000-7000-8000-{number:012x}")).expect("a UUID"),
        )
    };
    let all = [(0, digests[0]), (1, digests[1]), (2, digests[2])];
    assert_eq!(found(IndexKey::All, None, 9), all);
    assert_eq!(found(IndexKey::All, None, 2), all[..2]);
    assert_eq!(found(IndexKey::All, Some(0), 9), all[1..]);
    assert_eq!(found(IndexKey::All, Some(u64::MAX), 9), []);
    for (number, place) in [(1, all[0]), (2, all[1]), (3, all[2])] {
        assert_eq!(found(session(number), None, 9), [place]);
    }
    assert_eq!(found(session(0), None, 9), []);
    assert_eq!(found(IndexKey::Model([0xab; 32]), None, 9), all);
    assert_eq!(found(IndexKey::Model([0xac; 32]), None, 9), []);
    assert_eq!(found(IndexKey::Sender(sender_of(1)), None, 9), all);
}

#[test]
fn heights_and_times_lead_to_places_in_the_log() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let (index, height) = (LogIndex::new, Height::new);
    for any in [0, 1, 7, u64::MAX] {
        assert_eq!(store.first_index_from(height(any)), Ok(LogIndex::ZERO));
        assert_eq!(store.first_height_from(TimestampMs::new(any)), Ok(height(1)));
    }
    let mut times = Vec::new();
    for numbers in [&[1, 2][..], &[], &[3]] {
        let records: Vec<_> = numbers.iter().map(|number| record(*number)).collect();
        let batches = if records.is_empty() { Vec::new() } else { vec![chain.batch(0, &records)] };
        times.push(chain.grow(&store, &batches).block.header().timestamp_ms);
    }
    for (from, first) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 3), (5, 3), (u64::MAX, 3)] {
        assert_eq!(store.first_index_from(height(from)), Ok(index(first)), "from {from}");
    }
    for (at, time) in times.iter().enumerate() {
        let at = at as u64 + 1;
        assert_eq!(store.first_height_from(*time), Ok(height(at)));
        let later = TimestampMs::new(time.get() + 1);
        assert_eq!(store.first_height_from(later), Ok(height(at + 1)));
    }
    assert_eq!(store.first_height_from(TimestampMs::MAX), Ok(height(4)));
    let found = |range| store.search(IndexKey::All, range, 9).expect("readable").len();
    assert_eq!(found(index(0)..index(2)), 2);
    assert_eq!(found(index(1)..index(3)), 2);
    assert_eq!(found(index(2)..index(2)), 0);
    assert_eq!(found(index(3)..index(1)), 0);
    assert_eq!(found(index(3)..LogIndex::MAX), 0);
}

#[test]
fn every_final_record_has_a_proof_that_a_stranger_accepts() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let mut client = Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file");
    // One certificate for heights 1 and 2, another for 3.
    let mut runs: Vec<RunBlock> = Vec::new();
    for number in 1..=2 {
        let batch = chain.batch(0, &[record(number), record(10 + number)]);
        let block = chain.block(&[Arc::clone(&batch)]);
        runs.push(chain.run(&store, &runs, &block, &[batch]));
    }
    commit_all(&store, &chain, &runs);
    let batch = chain.batch(1, &[record(3)]);
    chain.grow(&store, &[batch]);
    assert_eq!(
        store.certificate_at_or_after(Height::new(1)).expect("readable").map(|it| it.0),
        Some(Height::new(2))
    );

    for (number, certified) in [(1, 2), (11, 2), (2, 2), (12, 2), (3, 3)] {
        let proof = store.finality_proof(&digest_of(number)).expect("readable");
        let proof = proof.expect("the record is final");
        assert_eq!(proof.head.header.height, Height::new(certified));
        assert_eq!(proof.head.commit.signatures.len(), chain.genesis.committee.quorum());
        let verified = client.verify_bytes(&proof.to_cbor()).expect("the proof is good");
        assert_eq!(verified.digest, digest_of(number));
        assert_eq!(verified.envelope, *record(number));
    }
    assert_eq!(store.finality_proof(&digest_of(4)), Ok(None));

    let older = store.final_head(Height::new(1)).expect("readable").expect("final");
    client.advance(&older, &[]).expect("the head is final");
    let newer = store.final_head(Height::new(3)).expect("readable").expect("final");
    let consistency = store.consistency(older.exec.log_size, newer.exec.log_size);
    client.advance(&newer, &consistency.expect("both are in the log")).expect("it continues");
    assert_eq!(store.consistency(0, 6), Err(LogError::NotInLog { index: 5, size: 5 }));
    assert_eq!(store.consistency(4, 3), Err(LogError::Shrinks { from: 4, to: 3 }));
    assert_eq!(store.final_head(Height::new(4)), Ok(None));
}

#[test]
fn a_rejected_record_has_no_proof_and_its_last_judgement() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let bad_signature = with_bad_signature(1);
    let batch = chain.batch(0, &[Arc::clone(&bad_signature)]);
    chain.grow(&store, &[batch]);
    assert_eq!(store.record(&digest_of(1)), Ok(None), "a forged copy says nothing of the digest");
    let outcome = store.outcome_of_bytes(&signed_bytes_hash(&bad_signature)).expect("readable");
    assert_eq!(outcome.map(|it| it.code), Some(Code::Signature));
    let batch = chain.batch(0, &[record(1)]);
    chain.grow(&store, &[batch]);
    let found = store.record(&digest_of(1)).expect("readable").expect("known");
    assert_eq!((found.outcome.code, found.outcome.height), (Code::Success, Height::new(2)));
    let batch = chain.batch(0, &[record(1)]);
    chain.grow(&store, &[batch]);
    assert_eq!(store.record(&digest_of(1)), Ok(Some(found)), "a copy changes nothing");
}

#[test]
fn a_commit_takes_away_the_forks_and_nothing_else() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let batch = chain.batch(0, &[record(1)]);
    let uncited = chain.clone().batch(1, &[record(2)]);
    let fork = chain.clone().block_in(View::new(5), &[]);
    let first = chain.block(&[Arc::clone(&batch)]);
    let second = chain.clone().block(&[]);
    let persist = Persist {
        blocks: vec![fork.clone(), first.clone(), second.clone()],
        batches: vec![Arc::clone(&batch), Arc::clone(&uncited)],
        ..Persist::default()
    };
    store.persist(&persist).expect("the store can be written");
    let run = chain.run(&store, &[], &first, &[batch]);
    commit_all(&store, &chain, &[run]);
    assert_eq!(store.block(fork.id()), Ok(None));
    assert_eq!(store.block(first.id()), Ok(Some(first.clone())));
    let restored = store.restored().expect("readable");
    assert_eq!(restored.blocks, [second]);
    assert_eq!(restored.batches, [uncited]);

    // But should the fork be final somewhere, it shows who lied.
    let of_views = |from, to| {
        let (from, to) = (View::new(from), View::new(to));
        let kept = store.certificates_of_views(Era::new(1), from, to).expect("readable");
        (kept.0, kept.1.iter().map(Header::id).collect::<Vec<_>>())
    };
    let view = first.header().view.get();
    assert!(of_views(view, 6).1.contains(&fork.id()), "{:?}", of_views(view, 6));
    assert!(of_views(5, 5).1.contains(&fork.id()));
    assert!(!of_views(6, 7).1.contains(&fork.id()));
    assert!(!of_views(0, 4).1.contains(&fork.id()));
    assert!(of_views(0, 5).1.contains(&first.id()));

    // What comes late is not taken for a fork of itself.
    let persist = Persist { blocks: vec![first.clone(), fork.clone()], ..Persist::default() };
    store.persist(&persist).expect("the store can be written");
    assert_eq!(store.restored().expect("readable").blocks.len(), 1);
    chain.grow(&store, &[]);
    assert_eq!(store.block(fork.id()), Ok(None));
    assert_eq!(store.block_at(Height::new(1)), Ok(Some(first)));
}

#[test]
fn a_peer_that_is_behind_gets_whole_certified_parts() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    // Certificates at heights 2, 3 and 5.
    let mut expected = Vec::new();
    for group in [&[1, 2][..], &[3], &[4, 5]] {
        let mut runs: Vec<RunBlock> = Vec::new();
        for number in group {
            let batches =
                [chain.batch(0, &[record(*number)]), chain.batch(1, &[record(10 + number)])];
            let block = chain.block(&batches);
            runs.push(chain.run(&store, &runs, &block, &batches));
        }
        commit_all(&store, &chain, &runs);
        for run in runs {
            let batches: Vec<_> = run.batches.iter().map(|it| SignedBatch::clone(it)).collect();
            expected.push((run.block, batches));
        }
    }
    let head = expected[4].0.id();
    let part = |above, target, size_max| {
        store.chain_from(Height::new(above), target, size_max, usize::MAX).expect("readable")
    };
    let heights = |part: Option<ChainPart>| -> Vec<u64> {
        part.into_iter()
            .flat_map(|part| part.blocks)
            .map(|(block, _)| block.header().height.get())
            .collect()
    };
    let whole = part(0, head, usize::MAX).expect("there is something above genesis");
    assert_eq!(whole.blocks, expected);
    assert_eq!(whole.certificate.made_final().map(|it| it.0), Some(head));
    assert_eq!(heights(part(0, head, 0)), [1, 2]);
    assert_eq!(heights(part(1, head, 0)), [2]);
    assert_eq!(heights(part(2, head, 0)), [3]);
    assert_eq!(heights(part(3, head, usize::MAX)), [4, 5]);
    assert_eq!(heights(part(0, expected[2].0.id(), usize::MAX)), [1, 2, 3]);
    assert_eq!(heights(part(0, expected[0].0.id(), usize::MAX)), [1, 2]);
    assert_eq!(heights(part(0, BlockId([9; 32]), usize::MAX)), [1, 2, 3, 4, 5]);
    assert_eq!(part(5, head, usize::MAX), None);
    // Blocks up to a certificate belong together, and batches may come later.
    let bare = store.chain_from(Height::ZERO, head, 0, 0).expect("readable").expect("some");
    let ids = |blocks: &[(Block, Vec<SignedBatch>)]| -> Vec<_> {
        blocks.iter().map(|(block, batches)| (block.id(), batches.len())).collect()
    };
    assert_eq!(ids(&expected[..2]).iter().map(|it| it.1).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(ids(&bare.blocks), [(expected[0].0.id(), 1), (expected[1].0.id(), 0)]);
    assert_eq!(bare.certificate.made_final().map(|it| it.0), Some(expected[1].0.id()));
    let two = part(0, head, 9_000).expect("there is something above genesis");
    let last = two.blocks.last().expect("some").0.id();
    assert_eq!(two.certificate.made_final().map(|it| it.0), Some(last));
}

#[test]
fn the_state_tree_survives_a_restart_and_keeps_a_window() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let mut store = open(&dir, &chain.genesis);
    let client = Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file");
    let key = |number: u64| SenderKey::from_seed(blake3::hash(&number.to_le_bytes()).as_bytes());
    let count = STATE_VERSIONS_KEPT + 20;
    for number in 0..count {
        let record = registration(&key(number), &chain.genesis.chain_id());
        let batch = chain.batch(0, &[record]);
        chain.grow(&store, &[batch]);
        if number == STATE_VERSIONS_KEPT / 2 {
            drop(store);
            store = open(&dir, &chain.genesis);
        }
    }
    assert_eq!(store.head().ledger.state.version.get(), count);
    for number in [0, 1, count / 2, count - 1, count] {
        let proof = store.state_proof(Family::Key, &key(number).public().0);
        let proof = proof.expect("readable").expect("something is final");
        let entry = client.verify_state(&proof).expect("the proof verifies");
        assert_eq!(entry.value.is_some(), number < count, "{number}");
    }
    // Each version has one list of what it replaced, and the oldest are gone.
    let lists = store.0.db.iterator_cf(store.family(STALE), IteratorMode::Start);
    let versions: Vec<_> = lists.map(|it| it.expect("readable").0).collect();
    let first = count - STATE_VERSIONS_KEPT + 2;
    let expected: Vec<Box<[u8]>> = (first..=count).map(|it| it.to_be_bytes().into()).collect();
    assert_eq!(versions, expected);
    let older = count - STATE_VERSIONS_KEPT;
    let gone = store.0.db.iterator_cf(store.family(STATE), IteratorMode::Start).any(|it| {
        let (place, _) = it.expect("readable");
        place.starts_with(&older.to_be_bytes()) && place.get(8) == Some(&0)
    });
    assert!(!gone, "the root of an expired version is still there");
}

#[test]
fn a_lane_is_walked_back_from_a_digest() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let lane: Vec<_> = (1..=5).map(|number| chain.batch(0, &[record(number)])).collect();
    let missing = 2;
    let mut persist = Persist { batches: lane.clone(), ..Persist::default() };
    persist.batches.remove(missing);
    store.persist(&persist).expect("the store can be written");
    let author = validator_key(0).public();
    let digest = |seq: u64| {
        let at = usize::try_from(seq).expect("small") - 1;
        lane[at].header().digest(&chain.genesis.chain_id())
    };
    let walk = |after, up_to, size_max| {
        let found = store.batches(
            author,
            LaneSeq::new(after),
            LaneSeq::new(up_to),
            digest(up_to),
            size_max,
        );
        let found = found.expect("readable");
        found.iter().map(|batch| batch.header().lane_seq.get()).collect::<Vec<_>>()
    };
    assert_eq!(walk(0, 5, usize::MAX), [4, 5], "batch 3 is missing");
    assert_eq!(walk(0, 3, usize::MAX), [0; 0]);
    assert_eq!(walk(3, 5, usize::MAX), [4, 5]);
    let all = Persist { batches: lane.clone(), ..Persist::default() };
    store.persist(&all).expect("the store can be written");
    assert_eq!(walk(0, 5, usize::MAX), [1, 2, 3, 4, 5]);
    assert_eq!(walk(1, 4, usize::MAX), [2, 3, 4]);
    // Whoever follows the lane back has it all in the end.
    let size = lane[0].to_bytes().len();
    assert_eq!(walk(0, 5, 2 * size), [4, 5]);
    assert_eq!(walk(0, 3, 2 * size), [2, 3]);
    assert_eq!(walk(0, 1, 2 * size), [1]);
    assert_eq!(walk(0, 5, 0), [5]);
    assert_eq!(walk(5, 5, usize::MAX), [0; 0]);
}

#[test]
fn a_long_lane_is_walked_back_in_steps() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let record: Arc<[u8]> = [1].into();
    let records = core::slice::from_ref(&record);
    let lane: Vec<_> = (0..LANE_WALK_MAX + 3).map(|_| chain.batch(0, records)).collect();
    let all = Persist { batches: lane.clone(), ..Persist::default() };
    store.persist(&all).expect("the store can be written");
    let last = lane.last().expect("some").header();
    let digest = last.digest(&chain.genesis.chain_id());
    let walk = |last: LaneSeq, digest| {
        let author = validator_key(0).public();
        store.batches(author, LaneSeq::ZERO, last, digest, usize::MAX).expect("readable")
    };
    let newer = walk(last.lane_seq, digest);
    assert_eq!(newer.len(), LANE_WALK_MAX);
    let next = newer[0].header();
    let older = walk(next.lane_seq.previous().expect("one more"), next.previous);
    assert_eq!(older.len(), 3);
}

#[test]
fn a_folder_of_another_chain_is_refused_with_both_names() {
    let dir = folder();
    let (ours, theirs) = (genesis("ours"), genesis("theirs"));
    drop(open(&dir, &theirs));
    let error = refused(&dir, &ours);
    let text = error.to_string();
    for part in [&ours.chain_id().to_string(), &theirs.chain_id().to_string(), "ours", "theirs"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(error, StorageError::WrongChain { found, .. } if found == theirs.chain_id()));
    drop(open(&dir, &theirs));
}

#[test]
fn a_folder_of_another_layout_is_refused() {
    let (dir, genesis) = (folder(), genesis("a"));
    let store = open(&dir, &genesis);
    put_meta(&store, META_LAYOUT, &(LAYOUT + 1).to_bytes());
    drop(store);
    let next = (LAYOUT + 1).to_string();
    assert!(matches!(refused(&dir, &genesis), StorageError::Layout { found, .. } if found == next));

    let dir = folder();
    drop(open(&dir, &genesis));
    let mut families = FAMILIES.to_vec();
    families.push("from the future");
    drop(DB::open_cf(&database_options(), dir.path(), families).expect("it opens"));
    let error = refused(&dir, &genesis);
    assert!(error.to_string().contains("from the future"), "{error}");
    assert!(matches!(error, StorageError::Layout { .. }));
}

#[test]
fn a_path_that_is_no_folder_is_refused() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").expect("the test can write");
    let error = Store::open(&file, &genesis("a")).map(|_| ()).expect_err("a file");
    assert!(matches!(error, StorageError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(&file.display().to_string()));
}

#[test]
fn a_folder_in_use_is_refused() {
    let genesis = genesis("a");
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        let _store = Store::open(Path::new(&dir), &genesis).expect("the child has it first");
        say("open");
        wait_for_the_end();
    }
    let dir = folder();
    let (mut child, mut lines) = start_child("storage::tests::a_folder_in_use_is_refused", &dir);
    assert_eq!(lines.next_fact(), Some("open".to_string()));
    assert_eq!(refused(&dir, &genesis), StorageError::Locked { dir: dir.path().to_path_buf() });
    child.kill().expect("the child runs");
    child.wait().expect("the child ends");
    let _store = open(&dir, &genesis);
    assert_eq!(refused(&dir, &genesis), StorageError::Locked { dir: dir.path().to_path_buf() });
}

#[test]
fn parts_that_contradict_each_other_are_found_on_opening() {
    type Break = fn(&Store, &ChainHead);
    let breaks: [(&str, Break); 9] = [
        ("exec of the head", |store, head| {
            let mut root = head.root.clone();
            root.exec = ExecHash([1; 32]);
            put_meta(store, META_ROOT, &formats::root_bytes(&root));
        }),
        ("the ledger's head", |store, head| {
            let mut ledger = head.ledger.clone();
            ledger.height = Height::new(1);
            put_meta(store, META_LEDGER, &formats::ledger_bytes(&ledger));
        }),
        ("the size of the log", |store, head| {
            let mut ledger = head.ledger.clone();
            ledger.log_size += 1;
            put_meta(store, META_LEDGER, &formats::ledger_bytes(&ledger));
        }),
        ("the hash of the plain families", |store, head| {
            let mut ledger = head.ledger.clone();
            ledger.plain = bizra_ledger::plain::LtHash::new();
            put_meta(store, META_LEDGER, &formats::ledger_bytes(&ledger));
        }),
        ("the root of the log", |store, _| put(store, LOG, &2_u64.to_be_bytes(), &[7; 32])),
        ("stored hash 2 is missing", |store, _| {
            let mut batch = WriteBatch::default();
            batch.delete_cf(store.family(LOG), 2_u64.to_be_bytes());
            store.write(batch, true).expect("the store can be written");
        }),
        ("hashes after those of the 2 records", |store, _| {
            put(store, LOG, &3_u64.to_be_bytes(), &[7; 32]);
        }),
        ("the block at the head's height", |store, head| {
            let mut root = head.root.clone();
            root.header.view = View::new(99);
            put_meta(store, META_ROOT, &formats::root_bytes(&root));
        }),
        ("has no certificate", |store, head| {
            let mut root = head.root.clone();
            root.cert = None;
            put_meta(store, META_ROOT, &formats::root_bytes(&root));
        }),
    ];
    for (sentence, break_it) in breaks {
        let (dir, mut chain) = (folder(), TestChain::new("a"));
        let store = open(&dir, &chain.genesis);
        for number in 1..=2 {
            let batch = chain.batch(0, &[record(number)]);
            chain.grow(&store, &[batch]);
        }
        drop(store);
        let store = open(&dir, &chain.genesis);
        break_it(&store, &store.head());
        drop(store);
        let error = refused(&dir, &chain.genesis);
        assert!(matches!(error, StorageError::Damaged { .. }), "{sentence}: {error}");
        assert!(error.to_string().contains(sentence), "{sentence}: {error}");
    }
}

/// The child votes, runs and commits as fast as it can, says what it was told
/// is durable, and is killed at some moment that it does not choose.
#[test]
fn a_killed_process_loses_nothing_that_it_was_told_is_synced() {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        write_for_ever(Path::new(&dir));
    }
    let name = "storage::tests::a_killed_process_loses_nothing_that_it_was_told_is_synced";
    for facts in [1, 40, 97, 150] {
        let dir = folder();
        let (mut child, mut lines) = start_child(name, &dir);
        let mut told = (0, 0);
        for _ in 0..facts {
            note(&mut told, &lines.next_fact().expect("the child writes for ever"));
        }
        child.kill().expect("the child runs");
        child.wait().expect("the child ends");
        while let Some(fact) = lines.next_fact() {
            note(&mut told, &fact);
        }
        check_after_kill(&dir, told);
    }
}

/// Every third view commits three blocks by one certificate.
const BLOCKS_PER_COMMIT: u64 = 3;

fn write_for_ever(dir: &Path) -> ! {
    let mut chain = TestChain::new("a");
    let store = Store::open(dir, &chain.genesis).expect("the folder opens");
    let mut runs: Vec<RunBlock> = Vec::new();
    for view in 1.. {
        let (block, batch) = crash_block(&mut chain, view);
        let batches = [batch];
        store.persist(&chain.vote(&block, &batches)).expect("the store can be written");
        say(&format!("synced {view}"));
        runs.push(chain.run(&store, &runs, &block, &batches));
        if view % BLOCKS_PER_COMMIT == 0 {
            commit_all(&store, &chain, &runs);
            say(&format!("committed {view}"));
            runs.clear();
        }
    }
    unreachable!("views do not end")
}

fn crash_block(chain: &mut TestChain, view: u64) -> (Block, Arc<SignedBatch>) {
    let author = u8::try_from(view % 4).expect("small");
    let batch = chain.batch(author, &[record(2 * view), record(2 * view + 1)]);
    (chain.block(&[Arc::clone(&batch)]), batch)
}

fn note(told: &mut (u64, u64), fact: &str) {
    let (what, view) = fact.split_once(' ').expect("two words");
    let view = view.parse().expect("a number");
    match what {
        "synced" => told.0 = view,
        "committed" => told.1 = view,
        other => panic!("the child said {other}"),
    }
}

/// Opening checks already that head, log and plain hash agree.
fn check_after_kill(dir: &TempDir, (synced, committed): (u64, u64)) {
    let mut chain = TestChain::new("a");
    let store = open(dir, &chain.genesis);
    let restored = store.restored().expect("readable");
    let head = store.head().height().get();
    let voted = restored.safety.first().map_or(0, |(_, safety)| safety.current_view.get());
    assert!(voted >= synced, "view {voted} is on disk, and the child was told {synced}");
    // The kernel outlives a killed process, so unsynced commits do too.
    assert!(head >= committed, "height {head} is on disk, and the child was told {committed}");
    assert!(head.is_multiple_of(BLOCKS_PER_COMMIT), "half a commit is on disk: {head}");
    let client = Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file");
    for view in 1..=voted {
        let (block, batch) = crash_block(&mut chain, view);
        if view <= head {
            assert_eq!(store.block_at(Height::new(view)), Ok(Some(block)));
            for number in [2 * view, 2 * view + 1] {
                let proof = store.finality_proof(&digest_of(number)).expect("readable");
                client.verify(&proof.expect("final")).expect("the proof is good");
            }
        } else {
            assert!(restored.blocks.contains(&block), "the block of view {view} is lost");
            assert!(restored.batches.contains(&batch), "the batch of view {view} is lost");
        }
    }
    assert_eq!(store.head().fields.log_size, 2 * head);
    assert_eq!(restored.blocks.len() as u64, voted - head);
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    let name = "storage::tests::a_full_disk_refuses_writes_and_serves_reads";
    on_small_disk(name, |dir, disk| {
        let mut chain = TestChain::new("a");
        let store = Store::open(dir, &chain.genesis).expect("the folder opens");
        let batch = chain.batch(0, &[record(1)]);
        chain.grow(&store, &[batch]);
        disk.fill(&store);

        // The log may have some room left.
        let records: Vec<_> = (2..100).map(record).collect();
        let mut synced = Vec::new();
        let (refused, run, error) = loop {
            let batches = [chain.batch(0, &records)];
            let block = chain.clone().block(&batches);
            let persist = chain.vote(&block, &batches);
            match store.persist(&persist) {
                Ok(()) => synced = persist.safety,
                Err(error) => {
                    let block = chain.block(&batches);
                    break (persist, chain.run(&store, &[], &block, &batches), error);
                }
            }
        };
        assert!(error.is_full(), "{error}");
        let commit = chain.commit(&[(run.block.clone(), run.overlay.exec())]);
        let error = store.commit(&commit, &[run.committed()]).expect_err("the disk is full");
        // What cannot be synced either is given up as soon as recovery was tried.
        assert!(error.is_full() || !disk.recovers(), "{error}");
        assert_eq!(store.head().height(), Height::new(1));
        assert_eq!(store.restored().expect("readable").safety, synced);
        let proof = store.finality_proof(&digest_of(1)).expect("readable").expect("final");
        let client = Client::from_genesis(&chain.genesis.to_json()).expect("a genesis file");
        client.verify(&proof).expect("reads go on");

        // Recovery without opening it again is the executor's test.
        disk.free(&store);
        drop(store);
        let store = Store::open(dir, &chain.genesis).expect("there is space again");
        store.persist(&refused).expect("there is space again");
        store.commit(&commit, &[run.committed()]).expect("there is space again");
        drop(store);
        let store = Store::open(dir, &chain.genesis).expect("the folder opens");
        assert_eq!(store.head().height(), Height::new(2));
        assert_eq!(store.restored().expect("readable").safety, refused.safety);
    });
}

#[test]
fn the_reserve_is_left_to_the_database() {
    let (dir, mut chain) = (folder(), TestChain::new("a"));
    let store = open(&dir, &chain.genesis);
    let batch = chain.batch(0, &[record(1)]);
    chain.grow(&store, &[Arc::clone(&batch)]);
    let block = chain.block(&[]);
    let run = chain.run(&store, &[], &block, &[]);
    let (persist, commit) = (chain.vote(&block, &[]), chain.commit(&[(block, run.overlay.exec())]));

    store.keep_free(u64::MAX);
    let refused = store.persist(&persist).expect_err("less is free");
    assert!(refused.is_full());
    for word in [store.dir().to_str().expect("UTF-8"), "bytes are free", "make room"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert!(store.commit(&commit, &[run.committed()]).expect_err("less is free").is_full());
    assert_eq!(store.restored().expect("readable").safety, []);
    store.store_signature(&batch).expect("what binds nobody may use the reserve");
    assert!(store.finality_proof(&digest_of(1)).expect("readable").is_some(), "reads go on");

    store.keep_free(0);
    store.persist(&persist).expect("enough is free");
    store.commit(&commit, &[run.committed()]).expect("enough is free");
    assert_eq!(store.head().height(), Height::new(2));
}

#[test]
fn another_failure_of_the_disk_is_not_taken_for_a_full_one() {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        let mut chain = TestChain::new("a");
        let store = Store::open(Path::new(&dir), &chain.genesis).expect("the folder opens");
        let error = loop {
            let records: Vec<_> = (0..50).map(record).collect();
            let batch = chain.batch(0, &records);
            let persist = Persist { batches: vec![batch], ..Persist::default() };
            if let Err(error) = store.persist(&persist) {
                break error;
            }
        };
        say(&format!("refused {}", matches!(error, StorageError::Io { .. })));
        say(&format!("because {error}"));
        wait_for_the_end();
    }
    // No file may grow beyond a megabyte or two: the kernel answers EFBIG.
    let dir = folder();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().expect("the test's own path"));
    let name = "storage::tests::another_failure_of_the_disk_is_not_taken_for_a_full_one";
    let (mut child, mut lines) = start(command, name, &dir);
    assert_eq!(lines.next_fact(), Some("refused true".to_string()));
    let reason = lines.next_fact().expect("the child says why");
    assert!(reason.contains("File too large"), "{reason}");
    child.kill().expect("the child runs");
    child.wait().expect("the child ends");
}

fn commit_all(store: &Store, chain: &TestChain, runs: &[RunBlock]) {
    let blocks: Vec<_> = runs.iter().map(|run| (run.block.clone(), run.overlay.exec())).collect();
    let committed: Vec<_> = runs.iter().map(RunBlock::committed).collect();
    store.commit(&chain.commit(&blocks), &committed).expect("the store can be written");
}

fn put(store: &Store, family: &str, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::default();
    batch.put_cf(store.family(family), key, value);
    store.write(batch, true).expect("the store can be written");
}

fn put_meta(store: &Store, key: &[u8], value: &[u8]) {
    put(store, META, key, value);
}

fn envelope(number: u64) -> Envelope {
    Envelope::parse_canonical(&record(number)).expect("a good record")
}

fn digest_of(number: u64) -> bizra_types::hash::RecordDigest {
    envelope(number).digest
}

fn sender_of(number: u64) -> bizra_types::crypto::PublicKey {
    envelope(number).sender.public_key
}

fn with_bad_signature(number: u64) -> Arc<[u8]> {
    let good = String::from_utf8(record(number).to_vec()).expect("JSON is UTF-8");
    let signature = envelope(number).signature.to_string();
    good.replace(&signature, &Signature([1; 64]).to_string()).into_bytes().into()
}

/// What a child says, without what the test runner says around it.
struct Facts(std::io::Lines<BufReader<std::process::ChildStdout>>);

impl Facts {
    fn next_fact(&mut self) -> Option<String> {
        self.0.by_ref().find_map(|line| {
            let line = line.expect("the child speaks UTF-8");
            line.strip_prefix("fact: ").map(str::to_string)
        })
    }
}

fn start_child(test: &str, dir: &TempDir) -> (Child, Facts) {
    start(Command::new(std::env::current_exe().expect("the test's own path")), test, dir)
}

fn start(mut command: Command, test: &str, dir: &TempDir) -> (Child, Facts) {
    let mut child = command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_FOLDER, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test can start itself");
    let facts = Facts(BufReader::new(child.stdout.take().expect("it is piped")).lines());
    (child, facts)
}

fn say(fact: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\nfact: {fact}").and_then(|()| stdout.flush()).expect("the parent listens");
}

/// Until the parent kills us, or is gone itself.
fn wait_for_the_end() -> ! {
    drop(std::io::stdin().lines().next());
    std::process::exit(0)
}
