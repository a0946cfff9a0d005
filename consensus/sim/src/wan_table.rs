//! `bizra-sim wan`: the table of times to finality across continents.

use anyhow::ensure;
use bizra_sim::{Absence, Matrix, WanOptions, finality_micros};
use clap::Args;
use std::str::FromStr;

/// Measures time to finality over distances, with and without validators.
#[derive(Debug, Args)]
pub(crate) struct WanArguments {
    /// Size of the committee.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// Distances: `cloud`, or `uniform:MS` for one one-way delay.
    #[arg(long, default_value = "cloud", value_parser = matrix)]
    matrix: Matrix,
    /// Only so many missing, beside nobody; all numbers up to f when not given.
    #[arg(long)]
    dead: Option<usize>,
    /// They are silent with open connections instead of gone.
    #[arg(long, requires = "dead")]
    silent: bool,
    /// Records per second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Seeds from A to before B.
    #[arg(long, value_name = "A..B", value_parser = crate::range)]
    seeds: (u64, u64),
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Prints a line for each case. False when a rule was broken.
pub(crate) fn print(arguments: &WanArguments) -> anyhow::Result<bool> {
    let validators = usize::from(arguments.validators);
    let faulty_max = (validators - 1) / 3;
    let (first, end) = arguments.seeds;
    ensure!(first < end, "no seeds from {first} to before {end}");
    let cases = match arguments.dead {
        Some(dead) => {
            ensure!(dead <= faulty_max, "{dead} missing, where f is {faulty_max}");
            vec![(dead, if arguments.silent { Absence::Silent } else { Absence::Closed })]
        }
        None => (1..=faulty_max)
            .flat_map(|dead| [(dead, Absence::Closed), (dead, Absence::Silent)])
            .collect(),
    };
    let mut healthy_p95 = None;
    for (missing, absence) in std::iter::once((0, Absence::Closed)).chain(cases) {
        let mut micros = Vec::new();
        for seed in first..end {
            let matrix = arguments.matrix;
            let rate = arguments.rate;
            let options = WanOptions { seed, validators, matrix, missing, absence, rate };
            match finality_micros(&options) {
                Ok(all) => micros.extend(all),
                Err(breach) => {
                    println!("seed {seed}, {missing} missing: {breach:?}");
                    return Ok(false);
                }
            }
        }
        micros.sort_unstable();
        ensure!(!micros.is_empty(), "no record was submitted");
        let at = |per_cent: usize| micros[(micros.len() * per_cent).div_ceil(100) - 1];
        let (p50, p95, p99, max) = (at(50), at(95), at(99), at(100));
        let healthy = *healthy_p95.get_or_insert(p95);
        let case = match (missing, absence) {
            (0, _) => "healthy".to_string(),
            (_, Absence::Closed) => format!("{missing} dead"),
            (_, Absence::Silent) => format!("{missing} silent"),
        };
        let ratio = format!("{}.{:02}", p95 / healthy, p95 % healthy * 100 / healthy);
        let records = micros.len();
        let [p50, p95, p99, max] = [p50, p95, p99, max].map(|micros| micros / 1_000);
        if arguments.json {
            println!(
                "{{\"case\":\"{case}\",\"records\":{records},\"p50_ms\":{p50},\"p95_ms\":{p95},\
                 \"p99_ms\":{p99},\"max_ms\":{max},\"p95_ratio\":{ratio}}}"
            );
        } else {
            println!(
                "{case:9} {records:8} records, p50 {p50:5} ms, p95 {p95:5} ms, p99 {p99:5} ms, \
                 at most {max:5} ms, p95 {ratio} of healthy"
            );
        }
    }
    Ok(true)
}

fn matrix(text: &str) -> Result<Matrix, String> {
    match text.split_once(':') {
        None if text == "cloud" => Ok(Matrix::Cloud),
        Some(("uniform", ms)) => {
            u64::from_str(ms).map(Matrix::Uniform).map_err(|error| format!("{ms}: {error}"))
        }
        _ => Err("expected cloud or uniform:MS".to_string()),
    }
}
