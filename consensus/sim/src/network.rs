//! The virtual network: who hears what, how late, and how often.

use crate::rng::Rng;
use crate::trace;
use bizra_consensus::{Ask, Input};

/// Shifts of the heavy tail: a late message takes up to 2¹¹ times as long.
const TAIL_SHIFT_MAX: u32 = 11;
/// No message is on its way for longer.
const DELAY_MICROS_MAX: u64 = 20_000_000;

/// What travels between two nodes.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Something for the engine.
    Input(Box<Input>),
    /// A question to a peer's disk.
    Ask(Ask),
    /// The answer, on one stream and so in order.
    Answer(Vec<Input>),
}

/// A payload, verified once for all that receive it.
#[derive(Debug)]
pub(crate) struct Message {
    /// What it says.
    pub(crate) payload: Payload,
    /// Stands for the content in the trace.
    pub(crate) fingerprint: u64,
}

impl Message {
    /// Something for the engine.
    pub(crate) fn of(input: Input) -> Self {
        let fingerprint = trace::fingerprint(&input);
        Self { payload: Payload::Input(Box::new(input)), fingerprint }
    }

    /// An answer of several inputs.
    pub(crate) fn answer(inputs: Vec<Input>) -> Self {
        let fingerprint = inputs.iter().map(trace::fingerprint).fold(0, u64::wrapping_add);
        Self { payload: Payload::Answer(inputs), fingerprint }
    }

    /// A question.
    pub(crate) fn of_ask(ask: Ask) -> Self {
        let fingerprint = trace::ask_fingerprint(&ask);
        Self { payload: Payload::Ask(ask), fingerprint }
    }
}

/// Something that goes wrong for all messages while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// So many in a million are lost.
    Loss(u64),
    /// So many in a million come twice.
    Duplication(u64),
    /// So many in a million come much later than the rest.
    Tail(u64),
    /// Nothing passes from a node to another where the matrix says so.
    Cut(Vec<Vec<bool>>),
    /// Such a cut, in every other of spans of so many µs.
    Flapping { cut: Vec<Vec<bool>>, half_period_micros: u64 },
    /// What goes from a node to another takes so many µs longer.
    Slow(Vec<Vec<u64>>),
}

/// Links, and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    /// Shortest delay from node to node, in µs.
    base_micros: Vec<Vec<u64>>,
    /// A healthy message takes up to so much longer, in µs.
    jitter_micros: u64,
    troubles: Vec<(u64, Trouble)>,
}

impl Network {
    /// Links between `size` nodes. `wide` puts them on several continents.
    pub(crate) fn new(seed: u64, size: usize, wide: bool) -> Self {
        let mut rng = Rng::new(seed, "network");
        let (low, high) = if wide { (5_000, 60_000) } else { (100, 1_500) };
        let row = |_| (0..size).map(|_| rng.between(low, high)).collect();
        let base_micros = (0..size).map(row).collect();
        let jitter_micros = low + (high - low) / 10;
        Self { rng, base_micros, jitter_micros, troubles: Vec::new() }
    }

    /// Links with these shortest delays, in µs, and as much jitter.
    pub(crate) fn between(seed: u64, base_micros: Vec<Vec<u64>>, jitter_micros: u64) -> Self {
        let rng = Rng::new(seed, "network");
        Self { rng, base_micros, jitter_micros, troubles: Vec::new() }
    }

    /// Starts a trouble under a number.
    pub(crate) fn start(&mut self, id: u64, trouble: Trouble) {
        self.troubles.push((id, trouble));
    }

    /// Ends the trouble of this number, if it lasts.
    pub(crate) fn end(&mut self, id: u64) {
        self.troubles.retain(|(other, _)| *other != id);
    }

    /// The delays in µs after which a message that leaves one node now reaches
    /// another: none when it is lost, two when it comes twice.
    pub(crate) fn route(&mut self, now_micros: u64, from: usize, to: usize) -> [Option<u64>; 2] {
        let healthy = self.base_micros[from][to] + self.rng.below(self.jitter_micros);
        let mut arrivals = [Some(healthy), None];
        for (_, trouble) in &self.troubles {
            match trouble {
                Trouble::Loss(per_million) => {
                    for arrival in &mut arrivals {
                        if arrival.is_some() && self.rng.chance(*per_million) {
                            *arrival = None;
                        }
                    }
                }
                Trouble::Duplication(per_million) => {
                    if self.rng.chance(*per_million) {
                        let later = healthy + self.rng.below(50 * self.jitter_micros);
                        arrivals[1] = arrivals[0].map(|_| later);
                    }
                }
                Trouble::Tail(per_million) => {
                    for delay in arrivals.iter_mut().flatten() {
                        if self.rng.chance(*per_million) {
                            let shift = 1 + self.rng.heads(TAIL_SHIFT_MAX - 1);
                            *delay = (*delay << shift).min(DELAY_MICROS_MAX);
                        }
                    }
                }
                Trouble::Cut(cut) => {
                    if cut[from][to] {
                        return [None, None];
                    }
                }
                Trouble::Flapping { cut, half_period_micros } => {
                    if cut[from][to] && (now_micros / half_period_micros).is_multiple_of(2) {
                        return [None, None];
                    }
                }
                Trouble::Slow(extra) => {
                    for delay in arrivals.iter_mut().flatten() {
                        *delay += extra[from][to];
                    }
                }
            }
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_stops_one_direction_until_it_ends() {
        let mut network = Network::new(1, 3, false);
        let mut cut = vec![vec![false; 3]; 3];
        cut[0][1] = true;
        network.start(4, Trouble::Cut(cut));
        assert_eq!(network.route(0, 0, 1), [None, None]);
        assert!(network.route(0, 1, 0)[0].is_some());
        network.end(4);
        assert!(network.route(0, 0, 1)[0].is_some());
    }

    #[test]
    fn a_flapping_cut_comes_and_goes() {
        let mut network = Network::new(1, 2, false);
        let cut = vec![vec![false, true], vec![false, false]];
        network.start(1, Trouble::Flapping { cut, half_period_micros: 10 });
        let passes = |network: &mut Network, now| network.route(now, 0, 1)[0].is_some();
        let seen: Vec<_> = [0, 9, 10, 19, 20].map(|now| passes(&mut network, now)).into();
        assert_eq!(seen, [false, false, true, true, false]);
        assert!(network.route(0, 1, 0)[0].is_some(), "the other direction");
    }

    #[test]
    fn a_slow_link_is_slow_in_one_direction() {
        let mut network = Network::new(1, 2, false);
        network.start(1, Trouble::Slow(vec![vec![0, 700_000], vec![0, 0]]));
        assert!(network.route(0, 0, 1)[0].expect("not lost") >= 700_000);
        assert!(network.route(0, 1, 0)[0].expect("not lost") < 700_000);
    }

    #[test]
    fn loss_and_duplication_happen_about_as_often_as_they_say() {
        let mut network = Network::new(2, 2, false);
        network.start(1, Trouble::Loss(250_000));
        let lost = (0..10_000).filter(|_| network.route(0, 0, 1)[0].is_none()).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
        network.end(1);
        network.start(2, Trouble::Duplication(500_000));
        let twice = (0..10_000).filter(|_| network.route(0, 0, 1)[1].is_some()).count();
        assert!((4_700..5_300).contains(&twice), "{twice}");
    }
}
