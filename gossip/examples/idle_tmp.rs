//! Temporary measurement.
#[path = "../tests/common/mod.rs"]
mod common;
use common::*;
use std::time::{Duration, Instant};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<_> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if std::env::var("MT").is_ok() { 2 } else { 1 })
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let mut nodes = mesh(&keys(7), |c| {
                if let Ok(ms) = std::env::var("HB") {
                    c.limits.heartbeat_interval = Duration::from_millis(ms.parse().unwrap());
                    c.limits.silence_max = Duration::from_secs(3600);
                }
            })
            .await;
            let (c, t) = (cpu(), Instant::now());
            let mut rtts = vec![];
            let mut heard = 0;
            let end = t + Duration::from_secs(15);
            let mut set = tokio::task::JoinSet::new();
            for mut n in nodes.drain(..) {
                set.spawn(async move {
                    let mut r = vec![];
                    let mut h = 0;
                    while Instant::now() < end {
                        let e = n.events.recv().await.unwrap();
                        if let bizra_gossip::Event::Heard { round_trip, .. } = e {
                            h += 1;
                            r.extend(round_trip);
                        }
                    }
                    (n, r, h)
                });
            }
            let mut keep = vec![];
            while let Some(x) = set.join_next().await {
                let (n, r, h) = x.unwrap();
                keep.push(n);
                rtts.extend(r);
                heard += h;
            }
            let used = cpu() - c;
            rtts.sort();
            println!(
                "cpu {:.2}% total, {:.3}% per node; heard {heard}, rtts {} p50 {:?} p99 {:?}",
                used / t.elapsed().as_secs_f64() * 100.0,
                used / t.elapsed().as_secs_f64() * 100.0 / 7.0,
                rtts.len(),
                rtts[rtts.len() / 2],
                rtts[rtts.len() * 99 / 100]
            );
        });
}
