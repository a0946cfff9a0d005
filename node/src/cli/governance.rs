//! `gov`: what is proposed to the validators, proposing, voting, and filing evidence.

use super::http::{DEFAULT_ENDPOINT, Endpoint, client, first_policy, get_json, refusal};
use super::output::{Answer, WrongUse, count, line, print};
use super::proofs::{parse_digest, parse_key};
use super::records::{Wait, hand_in, has_come_so_far, read_text};
use super::sender::{Sender, SigningKey};
use anyhow::{Context as _, Result, bail};
use bizra_keys::{ConsensusKey, KeyRing};
use bizra_ledger::evidence::{EvidenceFile, Kind, Signed, Statement};
use bizra_types::batch::Ticket;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::{RecordDigest, hex};
use bizra_types::json::{Limits, Value as JsonValue, canonical, parse};
use bizra_types::numbers::{Era, TimestampMs};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a node may take to say what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub(crate) enum Governance {
    /// Show the open proposals, or one: who voted how, and how far it is from passing.
    Show(Show),
    /// Show the numbers that can be governed, each with its range.
    Parameters(Ask),
    /// Show the reputation of the validators.
    Reputation(Ask),
    /// Propose a change, as a validator.
    #[command(subcommand)]
    Propose(Propose),
    /// Vote on a proposal, as a validator; a later vote takes the place of an earlier one.
    Vote(Vote),
    /// Print what a committee says of the owner of these keys.
    Entry(Entry),
    /// Show what a node has caught validators at, and which of it was filed.
    Evidence(Ask),
    /// File what a node has caught validators at and nobody has filed, or promises not kept.
    File(File),
}

#[derive(Args)]
pub(crate) struct Show {
    /// The proposal, as 64 hex digits; all open ones if absent.
    #[arg(value_parser = parse_digest)]
    proposal: Option<RecordDigest>,
    #[command(flatten)]
    ask: Ask,
}

/// Whom to ask.
#[derive(Args)]
pub(crate) struct Ask {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Propose {
    /// Give a governed number another value.
    Parameter(Parameter),
    /// Put a policy in force.
    Policy(Policy),
    /// Change who the validators are, or their keys.
    Committee(Committee),
    /// Have blocks from a height on follow the next protocol version.
    Version(Version),
    /// Revoke the key of an identity.
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct Parameter {
    /// Its name.
    name: String,
    /// Its new value.
    value: u64,
    #[command(flatten)]
    proposing: Proposing,
}

#[derive(Args)]
pub(crate) struct Policy {
    /// The text, in Rego.
    file: PathBuf,
    /// What people call it; the file's name without its end if absent.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    proposing: Proposing,
}

#[derive(Args)]
pub(crate) struct Committee {
    /// The whole change: a JSON object of `put`, a list of entries, and `remove`, a list of names.
    #[arg(conflicts_with_all = ["add", "remove", "replace", "rotate"])]
    file: Option<PathBuf>,
    /// Take in whom this file describes; `gov entry` makes such files.
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// Let this member go.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Let this member go and take in whom the file describes.
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_replacement)]
    replace: Vec<(String, PathBuf)>,
    /// Give the member of the same name the keys in this file.
    #[arg(long, value_name = "FILE")]
    rotate: Vec<PathBuf>,
    #[command(flatten)]
    proposing: Proposing,
}

#[derive(Args)]
pub(crate) struct Version {
    /// The protocol version: the one after that in force.
    version: u16,
    /// The first block that follows it.
    #[arg(long)]
    height: u64,
    #[command(flatten)]
    proposing: Proposing,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// The key, as 64 hex digits.
    #[arg(value_parser = parse_key)]
    key: PublicKey,
    #[command(flatten)]
    proposing: Proposing,
}

/// How it is proposed, and by whom.
#[derive(Args)]
struct Proposing {
    /// How it is treated: an emergency is decided sooner, and needs more approvals.
    #[arg(long, default_value = "amendment")]
    procedure: Procedure,
    #[command(flatten)]
    speaking: Speaking,
}

#[derive(Args)]
pub(crate) struct File {
    /// The answer to a submission, with the ticket for a record that got no outcome; what the node
    /// has caught others at if none is given.
    #[arg(long = "ticket", value_name = "FILE")]
    tickets: Vec<PathBuf>,
    /// Who signed the tickets, if the committee has changed since: 64 hex digits.
    #[arg(long, value_name = "KEY", value_parser = parse_key, requires = "tickets")]
    accused: Option<PublicKey>,
    #[command(flatten)]
    speaking: Speaking,
}

/// Who speaks, and to whom.
#[derive(Args)]
pub(crate) struct Speaking {
    /// The validator's consensus key; evidence may have that of any sender.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: Endpoint,
    /// How far the record must have come before this ends.
    #[arg(long, default_value = "final")]
    wait: Wait,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Vote {
    /// The proposal, as 64 hex digits.
    #[arg(value_parser = parse_digest)]
    proposal: RecordDigest,
    /// The ballot.
    choice: Choice,
    #[command(flatten)]
    speaking: Speaking,
}

#[derive(Args)]
pub(crate) struct Entry {
    /// The folder of the four keys, of which the public halves are shown.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// What the validator is to be called.
    #[arg(long)]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Procedure {
    /// Long periods.
    Amendment,
    /// Short periods, and more approvals.
    Emergency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// For it.
    Approve,
    /// Against it, which weighs as much as silence.
    Reject,
    /// Enough of these end it at once.
    Veto,
}

pub(crate) async fn run(governance: &Governance) -> Result<Answer> {
    match governance {
        Governance::Show(arguments) => show(arguments).await,
        Governance::Parameters(ask) => parameters(ask).await,
        Governance::Reputation(ask) => reputation(ask).await,
        Governance::Propose(propose) => propose.run().await,
        Governance::Vote(arguments) => vote(arguments).await,
        Governance::Entry(arguments) => entry(arguments),
        Governance::Evidence(ask) => evidence(ask).await,
        Governance::File(arguments) => file(arguments).await,
    }
}

async fn show(arguments: &Show) -> Result<Answer> {
    let Show { proposal, ask } = arguments;
    let facts = match proposal {
        Some(digest) => ask.get(&format!("/v1/gov/proposals/{digest}")).await?,
        None => ask.get("/v1/gov/proposals").await?,
    };
    let text = match facts["proposals"].as_array() {
        Some(open) if open.is_empty() => {
            format!("no proposal is open at height {}", facts["height"])
        }
        Some(open) => open.iter().map(told).collect::<Vec<_>>().join("\n\n"),
        None => told(&facts),
    };
    print(ask.json, &facts, &text)?;
    Ok(Answer::True)
}

async fn parameters(ask: &Ask) -> Result<Answer> {
    let facts = ask.get("/v1/gov/parameters").await?;
    let told = facts["parameters"].as_array().into_iter().flatten().map(|it| {
        let name = it["name"].as_str().unwrap_or_default();
        format!("{name} = {} (from {} to {})", it["value"], it["min"], it["max"])
    });
    print(ask.json, &facts, &told.collect::<Vec<_>>().join("\n"))?;
    Ok(Answer::True)
}

async fn reputation(ask: &Ask) -> Result<Answer> {
    let facts = ask.get("/v1/gov/reputation").await?;
    let told = facts["validators"].as_array().into_iter().flatten().map(|it| {
        let name = it["name"].as_str().unwrap_or_default();
        match it["quarantine_epochs"].as_u64() {
            None | Some(0) => format!("{name}: {}", it["score"]),
            Some(epochs) => {
                format!("{name}: {}, in quarantine for {epochs} more epochs", it["score"])
            }
        }
    });
    print(ask.json, &facts, &told.collect::<Vec<_>>().join("\n"))?;
    Ok(Answer::True)
}

async fn evidence(ask: &Ask) -> Result<Answer> {
    let facts = ask.get("/v1/gov/evidence").await?;
    let told = facts["evidence"].as_array().into_iter().flatten().map(|it| {
        let word = |name: &str| it["data"][name].as_str().unwrap_or_default().to_owned();
        let filed = match it["filed"]["record"].as_str() {
            Some(record) => format!("filed as {record} at height {}", it["filed"]["height"]),
            None => "not filed".to_owned(),
        };
        format!("{} of {}: {filed}", word("kind"), word("accused"))
    });
    let mut told: Vec<String> = told.collect();
    if told.is_empty() {
        told.push("this node has caught nobody".to_owned());
    }
    print(ask.json, &facts, &told.join("\n"))?;
    Ok(Answer::True)
}

async fn file(arguments: &File) -> Result<Answer> {
    let File { tickets, accused, speaking } = arguments;
    let client = client()?;
    let get =
        async |path: &str| get_json(&client, &speaking.endpoint.url(path), ANSWER_TIMEOUT).await;
    let mut filings = Vec::new();
    if tickets.is_empty() {
        let known = get("/v1/gov/evidence").await?;
        let open = known["evidence"].as_array().into_iter().flatten();
        filings.extend(open.filter(|it| it["filed"].is_null()).map(|it| it["data"].clone()));
    } else {
        let committee = get("/v1/committee").await?;
        for path in tickets {
            let place = || path.display().to_string();
            let data = broken_promise(&read_json(path)?, *accused, &committee);
            filings.push(data.with_context(place)?);
        }
    }
    if filings.is_empty() {
        eprintln!("nothing is left to file");
    }
    let mut answer = Answer::True;
    for data in filings {
        if speaking.say(SigningKey::load(&speaking.key)?, "evidence/file", &data).await?
            == Answer::False
        {
            answer = Answer::False;
        }
    }
    Ok(answer)
}

/// `payload.data` of evidence for a ticket, as an answer to a submission holds it.
fn broken_promise(answer: &Value, accused: Option<PublicKey>, committee: &Value) -> Result<Value> {
    // `bizra submit --json` puts the node's answer beside its own facts.
    let answer = if answer["answer"].is_object() { &answer["answer"] } else { answer };
    let ticket = &answer["ticket"];
    let number = |name: &str| ticket[name].as_u64().with_context(|| format!("no `ticket.{name}`"));
    let word = |name: &str| ticket[name].as_str().with_context(|| format!("no `ticket.{name}`"));
    let accused = match accused {
        Some(accused) => accused,
        None if committee["era"].as_u64() != Some(number("era")?) => {
            bail!("the ticket is of era {}: say with --accused who signed it", number("era")?)
        }
        None => {
            let signer = usize::try_from(number("signer")?)?;
            let key = committee["validators"][signer]["consensus_key"].as_str();
            key.and_then(PublicKey::from_hex).context("the committee has no such place")?
        }
    };
    let promise = Ticket {
        digest: RecordDigest::from_hex(word("digest")?).context("`ticket.digest` is no digest")?,
        admitted_at_ms: TimestampMs::new(number("admitted_at_ms")?),
        deadline_ms: TimestampMs::new(number("deadline_ms")?),
    };
    let signature = Signature::from_hex(word("signature")?);
    let first = Signed {
        statement: Statement::Ticket(Era::new(number("era")?), promise),
        signature: signature.context("`ticket.signature` is no signature")?,
    };
    let kind = Kind::Ticket;
    let (second, records, certificate) = (None, Vec::new(), None);
    let file = EvidenceFile { accused, kind, first, second, records, certificate };
    Ok(serde_json::from_slice(&canonical(&file.to_data()))?)
}

/// What a node says of a proposal, for people.
fn told(proposal: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("nobody").to_owned();
    let proposer = match &proposal["proposer"] {
        who if who["validator"].is_string() => word(&who["validator"]),
        who => word(&who["consensus_key"]),
    };
    let mut lines = vec![
        format!("proposal {}", word(&proposal["proposal"])),
        format!("  {} of {proposer}: {}", word(&proposal["procedure"]), change_told(proposal)),
    ];
    let number = |name: &str| proposal[name].as_u64().unwrap_or_default();
    if proposal["status"] != "open" {
        lines.push(format!(
            "  opened at height {}, {} at height {} with {} and {}",
            number("opened_at"),
            word(&proposal["status"]),
            number("closed_at"),
            counted(number("approvals"), "approval"),
            counted(number("vetoes"), "veto"),
        ));
        if let Some(height) = proposal["holds_from"].as_u64() {
            lines.push(format!("  it holds from height {height} on"));
        }
        return lines.join("\n");
    }
    lines.push(format!(
        "  opened at height {}, voted on from {} ({}), decided after {} ({}); it would hold from \
         {} on",
        number("opened_at"),
        number("vote_from"),
        match number("blocks_to_vote") {
            0 => "now".to_owned(),
            blocks => format!("{} of deliberation left", counted(blocks, "block")),
        },
        number("decided_at"),
        counted(number("blocks_to_decision"), "block"),
        number("holds_from"),
    ));
    lines.push(format!(
        "  {} of {} needed, {}, {} of {} that end it",
        counted(number("approvals"), "approval"),
        number("approvals_needed"),
        counted(number("rejections"), "rejection"),
        counted(number("vetoes"), "veto"),
        number("vetoes_needed"),
    ));
    for ballot in proposal["ballots"].as_array().into_iter().flatten() {
        let note = if ballot["counts"] == false { " (in quarantine: does not count)" } else { "" };
        lines.push(format!("  {}: {}{note}", word(&ballot["validator"]), word(&ballot["choice"])));
    }
    let silent: Vec<_> =
        proposal["silent"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !silent.is_empty() {
        lines.push(format!("  not voted: {}", silent.join(", ")));
    }
    lines.join("\n")
}

/// What would change, in a line.
fn change_told(proposal: &Value) -> String {
    let change = &proposal["change"];
    let word = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
    let names = |name: &str| -> Vec<String> {
        let listed = change[name].as_array().into_iter().flatten();
        let name = |it: &Value| it.as_str().or(it["name"].as_str()).unwrap_or_default().to_owned();
        listed.map(name).collect()
    };
    match change["kind"].as_str() {
        Some("parameter") => format!("parameter {} = {}", word("name"), change["value"]),
        Some("policy") => {
            format!("policy {} of {} bytes", word("name"), word("rego").len())
        }
        Some("committee") => {
            let (put, remove) = (names("put"), names("remove"));
            let mut parts = Vec::new();
            if !put.is_empty() {
                parts.push(format!("put {}", put.join(", ")));
            }
            if !remove.is_empty() {
                parts.push(format!("remove {}", remove.join(", ")));
            }
            format!("committee: {}", parts.join("; "))
        }
        Some("version") => {
            format!("protocol version {} from height {} on", change["version"], change["height"])
        }
        Some("revocation") => format!("revocation of key {}", word("key")),
        _ => change.to_string(),
    }
}

/// `1 veto`, `2 vetoes`.
fn counted(number: u64, noun: &str) -> String {
    match noun {
        "veto" if number != 1 => format!("{number} vetoes"),
        _ => count(usize::try_from(number).unwrap_or(usize::MAX), noun),
    }
}

impl Propose {
    async fn run(&self) -> Result<Answer> {
        let proposing = self.proposing();
        let change = self.change().await?;
        let procedure = match proposing.procedure {
            Procedure::Amendment => "amendment",
            Procedure::Emergency => "emergency",
        };
        let data = json!({ "procedure": procedure, "change": change });
        let speaking = &proposing.speaking;
        speaking.say(speaking.validator()?, "governance/propose", &data).await
    }

    const fn proposing(&self) -> &Proposing {
        match self {
            Self::Parameter(it) => &it.proposing,
            Self::Policy(it) => &it.proposing,
            Self::Committee(it) => &it.proposing,
            Self::Version(it) => &it.proposing,
            Self::Revoke(it) => &it.proposing,
        }
    }

    /// `change` of the record.
    async fn change(&self) -> Result<Value> {
        Ok(match self {
            Self::Parameter(Parameter { name, value, .. }) => {
                json!({ "kind": "parameter", "name": name, "value": value })
            }
            Self::Policy(Policy { file, name, .. }) => {
                let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                let name = name.clone().or_else(stem).unwrap_or_default();
                json!({ "kind": "policy", "name": name, "rego": read_text(file)? })
            }
            Self::Committee(committee) => {
                let endpoint = &committee.proposing.speaking.endpoint;
                let url = endpoint.url("/v1/committee");
                committee.change(&get_json(&client()?, &url, ANSWER_TIMEOUT).await?)?
            }
            Self::Version(Version { version, height, .. }) => {
                json!({ "kind": "version", "version": version, "height": height })
            }
            Self::Revoke(Revoke { key, .. }) => {
                json!({ "kind": "revocation", "key": key.to_string() })
            }
        })
    }
}

impl Committee {
    /// The change to a committee that a node tells.
    fn change(&self, current: &Value) -> Result<Value> {
        let is_member = |name: &str| {
            let validators = current["validators"].as_array();
            validators.into_iter().flatten().any(|it| it["name"] == name)
        };
        let (mut put, mut remove) = (Vec::new(), Vec::new());
        if let Some(file) = &self.file {
            let whole = read_json(file)?;
            let lists = (whole["put"].as_array(), whole["remove"].as_array());
            let (Some(entries), Some(names)) = lists else {
                bail!(
                    "{}: an object with the lists `put` and `remove` is expected",
                    file.display()
                );
            };
            put.clone_from(entries);
            remove.clone_from(names);
        }
        for file in &self.add {
            let (name, entry) = read_entry(file)?;
            if is_member(&name) {
                let hint = "is a member already; use --rotate to change its keys";
                return Err(WrongUse(format!("--add {}: {name} {hint}", file.display())).into());
            }
            put.push(entry);
        }
        for file in &self.rotate {
            let (name, entry) = read_entry(file)?;
            if !is_member(&name) {
                let hint = "is no member; use --add to take it in";
                return Err(WrongUse(format!("--rotate {}: {name} {hint}", file.display())).into());
            }
            put.push(entry);
        }
        for (leaver, file) in &self.replace {
            let (name, entry) = read_entry(file)?;
            if name != *leaver {
                remove.push(json!(leaver));
            }
            put.push(entry);
        }
        remove.extend(self.remove.iter().map(|name| json!(name)));
        if put.is_empty() && remove.is_empty() {
            let hint = "give a file, or --add, --remove, --replace or --rotate";
            return Err(WrongUse(format!("nothing would change: {hint}")).into());
        }
        Ok(json!({ "kind": "committee", "put": put, "remove": remove }))
    }
}

async fn vote(arguments: &Vote) -> Result<Answer> {
    let choice = match arguments.choice {
        Choice::Approve => "approve",
        Choice::Reject => "reject",
        Choice::Veto => "veto",
    };
    let data = json!({ "proposal": arguments.proposal.to_string(), "choice": choice });
    let speaking = &arguments.speaking;
    speaking.say(speaking.validator()?, "governance/vote", &data).await
}

fn entry(arguments: &Entry) -> Result<Answer> {
    let ring = KeyRing::load(&arguments.keys)?;
    line(&format!("{:#}", entry_of(&arguments.name, &ring)))?;
    Ok(Answer::True)
}

/// What a committee says of the owner of these keys.
pub(crate) fn entry_of(name: &str, ring: &KeyRing) -> Value {
    json!({
        "name": name,
        "peer_id": ring.network.peer_id().to_base58(),
        "consensus_key": ring.consensus.public().to_string(),
        "vrf_key": hex(&ring.vrf.public()),
        "kem_key": hex(ring.kem.public().as_bytes()),
    })
}

impl Ask {
    async fn get(&self, path: &str) -> Result<Value> {
        get_json(&client()?, &self.endpoint.url(path), ANSWER_TIMEOUT).await
    }
}

impl Speaking {
    pub(crate) fn validator(&self) -> Result<SigningKey> {
        Ok(SigningKey::Validator(ConsensusKey::load(&self.key)?))
    }

    /// Signs an action and submits it.
    pub(crate) async fn say(&self, key: SigningKey, action: &str, data: &Value) -> Result<Answer> {
        let client = client()?;
        let url = self.endpoint.url("/v1/params");
        let params = get_json(&client, &url, ANSWER_TIMEOUT).await?;
        let record = json!({
            "payload": { "action": action, "data": data },
            "metadata": { "ihsan_score": 1, "chain_id": params["chain_id"] },
        });
        let read = parse(record.to_string().as_bytes(), Limits::ENVELOPE)?;
        let JsonValue::Object(record) = read else { unreachable!("it is an object") };
        let signed = Sender::of(key, &first_policy(&params)).sign(record)?;
        let digest = signed.digest.to_string();
        let bytes = signed.bytes.to_vec();
        let (status, body) = hand_in(&client, &self.endpoint, bytes, self.wait).await?;
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let facts = json!({ "digest": digest, "http_status": status.as_u16(), "answer": told });
        let text = if status.is_success() {
            format!("{digest} {}", told["status"].as_str().unwrap_or_default())
        } else {
            format!("{digest}: {}", refusal(status, &body))
        };
        print(self.json, &facts, &text)?;
        Ok(Answer::of(has_come_so_far(status, &body, self.wait)))
    }
}

/// Reads an entry of a committee, and its name.
fn read_entry(file: &Path) -> Result<(String, Value)> {
    let entry = read_json(file)?;
    let name = entry["name"].as_str().map(str::to_owned);
    let name = name.with_context(|| format!("{}: an entry has a name", file.display()))?;
    Ok((name, entry))
}

fn read_json(file: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(file)?).with_context(|| file.display().to_string())
}

fn parse_replacement(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::json::Document;
    use std::fs;

    fn proposing() -> Proposing {
        Proposing {
            procedure: Procedure::Amendment,
            speaking: Speaking {
                key: PathBuf::new(),
                endpoint: DEFAULT_ENDPOINT.parse().expect("an endpoint"),
                wait: Wait::Final,
                json: false,
            },
        }
    }

    fn committee() -> Committee {
        Committee {
            file: None,
            add: Vec::new(),
            remove: Vec::new(),
            replace: Vec::new(),
            rotate: Vec::new(),
            proposing: proposing(),
        }
    }

    #[test]
    fn a_change_of_the_committee_is_put_together_from_flags() {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = |name: &str| {
            let file = folder.path().join(name);
            let entry = entry_of(name, &KeyRing::generate());
            fs::write(&file, entry.to_string()).expect("written");
            (file, entry)
        };
        let current = json!({ "validators": [{ "name": "a" }, { "name": "b" }] });
        let ((a, a_entry), (c, c_entry)) = (entry("a"), entry("c"));
        let whole = folder.path().join("whole");
        let text = json!({ "put": [c_entry], "remove": ["b"] }).to_string();
        fs::write(&whole, text).expect("written");
        for (change, put, remove) in [
            (Committee { add: vec![c.clone()], ..committee() }, json!([c_entry]), json!([])),
            (Committee { rotate: vec![a.clone()], ..committee() }, json!([a_entry]), json!([])),
            (Committee { remove: vec!["b".into()], ..committee() }, json!([]), json!(["b"])),
            (
                Committee { replace: vec![("b".into(), c.clone())], ..committee() },
                json!([c_entry]),
                json!(["b"]),
            ),
            (
                Committee { replace: vec![("a".into(), a.clone())], ..committee() },
                json!([a_entry]),
                json!([]),
            ),
            (Committee { file: Some(whole), ..committee() }, json!([c_entry]), json!(["b"])),
        ] {
            let expected = json!({ "kind": "committee", "put": put, "remove": remove });
            assert_eq!(change.change(&current).expect("a change"), expected);
        }
        for (change, complaint) in [
            (committee(), "nothing would change"),
            (Committee { add: vec![a], ..committee() }, "a is a member already"),
            (Committee { rotate: vec![c], ..committee() }, "c is no member"),
        ] {
            let error = change.change(&current).expect_err("refused");
            assert!(error.is::<WrongUse>() && error.to_string().contains(complaint), "{error}");
        }
    }

    #[test]
    fn an_entry_is_one_that_a_proposal_may_hold() {
        let entry = entry_of("a", &KeyRing::generate());
        let text = entry.to_string();
        let read = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("JSON");
        let validator = bizra_types::committee::Validator::read(&read.root()).expect("an entry");
        assert_eq!(validator.name, "a");
        assert!(validator.consensus_key.is_usable());
    }

    #[test]
    fn an_open_proposal_is_told_with_its_ballots() {
        let proposal = json!({
            "proposal": "ab", "status": "open", "procedure": "amendment",
            "proposer": { "validator": "node-0", "consensus_key": "cd" },
            "change": { "kind": "committee", "put": [{ "name": "node-4" }], "remove": ["node-1"] },
            "opened_at": 5, "vote_from": 8, "decided_at": 20, "holds_from": 21,
            "blocks_to_vote": 0, "blocks_to_decision": 9,
            "approvals": 1, "approvals_needed": 3, "approvals_missing": 2,
            "rejections": 0, "vetoes": 1, "vetoes_needed": 2,
            "ballots": [
                { "validator": "node-0", "choice": "approve", "counts": true },
                { "validator": "node-1", "choice": "veto", "counts": true },
                { "validator": "node-2", "choice": "veto", "counts": false },
            ],
            "silent": ["node-3"],
        });
        assert_eq!(
            told(&proposal),
            "proposal ab\n  amendment of node-0: committee: put node-4; remove node-1\n  opened at \
             height 5, voted on from 8 (now), decided after 20 (9 blocks); it would hold from 21 \
             on\n  1 approval of 3 needed, 0 rejections, 1 veto of 2 that end it\n  node-0: \
             approve\n  node-1: veto\n  node-2: veto (in quarantine: does not count)\n  not voted: \
             node-3"
        );
    }

    #[test]
    fn a_closed_proposal_is_told_with_its_end() {
        let mut proposal = json!({
            "proposal": "ab", "status": "enacted", "procedure": "emergency",
            "proposer": { "validator": null, "consensus_key": "cd" },
            "change": { "kind": "parameter", "name": "snr_min_ppm", "value": 9 },
            "opened_at": 5, "closed_at": 20, "holds_from": 21, "approvals": 4, "vetoes": 0,
        });
        let text = "proposal ab\n  emergency of cd: parameter snr_min_ppm = 9\n  opened at height \
                    5, enacted at height 20 with 4 approvals and 0 vetoes";
        assert_eq!(told(&proposal), format!("{text}\n  it holds from height 21 on"));
        proposal["holds_from"] = Value::Null;
        assert_eq!(told(&proposal), text);
    }

    #[test]
    fn a_ticket_becomes_evidence_against_its_signer() {
        let ring = KeyRing::generate();
        let key = ring.consensus.public();
        let digest = RecordDigest([7; 32]);
        let (admitted_at_ms, deadline_ms) = (TimestampMs::new(1), TimestampMs::new(2));
        let promise = Ticket { digest, admitted_at_ms, deadline_ms };
        let chain = bizra_types::hash::ChainId([9; 32]);
        let signature = ring.consensus.sign(&promise.signed_bytes(&chain, Era::new(3)));
        let ticket = json!({
            "digest": digest.to_string(), "admitted_at_ms": 1, "deadline_ms": 2, "era": 3,
            "signer": 1, "signature": signature.to_string(),
        });
        let answer =
            json!({ "digest": digest.to_string(), "status": "accepted", "ticket": ticket });
        let committee = |era: u64| {
            let key = key.to_string();
            json!({ "era": era, "validators": [{}, { "consensus_key": key }] })
        };
        for (answer, accused, committee) in [
            (answer.clone(), None, committee(3)),
            (json!({ "line": 1, "answer": answer.clone() }), None, committee(3)),
            (answer.clone(), Some(key), committee(4)),
        ] {
            let data = broken_promise(&answer, accused, &committee).expect("evidence");
            let text = data.to_string();
            let data = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("strict");
            let file = EvidenceFile::read(&data.root()).expect("the form is right");
            assert_eq!((file.accused, file.promise()), (key, Some(&promise)));
            assert_eq!(file.check(&chain), Ok(()));
        }
        let error = broken_promise(&answer, None, &committee(4)).expect_err("of another era");
        assert!(error.to_string().contains("--accused"), "{error}");
        assert!(broken_promise(&json!({}), None, &committee(3)).is_err());
    }

    #[test]
    fn replacements_name_a_member_and_a_file() {
        assert_eq!(parse_replacement("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        for text in ["a", "=b", "a="] {
            assert!(parse_replacement(text).is_err(), "{text}");
        }
    }
}
