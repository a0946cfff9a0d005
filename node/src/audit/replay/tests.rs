use super::*;
use crate::audit::export::{FRAME_BYTES_MAX, write_head};
use crate::storage::Store;
use crate::storage::testing::{
    RunBlock, TestChain, genesis, record, said_by, validator, validator_key,
};
use bizra_ledger::codes::Code;
use bizra_ledger::envelope::Envelope;
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::block::{Block, BlockContent, Closes};
use bizra_types::certificate::CommitCert;
use bizra_types::committee::{SignerSet, Validator};
use bizra_types::genesis::Policy;
use bizra_types::hash::{Hash, hex};
use bizra_types::message::CommitVote;
use bizra_types::numbers::{TimestampMs, ValidatorIndex, View};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Makes a chain, and the frames of its export.
struct Maker {
    chain: TestChain,
    ledger: MemoryLedger,
    frames: Vec<Frame>,
}

impl Maker {
    fn new() -> Self {
        Self::of(genesis("audited"))
    }

    fn of(genesis: Genesis) -> Self {
        Self { chain: TestChain::of(genesis), ledger: MemoryLedger::genesis(), frames: Vec::new() }
    }

    /// A block of batches, each an author and its records.
    fn block(&mut self, batches: &[(u8, Vec<Arc<[u8]>>)]) -> RunBlock {
        let batch = |(author, records): &(u8, Vec<_>)| self.chain.batch(*author, records);
        let batches = batches.iter().map(batch).collect();
        self.block_of(batches)
    }

    fn block_of(&mut self, mut batches: Vec<Arc<SignedBatch>>) -> RunBlock {
        // The order of execution is that of the citations.
        batches.sort_by_key(|batch| (batch.header().author, batch.header().lane_seq));
        let block = self.chain.block(&batches);
        let run = self.chain.run(&self.ledger, &[], &block, &batches);
        self.ledger.commit(&run.overlay);
        self.frames.extend(frames_of(&run, *run.overlay.fields()));
        run
    }

    /// Makes the last block final.
    fn certify(&mut self, run: &RunBlock) {
        let cert = self.chain.commit(&[(run.block.clone(), run.overlay.exec())]).cert;
        self.frames.push(Frame::Certificate(Certificate::Commit(cert)));
    }

    fn file(&self) -> Vec<u8> {
        file(&self.chain.genesis, &self.frames)
    }
}

fn frames_of(run: &RunBlock, exec: ExecFields) -> Vec<Frame> {
    let exported = ExportedBlock { block: run.block.clone(), exec };
    let mut frames = vec![Frame::Block(Box::new(exported))];
    let mut outcomes = run.overlay.outcomes().iter();
    for batch in &run.batches {
        let outcomes = outcomes.by_ref().take(batch.records().len());
        let outcomes =
            outcomes.map(|it| ExportedOutcome { code: it.code, flags: it.flags.0 }).collect();
        let batch = SignedBatch::clone(batch);
        frames.push(Frame::Batch(ExportedBatch { batch, outcomes }));
    }
    frames
}

/// An export of these frames, which ends with the last of their blocks.
fn file(genesis: &Genesis, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_head(&genesis.chain_id(), &mut bytes).expect("memory can be written");
    let block = frames.iter().rev().find_map(|frame| match frame {
        Frame::Block(exported) => Some((exported.block.header().height, exported.block.id())),
        _ => None,
    });
    let (height, block) = block.expect("a chain has blocks");
    for frame in frames.iter().chain([&Frame::End(End { height, block })]) {
        frame.write_to(&mut bytes);
    }
    bytes
}

/// What two quorums have made final: three blocks, of which the second has no
/// certificate of its own; records that are good, bad, and there twice; and
/// lanes of two validators.
static SAMPLE: LazyLock<Maker> = LazyLock::new(|| {
    let mut maker = Maker::new();
    let bad: Arc<[u8]> = b"{}".as_slice().into();
    // The key of validator 1 comes before that of validator 0.
    let run = maker.block(&[(1, vec![record(2)]), (0, vec![record(1), bad])]);
    maker.certify(&run);
    maker.block(&[(1, vec![record(3)]), (1, vec![record(1), record(4)])]);
    let run = maker.block(&[(0, vec![record(5)])]);
    maker.certify(&run);
    maker
});

fn judge(bytes: &[u8]) -> Result<Replayed, Refusal> {
    replay(bytes, &SAMPLE.chain.genesis, |_| {})
}

/// The refusal of these frames.
#[track_caller]
fn refusal(frames: &[Frame]) -> Refusal {
    judge(&file(&SAMPLE.chain.genesis, frames)).expect_err("it was tampered with")
}

#[track_caller]
fn assert_refused(frames: &[Frame], place: u64, height: u64, said: &str) {
    let refusal = refusal(frames);
    let text = refusal.to_string();
    assert!(text.contains(said), "{said:?} is not in {text:?}");
    assert_eq!((refusal.place.frame, refusal.height.get()), (place, height), "{text}");
    assert!(text.starts_with(&format!("frame {place} at byte ")), "{text}");
    assert!(text.contains(&format!(", block {height} ({}): ", refusal.block)), "{text}");
}

/// Where the blocks of the sample stand among its frames.
fn blocks() -> Vec<usize> {
    let is_block = |(at, frame): (usize, &Frame)| matches!(frame, Frame::Block(_)).then_some(at);
    SAMPLE.frames.iter().enumerate().filter_map(is_block).collect()
}

fn edited(at: usize, change: impl FnOnce(&mut Frame)) -> Vec<Frame> {
    let mut frames = SAMPLE.frames.clone();
    change(&mut frames[at]);
    frames
}

fn with_exec(at: usize, change: impl FnOnce(&mut ExecFields)) -> Vec<Frame> {
    edited(at, |frame| match frame {
        Frame::Block(exported) => change(&mut exported.exec),
        other => panic!("{} is no block", other.name()),
    })
}

#[test]
fn an_export_replays() {
    let bytes = SAMPLE.file();
    let mut seen = Vec::new();
    let genesis = &SAMPLE.chain.genesis;
    let replayed = replay(&bytes[..], genesis, |so_far| seen.push(*so_far)).expect("it is right");
    let head = bizra_ledger::execution::Base::head(&SAMPLE.ledger).expect("memory");
    assert_eq!((replayed.height, replayed.exec), (Height::new(3), head.exec));
    assert_eq!((replayed.records, replayed.log_size), (7, 5));
    assert_eq!((replayed.certificates, replayed.era), (2, Era::new(1)));
    assert_eq!((replayed.chain_id, replayed.bytes), (genesis.chain_id(), bytes.len() as u64));
    let heights: Vec<_> = seen.iter().map(|so_far| so_far.height.get()).collect();
    assert_eq!(heights, [1, 2, 3]);
    assert_eq!(seen[1].records, 6);
}

#[test]
fn an_export_of_genesis_alone_replays() {
    let genesis = &SAMPLE.chain.genesis;
    let mut bytes = Vec::new();
    write_head(&genesis.chain_id(), &mut bytes).expect("memory can be written");
    let end = End { height: Height::ZERO, block: genesis.header().id() };
    Frame::End(end).write_to(&mut bytes);
    let replayed = judge(&bytes).expect("it is right");
    assert_eq!((replayed.height, replayed.exec), (Height::ZERO, genesis_exec()));
}

#[test]
fn a_node_exports_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut chain = TestChain::new("a");
    let store = Store::open(folder.path(), &chain.genesis).expect("the folder opens");
    let all = |store: &Store, to: u64| {
        let frames = store.exported(Height::ZERO, Height::new(to), usize::MAX);
        frames.expect("the store can be read")
    };
    assert_eq!(all(&store, 1), []);
    let mut runs = Vec::new();
    for number in 1..=3 {
        let mut batches = vec![chain.batch(0, &[record(number), record(number - 1)])];
        if number != 2 {
            batches.insert(0, chain.batch(1, &[record(10 * number)]));
        }
        runs.push(chain.grow(&store, &batches));
    }
    for to in 1..=3 {
        let frames = all(&store, to);
        let genesis = &chain.genesis;
        let replayed = replay(&file(genesis, &frames)[..], genesis, |_| {}).expect("it is right");
        assert_eq!(replayed.height.get(), to);
        assert_eq!(replayed.exec, runs[usize::try_from(to).expect("small") - 1].overlay.exec());
    }
    assert_eq!(all(&store, u64::MAX), all(&store, 3));
    // In parts it is the same.
    let mut parts = Vec::new();
    for above in 0..3 {
        let part = store.exported(Height::new(above), Height::MAX, 1);
        parts.extend(part.expect("the store can be read"));
    }
    assert_eq!(file(&chain.genesis, &parts), {
        let one_by_one = runs.iter().flat_map(|run| {
            let mut frames = frames_of(run, *run.overlay.fields());
            let height = run.block.header().height;
            let certificate = store.certificate_at_or_after(height).expect("the store can be read");
            frames.push(Frame::Certificate(certificate.expect("it is final").1));
            frames
        });
        file(&chain.genesis, &one_by_one.collect::<Vec<_>>())
    });
}

#[test]
fn a_flipped_bit_anywhere_is_refused_where_it_is() {
    let bytes = SAMPLE.file();
    let genesis = &SAMPLE.chain.genesis;
    // Where each frame begins, and the last frame of its block.
    let mut frames = Frames::open(&bytes[..]).expect("an export").0;
    let mut starts = Vec::new();
    while frames.next_frame().expect("it is right").is_some() {
        starts.push(usize::try_from(frames.place().offset).expect("small"));
    }
    let ends_block = |frame: usize| match SAMPLE.frames.get(frame) {
        Some(Frame::Block(_) | Frame::Batch(_)) => false,
        Some(Frame::Certificate(_) | Frame::End(_)) | None => true,
    };
    let mut tampered = bytes.clone();
    let places = (0..bytes.len()).step_by(17).chain(starts.iter().flat_map(|it| *it..*it + 6));
    for at in places {
        tampered[at] ^= 1 << (at % 8);
        let refusal = replay(&tampered[..], genesis, |_| {}).expect_err("a bit is flipped");
        tampered[at] = bytes[at];
        let frame = starts.iter().filter(|start| **start <= at).count();
        let last = (frame..).find(|it| *it == 0 || ends_block(*it - 1)).expect("it ends");
        let found = usize::try_from(refusal.place.frame).expect("small");
        assert!((frame..=last).contains(&found), "byte {at} of frame {frame}: {refusal}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_ends() {
    let bytes = SAMPLE.file();
    let whole = SAMPLE.frames.len() + 1;
    for end in (0..bytes.len()).step_by(23) {
        let refusal = judge(&bytes[..end]).expect_err("it is cut off");
        let is_cut = matches!(
            refusal.finding,
            Finding::Form(ExportError::CutOff { .. } | ExportError::NoEnd)
        );
        assert!(is_cut, "{end}: {refusal}");
        assert!(usize::try_from(refusal.place.frame).expect("small") <= whole);
    }
    // Between two frames it is not the form that says so.
    let end = Frames::open(&bytes[..]).map(|(mut frames, _)| {
        let _ = frames.next_frame();
        frames.read()
    });
    let end = usize::try_from(end.expect("an export")).expect("small");
    let refusal = judge(&bytes[..end]).expect_err("it is cut off");
    assert!(refusal.to_string().contains("the file stops before its end"), "{refusal}");
    let mut longer = bytes;
    SAMPLE.frames[0].write_to(&mut longer);
    let refusal = judge(&longer).expect_err("it is too long");
    let said = "what follows the end is a block, where nothing is expected";
    assert!(refusal.to_string().ends_with(said), "{refusal}");
}

#[test]
fn a_frame_is_no_longer_than_any_can_be() {
    let bytes = SAMPLE.file();
    let place = 8 + 2 + 32;
    for (size, said) in [
        (FRAME_BYTES_MAX + 1, "is 524289 bytes long, where at most 524288 are allowed"),
        (u32::MAX as usize, "is 4294967295 bytes long, where at most 524288 are allowed"),
        (FRAME_BYTES_MAX, "is cut off: 524288 bytes are expected"),
        (0, "cannot be understood: ends after 0 bytes where 1 more are needed"),
    ] {
        let mut tampered = bytes.clone();
        let size = u32::try_from(size).expect("small");
        tampered[place..place + 4].copy_from_slice(&size.to_le_bytes());
        let refusal = judge(&tampered).expect_err("no frame is like that").to_string();
        assert!(refusal.starts_with("frame 1 at byte 42, block 0 "), "{refusal}");
        assert!(refusal.contains(said), "{said:?} is not in {refusal:?}");
    }
}

#[test]
fn what_is_no_export_of_the_chain_is_refused_at_its_head() {
    let bytes = SAMPLE.file();
    let said = |bytes: &[u8], genesis: &Genesis| {
        let refusal = replay(bytes, genesis, |_| {}).expect_err("it is none");
        assert_eq!(refusal.place.frame, 0);
        refusal.to_string()
    };
    let genesis_file = &SAMPLE.chain.genesis;
    let mut other = bytes.clone();
    other[0] ^= 1;
    let text = said(&other, genesis_file);
    assert!(text.starts_with("the head of the file, block 0 "), "{text}");
    assert!(text.ends_with("is not the beginning of an export"), "{text}");
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(said(&newer, genesis_file).contains("is of version 2 of the format"));
    let text = said(&bytes, &genesis("another"));
    let (found, expected) = (genesis_file.chain_id(), genesis("another").chain_id());
    assert!(text.ends_with(&format!("the chain is {found}, where {expected} is expected")));
}

#[test]
fn frames_that_are_missing_or_out_of_order_are_refused() {
    let frames = &SAMPLE.frames;
    let without = |at: usize| {
        let mut frames = frames.clone();
        frames.remove(at);
        frames
    };
    let swapped = |one: usize, other: usize| {
        let mut frames = frames.clone();
        frames.swap(one, other);
        frames
    };
    // Block 1 with two batches and a certificate, block 2 with two, block 3 with one.
    assert_eq!(blocks(), [0, 4, 7]);
    let needs_batch = "where a batch that the block cites is expected";
    assert_refused(&without(1), 2, 1, "the author of the batch is ");
    assert_refused(&without(2), 3, 1, &format!("the frame is a certificate, {needs_batch}"));
    assert_refused(&without(0), 1, 0, "the frame is a batch, where a block, ");
    assert_refused(&without(6), 7, 2, &format!("the frame is a block, {needs_batch}"));
    assert_refused(&without(9), 10, 3, "the frame is the end, where a certificate");
    assert_refused(&swapped(1, 2), 2, 1, "the author of the batch is ");
    assert_refused(&swapped(5, 6), 6, 2, "the place of the batch in its lane is 3, where 2 ");
    let mut moved = frames.clone();
    moved[4..9].rotate_left(3);
    assert_refused(&moved, 5, 1, "the height of the block is 3, where 2 is expected");
    let mut twice = frames.clone();
    twice.insert(4, frames[3].clone());
    assert_refused(&twice, 5, 1, "the frame is a certificate, where a block or the end");
    twice[4] = frames[1].clone();
    assert_refused(&twice, 5, 1, "the frame is a batch, where a block, ");
    // The chain goes on with another block of the same height.
    let mut fork = SAMPLE.chain.clone();
    let other = fork.block(&[]);
    let mut forked = frames.clone();
    forked[7] = Frame::Block(Box::new(ExportedBlock {
        block: other,
        exec: bizra_ledger::execution::genesis_fields(),
    }));
    assert_refused(&forked, 8, 2, "the height of the block is 4, where 3 is expected");
}

#[test]
fn records_that_are_dropped_or_swapped_are_refused() {
    for change in [
        (|records: &mut Vec<BatchRecord>| drop(records.pop())) as fn(&mut Vec<BatchRecord>),
        |records| records.swap(0, 1),
        |records| records[0].admitted_at_ms = TimestampMs::new(1),
        |records| records[1].bytes = record(6),
    ] {
        // The author itself signs the other batch: the block cites the first one.
        let frames = edited(6, |frame| {
            let Frame::Batch(exported) = frame else { panic!("a batch") };
            let mut records = exported.batch.records().to_vec();
            change(&mut records);
            let old = *exported.batch.header();
            let header =
                BatchHeader::new(old.era, old.author, old.lane_seq, old.previous, &records);
            let chain_id = SAMPLE.chain.genesis.chain_id();
            let signature = validator_key(1).sign(&header.signed_bytes(&chain_id));
            exported.outcomes.truncate(records.len());
            exported.batch = SignedBatch::new(header, signature, records.into()).expect("whole");
        });
        assert_refused(&frames, 7, 2, "the batch is ");
    }
    let unsigned = edited(6, |frame| {
        let Frame::Batch(exported) = frame else { panic!("a batch") };
        let (header, records) = (*exported.batch.header(), Arc::clone(exported.batch.records()));
        let signature = validator_key(0).sign(b"something else");
        exported.batch = SignedBatch::new(header, signature, records).expect("whole");
    });
    assert_refused(&unsigned, 7, 2, "does not verify: a signature does not verify");
}

#[test]
fn certificates_of_others_are_refused() {
    let chain_id = SAMPLE.chain.genesis.chain_id();
    let good = match &SAMPLE.frames[9] {
        Frame::Certificate(Certificate::Commit(cert)) => cert.clone(),
        other => panic!("{} is no certificate", other.name()),
    };
    let signed = |keys: &[u8], vote: CommitVote| {
        let message = vote.signed_bytes(&chain_id);
        let seats = (0..4).take(keys.len()).map(ValidatorIndex::new);
        let signatures = keys.iter().map(|key| validator_key(*key).sign(&message)).collect();
        let signers = SignerSet::of(4, seats);
        Frame::Certificate(Certificate::Commit(CommitCert { vote, signers, signatures }))
    };
    let with = |frame: Frame| edited(9, |it| *it = frame);
    // Three of four are a quorum.
    assert!(judge(&file(&SAMPLE.chain.genesis, &with(signed(&[0, 1, 2], good.vote)))).is_ok());
    let row = |keys: &[u8], vote: CommitVote, said: &str| {
        assert_refused(&with(signed(keys, vote)), 10, 3, said);
    };
    row(&[20, 21, 22, 23], good.vote, "does not verify: a signature does not verify");
    row(&[0, 1], good.vote, "does not verify: a certificate of 2 signers of 4, where 3 of 4");
    row(&[0, 1, 2], CommitVote { block: BlockId::ZERO, ..good.vote }, "the block of the cert");
    row(&[0, 1, 2], CommitVote { exec: ExecHash::ZERO, ..good.vote }, "the exec of the cert");
    row(&[0, 1, 2], CommitVote { view: View::new(9), ..good.vote }, "the view of the cert");
    row(&[0, 1, 2], CommitVote { era: Era::new(2), ..good.vote }, "the era of the certificate");
    let size = Frame::Certificate(Certificate::Commit(CommitCert {
        vote: good.vote,
        signers: SignerSet::of(7, (0..4).map(ValidatorIndex::new)),
        signatures: good.signatures.clone(),
    }));
    assert_refused(&with(size), 10, 3, "a certificate of 4 signers of 7");
    let qc = Frame::Certificate(Certificate::Qc(SAMPLE.chain.qc()));
    assert_refused(&with(qc), 10, 3, "the certificate makes no block final");
}

#[test]
fn whatever_is_said_of_the_result_is_compared() {
    let other = Hash([7; 32]);
    let at = blocks()[1];
    type ChangeOf = fn(&mut ExecFields, Hash);
    let rows: [(_, ChangeOf); 7] = [
        ("parent", |exec, other| exec.parent = ExecHash(other.0)),
        ("log_root", |exec, other| exec.log_root = other),
        ("log_size", |exec, _| exec.log_size += 1),
        ("state_root", |exec, other| exec.state_root = other),
        ("plain_digest", |exec, other| exec.plain_digest = other),
        ("outcomes_root", |exec, other| exec.outcomes_root = other),
        ("next_committee", |exec, other| exec.next_committee = other),
    ];
    for (field, change) in rows {
        let frames = with_exec(at, |exec| change(exec, other));
        let refusal = refusal(&frames);
        let Finding::Difference(difference) = &refusal.finding else { panic!("{refusal}") };
        assert_eq!((difference.field, &difference.record), (field, &None));
        // The block's last batch was needed to execute it.
        assert_refused(&frames, 7, 2, &format!("`exec.{field}` is {}", difference.found));
        let expected = format!("executing the block gives {}", difference.expected);
        assert!(refusal.to_string().ends_with(&expected), "{refusal}");
    }
}

#[test]
fn an_outcome_that_the_block_does_not_have_is_named_with_its_record() {
    let digest = |bytes: &[u8]| Envelope::parse(bytes).expect("a good record").0.digest;
    for (frame, at, place, height, digest) in [
        (1, 0, 0, 1, Some(digest(&record(2)))),
        (2, 0, 1, 1, Some(digest(&record(1)))),
        (2, 1, 2, 1, None),
        (6, 0, 1, 2, Some(digest(&record(1)))),
    ] {
        for flags in [0, 1] {
            let frames = edited(frame, |frame| {
                let Frame::Batch(exported) = frame else { panic!("a batch") };
                let outcome = &mut exported.outcomes[at];
                *outcome = match flags {
                    0 => ExportedOutcome { code: Code::Ihsan, ..*outcome },
                    flags => ExportedOutcome { flags, ..*outcome },
                };
            });
            let refusal = refusal(&frames);
            assert_eq!(refusal.height.get(), height);
            let Finding::Difference(difference) = &refusal.finding else { panic!("{refusal}") };
            assert_eq!(difference.field, "outcomes_root");
            let record = difference.record.expect("a record was judged otherwise");
            assert_eq!((record.at, record.digest), (place, digest), "{refusal}");
            assert_ne!(record.found, record.expected);
        }
    }
}

/// A quorum that judges by another policy than that of the genesis file.
#[test]
fn a_quorum_that_follows_another_policy_is_found_out() {
    let first = genesis("audited");
    let other = Genesis::new(
        first.name.clone(),
        first.time_ms,
        (*first.committee).clone(),
        first.protocol_version,
        first.parameters,
        vec![Policy {
            name: "other".to_owned(),
            rego: "package bizra.policy\n\nimport rego.v1\n\ndefault allow := false\n".to_owned(),
        }],
    );
    let mut maker = Maker::of(other);
    let run = maker.block(&[(0, vec![record(1)])]);
    maker.certify(&run);
    let refusal = replay(&maker.file()[..], &maker.chain.genesis, |_| {}).expect_err("it lies");
    let Finding::Difference(difference) = &refusal.finding else { panic!("{refusal}") };
    assert_eq!(difference.field, "log_root");
    let record = difference.record.expect("the record was let pass");
    assert_eq!((record.found.code, record.expected.code), (Code::Success, Code::Policy));
    let said = "has the outcome 0 (SUCCESS), flags 0 there, and 9 (POLICY), flags 0 here";
    assert!(refusal.to_string().ends_with(said), "{refusal}");
}

#[test]
fn eras_are_followed_from_committee_to_committee() {
    const JOINER: u8 = 9;
    let mut maker = Maker::new();
    let seat = Validator { name: "validator-3".to_owned(), ..validator(JOINER) };
    let change = format!(
        r#"{{"procedure": "emergency", "change": {{"kind": "committee", "remove": [], "put": [
            {{"name": "{}", "peer_id": "{}", "consensus_key": "{}", "vrf_key": "{}",
              "kem_key": "{}"}}]}}}}"#,
        seat.name,
        seat.peer_id,
        seat.consensus_key,
        hex(&seat.vrf_key),
        hex(&seat.kem_key),
    );
    let chain_id = maker.chain.genesis.chain_id();
    let proposal = said_by(0, &chain_id, 1, "governance/propose", &change);
    let digest = Envelope::parse(&proposal).expect("a good record").0.digest;
    maker.block(&[(0, vec![proposal])]);
    let vote = format!(r#"{{"proposal": "{digest}", "choice": "approve"}}"#);
    for _ in 0..10 {
        maker.block(&[]);
    }
    let votes = (0..4).map(|it| said_by(it, &chain_id, 2, "governance/vote", &vote));
    maker.block(&[(1, votes.collect())]);
    let mut blocks = (0..100).map(|_| maker.block(&[]));
    let last = blocks.find(|run| run.overlay.decisions().next_committee.is_some());
    let last = last.expect("an emergency is decided after 71 blocks");
    let next = last.overlay.decisions().next_committee.as_ref().expect("just seen");
    assert_eq!(next.get(ValidatorIndex::new(3)), Some(&seat));
    let exec = last.overlay.exec();
    let closed = maker.frames.len();
    let by_filler = {
        let header = last.block.header();
        let filler = Block::new(BlockContent {
            protocol_version: header.protocol_version,
            chain_id: header.chain_id,
            height: header.height,
            view: header.view.next(),
            justify: maker.chain.qc(),
            citations: Vec::new(),
            reveals: Vec::new(),
            timestamp_ms: TimestampMs::new(header.timestamp_ms.get() + 1),
            proposer: ValidatorIndex::ZERO,
            closes: Some(Closes { block: last.block.id(), exec }),
        });
        let cert = maker.chain.commit(&[(filler.clone(), exec)]).cert;
        Certificate::Filler(cert, *filler.header())
    };
    maker.certify(&last);
    let left = maker.chain.batch(3, &[record(1)]);
    let mut leavers = maker.chain.clone();
    let next = last.overlay.decisions().next_committee.clone().expect("found above");
    maker.chain.hand_over(next, JOINER);
    // What a validator has left behind is still cited.
    let joined = maker.chain.batch(JOINER, &[record(2)]);
    maker.block_of(vec![left, joined]);
    maker.block(&[(1, vec![record(3)])]);
    let end = maker.block(&[]);
    let committed = [(end.block.clone(), end.overlay.exec())];
    let of_era_1 = leavers.commit(&committed).cert;
    leavers.hand_over(Arc::clone(&leavers.committee), 3);
    let by_leavers = leavers.commit(&committed).cert;
    maker.certify(&end);

    let genesis = &maker.chain.genesis;
    let judge = |change: &dyn Fn(&mut Vec<Frame>)| {
        let mut frames = maker.frames.clone();
        change(&mut frames);
        replay(&file(genesis, &frames)[..], genesis, |_| {})
    };
    let replayed = judge(&|_| {}).expect("it is right");
    assert_eq!((replayed.era, replayed.exec), (Era::new(2), end.overlay.exec()));
    assert_eq!((replayed.certificates, replayed.log_size), (2, 8));
    let filled = judge(&|frames| frames[closed] = Frame::Certificate(by_filler.clone()));
    assert_eq!(filled.expect("it is right").exec, replayed.exec);

    let refused = |change: &dyn Fn(&mut Vec<Frame>), said: &str| {
        let refusal = judge(change).expect_err("it was tampered with").to_string();
        assert!(refusal.contains(said), "{said:?} is not in {refusal:?}");
    };
    let needs = "is a block, where the certificate that ends the era is expected";
    refused(&|frames| drop(frames.remove(closed)), needs);
    let last_frame = maker.frames.len() - 1;
    let with_last = |certificate: &Certificate| {
        let certificate = certificate.clone();
        move |frames: &mut Vec<Frame>| frames[last_frame] = Frame::Certificate(certificate.clone())
    };
    let by_leavers = Certificate::Commit(by_leavers);
    refused(&with_last(&by_leavers), "a signature does not verify");
    refused(&with_last(&Certificate::Commit(of_era_1)), "the era of the certificate is 1");
    let Certificate::Filler(cert, header) = by_filler else { panic!("a filler") };
    let (block, exec) = (end.block.id(), end.overlay.exec());
    let header = Header { closes: Some(Closes { block, exec }), ..header };
    let cert = CommitCert { vote: CommitVote { exec, ..cert.vote }, ..cert };
    let needless = Certificate::Filler(cert, header);
    refused(&with_last(&needless), "a filler closes a block that ends no era");
}

proptest! {
    /// Whatever the bytes are, reading ends, with bounded memory.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        is_export in any::<bool>(),
    ) {
        let mut file = Vec::new();
        if is_export {
            write_head(&SAMPLE.chain.genesis.chain_id(), &mut file).expect("memory");
        }
        file.extend_from_slice(&bytes);
        prop_assert!(judge(&file).is_err());
    }

    #[test]
    fn damaged_exports_are_refused(
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let whole = SAMPLE.file();
        let mut bytes = whole.clone();
        for (at, value) in damages {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(judge(&bytes).is_ok(), bytes == whole);
    }
}
