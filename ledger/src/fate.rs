//! FATE: fidelity, accountability, transparency and ethics of an inference.
//!
//! Each dimension is recomputed from the envelope, and the lower of that and
//! the sender's claim counts. The composite is their geometric mean,
//! (F·A·T·E)^¼, and must reach the strictest threshold t among those of the
//! operations. It is decided without a root: F·A·T·E ≥ t⁴, with all of them in
//! parts per million.
//!
//! | dimension | recomputed from |
//! |---|---|
//! | F | 0.7 + 0.3·\|`operations` ∩ `intent`\| / \|`intent`\| |
//! | A | 0.3 `envelope_id` + 0.3 `timestamp` + 0.2 `trace_id` + 0.1 `urgency` + 0.1 `agent_id`; only `urgency` can be absent |
//! | T | 0.7 + 0.1 model named by digest + 0.1 `input_commitment` + 0.1 `rationale_commitment`; only the last can be absent |
//! | E | `snr_score`, ×0.5 with `personal_data`, ×0.3 with `toxicity`, ×0.1 with `violation` |
//!
//! What is below one part per million is cut off. A dimension of 0 blocks,
//! because no threshold is 0. Without an intent the record fails, whatever its
//! threshold: F of 0.7 alone would still reach the one for reading.

use crate::codes::{Code, Rejection};
use crate::envelope::Envelope;
use crate::forms::Score;
use crate::inference::{Fate, InferenceCommit, OperationKind, OperationSet};
use crate::parameters::{LedgerParameters, share};

/// The FATE gate. Returns the dimensions on which it decided.
///
/// # Errors
/// [`Code::Fate`] for the weakest dimension when the composite is too low, and
/// when there is no intent; [`Code::Snr`] when the score that ethics rest on is missing.
pub fn check_fate(
    envelope: &Envelope,
    inference: &InferenceCommit,
    parameters: &LedgerParameters,
) -> Result<Fate, Rejection> {
    if inference.intent.is_empty() {
        let detail = "must name what was meant: without it fidelity, the dimension f, fails";
        return Err(Rejection::new(Code::Fate, "payload.data.intent", detail));
    }
    let snr = crate::gates::snr_of(envelope)?;
    let decided = inference.fate.lower(recomputed(envelope, inference, snr));
    let threshold = threshold(inference.operations, parameters);
    let squared = u64::from(threshold.parts_per_million()).pow(2);
    if decided.product() < u128::from(squared) * u128::from(squared) {
        let (name, score) = decided.weakest();
        let detail = format!(
            "is the weakest dimension with {score}, the lower of claim and recomputation; the \
             geometric mean of all four must be at least {threshold}, but is {}",
            decided.composite()
        );
        return Err(Rejection::new(Code::Fate, format!("payload.data.fate.{name}"), detail));
    }
    Ok(decided)
}

/// The dimensions as the envelope shows them.
#[must_use]
pub fn recomputed(envelope: &Envelope, inference: &InferenceCommit, snr: Score) -> Fate {
    let intent = inference.intent.len();
    let kept = inference.intent.intersection(inference.operations).len();
    let fidelity_ppm = 700_000 + (300_000 * kept).checked_div(intent).unwrap_or(0);
    let accountability_ppm = 900_000 + 100_000 * u32::from(envelope.metadata.urgency.is_some());
    let transparency_ppm = 900_000 + 100_000 * u32::from(inference.rationale_commitment.is_some());
    let (mut ethics, mut tens) = (snr.parts_per_million(), 1);
    for (is_set, tenths) in [
        (inference.has_personal_data, 5),
        (inference.has_toxicity, 3),
        (inference.has_violation, 1),
    ] {
        if is_set {
            (ethics, tens) = (ethics * tenths, tens * 10);
        }
    }
    let score = |parts| Score::from_parts_per_million(parts).expect("each is at most a million");
    Fate {
        fidelity: score(fidelity_ppm),
        accountability: score(accountability_ppm),
        transparency: score(transparency_ppm),
        ethics: score(ethics / tens),
    }
}

/// The strictest threshold of the operations.
#[must_use]
pub fn threshold(operations: OperationSet, parameters: &LedgerParameters) -> Score {
    use OperationKind::{Edit, Infer, Network, Read, Shell, Tool, Write};
    let thresholds = [
        (Infer, parameters.fate_min_ppm),
        (Read, parameters.fate_read_min_ppm),
        (Write, parameters.fate_write_min_ppm),
        (Edit, parameters.fate_write_min_ppm),
        (Shell, parameters.fate_shell_min_ppm),
        (Network, parameters.fate_network_min_ppm),
        (Tool, parameters.fate_min_ppm),
    ];
    let mut strictest = None;
    for (kind, threshold) in thresholds {
        if operations.contains(kind) {
            strictest = strictest.max(Some(threshold));
        }
    }
    share(strictest.unwrap_or(parameters.fate_min_ppm))
}

impl Fate {
    /// The lower score in each dimension.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        Self {
            fidelity: self.fidelity.min(other.fidelity),
            accountability: self.accountability.min(other.accountability),
            transparency: self.transparency.min(other.transparency),
            ethics: self.ethics.min(other.ethics),
        }
    }

    /// The geometric mean, cut off. Gates compare [`Fate::product`], which is exact.
    ///
    /// # Panics
    /// Never: the mean of shares is a share.
    #[must_use]
    pub fn composite(self) -> Score {
        let root = self.product().isqrt().isqrt();
        share(u64::try_from(root).expect("the mean of shares is a share"))
    }

    /// F·A·T·E, in parts per 10²⁴.
    #[must_use]
    pub fn product(self) -> u128 {
        // Pairs fit 64 bits, so that one wide multiplication is enough.
        let pair = |left: Score, right: Score| {
            u64::from(left.parts_per_million()) * u64::from(right.parts_per_million())
        };
        let first = pair(self.fidelity, self.accountability);
        let second = pair(self.transparency, self.ethics);
        u128::from(first) * u128::from(second)
    }

    /// The member of the lowest score, the first of equals, and the score.
    fn weakest(self) -> (&'static str, Score) {
        let [mut weakest, others @ ..] = self.named();
        for other in others {
            if other.1 < weakest.1 {
                weakest = other;
            }
        }
        weakest
    }

    const fn named(self) -> [(&'static str, Score); 4] {
        [
            ("f", self.fidelity),
            ("a", self.accountability),
            ("t", self.transparency),
            ("e", self.ethics),
        ]
    }
}

#[cfg(test)]
mod tests;
