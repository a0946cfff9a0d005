//! What the public port tells.

use super::*;
use bizra_ledger::log;
use bizra_ledger::policy::{DEFAULT_POLICY, PolicyHash};
use bizra_light_client::{Client as LightClient, FinalHead};
use bizra_types::certificate::{Certificate, Qc, Tc};
use bizra_types::committee::Committee;
use bizra_types::encoding::Encode as _;
use bizra_types::hash::Hash;
use bizra_types::message::Timeout;
use bizra_types::numbers::View;
use signed_note::{Note, StandardVerifier, VerifierList};

#[tokio::test]
async fn a_record_is_served_byte_by_byte() {
    let mut node = Node::start().await;
    let record = record(1);
    let digest = digest_of(&record);
    let text = String::from_utf8(record.to_vec()).unwrap();
    node.accept(&record).await;
    let answer = node.get(&format!("/v1/records/{digest}")).await;
    assert_eq!(answer.json()["status"], "accepted");
    assert!(answer.text.ends_with(&format!("\"envelope\":{text}}}")), "{}", answer.text);
    let answer = node.get(&format!("/v1/records/{digest}/proof")).await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (404, "NOT_FINAL"));

    node.commit(&[record]);
    node.until_metric("bizra_records_total{outcome=\"final\"} 1").await;
    let answer = node.get(&format!("/v1/records/{digest}")).await;
    assert!(answer.text.ends_with(&format!("\"envelope\":{text}}}")), "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["status"], &body["height"]), (&"final".into(), &1.into()));
    assert_eq!((&body["log_index"], &body["code"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn a_proof_comes_as_json_and_as_cbor() {
    let mut node = Node::start().await;
    let record = record(1);
    node.commit(&[Arc::clone(&record)]);
    let url = node.url(&format!("/v1/records/{}/proof", digest_of(&record)));
    let client = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    for (accept, content_type) in [
        ("*/*", "application/json"),
        ("application/cbor", "application/cbor"),
        ("text/html, application/cbor;q=0.9", "application/cbor"),
    ] {
        let request = node.client.get(&url).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], content_type);
        let bytes = response.bytes().await.unwrap();
        assert_eq!(bytes.first() == Some(&b'{'), content_type == "application/json");
        let verified = client.verify_bytes(&bytes).expect("the proof verifies");
        assert_eq!(verified.digest, digest_of(&record));
    }
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let node = Node::start().await;
    let unknown = "00".repeat(32);
    let upper = "AB".repeat(32);
    let rows = [
        (format!("/v1/records/{unknown}"), 404, "NOT_FOUND"),
        (format!("/v1/records/{unknown}/proof"), 404, "NOT_FOUND"),
        (format!("/v1/records/{upper}"), 400, "BAD_DIGEST"),
        ("/v1/records/short".to_owned(), 400, "BAD_DIGEST"),
        ("/v1/records/%ff".to_owned(), 400, "BAD_PATH"),
        (format!("/v1/records/{unknown}?deep=1"), 400, "BAD_QUERY"),
        ("/v1/records?session=1".to_owned(), 400, "BAD_QUERY"),
        (format!("/v1/records?sender={unknown}&model={unknown}"), 400, "BAD_QUERY"),
        ("/v1/records?limit=0".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?limit=1001".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?after=-1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?from_height=x".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?to_height=-1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?from_height=2&to_height=1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?from_ms=2026-11-22".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?to_ms=1.5".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?from_ms=2&to_ms=1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/records?from_ms=1&from_ms=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/records?from=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/chain".to_owned(), 400, "BAD_QUERY"),
        ("/v1/chain?above=0&from=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/chain?above=x".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/chain?above=1&to=1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/chain?above=18446744073709551615".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/chain?above=0".to_owned(), 404, "NOT_FOUND"),
        ("/v1/chain?above=18446744073709551614".to_owned(), 404, "NOT_FOUND"),
        ("/v1/blocks/1".to_owned(), 404, "NOT_FOUND"),
        ("/v1/blocks/18446744073709551615".to_owned(), 404, "NOT_FOUND"),
        ("/v1/blocks/18446744073709551616".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/blocks/01".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/blocks/%2B1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/certificates?era=1&from=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/certificates?era=1&from=1&to=2&view=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/certificates?era=1&from=2&to=1".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/certificates?era=1&from=0&to=1001".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/certificates?era=1&from=0&to=x".to_owned(), 400, "BAD_NUMBER"),
        ("/v1/log/checkpoint".to_owned(), 404, "NOT_FOUND"),
        ("/v1/log/consistency".to_owned(), 400, "BAD_QUERY"),
        ("/v1/log/consistency?from=0&to=1".to_owned(), 404, "NOT_FOUND"),
        ("/v1/log/consistency?from=1".to_owned(), 400, "BAD_QUERY"),
        ("/v1/events?from_height=x".to_owned(), 400, "BAD_NUMBER"),
        ("/v2/status".to_owned(), 404, "NOT_FOUND"),
    ];
    for (path, status, name) in rows {
        let answer = node.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (status, name), "{path}");
    }
}

#[tokio::test]
async fn records_are_found_by_session_sender_and_model_in_pages() {
    let mut node = Node::start().await;
    let records: Vec<_> = (0..5).map(record).collect();
    node.commit(&records);
    let digests: Vec<String> = records.iter().map(|it| digest_of(it).to_string()).collect();
    let found = |answer: &Answer| -> Vec<String> {
        let body = answer.json();
        let records = body["records"].as_array().expect("a list").clone();
        records.iter().map(|it| it["digest"].as_str().unwrap().to_owned()).collect()
    };
    let first = vec![digests[0].clone()];
    let sender = SenderKey::from_seed(&[99; 32]).public();
    let rows = [
        (String::new(), digests.clone()),
        ("?session=0189d3a0-0000-7000-8000-000000000000".to_owned(), first),
        (format!("?sender={sender}"), digests.clone()),
        (format!("?model={}", hex(&[0xab; 32])), digests.clone()),
        (format!("?model={}", hex(&[0xac; 32])), Vec::new()),
        ("?after=2".to_owned(), digests[3..].to_vec()),
    ];
    for (query, expected) in rows {
        let answer = node.get(&format!("/v1/records{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}");
        assert_eq!(found(&answer), expected, "{query}");
        assert!(answer.json()["next"].is_null(), "{query}");
    }
    let mut paged = Vec::new();
    let mut query = "?limit=2".to_owned();
    for _ in 0..3 {
        let answer = node.get(&format!("/v1/records{query}")).await;
        paged.extend(found(&answer));
        query = format!("?limit=2&after={}", answer.json()["next"]);
    }
    assert_eq!(paged, digests);
}

#[tokio::test]
async fn records_are_found_by_height_and_time_in_pages() {
    let mut node = Node::start().await;
    // Blocks of two records, none, one, and three.
    let records: Vec<_> = (0..6).map(record).collect();
    let mut times = Vec::new();
    for range in [0..2, 2..2, 2..3, 3..6] {
        times.push(node.commit(&records[range]).timestamp_ms.get());
    }
    let digests: Vec<String> = records.iter().map(|it| digest_of(it).to_string()).collect();
    let found = async |query: &str| -> (Vec<String>, Value) {
        let answer = node.get(&format!("/v1/records?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        let body = answer.json();
        let records = body["records"].as_array().expect("a list");
        let digests = records.iter().map(|it| it["digest"].as_str().expect("text").to_owned());
        (digests.collect(), body["next"].clone())
    };
    let sender = SenderKey::from_seed(&[99; 32]).public();
    let rows = [
        ("from_height=0".to_owned(), 0..6),
        ("from_height=1".to_owned(), 0..6),
        ("from_height=2".to_owned(), 2..6),
        ("from_height=3".to_owned(), 2..6),
        ("from_height=5".to_owned(), 6..6),
        (format!("from_height={}", u64::MAX), 6..6),
        ("to_height=0".to_owned(), 0..0),
        ("to_height=1".to_owned(), 0..0),
        ("to_height=2".to_owned(), 0..2),
        ("from_height=2&to_height=3".to_owned(), 2..2),
        ("from_height=1&to_height=4".to_owned(), 0..3),
        ("from_height=3&to_height=3".to_owned(), 2..2),
        (format!("to_height={}", u64::MAX), 0..6),
        (format!("from_ms={}", times[0]), 0..6),
        (format!("from_ms={}", times[0] + 1), 2..6),
        (format!("from_ms={}&to_ms={}", times[2], times[3]), 2..3),
        (format!("to_ms={}", times[3]), 0..3),
        (format!("to_ms={}", times[3] + 1), 0..6),
        ("to_ms=0".to_owned(), 0..0),
        (format!("from_ms={}", u64::MAX), 6..6),
        (format!("from_height=4&to_ms={}", times[3]), 3..3),
        (format!("from_height=2&to_ms={}", times[3]), 2..3),
        ("from_height=1&after=1".to_owned(), 2..6),
        ("from_height=4&after=1".to_owned(), 3..6),
        (format!("from_height=1&after={}", u64::MAX), 6..6),
        (format!("sender={sender}&from_height=2&to_height=4"), 2..3),
        (format!("model={}&from_height=4", hex(&[0xab; 32])), 3..6),
        ("session=0189d3a0-0000-7000-8000-000000000002&from_height=3".to_owned(), 2..3),
        ("session=0189d3a0-0000-7000-8000-000000000002&from_height=4".to_owned(), 3..3),
        (format!("sender={}&from_height=1", hex(&[1; 32])), 0..0),
    ];
    for (query, expected) in rows {
        let (found, next) = found(&query).await;
        assert_eq!(found, digests[expected], "{query}");
        assert!(next.is_null(), "{query}");
    }
    // Page by page it is the same, and a last page that is full has an empty one after it.
    let range = format!("from_height=2&to_ms={}&limit=2", times[3] + 1);
    let (mut paged, mut next) = found(&range).await;
    let mut sizes = vec![paged.len()];
    while !next.is_null() {
        let page = found(&format!("{range}&after={next}")).await;
        sizes.push(page.0.len());
        paged.extend(page.0);
        next = page.1;
    }
    assert_eq!((paged, sizes), (digests[2..].to_vec(), vec![2, 2, 0]));
}

#[tokio::test]
async fn parts_of_the_chain_are_those_of_an_export() {
    let mut node = Node::start().await;
    for number in 0..3 {
        node.commit(&[record(number)]);
    }
    let part = async |query: &str| {
        let response = node.client.get(node.url(&format!("/v1/chain?{query}"))).send().await;
        let response = response.expect("the API answers");
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        response.bytes().await.expect("a body").to_vec()
    };
    let expected = |above, to| {
        let (above, to) = (Height::new(above), Height::new(to));
        let frames = node.shared.store.exported(above, to, usize::MAX).expect("readable");
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write_to(&mut bytes);
        }
        bytes
    };
    assert_eq!(part("above=0").await, expected(0, 3));
    assert_eq!(part("above=1").await, expected(1, 3));
    assert_eq!(part("above=0&to=2").await, expected(0, 2));
    assert_eq!(part("above=2&to=9").await, expected(2, 3));
    assert_eq!(part("above=0&to=1").await, expected(0, 1));
    let answer = node.get("/v1/chain?above=3").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_part_of_the_chain_that_was_sent_makes_room_for_the_next() {
    let mut node = Node::start().await;
    node.commit(&[record(1)]);
    let url = node.url("/v1/chain?above=0");
    // Each is sent whole before the next one begins, so all places are free again.
    for _ in 0..=EXPORTS_MAX {
        let response = node.client.get(&url).send().await.expect("the API answers");
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.expect("a body");
    }
}

#[tokio::test]
async fn the_chain_is_described() {
    let mut node = Node::start().await;
    let record = record(1);
    let committed = node.commit(&[Arc::clone(&record)]);
    let genesis = Arc::clone(&node.chain.genesis);

    let params = node.get("/v1/params").await.json();
    assert_eq!(params["chain_id"], genesis.chain_id().to_string());
    assert_eq!(params["era"], 1);
    assert_eq!(params["limits"]["record_bytes_max"], 65_536);
    assert_eq!(params["limits"]["json_depth_max"], 32);
    assert_eq!(params["parameters"]["idle_block_ms"], 1_000);
    assert_eq!(params["parameters"]["snr_min_ppm"], 850_000);
    let hash = PolicyHash::of(DEFAULT_POLICY).to_string();
    let expected = serde_json::json!([{ "name": "default", "policy_hash": hash }]);
    assert_eq!(params["policies"], expected);

    let block = node.get("/v1/blocks/1").await.json();
    assert_eq!(block["block_id"], committed.block.to_string());
    assert_eq!(block["parent"], genesis.header().id().to_string());
    assert_eq!(block["records"][0]["digest"], digest_of(&record).to_string());
    assert_eq!(block["records"][0]["name"], "SUCCESS");
    let head = node.shared.store.head();
    assert_eq!(block["exec"], head.root.exec.to_string());
    let block = node.get("/v1/blocks/0").await.json();
    assert_eq!(block["block_id"], genesis.header().id().to_string());

    node.set_status(|status| status.leader = Some(ValidatorIndex::new(2)));
    let status = node.get("/v1/status").await.json();
    assert_eq!((&status["height"], &status["log_size"]), (&1.into(), &1.into()));
    assert_eq!((&status["mode"], &status["leader"]), (&"federated".into(), &"validator-2".into()));
    assert_eq!(status["validator"], "validator-0");

    let committee = node.get("/v1/committee").await.json();
    assert_eq!(committee["quorum"], 3);
    assert_eq!(committee["validators"][1]["name"], "validator-1");
    let key = validator_key(1).public().to_string();
    assert_eq!(committee["validators"][1]["consensus_key"], key);
}

#[tokio::test]
async fn a_policy_is_listed_by_the_hash_that_records_name() {
    let mut chain = TestChain::new("policies");
    let genesis = &chain.genesis;
    let policy = bizra_types::genesis::Policy { name: "p".into(), rego: "package p".into() };
    let genesis = bizra_types::genesis::Genesis::new(
        genesis.name.clone(),
        genesis.time_ms,
        (*genesis.committee).clone(),
        genesis.protocol_version,
        genesis.parameters,
        vec![policy],
    );
    chain.genesis = Arc::new(genesis);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path(), &chain.genesis).expect("the folder opens");
    let node = Node::start_on(folder, chain, store, |_| {}).await;
    let params = node.get("/v1/params").await.json();
    let hash = hex(blake3::hash(b"package p").as_bytes());
    assert_eq!(params["policies"], serde_json::json!([{ "name": "p", "policy_hash": hash }]));
}

#[tokio::test]
async fn a_committee_is_told_with_its_own_era() {
    let mut node = Node::start().await;
    node.commit(&[record(1)]);
    let mut members: Vec<_> =
        node.chain.genesis.committee.iter().map(|(_, member)| member.clone()).collect();
    members.swap(0, 1);
    let next = Committee::new(members).expect("a committee");
    // The head is the last block of the first era, and the next has begun.
    node.set_status(|status| {
        status.era = Era::new(2);
        status.committee = Arc::new(next.clone());
    });
    let told = node.get("/v1/committee").await.json();
    assert_eq!((&told["era"], &told["hash"]), (&2.into(), &next.hash().to_string().into()));
    assert_eq!(node.get("/v1/status").await.json()["era"], 2);
}

#[tokio::test]
async fn the_state_is_served_with_proofs_that_a_stranger_accepts() {
    let mut node = Node::start().await;
    let answer = node.get("/v1/state/parameter:snr_min_ppm").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (404, "NOT_FOUND"));
    let client = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    let keys: Vec<_> = (71..=73).map(|seed| SenderKey::from_seed(&[seed; 32])).collect();
    for key in &keys[..2] {
        let record = registration(key, &node.chain.genesis.chain_id());
        let batch = node.chain.batch(0, &[record]);
        node.chain.grow(&node.shared.store, &[batch]);
    }
    for (key, is_there) in [
        (format!("key:{}", keys[0].public()), true),
        (format!("key:{}", keys[1].public()), true),
        (format!("key:{}", keys[2].public()), false),
        ("key:".to_owned(), false),
        ("market:".to_owned(), false),
        ("parameter:snr_min_ppm".to_owned(), false),
    ] {
        let url = node.url(&format!("/v1/state/{key}"));
        for accept in ["*/*", "application/cbor"] {
            let response = node.client.get(&url).header("accept", accept).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{key}");
            let bytes = response.bytes().await.unwrap();
            let entry = client.verify_state_bytes(&bytes).expect("the proof verifies");
            assert_eq!(entry.value.is_some(), is_there, "{key}");
            assert_eq!(entry.head.height, Height::new(2));
        }
    }
    for key in ["", "key", "key:0", "key:AA", "outcome:00", "Key:00", "parameters:x", "key:zz"] {
        let answer = node.get(&format!("/v1/state/{key}")).await;
        let expected = if key.is_empty() { (404, "NOT_FOUND") } else { (400, "BAD_KEY") };
        assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), expected, "{key}");
    }
}

#[tokio::test]
async fn certificates_of_views_are_served_for_whoever_asks_who_lied() {
    let mut node = Node::start().await;
    for number in 0..4 {
        node.commit(&[record(number)]);
    }
    let tc = |view| {
        let qc = node.chain.qc();
        let timeout = Timeout { era: Era::new(1), view, high_qc_view: View::ZERO };
        let message = timeout.signed_bytes(&node.chain.genesis.chain_id());
        Tc {
            era: timeout.era,
            view,
            high_qc_views: vec![View::ZERO; qc.signers.count()],
            signatures: (0..4).map(|it| validator_key(it).sign(&message)).collect(),
            signers: qc.signers,
            high_qc: Qc::root(timeout.era, node.chain.genesis.header().id(), 4),
        }
    };
    let block = node.shared.store.block_at(Height::new(4)).unwrap().expect("four are final");
    for view in [6, 9] {
        let mut persist = node.chain.vote(&block, &[]);
        persist.blocks.clear();
        persist.certificates.push(Certificate::Tc(tc(View::new(view))));
        node.shared.store.persist(&persist).expect("the store can be written");
    }
    let ask = async |from: u64, to: u64| {
        let answer = node.get(&format!("/v1/certificates?era=1&from={from}&to={to}")).await;
        let body = answer.json();
        assert_eq!((&body["from"], &body["to"]), (&from.into(), &to.into()), "{body}");
        let certificates = body["certificates"].as_array().expect("a list").clone();
        let certificates = certificates.iter().map(|it| it.as_str().expect("hex").to_owned());
        certificates.collect::<Vec<_>>()
    };
    let qc_of = |height: u64| {
        let child = node.shared.store.block_at(Height::new(height + 1)).unwrap();
        hex(&Certificate::Qc(child.expect("final").justify().clone()).to_bytes())
    };
    let tc_of = |view| hex(&Certificate::Tc(tc(View::new(view))).to_bytes());
    assert_eq!(ask(0, 7).await, [tc_of(6), qc_of(1), qc_of(2), qc_of(3)]);
    assert_eq!(ask(2, 3).await, [qc_of(2)]);
    assert_eq!(ask(7, 10).await, [tc_of(9)]);
    assert!(ask(6, 6).await.is_empty());
    let other_era = node.get("/v1/certificates?era=2&from=0&to=1000").await.json();
    assert_eq!(other_era["certificates"], serde_json::json!([]));

    // Headers lead from the block of a view down past those of earlier ones.
    let header_of = |height: u64| {
        let block = node.shared.store.block_at(Height::new(height)).unwrap();
        hex(&block.expect("final").header().to_bytes())
    };
    let headers = async |from: u64, to: u64| {
        let body = node.get(&format!("/v1/certificates?era=1&from={from}&to={to}")).await.json();
        body["headers"].as_array().expect("a list").clone()
    };
    assert_eq!(headers(0, 9).await, [1, 2, 3, 4].map(header_of));
    assert_eq!(headers(3, 4).await, [2, 3, 4].map(header_of));
    assert_eq!(headers(2, 3).await, [1, 2, 3].map(header_of));
}

#[tokio::test]
async fn the_log_proves_its_head_and_that_it_only_grew() {
    let mut node = Node::start().await;
    let mut roots = vec![log::EMPTY_ROOT];
    for number in 0..3 {
        node.commit(&[record(number)]);
        roots.push(node.shared.store.head().fields.log_root);
    }
    let answer = node.get("/v1/log/checkpoint").await;
    let body = answer.json();
    assert_eq!((&body["log_size"], &body["height"]), (&3.into(), &3.into()));
    assert_eq!(body["log_root"], roots[3].to_string());
    let head = FinalHead::from_json(body["final_head"].to_string().as_bytes()).expect("a head");
    let client = LightClient::from_genesis(&node.chain.genesis.to_json()).expect("a genesis");
    client.verify_head(&head).expect("the head verifies");

    for from in 0..=3 {
        for to in from..=3 {
            let answer = node.get(&format!("/v1/log/consistency?from={from}&to={to}")).await;
            let proof: Vec<Hash> = answer.json()["proof"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hash| Hash::from_hex(hash.as_str().unwrap()).unwrap())
                .collect();
            let (old, new) = (roots[from], roots[to]);
            assert!(log::is_consistent(&proof, from as u64, old, to as u64, new), "{from} {to}");
        }
    }
    let to_the_head = node.get("/v1/log/consistency?from=1").await.json();
    assert_eq!(to_the_head["to"], 3);
    let answer = node.get("/v1/log/consistency?from=2&to=1").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (400, "BAD_QUERY"));
    let answer = node.get("/v1/log/consistency?from=1&to=4").await;
    assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn the_head_of_the_log_is_a_note_that_tools_of_other_logs_read() {
    let mut node = Node::start().await;
    for number in 0..3 {
        node.commit(&[record(number)]);
    }
    let url = node.url("/v1/log/checkpoint");
    let answer = send(node.client.get(&url).header("accept", "text/plain")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let body = node.get("/v1/log/checkpoint").await.json();
    assert_eq!(body["note"], answer.text.as_str());

    let committee = node.get("/v1/committee").await.json();
    let keys: Vec<_> = (0..4)
        .map(|index| committee["validators"][index]["note_key"].as_str().expect("text").to_owned())
        .collect();
    let verifiers = |index: usize| {
        let verifier = StandardVerifier::new(&keys[index]).expect("a key of a note");
        VerifierList::new(vec![Box::new(verifier)])
    };
    let note = Note::from_bytes(answer.text.as_bytes()).expect("a note");
    let (good, unknown) = note.verify(&verifiers(0)).expect("validator 0 signed it");
    assert_eq!((good.len(), unknown.len()), (1, 0));
    note.verify(&verifiers(1)).expect_err("validator 1 did not sign it");
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!(checkpoint.origin(), format!("bizra/{}", node.chain.genesis.chain_id()));
    assert_eq!(good[0].name(), checkpoint.origin());
    assert_eq!((checkpoint.size(), checkpoint.extension()), (3, ""));
    assert_eq!(checkpoint.hash().0, node.shared.store.head().fields.log_root.0);

    let forged = answer.text.replacen("\n3\n", "\n4\n", 1);
    let forged = Note::from_bytes(forged.as_bytes()).expect("the form is right");
    forged.verify(&verifiers(0)).expect_err("the signature is over another size");

    // Another line for the same text makes one note with two signatures.
    let chain = node.chain.genesis.chain_id();
    let root = node.shared.store.head().fields.log_root;
    let other = super::note::signed(&chain, 3, root, &validator_key(1));
    let line = other.lines().last().expect("a line");
    let both = Note::from_bytes(format!("{}{line}\n", answer.text).as_bytes()).expect("a note");
    for index in [0, 1] {
        let (good, unknown) = both.verify(&verifiers(index)).expect("both signed it");
        assert_eq!((good.len(), unknown.len()), (1, 1));
    }
}

#[tokio::test]
async fn who_has_no_seat_or_has_stopped_signing_signs_no_head_of_the_log() {
    let changes: [fn(&mut NodeStatus); 3] = [
        |status| status.me = None,
        |status| status.me = Some(ValidatorIndex::new(1)),
        |status| status.diverged = true,
    ];
    for change in changes {
        let mut node = Node::start().await;
        node.commit(&[record(1)]);
        node.set_status(change);
        let request = node.client.get(node.url("/v1/log/checkpoint"));
        let answer = send(request.header("accept", "text/plain")).await;
        assert_eq!((answer.status.as_u16(), &*answer.refusal()), (503, "NOT_A_VALIDATOR"));
        let body = node.get("/v1/log/checkpoint").await.json();
        assert_eq!((&body["log_size"], body.get("note")), (&1.into(), None));
    }
}
