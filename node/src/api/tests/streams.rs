//! `GET /v1/events`, and how everything ends.

use super::*;

/// One reader of events.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(node: &Node, query: &str) -> Self {
        Self::of(node.client.get(node.url(&format!("/v1/events{query}")))).await
    }

    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event's name and data; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(line.strip_prefix(": ").expect("a field").to_owned())
                };
                let (name, data) = (field("event"), field("data"));
                let (name, data) = (name.expect("a name"), data.expect("data"));
                let data: Value = serde_json::from_str(&data).expect("JSON");
                if let Some(id) = field("id") {
                    assert_eq!(id, data["height"].to_string());
                }
                self.text = rest.to_owned();
                return Some((name, data));
            }
            let chunk = self.response.chunk().await.expect("the stream goes on")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    async fn height(&mut self) -> u64 {
        let (name, data) = self.next().await.expect("an event");
        assert_eq!(name, "block", "{data}");
        data["height"].as_u64().expect("a height")
    }
}

#[tokio::test]
async fn events_resume_from_the_store_and_go_on_live() {
    let mut node = Node::start().await;
    // More than the channel holds and more than one page.
    for _ in 0..40 {
        node.commit(&[]);
    }
    let mut reader = Reader::open(&node, "?from_height=3").await;
    for height in 3..=40 {
        assert_eq!(reader.height().await, height);
    }
    let record = record(1);
    node.commit(&[Arc::clone(&record)]);
    let (name, data) = reader.next().await.expect("an event");
    assert_eq!((name.as_str(), &data["height"]), ("block", &41.into()));
    assert_eq!(data["records"][0]["digest"], digest_of(&record).to_string());
    assert_eq!(data["records"][0]["code"], 0);
    assert_eq!(data["records"][0]["log_index"], 0);
    for height in 42..=60 {
        node.commit(&[]);
        assert_eq!(reader.height().await, height);
    }
}

#[tokio::test]
async fn a_stream_begins_where_it_is_asked_to() {
    let mut node = Node::start().await;
    for _ in 0..3 {
        node.commit(&[]);
    }
    let mut next = Reader::open(&node, "").await;
    let mut all = Reader::open(&node, "?from_height=0").await;
    let request = node.client.get(node.url("/v1/events")).header("last-event-id", "2");
    let mut resumed = Reader::of(request).await;
    let mut later = Reader::open(&node, "?from_height=5").await;
    assert_eq!(all.height().await, 1);
    assert_eq!(resumed.height().await, 3);
    node.commit(&[]);
    assert_eq!(next.height().await, 4);
    node.commit(&[]);
    assert_eq!(later.height().await, 5);
}

#[tokio::test]
async fn a_slow_reader_is_told_where_to_resume() {
    let mut node = Node::start().await;
    let mut reader = Reader::open(&node, "?from_height=1").await;
    node.commit(&[]);
    assert_eq!(reader.height().await, 1);
    // One thread runs everything here, so nobody reads between these blocks.
    for _ in 0..=COMMITTED_MAX {
        node.commit(&[]);
    }
    let (name, data) = reader.next().await.expect("an event");
    assert_eq!((name.as_str(), &data["resume_from_height"]), ("lagged", &2.into()));
    assert!(reader.next().await.is_none(), "the stream ends");
    let mut reader = Reader::open(&node, "?from_height=2").await;
    for height in 2..=6 {
        assert_eq!(reader.height().await, height);
    }
}

#[tokio::test]
async fn streams_are_bounded_and_leave_their_place() {
    let node = Node::start_with(|options| options.limits.streams_max = 1).await;
    let reader = Reader::open(&node, "").await;
    let answer = node.get("/v1/events").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "TOO_MANY_STREAMS"));
    node.until_metric("bizra_api_event_streams 1").await;
    drop(reader);
    node.until_metric("bizra_api_event_streams 0").await;
    Reader::open(&node, "").await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped() {
    let mut node = Node::start_with(|options| {
        options.limits.stalled_time = Duration::from_millis(50);
    })
    .await;
    let records: Vec<_> = (0..100).map(record).collect();
    node.commit(&records);
    // A client that asks for the same again and again and never reads the answers.
    let stream = TcpStream::connect(node.running.address).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    let request = b"GET /v1/blocks/1 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(64);
    // Its writes end when the node has hung up; until then they fill the buffers.
    while writing.write_all(&request).await.is_ok() {}
    drop(reading);
    assert_eq!(node.get("/v1/blocks/1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_answers_what_is_open() {
    let mut node = Node::start().await;
    let mut reader = Reader::open(&node, "").await;
    let record = record(1);
    let request = tokio::spawn(send(node.submit("?wait=final", &record)));
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    node.until_metric("bizra_records_total{outcome=\"accepted\"} 1").await;
    node.shutdown.send_replace(true);
    assert!(reader.next().await.is_none());
    let answer = request.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (504, "NOT_FINAL"));
    node.running.stopped().await;
}
