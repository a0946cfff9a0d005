use super::*;

const LEADER: ValidatorIndex = ValidatorIndex::new(3);

fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1_000)
}

fn index(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

/// Validator 0 of 4, up since 1 s.
fn pacemaker() -> Pacemaker {
    Pacemaker::new(Parameters::default(), 4, 3, Some(ValidatorIndex::ZERO), at(1_000))
}

#[test]
fn the_round_trip_is_that_of_the_quorums_farthest() {
    let mut pacemaker = pacemaker();
    assert_eq!(pacemaker.round_trip_micros(), ROUND_TRIP_MICROS_DEFAULT);
    pacemaker.on_heard(at(1), index(1), Some(40_000));
    assert_eq!(pacemaker.round_trip_micros(), ROUND_TRIP_MICROS_DEFAULT, "two are no quorum of 4");
    pacemaker.on_heard(at(1), index(2), Some(30_000));
    assert_eq!(pacemaker.round_trip_micros(), 40_000, "with this one they are three");
    pacemaker.on_heard(at(1), index(3), Some(900_000));
    assert_eq!(pacemaker.round_trip_micros(), 40_000, "f slow ones do not matter");
    pacemaker.on_heard(at(2), index(1), Some(32_000));
    assert_eq!(pacemaker.round_trip_micros(), 39_000, "an eighth of the news");
    pacemaker.on_heard(at(3), index(1), None);
    assert_eq!(pacemaker.round_trip_micros(), 39_000, "a sign of life measures nothing");
    let mut near = Pacemaker::new(Parameters::default(), 4, 3, None, at(0));
    for peer in 0..4 {
        near.on_heard(at(1), index(peer), Some(10));
    }
    assert_eq!(near.round_trip_micros(), ROUND_TRIP_MICROS_MIN);
    let alone = Pacemaker::new(Parameters::default(), 1, 1, Some(index(0)), at(0));
    assert_eq!(alone.round_trip_micros(), ROUND_TRIP_MICROS_MIN);
}

#[test]
fn the_timer_is_the_floor_or_so_many_round_trips() {
    let mut pacemaker = pacemaker();
    assert_eq!(pacemaker.timer_micros(), 300_000, "8 × 20 ms are below the floor");
    for peer in 1..3 {
        pacemaker.on_heard(at(1), index(peer), Some(100_000));
    }
    assert_eq!(pacemaker.timer_micros(), 800_000);
    for peer in 1..3 {
        for _ in 0..200 {
            pacemaker.on_heard(at(1), index(peer), Some(60_000_000));
        }
    }
    assert_eq!(pacemaker.timer_micros(), 60_000_000, "the governed maximum");
}

#[test]
fn the_timer_starts_by_tc_or_by_hand_and_once() {
    let mut pacemaker = pacemaker();
    assert_eq!(pacemaker.timer_end(), None);
    pacemaker.start_timer(at(2_000));
    pacemaker.start_timer(at(2_100));
    assert_eq!(pacemaker.timer_end(), Some(at(2_300)));
    pacemaker.enter(at(3_000), false);
    assert!(!pacemaker.is_timer_running(), "an idle chain never times out");
    assert_eq!(pacemaker.entered(), at(3_000));
    pacemaker.enter(at(4_000), true);
    assert!(pacemaker.is_timer_running());
    assert_eq!(pacemaker.timer_end(), Some(at(4_300)));
}

#[test]
fn only_full_timers_that_end_in_a_tc_make_it_longer() {
    let mut pacemaker = pacemaker();
    pacemaker.enter(at(1), true);
    assert_eq!(pacemaker.timer_micros(), 300_000, "an early skip does not count");
    pacemaker.on_timer_end();
    pacemaker.enter(at(2), false);
    assert_eq!(pacemaker.timer_micros(), 300_000, "the QC came after all");
    for expected in [450_000, 675_000, 1_012_500] {
        pacemaker.on_timer_end();
        pacemaker.enter(at(3), true);
        assert_eq!(pacemaker.timer_micros(), expected);
    }
    pacemaker.on_commit(Parameters::default());
    assert_eq!(pacemaker.timer_micros(), 675_000);
    for _ in 0..5 {
        pacemaker.on_commit(Parameters::default());
    }
    assert_eq!(pacemaker.timer_micros(), 300_000, "never below the base");
    for _ in 0..100 {
        pacemaker.on_timer_end();
        pacemaker.enter(at(4), true);
    }
    assert_eq!(pacemaker.timer_micros(), 60_000_000);
}

#[test]
fn a_leader_that_was_silent_is_skipped_at_once_and_another_after_the_silence() {
    let view = View::new(8);
    let mut pacemaker = pacemaker();
    // Up since 1 s: nothing is silence before 1.6 s.
    assert_eq!(pacemaker.skip_time(view, LEADER), Some(at(1_600)));
    pacemaker.on_heard(at(1_500), LEADER, None);
    assert_eq!(pacemaker.skip_time(view, LEADER), Some(at(2_100)));
    pacemaker.enter(at(5_000), false);
    assert_eq!(pacemaker.skip_time(view, LEADER), Some(at(5_000)), "on entry");
    assert_eq!(pacemaker.skip_time(view, index(0)), None, "nobody skips itself");

    assert!(!pacemaker.can_skip(at(5_000), view, LEADER), "no quorum was heard");
    pacemaker.on_heard(at(4_500), index(1), None);
    assert!(!pacemaker.can_skip(at(5_000), view, LEADER));
    pacemaker.on_heard(at(4_500), index(2), None);
    assert!(!pacemaker.can_skip(at(4_999), view, LEADER));
    assert!(pacemaker.can_skip(at(5_000), view, LEADER));
    assert!(pacemaker.can_skip(at(5_100), view, LEADER));
    assert!(!pacemaker.can_skip(at(5_101), view, LEADER), "the quorum is silent by now");
}

#[test]
fn every_256th_turn_gets_a_full_timer() {
    let pacemaker = pacemaker();
    let exempt: Vec<_> = (0..4 * 512)
        .filter(|view| pacemaker.skip_time(View::new(*view), LEADER).is_none())
        .collect();
    assert_eq!(exempt, [1_020, 1_021, 1_022, 1_023, 2_044, 2_045, 2_046, 2_047]);
}

#[test]
fn a_quorum_is_heard_while_its_messages_are_fresh() {
    let mut pacemaker = pacemaker();
    pacemaker.on_heard(at(2_000), index(1), None);
    assert!(!pacemaker.is_quorum_heard(at(2_000)), "two of four");
    pacemaker.on_heard(at(2_100), index(2), None);
    assert!(pacemaker.is_quorum_heard(at(2_100)), "three, this one counted");
    assert!(pacemaker.is_quorum_heard(at(2_600)));
    assert!(!pacemaker.is_quorum_heard(at(2_601)));
    let heard: Vec<_> = pacemaker.heard_since(at(2_601)).collect();
    assert_eq!(heard, [index(2)]);
    let mut follower = Pacemaker::new(Parameters::default(), 4, 3, None, at(0));
    for peer in 1..3 {
        follower.on_heard(at(1), index(peer), None);
    }
    assert!(!follower.is_quorum_heard(at(1)), "a follower does not count itself");
}

#[test]
fn an_era_keeps_what_is_known_of_those_who_stay() {
    let mut pacemaker = pacemaker();
    pacemaker.on_heard(at(2_000), index(1), Some(40_000));
    pacemaker.on_heard(at(2_100), index(2), Some(60_000));
    pacemaker.on_timer_end();
    pacemaker.enter(at(2_200), true);
    assert_eq!(pacemaker.timer_micros(), 720_000, "8 × 60 ms, and half of it more");
    pacemaker.on_timer_end();
    // 2 leads the list now, 3 was never heard, two are new, and this one is last.
    let places = [Some(index(2)), Some(index(3)), None, None, Some(index(0))];
    pacemaker.begin_era(at(9_000), &places, 4, Some(index(4)));

    assert_eq!(pacemaker.entered(), at(9_000));
    assert!(!pacemaker.is_timer_running(), "timers start anew");
    let heard: Vec<_> = pacemaker.heard.iter().map(|(peer, time)| (*peer, *time)).collect();
    assert_eq!(heard, [(index(0), at(2_100)), (index(2), at(9_000)), (index(3), at(9_000))]);
    let trips: Vec<_> = pacemaker.round_trips.iter().map(|(peer, trip)| (*peer, *trip)).collect();
    assert_eq!(trips, [(index(0), 60_000)]);
    assert_eq!(pacemaker.timer_micros(), 300_000, "a quorum's round trips are unknown again");
    pacemaker.enter(at(9_100), true);
    assert_eq!(pacemaker.timer_micros(), 300_000, "and no timer ran out in this era");

    // Of five, each has its turn in five views.
    let view = View::new(5 * 255);
    assert_eq!(pacemaker.skip_time(view, index(3)), None, "the 256th turn");
    assert_eq!(pacemaker.skip_time(View::new(5 * 255 - 1), index(4)), None, "nobody skips itself");
    let silent_since_the_start = pacemaker.skip_time(View::new(7), index(1));
    assert_eq!(silent_since_the_start, Some(at(9_100)), "the era is no start");
    assert_eq!(pacemaker.skip_time(View::new(7), index(2)), Some(at(9_600)), "new ones get time");
    assert!(!pacemaker.is_quorum_heard(at(9_600)), "three of five, where four are needed");
    pacemaker.on_heard(at(9_600), index(0), None);
    assert!(pacemaker.is_quorum_heard(at(9_600)));
}

#[test]
fn whoever_gets_a_seat_does_not_skip_itself() {
    let mut pacemaker = pacemaker();
    assert_eq!(pacemaker.skip_time(View::new(8), index(0)), None);
    pacemaker.seat(Some(LEADER));
    assert_eq!(pacemaker.skip_time(View::new(8), LEADER), None);
    assert_eq!(pacemaker.skip_time(View::new(8), index(0)), Some(at(1_600)));
    pacemaker.seat(None);
    assert_eq!(pacemaker.skip_time(View::new(8), LEADER), Some(at(1_600)));
}

#[test]
fn a_smoothed_round_trip_follows_the_news() {
    let mut pacemaker = Pacemaker::new(Parameters::default(), 2, 2, Some(index(0)), at(0));
    pacemaker.on_heard(at(1), index(1), Some(80_000));
    for expected in [71_000, 63_125, 56_235] {
        pacemaker.on_heard(at(1), index(1), Some(8_000));
        assert_eq!(pacemaker.round_trip_micros(), expected);
    }
}
