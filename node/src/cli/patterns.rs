//! `patterns`: what a node has learned from others, and a validator's vote for it.

use super::governance::Speaking;
use super::http::{DEFAULT_ENDPOINT, Endpoint, client, get_json};
use super::output::{Answer, WrongUse, count, print};
use anyhow::{Context as _, Result, bail};
use bizra_ledger::pattern::PatternId;
use bizra_types::hash::RecordDigest;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a node may take to say what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Patterns {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    find: Find,
}

#[derive(Subcommand)]
enum Verb {
    /// Vote, as a validator, that an offer of a pattern is valid for the whole network.
    Elevate(Elevate),
}

#[derive(Args)]
struct Elevate {
    /// The digest of the offer, as 64 hex digits; or `sape_` and 16 hex digits, the pattern's id,
    /// if the node knows one offer of it.
    #[arg(value_name = "PATTERN", value_parser = parse_pattern)]
    pattern: PatternName,
    #[command(flatten)]
    speaking: Speaking,
}

/// What an offer is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatternName {
    Offer(RecordDigest),
    Pattern(PatternId),
}

#[derive(Args)]
struct Find {
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
    match &arguments.verb {
        Some(Verb::Elevate(elevate)) => elevate.run().await,
        None => find(&arguments.find).await,
    }
}

impl Elevate {
    async fn run(&self) -> Result<Answer> {
        let speaking = &self.speaking;
        let key = speaking.validator()?;
        let digest = match self.pattern {
            PatternName::Offer(digest) => digest.to_string(),
            PatternName::Pattern(id) => {
                let url = speaking.endpoint.url(&format!("/v1/patterns?id={id}"));
                only_offer(id, &get_json(&client()?, &url, ANSWER_TIMEOUT).await?)?
            }
        };
        speaking.say(key, "pattern/elevate", &json!({ "digest": digest })).await
    }
}

/// The digest of the one offer of a pattern that a node knows.
fn only_offer(id: PatternId, known: &Value) -> Result<String> {
    let text = |offer: &Value, member: &str| offer[member].as_str().map(str::to_owned);
    match known["patterns"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => bail!("the node knows no offer of {id}: name one by its digest, or ask another node"),
        [offer] => text(offer, "digest").context("the node does not say the digest of the offer"),
        several => {
            let told = several.iter().map(|offer| {
                let (digest, source) = (text(offer, "digest"), text(offer, "source"));
                format!("{} of {}", digest.unwrap_or_default(), source.unwrap_or_default())
            });
            let told = told.collect::<Vec<_>>().join(", ");
            let complaint = format!("{id} is offered by several; name one by its digest: {told}");
            Err(WrongUse(complaint).into())
        }
    }
}

fn parse_pattern(text: &str) -> Result<PatternName, String> {
    let offer = RecordDigest::from_hex(text).map(PatternName::Offer);
    offer.or_else(|| PatternId::parse(text).map(PatternName::Pattern)).ok_or_else(|| {
        "a pattern is the digest of an offer, 64 lower-case hex digits, or an id, `sape_` and 16"
            .to_owned()
    })
}

async fn find(arguments: &Find) -> Result<Answer> {
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
    let facts = get_json(&client()?, url.as_str(), ANSWER_TIMEOUT).await?;
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
        lines.push(format!("  offer {}", member("digest")));
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

    #[test]
    fn an_offer_is_named_by_its_digest_or_by_a_pattern_that_nobody_else_offers() {
        let id = PatternId::of("latency above 1 ms");
        let digest = RecordDigest([7; 32]);
        assert_eq!(parse_pattern(&digest.to_string()), Ok(PatternName::Offer(digest)));
        assert_eq!(parse_pattern(&id.to_string()), Ok(PatternName::Pattern(id)));
        for text in ["", "sape_", "sape_0123456789abcdeF", &"AB".repeat(32)] {
            assert!(parse_pattern(text).is_err(), "{text}");
        }

        let offer = |byte: u8| {
            let digest = RecordDigest([byte; 32]).to_string();
            json!({ "pattern_id": id.to_string(), "digest": digest, "source": "k" })
        };
        let found = only_offer(id, &json!({ "total": 1, "patterns": [offer(7)] }));
        assert_eq!(found.expect("one"), digest.to_string());
        let error = only_offer(id, &json!({ "total": 0, "patterns": [] })).expect_err("none");
        assert!(error.to_string().contains("knows no offer of sape_"), "{error}");
        let error = only_offer(id, &json!({ "total": 2, "patterns": [offer(7), offer(8)] }));
        let error = error.expect_err("two");
        let both = format!("{digest} of k, {} of k", RecordDigest([8; 32]));
        assert!(error.is::<WrongUse>() && error.to_string().contains(&both), "{error}");
    }

    #[test]
    fn patterns_are_told_in_lines() {
        let data = json!({ "trigger_condition": "a \"b\"\n", "action": "c" });
        let pattern = |network: Value| {
            json!({
                "pattern_id": "sape_1", "digest": "ab", "source": "k", "domain": "d", "impact": 0.5,
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
             when \"a \\\"b\\\"\\n\", do \"c\"\n  \
             offer ab\n\
             sape_1 impact 0.5 reputation 0.49 of k in d, valid for the network since block 7\n  \
             when \"a \\\"b\\\"\\n\", do \"c\"\n  \
             offer ab\n\
             more with --after 2"
        );
        assert_eq!(text(&json!({ "total": 0, "patterns": [] })), "0 patterns");
    }
}
