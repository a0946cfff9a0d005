mod common;
use bizra_gossip::Channel;
use bytes::Bytes;
use common::*;
use std::collections::HashMap;
use std::time::Duration;
#[test]
fn hang() {
    run(async {
        let mut nodes = mesh(&keys(7), |_| {}).await;
        for node in &nodes {
            for i in 0..200u32 {
                let size = if i == 100 { Channel::Consensus.message_size_max() } else { 200 };
                let mut v = vec![0; size];
                v[..4].copy_from_slice(&i.to_le_bytes());
                assert_eq!(node.network.broadcast(Channel::Consensus, &v.into()), []);
            }
            for i in 0..20u32 {
                let size = if i == 10 { Channel::Bulk.message_size_max() } else { 100_000 };
                let mut v = vec![0; size];
                v[..4].copy_from_slice(&i.to_le_bytes());
                assert_eq!(node.network.broadcast(Channel::Bulk, &Bytes::from(v)), []);
            }
        }
        let mut stuck = false;
        for k in 0..7 {
            let mut next: HashMap<_, u32> = HashMap::new();
            for _ in 0..6 * 220 {
                let Ok((peer, channel, bytes)) =
                    tokio::time::timeout(Duration::from_secs(20), nodes[k].message()).await
                else {
                    println!("node {k} {} stuck", nodes[k].peer());
                    for (p, n) in &next {
                        println!("  {p:?} {n}");
                    }
                    stuck = true;
                    break;
                };
                let n = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                let e = next.entry((peer, channel)).or_default();
                if n != *e {
                    println!("node {k} gap from {peer} {channel}: {n} not {e}");
                }
                *e = n + 1;
            }
            if stuck {
                break;
            }
        }
        if stuck {
            for n in &nodes {
                println!("{} {:?}", n.peer(), n.network.status());
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &n.registry).unwrap();
                for l in text.lines().filter(|l| {
                    l.starts_with("bizra_gossip_sent_m")
                        || l.starts_with("bizra_gossip_received_m")
                        || l.starts_with("bizra_gossip_queue")
                }) {
                    println!("   {l}");
                }
            }
            panic!("stuck");
        }
    });
}
