//! A model in which the voting rules are explored exhaustively: the real
//! [`Safety`], restored from its durable record for every single act, and the
//! real [`Votes`](crate::votes::Votes), in every order of events.
//!
//! `HONEST` validators keep the rules; as many as they can bear lie. What is no
//! rule is left out: signatures, execution (a function of the block), batches,
//! and time (a timer may run out at any moment, so of the pacemaker nothing is
//! left; the rules that move the view are in [`Safety`]).
//!
//! - **The network** is the set of all that was sent. It only grows, and any
//!   part of it may reach anybody at any time or never. So a certificate is
//!   there as soon as its signatures are, for whoever happens to see it.
//! - **A crash** may come between any two acts, because nothing but the record
//!   lives from one act to the next. What was made durable and not sent any
//!   more is as if it were sent and reached nobody.
//! - **Liars** sign everything: each certificate counts them in, and in each TC
//!   they report the canonical QC, since a higher one would only narrow what
//!   the TC justifies. Leading a view they offer, to whom they like, all blocks
//!   that any QC justifies, several variants of each.
//!
//! # What makes it small
//!
//! - *Looking comes with acting.* A validator takes in certificates in the step
//!   in which it signs something, and a voter only those that come with the
//!   proposal: having seen less forbids less, and what is there can still be
//!   seen later. A vote for which the proposal's certificates do not suffice is
//!   tried in every way to enter the view nonetheless. ([`Rules::is_looking`]
//!   lets everybody look at any time.)
//! - *Of the TCs of a view the one with the lowest high QC stands for all*: it
//!   justifies whatever another one justifies.
//! - *The last view is not timed out*: no view follows in which it mattered.
//! - *Names do not matter*: variants of a block are used in their order, and
//!   where liars lead all views the honest validators are sorted. (Stateright's
//!   own symmetry reduction works depth first only, and keeps every path.)
//!
//! # View by view
//!
//! With [`Order::ByView`] all acts of a view come before those of the next.
//! Nothing less can be sent so, because every run can be brought into that
//! order, validator by validator, without a change of what is sent:
//!
//! - Whatever others must have sent before an act of view v is of view v at
//!   most: a vote, proposal or timeout wants a certificate of the view before
//!   and a QC below v, and a commit vote wants QC(v), thus votes of v.
//! - Of its own acts, a validator's votes, proposals and timeouts ascend by
//!   view already, as the current view never falls, and so do its commit votes.
//! - Only a commit vote of v may come after acts of later views: votes and
//!   proposals, as rule 2 excludes timeouts. It may as well come before these:
//!   it wants fewer timeouts, not more; a higher QC in the record is no veto
//!   for votes, and what is proposed on a lower one is here offered by liars,
//!   who lead all views.
//!
//! What is over can then be forgotten ([`Memory`]) but for its certificates and
//! the records, and of these all but the high QC, since every rule compares the
//! view of what was signed last with a view that is not over. The tests compare
//! the orders, and what is remembered.

mod world;

use crate::effects::SafetyRecord;
use crate::safety::Safety;
use bizra_types::block::Block;
use bizra_types::certificate::Tc;
use bizra_types::committee::SignerSet;
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::View;
use stateright::{Model, Property};
use world::{Blocks, ERA, Number, ROOT, World, bit, exec_of, members};

/// Most views that can be explored.
const VIEWS_MAX: usize = 7;

/// For each view, 0 included.
type ByView<T> = [T; VIEWS_MAX + 1];

/// Who leads a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Liar,
    Honest(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Whatever is possible may happen next.
    Any,
    /// All acts of a view come before those of the next.
    ByView,
}

/// What is left, with [`Order::ByView`], of the views that are over, besides
/// their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    All,
    /// The durable records, whole.
    Records,
    /// Of the records the high QC: no rule for a later view asks for what was
    /// signed in an earlier one.
    HighQcs,
}

/// A rule, to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// 1.2: nothing was voted in this view.
    VoteOnce,
    /// 1.3: what was timed out gets no vote.
    VoteBeforeTimeout,
    /// 1.4: without QC of the view before, a TC is needed.
    NeedTc,
    /// 1.4: the justification ranks as high as the QCs in the TC.
    HeedTc,
    /// 2.1: what was timed out gets no commit vote.
    CommitVoteBeforeTimeout,
    /// 2.3: the QC is durable before the commit vote leaves.
    DurableQc,
    /// 4: a timeout names the highest QC of that moment.
    ReportHighQc,
}

/// What is explored.
#[derive(Debug)]
struct Rules<const HONEST: usize> {
    world: World<HONEST>,
    views: u8,
    /// Each makes a starting point of its own.
    leaders: Vec<Vec<Leader>>,
    order: Order,
    memory: Memory,
    /// Whether certificates may also be taken in without an act.
    is_looking: bool,
    without: Option<Rule>,
}

/// A durable record, with blocks by their numbers; 0 is "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Record {
    view: u8,
    voted: Number,
    timed_out: u8,
    timed_out_with: Number,
    commit_voted: Number,
    proposed: Number,
    high_qc: Number,
}

/// An honest validator, and what it ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Validator {
    record: Record,
    votes: Blocks,
    commit_votes: Blocks,
    /// The high QC of the timeout of each view.
    timeouts: ByView<Option<Number>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State<const HONEST: usize> {
    /// Place in [`Rules::leaders`].
    leaders: u8,
    /// The view whose acts are next; 0 if they come in any order.
    turn: u8,
    honest: [Validator; HONEST],
    /// By honest leaders.
    proposals: Blocks,
    certified: Blocks,
    is_final: Blocks,
    /// The lowest high QC that a TC of each view can have.
    tcs: ByView<Option<Number>>,
    /// How honest validators contradicted themselves: see [`wrong`].
    wrongs: u8,
}

/// Contradictions of one signer, told from what it sent and not from its record.
mod wrong {
    pub(super) const TWO_VOTES: u8 = 1;
    pub(super) const TWO_COMMIT_VOTES: u8 = 2;
    pub(super) const TWO_TIMEOUTS: u8 = 4;
    pub(super) const TWO_PROPOSALS: u8 = 8;
    /// A timeout of view w whose high QC is below v, and a commit vote of v ≤ w.
    pub(super) const HIDDEN_QC: u8 = 16;
    pub(super) const VOTE_AFTER_TIMEOUT: u8 = 32;
}

/// Certificates that a validator takes in before it acts: the QC of a block
/// and the TC of a view, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    qc: Number,
    tc: u8,
}

const NOTHING_SEEN: Seen = Seen { qc: ROOT, tc: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Propose {
        by: usize,
        seen: Seen,
    },
    /// `with_tc` says whether the proposal came with the TC of the view before.
    Vote {
        by: usize,
        seen: Seen,
        block: Number,
        with_tc: bool,
    },
    CommitVote {
        by: usize,
        block: Number,
    },
    TimeOut {
        by: usize,
        seen: Seen,
    },
    /// Takes in certificates, for nothing.
    Look {
        by: usize,
        seen: Seen,
    },
    /// The acts of the next view begin.
    NextView,
}

impl<const HONEST: usize> Rules<HONEST> {
    fn tc(&self, state: &State<HONEST>, view: u8) -> Option<Tc> {
        let high_qc = self.world.known(state.tcs[usize::from(view)]?).qc.clone();
        Some(Tc {
            era: ERA,
            view: View::new(view.into()),
            signers: SignerSet::empty(high_qc.signers.committee_size()),
            high_qc_views: vec![high_qc.vote.view],
            signatures: Vec::new(),
            high_qc,
        })
    }

    /// A validator that has just been started.
    fn restored(&self, state: &State<HONEST>, by: usize) -> Safety {
        let record = &state.honest[by].record;
        let vote_of = |number: Number| self.world.known(number).qc.vote;
        let unless_never = |number: Number| (number != ROOT).then(|| vote_of(number));
        let high_qc = self.world.known(record.high_qc).qc.clone();
        let current_view = View::new(record.view.into());
        let is_entered_by_qc = high_qc.vote.view.next() == current_view;
        Safety::restored(SafetyRecord {
            era: ERA,
            current_view,
            last_voted: unless_never(record.voted),
            last_timeout: (record.timed_out > 0).then(|| {
                let view = View::new(record.timed_out.into());
                let high_qc = self.world.known(record.timed_out_with).qc.clone();
                (Timeout { era: ERA, view, high_qc_view: high_qc.vote.view }, high_qc)
            }),
            last_commit_vote: unless_never(record.commit_voted).map(|vote| {
                let Vote { era, view, block } = vote;
                CommitVote { era, view, block, exec: exec_of(block) }
            }),
            last_proposal: unless_never(record.proposed).map(|vote| (vote.view, vote.block)),
            last_batch: None,
            high_qc,
            // It is asked for only by who proposes in the view that it opened.
            high_tc: if is_entered_by_qc { None } else { self.tc(state, record.view - 1) },
        })
    }

    fn record(&self, safety: &Safety) -> Record {
        let record = safety.record();
        let view_of = |view: View| u8::try_from(view.get()).expect("few views");
        let number = |block| self.world.number(block);
        let timeout = record.last_timeout.as_ref();
        Record {
            view: view_of(record.current_view),
            voted: record.last_voted.map_or(ROOT, |vote| number(vote.block)),
            timed_out: timeout.map_or(0, |(timeout, _)| view_of(timeout.view)),
            timed_out_with: timeout.map_or(ROOT, |(_, high_qc)| number(high_qc.vote.block)),
            commit_voted: record.last_commit_vote.map_or(ROOT, |vote| number(vote.block)),
            proposed: record.last_proposal.map_or(ROOT, |(_, block)| number(block)),
            high_qc: number(record.high_qc.vote.block),
        }
    }

    fn see(&self, state: &State<HONEST>, safety: &mut Safety, seen: Seen) {
        safety.observe_qc(&self.world.known(seen.qc).qc);
        if let Some(tc) = self.tc(state, seen.tc) {
            see_tc(safety, &tc);
        }
    }

    /// Rule 1, as the replica applies it, unless it is left out.
    fn vote(&self, safety: &mut Safety, block: &Block, mut tc: Option<Tc>) -> Option<Vote> {
        let timeout = safety.record().last_timeout.clone();
        match self.without {
            Some(Rule::VoteOnce) => alter(safety, |record| record.last_voted = None),
            Some(Rule::VoteBeforeTimeout) => alter(safety, |record| record.last_timeout = None),
            Some(Rule::NeedTc) => tc = tc.or_else(|| self.forged_tc(block)),
            Some(Rule::HeedTc) => tc = tc.and_then(|_| self.forged_tc(block)),
            _ => {}
        }
        if !safety.can_vote(block, tc.as_ref()) {
            return None;
        }
        let vote = safety.vote(block, tc.as_ref());
        if self.without == Some(Rule::VoteBeforeTimeout) {
            alter(safety, |record| record.last_timeout = timeout);
        }
        Some(vote)
    }

    /// A TC that justifies `block` on anything.
    fn forged_tc(&self, block: &Block) -> Option<Tc> {
        let high_qc = self.world.known(ROOT).qc.clone();
        Some(Tc {
            era: ERA,
            view: block.header().view.previous()?,
            signers: high_qc.signers.clone(),
            high_qc_views: vec![View::ZERO],
            signatures: Vec::new(),
            high_qc,
        })
    }

    /// Rule 2, as the replica applies it: for the highest QC's block.
    fn commit_vote(&self, safety: &mut Safety, block: Number) -> Option<CommitVote> {
        let before = safety.record().clone();
        safety.observe_qc(&self.world.known(block).qc);
        let vote = safety.record().high_qc.vote;
        if self.without == Some(Rule::CommitVoteBeforeTimeout) {
            alter(safety, |record| record.last_timeout = None);
        }
        if vote.block != self.world.known(block).qc.vote.block || !safety.can_commit_vote(vote.view)
        {
            return None;
        }
        let vote = safety.commit_vote(vote.view, vote.block, exec_of(vote.block));
        match self.without {
            Some(Rule::CommitVoteBeforeTimeout) => {
                alter(safety, |record| record.last_timeout = before.last_timeout);
            }
            Some(Rule::DurableQc) => alter(safety, |record| {
                record.high_qc = before.high_qc;
                record.current_view = before.current_view;
            }),
            _ => {}
        }
        Some(vote)
    }

    /// Rule 4.
    fn time_out(&self, safety: &mut Safety) -> Option<Timeout> {
        let high_qc = safety.record().high_qc.clone();
        if self.without == Some(Rule::ReportHighQc) {
            alter(safety, |record| record.high_qc = self.world.known(ROOT).qc.clone());
        }
        let timeout = safety.can_time_out().then(|| safety.time_out());
        if self.without == Some(Rule::ReportHighQc) {
            alter(safety, |record| record.high_qc = high_qc);
        }
        timeout
    }

    fn leader(&self, state: &State<HONEST>, view: u8) -> Leader {
        self.leaders[usize::from(state.leaders)][usize::from(view) - 1]
    }

    fn is_led_by_liars_alone(&self, state: &State<HONEST>) -> bool {
        self.leaders[usize::from(state.leaders)].iter().all(|leader| *leader == Leader::Liar)
    }

    /// Whether somebody may have sent a proposal of this block.
    fn is_offered(&self, state: &State<HONEST>, number: Number) -> bool {
        let known = self.world.known(number);
        match self.leader(state, known.view) {
            Leader::Honest(_) => state.proposals & bit(number) != 0,
            Leader::Liar => {
                let is_next_variant = known.variant == 0
                    || state.honest.iter().any(|other| other.votes & bit(number - 1) != 0);
                is_next_variant && state.certified & bit(known.parent) != 0
            }
        }
    }

    /// Every choice of a QC and a TC that could be news.
    fn sights(&self, state: &State<HONEST>, by: usize) -> Vec<Seen> {
        let record = &state.honest[by].record;
        let high = self.world.known(record.high_qc).view;
        let qcs = members(state.certified)
            .filter(|number| self.world.known(*number).view > high)
            .chain([ROOT]);
        let views = record.view..self.views;
        let tcs = || views.clone().filter(|view| state.tcs[usize::from(*view)].is_some());
        qcs.flat_map(|qc| tcs().chain([0]).map(move |tc| Seen { qc, tc })).collect()
    }

    fn is_out_of_turn(&self, state: &State<HONEST>, view: u8) -> bool {
        self.order == Order::ByView && view != state.turn
    }

    fn blocks_of_same_view(&self, number: Number) -> Blocks {
        self.world.of_view[usize::from(self.world.known(number).view)]
    }

    /// Honest signers of a block.
    fn signers(state: &State<HONEST>, signed: impl Fn(&Validator) -> bool) -> usize {
        let places = state.honest.iter().enumerate().filter(|(_, validator)| signed(validator));
        places.map(|(place, _)| 1 << place).sum()
    }

    fn send_proposal(&self, state: &mut State<HONEST>, number: Number) {
        if state.proposals & self.blocks_of_same_view(number) & !bit(number) != 0 {
            state.wrongs |= wrong::TWO_PROPOSALS;
        }
        state.proposals |= bit(number);
    }

    fn send_vote(&self, state: &mut State<HONEST>, by: usize, number: Number) {
        let sender = &mut state.honest[by];
        if sender.votes & self.blocks_of_same_view(number) & !bit(number) != 0 {
            state.wrongs |= wrong::TWO_VOTES;
        }
        let view = usize::from(self.world.known(number).view);
        if sender.timeouts[view..].iter().any(Option::is_some) {
            state.wrongs |= wrong::VOTE_AFTER_TIMEOUT;
        }
        sender.votes |= bit(number);
        let signers = Self::signers(state, |other| other.votes & bit(number) != 0);
        if self.world.is_certified[signers] {
            state.certified |= bit(number);
        }
    }

    fn send_commit_vote(&self, state: &mut State<HONEST>, by: usize, number: Number) {
        let sender = &mut state.honest[by];
        if sender.commit_votes & self.blocks_of_same_view(number) & !bit(number) != 0 {
            state.wrongs |= wrong::TWO_COMMIT_VOTES;
        }
        sender.commit_votes |= bit(number);
        self.find_hidden_qc(state, by);
        let signers = Self::signers(state, |other| other.commit_votes & bit(number) != 0);
        if self.world.is_final[signers] {
            state.is_final |= bit(number);
        }
    }

    fn send_timeout(&self, state: &mut State<HONEST>, by: usize, view: u8, high_qc: Number) {
        let place = usize::from(view);
        if state.honest[by].timeouts[place].is_some_and(|other| other != high_qc) {
            state.wrongs |= wrong::TWO_TIMEOUTS;
        }
        state.honest[by].timeouts[place] = Some(high_qc);
        self.find_hidden_qc(state, by);
        let timeouts = state.honest.map(|validator| validator.timeouts[place]);
        let views = timeouts.map(|high_qc| Some(self.world.known(high_qc?).view));
        if let Some(lowest) = self.world.left_with.get(&views) {
            let of_that_view = |number: &Number| self.world.known(*number).view == *lowest;
            // The liars' own timeouts name the root.
            state.tcs[place] =
                Some(timeouts.into_iter().flatten().find(of_that_view).unwrap_or(ROOT));
        }
    }

    fn find_hidden_qc(&self, state: &mut State<HONEST>, by: usize) {
        let sender = &state.honest[by];
        let mut timeouts = sender.timeouts.iter().zip(0_u8..);
        let is_hidden = timeouts.any(|(high_qc, view)| {
            high_qc.is_some_and(|high_qc| {
                let hidden = self.world.known(high_qc).view + 1..=view;
                members(sender.commit_votes)
                    .any(|number| hidden.contains(&self.world.known(number).view))
            })
        });
        if is_hidden {
            state.wrongs |= wrong::HIDDEN_QC;
        }
    }

    fn forget(&self, state: &mut State<HONEST>) {
        for validator in &mut state.honest {
            validator.votes = 0;
            validator.commit_votes = 0;
            validator.timeouts = ByView::default();
            if self.memory == Memory::HighQcs {
                let high_qc = validator.record.high_qc;
                let view = self.world.known(high_qc).view + 1;
                validator.record = Record { view, high_qc, ..Record::default() };
            }
        }
        state.proposals = 0;
        // Views are entered by the TC of the view before.
        state.tcs[..usize::from(state.turn) - 1].fill(None);
    }

    /// What comes of an action, unless the rules forbid it.
    fn act(&self, last: &State<HONEST>, action: Action) -> Option<State<HONEST>> {
        let mut state = last.clone();
        match action {
            Action::Propose { by, seen } => {
                let mut safety = self.restored(last, by);
                self.see(last, &mut safety, seen);
                let view = u8::try_from(safety.view().get()).expect("few views");
                if view > self.views
                    || self.is_out_of_turn(last, view)
                    || self.leader(last, view) != Leader::Honest(by)
                    || !safety.can_propose()
                {
                    return None;
                }
                let justify = self.world.number(safety.record().high_qc.vote.block);
                if let Some(tc) = safety.entry_tc() {
                    assert!(tc.high_qc.vote.view <= safety.record().high_qc.vote.view);
                }
                let number = self.world.numbers().find(|number| {
                    let known = self.world.known(*number);
                    (known.view, known.parent, known.variant) == (view, justify, 0)
                })?;
                let block = self.world.known(number).block.as_ref();
                safety.propose(block.expect("the root is not of this view"));
                state.honest[by].record = self.record(&safety);
                self.send_proposal(&mut state, number);
            }
            Action::Vote { by, seen, block: number, with_tc } => {
                let known = self.world.known(number);
                let block = known.block.as_ref().expect("the root gets no votes");
                let mut safety = self.restored(last, by);
                self.see(last, &mut safety, seen);
                safety.observe_qc(block.justify());
                let tc = if with_tc { self.tc(last, known.view - 1) } else { None };
                if let Some(tc) = &tc {
                    see_tc(&mut safety, tc);
                }
                let vote = self.vote(&mut safety, block, tc)?;
                assert_eq!(vote, known.qc.vote, "a vote is for what was offered");
                state.honest[by].record = self.record(&safety);
                self.send_vote(&mut state, by, number);
            }
            Action::CommitVote { by, block: number } => {
                let mut safety = self.restored(last, by);
                let vote = self.commit_vote(&mut safety, number)?;
                assert_eq!(vote.block, self.world.known(number).qc.vote.block);
                state.honest[by].record = self.record(&safety);
                self.send_commit_vote(&mut state, by, number);
            }
            Action::TimeOut { by, seen } => {
                let mut safety = self.restored(last, by);
                self.see(last, &mut safety, seen);
                let timeout = self.time_out(&mut safety)?;
                let view = u8::try_from(timeout.view.get()).expect("few views");
                if view >= self.views || self.is_out_of_turn(last, view) {
                    return None;
                }
                let record = self.record(&safety);
                state.honest[by].record = record;
                self.send_timeout(&mut state, by, view, record.timed_out_with);
            }
            Action::Look { by, seen } => {
                let mut safety = self.restored(last, by);
                self.see(last, &mut safety, seen);
                state.honest[by].record = self.record(&safety);
            }
            Action::NextView => {
                state.turn += 1;
                if self.memory != Memory::All {
                    self.forget(&mut state);
                }
            }
        }
        if self.is_led_by_liars_alone(&state) {
            state.honest.sort_unstable();
        }
        Some(state)
    }
}

fn see_tc(safety: &mut Safety, tc: &Tc) {
    safety.observe_qc(&tc.high_qc);
    safety.observe_tc(tc);
}

/// Puts another record in the place of the one that the rules go by.
fn alter(safety: &mut Safety, change: impl FnOnce(&mut SafetyRecord)) {
    let mut record = safety.record().clone();
    change(&mut record);
    *safety = Safety::restored(record);
}

impl<const HONEST: usize> Model for Rules<HONEST> {
    type State = State<HONEST>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        let record = self.record(&Safety::begun(self.world.known(ROOT).qc.clone(), None));
        let validator =
            Validator { record, votes: 0, commit_votes: 0, timeouts: ByView::default() };
        (0..u8::try_from(self.leaders.len()).expect("few assignments"))
            .map(|leaders| State {
                leaders,
                turn: u8::from(self.order == Order::ByView),
                honest: [validator; HONEST],
                proposals: 0,
                certified: bit(ROOT),
                is_final: 0,
                tcs: ByView::default(),
                wrongs: 0,
            })
            .collect()
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        let is_symmetric = self.is_led_by_liars_alone(state);
        for by in 0..HONEST {
            if is_symmetric && by > 0 && state.honest[by] == state.honest[by - 1] {
                continue;
            }
            for block in self.world.numbers() {
                let known = self.world.known(block);
                if self.is_out_of_turn(state, known.view) || !self.is_offered(state, block) {
                    continue;
                }
                let before = known.view - 1;
                let is_direct = self.world.known(known.parent).view == before;
                let is_left = state.tcs[usize::from(before)].is_some();
                let with_tc = !is_direct && is_left;
                actions.push(Action::Vote { by, seen: NOTHING_SEEN, block, with_tc });
                if !is_direct {
                    let certified = self.world.of_view[usize::from(before)] & state.certified;
                    let by_qc = members(certified).map(|qc| Seen { qc, tc: 0 });
                    let by_tc = is_left.then_some(Seen { qc: ROOT, tc: before });
                    actions.extend(by_qc.chain(by_tc).map(|seen| Action::Vote {
                        by,
                        seen,
                        block,
                        with_tc: false,
                    }));
                }
            }
            for block in members(state.certified & !bit(ROOT)) {
                if !self.is_out_of_turn(state, self.world.known(block).view) {
                    actions.push(Action::CommitVote { by, block });
                }
            }
            let leads = self.leaders[usize::from(state.leaders)].contains(&Leader::Honest(by));
            for seen in self.sights(state, by) {
                actions.push(Action::TimeOut { by, seen });
                if leads {
                    actions.push(Action::Propose { by, seen });
                }
                if self.is_looking {
                    actions.push(Action::Look { by, seen });
                }
            }
        }
        if self.order == Order::ByView && state.turn < self.views {
            actions.push(Action::NextView);
        }
        // Random walks can only be repeated if every action that is offered counts.
        actions.retain(|action| self.act(state, *action).is_some_and(|next| next != *state));
    }

    fn next_state(&self, last: &Self::State, action: Self::Action) -> Option<Self::State> {
        self.act(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_FORK, Self::is_one_chain),
            Property::always(EXTENDS, Self::is_final_extended),
            Property::always(ONE_QC, Self::is_one_certified),
            Property::always(NO_TC, Self::is_final_or_left),
            Property::always(TC_KNOWS, Self::is_final_in_tcs),
            Property::always(ONCE, Self::is_signed_once),
            Property::always(NOTHING_HIDDEN, Self::is_nothing_hidden),
            Property::always(NO_LATE_VOTE, Self::is_no_vote_late),
            Property::sometimes("a block becomes final", Self::is_any_final),
            Property::sometimes("a view is left by TC", Self::is_any_left),
            Property::sometimes("a block that a TC justifies is certified", Self::is_any_again),
            Property::sometimes("a block that a TC justifies is final", Self::is_any_again_final),
            Property::sometimes("two blocks are final", Self::is_any_followed),
        ]
    }
}

const NO_FORK: &str = "what is final lies on one chain";
const EXTENDS: &str = "what is certified later extends what is final";
const ONE_QC: &str = "one block at most is certified in a view";
const NO_TC: &str = "no TC of a view whose block is final";
const TC_KNOWS: &str = "a TC after a final block names its QC or a higher one";
const ONCE: &str = "nobody signs two of a kind in a view";
const NOTHING_HIDDEN: &str = "no timeout hides a QC that its signer commit-voted on";
const NO_LATE_VOTE: &str = "no vote in a view that was left";

impl<const HONEST: usize> Rules<HONEST> {
    fn is_one_chain(&self, state: &State<HONEST>) -> bool {
        members(state.is_final).all(|one| {
            members(state.is_final).all(|other| {
                let (one, other) = (self.world.known(one).path, self.world.known(other).path);
                one & other == one || one & other == other
            })
        })
    }

    fn is_final_extended(&self, state: &State<HONEST>) -> bool {
        members(state.is_final).all(|last| {
            let view = self.world.known(last).view;
            members(state.certified)
                .map(|number| self.world.known(number))
                .all(|known| known.view < view || known.path & bit(last) != 0)
        })
    }

    fn is_one_certified(&self, state: &State<HONEST>) -> bool {
        self.world.of_view.iter().all(|view| (view & state.certified).count_ones() <= 1)
    }

    fn is_final_or_left(&self, state: &State<HONEST>) -> bool {
        members(state.is_final)
            .all(|last| state.tcs[usize::from(self.world.known(last).view)].is_none())
    }

    fn is_final_in_tcs(&self, state: &State<HONEST>) -> bool {
        members(state.is_final).map(|last| self.world.known(last).view).all(|view| {
            let mut tcs = state.tcs[usize::from(view)..].iter().flatten();
            tcs.all(|high_qc| self.world.known(*high_qc).view >= view)
        })
    }

    const fn is_signed_once(&self, state: &State<HONEST>) -> bool {
        state.wrongs
            & (wrong::TWO_VOTES
                | wrong::TWO_COMMIT_VOTES
                | wrong::TWO_TIMEOUTS
                | wrong::TWO_PROPOSALS)
            == 0
    }

    const fn is_nothing_hidden(&self, state: &State<HONEST>) -> bool {
        state.wrongs & wrong::HIDDEN_QC == 0
    }

    const fn is_no_vote_late(&self, state: &State<HONEST>) -> bool {
        state.wrongs & wrong::VOTE_AFTER_TIMEOUT == 0
    }

    const fn is_any_final(&self, state: &State<HONEST>) -> bool {
        state.is_final != 0
    }

    fn is_any_left(&self, state: &State<HONEST>) -> bool {
        state.tcs.iter().any(Option::is_some)
    }

    fn is_any_again(&self, state: &State<HONEST>) -> bool {
        members(state.certified).any(|number| self.is_justified_by_tc(number))
    }

    fn is_any_again_final(&self, state: &State<HONEST>) -> bool {
        members(state.is_final).any(|number| self.is_justified_by_tc(number))
    }

    const fn is_any_followed(&self, state: &State<HONEST>) -> bool {
        state.is_final.count_ones() > 1
    }

    /// Whether a block builds on a QC older than that of the view before.
    fn is_justified_by_tc(&self, number: Number) -> bool {
        let known = self.world.known(number);
        known.view > self.world.known(known.parent).view + 1
    }
}

mod tests;
