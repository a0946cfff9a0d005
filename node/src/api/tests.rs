//! The two ports over real sockets, with a temporary store and a driver that
//! does as it is told.

mod admin;
mod calls;
mod description;
mod governance;
mod patterns;
mod reading;
mod streams;
mod submitting;

use super::*;
use crate::metrics::Metrics;
use crate::shared::{Committed, NodeStatus, NotAccepted, Ordered, SUBMISSIONS_MAX, Submission};
use crate::storage::testing::{
    RunBlock, TestChain, record as old_record, registration, validator_key,
};
use bizra_keys::SenderKey;
use bizra_ledger::envelope::Unsigned;
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch, SignedTicket, Ticket};
use bizra_types::hash::{BatchDigest, RecordDigest, hex};
use bizra_types::json::{Limits as JsonLimits, Members, Value as JsonValue, canonical, parse};
use bizra_types::numbers::{Era, Height, LaneSeq, TimestampMs, ValidatorIndex};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Mutex;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};

/// Blocks that the broadcast channel of the tests holds.
const COMMITTED_MAX: usize = 4;

/// A node without its driver.
struct Node {
    running: Running,
    client: Client,
    shared: Shared,
    submissions: mpsc::Receiver<Submission>,
    pattern_asks: mpsc::Receiver<crate::patterns::Ask>,
    status: watch::Sender<NodeStatus>,
    shutdown: watch::Sender<bool>,
    chain: TestChain,
    lane: (LaneSeq, BatchDigest),
    log_levels: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// Checks the form that every refusal has, and gives its name.
    #[track_caller]
    fn refusal(&self) -> String {
        let body = self.json();
        assert!(body["detail"].as_str().is_some_and(|it| !it.is_empty()), "{body}");
        assert!(body["code"].is_u64() != body["error"].is_u64(), "{body}");
        if let Some(error) = body["error"].as_u64() {
            assert_eq!(error, u64::from(self.status.as_u16()));
        }
        body["name"].as_str().expect("a refusal has a name").to_owned()
    }
}

impl Node {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chain = TestChain::new("api tests");
        let store = Store::open(folder.path(), &chain.genesis).expect("the folder opens");
        Self::start_on(folder, chain, store, change).await
    }

    async fn start_on(
        folder: TempDir,
        chain: TestChain,
        store: Store,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let (submissions, submitted) = mpsc::channel(SUBMISSIONS_MAX);
        let (patterns, pattern_asks) = mpsc::channel(1);
        let (status, status_seen) = watch::channel(NodeStatus {
            mode: Mode::Federated,
            synced: true,
            heard: (0..4).map(ValidatorIndex::new).collect(),
            ..NodeStatus::new(
                Era::new(1),
                Arc::clone(&chain.genesis.committee),
                Some(ValidatorIndex::ZERO),
            )
        });
        let (committed, _) = broadcast::channel(COMMITTED_MAX);
        let (ordered, _) = broadcast::channel(COMMITTED_MAX);
        let shared = Shared {
            genesis: Arc::clone(&chain.genesis),
            store,
            submissions,
            patterns,
            status: status_seen,
            committed,
            ordered,
            metrics: Arc::new(Metrics::new()),
        };
        let mut options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            admin_token: None,
            limits: Limits::default(),
            note_key: validator_key(0),
        };
        change(&mut options);
        let log_levels = Arc::new(Mutex::new(Vec::new()));
        let levels = Arc::clone(&log_levels);
        let log_level = LogLevel::new(move |level| {
            if level == "loud" {
                return Err("no such level".to_owned());
            }
            levels.lock().expect("not poisoned").push(level.to_owned());
            Ok(())
        });
        let (shutdown, ends) = watch::channel(false);
        let running =
            start(options, shared.clone(), log_level, ends).await.expect("the API starts");
        Self {
            running,
            client: Client::builder().no_proxy().build().expect("a client"),
            shared,
            submissions: submitted,
            pattern_asks,
            status,
            shutdown,
            lane: (LaneSeq::ZERO, BatchDigest::ZERO),
            chain,
            log_levels,
            folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.client.get(self.url(path))).await
    }

    async fn get_admin(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.running.admin_address);
        send(self.client.get(url)).await
    }

    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(self.url(path)).body(body);
        request.header("content-type", "application/json")
    }

    fn submit(&self, query: &str, record: &[u8]) -> RequestBuilder {
        self.post(&format!("/v1/records{query}"), record.to_vec())
    }

    /// Submits a record and lets the driver accept it.
    async fn accept(&mut self, record: &[u8]) -> Answer {
        let request = tokio::spawn(send(self.submit("", record)));
        let submission = self.submissions.recv().await.expect("the API submits");
        accept(&self.chain, submission);
        request.await.expect("no panic")
    }

    /// Commits a block of these records, as an executor would.
    fn commit(&mut self, records: &[Arc<[u8]>]) -> Arc<Committed> {
        let batch = self.batch(records);
        let batches = if records.is_empty() { Vec::new() } else { vec![batch] };
        let run: RunBlock = self.chain.grow(&self.shared.store, &batches);
        let height = run.block.header().height;
        let committed = self.shared.store.committed_at(height).expect("readable");
        let committed = Arc::new(committed.expect("just committed"));
        // Nobody may be listening.
        drop(self.shared.committed.send(Arc::clone(&committed)));
        committed
    }

    /// The next batch of the first validator's lane, admitted now.
    fn batch(&mut self, records: &[Arc<[u8]>]) -> Arc<SignedBatch> {
        let admitted_at_ms = admission::now();
        let records: Arc<[BatchRecord]> = if records.is_empty() {
            [BatchRecord { admitted_at_ms, bytes: old_record(0) }].into()
        } else {
            let bytes = records.iter().map(Arc::clone);
            bytes.map(|bytes| BatchRecord { admitted_at_ms, bytes }).collect()
        };
        let key = validator_key(0);
        let (last, previous) = self.lane;
        let header = BatchHeader::new(Era::new(1), key.public(), last.next(), previous, &records);
        let chain_id = self.chain.genesis.chain_id();
        self.lane = (last.next(), header.digest(&chain_id));
        let signature = key.sign(&header.signed_bytes(&chain_id));
        Arc::new(SignedBatch::new(header, signature, records).expect("the header is theirs"))
    }

    fn set_status(&self, change: impl FnOnce(&mut NodeStatus)) {
        self.status.send_modify(change);
    }

    /// Waits until the metrics contain a line.
    async fn until_metric(&self, line: &str) {
        while !self.shared.metrics.encode().lines().any(|it| it == line) {
            tokio::task::yield_now().await;
        }
    }
}

/// Accepts a record as validator 0.
fn accept(chain: &TestChain, submission: Submission) -> SignedTicket {
    let ticket = Ticket {
        digest: submission.digest,
        admitted_at_ms: submission.admitted_at_ms,
        deadline_ms: submission.admitted_at_ms.saturating_add_ms(86_400_000),
    };
    let era = Era::new(1);
    let signature = validator_key(0).sign(&ticket.signed_bytes(&chain.genesis.chain_id(), era));
    let signed = SignedTicket { ticket, era, signer: ValidatorIndex::ZERO, signature };
    // A client that hung up wants no ticket.
    let _ = submission.reply.send(Ok(signed));
    signed
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the API answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("the answer is text");
    Answer { status, headers, text }
}

/// A good record of this moment; `number` makes it differ from others.
fn record(number: u64) -> Arc<[u8]> {
    edited(number, |_| {})
}

/// A record of this moment with a change, signed.
fn edited(number: u64, change: impl FnOnce(&mut Members)) -> Arc<[u8]> {
    let Ok(JsonValue::Object(mut members)) = parse(&old_record(number), JsonLimits::ENVELOPE)
    else {
        panic!("a record is an object");
    };
    members.remove("signature");
    members.insert("timestamp", timestamp(0));
    change(&mut members);
    sign(&members)
}

fn sign(members: &Members) -> Arc<[u8]> {
    let text = canonical(&JsonValue::Object(members.clone()));
    let unsigned = Unsigned::parse(&text).expect("the form is right");
    let signature = SenderKey::from_seed(&[99; 32]).sign(unsigned.digest().as_bytes());
    unsigned.with_signature(signature).expect("small enough")
}

/// The clock's time with an offset, as an envelope spells it.
fn timestamp(offset_s: i64) -> JsonValue {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(offset_s);
    JsonValue::from(time.format(&Rfc3339).expect("a year of four digits").as_str())
}

/// Replaces an inner member.
fn set(members: &mut Members, outer: &str, inner: &str, value: JsonValue) {
    let Some(JsonValue::Object(mut object)) = members.remove(outer) else {
        panic!("{outer} is no object");
    };
    object.insert(inner, value);
    members.insert(outer, JsonValue::Object(object));
}

fn digest_of(record: &[u8]) -> RecordDigest {
    bizra_ledger::envelope::Envelope::parse(record).expect("a good record").0.digest
}
