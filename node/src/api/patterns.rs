//! Patterns: offered here, and asked for.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bizra_ledger::execution::Base as _;
use bizra_ledger::forms::Score;
use bizra_ledger::log::StorageError as LedgerError;
use bizra_ledger::pattern::{Impact, Offer, PatternId, PatternVotes, Status};
use bizra_ledger::plain::Family;
use bizra_types::encoding::Decode as _;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::Api;
use super::error::Refusal;
use super::records::{answer, object, splice, spliced};
use super::request::{Parameters, check_type, read_body};
use crate::patterns::{Ask, Wanted};

/// Patterns of one page, if the client does not say.
const PAGE_DEFAULT: u64 = 50;
/// Patterns of one page at most; each comes with its envelope.
const PAGE_MAX: u64 = 100;

/// `POST /v1/patterns`: offers a pattern, signed, to this node and by it to the others.
///
/// A `202` says that this node has adopted the offer, or had before. It survives a restart, but is
/// not synced to disk, and others judge for themselves. Idempotent by the digest.
pub(crate) async fn offer(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    Parameters::read(&parts.uri, &[])?;
    check_type(&parts.headers, &["application/json"])?;
    let (size_max, time) = (api.limits.record_bytes_max, api.limits.body_time);
    let body = read_body(&parts.headers, body, size_max, time, &api.bodies).await?;
    offer_envelope(&api, body.bytes).await
}

/// Offers one envelope that was read to its end.
pub(crate) async fn offer_envelope(api: &Api, envelope: Bytes) -> Result<Response, Refusal> {
    let (reply, taken) = oneshot::channel();
    ask(api, Ask::Offer { text: envelope, reply })?;
    let taken = taken.await.map_err(|_| stopping())?.map_err(|it| Refusal::rejected(&it))?;
    let body = object(json!({
        "pattern_id": taken.id.to_string(),
        "status": Status::Validated.name(),
        "digest": taken.digest.to_string(),
        "impact": impact(taken.impact),
    }));
    Ok(answer(StatusCode::ACCEPTED, body))
}

/// `GET /v1/patterns`: what this node knows, by `domain` and `id` if given; the best by impact and
/// reputation of the source first. `after` is how many to pass over, which each page tells as
/// `next`. `network` says how many validators have voted for just this offer, and since which
/// block it is valid for the whole network.
pub(crate) async fn find(State(api): State<Api>, uri: Uri) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&uri, &["domain", "id", "after", "limit"])?;
    found(&api, &parameters).await
}

/// Finds the patterns that [`find`] is asked for.
pub(crate) async fn found(api: &Api, parameters: &Parameters) -> Result<Response, Refusal> {
    let id = parameters.get("id").map(|text| {
        PatternId::parse(text).ok_or_else(|| {
            let detail = "`id` must be `sape_` and 16 lower-case hex digits";
            Refusal::bad_request("BAD_QUERY", detail)
        })
    });
    let limit = parameters.unsigned("limit")?.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("`limit` is {limit}, where 1 to {PAGE_MAX} is allowed");
        return Err(Refusal::bad_request("BAD_NUMBER", detail));
    }
    let after = parameters.unsigned("after")?.unwrap_or(0);
    let wanted = Wanted {
        domain: parameters.get("domain").map(str::to_owned),
        id: id.transpose()?,
        after: usize::try_from(after).unwrap_or(usize::MAX),
        limit: usize::try_from(limit).expect("checked to be small"),
    };
    let after = wanted.after;
    let (reply, found) = oneshot::channel();
    ask(api, Ask::Find { wanted, reply })?;
    let found = found.await.map_err(|_| stopping())?;
    let digests: Vec<_> = found.page.iter().map(|(offer, _)| offer.digest()).collect();
    let votes = api.read(move |store| {
        let read = |digest: &bizra_types::hash::RecordDigest| {
            let entry = store.plain(Family::Pattern, digest.as_bytes())?;
            let votes = entry.map(|bytes| PatternVotes::from_bytes(&bytes)).transpose();
            votes.map_err(|error| LedgerError(format!("an entry of the Pattern family {error}")))
        };
        Ok(digests.iter().map(read).collect::<Result<Vec<_>, LedgerError>>())
    });
    let votes = votes.await?.map_err(|error| api.failure("storage_read", &error))?;
    let mut list = vec![b'['];
    for ((offer, reputation), votes) in found.page.iter().zip(votes) {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend_from_slice(&told(offer, *reputation, &votes.unwrap_or_default()));
    }
    list.push(b']');
    let mut body = object(json!({ "total": found.total }));
    let next = after.saturating_add(found.page.len());
    if next < found.total && !found.page.is_empty() {
        body.insert("next".to_owned(), json!(next));
    }
    Ok(spliced(StatusCode::OK, body, "patterns", &list))
}

fn told(offer: &Offer, reputation: Score, votes: &PatternVotes) -> Vec<u8> {
    let mut network = json!({ "votes": votes.voters.len() });
    if let Some(height) = votes.validated_at {
        network["validated_at"] = json!(height.get());
    }
    let body = json!({
        "pattern_id": offer.pattern().id.to_string(),
        "source": offer.source().to_string(),
        "domain": offer.pattern().domain,
        "status": Status::Validated.name(),
        "impact": impact(offer.impact()),
        "reputation": f64::from(reputation.parts_per_million()) / 1e6,
        "digest": offer.digest().to_string(),
        "network": network,
    });
    let mut text = body.to_string().into_bytes();
    splice(&mut text, "envelope", offer.bytes());
    text
}

fn impact(impact: Impact) -> Value {
    json!(f64::from(impact.parts_per_billion()) / 1e9)
}

fn ask(api: &Api, ask: Ask) -> Result<(), Refusal> {
    api.shared.patterns.try_send(ask).map_err(|error| match error {
        TrySendError::Full(_) => {
            Refusal::lane_full("too many patterns wait to be judged; try again")
        }
        TrySendError::Closed(_) => stopping(),
    })
}

fn stopping() -> Refusal {
    Refusal::unavailable("STOPPING", "this node is stopping")
}
