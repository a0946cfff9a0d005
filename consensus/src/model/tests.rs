//! What is explored at every run of the tests, and, ignored there, the long
//! explorations:
//!
//! ```sh
//! cargo test -p bizra-consensus --lib model -- --ignored --nocapture --test-threads 1
//! ```

use super::*;
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, UniformChooser};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;

const FOUR: usize = 3;
const SEVEN: usize = 5;

/// All views led by liars: what honest leaders offer, liars can offer too.
fn liars_alone(views: u8) -> Vec<Vec<Leader>> {
    vec![vec![Leader::Liar; views.into()]]
}

/// The liar and three honest validators lead in turn, from each place in the
/// round. Which of the honest leads first does not matter.
fn in_turn(views: u8) -> Vec<Vec<Leader>> {
    let leader = |view: usize, first: usize| match (view + first) % 4 {
        0 => Leader::Liar,
        place => Leader::Honest(place - 1),
    };
    (0..4).map(|first| (0..views.into()).map(|view| leader(view, first)).collect()).collect()
}

fn rules<const HONEST: usize>(
    views: u8,
    variants: u8,
    leaders: Vec<Vec<Leader>>,
    order: Order,
    memory: Memory,
) -> Rules<HONEST> {
    Rules {
        world: World::new(views, variants),
        views,
        leaders,
        order,
        memory,
        is_looking: false,
        without: None,
    }
}

fn in_any_order<const HONEST: usize>(
    views: u8,
    variants: u8,
    leaders: Vec<Vec<Leader>>,
) -> Rules<HONEST> {
    rules(views, variants, leaders, Order::Any, Memory::All)
}

fn by_view<const HONEST: usize>(views: u8, variants: u8, memory: Memory) -> Rules<HONEST> {
    rules(views, variants, liars_alone(views), Order::ByView, memory)
}

/// Prints what was explored, once it is over.
struct LastLine<'a>(&'a str);

impl<M: Model> Reporter<M> for LastLine<'_> {
    fn report_checking(&mut self, data: ReportData) {
        if data.done {
            println!(
                "{}: {} states, {} steps, depth {}, {:.1} s",
                self.0,
                data.unique_states,
                data.total_states,
                data.max_depth,
                data.duration.as_secs_f64()
            );
        }
    }

    fn report_discoveries(&mut self, _: &M, _: BTreeMap<&'static str, ReportDiscovery<M>>)
    where
        M::Action: Debug + PartialEq,
        M::State: Debug + Hash + PartialEq,
    {
    }
}

/// Explores everything and demands that all properties hold.
fn exhaust<const HONEST: usize>(name: &str, rules: Rules<HONEST>) {
    let checker = rules.checker().threads(2).spawn_bfs();
    let checker = checker.join_and_report(&mut LastLine(name));
    assert!(checker.is_done(), "explored to the end");
    checker.assert_properties();
}

/// Leaves a rule out and demands a fork.
fn fork(without: Rule, rules: Rules<FOUR>) {
    let rules = Rules { without: Some(without), ..rules };
    let until = HasDiscoveries::AllOf([NO_FORK].into());
    let checker = rules.checker().finish_when(until).spawn_bfs();
    let checker = checker.join_and_report(&mut LastLine(&format!("without {without:?}")));
    println!("{:?}", checker.assert_any_discovery(NO_FORK).into_actions());
}

/// All states that can be reached, as far as `part` tells them apart.
fn reachable<Part: Ord>(
    rules: &Rules<FOUR>,
    part: impl Fn(&State<FOUR>) -> Part,
) -> BTreeSet<Part> {
    let mut pending = rules.init_states();
    let mut known: BTreeSet<_> = pending.iter().cloned().collect();
    while let Some(state) = pending.pop() {
        for next in rules.next_states(&state) {
            if known.insert(next.clone()) {
                pending.push(next);
            }
        }
    }
    known.iter().map(part).collect()
}

#[test]
fn two_views_led_in_turn() {
    exhaust("two views in any order, led in turn", in_any_order::<FOUR>(2, 2, in_turn(2)));
}

#[test]
fn three_views_in_any_order() {
    exhaust("three views in any order", in_any_order::<FOUR>(3, 1, liars_alone(3)));
}

#[test]
fn four_views() {
    exhaust("four views", by_view::<FOUR>(4, 2, Memory::HighQcs));
}

/// What the honest have sent, whoever of them it was.
fn sent(state: &State<FOUR>) -> [(Blocks, Blocks, ByView<Option<Number>>); FOUR] {
    let mut sent = state.honest.map(|it| (it.votes, it.commit_votes, it.timeouts));
    sent.sort_unstable();
    sent
}

#[test]
fn view_by_view_the_same_can_be_sent() {
    let any = reachable(&in_any_order(2, 2, liars_alone(2)), sent);
    assert_eq!(reachable(&by_view(2, 2, Memory::All), sent), any);
}

#[test]
fn who_looks_more_often_can_send_the_same() {
    let any = reachable(&in_any_order(2, 2, liars_alone(2)), sent);
    let looking = Rules { is_looking: true, ..in_any_order(2, 2, liars_alone(2)) };
    assert_eq!(reachable(&looking, sent), any);
}

#[test]
fn what_is_forgotten_changes_no_certificate() {
    let certificates = |state: &State<FOUR>| {
        (state.turn, state.certified, state.is_final, state.tcs[usize::from(state.turn)])
    };
    let all = reachable(&by_view(2, 2, Memory::All), certificates);
    assert_eq!(reachable(&by_view(2, 2, Memory::Records), certificates), all);
    assert_eq!(reachable(&by_view(2, 2, Memory::HighQcs), certificates), all);
    assert_eq!(
        reachable(&by_view(3, 1, Memory::Records), certificates),
        reachable(&by_view(3, 1, Memory::HighQcs), certificates)
    );
}

#[test]
fn without_one_rule_it_forks() {
    for (rule, views) in [
        (Rule::VoteOnce, 2),
        (Rule::NeedTc, 2),
        (Rule::HeedTc, 3),
        (Rule::CommitVoteBeforeTimeout, 2),
        (Rule::DurableQc, 2),
        (Rule::ReportHighQc, 3),
    ] {
        fork(rule, by_view(views, 2, Memory::HighQcs));
    }
}

/// The one rule whose absence alone forks nothing, as far as is explored here.
#[test]
fn a_late_vote_is_seen() {
    let rules = in_any_order::<FOUR>(2, 2, liars_alone(2));
    let rules = Rules { without: Some(Rule::VoteBeforeTimeout), ..rules };
    let checker = rules.checker().spawn_bfs().join();
    checker.assert_any_discovery(NO_LATE_VOTE);
    checker.assert_no_discovery(NO_FORK);
}

#[test]
#[ignore = "takes minutes"]
fn three_views_in_any_order_two_variants() {
    exhaust("three views in any order, variants", in_any_order::<FOUR>(3, 2, liars_alone(3)));
}

#[test]
#[ignore = "takes minutes"]
fn three_views_in_any_order_led_in_turn() {
    exhaust("three views in any order, led in turn", in_any_order::<FOUR>(3, 1, in_turn(3)));
}

/// Too many states to see them all: walks to the end, drawn from a seed.
#[test]
#[ignore = "takes minutes"]
fn four_views_in_any_order_by_chance() {
    let walks = in_any_order::<FOUR>(4, 1, liars_alone(4)).checker();
    let checker = walks.target_state_count(1_000_000).spawn_simulation(1, UniformChooser);
    let checker = checker.join_and_report(&mut LastLine("four views in any order, walks"));
    checker.assert_properties();
}

#[test]
#[ignore = "takes minutes"]
fn four_views_with_whole_records() {
    exhaust("four views, whole records", by_view::<FOUR>(4, 2, Memory::Records));
}

#[test]
#[ignore = "takes minutes"]
fn seven_views() {
    exhaust("seven views", by_view::<FOUR>(7, 1, Memory::HighQcs));
}

#[test]
#[ignore = "takes minutes"]
fn four_views_of_seven_validators() {
    exhaust("four views, seven validators", by_view::<SEVEN>(4, 1, Memory::HighQcs));
}
