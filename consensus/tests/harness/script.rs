//! A script of bytes, played on three replicas: what arrives where and when,
//! which of them dies, and what the fourth validator says.
//!
//! D lies as it likes: it signs any block, vote, timeout and batch, several of
//! one view, and makes certificates of all votes and timeouts that it has seen,
//! as soon as they are a quorum with its own. The others' signatures it cannot
//! forge. Any bytes are a script; where they end, it ends.

use super::*;
use bizra_types::hash::{BatchDigest, Hash};
use bizra_types::numbers::LaneSeq;

/// Longest pause between two events of a script, in ms.
const PAUSE_MS_MAX: u64 = 3_000;
const HONEST: [usize; 3] = [A, B, C];

/// What a script showed, so that a test can tell that scripts show something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Heights that are final somewhere.
    pub(crate) heights: usize,
    /// Alarms: D was proven guilty of something.
    pub(crate) alarms: usize,
    /// Certificates that were made with D's help.
    pub(crate) certificates: usize,
}

/// Plays a script to its end.
///
/// # Panics
/// When two replicas commit different blocks at a height, when one commits out
/// of order, or when one signs two things of a kind in one view.
pub(crate) fn play(script: &[u8]) -> Shown {
    let mut stage = Stage {
        cluster: Cluster::new(&[]),
        bytes: script.iter().copied().collect(),
        pool: Vec::new(),
        taken: [0; 3],
        heard: [0; 3],
        blocks: Vec::new(),
        qcs: Vec::new(),
        tcs: Vec::new(),
        votes: BTreeMap::new(),
        commit_votes: BTreeMap::new(),
        timeouts: BTreeMap::new(),
        chain: BTreeMap::new(),
        height: [0; 3],
        lane: Vec::new(),
        signed: BTreeMap::new(),
        shown: Shown::default(),
    };
    stage.qcs.push(stage.cluster.root_qc());
    while let Some(verb) = stage.bytes.pop_front() {
        stage.act(verb);
        stage.look();
    }
    stage.shown.heights = stage.chain.len();
    stage.shown
}

struct Stage {
    cluster: Cluster,
    bytes: VecDeque<u8>,
    /// All that was said to peers, in the order in which it was said.
    pool: Vec<Input>,
    /// How much of the pool each replica was given in order.
    taken: [usize; 3],
    /// How much of what each replica sent is in the pool.
    heard: [usize; 3],
    blocks: Vec<Block>,
    qcs: Vec<Qc>,
    tcs: Vec<Tc>,
    votes: BTreeMap<Vote, BTreeMap<usize, Signature>>,
    commit_votes: BTreeMap<CommitVote, BTreeMap<usize, Signature>>,
    timeouts: BTreeMap<View, BTreeMap<usize, SignedTimeout>>,
    chain: BTreeMap<u64, BlockId>,
    height: [u64; 3],
    /// D's batches.
    lane: Vec<BatchHeader>,
    signed: BTreeMap<(usize, u8, View), Hash>,
    shown: Shown,
}

impl Stage {
    fn act(&mut self, verb: u8) {
        match verb % 16 {
            0 | 1 => {
                let (at, to) = (self.pick(self.pool.len()), self.node());
                if let Some(input) = at.and_then(|at| self.pool.get(at)).cloned() {
                    self.cluster.step(to, input);
                }
            }
            2 | 3 => self.deliver_all(),
            4 => {
                let ms = u64::from(self.byte()) * PAUSE_MS_MAX / 255;
                let to = self.some();
                self.cluster.pass(&to, ms);
            }
            5 => {
                let node = self.node();
                self.cluster.restart(node);
                self.heard[node] = 0;
                self.height[node] = self.cluster.nodes[node]
                    .disk
                    .root
                    .as_ref()
                    .map_or(0, |root| root.header.height.get());
            }
            6 => {
                let node = self.node();
                let now = self.cluster.now().wall;
                let bytes: Arc<[u8]> = vec![self.byte(); 40].into();
                if self.cluster.nodes[node].replica.can_admit(bytes.len()) {
                    let record = BatchRecord { admitted_at_ms: now, bytes };
                    self.cluster.step(node, Input::Record(record));
                }
            }
            7 => {
                let (node, peer) = (self.node(), index(usize::from(self.byte() % 4)));
                self.cluster.step(node, Input::Heard { peer, round_trip_micros: Some(1_000) });
            }
            8 => self.answer(),
            9 | 10 => self.propose(),
            11 => self.vote(),
            12 => self.time_out(),
            13 => self.certify(),
            14 => self.certify_timeouts(),
            _ => self.make_batch(),
        }
    }

    // ---- the script ----

    fn byte(&mut self) -> u8 {
        self.bytes.pop_front().unwrap_or_default()
    }

    fn node(&mut self) -> usize {
        HONEST[usize::from(self.byte() % 3)]
    }

    /// Some of the replicas.
    fn some(&mut self) -> Vec<usize> {
        let mask = self.byte();
        HONEST.into_iter().filter(|node| mask & (1 << node) == 0).collect()
    }

    /// A place among the last 256 of so many.
    fn pick(&mut self, count: usize) -> Option<usize> {
        let back = usize::from(self.byte());
        count.checked_sub(1).map(|last| last.saturating_sub(back))
    }

    // ---- what D says ----

    fn propose(&mut self) {
        let Some(at) = self.pick(self.qcs.len()) else { return };
        let justify = self.qcs[at].clone();
        let ahead = u64::from(self.byte() % 4);
        let view = View::new(justify.vote.view.get() + ahead);
        let parent = self.blocks.iter().find(|block| block.id() == justify.vote.block);
        let height = parent.map_or(0, |parent| parent.header().height.get()) + 1;
        let parent_ms = parent.map_or(START_MS, |parent| parent.header().timestamp_ms.get());
        let timestamp_ms = parent_ms - START_MS + u64::from(self.byte());
        let citations = self.citations();
        let tc = match self.byte() % 2 {
            0 => None,
            _ => self.tcs.iter().rfind(|tc| tc.view.next() == view).cloned(),
        };
        let block = self.cluster.block(D, view, height, timestamp_ms, &justify, citations);
        let proposal = self.cluster.proposal(&block, tc);
        if let Ok(proposal) = self.cluster.verifier.proposal(proposal) {
            self.say(Input::Proposal(proposal));
        }
    }

    fn citations(&mut self) -> Vec<Citation> {
        let count = self.lane.len();
        if self.byte().is_multiple_of(2) || count == 0 {
            return Vec::new();
        }
        let at = usize::from(self.byte()) % count;
        let header = self.lane[at];
        let digest = header.digest(&self.cluster.genesis.chain_id());
        vec![Citation { author: header.author, up_to_seq: header.lane_seq, digest }]
    }

    fn vote(&mut self) {
        let Some(at) = self.pick(self.blocks.len()) else { return };
        let block = self.blocks[at].clone();
        if self.byte().is_multiple_of(2) {
            let vote = self.cluster.vote(D, &block);
            let vote = self.cluster.verifier.vote(vote).expect("of a member");
            return self.say(Input::Vote(vote));
        }
        let exec = match self.byte() % 4 {
            0 => ExecHash([9; 32]),
            _ => exec_of(block.id()),
        };
        let vote = self.cluster.commit_vote_for(D, &block, exec);
        let vote = self.cluster.verifier.commit_vote(vote).expect("of a member");
        self.say(Input::CommitVote(vote));
    }

    fn time_out(&mut self) {
        let Some(at) = self.pick(self.qcs.len()) else { return };
        let high_qc = self.qcs[at].clone();
        let view = View::new(high_qc.vote.view.get() + 1 + u64::from(self.byte() % 4));
        let entry_tc = self.tcs.iter().rfind(|tc| tc.view.next() == view).cloned();
        let timeout = self.cluster.timeout(D, view, &high_qc, entry_tc);
        if let Ok(timeout) = self.cluster.verifier.timeout(timeout) {
            self.say(Input::Timeout(timeout));
        }
    }

    /// A QC or a commit certificate of the votes for a block, D's among them.
    fn certify(&mut self) {
        let Some(at) = self.pick(self.blocks.len()) else { return };
        let block = self.blocks[at].clone();
        let header = block.header();
        let (era, view, id) = (header.era, header.view, block.id());
        let certificate = if self.byte().is_multiple_of(2) {
            let own = self.cluster.vote(D, &block);
            let vote = Vote { era, view, block: id };
            let votes = self.votes.entry(vote).or_default();
            votes.insert(D, own.signature);
            let (signers, signatures) = quorum(votes);
            Certificate::Qc(Qc { vote, signers, signatures })
        } else {
            let own = self.cluster.commit_vote(D, &block);
            let votes = self.commit_votes.entry(own.vote).or_default();
            votes.insert(D, own.signature);
            let (signers, signatures) = quorum(votes);
            Certificate::Commit(CommitCert { vote: own.vote, signers, signatures })
        };
        self.say_certificate(certificate);
    }

    fn certify_timeouts(&mut self) {
        let views: Vec<View> = self.timeouts.keys().copied().collect();
        let Some(at) = self.pick(views.len()) else { return };
        let all = &self.timeouts[&views[at]];
        let highest = all.values().max_by_key(|timeout| timeout.timeout.high_qc_view);
        let tc = Tc {
            era: ERA,
            view: views[at],
            signers: SignerSet::of(4, all.keys().map(|node| index(*node))),
            high_qc_views: all.values().map(|it| it.timeout.high_qc_view).collect(),
            signatures: all.values().map(|it| it.signature).collect(),
            high_qc: highest.expect("somebody timed it out").high_qc.clone(),
        };
        self.say_certificate(Certificate::Tc(tc));
    }

    fn say_certificate(&mut self, certificate: Certificate) {
        if let Ok(certificate) = self.cluster.verifier.certificate(certificate) {
            self.shown.certificates += 1;
            self.say(Input::Certificate(certificate));
        }
    }

    fn make_batch(&mut self) {
        let chain_id = self.cluster.genesis.chain_id();
        // Beside the last one, or after it.
        let after = match self.byte() % 3 {
            0 => self.lane.iter().rev().nth(1),
            _ => self.lane.last(),
        };
        let (seq, previous) = match after {
            Some(after) => (after.lane_seq.next(), after.digest(&chain_id)),
            None => (LaneSeq::new(1), BatchDigest([0; 32])),
        };
        let bytes: Arc<[u8]> = vec![self.byte(); 30].into();
        let admitted_at_ms = self.cluster.now().wall;
        let records: Arc<[BatchRecord]> = Arc::new([BatchRecord { admitted_at_ms, bytes }]);
        let author = self.cluster.key(D);
        let header = BatchHeader::new(ERA, author, seq, previous, &records);
        self.lane.push(header);
        let batch = self.cluster.batch(header, records);
        let batch = self.cluster.verifier.batch(batch).expect("of a member");
        self.say(Input::Batch(batch));
    }

    // ---- the network ----

    /// What D says goes to some at once, and may go to the others later.
    fn say(&mut self, input: Input) {
        self.note(D, &input);
        self.pool.push(input.clone());
        for node in self.some() {
            self.cluster.step(node, input.clone());
        }
    }

    /// Everything reaches everybody, until nobody has anything more to say.
    fn deliver_all(&mut self) {
        for _ in 0..8 {
            self.look();
            for node in HONEST {
                while let Some(input) = self.pool.get(self.taken[node]).cloned() {
                    self.taken[node] += 1;
                    self.cluster.step(node, input);
                }
            }
        }
    }

    /// What a replica asked for and another has on its disk.
    fn answer(&mut self) {
        let node = self.node();
        for ask in core::mem::take(&mut self.cluster.nodes[node].asked) {
            let others = HONEST.into_iter().filter(|other| *other != node);
            let disks: Vec<usize> = others.collect();
            match ask {
                Ask::Block { block, .. } => {
                    let found = disks
                        .iter()
                        .find_map(|other| self.cluster.nodes[*other].disk.blocks.get(&block));
                    if let Some(block) = found.cloned() {
                        self.cluster.send_block(node, &block);
                    }
                }
                Ask::Batches { author, after, up_to, .. } => {
                    let wanted = |batch: &&Arc<SignedBatch>| {
                        let header = batch.header();
                        header.author == author
                            && header.lane_seq > after
                            && header.lane_seq <= up_to
                    };
                    let found: Vec<_> = disks
                        .iter()
                        .flat_map(|other| self.cluster.nodes[*other].disk.batches.iter())
                        .filter(wanted)
                        .cloned()
                        .collect();
                    for batch in found {
                        let batch = self.cluster.verifier.batch(SignedBatch::clone(&batch));
                        self.cluster.step(node, Input::Batch(batch.expect("it was verified")));
                    }
                }
                Ask::Chain { .. } | Ask::End { .. } => {}
            }
        }
    }

    // ---- what must hold ----

    /// Takes in what the replicas have sent and committed.
    fn look(&mut self) {
        for node in HONEST {
            let sent = self.cluster.nodes[node].sent[self.heard[node]..].to_vec();
            self.heard[node] += sent.len();
            for (_, input) in sent {
                self.note(node, &input);
                self.once(node, &input);
                self.pool.push(input);
            }
            let this = &mut self.cluster.nodes[node];
            for alarm in core::mem::take(&mut this.alarms) {
                assert!(matches!(alarm, Alarm::Equivocation(_)), "node {node}: {alarm:?}");
                self.shown.alarms += 1;
            }
            for commit in core::mem::take(&mut this.commits) {
                for (block, exec) in &commit.blocks {
                    let height = block.header().height.get();
                    assert_eq!(height, self.height[node] + 1, "node {node} commits in order");
                    self.height[node] = height;
                    assert_eq!(*exec, exec_of(block.id()), "node {node} at height {height}");
                    let known = *self.chain.entry(height).or_insert(block.id());
                    assert_eq!(known, block.id(), "two blocks at height {height}");
                }
            }
        }
    }

    /// An honest replica signs one thing of a kind in a view.
    fn once(&mut self, node: usize, input: &Input) {
        let chain_id = self.cluster.genesis.chain_id();
        let (kind, view, bytes) = match input {
            Input::Proposal(it) => {
                let header = it.get().block.header();
                (0, header.view, it.get().block.id().0.to_vec())
            }
            Input::Vote(it) => (1, it.get().vote.view, it.get().vote.signed_bytes(&chain_id)),
            Input::CommitVote(it) => (2, it.get().vote.view, it.get().vote.signed_bytes(&chain_id)),
            Input::Timeout(it) => {
                (3, it.get().timeout.view, it.get().timeout.signed_bytes(&chain_id))
            }
            _ => return,
        };
        let hash = Context::List.hash(&[&bytes]);
        let before = *self.signed.entry((node, kind, view)).or_insert(hash);
        assert_eq!(before, hash, "node {node} signs two things of kind {kind} in view {view}");
    }

    /// D keeps what it can make something of.
    fn note(&mut self, from: usize, input: &Input) {
        match input {
            Input::Proposal(it) => {
                let block = &it.get().block;
                if self.blocks.iter().all(|known| known.id() != block.id()) {
                    self.blocks.push(block.clone());
                }
                self.tcs.extend(it.get().tc.clone());
            }
            Input::Vote(it) => {
                let votes = self.votes.entry(it.get().vote).or_default();
                votes.insert(from, it.get().signature);
            }
            Input::CommitVote(it) => {
                let votes = self.commit_votes.entry(it.get().vote).or_default();
                votes.insert(from, it.get().signature);
            }
            Input::Timeout(it) => {
                let all = self.timeouts.entry(it.get().timeout.view).or_default();
                all.insert(from, it.get().clone());
                self.qcs.push(it.get().high_qc.clone());
            }
            Input::Certificate(it) => match it.get() {
                Certificate::Qc(qc) => self.qcs.push(qc.clone()),
                Certificate::Tc(tc) => self.tcs.push(tc.clone()),
                Certificate::Commit(_) | Certificate::Filler(..) => {}
            },
            _ => {}
        }
    }
}

/// Signers and signatures of a certificate of these votes.
fn quorum(votes: &BTreeMap<usize, Signature>) -> (SignerSet, Vec<Signature>) {
    let signers = SignerSet::of(4, votes.keys().map(|node| index(*node)));
    (signers, votes.values().copied().collect())
}
