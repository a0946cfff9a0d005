//! `POST /v1/records` and `:batch`.

use super::*;
use bizra_ledger::policy::{DEFAULT_POLICY, PolicyHash};
use bizra_light_client::Client as LightClient;
use bizra_types::crypto::{Signature, SignatureCheck, check_each};
use bizra_types::hash::hex_array;
use bizra_types::message::CommitVote;
use bizra_types::proof::FinalityProof;

#[tokio::test]
async fn a_record_is_accepted_with_a_ticket_that_the_validator_signed() {
    let mut node = Node::start().await;
    let record = record(1);
    let answer = node.accept(&record).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    assert_eq!(body["digest"], digest_of(&record).to_string());
    assert_eq!(body["status"], "accepted");
    let ticket = Ticket {
        digest: digest_of(&record),
        admitted_at_ms: TimestampMs::new(body["ticket"]["admitted_at_ms"].as_u64().unwrap()),
        deadline_ms: TimestampMs::new(body["ticket"]["deadline_ms"].as_u64().unwrap()),
    };
    let signature = body["ticket"]["signature"].as_str().and_then(hex_array).unwrap();
    let message = ticket.signed_bytes(&node.chain.genesis.chain_id(), Era::new(1));
    let check = SignatureCheck {
        key: validator_key(0).public(),
        message: &message,
        signature: Signature(signature),
    };
    assert_eq!(check_each(&[check]), [true]);
    node.until_metric("bizra_records_total{outcome=\"accepted\"} 1").await;
}

#[tokio::test]
async fn any_spelling_is_accepted_and_canonical_bytes_are_submitted() {
    let mut node = Node::start().await;
    let record = record(1);
    let spaced = String::from_utf8(record.to_vec()).unwrap().replace("\":", "\" :\n ");
    let request = node.submit("?wait=accepted", spaced.as_bytes());
    let request = tokio::spawn(send(request));
    let submission = node.submissions.recv().await.expect("the API submits");
    assert_eq!(submission.bytes, record);
    accept(&node.chain, submission);
    assert_eq!(request.await.unwrap().status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn one_record_submitted_by_many_at_once_is_one_submission_and_one_ticket() {
    let mut node = Node::start().await;
    let record = record(1);
    let requests: Vec<_> = (0..8).map(|_| tokio::spawn(send(node.submit("", &record)))).collect();
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    let mut answers = BTreeSet::new();
    for request in requests {
        let answer = request.await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        answers.insert(answer.text);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let again = send(node.submit("", &record)).await;
    assert!(answers.contains(&again.text));
    assert!(node.submissions.try_recv().is_err(), "a copy was submitted");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_take_its_record_away() {
    let mut node = Node::start().await;
    let record = record(1);
    let request = tokio::spawn(send(node.submit("", &record)));
    let submission = node.submissions.recv().await.expect("the API submits");
    request.abort();
    accept(&node.chain, submission);
    let answer = send(node.submit("", &record)).await;
    assert_eq!(answer.json()["status"], "accepted");
    assert!(answer.json()["ticket"].is_object());
}

#[tokio::test]
async fn what_a_gate_refuses_is_told_with_code_name_and_member() {
    let mut node = Node::start().await;
    let good = String::from_utf8(record(1).to_vec()).unwrap();
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let duplicate = good.replacen('{', "{\"version\":\"1.0.0\",", 1);
    let not_utf8 = [good.as_bytes(), b"\xff"].concat();
    let trailing = format!("{good}{{}}");
    let unknown = good.replacen('{', "{\"zebra\":1,", 1);
    let mut forged = good.clone();
    let at = forged
        .find("\"signature\":{")
        .and_then(|at| Some(at + forged[at..].find("\"value\":\"")? + "\"value\":\"".len()));
    let at = at.expect("a record has a signature");
    let digit = if &forged[at..=at] == "0" { "1" } else { "0" };
    forged.replace_range(at..=at, digit);
    let other_chain = edited(2, |members| {
        set(members, "metadata", "chain_id", JsonValue::from("0".repeat(64).as_str()));
    });
    let stale = edited(3, |members| drop(members.insert("timestamp", timestamp(-600))));
    let future = edited(4, |members| drop(members.insert("timestamp", timestamp(600))));
    let role = edited(5, |members| {
        set(members, "sender", "agent_type", JsonValue::from("SAT"));
    });
    let rows: [(&str, &[u8], u64, &str, &str); 14] = [
        ("nothing", b"", 1, "SCHEMA", "strict JSON"),
        ("half", b"{\"version\":", 1, "SCHEMA", "strict JSON"),
        ("no object", b"[]", 1, "SCHEMA", "JSON object"),
        ("deep", deep.as_bytes(), 1, "SCHEMA", "nest deeper than 32"),
        ("duplicate key", duplicate.as_bytes(), 1, "SCHEMA", "occurs twice"),
        ("not UTF-8", &not_utf8, 1, "SCHEMA", "UTF-8"),
        ("trailing bytes", trailing.as_bytes(), 1, "SCHEMA", "after the end"),
        ("unknown member", unknown.as_bytes(), 1, "SCHEMA", "zebra"),
        ("a large number", b"{\"version\":9007199254740993}", 1, "SCHEMA", "exact double"),
        ("forged", forged.as_bytes(), 2, "SIGNATURE", "signature.value"),
        ("of another chain", &other_chain, 1, "SCHEMA", "metadata.chain_id"),
        ("stale", &stale, 4, "STALE", "timestamp"),
        ("early", &future, 5, "FUTURE", "timestamp"),
        ("of the wrong role", &role, 11, "ROLE", "sender.agent_type"),
    ];
    for (what, text, code, name, word) in rows {
        let answer = send(node.submit("", text)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
        assert_eq!(answer.refusal(), name, "{what}");
        let body = answer.json();
        assert_eq!(body["code"], code, "{what}");
        assert_eq!(body["stage"], "admission", "{what}");
        assert!(body["detail"].as_str().unwrap().contains(word), "{what}: {body}");
    }
    assert!(node.submissions.try_recv().is_err(), "a bad record was submitted");
    node.until_metric("bizra_records_total{outcome=\"refused\"} 14").await;
}

#[tokio::test]
async fn a_nonce_is_good_for_one_record() {
    let mut node = Node::start().await;
    let first = record(1);
    let second = edited(1, |members| set(members, "sender", "agent_id", JsonValue::from("other")));
    assert_eq!(node.accept(&first).await.status, StatusCode::ACCEPTED);
    let answer = send(node.submit("", &second)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((answer.refusal().as_str(), &answer.json()["code"]), ("NONCE_REPLAY", &3.into()));
}

#[tokio::test]
async fn a_request_of_the_wrong_form_is_refused_before_any_gate() {
    let mut node = Node::start().await;
    let record = record(1);
    let with = |name: &str, value: &str| {
        let request = node.client.post(node.url("/v1/records")).body(record.to_vec());
        request.header(name, value)
    };
    let json = |query: &str| node.submit(query, &record);
    let large = vec![b' '; RECORD_BYTES_MAX + 1];
    let larger = vec![b' '; 3 << 20];
    let chunks: Vec<std::io::Result<Vec<u8>>> = (0..80).map(|_| Ok(vec![b' '; 1024])).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let rows = [
        ("no type", with("x-other", "1"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("text", with("content-type", "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("lines", with("content-type", "application/x-ndjson"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "another charset",
            with("content-type", "application/json; charset=latin1"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("two types", json("").header("content-type", "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("encoded", json("").header("content-encoding", "gzip"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "encoded as nothing",
            json("").header("content-encoding", "identity"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("a wait of its own", json("?wait=later"), 400, "BAD_WAIT"),
        ("an empty wait", json("?wait="), 400, "BAD_WAIT"),
        ("two waits", json("?wait=final&wait=accepted"), 400, "BAD_QUERY"),
        ("a typo", json("?wiat=final"), 400, "BAD_QUERY"),
        ("a byte too long", node.submit("", &large), 413, "TOO_LARGE"),
        ("much too long", node.submit("", &larger), 413, "TOO_LARGE"),
        ("too long in chunks", node.post("/v1/records", chunked), 413, "TOO_LARGE"),
        ("another method", node.client.put(node.url("/v1/records")), 405, "METHOD_NOT_ALLOWED"),
        ("another path", node.post("/v1/record", "{}"), 404, "NOT_FOUND"),
    ];
    for (what, request, status, name) in rows {
        let answer = send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
        assert_eq!(answer.refusal(), name, "{what}");
    }
    assert!(node.submissions.try_recv().is_err(), "a bad request was submitted");
}

#[tokio::test]
async fn a_record_of_exactly_the_largest_size_is_read() {
    let mut node = Node::start().await;
    let mut text = record(1).to_vec();
    text.resize(RECORD_BYTES_MAX, b' ');
    let request = node.post("/v1/records", text);
    let request = request.header("content-type", "application/json; charset=UTF-8");
    // reqwest adds a second header; both must not come.
    let mut request = request.build().unwrap();
    request.headers_mut().insert(
        "content-type",
        reqwest::header::HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    let client = node.client.clone();
    let answer = tokio::spawn(async move { client.execute(request).await.unwrap().status() });
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    assert_eq!(answer.await.unwrap(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn slow_headers_and_bodies_are_answered_with_408() {
    assert_eq!(Limits::default().header_time, Duration::from_secs(10));
    assert_eq!(Limits::default().body_time, Duration::from_secs(10));
    let node = Node::start_with(|options| {
        options.limits.header_time = Duration::from_millis(50);
        options.limits.body_time = Duration::from_millis(50);
    })
    .await;
    let rows = [
        "POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-le",
        "POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{\"version\":",
        "POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\n{\"ver\r\n",
    ];
    for text in rows {
        let mut stream = TcpStream::connect(node.running.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}: {answer}");
        let (header, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
        assert!(header.contains("application/json"), "{answer}");
        let length = format!("content-length: {}", body.len());
        assert!(header.to_ascii_lowercase().contains(&length), "{answer}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["name"], "TIMEOUT");
    }
    // Nobody asked, so nothing is answered.
    let mut stream = TcpStream::connect(node.running.address).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
}

#[tokio::test]
async fn what_the_driver_refuses_is_told_with_what_to_do() {
    let mut node = Node::start().await;
    let rows = [
        (NotAccepted::LaneFull, 429, "RATE"),
        (NotAccepted::DiskUnwritable, 503, "DISK_UNWRITABLE"),
        (NotAccepted::NotAValidator("it follows"), 503, "NOT_A_VALIDATOR"),
    ];
    for (number, (reason, status, name)) in (1..).zip(rows) {
        let record = record(number);
        let request = tokio::spawn(send(node.submit("?wait=final", &record)));
        let submission = node.submissions.recv().await.expect("the API submits");
        submission.reply.send(Err(reason)).unwrap();
        let answer = request.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (status, name));
        assert!(answer.headers.contains_key("retry-after"), "{reason:?}");
        // It is as if it had never come.
        assert_eq!(node.get(&format!("/v1/records/{}", digest_of(&record))).await.status, 404);
        assert_eq!(node.accept(&record).await.status, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn a_full_queue_to_the_driver_pushes_back() {
    let node = Node::start().await;
    let permits: Vec<_> =
        node.shared.submissions.reserve_many(SUBMISSIONS_MAX).await.unwrap().collect();
    let answer = send(node.submit("", &record(1))).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((answer.refusal().as_str(), &answer.json()["code"]), ("RATE", &15.into()));
    assert_eq!(answer.headers["retry-after"], "1");
    drop(permits);
}

#[tokio::test]
async fn a_driver_that_is_gone_is_told() {
    let mut node = Node::start().await;
    node.submissions.close();
    let answer = send(node.submit("", &record(1))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.refusal(), "NOT_A_VALIDATOR");
}

fn committed_vote(proof: &Value) -> CommitVote {
    let proof = FinalityProof::from_json(proof.to_string().as_bytes()).expect("a proof");
    proof.head.commit.vote
}

#[tokio::test]
async fn waiting_for_final_ends_with_a_receipt_whose_proof_needs_no_trust() {
    let mut node = Node::start().await;
    let record = record(1);
    let request = tokio::spawn(send(node.submit("?wait=final", &record)));
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    let committed = node.commit(&[Arc::clone(&record)]);
    let answer = request.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let body = answer.json();
    let digest = digest_of(&record).to_string();
    assert_eq!((&body["digest"], &body["status"]), (&digest.clone().into(), &"final".into()));
    assert!(body["ticket"].is_object());

    let receipt = &body["receipt"];
    assert_eq!(receipt["version"], "1.0.0");
    assert_eq!(receipt["envelope_digest"], digest);
    assert_eq!(receipt["commit_ref"]["height"], 1);
    assert_eq!(receipt["commit_ref"]["log_index"], 0);
    assert_eq!(receipt["commit_ref"]["block_id"], committed.block.to_string());
    assert_eq!(receipt["quorum"]["required"], 3);
    assert_eq!(receipt["quorum"]["achieved"], 3);
    assert_eq!(receipt["verifier_set"].as_array().unwrap().len(), 3);
    assert_eq!(receipt["verifier_set"][0]["sat_id"], "validator-0");
    assert_eq!(receipt["policy_hash"], PolicyHash::of(DEFAULT_POLICY).to_string());
    assert_eq!(
        receipt["verification"]["gates_passed"],
        serde_json::json!([
            "SCHEMA",
            "SIGNATURE",
            "TIMESTAMP",
            "REPLAY",
            "ROLE",
            "SNR",
            "IHSAN",
            "POLICY",
            "FATE",
            "FORMAL"
        ])
    );
    assert_eq!(receipt["verification"]["ihsan"], 0.97);
    assert_eq!(receipt["verification"]["snr"], 0.93);
    // The claim is 0.95 of transparency, and the record names no rationale.
    let fate = serde_json::json!({ "f": 1.0, "a": 1.0, "t": 0.9, "e": 0.91 });
    assert_eq!(receipt["verification"]["fate"], fate);
    assert!(receipt["verification"]["latency_ms"].as_f64().is_some_and(|it| it > 0.0));
    let members: Vec<&String> = receipt.as_object().expect("an object").keys().collect();
    let expected = [
        "commit_ref",
        "envelope_digest",
        "finality_proof",
        "policy_hash",
        "quorum",
        "receipt_id",
        "timestamp",
        "verification",
        "verifier_set",
        "version",
    ];
    assert_eq!(members, expected);
    let id = receipt["receipt_id"].as_str().expect("a UUID");
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4', "{id}");
    let time = OffsetDateTime::parse(receipt["timestamp"].as_str().expect("a time"), &Rfc3339);
    assert!(time.expect("RFC 3339").offset().is_utc());
    for (index, verifier) in (0..).zip(receipt["verifier_set"].as_array().expect("a list")) {
        assert_eq!(verifier["sat_id"], format!("validator-{index}"));
        let key = validator_key(index).public();
        assert_eq!(verifier["public_key"], key.to_string());
        let signature = verifier["signature"].as_str().and_then(hex_array).expect("hex");
        let vote = committed_vote(&receipt["finality_proof"]);
        let message = vote.signed_bytes(&node.chain.genesis.chain_id());
        let check = SignatureCheck { key, message: &message, signature: Signature(signature) };
        assert_eq!(check_each(&[check]), [true], "verifier {index}");
    }

    let proof = receipt["finality_proof"].to_string();
    let proof = FinalityProof::from_json(proof.as_bytes()).expect("a proof");
    let client = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    let verified = client.verify(&proof).expect("the proof verifies");
    assert_eq!(verified.digest, digest_of(&record));

    // Once it is final, asking again is enough.
    let again = send(node.submit("?wait=final", &record)).await;
    assert_eq!(again.status, StatusCode::OK);
    let repeated = &again.json()["receipt"];
    assert_eq!(repeated["commit_ref"], receipt["commit_ref"]);
    assert_ne!(repeated["receipt_id"], receipt["receipt_id"]);
    // Nobody has timed it a second time.
    assert_eq!(repeated["verification"].get("latency_ms"), None);
    let again = send(node.submit("", &record)).await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::ACCEPTED, &"final".into()));
    assert!(node.submissions.try_recv().is_err(), "a final record was submitted again");
    node.until_metric("finality_seconds_count 1").await;
    node.until_metric("bizra_records_total{outcome=\"final\"} 1").await;
}

#[tokio::test]
async fn waiting_in_vain_ends_with_how_far_the_record_got() {
    let mut node = Node::start_with(|options| {
        options.limits.wait_time = Duration::from_millis(50);
    })
    .await;
    for (number, wait, name) in [(1, "final", "NOT_FINAL"), (2, "ordered", "NOT_ORDERED")] {
        let record = record(number);
        let request = tokio::spawn(send(node.submit(&format!("?wait={wait}"), &record)));
        let submission = node.submissions.recv().await.expect("the API submits");
        accept(&node.chain, submission);
        let answer = request.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (504, name));
        assert_eq!(answer.json()["status"], "accepted");
        assert_eq!(answer.json()["digest"], digest_of(&record).to_string());
        assert!(answer.json()["ticket"].is_object());
    }
    // A driver that does not answer has accepted nothing.
    let answer = send(node.submit("", &record(3))).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "NOT_ACCEPTED"));
}

#[tokio::test]
async fn without_a_quorum_records_are_queued_and_the_answer_says_so() {
    let mut node = Node::start_with(|options| {
        options.limits.wait_time = Duration::from_millis(50);
    })
    .await;
    node.set_status(|status| status.mode = Mode::LocalOnly);
    for (number, query) in [(1, ""), (2, "?wait=final")] {
        let record = record(number);
        let request = tokio::spawn(send(node.submit(query, &record)));
        let submission = node.submissions.recv().await.expect("the API submits");
        accept(&node.chain, submission);
        let answer = request.await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.json()["status"], "queued_locally");
        assert!(answer.json()["ticket"].is_object());
        let answer = node.get(&format!("/v1/records/{}", digest_of(&record))).await;
        assert_eq!(answer.json()["status"], "queued_locally");
    }
}

#[tokio::test]
async fn no_more_wait_than_there_is_room_for() {
    let mut node = Node::start_with(|options| options.limits.waiters_max = 1).await;
    let first = record(1);
    let request = tokio::spawn(send(node.submit("?wait=final", &first)));
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    let answer = send(node.submit("?wait=final", &record(2))).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.refusal(), "RATE");
    assert!(node.submissions.try_recv().is_err(), "it was submitted without room to wait");
    node.commit(&[first]);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_waiter_whose_block_was_missed_looks_into_the_store() {
    let mut node = Node::start().await;
    let record = record(1);
    let request = tokio::spawn(send(node.submit("?wait=final", &record)));
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    // More blocks than the channel holds, before anyone gets to hear of them.
    node.commit(&[record]);
    for _ in 0..=COMMITTED_MAX {
        node.commit(&[]);
    }
    let answer = request.await.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &"final".into()));
    node.until_metric("errors_total{kind=\"committed_lagged\"} 1").await;
}

#[tokio::test]
async fn a_record_that_its_block_refuses_is_told_with_the_stage() {
    let mut node = Node::start().await;
    let bad = edited(1, |members| set(members, "sender", "agent_type", JsonValue::from("SAT")));
    let digest = digest_of(&bad);
    node.commit(&[Arc::clone(&bad)]);
    let answer = node.get(&format!("/v1/records/{digest}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&"rejected".into(), &11.into()));
    assert_eq!((&body["name"], &body["height"]), (&"ROLE".into(), &1.into()));
    let answer = node.get(&format!("/v1/records/{digest}/proof")).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (422, "ROLE"));
    assert_eq!(answer.json()["stage"], "execution");
    // It is judged afresh when it comes again.
    let answer = send(node.submit("", &bad)).await;
    assert_eq!(answer.json()["stage"], "admission");
}

#[tokio::test]
async fn a_batch_is_answered_line_by_line() {
    let mut node = Node::start().await;
    let (first, second) = (record(1), record(2));
    let body = [&*first, b"\n\n{\"version\":\r\n", &second, b"\r\n", &first, b"\n"].concat();
    let request = node.client.post(node.url("/v1/records:batch")).body(body);
    let request = request.header("content-type", "application/x-ndjson");
    let request = tokio::spawn(send(request));
    let submitted = [node.submissions.recv().await, node.submissions.recv().await];
    let submitted = submitted.map(|it| it.expect("the API submits"));
    assert_eq!([&submitted[0].bytes, &submitted[1].bytes], [&first, &second], "out of order");
    let [one, two] = submitted;
    accept(&node.chain, one);
    two.reply.send(Err(NotAccepted::LaneFull)).unwrap();
    let answer = request.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
    assert_eq!(lines[0]["digest"], digest_of(&first).to_string());
    assert_eq!(lines[0]["status"], "accepted");
    assert_eq!((&lines[1]["code"], &lines[1]["name"]), (&1.into(), &"SCHEMA".into()));
    assert_eq!((&lines[2]["code"], &lines[2]["name"]), (&15.into(), &"RATE".into()));
    assert_eq!(lines[3]["ticket"], lines[0]["ticket"]);
}

#[tokio::test]
async fn a_batch_is_bounded_and_typed() {
    let mut node = Node::start_with(|options| {
        options.limits.batch_lines_max = 2;
        options.limits.batch_bytes_max = 1_000;
    })
    .await;
    let post = |path: &str, content_type: &str, body: &str| {
        let request = node.client.post(node.url(path)).body(body.to_owned());
        send(request.header("content-type", content_type))
    };
    let ndjson = "application/x-ndjson";
    let answer = post("/v1/records:batch", ndjson, "1\n2\n3\n").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (413, "TOO_MANY_LINES"));
    let answer = post("/v1/records:batch", ndjson, &" ".repeat(1_001)).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (413, "TOO_LARGE"));
    let answer = post("/v1/records:batch", "application/json", "{}").await;
    assert_eq!(answer.status.as_u16(), 415);
    let answer = post("/v1/records:batch?wait=final", ndjson, "{}").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (400, "BAD_QUERY"));
    let answer = post("/v1/records:batch", ndjson, "\n").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    assert!(node.submissions.try_recv().is_err());
}

#[tokio::test]
async fn records_accepted_before_a_restart_are_still_known() {
    let mut node = Node::start().await;
    let record = record(1);
    let batch = node.batch(&[Arc::clone(&record)]);
    let persist = bizra_consensus::Persist {
        own_batches: vec![(*batch.header(), Arc::clone(batch.records()))],
        ..bizra_consensus::Persist::default()
    };
    node.shared.store.persist(&persist).expect("writable");
    let Node { folder, chain, shared, .. } = node;
    let mut node = Node::start_on(folder, chain, shared.store, |_| {}).await;
    let digest = digest_of(&record);
    let answer = node.get(&format!("/v1/records/{digest}")).await;
    assert_eq!(answer.json()["status"], "accepted");
    let answer = send(node.submit("", &record)).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (StatusCode::ACCEPTED, &"accepted".into())
    );
    assert!(node.submissions.try_recv().is_err(), "it is in the lane already");
}

#[tokio::test]
async fn nonces_are_known_after_a_restart() {
    let mut node = Node::start().await;
    let (finished, waiting) = (record(1), record(2));
    node.commit(&[finished]);
    let batch = node.batch(&[waiting]);
    let persist = bizra_consensus::Persist {
        own_batches: vec![(*batch.header(), Arc::clone(batch.records()))],
        ..bizra_consensus::Persist::default()
    };
    node.shared.store.persist(&persist).expect("writable");
    let Node { folder, chain, shared, .. } = node;
    let mut node = Node::start_on(folder, chain, shared.store, |_| {}).await;
    for number in [1, 2] {
        let copy = edited(number, |members| {
            set(members, "sender", "agent_id", JsonValue::from("other"));
        });
        let answer = send(node.submit("", &copy)).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (422, "NONCE_REPLAY"));
    }
    assert_eq!(node.accept(&record(3)).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn too_many_requests_at_once_are_pushed_back() {
    let node = Node::start_with(|options| options.limits.requests_max = 0).await;
    let answer = node.get("/v1/status").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "OVERLOADED"));
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_wait_for_order_ends_with_the_certificate_and_one_for_finality_does_not() {
    let mut node = Node::start().await;
    let record = record(1);
    let digest = digest_of(&record);
    let request = tokio::spawn(send(node.submit("?wait=ordered", &record)));
    let submission = node.submissions.recv().await.expect("the API submits");
    accept(&node.chain, submission);
    let until_final = tokio::spawn(send(node.submit("?wait=final", &record)));
    let ordered = Ordered { height: Height::new(7), records: vec![digest] };
    node.shared.ordered.send(Arc::new(ordered)).expect("somebody listens");
    let answer = request.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["height"]), (&"ordered".into(), &7.into()), "{body}");
    assert!(body["ticket"]["signature"].is_string() && body.get("receipt").is_none(), "{body}");

    let path = format!("/v1/records/{digest}");
    let body = node.get(&path).await.json();
    assert_eq!((&body["status"], &body["height"]), (&"ordered".into(), &7.into()), "{body}");
    let again = send(node.submit("?wait=ordered", &record)).await;
    assert_eq!(again.json()["status"], "ordered", "{again:?}");
    assert!(!until_final.is_finished());
    node.commit(&[record]);
    let answer = until_final.await.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &"final".into()));
    assert_eq!(node.get(&path).await.json()["status"], "final");
}

#[tokio::test]
async fn a_node_that_cannot_write_refuses_without_asking_its_driver() {
    let mut node = Node::start().await;
    node.set_status(|status| status.disk_unwritable = true);
    let record = record(1);
    for wait in ["accepted", "final"] {
        let answer = send(node.submit(&format!("?wait={wait}"), &record)).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "DISK_UNWRITABLE"));
    }
    assert!(node.submissions.try_recv().is_err());
    node.set_status(|status| status.disk_unwritable = false);
    assert_eq!(node.accept(&record).await.status, StatusCode::ACCEPTED, "it may come again");
}

#[tokio::test]
async fn bodies_are_bounded_together_and_leave_their_place() {
    let mut node = Node::start_with(|options| options.limits.bodies_bytes_max = 8_000).await;
    let mut slow = TcpStream::connect(node.running.address).await.unwrap();
    let head = "POST /v1/records:batch HTTP/1.1\r\nhost: a\r\ncontent-type: \
                application/x-ndjson\r\ncontent-length: 7000\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&[b' '; 6_999]).await.unwrap();
    let record = record(1);
    assert!((1_002..8_000).contains(&record.len()), "{}", record.len());
    // Its last byte tells when the node has read the rest: until then there is room.
    while let answer = send(node.post("/v1/records", vec![b' '; 1_002])).await
        && answer.status != StatusCode::SERVICE_UNAVAILABLE
    {
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    }
    let answer = send(node.submit("", &record)).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (503, "OVERLOADED"));
    slow.write_all(b" ").await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(node.accept(&record).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_receipt_of_what_is_no_inference_names_the_gates_that_judged_it() {
    let mut node = Node::start().await;
    let key = SenderKey::from_seed(&[71; 32]);
    let record = registration(&key, &node.chain.genesis.chain_id());
    let batch = node.chain.batch(0, &[Arc::clone(&record)]);
    node.chain.grow(&node.shared.store, &[batch]);
    let answer = send(node.submit("?wait=final", &record)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let verification = &answer.json()["receipt"]["verification"];
    let gates = verification["gates_passed"].as_array().expect("a list");
    assert!(gates.contains(&"POLICY".into()) && !gates.contains(&"FATE".into()), "{gates:?}");
    assert_eq!((verification.get("fate"), verification.get("snr")), (None, None));
}
