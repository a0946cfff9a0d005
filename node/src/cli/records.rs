//! `submit`, `record sign` and `record open`.

use super::http::{DEFAULT_ENDPOINT, Endpoint, client, policy_in_force, refusal, send};
use super::output::{Answer, WrongUse, line, print};
use super::sender::{Sender, SigningKey, object, random};
use anyhow::{Context as _, Result, bail};
use bizra_keys::file::write_new_file;
use bizra_ledger::envelope::Envelope;
use bizra_types::hash::{hex, hex_array};
use bizra_types::json::{
    Document, Limits, Member, Members, Object, SchemaError, Value, canonical, parse,
};
use clap::{Args, ValueEnum};
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest text that is read as records, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// What a record can commit to: the member of `payload.data`, and its name in
/// an opening.
const COMMITMENTS: [(&str, &str); 3] = [
    ("input_commitment", "input"),
    ("output_commitment", "output"),
    ("rationale_commitment", "rationale"),
];

#[derive(Args)]
pub(crate) struct Submit {
    /// Files of signed envelopes, one JSON text or one a line; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// How far each record must have come before the next is sent.
    #[arg(long, default_value = "accepted")]
    wait: Wait,
    /// Print the node's answers, one JSON text per line.
    #[arg(long)]
    json: bool,
}

/// How far a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// On one validator's disk, with its signed promise.
    Accepted,
    /// In a block.
    Ordered,
    /// In a block that nothing can undo.
    Final,
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The record: `payload` with `action` and `data`, and `metadata`; whatever else an envelope
    /// has is filled in if it is not there.
    file: PathBuf,
    /// The sender's key, which `bizra-p2p keygen --kind sender` makes; of a validator (`--agent-type
    /// SAT`) its consensus key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signed envelope; the file must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Who signs, if the record does not say.
    #[arg(long, default_value = "bizra")]
    agent_id: String,
    /// Its role, if the record does not say.
    #[arg(long, default_value = "PAT", value_parser = ["PAT", "SAT"])]
    agent_type: String,
    /// The policy it obeys, if the record does not say: 64 hex digits.
    #[arg(long, value_name = "HEX")]
    policy_hash: Option<String>,
    /// Ask this node for the policy in force instead; zeros if neither is given.
    #[arg(long, value_name = "URL", conflicts_with = "policy_hash")]
    endpoint: Option<Endpoint>,
    /// Commit to these bytes as the input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Commit to these bytes as the output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Commit to these bytes as the reasons.
    #[arg(long, value_name = "FILE")]
    rationale: Option<PathBuf>,
    /// Where to write the salts, which are secret; OUT with `.opening.json` behind if absent.
    #[arg(long, value_name = "FILE")]
    opening: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Open {
    /// The signed envelope.
    record: PathBuf,
    /// The opening that `record sign` wrote.
    #[arg(long, value_name = "FILE")]
    opening: PathBuf,
    /// The input, if it lies elsewhere now.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The output, if it lies elsewhere now.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The reasons, if they lie elsewhere now.
    #[arg(long, value_name = "FILE")]
    rationale: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn submit(arguments: &Submit) -> Result<Answer> {
    let client = client()?;
    let mut answer = Answer::True;
    for file in &arguments.files {
        for (number, text) in texts(&read_text(file)?) {
            let (status, body) =
                hand_in(&client, &arguments.endpoint, text.to_owned(), arguments.wait).await?;
            if !has_come_so_far(status, &body, arguments.wait) {
                answer = Answer::False;
            }
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            if arguments.json {
                let place = file.display().to_string();
                let facts = json!({
                    "file": place, "line": number, "http_status": status.as_u16(), "answer": told,
                });
                line(&facts.to_string())?;
                continue;
            }
            let word = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            let place = format!("{}:{number}", file.display());
            if status.is_success() {
                line(&format!("{} {} ({place})", word("digest"), word("status")))?;
            } else {
                line(&format!("{place}: {}", refusal(status, &body)))?;
            }
        }
    }
    Ok(answer)
}

/// Submits one signed record, and waits as long as is asked for.
pub(crate) async fn hand_in(
    client: &Client,
    endpoint: &Endpoint,
    record: impl Into<reqwest::Body>,
    wait: Wait,
) -> Result<(StatusCode, Vec<u8>)> {
    let wait = match wait {
        Wait::Accepted => "accepted",
        Wait::Ordered => "ordered",
        Wait::Final => "final",
    };
    let request = client
        .post(endpoint.url(&format!("/v1/records?wait={wait}")))
        .header("Content-Type", "application/json")
        .body(record)
        .timeout(Duration::from_secs(120));
    send(request).await
}

/// Whether an answer to a submission says what was asked for. Under `wait=final`
/// a node without a quorum answers 202: the record is safe, and not final.
pub(crate) fn has_come_so_far(status: StatusCode, body: &[u8], wait: Wait) -> bool {
    if wait == Wait::Accepted {
        return status.is_success();
    }
    let told: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let reached = told["status"].as_str();
    status == StatusCode::OK
        && (reached == Some("final") || (wait == Wait::Ordered && reached == Some("ordered")))
}

/// The records of a text with the lines they begin on: the whole of it if it is
/// one JSON text, else its lines.
fn texts(text: &str) -> Vec<(usize, &str)> {
    if parse(text.as_bytes(), Limits::ENVELOPE).is_ok() {
        return vec![(1, text)];
    }
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(at, line)| (at + 1, line)).collect()
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(TEXT_BYTES_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("{}: cannot read", path.display()))?;
    Ok(text)
}

pub(crate) async fn sign(arguments: &Sign) -> Result<Answer> {
    let text = read_text(&arguments.file)?;
    let place = || arguments.file.display().to_string();
    let value = parse(text.trim().as_bytes(), Limits::ENVELOPE).with_context(place)?;
    let Value::Object(mut record) = value else {
        bail!("{}: a record is a JSON object", place());
    };
    let policy_hash = match (&arguments.policy_hash, &arguments.endpoint) {
        (Some(hash), _) => hash.clone(),
        (None, Some(endpoint)) => {
            policy_in_force(&client()?, std::slice::from_ref(endpoint)).await?
        }
        (None, None) => "0".repeat(64),
    };
    let mut opened = Vec::new();
    let sources = [&arguments.input, &arguments.output, &arguments.rationale];
    for ((member, name), source) in COMMITMENTS.into_iter().zip(sources) {
        let Some(source) = source else { continue };
        let bytes = fs::read(source).with_context(|| source.display().to_string())?;
        let salt = random::<32>();
        let commitment = commitment(&salt, &bytes);
        commit(&mut record, member, &commitment)?;
        let file = source.canonicalize().with_context(|| source.display().to_string())?;
        let file = file.to_str().with_context(|| format!("{}: not UTF-8", file.display()))?;
        let opening = object([
            ("salt", hex(&salt).as_str().into()),
            ("commitment", hex(&commitment).as_str().into()),
            ("file", file.into()),
        ]);
        opened.push((name.to_owned(), opening));
    }
    let sender = Sender {
        key: SigningKey::load(&arguments.key)?,
        agent_type: arguments.agent_type.clone(),
        agent_id: arguments.agent_id.clone(),
        policy_hash,
    };
    let signed = sender.sign(record).with_context(place)?;
    let digest = signed.digest.to_string();
    let opening_file = (!opened.is_empty()).then(|| {
        arguments.opening.clone().unwrap_or_else(|| {
            let mut name = arguments.out.clone().into_os_string();
            name.push(".opening.json");
            name.into()
        })
    });
    if let Some(path) = &opening_file {
        // First: a commitment whose salt is lost can never be opened.
        opened.push(("digest".to_owned(), digest.as_str().into()));
        let opening = Members::new(opened).expect("the names differ");
        write_new_file(path, 0o600, &canonical(&Value::Object(opening)))?;
    }
    write_new_file(&arguments.out, 0o644, &signed.bytes)?;
    let opening_file = opening_file.map(|path| path.display().to_string());
    let facts = json!({
        "digest": digest,
        "file": arguments.out.display().to_string(),
        "opening": opening_file,
    });
    let mut text = format!("{digest}\nsigned: {}", arguments.out.display());
    if let Some(path) = &opening_file {
        text.push_str(&format!("\nopening, keep it secret: {path}"));
    }
    print(arguments.json, &facts, &text)?;
    Ok(Answer::True)
}

/// Puts a commitment into `payload.data`.
fn commit(record: &mut Members, member: &str, commitment: &[u8; 32]) -> Result<()> {
    let Some(Value::Object(payload)) = record.get("payload") else {
        bail!("the record has no object `payload`");
    };
    let Some(Value::Object(data)) = payload.get("data") else {
        bail!("the record has no object `payload.data`");
    };
    if data.get(member).is_some() {
        return Err(WrongUse(format!(
            "payload.data.{member} is there already: take it out, or leave the flag out"
        ))
        .into());
    }
    let (mut payload, mut data) = (payload.clone(), data.clone());
    data.insert(member, hex(commitment).as_str().into());
    payload.insert("data", Value::Object(data));
    record.insert("payload", Value::Object(payload));
    Ok(())
}

/// BLAKE3 of the bytes, keyed by the salt.
fn commitment(salt: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(salt, bytes).as_bytes()
}

/// One line of an opening.
#[derive(Debug, PartialEq, Eq)]
struct Opening {
    salt: [u8; 32],
    commitment: [u8; 32],
    file: PathBuf,
}

pub(crate) fn open(arguments: &Open) -> Result<Answer> {
    let record = read_text(&arguments.record)?;
    let (envelope, bytes) = Envelope::parse(record.trim().as_bytes())
        .with_context(|| arguments.record.display().to_string())?;
    let opening = read_text(&arguments.opening)?;
    let opening = Document::parse(opening.trim().as_bytes(), Limits::ENVELOPE)
        .with_context(|| arguments.opening.display().to_string())?;
    let (digest, openings) =
        read_opening(&opening).with_context(|| arguments.opening.display().to_string())?;

    let mut faults = Vec::new();
    let mut opened = Vec::new();
    if digest != envelope.digest.to_string() {
        faults.push(format!("the opening is of record {digest}, not of {}", envelope.digest));
    }
    if !envelope.signature_check().is_good() {
        faults.push("the signature of the record is not good".to_owned());
    }
    let value = parse(&bytes, Limits::ENVELOPE).expect("canonical bytes are JSON");
    let elsewhere = [&arguments.input, &arguments.output, &arguments.rationale];
    for (((member, name), opening), elsewhere) in
        COMMITMENTS.into_iter().zip(openings).zip(elsewhere)
    {
        let Some(opening) = opening else { continue };
        let file = elsewhere.as_ref().unwrap_or(&opening.file);
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        let claimed = data_member(&value, member);
        if claimed != Some(hex(&opening.commitment).as_str()) {
            faults.push(format!("the record does not hold the opening's {member}"));
        } else if commitment(&opening.salt, &bytes) == opening.commitment {
            opened.push(name);
        } else {
            let size = bytes.len();
            faults.push(format!(
                "{}: its {size} bytes are not the {name} that the record commits to",
                file.display()
            ));
        }
    }
    if opened.is_empty() && faults.is_empty() {
        faults.push("the opening opens nothing".to_owned());
    }
    let facts = json!({
        "opens": faults.is_empty(),
        "digest": envelope.digest.to_string(),
        "opened": opened,
        "problems": faults,
    });
    let text = if faults.is_empty() {
        format!("record {} commits to this {}", envelope.digest, opened.join(", and to this "))
    } else {
        faults.join("\n")
    };
    print(arguments.json, &facts, &text)?;
    Ok(Answer::of(faults.is_empty()))
}

fn data_member<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    let mut value = record;
    for step in ["payload", "data", name] {
        let Value::Object(members) = value else { return None };
        value = members.get(step)?;
    }
    let Value::String(text) = value else { return None };
    Some(text)
}

fn read_opening(opening: &Document<'_>) -> Result<(String, [Option<Opening>; 3]), SchemaError> {
    let mut document = opening.object()?;
    let digest = document.take("digest")?;
    let digest = hex(&digest.hex::<32>()?);
    let mut read = |name| take_opening(&mut document, name);
    let openings = [read("input")?, read("output")?, read("rationale")?];
    document.finish()?;
    Ok((digest, openings))
}

fn take_opening<'a>(
    document: &mut Object<'a>,
    name: &'a str,
) -> Result<Option<Opening>, SchemaError> {
    let Some(member) = document.take_optional(name) else { return Ok(None) };
    let mut member = member.object()?;
    let read_hash = |member: Member<'_>| {
        hex_array(member.string()?).ok_or_else(|| member.error("must be 64 lower-case hex digits"))
    };
    let opening = Opening {
        salt: read_hash(member.take("salt")?)?,
        commitment: read_hash(member.take("commitment")?)?,
        file: member.take("file")?.text(4096)?.into(),
    };
    member.finish()?;
    Ok(Some(opening))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_keys::SenderKey;
    use std::os::unix::fs::PermissionsExt as _;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let bench = Self(tempfile::tempdir().expect("a folder"));
            SenderKey::generate().write_new(bench.path("key")).expect("written");
            let Value::Object(mut record) = super::super::load::inference() else {
                panic!("a record is an object");
            };
            let Some(Value::Object(payload)) = record.get("payload") else { panic!("no payload") };
            let mut payload = payload.clone();
            let Some(Value::Object(data)) = payload.get("data") else { panic!("no data") };
            let mut data = data.clone();
            data.remove("input_commitment");
            payload.insert("data", Value::Object(data));
            record.insert("payload", Value::Object(payload));
            bench.write("record", &canonical(&Value::Object(record)));
            bench.write("input", b"What is the capital of France?");
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).expect("written");
        }

        fn sign(&self) -> Sign {
            Sign {
                file: self.path("record"),
                key: self.path("key"),
                out: self.path("signed"),
                agent_id: "unit".to_owned(),
                agent_type: "PAT".to_owned(),
                policy_hash: None,
                endpoint: None,
                input: Some(self.path("input")),
                output: None,
                rationale: None,
                opening: None,
                json: false,
            }
        }

        fn open(&self) -> Open {
            Open {
                record: self.path("signed"),
                opening: self.path("signed.opening.json"),
                input: None,
                output: None,
                rationale: None,
                json: false,
            }
        }
    }

    #[tokio::test]
    async fn what_was_signed_opens_and_nothing_else_does() {
        let bench = Bench::new();
        assert_eq!(sign(&bench.sign()).await.expect("signed"), Answer::True);
        let text = fs::read(bench.path("signed")).expect("readable");
        let envelope = Envelope::parse_canonical(&text).expect("canonical");
        assert!(envelope.signature_check().is_good());
        let mode = fs::metadata(bench.path("signed.opening.json")).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(open(&bench.open()).expect("judged"), Answer::True);

        bench.write("other", b"What is the capital of Spain?");
        let elsewhere = Open { input: Some(bench.path("other")), ..bench.open() };
        assert_eq!(open(&elsewhere).expect("judged"), Answer::False);

        let again = Sign { out: bench.path("second"), ..bench.sign() };
        sign(&again).await.expect("signed");
        let crossed = Open { record: bench.path("second"), ..bench.open() };
        assert_eq!(open(&crossed).expect("judged"), Answer::False);
    }

    #[tokio::test]
    async fn a_commitment_that_is_there_is_not_replaced() {
        let bench = Bench::new();
        let arguments = Sign { output: Some(bench.path("input")), ..bench.sign() };
        let error = sign(&arguments).await.expect_err("there already");
        assert!(error.is::<WrongUse>(), "{error}");
        assert!(!bench.path("signed").exists());
    }

    #[test]
    fn records_come_whole_or_by_line() {
        assert_eq!(texts("{\n\"a\":1}\n"), [(1, "{\n\"a\":1}\n")]);
        assert_eq!(texts("{\"a\":1}\n\n {\"b\":2}\n"), [(1, "{\"a\":1}"), (3, "{\"b\":2}")]);
    }

    #[test]
    fn an_answer_is_as_true_as_was_asked() {
        for (status, body, wait, truth) in [
            (202, r#"{"status":"accepted"}"#, Wait::Accepted, true),
            (202, r#"{"status":"queued_locally"}"#, Wait::Accepted, true),
            (202, r#"{"status":"queued_locally"}"#, Wait::Final, false),
            (200, r#"{"status":"final"}"#, Wait::Final, true),
            (200, r#"{"status":"final"}"#, Wait::Ordered, true),
            (200, r#"{"status":"ordered"}"#, Wait::Ordered, true),
            (200, r#"{"status":"ordered"}"#, Wait::Final, false),
            (504, r#"{"status":"ordered"}"#, Wait::Final, false),
            (422, r#"{"code":1}"#, Wait::Accepted, false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(has_come_so_far(status, body.as_bytes(), wait), truth, "{body} {wait:?}");
        }
    }
}
