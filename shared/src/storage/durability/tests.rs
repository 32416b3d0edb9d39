use proptest::prelude::*;

use super::*;
use crate::base::SeededRng;

const DAY: f64 = 86_400.0;

fn measured(lifetime_days: f64, repair_days: f64) -> Measured {
    Measured { holder_lifetime_seconds: lifetime_days * DAY, repair_seconds: repair_days * DAY }
}

fn close(found: f64, expected: f64, share: f64) {
    assert!((found / expected - 1.0).abs() < share, "{found}, expected {expected}");
}

#[test]
fn two_copies_lose_as_every_textbook_says() {
    // Two units, repair at rate m, death at rate d: (3d + m) / 2d². Patterson, Gibson and Katz, SIGMOD 1988.
    let profile = Profile::new(1, 2).unwrap();
    for (lifetime, repair) in [(60.0, 1.0), (10.0, 5.0), (1000.0, 0.01)] {
        let durability = Durability::of(profile, 1, measured(lifetime, repair)).unwrap();
        let (d, m) = (1.0 / (lifetime * DAY), 1.0 / (repair * DAY));
        close(durability.mean_seconds_to_loss(), (3.0 * d + m) / (2.0 * d * d), 1e-12);
    }
}

/// Gaussian elimination over the chain's equations, which nothing here shares with the solution above.
fn by_elimination(profile: Profile, line: u16, measured: Measured) -> f64 {
    let (k, n) = (profile.data_shards(), profile.total_shards());
    let count = usize::from(n - k) + 1;
    let mut rows = vec![vec![0.0; count + 1]; count];
    for (row, alive) in (k..=n).enumerate() {
        let death = f64::from(alive) / measured.holder_lifetime_seconds;
        let repair = if alive <= line { 1.0 / measured.repair_seconds } else { 0.0 };
        rows[row][row] += death + repair;
        rows[row][count - 1] -= repair;
        if row > 0 {
            rows[row][row - 1] -= death;
        }
        rows[row][count] = 1.0;
    }
    for pivot in 0..count {
        let row = rows[pivot].clone();
        for (index, other) in rows.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = other[pivot] / row[pivot];
            assert!(index != pivot);
            other.iter_mut().zip(&row).for_each(|(to, from)| *to -= factor * from);
        }
    }
    rows[count - 1][count] / rows[count - 1][count - 1]
}

#[test]
fn the_solution_satisfies_the_chain() {
    // Where losses are common enough for elimination to keep its digits.
    for (data, total, line) in
        [(1, 3, 1), (1, 3, 2), (4, 12, 6), (4, 12, 8), (16, 40, 20), (5, 9, 5), (5, 9, 8)]
    {
        let (profile, measured) = (Profile::new(data, total).unwrap(), measured(10.0, 4.0));
        let found = Durability::of(profile, line, measured).unwrap().mean_seconds_to_loss();
        close(found, by_elimination(profile, line, measured), 1e-6);
    }
}

/// Plays the chain: mean time to loss, shards rebuilt a second, repairs a second.
fn play(profile: Profile, line: u16, measured: Measured, losses: u32) -> (f64, f64, f64) {
    let mut rng = SeededRng::from_number(5);
    let (mut seconds, mut rebuilt, mut repairs) = (0.0, 0.0, 0.0);
    for _ in 0..losses {
        let mut alive = profile.total_shards();
        while alive >= profile.data_shards() {
            let death = f64::from(alive) / measured.holder_lifetime_seconds;
            let repair = if alive <= line { 1.0 / measured.repair_seconds } else { 0.0 };
            seconds += -(1.0 - rng.unit()).ln() / (death + repair);
            if rng.chance(death / (death + repair)) {
                alive -= 1;
            } else {
                rebuilt += f64::from(profile.total_shards() - alive);
                repairs += 1.0;
                alive = profile.total_shards();
            }
        }
    }
    (seconds / f64::from(losses), rebuilt / seconds, repairs / seconds)
}

#[test]
fn a_played_chain_loses_and_repairs_as_computed() {
    let (profile, measured) = (Profile::SMALL, measured(10.0, 4.0));
    let durability = Durability::of(profile, 8, measured).unwrap();
    let (loss_seconds, rebuilt, repairs) = play(profile, 8, measured, 3000);
    close(loss_seconds, durability.mean_seconds_to_loss(), 0.06);
    let traffic = repairs + rebuilt / 4.0;
    close(traffic, durability.repair_bytes_per_stored_byte_second(), 0.02);
}

#[test]
fn declared_figures_stay_what_they_were() {
    let figure = |profile: Profile, lifetime, repair| {
        let durability = Durability::of(profile, profile.repair_line(), measured(lifetime, repair)).unwrap();
        let traffic = durability.repair_bytes_per_stored_byte_second() * 30.0 * DAY;
        format!("{:.1} nines, {traffic:.2} bytes a month", durability.nines_a_year())
    };
    let found = [
        figure(Profile::WIDE, 60.0, 1.0),
        figure(Profile::WIDE, 60.0, 0.25),
        figure(Profile::MIDDLE, 60.0, 0.25),
        figure(Profile::SMALL, 60.0, 0.25),
        figure(Profile::THREEFOLD, 60.0, 0.25),
        figure(Profile::for_network(3), 60.0, 0.25),
        figure(Profile::for_network(3), 700.0, 0.25),
    ];
    let expect = [
        "8.5 nines, 2.25 bytes a month",
        "19.2 nines, 2.29 bytes a month",
        "10.9 nines, 2.20 bytes a month",
        "6.9 nines, 2.58 bytes a month",
        "19.1 nines, 2.48 bytes a month",
        "3.2 nines, 2.98 bytes a month",
        "6.4 nines, 0.26 bytes a month",
    ];
    assert_eq!(found, expect);
}

#[test]
fn the_line_follows_what_holders_do() {
    let line = |days| repair_line(Profile::WIDE, 11.0, measured(days, 0.25)).unwrap();
    let (short, long) = (line(20.0).unwrap(), line(365.0).unwrap());
    assert!(short > long, "{short} and {long}");
    for (days, line) in [(20.0, short), (365.0, long)] {
        let nines = |line| Durability::of(Profile::WIDE, line, measured(days, 0.25)).unwrap().nines_a_year();
        assert!(nines(line) >= 11.0 && nines(line - 1) < 11.0);
    }
    assert_eq!(line(0.5), None, "no line helps where holders leave faster than repair comes");
}

#[test]
fn what_is_no_measurement_is_refused() {
    let of = |line, lifetime, repair| Durability::of(Profile::SMALL, line, measured(lifetime, repair));
    for (lifetime, repair) in [(0.0, 1.0), (-1.0, 1.0), (f64::NAN, 1.0), (60.0, f64::INFINITY), (60.0, 0.0)] {
        assert!(matches!(of(8, lifetime, repair), Err(DurabilityError::Measured { .. })));
    }
    for line in [3, 12] {
        assert_eq!(of(line, 60.0, 1.0), Err(DurabilityError::Line { line, data: 4, below: 12 }));
    }
    let single = Profile::for_network(1);
    assert!(Durability::of(single, single.repair_line(), measured(60.0, 1.0)).is_err());
}

proptest! {
    #[test]
    fn longer_lives_quicker_repairs_and_higher_lines_lose_less(lifetime in 5.0f64..500.0, repair in 0.1f64..5.0, line in 29u16..79) {
        let mean = |line, lifetime, repair| {
            Durability::of(Profile::WIDE, line, measured(lifetime, repair)).unwrap().mean_seconds_to_loss()
        };
        let here = mean(line, lifetime, repair);
        prop_assert!(here.is_finite() && here > 0.0);
        prop_assert!(mean(line, lifetime * 1.1, repair) > here);
        prop_assert!(mean(line, lifetime, repair * 0.9) > here);
        prop_assert!(line == 78 || mean(line + 1, lifetime, repair) > here);
    }
}
