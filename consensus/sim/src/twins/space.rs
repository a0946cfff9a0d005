//! Scenarios: who leads and who can hear whom in each view, each counted once.

use crate::keys::committee;
use crate::rng::Rng;
use bizra_consensus::Schedule;
use bizra_types::committee::Committee;
use bizra_types::hash::Hash;
use bizra_types::numbers::View;
use std::fmt;

/// Sides of a partition that is drawn, at most.
const SIDES_MAX: u64 = 3;
/// Of the partitions that are drawn, so many in a million may leave no quorum
/// together.
const ANY_PER_MILLION: u64 = 250_000;

/// The side on which each instance stands, numbered in the order of their
/// first instance.
pub type Partition = Vec<u8>;

/// What happens in the first views of a chain.
///
/// Instances 0 to n − 1 are the validators by their places; after them come
/// the twins, in the order of their validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    validators: usize,
    twins: Vec<usize>,
    seed: Hash,
    leaders: Vec<usize>,
    partitions: Vec<Partition>,
    is_late: bool,
}

/// All scenarios of one size that matter, under numbers.
///
/// Three things are left out of what the schedule and the network could do:
///
/// 1. *Other names.* Validators are named in the order in which they first lead,
///    so each order of leaders is there under one naming; validators that never
///    lead are interchangeable, and so are the two instances of a key.
/// 2. *More than two sides.* Beside a quorum there is no other, so how the rest
///    is cut up decides nothing but who of it hears of a minority's messages.
/// 3. *No quorum anywhere.* Such a view certifies nothing and cannot be left: it
///    is one that was lost. So is one whose leader is apart from the quorum.
///
/// [`Scenario::sample`] draws from all of them.
#[derive(Debug)]
pub struct Space {
    validators: usize,
    views: usize,
    /// Each order of leaders, with a seed from which the schedule draws it.
    orders: Vec<(Hash, Vec<usize>)>,
    /// Who has a twin, and the partitions that matter then.
    casts: Vec<(Vec<usize>, Vec<Partition>)>,
}

impl Scenario {
    /// A scenario by hand. Any side numbers will do.
    ///
    /// # Panics
    /// When the schedule cannot draw these leaders: within n views from a
    /// multiple of n on, view 0 counted, each validator leads once.
    #[must_use]
    pub fn new(
        validators: usize,
        twins: &[usize],
        leaders: &[usize],
        partitions: &[Partition],
    ) -> Self {
        assert_eq!(leaders.len(), partitions.len(), "each view has a leader and a partition");
        let mut twins = twins.to_vec();
        twins.sort_unstable();
        let is_full = |sides: &Partition| sides.len() == validators + twins.len();
        assert!(partitions.iter().all(is_full), "each instance stands on a side");
        Self {
            validators,
            seed: seed_of(&committee(validators), leaders),
            leaders: leaders.to_vec(),
            partitions: partitions.iter().cloned().map(normal).collect(),
            twins,
            is_late: false,
        }
    }

    /// The scenario that a number draws: any leaders, any twins, up to three
    /// sides, in three views of four with a quorum on one of them.
    #[must_use]
    pub fn sample(validators: usize, twins: usize, views: usize, number: u64) -> Self {
        let mut rng = Rng::new(number, "twins");
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next().to_le_bytes());
        }
        let seed = Hash(seed);
        let mut others: Vec<usize> = (0..validators).collect();
        let mut chosen: Vec<usize> =
            (0..twins).map(|_| others.swap_remove(rng.index(others.len()))).collect();
        chosen.sort_unstable();
        let partitions = (0..views).map(|_| {
            let is_any = rng.chance(ANY_PER_MILLION);
            loop {
                let sides = rng.between(1, SIDES_MAX);
                let side = |_| u8::try_from(rng.below(sides)).expect("few sides");
                let partition = normal((0..validators + twins).map(side).collect());
                if is_any || has_quorum(validators, &chosen, &partition) {
                    break partition;
                }
            }
        });
        let partitions = partitions.collect();
        let leaders = leaders_of(&committee(validators), seed, views);
        Self { validators, twins: chosen, seed, leaders, partitions, is_late: false }
    }

    /// The same, but what crosses a partition is not lost: it comes as soon as
    /// both stand on one side.
    #[must_use]
    pub fn late(self) -> Self {
        Self { is_late: true, ..self }
    }

    /// Who has a twin, ascending.
    #[must_use]
    pub fn twins(&self) -> &[usize] {
        &self.twins
    }

    /// Who has none, ascending.
    pub(crate) fn honest(&self) -> Vec<usize> {
        (0..self.validators).filter(|identity| !self.twins.contains(identity)).collect()
    }

    /// How many views are played.
    #[must_use]
    pub const fn views(&self) -> usize {
        self.leaders.len()
    }

    /// The seed of the leaders.
    pub(crate) const fn seed(&self) -> Hash {
        self.seed
    }

    pub(crate) const fn validators(&self) -> usize {
        self.validators
    }

    pub(crate) const fn instances(&self) -> usize {
        self.validators + self.twins.len()
    }

    /// The validator whose key an instance has.
    pub(crate) fn identity(&self, instance: usize) -> usize {
        if instance < self.validators { instance } else { self.twins[instance - self.validators] }
    }

    /// Who leads a view, from 1 on.
    pub(crate) fn leader(&self, view: usize) -> usize {
        self.leaders[view - 1]
    }

    /// Whether what crosses a partition comes later.
    pub(crate) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// Whether two instances hear each other in a view, from 1 on.
    pub(crate) fn are_together(&self, view: usize, one: usize, other: usize) -> bool {
        let partition = &self.partitions[view - 1];
        partition[one] == partition[other]
    }

    /// Whether no other naming of the validators that never lead, and of the
    /// two instances of each key, comes before this one.
    fn is_first_of_its_names(&self) -> bool {
        let idle: Vec<usize> =
            (0..self.validators).filter(|identity| !self.leaders.contains(identity)).collect();
        permutations(&idle).iter().all(|renamed| {
            let mut names: Vec<usize> = (0..self.validators).collect();
            for (from, to) in idle.iter().zip(renamed) {
                names[*from] = *to;
            }
            (0_u32..1 << self.twins.len()).all(|swapped| {
                let (twins, partitions) = self.under_names(&names, swapped);
                (&self.twins, &self.partitions) <= (&twins, &partitions)
            })
        })
    }

    fn under_names(&self, names: &[usize], swapped: u32) -> (Vec<usize>, Vec<Partition>) {
        let mut twins: Vec<usize> = self.twins.iter().map(|twin| names[*twin]).collect();
        twins.sort_unstable();
        let mut places = names.to_vec();
        for (number, twin) in self.twins.iter().enumerate() {
            let rank = twins.iter().position(|other| *other == names[*twin]);
            places.push(self.validators + rank.expect("renamed above"));
            if swapped & 1 << number != 0 {
                places.swap(*twin, self.validators + number);
            }
        }
        let rename = |partition: &Partition| {
            let mut renamed = vec![0; partition.len()];
            for (side, place) in partition.iter().zip(&places) {
                renamed[*place] = *side;
            }
            normal(renamed)
        };
        (twins, self.partitions.iter().map(rename).collect())
    }
}

/// "twin 4 of 0; view 1 led by 0: 0 1 2 | 3 4; …".
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, identity) in self.twins.iter().enumerate() {
            write!(f, "twin {} of {identity}; ", self.validators + number)?;
        }
        for (place, (leader, partition)) in self.leaders.iter().zip(&self.partitions).enumerate() {
            let end = if place == 0 { "" } else { "; " };
            write!(f, "{end}view {} led by {leader}:", place + 1)?;
            for side in 0..=partition.iter().copied().max().unwrap_or_default() {
                if side > 0 {
                    write!(f, " |")?;
                }
                let members = (0..partition.len()).filter(|member| partition[*member] == side);
                for member in members {
                    write!(f, " {member}")?;
                }
            }
        }
        Ok(())
    }
}

impl Space {
    /// The scenarios in which so many validators have a twin.
    ///
    /// # Panics
    /// When there are more twins than validators.
    #[must_use]
    pub fn new(validators: usize, twins: usize, views: usize) -> Self {
        assert!(twins <= validators, "{twins} twins of {validators} validators");
        let mut orders = Vec::new();
        orders_after(validators, views, &mut Vec::new(), &mut orders);
        let committee = committee(validators);
        let orders = orders.into_iter().map(|order| (seed_of(&committee, &order), order));
        let orders = orders.collect();
        let casts = (0_u32..1 << validators)
            .filter(|chosen| chosen.count_ones() as usize == twins)
            .map(|chosen| (0..validators).filter(|it| chosen & 1 << it != 0).collect())
            .map(|chosen: Vec<usize>| {
                let partitions = partitions(validators, &chosen);
                (chosen, partitions)
            });
        let casts = casts.collect();
        Self { validators, views, orders, casts }
    }

    /// How many scenarios the schedule and the network allow, before anything
    /// is left out.
    #[must_use]
    pub fn all(&self) -> u128 {
        let size = self.validators as u128;
        let row = |view: u128| if view < size { size - (view - 1) } else { size - view % size };
        let orders: u128 = (1..=self.views as u128).map(row).product();
        let instances = self.validators + self.casts[0].0.len();
        let views = u32::try_from(self.views).expect("few views");
        orders * self.casts.len() as u128 * bell(instances).pow(views)
    }

    /// How many numbers there are. Some name a scenario that a smaller number
    /// names already. None when they are more than 2⁶⁴.
    #[must_use]
    pub fn numbers(&self) -> Option<u64> {
        let views = u32::try_from(self.views).expect("few views");
        // Whoever has twins, there are equally many partitions.
        let (_, partitions) = self.casts.first()?;
        let per_order = (partitions.len() as u64).checked_pow(views)?;
        (self.orders.len() as u64).checked_mul(self.casts.len() as u64)?.checked_mul(per_order)
    }

    /// The scenario under a number, unless it is one of a smaller number under
    /// other names.
    ///
    /// # Panics
    /// When there is no such number.
    #[must_use]
    pub fn scenario(&self, number: u64) -> Option<Scenario> {
        let mut rest = number;
        let mut draw = |count: usize| {
            let digit = usize::try_from(rest % count as u64).expect("below a count");
            rest /= count as u64;
            digit
        };
        let (seed, leaders) = &self.orders[draw(self.orders.len())];
        let (twins, partitions) = &self.casts[draw(self.casts.len())];
        let drawn = (0..self.views).map(|_| partitions[draw(partitions.len())].clone()).collect();
        assert_eq!(rest, 0, "there is no scenario {number}");
        let scenario = Scenario {
            validators: self.validators,
            twins: twins.clone(),
            seed: *seed,
            leaders: leaders.clone(),
            partitions: drawn,
            is_late: false,
        };
        scenario.is_first_of_its_names().then_some(scenario)
    }
}

/// All orders of leaders that begin like `order`, each under the names that
/// follow from it.
fn orders_after(size: usize, views: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if order.len() == views {
        all.push(order.clone());
        return;
    }
    let row = row_start(size, order.len());
    // In the first row each is new, and so has the next name.
    let names = if row == 0 { order.len()..order.len() + 1 } else { 0..size };
    for leader in names {
        if !order[row..].contains(&leader) {
            order.push(leader);
            orders_after(size, views, order, all);
            order.pop();
        }
    }
}

/// The partitions in two sides, or one, that leave a quorum together.
fn partitions(validators: usize, twins: &[usize]) -> Vec<Partition> {
    let instances = validators + twins.len();
    let side = |cut: u32, instance: usize| u8::from(cut & 1 << instance != 0);
    (0_u32..1 << (instances - 1))
        .map(|cut| (0..instances).map(|instance| side(cut << 1, instance)).collect())
        .filter(|partition| has_quorum(validators, twins, partition))
        .collect()
}

/// Whether instances of a quorum of the validators stand on one side.
fn has_quorum(validators: usize, twins: &[usize], partition: &Partition) -> bool {
    (0..=partition.iter().copied().max().unwrap_or_default()).any(|side| {
        let is_there = |identity: &usize| {
            let twin = twins.iter().position(|twin| twin == identity);
            partition[*identity] == side
                || twin.is_some_and(|number| partition[validators + number] == side)
        };
        3 * (0..validators).filter(is_there).count() > 2 * validators
    })
}

/// The same partition, its sides numbered in the order of their first member.
fn normal(mut partition: Partition) -> Partition {
    let mut sides: Vec<u8> = Vec::new();
    for side in &mut partition {
        let number = sides.iter().position(|known| known == side).unwrap_or_else(|| {
            sides.push(*side);
            sides.len() - 1
        });
        *side = u8::try_from(number).expect("few sides");
    }
    partition
}

fn leaders_of(committee: &Committee, seed: Hash, views: usize) -> Vec<usize> {
    let views = 1..=views as u64;
    views.map(|view| Schedule::leader(committee, seed, View::new(view)).get().into()).collect()
}

/// A seed from which the schedule draws these leaders.
fn seed_of(committee: &Committee, leaders: &[usize]) -> Hash {
    for (before, leader) in leaders.iter().enumerate() {
        let row = &leaders[row_start(committee.size(), before)..before];
        assert!(!row.contains(leader), "{leaders:?}: {leader} leads twice in a row");
    }
    let seeds = (0_u64..).map(|number| Hash(*blake3::hash(&number.to_le_bytes()).as_bytes()));
    let mut drawn = seeds.filter(|seed| leaders_of(committee, *seed, leaders.len()) == leaders);
    drawn.next().expect("every order is drawn from some seed")
}

/// Where the row of the schedule begins in an order of leaders from view 1 on.
/// View 0, which is over, has the first place of the first row.
const fn row_start(size: usize, place: usize) -> usize {
    let view = place + 1;
    (view - view % size).saturating_sub(1)
}

/// How many partitions of so many things there are: the triangle of Bell.
fn bell(things: usize) -> u128 {
    let mut row = vec![1_u128];
    for _ in 1..things {
        let mut next = vec![*row.last().expect("never empty")];
        for above in &row {
            next.push(next.last().expect("never empty") + above);
        }
        row = next;
    }
    *row.last().expect("never empty")
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(place);
        for mut order in permutations(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What a scenario is under any names: the least of all ways to name it.
    fn kind(scenario: &Scenario) -> (Vec<usize>, Vec<usize>, Vec<Partition>) {
        let everyone: Vec<usize> = (0..scenario.validators).collect();
        let kinds = permutations(&everyone).into_iter().flat_map(|names| {
            let leaders: Vec<_> = scenario.leaders.iter().map(|leader| names[*leader]).collect();
            (0..1 << scenario.twins.len()).map(move |swapped| {
                let (twins, partitions) = scenario.under_names(&names, swapped);
                (leaders.clone(), twins, partitions)
            })
        });
        kinds.min().expect("there is a way to name it")
    }

    fn named(space: &Space) -> Vec<Scenario> {
        let numbers = space.numbers().expect("few");
        (0..numbers).filter_map(|number| space.scenario(number)).collect()
    }

    /// Every scenario of two views with at most two sides and a quorum, under
    /// all names.
    fn all_of_two_views() -> Vec<Scenario> {
        let mut all = Vec::new();
        for (leader, next) in (0..4).flat_map(|one| (0..4).map(move |other| (one, other))) {
            for twin in (0..4).filter(|_| leader != next) {
                let cuts = partitions(4, &[twin]);
                for (first, second) in cuts.iter().flat_map(|it| cuts.iter().map(move |o| (it, o)))
                {
                    all.push(Scenario {
                        validators: 4,
                        twins: vec![twin],
                        seed: Hash::ZERO,
                        leaders: vec![leader, next],
                        partitions: vec![first.clone(), second.clone()],
                        is_late: false,
                    });
                }
            }
        }
        all
    }

    #[test]
    fn a_space_names_each_kind_once_and_leaves_none_out() {
        let all = all_of_two_views();
        assert_eq!(all.len(), 12 * 4 * 13 * 13);
        let named = named(&Space::new(4, 1, 2));
        let kinds: BTreeSet<_> = named.iter().map(kind).collect();
        assert_eq!(kinds.len(), named.len());
        assert_eq!(kinds, all.iter().map(kind).collect());
    }

    #[test]
    fn four_validators_have_so_many_scenarios() {
        let space = Space::new(4, 1, 4);
        assert_eq!(space.all(), 96 * 4 * 52_u128.pow(4));
        assert_eq!(space.numbers(), Some(4 * 4 * 13_u64.pow(4)));
        // Half of those that a change of the two instances changes, and all others.
        let views = [1, 2, 3].map(|views| named(&Space::new(4, 1, views)).len() as u64);
        assert_eq!(views[2], 4 * (13_u64.pow(3) + 5_u64.pow(3)) / 2);
        assert!(views[0] < views[1] && views[1] < views[2], "{views:?}");
    }

    #[test]
    fn leaders_are_those_that_the_schedule_draws() {
        for scenario in named(&Space::new(4, 1, 2)).iter().step_by(50) {
            assert_eq!(leaders_of(&committee(4), scenario.seed, 2), scenario.leaders);
        }
        let leaders = [3, 1, 0, 0, 1, 3, 2];
        let partitions = vec![vec![0; 5]; 7];
        let scenario = Scenario::new(4, &[2], &leaders, &partitions);
        assert_eq!(leaders_of(&committee(4), scenario.seed, 7), leaders);
    }

    #[test]
    fn a_scenario_reads_like_what_happens() {
        let partitions = [vec![0, 1, 1, 0, 1], vec![7, 7, 2, 7, 7]];
        let scenario = Scenario::new(4, &[1], &[1, 3], &partitions);
        assert_eq!(
            scenario.to_string(),
            "twin 4 of 1; view 1 led by 1: 0 3 | 1 2 4; view 2 led by 3: 0 1 3 4 | 2"
        );
    }
}
