//! The admin port.

use super::*;
use crate::shared::NodeStatus;

/// Something that happens to a node.
type Change = fn(&mut NodeStatus);

#[tokio::test]
async fn readiness_lists_every_failing_reason() {
    let node = Node::start().await;
    assert_eq!(node.get_admin("/livez").await.status, StatusCode::OK);
    let answer = node.get_admin("/readyz").await;
    assert_eq!((answer.status, &answer.json()["ready"]), (StatusCode::OK, &true.into()));
    let rows: [(&str, Change); 5] = [
        ("no_quorum", |status| status.mode = Mode::LocalOnly),
        ("not_synced", |status| status.synced = false),
        ("catching_up", |status| status.catching_up = true),
        ("disk_unwritable", |status| status.disk_unwritable = true),
        ("diverged", |status| status.diverged = true),
    ];
    let mut expected = Vec::new();
    for (name, change) in rows {
        node.set_status(change);
        expected.push(name);
        let answer = node.get_admin("/readyz").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let body = answer.json();
        let failing: Vec<&str> = body["failing"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(failing, expected);
    }
    assert_eq!(node.get_admin("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_drivers_state_and_the_version_can_be_seen() {
    let node = Node::start().await;
    node.set_status(|status| {
        status.view = bizra_types::numbers::View::new(7);
        status.heard = BTreeSet::from([ValidatorIndex::ZERO, ValidatorIndex::new(3)]);
        status.voted = vec![ValidatorIndex::new(3)];
        status.waiting_for = "votes".to_owned();
    });
    let body = node.get_admin("/debug/consensus").await.json();
    assert_eq!((&body["view"], &body["waiting_for"]), (&7.into(), &"votes".into()));
    assert_eq!(body["voted"], serde_json::json!(["validator-3"]));
    assert_eq!(body["silent"], serde_json::json!(["validator-1", "validator-2"]));
    let body = node.get_admin("/version").await.json();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["chain_id"], node.chain.genesis.chain_id().to_string());
    assert_eq!(node.get_admin("/v1/status").await.status, StatusCode::NOT_FOUND);
    assert_eq!(node.get("/metrics").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_log_level_is_changed_by_a_good_filter_alone() {
    let node = Node::start().await;
    let url = format!("http://{}/admin/log-level", node.running.admin_address);
    let post = |body: &str, content_type: &str| {
        let request = node.client.post(&url).body(body.to_owned());
        send(request.header("content-type", content_type))
    };
    let json = "application/json";
    let answer = post("{\"level\":\"info,bizra_node=debug\"}", json).await;
    assert_eq!(answer.status, StatusCode::OK);
    for body in
        ["", "debug", "{}", "{\"level\":1}", "{\"level\":\"a\",\"b\":1}", "{\"level\":\"loud\"}"]
    {
        let answer = post(body, json).await;
        assert_eq!(
            (answer.status.as_u16(), answer.refusal().as_str()),
            (400, "BAD_LEVEL"),
            "{body}"
        );
    }
    // What a browser could send from another site does not count.
    let answer = post("{\"level\":\"debug\"}", "text/plain").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(*node.log_levels.lock().unwrap(), ["info,bizra_node=debug"]);
}

#[tokio::test]
async fn a_token_guards_everything_but_the_probes() {
    let node = Node::start_with(|options| {
        options.admin_token = Some("a-token-of-the-tests".to_owned());
    })
    .await;
    let get = |path: &str, token: Option<&str>| {
        let url = format!("http://{}{path}", node.running.admin_address);
        let request = node.client.get(url);
        send(match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        })
    };
    for path in ["/metrics", "/version", "/debug/consensus"] {
        for token in [None, Some("another"), Some("")] {
            let answer = get(path, token).await;
            assert_eq!((answer.status.as_u16(), answer.refusal().as_str()), (401, "UNAUTHORIZED"));
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        assert_eq!(get(path, Some("a-token-of-the-tests")).await.status, StatusCode::OK);
    }
    let url = format!("http://{}/admin/log-level", node.running.admin_address);
    let answer = send(node.client.post(url).body("{\"level\":\"debug\"}")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/livez", None).await.status, StatusCode::OK);
    assert_eq!(get("/readyz", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_open_admin_port_without_a_token_refuses_to_start() {
    let node = Node::start().await;
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: ([0, 0, 0, 0], 0).into(),
        admin_token: None,
        limits: Limits::default(),
        note_key: validator_key(0),
    };
    let (_shutdown, ends) = watch::channel(false);
    let log_level = LogLevel::new(|_| Ok(()));
    let result = start(options, node.shared.clone(), log_level, ends).await;
    assert!(matches!(result, Err(ApiError::AdminWithoutToken(_))), "{result:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start().await;
    let options = Options {
        listen: node.running.address,
        admin_listen: ([127, 0, 0, 1], 0).into(),
        admin_token: None,
        limits: Limits::default(),
        note_key: validator_key(0),
    };
    let (_shutdown, ends) = watch::channel(false);
    let log_level = LogLevel::new(|_| Ok(()));
    let error = start(options, node.shared.clone(), log_level, ends).await.expect_err("taken");
    assert!(error.to_string().contains(&node.running.address.to_string()), "{error}");
}

#[tokio::test]
async fn the_documented_metrics_are_those_of_a_scrape() {
    let mut node = Node::start().await;
    // What has labels of its own appears with its first event.
    node.commit(&[]);
    node.get("/v1/status").await;
    node.until_metric("bizra_consensus_validator_last_signed_height{validator=\"validator-0\"} 1")
        .await;
    let answer = node.get_admin("/metrics").await;
    assert_eq!(answer.headers["content-type"], crate::metrics::CONTENT_TYPE);
    assert!(answer.text.ends_with("# EOF\n"));
    let scraped: BTreeSet<&str> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    let section = section_of("Node");
    // The scrape's TYPE lines have counters without `_total` and infos without `_info`.
    let documented: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_info"))
        .collect();
    assert_eq!(documented, scraped);
    let kinds_section = section_of("Kinds");
    let kinds: BTreeSet<&str> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("errors_total{kind=\""))
        .filter_map(|line| line.split('"').next())
        .collect();
    let documented: BTreeSet<&str> = kinds_section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split(", ").map(|kind| kind.trim_matches('`')))
        .collect();
    assert_eq!(documented, kinds);
}

/// The section of the list of metrics that begins with this word.
fn section_of(word: &str) -> &'static str {
    let text = include_str!("../../../../docs/metrics.md");
    text.split("\n## ").find(|it| it.starts_with(word)).expect("a section")
}

#[tokio::test]
async fn a_scrape_has_the_names_that_dashboards_use() {
    let mut node = Node::start().await;
    node.set_status(|status| {
        status.leader = Some(ValidatorIndex::new(1));
        status.heard = BTreeSet::from([ValidatorIndex::ZERO]);
        status.lane_bytes = 77;
    });
    node.until_metric("bizra_lane_bytes 77").await;
    let metrics = Arc::clone(&node.shared.metrics);
    let committed = node.commit(&[record(1)]);
    node.until_metric("bizra_consensus_validator_last_signed_height{validator=\"validator-3\"} 1")
        .await;
    metrics.block_committed(committed.height, 0, 2);
    metrics.finality(Duration::from_millis(2_999));
    metrics.finality(Duration::from_millis(3_001));
    metrics.fsync(Duration::from_micros(700));
    metrics.timeout_signed();
    metrics.equivocation();
    metrics.error("disk_full");
    node.get("/v1/status").await;
    let text = node.get_admin("/metrics").await.text;
    for line in [
        "finality_seconds_bucket{le=\"0.001\"} 0",
        "finality_seconds_bucket{le=\"3.0\"} 1",
        "finality_seconds_bucket{le=\"5.0\"} 2",
        "errors_total{kind=\"disk_full\"} 1",
        "bizra_consensus_height 1",
        "bizra_consensus_view 0",
        "bizra_consensus_epoch 0",
        "bizra_consensus_committed_blocks_total 1",
        "bizra_consensus_view_changes_total 0",
        "bizra_consensus_timeouts_total 1",
        "bizra_consensus_equivocations_total 1",
        "bizra_consensus_leader{validator=\"validator-1\"} 1",
        "bizra_consensus_leader{validator=\"validator-0\"} 0",
        "bizra_consensus_missing_validators 3",
        "bizra_vrf_reveals_total 2",
        "bizra_records_total{outcome=\"final\"} 1",
        "bizra_fsync_seconds_count 1",
        "bizra_mode{mode=\"federated\"} 1",
        "bizra_mode{mode=\"offline\"} 0",
        "bizra_api_requests_total{route=\"/v1/status\",status=\"200\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let build = format!("bizra_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&build), "{text}");
    let free = text.lines().find_map(|line| line.strip_prefix("bizra_disk_free_bytes "));
    assert!(free.and_then(|it| it.parse::<u64>().ok()).is_some_and(|it| it > 0), "{text}");
}
