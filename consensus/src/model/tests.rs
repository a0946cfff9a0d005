//! What is explored at every run of the tests, and, ignored there, the long
//! explorations:
//!
//! ```sh
//! cargo test -p bizra-consensus --lib model -- --ignored --nocapture --test-threads 1
//! ```

use super::*;
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries};
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
) -> Rules<HONEST> {
    let world = World::new(views, variants);
    Rules { world, views, leaders, order, forgets: order == Order::ByView, without: None }
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

/// Leaves a rule out and demands that the property falls.
fn break_it(without: Rule, views: u8, order: Order, property: &'static str) {
    let mut rules = rules::<FOUR>(views, 2, liars_alone(views), order);
    rules.without = Some(without);
    let until = HasDiscoveries::AllOf([property].into());
    let checker = rules.checker().finish_when(until).spawn_bfs();
    let checker = checker.join_and_report(&mut LastLine(&format!("without {without:?}")));
    let path = checker.assert_any_discovery(property);
    println!("{:?}", path.into_actions());
}

/// What the honest can have sent together, whoever of them it was.
fn all_that_can_be_sent(
    rules: &Rules<FOUR>,
) -> BTreeSet<Vec<(Blocks, Blocks, ByView<Option<Number>>)>> {
    let mut pending = rules.init_states();
    let mut known: BTreeSet<_> = pending.iter().cloned().collect();
    while let Some(state) = pending.pop() {
        for next in rules.next_states(&state) {
            if known.insert(next.clone()) {
                pending.push(next);
            }
        }
    }
    let sent = |state: State<FOUR>| {
        let mut sent = state.honest.map(|it| (it.votes, it.commit_votes, it.timeouts)).to_vec();
        sent.sort_unstable();
        sent
    };
    known.into_iter().map(sent).collect()
}

#[test]
fn two_views_in_any_order() {
    exhaust("liars lead", rules::<FOUR>(2, 2, liars_alone(2), Order::Any));
    exhaust("leaders in turn", rules::<FOUR>(2, 2, in_turn(2), Order::Any));
}

#[test]
fn three_views_one_after_the_other() {
    exhaust("liars lead", rules::<FOUR>(3, 2, liars_alone(3), Order::ByView));
}

#[test]
fn view_by_view_nothing_less_can_be_sent() {
    let any = all_that_can_be_sent(&rules(2, 2, liars_alone(2), Order::Any));
    let mut by_view = rules(2, 2, liars_alone(2), Order::ByView);
    by_view.forgets = false;
    assert_eq!(any, all_that_can_be_sent(&by_view));
}

#[test]
fn each_rule_is_needed() {
    for (rule, views) in [
        (Rule::VoteOnce, 2),
        (Rule::NeedTc, 2),
        (Rule::HeedTc, 3),
        (Rule::CommitVoteBeforeTimeout, 2),
        (Rule::DurableQc, 2),
        (Rule::ReportHighQc, 3),
    ] {
        break_it(rule, views, Order::ByView, NO_FORK);
    }
    // Alone it forks nothing.
    break_it(Rule::VoteBeforeTimeout, 2, Order::Any, NO_LATE_VOTE);
}

#[test]
#[ignore = "minutes"]
fn four_views_one_after_the_other() {
    exhaust("1 variant", rules::<FOUR>(4, 1, liars_alone(4), Order::ByView));
    exhaust("2 variants", rules::<FOUR>(4, 2, liars_alone(4), Order::ByView));
}

#[test]
#[ignore = "minutes"]
fn four_views_one_after_the_other_led_in_turn() {
    exhaust("leaders in turn", rules::<FOUR>(4, 2, in_turn(4), Order::ByView));
}

#[test]
#[ignore = "minutes"]
fn three_views_in_any_order() {
    exhaust("1 variant", rules::<FOUR>(3, 1, liars_alone(3), Order::Any));
    exhaust("2 variants", rules::<FOUR>(3, 2, liars_alone(3), Order::Any));
}

#[test]
#[ignore = "minutes"]
fn five_views_one_after_the_other() {
    exhaust("1 variant", rules::<FOUR>(5, 1, liars_alone(5), Order::ByView));
}

#[test]
#[ignore = "minutes"]
fn seven_validators() {
    exhaust("2 views", rules::<SEVEN>(2, 1, liars_alone(2), Order::ByView));
    exhaust("3 views", rules::<SEVEN>(3, 1, liars_alone(3), Order::ByView));
}
