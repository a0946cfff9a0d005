//! `demo`: the whole thing on one machine, honest about what happened.

use super::fleet::{Crew, Fleet, PORTS_PATIENCE, Readiness, ended_early};
use super::flow::{self, End, Outcome, Plan, Progress};
use super::http::{client, get_json, policy_in_force, send};
use super::load::Report;
use super::output::{Answer, count, print};
use super::ports::{Protocol, obstacle};
use super::progress::{Display, WithoutTerminal};
use super::proofs;
use super::sender::{Sender, Signed};
use super::testnet;
use anyhow::{Context as _, Result, bail};
use bizra_keys::SenderKey;
use bizra_types::hash::{RecordDigest, hex};
use bizra_types::json::{Limits, Members, Value, parse};
use clap::Args;
use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Validators of the demonstration; two of seven may be gone.
const VALIDATORS: u16 = 7;

/// The two that are killed.
const VICTIMS: [usize; 2] = [5, 6];

/// How long any one stage may take.
const STAGE_PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks at a node that comes back.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to put the network; a new folder for temporary files if absent.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// First port; the first free range from 17000 on if absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..))]
    base_port: Option<u16>,
    /// Unsigned records, one a line.
    #[arg(long, value_name = "FILE", default_value = "configs/demo/records.ndjson")]
    records: PathBuf,
    /// Records per second.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
    /// Leave the network up and print its addresses; also by KEEP=1.
    #[arg(long)]
    keep: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What is told at the end.
struct Summary {
    /// All records.
    all: Report,
    /// Those that were due while two validators were dead.
    without_victims: Report,
    /// From the start of the victims' processes until they had caught up and voted.
    recovery: Duration,
    /// The height at which all nodes were seen to have the same block.
    height: u64,
    proof: PathBuf,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Answer> {
    let keep = arguments.keep || std::env::var_os("KEEP").is_some_and(|value| value == "1");
    // Before anything is started: most of what can be wrong with it is its path.
    let records = read_records(&arguments.records)?;
    let dir = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => {
            std::env::temp_dir().join(format!("bizra-demo-{}", hex(&super::sender::random::<4>())))
        }
    };
    let base_port = match arguments.base_port {
        Some(port) => port,
        None => free_base_port()?,
    };
    let init = testnet::Init {
        validators: VALIDATORS,
        followers: 0,
        dir: dir.clone(),
        base_port,
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        name: "demo".to_owned(),
        json: false,
    };
    let genesis = testnet::write(&init)?;
    let fleet = Fleet::open(&dir)?;
    fleet.check_startable(&fleet.nodes)?;

    let display = Display::new(records.len(), WithoutTerminal::Lines);
    display.say(&format!(
        "1/6 start: {} with their own keys and databases in {}, chain {}",
        count(VALIDATORS.into(), "validator"),
        dir.display(),
        genesis.chain_id(),
    ));
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut crew = fleet.start_all().await?;
    let shown = tokio::select! {
        shown = show(&fleet, &mut crew, records, f64::from(arguments.rate), &display) => shown,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let summary = match shown {
        Ok(summary) => summary,
        Err(error) => {
            crew.stop().await?;
            return Err(error.context(format!(
                "the demonstration failed; logs are in {}/node-*/log.txt",
                dir.display()
            )));
        }
    };
    if !keep {
        crew.stop().await?;
        if arguments.dir.is_none() {
            clear(&fleet)?;
        }
    }
    summary.print(arguments, &fleet, keep)?;
    Ok(Answer::True)
}

/// Everything between the start and the end of the processes.
async fn show(
    fleet: &Fleet,
    crew: &mut Crew<'_>,
    records: Vec<Members>,
    rate: f64,
    display: &Display,
) -> Result<Summary> {
    let started = Instant::now();
    let ready = tokio::select! {
        ready = fleet.wait_until_ready(&fleet.nodes, STAGE_PATIENCE) => ready,
        (number, status) = crew.next_end() => Err(ended_early(&fleet.nodes[number], status)),
    };
    ready.map_err(|report| anyhow::anyhow!(report))?;
    display.say(&format!("    all ready after {:.1} s", started.elapsed().as_secs_f64()));

    let client = client()?;
    let endpoints: Vec<_> = fleet.nodes.iter().map(super::fleet::Node::api).collect();
    let policy_hash = policy_in_force(&client, &endpoints).await?;
    let total = records.len();
    let signed = sign(records, &policy_hash)?;
    display.say(&format!("2/6 sign: {total} records of real model runs, with a fresh key"));

    let plan = Plan { endpoints, rate, drain: STAGE_PATIENCE };
    let (sender, receiver) = mpsc::channel(total.max(1));
    for record in signed {
        sender.try_send(record).context("the channel holds them all")?;
    }
    drop(sender);
    let progress = watch::Sender::new(Progress::default());
    let mut far = progress.subscribe();
    let follower = tokio::spawn(display.clone().follow(progress.subscribe()));
    display.say(&format!("3/6 submit: {rate} records a second, to all validators in turn"));
    let flow = tokio::spawn(async move { flow::run(&plan, receiver, progress).await });

    until(&mut far, total / 3).await.context("the first third of the records")?;
    let mut victims = Vec::new();
    for number in VICTIMS {
        let node = fleet.node(number)?;
        let process = node.process().with_context(|| format!("node {number} is gone already"))?;
        process.signal(Signal::KILL)?;
        victims.push(node.clone());
    }
    let killed = Instant::now();
    let before = far.borrow().finals;
    display.say(&format!(
        "4/6 kill: nodes {} and {} by SIGKILL, after {before} final records",
        VICTIMS[0], VICTIMS[1]
    ));

    until(&mut far, 2 * total / 3).await.context("the second third of the records")?;
    let revived = Instant::now();
    display.say(&format!(
        "    {} more are final without them; 5/6 bring them back",
        far.borrow().finals - before
    ));
    let height_at_revival = height(fleet, 0).await?;
    for number in VICTIMS {
        // Their ports are free once the kernel has buried the dead.
        let ended = async {
            while fleet.node(number)?.process().is_some() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            fleet.node(number)?.wait_until_closed(PORTS_PATIENCE).await?;
            crew.start(number)
        };
        limited(ended).await.with_context(|| format!("restart of node {number}"))?;
    }
    limited(recovered(fleet, &client, height_at_revival)).await.context("recovery")?;
    let recovery = revived.elapsed();
    display.say(&format!(
        "    both are at the head of the chain and vote, after {:.1} s",
        recovery.as_secs_f64()
    ));

    let outcomes = flow.await.context("the flow of records failed")??;
    follower.await.context("the progress display failed")?;
    let all = Report::of(&outcomes);
    if all.finals != total {
        let json = serde_json::to_string(&all).context("cannot write JSON")?;
        bail!("{} of {total} records became final: {json}", all.finals);
    }
    let is_without = |outcome: &&Outcome| (killed..revived).contains(&outcome.intended);
    let without_victims = Report::of(outcomes.iter().filter(is_without));
    let height = limited(agreed_height(fleet, &client)).await.context("agreement of all")?;
    check_final_on_victims(fleet, &client, &outcomes).await?;
    display.say(&format!(
        "    all {total} records are final, also on the two; all nodes have one block {height}"
    ));

    let witness = outcomes
        .iter()
        .filter(is_without)
        .chain(&outcomes)
        .find(|outcome| matches!(outcome.end, End::Final { .. }))
        .context("no record is final")?;
    let proof = prove(fleet, &witness.digest).await?;
    display.say("6/6 prove: the light client has verified a record offline");
    Ok(Summary { all, without_victims, recovery, height, proof })
}

/// Waits until so many records are final.
async fn until(progress: &mut watch::Receiver<Progress>, finals: usize) -> Result<()> {
    let reached = async {
        progress.wait_for(|it| it.finals >= finals).await.map(drop).context("the flow has ended")
    };
    limited(reached).await
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(STAGE_PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => bail!("not done within {} s", STAGE_PATIENCE.as_secs()),
    }
}

/// Waits until the victims are ready, as far as the others, and voting again:
/// another node has final blocks with their commit votes since they came back.
async fn recovered(fleet: &Fleet, client: &Client, since: u64) -> Result<()> {
    'looks: loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let head = height(fleet, 0).await?;
        let url = fleet.node(0)?.admin().url("/metrics");
        let (status, metrics) = send(client.get(&url).timeout(Duration::from_secs(5))).await?;
        if status != StatusCode::OK {
            bail!("{url}: HTTP {status}");
        }
        let metrics = String::from_utf8(metrics).context("the metrics are not UTF-8")?;
        for number in VICTIMS {
            let node = fleet.node(number)?;
            let is_back = fleet.readiness(node).await == Readiness::Ready
                && height(fleet, number).await.is_ok_and(|height| height >= head)
                && last_signed(&metrics, number).is_some_and(|signed| signed > since);
            if !is_back {
                continue 'looks;
            }
        }
        return Ok(());
    }
}

/// The height of the newest final block with a node's commit vote.
fn last_signed(metrics: &str, number: usize) -> Option<u64> {
    let name = "bizra_consensus_validator_last_signed_height";
    let prefix = format!("{name}{{validator=\"node-{number}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
}

async fn height(fleet: &Fleet, number: usize) -> Result<u64> {
    let status = fleet.status(fleet.node(number)?).await?;
    status["height"].as_u64().with_context(|| format!("node {number} tells no height"))
}

/// Waits until every node has one certain height, and checks that they have the
/// same block there.
async fn agreed_height(fleet: &Fleet, client: &Client) -> Result<u64> {
    let target = height(fleet, 0).await?;
    let mut blocks = Vec::new();
    for node in &fleet.nodes {
        while height(fleet, node.number).await? < target {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let url = node.api().url(&format!("/v1/blocks/{target}"));
        let block = get_json(client, &url, Duration::from_secs(5)).await?;
        blocks.push((block["block_id"].clone(), block["exec"].clone()));
    }
    if let Some(other) = blocks.iter().position(|block| *block != blocks[0]) {
        bail!(
            "nodes 0 and {other} have different blocks at height {target}: {:?} and {:?}",
            blocks[0],
            blocks[other]
        );
    }
    Ok(target)
}

/// Asks the nodes that were killed for every record.
async fn check_final_on_victims(
    fleet: &Fleet,
    client: &Client,
    outcomes: &[Outcome],
) -> Result<()> {
    for number in VICTIMS {
        let node = fleet.node(number)?;
        for outcome in outcomes {
            let url = node.api().url(&format!("/v1/records/{}", outcome.digest));
            let record = get_json(client, &url, Duration::from_secs(5)).await?;
            if record["status"] != "final" {
                let status = &record["status"];
                bail!("node {number} lost record {}: it says {status}", outcome.digest);
            }
        }
    }
    Ok(())
}

/// Fetches a proof from a node that was killed, and has a stranger's command
/// verify it.
async fn prove(fleet: &Fleet, digest: &RecordDigest) -> Result<PathBuf> {
    let path = fleet.dir.join("proof.cbor");
    let proof =
        proofs::fetch(&fleet.node(VICTIMS[0])?.api(), &proofs::record_path(digest), false).await?;
    proofs::write(&path, &proof)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let verdict = tokio::process::Command::new(program)
        .args(["proof", "verify"])
        .arg(&path)
        .arg("--genesis")
        .arg(fleet.dir.join("genesis.json"))
        .output()
        .await
        .context("cannot start the light client")?;
    if !verdict.status.success() {
        let said = String::from_utf8_lossy(&verdict.stdout);
        let also = String::from_utf8_lossy(&verdict.stderr);
        bail!("the light client refuses the proof: {}{}", said.trim(), also.trim());
    }
    Ok(path)
}

fn read_records(path: &Path) -> Result<Vec<Members>> {
    let text = fs::read(path).with_context(|| {
        format!("{}: cannot read the records; name them with --records", path.display())
    })?;
    let mut records = Vec::new();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match parse(line, Limits::ENVELOPE) {
            Ok(Value::Object(record)) => records.push(record),
            Ok(_) => bail!("{}:{}: not a JSON object", path.display(), at + 1),
            Err(error) => bail!("{}:{}: {error}", path.display(), at + 1),
        }
    }
    if records.len() < 6 {
        bail!(
            "{}: {} are too few to show anything",
            path.display(),
            count(records.len(), "record")
        );
    }
    Ok(records)
}

fn sign(records: Vec<Members>, policy_hash: &str) -> Result<Vec<Signed>> {
    let sender = Sender::new(SenderKey::generate(), "bizra-demo", policy_hash);
    records.into_iter().map(|record| sender.sign(record)).collect()
}

/// The first port from 17000 on behind which every node finds its ports free.
fn free_base_port() -> Result<u16> {
    let is_free = |base: &u16| {
        (0..VALIDATORS).all(|number| {
            let first = base + 10 * number;
            let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Tcp, Protocol::Tcp];
            (first..).zip(protocols).all(|(port, protocol)| {
                obstacle(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), protocol).is_none()
            })
        })
    };
    (17_000..32_000)
        .step_by(100)
        .find(is_free)
        .context("no range of 70 free ports from 17000 to 32000; name one with --base-port")
}

/// Takes keys and databases away, and leaves the proof and the genesis file.
fn clear(fleet: &Fleet) -> Result<()> {
    for node in &fleet.nodes {
        let folder = fleet.dir.join(format!("node-{}", node.number));
        fs::remove_dir_all(&folder)
            .with_context(|| format!("{}: cannot remove", folder.display()))?;
    }
    Ok(())
}

impl Summary {
    fn print(&self, arguments: &Arguments, fleet: &Fleet, keep: bool) -> Result<()> {
        let apis: Vec<_> = fleet.nodes.iter().map(|node| node.api().to_string()).collect();
        let recovery = (self.recovery.as_secs_f64() * 1000.0).round() / 1000.0;
        let genesis = fleet.dir.join("genesis.json");
        let verify =
            format!("bizra proof verify {} --genesis {}", self.proof.display(), genesis.display());
        let facts = json!({
            "records": self.all,
            "while_two_were_dead": self.without_victims,
            "recovery_seconds": recovery,
            "height": self.height,
            "proof": self.proof.display().to_string(),
            "verify": verify,
            "kept": keep,
            "apis": apis,
        });
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let mut text = format!(
            "records final      {} of {}, none lost\n\
             time to finality   p50 {}, p95 {}\n\
             with two dead      {} final, p50 {}, p95 {}\n\
             time to recover    {recovery:.1} s\n\
             proof              {}\n\
             verify it with     {verify}",
            self.all.finals,
            self.all.sent,
            ms(self.all.p50_ms),
            ms(self.all.p95_ms),
            self.without_victims.finals,
            ms(self.without_victims.p50_ms),
            ms(self.without_victims.p95_ms),
            self.proof.display(),
        );
        if keep {
            text.push_str(&format!(
                "\nstill running      {}\nstop it with       bizra testnet down --dir {}",
                apis.join(" "),
                fleet.dir.display()
            ));
        }
        print(arguments.json, &facts, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_ledger::envelope::Envelope;

    #[test]
    fn the_records_of_the_demonstration_can_be_signed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo/records.ndjson");
        let records = read_records(&path).expect("readable");
        assert_eq!(records.len(), 600);
        for record in sign(records, &"0".repeat(64)).expect("signed") {
            Envelope::parse_canonical(&record.bytes).expect("a good envelope");
        }
    }

    #[test]
    fn the_height_of_the_last_vote_is_read_from_metrics() {
        let metrics = "# TYPE x gauge\n\
            bizra_consensus_validator_last_signed_height{validator=\"node-5\"} 17\n\
            bizra_consensus_validator_last_signed_height{validator=\"node-50\"} 18\n";
        assert_eq!(last_signed(metrics, 5), Some(17));
        assert_eq!(last_signed(metrics, 6), None);
    }
}
