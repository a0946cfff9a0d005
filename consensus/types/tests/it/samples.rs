//! Values of every type: from a seed, or from a stream of numbers.

use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch, SignedTicket, Ticket};
use bizra_types::block::{
    Block, BlockContent, Citation, Closes, FinalHeader, Header, Reveal, SignedProposal,
    proposal_signed_bytes,
};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::execution::ExecFields;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash, Hash, RecordDigest};
use bizra_types::message::{
    BatchAck, BatchHint, CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{
    Epoch, Era, Height, LaneSeq, LogIndex, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::proof::state::{StateEntry, StateLeaf, StatePath};
use bizra_types::proof::{EraChange, FinalHead, FinalityProof, StateProof};
use ed25519_dalek::{Signer as _, SigningKey};

/// The chain of the golden vectors.
pub(crate) const CHAIN: ChainId = ChainId([0xc4; 32]);

/// The key of validator `index` of the golden vectors: its seed is 32 bytes of `index + 1`.
pub(crate) fn key(index: u16) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(index + 1).expect("few validators"); 32])
}

pub(crate) fn public(index: u16) -> PublicKey {
    PublicKey(key(index).verifying_key().to_bytes())
}

pub(crate) fn sign(index: u16, message: &[u8]) -> Signature {
    Signature(key(index).sign(message).to_bytes())
}

pub(crate) fn validator(index: u16) -> Validator {
    Validator {
        name: format!("validator-{index}"),
        peer_id: format!("12D3KooWTest{index}"),
        consensus_key: public(index),
        vrf_key: [0xa0 + u8::try_from(index).expect("few validators"); 32],
        kem_key: vec![0xce; usize::from(index) * 4],
    }
}

pub(crate) fn committee(size: u16) -> Committee {
    Committee::new((0..size).map(validator).collect()).expect("all keys differ")
}

pub(crate) fn signers(size: usize, members: &[u16]) -> SignerSet {
    SignerSet::of(size, members.iter().copied().map(ValidatorIndex::new))
}

pub(crate) fn vote() -> Vote {
    Vote { era: Era::new(2), view: View::new(41), block: BlockId([0xb1; 32]) }
}

pub(crate) fn commit_vote() -> CommitVote {
    CommitVote {
        era: Era::new(2),
        view: View::new(41),
        block: BlockId([0xb1; 32]),
        exec: ExecHash([0xe1; 32]),
    }
}

pub(crate) fn timeout() -> Timeout {
    Timeout { era: Era::new(2), view: View::new(42), high_qc_view: View::new(41) }
}

/// Validators 1, 3, 4, 5 and 6 of seven certify [`vote`].
pub(crate) fn qc() -> Qc {
    let message = vote().signed_bytes(&CHAIN);
    Qc {
        vote: vote(),
        signers: signers(7, &[1, 3, 4, 5, 6]),
        signatures: [1, 3, 4, 5, 6].map(|index| sign(index, &message)).to_vec(),
    }
}

pub(crate) fn commit_cert() -> CommitCert {
    let message = commit_vote().signed_bytes(&CHAIN);
    CommitCert {
        vote: commit_vote(),
        signers: signers(7, &[0, 1, 2, 5, 6]),
        signatures: [0, 1, 2, 5, 6].map(|index| sign(index, &message)).to_vec(),
    }
}

/// The header of [`block`] under a certificate of its own.
pub(crate) fn final_header() -> FinalHeader {
    let header = *block().header();
    let vote =
        CommitVote { era: header.era, view: header.view, block: header.id(), ..commit_vote() };
    let message = vote.signed_bytes(&CHAIN);
    let signatures = [0, 1, 2, 5, 6].map(|index| sign(index, &message)).to_vec();
    FinalHeader { header, commit: CommitCert { vote, signatures, ..commit_cert() } }
}

pub(crate) fn tc() -> Tc {
    let views = [41, 40, 0, 41, 12];
    let members = [0, 1, 2, 4, 6];
    let signed = members.iter().zip(views).map(|(index, view)| {
        let timeout = Timeout { high_qc_view: View::new(view), ..timeout() };
        sign(*index, &timeout.signed_bytes(&CHAIN))
    });
    Tc {
        era: Era::new(2),
        view: View::new(42),
        signers: signers(7, &members),
        high_qc_views: views.map(View::new).to_vec(),
        signatures: signed.collect(),
        high_qc: qc(),
    }
}

pub(crate) fn citation(author: u8) -> Citation {
    Citation {
        author: PublicKey([author; 32]),
        up_to_seq: LaneSeq::new(u64::from(author) + 1),
        digest: BatchDigest([author ^ 0xff; 32]),
    }
}

pub(crate) fn reveal(validator: u16) -> Reveal {
    Reveal {
        validator: ValidatorIndex::new(validator),
        epoch: Epoch::new(300),
        output: [0x0f; 32],
        proof: [0xf0; 64],
    }
}

pub(crate) fn block() -> Block {
    Block::new(BlockContent {
        protocol_version: ProtocolVersion::new(1),
        chain_id: CHAIN,
        height: Height::new(0x0102_0304_0506_0708),
        view: View::new(43),
        justify: qc(),
        citations: vec![citation(3), citation(7)],
        reveals: vec![reveal(0), reveal(5)],
        timestamp_ms: TimestampMs::new(1_795_311_963_123),
        proposer: ValidatorIndex::new(3),
        closes: None,
    })
}

pub(crate) fn filler() -> Block {
    Block::new(BlockContent {
        protocol_version: ProtocolVersion::new(1),
        chain_id: CHAIN,
        height: Height::new(9),
        view: View::new(43),
        justify: qc(),
        citations: Vec::new(),
        reveals: Vec::new(),
        timestamp_ms: TimestampMs::new(1_795_311_963_123),
        proposer: ValidatorIndex::new(3),
        closes: Some(Closes { block: vote().block, exec: ExecHash([0xe1; 32]) }),
    })
}

pub(crate) fn proposal() -> SignedProposal {
    let block = block();
    let signature = sign(3, &proposal_signed_bytes(block.header()));
    SignedProposal { block, tc: Some(tc()), signature }
}

pub(crate) fn signed_timeout() -> SignedTimeout {
    SignedTimeout {
        timeout: timeout(),
        signer: ValidatorIndex::new(6),
        signature: sign(6, &timeout().signed_bytes(&CHAIN)),
        high_qc: qc(),
        entry_tc: None,
        missing: vec![public(2)],
    }
}

pub(crate) fn batch_records() -> Vec<BatchRecord> {
    let record = |at, bytes: &[u8]| BatchRecord {
        admitted_at_ms: TimestampMs::new(at),
        bytes: bytes.into(),
    };
    vec![record(1_795_311_963_200, br#"{"a":1}"#), record(1_795_311_963_100, b"{}")]
}

pub(crate) fn batch() -> SignedBatch {
    let records = batch_records();
    let previous = BatchDigest([0xd0; 32]);
    let header = BatchHeader::new(Era::new(2), public(4), LaneSeq::new(12), previous, &records);
    let signature = sign(4, &header.signed_bytes(&CHAIN));
    SignedBatch::new(header, signature, records.into()).expect("the header is theirs")
}

pub(crate) fn ticket() -> SignedTicket {
    let ticket = Ticket {
        digest: RecordDigest([0x7d; 32]),
        admitted_at_ms: TimestampMs::new(1_795_311_963_100),
        deadline_ms: TimestampMs::new(1_795_398_363_100),
    };
    let era = Era::new(2);
    let signature = sign(5, &ticket.signed_bytes(&CHAIN, era));
    SignedTicket { ticket, era, signer: ValidatorIndex::new(5), signature }
}

pub(crate) fn exec() -> ExecFields {
    ExecFields {
        parent: ExecHash([1; 32]),
        log_root: Hash([2; 32]),
        log_size: 1_000_000,
        state_root: Hash([3; 32]),
        plain_digest: Hash([4; 32]),
        outcomes_root: Hash([5; 32]),
        next_committee: Hash::ZERO,
    }
}

/// Values that no one chose.
pub(crate) struct Stream {
    state: u64,
    number_max: u64,
}

impl Stream {
    /// Values with numbers up to `number_max`.
    pub(crate) const fn new(seed: u64, number_max: u64) -> Self {
        Self { state: seed, number_max }
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next() % 300,
            _ => self.next(),
        }
        .min(self.number_max)
    }

    fn small(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.next().to_le_bytes()[0])
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 1).then(|| make(self))
    }

    fn list<T>(&mut self, limit: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(limit)).map(|_| make(self)).collect()
    }

    pub(crate) fn signers(&mut self) -> SignerSet {
        let size = [0, 1, 4, 7, 8, 9, 100, 1024][self.below(8)];
        let members = (0..size).filter(|_| self.below(3) > 0).map(ValidatorIndex::new);
        SignerSet::of(size.into(), members)
    }

    fn signatures(&mut self, signers: &SignerSet) -> Vec<Signature> {
        (0..signers.count()).map(|_| Signature(self.array())).collect()
    }

    pub(crate) fn vote(&mut self) -> Vote {
        Vote {
            era: Era::new(self.number()),
            view: View::new(self.number()),
            block: BlockId(self.array()),
        }
    }

    pub(crate) fn commit_vote(&mut self) -> CommitVote {
        let Vote { era, view, block } = self.vote();
        CommitVote { era, view, block, exec: ExecHash(self.array()) }
    }

    pub(crate) fn timeout(&mut self) -> Timeout {
        Timeout {
            era: Era::new(self.number()),
            view: View::new(self.number()),
            high_qc_view: View::new(self.number()),
        }
    }

    pub(crate) fn qc(&mut self) -> Qc {
        let signers = self.signers();
        Qc { vote: self.vote(), signatures: self.signatures(&signers), signers }
    }

    pub(crate) fn commit_cert(&mut self) -> CommitCert {
        let signers = self.signers();
        CommitCert { vote: self.commit_vote(), signatures: self.signatures(&signers), signers }
    }

    pub(crate) fn tc(&mut self) -> Tc {
        let signers = self.signers();
        Tc {
            era: Era::new(self.number()),
            view: View::new(self.number()),
            high_qc_views: (0..signers.count()).map(|_| View::new(self.number())).collect(),
            signatures: self.signatures(&signers),
            signers,
            high_qc: self.qc(),
        }
    }

    pub(crate) fn certificate(&mut self) -> Certificate {
        match self.below(4) {
            0 => Certificate::Qc(self.qc()),
            1 => Certificate::Tc(self.tc()),
            2 => Certificate::Filler(self.commit_cert(), self.header()),
            _ => Certificate::Commit(self.commit_cert()),
        }
    }

    pub(crate) fn final_header(&mut self) -> FinalHeader {
        FinalHeader { header: self.header(), commit: self.commit_cert() }
    }

    fn closes(&mut self) -> Closes {
        Closes { block: BlockId(self.array()), exec: ExecHash(self.array()) }
    }

    pub(crate) fn header(&mut self) -> Header {
        Header {
            protocol_version: ProtocolVersion::new(self.small()),
            chain_id: ChainId(self.array()),
            era: Era::new(self.number()),
            height: Height::new(self.number()),
            view: View::new(self.number()),
            parent: BlockId(self.array()),
            justify: Hash(self.array()),
            citations_root: Hash(self.array()),
            reveals_root: Hash(self.array()),
            timestamp_ms: TimestampMs::new(self.number()),
            proposer: ValidatorIndex::new(self.small()),
            closes: self.option(Self::closes),
        }
    }

    pub(crate) fn block(&mut self) -> Block {
        let mut citations = self.list(5, |stream| Citation {
            author: PublicKey(stream.array()),
            up_to_seq: LaneSeq::new(stream.number()),
            digest: BatchDigest(stream.array()),
        });
        citations.sort();
        citations.dedup_by_key(|citation| citation.author);
        let mut reveals = self.list(5, |stream| Reveal {
            validator: ValidatorIndex::new(stream.small()),
            epoch: Epoch::new(stream.number()),
            output: stream.array(),
            proof: stream.array(),
        });
        reveals.sort();
        reveals.dedup_by_key(|reveal| reveal.validator);
        Block::new(BlockContent {
            protocol_version: ProtocolVersion::new(self.small()),
            chain_id: ChainId(self.array()),
            height: Height::new(self.number()),
            view: View::new(self.number()),
            justify: self.qc(),
            citations,
            reveals,
            timestamp_ms: TimestampMs::new(self.number()),
            proposer: ValidatorIndex::new(self.small()),
            closes: self.option(Self::closes),
        })
    }

    pub(crate) fn proposal(&mut self) -> SignedProposal {
        SignedProposal {
            block: self.block(),
            tc: self.option(Self::tc),
            signature: Signature(self.array()),
        }
    }

    pub(crate) fn signed_vote(&mut self) -> SignedVote {
        SignedVote {
            vote: self.vote(),
            signer: ValidatorIndex::new(self.small()),
            signature: Signature(self.array()),
        }
    }

    pub(crate) fn signed_commit_vote(&mut self) -> SignedCommitVote {
        SignedCommitVote {
            vote: self.commit_vote(),
            signer: ValidatorIndex::new(self.small()),
            signature: Signature(self.array()),
        }
    }

    pub(crate) fn signed_timeout(&mut self) -> SignedTimeout {
        SignedTimeout {
            timeout: self.timeout(),
            signer: ValidatorIndex::new(self.small()),
            signature: Signature(self.array()),
            high_qc: self.qc(),
            entry_tc: self.option(Self::tc),
            missing: self.list(65, |stream| PublicKey(stream.array())),
        }
    }

    pub(crate) fn batch(&mut self) -> SignedBatch {
        let mut records = self.list(6, Self::record);
        records.push(self.record());
        let header = BatchHeader::new(
            Era::new(self.number()),
            PublicKey(self.array()),
            LaneSeq::new(self.number()),
            BatchDigest(self.array()),
            &records,
        );
        SignedBatch::new(header, Signature(self.array()), records.into())
            .expect("the header is theirs")
    }

    fn record(&mut self) -> BatchRecord {
        let bytes = self.list(40, |stream| stream.array::<1>()[0]);
        BatchRecord { admitted_at_ms: TimestampMs::new(self.number()), bytes: bytes.into() }
    }

    pub(crate) fn batch_ack(&mut self) -> BatchAck {
        BatchAck {
            author: PublicKey(self.array()),
            lane_seq: LaneSeq::new(self.number()),
            digest: BatchDigest(self.array()),
        }
    }

    pub(crate) fn batch_hint(&mut self) -> BatchHint {
        let BatchAck { author, lane_seq, digest } = self.batch_ack();
        BatchHint { view: View::new(self.number()), author, lane_seq, digest }
    }

    pub(crate) fn ticket(&mut self) -> SignedTicket {
        SignedTicket {
            ticket: Ticket {
                digest: RecordDigest(self.array()),
                admitted_at_ms: TimestampMs::new(self.number()),
                deadline_ms: TimestampMs::new(self.number()),
            },
            era: Era::new(self.number()),
            signer: ValidatorIndex::new(self.small()),
            signature: Signature(self.array()),
        }
    }

    pub(crate) fn exec(&mut self) -> ExecFields {
        ExecFields {
            parent: ExecHash(self.array()),
            log_root: Hash(self.array()),
            log_size: self.number(),
            state_root: Hash(self.array()),
            plain_digest: Hash(self.array()),
            outcomes_root: Hash(self.array()),
            next_committee: Hash(self.array()),
        }
    }

    pub(crate) fn committee(&mut self) -> Committee {
        let size = 1 + self.below(8);
        let validators = (0..size).map(|index| Validator {
            name: format!("{index}{}", "ä".repeat(self.below(20))),
            peer_id: format!("{index}{}", "p".repeat(self.below(60))),
            consensus_key: PublicKey(
                SigningKey::from_bytes(&self.array()).verifying_key().to_bytes(),
            ),
            vrf_key: self.array(),
            kem_key: self.list(50, |stream| stream.array::<1>()[0]),
        });
        Committee::new(validators.collect()).expect("random keys differ")
    }

    pub(crate) fn head(&mut self) -> FinalHead {
        FinalHead {
            exec: self.exec(),
            header: self.header(),
            filler: self.option(Self::header),
            commit: self.commit_cert(),
            eras: self.list(3, |stream| EraChange {
                header: stream.header(),
                exec: stream.exec(),
                committee: stream.committee(),
                filler: stream.option(Self::header),
                commit: stream.commit_cert(),
            }),
        }
    }

    pub(crate) fn proof(&mut self) -> FinalityProof {
        FinalityProof {
            envelope: self.list(2000, |stream| stream.array::<1>()[0]),
            log_index: LogIndex::new(self.number()),
            inclusion: self.list(65, |stream| Hash(stream.array())),
            head: self.head(),
        }
    }

    pub(crate) fn state_proof(&mut self) -> StateProof {
        let entry = match self.below(3) {
            0 => StateEntry::Present(self.list(300, |stream| stream.array::<1>()[0])),
            1 => StateEntry::Absent(None),
            _ => {
                let (key_hash, value_hash) = (Hash(self.array()), Hash(self.array()));
                StateEntry::Absent(Some(StateLeaf { key_hash, value_hash }))
            }
        };
        StateProof {
            family: self.array::<1>()[0],
            key: self.list(257, |stream| stream.array::<1>()[0]),
            path: StatePath { entry, siblings: self.list(257, |stream| Hash(stream.array())) },
            head: self.head(),
        }
    }
}
