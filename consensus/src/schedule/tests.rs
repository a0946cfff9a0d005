use super::*;
use bizra_types::committee::Validator;
use bizra_types::crypto::PublicKey;

fn keypair(number: u8) -> schnorrkel::Keypair {
    schnorrkel::MiniSecretKey::from_bytes(&[number; 32])
        .expect("every 32 bytes are a seed")
        .expand_to_keypair(schnorrkel::ExpansionMode::Uniform)
}

fn committee(size: u8) -> Committee {
    let validator = |number: u8| {
        let seed = Context::Seed.hash(&[&[number]]).0;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        Validator {
            name: format!("node {number}"),
            peer_id: format!("peer {number}"),
            consensus_key: PublicKey(key.verifying_key().to_bytes()),
            vrf_key: keypair(number).public.to_bytes(),
            kem_key: Vec::new(),
        }
    };
    Committee::new((0..size).map(validator).collect()).expect("distinct keys")
}

/// Zeros where a proof would take ambient randomness.
struct NoRandomness;

impl rand_core::RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::CryptoRng for NoRandomness {}

fn reveal(number: u8, input: &VrfInput) -> Reveal {
    let transcript = schnorrkel::context::attach_rng(merlin::Transcript::new(b"VRF"), NoRandomness);
    let (pair, proof, _) = keypair(number).vrf_sign_extra(vrf::transcript(input), transcript);
    Reveal {
        validator: ValidatorIndex::new(number.into()),
        epoch: input.epoch,
        output: pair.to_preout().to_bytes(),
        proof: proof.to_bytes(),
    }
}

const CHAIN: ChainId = ChainId([9; 32]);

#[test]
fn everyone_leads_once_in_each_row_of_views() {
    for size in [1, 2, 4, 7, 16] {
        let committee = committee(size);
        for row in 0..20 {
            let first = row * u64::from(size);
            let mut leaders: Vec<_> = (first..first + u64::from(size))
                .map(|view| Schedule::leader(&committee, Hash([3; 32]), View::new(view)))
                .collect();
            leaders.sort_unstable();
            assert_eq!(leaders, committee.indices().collect::<Vec<_>>(), "row {row} of {size}");
        }
    }
}

#[test]
fn rows_and_seeds_have_orders_of_their_own() {
    let committee = committee(7);
    let order = |seed: u8, row: u64| -> Vec<_> {
        (0..7)
            .map(|place| Schedule::leader(&committee, Hash([seed; 32]), View::new(7 * row + place)))
            .collect()
    };
    let mut orders: Vec<_> = (0..10)
        .flat_map(|seed| (0..10).map(move |row| (seed, row)))
        .map(|(s, r)| order(s, r))
        .collect();
    orders.sort_unstable();
    orders.dedup();
    assert!(orders.len() > 90, "{} different orders of 100; 7! are possible", orders.len());
    assert_eq!(order(1, 1), order(1, 1));
}

#[test]
fn first_places_are_shared_evenly() {
    let committee = committee(4);
    let mut firsts = [0; 4];
    for row in 0..4_000 {
        let leader = Schedule::leader(&committee, Hash([5; 32]), View::new(4 * row));
        firsts[usize::from(leader.get())] += 1;
    }
    // 1,000 each on average, with a standard deviation of 27.
    assert!(firsts.iter().all(|count| (850..1_150).contains(count)), "{firsts:?}");
}

#[test]
fn golden_leaders_and_seeds() {
    let committee = committee(7);
    let leaders: Vec<_> = (0..14)
        .map(|view| Schedule::leader(&committee, Hash([1; 32]), View::new(view)).get())
        .collect();
    assert_eq!(leaders, GOLDEN_LEADERS);
    let mut state = EpochState::genesis(&CHAIN);
    let first = [state.seed, state.next_seed].map(|seed| seed.to_string());
    state.reveals.insert(ValidatorIndex::new(2), [7; 32]);
    state.reveals.insert(ValidatorIndex::new(0), [8; 32]);
    let second = state.enter(Epoch::new(1)).next_seed.to_string();
    assert_eq!([&first[0], &first[1], &second], GOLDEN_SEEDS);
}

const GOLDEN_LEADERS: [u16; 14] = [6, 1, 2, 0, 5, 3, 4, 0, 2, 1, 5, 3, 6, 4];
const GOLDEN_SEEDS: [&str; 3] = [
    "9840c5bf9f96254dc9da07fa27bf4dab888880fb99ffdb87d24e8ad0f6b6aa0e",
    "f742c1bdd38651585dacd114cfa5e8cb1367dce0900396998c749466b693c7fa",
    "21ca32f93efcfc8ad2e2c16295236ab4a0bb8963ec63b4f9ce3866f94311d0eb",
];

#[test]
fn an_epoch_entered_over_others_is_that_entered_one_by_one() {
    let mut state = EpochState::genesis(&CHAIN);
    state.reveals.insert(ValidatorIndex::new(1), [1; 32]);
    let mut step = state.clone();
    for epoch in 1..=5 {
        step = step.enter(Epoch::new(epoch));
        assert_eq!(step.epoch, Epoch::new(epoch));
        assert_eq!(step.reveals, BTreeMap::new(), "each epoch collects its own");
        assert_eq!(state.enter(Epoch::new(epoch)), step);
    }
    assert_eq!(step.enter(Epoch::new(5)), step, "it has begun already");
    assert_ne!(step.seed, step.next_seed);
}

#[test]
fn each_reveal_changes_the_seed_of_the_epoch_after_next_alone() {
    let state = EpochState::genesis(&CHAIN);
    let without = state.enter(Epoch::new(1));
    let mut seeds = vec![without.next_seed];
    for (validator, output) in [(0, 1), (1, 1), (0, 2)] {
        let mut state = state.clone();
        state.reveals.insert(ValidatorIndex::new(validator), [output; 32]);
        let with = state.enter(Epoch::new(1));
        assert_eq!(with.seed, without.seed, "the next epoch's seed is known already");
        seeds.push(with.next_seed);
    }
    let count = seeds.len();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), count);
}

#[test]
#[should_panic(expected = "is before")]
fn epochs_never_go_back() {
    let _ = EpochState::genesis(&CHAIN).enter(Epoch::new(3)).enter(Epoch::new(2));
}

#[test]
fn epochs_are_counted_from_genesis() {
    let schedule = Schedule::new(CHAIN, TimestampMs::new(10_000), 3_000);
    for (time, epoch) in [(0, 0), (10_000, 0), (12_999, 0), (13_000, 1), (40_000, 10)] {
        assert_eq!(schedule.epoch_after(TimestampMs::new(time)), Epoch::new(epoch), "at {time}");
    }
}

#[test]
fn a_good_reveal_is_good_and_any_change_makes_it_bad() {
    let committee = committee(4);
    let mut schedule = Schedule::new(CHAIN, TimestampMs::new(0), 3_000);
    let state = EpochState::genesis(&CHAIN).enter(Epoch::new(6));
    let input = state.reveal_input(CHAIN);
    assert_eq!(input, VrfInput { chain_id: CHAIN, epoch: Epoch::new(8), seed: state.next_seed });
    let good = reveal(2, &input);
    for _ in 0..2 {
        assert!(schedule.is_reveal_good(&committee, &state, &good), "also from memory");
    }
    let mut output = good;
    output.output = reveal(1, &input).output;
    let mut proof = good;
    proof.proof[0] ^= 1;
    let mut late = good;
    late.epoch = Epoch::new(9);
    let mut other = good;
    other.validator = ValidatorIndex::new(1);
    let mut nobody = good;
    nobody.validator = ValidatorIndex::new(4);
    for (name, bad) in [
        ("output", output),
        ("proof", proof),
        ("epoch", late),
        ("validator", other),
        ("no validator", nobody),
    ] {
        assert!(!schedule.is_reveal_good(&committee, &state, &bad), "{name}");
    }
    let mut fork = state.clone();
    fork.next_seed = Hash([1; 32]);
    assert!(!schedule.is_reveal_good(&committee, &fork, &good), "under another seed");
    assert!(schedule.is_reveal_good(&committee, &fork, &reveal(2, &fork.reveal_input(CHAIN))));
    assert!(schedule.is_reveal_good(&committee, &state, &good), "forks do not disturb each other");
    assert!(schedule.good_reveals.len() <= CACHE_SIZE_MAX);
}
