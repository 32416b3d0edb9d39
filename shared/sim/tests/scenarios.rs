//! Scenarios in small form, over several seeds.

use shared::storage::erasure::Profile;
use sim::{
    audits, economy, objects,
    report::Report,
    scenarios::{Scale, Scenario},
    storage::{self, Plan},
};

#[test]
fn browsers_without_peers_all_complete_and_no_faster_than_the_bound() {
    for seed in 1..4 {
        let scale = Scale { peers: 6, size: 3_000_000, direct: true };
        let mut run = Scenario::FlashCrowd.prepare(scale, seed);
        assert!(run.go(), "seed {seed}");
        let report = Report::of(&run);
        assert_eq!(report.violations, Vec::<String>::new());
        assert_eq!(report.sources.peers, 0);
        assert!(report.quantile(1.0) >= 3_000_000.0 / 2_500_000.0, "seed {seed}: {report:?}");
    }
}

#[test]
fn one_seed_replays_a_run_to_the_last_message() {
    let checksum = |seed| {
        let scale = Scale { peers: 5, size: 1_000_000, direct: true };
        let mut run = Scenario::FlashCrowd.prepare(scale, seed);
        run.go();
        Report::of(&run).checksum
    };
    assert_eq!(checksum(4), checksum(4));
    assert_ne!(checksum(4), checksum(5));
}

/// A small run that finishes, breaks no rule and meets `expect`.
fn check(scenario: Scenario, peers: u32, size: u64, expect: impl Fn(&Report)) {
    for seed in 1..4 {
        let mut run = scenario.prepare(Scale { peers, size, direct: false }, seed);
        let finished = run.go();
        let report = Report::of(&run);
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        assert!(finished, "seed {seed}: {report:?}");
        // Only where the one supernode is away for a while does anybody have to take the plain network instead.
        assert!(scenario == Scenario::Churn || report.fell_back == 0, "seed {seed}: {report:?}");
        expect(&report);
    }
}

#[test]
fn a_flash_crowd_takes_its_content_from_infrastructure_about_once() {
    check(Scenario::FlashCrowd, 10, 8_000_000, |report| {
        assert!(report.infrastructure < 3 * 8_000_000, "{report:?}");
        assert!(report.wasted < 8_000_000 / 2, "{report:?}");
    });
}

#[test]
fn lawful_tabs_finish_among_liars_and_waste_little() {
    check(Scenario::Liars, 20, 3_000_000, |report| {
        assert!(report.wasted * 20 < report.sources.total(), "{report:?}");
    });
}

#[test]
fn kills_of_tabs_and_of_the_only_supernode_cost_nobody_the_object() {
    check(Scenario::Churn, 12, 3_000_000, |report| {
        assert_eq!(report.seconds.len() + report.fell_back, 12, "{report:?}");
        assert!(report.fell_back <= 1, "{report:?}");
    });
}

#[test]
fn half_behind_symmetric_translators_in_a_storm_all_finish() {
    check(Scenario::Nat, 12, 3_000_000, |report| assert_eq!(report.seconds.len(), 12, "{report:?}"));
}

const HALF_A_YEAR: Plan = Plan {
    segments: 40,
    profile: Profile::MIDDLE,
    holders: 150,
    lifetime_days: 30.0,
    days: 180,
    correlated: true,
};

#[test]
fn half_a_year_of_dying_holders_loses_no_segment_and_sends_what_the_formula_says() {
    for seed in 1..4 {
        let outcome = storage::run(HALF_A_YEAR, seed);
        assert_eq!((outcome.violations.as_slice(), outcome.lost), (&[][..], 0), "seed {seed}");
        let share = outcome.sent / outcome.formula;
        assert!((0.7..1.3).contains(&share), "seed {seed}: {outcome:?}");
        assert_eq!(outcome, storage::run(HALF_A_YEAR, seed), "one seed replays a run");
    }
}

#[test]
fn where_holders_leave_faster_than_repair_comes_segments_are_lost_and_told() {
    let outcome = storage::run(Plan { lifetime_days: 0.1, days: 5, ..HALF_A_YEAR }, 1);
    assert!(outcome.lost > 0, "{outcome:?}");
}

#[test]
fn nobody_loses_more_than_a_window_to_a_crash_or_a_lie() {
    let plan = economy::Plan { pairs_of_a_kind: 1, rounds: 900 };
    for seed in 1..4 {
        let outcome = economy::run(plan, seed);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        assert!(outcome.crashes > 50 && outcome.refused > 0 && outcome.claimed > 0, "{outcome:?}");
        assert!(outcome.lie_gain_permille < 1000, "{outcome:?}");
        assert_eq!(outcome, economy::run(plan, seed), "one seed replays a run");
    }
}

#[test]
fn sybils_earn_what_honest_visits_from_their_networks_would() {
    let outcome = economy::sybils(10_000, 40, 1);
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert!(outcome.earned <= outcome.honest_visits && !outcome.honest.is_zero(), "{outcome:?}");
}

#[test]
fn objects_survive_the_slow_the_dying_and_the_lying_who_are_named() {
    let plan = objects::Plan { objects: 12, bytes: 100_000, days: 4, ..objects::Plan::FULL };
    for seed in 1..5 {
        let outcome = objects::run(plan, seed);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!((outcome.acknowledged, outcome.failed), (12, 0), "seed {seed}: {outcome:?}");
        assert!(outcome.reads >= 40 && outcome.named > 0 && outcome.rebuilt > 0, "seed {seed}: {outcome:?}");
        assert_eq!(outcome, objects::run(plan, seed), "one seed replays a run");
    }
}

#[test]
fn who_lies_about_its_shards_is_dismissed_within_a_day() {
    let plan = audits::Plan { liars_of_a_kind: 1, networks: 2, ..audits::Plan::LIARS };
    let outcome = audits::run(plan, 1);
    assert_eq!(outcome.violations, Vec::<String>::new());
    for nature in audits::Nature::LIARS {
        let tally = &outcome.tallies[&nature];
        assert_eq!((tally.holders, tally.dismissed), (2, 2), "{nature:?}: {tally:?}");
    }
    assert_eq!(outcome.tallies[&audits::Nature::Honest].dismissed, 0);
    assert_eq!(outcome, audits::run(plan, 1), "one seed replays a run");
}

#[test]
fn honest_holders_on_a_bad_line_stay() {
    let outcome = audits::run(audits::Plan { days: 1, ..audits::Plan::HONEST }, 2);
    assert_eq!(outcome.violations, Vec::<String>::new());
    let tally = &outcome.tallies[&audits::Nature::Honest];
    assert_eq!((tally.holders, tally.dismissed), (12, 0));
    assert!(tally.audits.iter().all(|audits| *audits > 500), "{tally:?}");
}
