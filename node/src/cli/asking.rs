//! `status` and `events`: what a node says.

use super::events::{BlockSeen, EventStream};
use super::http::{DEFAULT_ENDPOINT, Endpoint, client, get_json};
use super::output::{Answer, line, print};
use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Status {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Events {
    /// The node.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: Endpoint,
    /// The first block to show; the next one if absent.
    #[arg(long, value_name = "HEIGHT")]
    from_height: Option<u64>,
    /// Print the events' data, one JSON text per line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn status(arguments: &Status) -> Result<Answer> {
    let url = arguments.endpoint.url("/v1/status");
    let facts = get_json(&client()?, &url, Duration::from_secs(10)).await?;
    let text = match &facts {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}"),
                other => format!("{name}: {other}"),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    };
    print(arguments.json, &facts, &text)?;
    Ok(Answer::True)
}

pub(crate) async fn events(arguments: &Events) -> Result<Answer> {
    let client = client()?;
    let mut stream = EventStream::open(&client, &arguments.endpoint, arguments.from_height).await?;
    while let Some(event) = stream.next().await? {
        if arguments.json {
            line(&event.data)?;
            continue;
        }
        match BlockSeen::of(&event)? {
            Some(block) => {
                let height = block.height;
                line(&format!("block {height}: {} records", block.records.len()))?;
                for (digest, code) in block.records {
                    line(&format!("  {digest} code {code}"))?;
                }
            }
            None => line(&format!("{}: {}", event.name, event.data))?,
        }
    }
    bail!("the node ended the stream");
}
