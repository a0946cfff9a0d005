//! The replica: takes each input to the part that it concerns, then asks each
//! rule in turn whether its time has come.

use crate::block_tree::{BlockTree, Body, Execution, LaneHeads, Node, Parent};
use crate::effects::{
    Activation, Alarm, Ask, ClosedEra, Commit, Decisions, Effects, Evidence, Execute, Input, Now,
    Opening, Outgoing, Recipients, Restored, Root, SafetyRecord, Send, StartError, Time, Versions,
};
use crate::lanes::{Accepted, CitationLimits, Lanes, MissingBatches, Resolution};
use crate::pacemaker::Pacemaker;
use crate::safety::Safety;
use crate::schedule::{EpochState, Schedule};
use crate::votes::{Change, Votes, contradiction, hides};
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Block, BlockContent, Citation, Closes, Header, Reveal, SignedProposal};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::crypto::PublicKey;
use bizra_types::genesis::{Genesis, Parameters};
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash, Hash};
use bizra_types::message::{
    BatchAck, BatchHint, CommitVote, MISSING_AUTHORS_MAX, SignedCommitVote, SignedTimeout,
    SignedVote, Vote,
};
use bizra_types::numbers::{
    Epoch, Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::planted::{Bug, is_planted};
use bizra_types::verify::{From, Verified};
use bizra_types::vrf::VrfInput;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Commit certificates kept for blocks that are not here yet.
const PENDING_CERTS_MAX: usize = 64;
/// Proven contradictions that are remembered as such.
const ACCUSED_MAX: usize = 1_024;
/// Certified blocks kept whose parent is not here.
const ORPHANS_MAX: usize = 256;
/// Shortest time between two sendings of the same thing, in µs.
const REPEAT_MICROS_MIN: u64 = 200_000;
/// How long a cited batch may be on its way before it is asked for, in µs.
const ASK_BATCHES_AFTER_MICROS: u64 = 20_000;
/// How long whoever was asked for a block or batches may take before somebody
/// else is asked beside, in µs, at least; at most [`REPEAT_MICROS_MIN`].
const ASK_BESIDE_AFTER_MICROS: u64 = 20_000;
/// How long a validator waits for the block to build on, in µs, at least.
const STUCK_MICROS_MIN: u64 = 40_000;
/// How long commit votes may take before another block is made to carry the
/// certificate along, in µs, at least.
const UNFINAL_MICROS_MIN: u64 = 40_000;
/// Closed eras whose certificate is at hand for whoever still lives in them.
const CLOSED_ERAS_MAX: usize = 64;
/// A gap of so many blocks is filled by ranges instead of one by one.
const CHAIN_GAP_MIN: u64 = 3;

/// One validator's (or follower's) consensus state.
///
/// All methods are pure: `step` for everything that happens, `deadline` for
/// when to call it with [`Input::Wake`] if nothing does. The driver carries out
/// the [`Effects`] in the order of their fields before what they cause is fed
/// back in.
#[derive(Debug)]
pub struct Replica {
    chain_id: ChainId,
    /// The highest version of the protocol that this program knows.
    version_max: ProtocolVersion,
    genesis_committee: Arc<Committee>,
    /// Who orders this era.
    committee: Arc<Committee>,
    /// Consensus keys of this node, whether they stand in the committee or not.
    keys: Vec<PublicKey>,
    /// Our place in the committee of this era, if we may sign in it.
    me: Option<(ValidatorIndex, PublicKey)>,
    now: Now,

    safety: Safety,
    pacemaker: Pacemaker,
    votes: Votes,
    tree: BlockTree,
    lanes: Lanes,
    schedule: Schedule,

    /// The first proposal of each validator for the current view. Who leads it
    /// may only be known once the parent is here.
    proposals: BTreeMap<ValidatorIndex, SignedProposal>,
    hints: BTreeSet<ValidatorIndex>,
    /// When to tell the leader of something to propose, if it stays silent.
    hint_at: Option<Time>,
    /// What others hold that is citable and not here, one of each.
    hinted: BTreeMap<ValidatorIndex, MissingBatches>,
    /// When the highest QC was learnt.
    high_qc_at: Time,
    reveals: BTreeMap<(Epoch, ValidatorIndex), Reveal>,
    revealed: Option<VrfInput>,
    orphans: BTreeMap<BlockId, Block>,
    /// Blocks above the root that are on disk, or on the way there.
    stored: BTreeSet<BlockId>,
    /// Who may have a block that is not here.
    sources: BTreeMap<BlockId, Vec<ValidatorIndex>>,
    pending_certs: BTreeMap<View, Final>,
    asks: BTreeMap<Wanted, Asked>,
    /// Who was asked, and when, and had not answered when the next was asked.
    owing: BTreeMap<ValidatorIndex, Time>,
    /// While it was heard of a later era: who spoke of it.
    later_era: Option<BTreeSet<ValidatorIndex>>,
    /// When the next range of final blocks may be asked for.
    chain_next: Time,
    /// How earlier eras ended.
    closed: BTreeMap<Era, ClosedEra>,
    /// Safety records of eras after this one: the commit that ended this era
    /// was lost and comes again, and nothing may be signed before.
    later: BTreeMap<(Era, PublicKey), SafetyRecord>,
    /// Keys of this node of which it is not known any more what they signed.
    lost_keys: BTreeSet<PublicKey>,
    /// The last batch of each of our keys as of its last era: a lane goes on
    /// with its key.
    last_batches: BTreeMap<PublicKey, (LaneSeq, BatchDigest)>,
    /// Whom this replica answered with a certificate lately, and for what. By
    /// keys: the same place means somebody else in each era.
    answered: BTreeMap<(PublicKey, Answered), Time>,
    repeat_at: Option<Time>,
    /// Kind, validator and view of what was proven already.
    accused: BTreeSet<(u8, u32, u64)>,
    is_stopped: bool,
    /// Nothing more becomes final here: what comes is not taken in.
    is_halted: bool,
    /// Another replica signs with our key, and that is meant so.
    has_twin: bool,
    /// The leader computed last, for a parent and a view: it is asked for at every step.
    last_leader: Cell<Option<(BlockId, View, ValidatorIndex)>>,
}

/// What a replica is told once.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The chain's genesis: committee, parameters, time.
    pub genesis: Arc<Genesis>,
    /// This node's consensus keys: none for a follower, two while one is
    /// being replaced by the other. It signs in the eras whose committee has one.
    pub keys: Vec<PublicKey>,
    /// The highest version of the protocol that this program knows.
    pub version_max: ProtocolVersion,
}

/// The replica's state, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The era.
    pub era: Era,
    /// The view.
    pub view: View,
    /// Who leads it, if the parent is known.
    pub leader: Option<ValidatorIndex>,
    /// The VRF epoch of the view.
    pub epoch: Epoch,
    /// Height of the committed head.
    pub height: Height,
    /// The committed head.
    pub block: BlockId,
    /// Its exec.
    pub exec: ExecHash,
    /// View of the highest QC.
    pub high_qc_view: View,
    /// Who voted in this view.
    pub voted: Vec<ValidatorIndex>,
    /// Who left this view.
    pub timed_out: Vec<ValidatorIndex>,
    /// Validators heard lately.
    pub heard: Vec<ValidatorIndex>,
    /// Whether a quorum is among them.
    pub is_quorum_heard: bool,
    /// Something final elsewhere is not here.
    pub is_behind: bool,
    /// Signs nothing any more, because a quorum executed something else.
    pub is_stopped: bool,
    /// Bytes of our own records that are not final.
    pub lane_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Batches(MissingBatches),
    Block(BlockId),
    Chain(BlockId),
    End,
}

/// What a peer is answered for: each kind has a pace of its own, so that an
/// answer to the one is no reason to leave the other unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answered {
    OldView,
    CommitVote,
    OldEra,
}

/// A commit certificate, and the header of the filler that it names, if it
/// names one that is not here.
#[derive(Clone, Debug)]
struct Final {
    cert: CommitCert,
    filler: Option<Header>,
}

impl Final {
    fn certificate(&self) -> Certificate {
        match self.filler {
            Some(header) => Certificate::Filler(self.cert.clone(), header),
            None => Certificate::Commit(self.cert.clone()),
        }
    }
}

/// The last batch of each of this node's keys: each is on disk until a final
/// block cites it.
fn last_batches(
    config: &ReplicaConfig,
    root: &Root,
    batches: &[Arc<SignedBatch>],
) -> BTreeMap<PublicKey, (LaneSeq, BatchDigest)> {
    let chain_id = config.genesis.chain_id();
    let mut last_batches = BTreeMap::new();
    for key in &config.keys {
        let own = batches.iter().map(|batch| batch.header()).filter(|it| it.author == *key);
        let own = own.map(|header| (header.lane_seq, header.digest(&chain_id)));
        let head = root.lane_heads.get(key).copied();
        if let Some(last) = own.chain(head).max_by_key(|(seq, _)| *seq) {
            last_batches.insert(*key, last);
        }
    }
    last_batches
}

/// The keys of this node of which it is not known any more what they signed:
/// those without the record of the last era in which they had a seat, or without
/// any. An era counts from the write on that began it, which held the record too.
fn lost_keys(config: &ReplicaConfig, restored: &Restored) -> BTreeSet<PublicKey> {
    if is_planted(Bug::AnySafetyRecord) && !restored.safety.is_empty() {
        return BTreeSet::new();
    }
    let is_lost = |key: &PublicKey| {
        let later = restored.closed.iter().map(|closed| (closed.era.next(), &closed.next));
        let last = core::iter::once((Era::new(1), &config.genesis.committee))
            .chain(later)
            .filter(|(_, committee)| committee.index_of(key).is_some())
            .map(|(era, _)| era)
            .max()
            .unwrap_or_default();
        !restored.safety.iter().any(|(of, record)| of == key && record.era >= last)
    };
    config.keys.iter().copied().filter(is_lost).collect()
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    attempts: usize,
    last: Option<(ValidatorIndex, Time)>,
    next: Time,
}

impl Root {
    /// Where a new chain starts. `exec` is that of the genesis block.
    #[must_use]
    pub fn genesis(genesis: &Genesis, exec: ExecHash) -> Self {
        Self {
            header: genesis.header(),
            exec,
            lane_heads: BTreeMap::new(),
            epoch: EpochState::genesis(&genesis.chain_id()),
            cert: None,
            versions: Versions::of(genesis.protocol_version),
            parameters: genesis.parameters,
            opening: None,
        }
    }
}

impl Replica {
    /// A replica that goes on from what is on disk, with what must be sent
    /// again: the same messages, never different ones.
    ///
    /// # Errors
    /// When it is not on disk how an era before that of the head ended.
    ///
    /// # Panics
    /// When what was restored contradicts itself.
    pub fn new(
        config: &ReplicaConfig,
        restored: Restored,
        now: Now,
    ) -> Result<(Self, Effects), StartError> {
        let genesis = &config.genesis;
        let chain = restored.chain(genesis)?;
        let era = chain.newest();
        let context = chain.era(era).expect("the newest is known");
        let committee = Arc::clone(&context.committee);
        let lost_keys = lost_keys(config, &restored);
        let lost_end = restored.lost_end();
        let Restored { safety: records, root, closed, blocks, batches } = restored;
        let closed = closed.into_iter().chain(lost_end.clone());
        let closed: BTreeMap<_, _> = closed.map(|closed| (closed.era, closed)).collect();
        let mut records: BTreeMap<_, _> =
            records.into_iter().map(|(key, record)| ((record.era, key), record)).collect();
        let later = records.split_off(&(era.next(), PublicKey([0; 32])));
        let last_batches = last_batches(config, &root, &batches);
        let key = config.keys.iter().copied().find(|key| committee.index_of(key).is_some());
        let safety = match key.and_then(|key| records.remove(&(era, key))) {
            Some(record) => Safety::restored(record),
            None => {
                let last_batch = key.and_then(|key| last_batches.get(&key)).copied();
                Safety::begun(Qc::root(era, context.root, committee.size()), last_batch)
            }
        };
        let schedule =
            Schedule::new(genesis.chain_id(), genesis.time_ms, genesis.parameters.vrf_epoch_ms);
        let child_epoch = root.epoch.enter(schedule.epoch_after(root.header.timestamp_ms));
        let mut replica = Self {
            chain_id: genesis.chain_id(),
            version_max: config.version_max,
            pacemaker: Pacemaker::new(
                root.parameters,
                committee.size(),
                committee.quorum(),
                None,
                now.time,
            ),
            genesis_committee: Arc::clone(&genesis.committee),
            committee,
            keys: config.keys.clone(),
            me: None,
            now,
            safety,
            votes: Votes::default(),
            tree: BlockTree::new(root, child_epoch),
            lanes: Lanes::new(genesis.chain_id()),
            schedule,
            proposals: BTreeMap::new(),
            hints: BTreeSet::new(),
            hint_at: None,
            hinted: BTreeMap::new(),
            high_qc_at: now.time,
            reveals: BTreeMap::new(),
            revealed: None,
            orphans: BTreeMap::new(),
            stored: blocks.iter().map(Block::id).collect(),
            sources: BTreeMap::new(),
            pending_certs: BTreeMap::new(),
            asks: BTreeMap::new(),
            owing: BTreeMap::new(),
            later_era: None,
            chain_next: now.time,
            closed,
            later,
            lost_keys,
            last_batches,
            answered: BTreeMap::new(),
            repeat_at: None,
            accused: BTreeSet::new(),
            is_stopped: false,
            is_halted: false,
            has_twin: false,
            last_leader: Cell::new(None),
        };
        let mut effects = Effects::default();
        effects.persist.closed.extend(lost_end);
        for batch in &batches {
            let heads = &replica.tree.root().lane_heads;
            let _ = replica.lanes.accept(heads, batch, true);
        }
        let lapsed = replica.lanes.begin_era(era, &replica.committee, &replica.keys);
        effects.persist.lapsed_batches.extend(lapsed);
        replica.take_seat(&mut effects);
        replica.pacemaker.seat(replica.me.map(|(me, _)| me));
        if let Some(closed) = replica.closed.get(&era) {
            let lost = closed.certificate.clone();
            replica.on_certificate(&mut effects, lost);
        }
        let mut blocks = blocks;
        blocks.sort_by_key(|block| block.header().height);
        for block in blocks {
            replica.insert_block(&mut effects, block);
        }
        replica.resend(&mut effects);
        replica.progress(&mut effects);
        replica.finish(&mut effects);
        Ok((replica, effects))
    }

    /// Handles one input.
    pub fn step(&mut self, now: Now, input: Input) -> Effects {
        self.now = Now { time: now.time.max(self.now.time), wall: now.wall };
        let mut effects = Effects::default();
        if is_planted(Bug::QuorumOfLivePeers) {
            let live = self.pacemaker.heard_since(self.now.time).count() + 1;
            self.votes.count_over(&self.committee, live);
        }
        match input {
            Input::Proposal(proposal) => self.on_proposal(&mut effects, proposal.into_inner()),
            Input::Vote(vote) => self.on_vote(&mut effects, vote.into_inner()),
            Input::CommitVote(vote) => self.on_commit_vote(&mut effects, vote.into_inner()),
            Input::Timeout(timeout) => self.on_timeout(&mut effects, timeout.into_inner()),
            Input::Certificate(certificate) => {
                self.on_certificate(&mut effects, certificate.into_inner());
            }
            Input::Reveal(reveal) => self.on_reveal(reveal.into_inner()),
            Input::Batch(batch) => self.on_batch(&mut effects, batch),
            Input::BatchAck(ack) => self.on_batch_ack(&ack.into_inner()),
            Input::BatchHint(hint) => self.on_batch_hint(&hint.into_inner()),
            Input::Record(record) => self.lanes.admit(record),
            Input::Heard { peer, round_trip_micros } => {
                self.pacemaker.on_heard(self.now.time, peer, round_trip_micros);
            }
            Input::LaterEra { era, peer } => self.on_later_era(era, peer),
            Input::Executed { block, exec, decisions } => {
                self.on_executed(block, exec, decisions);
            }
            Input::Block(block) => self.insert_block(&mut effects, block.into_inner()),
            Input::Wake => {}
        }
        self.progress(&mut effects);
        self.finish(&mut effects);
        effects
    }

    /// When to call [`Self::step`] with [`Input::Wake`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let now = self.now.time;
        let mut next = self.repeat_at;
        let mut at = |time: Option<Time>| {
            if let Some(time) = time.filter(|time| *time > now) {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        };
        if !self.is_stopped && self.me.is_some() {
            at(self.pacemaker.timer_end());
            at(Some(self.idle_time()));
            if self.has_unfinal_work() {
                at(Some(self.unfinal_time()));
            }
            if self.safety.can_time_out()
                && let Some(leader) = self.known_leader()
            {
                at(self.pacemaker.skip_time(self.safety.view(), leader));
            }
            at(self.held_proposal_time());
            at(self.hint_at);
            if !self.is_high_block_complete() {
                at(Some(self.stuck_time()));
            }
        }
        at(self.asks.values().map(|asked| asked.next).min());
        next
    }

    /// Whether a record of `bytes` bytes may be handed in.
    #[must_use]
    pub fn can_admit(&self, bytes: usize) -> bool {
        !self.is_stopped
            && !self.is_leaving()
            && self.me.is_some_and(|(_, key)| self.lanes.can_admit(&key, bytes))
    }

    /// The era that it is in: what places in [`Effects`] mean after a step.
    #[must_use]
    pub const fn era(&self) -> Era {
        self.safety.era()
    }

    /// Who orders that era.
    #[must_use]
    pub const fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// The replica's state, for people.
    #[must_use]
    pub fn status(&self) -> Status {
        let view = self.safety.view();
        let root = self.tree.root();
        let high = self.tree.parent(self.safety.record().high_qc.vote.block);
        Status {
            era: self.safety.era(),
            view,
            leader: self.known_leader(),
            epoch: high.as_ref().map_or(root.epoch.epoch, |parent| parent.child_epoch.epoch),
            height: root.header.height,
            block: self.tree.root_id(),
            exec: root.exec,
            high_qc_view: self.safety.record().high_qc.vote.view,
            voted: self.votes.voters(view),
            timed_out: self.votes.timeouts(view).map(|timeout| timeout.signer).collect(),
            heard: self.pacemaker.heard_since(self.now.time).collect(),
            is_quorum_heard: self.pacemaker.is_quorum_heard(self.now.time),
            is_behind: !self.pending_certs.is_empty()
                || (high.is_none() && !self.is_high_qc_final()),
            is_stopped: self.is_stopped || self.is_amnesiac(),
            lane_bytes: self.me.map_or(0, |(_, key)| self.lanes.own_bytes(&key)),
        }
    }

    /// Goes on signing also after it met a signature of its key that its record
    /// does not know: there is no [`Alarm::KeyUsedElsewhere`] any more.
    ///
    /// For tests alone, in which a faulty validator runs twice with one key. A
    /// node never calls it: it takes away what stops a restored old record.
    pub const fn ignore_twin(&mut self) {
        self.has_twin = true;
    }

    // ---- inputs ----

    fn on_proposal(&mut self, effects: &mut Effects, proposal: SignedProposal) {
        let header = *proposal.block.header();
        if header.era != self.safety.era() {
            self.answer_closed(effects, header.era, header.proposer);
            return;
        }
        self.observe_qc(effects, proposal.block.justify().clone());
        if let Some(tc) = &proposal.tc {
            self.observe_qc(effects, tc.high_qc.clone());
            self.observe_tc(effects, tc.clone());
        }
        if header.view < self.safety.view() {
            self.answer(effects, header.proposer);
            return;
        }
        if header.view > self.safety.view() {
            // Neither QC nor TC of the view before: nobody may vote for it.
            return;
        }
        match self.proposals.get(&header.proposer) {
            Some(first) if first.block.id() != proposal.block.id() => {
                let evidence = Evidence::Proposals(first.clone(), proposal);
                self.accuse(effects, Box::new(evidence));
            }
            Some(_) => {}
            None => {
                self.proposals.insert(header.proposer, proposal);
                self.add_source(header.parent, header.proposer);
            }
        }
    }

    fn on_vote(&mut self, effects: &mut Effects, vote: SignedVote) {
        if vote.vote.era != self.safety.era() {
            self.answer_closed(effects, vote.vote.era, vote.signer);
            return;
        }
        self.add_source(vote.vote.block, vote.signer);
        match self.votes.add_vote(&self.committee, self.safety.view(), vote) {
            Change::Certified(qc) => self.observe_qc(effects, qc),
            Change::Equivocated(evidence) => self.accuse(effects, evidence),
            Change::Counted | Change::Nothing => {}
        }
    }

    fn on_commit_vote(&mut self, effects: &mut Effects, vote: SignedCommitVote) {
        if vote.vote.era != self.safety.era() {
            self.answer_closed(effects, vote.vote.era, vote.signer);
            return;
        }
        self.add_source(vote.vote.block, vote.signer);
        let certificate = match self.pending_certs.last_key_value() {
            Some((_, pending)) => Some(pending.certificate()),
            None => self.final_cert().cloned().map(Certificate::Commit),
        };
        if let (Some(cert), Some(certificate)) = (self.newest_cert(), certificate) {
            if let Some(evidence) = contradiction(&vote, cert) {
                self.accuse(effects, Box::new(evidence));
                return;
            }
            // Whoever repeats a commit vote has not seen the certificate.
            if vote.vote.view < cert.vote.view
                || (vote.vote.view == cert.vote.view && self.votes.is_known(&vote))
            {
                self.answer_with(effects, vote.signer, Answered::CommitVote, certificate);
            }
        }
        match self.votes.add_commit_vote(&self.committee, self.safety.view(), vote) {
            Change::Certified(cert) => {
                self.observe_commit_cert(effects, Final { cert, filler: None });
            }
            Change::Equivocated(evidence) => self.accuse(effects, evidence),
            Change::Counted | Change::Nothing => {}
        }
    }

    fn on_timeout(&mut self, effects: &mut Effects, timeout: SignedTimeout) {
        if timeout.timeout.era != self.safety.era() {
            self.answer_closed(effects, timeout.timeout.era, timeout.signer);
            return;
        }
        self.observe_qc(effects, timeout.high_qc.clone());
        if let Some(tc) = &timeout.entry_tc {
            self.observe_qc(effects, tc.high_qc.clone());
            self.observe_tc(effects, tc.clone());
        }
        if timeout.timeout.view < self.safety.view() {
            self.answer(effects, timeout.signer);
            if is_planted(Bug::OlderTimeout) {
                self.join_older(effects, &timeout);
            }
        }
        if let Some(evidence) = self.newest_cert().and_then(|cert| hides(&timeout, cert)) {
            self.accuse(effects, Box::new(evidence));
            return;
        }
        let view = timeout.timeout.view;
        match self.votes.add_timeout(&self.committee, self.safety.view(), timeout) {
            Change::Certified(tc) => {
                self.note_missing(effects, view);
                self.observe_qc(effects, tc.high_qc.clone());
                self.observe_tc(effects, tc);
            }
            Change::Equivocated(evidence) => self.accuse(effects, evidence),
            Change::Counted => self.note_missing(effects, view),
            Change::Nothing => {}
        }
    }

    /// What [`Bug::OlderTimeout`] does.
    fn join_older(&mut self, effects: &mut Effects, older: &SignedTimeout) {
        let SignedTimeout { timeout, high_qc, entry_tc, .. } = older.clone();
        let others = self.votes.timeouts(timeout.view).filter(|it| it.signer != older.signer);
        if others.count() + 1 == self.committee.one_honest() {
            self.safety.time_out_older(timeout, high_qc.clone());
            let missing = Vec::new();
            send_all(effects, Outgoing::Timeout { timeout, high_qc, entry_tc, missing });
        }
    }

    fn on_certificate(&mut self, effects: &mut Effects, certificate: Certificate) {
        match certificate {
            Certificate::Qc(qc) => self.observe_qc(effects, qc),
            Certificate::Tc(tc) if tc.era == self.safety.era() => {
                self.observe_qc(effects, tc.high_qc.clone());
                self.observe_tc(effects, tc);
            }
            Certificate::Tc(_) => {}
            Certificate::Commit(cert) => {
                self.observe_commit_cert(effects, Final { cert, filler: None });
            }
            Certificate::Filler(cert, header) => {
                self.observe_commit_cert(effects, Final { cert, filler: Some(header) });
            }
        }
    }

    fn on_reveal(&mut self, reveal: Reveal) {
        let high = self.tree.parent(self.safety.record().high_qc.vote.block);
        let epoch = high.map_or(self.tree.root().epoch.epoch, |high| high.child_epoch.epoch).get();
        if (epoch..=epoch.saturating_add(4)).contains(&reveal.epoch.get()) {
            self.reveals.insert((reveal.epoch, reveal.validator), reveal);
        }
    }

    fn on_batch(&mut self, effects: &mut Effects, batch: Verified<SignedBatch>) {
        let batch = Arc::new(batch.into_inner());
        let header = *batch.header();
        let digest = header.digest(&self.chain_id);
        let is_own = self.keys.contains(&header.author);
        // Our own was promised, and waits for us to come back.
        let has_lapsed = !is_own && self.lanes.has_lapsed(&header, self.safety.era());
        if self.is_halted || has_lapsed {
            return;
        }
        let is_cited = is_own || self.is_wanted(&header.author, header.lane_seq, digest);
        let heads = &self.tree.root().lane_heads;
        let accepted = self.lanes.accept(heads, &batch, is_cited);
        let last_batch = match self.me {
            Some((_, key)) if key == header.author => self.safety.record().last_batch,
            _ => self.last_batches.get(&header.author).copied(),
        };
        if is_own && last_batch == Some((header.lane_seq, digest)) {
            self.lanes.on_own_batch_sent();
        }
        match accepted {
            Accepted::Refused => return,
            Accepted::Known => {}
            Accepted::New if is_own => return,
            Accepted::New => effects.persist.batches.push(batch),
            Accepted::Equivocated(evidence) => {
                effects.persist.batches.push(batch);
                self.accuse(effects, evidence);
            }
        }
        if is_own {
            return;
        }
        let Some((me, _)) = self.me else { return };
        let ack = BatchAck { author: header.author, lane_seq: header.lane_seq, digest };
        self.lanes.on_ack(&header.author, header.lane_seq, digest, me);
        if self.lanes.is_withholding(&header.author, self.safety.view()) {
            send_all(effects, Outgoing::BatchAck(ack));
        } else {
            let to = match self.committee.index_of(&header.author) {
                Some(author) => Recipients::One(author),
                None => Recipients::Former(header.author),
            };
            effects.send.push(Send { to, message: Outgoing::BatchAck(ack) });
        }
    }

    fn on_batch_ack(&mut self, ack: &From<BatchAck>) {
        let BatchAck { author, lane_seq, digest } = ack.message;
        // An author vouches for its own batch by signing it, not once more.
        if self.committee.index_of(&author) != Some(ack.sender) {
            self.lanes.on_ack(&author, lane_seq, digest, ack.sender);
        }
    }

    fn on_batch_hint(&mut self, hint: &From<BatchHint>) {
        let BatchHint { view, author, lane_seq, digest } = hint.message;
        if view != self.safety.view() || self.committee.index_of(&author).is_none() {
            return;
        }
        self.hints.insert(hint.sender);
        if !self.lanes.has(&author, lane_seq, digest) {
            let head = self.tree.root().lane_heads.get(&author).copied().unwrap_or_default();
            if lane_seq > head.0 {
                let missing = MissingBatches { author, after: head.0, up_to: lane_seq, digest };
                self.hinted.entry(hint.sender).or_insert(missing);
            }
        }
    }

    fn on_later_era(&mut self, era: Era, peer: Option<ValidatorIndex>) {
        if era > self.safety.era() {
            let peer = peer.filter(|peer| self.committee.get(*peer).is_some());
            self.later_era.get_or_insert_default().extend(peer);
        }
    }

    fn on_executed(&mut self, block: BlockId, exec: ExecHash, decisions: Decisions) {
        // The block's fork may have been dropped meanwhile.
        if let Some(node) = self.tree.get_mut(block) {
            assert_eq!(node.execution, Execution::Running, "executed once, when asked");
            node.execution = Execution::Done(exec);
            node.versions = node.versions.after(node.block.header().height, &decisions);
            for change in &decisions.parameters {
                node.parameters.set(change.name, change.value);
            }
            node.next_committee = decisions.next_committee;
        }
    }

    // ---- certificates ----

    fn observe_qc(&mut self, effects: &mut Effects, qc: Qc) {
        if qc.vote.era != self.safety.era() {
            return;
        }
        self.check_own_signature(effects, &qc.signers, qc.vote.view, self.safety.last_voted_view());
        for evidence in self.votes.add_qc(self.safety.view(), &qc) {
            self.accuse(effects, Box::new(evidence));
        }
        let before = self.safety.view();
        for signer in qc.signers.iter() {
            self.add_source(qc.vote.block, signer);
        }
        let block = qc.vote.block;
        if self.safety.observe_qc(&qc) {
            self.high_qc_at = self.now.time;
            if let Some(node) = self.tree.get(block) {
                let block = node.block.clone();
                self.store_block(effects, block);
            }
        }
        if self.safety.view() > before {
            self.enter_view(false);
        }
    }

    /// The QC inside was observed before.
    fn observe_tc(&mut self, effects: &mut Effects, tc: Tc) {
        self.check_own_signature(effects, &tc.signers, tc.view, self.safety.last_timeout_view());
        let before = self.safety.view();
        self.safety.observe_tc(&tc);
        if self.safety.view() == before {
            return;
        }
        self.enter_view(true);
        if self.me.is_some() {
            // A QC higher than those of the TC goes along: the next leader may
            // not know it, and leaders are read off the highest QC's block.
            let high_qc = &self.safety.record().high_qc;
            if high_qc.vote.view > tc.high_qc.vote.view
                && let Some(leader) = self.known_leader()
            {
                send_one(effects, leader, Outgoing::Certificate(Certificate::Qc(high_qc.clone())));
            }
            send_all(effects, Outgoing::Certificate(Certificate::Tc(tc)));
        }
    }

    fn observe_commit_cert(&mut self, effects: &mut Effects, mut news: Final) {
        let known = self.tree.root().cert.as_ref().map(CommitCert::rank).unwrap_or_default();
        let vote = news.cert.vote;
        if vote.era != self.safety.era() || news.cert.rank() <= known {
            return;
        }
        let signed = self.safety.last_commit_vote_view();
        self.check_own_signature(effects, &news.cert.signers, vote.view, signed);
        for evidence in self.votes.against(&news.cert) {
            self.accuse(effects, Box::new(evidence));
        }
        for signer in news.cert.signers.iter() {
            self.add_source(vote.block, signer);
            if let Some(closes) = news.filler.and_then(|filler| filler.closes) {
                self.add_source(closes.block, signer);
            }
        }
        if let Some(Final { filler: Some(header), .. }) = self.pending_certs.get(&vote.view) {
            news.filler = Some(*header);
        }
        self.pending_certs.insert(vote.view, news);
        if self.pending_certs.len() > PENDING_CERTS_MAX {
            // The highest is the goal; the lowest may be needed next. Of the
            // rest any will do.
            let middle = self.pending_certs.keys().nth(1).copied();
            self.pending_certs.remove(&middle.expect("there are more than two"));
        }
    }

    /// The block that a commit certificate makes final: that of its vote or,
    /// if that is a filler, what it closes.
    fn target(&self, pending: &Final) -> BlockId {
        let block = pending.cert.vote.block;
        if is_planted(Bug::FillerInChain) {
            return block;
        }
        let here = || self.tree.get(block).map(|node| *node.block.header());
        let filler = pending.filler.or_else(here);
        filler.and_then(|header| header.closes).map_or(block, |closes| closes.block)
    }

    /// The newest commit certificate: one that still waits for its block here is
    /// as good as one that is carried out.
    fn newest_cert(&self) -> Option<&CommitCert> {
        let pending = self.pending_certs.last_key_value().map(|(_, pending)| &pending.cert);
        pending.or_else(|| self.final_cert())
    }

    /// The certificate of the committed head, if it is of this era.
    fn final_cert(&self) -> Option<&CommitCert> {
        self.tree.root().cert.as_ref().filter(|cert| cert.vote.era == self.safety.era())
    }

    /// Every signature of ours is in the record before anybody can see it. One
    /// that is not was made by a second process with this key, or before an
    /// old record was put back: then nothing that we sign is safe any more.
    fn check_own_signature(
        &mut self,
        effects: &mut Effects,
        signers: &SignerSet,
        view: View,
        signed: View,
    ) {
        if self.me.is_some_and(|(me, _)| signers.contains(me)) && view > signed {
            self.stop(effects, Alarm::KeyUsedElsewhere { view });
        }
    }

    /// Signs nothing more until the process is started again. Whoever cannot
    /// judge what comes next, or came to something else, takes in no more of it:
    /// none of that could become final here, and it has no end.
    fn stop(&mut self, effects: &mut Effects, alarm: Alarm) {
        self.is_halted |= matches!(
            alarm,
            Alarm::Diverged { .. } | Alarm::InvalidCertified { .. } | Alarm::VersionUnknown(_)
        );
        let is_twin = self.has_twin && matches!(alarm, Alarm::KeyUsedElsewhere { .. });
        if !self.is_stopped && !is_twin {
            self.is_stopped = true;
            effects.alarms.push(alarm);
        }
    }

    fn enter_view(&mut self, by_tc: bool) {
        self.pacemaker.enter(self.now.time, by_tc);
        self.votes.enter(self.safety.view());
        self.proposals.clear();
        self.hints.clear();
        self.hint_at = None;
        self.hinted.clear();
    }

    // ---- blocks ----

    /// Takes proposals of the current view into the tree: only the leader's,
    /// and not before their time, so that nobody else can make work.
    fn insert_proposals(&mut self, effects: &mut Effects) {
        let due: Vec<Block> = self
            .proposals
            .values()
            .map(|proposal| &proposal.block)
            .filter(|block| {
                let header = block.header();
                !self.tree.contains(block.id())
                    && self.leader_on(header.parent, header.view) == Some(header.proposer)
                    && self.tree.parent(header.parent).is_some_and(|parent| {
                        !self.is_too_early(header.timestamp_ms, parent.header.timestamp_ms)
                    })
            })
            .cloned()
            .collect();
        for block in due {
            self.insert_block(effects, block);
        }
    }

    /// Takes in a block: certified, or its leader's proposal.
    fn insert_block(&mut self, effects: &mut Effects, block: Block) {
        let header = *block.header();
        let id = block.id();
        if self.is_halted
            || self.tree.contains(id)
            || header.era != self.safety.era()
            || header.height <= self.tree.height()
        {
            return;
        }
        self.observe_qc(effects, block.justify().clone());
        let Some(parent) = self.tree.parent(header.parent) else {
            if self.orphans.len() < ORPHANS_MAX {
                self.orphans.insert(id, block);
            }
            return;
        };
        let is_certified = self.safety.record().high_qc.vote.block == id;
        let node = self.make_node(&parent, block);
        if is_certified {
            self.store_block(effects, node.block.clone());
        }
        self.tree.insert(node);
        self.sources.remove(&id);
        let children: Vec<_> =
            self.orphans.values().filter(|orphan| orphan.header().parent == id).cloned().collect();
        for child in children {
            self.orphans.remove(&child.id());
            self.insert_block(effects, child);
        }
    }

    /// Has a block put on disk, once.
    fn store_block(&mut self, effects: &mut Effects, block: Block) {
        if self.stored.insert(block.id()) {
            effects.persist.blocks.push(block);
        }
    }

    /// Everything about a block that depends on its parent alone.
    fn make_node(&mut self, parent: &Parent, block: Block) -> Node {
        let header = *block.header();
        let mut lane_heads: LaneHeads = (*parent.lane_heads).clone();
        for citation in block.citations() {
            lane_heads.insert(citation.author, (citation.up_to_seq, citation.digest));
        }
        let mut epoch: EpochState = (*parent.child_epoch).clone();
        let mut rule = None;
        // A filler stands at the height of the block that it closes, as does
        // the filler before it; whether it may stand there is known once its
        // parent is executed.
        let is_height_right = match header.closes {
            Some(_) => header.height == parent.header.height,
            None => header.height == parent.header.height.next(),
        };
        if !is_height_right {
            rule = Some("its height is not one more than its parent's");
        }
        if header.timestamp_ms <= parent.header.timestamp_ms {
            rule = Some("its time is not after its parent's");
        }
        for reveal in block.reveals() {
            let is_new = !epoch.reveals.contains_key(&reveal.validator);
            if !is_new
                || !self.schedule.is_reveal_good(&self.committee, &parent.child_epoch, reveal)
            {
                rule = Some("a reveal that is not good for its epoch, or was included before");
            }
        }
        for reveal in block.reveals() {
            epoch.reveals.insert(reveal.validator, reveal.output);
        }
        // Time only goes forward, and an invalid block has no children.
        let child_epoch = match rule {
            None => epoch.enter(self.schedule.epoch_after(header.timestamp_ms)),
            Some(_) => epoch.clone(),
        };
        Node {
            body: rule.map_or(Body::Wanting, Body::Invalid),
            execution: Execution::No,
            next_committee: None,
            // The parent's as far as known; put right before it is executed.
            versions: parent.versions,
            parameters: parent.parameters,
            lane_heads: Arc::new(lane_heads),
            epoch: Arc::new(epoch),
            child_epoch: Arc::new(child_epoch),
            block,
        }
    }

    /// Follows the citations of blocks that wait for batches; what is complete
    /// gets executed, in any order that has parents first.
    fn resolve_blocks(&mut self, effects: &mut Effects) -> BTreeSet<MissingBatches> {
        let mut missing = BTreeSet::new();
        let mut waiting: Vec<_> = self
            .tree
            .nodes()
            .filter(|node| {
                matches!(node.body, Body::Wanting)
                    || (matches!(node.body, Body::Ready(_)) && node.execution == Execution::No)
            })
            // Parents first; a filler stands at the height of its parent.
            .map(|node| (node.block.header().view, node.block.id()))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            let node = self.tree.get(id).expect("listed above");
            let header = *node.block.header();
            let parent = self.tree.parent(header.parent).expect("a node's parent is here");
            if matches!(node.body, Body::Wanting) {
                let body = match self.lanes.resolve(
                    &parent.lane_heads,
                    node.block.citations(),
                    header.era,
                    self.parameters().block_bytes_max,
                ) {
                    Resolution::Missing(gaps) => {
                        missing.extend(gaps);
                        continue;
                    }
                    Resolution::Invalid(rule) => Body::Invalid(rule),
                    Resolution::Ready(batches)
                        if batches
                            .iter()
                            .any(|batch| batch.header().newest_ms > header.timestamp_ms) =>
                    {
                        Body::Invalid("it cites a record admitted after its own time")
                    }
                    Resolution::Ready(batches) => Body::Ready(batches),
                };
                self.tree.get_mut(id).expect("listed above").body = body;
            }
            if parent.exec.is_none() {
                continue;
            }
            let closing = self.tree.closing(header.parent);
            let version = match closing {
                Some(_) => parent.header.protocol_version,
                None => parent.versions.at(header.height),
            };
            if version > self.version_max {
                let activation = Activation { height: header.height, version };
                self.stop(effects, Alarm::VersionUnknown(activation));
                continue;
            }
            let node = self.tree.get_mut(id).expect("listed above");
            node.versions = parent.versions;
            node.parameters = parent.parameters;
            match (closing, &node.body) {
                (_, Body::Invalid(_) | Body::Wanting) => {}
                (_, Body::Ready(_)) if header.protocol_version != version => {
                    node.body = Body::Invalid("it follows another version of the protocol");
                }
                (None, Body::Ready(batches)) if header.closes.is_none() => {
                    node.execution = Execution::Running;
                    effects
                        .execute
                        .push(Execute { block: node.block.clone(), batches: batches.clone() });
                }
                // A filler changes nothing.
                (Some(closes), Body::Ready(_)) if header.closes == Some(closes) => {
                    node.execution = Execution::Done(closes.exec);
                }
                (Some(_), Body::Ready(_)) => {
                    node.body = Body::Invalid("the era closes, and it is not a filler of that");
                }
                (None, Body::Ready(_)) => {
                    node.body = Body::Invalid("a filler in an era that is not closing");
                }
            }
        }
        missing
    }

    // ---- the rules, each asked in turn ----

    fn progress(&mut self, effects: &mut Effects) {
        self.insert_proposals(effects);
        let missing = self.resolve_blocks(effects);
        self.try_commit(effects);
        if !self.is_stopped && self.me.is_some() {
            self.try_commit_vote(effects);
            self.try_vote(effects);
            self.try_propose(effects);
            self.run_timers(effects);
            self.close_batch(effects);
            self.reveal(effects);
        }
        self.ask(effects, &missing);
        if self.is_stopped {
            self.repeat_at = None;
        } else {
            self.repeat(effects);
        }
    }

    /// Rule 3: a commit certificate makes its block and all its ancestors
    /// final, ascending, each once; nothing else does.
    fn try_commit(&mut self, effects: &mut Effects) {
        if let Some(uncommitted) = self.planted_commit() {
            self.pending_certs.insert(uncommitted.cert.vote.view, uncommitted);
        }
        // An executed block has executed ancestors only.
        let Some((id, pending)) = self
            .pending_certs
            .values()
            .rev()
            .map(|pending| (self.target(pending), pending))
            .find(|(id, _)| *id != self.tree.root_id() && self.tree.exec(*id).is_some())
            .map(|(id, pending)| (id, pending.clone()))
        else {
            return;
        };
        let cert = pending.cert;
        let ours = self.tree.exec(id).expect("executed, as found above");
        if ours != cert.vote.exec {
            self.stop(effects, Alarm::Diverged { block: id, theirs: cert.vote.exec, ours });
            return;
        }
        let path = self.tree.path(id).expect("found above");
        let mut blocks = Vec::with_capacity(path.len());
        for (place, block) in path.iter().enumerate() {
            let node = self.tree.get(*block).expect("on the path");
            let height = self.tree.height().get() + place as u64 + 1;
            let ascends = node.block.header().height.get() == height;
            assert!(ascends || is_planted(Bug::FillerInChain), "commits ascend by one");
            blocks.push((node.block.clone(), self.tree.exec(*block).expect("executed")));
        }
        let node = self.tree.get(id).expect("on the path");
        let filler = pending.filler.or_else(|| {
            let certified = self.tree.get(cert.vote.block)?;
            (cert.vote.block != id).then(|| *certified.block.header())
        });
        let opening = node.next_committee.clone().map(|committee| Opening { committee, filler });
        let root = Root {
            header: *node.block.header(),
            exec: ours,
            lane_heads: (*node.lane_heads).clone(),
            epoch: (*node.epoch).clone(),
            cert: Some(cert.clone()),
            versions: node.versions,
            parameters: node.parameters,
            opening: opening.clone(),
        };
        if is_planted(Bug::CommitInWrongOrder) {
            blocks.reverse();
        }
        let commit = Commit { blocks, cert: cert.clone(), root: root.clone() };
        let has_skipped = root.header.view > self.tree.root().header.view.next();
        if has_skipped && is_planted(Bug::RecommitAfterSkippedViews) {
            effects.commit.push(commit.clone());
        }
        effects.commit.push(commit);
        if let Some((_, key)) = self.me
            && let Some((seq, _)) = root.lane_heads.get(&key)
            && *seq > self.safety.record().last_batch.unwrap_or_default().0
        {
            self.stop(effects, Alarm::KeyUsedElsewhere { view: cert.vote.view });
        }
        self.lanes.commit(&root.lane_heads);
        let epoch = root.epoch.epoch;
        self.pacemaker.on_commit(root.parameters);
        self.tree.commit(root);
        self.pending_certs = self.pending_certs.split_off(&cert.vote.view.next());
        let height = self.tree.height();
        self.orphans.retain(|_, orphan| orphan.header().height > height);
        self.reveals = self.reveals.split_off(&(epoch, ValidatorIndex::ZERO));
        self.chain_next = self.now.time;
        for (ask, asked) in &mut self.asks {
            if matches!(ask, Wanted::Chain(_)) {
                asked.next = self.now.time;
            }
        }
        let tree = &self.tree;
        self.sources.retain(|block, _| !tree.contains(*block));
        self.stored.retain(|block| tree.contains(*block));
        if let Some(opening) = opening {
            self.hand_over(effects, Final { cert, filler: opening.filler }, opening.committee);
        }
    }

    /// What [`Bug::TwoChainCommit`] and [`Bug::EraEndsOnQc`] do: a QC passes
    /// for a commit certificate.
    fn planted_commit(&self) -> Option<Final> {
        let high = &self.safety.record().high_qc;
        let qc = if is_planted(Bug::TwoChainCommit) {
            let before = self.tree.get(high.vote.block)?.block.justify();
            Some(before).filter(|before| before.vote.view.next() == high.vote.view)?
        } else if is_planted(Bug::EraEndsOnQc) {
            Some(high).filter(|high| self.tree.closing(high.vote.block).is_some())?
        } else {
            return None;
        };
        let Vote { era, view, block } = qc.vote;
        let exec = self.tree.exec(block).filter(|_| block != self.tree.root_id())?;
        let Qc { signers, signatures, .. } = qc.clone();
        let vote = CommitVote { era, view, block, exec };
        Some(Final { cert: CommitCert { vote, signers, signatures }, filler: None })
    }

    // ---- eras ----

    /// Ends the era whose last block became final, and begins the next: one
    /// write holds what ended the one and the record of the other. Nothing of
    /// the ended era is signed afterwards; its record stays on disk.
    fn hand_over(&mut self, effects: &mut Effects, last: Final, committee: Arc<Committee>) {
        let ended = self.safety.era();
        let era = ended.next();
        let before = core::mem::replace(&mut self.committee, committee);
        let places: Vec<_> = self
            .committee
            .iter()
            .map(|(_, validator)| before.index_of(&validator.consensus_key))
            .collect();
        let next = Arc::clone(&self.committee);
        let closed = ClosedEra { era: ended, next, certificate: last.certificate() };
        effects.persist.closed.push(closed.clone());
        // Nothing was signed under what changed in this step, but the record
        // shall lie there as it was left.
        self.finish(effects);
        self.closed.insert(ended, closed);
        if self.closed.len() > CLOSED_ERAS_MAX {
            self.closed.pop_first();
        }
        if let (Some((_, key)), Some(last)) = (self.me, self.safety.record().last_batch) {
            self.last_batches.insert(key, last);
        }
        let key = self.seat().map(|(_, key)| key);
        let record = key.and_then(|key| self.later.remove(&(era, key)));
        self.later.retain(|(later, _), _| *later > era);
        self.safety = match record {
            Some(record) => Safety::restored(record),
            None => {
                let mut root = Qc::root(era, self.tree.root_id(), self.committee.size());
                if is_planted(Bug::EraStartsOnFiller) {
                    root.vote.block = last.cert.vote.block;
                }
                Safety::begun(root, key.and_then(|key| self.last_batches.get(&key)).copied())
            }
        };
        self.take_seat(effects);
        self.pacemaker.begin_era(
            self.now.time,
            &places,
            self.committee.quorum(),
            self.me.map(|(me, _)| me),
        );
        // What has lapsed stays on disk until the next start: an acknowledgement
        // of it may be about to leave, and says that it is there.
        let _ = self.lanes.begin_era(era, &self.committee, &self.keys);
        self.schedule.begin_era();
        self.votes = Votes::default();
        self.proposals.clear();
        self.hints.clear();
        self.hint_at = None;
        self.hinted.clear();
        self.high_qc_at = self.now.time;
        self.reveals.clear();
        self.revealed = None;
        self.orphans.clear();
        self.sources.clear();
        self.pending_certs.clear();
        self.asks.clear();
        self.owing.clear();
        self.later_era = None;
        self.answered.clear();
        // Views count anew.
        self.accused.clear();
        self.repeat_at = None;
        self.last_leader.set(None);
        self.plan_repeat();
    }

    /// Finds our place in the committee of the era, if we may sign in it.
    fn take_seat(&mut self, effects: &mut Effects) {
        let era = self.safety.era();
        let has_ended = self.closed.contains_key(&era) || !self.later.is_empty();
        self.me = self.seat().filter(|_| !has_ended || is_planted(Bug::EndedEraForgotten));
        if self.is_amnesiac()
            && let Some((_, key)) = self.me.take()
        {
            effects.alarms.push(Alarm::NoSafetyRecord { era, key });
        }
    }

    /// Whether the key that has our place in this era must not sign, because
    /// nobody knows what it signed.
    fn is_amnesiac(&self) -> bool {
        self.seat().is_some_and(|(_, key)| self.lost_keys.contains(&key))
    }

    fn seat(&self) -> Option<(ValidatorIndex, PublicKey)> {
        self.keys.iter().find_map(|key| Some((self.committee.index_of(key)?, *key)))
    }

    /// Whether the highest certified chain ends the era, and none of our keys
    /// stands in the next committee: then there is no lane for a new record.
    fn is_leaving(&self) -> bool {
        let high = self.safety.record().high_qc.vote.block;
        let Some(Closes { block, .. }) = self.tree.closing(high) else { return false };
        self.tree
            .get(block)
            .and_then(|node| node.next_committee.as_ref())
            .is_some_and(|next| self.keys.iter().all(|key| next.index_of(key).is_none()))
    }

    /// Answers a message of an ended era with what ended it.
    fn answer_closed(&mut self, effects: &mut Effects, era: Era, peer: ValidatorIndex) {
        let known = self.closed.get(&era).filter(|_| !is_planted(Bug::StrandedStragglers));
        let Some(closed) = known else { return };
        let before = era.previous().and_then(|before| self.closed.get(&before));
        let committee = match before {
            Some(before) => &before.next,
            None if era == Era::new(1) => &self.genesis_committee,
            // Too long ago to know whose place this was.
            None => return,
        };
        let Some(key) = committee.key(peer) else { return };
        let message = Outgoing::Certificate(closed.certificate.clone());
        if !self.keys.contains(&key) && self.may_answer(key, Answered::OldEra) {
            effects.send.push(Send { to: Recipients::Former(key), message });
        }
    }

    /// Whether it is time for another such answer to a validator; then it counts
    /// as given.
    fn may_answer(&mut self, to: PublicKey, reason: Answered) -> bool {
        let now = self.now.time;
        let last = self.answered.get(&(to, reason));
        let is_due = last.is_none_or(|last| now.micros_since(*last) >= REPEAT_MICROS_MIN / 2);
        if is_due {
            self.answered.insert((to, reason), now);
        }
        is_due
    }

    /// Rule 2.
    fn try_commit_vote(&mut self, effects: &mut Effects) {
        let vote = self.safety.record().high_qc.vote;
        if vote.block == self.tree.root_id() || !self.safety.can_commit_vote(vote.view) {
            return;
        }
        if let Some(node) = self.tree.get(vote.block)
            && let Body::Invalid(rule) = node.body
        {
            self.stop(effects, Alarm::InvalidCertified { block: vote.block, rule });
            return;
        }
        let Some(exec) = self.tree.exec(vote.block) else { return };
        let vote = self.safety.commit_vote(vote.view, vote.block, exec);
        let high_qc = self.safety.record().high_qc.clone();
        effects.persist.certificates.push(Certificate::Qc(high_qc));
        send_all(effects, Outgoing::CommitVote(vote));
        self.plan_repeat();
    }

    /// Rule 1, and rules 8 and 9 as far as they concern votes.
    fn try_vote(&mut self, effects: &mut Effects) {
        let Some((block, tc)) = self
            .leader_proposals()
            .map(|proposal| (&proposal.block, &proposal.tc))
            .find(|(block, tc)| self.safety.can_vote(block, tc.as_ref()))
            .map(|(block, tc)| (block.clone(), tc.clone()))
        else {
            return;
        };
        let Some(node) = self.tree.get(block.id()) else { return };
        let is_empty = match &node.body {
            // Its parent is not executed: what it may close, and under which
            // version, was not compared yet.
            Body::Ready(_)
                if node.execution == Execution::No && !is_planted(Bug::UnexecutedParent) =>
            {
                return;
            }
            Body::Ready(batches) => batches.is_empty(),
            Body::Wanting if is_planted(Bug::VoteBeforeBatches) => true,
            Body::Wanting | Body::Invalid(_) => return,
        };
        let header = block.header();
        let parent = self.tree.parent(header.parent).expect("a node's parent is here");
        if self.is_too_early(header.timestamp_ms, parent.header.timestamp_ms) {
            return;
        }
        if self.is_too_deep(header.parent) && !is_empty {
            return;
        }
        let vote = self.safety.vote(&block, tc.as_ref());
        // Not always the TC by which the view was entered, if one was.
        effects.persist.certificates.extend(tc.map(Certificate::Tc));
        self.store_block(effects, block);
        send_all(effects, Outgoing::Vote(vote));
        self.plan_repeat();
    }

    /// Rule 9: whether so many blocks up to this one are not final here that
    /// what follows may order no records.
    fn is_too_deep(&self, parent: BlockId) -> bool {
        let depth = self.tree.path(parent).map_or(0, |path| path.len() as u64);
        depth >= self.parameters().uncommitted_blocks_max
    }

    /// A block that is too deep here to order records on, and the leader who does
    /// so: to it, less is without a commit certificate. Unless we learn of these
    /// certificates, the others may need our vote and never get it.
    fn proposed_too_deep(&self) -> Option<(BlockId, ValidatorIndex)> {
        self.leader_proposals()
            .map(|proposal| &proposal.block)
            .find(|block| !block.citations().is_empty() && self.is_too_deep(block.header().parent))
            .map(|block| (block.header().parent, block.header().proposer))
    }

    /// Rule 5.
    fn try_propose(&mut self, effects: &mut Effects) {
        let Some((me, _)) = self.me else { return };
        if !self.safety.can_propose() {
            return;
        }
        let justify = self.safety.record().high_qc.clone();
        let view = self.safety.view();
        if self.leader_on(justify.vote.block, view) != Some(me) {
            return;
        }
        let Some(parent) = self.tree.parent(justify.vote.block) else { return };
        if parent.exec.is_none() {
            return;
        }
        let closes = self.tree.closing(justify.vote.block);
        let citations = if closes.is_some() || self.is_too_deep(justify.vote.block) {
            Vec::new()
        } else {
            self.lanes.citable(&parent.lane_heads, &self.citation_limits())
        };
        let tc = self.safety.entry_tc().cloned();
        let now = self.now.time;
        let is_due = !citations.is_empty()
            || tc.is_some()
            || self.hints.len() >= self.committee.one_honest()
            || (self.has_unfinal_work() && now >= self.unfinal_time())
            || now >= self.idle_time();
        if !is_due {
            return;
        }
        let newest = self.newest_cited(&parent, &citations);
        let timestamp_ms = TimestampMs::new(
            self.now.wall.get().max(parent.header.timestamp_ms.get() + 1).max(newest.get()),
        );
        let (height, protocol_version, reveals) = if closes.is_some() {
            (parent.header.height, parent.header.protocol_version, Vec::new())
        } else {
            let height = parent.header.height.next();
            (height, parent.versions.at(height), self.includable_reveals(&parent))
        };
        if protocol_version > self.version_max {
            self.stop(
                effects,
                Alarm::VersionUnknown(Activation { height, version: protocol_version }),
            );
            return;
        }
        let block = Block::new(BlockContent {
            protocol_version,
            chain_id: self.chain_id,
            height,
            view,
            justify,
            citations,
            reveals,
            timestamp_ms,
            proposer: me,
            closes,
        });
        self.safety.propose(&block);
        self.store_block(effects, block.clone());
        send_all(effects, Outgoing::Proposal { block, tc });
        self.plan_repeat();
    }

    /// Rules 4, 6 and 7.
    fn run_timers(&mut self, effects: &mut Effects) {
        let now = self.now.time;
        if !self.pacemaker.is_timer_running() {
            let work = self.something_citable();
            if work.is_some()
                || (self.has_unfinal_work() && now >= self.unfinal_time())
                || now >= self.idle_time()
            {
                self.pacemaker.start_timer(now);
                self.hint_at = work.map(|_| now.plus_micros(self.pacemaker.round_trip_micros()));
            }
        }
        if self.hint_at.is_some_and(|at| now >= at) {
            self.hint_at = None;
            self.send_hint(effects);
        }
        if !self.safety.can_time_out() {
            return;
        }
        let view = self.safety.view();
        let leader = self.known_leader();
        let timer_ended = self.pacemaker.timer_end().is_some_and(|end| now >= end);
        let leader_left = leader.is_some_and(|leader| {
            self.votes.timeouts(view).any(|timeout| timeout.signer == leader)
        });
        let joins = self.votes.timeouts(view).count() >= self.committee.one_honest();
        let skips = leader.is_some_and(|leader| self.pacemaker.can_skip(now, view, leader));
        let stuck = !self.is_high_block_complete() && now >= self.stuck_time();
        if timer_ended {
            self.pacemaker.on_timer_end();
        }
        if timer_ended || leader_left || joins || skips || stuck {
            self.safety.time_out();
            self.send_timeout(effects);
            self.plan_repeat();
        }
    }

    /// Tells a leader that has proposed nothing what there is to propose.
    fn send_hint(&self, effects: &mut Effects) {
        let (Some(citation), Some(leader)) = (self.something_citable(), self.known_leader()) else {
            return;
        };
        if self.proposals.is_empty() && self.me.is_some_and(|(me, _)| me != leader) {
            let hint = BatchHint {
                view: self.safety.view(),
                author: citation.author,
                lane_seq: citation.up_to_seq,
                digest: citation.digest,
            };
            send_one(effects, leader, Outgoing::BatchHint(hint));
        }
    }

    /// When a validator that lacks the block to build on leaves the view: it
    /// can neither vote nor lead, and if it should have led, the others follow.
    fn stuck_time(&self) -> Time {
        let patience = (4 * self.pacemaker.round_trip_micros()).max(STUCK_MICROS_MIN);
        self.pacemaker.entered().plus_micros(patience)
    }

    /// Whether the block to build on is here with all its batches.
    fn is_high_block_complete(&self) -> bool {
        let high = self.safety.record().high_qc.vote.block;
        high == self.tree.root_id()
            || self.tree.get(high).is_some_and(|node| matches!(node.body, Body::Ready(_)))
    }

    fn close_batch(&mut self, effects: &mut Effects) {
        let Some((_, key)) = self.me else { return };
        let last = self.safety.record().last_batch.unwrap_or_default();
        if let Some((header, records)) = self.lanes.close(self.safety.era(), key, last) {
            self.safety.extend_lane(&header, header.digest(&self.chain_id));
            effects.persist.own_batches.push((header, Arc::clone(&records)));
            send_all(effects, Outgoing::Batch { header, records });
            self.plan_repeat();
        }
    }

    /// Publishes our VRF output once per epoch of the highest certified chain.
    fn reveal(&mut self, effects: &mut Effects) {
        let high = self.safety.record().high_qc.vote.block;
        let Some(parent) = self.tree.parent(high) else { return };
        let input = parent.child_epoch.reveal_input(self.chain_id);
        if self.revealed != Some(input) {
            self.revealed = Some(input);
            send_all(effects, Outgoing::Reveal(input));
        }
    }

    // ---- asking and repeating ----

    fn ask(&mut self, effects: &mut Effects, missing: &BTreeSet<MissingBatches>) {
        let now = self.now.time;
        if self.is_halted || (missing.is_empty() && self.is_complete()) {
            self.asks.clear();
            return;
        }
        // Everybody was asked: those who spoke of a later era lied, or will again.
        let asked = self.asks.get(&Wanted::End);
        if asked.is_some_and(|it| it.attempts >= self.committee.size() && now >= it.next) {
            self.later_era = None;
        }
        let wanted = self.wanted(missing);
        self.asks.retain(|ask, _| wanted.contains_key(ask));
        let again = now.plus_micros(self.patience_micros());
        let beside = 2 * self.pacemaker.round_trip_micros();
        let beside = now.plus_micros(beside.clamp(ASK_BESIDE_AFTER_MICROS, REPEAT_MICROS_MIN));
        self.chain_next = self.chain_next.min(again);
        for (ask, peers) in wanted {
            let first = match ask {
                Wanted::Batches(_) => now
                    .plus_micros(self.pacemaker.round_trip_micros().max(ASK_BATCHES_AFTER_MICROS)),
                Wanted::Block(_) | Wanted::Chain(_) | Wanted::End => now,
            };
            let asked =
                self.asks.entry(ask).or_insert(Asked { attempts: 0, last: None, next: first });
            asked.next = asked.next.min(again);
            if matches!(ask, Wanted::Chain(_)) {
                // The goal moves with every certificate; one range at a time.
                asked.next = asked.next.max(self.chain_next);
            }
            if now < asked.next || peers.is_empty() {
                if peers.is_empty() {
                    asked.next = now.plus_micros(REPEAT_MICROS_MIN);
                }
                continue;
            }
            let peer = peers[asked.attempts % peers.len()];
            self.owing.extend(asked.last.replace((peer, now)));
            asked.attempts += 1;
            let is_chain = matches!(ask, Wanted::Chain(_));
            // Chains are long. Of anything else a second copy costs less than
            // waiting for one who is slow, or has just died.
            let is_hedged = !is_chain && asked.attempts < peers.len();
            asked.next = if is_hedged { beside } else { again };
            if is_chain {
                self.chain_next = asked.next;
            }
            effects.ask.push(match ask {
                Wanted::Batches(MissingBatches { author, after, up_to, digest }) => {
                    Ask::Batches { author, after, up_to, digest, peer }
                }
                Wanted::Block(block) => Ask::Block { block, peer },
                Wanted::Chain(target) => Ask::Chain { target, above: self.tree.height(), peer },
                Wanted::End => Ask::End { era: self.safety.era(), peer },
            });
        }
    }

    /// Whether everything that certificates, hints and blocks name is here.
    fn is_complete(&self) -> bool {
        self.hinted.is_empty()
            && self.orphans.is_empty()
            && self.pending_certs.is_empty()
            && self.later_era.is_none()
            && self.tree.contains(self.safety.record().high_qc.vote.block)
            && self.proposed_too_deep().is_none()
    }

    /// What is missing, each with the peers that may have it.
    fn wanted(&self, missing: &BTreeSet<MissingBatches>) -> BTreeMap<Wanted, Vec<ValidatorIndex>> {
        let mut wanted = BTreeMap::new();
        for gap in missing {
            // The author first; whoever voted for a block that cites it has it too.
            let mut peers: Vec<_> = self.committee.index_of(&gap.author).into_iter().collect();
            peers.extend(self.proposals.keys());
            peers.extend(self.others());
            wanted.insert(Wanted::Batches(*gap), self.reachable(peers));
        }
        for (hinter, gap) in &self.hinted {
            if !self.lanes.has(&gap.author, gap.up_to, gap.digest) {
                wanted.insert(Wanted::Batches(*gap), self.reachable(vec![*hinter]));
            }
        }
        if let Some(speakers) = &self.later_era {
            let peers = speakers.iter().copied().chain(self.others()).collect();
            wanted.insert(Wanted::End, self.reachable(peers));
        }
        let high = self.safety.record().high_qc.vote;
        let mut blocks = BTreeSet::new();
        // A block below the root is never wanted: it has its commit certificate.
        if !self.is_high_qc_final() {
            blocks.insert(high.block);
        }
        blocks.extend(self.orphans.values().map(|orphan| orphan.header().parent));
        let mut is_far = false;
        for orphan in self.orphans.values() {
            is_far |= orphan.header().height.get() > self.tree.height().get() + CHAIN_GAP_MIN;
        }
        if let Some((_, goal)) = self.pending_certs.last_key_value() {
            let goal = self.target(goal);
            if !self.tree.contains(goal) {
                // The block itself is asked for too: perhaps nobody else knows
                // yet that it is final.
                blocks.insert(goal);
                wanted.insert(Wanted::Chain(goal), self.sources_of(goal));
            }
        }
        if let Some((parent, leader)) = self.proposed_too_deep() {
            let peers = core::iter::once(leader).chain(self.others()).collect();
            wanted.insert(Wanted::Chain(parent), self.reachable(peers));
        }
        blocks.retain(|block| !self.tree.contains(*block) && !self.orphans.contains_key(block));
        for block in blocks {
            let peers = self.sources_of(block);
            if is_far {
                wanted.insert(Wanted::Chain(block), peers.clone());
            }
            wanted.insert(Wanted::Block(block), peers);
        }
        wanted
    }

    /// Sends what must not get lost again, until it is superseded.
    fn repeat(&mut self, effects: &mut Effects) {
        let Some(at) = self.repeat_at else { return };
        let at = at.min(self.now.time.plus_micros(self.patience_micros()));
        self.repeat_at = Some(at);
        if self.now.time < at {
            return;
        }
        self.repeat_at = None;
        self.resend(effects);
    }

    fn resend(&mut self, effects: &mut Effects) {
        let signs = self.me.is_some() && self.resend_votes(effects);
        let lanes = self.resend_batches(effects);
        if signs || lanes {
            self.plan_repeat();
        }
    }

    fn resend_votes(&self, effects: &mut Effects) -> bool {
        let record = self.safety.record().clone();
        let mut again = false;
        if let Some(vote) = record.last_commit_vote {
            let committed = self.final_cert().map(|cert| cert.vote.view);
            if committed.unwrap_or_default() < vote.view {
                again = true;
                send_all(effects, Outgoing::CommitVote(vote));
            }
        }
        if self.safety.last_timeout_view() == record.current_view {
            again = true;
            self.send_timeout(effects);
        } else {
            if let Some(vote) = record.last_voted.filter(|vote| vote.view == record.current_view) {
                again = true;
                send_all(effects, Outgoing::Vote(vote));
            }
            if let Some((_, id)) = record.last_proposal.filter(|last| last.0 == record.current_view)
                && let Some(node) = self.tree.get(id)
            {
                again = true;
                // The TC that it was made with: a QC of the view before may
                // have come since, but the block does not build on that.
                let is_direct = node.block.justify().vote.view.next() == record.current_view;
                let tc = record.high_tc.clone().filter(|_| !is_direct);
                send_all(effects, Outgoing::Proposal { block: node.block.clone(), tc });
            }
        }
        again
    }

    /// Lanes are served also after their author has left the committee: what
    /// it accepted before can be cited in the era after.
    fn resend_batches(&self, effects: &mut Effects) -> bool {
        let heads = &self.tree.root().lane_heads;
        let mut again = false;
        for key in self.keys.iter().filter(|key| !self.lost_keys.contains(key)) {
            let Some((batch, acks)) = self.lanes.oldest_unacknowledged(heads, key) else {
                continue;
            };
            if !self.lanes.is_timely(batch.header(), self.safety.era()) {
                continue;
            }
            again = true;
            let me = self.me.map(|(me, _)| me);
            let unaware =
                self.committee.indices().filter(|peer| Some(*peer) != me && !acks.contains(peer));
            for peer in unaware {
                let message = Outgoing::Batch {
                    header: *batch.header(),
                    records: Arc::clone(batch.records()),
                };
                send_one(effects, peer, message);
            }
        }
        again
    }

    fn plan_repeat(&mut self) {
        let at = self.now.time.plus_micros(self.patience_micros());
        self.repeat_at.get_or_insert(at);
    }

    /// How long, in µs, an answer may take before we ask or send again. It is
    /// judged anew as round trips are measured: a wait that was planned while
    /// the network was slow does not outlast the slowness.
    fn patience_micros(&self) -> u64 {
        REPEAT_MICROS_MIN.max(2 * self.pacemaker.round_trip_micros())
    }

    fn send_timeout(&self, effects: &mut Effects) {
        let (timeout, high_qc) =
            self.safety.record().last_timeout.clone().expect("a timeout was signed");
        assert_eq!(timeout.view, self.safety.view(), "only the current view's is repeated");
        // Beside the signed bytes goes the certificate by which the view was
        // entered; without it nobody else could enter.
        let is_direct = high_qc.vote.view.next() == timeout.view;
        let entry_tc = if is_direct || is_planted(Bug::TimeoutWithoutTc) {
            None
        } else {
            let tc = self.safety.record().high_tc.clone();
            Some(tc.filter(|tc| tc.view.next() == timeout.view).expect("entered by TC"))
        };
        let missing = self.missing_authors();
        send_all(effects, Outgoing::Timeout { timeout, high_qc, entry_tc, missing });
    }

    /// Authors whose batches keep a leader's proposal from our vote.
    fn missing_authors(&self) -> Vec<PublicKey> {
        let mut missing = BTreeSet::new();
        for proposal in self.leader_proposals() {
            let Some(parent) = self.tree.parent(proposal.block.header().parent) else { continue };
            for citation in proposal.block.citations() {
                let one = core::slice::from_ref(citation);
                let era = self.safety.era();
                let resolution = self.lanes.resolve(&parent.lane_heads, one, era, u64::MAX);
                if matches!(resolution, Resolution::Missing(_)) {
                    missing.insert(citation.author);
                }
            }
        }
        missing.into_iter().take(MISSING_AUTHORS_MAX).collect()
    }

    /// After f + 1 reports of a view, an author whose batches could not be had
    /// is cited only with acknowledgements.
    fn note_missing(&mut self, effects: &mut Effects, view: View) {
        let mut reports: BTreeMap<PublicKey, usize> = BTreeMap::new();
        for timeout in self.votes.timeouts(view) {
            let authors: BTreeSet<_> = timeout.missing.iter().collect();
            for author in authors {
                *reports.entry(*author).or_default() += 1;
            }
        }
        let until = View::new(view.get().saturating_add(self.parameters().withholding_views));
        for (author, count) in reports {
            if count >= self.committee.one_honest() {
                let here = self.lanes.withhold(author, self.safety.view(), until);
                for (lane_seq, digest) in here.into_iter().filter(|_| self.me.is_some()) {
                    let ack = BatchAck { author, lane_seq, digest };
                    send_all(effects, Outgoing::BatchAck(ack));
                }
            }
        }
    }

    /// Answers a message of an older view with the certificate by which ours
    /// was entered.
    fn answer(&mut self, effects: &mut Effects, peer: ValidatorIndex) {
        let certificate = match self.safety.entry_tc() {
            Some(tc) => Certificate::Tc(tc.clone()),
            None => Certificate::Qc(self.safety.record().high_qc.clone()),
        };
        self.answer_with(effects, peer, Answered::OldView, certificate);
    }

    fn answer_with(
        &mut self,
        effects: &mut Effects,
        peer: ValidatorIndex,
        reason: Answered,
        certificate: Certificate,
    ) {
        if let Some(key) = self.committee.key(peer)
            && self.me.is_some_and(|(me, _)| me != peer)
            && self.may_answer(key, reason)
        {
            send_one(effects, peer, Outgoing::Certificate(certificate));
        }
    }

    // ---- facts ----

    /// Leader of `view` for a proposal on `parent`, if that is here.
    fn leader_on(&self, parent: BlockId, view: View) -> Option<ValidatorIndex> {
        if let Some((known_parent, known_view, leader)) = self.last_leader.get()
            && (known_parent, known_view) == (parent, view)
        {
            return Some(leader);
        }
        let seed = self.planted_seed(view).or_else(|| self.tree.child_seed(parent))?;
        let leader = Schedule::leader(&self.committee, seed, view);
        self.last_leader.set(Some((parent, view, leader)));
        Some(leader)
    }

    /// What [`Bug::ScheduleFromUncertified`] does.
    fn planted_seed(&self, view: View) -> Option<Hash> {
        if !is_planted(Bug::ScheduleFromUncertified) {
            return None;
        }
        let headers = self.tree.nodes().map(|node| node.block.header());
        let earlier = headers.filter(|header| header.view < view);
        earlier.max_by_key(|header| header.view).map(|highest| Hash(highest.id().0))
    }

    /// Leader of the current view as read off the highest QC's block.
    fn known_leader(&self) -> Option<ValidatorIndex> {
        self.leader_on(self.safety.record().high_qc.vote.block, self.safety.view())
    }

    /// Proposals of the current view by whoever leads it: one, but at an
    /// epoch border, where different parents have different leaders.
    fn leader_proposals(&self) -> impl Iterator<Item = &SignedProposal> {
        self.proposals.values().filter(|proposal| {
            let header = proposal.block.header();
            self.leader_on(header.parent, header.view) == Some(header.proposer)
        })
    }

    /// The numbers of the committed head: validators may differ by a block.
    const fn parameters(&self) -> &Parameters {
        &self.tree.root().parameters
    }

    fn citation_limits(&self) -> CitationLimits {
        CitationLimits {
            view: self.safety.view(),
            era: self.safety.era(),
            newest_ms_max: self.now.wall.saturating_add_ms(self.parameters().clock_ahead_ms),
            bytes_max: self.parameters().block_bytes_max,
            unacknowledged_bytes_max: self.parameters().unacknowledged_bytes_max,
            quorum: self.committee.quorum(),
            one_honest: self.committee.one_honest(),
        }
    }

    /// The first thing that the leader of this view could cite.
    fn something_citable(&self) -> Option<Citation> {
        let high = self.safety.record().high_qc.vote.block;
        if self.tree.closing(high).is_some() {
            return None;
        }
        let parent = self.tree.parent(high)?;
        self.lanes.citable(&parent.lane_heads, &self.citation_limits()).first().copied()
    }

    fn newest_cited(&self, parent: &Parent, citations: &[Citation]) -> TimestampMs {
        let era = self.safety.era();
        match self.lanes.resolve(&parent.lane_heads, citations, era, u64::MAX) {
            Resolution::Ready(batches) => {
                batches.iter().map(|batch| batch.header().newest_ms).max().unwrap_or_default()
            }
            Resolution::Missing(_) | Resolution::Invalid(_) => {
                unreachable!("a leader cites what is here and continues its lane")
            }
        }
    }

    /// Reveals for the parent's epoch that its chain does not have yet.
    fn includable_reveals(&mut self, parent: &Parent) -> Vec<Reveal> {
        let target = parent.child_epoch.epoch.next().next();
        let candidates: Vec<Reveal> = self
            .reveals
            .range((target, ValidatorIndex::ZERO)..=(target, ValidatorIndex::MAX))
            .map(|(_, reveal)| *reveal)
            .filter(|reveal| !parent.child_epoch.reveals.contains_key(&reveal.validator))
            .collect();
        candidates
            .into_iter()
            .filter(|reveal| {
                self.schedule.is_reveal_good(&self.committee, &parent.child_epoch, reveal)
            })
            .collect()
    }

    /// Rule 8: a block's time may be ahead of our clock only a little.
    fn is_too_early(&self, timestamp_ms: TimestampMs, parent_ms: TimestampMs) -> bool {
        let latest = self.now.wall.saturating_add_ms(self.parameters().clock_ahead_ms);
        timestamp_ms > latest && timestamp_ms.get() > parent_ms.get() + 1
    }

    /// When a proposal that is too early for our clock may get our vote.
    fn held_proposal_time(&self) -> Option<Time> {
        let timestamps = self.leader_proposals().map(|held| held.block.header().timestamp_ms);
        let timestamp_ms = timestamps.min()?;
        let latest = self.now.wall.saturating_add_ms(self.parameters().clock_ahead_ms);
        let wait_ms = timestamp_ms.saturating_ms_since(latest);
        (wait_ms > 0).then(|| self.now.time.plus_ms(wait_ms))
    }

    /// Whether what the highest QC certifies is final: the root came by a commit
    /// certificate alone.
    fn is_high_qc_final(&self) -> bool {
        let high = self.safety.record().high_qc.vote.view;
        self.final_cert().is_some_and(|cert| high <= cert.vote.view)
    }

    fn idle_time(&self) -> Time {
        self.pacemaker.entered().plus_ms(self.parameters().idle_block_ms)
    }

    /// When a certified block with records should have been final.
    fn unfinal_time(&self) -> Time {
        let patience = (2 * self.pacemaker.round_trip_micros()).max(UNFINAL_MICROS_MIN);
        self.high_qc_at.plus_micros(patience)
    }

    /// Whether the highest certified chain orders records that are not final,
    /// or ends an era that is not over.
    fn has_unfinal_work(&self) -> bool {
        let high = self.safety.record().high_qc.vote.block;
        self.tree.closing(high).is_some()
            || self.tree.path(high).is_some_and(|path| {
                path.iter().any(|id| {
                    self.tree.get(*id).is_some_and(|node| !node.block.citations().is_empty())
                })
            })
    }

    /// Whether this very batch is the next that a waiting block needs. Hints
    /// do not count: they are anybody's word.
    fn is_wanted(&self, author: &PublicKey, seq: LaneSeq, digest: BatchDigest) -> bool {
        self.asks.keys().any(|ask| match ask {
            Wanted::Batches(gap) => {
                (gap.author, gap.up_to, gap.digest) == (*author, seq, digest)
                    && !self.hinted.values().any(|hinted| hinted == gap)
            }
            Wanted::Block(_) | Wanted::Chain(_) | Wanted::End => false,
        })
    }

    /// Raises an alarm, once per validator, kind and view: one proof is enough.
    fn accuse(&mut self, effects: &mut Effects, evidence: Box<Evidence>) {
        let key = match evidence.as_ref() {
            Evidence::Votes(first, _) => (1, first.signer.get().into(), first.vote.view.get()),
            Evidence::CommitVotes(first, _) => {
                (2, first.signer.get().into(), first.vote.view.get())
            }
            Evidence::Timeouts(first, _) => {
                (3, first.signer.get().into(), first.timeout.view.get())
            }
            Evidence::Proposals(first, _) => {
                let header = first.block.header();
                (4, header.proposer.get().into(), header.view.get())
            }
            Evidence::Batches(first, _) => {
                let author = self.committee.index_of(&first.header().author);
                let author = author.map_or(u32::MAX, |author| author.get().into());
                (5, author, first.header().lane_seq.get())
            }
            Evidence::HiddenQc(vote, _) => (6, vote.signer.get().into(), vote.vote.view.get()),
            Evidence::OtherExec(vote, _) => (7, vote.signer.get().into(), vote.vote.view.get()),
        };
        if self.accused.len() >= ACCUSED_MAX {
            self.accused.clear();
        }
        if self.accused.insert(key) {
            effects.alarms.push(Alarm::Equivocation(evidence));
        }
    }

    fn add_source(&mut self, block: BlockId, peer: ValidatorIndex) {
        if self.tree.contains(block) {
            return;
        }
        if self.sources.len() >= ORPHANS_MAX && !self.sources.contains_key(&block) {
            self.sources.pop_first();
        }
        let peers = self.sources.entry(block).or_default();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    fn sources_of(&self, block: BlockId) -> Vec<ValidatorIndex> {
        let mut peers = self.sources.get(&block).cloned().unwrap_or_default();
        peers.extend(self.others());
        self.reachable(peers)
    }

    fn others(&self) -> impl Iterator<Item = ValidatorIndex> + use<'_> {
        self.committee.indices()
    }

    /// Each peer once, without this validator; those heard lately come first,
    /// unless they owe an answer since before.
    fn reachable(&self, peers: Vec<ValidatorIndex>) -> Vec<ValidatorIndex> {
        let heard: BTreeSet<_> = self.pacemaker.heard_since(self.now.time).collect();
        let mut near = Vec::new();
        let mut far = Vec::new();
        for peer in peers {
            let owes = self.owing.get(&peer);
            let is_near = heard.contains(&peer)
                && owes.is_none_or(|asked| self.pacemaker.is_heard_after(peer, *asked));
            let list = if is_near { &mut near } else { &mut far };
            if Some(peer) != self.me.map(|(me, _)| me) && !list.contains(&peer) {
                list.push(peer);
            }
        }
        near.extend(far);
        near
    }

    /// Puts the changed safety record among what must be durable. A validator
    /// that has lost its records writes none: it would pass for fresh later.
    fn finish(&mut self, effects: &mut Effects) {
        if let Some((_, key)) = self.me {
            let changed = self.safety.take_changed().filter(|_| !is_write_lost(effects));
            effects.persist.safety.extend(changed.map(|record| (key, record)));
        }
    }
}

/// What [`Bug::VoteBeforePersist`] and [`Bug::QcNotDurable`] do.
fn is_write_lost(effects: &Effects) -> bool {
    effects.send.iter().any(|send| match send.message {
        Outgoing::Vote(_) => is_planted(Bug::VoteBeforePersist),
        Outgoing::CommitVote(_) => is_planted(Bug::QcNotDurable),
        _ => false,
    })
}

fn send_all(effects: &mut Effects, message: Outgoing) {
    effects.send.push(Send { to: Recipients::All, message });
}

fn send_one(effects: &mut Effects, peer: ValidatorIndex, message: Outgoing) {
    effects.send.push(Send { to: Recipients::One(peer), message });
}
