//! The NeuroTemporal Unit: how steadily good the scores of a session are.
//!
//! A unit observes scores and keeps a belief from 0 to 1, at first 0.5. Upon an
//! observation v it drops the oldest value of a full window, puts v in, and
//!
//! - temporal = 0.5 with fewer than two values, else
//!   0.7·exp(−4·variance) + 0.3·|mean sign of the differences|, with the
//!   population variance of the window;
//! - prior = 0.136083, 0.666667 or 0.984732 for v below 0.33, below 0.67, or
//!   above: the first components of the unit vectors along (.1, .2, .7),
//!   (.4, .4, .2) and (.8, .1, .1);
//! - belief ← 0.4·temporal + 0.35·prior + 0.25·belief;
//! - entropy = Shannon entropy of the window over these three classes, over log₂3;
//! - potential = belief·(1 − entropy).
//!
//! Everything is fixed point with [`FRACTION_BITS`] bits after the point, so
//! that all validators agree on the last of them; it stays within 10⁻⁹ of the
//! real numbers. The belief of perfect scores settles at 0.832875, so no
//! threshold near 1 may be asked of it.

use crate::forms::Score;
use alloc::collections::VecDeque;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};

/// Bits after the point.
pub const FRACTION_BITS: u32 = 48;

/// Most values of a window.
pub const WINDOW_MAX: u16 = 1_000;

/// 1.
const ONE: u64 = 1 << FRACTION_BITS;

/// What a unit believes before the first observation.
const HALF: u64 = ONE / 2;

/// Of the vectors of LOW, MEDIUM and HIGH: 0.1/√0.54, 2/3, 0.8/√0.66.
const PRIORS: [u64; 3] = [38_303_892_683_493, 187_649_984_473_770, 277_177_396_453_500];

/// A belief that moves less is settled: 0.01.
const SETTLED_BELOW: u64 = ONE / 100;

/// 1/log₂3.
const ONE_BY_LOG2_OF_3: u64 = 177_590_937_692_585;

/// What turns 10⁻¹² into the unit after the point, with 40 bits more.
const PER_TRILLION: u128 = (1 << (FRACTION_BITS + 40)) / 1_000_000_000_000;

/// 1/k! for the series of exp; the next one is below 2⁻³⁶.
const INVERSE_FACTORIALS: [u64; 14] = {
    let mut inverses = [ONE; 14];
    let mut at = 2;
    while at < inverses.len() {
        inverses[at] = inverses[at - 1] / at as u64;
        at += 1;
    }
    inverses
};

/// log₂ of every count in a window; that of 0 is never asked for.
static LOG2: [u64; WINDOW_MAX as usize + 1] = {
    let mut table = [0; WINDOW_MAX as usize + 1];
    let mut count = 1;
    while count < table.len() {
        table[count] = log2(count as u64);
        count += 1;
    }
    table
};

/// A unit, at most 1 KiB with windows of up to 128 values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The latest scores in parts per million, the oldest first.
    values: VecDeque<u32>,
    window: u16,
    belief: u64,
    /// How far the latest observation moved the belief.
    change: u64,
    sums: Sums,
}

/// What the window amounts to, kept up to date so that an observation costs the
/// same whatever its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    values: u64,
    squares: u64,
    classes: [u64; 3],
    /// Sum of the signs of the differences between neighbours.
    signs: i64,
}

impl Unit {
    /// A unit that has observed nothing.
    ///
    /// # Panics
    /// When the window is 0 or above [`WINDOW_MAX`].
    #[must_use]
    pub fn new(window: u16) -> Self {
        assert!((1..=WINDOW_MAX).contains(&window), "a window of {window} values");
        Self {
            values: VecDeque::with_capacity(window.into()),
            window,
            belief: HALF,
            change: ONE,
            sums: Sums::default(),
        }
    }

    /// Observes a score.
    pub fn observe(&mut self, score: Score) {
        let value = score.parts_per_million();
        if self.values.len() == usize::from(self.window) {
            let oldest = self.values.pop_front();
            self.sums.leave(oldest, self.values.front().copied());
        }
        self.sums.enter(self.values.back().copied(), value);
        self.values.push_back(value);
        let belief = (40 * self.temporal() + 35 * PRIORS[class(value)] + 25 * self.belief) / 100;
        let belief = belief.min(ONE);
        self.change = self.belief.abs_diff(belief);
        self.belief = belief;
    }

    /// The belief, from 0 to 1 with [`FRACTION_BITS`] after the point.
    #[must_use]
    pub const fn belief(&self) -> u64 {
        self.belief
    }

    /// How mixed the window is, from 0 to 1 with [`FRACTION_BITS`] after the point; 1 when it is
    /// empty.
    #[must_use]
    pub fn entropy(&self) -> u64 {
        let count = self.values.len();
        if count == 0 {
            return ONE;
        }
        let mixed = |classes: u64, count: u64| classes + count * log2_of(count);
        let apart = self.sums.classes.into_iter().fold(0, mixed);
        let count = count as u64;
        // The logarithms are cut off, so the difference might end a hair below 0.
        let bits = (count * log2_of(count)).saturating_sub(apart) / count;
        multiply(bits, ONE_BY_LOG2_OF_3).min(ONE)
    }

    /// belief·(1 − entropy), from 0 to 1 with [`FRACTION_BITS`] after the point; 0.5 before the
    /// first observation.
    #[must_use]
    pub fn potential(&self) -> u64 {
        if self.values.is_empty() { HALF } else { multiply(self.belief, ONE - self.entropy()) }
    }

    /// Whether the latest observation moved the belief by less than 0.01.
    #[must_use]
    pub const fn has_converged(&self) -> bool {
        self.change < SETTLED_BELOW
    }

    fn temporal(&self) -> u64 {
        let count = self.values.len() as u64;
        if count < 2 {
            return HALF;
        }
        // n·Σv² − (Σv)² is n² times the variance: below 2⁶⁰, and never negative.
        let spread = count * self.sums.squares - self.sums.values * self.sums.values;
        let variance_by_4 = u128::from(4 * spread / (count * count));
        let exponent = u64::try_from((variance_by_4 * PER_TRILLION) >> 40)
            .expect("four times the variance of shares is at most 1");
        let trend = self.sums.signs.unsigned_abs() * ONE / (count - 1);
        (7 * exp_of_minus(exponent) + 3 * trend) / 10
    }
}

impl Sums {
    fn enter(&mut self, before: Option<u32>, value: u32) {
        self.values += u64::from(value);
        self.squares += u64::from(value) * u64::from(value);
        self.classes[class(value)] += 1;
        self.signs += before.map_or(0, |before| sign(before, value));
    }

    fn leave(&mut self, value: Option<u32>, after: Option<u32>) {
        let Some(value) = value else { return };
        self.values -= u64::from(value);
        self.squares -= u64::from(value) * u64::from(value);
        self.classes[class(value)] -= 1;
        self.signs -= after.map_or(0, |after| sign(value, after));
    }
}

fn sign(from: u32, to: u32) -> i64 {
    to.cmp(&from) as i64
}

const fn class(value: u32) -> usize {
    match value {
        0..330_000 => 0,
        330_000..670_000 => 1,
        _ => 2,
    }
}

const fn multiply(left: u64, right: u64) -> u64 {
    ((left as u128 * right as u128) >> FRACTION_BITS) as u64
}

/// exp(−x) for x from 0 to 1: the series with its even and its odd terms summed
/// up beside each other, which is twice as fast as one after the other.
fn exp_of_minus(x: u64) -> u64 {
    let square = multiply(x, x);
    let (mut even, mut odd) = (0, 0);
    for pair in INVERSE_FACTORIALS.as_chunks::<2>().0.iter().rev() {
        even = pair[0] + multiply(square, even);
        odd = pair[1] + multiply(square, odd);
    }
    even - multiply(x, odd)
}

fn log2_of(count: u64) -> u64 {
    LOG2[usize::try_from(count).expect("at most a window")]
}

/// log₂ by squaring, a bit at a time.
const fn log2(count: u64) -> u64 {
    let whole = count.ilog2();
    let mut logarithm = whole as u64;
    // From 1 up to 2, with 63 bits after the point.
    let mut rest = (count as u128) << (63 - whole);
    let mut bit = 0;
    while bit < FRACTION_BITS {
        rest = (rest * rest) >> 63;
        logarithm <<= 1;
        if rest >> 64 > 0 {
            logarithm |= 1;
            rest >>= 1;
        }
        bit += 1;
    }
    logarithm
}

impl Encode for Unit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.window.encode(out);
        self.belief.encode(out);
        self.change.encode(out);
        u32::from(u16::try_from(self.values.len()).expect("at most a window")).encode(out);
        for value in &self.values {
            value.encode(out);
        }
    }
}

impl Decode for Unit {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let window = u16::decode(reader)?;
        if !(1..=WINDOW_MAX).contains(&window) {
            return Err(DecodeError::Invalid { what: "window of a unit", value: window.into() });
        }
        let mut unit = Self::new(window);
        let share = |value: u64| {
            (value <= ONE)
                .then_some(value)
                .ok_or(DecodeError::Invalid { what: "fraction of a unit", value })
        };
        unit.belief = share(u64::decode(reader)?)?;
        unit.change = share(u64::decode(reader)?)?;
        for score in reader.list::<Score>("values of a unit", window.into(), 4)? {
            let value = score.parts_per_million();
            unit.sums.enter(unit.values.back().copied(), value);
            unit.values.push_back(value);
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition in floating point, with no sum kept.
    struct Real {
        values: Vec<f64>,
        window: usize,
        belief: f64,
    }

    impl Real {
        fn observe(&mut self, value: f64) {
            self.values.push(value);
            if self.values.len() > self.window {
                self.values.remove(0);
            }
            let count = self.values.len() as f64;
            let mean = self.values.iter().sum::<f64>() / count;
            let variance =
                self.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let signs: f64 = self
                .values
                .windows(2)
                .map(|pair| if pair[0] == pair[1] { 0.0 } else { (pair[1] - pair[0]).signum() })
                .sum();
            let temporal = if self.values.len() < 2 {
                0.5
            } else {
                0.7 * (-4.0 * variance).exp() + 0.3 * (signs / (count - 1.0)).abs()
            };
            let [low, medium, high] =
                [[0.1_f64, 0.2, 0.7], [0.4, 0.4, 0.2], [0.8, 0.1, 0.1]].map(|vector| {
                    vector[0] / vector.iter().map(|part| part * part).sum::<f64>().sqrt()
                });
            let prior = if value < 0.33 {
                low
            } else if value < 0.67 {
                medium
            } else {
                high
            };
            self.belief = 0.4 * temporal + 0.35 * prior + 0.25 * self.belief;
        }

        fn entropy(&self) -> f64 {
            let share = |test: fn(f64) -> bool| {
                let share = self.values.iter().filter(|value| test(**value)).count() as f64
                    / self.values.len() as f64;
                if share == 0.0 { 0.0 } else { -share * share.log2() }
            };
            (share(|value| value < 0.33)
                + share(|value| (0.33..0.67).contains(&value))
                + share(|value| value >= 0.67))
                / 3_f64.log2()
        }
    }

    fn score(parts: u32) -> Score {
        Score::from_parts_per_million(parts).expect("a share")
    }

    fn real(fraction: u64) -> f64 {
        fraction as f64 / ONE as f64
    }

    #[test]
    fn the_vector_of_the_design_comes_out() {
        let mut unit = Unit::new(5);
        assert_eq!((unit.belief(), unit.entropy(), unit.potential()), (HALF, ONE, HALF));
        for (parts, belief) in [
            (900_000, 0.669656174742),
            (920_000, 0.911958240825),
            (880_000, 0.852347227514),
            (950_000, 0.876994982515),
            (910_000, 0.843305243454),
        ] {
            unit.observe(score(parts));
            assert!((real(unit.belief()) - belief).abs() < 1e-9, "{}", real(unit.belief()));
            assert_eq!(unit.entropy(), 0);
            assert_eq!(unit.potential(), unit.belief());
            assert!(!unit.has_converged());
        }
    }

    #[test]
    fn constants_are_what_they_stand_for() {
        for (fraction, value) in
            PRIORS.into_iter().zip([0.1 / 0.54_f64.sqrt(), 2.0 / 3.0, 0.8 / 0.66_f64.sqrt()])
        {
            assert!((real(fraction) - value).abs() < 1e-13, "{}", real(fraction));
        }
        assert!((real(ONE_BY_LOG2_OF_3) - 1.0 / 3_f64.log2()).abs() < 1e-13);
        for (count, logarithm) in LOG2.iter().enumerate().skip(1) {
            assert!((real(*logarithm) - (count as f64).log2()).abs() < 1e-12, "{count}");
        }
        for step in 0..=1_000_u64 {
            let x = ONE / 1_000 * step;
            assert!((real(exp_of_minus(x)) - (-real(x)).exp()).abs() < 2e-11, "{step}");
        }
    }

    #[test]
    fn perfect_scores_settle_below_what_one_might_ask() {
        let mut unit = Unit::new(5);
        for _ in 0..100 {
            unit.observe(Score::ONE);
        }
        assert!((real(unit.belief()) - 0.832875).abs() < 1e-6, "{}", real(unit.belief()));
        assert!(unit.has_converged());
    }

    #[test]
    fn a_window_of_all_classes_is_all_entropy() {
        let mut unit = Unit::new(3);
        for parts in [0, 329_999, 330_000, 669_999, 670_000, 1_000_000, 500_000, 0] {
            unit.observe(score(parts));
        }
        // The last three are one of each class.
        assert!(ONE - unit.entropy() < 16, "{}", unit.entropy());
        assert!(unit.potential() < 16);
    }

    #[test]
    fn a_unit_is_small() {
        let mut unit = Unit::new(128);
        for parts in 0..300 {
            unit.observe(score(parts * 1_000));
        }
        assert!(size_of::<Unit>() + 4 * unit.values.capacity() <= 1_024);
        assert!(unit.to_bytes().len() <= 1_024);
    }

    #[test]
    #[should_panic(expected = "a window of 1001 values")]
    fn windows_are_bounded() {
        let _ = Unit::new(1_001);
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let mut unit = Unit::new(2);
        unit.observe(Score::ONE);
        let bytes = unit.to_bytes();
        let with = |at: usize, change: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + change.len()].copy_from_slice(change);
            Unit::from_bytes(&bytes)
        };
        let invalid = |what, value| Err(DecodeError::Invalid { what, value });
        assert_eq!(with(0, &[0, 0]), invalid("window of a unit", 0));
        assert_eq!(with(0, &1_001_u16.to_bytes()), invalid("window of a unit", 1_001));
        assert_eq!(with(2, &(ONE + 1).to_bytes()), invalid("fraction of a unit", ONE + 1));
        assert_eq!(with(10, &(ONE + 1).to_bytes()), invalid("fraction of a unit", ONE + 1));
        assert_eq!(
            with(18, &[3]),
            Err(DecodeError::TooMany { what: "values of a unit", count: 3, limit: 2 })
        );
        assert_eq!(with(22, &1_000_001_u32.to_bytes()), invalid("score", 1_000_001));
    }

    proptest! {
        #[test]
        fn fixed_point_stays_near_the_real_numbers(
            window in 1u16..=200,
            values in prop::collection::vec(
                prop_oneof![0u32..=1_000_000, 900_000u32..=1_000_000, Just(0), Just(1_000_000)],
                1..400
            ),
        ) {
            let mut unit = Unit::new(window);
            let mut reference =
                Real { values: Vec::new(), window: window.into(), belief: 0.5 };
            for value in values {
                unit.observe(score(value));
                reference.observe(f64::from(value) / 1e6);
                let belief = real(unit.belief());
                prop_assert!((belief - reference.belief).abs() < 1e-9);
                prop_assert!((real(unit.entropy()) - reference.entropy()).abs() < 1e-9);
                prop_assert!(unit.entropy() <= ONE && unit.belief() <= ONE);
            }
            prop_assert_eq!(Unit::from_bytes(&unit.to_bytes()), Ok(unit));
        }
    }
}
