//! The 7-3-6-9 budget: what an inference may cost, by its complexity.
//!
//! complexity = (7·depth/7 + 3·tracks/3 + 6·mean(tokens/10,000, entropy,
//! knowledge gap) + 9·mean(retries/9, 1 − mean SNR)) / 25, where no factor is
//! above 1. Above 0.7 it raises the tier that was asked for by one, above 0.9 by
//! two; it never lowers it. A breach refuses nothing: it is noted with the
//! outcome.
//!
//! | tier | seconds | tokens | depth | tracks | iterations | confidence | NTU window |
//! |---|---|---|---|---|---|---|---|
//! | NANO | 1 | 100 | 1 | 1 | 1 | 0.90 | 3 |
//! | MICRO | 5 | 500 | 2 | 1 | 3 | 0.92 | 5 |
//! | MESO | 30 | 2,000 | 4 | 2 | 6 | 0.95 | 7 |
//! | MACRO | 300 | 10,000 | 6 | 3 | 9 | 0.97 | 9 |
//! | MEGA | 1,800 | 50,000 | 7 | 3 | 9 | 0.99 | 12 |
//!
//! Iterations are the first attempt and the retries; confidence is the least
//! `snr_score`.

use crate::forms::Score;
use crate::inference::{Budget, BudgetTier, InferenceCommit};
use crate::parameters::share;

/// What a tier allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time, in seconds.
    pub seconds: u64,
    /// Most tokens, read and written.
    pub tokens: u64,
    /// Greatest depth.
    pub depth: u64,
    /// Most parallel tracks.
    pub tracks: u64,
    /// Most attempts, the first one included.
    pub iterations: u64,
    /// Least signal-to-noise score.
    pub confidence: Score,
    /// Window of the session's [`Unit`](crate::ntu::Unit), in observations.
    pub window: u16,
}

/// What the tier of an inference allows, raised by its complexity.
#[must_use]
pub fn limits_of(inference: &InferenceCommit) -> Limits {
    limits(raised(inference.budget.tier, complexity(&inference.budget, tokens(inference))))
}

/// Whether an inference took more than its tier allows, or reached less.
#[must_use]
pub fn is_breached(inference: &InferenceCommit, snr: Score) -> bool {
    let (limits, budget) = (limits_of(inference), &inference.budget);
    let duration_ms = inference.finished_at.saturating_ms_since(inference.started_at);
    duration_ms > limits.seconds * 1_000
        || tokens(inference) > limits.tokens
        || budget.depth > limits.depth
        || budget.tracks > limits.tracks
        || budget.retries >= limits.iterations
        || snr < limits.confidence
}

/// The complexity, in parts per million, cut off.
///
/// # Panics
/// Never: with each factor at most 1, the whole is.
#[must_use]
pub fn complexity(budget: &Budget, tokens: u64) -> Score {
    const MILLION: u64 = 1_000_000;
    let parts = |score: Score| u64::from(score.parts_per_million());
    let depth = budget.depth.min(7) * MILLION;
    let tracks = budget.tracks.min(3) * MILLION;
    let length = tokens.min(10_000) * MILLION / 10_000;
    // Twice what the formula sums up, so that the halves of its last mean are whole.
    let twice_effort = 2 * (depth + tracks);
    let twice_input = 4 * (length + parts(budget.entropy) + parts(budget.knowledge_gap));
    let twice_doubt = budget.retries.min(9) * MILLION + 9 * (MILLION - parts(budget.mean_snr));
    share((twice_effort + twice_input + twice_doubt) / 50)
}

/// The tier that a complexity asks for, where `tier` is the least.
#[must_use]
pub const fn raised(tier: BudgetTier, complexity: Score) -> BudgetTier {
    let once = tier.next();
    match complexity.parts_per_million() {
        0..=700_000 => tier,
        700_001..=900_000 => once,
        _ => once.next(),
    }
}

/// What a tier allows.
#[must_use]
pub fn limits(tier: BudgetTier) -> Limits {
    let row = |seconds, tokens, depth, tracks, iterations, confidence_ppm, window| Limits {
        seconds,
        tokens,
        depth,
        tracks,
        iterations,
        confidence: share(confidence_ppm),
        window,
    };
    match tier {
        BudgetTier::Nano => row(1, 100, 1, 1, 1, 900_000, 3),
        BudgetTier::Micro => row(5, 500, 2, 1, 3, 920_000, 5),
        BudgetTier::Meso => row(30, 2_000, 4, 2, 6, 950_000, 7),
        BudgetTier::Macro => row(300, 10_000, 6, 3, 9, 970_000, 9),
        BudgetTier::Mega => row(1_800, 50_000, 7, 3, 9, 990_000, 12),
    }
}

impl BudgetTier {
    /// The tier above, if there is one.
    const fn next(self) -> Self {
        match self {
            Self::Nano => Self::Micro,
            Self::Micro => Self::Meso,
            Self::Meso => Self::Macro,
            Self::Macro | Self::Mega => Self::Mega,
        }
    }
}

const fn tokens(inference: &InferenceCommit) -> u64 {
    inference.input_tokens.saturating_add(inference.output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Content, Envelope};
    use crate::testing::{edit, json, sign, unsigned};
    use proptest::prelude::*;

    fn score(parts: u32) -> Score {
        Score::from_parts_per_million(parts).expect("a share")
    }

    fn budget(depth: u64, tracks: u64, retries: u64, scores: [u32; 3]) -> Budget {
        let [entropy, knowledge_gap, mean_snr] = scores.map(score);
        let tier = BudgetTier::Nano;
        Budget { tier, depth, tracks, retries, entropy, knowledge_gap, mean_snr }
    }

    #[test]
    fn complexity_weighs_seven_three_six_nine() {
        let none = [0, 0, 1_000_000];
        for (budget, tokens, expected) in [
            (budget(0, 0, 0, none), 0, 0),
            (budget(7, 0, 0, none), 0, 280_000),
            (budget(70, 0, 0, none), 0, 280_000),
            (budget(0, 3, 0, none), 0, 120_000),
            (budget(0, 0, 0, none), 10_000, 80_000),
            (budget(0, 0, 0, none), u64::MAX, 80_000),
            (budget(0, 0, 0, [1_000_000, 0, 1_000_000]), 0, 80_000),
            (budget(0, 0, 0, [0, 1_000_000, 1_000_000]), 0, 80_000),
            (budget(0, 0, 9, none), 0, 180_000),
            (budget(0, 0, 0, [0, 0, 0]), 0, 180_000),
            (budget(9, 9, 99, [1_000_000, 1_000_000, 0]), 20_000, 1_000_000),
            // (1 + 1 + 2·(.0046 + .25 + .125) + 4.5·.1)/25 = .128368
            (budget(1, 1, 0, [250_000, 125_000, 900_000]), 46, 128_368),
        ] {
            assert_eq!(complexity(&budget, tokens), score(expected), "{budget:?} {tokens}");
        }
    }

    #[test]
    fn complexity_raises_the_tier_and_never_lowers_it() {
        use BudgetTier::{Macro, Mega, Meso, Micro, Nano};
        for (tier, complexity, expected) in [
            (Nano, 0, Nano),
            (Nano, 700_000, Nano),
            (Nano, 700_001, Micro),
            (Nano, 900_000, Micro),
            (Nano, 900_001, Meso),
            (Micro, 1_000_000, Macro),
            (Meso, 800_000, Macro),
            (Macro, 800_000, Mega),
            (Macro, 1_000_000, Mega),
            (Mega, 1_000_000, Mega),
            (Mega, 0, Mega),
        ] {
            assert_eq!(raised(tier, score(complexity)), expected, "{tier:?} {complexity}");
        }
    }

    /// An inference at every limit of MICRO, and then one member.
    fn is_breached_with(path: &str, value: &str) -> bool {
        let mut members = unsigned(7, 1);
        for (path, value) in [
            ("payload.data.finished_at", "\"2026-11-22T01:46:06Z\""),
            ("payload.data.usage", r#"{"input_tokens":400,"output_tokens":100}"#),
            ("payload.data.budget.depth", "2"),
            ("payload.data.budget.retries", "2"),
            ("metadata.snr_score", "0.92"),
            (path, value),
        ] {
            edit(&mut members, path, Some(json(value)));
        }
        let (envelope, _) = Envelope::parse(&sign(&members, 7)).expect("the form is right");
        let Content::Inference(inference) = &envelope.content else { panic!("an inference") };
        is_breached(inference, envelope.metadata.snr_score.expect("it is there"))
    }

    #[test]
    fn each_limit_can_be_breached() {
        assert!(!is_breached_with("payload.data.budget.tracks", "1"));
        for (path, value) in [
            ("payload.data.finished_at", "\"2026-11-22T01:46:06.001Z\""),
            ("payload.data.usage.output_tokens", "101"),
            ("payload.data.usage.input_tokens", "9007199254740991"),
            ("payload.data.budget.depth", "3"),
            ("payload.data.budget.tracks", "2"),
            ("payload.data.budget.retries", "3"),
            ("metadata.snr_score", "0.919999"),
            ("payload.data.budget.tier", "\"NANO\""),
        ] {
            assert!(is_breached_with(path, value), "{path}");
        }
        // What asks for more confidence than there is.
        assert!(is_breached_with("payload.data.budget.tier", "\"MEGA\""));
    }

    proptest! {
        #[test]
        fn complexity_is_the_formula(
            depth in 0u64..20, tracks in 0u64..9, retries in 0u64..20, tokens in 0u64..30_000,
            scores in prop::array::uniform3(0u32..=1_000_000),
        ) {
            let budget = budget(depth, tracks, retries, scores);
            let [entropy, gap, snr] = scores.map(|parts| f64::from(parts) / 1e6);
            let factor = |count: u64, full: f64| (count as f64 / full).min(1.0);
            let expected = (7.0 * factor(depth, 7.0)
                + 3.0 * factor(tracks, 3.0)
                + 6.0 * (factor(tokens, 10_000.0) + entropy + gap) / 3.0
                + 9.0 * (factor(retries, 9.0) + 1.0 - snr) / 2.0)
                / 25.0;
            let complexity = f64::from(complexity(&budget, tokens).parts_per_million());
            prop_assert!((complexity - expected * 1e6).abs() < 1.1, "{complexity} {expected}");
        }
    }
}
