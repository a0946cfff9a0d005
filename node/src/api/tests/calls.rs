//! The public port in gRPC, and in HTTP/2.

use super::grpc::RichStatus;
use super::grpc::pb;
use super::*;
use crate::patterns::testing::offer;
use bizra_light_client::Client as LightClient;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use h2::client::SendRequest;
use pb::event::Event;
use pb::node_client::NodeClient;
use pb::search_records_request::By;
use prost::Message as _;
use serde::de::DeserializeOwned;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

async fn channel(node: &Node) -> Channel {
    let endpoint = Endpoint::from_shared(node.url("")).expect("an address");
    endpoint.connect().await.expect("the port speaks HTTP/2")
}

async fn client(node: &Node) -> NodeClient<Channel> {
    NodeClient::new(channel(node).await)
}

/// What the HTTP API answers, read as the message.
async fn told<T: DeserializeOwned>(node: &Node, path: &str) -> T {
    let answer = node.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The refusal in the details of a status.
#[track_caller]
fn refusal(status: &tonic::Status) -> pb::Refusal {
    let rich = RichStatus::decode(status.details()).expect("a status with details");
    assert_eq!((rich.code, &*rich.message), (i32::from(status.code()), status.message()));
    let [detail] = &*rich.details else { panic!("one detail: {rich:?}") };
    assert_eq!(detail.type_url, "type.googleapis.com/bizra.v1.Refusal");
    let refusal = pb::Refusal::decode(&*detail.value).expect("a refusal");
    assert_eq!(status.message(), format!("{}: {}", refusal.name, refusal.detail));
    refusal
}

fn of_record(record: &[u8], wait: pb::Wait) -> pb::SubmitRecordRequest {
    pb::SubmitRecordRequest { envelope: record.to_vec().into(), wait: wait.into() }
}

#[tokio::test]
async fn every_call_that_reads_says_what_the_http_api_says() {
    let mut node = Node::start().await;
    let records: Vec<_> = (0..3).map(record).collect();
    node.commit(&records);
    node.commit(&[]);
    let mut client = client(&node).await;
    let digest = digest_of(&records[1]).to_string();

    let found = client.get_record(pb::GetRecordRequest { digest: digest.clone() }).await;
    let found = found.expect("it is final").into_inner();
    assert_eq!(found, told(&node, &format!("/v1/records/{digest}")).await);
    assert_eq!((found.status.as_str(), found.log_index), ("final", Some(1)));
    assert_eq!(found.envelope, *records[1]);

    let light = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    let proof = client.get_proof(pb::GetProofRequest { digest }).await.expect("it is final");
    let verified = light.verify_bytes(&proof.into_inner().cbor).expect("the proof verifies");
    assert_eq!(verified.digest, digest_of(&records[1]));
    let key = "market:".to_owned();
    let proof = client.get_state(pb::GetStateRequest { key }).await.expect("a key of the state");
    light.verify_state_bytes(&proof.into_inner().cbor).expect("the proof verifies");

    let request = pb::SearchRecordsRequest {
        by: Some(By::Model(hex(&[0xab; 32]))),
        after: Some(0),
        limit: Some(1),
        from_height: Some(1),
        to_height: Some(2),
        from_ms: Some(1),
        to_ms: Some(u64::MAX),
    };
    let page = client.search_records(request).await.expect("there are records").into_inner();
    let path = format!("/v1/records?model={}&after=0&limit=1", hex(&[0xab; 32]));
    assert_eq!(page, told(&node, &path).await);
    assert_eq!((page.records.len(), page.next), (1, Some(1)));
    let sender = SenderKey::from_seed(&[1; 32]).public().to_string();
    let session = "0189d3a0-0000-7000-8000-000000000002".to_owned();
    for (by, count) in [(None, 3), (Some(By::Session(session)), 1), (Some(By::Sender(sender)), 0)] {
        let request = pb::SearchRecordsRequest { by, ..Default::default() };
        let page = client.search_records(request).await.expect("an answer").into_inner();
        assert_eq!(page.records.len(), count);
    }
    // All are in block 1, whose time `from_ms` and `to_ms` are held against.
    let time = node.get("/v1/blocks/1").await.json()["timestamp_ms"].as_u64().expect("a time");
    type Change = fn(&mut pb::SearchRecordsRequest, u64);
    let bounds: [(Change, u64, u64); 4] = [
        (|it, value| it.from_height = Some(value), 1, 2),
        (|it, value| it.to_height = Some(value), 2, 1),
        (|it, value| it.from_ms = Some(value), time, time + 1),
        (|it, value| it.to_ms = Some(value), time + 1, time),
    ];
    for (change, inside, outside) in bounds {
        for (value, count) in [(inside, 3), (outside, 0)] {
            let mut request = pb::SearchRecordsRequest::default();
            change(&mut request, value);
            let page = client.search_records(request).await.expect("an answer").into_inner();
            assert_eq!(page.records.len(), count);
        }
    }

    let params = client.get_params(pb::GetParamsRequest {}).await.unwrap().into_inner();
    assert_eq!(params, told(&node, "/v1/params").await);
    assert_eq!(params.parameters["idle_block_ms"], 1_000);
    for height in 0..=2 {
        let block = client.get_block(pb::GetBlockRequest { height }).await.unwrap().into_inner();
        assert_eq!(block, told(&node, &format!("/v1/blocks/{height}")).await);
        assert_eq!(block.height, height);
    }
    let status = client.get_status(pb::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status, told(&node, "/v1/status").await);
    assert_eq!((status.height, status.mode.as_str()), (2, "federated"));
    let committee = client.get_committee(pb::GetCommitteeRequest {}).await.unwrap().into_inner();
    assert_eq!(committee, told(&node, "/v1/committee").await);
    assert_eq!(committee.validators.len(), 4);
    let request = pb::GetCertificatesRequest { era: 1, from: 0, to: 9 };
    let certificates = client.get_certificates(request).await.unwrap().into_inner();
    assert_eq!(certificates, told(&node, "/v1/certificates?era=1&from=0&to=9").await);
    assert!(!certificates.certificates.is_empty() && !certificates.headers.is_empty());

    let request = pb::GetLogCheckpointRequest {};
    let checkpoint = client.get_log_checkpoint(request).await.unwrap().into_inner();
    assert_eq!(checkpoint, told(&node, "/v1/log/checkpoint").await);
    assert!(checkpoint.note.contains("\n3\n") && !checkpoint.final_head.is_empty());
    for to in [None, Some(2)] {
        let request = pb::GetLogConsistencyRequest { from: 1, to };
        let proof = client.get_log_consistency(request).await.unwrap().into_inner();
        let to = to.map_or(String::new(), |to| format!("&to={to}"));
        assert_eq!(proof, told(&node, &format!("/v1/log/consistency?from=1{to}")).await);
        assert!(!proof.proof.is_empty());
    }
}

#[tokio::test]
async fn the_chain_comes_in_chunks_which_are_the_answer_of_the_http_api() {
    let mut node = Node::start().await;
    // More than one chunk holds.
    let records: Vec<_> = (0..100).map(record).collect();
    node.commit(&records);
    node.commit(&[]);
    let mut client = client(&node).await;
    for to in [None, Some(1)] {
        let request = pb::GetChainRequest { above: 0, to };
        let mut chunks = client.get_chain(request).await.expect("a chain").into_inner();
        let (mut frames, mut count) = (Vec::new(), 0);
        while let Some(chunk) = chunks.message().await.expect("no failure") {
            frames.extend_from_slice(&chunk.frames);
            count += 1;
        }
        let to = to.map_or(String::new(), |to| format!("&to={to}"));
        let told = node.client.get(node.url(&format!("/v1/chain?above=0{to}"))).send();
        let told = told.await.expect("an answer").bytes().await.expect("all of it");
        assert_eq!(frames, told);
        assert!(count > 1 && !frames.is_empty(), "{count} chunks, {} bytes", frames.len());
    }
    let request = pb::GetChainRequest { above: 2, to: None };
    let status = client.get_chain(request).await.expect_err("there are two blocks");
    assert_eq!((status.code(), &*refusal(&status).name), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn calls_about_governance_say_what_the_http_api_says() {
    let mut node = Node::start().await;
    let caught = node.catch_a_liar();
    let proposal = node.propose("emergency");
    let mut client = client(&node).await;

    let request = pb::GetProposalsRequest {};
    let proposals = client.get_proposals(request).await.unwrap().into_inner();
    assert_eq!(proposals, told(&node, "/v1/gov/proposals").await);
    assert_eq!(proposals.needed, Some(pb::NeededBallots { amendment: 3, emergency: 4, veto: 2 }));
    let id = proposal.to_string();
    let open = client.get_proposal(pb::GetProposalRequest { id: id.clone() }).await;
    let open = open.expect("it is open").into_inner();
    assert_eq!(open, told(&node, &format!("/v1/gov/proposals/{id}")).await);
    assert_eq!((&proposals.proposals, open.status.as_str()), (&vec![open.clone()], "open"));
    let change: Value = serde_json::from_slice(&open.change).expect("JSON text");
    assert_eq!(change["name"], "snr_min_ppm");
    let status = client.get_proposal(pb::GetProposalRequest { id: "00".repeat(32) }).await;
    let status = status.expect_err("there is none");
    assert_eq!((status.code(), &*refusal(&status).name), (Code::NotFound, "NOT_FOUND"));

    node.grow_to(11);
    node.vote(1, proposal, "reject");
    let open = client.get_proposal(pb::GetProposalRequest { id: id.clone() }).await;
    let open = open.expect("it is open").into_inner();
    assert_eq!(open, told(&node, &format!("/v1/gov/proposals/{id}")).await);
    assert_eq!((open.ballots.len(), open.rejections), (1, Some(1)));
    node.grow_to(71);
    let closed = client.get_proposal(pb::GetProposalRequest { id: id.clone() }).await;
    let closed = closed.expect("it has ended").into_inner();
    assert_eq!(closed, told(&node, &format!("/v1/gov/proposals/{id}")).await);
    assert_eq!((closed.status.as_str(), closed.holds_from), ("refused", None));

    let request = pb::GetGovernedParametersRequest {};
    let parameters = client.get_governed_parameters(request).await.unwrap().into_inner();
    assert_eq!(parameters, told(&node, "/v1/gov/parameters").await);
    assert!(parameters.parameters.iter().any(|it| it.name == "idle_block_ms" && it.max == 60_000));
    let evidence = client.get_evidence(pb::GetEvidenceRequest {}).await.unwrap().into_inner();
    assert_eq!(evidence, told(&node, "/v1/gov/evidence").await);
    let [piece] = &*evidence.evidence else { panic!("one piece: {evidence:?}") };
    let data: Value = serde_json::from_slice(&piece.data).expect("JSON text");
    assert_eq!((data["accused"].as_str(), &piece.filed), (Some(&*caught.to_string()), &None));
    let digest = node.say(0, "evidence/file", &data.to_string());
    let evidence = client.get_evidence(pb::GetEvidenceRequest {}).await.unwrap().into_inner();
    assert_eq!(evidence, told(&node, "/v1/gov/evidence").await);
    let filed = evidence.evidence[0].filed.as_ref().expect("it is filed");
    assert_eq!(filed.record, digest.to_string());
    let reputation = client.get_reputation(pb::GetReputationRequest {}).await.unwrap();
    let reputation = reputation.into_inner();
    assert_eq!(reputation, told(&node, "/v1/gov/reputation").await);
    assert_eq!(reputation.validators[2].quarantine_epochs, 4);
}

#[tokio::test]
async fn a_pattern_is_offered_and_found_by_call() {
    let mut node = Node::start().await;
    let _answering = node.answer_patterns();
    let mut client = client(&node).await;
    let good = offer(1, 1, 90, admission::now());
    let request = pb::OfferPatternRequest { envelope: good.to_vec().into() };
    let offered = client.offer_pattern(request).await.expect("it is good").into_inner();
    assert_eq!(offered.digest, digest_of(&good).to_string());
    assert_eq!((offered.status.as_str(), offered.impact), ("VALIDATED", 0.9045));
    let other = offer(2, 2, 85, admission::now());
    let request = pb::OfferPatternRequest { envelope: other.to_vec().into() };
    client.offer_pattern(request).await.expect("it is good");

    let request = pb::SearchPatternsRequest { limit: Some(1), ..Default::default() };
    let page = client.search_patterns(request).await.expect("an answer").into_inner();
    assert_eq!(page, told(&node, "/v1/patterns?limit=1").await);
    assert_eq!((page.total, page.next, &*page.patterns[0].envelope), (2, Some(1), &*good));
    let domain = Some("domain-0".to_owned());
    let request = pb::SearchPatternsRequest { domain, ..Default::default() };
    let page = client.search_patterns(request).await.expect("an answer").into_inner();
    assert_eq!(page, told(&node, "/v1/patterns?domain=domain-0").await);
    assert_eq!((page.patterns.len(), &*page.patterns[0].envelope), (1, &*other));
    let (id, after) = (Some(offered.pattern_id), Some(1));
    let request = pb::SearchPatternsRequest { id, after, ..Default::default() };
    let page = client.search_patterns(request).await.expect("an answer").into_inner();
    assert_eq!((page.total, page.patterns), (1, Vec::new()));

    for (size, name) in [(RECORD_BYTES_MAX, "SCHEMA"), (RECORD_BYTES_MAX + 1, "TOO_LARGE")] {
        let envelope = vec![b' '; size].into();
        let status = client.offer_pattern(pb::OfferPatternRequest { envelope }).await;
        assert_eq!(refusal(&status.expect_err("spaces are no offer")).name, name);
    }
}

#[tokio::test]
async fn a_submitted_record_is_accepted_ordered_and_final() {
    let mut node = Node::start().await;
    let client = client(&node).await;
    let record = record(1);
    let call = |wait| {
        let (mut client, request) = (client.clone(), of_record(&record, wait));
        tokio::spawn(async move { client.submit_record(request).await })
    };
    let accepted = call(pb::Wait::Accepted);
    let submission = node.submissions.recv().await.expect("the API submits");
    let ticket = accept(&node.chain, submission);
    let accepted = accepted.await.unwrap().expect("it is accepted").into_inner();
    assert_eq!(accepted.digest, digest_of(&record).to_string());
    assert_eq!((accepted.status.as_str(), accepted.receipt), ("accepted", None));
    let told = accepted.ticket.expect("a ticket");
    assert_eq!(told.signature, hex(&ticket.signature.0));

    let ordered = Ordered { height: Height::new(1), records: vec![digest_of(&record)] };
    node.shared.ordered.send(Arc::new(ordered)).expect("the API listens");
    let ordered = call(pb::Wait::Ordered).await.unwrap().expect("it is ordered").into_inner();
    assert_eq!((ordered.status.as_str(), ordered.height), ("ordered", Some(1)));

    let receipt = call(pb::Wait::Final);
    node.commit(&[Arc::clone(&record)]);
    let answer = receipt.await.unwrap().expect("it is final").into_inner();
    assert_eq!((answer.status.as_str(), answer.log_index), ("final", Some(0)));
    let receipt = answer.receipt.expect("a receipt");
    assert_eq!(receipt.verifier_set.len(), 3);
    assert_eq!(receipt.quorum, Some(pb::Quorum { required: 3, achieved: 3 }));
    let verification = receipt.verification.expect("there always is");
    assert_eq!(verification.fate, Some(pb::Fate { f: 1.0, a: 1.0, t: 0.9, e: 0.91 }));
    let light = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    light.verify_bytes(&receipt.finality_proof).expect("the proof verifies");
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_line() {
    let mut node = Node::start().await;
    let mut client = client(&node).await;
    let (first, second) = (record(1), record(2));
    let text = [&*first, b"\n\n{}\n", &*second].concat();
    let call = tokio::spawn(async move {
        client.submit_batch(pb::SubmitBatchRequest { envelopes: text.into() }).await
    });
    for _ in 0..2 {
        let submission = node.submissions.recv().await.expect("the API submits");
        accept(&node.chain, submission);
    }
    let results = call.await.unwrap().expect("a batch").into_inner().results;
    let lines: Vec<_> = results.iter().map(|result| result.line).collect();
    assert_eq!(lines, [1, 3, 4]);
    assert_eq!(results[0].digest, digest_of(&first).to_string());
    assert_eq!((results[2].status.as_str(), &results[2].refusal), ("accepted", &None));
    let refused = results[1].refusal.as_ref().expect("it is no envelope");
    assert_eq!((refused.code, refused.name.as_str()), (Some(1), "SCHEMA"));
    assert_eq!((refused.stage.as_str(), results[1].digest.as_str()), ("admission", ""));
}

#[tokio::test]
async fn refusals_are_statuses_with_the_refusal_in_their_details() {
    let mut node = Node::start().await;
    let mut client = client(&node).await;
    let unknown = "00".repeat(32);
    let mut statuses = Vec::new();
    for digest in [unknown, "short".to_owned(), "\u{2603}".repeat(300)] {
        let request = pb::GetRecordRequest { digest };
        statuses.push(client.get_record(request).await.expect_err("there is no such record"));
    }
    let request = pb::SubmitRecordRequest { envelope: Bytes::new(), wait: 7 };
    statuses.push(client.submit_record(request).await.expect_err("no such wait"));
    let request = pb::GetStateRequest { key: "\u{2603}".repeat(300) };
    statuses.push(client.get_state(request).await.expect_err("no key"));
    let forged = of_record(b"{}", pb::Wait::Final);
    statuses.push(client.submit_record(forged).await.expect_err("no envelope"));
    let request = pb::GetLogConsistencyRequest { from: 0, to: Some(1) };
    statuses.push(client.get_log_consistency(request).await.expect_err("the log is empty"));
    let found: Vec<_> = statuses.iter().map(|it| (it.code(), refusal(it).name)).collect();
    let expected = [
        (Code::NotFound, "NOT_FOUND"),
        (Code::InvalidArgument, "BAD_DIGEST"),
        (Code::InvalidArgument, "BAD_DIGEST"),
        (Code::InvalidArgument, "BAD_WAIT"),
        (Code::InvalidArgument, "BAD_KEY"),
        (Code::FailedPrecondition, "SCHEMA"),
        (Code::NotFound, "NOT_FOUND"),
    ];
    assert_eq!(found, expected.map(|(code, name)| (code, name.to_owned())));
    assert_eq!(refusal(&statuses[5]).code, Some(1));

    let request = of_record(&record(1), pb::Wait::Accepted);
    let call = tokio::spawn(async move { client.submit_record(request).await });
    let submission = node.submissions.recv().await.expect("the API submits");
    submission.reply.send(Err(NotAccepted::LaneFull)).expect("the API waits");
    let status = call.await.unwrap().expect_err("the lane is full");
    assert_eq!((status.code(), refusal(&status).name.as_str()), (Code::ResourceExhausted, "RATE"));
    assert_eq!(refusal(&status).retry_after_s, Some(1));
}

#[tokio::test]
async fn messages_of_any_size_are_answered() {
    let mut node = Node::start_with(|options| options.limits.batch_bytes_max = 100_000).await;
    let mut client = client(&node).await;
    for (size, code, name) in [
        (RECORD_BYTES_MAX, Code::FailedPrecondition, "SCHEMA"),
        (RECORD_BYTES_MAX + 1, Code::ResourceExhausted, "TOO_LARGE"),
        (RECORD_BYTES_MAX + 1_000, Code::ResourceExhausted, "TOO_LARGE"),
        (3 << 20, Code::ResourceExhausted, "TOO_LARGE"),
    ] {
        let request = of_record(&vec![b' '; size], pb::Wait::Accepted);
        let status = client.submit_record(request).await.expect_err("spaces are no record");
        assert_eq!((status.code(), &*refusal(&status).name), (code, name), "{size}");
    }
    let mut batch = async |size: usize| {
        let envelopes = Bytes::from(vec![b'\n'; size]);
        client.submit_batch(pb::SubmitBatchRequest { envelopes }).await
    };
    let results = batch(100_000).await.expect("it is not too large").into_inner();
    assert!(results.results.is_empty());
    for size in [100_001, 200_000] {
        let status = batch(size).await.expect_err("it is too large");
        assert_eq!(refusal(&status).name, "TOO_LARGE");
    }
    let lines = Bytes::from(b"{}\n".repeat(1_001));
    let request = pb::SubmitBatchRequest { envelopes: lines };
    let status = client.submit_batch(request).await.expect_err("too many lines");
    assert_eq!(refusal(&status).name, "TOO_MANY_LINES");
    let key = "k".repeat(10_000);
    let status = client.get_state(pb::GetStateRequest { key }).await.expect_err("too long");
    assert_eq!(refusal(&status).name, "TOO_LARGE");
    assert!(node.submissions.try_recv().is_err(), "a bad call was submitted");
}

#[tokio::test]
async fn all_bodies_share_one_bound_in_calls_too() {
    let node = Node::start_with(|options| options.limits.bodies_bytes_max = 100).await;
    let mut client = client(&node).await;
    let request = of_record(&[b' '; 200], pb::Wait::Accepted);
    let status = client.submit_record(request).await.expect_err("there is no room");
    assert_eq!((status.code(), &*refusal(&status).name), (Code::Unavailable, "OVERLOADED"));
    client.get_status(pb::GetStatusRequest {}).await.expect("a small message has room");
}

#[tokio::test]
async fn calls_count_among_the_requests_that_are_open_at_once() {
    let mut node = Node::start_with(|options| options.limits.requests_max = 1).await;
    let mut client = client(&node).await;
    let (mut other, request) = (client.clone(), of_record(&record(1), pb::Wait::Accepted));
    let call = tokio::spawn(async move { other.submit_record(request).await });
    let submission = node.submissions.recv().await.expect("the API submits");
    let status = client.get_status(pb::GetStatusRequest {}).await.expect_err("one is open");
    assert_eq!((status.code(), &*refusal(&status).name), (Code::Unavailable, "OVERLOADED"));
    accept(&node.chain, submission);
    call.await.unwrap().expect("it is accepted");
    let line = "bizra_api_requests_total{route=\"/bizra.v1.Node/{*call}\",status=\"200\"} 2";
    node.until_metric(line).await;
}

#[tokio::test]
async fn calls_of_what_is_not_there_are_unimplemented() {
    let node = Node::start().await;
    let mut calls = tonic::client::Grpc::new(channel(&node).await);
    for path in ["/bizra.v1.Node/Undo", "/bizra.v2.Node/GetStatus", "/", "/v1/nothing"] {
        calls.ready().await.expect("the port is open");
        let codec = tonic_prost::ProstCodec::<pb::GetStatusRequest, pb::Status>::default();
        let request = tonic::Request::new(pb::GetStatusRequest {});
        let path = path.parse().expect("a path");
        let status = calls.unary(request, path, codec).await.expect_err("there is none");
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    }
}

#[tokio::test]
async fn health_is_what_readiness_is() {
    let node = Node::start().await;
    let mut client = HealthClient::new(channel(&node).await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "bizra.v1.Node"] {
        let health = client.check(ask(service)).await.expect("a known service").into_inner();
        assert_eq!(health.status(), ServingStatus::Serving);
    }
    let status = client.check(ask("other")).await.expect_err("an unknown service");
    assert_eq!(status.code(), Code::NotFound);

    let mut watch = client.watch(ask("")).await.expect("a known service").into_inner();
    let mut next = async || watch.message().await.expect("no failure").map(|it| it.status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    node.set_status(|status| status.mode = Mode::LocalOnly);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    node.set_status(|status| status.peers = 3);
    node.set_status(|status| status.mode = Mode::Federated);
    assert_eq!(next().await, Some(ServingStatus::Serving));
    node.shutdown.send_replace(true);
    assert_eq!(next().await, None);
    node.running.stopped().await;
}

/// Asks for the names of all services, and of the file that has a symbol.
fn questions() -> [ServerReflectionRequest; 2] {
    let symbol = MessageRequest::FileContainingSymbol("bizra.v1.Node".to_owned());
    [MessageRequest::ListServices(String::new()), symbol].map(|question| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    })
}

#[tokio::test]
async fn reflection_tells_the_services_and_their_messages() {
    let node = Node::start().await;
    let mut client = ServerReflectionClient::new(channel(&node).await);
    let answers = client.server_reflection_info(stream::iter(questions())).await;
    let mut answers = answers.expect("reflection is there").into_inner();
    let mut next = async || {
        let answer: ServerReflectionResponse =
            answers.message().await.expect("no failure").expect("an answer to each question");
        answer.message_response.expect("it says something")
    };
    let MessageResponse::ListServicesResponse(services) = next().await else {
        panic!("another answer");
    };
    let names: BTreeSet<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in ["bizra.v1.Node", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.contains(name), "{names:?}");
    }
    let MessageResponse::FileDescriptorResponse(files) = next().await else {
        panic!("another answer");
    };
    let file = prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]);
    let file = file.expect("a descriptor");
    assert_eq!((file.name(), file.package()), ("bizra.proto", "bizra.v1"));
    let methods: Vec<_> = file.service[0].method.iter().map(|method| method.name()).collect();
    assert_eq!(methods.len(), 22, "{methods:?}");
}

#[tokio::test]
async fn a_stream_of_reflection_ends_in_the_time_of_a_body() {
    let node = Node::start_with(|options| {
        options.limits.body_time = Duration::from_millis(50);
    })
    .await;
    let mut client = ServerReflectionClient::new(channel(&node).await);
    let asked = stream::iter(questions()).chain(stream::pending());
    let answers = client.server_reflection_info(asked).await;
    let mut answers = answers.expect("reflection is there").into_inner();
    let mut count = 0;
    while let Ok(Some(_)) = answers.message().await {
        count += 1;
    }
    assert_eq!(count, 2);
}

#[tokio::test]
async fn events_resume_go_on_live_and_tell_who_lags() {
    let mut node = Node::start_with(|options| options.limits.streams_max = 1).await;
    let record = record(1);
    node.commit(&[Arc::clone(&record)]);
    for _ in 0..20 {
        node.commit(&[]);
    }
    let mut client = client(&node).await;
    let request = pb::StreamEventsRequest { from_height: Some(0) };
    let mut events = client.stream_events(request).await.expect("a stream").into_inner();
    let mut next = async || {
        let event = events.message().await.expect("no failure")?;
        Some(event.event.expect("one of them"))
    };
    for height in 1..=21 {
        let Some(Event::Block(block)) = next().await else { panic!("no block {height}") };
        assert_eq!(block.height, height);
        if height == 1 {
            assert_eq!(block.records[0].digest, digest_of(&record).to_string());
            assert_eq!(block.records[0].log_index, Some(0));
        }
    }
    let status = client.stream_events(request).await.expect_err("one is open");
    assert_eq!((status.code(), &*refusal(&status).name), (Code::Unavailable, "TOO_MANY_STREAMS"));
    // One thread runs everything here, so nobody reads between these blocks.
    for _ in 0..=COMMITTED_MAX {
        node.commit(&[]);
    }
    let mut seen = 21;
    let lagged = loop {
        match next().await.expect("it is told") {
            Event::Block(block) => seen = block.height,
            Event::Lagged(lagged) => break lagged,
        }
    };
    assert_eq!(lagged.resume_from_height, seen + 1);
    assert_eq!(next().await, None);
    node.until_metric("bizra_api_event_streams 0").await;
}

/// A connection of HTTP/2 whose requests are made by hand. The second value is its end.
async fn raw(
    node: &Node,
    window: u32,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(node.running.address).await.expect("the port is open");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let (client, connection) = builder.handshake(stream).await.expect("HTTP/2");
    (client.ready().await.expect("a connection"), tokio::spawn(connection))
}

fn call_of(node: &Node, path: &str) -> axum::http::Request<()> {
    let request = axum::http::Request::post(node.url(path));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).expect("a request")
}

#[tokio::test]
async fn a_slow_message_is_answered_in_time() {
    let node = Node::start_with(|options| {
        options.limits.body_time = Duration::from_millis(50);
    })
    .await;
    let (mut client, _end) = raw(&node, 65_535).await;
    for sent in [&b""[..], b"\0\0\0"] {
        let request = call_of(&node, "/bizra.v1.Node/SubmitRecord");
        let (response, mut body) = client.send_request(request, false).expect("it is ready");
        body.send_data(Bytes::from_static(sent), false).expect("the stream is open");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        // Some clients take no data after a status, not even none.
        assert!(response.body().is_end_stream());
        let code = response.headers()["grpc-status"].to_str().expect("a number").to_owned();
        assert_eq!(code, i32::from(Code::DeadlineExceeded).to_string());
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let node = Node::start().await;
    let (mut client, _end) = raw(&node, 65_535).await;
    let huge = [&[0][..], &u32::MAX.to_be_bytes(), b"abc"].concat();
    for bytes in [&b"\0\0\0\0\x05abc"[..], b"\0\0\0\0\x03abc", b"\x01\0\0\0\0", &huge, b"\x09"] {
        let request = call_of(&node, "/bizra.v1.Node/GetRecord");
        let (response, mut body) = client.send_request(request, false).expect("it is ready");
        body.send_data(Bytes::copy_from_slice(bytes), true).expect("the stream is open");
        let response = response.await.expect("an answer");
        assert!(response.body().is_end_stream());
        let code = response.headers()["grpc-status"].to_str().expect("a number").to_owned();
        assert_ne!(code, "0", "{bytes:?}");
    }
    assert_eq!(node.get("/v1/status").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_http_api_speaks_http2_as_well() {
    let node = Node::start().await;
    let (mut client, _end) = raw(&node, 65_535).await;
    let request = axum::http::Request::get(node.url("/v1/params")).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("it is ready");
    let response = response.await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.expect("it goes on");
        body.flow_control().release_capacity(piece.len()).expect("it was taken");
        text.extend_from_slice(&piece);
    }
    assert_eq!(String::from_utf8(text).unwrap(), node.get("/v1/params").await.text);
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed() {
    let node = Node::start_with(|options| {
        options.limits.header_time = Duration::from_millis(50);
        options.limits.stalled_time = Duration::from_millis(50);
    })
    .await;
    let (client, end) = raw(&node, 65_535).await;
    // It hangs up once it is told to, as gRPC clients do.
    end.await.unwrap().expect("it is closed in order");
    drop(client);
    // One that says nothing but that it speaks HTTP/2 is cut off.
    let mut stream = TcpStream::connect(node.running.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the node hangs up");
    // And one that does not get that far.
    let mut stream = TcpStream::connect(node.running.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
}

#[tokio::test]
async fn who_takes_no_answer_over_http2_is_dropped() {
    let node = Node::start_with(|options| {
        options.limits.stalled_time = Duration::from_millis(50);
        options.limits.header_time = Duration::from_millis(50);
    })
    .await;
    // It grants not one byte of any answer, and reads the connection all the time.
    let (mut client, end) = raw(&node, 0).await;
    let request = axum::http::Request::get(node.url("/v1/params")).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("it is ready");
    let response = response.await.expect("headers need no window");
    let mut body = response.into_body();
    assert!(body.data().await.expect("an end").is_err(), "the connection was kept");
    drop(client);
    let _ = end.await.expect("the connection has ended");
}

#[tokio::test]
async fn requests_on_one_connection_are_bounded() {
    let node = Node::start().await;
    let (mut client, _end) = raw(&node, 65_535).await;
    let request = axum::http::Request::get(node.url("/v1/status")).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("it is ready");
    assert_eq!(response.await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(client.current_max_send_streams(), 32);
}
