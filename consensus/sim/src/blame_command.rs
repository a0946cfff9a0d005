//! `bizra-sim blame`: forks the chain and lets proofs of both sides name the liars.

use crate::{progress_bar, range};
use anyhow::ensure;
use bizra_sim::twins::{Judgement, Lie, Scenario, Trial, blame as play};
use clap::Args;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What to play.
#[derive(Debug, Args)]
pub(crate) struct BlameArguments {
    /// Size of the committee.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=10))]
    validators: u8,
    /// Validators that exist twice; f + 1 when not given. Beyond 2f not all of
    /// what names them need be kept by anybody honest.
    #[arg(long)]
    liars: Option<u8>,
    /// Views before the network is whole.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=16))]
    views: u8,
    /// What crosses a partition is late instead of lost.
    #[arg(long)]
    late: bool,
    /// Hands the client no TCs.
    #[arg(long)]
    without_timeouts: bool,
    /// Scenarios from A to before B, each drawn from its number.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    scenarios: (u64, u64),
    /// Scenarios at a time; one per core when not given.
    #[arg(long)]
    threads: Option<usize>,
}

/// Sums over all scenarios.
#[derive(Debug, Default)]
struct Summary {
    scenarios: u64,
    /// In which the final chain of an instance differs from an honest one's.
    forked: u64,
    /// Pairs of these, by what came of comparing their proofs.
    pairs: u64,
    named: u64,
    /// Of them, with certificates of other honest validators.
    by_all: u64,
    /// Of them, where it took headers to see that some of the proofs
    /// contradict each other.
    by_headers: u64,
    /// Pairs by the number of the named.
    liars: BTreeMap<usize, u64>,
    needed: u64,
    /// Pairs for which a kind of lie alone names f + 1.
    by: BTreeMap<Lie, u64>,
    /// Pairs for which no kind does.
    by_several: u64,
    events: u64,
    violations: u64,
}

/// Plays the scenarios; false when a rule was broken.
#[expect(clippy::disallowed_methods, reason = "the rate is measured outside any scenario")]
pub(crate) fn blame(arguments: &BlameArguments) -> anyhow::Result<bool> {
    let validators = usize::from(arguments.validators);
    let faulty_max = (validators - 1) / 3;
    let liars = arguments.liars.map_or(faulty_max + 1, usize::from);
    ensure!(liars < validators, "{liars} liars of {validators}: nobody is honest");
    let (first, end) = arguments.scenarios;
    ensure!(first < end, "no scenarios from {first} to before {end}");
    let threads = arguments.threads.unwrap_or_else(crate::cores).max(1);
    let must_name = liars <= 2 * faulty_max && !arguments.without_timeouts;
    let bar = progress_bar(end - first, "scenarios");
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::default());
    let started = Instant::now();
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return;
            }
            let views = usize::from(arguments.views);
            let scenario = Scenario::sample(validators, liars, views, number);
            let scenario = if arguments.late { scenario.late() } else { scenario };
            let trial = play(&scenario, !arguments.without_timeouts);
            let broken = match &trial.breach {
                Some(breach) => Some(format!("{}: {}", breach.invariant, breach.detail)),
                None => (must_name && trial.judgements.contains(&Judgement::CertificatesNeeded))
                    .then(|| "the liars are not named".to_owned()),
            };
            if let Some(broken) = &broken {
                let command = arguments.command(liars, number);
                bar.suspend(|| println!("{command} # {scenario}: {broken}"));
            }
            summary.lock().expect("no worker panics with it").add(&trial, broken.is_some());
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    bar.finish_and_clear();
    let summary = summary.into_inner().expect("no worker panicked with it");
    println!("{validators} validators, {liars} liars, scenarios {first}..{end}");
    summary.print(started.elapsed().as_secs_f64());
    Ok(summary.violations == 0)
}

impl BlameArguments {
    /// The command that plays one of the scenarios again.
    fn command(&self, liars: usize, number: u64) -> String {
        let Self { validators, views, late, without_timeouts, .. } = self;
        let late = if *late { " --late" } else { "" };
        let without = if *without_timeouts { " --without-timeouts" } else { "" };
        format!(
            "bizra-sim blame --validators {validators} --liars {liars} --views {views}{late}\
             {without} --scenarios {number}..{}",
            number + 1
        )
    }
}

impl Summary {
    fn add(&mut self, trial: &Trial, is_broken: bool) {
        self.scenarios += 1;
        self.events += trial.events;
        self.violations += u64::from(is_broken);
        self.forked += u64::from(!trial.judgements.is_empty());
        for judgement in &trial.judgements {
            self.pairs += 1;
            match judgement {
                Judgement::Named { liars, by, by_all, by_headers } => {
                    self.named += 1;
                    *self.liars.entry(*liars).or_default() += 1;
                    self.by_all += u64::from(*by_all);
                    self.by_headers += u64::from(*by_headers);
                    self.by_several += u64::from(by.is_empty());
                    for lie in by {
                        *self.by.entry(*lie).or_default() += 1;
                    }
                }
                Judgement::CertificatesNeeded => self.needed += 1,
            }
        }
    }

    /// How many the pair named that stands at a place among all, those with the
    /// fewest first; 0 if there is none.
    fn nth_liars(&self, place: u64) -> usize {
        let mut before = 0;
        let mut liars = self.liars.iter();
        let found = liars.find(|(_, pairs)| {
            before += **pairs;
            place < before
        });
        found.map_or(0, |(liars, _)| *liars)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn print(&self, seconds: f64) {
        let Self { scenarios, forked, pairs, named, by_all, by_headers, needed, .. } = self;
        let by = |lie| self.by.get(&lie).copied().unwrap_or_default();
        let (commit_votes, votes, timeouts, two_timeouts) =
            (by(Lie::CommitVotes), by(Lie::Votes), by(Lie::Timeouts), by(Lie::TwoTimeouts));
        let (fewest, median) = (self.nth_liars(0), self.nth_liars(named / 2));
        let rate = *scenarios as f64 / seconds;
        println!(
            "{forked} of {scenarios} scenarios forked, {} events\n\
             {pairs} pairs of an honest validator and an instance with another final chain: in \
             {named} the liars are named, in {by_all} of them with certificates of others than \
             the two, in {by_headers} with headers to see a contradiction; certificates needed in \
             {needed}\n\
             named: {fewest} at least, {median} in the median\n\
             f + 1 named by two commit votes in {commit_votes}, by two votes in {votes}, by hidden \
             certificates in {timeouts}, by two timeouts in {two_timeouts}, only by several kinds \
             together in {}\n\
             {seconds:.1} s, {rate:.0} scenarios per second",
            self.events, self.by_several
        );
        match self.violations {
            0 => println!("no violation"),
            1 => println!("1 violation"),
            count => println!("{count} violations"),
        }
    }
}
