//! Sends what it once sent or heard again, and the same signed for another
//! chain or era.
//!
//! It hopes that an old vote counts twice, for another view or elsewhere. Every
//! signature covers kind, chain, era and view; nobody passes on what others
//! signed for themselves; and what was counted is counted once.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::{Input, Outgoing};
use bizra_types::message::{CommitVote, Timeout, Vote};
use std::collections::VecDeque;

/// Messages kept for later.
const KEPT_MAX: usize = 256;
/// Messages sent again per tenth of a second.
const REPLAYED: usize = 6;

/// What may be sent again.
#[derive(Debug, Default)]
pub(super) struct Replayer {
    kept: VecDeque<Letter>,
}

impl Replayer {
    fn keep(&mut self, letter: Letter, stage: &mut Stage<'_>) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push_back(letter);
        } else {
            let place = stage.rng.index(KEPT_MAX);
            self.kept[place] = letter;
        }
    }
}

impl Lie for Replayer {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        self.keep(parcel.letter.clone(), stage);
        stage.post(parcel);
    }

    fn hear(&mut self, input: &Input, stage: &mut Stage<'_>) {
        if stage.rng.chance(50_000) {
            self.keep(Letter::Copy(Box::new(input.clone())), stage);
        }
    }

    fn tick(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..REPLAYED.min(self.kept.len()) {
            let letter = self.kept[stage.rng.index(self.kept.len())].clone();
            let letter = match letter {
                Letter::Own(message) => match stage.rng.below(4) {
                    0 => Letter::Abroad(message),
                    1 => Letter::Own(of_next_era(message)),
                    _ => Letter::Own(message),
                },
                other => other,
            };
            let count = 1 + stage.rng.index(stage.size() - 1);
            let to = stage.some_peers(count);
            stage.lie();
            stage.post(Parcel { to, letter, delay_micros: 0 });
        }
    }
}

/// The same for an era that has not begun.
fn of_next_era(message: Outgoing) -> Outgoing {
    match message {
        Outgoing::Vote(vote) => Outgoing::Vote(Vote { era: vote.era.next(), ..vote }),
        Outgoing::CommitVote(vote) => {
            Outgoing::CommitVote(CommitVote { era: vote.era.next(), ..vote })
        }
        Outgoing::Timeout { timeout, high_qc, entry_tc, missing } => {
            let timeout = Timeout { era: timeout.era.next(), ..timeout };
            Outgoing::Timeout { timeout, high_qc, entry_tc, missing }
        }
        other => other,
    }
}
