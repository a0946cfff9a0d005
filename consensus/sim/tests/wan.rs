//! Time to finality over distances, with up to f validators missing.

use bizra_sim::{Absence, Matrix, WanOptions, finality_micros};

/// The 95th percentile in µs of two seeds.
fn p95(matrix: Matrix, missing: usize, absence: Absence) -> u64 {
    let run = |seed| {
        let options = WanOptions { seed, validators: 7, matrix, missing, absence, rate: 20 };
        finality_micros(&options).expect("every rule is kept")
    };
    let mut micros: Vec<u64> = (0..2).flat_map(run).collect();
    assert!(micros.len() > 500, "{} records", micros.len());
    micros.sort_unstable();
    micros[micros.len() * 95 / 100]
}

/// Nobody waits for a validator that is gone: with one of seven missing p95 is
/// at most one and a half times that of a healthy network, with two at most
/// twice, whether they are dead or only silent.
#[test]
fn missing_validators_cost_little() {
    for matrix in [Matrix::Cloud, Matrix::Uniform(150)] {
        let healthy = p95(matrix, 0, Absence::Closed);
        assert!(healthy < 1_100_000, "{healthy} µs with {matrix:?}");
        for absence in [Absence::Closed, Absence::Silent] {
            let (one, two) = (p95(matrix, 1, absence), p95(matrix, 2, absence));
            assert!(2 * one <= 3 * healthy, "{one} of {healthy} µs, {absence:?}, {matrix:?}");
            assert!(two <= 2 * healthy, "{two} of {healthy} µs, {absence:?}, {matrix:?}");
        }
    }
}
