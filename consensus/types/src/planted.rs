//! Known mistakes, planted one at a time to show that the tests find them.
//!
//! Only a build with `--cfg planted_bugs` holds them: in every other
//! [`is_planted`] is a constant `false`, and nothing is left of what it guards.
//! A bug is planted for one thread, so that others can run beside it without.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A mistake that an engine can make; most have been made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// A vote leaves before it is on disk.
    VoteBeforePersist = "vote-before-persist",
    /// A commit vote leaves, and the QC under it is not on disk.
    QcNotDurable = "qc-not-durable",
    /// The TC by which a view was entered is not on disk.
    TcNotDurable = "tc-not-durable",
    /// A vote in a view that was timed out.
    VoteAfterTimeout = "vote-after-timeout",
    /// A commit vote in a view that was timed out.
    CommitVoteAfterTimeout = "commit-vote-after-timeout",
    /// Whoever has left a later view joins the timeouts of an older one.
    OlderTimeout = "older-timeout",
    /// A timeout does not carry the TC by which its view was entered.
    TimeoutWithoutTc = "timeout-without-tc",
    /// The high QC is the one that came last.
    RankByArrival = "rank-by-arrival",
    /// A block on a QC older than one in its TC gets a vote.
    TcWithoutHighestQc = "tc-without-highest-qc",
    /// Two certificates in a row commit the first.
    TwoChainCommit = "two-chain-commit",
    /// A quorum is one of those who were heard lately.
    QuorumOfLivePeers = "quorum-of-live-peers",
    /// A vote that comes twice counts twice.
    DuplicateVotesCounted = "duplicate-votes-counted",
    /// A vote's signature does not cover its view.
    SignatureWithoutView = "signature-without-view",
    /// A vote's signature does not cover its era.
    SignatureWithoutEra = "signature-without-era",
    /// Blocks that become final at once are handed out newest first.
    CommitInWrongOrder = "commit-in-wrong-order",
    /// What became final after skipped views is handed out again.
    RecommitAfterSkippedViews = "recommit-after-skipped-views",
    /// Of two votes in one view the later takes the place of the first.
    EvidenceDropsFirst = "evidence-drops-first",
    /// After a crash an older safety record is back.
    OldSafetyRecord = "old-safety-record",
    /// Leaders are drawn from the highest block here, certified or not.
    ScheduleFromUncertified = "schedule-from-uncertified",
    /// What a dropped block did stays in the state of its parent.
    LeakingOverlay = "leaking-overlay",
    /// Votes are kept however far ahead their view is.
    UnboundedFutureViews = "unbounded-future-views",
    /// A vote for a block whose batches are not here.
    VoteBeforeBatches = "vote-before-batches",
    /// Nobody tells others how an earlier era ended.
    StrandedStragglers = "stranded-stragglers",
    /// A filler becomes part of the chain.
    FillerInChain = "filler-in-chain",
    /// A QC of the closing block ends the era.
    EraEndsOnQc = "era-ends-on-qc",
    /// The next era starts from the filler that was certified.
    EraStartsOnFiller = "era-starts-on-filler",
    /// A vote for a block on one that may close the era, before that is executed.
    UnexecutedParent = "unexecuted-parent",
    /// After a restart the end of an era is forgotten.
    EndedEraForgotten = "ended-era-forgotten",
    /// Any safety record will do, of whatever key and era.
    AnySafetyRecord = "any-safety-record",
}

#[cfg(planted_bugs)]
mod switch {
    use super::Bug;
    use core::cell::Cell;

    std::thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug, or none, in all that this thread does from now on.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(planted_bugs)]
pub use switch::{is_planted, plant};

/// Whether this bug is planted: never, in this build.
#[cfg(not(planted_bugs))]
#[must_use]
pub const fn is_planted(_: Bug) -> bool {
    false
}
