//! A few replicas driven by hand: the test decides what arrives where.
//!
//! Signatures are hashes that stand in the verifier's memo, so that the real
//! checks run and nothing unsigned passes. What a replica persists is kept as
//! its disk, what it executes is answered at once, what it sends to all comes
//! back to itself, and the rest waits in `sent`.

#![allow(dead_code, reason = "each test file uses its part")]

use bizra_consensus::{
    Alarm, Ask, ClosedEra, Commit, Decisions, Effects, Input, Now, Outgoing, Recipients, Replica,
    ReplicaConfig, Restored, Root, SafetyRecord, Schedule, Time,
};
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::{Block, BlockContent, Citation, Closes, SignedProposal, proposal_bytes};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet, Validator};
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck, SignatureMemo};
use bizra_types::genesis::{Genesis, Parameters};
use bizra_types::hash::{BatchDigest, BlockId, Context, ExecHash};
use bizra_types::message::{
    BatchAck, CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{
    Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::verify::Verifier;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) mod script;

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;
pub(crate) const D: usize = 3;
pub(crate) const E: usize = 4;
pub(crate) const ERA: Era = Era::new(1);
const START_MS: u64 = 1_800_000_000_000;

/// What a node keeps through a crash.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) safety: BTreeMap<(Era, PublicKey), SafetyRecord>,
    pub(crate) closed: Vec<ClosedEra>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    pub(crate) batches: Vec<Arc<SignedBatch>>,
    pub(crate) root: Option<Root>,
}

pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) disk: Disk,
    /// All that was sent and not yet taken by the test.
    pub(crate) sent: Vec<(Recipients, Input)>,
    pub(crate) asked: Vec<Ask>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) alarms: Vec<Alarm>,
}

pub(crate) struct Cluster {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) verifier: Verifier,
    pub(crate) nodes: Vec<Node>,
    pub(crate) micros: u64,
    /// What the execution of blocks decides, if anything.
    pub(crate) decisions: BTreeMap<BlockId, Decisions>,
    /// Blocks whose execution takes until [`Cluster::finish`].
    pub(crate) slow: BTreeSet<BlockId>,
}

pub(crate) fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(node).expect("few"))
}

/// The identity to which a node may rotate its key.
pub(crate) fn rotated(node: usize) -> usize {
    node + 10
}

pub(crate) fn view(view: u64) -> View {
    View::new(view)
}

pub(crate) fn exec_of(block: BlockId) -> ExecHash {
    ExecHash(block.0)
}

pub(crate) fn validator(number: usize) -> Validator {
    let seed = Context::Seed.hash(&[&[u8::try_from(number).expect("few")]]);
    let key = ed25519_dalek::SigningKey::from_bytes(&seed.0);
    Validator {
        name: format!("node {number}"),
        peer_id: format!("peer {number}"),
        consensus_key: PublicKey(key.verifying_key().to_bytes()),
        vrf_key: seed.0,
        kem_key: Vec::new(),
    }
}

/// A genesis of four in which the first views have these leaders.
fn genesis(leaders: &[usize]) -> Genesis {
    for attempt in 0.. {
        let committee = Committee::new((0..4).map(validator).collect()).expect("distinct");
        let genesis = Genesis::new(
            format!("by hand {attempt}"),
            TimestampMs::new(START_MS),
            committee,
            ProtocolVersion::new(1),
            Parameters::default(),
            Vec::new(),
        );
        let seed = Root::genesis(&genesis, ExecHash([0; 32])).epoch.seed;
        let leads = |(place, leader): (usize, &usize)| {
            Schedule::leader(&genesis.committee, seed, view(place as u64 + 1)) == index(*leader)
        };
        if leaders.iter().enumerate().all(leads) {
            return genesis;
        }
    }
    unreachable!("some name gives every order")
}

impl Cluster {
    /// Replicas at A, B and C; D is the test's. The first views' leaders are given.
    pub(crate) fn new(leaders: &[usize]) -> Self {
        let genesis = Arc::new(genesis(leaders));
        let verifier = Verifier::new(genesis.chain(), SignatureMemo::new(usize::MAX));
        let decisions = BTreeMap::new();
        let slow = BTreeSet::new();
        let mut cluster = Self { genesis, verifier, nodes: Vec::new(), micros: 0, decisions, slow };
        for node in [A, B, C] {
            cluster.add(node, cluster.fresh_disk(node));
        }
        cluster
    }

    /// Who leads a view of the first epoch.
    pub(crate) fn leader(&self, view: View) -> usize {
        let seed = Root::genesis(&self.genesis, ExecHash([0; 32])).epoch.seed;
        Schedule::leader(&self.genesis.committee, seed, view).get().into()
    }

    /// The disk of a node whose keys never signed.
    pub(crate) fn fresh_disk(&self, node: usize) -> Disk {
        let fresh = |key| ((ERA, key), SafetyRecord::new(self.root_qc(), None));
        let keys = [node, rotated(node)].map(|identity| self.key(identity));
        Disk { safety: keys.into_iter().map(fresh).collect(), ..Disk::default() }
    }

    /// The record under which a node signs in an era.
    pub(crate) fn record(&self, node: usize, era: Era) -> &SafetyRecord {
        &self.nodes[node].disk.safety[&(era, self.key(node))]
    }

    /// What a replica gets that starts on this disk.
    pub(crate) fn restored(&self, disk: &Disk) -> Restored {
        let genesis = || Root::genesis(&self.genesis, ExecHash([0; 32]));
        Restored {
            safety: disk.safety.iter().map(|((_, key), it)| (*key, it.clone())).collect(),
            root: disk.root.clone().unwrap_or_else(genesis),
            closed: disk.closed.clone(),
            blocks: disk.blocks.values().cloned().collect(),
            batches: disk.batches.clone(),
        }
    }

    /// Starts a node, or starts it again on another disk.
    pub(crate) fn add(&mut self, node: usize, disk: Disk) {
        let restored = self.restored(&disk);
        let keys = vec![validator(node).consensus_key, validator(rotated(node)).consensus_key];
        let version_max = ProtocolVersion::new(1);
        let config = ReplicaConfig { genesis: Arc::clone(&self.genesis), keys, version_max };
        let (replica, effects) =
            Replica::new(&config, restored, self.now()).expect("the ends of eras are on disk");
        let fresh = Node {
            replica,
            disk,
            sent: Vec::new(),
            asked: Vec::new(),
            commits: Vec::new(),
            alarms: Vec::new(),
        };
        if node < self.nodes.len() {
            self.nodes[node] = fresh;
        } else {
            self.nodes.push(fresh);
        }
        self.run(node, effects);
    }

    /// The process dies and comes back with what is on its disk; commits and
    /// alarms are those of the new one.
    pub(crate) fn restart(&mut self, node: usize) {
        let disk = core::mem::take(&mut self.nodes[node].disk);
        self.add(node, disk);
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            time: Time::from_micros(1_000_000 + self.micros),
            wall: TimestampMs::new(START_MS + 10 + self.micros / 1_000),
        }
    }

    pub(crate) fn step(&mut self, node: usize, input: Input) {
        let now = self.now();
        let effects = self.nodes[node].replica.step(now, input);
        self.run(node, effects);
    }

    pub(crate) fn wake(&mut self, node: usize) {
        self.step(node, Input::Wake);
    }

    /// Lets `ms` pass, in steps small enough for every timer, for some nodes.
    pub(crate) fn pass(&mut self, nodes: &[usize], ms: u64) {
        let end = self.micros + ms * 1_000;
        while self.micros < end {
            self.micros = (self.micros + 10_000).min(end);
            for node in nodes {
                self.wake(*node);
            }
        }
    }

    fn run(&mut self, node: usize, effects: Effects) {
        let mut queue = VecDeque::from([effects]);
        while let Some(effects) = queue.pop_front() {
            let Effects { persist, send, execute, commit, ask, alarms } = effects;
            let disk = &mut self.nodes[node].disk;
            for (key, safety) in persist.safety {
                disk.safety.insert((safety.era, key), safety);
            }
            disk.closed.extend(persist.closed);
            disk.blocks.extend(persist.blocks.into_iter().map(|block| (block.id(), block)));
            disk.batches.extend(persist.batches);
            disk.batches.retain(|batch| !persist.lapsed_batches.contains(batch.header()));
            for (header, records) in persist.own_batches {
                let batch = self.batch(header, records);
                self.nodes[node].disk.batches.push(Arc::new(batch));
            }
            let mut inputs = Vec::new();
            for send in send {
                let input = self.sign(node, send.message);
                if matches!(send.to, Recipients::All) {
                    inputs.extend(input.clone());
                }
                self.nodes[node].sent.extend(input.map(|input| (send.to, input)));
            }
            for execute in execute {
                let block = execute.block.id();
                if self.slow.contains(&block) {
                    continue;
                }
                let decisions = self.decisions.get(&block).cloned().unwrap_or_default();
                inputs.push(Input::Executed { block, exec: exec_of(block), decisions });
            }
            for commit in commit {
                let disk = &mut self.nodes[node].disk;
                disk.root = Some(commit.root.clone());
                self.learn_era(&commit.root);
                self.nodes[node].commits.push(commit);
            }
            self.nodes[node].asked.extend(ask);
            self.nodes[node].alarms.extend(alarms);
            for input in inputs {
                let now = self.now();
                queue.push_back(self.nodes[node].replica.step(now, input));
            }
        }
    }

    /// The verifier is that of all nodes: who is behind gets what it could not
    /// check itself, and must know what to do with it.
    fn learn_era(&mut self, root: &Root) {
        let Some((era, context)) = root.ended().map(|ended| ended.opens()) else { return };
        if self.verifier.chain().era(era).is_err() {
            self.verifier.add_era(era, context);
        }
    }

    pub(crate) fn key(&self, node: usize) -> PublicKey {
        validator(node).consensus_key
    }

    /// Signs anything as `node`: D's pen, and the drivers'.
    pub(crate) fn signature(&mut self, node: usize, message: &[u8]) -> Signature {
        self.signature_of(self.key(node), message)
    }

    fn signature_of(&mut self, key: PublicKey, message: &[u8]) -> Signature {
        let half = Context::Signature.hash(&[&key.0, message]);
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&half.0);
        bytes[32..].copy_from_slice(&half.0);
        let signature = Signature(bytes);
        self.verifier.memo().remember(&SignatureCheck { key, message, signature });
        signature
    }

    /// A batch with its author's signature.
    pub(crate) fn batch(
        &mut self,
        header: BatchHeader,
        records: Arc<[BatchRecord]>,
    ) -> SignedBatch {
        let message = header.signed_bytes(&self.genesis.chain_id());
        let signature = self.signature_of(header.author, &message);
        SignedBatch::new(header, signature, records).expect("a header of its records")
    }

    /// The batch of one record with which the lane of a node begins in the first era.
    pub(crate) fn first_batch(&mut self, node: usize) -> SignedBatch {
        let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: [7; 40].into() };
        let (author, records) = (self.key(node), [record]);
        let header = BatchHeader::new(ERA, author, LaneSeq::new(1), BatchDigest::ZERO, &records);
        self.batch(header, records.into())
    }

    pub(crate) fn vote(&mut self, node: usize, block: &Block) -> SignedVote {
        let vote = Vote { era: block.header().era, view: block.header().view, block: block.id() };
        let signature = self.signature(node, &vote.signed_bytes(&self.genesis.chain_id()));
        SignedVote { vote, signer: index(node), signature }
    }

    pub(crate) fn commit_vote(&mut self, node: usize, block: &Block) -> SignedCommitVote {
        let exec = block.header().closes.map_or(exec_of(block.id()), |closes| closes.exec);
        self.commit_vote_for(node, block, exec)
    }

    pub(crate) fn commit_vote_for(
        &mut self,
        node: usize,
        block: &Block,
        exec: ExecHash,
    ) -> SignedCommitVote {
        let (era, view, block) = (block.header().era, block.header().view, block.id());
        let vote = CommitVote { era, view, block, exec };
        let signature = self.signature(node, &vote.signed_bytes(&self.genesis.chain_id()));
        SignedCommitVote { vote, signer: self.place(era, node), signature }
    }

    pub(crate) fn timeout(
        &mut self,
        node: usize,
        view: View,
        high_qc: &Qc,
        entry_tc: Option<Tc>,
    ) -> SignedTimeout {
        let timeout = Timeout { era: high_qc.vote.era, view, high_qc_view: high_qc.vote.view };
        let signature = self.signature(node, &timeout.signed_bytes(&self.genesis.chain_id()));
        SignedTimeout {
            timeout,
            signer: self.place(timeout.era, node),
            signature,
            high_qc: high_qc.clone(),
            entry_tc,
            missing: Vec::new(),
        }
    }

    pub(crate) fn root_qc(&self) -> Qc {
        Qc::root(ERA, self.genesis.header().id(), 4)
    }

    /// A certificate by these signers, who sign whatever the test says.
    pub(crate) fn qc(&mut self, signers: &[usize], block: &Block) -> Qc {
        let votes: Vec<_> = signers.iter().map(|node| self.vote(*node, block)).collect();
        Qc {
            vote: votes[0].vote,
            signers: SignerSet::of(4, signers.iter().map(|node| index(*node))),
            signatures: votes.iter().map(|vote| vote.signature).collect(),
        }
    }

    pub(crate) fn commit_cert(&mut self, signers: &[usize], block: &Block) -> CommitCert {
        let mut votes: Vec<_> = signers.iter().map(|node| self.commit_vote(*node, block)).collect();
        votes.sort_by_key(|vote| vote.signer);
        CommitCert {
            vote: votes[0].vote,
            signers: SignerSet::of(4, votes.iter().map(|vote| vote.signer)),
            signatures: votes.iter().map(|vote| vote.signature).collect(),
        }
    }

    /// Ends the era of the head of `node` in favour of `next`: these signers
    /// commit a block on that head.
    pub(crate) fn end_era(&mut self, node: usize, signers: &[usize], next: &[usize]) -> Block {
        let status = self.nodes[node].replica.status();
        let (era, height) = (status.era, status.height.next().get());
        let root = Qc::root(era, status.block, 4);
        let block = self.block(B, view(1), height, 5 * height, &root, Vec::new());
        let next_committee = Some(Self::committee(next));
        let decisions = Decisions { next_committee, ..Decisions::default() };
        self.decisions.insert(block.id(), decisions);
        self.send_block(node, &block);
        let cert = self.commit_cert(signers, &block);
        self.send_certificate(node, Certificate::Commit(cert));
        assert_eq!(self.nodes[node].replica.status().era, era.next());
        block
    }

    /// The place of a node in the committee of an era; where it has none, one
    /// that peers refuse.
    fn place(&self, era: Era, node: usize) -> ValidatorIndex {
        let known = self.verifier.chain().era(era).ok();
        let place = known.and_then(|known| known.committee.index_of(&self.key(node)));
        place.unwrap_or_else(|| index(node))
    }

    /// A timeout certificate of signers with their high QCs.
    pub(crate) fn tc(&mut self, view: View, signers: &[(usize, Qc)]) -> Tc {
        let timeouts: Vec<_> = signers
            .iter()
            .map(|(node, high_qc)| self.timeout(*node, view, high_qc, None))
            .collect();
        let highest = signers.iter().map(|(_, qc)| qc).max_by_key(|qc| qc.vote.view);
        Tc {
            era: ERA,
            view,
            signers: SignerSet::of(4, signers.iter().map(|(node, _)| index(*node))),
            high_qc_views: timeouts.iter().map(|timeout| timeout.timeout.high_qc_view).collect(),
            signatures: timeouts.iter().map(|timeout| timeout.signature).collect(),
            high_qc: highest.expect("a quorum").clone(),
        }
    }

    /// A block as anybody could make it.
    pub(crate) fn block(
        &self,
        proposer: usize,
        view: View,
        height: u64,
        timestamp_ms: u64,
        justify: &Qc,
        citations: Vec<Citation>,
    ) -> Block {
        self.block_of_version(1, proposer, view, height, timestamp_ms, justify, citations)
    }

    #[expect(clippy::too_many_arguments, reason = "a block has so many parts")]
    pub(crate) fn block_of_version(
        &self,
        version: u16,
        proposer: usize,
        view: View,
        height: u64,
        timestamp_ms: u64,
        justify: &Qc,
        citations: Vec<Citation>,
    ) -> Block {
        Block::new(BlockContent {
            protocol_version: ProtocolVersion::new(version),
            chain_id: self.genesis.chain_id(),
            height: Height::new(height),
            view,
            justify: justify.clone(),
            citations,
            reveals: Vec::new(),
            timestamp_ms: TimestampMs::new(START_MS + timestamp_ms),
            proposer: index(proposer),
            closes: None,
        })
    }

    /// A filler on `justify`, at the height of the block that it closes.
    pub(crate) fn filler(
        &self,
        proposer: usize,
        view: View,
        closing: &Block,
        timestamp_ms: u64,
        justify: &Qc,
    ) -> Block {
        Block::new(BlockContent {
            protocol_version: ProtocolVersion::new(1),
            chain_id: self.genesis.chain_id(),
            height: closing.header().height,
            view,
            justify: justify.clone(),
            citations: Vec::new(),
            reveals: Vec::new(),
            timestamp_ms: TimestampMs::new(START_MS + timestamp_ms),
            proposer: index(proposer),
            closes: Some(Closes { block: closing.id(), exec: exec_of(closing.id()) }),
        })
    }

    /// The committee of these nodes, in this order.
    pub(crate) fn committee(nodes: &[usize]) -> Arc<Committee> {
        let validators = nodes.iter().map(|node| validator(*node)).collect();
        Arc::new(Committee::new(validators).expect("distinct"))
    }

    /// The execution of `block` that was held back comes to its end at `node`.
    pub(crate) fn finish(&mut self, node: usize, block: &Block) {
        self.slow.remove(&block.id());
        let (block, exec) = (block.id(), exec_of(block.id()));
        let decisions = self.decisions.get(&block).cloned().unwrap_or_default();
        self.step(node, Input::Executed { block, exec, decisions });
    }

    pub(crate) fn proposal(&mut self, block: &Block, tc: Option<Tc>) -> SignedProposal {
        let header = block.header();
        let bytes = proposal_bytes(&header.chain_id, header.era, header.view, block.id());
        let signature = self.signature(usize::from(header.proposer.get()), &bytes);
        SignedProposal { block: block.clone(), tc, signature }
    }

    pub(crate) fn send_proposal(&mut self, to: usize, block: &Block, tc: Option<Tc>) {
        let proposal = self.proposal(block, tc);
        let input = Input::Proposal(self.verifier.proposal(proposal).expect("verified"));
        self.step(to, input);
    }

    pub(crate) fn send_vote(&mut self, to: usize, vote: SignedVote) {
        let input = Input::Vote(self.verifier.vote(vote).expect("verified"));
        self.step(to, input);
    }

    pub(crate) fn send_commit_vote(&mut self, to: usize, vote: SignedCommitVote) {
        let input = Input::CommitVote(self.verifier.commit_vote(vote).expect("verified"));
        self.step(to, input);
    }

    pub(crate) fn send_timeout(&mut self, to: usize, timeout: SignedTimeout) {
        let input = Input::Timeout(self.verifier.timeout(timeout).expect("verified"));
        self.step(to, input);
    }

    pub(crate) fn send_batch(&mut self, to: usize, batch: SignedBatch) {
        let input = Input::Batch(self.verifier.batch(batch).expect("verified"));
        self.step(to, input);
    }

    pub(crate) fn send_certificate(&mut self, to: usize, certificate: Certificate) {
        let input = Input::Certificate(self.verifier.certificate(certificate).expect("verified"));
        self.step(to, input);
    }

    /// A certified block, as an answer brings it.
    pub(crate) fn send_block(&mut self, to: usize, block: &Block) {
        let input = Input::Block(self.verifier.block(block.clone()).expect("verified"));
        self.step(to, input);
    }

    fn sign(&mut self, node: usize, message: Outgoing) -> Option<Input> {
        let me = index(node);
        let chain_id = self.genesis.chain_id();
        let input = match message {
            Outgoing::Proposal { block, tc } => {
                let proposal = self.proposal(&block, tc);
                self.verifier.proposal(proposal).map(Input::Proposal)
            }
            Outgoing::Vote(vote) => {
                let signature = self.signature(node, &vote.signed_bytes(&chain_id));
                self.verifier.vote(SignedVote { vote, signer: me, signature }).map(Input::Vote)
            }
            Outgoing::CommitVote(vote) => {
                let signature = self.signature(node, &vote.signed_bytes(&chain_id));
                let vote = SignedCommitVote { vote, signer: me, signature };
                self.verifier.commit_vote(vote).map(Input::CommitVote)
            }
            Outgoing::Timeout { timeout, high_qc, entry_tc, missing } => {
                let signature = self.signature(node, &timeout.signed_bytes(&chain_id));
                let timeout =
                    SignedTimeout { timeout, signer: me, signature, high_qc, entry_tc, missing };
                self.verifier.timeout(timeout).map(Input::Timeout)
            }
            Outgoing::Batch { header, records } => {
                let batch = self.batch(header, records);
                self.verifier.batch(batch).map(Input::Batch)
            }
            Outgoing::Reveal(_) => return None,
            Outgoing::Certificate(certificate) => {
                self.verifier.certificate(certificate).map(Input::Certificate)
            }
            Outgoing::BatchAck(ack) => self.verifier.batch_ack(ERA, me, ack).map(Input::BatchAck),
            Outgoing::BatchHint(hint) => {
                self.verifier.batch_hint(ERA, me, hint).map(Input::BatchHint)
            }
        };
        Some(input.expect("a replica sends what peers accept"))
    }

    pub(crate) fn view_of(&self, node: usize) -> View {
        self.nodes[node].replica.status().view
    }

    pub(crate) fn high_qc_view_of(&self, node: usize) -> View {
        self.nodes[node].replica.status().high_qc_view
    }

    pub(crate) fn votes_of(&self, node: usize) -> Vec<SignedVote> {
        self.of(node, |input| match input {
            Input::Vote(vote) => Some(*vote.get()),
            _ => None,
        })
    }

    pub(crate) fn commit_votes_of(&self, node: usize) -> Vec<SignedCommitVote> {
        self.of(node, |input| match input {
            Input::CommitVote(vote) => Some(*vote.get()),
            _ => None,
        })
    }

    pub(crate) fn timeouts_of(&self, node: usize) -> Vec<SignedTimeout> {
        self.of(node, |input| match input {
            Input::Timeout(timeout) => Some(timeout.get().clone()),
            _ => None,
        })
    }

    pub(crate) fn proposals_of(&self, node: usize) -> Vec<SignedProposal> {
        self.of(node, |input| match input {
            Input::Proposal(proposal) => Some(proposal.get().clone()),
            _ => None,
        })
    }

    /// The acknowledgements that a node has sent, and to whom.
    pub(crate) fn acks_of(&self, node: usize) -> Vec<(Recipients, BatchAck)> {
        let sent = self.nodes[node].sent.iter();
        sent.filter_map(|(to, input)| match input {
            Input::BatchAck(ack) => Some((*to, ack.get().message)),
            _ => None,
        })
        .collect()
    }

    /// Ids of the blocks that a node committed, ascending.
    pub(crate) fn committed_by(&self, node: usize) -> Vec<BlockId> {
        let commits = &self.nodes[node].commits;
        commits
            .iter()
            .flat_map(|commit| commit.blocks.iter().map(|(block, _)| block.id()))
            .collect()
    }

    fn of<T>(&self, node: usize, pick: impl Fn(&Input) -> Option<T>) -> Vec<T> {
        self.nodes[node].sent.iter().filter_map(|(_, input)| pick(input)).collect()
    }
}

/// Runs a test with a bug planted: it must fail, as it must pass without.
#[cfg(planted_bugs)]
pub(crate) fn assert_fails_with(bug: bizra_types::planted::Bug, test: fn()) {
    use bizra_types::planted::plant;
    test();
    plant(Some(bug));
    let outcome = std::panic::catch_unwind(test);
    plant(None);
    assert!(outcome.is_err(), "{bug:?} changes nothing");
}
