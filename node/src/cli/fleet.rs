//! `testnet up`, `status` and `down`: one process per node.
//!
//! A node is found by its pid file, and trusted to be that node only if its
//! command line names the node's configuration: pids are reused.

use super::http::{Endpoint, client, get_json, send};
use super::output::{Answer, WrongUse, count, line, print};
use super::ports::{self, Obstacle};
use anyhow::{Context as _, Result, anyhow, bail};
use bizra_node::config::{Config, ENVIRONMENT_PREFIX};
use clap::Args;
use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How long a node may take to stop after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks at a node that is being waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the system may take to close the ports of a node that was killed.
pub(crate) const PORTS_PATIENCE: Duration = Duration::from_secs(10);

/// Lines of a log that are shown when its node fails.
const TAIL_LINES: usize = 15;

#[derive(Args)]
pub(crate) struct Up {
    /// The folder that `testnet init` wrote.
    #[arg(long)]
    dir: PathBuf,
    /// Start this one alone, detached, and return once it is ready.
    #[arg(long, value_name = "K")]
    node: Option<usize>,
    /// How long the nodes may take to become ready, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Args)]
pub(crate) struct Status {
    /// The folder that `testnet init` wrote.
    #[arg(long)]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Down {
    /// The folder that `testnet init` wrote.
    #[arg(long)]
    dir: PathBuf,
}

/// The nodes of a folder, ascending.
pub(crate) struct Fleet {
    pub(crate) dir: PathBuf,
    pub(crate) nodes: Vec<Node>,
    client: Client,
}

/// One node of a folder.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) number: usize,
    folder: PathBuf,
    config: Config,
}

/// A process that runs, or ran, a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(Pid);

/// What a node answers to the question whether it is safe to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Why not, one reason each.
    NotReady(Vec<String>),
}

pub(crate) async fn up(arguments: &Up) -> Result<Answer> {
    let fleet = Fleet::open(&arguments.dir)?;
    let patience = Duration::from_secs(arguments.timeout);
    match arguments.node {
        Some(number) => up_one(&fleet, number, patience).await,
        None => up_all(&fleet, patience).await,
    }
}

async fn up_one(fleet: &Fleet, number: usize, patience: Duration) -> Result<Answer> {
    let node = fleet.node(number)?;
    node.wait_until_closed(PORTS_PATIENCE).await?;
    fleet.check_startable(std::slice::from_ref(node))?;
    let mut child = node.start()?;
    let started = tokio::select! {
        ended = child.wait() => Err(ended_early(node, ended.ok())),
        ready = fleet.wait_until_ready(std::slice::from_ref(node), patience) => ready,
    };
    if let Err(report) = started {
        eprintln!("{report}");
        fleet.stop(std::slice::from_ref(node)).await?;
        return Ok(Answer::False);
    }
    line("ready")?;
    Ok(Answer::True)
}

async fn up_all(fleet: &Fleet, patience: Duration) -> Result<Answer> {
    fleet.check_startable(&fleet.nodes)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut crew = fleet.start_all().await?;
    let started = tokio::select! {
        ready = fleet.wait_until_ready(&fleet.nodes, patience) => ready,
        (number, status) = crew.next_end() => {
            Err(ended_early(&fleet.nodes[number], status))
        }
        _ = interrupt.recv() => Err("interrupted before every node was ready".to_owned()),
        _ = terminate.recv() => Err("terminated before every node was ready".to_owned()),
    };
    if let Err(report) = started {
        eprintln!("{report}");
        crew.stop().await?;
        return Ok(Answer::False);
    }
    line("ready")?;
    loop {
        tokio::select! {
            (number, status) = crew.next_end() => {
                let how = status.map_or_else(|| "for unknown reasons".to_owned(), |it| it.to_string());
                eprintln!("node {number} ended: {how}");
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    crew.stop().await?;
    for node in fleet.nodes.iter().filter(|node| node.process().is_some()) {
        eprintln!(
            "node {} was started by another command and goes on: bizra testnet down --dir {}",
            node.number,
            fleet.dir.display()
        );
    }
    Ok(Answer::True)
}

pub(crate) async fn status(arguments: &Status) -> Result<Answer> {
    let fleet = Fleet::open(&arguments.dir)?;
    let mut facts = Vec::new();
    let mut text = vec![format!(
        "{:>4}  {:>8}  {:>9}  {:>8}  {:>6}  {}",
        "node", "pid", "height", "view", "ready", "api"
    )];
    let mut all_ready = true;
    for node in &fleet.nodes {
        let process = node.process();
        let readiness = match process {
            Some(_) => fleet.readiness(node).await,
            None => Readiness::NotReady(vec!["it does not run".to_owned()]),
        };
        let status = match process {
            Some(_) => fleet.status(node).await.unwrap_or(Value::Null),
            None => Value::Null,
        };
        let reasons = match &readiness {
            Readiness::Ready => Vec::new(),
            Readiness::NotReady(reasons) => reasons.clone(),
        };
        all_ready &= readiness == Readiness::Ready;
        let number = |name: &str| status[name].as_u64().map_or("-".into(), |it| it.to_string());
        text.push(format!(
            "{:>4}  {:>8}  {:>9}  {:>8}  {:>6}  {}",
            node.number,
            process.map_or_else(|| "-".to_owned(), |process| process.to_string()),
            number("height"),
            number("view"),
            if readiness == Readiness::Ready { "yes" } else { "no" },
            node.api(),
        ));
        text.extend(reasons.iter().map(|reason| format!("      {reason}")));
        facts.push(json!({
            "node": node.number,
            "pid": process.map(Process::number),
            "ready": readiness == Readiness::Ready,
            "reasons": reasons,
            "api": node.api().to_string(),
            "admin": node.admin().to_string(),
            "status": status,
        }));
    }
    print(arguments.json, &json!({ "ready": all_ready, "nodes": facts }), &text.join("\n"))?;
    Ok(Answer::of(all_ready))
}

pub(crate) async fn down(arguments: &Down) -> Result<Answer> {
    let fleet = Fleet::open(&arguments.dir)?;
    let stopped = fleet.stop(&fleet.nodes).await?;
    eprintln!("stopped {}", count(stopped, "node"));
    Ok(Answer::True)
}

/// The processes that this one started. They outlive it if it is killed, and
/// `down` finds them then.
pub(crate) struct Crew<'a> {
    fleet: &'a Fleet,
    ends: tokio::task::JoinSet<(usize, Option<ExitStatus>)>,
    started: Vec<(usize, Process)>,
}

impl Crew<'_> {
    /// The next of its processes that ends, and how; never if none is left.
    /// Waiting is also what keeps ended ones from staying as zombies.
    pub(crate) async fn next_end(&mut self) -> (usize, Option<ExitStatus>) {
        match self.ends.join_next().await {
            Some(end) => end.expect("waiting for a process does not panic"),
            None => std::future::pending().await,
        }
    }

    /// Starts one more.
    pub(crate) fn start(&mut self, number: usize) -> Result<()> {
        let node = self.fleet.node(number)?;
        let mut child = node.start()?;
        let pid = child.id().context("the node ended at once")?;
        self.started.push((number, Process::of(pid)?));
        self.ends.spawn(async move { (number, child.wait().await.ok()) });
        Ok(())
    }

    /// Stops those that still run.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let running: Vec<Node> = self
            .fleet
            .nodes
            .iter()
            .filter(|node| {
                node.process().is_some_and(|process| self.started.contains(&(node.number, process)))
            })
            .cloned()
            .collect();
        self.fleet.stop(&running).await?;
        while self.ends.join_next().await.is_some() {}
        Ok(())
    }
}

impl Fleet {
    /// Finds the nodes of a folder.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut nodes = Vec::new();
        // Absolute, so that a process's command line says which network it is of.
        let dir = dir.canonicalize().map_err(|error| {
            WrongUse(format!("{}: {error}; make it with bizra testnet init", dir.display()))
        })?;
        for number in 0.. {
            let folder = dir.join(format!("node-{number}"));
            if !folder.is_dir() {
                break;
            }
            let config = Config::load_file(&folder.join("config.toml"))?;
            nodes.push(Node { number, folder, config });
        }
        if nodes.is_empty() {
            let hint = "no node-0 in it; make a network with bizra testnet init";
            return Err(WrongUse(format!("{}: {hint}", dir.display())).into());
        }
        Ok(Self { dir, nodes, client: client()? })
    }

    pub(crate) fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number).ok_or_else(|| {
            let last = self.nodes.len() - 1;
            WrongUse(format!("there is no node {number}: the last is {last}")).into()
        })
    }

    /// Starts every node.
    pub(crate) async fn start_all(&self) -> Result<Crew<'_>> {
        let mut crew = Crew { fleet: self, ends: tokio::task::JoinSet::new(), started: Vec::new() };
        for node in &self.nodes {
            if let Err(error) = crew.start(node.number) {
                crew.stop().await?;
                return Err(error);
            }
        }
        Ok(crew)
    }

    /// Refuses when a node runs already or one of the ports is taken.
    pub(crate) fn check_startable(&self, nodes: &[Node]) -> Result<()> {
        let mut obstacles = Vec::new();
        for node in nodes {
            if let Some(process) = node.process() {
                obstacles.push(format!("node {} runs already, as process {process}", node.number));
                continue;
            }
            for (what, address, why) in ports::obstacles(&node.config)? {
                obstacles.push(format!("node {}: {what} {address} is {why}", node.number));
            }
        }
        if obstacles.is_empty() { Ok(()) } else { bail!("{}", obstacles.join("\n")) }
    }

    /// Waits until all are ready at the same time.
    ///
    /// # Errors
    /// A report for people, when that takes too long: per node the reasons and
    /// the end of its log.
    pub(crate) async fn wait_until_ready(
        &self,
        nodes: &[Node],
        patience: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            let mut late = Vec::new();
            for node in nodes {
                if let Readiness::NotReady(reasons) = self.readiness(node).await {
                    late.push((node, reasons));
                }
            }
            if late.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                let reports = late.iter().map(|(node, reasons)| {
                    let reasons = reasons.join("\n  ");
                    let tail = node.log_tail();
                    format!("node {} is not ready:\n  {reasons}\n{tail}", node.number)
                });
                let reports: Vec<_> = reports.collect();
                return Err(format!("{}\n(after {} s)", reports.join("\n"), patience.as_secs()));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(crate) async fn readiness(&self, node: &Node) -> Readiness {
        let request = self.client.get(node.admin().url("/readyz")).timeout(Duration::from_secs(2));
        match send(request).await {
            Ok((StatusCode::OK, _)) => Readiness::Ready,
            Ok((status, body)) => Readiness::NotReady(reasons(status, &body)),
            Err(error) => Readiness::NotReady(vec![format!("{error:#}")]),
        }
    }

    /// What a node says of itself.
    pub(crate) async fn status(&self, node: &Node) -> Result<Value> {
        get_json(&self.client, &node.api().url("/v1/status"), Duration::from_secs(2)).await
    }

    /// Sends SIGTERM to those of the nodes that run, waits until they are gone,
    /// and kills what does not go. Returns how many there were.
    pub(crate) async fn stop(&self, nodes: &[Node]) -> Result<usize> {
        let mut running = Vec::new();
        for node in nodes {
            if let Some(process) = node.process() {
                process.signal(Signal::TERM)?;
                running.push((node, process));
            }
        }
        let number = running.len();
        let mut end = Some(Instant::now() + STOP_PATIENCE);
        loop {
            running.retain(|(node, process)| node.process() == Some(*process));
            if running.is_empty() {
                return Ok(number);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                end = None;
                for (node, process) in &running {
                    eprintln!(
                        "node {} did not stop within {} s and is killed",
                        node.number,
                        STOP_PATIENCE.as_secs()
                    );
                    process.signal(Signal::KILL)?;
                }
            }
            tokio::time::sleep(LOOK_INTERVAL / 4).await;
        }
    }
}

impl Node {
    pub(crate) fn api(&self) -> Endpoint {
        Endpoint::of(self.api_address())
    }

    pub(crate) const fn api_address(&self) -> SocketAddr {
        self.config.api.listen
    }

    pub(crate) fn admin(&self) -> Endpoint {
        Endpoint::of(self.config.admin.listen)
    }

    /// Waits while nothing but the node's own process, which was killed, keeps
    /// its ports: the system closes them only by and by.
    pub(crate) async fn wait_until_closed(&self, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        while self.is_closing()? && Instant::now() < end {
            tokio::time::sleep(LOOK_INTERVAL / 4).await;
        }
        Ok(())
    }

    fn is_closing(&self) -> Result<bool> {
        let Some(pid) = self.last_pid() else { return Ok(false) };
        if let Some(process) = self.process() {
            return Ok(process.is_killed());
        }
        let obstacles = ports::obstacles(&self.config)?;
        let is_closing = obstacles.iter().all(|(_, _, obstacle)| match obstacle {
            // A socket on its way out belongs to nobody any more.
            Obstacle::InUse(holder) => holder.as_ref().is_none_or(|holder| holder.pid == pid),
            Obstacle::Other(_) => false,
        });
        Ok(is_closing && !obstacles.is_empty())
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// The process that was started last for the node, if any was.
    fn last_pid(&self) -> Option<u32> {
        fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// The process that runs the node, if one does.
    pub(crate) fn process(&self) -> Option<Process> {
        let pid = self.last_pid()?;
        // Empty for a zombie.
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config_file = self.config_file();
        command_line
            .split(|&byte| byte == 0)
            .any(|word| word == config_file.as_os_str().as_encoded_bytes())
            .then(|| Process::of(pid).ok())?
    }

    /// Starts the node's process, which goes on when this one ends.
    fn start(&self) -> Result<Child> {
        let log_file = self.log_file();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)
            .with_context(|| format!("{}: cannot write", log_file.display()))?;
        let also = log.try_clone().context("cannot share the log file")?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // One variable would set the same port for all.
            if name.as_encoded_bytes().starts_with(ENVIRONMENT_PREFIX.as_bytes()) {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("run")
            .arg("--config")
            .arg(self.config_file())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            // Ctrl-C in the terminal is for the one that started it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start node {}", self.number))?;
        let pid = child.id().ok_or_else(|| anyhow!("node {} ended at once", self.number))?;
        fs::write(self.pid_file(), format!("{pid}\n"))
            .with_context(|| format!("{}: cannot write", self.pid_file().display()))?;
        Ok(child)
    }

    /// The last lines of its log, with a heading.
    fn log_tail(&self) -> String {
        const TAIL_BYTES: u64 = 16 << 10;
        let path = self.log_file();
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = match read() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error.to_string(),
        };
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("  the end of {}:\n    {}", path.display(), tail.join("\n    "))
    }
}

impl Process {
    fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.map(Self).context("not a process id")
    }

    fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Whether SIGKILL was sent to it and the system is not done with it.
    fn is_killed(self) -> bool {
        const SIGKILL: u64 = 1 << (9 - 1);
        let status = fs::read_to_string(format!("/proc/{self}/status")).unwrap_or_default();
        let pending = status
            .lines()
            .filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
        pending
            .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .any(|mask| mask & SIGKILL != 0)
    }

    /// Sends a signal; a process that is gone already is no error.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        match kill_process(self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {self}")),
        }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

pub(crate) fn ended_early(node: &Node, status: Option<ExitStatus>) -> String {
    let how = status.map_or_else(String::new, |status| format!(" ({status})"));
    format!("node {} ended before it was ready{how}\n{}", node.number, node.log_tail())
}

/// The failing reasons in an answer of `/readyz`.
fn reasons(status: StatusCode, body: &[u8]) -> Vec<String> {
    let listed: Option<Vec<_>> = serde_json::from_slice::<Value>(body).ok().and_then(|answer| {
        let failing = answer.get("failing")?.as_array()?.clone();
        let reason =
            |it: &Value| Some(format!("{}: {}", it["name"].as_str()?, it["detail"].as_str()?));
        failing.iter().map(reason).collect()
    });
    listed.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let lines: Vec<_> = text.lines().map(str::to_owned).filter(|it| !it.is_empty()).collect();
        if lines.is_empty() { vec![format!("HTTP {status}")] } else { lines }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(base_port: u16) -> (tempfile::TempDir, Fleet) {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("net");
        super::super::testnet::write(&super::super::testnet::Init {
            validators: 2,
            followers: 0,
            dir: dir.clone(),
            base_port,
            ip: [127, 0, 0, 1].into(),
            name: "unit".to_owned(),
            json: false,
        })
        .expect("written");
        let fleet = Fleet::open(&dir).expect("a network");
        (folder, fleet)
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        // A block of ten ports whose third is held here: the API of node 0.
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = held.local_addr().expect("bound").port();
        let (_folder, fleet) = network(port - 2);
        let error = fleet.check_startable(&fleet.nodes[..1]).expect_err("the port is taken");
        let expected =
            format!("node 0: API 127.0.0.1:{port} is in use by process {} (", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
    }

    #[tokio::test]
    async fn a_port_of_a_node_that_has_ended_is_waited_for_and_no_other() {
        // For the node, this test is the process that was started last and does not run it.
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = held.local_addr().expect("bound").port();
        let (_folder, fleet) = network(port - 2);
        let node = &fleet.nodes[0];
        fs::write(node.pid_file(), format!("{}\n", std::process::id())).expect("written");
        let long = Duration::from_secs(3600);
        let is_pending = |wait: &mut std::pin::Pin<&mut dyn Future<Output = Result<()>>>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            wait.as_mut().poll(&mut context).is_pending()
        };
        let mut wait: std::pin::Pin<&mut dyn Future<Output = Result<()>>> =
            std::pin::pin!(node.wait_until_closed(long));
        assert!(is_pending(&mut wait));
        drop(held);
        wait.await.expect("the port is free");
        fleet.check_startable(&fleet.nodes[..1]).expect("all is free");

        let held = std::net::TcpListener::bind(("127.0.0.1", port)).expect("bound");
        fs::write(node.pid_file(), "4000000\n").expect("written");
        node.wait_until_closed(long).await.expect("a stranger is not waited for");
        let error = fleet.check_startable(&fleet.nodes[..1]).expect_err("a stranger has it");
        assert!(error.to_string().contains(&format!("process {} (", std::process::id())));
        drop(held);
    }

    #[test]
    fn a_pid_of_another_program_is_no_node() {
        let (_folder, fleet) = network(20_000);
        let node = &fleet.nodes[1];
        assert_eq!(node.process(), None);
        fs::write(node.pid_file(), format!("{}\n", std::process::id())).expect("written");
        assert_eq!(node.process(), None);
    }

    #[test]
    fn a_folder_without_nodes_is_wrong_use() {
        let folder = tempfile::tempdir().expect("a folder");
        for dir in [folder.path().to_owned(), folder.path().join("none")] {
            let error = Fleet::open(&dir).err().expect("no network");
            assert!(error.is::<WrongUse>() && error.to_string().contains("testnet init"));
        }
    }

    #[test]
    fn reasons_are_listed_one_by_one() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let body = br#"{"ready":false,"failing":[{"name":"no_quorum","detail":"4 of 7"}]}"#;
        assert_eq!(reasons(status, body), ["no_quorum: 4 of 7"]);
        assert_eq!(reasons(status, b"no quorum\nsyncing\n"), ["no quorum", "syncing"]);
        assert_eq!(reasons(status, b""), ["HTTP 503 Service Unavailable"]);
    }
}
