//! What is read of a request before anything is done with it.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::Refusal;

/// A body beyond its limit is read on for up to this many bytes, so that the client
/// gets to read the answer instead of a reset connection.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// The parameters of a query, each known and given once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 when it has a parameter that is not among `known`, or one twice.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Refusal> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Ok(Query(pairs)) = query else {
            return Err(Refusal::bad_request("BAD_QUERY", "the query is not key=value pairs"));
        };
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let detail = format!("the query has no parameter `{name}`; known: {known}");
                return Err(Refusal::bad_request("BAD_QUERY", detail));
            }
            if pairs[..at].iter().any(|(other, _)| other == name) {
                let detail = format!("the parameter `{name}` occurs twice; give it once");
                return Err(Refusal::bad_request("BAD_QUERY", detail));
            }
        }
        Ok(Self(pairs))
    }

    /// Those of a request that has them by type.
    pub(crate) fn of(given: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self(given.collect())
    }

    /// The value of a parameter, if it is given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An unsigned integer, if it is given.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(crate) fn unsigned(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.get(name).map(|value| unsigned(name, value)).transpose()
    }
}

/// The one variable part of a path.
#[derive(Debug)]
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Refusal::bad_request("BAD_PATH", "the path is not UTF-8")),
        }
    }
}

/// Reads an unsigned decimal integer without sign or needless zeros.
///
/// # Errors
/// 400 when it is something else.
pub(crate) fn unsigned(name: &str, value: &str) -> Result<u64, Refusal> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'));
    let number = if is_plain { value.parse().ok() } else { None };
    number.ok_or_else(|| {
        let detail = format!("`{name}` is {value:?}, where an integer from 0 on is expected");
        Refusal::bad_request("BAD_NUMBER", detail)
    })
}

/// Refuses a body whose headers say that it is none of `types`, or that it is encoded.
///
/// # Errors
/// 415.
pub(crate) fn check_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Refusal> {
    let fail = |detail: String| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Refusal::new(status, "UNSUPPORTED_MEDIA_TYPE", detail).close())
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return fail("a content encoding is not accepted; send the plain text".to_owned());
    }
    let expected = types.join(" or ");
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return fail(format!("the content type must be given once, as {expected}"));
    };
    let text = value.to_str().unwrap_or("");
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    let is_utf8 = matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    if is_utf8 && types.iter().any(|it| essence.trim().eq_ignore_ascii_case(it)) {
        return Ok(());
    }
    fail(format!("the content type is {text:?}, where {expected} is expected"))
}

/// A body, and its place among all that are held at once.
#[derive(Debug)]
pub(crate) struct HeldBody {
    /// What was sent.
    pub(crate) bytes: Bytes,
    #[expect(dead_code, reason = "held until it is dropped")]
    room: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes within `time`. `room` has a permit for
/// each byte that all bodies together may hold.
///
/// # Errors
/// 413 when it is longer, 408 when it is slower, 400 when it breaks off, 503
/// when there is no room for it.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
    room: &Arc<Semaphore>,
) -> Result<HeldBody, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let announced: usize = announced.and_then(|it| it.parse().ok()).unwrap_or(0);
    // Who waits for a go-ahead has sent nothing yet and needs no draining.
    let is_asking = headers.contains_key(header::EXPECT);
    let read_max = if is_asking { limit } else { limit.saturating_add(DRAINED_BYTES_MAX) };
    if announced > read_max {
        return Err(Refusal::too_large("the body", limit));
    }
    match timeout(time, collect(body, limit, read_max, room)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("the body did not arrive within {} ms", time.as_millis());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", detail).close())
        }
    }
}

async fn collect(
    body: Body,
    limit: usize,
    read_max: usize,
    room: &Arc<Semaphore>,
) -> Result<HeldBody, Refusal> {
    let mut taken: Option<OwnedSemaphorePermit> = None;
    let mut frames = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = frames.next().await {
        let Ok(frame) = frame else {
            let detail = "the body broke off before its end; send it again";
            return Err(Refusal::bad_request("BROKEN_BODY", detail).close());
        };
        size += frame.len();
        if size <= limit {
            let length = u32::try_from(frame.len()).expect("a frame fits into a body");
            let Ok(permit) = Arc::clone(room).try_acquire_many_owned(length) else {
                let detail = "too many bytes are being submitted at once; try again";
                return Err(Refusal::unavailable("OVERLOADED", detail).close());
            };
            match &mut taken {
                Some(taken) => taken.merge(permit),
                None => taken = Some(permit),
            }
            bytes.extend_from_slice(&frame);
        } else if size > read_max {
            break;
        }
    }
    if size > limit {
        return Err(Refusal::too_large("the body", limit));
    }
    Ok(HeldBody { bytes: bytes.freeze(), room: taken })
}
