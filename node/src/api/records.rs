//! Records in, records out.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bizra_ledger::forms::Uuid;
use bizra_types::batch::SignedTicket;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{RecordDigest, hex, hex_array};
use bizra_types::numbers::{Height, LogIndex, TimestampMs};
use bizra_types::proof::FormError;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Api;
use super::admission::{Busy, Decision};
use super::error::Refusal;
use super::pending::{Progress, Seat};
use super::receipt;
use super::request::{Parameters, PathText, check_type, read_body};
use crate::shared::{Mode, NotAccepted};
use crate::storage::{IndexKey, StoredRecord};

/// Records of one page of a search, if the client does not say.
const PAGE_DEFAULT: u64 = 50;
/// Records of one page of a search at most.
const PAGE_MAX: u64 = 1_000;

/// How far a submitter waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until it is on this node's disk.
    Accepted,
    /// Until it is in a block with a QC.
    Ordered,
    /// Until nothing can undo it.
    Final,
}

/// `POST /v1/records`: submits one envelope.
///
/// A `202` or `200` comes only after the record is synced to this node's disk.
/// Idempotent by the record's digest, also in the same moment.
pub(crate) async fn submit(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let wait = read_wait(&parts.uri)?;
    check_type(&parts.headers, &["application/json"])?;
    let limits = &api.limits;
    let (size_max, time) = (limits.record_bytes_max, limits.body_time);
    let body = read_body(&parts.headers, body, size_max, time, &api.bodies).await?;
    submit_envelope(&api, body.bytes, wait).await
}

/// Submits one envelope that was read to its end.
pub(crate) async fn submit_envelope(
    api: &Api,
    envelope: Bytes,
    wait: Wait,
) -> Result<Response, Refusal> {
    let seat = match wait {
        Wait::Accepted => None,
        Wait::Ordered | Wait::Final => Some(api.pending.seat().map_err(|_| {
            Refusal::lane_full("too many clients wait already; submit with wait=accepted instead")
        })?),
    };
    let arrived = Instant::now();
    let deadline = arrived + api.limits.wait_time;
    match api.admission.decide(envelope).await {
        Ok(Decision::Submitted(digest, progress)) => {
            let ticket = accepted(progress, deadline).await?;
            match seat {
                None => Ok(accepted_answer(api, digest, ticket.as_ref())),
                Some(seat) => settled(api, seat, digest, ticket, wait, arrived, deadline).await,
            }
        }
        Ok(Decision::Known(digest, record)) => match wait {
            Wait::Accepted => {
                let mut body = known(&digest, &record);
                body.remove("code");
                body.remove("name");
                Ok(answer(StatusCode::ACCEPTED, body))
            }
            Wait::Ordered | Wait::Final => receipt::answer(api, digest, None, None).await,
        },
        Ok(Decision::Rejected(rejection)) => Err(Refusal::rejected(&rejection)),
        Ok(Decision::Failed(error)) => Err(api.storage_failure(&error)),
        Err(Busy) => Err(Refusal::lane_full("too many records wait for admission; try again")),
    }
}

/// `POST /v1/records:batch`: submits the envelopes of an NDJSON text, in its
/// order. The answer has one JSON line for each line that is not blank, and
/// tells of each what [`submit`] would.
pub(crate) async fn submit_batch(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    Parameters::read(&parts.uri, &[])?;
    check_type(&parts.headers, &["application/x-ndjson", "application/ndjson"])?;
    let limits = &api.limits;
    let (size_max, time) = (limits.batch_bytes_max, limits.body_time);
    let body = read_body(&parts.headers, body, size_max, time, &api.bodies).await?;
    let mut out = Vec::new();
    for (number, result) in submit_lines(&api, &body.bytes).await? {
        let mut body = result.unwrap_or_else(|refusal| object(refusal.body()));
        body.insert("line".to_owned(), json!(number));
        out.extend_from_slice(Value::Object(body).to_string().as_bytes());
        out.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], out).into_response())
}

/// Submits the envelopes of an NDJSON text, and tells of each line what became of it.
pub(crate) async fn submit_lines(
    api: &Api,
    text: &Bytes,
) -> Result<Vec<(usize, Result<Map<String, Value>, Refusal>)>, Refusal> {
    let lines: Vec<(usize, Bytes)> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| (at + 1, text.slice_ref(line)))
        .collect();
    let limits = &api.limits;
    if lines.len() > limits.batch_lines_max {
        let detail = format!(
            "the batch has {} lines, where at most {} are allowed; split it",
            lines.len(),
            limits.batch_lines_max
        );
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_LINES", detail));
    }
    let deadline = Instant::now() + limits.wait_time;
    let mut decisions = Vec::with_capacity(lines.len());
    for (number, line) in lines {
        decisions.push((number, api.admission.enqueue(line).await));
    }
    let mut results = Vec::with_capacity(decisions.len());
    for (number, decision) in decisions {
        let decision = decision.await.map_err(|_| Busy);
        results.push((number, batch_line(api, decision, deadline).await));
    }
    Ok(results)
}

/// `GET /v1/records/{digest}`: a record and how far it has come.
pub(crate) async fn get(
    State(api): State<Api>,
    path: PathText,
    uri: Uri,
) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let digest = read_digest(&path)?;
    if let Some(pending) = api.pending.get(&digest) {
        let body = standing(&api, &digest, pending.ordered);
        return Ok(spliced(StatusCode::OK, body, "envelope", &pending.bytes));
    }
    let record = api.read(move |store| store.record(&digest)).await?;
    let record = record.ok_or_else(|| unknown(&digest))?;
    Ok(spliced(StatusCode::OK, known(&digest, &record), "envelope", &record.bytes))
}

/// `GET /v1/records/{digest}/proof`: the finality proof, JSON or CBOR.
pub(crate) async fn proof(
    State(api): State<Api>,
    path: PathText,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let digest = read_digest(&path)?;
    if let Some(proof) = api.read(move |store| store.finality_proof(&digest)).await? {
        return in_either_form(&api, &headers, || proof.to_cbor(), || proof.to_json());
    }
    if let Some(pending) = api.pending.get(&digest) {
        let detail = "the record is not final yet; ask again, or submit it with wait=final";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "NOT_FINAL", detail)
            .with("status", waiting(&api, pending.ordered))
            .retry_after(1));
    }
    match api.read(move |store| store.record(&digest)).await? {
        Some(record) => Err(Refusal::executed(&record.outcome)),
        None => Err(unknown(&digest)),
    }
}

/// A proof in the form that the client wants.
pub(crate) fn in_either_form<T: IntoResponse>(
    api: &Api,
    headers: &HeaderMap,
    to_cbor: impl FnOnce() -> Vec<u8>,
    to_json: impl FnOnce() -> Result<T, FormError>,
) -> Result<Response, Refusal> {
    if accepts(headers, "application/cbor") {
        let content_type = [(header::CONTENT_TYPE, "application/cbor")];
        return Ok((content_type, to_cbor()).into_response());
    }
    let json = to_json().map_err(|error| api.failure("proof_form", &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// `GET /v1/records`: records in the log, ascending, by at most one of
/// `session`, `sender` and `model`; of the blocks from `from_height` to before
/// `to_height`, and of those whose time lies from `from_ms` to before `to_ms`.
/// `after` is the last index of the page before, which that page tells as `next`.
pub(crate) async fn search(State(api): State<Api>, uri: Uri) -> Result<Response, Refusal> {
    let parameters = Parameters::read(
        &uri,
        &[
            "session",
            "sender",
            "model",
            "from_height",
            "to_height",
            "from_ms",
            "to_ms",
            "after",
            "limit",
        ],
    )?;
    found(&api, &parameters).await
}

/// Searches by what [`search`] takes.
pub(crate) async fn found(api: &Api, parameters: &Parameters) -> Result<Response, Refusal> {
    let key = index_key(parameters)?;
    let heights = range(parameters, "from_height", "to_height")?;
    let times = range(parameters, "from_ms", "to_ms")?;
    let after = parameters.unsigned("after")?;
    let limit = parameters.unsigned("limit")?.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("`limit` is {limit}, where 1 to {PAGE_MAX} is allowed");
        return Err(Refusal::bad_request("BAD_NUMBER", detail));
    }
    let limit = usize::try_from(limit).expect("checked to be small");
    let read = api.read(move |store| {
        let (mut start, mut end) = (LogIndex::ZERO, LogIndex::MAX);
        if let Some(after) = after {
            start = LogIndex::new(after.saturating_add(1));
        }
        let of_time = |time| store.first_height_from(TimestampMs::new(time));
        let first = [heights.0.map(Height::new), times.0.map(of_time).transpose()?];
        for height in first.into_iter().flatten() {
            start = start.max(store.first_index_from(height)?);
        }
        let over = [heights.1.map(Height::new), times.1.map(of_time).transpose()?];
        for height in over.into_iter().flatten() {
            end = end.min(store.first_index_from(height)?);
        }
        store.search(key, start..end, limit)
    });
    let found = read.await?;
    let next = (found.len() == limit).then(|| found.last().map(|(index, _)| index.get())).flatten();
    let records: Vec<Value> = found
        .iter()
        .map(|(index, digest)| json!({ "log_index": index.get(), "digest": digest.to_string() }))
        .collect();
    let mut body = object(json!({ "records": records }));
    if let Some(next) = next {
        body.insert("next".to_owned(), json!(next));
    }
    Ok(answer(StatusCode::OK, body))
}

/// The bounds of a range, each if it is given: from the first to before the second.
fn range(
    parameters: &Parameters,
    from: &str,
    to: &str,
) -> Result<(Option<u64>, Option<u64>), Refusal> {
    let bounds = (parameters.unsigned(from)?, parameters.unsigned(to)?);
    match bounds {
        (Some(first), Some(end)) if end < first => {
            let detail = format!("`{to}` is {end}, where at least {first}, `{from}`, is expected");
            Err(Refusal::bad_request("BAD_NUMBER", detail))
        }
        _ => Ok(bounds),
    }
}

/// The ticket, once the driver has answered.
async fn accepted(
    mut progress: watch::Receiver<Progress>,
    deadline: Instant,
) -> Result<Option<SignedTicket>, Refusal> {
    let answered = progress.wait_for(|progress| *progress != Progress::Submitted);
    let progress = match timeout_at(deadline, answered).await {
        Ok(Ok(progress)) => *progress,
        Ok(Err(_)) => Progress::Refused(NotAccepted::NotAValidator("it is stopping")),
        Err(_) => {
            let detail = "the record was not on disk in time; submit it again: the digest decides";
            return Err(Refusal::unavailable("NOT_ACCEPTED", detail));
        }
    };
    match progress {
        Progress::Accepted(ticket) => Ok(ticket),
        Progress::Refused(NotAccepted::LaneFull) => {
            let detail = "the lane of this validator is full; try again, or try another one";
            Err(Refusal::lane_full(detail))
        }
        Progress::Refused(reason @ NotAccepted::NotAValidator(_)) => {
            let detail = format!("{reason}; submit to a validator");
            Err(Refusal::unavailable("NOT_A_VALIDATOR", detail))
        }
        Progress::Refused(reason @ NotAccepted::DiskUnwritable) => {
            let detail = format!("{reason}; submit to another validator");
            Err(Refusal::unavailable("DISK_UNWRITABLE", detail))
        }
        Progress::Submitted => unreachable!("waited until it was not"),
    }
}

/// Waits until the record is ordered or final, and answers with that or the
/// receipt, the refusal, or how far it got.
async fn settled(
    api: &Api,
    seat: Seat,
    digest: RecordDigest,
    ticket: Option<SignedTicket>,
    wait: Wait,
    arrived: Instant,
    deadline: Instant,
) -> Result<Response, Refusal> {
    let mut shutdown = api.shutdown.clone();
    let is_settled = tokio::select! {
        () = api.pending.settled(&seat, &digest, wait == Wait::Ordered) => true,
        () = sleep_until(deadline) => false,
        _ = shutdown.wait_for(|ends| *ends) => false,
    };
    let ordered = api.pending.get(&digest).and_then(|pending| pending.ordered);
    if is_settled && ordered.is_some() && wait == Wait::Ordered {
        return Ok(answer(StatusCode::OK, with_ticket(api, digest, ordered, ticket.as_ref())));
    }
    if is_settled {
        let latency = arrived.elapsed();
        return receipt::answer(api, digest, ticket.as_ref(), Some(latency)).await;
    }
    if api.mode() != Mode::Federated {
        return Ok(accepted_answer(api, digest, ticket.as_ref()));
    }
    let wanted = if wait == Wait::Final { "final" } else { "ordered" };
    let detail = format!(
        "the record is accepted and was not {wanted} after {} ms; it keeps its place: ask for \
         /v1/records/{digest}",
        arrived.elapsed().as_millis()
    );
    let name = if wait == Wait::Final { "NOT_FINAL" } else { "NOT_ORDERED" };
    let mut refusal = Refusal::new(StatusCode::GATEWAY_TIMEOUT, name, detail)
        .with("digest", digest.to_string())
        .with("status", waiting(api, ordered));
    if let Some(ticket) = ticket {
        refusal = refusal.with("ticket", ticket_json(&ticket));
    }
    Err(refusal)
}

async fn batch_line(
    api: &Api,
    decision: Result<Decision, Busy>,
    deadline: Instant,
) -> Result<Map<String, Value>, Refusal> {
    match decision {
        Ok(Decision::Submitted(digest, progress)) => {
            let ticket = accepted(progress, deadline).await?;
            Ok(accepted_body(api, digest, ticket.as_ref()))
        }
        Ok(Decision::Known(digest, record)) => {
            let mut body = known(&digest, &record);
            body.remove("code");
            body.remove("name");
            Ok(body)
        }
        Ok(Decision::Rejected(rejection)) => Err(Refusal::rejected(&rejection)),
        Ok(Decision::Failed(error)) => Err(api.storage_failure(&error)),
        Err(Busy) => Err(Refusal::unavailable("STOPPING", "this node is stopping")),
    }
}

fn accepted_answer(api: &Api, digest: RecordDigest, ticket: Option<&SignedTicket>) -> Response {
    answer(StatusCode::ACCEPTED, accepted_body(api, digest, ticket))
}

fn accepted_body(
    api: &Api,
    digest: RecordDigest,
    ticket: Option<&SignedTicket>,
) -> Map<String, Value> {
    with_ticket(api, digest, None, ticket)
}

fn with_ticket(
    api: &Api,
    digest: RecordDigest,
    ordered: Option<Height>,
    ticket: Option<&SignedTicket>,
) -> Map<String, Value> {
    let mut body = standing(api, &digest, ordered);
    if let Some(ticket) = ticket {
        body.insert("ticket".to_owned(), ticket_json(ticket));
    }
    body
}

/// What is told of a record that was not committed; `ordered` is the height of
/// its block if that has a QC.
fn standing(api: &Api, digest: &RecordDigest, ordered: Option<Height>) -> Map<String, Value> {
    let status = waiting(api, ordered);
    let mut body = object(json!({ "digest": digest.to_string(), "status": status }));
    if let Some(height) = ordered {
        body.insert("height".to_owned(), json!(height.get()));
    }
    body
}

/// The word for a record that lies in the lane.
fn waiting(api: &Api, ordered: Option<Height>) -> &'static str {
    match ordered {
        Some(_) => "ordered",
        None if api.mode() == Mode::Federated => "accepted",
        None => "queued_locally",
    }
}

/// What is told of a record that was executed.
fn known(digest: &RecordDigest, record: &StoredRecord) -> Map<String, Value> {
    let outcome = &record.outcome;
    let status = if outcome.log_index.is_some() { "final" } else { "rejected" };
    let mut body = object(json!({
        "digest": digest.to_string(),
        "status": status,
        "height": outcome.height.get(),
        "code": outcome.code.number(),
        "name": outcome.code.name(),
    }));
    if let Some(index) = outcome.log_index {
        body.insert("log_index".to_owned(), json!(index.get()));
    }
    body
}

fn unknown(digest: &RecordDigest) -> Refusal {
    Refusal::not_found(format!(
        "no record {digest} is known here; check the digest, or ask the validator that accepted it"
    ))
}

/// A ticket as people read it. The signature is over the fixed encoding of
/// digest and times under the ticket's kind, the chain and the era.
pub(crate) fn ticket_json(signed: &SignedTicket) -> Value {
    json!({
        "digest": signed.ticket.digest.to_string(),
        "admitted_at_ms": signed.ticket.admitted_at_ms.get(),
        "deadline_ms": signed.ticket.deadline_ms.get(),
        "era": signed.era.get(),
        "signer": signed.signer.get(),
        "signature": hex(&signed.signature.0),
    })
}

fn read_wait(uri: &Uri) -> Result<Wait, Refusal> {
    match Parameters::read(uri, &["wait"])?.get("wait") {
        None | Some("accepted") => Ok(Wait::Accepted),
        Some("ordered") => Ok(Wait::Ordered),
        Some("final") => Ok(Wait::Final),
        Some(other) => {
            let detail =
                format!("`wait` is {other:?}, where accepted, ordered or final is expected");
            Err(Refusal::bad_request("BAD_WAIT", detail))
        }
    }
}

pub(crate) fn read_digest(path: &PathText) -> Result<RecordDigest, Refusal> {
    RecordDigest::from_hex(&path.0).ok_or_else(|| {
        let detail = "a digest is 64 lower-case hex digits; take it from the answer to the submit";
        Refusal::bad_request("BAD_DIGEST", detail)
    })
}

fn index_key(parameters: &Parameters) -> Result<IndexKey, Refusal> {
    let fail = |name: &str, expected: &str| {
        let detail = format!("`{name}` must be {expected}");
        Err(Refusal::bad_request("BAD_QUERY", detail))
    };
    let given = ["session", "sender", "model"].map(|name| parameters.get(name));
    match given {
        [None, None, None] => Ok(IndexKey::All),
        [Some(session), None, None] => match Uuid::parse(session) {
            Some(session) => Ok(IndexKey::Session(session)),
            None => fail("session", "a UUID in lower case"),
        },
        [None, Some(sender), None] => match hex_array(sender) {
            Some(key) => Ok(IndexKey::Sender(PublicKey(key))),
            None => fail("sender", "a public key of 64 lower-case hex digits"),
        },
        [None, None, Some(model)] => match hex_array(model) {
            Some(digest) => Ok(IndexKey::Model(digest)),
            None => fail("model", "a digest of 64 lower-case hex digits"),
        },
        _ => {
            let detail = "give only one of session, sender and model";
            Err(Refusal::bad_request("BAD_QUERY", detail))
        }
    }
}

/// Whether a content type is asked for, among whatever else.
pub(crate) fn accepts(headers: &HeaderMap, content_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or("").trim() == content_type)
}

/// The members of a JSON object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => unreachable!("made as an object, not {other}"),
    }
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: Map<String, Value>) -> Response {
    (status, axum::Json(Value::Object(body))).into_response()
}

/// A JSON answer with one more member, whose text is taken over byte by byte:
/// another writer might spell its numbers otherwise.
pub(crate) fn spliced(
    status: StatusCode,
    body: Map<String, Value>,
    name: &str,
    text: &[u8],
) -> Response {
    let mut out = Value::Object(body).to_string().into_bytes();
    splice(&mut out, name, text);
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(out)).into_response()
}

/// Puts a member at the end of an object that has others.
pub(crate) fn splice(object: &mut Vec<u8>, name: &str, text: &[u8]) {
    let end = object.pop();
    assert!(end == Some(b'}') && object.len() > 1, "an object with members");
    object.extend_from_slice(format!(",\"{name}\":").as_bytes());
    object.extend_from_slice(text);
    object.push(b'}');
}
