use super::testing::{changed_offer, offer, source};
use super::*;
use crate::storage::testing::{TestChain, genesis};
use bizra_gossip::{
    Event, EventReceiver, Fault, Hello, Keypair, NetworkConfig, PeerAddress, PeerId,
};
use bizra_ledger::pattern::TTL_MS;
use bizra_types::numbers::Era;
use prometheus_client::registry::Registry;
use serde_json::json;
use tempfile::TempDir;

const NOW: TimestampMs = TimestampMs::new(1_795_311_963_123);

fn pool(name: &str) -> (Pool, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (pool_in(&folder, name, NOW), folder)
}

/// The pool of a node that starts with this folder.
fn pool_in(folder: &TempDir, name: &str, now: TimestampMs) -> Pool {
    let chain = TestChain::new(name);
    let store = Store::open(folder.path(), &chain.genesis).expect("the folder opens");
    let committee = Arc::clone(&chain.genesis.committee);
    let (_, status) = watch::channel(NodeStatus::new(Era::new(1), committee, None));
    let pool = Pool::restored(&chain.genesis, store, status, Arc::new(Metrics::new()), now);
    pool.expect("the folder can be read")
}

fn line(pool: &Pool, line: &str) {
    let text = pool.metrics.encode();
    assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
}

/// What the pool knows: source and successes, the best first.
fn known(pool: &Pool, wanted: &Wanted) -> Vec<(bizra_types::crypto::PublicKey, u64)> {
    let found = pool.find(wanted, NOW);
    let page = found.page.iter();
    page.map(|(offer, _)| (offer.source(), offer.pattern().metrics.successes)).collect()
}

#[test]
fn a_message_is_judged_for_the_network() {
    let (mut pool, _folder) = pool("patterns");
    let good = offer(1, 1, 90, NOW);
    assert_eq!(pool.hear(&good, NOW.saturating_add_ms(70)), Verdict::Accept);
    assert_eq!(pool.hear(&good, NOW), Verdict::Ignore, "it is known");
    assert_eq!(pool.hear(&offer(1, 1, 89, NOW), NOW), Verdict::Ignore, "it is no better");
    assert_eq!(pool.hear(&offer(1, 1, 91, NOW), NOW), Verdict::Accept);
    assert_eq!(pool.hear(&offer(2, 1, 80, NOW), NOW), Verdict::Accept, "another source");
    let text = std::str::from_utf8(&good).expect("UTF-8");
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("another spelling", [b" ", &*good].concat()),
        ("a changed text", text.replacen("smaller", "larger", 1).into_bytes()),
        ("no offer", crate::storage::testing::record(1).to_vec()),
    ] {
        assert_eq!(pool.hear(&bytes, NOW), Verdict::Reject, "{what}");
    }
    let late = NOW.saturating_add_ms(120_001);
    assert_eq!(pool.hear(&offer(3, 1, 90, NOW), late), Verdict::Ignore, "it is late");
    line(&pool, "bizra_pattern_offers_total{outcome=\"new\"} 2");
    line(&pool, "bizra_pattern_offers_total{outcome=\"better\"} 1");
    line(&pool, "bizra_pattern_offers_total{outcome=\"known\"} 1");
    line(&pool, "bizra_pattern_offers_total{outcome=\"refused\"} 6");
    line(&pool, "bizra_patterns 2");
    let bucket = "bizra_pattern_propagation_seconds_bucket{le";
    line(&pool, &format!("{bucket}=\"0.05\",span=\"end_to_end\"}} 2"));
    line(&pool, &format!("{bucket}=\"0.1\",span=\"end_to_end\"}} 3"));
}

#[test]
fn a_source_that_offers_what_it_must_know_to_be_wrong_is_heard_no_more() {
    let (mut pool, _folder) = pool("patterns");
    for number in 0..5 {
        // 79 of 100 is too few to be shared.
        assert_eq!(pool.hear(&offer(1, number, 79, NOW), NOW), Verdict::Reject);
    }
    assert_eq!(pool.hear(&offer(1, 9, 99, NOW), NOW), Verdict::Ignore);
    assert_eq!(pool.hear(&offer(2, 9, 99, NOW), NOW), Verdict::Accept);
    assert_eq!(known(&pool, &Wanted { limit: 10, ..Wanted::default() }).len(), 1);
}

#[test]
fn what_every_honest_node_refuses_counts_against_the_peer() {
    let far = "2026-11-24T01:46:03.123Z";
    for (member, to, verdict) in [
        ("/sender/agent_type", json!("SAT"), Verdict::Reject),
        ("/payload/data/metrics/successes", json!(101), Verdict::Reject),
        ("/payload/data/metrics/total_snr_delta", json!(101), Verdict::Reject),
        ("/payload/data/metrics/first_used", json!(far), Verdict::Reject),
        ("/payload/data/metrics/last_used", json!(far), Verdict::Reject),
        ("/payload/data/elevation_count", json!(2), Verdict::Reject),
        ("/payload/data/elevation_count", json!(1_000_000_000), Verdict::Reject),
        // A peer with another clock or state may have found these good.
        ("/timestamp", json!(far), Verdict::Ignore),
        ("/timestamp", json!("2026-11-20T01:46:03.123Z"), Verdict::Ignore),
        ("/metadata/ihsan_score", json!(0.94), Verdict::Ignore),
        ("/payload/data/ihsan_score", json!(0.94), Verdict::Ignore),
        ("/payload/policy_hash", json!("ab".repeat(32)), Verdict::Ignore),
    ] {
        let (mut pool, _folder) = pool("patterns");
        let bad = changed_offer(1, 1, 90, NOW, |envelope| {
            *envelope.pointer_mut(member).expect(member) = to.clone();
        });
        assert_eq!(pool.hear(&bad, NOW), verdict, "{member} {to}");
        line(&pool, "bizra_patterns 0");
        assert_eq!(pool.hear(&offer(1, 1, 90, NOW), NOW), Verdict::Accept, "nothing is left");
    }
}

#[test]
fn what_the_api_offers_is_news_once() {
    let (mut pool, _folder) = pool("patterns");
    let good = offer(1, 1, 90, NOW);
    let mut ask = |text: &[u8]| {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Offer { text: Bytes::copy_from_slice(text), reply };
        let news = pool.answer(ask, NOW);
        (news, answer.blocking_recv().expect("it is answered"))
    };
    // Any spelling will do; the canonical one goes on.
    let (news, taken) = ask(&[b" ", &*good].concat());
    assert_eq!(news.as_deref(), Some(&*good));
    let taken = taken.expect("it is adopted");
    assert_eq!((taken.adoption, taken.impact.to_string().as_str()), (Adoption::New, "0.904500000"));
    let (news, taken) = ask(&good);
    assert_eq!((news, taken.expect("it is known").adoption), (None, Adoption::Known));
    let (news, refused) = ask(&offer(1, 1, 80, NOW));
    assert_eq!((news, refused.expect_err("it is no better").code), (None, Code::State));
    line(&pool, "bizra_pattern_propagation_seconds_count{span=\"end_to_end\"} 0");
}

#[test]
fn patterns_are_found_in_pages() {
    let (mut pool, _folder) = pool("patterns");
    for (seed, number, successes) in [(1, 1, 90), (2, 1, 95), (1, 2, 85), (2, 3, 80)] {
        assert_eq!(pool.hear(&offer(seed, number, successes, NOW), NOW), Verdict::Accept);
    }
    let key = |seed| source(seed).public();
    let all = [(key(2), 95), (key(1), 90), (key(1), 85), (key(2), 80)];
    let wanted = |after, limit| Wanted { after, limit, ..Wanted::default() };
    assert_eq!(known(&pool, &wanted(0, 10)), all);
    assert_eq!(known(&pool, &wanted(0, 3)), all[..3]);
    assert_eq!(known(&pool, &wanted(3, 3)), all[3..]);
    assert_eq!(known(&pool, &wanted(usize::MAX, 3)), []);
    assert_eq!(pool.find(&wanted(3, 3), NOW).total, 4);
    let odd = Wanted { domain: Some("domain-1".to_owned()), ..wanted(0, 10) };
    assert_eq!(known(&pool, &odd), [all[0], all[1], all[3]]);
    let one = Wanted { id: Some(PatternId::of("latency above 1 ms")), ..odd };
    assert_eq!(known(&pool, &one), all[..2]);
}

/// Offers as a node tells them, with the keys under which the store has them.
fn remembered(pool: &Pool) -> (Vec<Arc<[u8]>>, BTreeSet<PatternKey>) {
    let page = pool.find(&Wanted { limit: 9_999, ..Wanted::default() }, NOW).page;
    let stored = pool.store.patterns().expect("the folder can be read");
    let stored: BTreeSet<_> = stored.into_keys().collect();
    assert_eq!(stored, pool.kept, "the pool knows what is stored");
    (page.into_iter().map(|(offer, _)| Arc::clone(offer.bytes())).collect(), stored)
}

#[test]
fn a_node_knows_after_a_restart_what_it_knew_before() {
    let (mut pool, folder) = pool("patterns");
    let (old, better) = (offer(1, 1, 90, NOW), offer(1, 1, 95, NOW));
    let other = offer(2, 1, 80, NOW.saturating_add_ms(1_000));
    for adopted in [&old, &better, &other] {
        assert_eq!(pool.hear(adopted, NOW), Verdict::Accept);
    }
    assert_eq!(pool.hear(&offer(3, 1, 79, NOW), NOW), Verdict::Reject);
    let before = remembered(&pool);
    assert_eq!(before.0, [better.clone(), other.clone()]);
    drop(pool);

    let later = NOW.saturating_add_ms(TTL_MS - 1);
    let mut pool = pool_in(&folder, "patterns", later);
    assert_eq!(remembered(&pool), before, "though none of them could be adopted as late");
    line(&pool, "bizra_patterns 2");
    assert_eq!(pool.hear(&better, NOW), Verdict::Ignore, "it is known");
    assert_eq!(pool.hear(&old, NOW), Verdict::Ignore, "it is no better");
    drop(pool);

    // One of them has expired by now.
    let pool = pool_in(&folder, "patterns", NOW.saturating_add_ms(TTL_MS));
    let (offers, stored) = remembered(&pool);
    assert_eq!((offers, stored.len()), (vec![other], 1));
}

#[test]
fn what_leaves_the_book_leaves_the_disk() {
    let (mut pool, folder) = pool("patterns");
    let limit = BookLimits::default().offers_per_source_max as u64;
    // The first is the least worth, and leaves for the last.
    for number in 0..=limit {
        let offer = offer(1, number, 80 + u64::from(number > 0), NOW);
        assert_eq!(pool.hear(&offer, NOW), Verdict::Accept, "{number}");
    }
    let before = remembered(&pool);
    assert_eq!((before.0.len() as u64, before.1.len() as u64), (limit, limit));
    drop(pool);
    assert_eq!(remembered(&pool_in(&folder, "patterns", NOW)), before);
}

#[test]
fn what_is_not_signed_by_its_source_is_forgotten() {
    let (mut pool, folder) = pool("patterns");
    let (good, bad) = (offer(1, 1, 90, NOW), offer(2, 1, 90, NOW));
    for adopted in [&good, &bad] {
        assert_eq!(pool.hear(adopted, NOW), Verdict::Accept);
    }
    let text = std::str::from_utf8(&bad).expect("UTF-8").replacen("smaller", "larger", 1);
    let key = (PatternId::of("latency above 1 ms"), source(2).public());
    pool.store.keep_pattern(Some((&key, text.as_bytes())), &[]).expect("writable");
    drop(pool);
    let (offers, stored) = remembered(&pool_in(&folder, "patterns", NOW));
    assert_eq!((offers, stored.len()), (vec![good], 1));
}

/// Memory goes on where the disk does not.
#[test]
fn a_full_disk_takes_no_pattern_away() {
    let (mut pool, folder) = pool("patterns");
    pool.store.keep_free(u64::MAX);
    assert_eq!(pool.hear(&offer(1, 1, 90, NOW), NOW), Verdict::Accept);
    assert_eq!(remembered(&pool).0.len(), 1);
    assert!(pool.kept.is_empty());
    pool.store.keep_free(0);
    assert_eq!(pool.hear(&offer(1, 2, 90, NOW), NOW), Verdict::Accept);
    drop(pool);
    assert_eq!(remembered(&pool_in(&folder, "patterns", NOW)).0.len(), 1);
}

struct Node {
    network: Network,
    events: EventReceiver,
    pool: Pool,
    registry: Registry,
    _folder: TempDir,
}

impl Node {
    async fn start(identity: &Keypair, validators: BTreeSet<PeerId>) -> Self {
        let genesis = genesis("patterns");
        let hello = Hello::at_genesis(&genesis);
        let config = NetworkConfig::on_loopback(identity.clone(), validators, hello);
        let mut registry = Registry::default();
        let (network, events) = Network::start(config, &mut registry).await.unwrap();
        let (pool, _folder) = pool("patterns");
        Self { network, events, pool, registry, _folder }
    }

    fn address(&self) -> PeerAddress {
        let (address, peer) = (&self.network.listeners()[0], self.network.local_peer());
        format!("{address}/p2p/{peer}").parse().unwrap()
    }

    /// Hears the next message on the topic.
    async fn heard(&mut self) -> (Bytes, Verdict) {
        loop {
            if let Event::Gossip { id, topic: Topic::Patterns, bytes } = self.next().await {
                let verdict = self.pool.hear(&bytes, wall_clock());
                self.network.report(id, verdict);
                return (bytes, verdict);
            }
        }
    }

    async fn next(&mut self) -> Event {
        self.events.recv().await.expect("the network runs")
    }

    /// Waits until so many peers listen, which gossipsub says by its metric only.
    async fn listeners(&self, count: usize) {
        let chain_id = genesis("patterns").chain_id();
        let line =
            format!("gossipsub_topic_peers_counts{{hash=\"bizra/{chain_id}/patterns\"}} {count}");
        loop {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A line: the first and the last know only the one in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_reaches_all_and_a_forged_one_counts_against_its_sender() {
    let keys: Vec<_> = (0..3).map(|_| Keypair::generate_ed25519()).collect();
    let peers: Vec<_> = keys.iter().map(|key| key.public().to_peer_id()).collect();
    let first = Node::start(&keys[0], [peers[0], peers[1]].into()).await;
    let mut middle = Node::start(&keys[1], peers.iter().copied().collect()).await;
    let mut last = Node::start(&keys[2], [peers[1], peers[2]].into()).await;
    first.network.update_peers(vec![middle.address()]);
    last.network.update_peers(vec![middle.address()]);
    first.listeners(1).await;
    middle.listeners(2).await;

    // The first node as it is when it runs: what its API takes in goes out.
    let Node { network, mut events, pool, .. } = first;
    let (asks, asked) = mpsc::channel(1);
    let (way_in, thread) = start(pool, network.clone(), asked);
    let hearing = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let offered = |bytes: &Arc<[u8]>| {
        let (reply, answer) = oneshot::channel();
        let text = Bytes::copy_from_slice(bytes);
        asks.try_send(Ask::Offer { text, reply }).expect("there is room");
        answer
    };
    let good = offer(1, 1, 90, wall_clock());
    let taken = offered(&good).await.unwrap().expect("it is adopted");
    assert_eq!(taken.bytes, good);
    assert_eq!(middle.heard().await, (Bytes::from_owner(Arc::clone(&good)), Verdict::Accept));
    assert_eq!(last.heard().await.1, Verdict::Accept);
    line(&last.pool, "bizra_pattern_propagation_seconds_count{span=\"end_to_end\"} 1");

    let text = std::str::from_utf8(&good).unwrap().replacen("smaller", "larger", 1);
    network.publish(Topic::Patterns, text.into()).await.unwrap();
    assert_eq!(middle.heard().await.1, Verdict::Reject);
    loop {
        if let Event::Fault { peer, fault, banned } = middle.next().await {
            assert_eq!((peer, fault, banned), (peers[0], Fault::Gossip, false));
            break;
        }
    }
    // What is true and of no use goes no further either, and is no fault: what is old, what is
    // known in other bytes, and what is no better than that.
    let stale = offer(1, 2, 90, wall_clock().saturating_sub_ms(200_000));
    let (equal, worse) = (offer(1, 1, 90, wall_clock()), offer(1, 1, 89, wall_clock()));
    for useless in [stale, equal, worse] {
        network.publish(Topic::Patterns, Bytes::from_owner(useless)).await.unwrap();
        assert_eq!(middle.heard().await.1, Verdict::Ignore);
    }
    // The next pattern comes, and none of those came before it.
    let next = offer(1, 3, 90, wall_clock());
    offered(&next).await.unwrap().expect("it is adopted");
    assert_eq!(middle.heard().await.1, Verdict::Accept);
    assert_eq!(last.heard().await, (Bytes::from_owner(next), Verdict::Accept));
    let page = last.pool.find(&Wanted { limit: 9, ..Wanted::default() }, wall_clock()).page;
    assert_eq!(page.len(), 2);

    // Without a way in for messages the thread ends.
    drop(way_in);
    tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
    network.shutdown().await;
    hearing.await.unwrap();
}
