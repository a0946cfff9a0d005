//! What must never happen, and what must have happened in the end.
//!
//! Each invariant has a name and is judged here from what left a node, what
//! lies on its disk and what it committed, in arithmetic of its own: nothing
//! here asks the engine.
//!
//! What a validator signs, stores and commits is judged for honest ones alone.
//! Of liars it is only noted what they signed: it may stand in certificates,
//! their batches may become final, and evidence may name them and nobody else.

use crate::disk::{Disk, Stored};
use crate::keys::{Keyring, Members};
use crate::ledger;
use bizra_consensus::{
    Activation, Alarm, ClosedEra, Commit, Evidence, Input, Outgoing, Replica, Root, SafetyRecord,
    Send,
};
use bizra_types::batch::{BatchHeader, SignedBatch};
use bizra_types::block::Block;
use bizra_types::certificate::{CommitCert, Qc};
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use bizra_types::message::{
    BatchAck, CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{Era, LaneSeq, ProtocolVersion, ValidatorIndex, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::thread;

/// Votes up to so many views ahead of a node's own must be remembered by it.
const HEARD_VIEWS_AHEAD: u64 = 12;
/// And so many behind.
const HEARD_VIEWS_BEHIND: u64 = 24;

/// Views of which a replica at rest keeps the votes of one kind, at most.
const VOTES_KEPT_VIEWS_MAX: usize = 64;
/// Letters that a replica at rest takes to write down, beside batches of liars.
const HELD_LETTERS_MAX: usize = 1 << 20;
/// Letters per byte of a batch of a liar, which nobody ever has to cite.
const BATCH_LETTERS_PER_BYTE: usize = 5;
/// And for what a batch is beside its records.
const BATCH_LETTERS: usize = 2_000;
/// Questions that a node may ask in a second.
const ASKS_PER_SECOND_MAX: u64 = 1_000;
/// Certificates that a node may send to one peer alone in a second.
const ANSWERS_PER_SECOND_MAX: u64 = 100;

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
    /// Honest validators give one block one result, that of a committed block
    /// is that of the batches it cites, and the batches continue their lanes.
    Execution,
    /// No validator signs two different things of one kind for one view, or
    /// for one place of its lane.
    OneVoice,
    /// No validator signs a timeout that hides the certificate under its
    /// commit vote.
    HiddenCertificate,
    /// Whoever has handed over to the next era decides to sign nothing of the
    /// one before, nor changes its record.
    EndedEra,
    /// All nodes end an era with the same block, which decided that when it
    /// was executed, and in favour of the same committee. The certificate is of
    /// the block or of a filler on it, and no filler is ever final.
    Handover,
    /// A block follows the version in force at its height, and a program that
    /// does not know the version commits no such block.
    Version,
    /// A key without the last of its safety records signs nothing.
    Amnesia,
    /// A safety record only grows, each signature it grants is allowed by the
    /// record before, and it holds the certificate by which its view was entered.
    SafetyRecord,
    /// The certificates in a safety record carry a quorum of signatures that
    /// were really given, each for this very era and view.
    Certificates,
    /// Whoever votes for a block that is not certified by the view before could
    /// know that a quorum left that view with no later certificate.
    Justification,
    /// On one parent a view has one leader: honest validators neither propose
    /// nor vote in favour of two.
    OneLeader,
    /// Nothing leaves before what it rests on is synced.
    PersistBeforeSend,
    /// What an honest node sends passes the verifier, and a timeout carries the
    /// certificate by which its view was entered.
    WellFormed,
    /// A record is final at most once.
    RecordOnce,
    /// A record that was accepted becomes final after healing; what a validator
    /// accepted that left, unless the era after ends before.
    AcceptedIsKept,
    /// Honest nodes raise no alarm but evidence.
    NoAlarm,
    /// Evidence consists of two messages that its validator really signed and
    /// that exclude each other, and names a liar.
    Evidence,
    /// An honest node that has heard two messages of a liar that exclude each
    /// other, both while it keeps such messages, has named the liar.
    LiarsAreNamed,
    /// After healing every node commits three heights within
    /// [`LIVENESS_MICROS_MAX`](crate::LIVENESS_MICROS_MAX), and all members reach
    /// one height.
    ///
    /// Counted in views, in the first era, while up to f nodes are dead:
    ///
    /// * From healing to the first final block, and from one to the next, it
    ///   takes at most 4f + 4 views: what was lost in the faults must be had
    ///   first, perhaps from somebody who has just died, and views are lost to
    ///   that.
    /// * From [`SETTLING_MICROS`](crate::SETTLING_MICROS) after healing
    ///   on, which a quarter of the proofs of life wait for, it takes at most
    ///   2f + 2: the dead lead at most 2f in a row, and two led by others are
    ///   enough. Where validators lie it takes at most 4f + 2, because they may
    ///   spoil as many that others lead.
    Liveness,
    /// However much liars send, what a node keeps, asks for and answers stays
    /// within bounds.
    Bounded,
    /// The engine does not ask to be woken for ever at one instant.
    Deadline,
    /// The engine does not panic.
    NoPanic,
    /// Where more than f lie and the chain forks, proofs of both sides and the
    /// certificates that honest validators keep name at least f + 1, all of
    /// them liars: while at most 2f lie, always, and whenever they name anybody.
    Blame,
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
    /// Its validator left, and another era has ended since: no block may cite
    /// it unless the validator comes back.
    Lapsed,
    Final,
}

/// What one validator has signed.
#[derive(Debug, Default)]
struct Voice {
    proposals: BTreeMap<(Era, View), BlockId>,
    votes: BTreeMap<(Era, View), BlockId>,
    commit_votes: BTreeMap<(Era, View), (CommitVote, Signature)>,
    timeouts: BTreeMap<(Era, View), View>,
    batches: BTreeMap<(PublicKey, LaneSeq), BatchDigest>,
}

/// What a node does on its own account in one second of virtual time.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    second: u64,
    count: u64,
}

type LaneHeads = BTreeMap<PublicKey, (LaneSeq, BatchDigest)>;

/// What a validator says once per view, or per place of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    Proposal,
    Vote,
    CommitVote,
    Timeout,
    Batch,
}

/// A statement of a liar at an honest node: node, kind, liar, view or place.
type HeardKey = (usize, Statement, usize, u64);

/// One height of the common chain.
#[derive(Debug)]
struct Height {
    id: BlockId,
    era: Era,
    view: View,
    /// The committee that takes over, if its era ends here.
    next_committee: Option<Arc<Committee>>,
    exec: ExecHash,
    heads: Arc<LaneHeads>,
    /// What the replicas go by once it is final.
    parameters: Parameters,
}

/// All that the checks remember.
#[derive(Debug)]
pub(crate) struct Oracles {
    muted: Vec<Invariant>,
    chain_id: ChainId,
    members: Members,
    voices: Vec<Voice>,
    batches: BTreeMap<BatchDigest, Arc<SignedBatch>>,
    chain: Vec<Height>,
    /// Height to which each node has committed since it started.
    committed: Vec<usize>,
    /// The records of each node by their eras, as of the last step.
    safety: Vec<BTreeMap<(Era, PublicKey), SafetyRecord>>,
    /// The last era that each node has handed over from.
    ended: Vec<Option<Era>>,
    version: ProtocolVersion,
    activation: Option<Activation>,
    parameter_changes: u64,
    /// Nodes that said that they do not know a version.
    aware_of_version: BTreeSet<usize>,
    /// Nodes that have lost their records, and whether they said so.
    amnesiacs: BTreeMap<PublicKey, bool>,
    fates: Vec<Fate>,
    accepted: usize,
    finals: usize,
    /// The highest view of each era for which anything was signed.
    highest_views: BTreeMap<Era, View>,
    alarms: Vec<String>,
    liars: BTreeSet<usize>,
    /// The commit votes of liars: they may give several in a view.
    commit_votes_of_liars: BTreeMap<(usize, CommitVote), Signature>,
    /// Their votes and timeouts.
    votes_of_liars: BTreeSet<(usize, Vote)>,
    timeouts_of_liars: BTreeSet<(usize, Timeout)>,
    /// The result that the first honest commit vote gave a block.
    results: BTreeMap<BlockId, ExecHash>,
    /// In whose favour honest validators signed something, by view and parent.
    leaders: BTreeMap<(Era, View, BlockId), ValidatorIndex>,
    /// What honest nodes heard of liars first: a digest of what was signed.
    heard: BTreeMap<HeardKey, [u8; 32]>,
    named: BTreeSet<usize>,
    /// Era and view at the last healing, while nothing fails.
    healed_at: Option<(Era, View)>,
    asks: BTreeMap<usize, Rate>,
    answers: BTreeMap<(usize, usize), Rate>,
    /// Letters that batches of liars which a node heard of take.
    batch_letters: BTreeMap<usize, BTreeMap<BatchDigest, usize>>,
    view_gaps: BTreeMap<u64, u64>,
    healing_view_gaps: BTreeMap<u64, u64>,
    /// Whether the faults are so long ago that what they cost is made good.
    is_settled: bool,
}

impl Oracles {
    pub(crate) fn new(keyring: &Keyring, muted: Vec<Invariant>, liars: BTreeSet<usize>) -> Self {
        let genesis = keyring.genesis();
        let members = keyring.members().clone();
        let nodes = members.nodes();
        let genesis_block = Height {
            id: genesis.header().id(),
            era: Era::new(1),
            view: View::ZERO,
            next_committee: None,
            exec: ledger::genesis_exec(),
            heads: Arc::new(LaneHeads::new()),
            parameters: genesis.parameters,
        };
        Self {
            muted,
            chain_id: genesis.chain_id(),
            members,
            voices: (0..nodes).map(|_| Voice::default()).collect(),
            batches: BTreeMap::new(),
            chain: vec![genesis_block],
            committed: vec![0; nodes],
            safety: vec![BTreeMap::new(); nodes],
            ended: vec![None; nodes],
            version: genesis.protocol_version,
            activation: None,
            parameter_changes: 0,
            aware_of_version: BTreeSet::new(),
            amnesiacs: BTreeMap::new(),
            fates: Vec::new(),
            accepted: 0,
            finals: 0,
            highest_views: BTreeMap::new(),
            alarms: Vec::new(),
            liars,
            commit_votes_of_liars: BTreeMap::new(),
            votes_of_liars: BTreeSet::new(),
            timeouts_of_liars: BTreeSet::new(),
            results: BTreeMap::new(),
            leaders: BTreeMap::new(),
            heard: BTreeMap::new(),
            named: BTreeSet::new(),
            healed_at: None,
            asks: BTreeMap::new(),
            answers: BTreeMap::new(),
            batch_letters: BTreeMap::new(),
            view_gaps: BTreeMap::new(),
            healing_view_gaps: BTreeMap::new(),
            is_settled: false,
        }
    }

    // ---- facts for the cluster ----

    /// Number of a new record.
    pub(crate) fn new_record(&mut self) -> u64 {
        self.fates.push(Fate::Injected);
        self.fates.len() as u64 - 1
    }

    /// How many views passed, up to the last for which anything was signed.
    pub(crate) fn views(&self) -> u64 {
        self.highest_views.values().map(|view| view.get()).sum()
    }

    /// Whether a node voted in an era.
    pub(crate) fn votes_in(&self, node: usize, era: Era) -> bool {
        let votes = &self.voices[node].votes;
        votes.range((era, View::ZERO)..(era.next(), View::ZERO)).next().is_some()
    }

    /// Whether a node has lost safety records.
    pub(crate) fn is_anybody_amnesiac(&self) -> bool {
        !self.amnesiacs.is_empty()
    }

    /// Whether it was said that a key lost its safety records, if it did.
    pub(crate) fn is_aware_of_amnesia(&self, key: &PublicKey) -> bool {
        self.amnesiacs.get(key).is_none_or(|is_aware| *is_aware)
    }

    /// Whether a node said that it does not know the version in force, if
    /// there is a new one.
    pub(crate) fn is_aware_of_version(&self, node: usize) -> bool {
        let height = self.height() as u64;
        self.activation.is_none_or(|activation| height < activation.height.get())
            || self.aware_of_version.contains(&node)
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

    /// The batches of honest nodes that are not final, for people.
    pub(crate) fn describe_unfinal(&self) -> String {
        let newest = self.members.committee(self.members.newest());
        let mut lines: Vec<_> = self
            .batches
            .values()
            .filter(|batch| {
                let mut records = batch.records().iter();
                !self.is_of_liar(batch.header())
                    && records.any(|it| self.fates[record_number(&it.bytes)] == Fate::Accepted)
            })
            .map(|batch| {
                let header = batch.header();
                let node = self.members.owner(&header.author);
                let is_member = newest.index_of(&header.author).is_some();
                let seat = if is_member { "has" } else { "has no" };
                format!(
                    "batch {} of node {node:?}, which {seat} seat with {:?}, of era {}\n",
                    header.lane_seq, header.author, header.era
                )
            })
            .collect();
        lines.sort();
        lines.concat()
    }

    /// Parameters that final blocks have changed.
    pub(crate) const fn parameter_changes(&self) -> u64 {
        self.parameter_changes
    }

    /// Records that their validators took with them when they left.
    pub(crate) fn lapsed(&self) -> usize {
        self.fates.iter().filter(|fate| **fate == Fate::Lapsed).count()
    }

    /// Records that are final.
    pub(crate) const fn finals(&self) -> usize {
        self.finals
    }

    /// Alarms that were raised while nobody listened.
    pub(crate) fn alarms(&self) -> &[String] {
        &self.alarms
    }

    /// Liars that an honest node has named.
    pub(crate) fn named(&self) -> impl Iterator<Item = usize> + '_ {
        self.named.iter().copied()
    }

    /// How many final blocks came so many views after the one before, while
    /// nothing failed and what had failed was made good.
    pub(crate) const fn view_gaps(&self) -> &BTreeMap<u64, u64> {
        &self.view_gaps
    }

    /// The same shortly after healing, the first block counted from there.
    pub(crate) const fn healing_view_gaps(&self) -> &BTreeMap<u64, u64> {
        &self.healing_view_gaps
    }

    /// From now on nothing fails, but liars lie; or, if it settled, what failed
    /// before costs nothing more.
    pub(crate) fn on_healed(&mut self, is_settled: bool) {
        self.is_settled = is_settled;
        let newest = self.highest_views.last_key_value();
        self.healed_at = Some(newest.map(|(era, view)| (*era, *view)).unwrap_or_default());
    }

    /// From now on things fail.
    pub(crate) const fn on_plagued(&mut self) {
        self.healed_at = None;
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

    /// [`Invariant::NoPanic`]: what a run came to.
    pub(crate) fn on_end(&self, result: thread::Result<Checked>) -> Checked {
        result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            self.breach(Invariant::NoPanic, || format!("a panic: {text}"))
        })
    }

    /// An era began somewhere.
    pub(crate) fn begin(&mut self, era: Era, committee: &Arc<Committee>) {
        if !self.members.knows(era) {
            self.members.begin(era, Arc::clone(committee));
            self.judge_lanes();
        }
    }

    /// Finds what is accepted and may not be cited any more, lane by lane: what
    /// comes after such a batch may not either.
    fn judge_lanes(&mut self) {
        let Self { members, batches, fates, accepted, liars, .. } = self;
        let mut lanes: BTreeMap<(PublicKey, LaneSeq), &SignedBatch> = BTreeMap::new();
        for batch in batches.values() {
            let header = batch.header();
            if members.owner(&header.author).is_some_and(|author| !liars.contains(&author)) {
                lanes.insert((header.author, header.lane_seq), batch);
            }
        }
        let mut before: Option<(PublicKey, Fate)> = None;
        for ((author, _), batch) in lanes {
            let above = before.filter(|(other, _)| *other == author).map(|(_, fate)| fate);
            let fate = fate_of(members, batch.header(), above);
            let mut is_final = false;
            for record in batch.records().iter() {
                let now = &mut fates[record_number(&record.bytes)];
                is_final |= *now == Fate::Final;
                if matches!(now, Fate::Accepted | Fate::Lapsed) {
                    *accepted -= usize::from(*now == Fate::Accepted);
                    *accepted += usize::from(fate == Fate::Accepted);
                    *now = fate;
                }
            }
            before = (!is_final).then_some((author, fate));
        }
    }

    /// A node starts from this disk.
    pub(crate) fn on_start(&mut self, node: usize, stored: &Stored) {
        self.committed[node] = height_number(stored.root.header.height.get());
        self.safety[node].clone_from(&stored.safety);
        let closed = stored.closed.last_key_value().map(|(era, _)| *era);
        self.ended[node] = closed.max(stored.root.ended().map(|ended| ended.era));
        self.heard.retain(|(hearer, ..), _| *hearer != node);
    }

    /// A disk loses the last safety records of these keys.
    pub(crate) fn on_amnesia(&mut self, keys: Vec<PublicKey>) {
        self.amnesiacs.extend(keys.into_iter().map(|key| (key, false)));
    }

    // ---- what a step decides ----

    /// [`Invariant::EndedEra`]: a node hands over to the era after this one.
    pub(crate) fn on_closed(&mut self, node: usize, closed: &ClosedEra) -> Checked {
        let before = self.ended[node].replace(closed.era);
        // Again, if the commit was lost in a crash.
        self.require(before <= Some(closed.era), Invariant::EndedEra, || {
            format!("node {node} ends era {} after it ended {before:?}", closed.era)
        })
    }

    /// [`Invariant::EndedEra`]: what a step wants to send, before it is signed.
    pub(crate) fn on_decided(&self, node: usize, send: &[Send]) -> Checked {
        let eras = send.iter().filter_map(|send| match &send.message {
            Outgoing::Proposal { block, .. } => Some(block.header().era),
            Outgoing::Vote(vote) => Some(vote.era),
            Outgoing::CommitVote(vote) => Some(vote.era),
            Outgoing::Timeout { timeout, .. } => Some(timeout.era),
            _ => None,
        });
        let oldest = eras.min();
        let holds = oldest.is_none_or(|era| self.ended[node] < Some(era));
        self.require(holds, Invariant::EndedEra, || {
            format!("node {node} has ended era {:?} and signs in it: {send:?}", self.ended[node])
        })
    }

    /// [`Invariant::SafetyRecord`] and [`Invariant::Certificates`]: the rules of
    /// voting, on two records in a row.
    pub(crate) fn on_safety(&mut self, node: usize, key: PublicKey, new: &SafetyRecord) -> Checked {
        if self.liars.contains(&node) {
            return Ok(());
        }
        let era = new.era;
        self.require(self.ended[node] < Some(era), Invariant::EndedEra, || {
            format!("node {node} has ended era {era} and changes its record: {new:?}")
        })?;
        let old = self.safety[node].insert((era, key), new.clone());
        let Some(old) = old else { return Ok(()) };
        let wrong = |rule: &str| format!("node {node}: {rule}\nbefore {old:?}\nafter {new:?}");
        let require =
            |holds, rule: &str| self.require(holds, Invariant::SafetyRecord, || wrong(rule));
        let timed_out = |record: &SafetyRecord| record.last_timeout.as_ref().map(|(it, _)| *it);
        require(new.current_view >= old.current_view, "the view went back")?;
        require(new.high_qc.rank() >= old.high_qc.rank(), "the high QC went back")?;
        let left = new.high_tc.as_ref().map(|tc| tc.view).max(Some(new.high_qc.vote.view));
        require(
            new.current_view.previous() == left,
            "a view without the certificate of its entry",
        )?;
        self.certificates(node, &old, new)?;
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

    /// [`Invariant::Certificates`]: those that a record did not hold before.
    fn certificates(&self, node: usize, old: &SafetyRecord, new: &SafetyRecord) -> Checked {
        let Vote { era, view, .. } = new.high_qc.vote;
        let is_known = view == View::ZERO || new.high_qc == old.high_qc;
        let is_real = is_known || {
            let Qc { vote, signers, .. } = &new.high_qc;
            self.are_quorum(
                era,
                signers.iter().map(|signer| (signer, self.has_voted(signer, vote))),
            )
        };
        self.require(is_real, Invariant::Certificates, || {
            format!("node {node} holds {:?}, and a quorum did not sign that", new.high_qc)
        })?;
        let Some(tc) = new.high_tc.as_ref().filter(|_| new.high_tc != old.high_tc) else {
            return Ok(());
        };
        let signers = tc.signers.iter().zip(tc.timeouts());
        let left = signers.map(|(signer, timeout)| {
            let node = self.members.node(tc.era, signer);
            (signer, node.is_some_and(|node| self.has_left(node, timeout, |it| it == timeout)))
        });
        self.require(self.are_quorum(tc.era, left), Invariant::Certificates, || {
            format!("node {node} holds {tc:?}, and a quorum did not sign that")
        })
    }

    /// Whether all of these have signed, and are a quorum of the era's committee.
    fn are_quorum(&self, era: Era, signed: impl Iterator<Item = (ValidatorIndex, bool)>) -> bool {
        let signed: BTreeMap<_, _> = signed.collect();
        3 * signed.len() > 2 * self.members.committee(era).size()
            && signed.into_values().all(|it| it)
    }

    fn has_voted(&self, signer: ValidatorIndex, vote: &Vote) -> bool {
        let Some(node) = self.members.node(vote.era, signer) else { return false };
        self.voices[node].votes.get(&(vote.era, vote.view)) == Some(&vote.block)
            || self.votes_of_liars.contains(&(node, *vote))
    }

    /// Whether a node signed such a timeout of the view that this one is of.
    fn has_left(&self, node: usize, of: Timeout, is_such: impl Fn(Timeout) -> bool) -> bool {
        let Timeout { era, view, .. } = of;
        let timeout = |high_qc_view| Timeout { era, view, high_qc_view };
        let honest = self.voices[node].timeouts.get(&(era, view));
        let range = (node, timeout(View::ZERO))..=(node, timeout(View::new(u64::MAX)));
        honest.is_some_and(|high_qc_view| is_such(timeout(*high_qc_view)))
            || self.timeouts_of_liars.range(range).any(|(_, timeout)| is_such(*timeout))
    }

    /// [`Invariant::Justification`] and [`Invariant::OneLeader`]: of a block
    /// that an honest node votes for.
    fn voted_block(&mut self, node: usize, block: &Block) -> Checked {
        let (header, justify) = (*block.header(), block.justify().vote.view);
        let before = header.view.previous().unwrap_or_default();
        let era = header.era;
        let knows_nothing_later = |voter: &usize| {
            let timeout = Timeout { era, view: before, high_qc_view: justify };
            self.has_left(*voter, timeout, |it| it.high_qc_view <= justify)
        };
        let is_justified = justify == before || {
            let committee = self.members.committee(era);
            let voters = committee.indices().filter_map(|place| self.members.node(era, place));
            3 * voters.filter(knows_nothing_later).count() > 2 * committee.size()
        };
        self.require(is_justified, Invariant::Justification, || {
            format!("node {node} votes for {header:?}, which goes back behind a certificate")
        })?;
        self.one_leader(node, block)
    }

    fn one_leader(&mut self, node: usize, block: &Block) -> Checked {
        let header = block.header();
        let place = (header.era, header.view, header.parent);
        let leader = *self.leaders.entry(place).or_insert(header.proposer);
        self.require(leader == header.proposer, Invariant::OneLeader, || {
            format!(
                "node {node} takes {} for the leader, another {leader}: {header:?}",
                header.proposer
            )
        })
    }

    /// [`Invariant::Agreement`], [`Invariant::CommitOrder`],
    /// [`Invariant::Execution`], [`Invariant::CommitCertificate`],
    /// [`Invariant::CommitRoot`] and [`Invariant::RecordOnce`].
    pub(crate) fn on_commit(&mut self, node: usize, commit: &Commit) -> Checked {
        if self.liars.contains(&node) {
            return Ok(());
        }
        for (block, exec) in &commit.blocks {
            self.commit_order(node, block)?;
            self.commit_era(node, block)?;
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
        let filler = commit.root.opening.as_ref().and_then(|opening| opening.filler);
        let fits = match filler.and_then(|filler| Some((filler, filler.closes?))) {
            None => cert.block == last.id(),
            Some((filler, closes)) => {
                cert.block == filler.id() && closes.block == last.id() && closes.exec == *exec
            }
        };
        let same = cert.exec == *exec && cert.era == last.header().era;
        self.require(fits && same, Invariant::CommitCertificate, || {
            format!("node {node} commits {:?} under {cert:?}", last.id())
        })?;
        let opened = commit.root.opening.as_ref().map(|opening| &opening.committee);
        let there = self.chain[self.committed[node]].next_committee.as_ref();
        self.require(opened == there, Invariant::Handover, || {
            format!("node {node} hands over to {opened:?}, the chain to {there:?}")
        })
    }

    /// [`Invariant::Handover`] and [`Invariant::Version`] of one block.
    fn commit_era(&self, node: usize, block: &Block) -> Checked {
        let header = block.header();
        let before = &self.chain[self.committed[node]];
        let ends = before.next_committee.is_some();
        let era = if ends { before.era.next() } else { before.era };
        self.require(header.era == era && header.closes.is_none(), Invariant::Handover, || {
            format!("node {node} commits {header:?} where era {era} goes on")
        })?;
        let activation = self.activation.filter(|activation| activation.height <= header.height);
        let version = activation.map_or(self.version, |activation| activation.version);
        let knows = version == self.version || !self.aware_of_version.contains(&node);
        self.require(header.protocol_version == version && knows, Invariant::Version, || {
            format!("node {node} commits {header:?} where {version:?} is in force")
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
        let (parent_exec, era_before, before) = (tip.exec, tip.era, tip.view);
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
        let header = block.header();
        let exec = ledger::fields(parent_exec, header.height, &batches).hash();
        let decisions = ledger::decisions(&self.members, header, &batches);
        self.activation = decisions.activation.or(self.activation);
        for batch in &batches {
            // What a liar promised its submitters is its own affair.
            if self.is_of_liar(batch.header()) {
                continue;
            }
            for record in batch.records().iter() {
                self.record_final(&record.bytes)?;
            }
        }
        let (era, view) = (header.era, header.view);
        if let Some(healed_at) = self.healed_at
            && era == era_before
            && (era, view) > healed_at
        {
            let is_first = (era_before, before) <= healed_at;
            let from = if is_first { healed_at.1 } else { before };
            let gap = view.get() - from.get();
            let gaps =
                if self.is_settled { &mut self.view_gaps } else { &mut self.healing_view_gaps };
            *gaps.entry(gap).or_default() += 1;
            let faulty_max = self.members.committee(era).faulty_max() as u64;
            let most = match (self.is_settled, self.liars.is_empty()) {
                (false, _) => 4 * faulty_max + 4,
                (true, false) => 4 * faulty_max + 2,
                (true, true) => 2 * faulty_max + 2,
            };
            // Whoever has just joined may be behind, and is not faulty.
            let is_bounded = gap <= most || era > Era::new(1);
            self.require(is_bounded, Invariant::Liveness, || {
                format!("{gap} views from view {from} to the next final block, of view {view}")
            })?;
        }
        let next_committee = decisions.next_committee;
        let heads = Arc::new(heads);
        let mut parameters = self.chain.last().expect("genesis at least").parameters;
        for change in decisions.parameters {
            self.parameter_changes += 1;
            parameters.set(change.name, change.value);
        }
        let id = block.id();
        self.chain.push(Height { id, era, view, next_committee, exec, heads, parameters });
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
        let is_first = matches!(fate, Fate::Accepted | Fate::Lapsed);
        self.require(is_first, Invariant::RecordOnce, || {
            format!("record {number} becomes final and was {fate:?} before")
        })?;
        self.fates[number] = Fate::Final;
        self.accepted -= usize::from(fate == Fate::Accepted);
        self.finals += 1;
        Ok(())
    }

    fn commit_certificate(&self, node: usize, commit: &Commit) -> Checked {
        let cert = &commit.cert;
        self.require(self.is_signed_by_quorum(cert), Invariant::CommitCertificate, || {
            format!("node {node} commits under {cert:?} whose signatures are too few or unreal")
        })
    }

    /// Whether a quorum really gave the signatures of a certificate.
    fn is_signed_by_quorum(&self, cert: &CommitCert) -> bool {
        let CommitCert { vote, signers, signatures } = cert;
        let size = self.members.committee(vote.era).size();
        let given = signers.iter().zip(signatures).filter(|(signer, signature)| {
            let Some(signer) = self.members.node(vote.era, *signer) else { return false };
            let voice = &self.voices[signer].commit_votes;
            voice.get(&(vote.era, vote.view)) == Some(&(*vote, **signature))
                || self.commit_votes_of_liars.get(&(signer, *vote)) == Some(signature)
        });
        let (given, claimed) = (given.count(), signers.iter().count());
        given == claimed && claimed == signatures.len() && 3 * given > 2 * size
    }

    fn commit_root(&self, node: usize, root: &Root) -> Checked {
        let there = &self.chain[self.committed[node]];
        let fits = root.header.id() == there.id
            && height_number(root.header.height.get()) == self.committed[node]
            && root.exec == there.exec
            && root.lane_heads == *there.heads
            && root.parameters == there.parameters
            && root.cert.is_some();
        self.require(fits, Invariant::CommitRoot, || {
            format!("node {node} writes {root:?}, where the chain has {there:?}")
        })
    }

    /// [`Invariant::NoAlarm`] and [`Invariant::Evidence`]. What liars raise is
    /// worth nothing.
    pub(crate) fn on_alarm(&mut self, node: usize, alarm: &Alarm) -> Checked {
        if self.liars.contains(&node) {
            return Ok(());
        }
        let text = format!("node {node}: {alarm:?}");
        if let Alarm::Equivocation(evidence) = alarm {
            let accused = self.accused(evidence);
            if let Some(liar) = accused.filter(|accused| self.liars.contains(accused)) {
                self.named.insert(liar);
                return Ok(());
            }
            self.breach(Invariant::Evidence, || text.clone())?;
        } else if let Alarm::VersionUnknown(activation) = alarm
            && activation.version == ledger::NEXT_VERSION
        {
            // Whoever should know it must commit after healing.
            self.aware_of_version.insert(node);
            return Ok(());
        } else if let Alarm::NoSafetyRecord { key, .. } = alarm
            && let Some(is_aware) = self.amnesiacs.get_mut(key)
        {
            *is_aware = true;
            return Ok(());
        } else {
            self.breach(Invariant::NoAlarm, || text.clone())?;
        }
        self.alarms.push(text);
        Ok(())
    }

    /// Whom evidence proves guilty, if it proves anything.
    fn accused(&self, evidence: &Evidence) -> Option<usize> {
        let chain_id = &self.chain_id;
        let (era, one, other, excludes) = match evidence {
            Evidence::Votes(one, other) => {
                let same = (one.vote.era, one.vote.view) == (other.vote.era, other.vote.view);
                (one.vote.era, one.signer, other.signer, same && one.vote != other.vote)
            }
            Evidence::CommitVotes(one, other) => {
                let same = (one.vote.era, one.vote.view) == (other.vote.era, other.vote.view);
                (one.vote.era, one.signer, other.signer, same && one.vote != other.vote)
            }
            Evidence::Timeouts(one, other) => {
                let (first, second) = (one.timeout, other.timeout);
                let same = (first.era, first.view) == (second.era, second.view);
                (first.era, one.signer, other.signer, same && first != second)
            }
            Evidence::Proposals(one, other) => {
                let (first, second) = (one.block.header(), other.block.header());
                let same = (first.era, first.view) == (second.era, second.view);
                (first.era, first.proposer, second.proposer, same && first != second)
            }
            Evidence::Batches(one, other) => {
                let (first, second) = (one.header(), other.header());
                let differ = first.digest(chain_id) != second.digest(chain_id);
                let same = (first.author, first.lane_seq) == (second.author, second.lane_seq);
                return self.members.owner(&first.author).filter(|_| same && differ);
            }
            Evidence::HiddenQc(vote, timeout) => {
                let (view, left) = (vote.vote.view, timeout.timeout);
                let same = vote.vote.era == left.era;
                let hides = left.high_qc_view < view && view <= left.view;
                (left.era, vote.signer, timeout.signer, same && hides)
            }
            Evidence::OtherExec(vote, cert) => {
                let (one, other) = (vote.vote, cert.vote);
                let differs = one.block == other.block && one.exec != other.exec;
                let excludes = differs && self.is_signed_by_quorum(cert);
                (one.era, vote.signer, vote.signer, excludes)
            }
        };
        self.members.node(era, one).filter(|_| excludes && one == other)
    }

    /// [`Invariant::LiarsAreNamed`]: a node has taken in what a peer sent. The
    /// first message counts while the node keeps it: near its view, or after
    /// the head of the lane.
    pub(crate) fn on_heard(&mut self, node: usize, input: &Input) -> Checked {
        if self.liars.contains(&node) {
            return Ok(());
        }
        // Where validators lie there is but one era.
        let Some(current) = self.safety[node].values().next_back().map(|it| it.current_view) else {
            return Ok(());
        };
        let era = Era::new(1);
        let node_at = |place: ValidatorIndex| self.members.node(era, place);
        let is_near = |view: View| {
            view.get() <= current.get() + HEARD_VIEWS_AHEAD
                && view.get() + HEARD_VIEWS_BEHIND >= current.get()
        };
        let chain_id = &self.chain_id;
        let (statement, signer, place, signed, is_kept) = match input {
            Input::Proposal(it) => {
                let header = it.get().block.header();
                let id = it.get().block.id().0;
                let is_kept = header.view == current;
                (Statement::Proposal, node_at(header.proposer), header.view.get(), id, is_kept)
            }
            Input::Vote(it) => {
                let (vote, signer) = (it.get().vote, node_at(it.get().signer));
                let signed = hash(&vote.signed_bytes(chain_id));
                (Statement::Vote, signer, vote.view.get(), signed, is_near(vote.view))
            }
            Input::CommitVote(it) => {
                let (vote, signer) = (it.get().vote, node_at(it.get().signer));
                let signed = hash(&vote.signed_bytes(chain_id));
                (Statement::CommitVote, signer, vote.view.get(), signed, is_near(vote.view))
            }
            Input::Timeout(it) => {
                let (timeout, signer) = (it.get().timeout, node_at(it.get().signer));
                let signed = hash(&timeout.signed_bytes(chain_id));
                (Statement::Timeout, signer, timeout.view.get(), signed, is_near(timeout.view))
            }
            Input::Batch(it) => {
                let header = it.get().header();
                let author = self.members.owner(&header.author);
                let heads = &self.chain[self.committed[node]].heads;
                let head = heads.get(&header.author).map(|(seq, _)| *seq).unwrap_or_default();
                let place = header.lane_seq.get();
                let is_kept = header.lane_seq > head;
                (Statement::Batch, author, place, header.digest(chain_id).0, is_kept)
            }
            _ => return Ok(()),
        };
        let Some(signer) = signer else { return Ok(()) };
        if !is_kept || !self.liars.contains(&signer) {
            return Ok(());
        }
        if let Input::Batch(it) = input {
            let letters = letters_of(it.get().header());
            self.batch_letters.entry(node).or_default().insert(BatchDigest(signed), letters);
        }
        let before = *self.heard.entry((node, statement, signer, place)).or_insert(signed);
        let is_named = before == signed || self.named.contains(&signer);
        self.require(is_named, Invariant::LiarsAreNamed, || {
            format!(
                "node {node} heard two of {statement:?} {place} of {signer} and does not say so: \
                 {input:?}"
            )
        })
    }

    /// [`Invariant::Bounded`]: a node asks a question.
    pub(crate) fn on_ask(&mut self, node: usize, now_micros: u64) -> Checked {
        let count = self.asks.entry(node).or_default().add(now_micros);
        let is_bounded = count <= ASKS_PER_SECOND_MAX || self.liars.contains(&node);
        self.require(is_bounded, Invariant::Bounded, || {
            format!("node {node} asks {count} questions in a second")
        })
    }

    /// [`Invariant::Bounded`]: a node sends a certificate to one peer alone.
    pub(crate) fn on_answer(&mut self, node: usize, peer: usize, now_micros: u64) -> Checked {
        let count = self.answers.entry((node, peer)).or_default().add(now_micros);
        let is_bounded = count <= ANSWERS_PER_SECOND_MAX || self.liars.contains(&node);
        self.require(is_bounded, Invariant::Bounded, || {
            format!("node {node} answers {peer} {count} times in a second")
        })
    }

    /// [`Invariant::Bounded`]: what a replica keeps that has nothing to do. All
    /// batches of honest nodes are final then. As text it is as long as all its
    /// maps and queues together.
    pub(crate) fn on_rest(&self, node: usize, replica: &Replica) -> Checked {
        let of_liars: usize = self.batch_letters.get(&node).map_or(0, |all| all.values().sum());
        let batches = of_liars + self.lapsed_letters();
        let text = format!("{replica:?}");
        let size = self.members.committee(self.members.newest()).size();
        for kind in ["SignedVote {", "SignedCommitVote {"] {
            let count = text.matches(kind).count();
            self.require(count <= VOTES_KEPT_VIEWS_MAX * size, Invariant::Bounded, || {
                format!("node {node} keeps {count} of {kind}")
            })?;
        }
        let held = text.len();
        self.require(held <= HELD_LETTERS_MAX + batches, Invariant::Bounded, || {
            format!("node {node} keeps {held} letters, where batches account for {batches}")
        })
    }

    /// Letters of batches that lapsed with their author's seat. The author keeps
    /// them in case it comes back, the others for one era, in which they may
    /// still be cited.
    fn lapsed_letters(&self) -> usize {
        let lapsed = self.batches.values().filter(|batch| {
            !self.is_of_liar(batch.header())
                && batch.records().first().is_some_and(|record| {
                    self.fates.get(record_number(&record.bytes)) == Some(&Fate::Lapsed)
                })
        });
        lapsed.map(|batch| letters_of(batch.header())).sum()
    }

    fn is_of_liar(&self, header: &BatchHeader) -> bool {
        self.members.owner(&header.author).is_some_and(|author| self.liars.contains(&author))
    }

    // ---- what becomes durable ----

    /// A batch is synced at its author: its records are accepted.
    pub(crate) fn on_accepted(&mut self, batch: Arc<SignedBatch>) -> Checked {
        if self.is_of_liar(batch.header()) {
            self.batches.insert(batch.header().digest(&self.chain_id), batch);
            return Ok(());
        }
        let above = self.batches.get(&batch.header().previous);
        let above = above.and_then(|above| above.records().first());
        let above = above.map(|record| self.fates[record_number(&record.bytes)]);
        let accepted = fate_of(&self.members, batch.header(), above);
        for record in batch.records().iter() {
            let number = record_number(&record.bytes);
            let fate = self.fates[number];
            self.require(fate == Fate::Injected, Invariant::RecordOnce, || {
                format!("record {number} is accepted and was {fate:?} before")
            })?;
            self.fates[number] = accepted;
            self.accepted += usize::from(accepted == Fate::Accepted);
        }
        self.batches.insert(batch.header().digest(&self.chain_id), batch);
        Ok(())
    }

    // ---- what leaves ----

    /// Something leaves a node, signed and verified.
    pub(crate) fn on_sent(&mut self, node: usize, input: &Input, disk: &Disk) -> Checked {
        if self.liars.contains(&node) {
            self.on_lie_sent(node, input);
            return Ok(());
        }
        let of = |era| self.members.seat(era, node).map(|(_, key)| key);
        let key = match input {
            Input::Proposal(it) => of(it.get().block.header().era),
            Input::Vote(it) => of(it.get().vote.era),
            Input::CommitVote(it) => of(it.get().vote.era),
            Input::Timeout(it) => of(it.get().timeout.era),
            Input::Batch(it) => Some(it.get().header().author),
            _ => None,
        };
        let is_lost = key.is_some_and(|key| self.amnesiacs.contains_key(&key));
        self.require(!is_lost, Invariant::Amnesia, || {
            format!("node {node} has lost the safety records of {key:?} and signs {input:?}")
        })?;
        match input {
            Input::Proposal(it) => self.on_proposal_sent(node, &it.get().block, disk),
            Input::Vote(it) => self.on_vote_sent(node, it.get(), disk),
            Input::CommitVote(it) => self.on_commit_vote_sent(node, it.get(), disk),
            Input::Timeout(it) => self.on_timeout_sent(node, it.get(), disk),
            Input::Batch(it) => self.on_batch_sent(node, it.get(), disk),
            Input::BatchAck(it) => self.on_ack_sent(node, &it.get().message, disk),
            _ => Ok(()),
        }
    }

    fn note_view(&mut self, era: Era, view: View) {
        let highest = self.highest_views.entry(era).or_default();
        *highest = view.max(*highest);
    }

    /// Notes what others may use of what a liar signs.
    fn on_lie_sent(&mut self, node: usize, input: &Input) {
        match input {
            Input::Vote(it) => {
                self.votes_of_liars.insert((node, it.get().vote));
            }
            Input::Timeout(it) => {
                self.timeouts_of_liars.insert((node, it.get().timeout));
            }
            Input::CommitVote(it) => {
                let SignedCommitVote { vote, signature, .. } = *it.get();
                self.commit_votes_of_liars.insert((node, vote), signature);
            }
            Input::Batch(it) => {
                let batch = it.get();
                let digest = batch.header().digest(&self.chain_id);
                self.batches.entry(digest).or_insert_with(|| Arc::new(batch.clone()));
            }
            _ => {}
        }
    }

    /// A proposal leaves: [`Invariant::OneVoice`], [`Invariant::PersistBeforeSend`].
    fn on_proposal_sent(&mut self, node: usize, block: &Block, disk: &Disk) -> Checked {
        let header = block.header();
        let key = (header.era, header.view);
        self.note_view(header.era, header.view);
        let before = *self.voices[node].proposals.entry(key).or_insert(block.id());
        self.one_voice(node, before == block.id(), || (before, block.id()))?;
        self.one_leader(node, block)?;
        let safety = self.durable_safety(node, disk, header.era)?;
        let durable = safety.is_some_and(|record| {
            covers(record.last_proposal, header.view, (header.view, block.id()))
        });
        // A commit in the same sync may have decided against the block.
        let stored = disk.stored();
        let is_decided =
            is_decided(stored, header.era) || stored.root.header.height >= header.height;
        let is_stored = is_decided || stored.block(&block.id()).is_some();
        self.synced(node, durable && is_stored, block.id())
    }

    /// A vote leaves: as above, and the block and all that it cites are synced.
    fn on_vote_sent(&mut self, node: usize, sent: &SignedVote, disk: &Disk) -> Checked {
        let vote = sent.vote;
        self.note_view(vote.era, vote.view);
        let before = *self.voices[node].votes.entry((vote.era, vote.view)).or_insert(vote.block);
        self.one_voice(node, before == vote.block, || (before, vote.block))?;
        let safety = self.durable_safety(node, disk, vote.era)?;
        let durable =
            safety.is_some_and(|record| newer(record.last_voted, |it| it.view, vote, vote.view));
        self.synced(node, durable, vote)?;
        let Some(block) = disk.stored().block(&vote.block) else {
            // A vote that was given again after a newer block was committed.
            let stored = disk.stored();
            let head = stored.root.header;
            let is_past =
                is_decided(stored, vote.era) || head.era == vote.era && head.view >= vote.view;
            return self.synced(node, is_past, vote);
        };
        self.voted_block(node, block)?;
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
    fn on_commit_vote_sent(
        &mut self,
        node: usize,
        sent: &SignedCommitVote,
        disk: &Disk,
    ) -> Checked {
        let vote = sent.vote;
        self.note_view(vote.era, vote.view);
        let voice = &mut self.voices[node];
        let signed = (vote, sent.signature);
        let before = voice.commit_votes.entry((vote.era, vote.view)).or_insert(signed).0;
        let hides = voice
            .timeouts
            .range((vote.era, vote.view)..(vote.era.next(), View::ZERO))
            .any(|(_, high_qc_view)| *high_qc_view < vote.view);
        self.one_voice(node, before == vote, || (before, vote))?;
        let result = *self.results.entry(vote.block).or_insert(vote.exec);
        self.require(result == vote.exec, Invariant::Execution, || {
            format!("node {node} executed to {:?}, another to {result:?}", vote.exec)
        })?;
        self.hidden(node, hides, vote)?;
        let safety = self.durable_safety(node, disk, vote.era)?;
        let durable = safety.is_some_and(|record| {
            newer(record.last_commit_vote, |it| it.view, vote, vote.view)
                && record.high_qc.vote.view >= vote.view
        });
        self.synced(node, durable, vote)
    }

    /// A timeout leaves: as above.
    fn on_timeout_sent(&mut self, node: usize, sent: &SignedTimeout, disk: &Disk) -> Checked {
        let Timeout { era, view, high_qc_view } = sent.timeout;
        self.note_view(era, view);
        let voice = &mut self.voices[node];
        let before = *voice.timeouts.entry((era, view)).or_insert(high_qc_view);
        let hides =
            voice.commit_votes.range((era, high_qc_view.next())..=(era, view)).next().is_some();
        self.one_voice(node, before == high_qc_view, || (before, high_qc_view))?;
        self.hidden(node, hides, sent.timeout)?;
        let entry = sent.entry_tc.as_ref().map_or(high_qc_view, |tc| tc.view);
        self.require(Some(entry) == view.previous(), Invariant::WellFormed, || {
            format!("node {node} leaves {view} without the certificate of its entry")
        })?;
        let safety = self.durable_safety(node, disk, era)?;
        let durable = safety.is_some_and(|record| {
            let last = record.last_timeout.as_ref().map(|(timeout, _)| *timeout);
            newer(last, |it| it.view, sent.timeout, view)
        });
        self.synced(node, durable, sent.timeout)
    }

    /// A batch leaves: as above.
    fn on_batch_sent(&mut self, node: usize, batch: &SignedBatch, disk: &Disk) -> Checked {
        let header = batch.header();
        let digest = header.digest(&self.chain_id);
        let before =
            *self.voices[node].batches.entry((header.author, header.lane_seq)).or_insert(digest);
        self.one_voice(node, before == digest, || (before, digest))?;
        let durable = disk.stored().batch(header).is_some();
        self.synced(node, durable, header)
    }

    /// An acknowledgement leaves: the batch is synced.
    fn on_ack_sent(&self, node: usize, ack: &BatchAck, disk: &Disk) -> Checked {
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
        let seat = self.members.seat(era, node);
        let record = seat.and_then(|(_, key)| disk.stored().safety.get(&(era, key)));
        self.synced(node, record.is_some(), era)?;
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

impl Rate {
    /// One more; how many there were in this second.
    const fn add(&mut self, now_micros: u64) -> u64 {
        let second = now_micros / 1_000_000;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Letters that it takes at most to write a batch down.
fn letters_of(header: &BatchHeader) -> usize {
    BATCH_LETTERS_PER_BYTE * header.records_bytes as usize + BATCH_LETTERS
}

/// What an accepted batch that is not final may hope for: a member's for ever,
/// that of whoever has left for one era more, if that before it in the lane may.
fn fate_of(members: &Members, header: &BatchHeader, above: Option<Fate>) -> Fate {
    let newest = members.newest();
    let is_member = members.committee(newest).index_of(&header.author).is_some();
    let is_timely = is_member || header.era.next() >= newest;
    if is_timely && above != Some(Fate::Lapsed) { Fate::Accepted } else { Fate::Lapsed }
}

/// Whether the committed head is of a later era, or ended this one: then all
/// blocks of it are decided.
fn is_decided(stored: &Stored, era: Era) -> bool {
    let head = stored.root.header.era;
    head > era || head == era && stored.root.opening.is_some()
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

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// The number that the workload wrote at the start of a record.
pub(crate) fn record_number(bytes: &[u8]) -> usize {
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
    use bizra_consensus::{EpochState, Opening, Recipients, Versions};
    use bizra_types::batch::BatchRecord;
    use bizra_types::block::{BlockContent, Citation, Closes};
    use bizra_types::certificate::Certificate;
    use bizra_types::committee::SignerSet;
    use bizra_types::numbers::{Height as BlockHeight, TimestampMs};

    const ERA: Era = Era::new(1);

    /// A chain of four validators, built by hand.
    struct World {
        keyring: Keyring,
        oracles: Oracles,
    }

    impl World {
        fn new() -> Self {
            let keyring = Keyring::new(1, 4, Parameters::default(), true);
            let oracles = Oracles::new(&keyring, Vec::new(), BTreeSet::new());
            Self { keyring, oracles }
        }

        /// A block in a view, on a parent of the view before.
        fn block(&self, height: u64, view: u64, parent: BlockId, cites: &[Citation]) -> Block {
            Block::new(self.content(height, view, parent, cites))
        }

        fn content(
            &self,
            height: u64,
            view: u64,
            parent: BlockId,
            cites: &[Citation],
        ) -> BlockContent {
            let mut justify = Qc::root(ERA, parent, 4);
            justify.vote.view = View::new(view - 1);
            BlockContent {
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
            }
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
                .map(|node| self.keyring.sign(ERA, *node, &vote.signed_bytes(&chain_id)))
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
                versions: Versions::of(block.header().protocol_version),
                parameters: Parameters::default(),
                opening: None,
            };
            Commit { blocks: vec![(block.clone(), exec)], cert, root }
        }

        fn empty_exec() -> ExecHash {
            ledger::fields(ledger::genesis_exec(), BlockHeight::new(1), &[]).hash()
        }
    }

    fn broken(checked: Checked) -> Option<Invariant> {
        checked.err().map(|breach| breach.invariant)
    }

    /// A world with a block that ends the era, its exec, and who takes over.
    fn closing_world() -> (World, Block, ExecHash, Arc<Committee>) {
        let mut world = World::new();
        let genesis = world.genesis();
        let author = world.keyring.genesis().committee.key(index(2)).expect("four validators");
        let number = world.oracles.new_record();
        for choice in 0.. {
            let mut bytes = vec![0; ledger::CHANGE_BYTES];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            ledger::write_change(&mut bytes, ledger::Change::Committee, choice);
            let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: bytes.into() };
            let records: Arc<[BatchRecord]> = Arc::new([record]);
            let seq = LaneSeq::new(1);
            let header = BatchHeader::new(ERA, author, seq, BatchDigest::ZERO, &records);
            let digest = header.digest(&world.keyring.chain_id());
            let batch = Arc::new(world.keyring.sign_batch(header, records));
            let block = world.block(1, 1, genesis, &[Citation { author, up_to_seq: seq, digest }]);
            let batches = [Arc::clone(&batch)];
            let decisions = ledger::decisions(world.keyring.members(), block.header(), &batches);
            let Some(next) = decisions.next_committee else { continue };
            assert_eq!(world.oracles.on_accepted(batch), Ok(()));
            let exec =
                ledger::fields(ledger::genesis_exec(), block.header().height, &batches).hash();
            return (world, block, exec, next);
        }
        unreachable!("some choice changes the committee")
    }

    #[test]
    fn all_hand_over_with_the_same_block_and_to_the_same_committee() {
        let next_of = |opened: &dyn Fn(Arc<Committee>) -> Option<Arc<Committee>>| {
            let (mut world, block, exec, next) = closing_world();
            let mut commit = world.commit(&block, exec, &[0, 1, 2]);
            let opening = |committee| Opening { committee, filler: None };
            commit.root.opening = opened(next).map(opening);
            broken(world.oracles.on_commit(0, &commit))
        };
        assert_eq!(next_of(&|next| Some(next)), None);
        assert_eq!(next_of(&|_| None), Some(Invariant::Handover), "the era goes on");
        let first = Arc::clone(&World::new().keyring.genesis().committee);
        let other = next_of(&|_| Some(Arc::clone(&first)));
        assert_eq!(other, Some(Invariant::Handover), "another committee");
    }

    #[test]
    fn a_filler_makes_what_it_closes_final_and_never_itself() {
        let (mut world, block, exec, next) = closing_world();
        let closes = Some(Closes { block: block.id(), exec });
        let content = world.content(1, 2, block.id(), &[]);
        let filler = Block::new(BlockContent { closes, ..content });
        let on_filler = world.commit(&filler, exec, &[0, 1, 2]);
        let mut commit = world.commit(&block, exec, &[0, 1, 2]);
        let opening = Opening { committee: next, filler: Some(*filler.header()) };
        commit.root.opening = Some(opening);
        let plain = broken(world.oracles.on_commit(0, &commit));
        assert_eq!(plain, Some(Invariant::CommitCertificate), "it is not of the filler");
        commit.cert = on_filler.cert.clone();
        assert_eq!(world.oracles.on_commit(1, &commit), Ok(()));

        let mut world = World::new();
        let closes = Some(Closes { block: world.genesis(), exec: World::empty_exec() });
        let content = world.content(1, 1, world.genesis(), &[]);
        let filler = Block::new(BlockContent { closes, ..content });
        let commit = world.commit(&filler, World::empty_exec(), &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(0, &commit)), Some(Invariant::Handover));
    }

    #[test]
    fn a_block_of_a_version_that_is_not_in_force_is_seen() {
        let mut world = World::new();
        let content = world.content(1, 1, world.genesis(), &[]);
        let protocol_version = ledger::NEXT_VERSION;
        let block = Block::new(BlockContent { protocol_version, ..content });
        let commit = world.commit(&block, World::empty_exec(), &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(0, &commit)), Some(Invariant::Version));
    }

    #[test]
    fn nothing_of_an_ended_era_is_signed_or_recorded() {
        let (mut world, block, exec, next) = closing_world();
        let cert = world.commit(&block, exec, &[0, 1, 2]).cert;
        let closed = ClosedEra { era: ERA, next, certificate: Certificate::Commit(cert) };
        let send = |era| {
            let message = Outgoing::Vote(Vote { era, ..vote(5) });
            [Send { to: Recipients::All, message }]
        };
        assert_eq!(world.oracles.on_decided(1, &send(ERA)), Ok(()));
        assert_eq!(world.oracles.on_closed(1, &closed), Ok(()));
        let found = broken(world.oracles.on_decided(1, &send(ERA)));
        assert_eq!(found, Some(Invariant::EndedEra));
        let found = broken(world.oracles.on_safety(1, key_of(1), &record(5, 4)));
        assert_eq!(found, Some(Invariant::EndedEra));
        assert_eq!(world.oracles.on_decided(1, &send(ERA.next())), Ok(()));
        assert_eq!(world.oracles.on_decided(2, &send(ERA)), Ok(()), "another node");
    }

    #[test]
    fn a_signature_without_safety_records_is_seen() {
        let mut world = World::new();
        let root = Root::genesis(world.keyring.genesis(), ledger::genesis_exec());
        let key = key_of(1);
        let voted = SafetyRecord { last_voted: Some(vote(5)), ..record(5, 4) };
        let disk = Disk::new(root, &[key], &voted);
        world.oracles.muted = vec![Invariant::PersistBeforeSend];
        let sent = signed(&mut world, 1, vote(5));
        let input = Input::Vote(world.keyring.verifier().vote(sent).expect("signed above"));
        assert_eq!(world.oracles.on_sent(1, &input, &disk), Ok(()));
        world.oracles.on_amnesia(vec![key]);
        let found = broken(world.oracles.on_sent(1, &input, &disk));
        assert_eq!(found, Some(Invariant::Amnesia));
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
            let batch = Arc::new(world.keyring.sign_batch(header, records));
            assert_eq!(world.oracles.on_accepted(Arc::clone(&batch)), Ok(()));
            batches.push(batch);
        }
        assert_eq!(world.oracles.unfinal(), 2);
        let found = broken(world.oracles.on_accepted(Arc::clone(&batches[0])));
        assert_eq!(found, Some(Invariant::RecordOnce));

        let citation = Citation { author, up_to_seq: LaneSeq::new(2), digest: previous };
        let wrong = Citation { up_to_seq: LaneSeq::new(1), ..citation };
        let block = world.block(1, 1, genesis, &[wrong]);
        let exec = ledger::fields(ledger::genesis_exec(), block.header().height, &batches).hash();
        let commit = world.commit(&block, exec, &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(0, &commit)), Some(Invariant::Execution));

        let block = world.block(1, 1, genesis, &[citation]);
        let commit = world.commit(&block, exec, &[0, 1, 2]);
        assert_eq!(world.oracles.on_commit(0, &commit), Ok(()));
        assert_eq!((world.oracles.unfinal(), world.oracles.finals()), (0, 2));

        let other = world.commit(&block, World::empty_exec(), &[0, 1, 2]);
        assert_eq!(broken(world.oracles.on_commit(1, &other)), Some(Invariant::Agreement));
    }

    /// The key of a node in the first committee.
    fn key_of(node: usize) -> PublicKey {
        crate::keys::committee(4).key(index(node)).expect("four validators")
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
            // The certificates here have no signatures.
            world.oracles.muted = vec![Invariant::Certificates];
            world.oracles.safety[1] = BTreeMap::from([((ERA, key_of(1)), old)]);
            let expected = (!is_allowed).then_some(Invariant::SafetyRecord);
            assert_eq!(broken(world.oracles.on_safety(1, key_of(1), &new)), expected, "{name}");
        }
    }

    #[test]
    fn a_certificate_that_a_quorum_did_not_sign_is_seen() {
        let cases = [
            (5, 3, None),
            (6, 3, Some(Invariant::Certificates)),
            (5, 2, Some(Invariant::Certificates)),
        ];
        for (view, signers, expected) in cases {
            let mut world = World::new();
            for node in 0..3 {
                world.oracles.voices[node].votes.insert((ERA, View::new(5)), vote(5).block);
            }
            world.oracles.safety[1] = BTreeMap::from([((ERA, key_of(1)), record(5, 4))]);
            let high_qc = Qc {
                vote: vote(view),
                signers: SignerSet::of(4, (0..signers).map(index)),
                signatures: Vec::new(),
            };
            let new = SafetyRecord { high_qc, ..record(view + 1, 4) };
            let found = broken(world.oracles.on_safety(1, key_of(1), &new));
            assert_eq!(found, expected, "{signers} of view 5 for view {view}");
        }
    }

    #[test]
    fn a_view_that_was_entered_by_no_certificate_is_seen() {
        let mut world = World::new();
        world.oracles.safety[1] = BTreeMap::from([((ERA, key_of(1)), record(5, 4))]);
        let found = broken(world.oracles.on_safety(1, key_of(1), &record(7, 4)));
        assert_eq!(found, Some(Invariant::SafetyRecord));
    }

    #[test]
    fn a_vote_needs_a_quorum_that_left_with_nothing_later() {
        let content = |world: &World| {
            let mut content = world.content(1, 5, world.genesis(), &[]);
            content.justify.vote.view = View::new(2);
            content
        };
        let cases = [
            (&[2, 2, 2][..], None),
            (&[1, 2, 0], None),
            (&[2, 2, 3], Some(Invariant::Justification)),
            (&[2, 2], Some(Invariant::Justification)),
        ];
        for (high_qc_views, expected) in cases {
            let mut world = World::new();
            for (node, view) in high_qc_views.iter().enumerate() {
                world.oracles.voices[node].timeouts.insert((ERA, View::new(4)), View::new(*view));
            }
            let block = Block::new(content(&world));
            assert_eq!(broken(world.oracles.voted_block(1, &block)), expected, "{high_qc_views:?}");
        }
    }

    #[test]
    fn two_leaders_of_one_view_on_one_parent_are_seen() {
        let mut world = World::new();
        let content = world.content(1, 1, world.genesis(), &[]);
        let other = BlockContent { proposer: index(2), ..content.clone() };
        assert_eq!(world.oracles.one_leader(1, &Block::new(content.clone())), Ok(()));
        assert_eq!(world.oracles.one_leader(2, &Block::new(content)), Ok(()));
        let found = broken(world.oracles.one_leader(3, &Block::new(other)));
        assert_eq!(found, Some(Invariant::OneLeader));
    }

    #[test]
    fn two_things_in_one_view_and_a_hidden_certificate_are_heard() {
        let mut world = World::new();
        let root = Root::genesis(world.keyring.genesis(), ledger::genesis_exec());
        let disk = Disk::new(root, &[key_of(1)], &record(1, 0));
        // The timeouts here carry no TC.
        world.oracles.muted = vec![Invariant::PersistBeforeSend, Invariant::WellFormed];
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
        let disk = Disk::new(root, &[key_of(1)], &record(1, 0));
        let sent = SignedVote { vote: vote(5), signer: index(1), signature: Signature([0; 64]) };
        let found = broken(world.oracles.on_vote_sent(1, &sent, &disk));
        assert_eq!(found, Some(Invariant::PersistBeforeSend));
    }

    /// A world in which node 3 lies.
    fn world_with_a_liar() -> World {
        let keyring = Keyring::new(1, 4, Parameters::default(), false);
        let mut oracles = Oracles::new(&keyring, Vec::new(), BTreeSet::from([3]));
        oracles.safety = vec![BTreeMap::from([((ERA, key_of(1)), record(5, 4))]); 4];
        World { keyring, oracles }
    }

    fn signed(world: &mut World, node: usize, vote: Vote) -> SignedVote {
        let chain_id = world.keyring.chain_id();
        let signature = world.keyring.sign(ERA, node, &vote.signed_bytes(&chain_id));
        SignedVote { vote, signer: index(node), signature }
    }

    #[test]
    fn evidence_names_a_liar_with_two_votes_of_one_view_or_is_refused() {
        let other = Vote { block: BlockId([9; 32]), ..vote(5) };
        let cases = [
            (3, other, None, "a liar"),
            (2, other, Some(Invariant::Evidence), "an honest node"),
            (3, vote(5), Some(Invariant::Evidence), "twice the same"),
            (
                3,
                Vote { block: BlockId([9; 32]), ..vote(6) },
                Some(Invariant::Evidence),
                "two views",
            ),
        ];
        for (node, second, expected, name) in cases {
            let mut world = world_with_a_liar();
            let one = signed(&mut world, node, vote(5));
            let second = signed(&mut world, node, second);
            let alarm = Alarm::Equivocation(Box::new(Evidence::Votes(one, second)));
            assert_eq!(broken(world.oracles.on_alarm(0, &alarm)), expected, "{name}");
            assert_eq!(world.oracles.named().count(), usize::from(expected.is_none()), "{name}");
        }
    }

    #[test]
    fn a_liar_that_contradicts_itself_before_one_node_must_be_named() {
        let mut world = world_with_a_liar();
        let other = Vote { block: BlockId([9; 32]), ..vote(5) };
        let (one, second) = (signed(&mut world, 3, vote(5)), signed(&mut world, 3, other));
        let hear = |world: &mut World, node, sent| {
            let input = Input::Vote(world.keyring.verifier().vote(sent).expect("signed above"));
            broken(world.oracles.on_heard(node, &input))
        };
        assert_eq!(hear(&mut world, 0, one), None);
        assert_eq!(hear(&mut world, 1, second), None, "another node");
        assert_eq!(hear(&mut world, 0, one), None, "the same again");
        assert_eq!(hear(&mut world, 0, second), Some(Invariant::LiarsAreNamed));
        world.oracles.named.insert(3);
        assert_eq!(hear(&mut world, 0, second), None);
    }

    #[test]
    fn more_questions_than_a_node_may_ask_are_counted_by_the_second() {
        let mut world = World::new();
        for number in 0..ASKS_PER_SECOND_MAX {
            assert_eq!(world.oracles.on_ask(1, number), Ok(()));
        }
        assert_eq!(world.oracles.on_ask(1, 1_000_000), Ok(()), "another second");
        for number in 1..ASKS_PER_SECOND_MAX {
            assert_eq!(world.oracles.on_ask(1, 1_000_000 + number), Ok(()));
        }
        assert_eq!(broken(world.oracles.on_ask(1, 1_999_999)), Some(Invariant::Bounded));
    }
}
