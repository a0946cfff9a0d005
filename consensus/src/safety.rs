//! The voting rules: what this validator may sign, as predicate and act.
//!
//! Each act asserts its predicate and changes the durable record; the replica
//! hands the changed record out as [`Persist`](crate::Persist) in the same
//! step, before anything that was signed under it can leave.

use crate::effects::SafetyRecord;
use bizra_types::batch::BatchHeader;
use bizra_types::block::Block;
use bizra_types::certificate::{Qc, Tc};
use bizra_types::hash::{BatchDigest, BlockId, ExecHash};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::{Era, LaneSeq, View};
use bizra_types::planted::{Bug, is_planted};

/// The durable record with the rules that guard it.
#[derive(Debug)]
pub(crate) struct Safety {
    record: SafetyRecord,
    changed: bool,
}

impl SafetyRecord {
    /// The record with which an era begins: nothing signed, the canonical QC.
    ///
    /// # Panics
    /// When `root` is not a certificate of view 0.
    #[must_use]
    pub fn new(root: Qc, last_batch: Option<(LaneSeq, BatchDigest)>) -> Self {
        assert_eq!(root.vote.view, View::ZERO, "an era starts from its canonical certificate");
        Self {
            era: root.vote.era,
            current_view: View::new(1),
            last_voted: None,
            last_timeout: None,
            last_commit_vote: None,
            last_proposal: None,
            last_batch,
            high_qc: root,
            high_tc: None,
        }
    }
}

impl Safety {
    /// The record that is on disk.
    pub(crate) const fn restored(record: SafetyRecord) -> Self {
        Self { record, changed: false }
    }

    /// The record with which the era begins that `root` certifies. Lanes run on.
    pub(crate) fn begun(root: Qc, last_batch: Option<(LaneSeq, BatchDigest)>) -> Self {
        Self { record: SafetyRecord::new(root, last_batch), changed: true }
    }

    pub(crate) const fn record(&self) -> &SafetyRecord {
        &self.record
    }

    /// The record, if it changed since it was last taken.
    pub(crate) fn take_changed(&mut self) -> Option<SafetyRecord> {
        let mut record = core::mem::take(&mut self.changed).then(|| self.record.clone())?;
        if is_planted(Bug::TcNotDurable) {
            record.high_tc = None;
        }
        Some(record)
    }

    pub(crate) const fn view(&self) -> View {
        self.record.current_view
    }

    pub(crate) const fn era(&self) -> Era {
        self.record.era
    }

    pub(crate) fn last_voted_view(&self) -> View {
        self.record.last_voted.map(|vote| vote.view).unwrap_or_default()
    }

    pub(crate) fn last_timeout_view(&self) -> View {
        self.record.last_timeout.as_ref().map(|(timeout, _)| timeout.view).unwrap_or_default()
    }

    pub(crate) fn last_commit_vote_view(&self) -> View {
        self.record.last_commit_vote.map(|vote| vote.view).unwrap_or_default()
    }

    pub(crate) fn last_proposal_view(&self) -> View {
        self.record.last_proposal.map(|(view, _)| view).unwrap_or_default()
    }

    /// TC of the view before the current one, if that is how it was entered.
    pub(crate) fn entry_tc(&self) -> Option<&Tc> {
        if self.record.high_qc.vote.view.next() == self.view() {
            return None;
        }
        let tc = self.record.high_tc.as_ref().expect("a view is entered by QC or TC");
        assert_eq!(tc.view.next(), self.view(), "the entry certificate is of the view before");
        Some(tc)
    }

    /// Rule 1. A vote for `block` in view v is allowed iff
    ///
    /// 1. v is the current view,
    /// 2. nothing was voted in v or later,
    /// 3. neither v nor a later view was timed out,
    /// 4. the justification is QC(v−1), or `tc` is TC(v−1) and the
    ///    justification ranks at least as high as every high QC in it.
    ///
    /// Having a higher QC oneself is no veto: that gives responsiveness
    /// (Jolteon, arXiv 2106.10362, §3.2). That the proposer leads v, that the
    /// parent is executed and that all cited bytes are here, the replica sees to.
    pub(crate) fn can_vote(&self, block: &Block, tc: Option<&Tc>) -> bool {
        let view = block.header().view;
        let justify = block.justify().vote;
        block.header().era == self.era()
            && justify.era == self.era()
            && view == self.view()
            && view > self.last_voted_view()
            && (view > self.last_timeout_view() || is_planted(Bug::VoteAfterTimeout))
            && (justify.view.next() == view
                || tc.is_some_and(|tc| {
                    tc.era == self.era()
                        && tc.view.next() == view
                        && (tc.high_qc_views.iter().all(|high| justify.view >= *high)
                            || is_planted(Bug::TcWithoutHighestQc))
                }))
    }

    /// Votes.
    pub(crate) fn vote(&mut self, block: &Block, tc: Option<&Tc>) -> Vote {
        assert!(self.can_vote(block, tc), "rule 1");
        let vote = Vote { era: self.era(), view: block.header().view, block: block.id() };
        self.record.last_voted = Some(vote);
        self.changed = true;
        vote
    }

    /// Rule 2. A commit vote for the block certified in view v is allowed iff
    ///
    /// 1. neither v nor a later view was timed out ("finalize unless
    ///    nullified", Simplex, eprint 2023/463),
    /// 2. no commit vote was given for v or later,
    /// 3. a QC of v or later is in the record, so that no timeout of ours can
    ///    ever hide it.
    pub(crate) fn can_commit_vote(&self, view: View) -> bool {
        view > View::ZERO
            && (view > self.last_timeout_view() || is_planted(Bug::CommitVoteAfterTimeout))
            && view > self.last_commit_vote_view()
            && self.record.high_qc.vote.view >= view
    }

    /// Commit-votes.
    pub(crate) fn commit_vote(&mut self, view: View, block: BlockId, exec: ExecHash) -> CommitVote {
        assert!(self.can_commit_vote(view), "rule 2");
        let vote = CommitVote { era: self.era(), view, block, exec };
        self.record.last_commit_vote = Some(vote);
        self.changed = true;
        vote
    }

    /// Rule 4. The current view may be timed out iff neither it nor a later
    /// one was: once, with the high QC of that moment.
    pub(crate) fn can_time_out(&self) -> bool {
        self.view() > self.last_timeout_view()
    }

    /// Times the current view out.
    pub(crate) fn time_out(&mut self) -> Timeout {
        assert!(self.can_time_out(), "rule 4");
        let high_qc = self.record.high_qc.clone();
        assert!(high_qc.vote.view < self.view(), "a QC moves the view beyond its own");
        let timeout =
            Timeout { era: self.era(), view: self.view(), high_qc_view: high_qc.vote.view };
        self.record.last_timeout = Some((timeout, high_qc));
        self.changed = true;
        timeout
    }

    /// What [`Bug::OlderTimeout`] does.
    pub(crate) fn time_out_older(&mut self, timeout: Timeout, high_qc: Qc) {
        self.record.last_timeout = Some((timeout, high_qc));
        self.changed = true;
    }

    /// Rule 5. One proposal per view, and only in the current one.
    pub(crate) fn can_propose(&self) -> bool {
        self.view() > self.last_proposal_view() && self.view() > self.last_timeout_view()
    }

    /// Proposes.
    pub(crate) fn propose(&mut self, block: &Block) {
        assert!(self.can_propose() && block.header().view == self.view(), "rule 5");
        self.record.last_proposal = Some((self.view(), block.id()));
        self.changed = true;
    }

    /// Takes the next place of our own lane.
    pub(crate) fn extend_lane(&mut self, header: &BatchHeader, digest: BatchDigest) {
        let last = self.record.last_batch.unwrap_or_default();
        assert_eq!((header.lane_seq, header.previous), (last.0.next(), last.1), "lanes are chains");
        self.record.last_batch = Some((header.lane_seq, digest));
        self.changed = true;
    }

    /// Notes a QC; true if it is the highest so far. The view moves beyond it.
    pub(crate) fn observe_qc(&mut self, qc: &Qc) -> bool {
        assert_eq!(qc.vote.era, self.era(), "certificates of other eras end before");
        let higher = qc.vote.view > self.record.high_qc.vote.view || is_planted(Bug::RankByArrival);
        if higher {
            self.record.high_qc = qc.clone();
            self.changed = true;
        }
        if qc.vote.view >= self.view() {
            self.record.current_view = qc.vote.view.next();
            self.changed = true;
        }
        higher
    }

    /// Notes a TC, whose QC was observed before. The view moves beyond it.
    pub(crate) fn observe_tc(&mut self, tc: &Tc) {
        assert_eq!(tc.era, self.era(), "certificates of other eras end before");
        assert!(tc.high_qc.vote.view <= self.record.high_qc.vote.view, "its QC comes first");
        if tc.view >= self.view() {
            self.record.high_tc = Some(tc.clone());
            self.record.current_view = tc.view.next();
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests;
