//! `proof get`, `proof verify` and `proof compare`.

use super::http::{DEFAULT_ENDPOINT, Endpoint, client, refusal, send};
use super::output::{Answer, line, print};
use anyhow::{Context as _, Result, bail};
use bizra_ledger::forms::Uuid;
use bizra_ledger::plain::Family;
use bizra_ledger::session::SessionKey;
use bizra_light_client::{Client, Comparison, FinalityProof, ProofError, StateProof};
use bizra_types::block::Header;
use bizra_types::certificate::Certificate;
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::{Decode, Encode as _};
use bizra_types::hash::{RecordDigest, hex, hex_array, unhex};
use bizra_types::numbers::{Era, View};
use clap::Args;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Get {
    /// The record, as 64 hex digits.
    #[arg(value_parser = parse_digest)]
    digest: RecordDigest,
    #[command(flatten)]
    to: Destination,
}

#[derive(Args)]
pub(crate) struct State {
    /// `FAMILY:KEY`, with the key in hex, or its name for `parameter`.
    key: String,
    #[command(flatten)]
    to: Destination,
}

#[derive(Args)]
pub(crate) struct Session {
    /// The session.
    #[arg(value_parser = parse_session)]
    session_id: Uuid,
    /// The identity that it belongs to, by its first key.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    owner: PublicKey,
    #[command(flatten)]
    to: Destination,
}

/// Whom to ask for a proof, and where it goes.
#[derive(Args)]
struct Destination {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// Where to write the compact form (CBOR); JSON goes to standard output if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write JSON, also to a file.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The proof, in either form.
    file: PathBuf,
    /// The chain's genesis file: all that is trusted.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Compare {
    /// A proof, in either form.
    one: PathBuf,
    /// Another.
    other: PathBuf,
    /// The chain's genesis file.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Answers of validators to `GET /v1/certificates?era=&from=&to=`.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    certificates: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn get(arguments: &Get) -> Result<Answer> {
    deliver(&arguments.to, &record_path(&arguments.digest)).await
}

pub(crate) async fn state(arguments: &State) -> Result<Answer> {
    deliver(&arguments.to, &format!("/v1/state/{}", arguments.key)).await
}

/// The state has the entry of a closed session only: how many records it had, and its last one.
pub(crate) async fn session(arguments: &Session) -> Result<Answer> {
    let Session { session_id, owner, to } = arguments;
    let key = SessionKey { owner: *owner, session_id: *session_id };
    let family = Family::ClosedSession.name();
    deliver(to, &format!("/v1/state/{family}:{}", hex(&key.to_bytes()))).await
}

async fn deliver(to: &Destination, path: &str) -> Result<Answer> {
    let proof = fetch(&to.endpoint, path, to.json || to.out.is_none()).await?;
    match &to.out {
        Some(path) => {
            write(path, &proof)?;
            line(&format!("{}: {} bytes", path.display(), proof.len()))?;
        }
        None => line(&String::from_utf8(proof).context("the proof is not UTF-8")?)?,
    }
    Ok(Answer::True)
}

/// Where a node serves the finality proof of a record.
pub(crate) fn record_path(digest: &RecordDigest) -> String {
    format!("/v1/records/{digest}/proof")
}

/// Fetches a proof from its path, as JSON or in its compact form.
pub(crate) async fn fetch(endpoint: &Endpoint, path: &str, as_json: bool) -> Result<Vec<u8>> {
    let url = endpoint.url(path);
    let accept = if as_json { "application/json" } else { "application/cbor" };
    let request = client()?.get(&url).header("Accept", accept).timeout(Duration::from_secs(30));
    match send(request).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, body) => bail!("{url}: {}", refusal(status, &body)),
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// Reads what `GET /v1/certificates` answered.
fn read_certificates(answer: &[u8]) -> Result<(Vec<Certificate>, Vec<Header>)> {
    let answer: Value = serde_json::from_slice(answer)?;
    Ok((read_list(&answer, "certificates")?, read_list(&answer, "headers")?))
}

fn read_list<T: Decode>(answer: &Value, name: &str) -> Result<Vec<T>> {
    let list = answer[name].as_array().with_context(|| format!("no list of {name}"))?;
    let read = |value: &Value| {
        let bytes = value.as_str().and_then(unhex);
        let bytes = bytes.with_context(|| format!("{name}: something that is no hex"))?;
        T::from_bytes(&bytes).with_context(|| format!("{name}: something else"))
    };
    list.iter().map(read).collect()
}

/// What to ask validators for.
fn certificates_of(era: Era, from: View, to: View) -> String {
    format!(
        "/v1/certificates?era={era}&from={from}&to={to}, of at most 1000 views at a time, and \
         give the answers with --certificates"
    )
}

/// True when the proofs contradict each other and the guilty are named.
pub(crate) fn compare(arguments: &Compare) -> Result<Answer> {
    let client = Client::from_genesis(&read(&arguments.genesis)?)
        .with_context(|| arguments.genesis.display().to_string())?;
    let head = |path: &Path| {
        let proof =
            FinalityProof::from_either(&read(path)?).with_context(|| path.display().to_string())?;
        client.verify(&proof).with_context(|| format!("{} does not hold", path.display()))?;
        Ok::<_, anyhow::Error>(proof.head)
    };
    let (one, other) = (head(&arguments.one)?, head(&arguments.other)?);
    let (mut certificates, mut headers) = (Vec::new(), Vec::new());
    for path in &arguments.certificates {
        let read = read_certificates(&read(path)?);
        let (more, above) = read.with_context(|| path.display().to_string())?;
        certificates.extend(more);
        headers.extend(above);
    }
    let (facts, text, answer) = match client.compare(&one, &other, &certificates, &headers)? {
        Comparison::NoContradiction => (
            json!({ "contradiction": false }),
            "the proofs do not contradict each other".to_owned(),
            Answer::False,
        ),
        Comparison::HeadersNeeded { era, from, to } => (
            json!({
                "contradiction": null, "era": era.get(),
                "headers_needed": { "from_view": from.get(), "before_view": to.get() },
            }),
            format!(
                "whether the proofs contradict each other shows in the headers between their \
                 blocks: ask whoever has the higher one for {}",
                certificates_of(era, from, to)
            ),
            Answer::False,
        ),
        Comparison::CertificatesNeeded { era, from, to } => (
            json!({
                "contradiction": true, "guilty": [], "era": era.get(),
                "certificates_needed": { "from_view": from.get(), "before_view": to.get() },
            }),
            format!(
                "the proofs contradict each other; who lied shows in the certificates of era \
                 {era}, views {from} to before {to}: ask all validators for {}",
                certificates_of(era, from, to)
            ),
            Answer::False,
        ),
        Comparison::Guilty { era, committee, guilty } => {
            let members: Vec<_> = guilty
                .iter()
                .filter_map(|(index, offences)| Some((committee.get(*index)?, offences)))
                .map(|(member, offences)| {
                    (member, offences.iter().map(ToString::to_string).collect::<Vec<_>>())
                })
                .collect();
            let facts = json!({
                "contradiction": true,
                "era": era.get(),
                "guilty": members.iter().map(|(member, offences)| json!({
                    "name": member.name,
                    "consensus_key": member.consensus_key.to_string(),
                    "offences": offences,
                })).collect::<Vec<_>>(),
            });
            let lines: String = members
                .iter()
                .map(|(member, offences)| format!("\n{}: {}", member.name, offences.join("; ")))
                .collect();
            let text = format!("the proofs contradict each other; guilty in era {era}:{lines}");
            (facts, text, Answer::True)
        }
    };
    print(arguments.json, &facts, &text)?;
    Ok(answer)
}

pub(crate) fn verify(arguments: &Verify) -> Result<Answer> {
    let proof = read(&arguments.file)?;
    let client = Client::from_genesis(&read(&arguments.genesis)?)
        .with_context(|| arguments.genesis.display().to_string())?;
    if let Ok(proof) = StateProof::from_either(&proof) {
        return verify_state(&client, &proof, arguments.json);
    }
    match client.verify_bytes(&proof) {
        Ok(record) => {
            let facts = json!({
                "verified": true,
                "chain_id": client.chain_id().to_string(),
                "digest": record.digest.to_string(),
                "public_key": record.public_key.to_string(),
                "log_index": record.log_index.get(),
                "height": record.head.height.get(),
                "block_id": record.head.block.to_string(),
                "timestamp_ms": record.head.timestamp_ms.get(),
            });
            let text = format!(
                "verified: record {}\nis final, at index {} of the log of chain {}, by block {} \
                 at height {}\nsigned by {}",
                record.digest,
                record.log_index,
                client.chain_id(),
                record.head.block,
                record.head.height,
                record.public_key,
            );
            print(arguments.json, &facts, &text)?;
            Ok(Answer::True)
        }
        Err(error) => not_verified(&error, arguments.json),
    }
}

fn verify_state(client: &Client, proof: &StateProof, as_json: bool) -> Result<Answer> {
    let entry = match client.verify_state(proof) {
        Ok(entry) => entry,
        Err(error) => return not_verified(&error, as_json),
    };
    let family = Family::ALL.into_iter().find(|family| family.number() == entry.family);
    let name = family.map_or_else(|| entry.family.to_string(), Family::name);
    let key = match family {
        Some(Family::Parameter) => String::from_utf8_lossy(&entry.key).into_owned(),
        _ => hex(&entry.key),
    };
    let value = entry.value.as_deref().map(hex);
    let facts = json!({
        "verified": true,
        "chain_id": client.chain_id().to_string(),
        "key": format!("{name}:{key}"),
        "value": value,
        "height": entry.head.height.get(),
        "block_id": entry.head.block.to_string(),
        "timestamp_ms": entry.head.timestamp_ms.get(),
    });
    let text = format!(
        "verified: {name}:{key}\n{}\nafter block {} at height {} of chain {}",
        value.map_or_else(|| "has no entry".to_owned(), |value| format!("is {value}")),
        entry.head.block,
        entry.head.height,
        client.chain_id(),
    );
    print(as_json, &facts, &text)?;
    Ok(Answer::True)
}

fn not_verified(error: &ProofError, as_json: bool) -> Result<Answer> {
    let facts = json!({ "verified": false, "reason": error.to_string() });
    print(as_json, &facts, &format!("not verified: {error}"))?;
    Ok(Answer::False)
}

fn parse_session(text: &str) -> Result<Uuid, String> {
    Uuid::parse(text).ok_or_else(|| "a session is a UUID in lower case".to_owned())
}

pub(crate) fn parse_key(text: &str) -> Result<PublicKey, String> {
    let key = hex_array(text).map(PublicKey);
    key.ok_or_else(|| "a key is 64 lower-case hex digits".to_owned())
}

pub(crate) fn parse_digest(text: &str) -> Result<RecordDigest, String> {
    RecordDigest::from_hex(text).ok_or_else(|| "a digest is 64 lower-case hex digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::certificate::Qc;
    use bizra_types::hash::{BlockId, ChainId};
    use bizra_types::numbers::{ProtocolVersion, TimestampMs};

    #[test]
    fn what_is_no_proof_does_not_verify() {
        let folder = tempfile::tempdir().expect("a folder");
        let genesis = super::super::testnet::write(&super::super::testnet::Init {
            validators: 1,
            followers: 0,
            dir: folder.path().join("net"),
            base_port: 20_000,
            ip: [127, 0, 0, 1].into(),
            name: "unit".to_owned(),
            json: false,
        });
        genesis.expect("written");
        let verify_file = |bytes: &[u8]| {
            let file = folder.path().join("proof");
            write(&file, bytes).expect("written");
            let genesis = folder.path().join("net/genesis.json");
            verify(&Verify { file, genesis, json: true }).expect("judged")
        };
        assert_eq!(verify_file(b""), Answer::False);
        assert_eq!(verify_file(b"{}"), Answer::False);
        assert_eq!(verify_file(&[0x89, 1, 2, 3]), Answer::False);
    }

    #[test]
    fn certificates_are_read_from_what_the_api_answers() {
        let qc = Qc::root(Era::new(1), BlockId([7; 32]), 4);
        let certificate = Certificate::Qc(qc);
        let header = Header::genesis(ProtocolVersion::new(1), ChainId::ZERO, TimestampMs::new(5));
        let texts = [hex(&certificate.to_bytes()), hex(&header.to_bytes())];
        let read = |certificate: &str, header: &str| {
            let answer = json!({ "certificates": [certificate], "headers": [header] });
            read_certificates(answer.to_string().as_bytes())
        };
        let found = read(&texts[0], &texts[1]).expect("well-formed");
        assert_eq!(found, (vec![certificate], vec![header]));
        for text in &texts {
            for bad in [&text[1..], &text[..text.len() - 2], "", "zz"] {
                assert!(read(bad, &texts[1]).is_err(), "{bad}");
                assert!(read(&texts[0], bad).is_err(), "{bad}");
            }
        }
        assert!(read_certificates(b"{}").is_err());
        assert!(read_certificates(b"").is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_and_no_verdict() {
        let file = PathBuf::from("/nonexistent/proof");
        let genesis = PathBuf::from("/nonexistent/genesis.json");
        assert!(verify(&Verify { file, genesis, json: false }).is_err());
    }
}
