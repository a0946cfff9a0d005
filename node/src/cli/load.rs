//! `load`: records at a fixed rate, and the time until they are final.

use super::fleet::Fleet;
use super::flow::{self, End, Outcome, Plan, Progress};
use super::http::{DEFAULT_ENDPOINT, Endpoint, client, policy_in_force};
use super::output::{Answer, WrongUse, line};
use super::progress::{Display, WithoutTerminal};
use super::sender::{Sender, Signed, now, object, random, uuid};
use anyhow::{Context as _, Result};
use bizra_keys::SenderKey;
use bizra_types::hash::hex;
use bizra_types::json::Value;
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Keys that sign in turn, so that no one sender stands out.
const SENDERS: usize = 16;

/// Seconds of records that are signed ahead. Their timestamps are that old at
/// most when they leave, far from the 120 s that admission allows.
const SIGNED_AHEAD_SECONDS: f64 = 10.0;

/// Records that are signed ahead at most, whatever the rate.
const SIGNED_AHEAD_MAX: usize = 20_000;

/// Reasons of refusals that are listed.
const REASONS_MAX: usize = 5;

/// The first name of a sender, before padding.
const AGENT_ID: &str = "bizra-load";

/// Bytes that padding adds to the sender's name at most.
const AGENT_PADDING_MAX: usize = 200;

/// Members of `metadata` that padding may add, and their bytes: `,"padding_0":""`
/// around 1 to 64.
const PADDING_MEMBERS_MAX: usize = 8;
const PADDING_FRAME: usize = 15;
const PADDING_TEXT_MAX: usize = 64;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Records per second.
    #[arg(long, value_parser = parse_rate)]
    rate: f64,
    /// Seconds for which records are sent.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    duration: u32,
    /// Nodes to submit to in turn; a node that fails is passed over.
    #[arg(long, value_name = "URL", num_args = 1.., default_value = DEFAULT_ENDPOINT)]
    endpoint: Vec<Endpoint>,
    /// Submit to every node of this testnet instead.
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    testnet: Option<PathBuf>,
    /// Bytes of each envelope, by padding its metadata and its sender's name.
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// Seconds to wait for outcomes after the last record was answered.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Print nothing but the JSON at the end.
    #[arg(long)]
    json: bool,
}

/// What a load showed. Milliseconds count from the moment at which a record was
/// meant to leave, and are absent when nothing became final.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Records that were due.
    pub(crate) sent: usize,
    /// Records that a validator accepted.
    pub(crate) accepted: usize,
    /// Records that nobody accepted, or that were rejected with a code later.
    pub(crate) rejected: usize,
    /// Records in the log.
    #[serde(rename = "final")]
    pub(crate) finals: usize,
    /// Records accepted, and neither final nor rejected in the drain time.
    pub(crate) lost: usize,
    /// Median time to finality.
    pub(crate) p50_ms: Option<f64>,
    /// 95th percentile.
    pub(crate) p95_ms: Option<f64>,
    /// 99th percentile.
    pub(crate) p99_ms: Option<f64>,
    /// Longest.
    pub(crate) max_ms: Option<f64>,
    /// Longest time between two finalities with none in between.
    pub(crate) longest_gap_ms: Option<f64>,
    /// Why records were refused or rejected, and how many; the most frequent few.
    pub(crate) reasons: BTreeMap<String, usize>,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Answer> {
    let endpoints = match &arguments.testnet {
        Some(dir) => Fleet::open(dir)?.nodes.iter().map(super::fleet::Node::api).collect(),
        None => arguments.endpoint.clone(),
    };
    let count = (arguments.rate * f64::from(arguments.duration)).round();
    if !(1.0..=f64::from(u32::MAX)).contains(&count) {
        return Err(WrongUse(format!("--rate and --duration make {count} records")).into());
    }
    // Within u32 by the check above.
    let count = count as usize;
    let policy_hash = policy_in_force(&client()?, &endpoints).await?;
    let recipe = Recipe::new(&policy_hash, arguments.size)?;

    let ahead = (arguments.rate * SIGNED_AHEAD_SECONDS).ceil() as usize;
    let records = sign_ahead(recipe, count, ahead.clamp(1, SIGNED_AHEAD_MAX)).await?;
    let plan =
        Plan { endpoints, rate: arguments.rate, drain: Duration::from_secs(arguments.drain) };
    let progress = watch::Sender::new(Progress::default());
    let display = Display::new(count, WithoutTerminal::Silence);
    let display = tokio::spawn(display.follow(progress.subscribe()));
    let outcomes = flow::run(&plan, records, progress).await;
    // It ends with the sender of the progress.
    display.await.context("the progress display failed")?;
    let report = Report::of(&outcomes?);
    if !arguments.json {
        line(&report.to_text())?;
    }
    line(&serde_json::to_string(&report).context("cannot write JSON")?)?;
    Ok(Answer::of(report.lost == 0 && report.finals > 0))
}

/// How the records of a load are made.
struct Recipe {
    senders: Vec<Sender>,
    padding: Vec<(String, String)>,
}

impl Recipe {
    fn new(policy_hash: &str, size: Option<usize>) -> Result<Self> {
        let senders = |agent_padding| {
            let agent_id = format!("{AGENT_ID}{}", "-".repeat(agent_padding));
            (0..SENDERS)
                .map(|_| Sender::new(SenderKey::generate(), &agent_id, policy_hash))
                .collect()
        };
        let plain = Self { senders: senders(0), padding: Vec::new() };
        let Some(size) = size else { return Ok(plain) };
        let smallest = plain.sign(0)?.bytes.len();
        let padding = size.checked_sub(smallest).and_then(Padding::of).ok_or_else(|| {
            WrongUse(format!(
                "--size {size}: the schema of a record is closed, so that it has {smallest} to {} \
                 bytes",
                smallest + Padding::MAX
            ))
        })?;
        Ok(Self { senders: senders(padding.agent), padding: padding.members() })
    }

    fn sign(&self, number: usize) -> Result<Signed> {
        let Value::Object(mut record) = inference() else { unreachable!("it is an object") };
        if let Some(Value::Object(metadata)) = record.get("metadata") {
            let mut metadata = metadata.clone();
            for (name, text) in &self.padding {
                metadata.insert(name, text.as_str().into());
            }
            record.insert("metadata", Value::Object(metadata));
        }
        self.senders[number % self.senders.len()].sign(record)
    }
}

/// Where the bytes go that make an envelope as large as asked for.
#[derive(Debug, PartialEq, Eq)]
struct Padding {
    /// Bytes behind the sender's name.
    agent: usize,
    /// Bytes of each further member of `metadata`, 1 to 64.
    texts: Vec<usize>,
}

impl Padding {
    const MAX: usize = AGENT_PADDING_MAX + PADDING_MEMBERS_MAX * (PADDING_FRAME + PADDING_TEXT_MAX);

    /// Padding of exactly so many bytes, if there can be so much.
    fn of(bytes: usize) -> Option<Self> {
        let members =
            bytes.saturating_sub(AGENT_PADDING_MAX).div_ceil(PADDING_FRAME + PADDING_TEXT_MAX);
        if members > PADDING_MEMBERS_MAX {
            return None;
        }
        // Each member has at least one byte of text: empty is not a value.
        let agent = (bytes - members * (PADDING_FRAME + 1)).min(AGENT_PADDING_MAX);
        let mut rest = bytes - agent - members * PADDING_FRAME;
        let mut texts = Vec::new();
        for still in (0..members).rev() {
            let text = (rest - still).min(PADDING_TEXT_MAX);
            rest -= text;
            texts.push(text);
        }
        Some(Self { agent, texts })
    }

    fn members(&self) -> Vec<(String, String)> {
        let member = |(at, length): (usize, &usize)| (format!("padding_{at}"), "-".repeat(*length));
        self.texts.iter().enumerate().map(member).collect()
    }
}

/// Signs on a thread of its own, and returns once `ahead` records, or all, wait.
async fn sign_ahead(recipe: Recipe, count: usize, ahead: usize) -> Result<mpsc::Receiver<Signed>> {
    let (sender, receiver) = mpsc::channel(ahead);
    let (primed, is_primed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut primed = Some(primed);
        for number in 0..count {
            let record = match recipe.sign(number) {
                Ok(record) => record,
                Err(error) => {
                    if let Some(primed) = primed.take() {
                        // Nobody waits any more: the program is ending.
                        let _ = primed.send(Err(error));
                    }
                    return;
                }
            };
            if sender.blocking_send(record).is_err() {
                return;
            }
            if (number + 1 == count.min(ahead))
                && let Some(primed) = primed.take()
            {
                let _ = primed.send(Ok(()));
            }
        }
    });
    is_primed.await.context("signing ended early")??;
    Ok(receiver)
}

/// An unsigned record of a model call that nobody made, new each time.
pub(crate) fn inference() -> Value {
    let hash = || Value::from(hex(&random::<32>()).as_str());
    let decimal = |text: &str| {
        let number = text.parse().ok().and_then(bizra_types::json::Number::new);
        Value::Number(number.expect("a small number"))
    };
    let time = now();
    let infer = || Value::Array(vec!["infer".into()]);
    let data = object([
        ("session_id", uuid().as_str().into()),
        ("transition", "commit".into()),
        ("parents", Value::Array(Vec::new())),
        (
            "model",
            object([
                ("name", "load".into()),
                ("digest", hex(&[0x11; 32]).as_str().into()),
                ("evidence", "configured_claim".into()),
            ]),
        ),
        ("tier", "EDGE".into()),
        ("input_commitment", hash()),
        ("output_commitment", hash()),
        ("operation", "chat".into()),
        ("operations", infer()),
        ("intent", infer()),
        ("parameters_digest", hex(&[0x22; 32]).as_str().into()),
        ("usage", object([("input_tokens", 16_u32.into()), ("output_tokens", 16_u32.into())])),
        ("started_at", time.as_str().into()),
        ("finished_at", time.as_str().into()),
        ("finish_reason", "stop".into()),
        ("trace_id", hex(&random::<16>()).as_str().into()),
        (
            "fate",
            object([
                ("f", 1_u32.into()),
                ("a", 1_u32.into()),
                ("t", decimal("0.9")),
                ("e", decimal("0.99")),
            ]),
        ),
        (
            "flags",
            object([
                ("personal_data", false.into()),
                ("toxicity", false.into()),
                ("violation", false.into()),
            ]),
        ),
        (
            "budget",
            object([
                ("tier", "NANO".into()),
                ("depth", 1_u32.into()),
                ("tracks", 1_u32.into()),
                ("retries", 0_u32.into()),
                ("entropy", decimal("0.5")),
                ("knowledge_gap", 0_u32.into()),
                ("mean_snr", decimal("0.99")),
            ]),
        ),
    ]);
    object([
        ("payload", object([("action", "inference/commit".into()), ("data", data)])),
        (
            "metadata",
            object([
                ("ihsan_score", decimal("0.99")),
                ("snr_score", decimal("0.99")),
                ("urgency", "BATCH".into()),
            ]),
        ),
    ])
}

impl Report {
    /// Sums up what became of every record.
    pub(crate) fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut report = Self::default();
        let mut latencies =
            Histogram::<u64>::new_with_bounds(1, 86_400_000_000, 3).expect("the bounds are valid");
        let mut finalities = Vec::new();
        let mut reasons = BTreeMap::<String, usize>::new();
        for outcome in outcomes {
            report.sent += 1;
            match &outcome.end {
                End::Final { at } => {
                    report.accepted += 1;
                    report.finals += 1;
                    finalities.push(*at);
                    let micros = at.saturating_duration_since(outcome.intended).as_micros();
                    latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                }
                End::Rejected { code } => {
                    report.accepted += 1;
                    report.rejected += 1;
                    let name = bizra_ledger::codes::Code::from_number(*code)
                        .map_or("unknown", bizra_ledger::codes::Code::name);
                    *reasons.entry(format!("executed with code {code} {name}")).or_default() += 1;
                }
                End::Refused { reason } => {
                    report.rejected += 1;
                    *reasons.entry(reason.clone()).or_default() += 1;
                }
                End::Lost => {
                    report.accepted += 1;
                    report.lost += 1;
                }
            }
        }
        if report.finals > 0 {
            let ms = |micros: u64| Some((micros as f64 / 10.0).round() / 100.0);
            report.p50_ms = ms(latencies.value_at_quantile(0.50));
            report.p95_ms = ms(latencies.value_at_quantile(0.95));
            report.p99_ms = ms(latencies.value_at_quantile(0.99));
            report.max_ms = ms(latencies.max());
            report.longest_gap_ms = longest_gap(finalities)
                .and_then(|gap| ms(u64::try_from(gap.as_micros()).unwrap_or(u64::MAX)));
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        reasons.truncate(REASONS_MAX);
        report.reasons = reasons.into_iter().collect();
        report
    }

    fn to_text(&self) -> String {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value} ms"));
        let mut text = format!(
            "sent {}, accepted {}, rejected {}, final {}, lost {}\n\
             time to finality: p50 {}, p95 {}, p99 {}, max {}; longest gap {}",
            self.sent,
            self.accepted,
            self.rejected,
            self.finals,
            self.lost,
            ms(self.p50_ms),
            ms(self.p95_ms),
            ms(self.p99_ms),
            ms(self.max_ms),
            ms(self.longest_gap_ms),
        );
        for (reason, times) in &self.reasons {
            text.push_str(&format!("\n{times} times: {reason}"));
        }
        text
    }
}

fn longest_gap(mut finalities: Vec<Instant>) -> Option<Duration> {
    finalities.sort_unstable();
    finalities.windows(2).map(|pair| pair[1] - pair[0]).max()
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("expected records per second, above 0 and up to 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests;
