//! What must never happen, and what must have happened in the end.
//!
//! Each invariant has a name and is judged here from what left a node, what
//! lies on its disk and what it committed, in arithmetic of its own: nothing
//! here asks the engine.

use crate::disk::{Disk, Stored};
use crate::keys;
use crate::ledger;
use bizra_consensus::{Alarm, Commit, Root, SafetyRecord};
use bizra_types::batch::{BatchHeader, SignedBatch};
use bizra_types::block::Block;
use bizra_types::certificate::CommitCert;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use bizra_types::message::{
    BatchAck, CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout,
};
use bizra_types::numbers::{Era, LaneSeq, View};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A rule that every run must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No two nodes commit different blocks, or results, at one height.
    Agreement,
    /// A node commits heights one after the other, each once, each on its
    /// parent, and after a restart from where its disk stands.
    CommitOrder,
    /// The certificate of a commit carries a quorum of signatures that were
    /// really given, for the last block and its result.
    CommitCertificate,
    /// The root handed to the disk is that of the chain.
    CommitRoot,
    /// The result of a committed block is that of the batches it cites, and
    /// the batches continue their lanes.
    Execution,
    /// No validator signs two different things of one kind for one view, or
    /// for one place of its lane.
    OneVoice,
    /// No validator signs a timeout that hides the certificate under its
    /// commit vote.
    HiddenCertificate,
    /// A safety record only grows, and each signature it grants is allowed by
    /// the record before.
    SafetyRecord,
    /// Nothing leaves before what it rests on is synced.
    PersistBeforeSend,
    /// What an honest node sends passes the verifier.
    WellFormed,
    /// A record is final at most once.
    RecordOnce,
    /// A record that was accepted becomes final after healing.
    AcceptedIsKept,
    /// Among honest nodes nobody raises an alarm.
    NoAlarm,
    /// After healing every node commits, and all reach one height.
    Liveness,
    /// The engine does not ask to be woken for ever at one instant.
    Deadline,
    /// The engine does not panic.
    NoPanic,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

/// Whether a check found its rule kept.
pub(crate) type Checked = Result<(), Box<Breach>>;

/// What became of a record that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Injected,
    Accepted,
    Final,
}

/// What one validator has signed.
#[derive(Debug, Default)]
struct Voice {
    proposals: BTreeMap<(Era, View), BlockId>,
    votes: BTreeMap<(Era, View), BlockId>,
    commit_votes: BTreeMap<(Era, View), (CommitVote, Signature)>,
    timeouts: BTreeMap<(Era, View), View>,
    batches: BTreeMap<LaneSeq, BatchDigest>,
}

type LaneHeads = BTreeMap<PublicKey, (LaneSeq, BatchDigest)>;

/// One height of the common chain.
#[derive(Debug)]
struct Height {
    id: BlockId,
    exec: ExecHash,
    heads: Arc<LaneHeads>,
}

/// All that the checks remember.
#[derive(Debug)]
pub(crate) struct Oracles {
    muted: Vec<Invariant>,
    chain_id: ChainId,
    size: usize,
    voices: Vec<Voice>,
    batches: BTreeMap<BatchDigest, Arc<SignedBatch>>,
    chain: Vec<Height>,
    /// Height to which each node has committed since it started.
    committed: Vec<usize>,
    safety: Vec<Option<Box<SafetyRecord>>>,
    fates: Vec<Fate>,
    accepted: usize,
    finals: usize,
    highest_view: View,
    alarms: Vec<String>,
}

impl Oracles {
    pub(crate) fn new(genesis: &Genesis, muted: Vec<Invariant>) -> Self {
        let size = genesis.committee.size();
        let genesis_block = Height {
            id: genesis.header().id(),
            exec: ledger::genesis_exec(),
            heads: Arc::new(LaneHeads::new()),
        };
        Self {
            muted,
            chain_id: genesis.chain_id(),
            size,
            voices: (0..size).map(|_| Voice::default()).collect(),
            batches: BTreeMap::new(),
            chain: vec![genesis_block],
            committed: vec![0; size],
            safety: vec![None; size],
            fates: Vec::new(),
            accepted: 0,
            finals: 0,
            highest_view: View::ZERO,
            alarms: Vec::new(),
        }
    }

    // ---- facts for the cluster ----

    /// Number of a new record.
    pub(crate) fn new_record(&mut self) -> u64 {
        self.fates.push(Fate::Injected);
        self.fates.len() as u64 - 1
    }

    /// The highest view for which anything was signed.
    pub(crate) const fn highest_view(&self) -> View {
        self.highest_view
    }

    /// Height of the common chain.
    pub(crate) fn height(&self) -> usize {
        self.chain.len() - 1
    }

    /// Height that a node has committed.
    pub(crate) fn height_of(&self, node: usize) -> usize {
        self.committed[node]
    }

    /// Records accepted and not final.
    pub(crate) const fn unfinal(&self) -> usize {
        self.accepted
    }

    /// Records that are final.
    pub(crate) const fn finals(&self) -> usize {
        self.finals
    }

    /// Alarms that were raised while nobody listened.
    pub(crate) fn alarms(&self) -> &[String] {
        &self.alarms
    }

    /// A breach, unless its rule is muted.
    pub(crate) fn breach(&self, invariant: Invariant, detail: impl FnOnce() -> String) -> Checked {
        if self.muted.contains(&invariant) {
            return Ok(());
        }
        Err(Box::new(Breach { invariant, detail: detail() }))
    }

    fn require(
        &self,
        holds: bool,
        invariant: Invariant,
        detail: impl FnOnce() -> String,
    ) -> Checked {
        if holds { Ok(()) } else { self.breach(invariant, detail) }
    }

    // ---- starting and stopping ----

    /// A node starts from this disk.
    pub(crate) fn on_start(&mut self, node: usize, stored: &Stored) {
        self.committed[node] = height_number(stored.root.header.height.get());
        self.safety[node].clone_from(&stored.safety);
    }

    // ---- what a step decides ----

    /// [`Invariant::SafetyRecord`]: the rules of voting, on two records in a row.
    pub(crate) fn on_safety(&mut self, node: usize, new: &SafetyRecord) -> Checked {
        let old = self.safety[node].replace(Box::new(new.clone()));
        let Some(old) = old.filter(|old| old.era == new.era) else { return Ok(()) };
        let wrong = |rule: &str| format!("node {node}: {rule}\nbefore {old:?}\nafter {new:?}");
        let require =
            |holds, rule: &str| self.require(holds, Invariant::SafetyRecord, || wrong(rule));
        let timed_out = |record: &SafetyRecord| record.last_timeout.as_ref().map(|(it, _)| *it);
        require(new.current_view >= old.current_view, "the view went back")?;
        require(new.high_qc.rank() >= old.high_qc.rank(), "the high QC went back")?;
        if new.last_voted != old.last_voted {
            let view = new.last_voted.map(|vote| vote.view);
            require(view > old.last_voted.map(|vote| vote.view), "a second vote in a view")?;
            require(view > timed_out(&old).map(|it| it.view), "a vote after the timeout")?;
            require(view <= Some(new.current_view), "a vote ahead of the view")?;
            require(view >= Some(old.current_view), "a vote in a view that was left")?;
        }
        if new.last_commit_vote != old.last_commit_vote {
            let view = new.last_commit_vote.map(|vote| vote.view);
            let before = old.last_commit_vote.map(|vote| vote.view);
            require(view > before, "commit votes that do not grow")?;
            require(view > timed_out(&old).map(|it| it.view), "a commit vote after the timeout")?;
            require(view <= Some(new.high_qc.vote.view), "a commit vote without its QC")?;
        }
        if timed_out(new) != timed_out(&old) {
            let timeout = timed_out(new);
            let view = timeout.map(|it| it.view);
            require(view > timed_out(&old).map(|it| it.view), "a second timeout of a view")?;
            let high = timeout.map(|it| it.high_qc_view);
            require(high >= Some(old.high_qc.vote.view), "a timeout that hides the high QC")?;
            require(high < view, "a timeout of a view that is certified")?;
            require(view >= Some(old.current_view), "a timeout of a view that was left")?;
        }
        if new.last_proposal != old.last_proposal {
            let view = |record: &SafetyRecord| record.last_proposal.map(|(view, _)| view);
            require(view(new) > view(&old), "a second proposal in a view")?;
        }
        if new.last_batch != old.last_batch {
            let seq = |record: &SafetyRecord| record.last_batch.map(|(seq, _)| seq);
            require(seq(new) > seq(&old), "a second batch at one place")?;
        }
        Ok(())
    }

    /// [`Invariant::Agreement`], [`Invariant::CommitOrder`],
    /// [`Invariant::Execution`], [`Invariant::CommitCertificate`],
    /// [`Invariant::CommitRoot`] and [`Invariant::RecordOnce`].
    pub(crate) fn on_commit(&mut self, node: usize, commit: &Commit) -> Checked {
        for (block, exec) in &commit.blocks {
            self.commit_order(node, block)?;
            let height = self.committed[node] + 1;
            if height == self.chain.len() {
                self.extend(node, block)?;
            }
            let there = &self.chain[height];
            let same = there.id == block.id() && there.exec == *exec;
            self.require(same, Invariant::Agreement, || {
                format!(
                    "node {node} commits {:?} with exec {exec:?} at height {height}, where the \
                     chain has {:?} with exec {:?}",
                    block.id(),
                    there.id,
                    there.exec
                )
            })?;
            self.committed[node] = height;
        }
        self.commit_certificate(node, commit)?;
        self.commit_root(node, &commit.root)?;
        let [.., (last, exec)] = commit.blocks.as_slice() else {
            return self.breach(Invariant::CommitOrder, || format!("node {node} commits nothing"));
        };
        let cert = &commit.cert.vote;
        let fits = cert.block == last.id() && cert.exec == *exec
            || commit.cert.vote.era > last.header().era;
        self.require(fits, Invariant::CommitCertificate, || {
            format!("node {node} commits {:?} under {cert:?}", last.id())
        })
    }

    fn commit_order(&self, node: usize, block: &Block) -> Checked {
        let header = block.header();
        let before = self.committed[node];
        let follows = height_number(header.height.get()) == before + 1
            && self.chain[before].id == header.parent;
        self.require(follows, Invariant::CommitOrder, || {
            format!("node {node} has committed height {before} and commits {header:?}")
        })
    }

    /// The first commit at a height: judges it by its citations.
    fn extend(&mut self, node: usize, block: &Block) -> Checked {
        let tip = self.chain.last().expect("genesis is always there");
        let mut heads = LaneHeads::clone(&tip.heads);
        let parent_exec = tip.exec;
        let mut batches = Vec::new();
        for citation in block.citations() {
            let range =
                self.cited_range(&heads, citation.author, citation.up_to_seq, citation.digest);
            let Some(range) = range else {
                return self.breach(Invariant::Execution, || {
                    format!("node {node} commits {:?} with a broken {citation:?}", block.id())
                });
            };
            batches.extend(range);
            heads.insert(citation.author, (citation.up_to_seq, citation.digest));
        }
        let exec = ledger::exec(parent_exec, &batches);
        for batch in &batches {
            for record in batch.records().iter() {
                self.record_final(&record.bytes)?;
            }
        }
        self.chain.push(Height { id: block.id(), exec, heads: Arc::new(heads) });
        Ok(())
    }

    /// The batches from the lane's head to the cited one, by their `previous`.
    fn cited_range(
        &self,
        heads: &LaneHeads,
        author: PublicKey,
        up_to: LaneSeq,
        digest: BatchDigest,
    ) -> Option<Vec<Arc<SignedBatch>>> {
        let (from, head) = heads.get(&author).copied().unwrap_or_default();
        let mut range = Vec::new();
        let (mut seq, mut wanted) = (up_to.get(), digest);
        while seq > from.get() {
            let batch = self.batches.get(&wanted)?;
            let header = batch.header();
            if header.author != author || header.lane_seq.get() != seq {
                return None;
            }
            range.push(Arc::clone(batch));
            (seq, wanted) = (seq - 1, header.previous);
        }
        range.reverse();
        (wanted == head && !range.is_empty()).then_some(range)
    }

    fn record_final(&mut self, bytes: &[u8]) -> Checked {
        let number = record_number(bytes);
        let fate = self.fates[number];
        self.require(fate == Fate::Accepted, Invariant::RecordOnce, || {
            format!("record {number} becomes final and was {fate:?} before")
        })?;
        self.fates[number] = Fate::Final;
        self.accepted -= usize::from(fate == Fate::Accepted);
        self.finals += 1;
        Ok(())
    }

    fn commit_certificate(&self, node: usize, commit: &Commit) -> Checked {
        let CommitCert { vote, signers, signatures } = &commit.cert;
        let given = signers.iter().zip(signatures).filter(|(signer, signature)| {
            let voice = &self.voices[keys::node(*signer)].commit_votes;
            voice.get(&(vote.era, vote.view)) == Some(&(*vote, **signature))
        });
        let (given, claimed) = (given.count(), signers.iter().count());
        let enough = given == claimed && claimed == signatures.len() && 3 * given > 2 * self.size;
        self.require(enough, Invariant::CommitCertificate, || {
            format!("node {node} commits under {vote:?} with {given} of {claimed} real signatures")
        })
    }

    fn commit_root(&self, node: usize, root: &Root) -> Checked {
        let there = &self.chain[self.committed[node]];
        let fits = root.header.id() == there.id
            && height_number(root.header.height.get()) == self.committed[node]
            && root.exec == there.exec
            && root.lane_heads == *there.heads
            && root.cert.is_some();
        self.require(fits, Invariant::CommitRoot, || {
            format!("node {node} writes {root:?}, where the chain has {there:?}")
        })
    }

    /// [`Invariant::NoAlarm`].
    pub(crate) fn on_alarm(&mut self, node: usize, alarm: &Alarm) -> Checked {
        let text = format!("node {node}: {alarm:?}");
        self.breach(Invariant::NoAlarm, || text.clone())?;
        self.alarms.push(text);
        Ok(())
    }

    // ---- what becomes durable ----

    /// A batch is synced at its author: its records are accepted.
    pub(crate) fn on_accepted(&mut self, batch: Arc<SignedBatch>) -> Checked {
        for record in batch.records().iter() {
            let number = record_number(&record.bytes);
            let fate = self.fates[number];
            self.require(fate == Fate::Injected, Invariant::RecordOnce, || {
                format!("record {number} is accepted and was {fate:?} before")
            })?;
            self.fates[number] = Fate::Accepted;
            self.accepted += 1;
        }
        self.batches.insert(batch.header().digest(&self.chain_id), batch);
        Ok(())
    }

    // ---- what leaves ----

    /// A proposal leaves: [`Invariant::OneVoice`], [`Invariant::PersistBeforeSend`].
    pub(crate) fn on_proposal_sent(&mut self, node: usize, block: &Block, disk: &Disk) -> Checked {
        let header = block.header();
        let key = (header.era, header.view);
        self.highest_view = self.highest_view.max(header.view);
        let before = *self.voices[node].proposals.entry(key).or_insert(block.id());
        self.one_voice(node, before == block.id(), || (before, block.id()))?;
        let safety = self.durable_safety(node, disk, header.era)?;
        let durable = safety.is_some_and(|record| {
            covers(record.last_proposal, header.view, (header.view, block.id()))
        });
        // A commit in the same sync may have decided against the block.
        let stored = disk.stored();
        let is_decided = stored.root.header.height >= header.height;
        let is_stored = is_decided || stored.block(&block.id()).is_some();
        self.synced(node, durable && is_stored, block.id())
    }

    /// A vote leaves: as above, and the block and all that it cites are synced.
    pub(crate) fn on_vote_sent(&mut self, node: usize, sent: &SignedVote, disk: &Disk) -> Checked {
        let vote = sent.vote;
        self.highest_view = self.highest_view.max(vote.view);
        let before = *self.voices[node].votes.entry((vote.era, vote.view)).or_insert(vote.block);
        self.one_voice(node, before == vote.block, || (before, vote.block))?;
        let safety = self.durable_safety(node, disk, vote.era)?;
        let durable =
            safety.is_some_and(|record| newer(record.last_voted, |it| it.view, vote, vote.view));
        self.synced(node, durable, vote)?;
        let Some(block) = disk.stored().block(&vote.block) else {
            // A vote that was given again after a newer block was committed.
            let height = disk.stored().root.header.view;
            return self.synced(node, height >= vote.view, vote);
        };
        let held = block.citations().iter().all(|citation| {
            self.is_range_durable(
                disk.stored(),
                citation.author,
                citation.up_to_seq,
                citation.digest,
            )
        });
        self.synced(node, held, block.citations())
    }

    /// A commit vote leaves: as above, and its QC is synced.
    pub(crate) fn on_commit_vote_sent(
        &mut self,
        node: usize,
        sent: &SignedCommitVote,
        disk: &Disk,
    ) -> Checked {
        let vote = sent.vote;
        self.highest_view = self.highest_view.max(vote.view);
        let voice = &mut self.voices[node];
        let signed = (vote, sent.signature);
        let before = voice.commit_votes.entry((vote.era, vote.view)).or_insert(signed).0;
        let hides = voice
            .timeouts
            .range((vote.era, vote.view)..(vote.era.next(), View::ZERO))
            .any(|(_, high_qc_view)| *high_qc_view < vote.view);
        self.one_voice(node, before == vote, || (before, vote))?;
        self.hidden(node, hides, vote)?;
        let safety = self.durable_safety(node, disk, vote.era)?;
        let durable = safety.is_some_and(|record| {
            newer(record.last_commit_vote, |it| it.view, vote, vote.view)
                && record.high_qc.vote.view >= vote.view
        });
        self.synced(node, durable, vote)
    }

    /// A timeout leaves: as above.
    pub(crate) fn on_timeout_sent(
        &mut self,
        node: usize,
        sent: &SignedTimeout,
        disk: &Disk,
    ) -> Checked {
        let Timeout { era, view, high_qc_view } = sent.timeout;
        self.highest_view = self.highest_view.max(view);
        let voice = &mut self.voices[node];
        let before = *voice.timeouts.entry((era, view)).or_insert(high_qc_view);
        let hides =
            voice.commit_votes.range((era, high_qc_view.next())..=(era, view)).next().is_some();
        self.one_voice(node, before == high_qc_view, || (before, high_qc_view))?;
        self.hidden(node, hides, sent.timeout)?;
        let safety = self.durable_safety(node, disk, era)?;
        let durable = safety.is_some_and(|record| {
            let last = record.last_timeout.as_ref().map(|(timeout, _)| *timeout);
            newer(last, |it| it.view, sent.timeout, view)
        });
        self.synced(node, durable, sent.timeout)
    }

    /// A batch leaves: as above.
    pub(crate) fn on_batch_sent(
        &mut self,
        node: usize,
        batch: &SignedBatch,
        disk: &Disk,
    ) -> Checked {
        let header = batch.header();
        let digest = header.digest(&self.chain_id);
        let before = *self.voices[node].batches.entry(header.lane_seq).or_insert(digest);
        self.one_voice(node, before == digest, || (before, digest))?;
        let durable = disk.stored().batch(header).is_some();
        self.synced(node, durable, header)
    }

    /// An acknowledgement leaves: the batch is synced.
    pub(crate) fn on_ack_sent(&self, node: usize, ack: &BatchAck, disk: &Disk) -> Checked {
        let durable = self.is_batch_durable(disk.stored(), &ack.digest).is_some();
        self.synced(node, durable, ack)
    }

    fn one_voice<T: fmt::Debug>(
        &self,
        node: usize,
        same: bool,
        both: impl FnOnce() -> (T, T),
    ) -> Checked {
        self.require(same, Invariant::OneVoice, || {
            let (first, second) = both();
            format!("node {node} signed {first:?} and now {second:?}")
        })
    }

    fn hidden(&self, node: usize, hides: bool, what: impl fmt::Debug) -> Checked {
        self.require(!hides, Invariant::HiddenCertificate, || {
            format!("node {node} signs {what:?} beside a timeout that hides its certificate")
        })
    }

    fn synced(&self, node: usize, durable: bool, what: impl fmt::Debug) -> Checked {
        self.require(durable, Invariant::PersistBeforeSend, || {
            format!("node {node} sends what is not synced: {what:?}")
        })
    }

    fn durable_safety<'a>(
        &self,
        node: usize,
        disk: &'a Disk,
        era: Era,
    ) -> Result<Option<&'a SafetyRecord>, Box<Breach>> {
        let record = disk.stored().safety.as_deref();
        self.synced(node, record.is_some_and(|record| record.era == era), era)?;
        Ok(record)
    }

    fn is_batch_durable(&self, stored: &Stored, digest: &BatchDigest) -> Option<BatchHeader> {
        let header = self.batches.get(digest)?.header();
        stored.batch(header).map(|batch| *batch.header())
    }

    fn is_range_durable(
        &self,
        stored: &Stored,
        author: PublicKey,
        up_to: LaneSeq,
        digest: BatchDigest,
    ) -> bool {
        let head = stored.root.lane_heads.get(&author).map(|(seq, _)| *seq).unwrap_or_default();
        let (mut seq, mut wanted) = (up_to, digest);
        while seq > head {
            let Some(header) = self.is_batch_durable(stored, &wanted) else { return false };
            let Some(before) = seq.previous() else { return true };
            (seq, wanted) = (before, header.previous);
        }
        true
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether a record's last thing of a kind is this one, or of a later view.
fn newer<T: PartialEq>(last: Option<T>, view_of: impl Fn(&T) -> View, this: T, view: View) -> bool {
    last.is_some_and(
        |last| if view_of(&last) == view { last == this } else { view_of(&last) > view },
    )
}

fn covers(last: Option<(View, BlockId)>, view: View, this: (View, BlockId)) -> bool {
    newer(last, |(view, _)| *view, this, view)
}

/// The number that the workload wrote at the start of a record.
fn record_number(bytes: &[u8]) -> usize {
    let number = bytes.first_chunk().expect("records start with their number");
    usize::try_from(u64::from_le_bytes(*number)).expect("records are few")
}

fn height_number(height: u64) -> usize {
    usize::try_from(height).expect("a run is short")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Keyring, index};
    use bizra_consensus::EpochState;
    use bizra_types::batch::BatchRecord;
    use bizra_types::block::{BlockContent, Citation};
    use bizra_types::certificate::Qc;
    use bizra_types::committee::SignerSet;
    use bizra_types::genesis::Parameters;
    use bizra_types::message::Vote;
    use bizra_types::numbers::{Height as BlockHeight, TimestampMs};

    const ERA: Era = Era::new(1);

    /// A chain of four validators, built by hand.
    struct World {
        keyring: Keyring,
        oracles: Oracles,
    }

    impl World {
        fn new() -> Self {
            let keyring = Keyring::new(1, 4, Parameters::default());
            let oracles = Oracles::new(keyring.genesis(), Vec::new());
            Self { keyring, oracles }
        }

        /// A block in a view, on a parent of the view before.
        fn block(&self, height: u64, view: u64, parent: BlockId, cites: &[Citation]) -> Block {
            let mut justify = Qc::root(ERA, parent, 4);
            justify.vote.view = View::new(view - 1);
            Block::new(BlockContent {
                protocol_version: self.keyring.genesis().protocol_version,
                chain_id: self.keyring.chain_id(),
                height: BlockHeight::new(height),
                view: View::new(view),
                justify,
                citations: cites.to_vec(),
                reveals: Vec::new(),
                timestamp_ms: TimestampMs::new(view),
                proposer: index(0),
                closes: None,
            })
        }

        fn genesis(&self) -> BlockId {
            self.keyring.genesis().header().id()
        }

        /// A commit of one block, with the certificate of these signers.
        fn commit(&mut self, block: &Block, exec: ExecHash, signers: &[usize]) -> Commit {
            let vote = CommitVote { era: ERA, view: block.header().view, block: block.id(), exec };
            let chain_id = self.keyring.chain_id();
            let signatures: Vec<_> = signers
                .iter()
                .map(|node| self.keyring.sign(*node, &vote.signed_bytes(&chain_id)))
                .collect();
            for (node, signature) in signers.iter().zip(&signatures) {
                let voice = &mut self.oracles.voices[*node].commit_votes;
                voice.insert((vote.era, vote.view), (vote, *signature));
            }
            let members = signers.iter().map(|node| index(*node));
            let cert = CommitCert { vote, signers: SignerSet::of(4, members), signatures };
            let heads = block.citations().iter().map(|it| (it.author, (it.up_to_seq, it.digest)));
            let root = Root {
                header: *block.header(),
                exec,
                lane_heads: heads.collect(),
                epoch: EpochState::genesis(&chain_id),
                cert: Some(cert.clone()),
            };
            Commit { blocks: vec![(block.clone(), exec)], cert, root }
        }

        fn empty_exec() -> ExecHash {
            ledger::exec(ledger::genesis_exec(), &[])
        }
    }

    fn broken(checked: Checked) -> Option<Invariant> {
        checked.err().map(|breach| breach.invariant)
    }

    #[test]
    fn a_good_commit_passes_and_two_blocks_at_one_height_do_not() {
        let mut world = World::new();
        let genesis = world.genesis();
        let exec = World::empty_exec();
        let (one, other) = (world.block(1, 1, genesis, &[]), world.block(1, 2, genesis, &[]));
        let commit = world.commit(&one, exec, &[0, 1, 2]);
        assert_eq!(world.oracles.on_commit(0, &commit), Ok(()));
        assert_eq!(world.oracles.on_commit(1, &commit), Ok(()));
        let fork = world.commit(&other, exec, &[1, 2, 3]);
        assert_eq!(broken(world.oracles.on_commit(3, &fork)), Some(Invariant::Agreement));
    }

    #[test]
    fn heights_may_be_neither_skipped_nor_repeated() {
        let mut world = World::new();
        let genesis = world.genesis();
        let one = world.block(1, 1, genesis, &[]);
        let two = world.block(2, 2, one.id(), &[]);
        let first = world.commit(&one, World::empty_exec(), &[0, 1, 2]);
        let second = world.commit(&two, World::empty_exec(), &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(0, &second)), Some(Invariant::CommitOrder));
        assert_eq!(world.oracles.on_commit(0, &first), Ok(()));
        assert_eq!(broken(world.oracles.on_commit(0, &first)), Some(Invariant::CommitOrder));
    }

    #[test]
    fn a_certificate_needs_a_quorum_of_signatures_that_were_given() {
        let mut world = World::new();
        let genesis = world.genesis();
        let block = world.block(1, 1, genesis, &[]);
        let few = world.commit(&block, World::empty_exec(), &[0, 1]);
        let found = broken(world.oracles.on_commit(0, &few));
        assert_eq!(found, Some(Invariant::CommitCertificate));

        let mut world = World::new();
        let mut forged = world.commit(&block, World::empty_exec(), &[0, 1, 2]);
        forged.cert.signatures[2].0[0] ^= 1;
        let found = broken(world.oracles.on_commit(0, &forged));
        assert_eq!(found, Some(Invariant::CommitCertificate));
    }

    #[test]
    fn a_root_of_another_exec_is_refused() {
        let mut world = World::new();
        let genesis = world.genesis();
        let block = world.block(1, 1, genesis, &[]);
        let mut commit = world.commit(&block, World::empty_exec(), &[0, 1, 2]);
        commit.root.exec = ExecHash([7; 32]);
        assert_eq!(broken(world.oracles.on_commit(0, &commit)), Some(Invariant::CommitRoot));
    }

    #[test]
    fn lanes_are_followed_from_the_head_and_records_are_final_once() {
        let mut world = World::new();
        let genesis = world.genesis();
        let author = world.keyring.genesis().committee.key(index(2)).expect("four validators");
        let mut batches = Vec::new();
        let mut previous = BatchDigest::ZERO;
        for seq in 1..=2 {
            let number = world.oracles.new_record();
            let bytes = number.to_le_bytes().to_vec().into();
            let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes };
            let records: Arc<[BatchRecord]> = Arc::new([record]);
            let header = BatchHeader::new(ERA, author, LaneSeq::new(seq), previous, &records);
            previous = header.digest(&world.keyring.chain_id());
            let batch = Arc::new(world.keyring.sign_batch(2, header, records));
            assert_eq!(world.oracles.on_accepted(Arc::clone(&batch)), Ok(()));
            batches.push(batch);
        }
        assert_eq!(world.oracles.unfinal(), 2);
        let found = broken(world.oracles.on_accepted(Arc::clone(&batches[0])));
        assert_eq!(found, Some(Invariant::RecordOnce));

        let citation = Citation { author, up_to_seq: LaneSeq::new(2), digest: previous };
        let wrong = Citation { up_to_seq: LaneSeq::new(1), ..citation };
        let block = world.block(1, 1, genesis, &[wrong]);
        let exec = ledger::exec(ledger::genesis_exec(), &batches);
        let commit = world.commit(&block, exec, &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(0, &commit)), Some(Invariant::Execution));

        let block = world.block(1, 1, genesis, &[citation]);
        let commit = world.commit(&block, exec, &[0, 1, 2]);
        assert_eq!(world.oracles.on_commit(0, &commit), Ok(()));
        assert_eq!((world.oracles.unfinal(), world.oracles.finals()), (0, 2));

        let other = world.commit(&block, World::empty_exec(), &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(1, &other)), Some(Invariant::Agreement));
    }

    /// A safety record in a view, with nothing signed.
    fn record(view: u64, high_qc: u64) -> SafetyRecord {
        let mut qc = Qc::root(ERA, BlockId([1; 32]), 4);
        qc.vote.view = View::new(high_qc);
        SafetyRecord {
            era: ERA,
            current_view: View::new(view),
            last_voted: None,
            last_timeout: None,
            last_commit_vote: None,
            last_proposal: None,
            last_batch: None,
            high_qc: qc,
            high_tc: None,
        }
    }

    fn vote(view: u64) -> Vote {
        Vote { era: ERA, view: View::new(view), block: BlockId([2; 32]) }
    }

    fn commit_vote(view: u64) -> CommitVote {
        let (block, exec) = (BlockId([2; 32]), ExecHash([3; 32]));
        CommitVote { era: ERA, view: View::new(view), block, exec }
    }

    fn timeout(view: u64, high: u64) -> (Timeout, Qc) {
        let mut qc = Qc::root(ERA, BlockId([1; 32]), 4);
        qc.vote.view = View::new(high);
        (Timeout { era: ERA, view: View::new(view), high_qc_view: View::new(high) }, qc)
    }

    #[test]
    fn each_rule_of_the_safety_record_is_judged() {
        let timed_out = SafetyRecord { last_timeout: Some(timeout(5, 4)), ..record(5, 4) };
        let voted = SafetyRecord { last_voted: Some(vote(5)), ..record(5, 4) };
        let committed = SafetyRecord { last_commit_vote: Some(commit_vote(4)), ..record(5, 4) };
        let proposed =
            SafetyRecord { last_proposal: Some((View::new(5), BlockId([2; 32]))), ..record(5, 4) };
        let cases = [
            (record(5, 4), record(6, 5), true, "a new view"),
            (record(5, 4), record(4, 4), false, "the view goes back"),
            (record(5, 4), record(5, 3), false, "the high QC goes back"),
            (record(5, 4), voted.clone(), true, "a vote"),
            (
                voted.clone(),
                SafetyRecord {
                    last_voted: Some(Vote { block: BlockId([9; 32]), ..vote(5) }),
                    ..voted.clone()
                },
                false,
                "a second vote",
            ),
            (
                timed_out.clone(),
                SafetyRecord { last_voted: Some(vote(5)), ..timed_out.clone() },
                false,
                "a vote after the timeout",
            ),
            (
                record(5, 4),
                SafetyRecord { last_voted: Some(vote(6)), ..record(5, 4) },
                false,
                "a vote ahead of the view",
            ),
            (record(5, 4), committed, true, "a commit vote"),
            (
                record(5, 3),
                SafetyRecord { last_commit_vote: Some(commit_vote(4)), ..record(5, 3) },
                false,
                "a commit vote without its QC",
            ),
            (
                timed_out.clone(),
                SafetyRecord {
                    last_commit_vote: Some(commit_vote(5)),
                    last_timeout: Some(timeout(5, 4)),
                    ..record(6, 5)
                },
                false,
                "a commit vote after the timeout",
            ),
            (record(5, 4), timed_out.clone(), true, "a timeout"),
            (
                timed_out.clone(),
                SafetyRecord { last_timeout: Some(timeout(5, 3)), ..timed_out },
                false,
                "a second timeout",
            ),
            (
                record(5, 4),
                SafetyRecord { last_timeout: Some(timeout(5, 3)), ..record(5, 4) },
                false,
                "a timeout that hides the high QC",
            ),
            (
                proposed.clone(),
                SafetyRecord { last_proposal: Some((View::new(5), BlockId([9; 32]))), ..proposed },
                false,
                "a second proposal",
            ),
        ];
        for (old, new, is_allowed, name) in cases {
            let mut world = World::new();
            world.oracles.safety[1] = Some(Box::new(old));
            let expected = (!is_allowed).then_some(Invariant::SafetyRecord);
            assert_eq!(broken(world.oracles.on_safety(1, &new)), expected, "{name}");
        }
    }

    #[test]
    fn two_things_in_one_view_and_a_hidden_certificate_are_heard() {
        let mut world = World::new();
        let root = Root::genesis(world.keyring.genesis(), ledger::genesis_exec());
        let disk = Disk::new(root);
        world.oracles.muted = vec![Invariant::PersistBeforeSend];
        let signature = Signature([0; 64]);
        let send = |world: &mut World, vote| {
            let sent = SignedVote { vote, signer: index(1), signature };
            broken(world.oracles.on_vote_sent(1, &sent, &disk))
        };
        assert_eq!(send(&mut world, vote(5)), None);
        assert_eq!(send(&mut world, vote(5)), None);
        let other = Vote { block: BlockId([9; 32]), ..vote(5) };
        assert_eq!(send(&mut world, other), Some(Invariant::OneVoice));

        let sent = SignedCommitVote { vote: commit_vote(5), signer: index(1), signature };
        assert_eq!(broken(world.oracles.on_commit_vote_sent(1, &sent, &disk)), None);
        let leave = |world: &mut World, view, high| {
            let (timeout, high_qc) = timeout(view, high);
            let sent = SignedTimeout {
                timeout,
                signer: index(1),
                signature,
                high_qc,
                entry_tc: None,
                missing: Vec::new(),
            };
            broken(world.oracles.on_timeout_sent(1, &sent, &disk))
        };
        assert_eq!(leave(&mut world, 7, 5), None);
        assert_eq!(leave(&mut world, 8, 4), Some(Invariant::HiddenCertificate));
    }

    #[test]
    fn what_is_not_synced_may_not_leave() {
        let mut world = World::new();
        let root = Root::genesis(world.keyring.genesis(), ledger::genesis_exec());
        let disk = Disk::new(root);
        let sent = SignedVote { vote: vote(5), signer: index(1), signature: Signature([0; 64]) };
        let found = broken(world.oracles.on_vote_sent(1, &sent, &disk));
        assert_eq!(found, Some(Invariant::PersistBeforeSend));
    }
}
