use super::*;
use bizra_types::batch::RECORD_BYTES_MAX;
use bizra_types::crypto::Signature;
use bizra_types::hash::ChainId;

const ERA: Era = Era::new(2);
const CHAIN: ChainId = ChainId([9; 32]);
const X: PublicKey = PublicKey([1; 32]);
const Y: PublicKey = PublicKey([2; 32]);

fn record(ms: u64, bytes: usize) -> BatchRecord {
    BatchRecord { admitted_at_ms: TimestampMs::new(ms), bytes: vec![7; bytes].into() }
}

fn batch_of(
    era: Era,
    author: PublicKey,
    seq: u64,
    previous: BatchDigest,
    records: &[BatchRecord],
) -> Arc<SignedBatch> {
    let header = BatchHeader::new(era, author, LaneSeq::new(seq), previous, records);
    let batch = SignedBatch::new(header, Signature([0; 64]), records.into());
    Arc::new(batch.expect("a header of its records"))
}

fn digest(batch: &SignedBatch) -> BatchDigest {
    batch.header().digest(&CHAIN)
}

/// `count` batches of one record of `bytes` each, from the start of a lane.
fn chain(author: PublicKey, count: u64, bytes: usize) -> Vec<Arc<SignedBatch>> {
    let mut batches: Vec<Arc<SignedBatch>> = Vec::new();
    for seq in 1..=count {
        let previous = batches.last().map_or(BatchDigest::ZERO, |last| digest(last));
        batches.push(batch_of(ERA, author, seq, previous, &[record(seq, bytes)]));
    }
    batches
}

fn lanes_with(batches: &[Arc<SignedBatch>]) -> Lanes {
    let mut lanes = Lanes::new(CHAIN);
    for batch in batches {
        let accepted = lanes.accept(&LaneHeads::new(), batch, false);
        assert!(matches!(accepted, Accepted::New), "{accepted:?}");
    }
    lanes
}

fn limits() -> CitationLimits {
    CitationLimits {
        view: View::new(2),
        era: ERA,
        newest_ms_max: TimestampMs::new(1_000),
        bytes_max: 1_000_000,
        unacknowledged_bytes_max: 1_000_000,
        quorum: 3,
        one_honest: 2,
    }
}

fn cite(batch: &SignedBatch) -> Citation {
    let header = batch.header();
    Citation { author: header.author, up_to_seq: header.lane_seq, digest: digest(batch) }
}

fn heads_at(batch: &SignedBatch) -> LaneHeads {
    let header = batch.header();
    LaneHeads::from([(header.author, (header.lane_seq, digest(batch)))])
}

fn invalid(lanes: &Lanes, heads: &LaneHeads, citation: Citation, bytes_max: u64) -> &'static str {
    match lanes.resolve(heads, &[citation], ERA, bytes_max) {
        Resolution::Invalid(rule) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn citations_take_lanes_in_turns_up_to_the_limit() {
    let (x, y) = (chain(X, 5, 100), chain(Y, 2, 100));
    let lanes = lanes_with(&[x.clone(), y.clone()].concat());
    let size = u64::from(x[0].header().records_bytes);
    let cited = |bytes_max: u64| {
        lanes.citable(&LaneHeads::new(), &CitationLimits { bytes_max, ..limits() })
    };
    assert_eq!(cited(u64::MAX), [cite(&x[4]), cite(&y[1])]);
    assert_eq!(cited(4 * size), [cite(&x[1]), cite(&y[1])], "two of each, not four of one");
    assert_eq!(cited(3 * size), [cite(&x[1]), cite(&y[0])]);
    let next = CitationLimits { view: View::new(3), bytes_max: 3 * size, ..limits() };
    let in_the_next_view = lanes.citable(&LaneHeads::new(), &next);
    assert_eq!(in_the_next_view, [cite(&x[0]), cite(&y[1])], "nobody is always first");
    assert_eq!(cited(3 * size - 1), [cite(&x[0]), cite(&y[0])]);
    assert_eq!(cited(size - 1), []);
    assert_eq!(lanes.citable(&heads_at(&x[3]), &limits())[0], cite(&x[4]), "on from the parent's");
    assert_eq!(lanes.citable(&heads_at(&x[4]), &limits()), [cite(&y[1])]);
}

#[test]
fn a_gap_ends_what_can_be_cited() {
    let x = chain(X, 4, 10);
    let lanes = lanes_with(&[Arc::clone(&x[0]), Arc::clone(&x[1]), Arc::clone(&x[3])]);
    assert_eq!(lanes.citable(&LaneHeads::new(), &limits()), [cite(&x[1])]);
    let lanes = lanes_with(&x[1..]);
    assert_eq!(lanes.citable(&LaneHeads::new(), &limits()), []);
    // A batch in the right place that chains to another one before it.
    let stranger = batch_of(ERA, X, 2, BatchDigest([5; 32]), &[record(1, 1)]);
    let lanes = lanes_with(&[Arc::clone(&x[0]), stranger]);
    assert_eq!(lanes.citable(&LaneHeads::new(), &limits()), [cite(&x[0])]);
}

#[test]
fn records_of_the_future_and_of_other_eras_wait() {
    for (name, era, ms, is_citable) in [
        ("now", 2, 1_000, true),
        ("of the future", 2, 1_001, false),
        ("of the era before", 1, 1_000, true),
        ("of the era after", 3, 1_000, false),
        ("of the era before that", 0, 1_000, false),
    ] {
        let batch = batch_of(Era::new(era), X, 1, BatchDigest::ZERO, &[record(ms, 1)]);
        let cited = lanes_with(&[batch]).citable(&LaneHeads::new(), &limits());
        assert_eq!(cited.len(), usize::from(is_citable), "{name}");
    }
}

#[test]
fn unacknowledged_bytes_have_a_limit_of_their_own() {
    let x = chain(X, 3, 100);
    let mut lanes = lanes_with(&x);
    let size = u64::from(x[0].header().records_bytes);
    let limits = CitationLimits { unacknowledged_bytes_max: size, ..limits() };
    assert_eq!(lanes.citable(&LaneHeads::new(), &limits), [cite(&x[0])]);
    for peer in 1..3 {
        lanes.on_ack(&X, LaneSeq::new(1), digest(&x[0]), ValidatorIndex::new(peer));
        lanes.on_ack(&X, LaneSeq::new(2), BatchDigest([1; 32]), ValidatorIndex::new(peer));
    }
    let cited = lanes.citable(&LaneHeads::new(), &limits);
    assert_eq!(cited, [cite(&x[1])], "the first is with a quorum: its author and two more");
}

#[test]
fn who_withholds_is_cited_with_acknowledgements_only() {
    let x = chain(X, 1, 10);
    let mut lanes = lanes_with(&x);
    let seven = CitationLimits { quorum: 5, one_honest: 3, ..limits() };
    let here = [(LaneSeq::new(1), digest(&x[0]))];
    assert_eq!(lanes.withhold(X, View::new(1), View::new(5)), here, "to be told to everyone");
    assert_eq!(lanes.withhold(X, View::new(1), View::new(5)), [], "once");
    assert!(lanes.is_withholding(&X, View::new(4)) && !lanes.is_withholding(&X, View::new(5)));
    assert!(!lanes.is_withholding(&Y, View::new(4)));
    assert_eq!(lanes.citable(&LaneHeads::new(), &seven), []);
    let until = CitationLimits { view: View::new(5), ..seven };
    assert_eq!(lanes.citable(&LaneHeads::new(), &until), [cite(&x[0])], "it is over");
    for peer in 1..4 {
        lanes.on_ack(&X, LaneSeq::new(1), digest(&x[0]), ValidatorIndex::new(peer));
    }
    assert_eq!(lanes.citable(&LaneHeads::new(), &seven), [cite(&x[0])]);
}

#[test]
fn a_repeated_batch_is_known_and_a_different_one_is_evidence() {
    let x = chain(X, 1, 10);
    let mut lanes = lanes_with(&x);
    let heads = LaneHeads::new();
    assert!(matches!(lanes.accept(&heads, &x[0], false), Accepted::Known));
    let other = batch_of(ERA, X, 1, BatchDigest::ZERO, &[record(1, 11)]);
    let Accepted::Equivocated(evidence) = lanes.accept(&heads, &other, false) else {
        panic!("two batches at one place")
    };
    assert_eq!(*evidence, Evidence::Batches(Arc::clone(&x[0]), Arc::clone(&other)));
    assert!(matches!(lanes.accept(&heads, &other, false), Accepted::Known), "both are held");
    let third = batch_of(ERA, X, 1, BatchDigest::ZERO, &[record(1, 12)]);
    assert!(matches!(lanes.accept(&heads, &third, false), Accepted::Refused), "two suffice");
    let Accepted::Equivocated(evidence) = lanes.accept(&heads, &third, true) else {
        panic!("a cited batch is always taken")
    };
    assert_eq!(*evidence, Evidence::Batches(Arc::clone(&x[0]), third), "the first is kept");
    // Either can be cited: a block decides.
    for batch in [&x[0], &other] {
        let resolution = lanes.resolve(&heads, &[cite(batch)], ERA, u64::MAX);
        let Resolution::Ready(batches) = resolution else { panic!("{resolution:?}") };
        assert_eq!(batches, [Arc::clone(batch)]);
    }
}

#[test]
fn a_full_lane_refuses_but_not_what_is_cited() {
    let bytes = RECORD_BYTES_MAX * 3;
    let x = chain(X, 400, bytes);
    let mut lanes = Lanes::new(CHAIN);
    let heads = LaneHeads::new();
    let taken =
        x.iter().take_while(|it| matches!(lanes.accept(&heads, it, false), Accepted::New)).count();
    assert_eq!(taken, LANE_BYTES_MAX / cost(&x[0]));
    assert!(!lanes.has(&X, LaneSeq::new(taken as u64 + 1), digest(&x[taken])));
    assert!(matches!(lanes.accept(&heads, &x[taken], true), Accepted::New));
    assert!(!lanes.can_admit(&X, 1), "its author pushes back");
    assert!(lanes.can_admit(&Y, RECORD_BYTES_MAX), "the others' lanes are their own");
    assert!(!lanes.can_admit(&Y, RECORD_BYTES_MAX + 1), "no peer could read it");
    assert!(lanes.has(&X, LaneSeq::new(taken as u64 + 1), digest(&x[taken])));
    lanes.commit(&heads_at(&x[taken]));
    assert_eq!(lanes.own_bytes(&X), 0, "what is final makes room");
    assert!(lanes.can_admit(&X, RECORD_BYTES_MAX));
}

#[test]
fn a_commit_prunes_and_the_past_is_refused() {
    let x = chain(X, 3, 10);
    let y = chain(Y, 1, 10);
    let mut lanes = lanes_with(&[x.clone(), y.clone()].concat());
    let heads = heads_at(&x[1]);
    lanes.commit(&heads);
    for (batch, is_held) in [(&x[0], false), (&x[1], false), (&x[2], true), (&y[0], true)] {
        let header = batch.header();
        assert_eq!(lanes.has(&header.author, header.lane_seq, digest(batch)), is_held);
    }
    assert_eq!(lanes.own_bytes(&X), cost(&x[2]));
    for batch in &x[..2] {
        assert!(matches!(lanes.accept(&heads, batch, true), Accepted::Refused));
    }
    assert_eq!(lanes.citable(&heads, &limits()), [cite(&x[2]), cite(&y[0])]);
}

#[test]
fn records_wait_for_the_batch_before_and_fill_the_next() {
    let mut lanes = Lanes::new(CHAIN);
    let start = (LaneSeq::ZERO, BatchDigest::ZERO);
    assert!(lanes.close(ERA, X, start).is_none(), "there is nothing");
    for ms in 0..6 {
        lanes.admit(record(ms, RECORD_BYTES_MAX));
    }
    let all = 6 * (RECORD_BYTES_MAX + RECORD_OVERHEAD_BYTES);
    assert_eq!(lanes.own_bytes(&X), all);
    let (first, records) = lanes.close(ERA, X, start).expect("six records wait");
    assert_eq!(records.len(), 3, "four and their overhead are above the limit of a batch");
    assert_eq!((first.lane_seq, first.previous), (LaneSeq::new(1), BatchDigest::ZERO));
    assert_eq!(first.newest_ms, TimestampMs::new(2));
    assert!(lanes.close(ERA, X, start).is_none(), "the first is not out");
    lanes.on_own_batch_sent();
    let last = (first.lane_seq, first.digest(&CHAIN));
    let (second, records) = lanes.close(ERA, X, last).expect("three records wait");
    assert_eq!((second.lane_seq, second.previous, records.len()), (last.0.next(), last.1, 3));
    assert_eq!(lanes.own_bytes(&X), 0, "the batches come back when they are stored");
}

#[test]
fn waiting_records_are_bounded() {
    let mut lanes = Lanes::new(CHAIN);
    let mut count = 0;
    while lanes.can_admit(&X, RECORD_BYTES_MAX) {
        lanes.admit(record(1, RECORD_BYTES_MAX));
        count += 1;
    }
    assert_eq!(count, PENDING_BYTES_MAX / (RECORD_BYTES_MAX + RECORD_OVERHEAD_BYTES));
}

#[test]
fn the_oldest_batch_is_repeated_to_who_did_not_acknowledge_it() {
    let x = chain(X, 2, 10);
    let mut lanes = lanes_with(&x);
    lanes.on_ack(&X, LaneSeq::new(1), digest(&x[0]), ValidatorIndex::new(2));
    let (batch, acks) = lanes.oldest_unacknowledged(&LaneHeads::new(), &X).expect("two wait");
    assert_eq!((batch, acks.len()), (Arc::clone(&x[0]), 1));
    let (batch, acks) = lanes.oldest_unacknowledged(&heads_at(&x[0]), &X).expect("one waits");
    assert_eq!((batch, acks.len()), (Arc::clone(&x[1]), 0));
    assert!(lanes.oldest_unacknowledged(&heads_at(&x[1]), &X).is_none());
}

#[test]
fn citations_lead_to_their_batches_in_order() {
    let (x, y) = (chain(X, 3, 10), chain(Y, 2, 10));
    let lanes = lanes_with(&[x.clone(), y.clone()].concat());
    let resolution = lanes.resolve(&heads_at(&x[0]), &[cite(&x[2]), cite(&y[1])], ERA, u64::MAX);
    let Resolution::Ready(batches) = resolution else { panic!("{resolution:?}") };
    assert_eq!(batches, [&x[1], &x[2], &y[0], &y[1]].map(Arc::clone));
    let resolution = lanes.resolve(&LaneHeads::new(), &[], ERA, 0);
    assert!(matches!(resolution, Resolution::Ready(batches) if batches.is_empty()));
}

#[test]
fn what_is_missing_is_named_from_the_last_batch_known() {
    let (x, y) = (chain(X, 4, 10), chain(Y, 1, 10));
    let lanes = lanes_with(&[Arc::clone(&x[0]), Arc::clone(&x[3])]);
    let citations = [cite(&x[3]), cite(&y[0])];
    let resolution = lanes.resolve(&LaneHeads::new(), &citations, ERA, u64::MAX);
    let Resolution::Missing(gaps) = resolution else { panic!("{resolution:?}") };
    let gap = |batch: &SignedBatch| MissingBatches {
        author: batch.header().author,
        after: LaneSeq::ZERO,
        up_to: batch.header().lane_seq,
        digest: digest(batch),
    };
    assert_eq!(gaps, [gap(&x[2]), gap(&y[0])]);
}

#[test]
fn every_rule_of_citations_makes_a_block_invalid() {
    let x = chain(X, 3, 100);
    let lanes = lanes_with(&x);
    let size = u64::from(x[0].header().records_bytes);
    let back = "a citation goes back in its lane";
    assert_eq!(invalid(&lanes, &heads_at(&x[1]), cite(&x[0]), u64::MAX), back);
    assert_eq!(invalid(&lanes, &heads_at(&x[1]), cite(&x[1]), u64::MAX), back, "nothing new");
    let nothing = Citation { author: Y, up_to_seq: LaneSeq::ZERO, digest: BatchDigest::ZERO };
    assert_eq!(invalid(&lanes, &LaneHeads::new(), nothing, u64::MAX), back);

    let other_head = LaneHeads::from([(X, (LaneSeq::new(1), BatchDigest([5; 32])))]);
    let rule = "a citation does not continue its lane";
    assert_eq!(invalid(&lanes, &other_head, cite(&x[2]), u64::MAX), rule);

    let rule = "cites more bytes than a block may";
    assert_eq!(invalid(&lanes, &LaneHeads::new(), cite(&x[2]), 3 * size - 1), rule);
    let exact = lanes.resolve(&LaneHeads::new(), &[cite(&x[2])], ERA, 3 * size);
    assert!(matches!(exact, Resolution::Ready(_)), "{exact:?}");

    for (era, is_valid) in [(0, false), (1, true), (2, true), (3, false)] {
        let batch = batch_of(Era::new(era), Y, 1, BatchDigest::ZERO, &[record(1, 1)]);
        let lanes = lanes_with(&[Arc::clone(&batch)]);
        if is_valid {
            let resolution = lanes.resolve(&LaneHeads::new(), &[cite(&batch)], ERA, u64::MAX);
            assert!(matches!(resolution, Resolution::Ready(_)), "era {era}: {resolution:?}");
        } else {
            let rule = "a cited batch is of another era";
            assert_eq!(invalid(&lanes, &LaneHeads::new(), cite(&batch), u64::MAX), rule);
        }
    }
}
