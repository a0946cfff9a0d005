//! `GET /v1/events`: committed blocks as Server-Sent Events.
//!
//! A stream begins at `from_height`, or after `Last-Event-ID`, or at the next
//! block. What is committed already comes from the store, at the reader's pace;
//! then it follows live. A reader that falls behind the live blocks is told
//! `lagged` with the height to resume from, and its stream ends.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use bizra_ledger::codes::Code;
use bizra_types::numbers::Height;
use futures::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Api;
use super::error::Refusal;
use super::request::{Parameters, unsigned};
use crate::metrics::Metrics;
use crate::shared::Committed;

/// Blocks read from the store at once.
const PAGE: usize = 16;
/// Time without a block after which a comment shows that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// A committed block at this height, as JSON.
    Block(Height, Value),
    /// The reader fell behind; where to resume.
    Lagged(Height),
    /// This block cannot be read here.
    Unreadable(Height),
}

/// Opens a stream of Server-Sent Events.
pub(crate) async fn stream(
    State(api): State<Api>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let parameters = Parameters::read(&uri, &["from_height"])?;
    let first = match (parameters.unsigned("from_height")?, last_event(&headers)?) {
        (Some(height), _) => Some(Height::new(height)),
        (None, Some(last)) => Some(last.next()),
        (None, None) => None,
    };
    let events = open(&api, first)?.map(|told| {
        let (name, data) = match told {
            Told::Block(height, block) => {
                let event = Event::default().event("block").id(height.to_string());
                return Ok(event.data(block.to_string()));
            }
            Told::Lagged(height) => ("lagged", json!({ "resume_from_height": height.get() })),
            Told::Unreadable(height) => {
                ("error", json!({ "name": "INTERNAL", "detail": unreadable(height) }))
            }
        };
        Ok(Event::default().event(name).data(data.to_string()))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("alive")))
}

/// Opens a stream from a height on, or from the next block on. After anything but
/// a block it ends.
pub(crate) fn open(
    api: &Api,
    first: Option<Height>,
) -> Result<impl Stream<Item = Told> + use<>, Refusal> {
    let next = match first {
        Some(height) => height.max(Height::new(1)),
        None => api.shared.store.head().height().next(),
    };
    let place = Place {
        open: Open::new(api)?,
        shutdown: api.shutdown.clone(),
        api: api.clone(),
        next,
        read: VecDeque::new(),
        live: None,
        is_over: false,
    };
    Ok(stream::unfold(place, |mut place| async move {
        let told = place.next_told().await?;
        Some((told, place))
    }))
}

/// What is told where a block cannot be read.
pub(crate) fn unreadable(height: Height) -> String {
    format!("block {height} cannot be read here; ask another node")
}

/// The records of a block, as events and block answers show them.
pub(crate) fn records_json(block: &Committed) -> Vec<Value> {
    let record = |(digest, code, log_index): &(Option<_>, u8, Option<_>)| {
        let digest: &Option<bizra_types::hash::RecordDigest> = digest;
        let log_index: &Option<bizra_types::numbers::LogIndex> = log_index;
        let mut record = json!({
            "code": code,
            "name": Code::from_number(*code).map_or("UNKNOWN", Code::name),
        });
        if let Some(digest) = digest {
            record["digest"] = json!(digest.to_string());
        }
        if let Some(index) = log_index {
            record["log_index"] = json!(index.get());
        }
        record
    };
    block.records.iter().map(record).collect()
}

/// Where a reader is.
struct Place {
    api: Api,
    /// The height of the next event.
    next: Height,
    /// Blocks from the store that are to be told.
    read: VecDeque<Committed>,
    /// Set once everything in the store is told.
    live: Option<broadcast::Receiver<Arc<Committed>>>,
    is_over: bool,
    shutdown: watch::Receiver<bool>,
    #[expect(dead_code, reason = "held until it is dropped")]
    open: Open,
}

impl Place {
    async fn next_told(&mut self) -> Option<Told> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(block) = self.read.pop_front() {
                return Some(self.tell(&block));
            }
            let Some(live) = &mut self.live else {
                if let Err(told) = self.catch_up().await {
                    self.is_over = true;
                    return Some(told);
                }
                continue;
            };
            let received = tokio::select! {
                _ = self.shutdown.wait_for(|ends| *ends) => return None,
                received = live.recv() => received,
            };
            match received {
                Ok(block) if block.height < self.next => {}
                Ok(block) if block.height == self.next => return Some(self.tell(&block)),
                // Blocks in between were announced before this receiver was there.
                Ok(_) => self.live = None,
                Err(RecvError::Lagged(_)) => {
                    self.is_over = true;
                    return Some(Told::Lagged(self.next));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Reads on in the store, or goes live when there is nothing more to read.
    async fn catch_up(&mut self) -> Result<(), Told> {
        // In this order: a block that is committed in between is in the receiver.
        let live = self.api.shared.committed.subscribe();
        let head = self.api.shared.store.head().height();
        if self.next > head {
            self.live = Some(live);
            return Ok(());
        }
        let first = self.next;
        let page = self.api.read(move |store| {
            let mut blocks = VecDeque::new();
            let mut height = first;
            while height <= head && blocks.len() < PAGE {
                let Some(block) = store.committed_at(height)? else { break };
                blocks.push_back(block);
                height = height.next();
            }
            Ok(blocks)
        });
        match page.await {
            Ok(blocks) if !blocks.is_empty() => {
                self.read = blocks;
                Ok(())
            }
            _ => Err(Told::Unreadable(first)),
        }
    }

    fn tell(&mut self, block: &Committed) -> Told {
        self.next = block.height.next();
        let data = json!({
            "height": block.height.get(),
            "block_id": block.block.to_string(),
            "view": block.view.get(),
            "timestamp_ms": block.timestamp_ms.get(),
            "proposer": block.proposer.get(),
            "records": records_json(block),
        });
        Told::Block(block.height, data)
    }
}

/// An open stream, as the metrics and the bound count it.
pub(crate) struct Open {
    metrics: Arc<Metrics>,
    #[expect(dead_code, reason = "held until it is dropped")]
    permit: OwnedSemaphorePermit,
}

impl Open {
    /// A place for one more.
    ///
    /// # Errors
    /// 503 when too many are open.
    pub(crate) fn new(api: &Api) -> Result<Self, Refusal> {
        let permit = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
            let detail = "too many event streams are open; try again or ask another node";
            Refusal::unavailable("TOO_MANY_STREAMS", detail)
        })?;
        let metrics = Arc::clone(&api.shared.metrics);
        metrics.event_stream(true);
        Ok(Self { metrics, permit })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.event_stream(false);
    }
}

/// The height that a browser which reconnects has seen.
fn last_event(headers: &HeaderMap) -> Result<Option<Height>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let height = unsigned("Last-Event-ID", value.to_str().unwrap_or(""))?;
    if height == u64::MAX {
        return Err(Refusal::bad_request("BAD_NUMBER", "`Last-Event-ID` is no height"));
    }
    Ok(Some(Height::new(height)))
}
