//! What the verifier lets through, and each thing that it refuses, alone: all
//! other things about the message are good, its signature included.

use crate::samples::{self, CHAIN, committee, public, sign, signers};
use bizra_types::batch::{BatchHeader, SignedBatch};
use bizra_types::block::{
    Block, BlockContent, Closes, FinalHeader, SignedProposal, proposal_signed_bytes,
};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::SignerSet;
use bizra_types::crypto::{SignatureCheck, SignatureMemo};
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use bizra_types::message::{
    CommitVote, MISSING_AUTHORS_MAX, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{
    Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::verify::{Chain, EraContext, Fault, Verifier};
use std::sync::Arc;

/// The era of the samples; seven vote in it, as in the one before.
const ERA: Era = Era::new(2);
/// An era of which the verifier knows nothing.
const LATER: Era = Era::new(3);
const ROOT: BlockId = BlockId([0x70; 32]);
const STRANGER: ValidatorIndex = ValidatorIndex::new(7);
const NO_SIGNATURE: Fault = Fault::Signature;

fn chain() -> Chain {
    let committee = Arc::new(committee(7));
    let mut chain = Chain::new(CHAIN, Arc::clone(&committee), BlockId([0x60; 32]));
    chain.add_era(ERA, EraContext { committee, root: ROOT });
    chain
}

/// Knows no signature: each call of a test begins anew.
fn verifier() -> Verifier {
    Verifier::new(chain(), SignatureMemo::new(0))
}

const fn index(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

const fn inconsistent(what: &'static str) -> Result<(), Fault> {
    Err(Fault::Inconsistent(what))
}

const fn too_few(signers: usize) -> Result<(), Fault> {
    Err(Fault::Quorum { signers, committee: 7, quorum: 5, expected: 7 })
}

fn qc_of(vote: Vote, members: &[u16]) -> Qc {
    let message = vote.signed_bytes(&CHAIN);
    let signatures = members.iter().map(|member| sign(*member, &message)).collect();
    Qc { vote, signers: signers(7, members), signatures }
}

/// A good certificate of a view of the samples' era.
fn qc(view: u64) -> Qc {
    let vote = Vote { view: View::new(view), ..samples::vote() };
    qc_of(vote, &[0, 1, 2, 3, 4])
}

fn commit_cert_of(vote: CommitVote, members: &[u16]) -> CommitCert {
    let message = vote.signed_bytes(&CHAIN);
    let signatures = members.iter().map(|member| sign(*member, &message)).collect();
    CommitCert { vote, signers: signers(7, members), signatures }
}

/// Members 0, 1, 2, … left `view` of `era` with high QCs of these views.
fn tc_of(era: Era, view: u64, high_qc_views: &[u64], high_qc: Qc) -> Tc {
    let high_qc_views: Vec<_> = high_qc_views.iter().map(|view| View::new(*view)).collect();
    let members: Vec<_> = (0..7).take(high_qc_views.len()).collect();
    let signatures = members.iter().zip(&high_qc_views).map(|(member, high_qc_view)| {
        let timeout = Timeout { era, view: View::new(view), high_qc_view: *high_qc_view };
        sign(*member, &timeout.signed_bytes(&CHAIN))
    });
    Tc {
        era,
        view: View::new(view),
        signers: signers(7, &members),
        signatures: signatures.collect(),
        high_qc_views,
        high_qc,
    }
}

/// A good certificate of leaving `view`, by members whose highest QC is of view `high`.
fn tc(view: u64, high: u64) -> Tc {
    tc_of(ERA, view, &[0, high, 0, 1, high], qc(high))
}

/// A block as validator 3 would propose it.
fn content(view: u64, justify: Qc) -> BlockContent {
    BlockContent {
        protocol_version: ProtocolVersion::new(1),
        chain_id: CHAIN,
        height: Height::new(9),
        view: View::new(view),
        justify,
        citations: vec![samples::citation(3)],
        reveals: vec![samples::reveal(0), samples::reveal(6)],
        timestamp_ms: TimestampMs::new(1_795_311_963_123),
        proposer: index(3),
        closes: None,
    }
}

fn filler(content: BlockContent) -> BlockContent {
    let closes = Some(Closes { block: samples::vote().block, exec: ExecHash([0xe1; 32]) });
    BlockContent { closes, ..content }
}

/// What is wrong with blocks of which the rest is good.
fn bad_blocks() -> Vec<(&'static str, Block, Result<(), Fault>)> {
    let other_chain = ChainId([0xc5; 32]);
    let not_earlier = || inconsistent("a block whose justification is not of an earlier view");
    let orders = || inconsistent("a filler that orders something");
    let mut forged = qc(42);
    forged.signatures[4].0[0] ^= 1;
    let later =
        qc_of(Vote { era: LATER, view: View::new(42), ..samples::vote() }, &[0, 1, 2, 3, 4]);
    let root = Qc::root(ERA, ROOT, 7);
    let rows = [
        (
            "of another chain",
            BlockContent { chain_id: other_chain, ..content(43, qc(42)) },
            Err(Fault::Chain(other_chain)),
        ),
        ("of an era that is not known", content(43, later), Err(Fault::Era(LATER))),
        (
            "by a stranger",
            BlockContent { proposer: STRANGER, ..content(43, qc(42)) },
            Err(Fault::Signer(STRANGER)),
        ),
        ("justified by its own view", content(42, qc(42)), not_earlier()),
        ("justified by a later view", content(41, qc(42)), not_earlier()),
        ("of view 0", content(0, root.clone()), not_earlier()),
        (
            "a stranger's reveal",
            BlockContent { reveals: vec![samples::reveal(7)], ..content(43, qc(42)) },
            Err(Fault::Signer(STRANGER)),
        ),
        (
            "a filler that cites",
            BlockContent { reveals: Vec::new(), ..filler(content(43, qc(42))) },
            orders(),
        ),
        (
            "a filler that reveals",
            BlockContent { citations: Vec::new(), ..filler(content(43, qc(42))) },
            orders(),
        ),
        ("a forged signature in the justification", content(43, forged), Err(NO_SIGNATURE)),
        (
            "four of seven in the justification",
            content(43, qc_of(qc(42).vote, &[0, 1, 2, 3])),
            too_few(4),
        ),
        (
            "another root",
            content(1, Qc::root(ERA, samples::vote().block, 7)),
            inconsistent("a QC of view 0 that is not the era's root"),
        ),
    ];
    rows.into_iter().map(|(name, content, error)| (name, Block::new(content), error)).collect()
}

#[test]
fn blocks() {
    let empty = |content| BlockContent { citations: Vec::new(), reveals: Vec::new(), ..content };
    let good = [
        content(43, qc(42)),
        // Whether a gap in the views is allowed is for the proposal's TC to show.
        content(43, qc(7)),
        content(1, Qc::root(ERA, ROOT, 7)),
        empty(filler(content(43, qc(42)))),
    ];
    for block in good.map(Block::new) {
        let verified = verifier().block(block.clone()).map(|block| block.into_inner());
        assert_eq!(verified, Ok(block));
    }
    for (name, block, error) in bad_blocks() {
        assert_eq!(verifier().block(block).map(drop), error, "{name}");
    }
}

#[test]
#[should_panic(expected = "a proposer keeps its lists sorted")]
fn a_validator_reveals_once_in_a_block() {
    let reveals = vec![samples::reveal(5), samples::reveal(5)];
    let _ = Block::new(BlockContent { reveals, ..content(43, qc(42)) });
}

fn propose(block: Block, tc: Option<Tc>) -> SignedProposal {
    let signature = sign(block.header().proposer.get(), &proposal_signed_bytes(block.header()));
    SignedProposal { block, tc, signature }
}

#[test]
fn proposals() {
    let block = |view, justify| Block::new(content(view, qc(justify)));
    let good = [
        ("on the view before", propose(block(43, 42), None)),
        ("on the view before, with a TC of it", propose(block(43, 42), Some(tc(42, 41)))),
        ("with a TC of the view before", propose(block(43, 41), Some(tc(42, 41)))),
        ("above all QCs of the TC", propose(block(43, 41), Some(tc(42, 40)))),
        ("of the samples", samples::proposal()),
    ];
    for (name, proposal) in good {
        let verified = verifier().proposal(proposal.clone());
        assert_eq!(verified.map(|it| it.into_inner()), Ok(proposal), "{name}");
    }

    let other_tc = || inconsistent("a proposal carries the TC of another view");
    let hopeless = || inconsistent("a proposal that no rule lets anybody vote for");
    let of_first_era =
        tc_of(Era::new(1), 42, &[0; 5], Qc::root(Era::new(1), BlockId([0x60; 32]), 7));
    let mut forged_tc = tc(42, 41);
    forged_tc.signatures[2].0[40] ^= 1;
    let mut by_another = propose(block(43, 42), None);
    by_another.signature = sign(4, &proposal_signed_bytes(by_another.block.header()));
    let bad = [
        ("signed by another", by_another, Err(NO_SIGNATURE)),
        ("TC of an older view", propose(block(43, 42), Some(tc(41, 40))), other_tc()),
        ("TC of its own view", propose(block(43, 42), Some(tc(43, 42))), other_tc()),
        ("TC of another era", propose(block(43, 42), Some(of_first_era)), other_tc()),
        ("forged TC", propose(block(43, 42), Some(forged_tc)), Err(NO_SIGNATURE)),
        ("a gap and no TC", propose(block(43, 41), None), hopeless()),
        ("below a QC of the TC", propose(block(43, 40), Some(tc(42, 41))), hopeless()),
    ];
    for (name, proposal, error) in bad {
        assert_eq!(verifier().proposal(proposal).map(drop), error, "{name}");
    }
    for (name, block, error) in bad_blocks() {
        // Nobody has the key of a stranger.
        let signature = sign(3, &proposal_signed_bytes(block.header()));
        let proposal = SignedProposal { block, tc: None, signature };
        assert_eq!(verifier().proposal(proposal).map(drop), error, "{name}");
    }
}

#[test]
fn votes() {
    let signed = |vote: Vote, signer: u16, pen: u16| SignedVote {
        vote,
        signer: index(signer),
        signature: sign(pen, &vote.signed_bytes(&CHAIN)),
    };
    let vote = samples::vote();
    let good = signed(vote, 3, 3);
    assert_eq!(verifier().vote(good).map(|vote| vote.into_inner()), Ok(good));
    let other_chain = sign(3, &vote.signed_bytes(&ChainId([0xc5; 32])));
    let bad = [
        (
            "view 0",
            signed(Vote { view: View::ZERO, ..vote }, 3, 3),
            inconsistent("a vote in view 0"),
        ),
        ("unknown era", signed(Vote { era: LATER, ..vote }, 3, 3), Err(Fault::Era(LATER))),
        ("a stranger", signed(vote, 7, 3), Err(Fault::Signer(STRANGER))),
        ("signed by another", signed(vote, 3, 4), Err(NO_SIGNATURE)),
        (
            "signed for another chain",
            SignedVote { signature: other_chain, ..good },
            Err(NO_SIGNATURE),
        ),
    ];
    for (name, vote, error) in bad {
        assert_eq!(verifier().vote(vote).map(drop), error, "{name}");
    }
}

#[test]
fn commit_votes() {
    let signed = |vote: CommitVote, signer: u16, pen: u16| SignedCommitVote {
        vote,
        signer: index(signer),
        signature: sign(pen, &vote.signed_bytes(&CHAIN)),
    };
    let vote = samples::commit_vote();
    let good = signed(vote, 3, 3);
    assert_eq!(verifier().commit_vote(good).map(|vote| vote.into_inner()), Ok(good));
    let bad = [
        (
            "view 0",
            signed(CommitVote { view: View::ZERO, ..vote }, 3, 3),
            inconsistent("a commit vote in view 0"),
        ),
        ("unknown era", signed(CommitVote { era: LATER, ..vote }, 3, 3), Err(Fault::Era(LATER))),
        ("a stranger", signed(vote, 7, 3), Err(Fault::Signer(STRANGER))),
        ("signed by another", signed(vote, 3, 4), Err(NO_SIGNATURE)),
        (
            "another exec than was signed",
            SignedCommitVote { vote: CommitVote { exec: ExecHash::ZERO, ..vote }, ..good },
            Err(NO_SIGNATURE),
        ),
    ];
    for (name, vote, error) in bad {
        assert_eq!(verifier().commit_vote(vote).map(drop), error, "{name}");
    }
}

fn timeout(view: u64, high_qc: Qc, entry_tc: Option<Tc>) -> SignedTimeout {
    let high_qc_view = high_qc.vote.view;
    let timeout = Timeout { era: ERA, view: View::new(view), high_qc_view };
    let signature = sign(6, &timeout.signed_bytes(&CHAIN));
    let missing = vec![public(2); MISSING_AUTHORS_MAX];
    SignedTimeout { timeout, signer: index(6), signature, high_qc, entry_tc, missing }
}

#[test]
fn timeouts() {
    let good = [
        ("entered by QC", timeout(42, qc(41), None)),
        ("entered by TC", timeout(43, qc(41), Some(tc(42, 41)))),
        ("entered by both", timeout(43, qc(42), Some(tc(42, 41)))),
        ("of an era's first view", timeout(1, Qc::root(ERA, ROOT, 7), None)),
    ];
    for (name, timeout) in good {
        let verified = verifier().timeout(timeout.clone());
        assert_eq!(verified.map(|it| it.into_inner()), Ok(timeout), "{name}");
    }

    let not_earlier = || inconsistent("a timeout whose high QC is not of an earlier view");
    let other_qc = || inconsistent("a timeout beside another high QC than it names");
    let no_entry = || inconsistent("a timeout without the certificate of its view's entry");
    let resigned = |mut timeout: SignedTimeout, change: fn(&mut SignedTimeout)| {
        change(&mut timeout);
        timeout.signature = sign(6, &timeout.timeout.signed_bytes(&CHAIN));
        timeout
    };
    let plain = || timeout(42, qc(41), None);
    let mut forged = plain();
    forged.high_qc.signatures[0].0[0] ^= 1;
    let mut forged_tc = timeout(43, qc(41), Some(tc(42, 41)));
    forged_tc.entry_tc.as_mut().expect("it has one").signatures[0].0[0] ^= 1;
    let of_first_era =
        tc_of(Era::new(1), 41, &[0; 5], Qc::root(Era::new(1), BlockId([0x60; 32]), 7));
    let bad = [
        ("a high QC of its own view", timeout(42, qc(42), None), not_earlier()),
        ("a high QC of a later view", timeout(42, qc(43), None), not_earlier()),
        ("view 0", timeout(0, Qc::root(ERA, ROOT, 7), None), not_earlier()),
        (
            "another high QC than is named",
            resigned(plain(), |it| it.timeout.high_qc_view = View::new(40)),
            other_qc(),
        ),
        (
            "a high QC of another era",
            resigned(plain(), |it| it.high_qc.vote.era = Era::new(1)),
            other_qc(),
        ),
        (
            "an author too many",
            resigned(plain(), |it| it.missing.push(public(2))),
            inconsistent("a timeout that names too many authors"),
        ),
        ("a gap and no TC", timeout(43, qc(41), None), no_entry()),
        ("a TC of an older view", timeout(43, qc(40), Some(tc(41, 40))), no_entry()),
        (
            "a TC of another era",
            timeout(42, qc(41), Some(of_first_era)),
            inconsistent("a timeout beside a TC of another era"),
        ),
        ("unknown era", resigned(plain(), |it| it.timeout.era = LATER), Err(Fault::Era(LATER))),
        ("a stranger", resigned(plain(), |it| it.signer = STRANGER), Err(Fault::Signer(STRANGER))),
        ("signed by another", resigned(plain(), |it| it.signer = index(5)), Err(NO_SIGNATURE)),
        ("a forged high QC", forged, Err(NO_SIGNATURE)),
        ("a forged TC", forged_tc, Err(NO_SIGNATURE)),
    ];
    for (name, timeout, error) in bad {
        assert_eq!(verifier().timeout(timeout).map(drop), error, "{name}");
    }
}

#[test]
fn a_qc_is_a_quorums() {
    let verify = |qc: Qc| verifier().certificate(Certificate::Qc(qc)).map(drop);
    let vote = samples::vote();
    for members in [&[0, 1, 2, 3, 4][..], &[1, 3, 4, 5, 6], &[0, 1, 2, 3, 4, 5, 6]] {
        assert_eq!(verify(qc_of(vote, members)), Ok(()), "{members:?}");
    }
    assert_eq!(verify(qc_of(vote, &[0, 1, 2, 3])), too_few(4));
    assert_eq!(verify(qc_of(vote, &[])), too_few(0));
    for damaged in 0..5 {
        let mut forged = qc(41);
        forged.signatures[damaged].0[32] ^= 1;
        assert_eq!(verify(forged), Err(NO_SIGNATURE), "signature {damaged}");
    }
    let swapped = Qc { signers: signers(7, &[0, 1, 2, 3, 5]), ..qc(41) };
    assert_eq!(verify(swapped), Err(NO_SIGNATURE), "signer 5 did not sign");
    let of_eight = Qc { signers: signers(8, &[0, 1, 2, 3, 4]), ..qc(41) };
    let error = Fault::Quorum { signers: 5, committee: 8, quorum: 5, expected: 7 };
    assert_eq!(verify(of_eight), Err(error));
    let mut short = qc(41);
    short.signatures.pop();
    assert_eq!(verify(short), too_few(5), "a signature is missing");
    let mut long = qc(41);
    long.signatures.push(long.signatures[0]);
    assert_eq!(verify(long), too_few(5), "a signature too many");
    let later = qc_of(Vote { era: LATER, ..vote }, &[0, 1, 2, 3, 4]);
    assert_eq!(verify(later), Err(Fault::Era(LATER)));

    let root = Qc::root(ERA, ROOT, 7);
    let other = || inconsistent("a QC of view 0 that is not the era's root");
    assert_eq!(verify(root.clone()), Ok(()));
    assert_eq!(verify(Qc::root(ERA, vote.block, 7)), other());
    assert_eq!(verify(Qc { signers: SignerSet::empty(8), ..root.clone() }), other());
    assert_eq!(verify(qc_of(root.vote, &[0, 1, 2, 3, 4])), other(), "nobody votes in view 0");
}

#[test]
fn a_tc_holds_the_highest_qc_of_its_signers() {
    let verify = |tc: Tc| verifier().certificate(Certificate::Tc(tc)).map(drop);
    let not_highest = || inconsistent("a TC without the highest QC of its signers");
    assert_eq!(verify(tc(42, 41)), Ok(()));
    assert_eq!(verify(samples::tc()), Ok(()));
    assert_eq!(verify(tc_of(ERA, 1, &[0; 5], Qc::root(ERA, ROOT, 7))), Ok(()));
    assert_eq!(verify(tc_of(ERA, 42, &[40, 41, 0, 0, 0], qc(40))), not_highest());
    assert_eq!(verify(tc_of(ERA, 42, &[40, 39, 0, 0, 0], qc(41))), not_highest());
    assert_eq!(verify(tc_of(ERA, 42, &[42, 41, 0, 0, 0], qc(42))), not_highest());
    assert_eq!(verify(tc_of(ERA, 42, &[43, 41, 0, 0, 0], qc(43))), not_highest());
    let first = qc_of(Vote { era: Era::new(1), ..samples::vote() }, &[0, 1, 2, 3, 4]);
    assert_eq!(verify(tc_of(ERA, 42, &[41; 5], first)), not_highest());
    assert_eq!(verify(tc_of(ERA, 42, &[41, 41, 0, 0], qc(41))), too_few(4));
    let mut forged = tc(42, 41);
    forged.signatures[3].0[32] ^= 1;
    assert_eq!(verify(forged), Err(NO_SIGNATURE));
    let mut other_view = tc(42, 41);
    other_view.high_qc_views.swap(0, 1);
    assert_eq!(verify(other_view), Err(NO_SIGNATURE), "each signed its own high QC");
    let mut short = tc(42, 41);
    short.high_qc_views.truncate(4);
    assert_eq!(verify(short), Err(NO_SIGNATURE), "one of the signers named none");
    let mut forged = tc(42, 41);
    forged.high_qc.signatures[0].0[0] ^= 1;
    assert_eq!(verify(forged), Err(NO_SIGNATURE), "the QC beside it counts");
    let later = tc_of(LATER, 42, &[41; 5], qc(41));
    assert_eq!(verify(later), Err(Fault::Era(LATER)));
}

#[test]
fn a_commit_certificate_is_a_quorums() {
    let verify = |cert: CommitCert| verifier().certificate(Certificate::Commit(cert)).map(drop);
    let vote = samples::commit_vote();
    assert_eq!(verify(samples::commit_cert()), Ok(()));
    assert_eq!(verify(commit_cert_of(vote, &[0, 1, 2, 3])), too_few(4));
    let mut forged = samples::commit_cert();
    forged.vote.exec = ExecHash::ZERO;
    assert_eq!(verify(forged), Err(NO_SIGNATURE));
    let later = commit_cert_of(CommitVote { era: LATER, ..vote }, &[0, 1, 2, 3, 4]);
    assert_eq!(verify(later), Err(Fault::Era(LATER)));
}

#[test]
fn a_fillers_certificate_stands_beside_its_own_header() {
    let header = *samples::filler().header();
    let closes = header.closes.expect("it is a filler");
    let vote = CommitVote { era: ERA, view: header.view, block: header.id(), exec: closes.exec };
    let verify = |vote: CommitVote, header, members: &[u16]| {
        let cert = commit_cert_of(vote, members);
        verifier().certificate(Certificate::Filler(cert, header)).map(drop)
    };
    let quorum = [0, 1, 2, 3, 4];
    let other = || inconsistent("a certificate of a filler beside another header than its own");
    assert_eq!(verify(vote, header, &quorum), Ok(()));
    assert_eq!(verify(vote, header, &quorum[..4]), too_few(4));
    let rows = [
        ("another block", CommitVote { block: closes.block, ..vote }),
        ("another era", CommitVote { era: Era::new(1), ..vote }),
        ("another view", CommitVote { view: View::new(44), ..vote }),
        ("another exec", CommitVote { exec: ExecHash::ZERO, ..vote }),
    ];
    for (name, vote) in rows {
        assert_eq!(verify(vote, header, &quorum), other(), "{name}");
    }
    let block = *samples::block().header();
    let no_filler = CommitVote { view: block.view, block: block.id(), ..vote };
    assert_eq!(verify(no_filler, block, &quorum), other(), "a block that closes nothing");
    let mut forged = commit_cert_of(vote, &quorum);
    forged.signatures[0].0[0] ^= 1;
    let forged = verifier().certificate(Certificate::Filler(forged, header)).map(drop);
    assert_eq!(forged, Err(NO_SIGNATURE));
}

#[test]
fn a_final_header_stands_beside_its_own_certificate() {
    let good = samples::final_header();
    let verified = verifier().final_header(good.clone()).expect("it is good");
    assert_eq!(verified.get(), &good);
    let certificate = verified.into_certificate().into_inner();
    assert_eq!(certificate, Certificate::Commit(good.commit.clone()));

    let verify = |head: FinalHeader| verifier().final_header(head).map(drop);
    let other_chain = ChainId([0xc5; 32]);
    let mut header = good.header;
    header.chain_id = other_chain;
    assert_eq!(verify(FinalHeader { header, ..good.clone() }), Err(Fault::Chain(other_chain)));
    let header = *samples::filler().header();
    let vote = CommitVote { view: header.view, block: header.id(), ..good.commit.vote };
    let commit = commit_cert_of(vote, &[0, 1, 2, 3, 4]);
    assert_eq!(verify(FinalHeader { header, commit }), inconsistent("a filler as a final header"));
    let vote = good.commit.vote;
    let rows = [
        ("another block", CommitVote { block: ROOT, ..vote }),
        ("another era", CommitVote { era: Era::new(1), ..vote }),
        ("another view", CommitVote { view: View::new(44), ..vote }),
    ];
    for (name, vote) in rows {
        let commit = commit_cert_of(vote, &[0, 1, 2, 3, 4]);
        let error = inconsistent("a final header beside another block's certificate");
        assert_eq!(verify(FinalHeader { commit, ..good.clone() }), error, "{name}");
    }
    let commit = commit_cert_of(vote, &[0, 1, 2, 3]);
    assert_eq!(verify(FinalHeader { commit, ..good.clone() }), too_few(4));
    let mut forged = good;
    forged.commit.signatures[0].0[0] ^= 1;
    assert_eq!(verify(forged), Err(NO_SIGNATURE));
}

#[test]
fn certificates_rank_by_era_and_view_and_some_make_a_block_final() {
    let (qc, tc, cert) = (samples::qc(), samples::tc(), samples::commit_cert());
    let ranks = [qc.rank(), tc.rank(), cert.rank()];
    assert_eq!(ranks, [41, 42, 41].map(|view| (ERA, View::new(view))));
    let filler = *samples::filler().header();
    let closed = filler.closes.expect("it is a filler").block;
    let rows = [
        (Certificate::Qc(qc), None),
        (Certificate::Tc(tc), None),
        (Certificate::Commit(cert.clone()), Some((cert.vote.block, &cert))),
        (Certificate::Filler(cert.clone(), filler), Some((closed, &cert))),
        (Certificate::Filler(cert.clone(), *samples::block().header()), None),
    ];
    for (certificate, final_by) in rows {
        assert_eq!((certificate.era(), certificate.made_final()), (ERA, final_by));
    }
}

#[test]
fn batches() {
    let good = samples::batch();
    let verified = verifier().batch(good.clone()).map(|batch| batch.into_inner());
    assert_eq!(verified, Ok(good));
    let verify = |era, author, pen, chain| {
        let records = samples::batch_records();
        let previous = BatchDigest::ZERO;
        let header = BatchHeader::new(era, public(author), LaneSeq::new(1), previous, &records);
        let signature = sign(pen, &header.signed_bytes(&chain));
        let batch = SignedBatch::new(header, signature, records.into()).expect("its header");
        verifier().batch(batch).map(drop)
    };
    assert_eq!(verify(ERA, 4, 4, CHAIN), Ok(()));
    assert_eq!(verify(LATER, 4, 4, CHAIN), Err(Fault::Era(LATER)));
    assert_eq!(verify(ERA, 7, 7, CHAIN), Err(Fault::Author(public(7))));
    assert_eq!(verify(ERA, 4, 5, CHAIN), Err(NO_SIGNATURE));
    assert_eq!(verify(ERA, 4, 4, ChainId([0xc5; 32])), Err(NO_SIGNATURE));
}

#[test]
fn what_is_not_signed_comes_from_a_member() {
    let reveal = |validator| samples::reveal(validator);
    let verified = verifier().reveal(ERA, reveal(6)).map(|it| it.into_inner());
    assert_eq!(verified, Ok(reveal(6)));
    let mut values = samples::Stream::new(1, u64::MAX);
    let (ack, hint) = (values.batch_ack(), values.batch_hint());
    let verified = verifier().batch_ack(ERA, index(6), ack).expect("a member");
    assert_eq!((verified.get().sender, verified.get().message), (index(6), ack));
    let verified = verifier().batch_hint(ERA, index(6), hint).expect("a member");
    assert_eq!((verified.get().sender, verified.get().message), (index(6), hint));
    for (era, sender, error) in [(ERA, 7, Fault::Signer(STRANGER)), (LATER, 6, Fault::Era(LATER))] {
        assert_eq!(verifier().reveal(era, reveal(sender)).map(drop), Err(error));
        assert_eq!(verifier().batch_ack(era, index(sender), ack).map(drop), Err(error));
        assert_eq!(verifier().batch_hint(era, index(sender), hint).map(drop), Err(error));
    }
}

#[test]
fn only_an_unknown_era_is_no_misbehaviour() {
    assert!(!Fault::Era(LATER).is_misbehaviour());
    let too_few = too_few(4).expect_err("too few");
    for fault in [
        Fault::Chain(CHAIN),
        Fault::Signer(STRANGER),
        Fault::Author(public(7)),
        NO_SIGNATURE,
        too_few,
        Fault::Inconsistent("with itself"),
    ] {
        assert!(fault.is_misbehaviour(), "{fault}");
    }
}

#[test]
fn eras_follow_one_another() {
    let mut verifier = verifier();
    let next = samples::committee(4);
    let context = EraContext { committee: Arc::new(next.clone()), root: ROOT };
    verifier.add_era(LATER, context);
    assert_eq!(verifier.chain().newest(), LATER);
    let known: Vec<_> =
        verifier.chain().eras().map(|(era, it)| (era, it.committee.size())).collect();
    assert_eq!(known, [(Era::new(1), 7), (ERA, 7), (LATER, 4)]);
    assert_eq!(*verifier.chain().era(LATER).expect("it was added").committee, next);
    assert_eq!(verifier.chain().era(Era::new(4)).map(drop), Err(Fault::Era(Era::new(4))));
    // The same vote by another committee: era 3 has no validator 4.
    let vote = Vote { era: LATER, ..samples::vote() };
    let signature = sign(4, &vote.signed_bytes(&CHAIN));
    let vote = SignedVote { vote, signer: index(4), signature };
    assert_eq!(verifier.vote(vote).map(drop), Err(Fault::Signer(index(4))));
}

#[test]
#[should_panic(expected = "eras follow one another")]
fn no_era_is_skipped() {
    let context = chain().era(ERA).expect("it is known").clone();
    chain().add_era(Era::new(4), context);
}

/// The memo is asked before the curve: what it was told to be good is good.
#[test]
fn a_signature_that_is_remembered_is_not_checked_again() {
    let mut verifier = verifier();
    let vote = samples::vote();
    let forged = SignedVote { vote, signer: index(3), signature: sign(4, b"something else") };
    assert_eq!(verifier.vote(forged).map(drop), Err(NO_SIGNATURE));
    let message = vote.signed_bytes(&CHAIN);
    let check = SignatureCheck { key: public(3), message: &message, signature: forged.signature };
    verifier.memo().remember(&check);
    assert_eq!(verifier.vote(forged).map(drop), Ok(()));
}
