//! `patterns`: what a node has learned from others.

use super::http::{DEFAULT_ENDPOINT, Endpoint, client, get_json};
use super::output::{Answer, count, print};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Patterns {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// Only patterns of this domain.
    #[arg(long)]
    domain: Option<String>,
    /// Only this pattern.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many to pass over.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    after: u64,
    /// Print JSON, envelopes included.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn patterns(arguments: &Patterns) -> Result<Answer> {
    let url = arguments.endpoint.url("/v1/patterns");
    let mut url = reqwest::Url::parse(&url).context("the endpoint is no URL")?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("after", &arguments.after.to_string());
        for (name, value) in [("domain", &arguments.domain), ("id", &arguments.id)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
    }
    let facts = get_json(&client()?, url.as_str(), Duration::from_secs(10)).await?;
    print(arguments.json, &facts, &text(&facts))?;
    Ok(Answer::True)
}

/// One line for each pattern, and below it what it says.
fn text(facts: &Value) -> String {
    let total = facts["total"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
    let mut lines = vec![count(total, "pattern")];
    for pattern in facts["patterns"].as_array().into_iter().flatten() {
        let member = |name: &str| pattern[name].as_str().unwrap_or("?").to_owned();
        let network = match pattern["network"]["validated_at"].as_u64() {
            Some(height) => format!("valid for the network since block {height}"),
            None => count_of_votes(&pattern["network"]["votes"]),
        };
        lines.push(format!(
            "{} impact {} reputation {} of {} in {}, {network}",
            member("pattern_id"),
            pattern["impact"],
            pattern["reputation"],
            member("source"),
            member("domain"),
        ));
        let data = &pattern["envelope"]["payload"]["data"];
        lines.push(format!("  when {}, do {}", data["trigger_condition"], data["action"]));
    }
    if let Some(next) = facts["next"].as_u64() {
        lines.push(format!("more with --after {next}"));
    }
    lines.join("\n")
}

fn count_of_votes(votes: &Value) -> String {
    count(votes.as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(0), "vote")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_are_told_in_lines() {
        let data = json!({ "trigger_condition": "a \"b\"\n", "action": "c" });
        let pattern = |network: Value| {
            json!({
                "pattern_id": "sape_1", "source": "k", "domain": "d", "impact": 0.5,
                "reputation": 0.49, "network": network, "envelope": { "payload": { "data": data } },
            })
        };
        let facts = json!({
            "total": 3, "next": 2,
            "patterns": [
                pattern(json!({ "votes": 1 })),
                pattern(json!({ "votes": 5, "validated_at": 7 })),
            ],
        });
        assert_eq!(
            text(&facts),
            "3 patterns\n\
             sape_1 impact 0.5 reputation 0.49 of k in d, 1 vote\n  \
             when \"a \\\"b\\\"\\n\", do \"c\"\n\
             sape_1 impact 0.5 reputation 0.49 of k in d, valid for the network since block 7\n  \
             when \"a \\\"b\\\"\\n\", do \"c\"\n\
             more with --after 2"
        );
        assert_eq!(text(&json!({ "total": 0, "patterns": [] })), "0 patterns");
    }
}
