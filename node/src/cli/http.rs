//! Asking a node over HTTP.

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where a node answers when nothing else is said.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8080";

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The address of a node's API, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint(String);

impl Endpoint {
    pub(crate) fn of(address: std::net::SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err(
                "this client speaks plain HTTP: put a TLS proxy's inner address here".into()
            );
        }
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = reqwest::Url::parse(&full).map_err(|error| error.to_string())?;
        if url.scheme() != "http" || url.host().is_none() || url.query().is_some() {
            return Err("expected http://HOST:PORT".into());
        }
        Ok(Self(full.trim_end_matches('/').to_owned()))
    }
}

/// A client that gives up connecting after two seconds and follows nothing.
/// Each request sets its own time limit.
pub(crate) fn client() -> Result<Client> {
    Client::builder()
        .connect_timeout(Duration::from_secs(2))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("cannot make an HTTP client")
}

/// Sends a request and reads the whole answer, whatever its status.
pub(crate) async fn send(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
    let mut response = request.send().await.map_err(plain)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(plain)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            bail!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
        }
    }
    Ok((status, body))
}

/// Fetches JSON that must come with status 200.
pub(crate) async fn get_json(client: &Client, url: &str, limit: Duration) -> Result<Value> {
    let (status, body) = send(client.get(url).timeout(limit)).await?;
    if status != StatusCode::OK {
        bail!("{url}: {}", refusal(status, &body));
    }
    serde_json::from_slice(&body).with_context(|| format!("{url}: the answer is not JSON"))
}

/// The policy that records must name, as 64 hex digits: the first that the first
/// endpoint to answer has in force, zeros if none is.
pub(crate) async fn policy_in_force(client: &Client, endpoints: &[Endpoint]) -> Result<String> {
    let mut last = anyhow::anyhow!("no endpoint was given");
    for endpoint in endpoints {
        match get_json(client, &endpoint.url("/v1/params"), Duration::from_secs(5)).await {
            Ok(params) => return Ok(first_policy(&params)),
            Err(error) => last = error,
        }
    }
    Err(last.context("cannot ask for the policy in force"))
}

/// The policy to name, by an answer to `GET /v1/params`.
pub(crate) fn first_policy(params: &Value) -> String {
    params["policies"][0]["policy_hash"].as_str().map_or_else(|| "0".repeat(64), str::to_owned)
}

/// What an answer that is no success says, in one line.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Ok(Value::Object(members)) = serde_json::from_str::<Value>(&text) else {
        let text: String = text.trim().chars().take(300).collect();
        return format!("HTTP {status} {text}").trim_end().to_owned();
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    match (text("name"), text("detail")) {
        (Some(name), Some(detail)) => format!("{name}: {detail}"),
        (Some(name), None) => format!("HTTP {status} {name}"),
        (None, _) => format!("HTTP {status} {}", Value::Object(members)),
    }
}

/// An error of the client with its innermost reason, which says most.
pub(crate) fn plain(error: reqwest::Error) -> anyhow::Error {
    let url = error.url().map_or_else(String::new, |url| format!("{url}: "));
    let mut reason: &dyn std::error::Error = &error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    if error.is_timeout() {
        anyhow::anyhow!("{url}no answer in time")
    } else {
        anyhow::anyhow!("{url}{reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_and_without_scheme() {
        for (text, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://node-1:8080/", "http://node-1:8080/v1"),
            ("[::1]:80", "http://[::1]:80/v1"),
        ] {
            assert_eq!(text.parse::<Endpoint>().expect("an endpoint").url("/v1"), url);
        }
        for text in ["https://a", "ftp://a", "http://a?b", "", "http://"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn refusals_are_one_line() {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let body = br#"{"code":9,"name":"POLICY","detail":"not in force"}"#;
        assert_eq!(refusal(status, body), "POLICY: not in force");
        assert_eq!(refusal(status, b"no\n"), "HTTP 422 Unprocessable Entity no");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b""), "HTTP 502 Bad Gateway");
    }
}
