//! When to dial whom: for ever, with back-off, and seldom from both ends at once.
//!
//! Of two peers the one with the lower id dials; the other waits for a grace
//! time and dials too if nothing came. Each transport of a peer has a back-off
//! of its own, and the second is tried only after the first has failed twice.
//! Pure: the caller gives the time and does the dialling.

use crate::{Limits, PeerAddress, TransportKind};
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Failures of the preferred transport after which the other is tried too.
const FAILURES_BEFORE_SECOND: u32 = 2;

/// A connection that lived shorter than this does not end the back-off, so that
/// a peer which accepts and hangs up is not dialled in a tight loop.
const STABLE: Duration = Duration::from_secs(5);

/// One address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) peer: PeerId,
    pub(crate) transport: TransportKind,
    pub(crate) addresses: Vec<Multiaddr>,
}

#[derive(Debug)]
struct Line {
    addresses: Vec<Multiaddr>,
    failures: u32,
    due: Instant,
    dialling: bool,
}

#[derive(Debug)]
struct Target {
    lines: BTreeMap<TransportKind, Line>,
    connections: usize,
    connected_at: Instant,
}

/// The schedule.
#[derive(Debug)]
pub(crate) struct Dialler {
    local: PeerId,
    first: TransportKind,
    limits: Limits,
    targets: BTreeMap<PeerId, Target>,
    jitter: u64,
}

impl Dialler {
    pub(crate) fn new(local: PeerId, first: TransportKind, limits: Limits) -> Self {
        // The jitter only has to differ between nodes.
        let mut seed = [0; 8];
        let id = local.to_bytes();
        let tail = id.len().saturating_sub(8);
        for (to, from) in seed.iter_mut().zip(&id[tail..]) {
            *to = *from;
        }
        let jitter = u64::from_le_bytes(seed) | 1;
        Self { local, first, limits, targets: BTreeMap::new(), jitter }
    }

    /// Replaces the list of peers; `connections` tells how many each has now.
    /// Who stays keeps its back-off unless its addresses changed.
    pub(crate) fn set_peers(
        &mut self,
        peers: &[PeerAddress],
        connections: impl Fn(&PeerId) -> usize,
        now: Instant,
    ) {
        let mut wanted: BTreeMap<PeerId, BTreeMap<TransportKind, Vec<Multiaddr>>> = BTreeMap::new();
        for PeerAddress { peer, address, transport } in peers {
            if *peer != self.local {
                let addresses = wanted.entry(*peer).or_default().entry(*transport).or_default();
                if !addresses.contains(address) {
                    addresses.push(address.clone());
                }
            }
        }
        self.targets.retain(|peer, _| wanted.contains_key(peer));
        for (peer, lines) in wanted {
            let due = now + self.grace(&peer);
            let target = self.targets.entry(peer).or_insert_with(|| Target {
                lines: BTreeMap::new(),
                connections: connections(&peer),
                connected_at: now,
            });
            target.lines.retain(|transport, _| lines.contains_key(transport));
            for (transport, addresses) in lines {
                let line = target.lines.entry(transport).or_insert_with(|| Line {
                    addresses: Vec::new(),
                    failures: 0,
                    due,
                    dialling: false,
                });
                if line.addresses != addresses {
                    line.addresses = addresses;
                    line.failures = 0;
                    line.due = due;
                }
            }
        }
    }

    /// What to dial now. Each is taken as under way until [`Dialler::on_failed`]
    /// or [`Dialler::on_connected`].
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Dial> {
        let mut due = Vec::new();
        for (peer, target) in &mut self.targets {
            for transport in target.due_lines(self.first) {
                let line = target.lines.get_mut(&transport).expect("due lines exist");
                if line.due <= now {
                    line.dialling = true;
                    due.push(Dial { peer: *peer, transport, addresses: line.addresses.clone() });
                }
            }
        }
        due
    }

    /// When [`Dialler::take_due`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.targets
            .values()
            .flat_map(|target| {
                target
                    .due_lines(self.first)
                    .into_iter()
                    .map(|transport| target.lines[&transport].due)
            })
            .min()
    }

    /// A dial came to nothing.
    pub(crate) fn on_failed(&mut self, peer: &PeerId, transport: TransportKind, now: Instant) {
        let pause_jitter = self.jitter();
        let Some(line) = self.line_mut(peer, transport) else { return };
        line.dialling = false;
        line.failures = line.failures.saturating_add(1);
        let failures = line.failures;
        let pause = self.pause(failures, pause_jitter);
        if let Some(line) = self.line_mut(peer, transport) {
            line.due = now + pause;
        }
    }

    /// A connection was established, by whichever side dialled.
    pub(crate) fn on_connected(&mut self, peer: &PeerId, now: Instant) {
        if let Some(target) = self.targets.get_mut(peer) {
            if target.connections == 0 {
                target.connected_at = now;
            }
            target.connections += 1;
        }
    }

    /// A dial of ours became a connection.
    pub(crate) fn on_dial_succeeded(&mut self, peer: &PeerId, transport: TransportKind) {
        if let Some(line) = self.line_mut(peer, transport) {
            line.dialling = false;
        }
    }

    /// A connection was closed. When it was the last, dialling resumes.
    pub(crate) fn on_disconnected(&mut self, peer: &PeerId, now: Instant) {
        let grace = self.grace(peer);
        let jitter = self.jitter();
        let (min, max) = (self.limits.dial_backoff_min, self.limits.dial_backoff_max);
        let Some(target) = self.targets.get_mut(peer) else { return };
        target.connections = target.connections.saturating_sub(1);
        if target.connections > 0 {
            return;
        }
        let stable = now.saturating_duration_since(target.connected_at) >= STABLE;
        for line in target.lines.values_mut() {
            line.failures = if stable { 0 } else { line.failures.saturating_add(1) };
            line.due = now + grace + backoff(line.failures.max(1), min, max, jitter);
        }
    }

    /// Nothing is dialled to the peer before `until`.
    pub(crate) fn hold_until(&mut self, peer: &PeerId, until: Instant) {
        if let Some(target) = self.targets.get_mut(peer) {
            for line in target.lines.values_mut() {
                line.due = line.due.max(until);
            }
        }
    }

    fn line_mut(&mut self, peer: &PeerId, transport: TransportKind) -> Option<&mut Line> {
        self.targets.get_mut(peer)?.lines.get_mut(&transport)
    }

    fn grace(&self, peer: &PeerId) -> Duration {
        if self.local < *peer { Duration::ZERO } else { self.limits.dial_grace }
    }

    fn pause(&self, failures: u32, jitter: u64) -> Duration {
        backoff(failures, self.limits.dial_backoff_min, self.limits.dial_backoff_max, jitter)
    }

    /// The next number of a xorshift generator.
    const fn jitter(&mut self) -> u64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        self.jitter
    }
}

impl Target {
    /// The transports that may be dialled when their time comes.
    fn due_lines(&self, first: TransportKind) -> Vec<TransportKind> {
        if self.connections > 0 {
            return Vec::new();
        }
        let first_failed =
            self.lines.get(&first).is_none_or(|line| line.failures >= FAILURES_BEFORE_SECOND);
        self.lines
            .iter()
            .filter(|(transport, line)| !line.dialling && (**transport == first || first_failed))
            .map(|(transport, _)| *transport)
            .collect()
    }
}

/// `min` doubled with each failure after the first, at most `max`, and up to a
/// quarter of it more, drawn from `jitter`.
fn backoff(failures: u32, min: Duration, max: Duration, jitter: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let pause = min.saturating_mul(1 << doublings).min(max);
    let extra_ms = pause.as_millis() as u64 / 4;
    pause + Duration::from_millis(jitter % (extra_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::multiaddr::multiaddr;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn limits() -> Limits {
        Limits {
            dial_backoff_min: ms(100),
            dial_backoff_max: ms(3000),
            dial_grace: ms(1000),
            ..Limits::default()
        }
    }

    /// Two ids, the lower first.
    fn pair() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        (a.min(b), a.max(b))
    }

    fn both_transports(peer: PeerId) -> Vec<PeerAddress> {
        vec![
            PeerAddress {
                peer,
                address: multiaddr!(Ip4([127, 0, 0, 1]), Tcp(7000_u16)),
                transport: TransportKind::Tcp,
            },
            PeerAddress {
                peer,
                address: multiaddr!(Ip4([127, 0, 0, 1]), Udp(7001_u16), QuicV1),
                transport: TransportKind::Quic,
            },
        ]
    }

    fn transports(dials: &[Dial]) -> Vec<TransportKind> {
        dials.iter().map(|dial| dial.transport).collect()
    }

    #[test]
    fn the_lower_id_dials_at_once_and_the_higher_after_the_grace() {
        let (low, high) = pair();
        let start = Instant::now();
        let mut lower = Dialler::new(low, TransportKind::Tcp, limits());
        lower.set_peers(&both_transports(high), |_| 0, start);
        assert_eq!(transports(&lower.take_due(start)), [TransportKind::Tcp]);
        let mut higher = Dialler::new(high, TransportKind::Tcp, limits());
        higher.set_peers(&both_transports(low), |_| 0, start);
        assert!(higher.take_due(start + ms(999)).is_empty());
        assert_eq!(higher.next_due(), Some(start + ms(1000)));
        assert_eq!(transports(&higher.take_due(start + ms(1000))), [TransportKind::Tcp]);
    }

    #[test]
    fn a_dial_under_way_is_not_repeated_and_the_second_transport_follows_two_failures() {
        let (low, high) = pair();
        let mut now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high), |_| 0, now);
        for _ in 0..2 {
            assert_eq!(transports(&dialler.take_due(now)), [TransportKind::Tcp]);
            assert!(dialler.take_due(now + ms(60_000)).is_empty());
            dialler.on_failed(&high, TransportKind::Tcp, now);
            now += ms(400);
        }
        assert_eq!(transports(&dialler.take_due(now)), [TransportKind::Tcp, TransportKind::Quic]);
    }

    #[test]
    fn the_pause_doubles_to_its_limit() {
        let (low, high) = pair();
        let mut now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high)[..1], |_| 0, now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(dialler.take_due(now).len(), 1);
            dialler.on_failed(&high, TransportKind::Tcp, now);
            let due = dialler.next_due().unwrap();
            pauses.push(due - now);
            now = due;
        }
        for (pause, base) in pauses.iter().zip([100, 200, 400, 800, 1600, 3000, 3000, 3000]) {
            assert!(*pause >= ms(base) && *pause <= ms(base + base / 4), "{pauses:?}");
        }
    }

    #[test]
    fn a_lost_connection_is_dialled_again_and_an_unstable_one_ever_slower() {
        let (low, high) = pair();
        let mut now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high)[..1], |_| 0, now);
        dialler.take_due(now);
        dialler.on_dial_succeeded(&high, TransportKind::Tcp);
        dialler.on_connected(&high, now);
        assert_eq!(dialler.next_due(), None);
        now += STABLE;
        dialler.on_disconnected(&high, now);
        let due = dialler.next_due().unwrap();
        assert!(due - now <= ms(125));

        let mut last = Duration::ZERO;
        for _ in 0..5 {
            now = dialler.next_due().unwrap();
            assert_eq!(dialler.take_due(now).len(), 1);
            dialler.on_dial_succeeded(&high, TransportKind::Tcp);
            dialler.on_connected(&high, now);
            dialler.on_disconnected(&high, now);
            let pause = dialler.next_due().unwrap() - now;
            assert!(pause > last);
            last = pause;
        }
    }

    #[test]
    fn only_the_last_of_two_connections_resumes_dialling() {
        let (low, high) = pair();
        let now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high), |_| 0, now);
        dialler.on_connected(&high, now);
        dialler.on_connected(&high, now);
        dialler.on_disconnected(&high, now);
        assert_eq!(dialler.next_due(), None);
        dialler.on_disconnected(&high, now);
        assert!(dialler.next_due().is_some());
    }

    #[test]
    fn a_new_list_forgets_who_left_and_dials_a_new_address_at_once() {
        let (low, high) = pair();
        let now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high)[..1], |_| 0, now);
        for _ in 0..5 {
            dialler.on_failed(&high, TransportKind::Tcp, now);
        }
        assert!(dialler.take_due(now).is_empty());
        let mut moved = both_transports(high)[0].clone();
        moved.address = multiaddr!(Ip4([127, 0, 0, 2]), Tcp(7000_u16));
        dialler.set_peers(std::slice::from_ref(&moved), |_| 0, now);
        assert_eq!(dialler.take_due(now)[0].addresses, [moved.address]);
        dialler.set_peers(&[], |_| 0, now);
        assert_eq!(dialler.next_due(), None);
    }

    #[test]
    fn a_banned_peer_is_not_dialled() {
        let (low, high) = pair();
        let now = Instant::now();
        let mut dialler = Dialler::new(low, TransportKind::Tcp, limits());
        dialler.set_peers(&both_transports(high), |_| 0, now);
        dialler.hold_until(&high, now + ms(60_000));
        assert_eq!(dialler.next_due(), Some(now + ms(60_000)));
    }
}
