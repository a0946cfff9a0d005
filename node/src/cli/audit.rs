//! `audit export` and `audit replay`.

use super::http::{DEFAULT_ENDPOINT, Endpoint, client, get_json, refusal, send};
use super::output::{Answer, WrongUse, print};
use anyhow::{Context as _, Result, bail};
use bizra_node::audit::export::{End, ExportedOutcome, Frame, Frames, write_head};
use bizra_node::audit::replay::{Difference, Finding, Refusal, Replayed, replay as judge};
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BlockId, ChainId};
use bizra_types::numbers::Height;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for one answer of a node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Export {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// Where to write the export.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The height to reach; the node's last one if absent. The export goes on to the first block
    /// with a certificate of its own.
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// The export.
    file: PathBuf,
    /// The chain's genesis file: all that is trusted.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What an export has so far.
struct Taken {
    height: Height,
    block: BlockId,
    blocks: u64,
    records: u64,
}

pub(crate) async fn export(arguments: &Export) -> Result<Answer> {
    let Export { endpoint, out, to, json: as_json } = arguments;
    let http = client()?;
    let status = get_json(&http, &endpoint.url("/v1/status"), Duration::from_secs(10)).await?;
    let chain_id = status["chain_id"].as_str().and_then(ChainId::from_hex);
    let chain_id = chain_id.context("the node's status names no chain")?;
    let head = status["height"].as_u64().context("the node's status names no height")?;
    let to = Height::new(to.unwrap_or(head));
    if to.get() > head {
        return Err(WrongUse(format!("--to is {to}, and the node is at height {head}")).into());
    }
    if to == Height::ZERO {
        bail!("nothing but the genesis block is final there yet");
    }
    let unwritable = || format!("{}: cannot write", out.display());
    let mut file = BufWriter::new(File::create(out).with_context(unwritable)?);
    write_head(&chain_id, &mut file).with_context(unwritable)?;
    let bar = bar(to.get(), "{elapsed_precise} {wide_bar} block {pos} of {len}");
    let mut taken = Taken { height: Height::ZERO, block: BlockId::ZERO, blocks: 0, records: 0 };
    while taken.height < to {
        let url = endpoint.url(&format!("/v1/chain?above={}&to={to}", taken.height));
        let part = match send(http.get(&url).timeout(ANSWER_TIMEOUT)).await? {
            (StatusCode::OK, body) => body,
            (status, body) => bail!("{url}: {}", refusal(status, &body)),
        };
        taken.note(&part).with_context(|| url)?;
        file.write_all(&part).with_context(unwritable)?;
        bar.set_position(taken.height.get().min(to.get()));
    }
    let mut end = Vec::new();
    Frame::End(End { height: taken.height, block: taken.block }).write_to(&mut end);
    file.write_all(&end).with_context(unwritable)?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
    let file = file.with_context(unwritable)?;
    file.sync_all().with_context(unwritable)?;
    bar.finish_and_clear();
    let bytes = file.metadata().with_context(unwritable)?.len();
    let Taken { height, block, blocks, records } = taken;
    let facts = json!({
        "chain_id": chain_id.to_string(),
        "height": height.get(),
        "block_id": block.to_string(),
        "blocks": blocks,
        "records": records,
        "bytes": bytes,
    });
    let text = format!(
        "{}: {records} records in {blocks} blocks up to height {height}, {bytes} bytes",
        out.display()
    );
    print(*as_json, &facts, &text)?;
    Ok(Answer::True)
}

impl Taken {
    /// Notes what a part has. Whether it is right shows when it is replayed.
    fn note(&mut self, part: &[u8]) -> Result<()> {
        let mut frames = Frames::bare(part);
        let before = self.height;
        while let Some(frame) = frames.next_frame()? {
            match frame {
                Frame::Block(exported) => {
                    let header = exported.block.header();
                    if header.height != self.height.next() {
                        bail!("block {} comes after block {}", header.height, self.height);
                    }
                    (self.height, self.block) = (header.height, exported.block.id());
                    self.blocks += 1;
                }
                Frame::Batch(exported) => self.records += exported.outcomes.len() as u64,
                Frame::Certificate(_) => {}
                Frame::End(_) => bail!("the part of a chain has an end"),
            }
        }
        if self.height == before {
            bail!("the answer has no block");
        }
        Ok(())
    }
}

pub(crate) fn replay(arguments: &Replay) -> Result<Answer> {
    let Replay { file, genesis, json: as_json } = arguments;
    let told = |path: &Path| path.display().to_string();
    let text = std::fs::read(genesis).with_context(|| told(genesis))?;
    let genesis = Genesis::parse(&text).with_context(|| told(genesis))?;
    let source = File::open(file).with_context(|| told(file))?;
    let size = source.metadata().with_context(|| told(file))?.len();
    let template = "{elapsed_precise} {wide_bar} {bytes} of {total_bytes}{msg}";
    let bar = bar(size, template);
    let begun = Instant::now();
    let mut last = None;
    let judged = judge(BufReader::new(source), &genesis, |so_far| {
        bar.set_position(so_far.bytes);
        bar.set_message(format!(", block {}, {} records", so_far.height, so_far.records));
        last = Some(*so_far);
    });
    let elapsed = begun.elapsed();
    bar.finish_and_clear();
    let (answer, facts, text) = match &judged {
        Ok(replayed) => right(replayed, elapsed),
        Err(refusal) => wrong(refusal, last.as_ref(), elapsed),
    };
    print(*as_json, &facts, &text)?;
    Ok(answer)
}

fn right(replayed: &Replayed, elapsed: Duration) -> (Answer, Value, String) {
    let speed = per_second(replayed.records, elapsed);
    let mut facts = progress_facts(Some(replayed), elapsed);
    facts["replayed"] = true.into();
    facts["chain_id"] = replayed.chain_id.to_string().into();
    facts["height"] = replayed.height.get().into();
    facts["block_id"] = replayed.block.to_string().into();
    facts["exec"] = replayed.exec.to_string().into();
    facts["era"] = replayed.era.get().into();
    facts["log_size"] = replayed.log_size.into();
    facts["certificates"] = replayed.certificates.into();
    let text = format!(
        "replayed: {} records in {} blocks of chain {}\nexecution gives what the quorums signed, \
         up to block {} at height {}\n{} records in the log, {} certificates, {} eras; {speed:.0} \
         records a second",
        replayed.records,
        replayed.height,
        replayed.chain_id,
        replayed.block,
        replayed.height,
        replayed.log_size,
        replayed.certificates,
        replayed.era,
    );
    (Answer::True, facts, text)
}

fn wrong(
    refusal: &Refusal,
    so_far: Option<&Replayed>,
    elapsed: Duration,
) -> (Answer, Value, String) {
    let mut facts = progress_facts(so_far, elapsed);
    facts["replayed"] = false.into();
    facts["reason"] = refusal.to_string().into();
    facts["frame"] = refusal.place.frame.into();
    facts["offset"] = refusal.place.offset.into();
    facts["height"] = refusal.height.get().into();
    facts["block_id"] = refusal.block.to_string().into();
    if let Finding::Difference(difference) = &refusal.finding {
        facts["difference"] = difference_facts(difference);
    }
    (Answer::False, facts, format!("not as it should be: {refusal}"))
}

fn difference_facts(difference: &Difference) -> Value {
    let Difference { field, found, expected, record } = difference;
    let mut facts = json!({ "field": field, "found": found, "expected": expected });
    if let Some(record) = record {
        let outcome = |outcome: ExportedOutcome| {
            json!({
                "code": outcome.code.number(),
                "name": outcome.code.name(),
                "flags": outcome.flags,
            })
        };
        facts["record"] = json!({
            "index": record.at,
            "digest": record.digest.map(|digest| digest.to_string()),
            "found": outcome(record.found),
            "expected": outcome(record.expected),
        });
    }
    facts
}

fn progress_facts(so_far: Option<&Replayed>, elapsed: Duration) -> Value {
    let records = so_far.map_or(0, |it| it.records);
    json!({
        "blocks": so_far.map_or(0, |it| it.height.get()),
        "records": records,
        "seconds": elapsed.as_secs_f64(),
        "records_per_second": per_second(records, elapsed),
    })
}

fn per_second(records: u64, elapsed: Duration) -> f64 {
    records as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// A bar that only a terminal shows.
fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"))
}
