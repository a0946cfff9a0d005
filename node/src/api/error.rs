//! Answers that say no: always JSON, always with what, where and what next.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bizra_ledger::codes::{Code, Rejection};
use serde_json::{Map, Value, json};

use crate::storage::StoredOutcome;

/// An answer other than success.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Option<u8>,
    name: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after_s: Option<u64>,
    close: bool,
}

impl Refusal {
    /// A refusal with a name of its own.
    pub(crate) fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: None,
            name,
            detail: detail.into(),
            more: Map::new(),
            retry_after_s: None,
            close: false,
        }
    }

    /// 400
    pub(crate) fn bad_request(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, detail)
    }

    /// 404
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }

    /// 503 with a time after which to try again.
    pub(crate) fn unavailable(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, name, detail).retry_after(1)
    }

    /// 500: our fault. What happened is logged, not told.
    pub(crate) fn internal() -> Self {
        let mut refusal = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal.name(),
            "this node failed to answer; its log says why, and another node may answer",
        );
        refusal.code = Some(Code::Internal.number());
        refusal
    }

    /// 422 of a gate, or 429 where the gate is about the rate.
    pub(crate) fn rejected(rejection: &Rejection) -> Self {
        let status = match rejection.code {
            Code::Rate => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut refusal = Self::new(status, rejection.code.name(), sentence(rejection))
            .with("stage", "admission");
        refusal.code = Some(rejection.code.number());
        refusal.retry_after_s = (rejection.code == Code::Rate).then_some(1);
        refusal
    }

    /// 422 of a record that its block refused.
    pub(crate) fn executed(outcome: &StoredOutcome) -> Self {
        let detail = format!(
            "the record was ordered and then refused when block {} was executed; correct it and \
             send a new one",
            outcome.height
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut refusal = Self::new(status, outcome.code.name(), detail)
            .with("stage", "execution")
            .with("status", "rejected")
            .with("height", outcome.height.get());
        refusal.code = Some(outcome.code.number());
        refusal
    }

    /// 429 of a full lane or queue.
    pub(crate) fn lane_full(detail: impl Into<String>) -> Self {
        let mut refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Rate.name(), detail).retry_after(1);
        refusal.code = Some(Code::Rate.number());
        refusal.with("stage", "admission")
    }

    /// 413
    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        let detail = format!("{what} has more than {limit} bytes; send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", detail).close()
    }

    /// Adds a member to the answer.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Tells the client when to try again.
    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Ends the connection after the answer, because its body was not read to the end.
    pub(crate) const fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Seconds after which to try again.
    pub(crate) const fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_s
    }

    /// The answer's JSON object.
    pub(crate) fn body(&self) -> Value {
        let mut body = self.more.clone();
        match self.code {
            Some(code) => body.insert("code".to_owned(), json!(code)),
            None => body.insert("error".to_owned(), json!(self.status.as_u16())),
        };
        body.insert("name".to_owned(), json!(self.name));
        body.insert("detail".to_owned(), json!(self.detail));
        Value::Object(body)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// What a rejection says, as a sentence of its own.
pub(crate) fn sentence(rejection: &Rejection) -> String {
    if rejection.member.is_empty() {
        format!("the record {}", rejection.detail)
    } else {
        format!("`{}` {}", rejection.member, rejection.detail)
    }
}
