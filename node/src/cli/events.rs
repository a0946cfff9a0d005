//! Server-Sent Events, and the blocks that a node announces by them.

use super::http::{Endpoint, plain, refusal};
use anyhow::{Context as _, Result, bail};
use bizra_types::hash::RecordDigest;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Duration;

/// Largest event that is read, in bytes.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// A stream that is silent for so long is taken for dead. An idle chain has a
/// block every second, and servers send comments in between.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// One event as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type, `message` if it has none.
    pub(crate) name: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

/// A committed block, as far as followers of records care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSeen {
    pub(crate) height: u64,
    /// Digest and outcome code.
    pub(crate) records: Vec<(RecordDigest, u8)>,
}

/// The events of one node from a height on.
pub(crate) struct EventStream {
    response: Response,
    parser: Parser,
    waiting: VecDeque<Event>,
}

impl EventStream {
    /// Starts to follow a node, from the next block on if no height is given.
    pub(crate) async fn open(
        client: &Client,
        endpoint: &Endpoint,
        from_height: Option<u64>,
    ) -> Result<Self> {
        let query = from_height.map_or_else(String::new, |it| format!("?from_height={it}"));
        let request = client
            .get(endpoint.url(&format!("/v1/events{query}")))
            .header("Accept", "text/event-stream")
            .send();
        let response = tokio::time::timeout(SILENCE_MAX, request)
            .await
            .with_context(|| format!("{endpoint}: no answer"))?
            .map_err(plain)?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = response.bytes().await.unwrap_or_default();
            bail!("{endpoint}: {}", refusal(status, &body));
        }
        Ok(Self { response, parser: Parser::default(), waiting: VecDeque::new() })
    }

    /// The next event; none when the node ends the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk())
                .await
                .context("the event stream is silent")?
                .map_err(plain)?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.waiting.extend(self.parser.push(&chunk)?);
        }
    }
}

impl BlockSeen {
    /// Reads a `block` event; none for other events.
    pub(crate) fn of(event: &Event) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Block {
            height: u64,
            records: Vec<Record>,
        }
        #[derive(Deserialize)]
        struct Record {
            digest: Option<String>,
            code: u8,
        }
        if event.name != "block" {
            return Ok(None);
        }
        let block: Block =
            serde_json::from_str(&event.data).context("a block event of unknown form")?;
        let records = block
            .records
            .into_iter()
            .filter_map(|record| Some((RecordDigest::from_hex(&record.digest?)?, record.code)));
        Ok(Some(Self { height: block.height, records: records.collect() }))
    }
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > EVENT_BYTES_MAX {
                    bail!("an event is longer than {EVENT_BYTES_MAX} bytes");
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8(line).context("an event is not UTF-8")?;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                if let Some(data) = self.data.take() {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    events.push(Event { name, data });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => match &mut self.data {
                    Some(data) if data.len() + value.len() > EVENT_BYTES_MAX => {
                        bail!("an event is longer than {EVENT_BYTES_MAX} bytes");
                    }
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(value.to_owned()),
                },
                // Comments have an empty field; ids are the heights in the data.
                _ => {}
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_cut_out_of_any_chunks() {
        let text =
            ": hello\n\nevent: block\nid: 7\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\nevent: e\n\n";
        let expected = [event("block", "{\"a\":\n1}"), event("message", "x")];
        let mut whole = Parser::default();
        assert_eq!(whole.push(text.as_bytes()).expect("good"), expected);
        let mut bytewise = Parser::default();
        let events: Vec<_> =
            text.bytes().flat_map(|byte| bytewise.push(&[byte]).expect("good")).collect();
        assert_eq!(events, expected);
    }

    #[test]
    fn blocks_name_their_records() {
        let digest = RecordDigest([7; 32]);
        let data = format!(
            r#"{{"height":9,"view":3,"records":[{{"digest":"{digest}","code":0,"log_index":4}},{{"digest":null,"code":1,"log_index":null}}]}}"#
        );
        let block = BlockSeen::of(&event("block", &data)).expect("good").expect("a block");
        assert_eq!(block, BlockSeen { height: 9, records: vec![(digest, 0)] });
        assert_eq!(BlockSeen::of(&event("lagged", "{}")).expect("good"), None);
        assert!(BlockSeen::of(&event("block", "{}")).is_err());
    }
}
