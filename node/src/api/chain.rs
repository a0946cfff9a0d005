//! What the chain is, and how far it is.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bizra_ledger::gates::TIMESTAMP_TOLERANCE_MS;
use bizra_ledger::log::LogError;
use bizra_ledger::plain::Family;
use bizra_ledger::policy::PolicyHash;
use bizra_types::block::Header;
use bizra_types::encoding::Encode as _;
use bizra_types::hash::{BlockId, ExecHash, hex, unhex};
use bizra_types::json::Limits as JsonLimits;
use bizra_types::numbers::{Era, Height, View};
use bizra_types::proof::state::STATE_KEY_BYTES_MAX;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::Api;
use super::error::Refusal;
use super::note;
use super::records::{accepts, answer, in_either_form, object, spliced};
use super::request::{Parameters, PathText, unsigned};
use crate::metrics::mode_name;
use crate::storage::Store;

/// Views of which one answer holds the certificates, at most.
const CERTIFICATE_VIEWS_MAX: u64 = 1_000;

/// Bytes of the chain in one answer, unless the first certified block takes more.
const EXPORT_BYTES: usize = 1024 * 1024;
/// Bytes of them that are handed to a connection at once.
const EXPORT_CHUNK_BYTES: usize = 64 * 1024;

/// What is read of a block at once.
type BlockPart = (Header, BlockId, ExecHash, Vec<Value>);

/// `GET /v1/params`: what a client needs to sign a record.
pub(crate) async fn params(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let genesis = &api.shared.genesis;
    let of_genesis = genesis.parameters;
    let parameters = api.read(move |store| store.parameters(&of_genesis)).await?;
    let parameters: Map<String, Value> =
        parameters.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let of_genesis = genesis.policies.iter().map(|it| (PolicyHash::of(&it.rego), it.name.clone()));
    let mut names: BTreeMap<_, _> = of_genesis.clone().collect();
    let governed = api.read(Store::governed_policies).await?;
    let policies: Vec<Value> = if governed.is_empty() {
        let listed = of_genesis.map(|(hash, name)| policy_json(hash, &name));
        listed.collect()
    } else {
        // The one to name first: clients take that.
        let listed = governed.into_iter().rev().map(|(policy, name)| {
            let name = name.or_else(|| names.remove(&policy.hash)).unwrap_or_default();
            let mut listed = policy_json(policy.hash, &name);
            if let Some(until) = policy.until {
                listed["until_ms"] = until.get().into();
            }
            listed
        });
        listed.collect()
    };
    let limits = &api.limits;
    Ok(Json(json!({
        "chain_id": genesis.chain_id().to_string(),
        "name": genesis.name,
        "protocol_version": genesis.protocol_version.get(),
        "era": api.era(),
        "policies": policies,
        "limits": {
            "record_bytes_max": limits.record_bytes_max,
            "json_depth_max": JsonLimits::ENVELOPE.depth_max,
            "timestamp_tolerance_ms": TIMESTAMP_TOLERANCE_MS,
            "batch_bytes_max": limits.batch_bytes_max,
            "batch_lines_max": limits.batch_lines_max,
            "wait_ms_max": u64::try_from(limits.wait_time.as_millis()).unwrap_or(u64::MAX),
        },
        "parameters": parameters,
    })))
}

fn policy_json(hash: PolicyHash, name: &str) -> Value {
    json!({ "name": name, "policy_hash": hash.to_string() })
}

/// `GET /v1/blocks/{height}`: a final block.
pub(crate) async fn block(
    State(api): State<Api>,
    path: PathText,
    uri: Uri,
) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let height = Height::new(unsigned("height", &path.0)?);
    if height == Height::ZERO {
        let header = api.shared.genesis.header();
        let exec = bizra_ledger::execution::genesis_exec();
        return Ok(answer(StatusCode::OK, block_json(&header, header.id(), exec, Vec::new())));
    }
    let read = api.read(move |store| {
        let (Some(block), Some(fields), Some(committed)) =
            (store.block_at(height)?, store.exec_at(height)?, store.committed_at(height)?)
        else {
            return Ok(None);
        };
        let records = super::events::records_json(&committed);
        Ok::<Option<BlockPart>, _>(Some((*block.header(), block.id(), fields.hash(), records)))
    });
    match read.await? {
        Some((header, id, exec, records)) => {
            Ok(answer(StatusCode::OK, block_json(&header, id, exec, records)))
        }
        None => Err(Refusal::not_found(format!(
            "block {height} is not final here; the head is at height {}",
            api.shared.store.head().height()
        ))),
    }
}

/// `GET /v1/status`: this node, for people and scripts.
pub(crate) async fn status(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let head = api.shared.store.head();
    let genesis = &api.shared.genesis;
    let status = api.shared.status.borrow().clone();
    let name = |index| status.committee.get(index).map(|validator| validator.name.clone());
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "chain_id": genesis.chain_id().to_string(),
        "chain": genesis.name,
        "validator": status.me.and_then(name),
        "mode": mode_name(status.mode),
        "height": head.height().get(),
        "block_id": head.root.header.id().to_string(),
        "exec": head.root.exec.to_string(),
        "timestamp_ms": head.root.header.timestamp_ms.get(),
        "log_size": head.fields.log_size,
        "era": api.era(),
        "view": status.view.get(),
        "leader": status.leader.and_then(name),
        "heard": status.heard.iter().copied().filter_map(name).collect::<Vec<_>>(),
        "validators": status.committee.size(),
        "quorum": status.committee.quorum(),
        "peers": status.peers,
        "lane_bytes": status.lane_bytes,
        "catching_up": status.catching_up,
        "diverged": status.diverged,
        "disk_unwritable": status.disk_unwritable,
        "waiting_for": status.waiting_for,
    })))
}

/// `GET /v1/committee`: the validators of the current era.
pub(crate) async fn committee(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    let committee = Arc::clone(&api.shared.status.borrow().committee);
    let chain = api.shared.genesis.chain_id();
    let validators: Vec<Value> = committee
        .iter()
        .map(|(index, validator)| {
            json!({
                "index": index.get(),
                "name": validator.name,
                "peer_id": validator.peer_id,
                "consensus_key": validator.consensus_key.to_string(),
                "vrf_key": hex(&validator.vrf_key),
                "kem_key": hex(&validator.kem_key),
                "note_key": note::verifier_key(&chain, &validator.consensus_key),
            })
        })
        .collect();
    Ok(Json(json!({
        "era": api.era(),
        "hash": committee.hash().to_string(),
        "quorum": committee.quorum(),
        "validators": validators,
    })))
}

/// `GET /v1/certificates?era=&from=&to=`: the certificates kept here of the
/// era's views from `from` to before `to`, the QCs of these views in final blocks
/// and those in other blocks of these views and of `to`; and the headers of all
/// these blocks, and of the final one before. Each is the hex of its binary form.
pub(crate) async fn certificates(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    let parameters = Parameters::read(&uri, &["era", "from", "to"])?;
    certificates_of(&api, &parameters).await
}

/// Finds the certificates that [`certificates`] is asked for.
pub(crate) async fn certificates_of(
    api: &Api,
    parameters: &Parameters,
) -> Result<Json<Value>, Refusal> {
    let names = ["era", "from", "to"];
    let mut values = [0; 3];
    for (name, value) in names.into_iter().zip(&mut values) {
        let Some(given) = parameters.unsigned(name)? else {
            let detail = format!("`{name}` is missing: give an era and a range of its views");
            return Err(Refusal::bad_request("BAD_QUERY", detail));
        };
        *value = given;
    }
    let [era, from, to] = values;
    if to.checked_sub(from).is_none_or(|views| views > CERTIFICATE_VIEWS_MAX) {
        let detail = format!(
            "`to` is {to}, where {from} to {} are expected",
            from.saturating_add(CERTIFICATE_VIEWS_MAX)
        );
        return Err(Refusal::bad_request("BAD_NUMBER", detail));
    }
    let read = api.read(move |store| {
        store.certificates_of_views(Era::new(era), View::new(from), View::new(to))
    });
    let (certificates, headers) = read.await?;
    let certificates: Vec<String> = certificates.iter().map(|it| hex(&it.to_bytes())).collect();
    let headers: Vec<String> = headers.iter().map(|it| hex(&it.to_bytes())).collect();
    Ok(Json(json!({
        "era": era, "from": from, "to": to, "certificates": certificates, "headers": headers,
    })))
}

/// `GET /v1/chain?above=&to=`: final blocks from after height `above` on, with
/// their batches and what makes them final, as the frames of an export: some of
/// them, and none beyond the first certified block from `to` on. The next
/// question goes on after the last block of this answer.
pub(crate) async fn chain(State(api): State<Api>, uri: Uri) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&uri, &["above", "to"])?;
    let chunks = frames(&api, &parameters).await?.map(Ok::<Bytes, Infallible>);
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((content_type, Body::from_stream(chunks)).into_response())
}

/// Reads the frames that [`chain`] is asked for, and hands them over in chunks.
pub(crate) async fn frames(
    api: &Api,
    parameters: &Parameters,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Refusal> {
    let Some(above) = parameters.unsigned("above")?.map(Height::new) else {
        let detail = "`above` is missing: give the last height that you have, at first 0";
        return Err(Refusal::bad_request("BAD_QUERY", detail));
    };
    let to = parameters.unsigned("to")?.map_or(Height::MAX, Height::new);
    if to <= above {
        let detail = format!("`to` is {to}, where a height above {above} is expected");
        return Err(Refusal::bad_request("BAD_NUMBER", detail));
    }
    let Ok(permit) = Arc::clone(&api.exports).try_acquire_owned() else {
        let detail = "too many parts of the chain are being read; try again";
        return Err(Refusal::unavailable("OVERLOADED", detail));
    };
    let read = api.read(move |store| {
        let mut bytes = Vec::new();
        for frame in store.exported(above, to, EXPORT_BYTES)? {
            frame.write_to(&mut bytes);
        }
        Ok(Bytes::from(bytes))
    });
    let frames = read.await?;
    if frames.is_empty() {
        let head = api.shared.store.head().height();
        let detail = format!("nothing above {above} is final here; the head is at height {head}");
        return Err(Refusal::not_found(detail));
    }
    // The place is free once all is written, not before.
    Ok(stream::unfold((frames, permit), |(mut rest, permit)| async move {
        let chunk = rest.split_to(rest.len().min(EXPORT_CHUNK_BYTES));
        (!chunk.is_empty()).then_some((chunk, (rest, permit)))
    }))
}

/// `GET /v1/state/{key}`: what the state has for a key after the last final
/// block, or that it has nothing, with the proof, JSON or CBOR.
pub(crate) async fn state(
    State(api): State<Api>,
    path: PathText,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let (family, key) = state_key(&path.0)?;
    match api.read(move |store| store.state_proof(family, &key)).await? {
        Some(proof) => in_either_form(&api, &headers, || proof.to_cbor(), || proof.to_json()),
        None => Err(nothing_final()),
    }
}

/// Reads `FAMILY:KEY`, where the key is in hex, but of a parameter its name.
fn state_key(text: &str) -> Result<(Family, Vec<u8>), Refusal> {
    let in_tree = || Family::ALL.into_iter().filter(|family| family.is_in_tree());
    let bad = || {
        let names: Vec<_> = in_tree().map(Family::name).collect();
        let detail = format!(
            "{text:?} is no key of the state: `FAMILY:KEY` is expected, with the key in hex, or \
             its name for `parameter`, and FAMILY one of {}",
            names.join(", ")
        );
        Refusal::bad_request("BAD_KEY", detail)
    };
    let (name, key) = text.split_once(':').ok_or_else(bad)?;
    let family = in_tree().find(|family| family.name() == name).ok_or_else(bad)?;
    let key = match family {
        Family::Parameter => Some(key.as_bytes().to_vec()),
        _ => unhex(key),
    };
    let key = key.filter(|key| key.len() <= STATE_KEY_BYTES_MAX).ok_or_else(bad)?;
    Ok((family, key))
}

fn nothing_final() -> Refusal {
    let detail = "nothing but the genesis block is final here yet; ask again";
    Refusal::not_found(detail).retry_after(1)
}

/// `GET /v1/log/checkpoint`: the newest certified head of the log, with the
/// proof that its block is final, and as a note that this validator signed. To
/// whoever accepts `text/plain` the note alone.
pub(crate) async fn checkpoint(
    State(api): State<Api>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let read = api.read(move |store| {
        let height = store.head().height();
        store.final_head(height)
    });
    let Some(head) = read.await? else { return Err(nothing_final()) };
    let (size, root) = (head.exec.log_size, head.exec.log_root);
    let is_signing =
        api.shared.own_key() == Some(api.note_key.public()) && !api.shared.status.borrow().diverged;
    let chain = api.shared.genesis.chain_id();
    let note = is_signing.then(|| note::signed(&chain, size, root, &api.note_key));
    if accepts(&headers, "text/plain") {
        return note.map(IntoResponse::into_response).ok_or_else(|| {
            let detail = "this node signs no heads of the log; ask a validator, or take the JSON";
            Refusal::unavailable("NOT_A_VALIDATOR", detail)
        });
    }
    let proof = head.to_json().map_err(|error| api.failure("proof_form", &error))?;
    let mut body = object(json!({
        "log_size": size,
        "log_root": root.to_string(),
        "height": head.header.height.get(),
        "block_id": head.header.id().to_string(),
        "timestamp_ms": head.header.timestamp_ms.get(),
    }));
    if let Some(note) = note {
        body.insert("note".to_owned(), json!(note));
    }
    Ok(spliced(StatusCode::OK, body, "final_head", &proof))
}

/// `GET /v1/log/consistency?from=&to=`: the RFC 9162 proof that the log of `to`
/// records continues the one of `from`. Without `to` it is the log of the head.
pub(crate) async fn consistency(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, Refusal> {
    let parameters = Parameters::read(&uri, &["from", "to"])?;
    consistency_of(&api, &parameters).await
}

/// Makes the proof that [`consistency`] is asked for.
pub(crate) async fn consistency_of(
    api: &Api,
    parameters: &Parameters,
) -> Result<Json<Value>, Refusal> {
    let Some(from) = parameters.unsigned("from")? else {
        let detail = "`from` is missing: give the size of the older log";
        return Err(Refusal::bad_request("BAD_QUERY", detail));
    };
    let to = parameters.unsigned("to")?.unwrap_or(api.shared.store.head().fields.log_size);
    match api.read(move |store| Ok(store.consistency(from, to))).await? {
        Ok(proof) => {
            let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
            Ok(Json(json!({ "from": from, "to": to, "proof": proof })))
        }
        Err(LogError::Storage(error)) => Err(api.failure("storage_read", &error)),
        Err(LogError::NotInLog { size, .. }) => Err(Refusal::not_found(format!(
            "the log has {size} records here, fewer than {to}; ask for a smaller `to`"
        ))),
        Err(error @ LogError::Shrinks { .. }) => {
            let detail = format!("{error}; `from` must be at most `to`");
            Err(Refusal::bad_request("BAD_QUERY", detail))
        }
    }
}

fn block_json(
    header: &Header,
    id: BlockId,
    exec: ExecHash,
    records: Vec<Value>,
) -> Map<String, Value> {
    object(json!({
        "height": header.height.get(),
        "block_id": id.to_string(),
        "era": header.era.get(),
        "view": header.view.get(),
        "parent": header.parent.to_string(),
        "timestamp_ms": header.timestamp_ms.get(),
        "proposer": header.proposer.get(),
        "records": records,
        "exec": exec.to_string(),
    }))
}
