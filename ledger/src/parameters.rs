//! The governed numbers that judge records.
//!
//! Each is an entry of [`Family::Parameter`]: key, its name; value, a `u64`.
//! What governance has never changed has no entry, and the value of the design
//! holds. A value outside the range of its parameter cannot have been enacted,
//! so finding one means that the store is damaged.

use crate::forms::Score;
use crate::log::StorageError;
use crate::plain::Family;
use bizra_types::encoding::Decode;
use core::ops::RangeInclusive;

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident: $min:literal..=$max:literal = $default:literal,)*) => {
        /// Governed numbers that everyone must agree on when a record is judged.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct LedgerParameters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Default for LedgerParameters {
            /// What holds until governance decides otherwise.
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl LedgerParameters {
            /// What each parameter may be, in the order of their definition.
            pub const RANGES: &[(&'static str, RangeInclusive<u64>)] =
                &[$((stringify!($name), $min..=$max)),*];

            /// Reads the parameters in force.
            ///
            /// # Errors
            /// When `plain` fails, or an entry is damaged.
            pub fn read(
                plain: impl Fn(Family, &[u8]) -> Result<Option<Vec<u8>>, StorageError>,
            ) -> Result<Self, StorageError> {
                let read = |name: &str, range: RangeInclusive<u64>, default: u64| {
                    let Some(bytes) = plain(Family::Parameter, name.as_bytes())? else {
                        return Ok(default);
                    };
                    match u64::from_bytes(&bytes) {
                        Ok(value) if range.contains(&value) => Ok(value),
                        Ok(value) => Err(StorageError(format!(
                            "the parameter {name} is {value}, outside {range:?}"
                        ))),
                        Err(error) => {
                            Err(StorageError(format!("the parameter {name} {error}")))
                        }
                    }
                };
                Ok(Self { $($name: read(stringify!($name), $min..=$max, $default)?,)* })
            }

            /// Every parameter with its value, in the order of their definition.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

parameters! {
    /// Least `snr_score` of a record, in parts per million.
    snr_min_ppm: 0..=1_000_000 = 850_000,
    /// Least `ihsan_score` of a record, in parts per million. It cannot be governed below 0.95.
    ihsan_min_ppm: 950_000..=1_000_000 = 950_000,
    /// Least FATE composite of an operation without a threshold of its own, in parts per
    /// million. No threshold can be 0, so that a dimension of 0 always blocks.
    fate_min_ppm: 1..=1_000_000 = 950_000,
    /// Least FATE composite of what runs a shell, in parts per million.
    fate_shell_min_ppm: 1..=1_000_000 = 980_000,
    /// Least FATE composite of what writes or edits, in parts per million.
    fate_write_min_ppm: 1..=1_000_000 = 960_000,
    /// Least FATE composite of what uses the network, in parts per million.
    fate_network_min_ppm: 1..=1_000_000 = 950_000,
    /// Least FATE composite of what reads, in parts per million.
    fate_read_min_ppm: 1..=1_000_000 = 900_000,
    /// Length of a governance epoch, in ms of chain time: quotas start anew, and the pool of the
    /// market is shared out.
    governance_epoch_ms: 3_600_000..=2_592_000_000 = 86_400_000,
    /// Bytes that one identity may put into the log in a governance epoch.
    identity_bytes_max: 65_536..=9_007_199_254_740_991 = 4_294_967_296,
    /// Bytes that the batches of one validator may put into the log in a governance epoch.
    author_bytes_max: 1_048_576..=9_007_199_254_740_991 = 1_099_511_627_776,
    /// Whether keys must be registered to submit: 1 if so.
    registered_only: 0..=1 = 0,
    /// What a new account of the market is given, in credits. Where anybody can have a key, more
    /// than 0 is a faucet.
    market_endowment: 0..=1_000_000 = 0,
    /// Tax on the declared value of a licence, in parts per million and year.
    market_tax_ppm: 0..=1_000_000 = 70_000,
    /// Highest Gini coefficient that an acquisition may bring about, in parts per million.
    gini_max_ppm: 0..=1_000_000 = 350_000,
    /// Most units of a resource that an acquisition may leave to its one holder.
    market_sole_units_max: 1..=1_000_000_000 = 1_000,
    /// Share of the committee that must approve an emergency, in parts per million. It cannot be
    /// governed below 0.85. It may be more than those who are there: an amendment needs no more than
    /// them, whatever is governed.
    emergency_min_ppm: 850_000..=1_000_000 = 850_000,
    /// Share of the committee whose vetoes end a proposal, in parts per million. It cannot be
    /// governed below 0.33, nor above a half, which would leave the few without a veto.
    veto_min_ppm: 330_000..=500_000 = 330_000,
    /// Blocks for which an amendment is deliberated before anybody may approve it.
    deliberation_blocks: 1..=604_800 = 600,
    /// Blocks for which an amendment is voted on.
    voting_blocks: 1..=604_800 = 1_800,
    /// Blocks for which an emergency is deliberated.
    emergency_deliberation_blocks: 0..=604_800 = 10,
    /// Blocks for which an emergency is voted on.
    emergency_voting_blocks: 1..=604_800 = 60,
    /// How long a policy stays valid after another has taken its place, in ms of chain time.
    policy_grace_ms: 0..=2_592_000_000 = 86_400_000,
    /// What a validator's reputation gains in a governance epoch in which it revealed.
    reputation_participation: 0..=100_000 = 1_000,
}

/// The score of a parameter in parts per million.
///
/// # Panics
/// When it is above 1,000,000, which the range of no such parameter allows.
pub(crate) fn share(parameter_ppm: u64) -> Score {
    u32::try_from(parameter_ppm)
        .ok()
        .and_then(Score::from_parts_per_million)
        .expect("a share is at most one million parts per million")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::encoding::Encode;

    fn with(name: &'static str, value: Vec<u8>) -> Result<LedgerParameters, StorageError> {
        LedgerParameters::read(|family, key| {
            assert_eq!(family, Family::Parameter);
            Ok((key == name.as_bytes()).then(|| value.clone()))
        })
    }

    #[test]
    fn without_entries_the_design_holds() {
        let parameters = LedgerParameters::read(|_, _| Ok(None)).expect("nothing is damaged");
        assert_eq!(parameters, LedgerParameters::default());
        for ((name, value), (named, range)) in parameters.iter().zip(LedgerParameters::RANGES) {
            assert_eq!(name, *named);
            assert!(range.contains(&value), "{name}");
        }
    }

    #[test]
    fn an_entry_holds_within_its_range() {
        for (name, range) in LedgerParameters::RANGES {
            for value in [*range.start(), *range.end()] {
                let parameters = with(name, value.to_bytes()).expect("within the range");
                assert!(parameters.iter().any(|entry| entry == (*name, value)));
            }
            let above = range.end() + 1;
            let error = with(name, above.to_bytes()).expect_err("outside the range");
            assert!(error.0.contains(&format!("{name} is {above}, outside")), "{error}");
        }
    }

    #[test]
    fn the_minimum_of_ihsan_cannot_be_lowered() {
        assert_eq!(
            with("ihsan_min_ppm", 949_999_u64.to_bytes()),
            Err(StorageError(
                "the parameter ihsan_min_ppm is 949999, outside 950000..=1000000".into()
            ))
        );
        assert_eq!(
            with("ihsan_min_ppm", vec![1]),
            Err(StorageError(
                "the parameter ihsan_min_ppm ends after 1 bytes where 8 more are needed".into()
            ))
        );
    }

    #[test]
    fn a_failing_store_is_reported() {
        let gone = StorageError("the disk is gone".into());
        assert_eq!(LedgerParameters::read(|_, _| Err(gone.clone())), Err(gone));
    }
}
