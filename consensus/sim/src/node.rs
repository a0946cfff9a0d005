//! One node: the real replica and a model of the driver around it.
//!
//! The driver does with [`Effects`] what the real one does, in their order:
//! write, sync, sign and send, execute, commit, ask. The disk may be slow, so
//! further steps can come while a sync is under way; what they send waits for
//! a sync of their own.

use crate::byzantine::{Letter, Liar, Parcel};
use crate::clock::Clock;
use crate::cluster::{Cluster, Event, Sabotage, Weakness};
use crate::disk::{Accepted, Disk, Stored, Write, asked_peer};
use crate::faults::{AtSync, CrashPoint};
use crate::keys::{Keyring, index};
use crate::ledger::{self, NEXT_VERSION};
use crate::network::{Message, Payload};
use crate::oracles::{Checked, Invariant, record_number};
use bizra_consensus::{
    Alarm, Ask, Commit, Effects, Execute, Input, Now, Outgoing, Recipients, Replica, ReplicaConfig,
    SafetyRecord, Send,
};
use bizra_types::batch::SignedBatch;
use bizra_types::block::{SignedProposal, proposal_bytes};
use bizra_types::certificate::Certificate;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{BlockId, ChainId, ExecHash};
use bizra_types::message::{SignedCommitVote, SignedTimeout, SignedVote};
use bizra_types::numbers::{Era, ValidatorIndex, View};
use bizra_types::planted::{Bug, is_planted};
use bizra_types::verify::{Chain, Fault};
use bizra_types::vrf::VrfInput;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A liar whose replica signs no more starts it again after so many µs.
const LIAR_RESTART_MICROS: u64 = 20_000;
/// A chain that nobody here follows.
const OTHER_CHAIN: ChainId = ChainId([7; 32]);
/// The disk reads an answer in so many µs.
const ANSWER_MICROS: u64 = 200;
/// A member tells each node without a seat of so many in a million of its
/// final heads.
const GOSSIP_PER_MILLION: u64 = 300_000;
/// So many of a million commits that end an era are written before what the
/// same step wants synced.
const COMMIT_FIRST_PER_MILLION: u64 = 500_000;
/// How often a replica may want to be woken at one instant.
const WAKES_AT_ONCE_MAX: u32 = 100;
/// Height from which [`Sabotage::OtherExec`] executes to something else.
const OTHER_EXEC_HEIGHT: u64 = 5;

/// What a step wants to send, held until all before it is synced.
#[derive(Debug)]
struct Output {
    after_write: u64,
    /// The replica's after the step, whose committee gives places a meaning.
    era: Era,
    send: Vec<Send>,
    ask: Vec<Ask>,
}

/// A machine: disk and clocks always, a process while it runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) is_paused: bool,
    /// Counts processes: what one began means nothing to the next.
    pub(crate) incarnation: u32,
    /// Where the next crash comes, and for how long.
    pub(crate) armed: Option<(CrashPoint, u64)>,
    /// Syncs take so many times as long as usual.
    pub(crate) sync_factor: u64,
    /// What came while it was paused.
    pub(crate) deferred: Vec<Event>,
    /// The eras of which its driver can verify anything. What is in a later one
    /// the verifier that all nodes share may know, and it must not.
    chain: Chain,
    replica: Option<Replica>,
    /// The safety records with which the process started.
    first_safety: BTreeMap<(Era, PublicKey), SafetyRecord>,
    execs: BTreeMap<BlockId, ExecHash>,
    outbox: VecDeque<Output>,
    wake_at: Option<u64>,
    last_wake: (u64, u32),
}

impl Node {
    pub(crate) const fn new(disk: Disk, clock: Clock, chain: Chain) -> Self {
        Self {
            disk,
            clock,
            is_paused: false,
            incarnation: 0,
            armed: None,
            sync_factor: 1,
            deferred: Vec::new(),
            chain,
            replica: None,
            first_safety: BTreeMap::new(),
            execs: BTreeMap::new(),
            outbox: VecDeque::new(),
            wake_at: None,
            last_wake: (0, 0),
        }
    }

    /// The last era that it knows: that of the next block.
    pub(crate) fn era(&self) -> Era {
        self.chain.newest()
    }

    /// The running replica, if any.
    pub(crate) const fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Whether its process exists and is not paused.
    pub(crate) const fn is_running(&self) -> bool {
        self.replica.is_some() && !self.is_paused
    }
}

impl Cluster {
    /// Starts a process on what its disk holds.
    pub(crate) fn start(&mut self, node: usize) -> Checked {
        let keyring = &mut self.keyring;
        let this = &mut self.nodes[node];
        let stored = this.disk.stored();
        let restored = stored
            .restored(&mut |header, records| keyring.sign_batch(*header, Arc::clone(records)));
        self.oracles.on_start(node, stored);
        this.first_safety.clone_from(&stored.safety);
        let head = &restored.root;
        this.chain = restored.chain(keyring.genesis()).expect("a disk keeps the ends of eras");
        this.execs = BTreeMap::from([(head.header.id(), head.exec)]);
        let now = this.clock.now(self.now_micros);
        let is_old = self.weakness == Weakness::OldProgram(node);
        let config = ReplicaConfig {
            genesis: Arc::clone(keyring.genesis()),
            keys: keyring.members().keys(node),
            version_max: if is_old { keyring.genesis().protocol_version } else { NEXT_VERSION },
        };
        let (replica, effects) = Replica::new(&config, restored, now).expect("as above");
        this.replica = Some(replica);
        self.carry_out(node, effects)
    }

    /// Ends a process; the first `survivors` of its unsynced writes are on disk.
    pub(crate) fn kill(&mut self, node: usize, survivors: usize) -> Checked {
        let this = &mut self.nodes[node];
        this.replica = None;
        this.is_paused = false;
        this.incarnation += 1;
        this.armed = None;
        this.deferred.clear();
        this.outbox.clear();
        this.execs.clear();
        this.wake_at = None;
        let accepted = this.disk.crash(survivors);
        if self.options.sabotage == Some(Sabotage::ForgetfulDisk)
            || is_planted(Bug::OldSafetyRecord)
        {
            this.disk.restore_safety(std::mem::take(&mut this.first_safety));
        }
        self.accept(accepted)
    }

    /// Gives the replica an input and does what it answers.
    pub(crate) fn step(&mut self, node: usize, input: Input) -> Checked {
        let this = &mut self.nodes[node];
        let now = this.clock.now(self.now_micros);
        let Some(replica) = &mut this.replica else { return Ok(()) };
        let effects = replica.step(now, input);
        self.carry_out(node, effects)
    }

    /// The deadline may have passed.
    pub(crate) fn wake(&mut self, node: usize) -> Checked {
        let this = &mut self.nodes[node];
        this.wake_at = None;
        let now = this.clock.now(self.now_micros);
        let due = this.replica.as_ref().and_then(Replica::deadline);
        if due.is_none_or(|deadline| deadline > now.time) {
            self.schedule_wake(node);
            return Ok(());
        }
        let count = if this.last_wake.0 == self.now_micros { this.last_wake.1 + 1 } else { 0 };
        this.last_wake = (self.now_micros, count);
        if count > WAKES_AT_ONCE_MAX {
            self.oracles.breach(Invariant::Deadline, || {
                format!("node {node} wants to be woken for ever at {due:?}")
            })?;
        }
        self.step(node, Input::Wake)
    }

    /// Whether a wake-up that was scheduled for now is still wanted.
    pub(crate) fn is_wake_wanted(&self, node: usize) -> bool {
        self.nodes[node].wake_at.is_some_and(|at| at <= self.now_micros)
    }

    /// A sync ends: the node learns of it and sends what waited.
    pub(crate) fn synced(&mut self, node: usize) -> Checked {
        let unsynced = self.nodes[node].disk.unsynced();
        match self.nodes[node].armed {
            Some((CrashPoint::Sync(AtSync::Torn), _)) if unsynced < 2 => {}
            Some((point @ CrashPoint::Sync(left), down_micros)) => {
                let survivors = match left {
                    AtSync::Kept => unsynced,
                    AtSync::Lost => 0,
                    AtSync::Torn => 1 + self.rng.index(unsynced - 1),
                    AtSync::Failed => self.rng.index(unsynced + 1),
                };
                return self.crash(node, point, survivors, down_micros);
            }
            Some((point @ CrashPoint::AfterSync, down_micros)) => {
                let accepted = self.nodes[node].disk.finish_sync();
                self.accept(accepted)?;
                return self.crash(node, point, 0, down_micros);
            }
            Some((point @ CrashPoint::MidSend, down_micros)) => {
                let accepted = self.nodes[node].disk.finish_sync();
                self.accept(accepted)?;
                let mut budget = self.rng.index(2 * self.nodes.len()) + 1;
                self.release(node, &mut budget)?;
                return self.crash(node, point, 0, down_micros);
            }
            Some((CrashPoint::Now | CrashPoint::BeforeWrite, _)) | None => {}
        }
        let accepted = self.nodes[node].disk.finish_sync();
        self.accept(accepted)?;
        self.sync(node);
        self.release(node, &mut { usize::MAX })
    }

    /// Answers a peer from the disk.
    pub(crate) fn answer(&mut self, node: usize, asker: usize, ask: &Ask) {
        let now = self.nodes[node].clock.now(self.now_micros);
        if let Some(liar) = self.liars.get_mut(&node)
            && !liar.answers(now, &self.keyring, ask)
        {
            return;
        }
        let inputs = read_answer(&mut self.keyring, self.nodes[node].disk.stored(), ask);
        let is_muted = self.options.sabotage == Some(Sabotage::MuteLane(node));
        if is_muted && matches!(ask, Ask::Batches { .. }) || inputs.is_empty() {
            return;
        }
        self.transmit(node, asker, &Arc::new(Message::answer(inputs)), ANSWER_MICROS);
    }

    /// A peer's message reaches a node's driver, which hands it to the replica
    /// if it can make sense of it. Of an era that did not begin here it cannot,
    /// and all that the replica learns is that there is one.
    pub(crate) fn hear(&mut self, from: usize, node: usize, input: &Input) -> Checked {
        let chain = &self.nodes[node].chain;
        let era = chain.newest();
        let place = self.keyring.members().seat(era, from).map(|(place, _)| place);
        if let Some(Err(Fault::Era(later))) = era_of(input).map(|of| chain.era(of)) {
            return self.step(node, Input::LaterEra { era: later, peer: place });
        }
        let verifier = self.keyring.verifier();
        // What carries no signature comes from the peer's place in the era here.
        let heard = match (input, place) {
            (Input::BatchAck(it), Some(place)) => {
                verifier.batch_ack(era, place, it.get().message).map(Input::BatchAck)
            }
            (Input::BatchHint(it), Some(place)) => {
                verifier.batch_hint(era, place, it.get().message).map(Input::BatchHint)
            }
            (Input::Reveal(it), Some(place)) if it.get().validator == place => {
                verifier.reveal(era, *it.get()).map(Input::Reveal)
            }
            (Input::BatchAck(_) | Input::BatchHint(_) | Input::Reveal(_), _) => return Ok(()),
            (other, _) => Ok(other.clone()),
        };
        let heard = heard.expect("the peer is a member");
        if self.is_liar(node) {
            self.lie(node, |liar, now, keyring| liar.hear(now, keyring, input))?;
        }
        self.step(node, heard)?;
        if self.nodes[node].replica.is_none() {
            return Ok(());
        }
        self.oracles.on_heard(node, input)
    }

    /// Carries out effects in the order of their fields.
    fn carry_out(&mut self, node: usize, effects: Effects) -> Checked {
        if let Some((point @ CrashPoint::BeforeWrite, down_micros)) = self.nodes[node].armed
            && !effects.persist.is_empty()
        {
            let survivors = self.nodes[node].disk.unsynced();
            return self.crash(node, point, survivors, down_micros);
        }
        let Effects { persist, send, execute, commit, ask, alarms } = effects;
        for (key, safety) in &persist.safety {
            self.oracles.on_safety(node, *key, safety)?;
        }
        for closed in &persist.closed {
            self.oracles.on_closed(node, closed)?;
        }
        self.oracles.on_decided(node, &send)?;
        // Commits are written elsewhere: the first of an era may be on disk
        // before that is which ended the one before.
        let ends_era = commit.iter().any(|commit| commit.root.opening.is_some());
        let is_late = ends_era && self.change_rng.chance(COMMIT_FIRST_PER_MILLION);
        let this = &mut self.nodes[node];
        let mut after_write = this.disk.written();
        let mut late_persist = None;
        if is_late {
            after_write += commit.len() as u64 + 1;
            late_persist = Some(persist);
        } else if !persist.is_empty() {
            after_write = this.disk.write(Write::Persist(persist));
        }
        let era = this.replica.as_ref().expect("it made a step").era();
        if !send.is_empty() || !ask.is_empty() {
            this.outbox.push_back(Output { after_write, era, send, ask });
        }
        for execute in execute {
            self.execute(node, &execute)?;
        }
        for commit in commit {
            self.oracles.on_commit(node, &commit)?;
            self.learn(node, &commit)?;
            self.note_final(node, &commit);
            self.nodes[node].disk.write(Write::Commit(Box::new(commit)));
        }
        if let Some(persist) = late_persist {
            self.nodes[node].disk.write(Write::Persist(persist));
        }
        for alarm in &alarms {
            self.oracles.on_alarm(node, alarm)?;
        }
        if self.is_liar(node) && alarms.iter().any(is_stopping) {
            // Its replica met what it signed behind its back, and a liar goes on.
            let survivors = self.nodes[node].disk.unsynced();
            return self.kill_for(node, survivors, LIAR_RESTART_MICROS);
        }
        self.sync(node);
        self.release(node, &mut { usize::MAX })?;
        self.schedule_wake(node);
        Ok(())
    }

    /// The cluster learns of the era that a commit opens, and nodes without a
    /// seat hear of the new head.
    fn learn(&mut self, node: usize, commit: &Commit) -> Checked {
        let root = &commit.root;
        if let Some((era, context)) = root.ended().map(|ended| ended.opens()) {
            // As the driver tells its verifier.
            self.nodes[node].chain.add_era(era, context.clone());
            self.oracles.begin(era, &context.committee);
            self.keyring.begin(era, context);
        }
        let members = self.keyring.members();
        if members.seat(root.header.era, node).is_none() {
            return Ok(());
        }
        let without_seat: Vec<_> = (0..members.nodes())
            .filter(|peer| members.seat(root.header.era, *peer).is_none())
            .collect();
        // There is no head of what a filler made final.
        let Some(head) = root.final_header() else { return Ok(()) };
        let head = self.keyring.verifier().final_header(head).expect("judged with the commit");
        let message = Arc::new(Message::of(Input::Certificate(head.into_certificate())));
        for peer in without_seat {
            if self.change_rng.chance(GOSSIP_PER_MILLION) {
                self.transmit(node, peer, &message, 0);
            }
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if this.disk.start_sync() {
            let delay = this.sync_factor * self.rng.between(self.sync_micros / 2, self.sync_micros);
            let incarnation = this.incarnation;
            self.push(delay, Event::Synced { node, incarnation });
        }
    }

    fn accept(&mut self, accepted: Vec<Accepted>) -> Checked {
        for (header, records) in accepted {
            if let (Some(finality), Some(node)) =
                (&mut self.finality, self.keyring.members().owner(&header.author))
            {
                let numbers = records.iter().map(|it| record_number(&it.bytes) as u64);
                finality.on_accepted(node, header.lane_seq, numbers);
            }
            let batch = self.keyring.sign_batch(header, records);
            self.oracles.on_accepted(Arc::new(batch))?;
        }
        Ok(())
    }

    fn execute(&mut self, node: usize, execute: &Execute) -> Checked {
        let this = &mut self.nodes[node];
        let header = execute.block.header();
        let Some(parent) = this.execs.get(&header.parent) else {
            return self.oracles.breach(Invariant::Execution, || {
                format!("node {node} is to execute {header:?} on a parent it has not executed")
            });
        };
        let mut exec = ledger::fields(*parent, header.height, &execute.batches).hash();
        if self.options.sabotage == Some(Sabotage::OtherExec(node))
            && header.height.get() >= OTHER_EXEC_HEIGHT
        {
            exec.0[0] ^= 1;
        }
        let block = execute.block.id();
        this.execs.insert(block, exec);
        if is_planted(Bug::LeakingOverlay) {
            this.execs.insert(header.parent, exec);
        }
        let incarnation = this.incarnation;
        let delay = self.rng.between(20, 400);
        let decisions = ledger::decisions(self.keyring.members(), header, &execute.batches);
        let result = Box::new((block, exec, decisions));
        self.push(delay, Event::Executed { node, incarnation, result });
        Ok(())
    }

    fn schedule_wake(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let Some(deadline) = this.replica.as_ref().and_then(Replica::deadline) else { return };
        let at = this.clock.when(deadline).max(self.now_micros);
        if this.wake_at.is_none_or(|scheduled| at < scheduled) {
            this.wake_at = Some(at);
            let incarnation = this.incarnation;
            self.push(at - self.now_micros, Event::Wake { node, incarnation });
        }
    }

    /// Sends what is covered by a sync, to at most `budget` recipients.
    fn release(&mut self, node: usize, budget: &mut usize) -> Checked {
        let is_early = self.options.sabotage == Some(Sabotage::SendBeforeSync);
        loop {
            let this = &mut self.nodes[node];
            let synced = this.disk.synced();
            let Some(output) = this.outbox.pop_front_if(|it| is_early || it.after_write <= synced)
            else {
                return Ok(());
            };
            for send in output.send {
                if *budget == 0 {
                    return Ok(());
                }
                self.send(node, output.era, send, budget)?;
            }
            for ask in output.ask {
                let peer = self.keyring.members().node(output.era, asked_peer(&ask));
                if let Some(peer) = peer.filter(|peer| *peer != node) {
                    self.oracles.on_ask(node, self.now_micros)?;
                    self.transmit(node, peer, &Arc::new(Message::of_ask(ask)), 0);
                }
            }
        }
    }

    fn send(&mut self, node: usize, era: Era, send: Send, budget: &mut usize) -> Checked {
        let is_batch = matches!(send.message, Outgoing::Batch { .. });
        let is_liar = self.is_liar(node);
        let said = is_liar.then(|| send.message.clone());
        let input = match self.sign(node, era, send.message, self.keyring.chain_id()) {
            None => return Ok(()),
            Some(Ok(input)) => input,
            Some(Err(fault)) => {
                return self.oracles.breach(Invariant::WellFormed, || {
                    format!("node {node} sends what peers refuse: {fault}")
                });
            }
        };
        self.oracles.on_sent(node, &input, &self.nodes[node].disk)?;
        if self.options.sabotage == Some(Sabotage::ForgingNetwork) {
            self.forge(node, &input);
        }
        let message = Arc::new(Message::of(input));
        if send.to == Recipients::All {
            self.push(0, Event::Deliver { from: node, to: node, message: Arc::clone(&message) });
        }
        let is_muted = is_batch && self.options.sabotage == Some(Sabotage::MuteLane(node));
        let members = self.keyring.members();
        // A step that ends an era may still answer by the places of before:
        // such an answer goes astray.
        let mut peers: Vec<usize> = match send.to {
            Recipients::All | Recipients::One(_) if is_muted => Vec::new(),
            Recipients::One(place) => members.node(era, place).into_iter().collect(),
            Recipients::Former(key) => members.owner(&key).into_iter().collect(),
            Recipients::All => {
                let places = members.committee(era).indices();
                places.filter_map(|place| members.node(era, place)).collect()
            }
        };
        peers.retain(|peer| *peer != node);
        if let Some(said) = said {
            return self.lie(node, |liar, now, keyring| liar.send(now, keyring, peers, said));
        }
        if let ([peer], Payload::Input(input)) = (peers.as_slice(), &message.payload)
            && send.to != Recipients::All
            && matches!(**input, Input::Certificate(_))
        {
            self.oracles.on_answer(node, *peer, self.now_micros)?;
        }
        for peer in peers {
            if send.to == Recipients::All {
                if *budget == 0 {
                    return Ok(());
                }
                *budget -= 1;
            }
            self.transmit(node, peer, &message, 0);
        }
        Ok(())
    }

    /// Lets a liar act, and sends what comes of it as far as its peers' drivers
    /// let it pass.
    pub(crate) fn lie(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Liar, Now, &Keyring) -> Vec<Parcel>,
    ) -> Checked {
        let now = self.nodes[node].clock.now(self.now_micros);
        let era = self.nodes[node].era();
        let liar = self.liars.get_mut(&node).expect("asked of liars only");
        let before = liar.lies_total();
        let parcels = act(liar, now, &self.keyring);
        let lies = liar.lies_total();
        if lies > before {
            self.note_lies(node, lies);
        }
        for Parcel { to, letter, delay_micros } in parcels {
            let input = match letter {
                Letter::Own(message) => self.sign(node, era, message, self.keyring.chain_id()),
                Letter::Abroad(message) => self.sign(node, era, message, OTHER_CHAIN),
                Letter::Copy(input) => Some(if is_passed_on(node, &input) {
                    Ok(*input)
                } else {
                    Err(Fault::Inconsistent("a message that another validator signed"))
                }),
                Letter::Ask(ask) => {
                    let message = Arc::new(Message::of_ask(ask));
                    for peer in to {
                        self.transmit(node, peer, &message, delay_micros);
                    }
                    continue;
                }
            };
            match input {
                None => {}
                Some(Err(_)) => self.refused += 1,
                Some(Ok(input)) => {
                    self.oracles.on_sent(node, &input, &self.nodes[node].disk)?;
                    let message = Arc::new(Message::of(input));
                    for peer in to {
                        self.transmit(node, peer, &message, delay_micros);
                    }
                }
            }
        }
        Ok(())
    }

    /// Signs what leaves. VRF outputs do not while there is an outage of them.
    fn sign(
        &mut self,
        node: usize,
        era: Era,
        message: Outgoing,
        chain_id: ChainId,
    ) -> Option<Result<Input, Fault>> {
        if matches!(message, Outgoing::Reveal(_)) && !self.are_reveals_made {
            return None;
        }
        sign(&mut self.keyring, node, era, message, chain_id)
    }

    /// Changes what is sent in ways a network could, and delivers it wherever
    /// the verifier lets it pass.
    fn forge(&mut self, node: usize, input: &Input) {
        let other = index((node + 1) % self.nodes.len());
        let verifier = self.keyring.verifier();
        let mut forged = Vec::new();
        match input {
            Input::Proposal(it) => {
                let mut signature = it.get().signature;
                signature.0[0] ^= 1;
                forged.push(
                    verifier
                        .proposal(SignedProposal { signature, ..it.get().clone() })
                        .map(Input::Proposal),
                );
            }
            Input::Vote(it) => {
                let vote = *it.get();
                forged.push(verifier.vote(SignedVote { signer: other, ..vote }).map(Input::Vote));
                let mut changed = vote;
                changed.vote.block = BlockId([7; 32]);
                forged.push(verifier.vote(changed).map(Input::Vote));
                self.overheard.insert((node, vote.vote.era, vote.vote.view), vote);
                let before = vote.vote.era.previous().unwrap_or_default();
                if let Some(old) = self.overheard.get(&(node, before, vote.vote.view)) {
                    let mut renewed = *old;
                    renewed.vote.era = vote.vote.era;
                    renewed.signer = vote.signer;
                    forged.push(verifier.vote(renewed).map(Input::Vote));
                }
            }
            Input::CommitVote(it) => {
                let mut changed = *it.get();
                changed.vote.exec = ExecHash([7; 32]);
                forged.push(verifier.commit_vote(changed).map(Input::CommitVote));
            }
            Input::Timeout(it) => {
                let changed = SignedTimeout { signer: other, ..it.get().clone() };
                forged.push(verifier.timeout(changed).map(Input::Timeout));
            }
            Input::Certificate(it) => {
                let mut changed = it.get().clone();
                match &mut changed {
                    Certificate::Qc(qc) => qc.vote.view = View::new(qc.vote.view.get() + 5),
                    Certificate::Tc(tc) => tc.signatures.swap(0, 1),
                    Certificate::Commit(cert) | Certificate::Filler(cert, _) => {
                        cert.vote.exec = ExecHash([7; 32]);
                    }
                }
                forged.push(verifier.certificate(changed).map(Input::Certificate));
            }
            _ => {}
        }
        for result in forged {
            match result {
                Err(_) => self.refused += 1,
                Ok(input) => {
                    let message = Arc::new(Message::of(input));
                    for peer in 0..self.nodes.len() {
                        self.transmit(node, peer, &message, 0);
                    }
                }
            }
        }
    }
}

/// What a disk holds of an answer, verified.
pub(crate) fn read_answer(keyring: &mut Keyring, stored: &Stored, ask: &Ask) -> Vec<Input> {
    let chain_id = keyring.chain_id();
    let sign = &mut |header: &_, records: &Arc<_>| keyring.sign_batch(*header, Arc::clone(records));
    let mut inputs = Vec::new();
    let verified = match *ask {
        Ask::Batches { author, after, up_to, digest, .. } => {
            let batches = stored.batches_for(&chain_id, (author, after, up_to), digest, sign);
            batches.iter().try_for_each(|batch| {
                let batch = keyring.verifier().batch(SignedBatch::clone(batch))?;
                inputs.push(Input::Batch(batch));
                Ok::<_, Fault>(())
            })
        }
        Ask::Block { block, .. } => stored.block(&block).map_or(Ok(()), |block| {
            inputs.push(Input::Block(keyring.verifier().block(block.clone())?));
            Ok(())
        }),
        Ask::End { era, .. } => {
            let known = stored.closed.get(&era).filter(|_| !is_planted(Bug::StrandedStragglers));
            known.map_or(Ok(()), |closed| {
                let certificate = keyring.verifier().certificate(closed.certificate.clone())?;
                inputs.push(Input::Certificate(certificate));
                Ok(())
            })
        }
        Ask::Chain { above, .. } => {
            stored.chain_above(above, sign).map_or(Ok(()), |(blocks, cert)| {
                for (block, batches) in blocks {
                    inputs.push(Input::Block(keyring.verifier().block(block)?));
                    for batch in batches {
                        let batch = keyring.verifier().batch(SignedBatch::clone(&batch))?;
                        inputs.push(Input::Batch(batch));
                    }
                }
                let cert = keyring.verifier().certificate(cert)?;
                inputs.push(Input::Certificate(cert));
                Ok(())
            })
        }
    };
    verified.expect("what honest nodes store was verified before");
    inputs
}

/// Signs what leaves, as the driver does once it is durable, and verifies
/// it once for all who will receive it. None when it does not leave. `era`
/// is that of what does not name its own.
pub(crate) fn sign(
    keyring: &mut Keyring,
    node: usize,
    era: Era,
    message: Outgoing,
    chain_id: ChainId,
) -> Option<Result<Input, Fault>> {
    Some(match message {
        Outgoing::Proposal { block, tc } => {
            let header = block.header();
            let bytes = proposal_bytes(&chain_id, header.era, header.view, block.id());
            let signature = keyring.sign(header.era, node, &bytes);
            let proposal = SignedProposal { block, tc, signature };
            keyring.verifier().proposal(proposal).map(Input::Proposal)
        }
        Outgoing::Vote(vote) => {
            let signature = keyring.sign(vote.era, node, &vote.signed_bytes(&chain_id));
            let vote = SignedVote { vote, signer: place(keyring, vote.era, node), signature };
            keyring.verifier().vote(vote).map(Input::Vote)
        }
        Outgoing::CommitVote(vote) => {
            let signature = keyring.sign(vote.era, node, &vote.signed_bytes(&chain_id));
            let signer = place(keyring, vote.era, node);
            let vote = SignedCommitVote { vote, signer, signature };
            keyring.verifier().commit_vote(vote).map(Input::CommitVote)
        }
        Outgoing::Timeout { timeout, high_qc, entry_tc, missing } => {
            let signature = keyring.sign(timeout.era, node, &timeout.signed_bytes(&chain_id));
            let signer = place(keyring, timeout.era, node);
            let timeout = SignedTimeout { timeout, signer, signature, high_qc, entry_tc, missing };
            keyring.verifier().timeout(timeout).map(Input::Timeout)
        }
        Outgoing::Batch { header, records } => {
            let signature = keyring.sign(header.era, node, &header.signed_bytes(&chain_id));
            let batch = SignedBatch::new(header, signature, records)
                .expect("header and records belong together");
            keyring.verifier().batch(batch).map(Input::Batch)
        }
        Outgoing::Reveal(input) => {
            let (place, _) = keyring.members().seat(era, node)?;
            let reveal = keyring.reveal(era, place, &VrfInput { chain_id, ..input });
            keyring.verifier().reveal(era, reveal).map(Input::Reveal)
        }
        Outgoing::Certificate(certificate) => {
            keyring.verifier().certificate(certificate).map(Input::Certificate)
        }
        // Places of the sender are of the era that the receiver is in.
        Outgoing::BatchAck(ack) => {
            let (place, _) = keyring.members().seat(era, node)?;
            keyring.verifier().batch_ack(era, place, ack).map(Input::BatchAck)
        }
        Outgoing::BatchHint(hint) => {
            let (place, _) = keyring.members().seat(era, node)?;
            keyring.verifier().batch_hint(era, place, hint).map(Input::BatchHint)
        }
    })
}

/// The place of a node in an era; where it has none, one that peers refuse.
fn place(keyring: &Keyring, era: Era, node: usize) -> ValidatorIndex {
    keyring.members().seat(era, node).map_or_else(|| index(node), |(place, _)| place)
}

/// The era that an input is of, if it says so.
fn era_of(input: &Input) -> Option<Era> {
    Some(match input {
        Input::Proposal(it) => it.get().block.header().era,
        Input::Vote(it) => it.get().vote.era,
        Input::CommitVote(it) => it.get().vote.era,
        Input::Timeout(it) => it.get().timeout.era,
        Input::Certificate(it) => match it.get() {
            Certificate::Qc(qc) => qc.vote.era,
            Certificate::Tc(tc) => tc.era,
            Certificate::Commit(cert) | Certificate::Filler(cert, _) => cert.vote.era,
        },
        Input::Batch(it) => it.get().header().era,
        Input::Block(it) => it.get().header().era,
        _ => return None,
    })
}

/// Whether a replica signs nothing more after this alarm.
const fn is_stopping(alarm: &Alarm) -> bool {
    !matches!(alarm, Alarm::Equivocation(_))
}

/// Whether a driver takes this from `node`: nobody passes on what others signed.
fn is_passed_on(node: usize, input: &Input) -> bool {
    let signer = match input {
        Input::Proposal(it) => it.get().block.header().proposer,
        Input::Vote(it) => it.get().signer,
        Input::CommitVote(it) => it.get().signer,
        Input::Timeout(it) => it.get().signer,
        Input::Reveal(it) => it.get().validator,
        Input::BatchAck(it) => it.get().sender,
        Input::BatchHint(it) => it.get().sender,
        Input::Certificate(_) | Input::Batch(_) => return true,
        Input::Record(_)
        | Input::Heard { .. }
        | Input::LaterEra { .. }
        | Input::Executed { .. }
        | Input::Block(_)
        | Input::Wake => return false,
    };
    signer == index(node)
}
