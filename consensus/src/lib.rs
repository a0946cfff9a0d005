//! The consensus engine: two-phase HotStuff (Jolteon) with explicit commit
//! votes, VRF leaders and optimistic record lanes, as a pure state machine.
//!
//! [`Replica::step`] takes one [`Input`] and returns [`Effects`]; the order of
//! their fields is the order in which the driver carries them out. There is no
//! clock, disk, socket, randomness or thread in here, no floats, and no map is
//! iterated in hash order: the same inputs give the same effects.
//!
//! n = 3f + 1 validators, one vote each; a *quorum* is ⌊2n/3⌋ + 1 of the
//! registered committee, whoever is alive.
//!
//! # The rules
//!
//! 1. **Vote.** Upon a proposal of the current view by its leader, after its
//!    certificates were processed: vote if nothing was voted or timed out in
//!    this view or later, and either the justification is QC(v−1), or the
//!    proposal carries TC(v−1) and its justification ranks at least as high as
//!    every high QC in it; the parent is executed; the time rule holds; the
//!    bytes of all cited batches are here and in the same or an earlier
//!    [`Persist`]. (`safety::can_vote`, `Replica::try_vote`)
//! 2. **Commit vote.** Upon QC(v, b) that is the highest: once b is executed,
//!    commit-vote (v, b, exec) if no view from v on was timed out. The QC is
//!    durable in the same write or before. Repeat it until a commit certificate
//!    of v or later is seen. (`safety::can_commit_vote`)
//! 3. **Commit.** Upon CommitCert(v, b): commit b and its ancestors, ascending,
//!    each once. Nothing else commits. (`Replica::try_commit`)
//! 4. **Timeout.** Leave a view once, with the high QC of that moment; repeat
//!    the same bytes until the view moves; join on f + 1. It carries the
//!    certificate by which the view was entered. (`safety::time_out`)
//! 5. **Propose**, once per view and only with the parent executed: at once
//!    when something is citable, on entry by TC, on f + 1 hints, or when
//!    certified records stay unfinal; else after `idle_block_ms`.
//! 6. **View timer**: runs from entry by TC, from when something is citable or
//!    stays unfinal, else from `idle_block_ms` on. (`pacemaker`)
//! 7. **Early skip**: an ordinary timeout sent early, when nothing came from
//!    the leader for a while and a quorum was heard meanwhile.
//! 8. **Time**: parent < block ≤ max(voter's clock + allowance, parent + 1), and
//!    not before any cited admission. A rule for votes alone.
//! 9. **Divergence**: a commit certificate with another exec than ours stops
//!    all signing. So does a signature of our key that our record does not
//!    know. A key without the record of the last era in which it had a seat
//!    signs nothing in any era.
//!
//! # Eras
//!
//! An era is one committee; certificates rank by (era, view), and every
//! signature names its era, so a committee that returns revives no old votes.
//!
//! 10. **Closing.** Upon the execution of a block B that names the next
//!     committee: only fillers get votes on B, that is blocks at its height
//!     that name B and its exec and order nothing. (`BlockTree::closing`)
//! 11. **Handing over.** Upon a commit certificate of B or of a filler of it,
//!     B and its ancestors are final and the era ends; a filler never is. One
//!     write holds the certificate and the record of the next era, which
//!     starts in view 1 from the canonical QC(0) of B. The old record stays,
//!     and nothing is signed under it any more, also if the commit of B is lost
//!     in a crash. (`Replica::hand_over`)
//! 12. **Stragglers.** Upon any message of an ended era: answer with what ended
//!     it. Upon any message of an era that the verifier does not know: ask the
//!     members of this one, at a pace, how it ended. Whoever left goes on
//!     answering, and serves its lane, whose batches can be cited in the era
//!     after; it accepts nothing from QC(B) on.
//! 13. **Starting.** The write that begins an era and the commit that ended the
//!     one before may reach the disk in either order, and each alone is enough.
//!     Without the end of every era before that of the head nobody starts.
//!     ([`Restored::chain`])
//!
//! Versions of the protocol come into force at a height that an executed block
//! decided. Whoever lacks one stops before that height and takes in nothing
//! more. Parameters change at each replica when the block that decided them is
//! final there: those that may change decide when something is done and what is
//! offered, never what is valid, so that replicas a block apart may differ.
//!
//! # Why it is safe
//!
//! CommitCert(v, b) means that f + 1 honest validators had QC(v, b) durable
//! before they ever timed out v or a later view (rule 2). None of them signs
//! Timeout(v) afterwards, so TC(v) cannot exist; and every later TC contains
//! one of them with a high QC of at least v, so by rule 1 every block certified
//! later extends b, by induction over views. That leaders are unique, or clocks
//! agree, is never used.
//!
//! # Departures from the design, and why
//!
//! * *QCs are not forwarded by everyone on entry.* Votes go to all, so all form
//!   the QC; whoever missed it gets it from the next proposal, inside any
//!   timeout, or in answer to its own. TCs, which are rare, are forwarded.
//! * *Acknowledgements of a batch go to its author only*, unless its author is
//!   under the withholding rule: n² acknowledgements per batch cost more than
//!   they tell when all is well.
//! * *A leader's every 256th turn, not every 8th, is exempt from the early
//!   skip.* Views take milliseconds when there is work: with two dead of seven,
//!   every eighth turn would cost a full timer about once a second. The
//!   exemption is fairness towards a leader that only some can hear; liveness
//!   does not rest on it.
//! * *The early skip does not wait for a round trip after the entry*: a leader
//!   that was silent for `leader_silence_ms` before is skipped on entry. Whoever
//!   lives gives a sign of life several times in that span, so the wait helps
//!   only a leader that comes back in that very moment, and it cost a dead
//!   leader's view more than all else: between continents, with two of seven
//!   dead, p95 was 2.2 times that of a healthy network and is 1.6 times. Safety
//!   does not rest on when a timeout is signed. Nor does liveness: once signs of
//!   life come in time nobody skips the living, and never more than f, because
//!   a quorum must be heard.
//! * *A cited batch is asked for only after it had a round trip (at least
//!   20 ms) to arrive by itself*, and a certified block counts as unfinal after
//!   two round trips (at least 40 ms): on a fast network the shorter waits of
//!   the design only race with the disk.
//! * *Whoever lacks the block to build on leaves the view after four round
//!   trips (at least 40 ms)*, not only the leader, who may not know that it
//!   leads, and not while that block is merely being executed.
//! * *Only the leader's proposal enters the tree, and not before its time.* A
//!   block from elsewhere must be certified: nobody else can make work.
//! * *Two different timeouts of one view are evidence too*: an honest validator
//!   repeats the same bytes.
//! * *When an author begins to need acknowledgements, everyone acknowledges to
//!   all what it holds of that lane*: other leaders could not know of the ones
//!   that went to the author alone.
//!
//! Sources: HotStuff (PODC 2019), Jolteon (arXiv 2106.10362), Simplex (eprint
//! 2023/463), AIP-89 and AIP-106 of Aptos, BABE for the lottery.
//!
//! | file | holds |
//! |---|---|
//! | `replica.rs` | dispatch, and each rule asked in turn |
//! | `safety.rs` | what may be signed: predicate and act |
//! | `pacemaker.rs` | when to leave a view |
//! | `votes.rs` | counting, certificates, evidence |
//! | `block_tree.rs` | blocks above the committed head |
//! | `lanes.rs` | record batches and citations |
//! | `schedule.rs` | epochs, seeds, leaders |
//! | `effects.rs` | inputs, effects, what is durable |
//! | `model.rs` | every order of events in a few views, explored (tests) |

mod block_tree;
mod effects;
mod lanes;
#[cfg(test)]
mod model;
mod pacemaker;
mod replica;
mod safety;
mod schedule;
#[cfg(test)]
mod testing;
mod votes;

pub use effects::{
    Activation, Alarm, Ask, ClosedEra, Commit, Decisions, Effects, Evidence, Execute, Input, Now,
    Opening, Outgoing, Persist, Recipients, Restored, Root, SafetyRecord, Send, StartError, Time,
    Versions,
};
pub use replica::{Replica, ReplicaConfig, Status};
pub use schedule::{EpochState, Schedule};
