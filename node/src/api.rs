//! The API: the public port, in HTTP and in gRPC, and the admin port.
//!
//! | module | holds |
//! |---|---|
//! | `server` | connections, their time limits and bounds |
//! | `request` | queries, content types and bodies, read strictly |
//! | `error` | every answer that says no |
//! | `admission` | the gates, off the async threads |
//! | `pending` | records between acceptance and their block |
//! | `records` | submitting and reading records |
//! | `receipt` | the receipt of a final record |
//! | `patterns` | patterns offered and asked for |
//! | `chain` | parameters, blocks, status, log proofs |
//! | `governance` | proposals, governed parameters, reputation, evidence |
//! | `note` | the log's head as a signed note |
//! | `events` | committed blocks as a stream |
//! | `grpc` | the same for clients that speak gRPC |
//! | `admin` | probes, metrics, log level |

mod admin;
mod admission;
mod chain;
mod error;
mod events;
mod governance;
mod grpc;
mod note;
mod patterns;
mod pending;
mod receipt;
mod records;
mod request;
mod server;

pub use admin::LogLevel;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use bizra_keys::ConsensusKey;
use bizra_types::batch::RECORD_BYTES_MAX;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::shared::{Mode, Shared};
use crate::storage::{StorageError, Store};
use admission::Admission;
use error::Refusal;
use pending::Pending;
use request::Parameters;
use server::ConnectionLimits;

/// Open files that are left to the database, the network and the admin port.
const FILES_OF_OTHERS: usize = 768;
/// Connections of the public port that are open at once however few files there are.
const CONNECTIONS_MIN: usize = 64;

/// Parts of the chain that are being read and sent at once; each is kept in memory.
const EXPORTS_MAX: usize = 8;

/// Where the two ports are, how they are bounded, and who signs what they tell.
#[derive(Clone, Debug)]
pub struct Options {
    /// The public port.
    pub listen: SocketAddr,
    /// The admin port; beyond loopback only with a token.
    pub admin_listen: SocketAddr,
    /// What callers of the admin port must show.
    pub admin_token: Option<String>,
    /// The bounds of the public port.
    pub limits: Limits,
    /// What heads of the log are signed with while it has a seat.
    pub note_key: ConsensusKey,
}

/// The bounds of the public port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one submitted envelope.
    pub record_bytes_max: usize,
    /// Bytes of one submitted batch.
    pub batch_bytes_max: usize,
    /// Lines of one submitted batch.
    pub batch_lines_max: usize,
    /// Bytes of all bodies that are read or worked on at once.
    pub bodies_bytes_max: usize,
    /// Time for a request's header.
    pub header_time: Duration,
    /// Time for a request's body.
    pub body_time: Duration,
    /// How long a submission may wait for what it asked for.
    pub wait_time: Duration,
    /// Time for which a reader may take nothing before it is dropped.
    pub stalled_time: Duration,
    /// Connections open at once.
    pub connections_max: usize,
    /// Requests being answered at once.
    pub requests_max: usize,
    /// Submissions that wait at once to become final.
    pub waiters_max: usize,
    /// Event streams open at once.
    pub streams_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: RECORD_BYTES_MAX,
            batch_bytes_max: 4 * 1024 * 1024,
            batch_lines_max: 1_000,
            bodies_bytes_max: 128 * 1024 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            wait_time: Duration::from_secs(30),
            stalled_time: Duration::from_secs(30),
            connections_max: 4_096,
            requests_max: 4_096,
            waiters_max: 2_048,
            streams_max: 256,
        }
    }
}

/// Why the API did not start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Others could reach the admin port, and nothing would stop them.
    #[error(
        "the admin port would listen at {0}, which others can reach, without a token: set a token \
         or listen on loopback"
    )]
    AdminWithoutToken(SocketAddr),
    /// A port cannot be had.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No thread for admission.
    #[error("cannot start the admission thread: {0}")]
    Thread(io::Error),
    /// The records that were accepted before the last stop cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The running API.
#[derive(Debug)]
pub struct Running {
    /// Where the public port listens.
    pub address: SocketAddr,
    /// Where the admin port listens.
    pub admin_address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Running {
    /// Resolves when both ports are closed and every open request is answered,
    /// after `shutdown` has turned true.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a task of the API ended badly");
            }
        }
    }
}

/// Opens both ports and serves until `shutdown` turns true.
///
/// # Errors
/// When the admin port would be open to others, a port is taken, or the store
/// cannot be read.
pub async fn start(
    options: Options,
    shared: Shared,
    log_level: LogLevel,
    shutdown: watch::Receiver<bool>,
) -> Result<Running, ApiError> {
    let Options { listen, admin_listen, admin_token, limits, note_key } = options;
    if !admin_listen.ip().is_loopback() && admin_token.is_none() {
        return Err(ApiError::AdminWithoutToken(admin_listen));
    }
    let (listener, address) = bind(listen).await?;
    let (admin_listener, admin_address) = bind(admin_listen).await?;
    let (ordered, committed) = (shared.ordered.subscribe(), shared.committed.subscribe());
    let pending = Pending::new(limits.waiters_max);
    pending.restore(&shared)?;
    let admission = Admission::start(shared.clone(), pending.clone())?;
    let api = Api(Arc::new(Inner {
        shared: shared.clone(),
        limits,
        note_key,
        admission,
        pending: pending.clone(),
        requests: Semaphore::new(limits.requests_max),
        bodies: Arc::new(Semaphore::new(limits.bodies_bytes_max)),
        streams: Arc::new(Semaphore::new(limits.streams_max)),
        exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        shutdown: shutdown.clone(),
    }));
    let connections_max = limits.connections_max.min(connections_possible());
    if connections_max < limits.connections_max {
        warn!(connections_max, "the limit of open files allows no more connections to the API");
    }
    let connections = ConnectionLimits {
        header_time: limits.header_time,
        stalled_time: limits.stalled_time,
        connections_max,
    };
    let admin_connections = ConnectionLimits { connections_max: 64, ..connections };
    let admin = admin::router(shared.clone(), log_level, admin_token);
    let mut tasks = JoinSet::new();
    tasks.spawn(pending.follow(shared, ordered, committed, shutdown.clone()));
    tasks.spawn(server::serve(listener, router(api), connections, shutdown.clone()));
    tasks.spawn(server::serve(admin_listener, admin, admin_connections, shutdown));
    info!(%address, %admin_address, "the API listens");
    Ok(Running { address, admin_address, tasks })
}

/// Connections that this process can have open and still open files of its own.
fn connections_possible() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(FILES_OF_OTHERS).max(CONNECTIONS_MIN)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ApiError> {
    let fail = |error| ApiError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// What the handlers of the public port work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

/// See [`Api`].
pub(crate) struct Inner {
    pub(crate) shared: Shared,
    pub(crate) limits: Limits,
    pub(crate) note_key: ConsensusKey,
    pub(crate) admission: Admission,
    pub(crate) pending: Pending,
    pub(crate) requests: Semaphore,
    /// A permit per byte of a body.
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) shutdown: watch::Receiver<bool>,
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    /// Reads the store off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.shared.store.clone();
        match tokio::task::spawn_blocking(move || read(&store)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.storage_failure(&error)),
            Err(error) => Err(self.failure("panic", &error)),
        }
    }

    /// 500 for a store that cannot be read.
    pub(crate) fn storage_failure(&self, error: &StorageError) -> Refusal {
        self.failure("storage_read", error)
    }

    /// 500 for what should not have happened; counted and logged.
    pub(crate) fn failure(&self, kind: &'static str, error: &dyn fmt::Display) -> Refusal {
        self.shared.metrics.error(kind);
        error!(%error, kind, "a request could not be answered");
        Refusal::internal()
    }

    /// How the node is connected right now.
    pub(crate) fn mode(&self) -> Mode {
        self.shared.status.borrow().mode
    }

    /// The era that the node is in. The committed head may be the last block of
    /// the one before.
    pub(crate) fn era(&self) -> u64 {
        self.shared.status.borrow().era.get()
    }
}

fn router(api: Api) -> Router {
    let http = Router::new();
    let http =
        routes().into_iter().fold(http, |router, (path, methods)| router.route(path, methods));
    http.merge(grpc::routes(&api))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), bounded))
        .with_state(api)
}

/// What the public port answers over HTTP; `openapi.json` describes it.
fn routes() -> [(&'static str, MethodRouter<Api>); 21] {
    [
        ("/v1/records", post(records::submit).get(records::search)),
        ("/v1/records:batch", post(records::submit_batch)),
        ("/v1/records/{digest}", get(records::get)),
        ("/v1/records/{digest}/proof", get(records::proof)),
        ("/v1/params", get(chain::params)),
        ("/v1/blocks/{height}", get(chain::block)),
        ("/v1/chain", get(chain::chain)),
        ("/v1/status", get(chain::status)),
        ("/v1/committee", get(chain::committee)),
        ("/v1/certificates", get(chain::certificates)),
        ("/v1/state/{key}", get(chain::state)),
        ("/v1/gov/proposals", get(governance::proposals)),
        ("/v1/gov/proposals/{id}", get(governance::proposal)),
        ("/v1/gov/parameters", get(governance::parameters)),
        ("/v1/gov/evidence", get(governance::evidence)),
        ("/v1/gov/reputation", get(governance::reputation)),
        ("/v1/log/checkpoint", get(chain::checkpoint)),
        ("/v1/log/consistency", get(chain::consistency)),
        ("/v1/events", get(events::stream)),
        ("/v1/patterns", post(patterns::offer).get(patterns::find)),
        ("/openapi.json", get(description)),
    ]
}

/// `GET /openapi.json`: what the public port answers, for programs.
async fn description(uri: Uri) -> Result<Response, Refusal> {
    Parameters::read(&uri, &[])?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((content_type, include_str!("../openapi.json")).into_response())
}

/// Bounds the requests in work, and counts and times them.
async fn bounded(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let is_call = grpc::is_call(request.headers());
    let begun = Instant::now();
    let response = match api.requests.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            let detail = "too many requests are being answered; try again";
            let refusal = Refusal::unavailable("OVERLOADED", detail);
            if is_call { grpc::refused(refusal) } else { refusal.into_response() }
        }
    };
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    api.shared.metrics.request(route, response.status().as_u16(), begun.elapsed());
    response
}

async fn no_such_path(headers: HeaderMap, uri: Uri) -> Response {
    if grpc::is_call(&headers) {
        return grpc::no_such_call(uri.path());
    }
    let detail = format!("there is nothing at {}; the API begins with /v1/", uri.path());
    Refusal::not_found(detail).into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let detail =
        format!("{method} is not possible at {}; the allow header says what is", uri.path());
    Refusal::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
}

#[cfg(test)]
mod tests;
