//! The reputation of validators: who was there, and who was caught lying.
//!
//! It is an integer from 0 to [`SCORE_MAX`], and begins at [`SCORE_START`]. When the first block
//! of a governance epoch comes, each member of the committee keeps ×0.95 of it, cut off, and is
//! given `reputation_participation` if a VRF reveal of it stands in a block of the epoch before:
//! whoever reveals was there, while the signers of certificates are those who are near. It belongs
//! to a seat: a member whose key is rotated keeps it, and it rests while a validator is in no
//! committee.
//!
//! A promise that was not kept costs [`BROKEN_PROMISE_COST`] and nothing else: a sender whose room
//! is used up before the record's turn comes can bring it about. A proven equivocation costs
//! [`EQUIVOCATION_COST`] and brings quarantine until four more epochs have begun. In quarantine a
//! validator has no say in governance and is given nothing for being there. It goes on ordering
//! records: the committee counts on its seat, and what it signs is checked like before.

use crate::codes::{Code, Rejection};
use crate::parameters::LedgerParameters;
use bizra_types::encode_fields;

/// The highest score.
pub const SCORE_MAX: u64 = 100_000;

/// What a validator begins with.
pub const SCORE_START: u64 = 500;

/// What one equivocation costs.
pub const EQUIVOCATION_COST: u64 = 5_000;

/// What one broken promise costs.
pub const BROKEN_PROMISE_COST: u64 = 1_000;

/// Beginnings of epochs that end a quarantine.
pub const QUARANTINE_EPOCHS: u8 = 4;

/// Value of [`Family::Reputation`](crate::plain::Family::Reputation), by the consensus key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reputation {
    /// The score.
    pub score: u64,
    /// The latest governance epoch in which a block held a reveal of the validator.
    pub seen_in: Option<u64>,
    /// So many more epochs must begin until it has a say again.
    pub quarantine_epochs: u8,
}

impl Reputation {
    /// Whether it has no say in governance.
    #[must_use]
    pub const fn is_in_quarantine(&self) -> bool {
        self.quarantine_epochs > 0
    }

    /// The refusal of whatever governance it attempts in quarantine.
    #[must_use]
    pub fn refusal(&self) -> Rejection {
        let detail = format!(
            "has no say in governance until {} more governance epochs have begun",
            self.quarantine_epochs
        );
        Rejection::new(Code::State, "sender.public_key", detail)
    }

    /// What is left of it once `epoch` is over.
    #[must_use]
    pub fn after(self, epoch: u64, parameters: &LedgerParameters) -> Self {
        let was_there = self.seen_in == Some(epoch) && !self.is_in_quarantine();
        let added = if was_there { parameters.reputation_participation } else { 0 };
        Self {
            score: (self.score * 95 / 100 + added).min(SCORE_MAX),
            quarantine_epochs: self.quarantine_epochs.saturating_sub(1),
            ..self
        }
    }

    /// What is left of it after a proof that a record which the validator has promised an outcome
    /// got none in time.
    #[must_use]
    pub const fn after_broken_promise(self) -> Self {
        Self { score: self.score.saturating_sub(BROKEN_PROMISE_COST), ..self }
    }

    /// What is left of it after a proof that the validator signed two things that exclude each
    /// other.
    #[must_use]
    pub const fn after_equivocation(self) -> Self {
        Self {
            score: self.score.saturating_sub(EQUIVOCATION_COST),
            quarantine_epochs: QUARANTINE_EPOCHS,
            ..self
        }
    }
}

impl Default for Reputation {
    fn default() -> Self {
        Self { score: SCORE_START, seen_in: None, quarantine_epochs: 0 }
    }
}

encode_fields!(Reputation { score, seen_in, quarantine_epochs });
