//! Patterns, with a pool that nobody else hears.

use super::*;
use crate::patterns::testing::{elevation, offer, source};
use crate::patterns::{Ask, Pool};

impl Node {
    /// Lets a pool answer what is asked from now on.
    pub(super) fn answer_patterns(&mut self) -> tokio::task::JoinHandle<Vec<bytes::Bytes>> {
        let shared = &self.shared;
        let pool = Pool::restored(
            &shared.genesis,
            shared.store.clone(),
            shared.status.clone(),
            Arc::clone(&shared.metrics),
            admission::now(),
        );
        let mut pool = pool.expect("the store can be read");
        let (_, closed) = mpsc::channel(1);
        let mut asks = std::mem::replace(&mut self.pattern_asks, closed);
        tokio::spawn(async move {
            let mut news = Vec::new();
            while let Some(ask) = asks.recv().await {
                news.extend(pool.answer(ask, admission::now()));
            }
            news
        })
    }

    async fn offer(&self, envelope: &[u8]) -> Answer {
        send(self.post("/v1/patterns", envelope.to_vec())).await
    }
}

#[tokio::test]
async fn a_pattern_is_offered_and_found() {
    let mut node = Node::start().await;
    let answering = node.answer_patterns();
    let good = offer(1, 1, 90, admission::now());
    let digest = digest_of(&good);
    for _ in 0..2 {
        let answer = node.offer(&good).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        let body = answer.json();
        assert!(body["pattern_id"].as_str().is_some_and(|id| id.starts_with("sape_")), "{body}");
        assert_eq!(body["status"], "VALIDATED");
        assert_eq!(body["digest"], digest.to_string());
        assert_eq!(body["impact"], 0.9045);
    }
    let answer = node.get("/v1/patterns").await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = std::str::from_utf8(&good).unwrap();
    assert!(answer.text.contains(&format!("\"envelope\":{text}")), "byte by byte");
    let body = answer.json();
    assert_eq!(body["total"], 1);
    assert_eq!(body["next"], Value::Null);
    let found = &body["patterns"][0];
    assert_eq!(found["digest"], digest.to_string());
    assert_eq!(found["source"], source(1).public().to_string());
    assert_eq!(found["reputation"], 0.51);
    assert_eq!(found["network"], serde_json::json!({ "votes": 0 }));

    node.offer(&offer(2, 1, 95, admission::now())).await;
    node.offer(&offer(2, 2, 85, admission::now())).await;
    let impacts = |answer: Answer| -> Vec<f64> {
        let body = answer.json();
        let found = body["patterns"].as_array().expect("a list");
        found.iter().map(|it| it["impact"].as_f64().expect("a number")).collect()
    };
    let id = found["pattern_id"].as_str().unwrap();
    for (query, expected) in [
        (String::new(), vec![0.95475, 0.9045, 0.85425]),
        (format!("?id={id}"), vec![0.95475, 0.9045]),
        ("?domain=domain-0".to_owned(), vec![0.85425]),
        (format!("?domain=domain-0&id={id}"), vec![]),
        ("?after=1&limit=1".to_owned(), vec![0.9045]),
        ("?after=18446744073709551615".to_owned(), vec![]),
    ] {
        assert_eq!(impacts(node.get(&format!("/v1/patterns{query}")).await), expected, "{query}");
    }
    let page = node.get("/v1/patterns?limit=2").await.json();
    assert_eq!((&page["next"], &page["total"]), (&2.into(), &3.into()));
    // Each is news once.
    node.shared.patterns = mpsc::channel(1).0;
    let Node { running, shutdown, shared, .. } = node;
    drop(shared);
    shutdown.send_replace(true);
    running.stopped().await;
    assert_eq!(answering.await.unwrap().len(), 3);
}

#[tokio::test]
async fn votes_of_validators_are_told_and_proven() {
    let mut node = Node::start().await;
    let _answering = node.answer_patterns();
    let now = admission::now();
    let good = offer(1, 1, 90, now);
    assert_eq!(node.offer(&good).await.status, StatusCode::ACCEPTED);
    let (digest, chain) = (digest_of(&good), node.shared.genesis.chain_id());
    let network = |answer: Answer| answer.json()["patterns"][0]["network"].clone();
    // The keys of the test chain's four validators are those of the seeds from 1 on. Whoever has
    // voted votes no more, and key 9 has no seat.
    let votes = [1, 2, 2, 9].map(|seed| elevation(seed, digest, &chain, now));
    let codes: Vec<u8> = node.commit(&votes).records.iter().map(|(_, code, _)| *code).collect();
    assert_eq!(codes, [0, 0, 255, 11]);
    assert_eq!(network(node.get("/v1/patterns").await), serde_json::json!({ "votes": 2 }));
    let height = node.commit(&[elevation(3, digest, &chain, now)]).height.get();
    let told = serde_json::json!({ "votes": 3, "validated_at": height });
    assert_eq!(network(node.get("/v1/patterns").await), told);
    let answer = node.get(&format!("/v1/state/pattern:{digest}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn an_offer_that_is_refused_says_why() {
    let mut node = Node::start().await;
    let _answering = node.answer_patterns();
    let now = admission::now();
    let good = offer(1, 1, 90, now);
    assert_eq!(node.offer(&good).await.status, StatusCode::ACCEPTED);
    let changed = String::from_utf8(good.to_vec()).unwrap().replacen("smaller", "larger", 1);
    for (envelope, name, detail) in [
        (b"{".to_vec(), "SCHEMA", "is not strict JSON"),
        (record(1).to_vec(), "SCHEMA", "`payload.action` must be \"pattern/propagate\""),
        (changed.into_bytes(), "SIGNATURE", "`signature.value` is not"),
        (offer(1, 2, 90, now.saturating_sub_ms(130_000)).to_vec(), "STALE", "`timestamp` must"),
        (offer(1, 2, 79, now).to_vec(), "INVARIANT", "`payload.data.metrics.successes` must be"),
        (offer(1, 1, 89, now).to_vec(), "STATE", "`payload.data.metrics` must show an impact"),
    ] {
        let answer = node.offer(&envelope).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (422, name), "{detail}");
        let body = answer.json();
        assert_eq!(body["stage"], "admission");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
    // The log takes no offers.
    let answer = send(node.submit("", &good)).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (422, "SCHEMA"));
    assert!(answer.text.contains("which the log does not hold"), "{}", answer.text);
    for (path, status, name) in [
        ("/v1/patterns?id=sape_", 400, "BAD_QUERY"),
        ("/v1/patterns?name=x", 400, "BAD_QUERY"),
        ("/v1/patterns?limit=0", 400, "BAD_NUMBER"),
        ("/v1/patterns?limit=101", 400, "BAD_NUMBER"),
        ("/v1/patterns?after=-1", 400, "BAD_NUMBER"),
    ] {
        let answer = node.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (status, name), "{path}");
    }
    let long = vec![b' '; 64 * 1024 + 1];
    assert_eq!(node.offer(&long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let plain = node.client.post(node.url("/v1/patterns")).body(good.to_vec());
    assert_eq!(send(plain).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn more_than_the_pool_can_judge_is_turned_away() {
    let mut node = Node::start().await;
    // Nobody answers, and one question fills the channel of the tests.
    let waiting = tokio::spawn(send(node.post("/v1/patterns", "{}")));
    let ask = node.pattern_asks.recv().await.expect("it is asked");
    let (reply, _) = tokio::sync::oneshot::channel();
    let filler = Ask::Offer { text: bytes::Bytes::new(), reply };
    node.shared.patterns.try_send(filler).expect("there is room for one");
    let answer = node.get("/v1/patterns").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (429, "RATE"));
    assert_eq!(answer.headers["retry-after"], "1");
    drop(ask);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "STOPPING"));
}
