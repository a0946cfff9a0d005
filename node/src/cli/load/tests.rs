use super::*;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bizra_ledger::envelope::Envelope;
use bizra_types::hash::RecordDigest;
use std::sync::{Arc, Mutex};
use tokio::sync::{Barrier, broadcast};

/// A node that does as it is told: it answers submissions only when so many
/// have come, and then announces them in one block.
struct Fake {
    together: Barrier,
    seen: Mutex<Vec<RecordDigest>>,
    blocks: broadcast::Sender<String>,
    verdict: Verdict,
}

#[derive(Clone, Copy)]
enum Verdict {
    /// Accepted, and final once all are there.
    Final,
    /// Accepted, and executed with this code.
    Code(u8),
    /// Accepted, and never heard of again.
    Forget,
    /// Accepted, final, and never announced; only the look-up tells.
    Silent,
    /// Refused with 422.
    Refuse,
}

impl Fake {
    async fn start(together: usize, verdict: Verdict) -> Endpoint {
        let fake = Arc::new(Self {
            together: Barrier::new(together),
            seen: Mutex::default(),
            blocks: broadcast::Sender::new(16),
            verdict,
        });
        let router = Router::new()
            .route("/v1/records", post(Self::record))
            .route("/v1/records/{digest}", get(Self::status_of))
            .route("/v1/events", get(Self::events))
            .route("/v1/status", get(async || r#"{"height":0}"#))
            .with_state(fake);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let endpoint = Endpoint::of(listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    async fn record(State(fake): State<Arc<Self>>, body: Bytes) -> (StatusCode, String) {
        let envelope = Envelope::parse_canonical(&body).expect("a canonical envelope");
        assert!(envelope.signature_check().is_good());
        fake.seen.lock().expect("unpoisoned").push(envelope.digest);
        if fake.together.wait().await.is_leader() {
            let code = match fake.verdict {
                Verdict::Final => Some(0),
                Verdict::Code(code) => Some(code),
                Verdict::Forget | Verdict::Silent | Verdict::Refuse => None,
            };
            if let Some(code) = code {
                let digests = std::mem::take(&mut *fake.seen.lock().expect("unpoisoned"));
                let records: Vec<_> = digests
                    .iter()
                    .map(|it| serde_json::json!({ "digest": it.to_string(), "code": code }))
                    .collect();
                let block = serde_json::json!({ "height": 1, "records": records });
                fake.blocks.send(block.to_string()).expect("somebody follows");
            }
        }
        if matches!(fake.verdict, Verdict::Refuse) {
            let body = r#"{"code":9,"name":"POLICY","detail":"not in force"}"#;
            return (StatusCode::UNPROCESSABLE_ENTITY, body.to_owned());
        }
        (StatusCode::ACCEPTED, format!(r#"{{"digest":"{}"}}"#, envelope.digest))
    }

    async fn status_of(State(fake): State<Arc<Self>>) -> String {
        match fake.verdict {
            Verdict::Silent => r#"{"status":"final"}"#.to_owned(),
            _ => r#"{"status":"accepted"}"#.to_owned(),
        }
    }

    async fn events(State(fake): State<Arc<Self>>) -> Body {
        let blocks = fake.blocks.subscribe();
        // The comment lets the client know that the stream is open.
        Body::from_stream(futures::stream::unfold((blocks, true), async |(mut blocks, first)| {
            let text = if first {
                ": open\n\n".to_owned()
            } else {
                format!("event: block\ndata: {}\n\n", blocks.recv().await.ok()?)
            };
            Some((Ok::<_, std::convert::Infallible>(text), (blocks, false)))
        }))
    }
}

async fn measure(endpoints: Vec<Endpoint>, rate: f64, count: usize, drain_ms: u64) -> Report {
    let recipe = Recipe::new(&"0".repeat(64), None).expect("records can be made");
    let records = sign_ahead(recipe, count, count).await.expect("signed");
    let plan = Plan { endpoints, rate, drain: Duration::from_millis(drain_ms) };
    let progress = watch::Sender::new(Progress::default());
    let outcomes = flow::run(&plan, records, progress).await.expect("measured");
    assert_eq!(outcomes.len(), count);
    Report::of(&outcomes)
}

#[tokio::test]
async fn a_network_that_stands_still_is_measured_by_every_record() {
    // No record is answered before the last has come: a closed loop would wait
    // for ever, and its clock would start with each sending.
    let endpoint = Fake::start(50, Verdict::Final).await;
    let report = measure(vec![endpoint], 200.0, 50, 60_000).await;
    assert_eq!((report.sent, report.accepted, report.finals), (50, 50, 50));
    assert_eq!((report.rejected, report.lost), (0, 0));
    // The last one is due 245 ms after the first, and half of them 120 ms before it.
    assert!(report.max_ms.expect("some are final") >= 244.0, "{report:?}");
    assert!(report.p50_ms.expect("some are final") >= 120.0, "{report:?}");
    assert!(report.p50_ms <= report.p95_ms && report.p95_ms <= report.max_ms);
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let live = Fake::start(1, Verdict::Final).await;
    // A port for privileged programs that nothing listens on any more.
    let dead = "127.0.0.1:1".parse().expect("an endpoint");
    let report = measure(vec![dead, live], 1_000.0, 10, 60_000).await;
    assert_eq!((report.accepted, report.finals, report.lost), (10, 10, 0));
}

#[tokio::test]
async fn rejections_and_losses_are_told_apart() {
    let refused = measure(vec![Fake::start(1, Verdict::Refuse).await], 1_000.0, 3, 0).await;
    assert_eq!((refused.accepted, refused.rejected, refused.lost), (0, 3, 0));
    assert_eq!(refused.reasons.get("POLICY: not in force"), Some(&3));
    assert_eq!(refused.p50_ms, None);

    let executed = measure(vec![Fake::start(1, Verdict::Code(13)).await], 1_000.0, 3, 60_000).await;
    assert_eq!((executed.accepted, executed.rejected, executed.lost), (3, 3, 0));
    assert_eq!(executed.reasons.get("executed with code 13 FATE"), Some(&3));

    let lost = measure(vec![Fake::start(1, Verdict::Forget).await], 1_000.0, 3, 0).await;
    assert_eq!((lost.accepted, lost.rejected, lost.finals, lost.lost), (3, 0, 0, 3));

    let silent = measure(vec![Fake::start(1, Verdict::Silent).await], 1_000.0, 3, 0).await;
    assert_eq!((silent.finals, silent.lost), (3, 0));
}

#[test]
fn reports_count_from_the_intended_time() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let outcome =
        |intended, end| Outcome { digest: RecordDigest([0; 32]), intended: at(intended), end };
    // One record every 10 ms, all final at 1000 ms but the first, final at 10.
    let mut outcomes: Vec<_> =
        (1..100).map(|it| outcome(10 * it, End::Final { at: at(1_000) })).collect();
    outcomes.push(outcome(0, End::Final { at: at(10) }));
    let report = Report::of(&outcomes);
    let near = |value: Option<f64>, expected: f64| {
        let value = value.expect("some are final");
        assert!((value - expected).abs() <= expected / 500.0, "{value} is not {expected}");
    };
    near(report.p50_ms, 490.0);
    near(report.p95_ms, 940.0);
    near(report.max_ms, 990.0);
    near(report.longest_gap_ms, 990.0);
}

#[test]
fn json_has_the_documented_names() {
    let report = Report { finals: 1, p50_ms: Some(1.5), ..Report::default() };
    let json = serde_json::to_value(&report).expect("JSON");
    for name in
        ["sent", "accepted", "rejected", "final", "lost", "p50_ms", "p95_ms", "p99_ms", "max_ms"]
    {
        assert!(json.get(name).is_some(), "{name} is missing");
    }
}

#[test]
fn padding_is_exact() {
    let smallest = Recipe::new(&"0".repeat(64), None).expect("made").sign(0).expect("signed");
    let smallest = smallest.bytes.len();
    for more in [0, 1, 15, 199, 200, 201, 215, 279, 280, 500, Padding::MAX] {
        let recipe = Recipe::new(&"0".repeat(64), Some(smallest + more)).expect("made");
        let record = recipe.sign(1).expect("signed");
        assert_eq!(record.bytes.len(), smallest + more);
        Envelope::parse_canonical(&record.bytes).expect("still a good envelope");
    }
    for size in [smallest - 1, smallest + Padding::MAX + 1] {
        let error = Recipe::new(&"0".repeat(64), Some(size)).err().expect("refused");
        assert!(error.is::<WrongUse>(), "{error}");
    }
}

#[test]
fn any_padding_up_to_the_largest_can_be_made() {
    for bytes in 0..=Padding::MAX {
        let padding = Padding::of(bytes).expect("possible");
        let texts: usize = padding.texts.iter().map(|text| text + PADDING_FRAME).sum();
        assert_eq!(padding.agent + texts, bytes);
        assert!(padding.texts.iter().all(|text| (1..=PADDING_TEXT_MAX).contains(text)));
        assert!(padding.texts.len() <= PADDING_MEMBERS_MAX);
    }
    assert_eq!(Padding::of(Padding::MAX + 1), None);
}
