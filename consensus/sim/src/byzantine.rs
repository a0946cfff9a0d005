//! Validators that lie.
//!
//! A liar runs the real replica, but what it sends passes its behaviours,
//! which may drop, change, double or delay it, and add messages signed with its
//! own keys. It can do to others whatever a validator could do whose operator
//! rewrote the software; it cannot sign as somebody else, and what the verifier
//! or the driver of an honest node would refuse never arrives.
//!
//! Each behaviour has a file of its own, which says what the liar hopes to gain
//! and which rule of the engine stops it.

mod bad_batches;
mod edge_timestamps;
mod equivocating_leader;
mod equivocating_voter;
mod flooder;
mod hidden_certificates;
mod partial_batches;
mod partial_votes;
mod relabelled_certificates;
mod replayer;
mod reveal_withholding;
mod silent_leader;
mod stale_certificates;
mod vote_withholding;
mod wrong_exec;

use crate::keys::Keyring;
use crate::rng::Rng;
use bizra_consensus::{Ask, Input, Now, Outgoing};
use bizra_types::block::{Block, BlockContent, SignedProposal};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::hash::BlockId;
use bizra_types::message::{SignedTimeout, Vote};
use bizra_types::numbers::{ValidatorIndex, View};
use std::collections::BTreeMap;
use std::fmt;

/// Certificates and proposals of so many views are remembered to lie with.
const MEMORY_VIEWS: usize = 64;

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Behaviour {
    /// Proposes two blocks in one view, each to some.
    EquivocatingLeader,
    /// Votes for every block of a view, unseen.
    EquivocatingVoter,
    /// Never proposes, but votes and gives signs of life.
    SilentLeader,
    /// Keeps votes or commit votes to itself.
    VoteWithholding,
    /// Sends each vote to some only.
    PartialVotes,
    /// Answers with old certificates or not at all, and proposes on old blocks.
    StaleCertificates,
    /// Sends certificates of another view, era or result than was signed.
    RelabelledCertificates,
    /// Signs timeouts that hide the certificate it commit-voted for.
    HiddenCertificates,
    /// Commit-votes for another result of execution.
    WrongExec,
    /// Shows its batches to f + 1 validators and hands them out to nobody.
    PartialBatches,
    /// Signs two batches for one place of its lane, one with records that are none.
    BadBatches,
    /// Keeps its VRF output back, or sends it late, to one, or wrong.
    RevealWithholding,
    /// Proposes blocks whose time is as early or as late as may be, or more.
    EdgeTimestamps,
    /// Sends old messages again, and those of another chain or era.
    Replayer,
    /// Sends heaps of messages about what does not exist.
    Flooder,
}

/// What a liar sends instead of what its replica wanted.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// The nodes that get it; never the liar itself.
    pub(crate) to: Vec<usize>,
    pub(crate) letter: Letter,
    /// How long it is kept back, in µs.
    pub(crate) delay_micros: u64,
}

/// What is in a parcel.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// To be signed by the liar.
    Own(Outgoing),
    /// To be signed by the liar for another chain.
    Abroad(Outgoing),
    /// A copy of what it heard.
    Copy(Box<Input>),
    /// A question to a peer's disk.
    Ask(Ask),
}

/// One way to lie. What it does not touch it posts as it is.
trait Lie: fmt::Debug {
    /// A message on its way out.
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        stage.post(parcel);
    }

    /// A tenth of a second has passed.
    fn tick(&mut self, _stage: &mut Stage<'_>) {}

    /// Something came in.
    fn hear(&mut self, _input: &Input, _stage: &mut Stage<'_>) {}

    /// Whether a peer's question is answered.
    fn answers(&mut self, _ask: &Ask, _stage: &mut Stage<'_>) -> bool {
        true
    }
}

/// A validator that lies.
#[derive(Debug)]
pub(crate) struct Liar {
    me: usize,
    /// All liars.
    liars: Vec<usize>,
    rng: Rng,
    memory: Memory,
    acts: Vec<Act>,
}

/// A behaviour at work.
#[derive(Debug)]
struct Act {
    behaviour: Behaviour,
    lie: Box<dyn Lie>,
    lies: u64,
}

/// What a liar's behaviours share: what it heard in the last views.
#[derive(Debug, Default)]
struct Memory {
    proposals: BTreeMap<View, Vec<SignedProposal>>,
    qcs: BTreeMap<View, Qc>,
    tcs: BTreeMap<View, Tc>,
    timeouts: BTreeMap<View, BTreeMap<ValidatorIndex, SignedTimeout>>,
    commit_certs: BTreeMap<View, CommitCert>,
}

/// What a behaviour has at hand while it acts.
struct Stage<'a> {
    me: usize,
    liars: &'a [usize],
    now: Now,
    rng: &'a mut Rng,
    keyring: &'a Keyring,
    memory: &'a Memory,
    lies: &'a mut u64,
    parcels: Vec<Parcel>,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::EquivocatingLeader,
        Self::EquivocatingVoter,
        Self::SilentLeader,
        Self::VoteWithholding,
        Self::PartialVotes,
        Self::StaleCertificates,
        Self::RelabelledCertificates,
        Self::HiddenCertificates,
        Self::WrongExec,
        Self::PartialBatches,
        Self::BadBatches,
        Self::RevealWithholding,
        Self::EdgeTimestamps,
        Self::Replayer,
        Self::Flooder,
    ];

    fn lie(self, rng: &mut Rng) -> Box<dyn Lie> {
        match self {
            Self::EquivocatingLeader => Box::<equivocating_leader::EquivocatingLeader>::default(),
            Self::EquivocatingVoter => Box::<equivocating_voter::EquivocatingVoter>::default(),
            Self::SilentLeader => Box::new(silent_leader::SilentLeader),
            Self::VoteWithholding => Box::new(vote_withholding::VoteWithholding::new(rng)),
            Self::PartialVotes => Box::<partial_votes::PartialVotes>::default(),
            Self::StaleCertificates => Box::<stale_certificates::StaleCertificates>::default(),
            Self::RelabelledCertificates => {
                Box::new(relabelled_certificates::RelabelledCertificates)
            }
            Self::HiddenCertificates => Box::new(hidden_certificates::HiddenCertificates),
            Self::WrongExec => Box::new(wrong_exec::WrongExec),
            Self::PartialBatches => Box::<partial_batches::PartialBatches>::default(),
            Self::BadBatches => Box::<bad_batches::BadBatches>::default(),
            Self::RevealWithholding => Box::new(reveal_withholding::RevealWithholding),
            Self::EdgeTimestamps => Box::<edge_timestamps::EdgeTimestamps>::default(),
            Self::Replayer => Box::<replayer::Replayer>::default(),
            Self::Flooder => Box::new(flooder::Flooder),
        }
    }
}

impl fmt::Display for Behaviour {
    /// The name by which the command line knows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no behaviour is hidden");
        f.write_str(value.get_name())
    }
}

impl Liar {
    /// The liars of a seed by their nodes: `count` of `size`, each with one
    /// behaviour or two, or all with those that are `forced`.
    pub(crate) fn draw(
        seed: u64,
        size: usize,
        count: usize,
        forced: &[Behaviour],
    ) -> BTreeMap<usize, Self> {
        let mut rng = Rng::new(seed, "liars");
        let mut chosen: BTreeMap<usize, Vec<Behaviour>> = BTreeMap::new();
        while chosen.len() < count {
            let me = rng.index(size);
            let first = rng.pick(&Behaviour::ALL);
            let second = rng.pick(&Behaviour::ALL);
            let mut behaviours = vec![first];
            if second != first && rng.chance(500_000) {
                behaviours.push(second);
            }
            if !forced.is_empty() {
                behaviours = forced.to_vec();
            }
            chosen.insert(me, behaviours);
        }
        let liars: Vec<usize> = chosen.keys().copied().collect();
        let liar = |(me, behaviours): (usize, Vec<Behaviour>)| {
            let mut rng = Rng::new(seed, &format!("liar {me}"));
            let act = |behaviour: Behaviour| {
                let lie = behaviour.lie(&mut rng);
                Act { behaviour, lie, lies: 0 }
            };
            let acts = behaviours.into_iter().map(act).collect();
            (me, Self { me, liars: liars.clone(), rng, memory: Memory::default(), acts })
        };
        chosen.into_iter().map(liar).collect()
    }

    /// How often it lied, by behaviour.
    pub(crate) fn lies(&self) -> impl Iterator<Item = (Behaviour, u64)> {
        self.acts.iter().map(|act| (act.behaviour, act.lies))
    }

    /// Whether it has nothing to lie about in a VRF outage.
    pub(crate) fn needs_reveals(&self) -> bool {
        self.acts.iter().any(|act| act.behaviour == Behaviour::RevealWithholding)
    }

    /// All its lies.
    pub(crate) fn lies_total(&self) -> u64 {
        self.acts.iter().map(|act| act.lies).sum()
    }

    /// What leaves instead of a message to these nodes.
    pub(crate) fn send(
        &mut self,
        now: Now,
        keyring: &Keyring,
        to: Vec<usize>,
        message: Outgoing,
    ) -> Vec<Parcel> {
        let parcel = Parcel { to, letter: Letter::Own(message), delay_micros: 0 };
        self.pass(now, keyring, vec![parcel], 0)
    }

    /// What it sends unasked, ten times a second.
    pub(crate) fn tick(&mut self, now: Now, keyring: &Keyring) -> Vec<Parcel> {
        self.act(now, keyring, |lie, stage| lie.tick(stage))
    }

    /// What it sends upon an input.
    pub(crate) fn hear(&mut self, now: Now, keyring: &Keyring, input: &Input) -> Vec<Parcel> {
        self.memory.note(input);
        self.act(now, keyring, |lie, stage| lie.hear(input, stage))
    }

    /// Whether it answers a peer's question.
    pub(crate) fn answers(&mut self, now: Now, keyring: &Keyring, ask: &Ask) -> bool {
        let mut answers = true;
        self.act(now, keyring, |lie, stage| answers &= lie.answers(ask, stage));
        answers
    }

    /// Lets each behaviour act; what one adds the later ones may change.
    fn act(
        &mut self,
        now: Now,
        keyring: &Keyring,
        mut act: impl FnMut(&mut dyn Lie, &mut Stage<'_>),
    ) -> Vec<Parcel> {
        let mut all = Vec::new();
        for number in 0..self.acts.len() {
            let parcels = self.with(number, now, keyring, &mut act);
            all.extend(self.pass(now, keyring, parcels, number + 1));
        }
        all
    }

    /// Passes parcels through the behaviours from a number on.
    fn pass(
        &mut self,
        now: Now,
        keyring: &Keyring,
        mut parcels: Vec<Parcel>,
        from: usize,
    ) -> Vec<Parcel> {
        for number in from..self.acts.len() {
            parcels = self.with(number, now, keyring, |lie, stage| {
                for parcel in parcels {
                    lie.send(parcel, stage);
                }
            });
        }
        parcels
    }

    fn with(
        &mut self,
        number: usize,
        now: Now,
        keyring: &Keyring,
        act: impl FnOnce(&mut dyn Lie, &mut Stage<'_>),
    ) -> Vec<Parcel> {
        let Self { me, liars, rng, memory, acts } = self;
        let Act { lie, lies, .. } = &mut acts[number];
        let mut stage =
            Stage { me: *me, liars, now, rng, keyring, memory, lies, parcels: Vec::new() };
        act(lie.as_mut(), &mut stage);
        stage.parcels
    }
}

impl Memory {
    fn note(&mut self, input: &Input) {
        match input {
            Input::Proposal(it) => {
                let proposal = it.get();
                let of_view = self.proposals.entry(proposal.block.header().view).or_default();
                if !of_view.contains(proposal) {
                    of_view.push(proposal.clone());
                }
                self.note_qc(proposal.block.justify());
                self.note_tc(proposal.tc.as_ref());
            }
            Input::Timeout(it) => {
                let timeout = it.get();
                let of_view = self.timeouts.entry(timeout.timeout.view).or_default();
                of_view.insert(timeout.signer, timeout.clone());
                self.note_qc(&timeout.high_qc);
                self.note_tc(timeout.entry_tc.as_ref());
            }
            Input::Certificate(it) => match it.get() {
                Certificate::Qc(qc) => self.note_qc(qc),
                Certificate::Tc(tc) => self.note_tc(Some(tc)),
                Certificate::Commit(cert) => {
                    self.commit_certs.insert(cert.vote.view, cert.clone());
                }
                // Where validators lie, the committee does not change.
                Certificate::Filler(..) => {}
            },
            _ => {}
        }
        shorten(&mut self.proposals);
        shorten(&mut self.qcs);
        shorten(&mut self.tcs);
        shorten(&mut self.timeouts);
        shorten(&mut self.commit_certs);
    }

    fn note_qc(&mut self, qc: &Qc) {
        self.qcs.insert(qc.vote.view, qc.clone());
    }

    fn note_tc(&mut self, tc: Option<&Tc>) {
        if let Some(tc) = tc {
            self.note_qc(&tc.high_qc);
            self.tcs.insert(tc.view, tc.clone());
        }
    }

    /// The view after the highest certificate.
    fn view(&self) -> View {
        let qc = self.qcs.last_key_value().map(|(view, _)| *view);
        let tc = self.tcs.last_key_value().map(|(view, _)| *view);
        qc.max(tc).unwrap_or_default().next()
    }

    /// The TC of a view, of all that can be made, that knows the least: of those
    /// who name the oldest high QCs.
    fn lowest_tc(&self, committee: &Committee, view: View) -> Option<Tc> {
        let mut timeouts: Vec<_> = self.timeouts.get(&view)?.values().collect();
        timeouts.sort_by_key(|timeout| timeout.timeout.high_qc_view);
        timeouts.truncate(committee.quorum());
        let highest = *timeouts.last()?;
        timeouts.sort_by_key(|timeout| timeout.signer);
        (timeouts.len() == committee.quorum()).then(|| Tc {
            era: highest.timeout.era,
            view,
            signers: SignerSet::of(committee.size(), timeouts.iter().map(|it| it.signer)),
            high_qc_views: timeouts.iter().map(|it| it.timeout.high_qc_view).collect(),
            signatures: timeouts.iter().map(|it| it.signature).collect(),
            high_qc: highest.high_qc.clone(),
        })
    }

    fn block(&self, id: BlockId) -> Option<&Block> {
        let all = self.proposals.values().flatten().map(|proposal| &proposal.block);
        all.into_iter().find(|block| block.id() == id)
    }
}

fn shorten<T>(views: &mut BTreeMap<View, T>) {
    while views.len() > MEMORY_VIEWS {
        views.pop_first();
    }
}

impl Parcel {
    /// The same to these of its recipients, with something else in it.
    fn to(&self, some: &[usize], message: Outgoing) -> Self {
        let to = self.to.iter().copied().filter(|peer| some.contains(peer)).collect();
        Self { to, letter: Letter::Own(message), delay_micros: self.delay_micros }
    }

    /// The same to all of its recipients, with something else in it.
    fn with(&self, message: Outgoing) -> Self {
        self.to(&self.to, message)
    }
}

impl Stage<'_> {
    /// Lets a parcel go.
    fn post(&mut self, parcel: Parcel) {
        self.parcels.push(parcel);
    }

    /// Sends a message to these nodes.
    fn tell(&mut self, to: Vec<usize>, message: Outgoing) {
        self.post(Parcel { to, letter: Letter::Own(message), delay_micros: 0 });
    }

    /// Counts a lie.
    fn lie(&mut self) {
        *self.lies += 1;
    }

    fn committee(&self) -> &Committee {
        &self.keyring.genesis().committee
    }

    fn size(&self) -> usize {
        self.committee().size()
    }

    /// f + 1.
    fn one_honest(&self) -> usize {
        self.committee().one_honest()
    }

    /// Everyone else.
    fn peers(&self) -> Vec<usize> {
        (0..self.size()).filter(|peer| *peer != self.me).collect()
    }

    /// So many of the others.
    fn some_peers(&mut self, count: usize) -> Vec<usize> {
        let mut peers = self.peers();
        while peers.len() > count {
            peers.swap_remove(self.rng.index(peers.len()));
        }
        peers
    }

    /// Two halves of the nodes, the same for all liars who ask about one
    /// `number`: they work together, and are in both. Sometimes an honest one
    /// is in both too, sometimes all are.
    fn halves(&self, number: u64) -> [Vec<usize>; 2] {
        let chain_id = self.keyring.chain_id();
        let chain = u64::from_le_bytes(*chain_id.as_bytes().first_chunk().expect("32 bytes"));
        let mut rng = Rng::new(chain ^ number, "halves");
        let overlap = rng.below(8);
        let bridge = rng.index(self.size());
        let mut halves = [Vec::new(), Vec::new()];
        for node in 0..self.size() {
            let half = rng.index(2);
            let is_in_both =
                overlap == 0 || overlap < 3 && node == bridge || self.liars.contains(&node);
            halves[half].push(node);
            if is_in_both {
                halves[1 - half].push(node);
            }
        }
        halves
    }

    /// The half that shall believe in a block.
    fn half_of(&self, view: View, block: BlockId) -> Vec<usize> {
        let [even, odd] = self.halves(view.get());
        if is_odd(block) { odd } else { even }
    }

    /// 32 bytes that mean nothing.
    fn noise(&mut self) -> [u8; 32] {
        let mut noise = [0; 32];
        for word in noise.chunks_mut(8) {
            word.copy_from_slice(&self.rng.next().to_le_bytes());
        }
        noise
    }
}

/// By which liars know, without a word, which half hears of which block.
const fn is_odd(block: BlockId) -> bool {
    block.0[0] & 1 == 1
}

/// The vote for a block that may have been replaced by another before it left.
fn vote_for_replacement(vote: Vote, replaced: Option<&(BlockId, Block)>) -> Vote {
    match replaced {
        Some((block, other)) if *block == vote.block => Vote { block: other.id(), ..vote },
        _ => vote,
    }
}

/// A block like another, but for what `change` does to it.
fn changed(block: &Block, change: impl FnOnce(&mut BlockContent)) -> Block {
    let header = block.header();
    let mut content = BlockContent {
        protocol_version: header.protocol_version,
        chain_id: header.chain_id,
        height: header.height,
        view: header.view,
        justify: block.justify().clone(),
        citations: block.citations().to_vec(),
        reveals: block.reveals().to_vec(),
        timestamp_ms: header.timestamp_ms,
        proposer: header.proposer,
        closes: header.closes,
    };
    change(&mut content);
    Block::new(content)
}
