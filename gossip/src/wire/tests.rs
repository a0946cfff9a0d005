//! Every message has one encoding, and no other bytes give it.

use super::*;
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::block::{BlockContent, Citation};
use bizra_types::certificate::{CommitCert, Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::Signature;
use bizra_types::hash::{ChainId, ExecHash};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::{Epoch, Era, ProtocolVersion, TimestampMs, View};
use std::sync::Arc;

const ERA: Era = Era::new(1);
const AUTHOR: PublicKey = PublicKey([3; 32]);

fn signers() -> SignerSet {
    SignerSet::of(4, (0..3).map(ValidatorIndex::new))
}

fn signatures() -> Vec<Signature> {
    (1..4).map(|byte| Signature([byte; 64])).collect()
}

fn reveal() -> Reveal {
    Reveal {
        validator: ValidatorIndex::new(2),
        epoch: Epoch::new(5),
        output: [1; 32],
        proof: [2; 64],
    }
}

fn content(justify: Qc, height: u64) -> BlockContent {
    BlockContent {
        protocol_version: ProtocolVersion::new(1),
        chain_id: ChainId([7; 32]),
        height: Height::new(height),
        view: View::new(height),
        justify,
        citations: Vec::new(),
        reveals: Vec::new(),
        timestamp_ms: TimestampMs::new(1000 + height),
        proposer: ValidatorIndex::new(1),
        closes: None,
    }
}

fn qc(block: BlockId, view: u64) -> Qc {
    let vote = Vote { era: ERA, view: View::new(view), block };
    Qc { vote, signers: signers(), signatures: signatures() }
}

fn block() -> Block {
    let digest = BatchDigest([3; 32]);
    Block::new(BlockContent {
        citations: vec![Citation { author: AUTHOR, up_to_seq: LaneSeq::new(4), digest }],
        reveals: vec![reveal()],
        ..content(qc(BlockId([9; 32]), 1), 2)
    })
}

fn tc() -> Tc {
    Tc {
        era: ERA,
        view: View::new(2),
        signers: signers(),
        high_qc_views: vec![View::new(1); 3],
        signatures: signatures(),
        high_qc: qc(BlockId([9; 32]), 1),
    }
}

fn commit_vote() -> CommitVote {
    CommitVote { era: ERA, view: View::new(2), block: block().id(), exec: ExecHash([4; 32]) }
}

fn commit_cert() -> CommitCert {
    CommitCert { vote: commit_vote(), signers: signers(), signatures: signatures() }
}

fn batch_of(records: &[BatchRecord]) -> SignedBatch {
    let header = BatchHeader::new(ERA, AUTHOR, LaneSeq::new(4), BatchDigest([8; 32]), records);
    SignedBatch::new(header, Signature([6; 64]), records.into()).expect("the header is theirs")
}

fn batch() -> SignedBatch {
    let record = |byte: u8| BatchRecord {
        admitted_at_ms: TimestampMs::new(byte.into()),
        bytes: Arc::from([byte; 30]),
    };
    batch_of(&[record(1), record(2)])
}

fn messages() -> Vec<Message> {
    let signer = ValidatorIndex::new(2);
    let signature = Signature([5; 64]);
    let timeout = Timeout { era: ERA, view: View::new(3), high_qc_view: View::new(1) };
    let (lane_seq, digest) = (LaneSeq::new(4), BatchDigest([3; 32]));
    vec![
        Message::Proposal(SignedProposal { block: block(), tc: Some(tc()), signature }),
        Message::Vote(SignedVote { vote: qc(BlockId([9; 32]), 1).vote, signer, signature }),
        Message::CommitVote(SignedCommitVote { vote: commit_vote(), signer, signature }),
        Message::Timeout(SignedTimeout {
            timeout,
            signer,
            signature,
            high_qc: qc(BlockId([9; 32]), 1),
            entry_tc: Some(tc()),
            missing: vec![AUTHOR],
        }),
        Message::Certificate(Certificate::Qc(qc(BlockId([9; 32]), 1))),
        Message::Certificate(Certificate::Tc(tc())),
        Message::Certificate(Certificate::Commit(commit_cert())),
        Message::Reveal(reveal()),
        Message::Batch(batch()),
        Message::BatchAck(BatchAck { author: AUTHOR, lane_seq, digest }),
        Message::BatchHint(BatchHint { view: View::new(3), author: AUTHOR, lane_seq, digest }),
    ]
}

fn requests() -> Vec<Request> {
    vec![
        Request::Batches {
            author: AUTHOR,
            after: LaneSeq::new(1),
            up_to: LaneSeq::new(3),
            digest: BatchDigest([3; 32]),
        },
        Request::Block { block: BlockId([1; 32]) },
        Request::Chain { target: BlockId([1; 32]), above: Height::new(7) },
        Request::End { era: Era::new(3) },
    ]
}

fn responses() -> Vec<Response> {
    let blocks = vec![(block(), vec![batch(), batch()]), (block(), Vec::new())];
    vec![
        Response::Batches(vec![batch(), batch()]),
        Response::Block(block()),
        Response::Chain(ChainPart { blocks, certificate: Certificate::Commit(commit_cert()) }),
        Response::End(Certificate::Commit(commit_cert())),
    ]
}

fn check_encoding<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(T::from_bytes(&longer), Err(DecodeError::Trailing(1)));
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x81;
        if let Ok(other) = T::from_bytes(&changed) {
            assert_ne!(&other, value, "byte {position} is free");
            assert_eq!(other.to_bytes(), changed, "two encodings of one value");
        }
    }
}

#[test]
fn whatever_is_sent_has_one_encoding() {
    messages().iter().for_each(check_encoding);
    requests().iter().for_each(check_encoding);
    responses().iter().for_each(check_encoding);
}

#[test]
fn unknown_tags_are_refused() {
    let invalid = |what, value| DecodeError::Invalid { what, value };
    for tag in [0, 10, 255] {
        assert_eq!(Message::decode(&[tag]), Err(invalid("message tag", tag.into())));
    }
    for tag in [0, 5, 255] {
        assert_eq!(Request::decode(&[tag]), Err(invalid("request tag", tag.into())));
        assert_eq!(Response::decode(&[tag]), Err(invalid("response tag", tag.into())));
    }
}

#[test]
fn counts_are_held_against_limits_and_bytes_before_anything_is_allocated() {
    for tag in [1, 3] {
        let claim = |count: u32| [&[tag][..], &count.to_le_bytes()].concat();
        assert!(matches!(Response::decode(&claim(u32::MAX)), Err(DecodeError::TooMany { .. })));
        assert!(matches!(Response::decode(&claim(65_536)), Err(DecodeError::Short { .. })));
    }
}

#[test]
fn the_smallest_block_and_batch_take_what_the_counts_assume() {
    let root = Qc::root(ERA, BlockId::ZERO, 0);
    let certificate = Certificate::Commit(commit_cert());
    let around = 1 + 4 + certificate.to_bytes().len();
    let part = ChainPart { blocks: vec![(Block::new(content(root, 1)), Vec::new())], certificate };
    assert!(Response::Chain(part).to_bytes().len() - around >= 256);
    let empty = BatchRecord { admitted_at_ms: TimestampMs::ZERO, bytes: Arc::from([]) };
    assert!(batch_of(&[empty]).to_bytes().len() >= 128);
}

#[test]
fn the_tags_are_what_the_formats_say() {
    let tags: Vec<_> = messages().iter().map(|message| message.to_bytes()[0]).collect();
    assert_eq!(tags, [1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9]);
    assert_eq!(
        requests().iter().map(|request| request.to_bytes()[0]).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(
        responses().iter().map(|response| response.to_bytes()[0]).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}
