//! `bizra-sim`: runs seeds of the virtual cluster, or scenarios of twins.
//!
//! Exit code 0 when every rule held, 1 when one was broken, 2 for wrong use.

mod blame_command;
mod twins_command;
mod wan_table;

use crate::blame_command::{BlameArguments, blame};
use crate::twins_command::{TwinsArguments, twins};
use anyhow::{Context as _, bail, ensure};
use bizra_sim::{Behaviour, Bug, FaultKind, HAS_BUGS, Invariant, Options, Report, run};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// First line of a trace file, before the command that made it.
const TRACE_HEADER: &str = "# ";
/// From one word about the progress to the next.
const PROGRESS: Duration = Duration::from_secs(60);

/// A virtual cluster that tries to break the consensus engine.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One seed.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Seeds from A to before B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Size of the committee.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// Views per seed, at least.
    #[arg(long, default_value_t = 200)]
    views: u64,
    /// Faults per seed, at least; 0 for a healthy run.
    #[arg(long, default_value_t = 20)]
    faults: u64,
    /// A kind of fault, of which the drawn ones then are; may be repeated.
    #[arg(long)]
    fault: Vec<FaultKind>,
    /// Validators that lie, at most f; the seed chooses who, and how.
    #[arg(long, value_name = "K")]
    byzantine: Option<usize>,
    /// A way in which they lie, each in all that are given; else drawn for each.
    #[arg(long, requires = "byzantine")]
    behaviour: Vec<Behaviour>,
    /// Whether committee and version change; a third of the seeds when not given.
    #[arg(long, value_name = "BOOL")]
    changes: Option<bool>,
    /// Plants a known mistake, with what it takes to find it unless that is
    /// given, and stops at the first rule that it breaks. Needs a build with
    /// RUSTFLAGS="--cfg planted_bugs".
    #[arg(long, value_name = "NAME", value_parser = bug)]
    bug: Option<Bug>,
    /// Seeds at a time; one per core when not given.
    #[arg(long, visible_alias = "jobs")]
    threads: Option<usize>,
    /// Writes every event of the one seed to a file.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Runs what a trace file recorded again and compares event by event.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "trace"])]
    replay: Option<PathBuf>,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What else it can do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// More twins than f: proofs of both chains must name them.
    Blame(BlameArguments),
    /// Validators that exist twice, against every partition of every view.
    Twins(TwinsArguments),
    /// Measures time to finality over distances, with and without validators.
    Wan(wan_table::WanArguments),
}

/// How far many seeds are, so that a campaign that was stopped can go on.
#[derive(Debug)]
struct Campaign {
    /// All before it are done.
    next: u64,
    end: u64,
    /// Done, although some before them are not.
    ahead: BTreeSet<u64>,
    said: Instant,
}

/// Sums over all seeds.
#[derive(Debug, Default)]
struct Summary {
    seeds: u64,
    views: u64,
    commits: u64,
    faults: u64,
    records: u64,
    lapsed: u64,
    events: u64,
    /// Eras that began after the first.
    handovers: u64,
    parameter_changes: u64,
    virtual_micros: u64,
    fault_kinds: BTreeMap<FaultKind, u64>,
    lies: BTreeMap<Behaviour, u64>,
    refused: u64,
    named: u64,
    view_gaps: BTreeMap<u64, u64>,
    healing_view_gaps: BTreeMap<u64, u64>,
    /// Proofs of life by their ms.
    recoveries_ms: BTreeMap<u64, u64>,
    violations: Vec<String>,
    /// The first seed that found the planted bug, and the rule that it broke.
    found: Option<(u64, Invariant)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (&arguments.verb, &arguments.replay) {
        (Some(Verb::Blame(arguments)), _) => blame(arguments),
        (Some(Verb::Twins(arguments)), _) => twins(arguments),
        (Some(Verb::Wan(arguments)), _) => wan_table::print(arguments),
        (None, Some(file)) => replay(file),
        (None, None) => simulate(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate of views is measured outside any run")]
fn simulate(arguments: &Arguments) -> anyhow::Result<bool> {
    let (first, end) = arguments.seeds.unwrap_or((arguments.seed, arguments.seed + 1));
    ensure!(first < end, "no seeds from {first} to before {end}");
    let faulty_max = (usize::from(arguments.validators) - 1) / 3;
    let byzantine = arguments.byzantine.unwrap_or(0);
    ensure!(byzantine <= faulty_max, "{byzantine} liars, where f is {faulty_max}");
    let threads = arguments.threads.unwrap_or_else(cores).max(1);
    let bar = progress_bar(end - first, "seeds");
    let next = AtomicU64::new(first);
    let campaign = Mutex::new(Campaign::new(first, end));
    let summary = Mutex::new(Summary::default());
    let started = Instant::now();
    let mut trace_result = Ok(());
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return Ok(());
                }
                let options = options(arguments, seed);
                let report = run(options.clone());
                if let Some(file) = &arguments.trace {
                    write_trace(file, &options.command(), &report.trace)?;
                }
                let line = violation(&options, &report);
                if line.is_some() && arguments.bug.is_some() {
                    next.store(end, Ordering::Relaxed);
                }
                if line.is_none() && options.byzantine > 0 && arguments.seeds.is_none() {
                    println!("{} # {}no rule was broken", options.command(), liars(&report));
                }
                if let Some(line) = &line {
                    bar.suspend(|| println!("{line}"));
                }
                summary.lock().expect("no worker panics with it").add(&report, line);
                bar.inc(1);
                campaign.lock().expect("no worker panics with it").finish(seed);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let result: anyhow::Result<()> = worker.join().expect("a worker returns its errors");
            if trace_result.is_ok() {
                trace_result = result;
            }
        }
    });
    trace_result?;
    bar.finish_and_clear();
    let summary = summary.into_inner().expect("no worker panicked with it");
    summary.print(started.elapsed(), arguments.json);
    if let Some(bug) = arguments.bug {
        match summary.found {
            Some((seed, rule)) => println!("{}: found by {rule} at seed {seed}", bug.name()),
            None => println!("{}: not found", bug.name()),
        }
    }
    Ok(summary.violations.is_empty())
}

/// Runs the command in a trace file's first line and compares the events.
fn replay(file: &Path) -> anyhow::Result<bool> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = text.lines();
    let command = lines.next().and_then(|line| line.strip_prefix(TRACE_HEADER));
    let command = command.with_context(|| format!("{} is no trace", file.display()))?;
    let recorded = Arguments::try_parse_from(command.split_whitespace())?;
    if recorded.seeds.is_some() || recorded.replay.is_some() || recorded.verb.is_some() {
        bail!("{} is no trace of one seed", file.display());
    }
    let options = options(&recorded, recorded.seed);
    let report = run(Options { is_traced: true, ..options.clone() });
    let mut actual = report.trace.iter();
    for (number, expected) in lines.enumerate() {
        let Some(line) = actual.next() else {
            println!("the run ends after {number} events, where the trace goes on: {expected}");
            return Ok(false);
        };
        if line != expected {
            println!("event {number} differs\nrecorded: {expected}\n  now is: {line}");
            return Ok(false);
        }
    }
    if let Some(line) = actual.next() {
        println!("the trace ends, where the run goes on: {line}");
        return Ok(false);
    }
    println!("{} events as recorded, trace hash {}", report.events, report.trace_hash);
    if let Some(line) = violation(&options, &report) {
        println!("{line}");
        return Ok(false);
    }
    Ok(true)
}

fn options(arguments: &Arguments, seed: u64) -> Options {
    let validators = usize::from(arguments.validators);
    let usual = match arguments.bug {
        Some(bug) => Options::planted(bug, seed, validators),
        None => Options::new(seed, validators),
    };
    Options {
        changes: arguments.changes.unwrap_or(usual.changes),
        views_min: arguments.views,
        faults_min: arguments.faults,
        fault_kinds: arguments.fault.clone(),
        byzantine: arguments.byzantine.unwrap_or(usual.byzantine),
        behaviours: if arguments.behaviour.is_empty() {
            usual.behaviours
        } else {
            arguments.behaviour.clone()
        },
        is_traced: arguments.trace.is_some(),
        ..usual
    }
}

fn violation(options: &Options, report: &Report) -> Option<String> {
    let (breach, event) = report.breach.as_ref()?;
    let command = options.command();
    let liars = liars(report);
    Some(format!("{command} # {liars}{} at event {event}: {}", breach.invariant, breach.detail))
}

/// Who lied and how, for people: "node 2 flooder, node 5 replayer: ".
fn liars(report: &Report) -> String {
    let describe = |(node, behaviours): &(usize, Vec<(Behaviour, u64)>)| {
        let names: Vec<_> = behaviours.iter().map(|(behaviour, _)| behaviour.to_string()).collect();
        format!("node {node} {}", names.join(" and "))
    };
    let all: Vec<_> = report.liars.iter().map(describe).collect();
    if all.is_empty() { String::new() } else { format!("{}: ", all.join(", ")) }
}

fn write_trace(file: &Path, command: &str, trace: &[String]) -> anyhow::Result<()> {
    let write = || {
        let mut out = std::io::BufWriter::new(fs::File::create(file)?);
        writeln!(out, "{TRACE_HEADER}{command}")?;
        for line in trace {
            writeln!(out, "{line}")?;
        }
        out.flush()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

impl Campaign {
    #[expect(clippy::disallowed_methods, reason = "progress is said by the clock of whoever waits")]
    fn new(first: u64, end: u64) -> Self {
        Self { next: first, end, ahead: BTreeSet::new(), said: Instant::now() }
    }

    /// Says once a minute with which seed to go on, should it be stopped now.
    #[expect(clippy::disallowed_methods, reason = "progress is said by the clock of whoever waits")]
    fn finish(&mut self, seed: u64) {
        self.ahead.insert(seed);
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
        let (next, end) = (self.next, self.end);
        if self.said.elapsed() >= PROGRESS && next < end {
            eprintln!("{} seeds to go; after a stop go on with --seeds {next}..{end}", end - next);
            self.said = Instant::now();
        }
    }
}

/// On a terminal only; elsewhere it draws nothing.
fn progress_bar(count: u64, what: &str) -> ProgressBar {
    if count < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("it names known fields");
    ProgressBar::new(count).with_style(style)
}

fn bug(name: &str) -> Result<Bug, String> {
    if !HAS_BUGS {
        return Err("this build holds none; make it with RUSTFLAGS=\"--cfg planted_bugs\"".into());
    }
    let names = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
    let found = Bug::ALL.iter().find(|bug| bug.name() == name).copied();
    found.ok_or_else(|| format!("the known ones are {}", names()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text.split_once("..").ok_or("expected A..B")?;
    let number = |part: &str| part.parse().map_err(|error| format!("{part}: {error}"));
    Ok((number(first)?, number(end)?))
}

impl Summary {
    fn add(&mut self, report: &Report, violation: Option<String>) {
        self.seeds += 1;
        self.views += report.views;
        self.commits += report.commits;
        self.faults += report.faults;
        self.records += report.records;
        self.lapsed += report.lapsed;
        self.events += report.events;
        self.handovers += report.eras - 1;
        self.parameter_changes += report.parameter_changes;
        self.virtual_micros += report.virtual_micros;
        for (kind, count) in &report.fault_kinds {
            *self.fault_kinds.entry(*kind).or_default() += count;
        }
        for (behaviour, lies) in report.liars.iter().flat_map(|(_, behaviours)| behaviours) {
            *self.lies.entry(*behaviour).or_default() += lies;
        }
        self.refused += report.refused;
        self.named += report.named.len() as u64;
        for (gap, blocks) in &report.view_gaps {
            *self.view_gaps.entry(*gap).or_default() += blocks;
        }
        for (gap, blocks) in &report.healing_view_gaps {
            *self.healing_view_gaps.entry(*gap).or_default() += blocks;
        }
        for micros in &report.recovery_micros {
            *self.recoveries_ms.entry(micros / 1_000).or_default() += 1;
        }
        let rule = report.breach.as_ref().map(|(breach, _)| breach.invariant);
        let found = rule.map(|rule| (report.seed, rule));
        self.found = self.found.into_iter().chain(found).min();
        self.violations.extend(violation);
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn print(&self, elapsed: Duration, is_json: bool) {
        let views_per_second = self.views as f64 / elapsed.as_secs_f64();
        let Self { seeds, views, commits, faults, records, events, handovers, lapsed, .. } = self;
        let parameters = self.parameter_changes;
        let (seconds, violations) = (elapsed.as_secs_f64(), self.violations.len());
        let virtual_seconds = self.virtual_micros / 1_000_000;
        let (refused, named) = (self.refused, self.named);
        let lies: u64 = self.lies.values().sum();
        let recovery = |per_thousand| at(self.recoveries_ms.iter(), per_thousand);
        let gap = |per_thousand| at(self.view_gaps.iter(), per_thousand);
        let (recovery_p50, recovery_p99, recovery_max) =
            (recovery(500), recovery(990), recovery(1_000));
        let healing_gap_max = at(self.healing_view_gaps.iter(), 1_000);
        let (gap_p50, gap_p99, gap_max) = (gap(500), gap(990), gap(1_000));
        let kinds = self.fault_kinds.iter();
        if is_json {
            let kinds: Vec<_> = kinds.map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
            let kinds = kinds.join(",");
            println!(
                "{{\"seeds\":{seeds},\"views\":{views},\"commits\":{commits},\"faults\":{faults},\
                 \"fault_kinds\":{{{kinds}}},\
                 \"records\":{records},\"events\":{events},\"handovers\":{handovers},\
                 \"parameter_changes\":{parameters},\"lapsed\":{lapsed},\
                 \"virtual_seconds\":{virtual_seconds},\
                 \"seconds\":{seconds:.3},\"views_per_second\":{views_per_second:.0},\
                 \"lies\":{lies},\"refused\":{refused},\"named\":{named},\
                 \"recovery_ms_p50\":{recovery_p50},\"recovery_ms_p99\":{recovery_p99},\
                 \"recovery_ms_max\":{recovery_max},\"view_gap_p50\":{gap_p50},\
                 \"view_gap_p99\":{gap_p99},\"view_gap_max\":{gap_max},\
                 \"healing_view_gap_max\":{healing_gap_max},\
                 \"violations\":{violations}}}"
            );
            return;
        }
        println!(
            "{seeds} seeds, {views} views, {commits} commits, {records} records, {faults} faults, \
             {handovers} handovers, {parameters} changes of parameters, {lapsed} records lapsed, \
             {events} events\n{virtual_seconds} virtual seconds in {seconds:.1} s, \
             {views_per_second:.0} views per second\n\
             after healing, three heights everywhere in p50 {recovery_p50} ms, \
             p99 {recovery_p99} ms, at most {recovery_max} ms; views per final block \
             p50 {gap_p50}, p99 {gap_p99}, at most {gap_max}, and shortly after \
             healing at most {healing_gap_max}"
        );
        if !self.fault_kinds.is_empty() {
            let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{kind} {count}")).collect();
            println!("{}", kinds.join(", "));
        }
        if !self.lies.is_empty() {
            println!("{lies} lies, {refused} of their messages refused, {named} liars named");
            for (behaviour, lies) in &self.lies {
                println!("  {behaviour} {lies}");
            }
        }
        match violations {
            0 => println!("no violation"),
            1 => println!("1 violation"),
            count => println!("{count} violations"),
        }
    }
}

/// The value below or at which so many of a thousand lie, given each value with
/// its count, ascending; 0 of none.
fn at<'a>(counts: impl Iterator<Item = (&'a u64, &'a u64)> + Clone, per_thousand: u64) -> u64 {
    let total: u64 = counts.clone().map(|(_, count)| count).sum();
    let mut seen = 0;
    let reached = counts.map(|(value, count)| {
        seen += count;
        (*value, seen)
    });
    let mut reached = reached.filter(|(_, seen)| seen * 1_000 >= total * per_thousand);
    reached.next().map_or(0, |(value, _)| value)
}
