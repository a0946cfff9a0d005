//! Random proposals and votes, against the rules in other words.

use super::*;
use crate::execution::Base as _;
use proptest::prelude::*;

/// Periods of the model: an amendment is deliberated for one block and voted on for two, an
/// emergency voted on at once, in the block after it.
const PERIODS: [(&str, u64); 4] = [
    ("deliberation_blocks", 1),
    ("voting_blocks", 2),
    ("emergency_deliberation_blocks", 0),
    ("emergency_voting_blocks", 1),
];

#[derive(Clone, Debug)]
enum Wish {
    Gini(u64),
    Leave(Vec<u8>),
    Join(u8),
    Swap(u8, u8),
    Revoke(u8),
}

#[derive(Clone, Debug)]
enum Act {
    Propose {
        by: u8,
        is_emergency: bool,
        wish: Wish,
    },
    Vote {
        by: u8,
        proposal: prop::sample::Index,
        choice: &'static str,
    },
    /// Every member approves whatever is open.
    Approve,
}

#[derive(Clone, Debug)]
struct Open {
    id: usize,
    by: u8,
    is_emergency: bool,
    height: u64,
    wish: Wish,
    ballots: BTreeMap<u8, &'static str>,
}

#[derive(Clone, Debug)]
struct Model {
    height: u64,
    members: Vec<u8>,
    gini: Option<u64>,
    revoked: BTreeSet<u8>,
    open: Vec<Open>,
    ended: BTreeMap<usize, (Ending, u64)>,
}

impl Wish {
    fn to_json(&self) -> Value {
        let name = |seed: &u8| format!("validator-{seed}");
        match self {
            Self::Gini(value) => parameter("gini_max_ppm", *value),
            Self::Leave(seeds) => {
                let names: Vec<String> = seeds.iter().map(name).collect();
                seats(&[], &names.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Self::Join(seed) => seats(&[validator(*seed)], &[]),
            Self::Swap(leaver, joiner) => seats(&[validator(*joiner)], &[&name(leaver)]),
            Self::Revoke(seed) => revocation(public(*seed)),
        }
    }
}

impl Model {
    /// Whether the state allows a wish.
    fn judge(&self, wish: &Wish) -> Result<(), Code> {
        let size = self.members.len();
        let is_member = |seed: &u8| self.members.contains(seed);
        match wish {
            Wish::Gini(_) => Ok(()),
            Wish::Leave(seeds) if !seeds.iter().all(is_member) => Err(State),
            Wish::Leave(seeds) if 3 * seeds.len() >= size || size < 4 + seeds.len() => {
                Err(Invariant)
            }
            Wish::Join(seed) if is_member(seed) => Err(State),
            Wish::Swap(leaver, joiner) if !is_member(leaver) || is_member(joiner) => Err(State),
            Wish::Revoke(seed) if self.revoked.contains(seed) => Err(State),
            Wish::Leave(_) | Wish::Join(_) | Wish::Swap(..) | Wish::Revoke(_) => Ok(()),
        }
    }

    fn propose(&mut self, id: usize, by: u8, is_emergency: bool, wish: &Wish) -> Code {
        if !self.members.contains(&by) {
            return Role;
        }
        let is_absurd = match wish {
            Wish::Gini(value) => *value > 1_000_000,
            Wish::Leave(seeds) => seeds.windows(2).any(|pair| pair[0] == pair[1]),
            Wish::Swap(leaver, joiner) => leaver == joiner,
            Wish::Join(_) | Wish::Revoke(_) => false,
        };
        if is_absurd {
            return Invariant;
        }
        let has_one = |it: &Open| it.by == by && it.is_emergency == is_emergency;
        if self.open.iter().any(has_one) || self.open.len() >= 2 * self.members.len() {
            return State;
        }
        if let Err(code) = self.judge(wish) {
            return code;
        }
        let (height, wish) = (self.height, wish.clone());
        self.open.push(Open { id, by, is_emergency, height, wish, ballots: BTreeMap::new() });
        Success
    }

    fn vote(&mut self, id: usize, by: u8, choice: &'static str) -> Code {
        if !self.members.contains(&by) {
            return Role;
        }
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return State };
        let open = &mut self.open[at];
        let age = self.height - open.height;
        if choice != "veto" && age < if open.is_emergency { 1 } else { 2 } {
            return State;
        }
        open.ballots.insert(by, choice);
        if self.is_vetoed(&self.open[at]) {
            self.open.remove(at);
            self.ended.insert(id, (Ending::Vetoed, self.height));
        }
        Success
    }

    fn count(open: &Open, choice: &str) -> usize {
        open.ballots.values().filter(|it| **it == choice).count()
    }

    fn is_vetoed(&self, open: &Open) -> bool {
        let (size, vetoes) = (self.members.len(), Self::count(open, "veto"));
        100 * vetoes >= 33 * size && 3 * vetoes >= size
    }

    fn is_approved(&self, open: &Open) -> bool {
        let share = if open.is_emergency { 85 } else { 67 };
        100 * Self::count(open, "approve") >= share * self.members.len()
    }

    fn end_block(&mut self) {
        let mut next = None;
        let (due, open): (Vec<Open>, Vec<Open>) = core::mem::take(&mut self.open)
            .into_iter()
            .partition(|it| it.height + if it.is_emergency { 1 } else { 3 } == self.height);
        self.open = open;
        for it in due {
            let changes_seats = matches!(it.wish, Wish::Leave(_) | Wish::Join(_) | Wish::Swap(..));
            let ending = if self.is_vetoed(&it) {
                Ending::Vetoed
            } else if !self.is_approved(&it) {
                Ending::Refused
            } else if self.judge(&it.wish).is_err() || changes_seats && next.is_some() {
                Ending::Void
            } else {
                let mut members = self.members.clone();
                match &it.wish {
                    Wish::Gini(value) => self.gini = Some(*value),
                    Wish::Leave(seeds) => members.retain(|seed| !seeds.contains(seed)),
                    Wish::Join(seed) => members.push(*seed),
                    Wish::Swap(leaver, joiner) => {
                        members.retain(|seed| seed != leaver);
                        members.push(*joiner);
                    }
                    Wish::Revoke(seed) => {
                        self.revoked.insert(*seed);
                    }
                }
                if changes_seats {
                    next = Some(members);
                }
                Ending::Enacted
            };
            self.ended.insert(it.id, (ending, self.height));
        }
        if let Some(members) = next {
            self.members = members;
            for open in &mut self.open {
                open.ballots.retain(|seed, _| self.members.contains(seed));
            }
        }
    }
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let seed = || 1u8..10;
    prop_oneof![
        3 => prop_oneof![4 => 0u64..9, 1 => Just(1_000_001)].prop_map(Wish::Gini),
        2 => prop::collection::vec(seed(), 1..4).prop_map(|mut seeds| {
            seeds.sort_unstable();
            Wish::Leave(seeds)
        }),
        2 => seed().prop_map(Wish::Join),
        2 => (seed(), seed()).prop_map(|(leaver, joiner)| Wish::Swap(leaver, joiner)),
        1 => (20u8..23).prop_map(Wish::Revoke),
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    let choice = prop::sample::select(vec!["approve", "approve", "reject", "veto"]);
    prop_oneof![
        2 => (1u8..10, any::<bool>(), any_wish())
            .prop_map(|(by, is_emergency, wish)| Act::Propose { by, is_emergency, wish }),
        2 => (1u8..10, any::<prop::sample::Index>(), choice)
            .prop_map(|(by, proposal, choice)| Act::Vote { by, proposal, choice }),
        1 => Just(Act::Approve),
    ]
}

/// The records of a block, each with what the model says of it.
fn records(
    acts: &[Act],
    world: &mut World,
    model: &mut Model,
    proposals: &mut Vec<RecordDigest>,
) -> (Vec<BlockRecord>, Vec<Code>) {
    let (mut records, mut codes) = (Vec::new(), Vec::new());
    for act in acts {
        match act {
            Act::Propose { by, is_emergency, wish } => {
                let procedure = if *is_emergency { "emergency" } else { "amendment" };
                let record = world.propose(*by, procedure, &wish.to_json());
                codes.push(model.propose(proposals.len(), *by, *is_emergency, wish));
                proposals.push(digest(&record));
                records.push(record);
            }
            Act::Vote { .. } if proposals.is_empty() => {}
            Act::Vote { by, proposal, choice } => {
                let id = proposal.index(proposals.len());
                records.push(world.vote(*by, proposals[id], choice));
                codes.push(model.vote(id, *by, choice));
            }
            Act::Approve => {
                for Open { id, .. } in model.open.clone() {
                    for by in model.members.clone() {
                        records.push(world.vote(by, proposals[id], "approve"));
                        codes.push(model.vote(id, by, "approve"));
                    }
                }
            }
        }
    }
    (records, codes)
}

fn world_of(size: u8) -> World {
    let mut world = World::new(1..=size);
    for (name, value) in PERIODS {
        world.ledger.seed(Family::Parameter, name.as_bytes(), &value);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_model_agrees_and_forks_leave_no_trace(
        size in prop::sample::select(vec![4u8, 7]),
        blocks in prop::collection::vec(prop::collection::vec(any_act(), 0..5), 1..24),
        rivals in prop::collection::vec(prop::collection::vec(any_act(), 0..4), 24),
    ) {
        let mut world = world_of(size);
        let mut model = Model {
            height: 0,
            members: (1..=size).collect(),
            gini: None,
            revoked: BTreeSet::new(),
            open: Vec::new(),
            ended: BTreeMap::new(),
        };
        let mut proposals = Vec::new();
        let mut history = Vec::new();
        for (acts, rival) in blocks.iter().zip(&rivals) {
            model.height += 1;
            // A block of a fork that is dropped, executed before and after.
            let (fork, _) =
                records(rival, &mut world, &mut model.clone(), &mut proposals.clone());
            let before = world.execute(&fork, &[]);
            let (block, expected) = records(acts, &mut world, &mut model, &mut proposals);
            let first = world.execute(&block, &[]);
            let again = world.execute(&fork, &[]);
            prop_assert_eq!(before.fields(), again.fields());
            let overlay = world.block(&block);
            prop_assert_eq!(first.fields(), overlay.fields());
            let codes: Vec<Code> = overlay.outcomes().iter().map(|it| it.code).collect();
            prop_assert_eq!(codes, expected);
            model.end_block();
            history.push(block);

            prop_assert_eq!(&world.committee, &committee(model.members.iter().copied()));
            let gini: Option<u64> = world.entry(Family::Parameter, b"gini_max_ppm");
            prop_assert_eq!(gini, model.gini);
            for seed in 20..23 {
                let entry: Option<KeyEntry> = world.entry(Family::Key, &public(seed).0);
                prop_assert_eq!(entry.is_some(), model.revoked.contains(&seed));
            }
            let governance: Governance = world.entry(Family::Governance, &[]).unwrap_or_default();
            let open: Vec<RecordDigest> = governance.open.iter().map(|it| it.proposal).collect();
            let expected: Vec<RecordDigest> =
                model.open.iter().map(|it| proposals[it.id]).collect();
            prop_assert_eq!(open, expected);
            for open in &model.open {
                let digest = proposals[open.id];
                let ballots: Ballots = world.entry(Family::Ballots, &digest.0).unwrap_or_default();
                let expected: BTreeMap<PublicKey, &str> =
                    open.ballots.iter().map(|(seed, choice)| (public(*seed), *choice)).collect();
                let ballots: BTreeMap<PublicKey, &str> =
                    ballots.0.iter().map(|(key, choice)| (*key, choice.name())).collect();
                prop_assert_eq!(ballots, expected);
            }
            let of = |family| world.ledger.plain_entries().filter(|it| it.0 == family).count();
            prop_assert_eq!(of(Family::Proposal), model.open.len());
            prop_assert_eq!(of(Family::ClosedProposal), model.ended.len());
            for (id, ending) in &model.ended {
                prop_assert_eq!(world.ending(proposals[*id]), Some(*ending));
            }
        }
        // The same blocks without the forks, by whoever has seen nothing else.
        let mut straight = world_of(size);
        for block in &history {
            straight.block(block);
        }
        prop_assert_eq!(&straight.ledger, &world.ledger);
        prop_assert_eq!(
            straight.ledger.head().expect("memory does not fail"),
            world.ledger.head().expect("memory does not fail")
        );
    }
}
