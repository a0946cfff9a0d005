//! The same API for clients that speak gRPC, on the same port.
//!
//! Each call asks the function that answers the HTTP request of that name, and
//! hands its answer over as a message: `proto/bizra.proto` has the members of
//! the JSON. A refusal becomes a status, with the refusal in its details. A
//! call passes the bounds of every request, and its message is read as a body
//! is, before anything is decoded.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bizra_types::numbers::Height;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use prost::Message as _;
use serde::Deserialize as _;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::server::Builder as Reflection;

use super::error::Refusal;
use super::events::{self, Open, Told};
use super::records::Wait;
use super::request::{Parameters, PathText, read_body};
use super::{Api, admin, chain, governance, patterns, records};

/// Bytes of a message that holds nothing submitted.
const QUESTION_BYTES_MAX: usize = 1024;
/// Bytes around what a message submits.
const FRAMING_BYTES: usize = 64;
/// Bytes of all questions of one client of reflection.
const REFLECTION_BYTES_MAX: usize = 64 * 1024;
/// Characters of a refusal's sentence: it is sent in headers, which clients bound.
const DETAIL_CHARS_MAX: usize = 1024;
/// The service that health is asked about, beside that of the whole node.
const SERVICE: &str = "bizra.v1.Node";

/// The messages and services of `proto/bizra.proto`, made by `make proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "it is generated")]
pub(crate) mod pb {
    include!("grpc/bizra.v1.rs");

    /// What reflection tells of them.
    pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("grpc/bizra.v1.bin");
}

use pb::node_server::{Node, NodeServer};

/// The routes of all services.
pub(crate) fn routes(api: &Api) -> Router<Api> {
    let node = NodeServer::new(Calls(api.clone())).max_decoding_message_size(usize::MAX);
    let health = HealthServer::new(Calls(api.clone()));
    let calls = Router::new()
        .route_service("/bizra.v1.Node/{*call}", node)
        .route_service("/grpc.health.v1.Health/{*call}", health)
        .layer(middleware::from_fn_with_state(api.clone(), whole_message));
    let known = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let made = "the descriptors are part of the program";
    let reflection = Router::new()
        .route_service(
            "/grpc.reflection.v1.ServerReflection/{*call}",
            known().build_v1().expect(made),
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{*call}",
            known().build_v1alpha().expect(made),
        )
        .layer(middleware::from_fn_with_state(api.clone(), bounded_questions));
    calls.merge(reflection)
}

/// Whether a request comes from a client that speaks gRPC.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|it| it.starts_with(b"application/grpc"))
}

/// The answer to a call of what is not there.
pub(crate) fn no_such_call(path: &str) -> Response {
    Status::unimplemented(format!("there is no call {path}; reflection lists them")).into_http()
}

/// A refusal as the answer to a call.
pub(crate) fn refused(refusal: Refusal) -> Response {
    status(refusal).into_http()
}

/// Reads JSON text as it stands.
pub(crate) fn json_text<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<u8>, D::Error> {
    let text = Box::<RawValue>::deserialize(json)?;
    Ok(text.get().as_bytes().to_vec())
}

/// Reads the one message of a call to its end, within the bounds of a body.
async fn whole_message(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let limits = &api.limits;
    let size_max = match parts.uri.path() {
        "/bizra.v1.Node/SubmitRecord" | "/bizra.v1.Node/OfferPattern" => {
            limits.record_bytes_max + FRAMING_BYTES
        }
        "/bizra.v1.Node/SubmitBatch" => limits.batch_bytes_max + FRAMING_BYTES,
        _ => QUESTION_BYTES_MAX,
    };
    match read_body(&parts.headers, body, size_max, limits.body_time, &api.bodies).await {
        Ok(held) => {
            let request = Request::from_parts(parts, Body::from(held.bytes.clone()));
            next.run(request).await
        }
        Err(refusal) => refused(refusal),
    }
}

/// A client of reflection asks on while its stream is open, so that is bounded as
/// a whole.
async fn bounded_questions(State(api): State<Api>, request: Request, next: Next) -> Response {
    let time = api.limits.body_time;
    let mut shutdown = api.shutdown.clone();
    let ends = Box::pin(async move {
        tokio::select! {
            () = sleep(time) => {}
            _ = shutdown.wait_for(|ends| *ends) => {}
        }
    });
    let (parts, body) = request.into_parts();
    let mut left = REFLECTION_BYTES_MAX;
    let questions = body.into_data_stream().take_until(ends).map(move |frame| {
        let frame = frame?;
        left = left.checked_sub(frame.len()).ok_or_else(|| {
            axum::Error::new(format!("more than {REFLECTION_BYTES_MAX} bytes were asked"))
        })?;
        Ok::<_, axum::Error>(frame)
    });
    next.run(Request::from_parts(parts, Body::from_stream(questions))).await
}

/// What answers calls.
struct Calls(Api);

type Answer<T> = Result<tonic::Response<T>, Status>;

impl Calls {
    fn api(&self) -> State<Api> {
        State(self.0.clone())
    }

    /// The message that has the members of a JSON answer.
    async fn message<T: DeserializeOwned>(
        &self,
        answer: Result<impl IntoResponse, Refusal>,
    ) -> Answer<T> {
        let bytes = self.bytes(answer).await?;
        let message = serde_json::from_slice(&bytes);
        message.map(tonic::Response::new).map_err(|error| self.misfit(&error))
    }

    /// The message around a proof.
    async fn proof(&self, answer: Result<impl IntoResponse, Refusal>) -> Answer<pb::Proof> {
        let cbor = self.bytes(answer).await?;
        Ok(tonic::Response::new(pb::Proof { cbor }))
    }

    async fn bytes(&self, answer: Result<impl IntoResponse, Refusal>) -> Result<Vec<u8>, Status> {
        let body = answer.map_err(status)?.into_response().into_body();
        // It is all there already.
        let bytes = to_bytes(body, usize::MAX).await.map_err(|error| self.misfit(&error))?;
        Ok(bytes.into())
    }

    fn check_envelope(&self, envelope: &[u8]) -> Result<(), Status> {
        let size_max = self.0.limits.record_bytes_max;
        if envelope.len() > size_max {
            return Err(status(Refusal::too_large("the envelope", size_max)));
        }
        Ok(())
    }

    fn misfit(&self, error: &dyn std::fmt::Display) -> Status {
        status(self.0.failure("answer_form", error))
    }
}

#[tonic::async_trait]
impl Node for Calls {
    async fn submit_record(
        &self,
        request: tonic::Request<pb::SubmitRecordRequest>,
    ) -> Answer<pb::SubmitRecordResponse> {
        let request = request.into_inner();
        let wait = match pb::Wait::try_from(request.wait) {
            Ok(pb::Wait::Accepted) => Wait::Accepted,
            Ok(pb::Wait::Ordered) => Wait::Ordered,
            Ok(pb::Wait::Final) => Wait::Final,
            Err(_) => {
                let detail = format!("`wait` is {}, where 0, 1 or 2 is expected", request.wait);
                return Err(status(Refusal::bad_request("BAD_WAIT", detail)));
            }
        };
        self.check_envelope(&request.envelope)?;
        self.message(records::submit_envelope(&self.0, request.envelope, wait).await).await
    }

    async fn submit_batch(
        &self,
        request: tonic::Request<pb::SubmitBatchRequest>,
    ) -> Answer<pb::SubmitBatchResponse> {
        let text = request.into_inner().envelopes;
        let size_max = self.0.limits.batch_bytes_max;
        if text.len() > size_max {
            return Err(status(Refusal::too_large("the batch", size_max)));
        }
        let results = records::submit_lines(&self.0, &text).await.map_err(status)?;
        let results = results.into_iter().map(|(line, result)| {
            let mut of_line = match result {
                Ok(body) => serde_json::from_value(Value::Object(body))?,
                Err(refusal) => {
                    pb::BatchResult { refusal: Some(message_of(&refusal)?), ..Default::default() }
                }
            };
            of_line.line = line as u64;
            Ok(of_line)
        });
        let results: Result<Vec<pb::BatchResult>, serde_json::Error> = results.collect();
        let results = results.map_err(|error| self.misfit(&error))?;
        Ok(tonic::Response::new(pb::SubmitBatchResponse { results }))
    }

    async fn get_record(
        &self,
        request: tonic::Request<pb::GetRecordRequest>,
    ) -> Answer<pb::Record> {
        let digest = PathText(request.into_inner().digest);
        self.message(records::get(self.api(), digest, Uri::default()).await).await
    }

    async fn get_proof(&self, request: tonic::Request<pb::GetProofRequest>) -> Answer<pb::Proof> {
        let digest = PathText(request.into_inner().digest);
        self.proof(records::proof(self.api(), digest, cbor(), Uri::default()).await).await
    }

    async fn search_records(
        &self,
        request: tonic::Request<pb::SearchRecordsRequest>,
    ) -> Answer<pb::SearchRecordsResponse> {
        use pb::search_records_request::By;

        let request = request.into_inner();
        let by = request.by.map(|by| match by {
            By::Session(session) => ("session", Some(session)),
            By::Sender(sender) => ("sender", Some(sender)),
            By::Model(model) => ("model", Some(model)),
        });
        let numbers = [
            ("from_height", request.from_height),
            ("to_height", request.to_height),
            ("from_ms", request.from_ms),
            ("to_ms", request.to_ms),
            ("after", request.after),
            ("limit", request.limit),
        ];
        let parameters = Parameters::of(by.into_iter().chain(numbers.map(number)));
        self.message(records::found(&self.0, &parameters).await).await
    }

    async fn get_params(
        &self,
        _request: tonic::Request<pb::GetParamsRequest>,
    ) -> Answer<pb::Params> {
        self.message(chain::params(self.api(), Uri::default()).await).await
    }

    type GetChainStream = BoxStream<'static, Result<pb::ChainChunk, Status>>;

    async fn get_chain(
        &self,
        request: tonic::Request<pb::GetChainRequest>,
    ) -> Answer<Self::GetChainStream> {
        let request = request.into_inner();
        let given = [("above", Some(request.above)), ("to", request.to)].map(number);
        let chunks = chain::frames(&self.0, &Parameters::of(given)).await.map_err(status)?;
        let chunks = chunks.map(|frames| Ok(pb::ChainChunk { frames }));
        Ok(tonic::Response::new(chunks.boxed()))
    }

    async fn get_block(&self, request: tonic::Request<pb::GetBlockRequest>) -> Answer<pb::Block> {
        let height = PathText(request.into_inner().height.to_string());
        self.message(chain::block(self.api(), height, Uri::default()).await).await
    }

    async fn get_status(
        &self,
        _request: tonic::Request<pb::GetStatusRequest>,
    ) -> Answer<pb::Status> {
        self.message(chain::status(self.api(), Uri::default()).await).await
    }

    async fn get_committee(
        &self,
        _request: tonic::Request<pb::GetCommitteeRequest>,
    ) -> Answer<pb::Committee> {
        self.message(chain::committee(self.api(), Uri::default()).await).await
    }

    async fn get_certificates(
        &self,
        request: tonic::Request<pb::GetCertificatesRequest>,
    ) -> Answer<pb::Certificates> {
        let pb::GetCertificatesRequest { era, from, to } = request.into_inner();
        let given = [("era", era), ("from", from), ("to", to)];
        let parameters = Parameters::of(given.map(|(name, value)| number((name, Some(value)))));
        self.message(chain::certificates_of(&self.0, &parameters).await).await
    }

    async fn get_state(&self, request: tonic::Request<pb::GetStateRequest>) -> Answer<pb::Proof> {
        let key = PathText(request.into_inner().key);
        self.proof(chain::state(self.api(), key, cbor(), Uri::default()).await).await
    }

    async fn get_proposals(
        &self,
        _request: tonic::Request<pb::GetProposalsRequest>,
    ) -> Answer<pb::Proposals> {
        self.message(governance::proposals(self.api(), Uri::default()).await).await
    }

    async fn get_proposal(
        &self,
        request: tonic::Request<pb::GetProposalRequest>,
    ) -> Answer<pb::Proposal> {
        let id = PathText(request.into_inner().id);
        self.message(governance::proposal(self.api(), id, Uri::default()).await).await
    }

    async fn get_governed_parameters(
        &self,
        _request: tonic::Request<pb::GetGovernedParametersRequest>,
    ) -> Answer<pb::GovernedParameters> {
        self.message(governance::parameters(self.api(), Uri::default()).await).await
    }

    async fn get_evidence(
        &self,
        _request: tonic::Request<pb::GetEvidenceRequest>,
    ) -> Answer<pb::Evidence> {
        self.message(governance::evidence(self.api(), Uri::default()).await).await
    }

    async fn get_reputation(
        &self,
        _request: tonic::Request<pb::GetReputationRequest>,
    ) -> Answer<pb::Reputation> {
        self.message(governance::reputation(self.api(), Uri::default()).await).await
    }

    async fn offer_pattern(
        &self,
        request: tonic::Request<pb::OfferPatternRequest>,
    ) -> Answer<pb::OfferedPattern> {
        let envelope = request.into_inner().envelope;
        self.check_envelope(&envelope)?;
        self.message(patterns::offer_envelope(&self.0, envelope).await).await
    }

    async fn search_patterns(
        &self,
        request: tonic::Request<pb::SearchPatternsRequest>,
    ) -> Answer<pb::SearchPatternsResponse> {
        let pb::SearchPatternsRequest { domain, id, after, limit } = request.into_inner();
        let page = [("after", after), ("limit", limit)].map(number);
        let parameters = Parameters::of([("domain", domain), ("id", id)].into_iter().chain(page));
        self.message(patterns::found(&self.0, &parameters).await).await
    }

    async fn get_log_checkpoint(
        &self,
        _request: tonic::Request<pb::GetLogCheckpointRequest>,
    ) -> Answer<pb::LogCheckpoint> {
        let headers = HeaderMap::new();
        self.message(chain::checkpoint(self.api(), headers, Uri::default()).await).await
    }

    async fn get_log_consistency(
        &self,
        request: tonic::Request<pb::GetLogConsistencyRequest>,
    ) -> Answer<pb::LogConsistency> {
        let request = request.into_inner();
        let given = [("from", Some(request.from)), ("to", request.to)].map(number);
        let parameters = Parameters::of(given);
        self.message(chain::consistency_of(&self.0, &parameters).await).await
    }

    type StreamEventsStream = BoxStream<'static, Result<pb::Event, Status>>;

    async fn stream_events(
        &self,
        request: tonic::Request<pb::StreamEventsRequest>,
    ) -> Answer<Self::StreamEventsStream> {
        use pb::event::Event;

        let first = request.into_inner().from_height.map(Height::new);
        let told = events::open(&self.0, first).map_err(status)?;
        let api = self.0.clone();
        let events = told.map(move |told| {
            let event = match told {
                Told::Block(_, block) => match serde_json::from_value(block) {
                    Ok(block) => Event::Block(block),
                    Err(error) => return Err(status(api.failure("answer_form", &error))),
                },
                Told::Lagged(height) => {
                    Event::Lagged(pb::Lagged { resume_from_height: height.get() })
                }
                Told::Unreadable(height) => {
                    return Err(Status::internal(events::unreadable(height)));
                }
            };
            Ok(pb::Event { event: Some(event) })
        });
        Ok(tonic::Response::new(events.boxed()))
    }
}

/// Serving is what `/readyz` calls ready.
#[tonic::async_trait]
impl Health for Calls {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Answer<HealthCheckResponse> {
        known_service(&request.into_inner().service)?;
        Ok(tonic::Response::new(health(&self.0)))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Answer<Self::WatchStream> {
        known_service(&request.into_inner().service)?;
        let open = Open::new(&self.0).map_err(status)?;
        let mut changes = self.0.shared.status.clone();
        changes.mark_changed();
        let place = (self.0.clone(), changes, self.0.shutdown.clone(), None, open);
        let told =
            stream::unfold(place, |(api, mut changes, mut shutdown, last, open)| async move {
                loop {
                    tokio::select! {
                        _ = shutdown.wait_for(|ends| *ends) => return None,
                        changed = changes.changed() => changed.ok()?,
                    }
                    let health = health(&api);
                    if Some(health.status) != last {
                        let last = Some(health.status);
                        return Some((Ok(health), (api, changes, shutdown, last, open)));
                    }
                }
            });
        Ok(tonic::Response::new(told.boxed()))
    }
}

fn known_service(name: &str) -> Result<(), Status> {
    if name.is_empty() || name == SERVICE {
        return Ok(());
    }
    Err(Status::not_found(format!("the service is \"\" or {SERVICE:?}")))
}

fn health(api: &Api) -> HealthCheckResponse {
    let is_ready = admin::failing(&api.shared).is_empty();
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

fn number((name, value): (&'static str, Option<u64>)) -> (&'static str, Option<String>) {
    (name, value.map(|value| value.to_string()))
}

/// Headers of a client that wants the compact form.
fn cbor() -> HeaderMap {
    let value = HeaderValue::from_static("application/cbor");
    HeaderMap::from_iter([(header::ACCEPT, value)])
}

/// The status that a refusal is, with the refusal in its details.
fn status(refusal: Refusal) -> Status {
    let code = match refusal.status().as_u16() {
        400 | 415 => Code::InvalidArgument,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        413 | 429 => Code::ResourceExhausted,
        422 => Code::FailedPrecondition,
        503 => Code::Unavailable,
        _ => Code::Internal,
    };
    let message = match message_of(&refusal) {
        Ok(message) => message,
        Err(error) => return Status::internal(error.to_string()),
    };
    let text = format!("{}: {}", message.name, message.detail);
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/bizra.v1.Refusal".to_owned(),
        value: message.encode_to_vec(),
    };
    let rich = RichStatus { code: code.into(), message: text.clone(), details: vec![detail] };
    Status::with_details(code, text, rich.encode_to_vec().into())
}

fn message_of(refusal: &Refusal) -> Result<pb::Refusal, serde_json::Error> {
    let mut message: pb::Refusal = serde_json::from_value(refusal.body())?;
    message.detail = message.detail.chars().take(DETAIL_CHARS_MAX).collect();
    message.retry_after_s = refusal.retry_after_s();
    Ok(message)
}

/// `google.rpc.Status`, in which details travel.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RichStatus {
    /// The number of the status.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// What it says.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// Here one [`pb::Refusal`].
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}
