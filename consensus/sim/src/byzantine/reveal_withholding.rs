//! Keeps its VRF output back, sends it seconds late, to one leader only, or
//! with a proof of something else.
//!
//! It hopes to choose the order of leaders by deciding, after it saw the
//! others, whether its own output counts. f liars have at most 2^f orders to
//! choose from, and in each everyone leads equally often. What does not prove
//! the output for the right epoch and seed enters no block.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;
use bizra_types::hash::Hash;
use bizra_types::vrf::VrfInput;

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct RevealWithholding;

impl Lie for RevealWithholding {
    fn send(&mut self, mut parcel: Parcel, stage: &mut Stage<'_>) {
        let Letter::Own(Outgoing::Reveal(input)) = &parcel.letter else {
            return stage.post(parcel);
        };
        stage.lie();
        match stage.rng.below(4) {
            0 => {}
            1 => {
                parcel.delay_micros += stage.rng.between(500_000, 8_000_000);
                stage.post(parcel);
            }
            2 => {
                let [one] = *stage.some_peers(1) else { return };
                parcel.to.retain(|peer| *peer == one);
                stage.post(parcel);
            }
            _ => {
                let wrong = VrfInput { seed: Hash(stage.noise()), ..*input };
                stage.post(parcel.with(Outgoing::Reveal(wrong)));
            }
        }
    }
}
