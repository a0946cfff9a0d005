//! The admin port: probes, metrics, and what only the operator may do.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process runs |
//! | `/readyz` | 200 when the node is safe to use, else 503 with every reason |
//! | `/metrics` | the metrics, also before the node has caught up |
//! | `/version` | what runs |
//! | `/debug/consensus` | the driver's state |
//! | `POST /admin/log-level` | `{"level": "info,bizra_node=debug"}` |
//!
//! With a token, everything but the two probes asks for it as
//! `Authorization: Bearer …`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bizra_types::numbers::ValidatorIndex;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::error::Refusal;
use super::request::{Parameters, check_type, read_body};
use crate::metrics::{CONTENT_TYPE, mode_name};
use crate::shared::{Mode, Shared};

/// Bytes of a request to the admin port.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Time for one.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Changes what is logged, at run time.
#[derive(Clone)]
pub struct LogLevel(Arc<SetFilter>);

/// Sets a filter, or says why it is none.
type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl LogLevel {
    /// A way to set the filter, which answers with a reason when the filter is bad.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

#[derive(Clone)]
struct Admin {
    shared: Shared,
    log_level: LogLevel,
    token: Option<Arc<str>>,
}

/// The routes of the admin port.
pub(crate) fn router(shared: Shared, log_level: LogLevel, token: Option<String>) -> Router {
    let admin = Admin { shared, log_level, token: token.map(Into::into) };
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/debug/consensus", get(consensus))
        .route("/admin/log-level", post(set_log_level))
        .route_layer(middleware::from_fn_with_state(admin.clone(), guard));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .fallback(super::no_such_path)
        .method_not_allowed_fallback(super::wrong_method)
        .with_state(admin)
}

async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|it| it.as_bytes().strip_prefix(b"Bearer ")).unwrap_or_default();
    // Hashes are compared, so that time tells nothing about the token.
    if blake3::hash(shown) == blake3::hash(token.as_bytes()) {
        return next.run(request).await;
    }
    let detail = "this port asks for its token: send `Authorization: Bearer TOKEN`";
    let mut response =
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", detail).into_response();
    let scheme = header::HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

async fn livez() -> Json<Value> {
    Json(json!({ "live": true }))
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let reasons = failing(&admin.shared);
    let is_ready = reasons.is_empty();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<Value> = reasons
        .into_iter()
        .map(|(name, detail)| json!({ "name": name, "detail": detail }))
        .collect();
    (status, Json(json!({ "ready": is_ready, "failing": reasons }))).into_response()
}

/// Every reason why the node should not be used.
pub(super) fn failing(shared: &Shared) -> Vec<(&'static str, String)> {
    let status = shared.status.borrow();
    let mut reasons = Vec::new();
    if status.mode != Mode::Federated {
        let detail = format!(
            "{} validators of {} are heard, and {} are a quorum; records are accepted and wait",
            status.heard.len(),
            status.committee.size(),
            status.committee.quorum()
        );
        reasons.push(("no_quorum", detail));
    }
    if !status.synced {
        let detail = "no block has become final here since a quorum is heard, so this node does \
            not know yet how far the others are";
        reasons.push(("not_synced", detail.to_owned()));
    }
    if status.catching_up {
        let detail = format!("final blocks after height {} are being fetched", status.height);
        reasons.push(("catching_up", detail));
    }
    if status.disk_unwritable {
        let detail = "the last write to the data folder failed; look for space".to_owned();
        reasons.push(("disk_unwritable", detail));
    }
    if status.diverged {
        let detail = "a quorum executed something else; this node has stopped signing and must \
            be rebuilt from a snapshot";
        reasons.push(("diverged", detail.to_owned()));
    }
    reasons
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.shared.store.free_bytes() {
        Ok(bytes) => admin.shared.metrics.disk_free(bytes),
        Err(error) => {
            admin.shared.metrics.error("disk_free");
            warn!(%error, "the free space of the data disk cannot be read");
        }
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], admin.shared.metrics.encode()).into_response()
}

async fn version(State(admin): State<Admin>) -> Json<Value> {
    let genesis = &admin.shared.genesis;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "protocol_version": genesis.protocol_version.get(),
        "chain_id": genesis.chain_id().to_string(),
    }))
}

async fn consensus(State(admin): State<Admin>) -> Json<Value> {
    let status = admin.shared.status.borrow().clone();
    let committee = &status.committee;
    let name = |index: ValidatorIndex| match committee.get(index) {
        Some(validator) => validator.name.clone(),
        None => index.to_string(),
    };
    let names = |indices: &mut dyn Iterator<Item = ValidatorIndex>| {
        indices.map(name).collect::<Vec<String>>()
    };
    let silent = committee.indices().filter(|index| !status.heard.contains(index));
    Json(json!({
        "me": status.me.map(name),
        "mode": mode_name(status.mode),
        "era": status.era.get(),
        "view": status.view.get(),
        "leader": status.leader.map(name),
        "height": status.height.get(),
        "block_id": status.block.to_string(),
        "exec": status.exec.to_string(),
        "high_qc_view": status.high_qc_view.get(),
        "voted": names(&mut status.voted.iter().copied()),
        "timed_out": names(&mut status.timed_out.iter().copied()),
        "heard": names(&mut status.heard.iter().copied()),
        "silent": names(&mut silent.into_iter()),
        "peers": status.peers,
        "waiting_for": status.waiting_for,
        "diverged": status.diverged,
        "disk_unwritable": status.disk_unwritable,
        "synced": status.synced,
        "catching_up": status.catching_up,
        "lane_bytes": status.lane_bytes,
    }))
}

async fn set_log_level(
    State(admin): State<Admin>,
    headers: HeaderMap,
    uri: Uri,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    Parameters::read(&uri, &[])?;
    check_type(&headers, &["application/json"])?;
    let room = Arc::new(Semaphore::new(BODY_BYTES_MAX));
    let body = request.into_body();
    let body = read_body(&headers, body, BODY_BYTES_MAX, BODY_TIME, &room).await?;
    let expected = "send {\"level\": \"info\"} or a filter such as \"info,bizra_node=debug\"";
    let level = match serde_json::from_slice::<Value>(&body.bytes) {
        Ok(Value::Object(members)) if members.len() == 1 => match members.get("level") {
            Some(Value::String(level)) => level.clone(),
            _ => return Err(Refusal::bad_request("BAD_LEVEL", expected)),
        },
        _ => return Err(Refusal::bad_request("BAD_LEVEL", expected)),
    };
    (admin.log_level.0)(&level)
        .map_err(|reason| Refusal::bad_request("BAD_LEVEL", format!("{reason}; {expected}")))?;
    info!(level, "the log level was changed");
    Ok(Json(json!({ "level": level })))
}
