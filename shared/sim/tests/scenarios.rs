//! Scenarios in small form, over several seeds.

use sim::{
    report::Report,
    scenarios::{Scale, Scenario},
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
