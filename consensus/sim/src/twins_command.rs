//! `bizra-sim twins`: plays scenarios of twins.

use crate::{progress_bar, range, write_trace};
use anyhow::{Context as _, ensure};
use bizra_sim::twins::{Scenario, Space, play};
use clap::Args;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Drawn scenarios when nobody says how many.
const SAMPLES: u64 = 10_000;

/// What to play.
#[derive(Debug, Args)]
pub(crate) struct TwinsArguments {
    /// Size of the committee.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=10))]
    validators: u8,
    /// Views before the network heals.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    views: u8,
    /// Draws scenarios at random, each from its number, instead of one after the other.
    #[arg(long)]
    sampled: bool,
    /// What crosses a partition is late instead of lost.
    #[arg(long)]
    late: bool,
    /// Scenarios from A to before B: all, or 10,000 drawn ones, when not given.
    #[arg(long, value_name = "A..B", value_parser = range)]
    scenarios: Option<(u64, u64)>,
    /// Scenarios at a time; one per core when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Writes every event of the one scenario to a file.
    #[arg(long, value_name = "FILE", requires = "scenarios")]
    trace: Option<PathBuf>,
}

/// Sums over all scenarios.
#[derive(Debug, Default)]
struct Summary {
    scenarios: u64,
    /// With anything final before healing.
    committing: u64,
    /// In which a twin was proven guilty.
    naming: u64,
    events: u64,
    violations: u64,
}

/// Plays the scenarios; false when a rule was broken.
#[expect(clippy::disallowed_methods, reason = "the rate is measured outside any scenario")]
pub(crate) fn twins(arguments: &TwinsArguments) -> anyhow::Result<bool> {
    let validators = usize::from(arguments.validators);
    let views = usize::from(arguments.views);
    let faulty = (validators - 1) / 3;
    let space = (!arguments.sampled).then(|| Space::new(validators, faulty, views));
    let numbers = match &space {
        None => SAMPLES,
        Some(space) => space.numbers().context("too many to number them: use --sampled")?,
    };
    let (first, end) = arguments.scenarios.unwrap_or((0, numbers));
    ensure!(first < end, "no scenarios from {first} to before {end}");
    ensure!(space.is_none() || end <= numbers, "there are scenarios 0 to before {numbers}");
    ensure!(arguments.trace.is_none() || end - first == 1, "a trace is of one scenario");
    let threads = arguments.threads.unwrap_or_else(crate::cores).max(1);
    let bar = progress_bar(end - first, "scenarios");
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::default());
    let started = Instant::now();
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok(());
            }
            bar.inc(1);
            let scenario = match &space {
                None => Scenario::sample(validators, faulty, views, number),
                Some(space) => match space.scenario(number) {
                    None => continue,
                    Some(scenario) => scenario,
                },
            };
            let scenario = if arguments.late { scenario.late() } else { scenario };
            let outcome = play(&scenario, arguments.trace.is_some());
            let command = arguments.command(number);
            if let Some(file) = &arguments.trace {
                write_trace(file, &command, &outcome.trace)?;
            }
            if let Some(breach) = &outcome.breach {
                let (invariant, detail) = (breach.invariant, &breach.detail);
                bar.suspend(|| println!("{command} # {scenario}: {invariant}: {detail}"));
            }
            let mut summary = summary.lock().expect("no worker panics with it");
            summary.scenarios += 1;
            summary.committing += u64::from(outcome.commits > 0);
            summary.naming += u64::from(outcome.named > 0);
            summary.events += outcome.events;
            summary.violations += u64::from(outcome.breach.is_some());
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut results = workers.into_iter().map(|it| it.join().expect("a worker returns"));
        results.try_for_each(|result: anyhow::Result<()>| result)
    })?;
    bar.finish_and_clear();
    if let Some(space) = &space {
        println!("{} scenarios in all, {numbers} numbers after reduction", space.all());
    }
    let summary = summary.into_inner().expect("no worker panicked with it");
    summary.print(started.elapsed().as_secs_f64(), (first, end));
    Ok(summary.violations == 0)
}

impl TwinsArguments {
    /// The command that plays one of the scenarios again.
    fn command(&self, number: u64) -> String {
        let Self { validators, views, sampled, late, .. } = self;
        let sampled = if *sampled { " --sampled" } else { "" };
        let late = if *late { " --late" } else { "" };
        format!(
            "bizra-sim twins --validators {validators} --views {views}{sampled}{late} \
             --scenarios {number}..{}",
            number + 1
        )
    }
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn print(&self, seconds: f64, (first, end): (u64, u64)) {
        let Self { scenarios, committing, naming, events, violations } = self;
        let equal = end - first - scenarios;
        let rate = *scenarios as f64 / seconds;
        println!(
            "{first}..{end}: {scenarios} scenarios, {equal} numbers that only name others again\n\
             {events} events; something final before healing in {committing}, a twin proven guilty \
             in {naming}\n{seconds:.1} s, {rate:.0} scenarios per second"
        );
        match violations {
            0 => println!("no violation"),
            1 => println!("1 violation"),
            count => println!("{count} violations"),
        }
    }
}
