//! Never proposes, but votes and gives signs of life.
//!
//! It hopes to slow the chain down: those who hear from it do not skip its
//! views early (rule 7). The view timer ends them all the same (rule 4), and
//! within an epoch nobody leads more than one view of n.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct SilentLeader;

impl Lie for SilentLeader {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match parcel.letter {
            Letter::Own(Outgoing::Proposal { .. }) => stage.lie(),
            _ => stage.post(parcel),
        }
    }
}
