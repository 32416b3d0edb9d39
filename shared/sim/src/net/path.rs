//! The way between two nodes: distance, jitter and loss.

use core::time::Duration;

use shared::base::SeededRng;

/// A part of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// Western and central Europe.
    Europe,
    /// The east of North America.
    AmericaEast,
    /// The west of North America.
    AmericaWest,
    /// South America.
    AmericaSouth,
    /// East and south-east Asia.
    Asia,
}

impl Region {
    /// All of them, the more visited ones more often, to draw from.
    pub const VISITORS: [Self; 10] = [
        Self::Europe,
        Self::Europe,
        Self::Europe,
        Self::AmericaEast,
        Self::AmericaEast,
        Self::AmericaWest,
        Self::AmericaSouth,
        Self::Asia,
        Self::Asia,
        Self::Asia,
    ];

    /// The UN M49 code of the area.
    pub const fn m49(self) -> u32 {
        match self {
            Self::Europe => 150,
            Self::AmericaEast | Self::AmericaWest => 21,
            Self::AmericaSouth => 5,
            Self::Asia => 142,
        }
    }
}

/// One-way milliseconds between the backbones of two regions: half of typical measured round trips.
const ONE_WAY_MS: [[u64; 5]; 5] = [
    [8, 42, 70, 95, 110],
    [42, 8, 32, 60, 100],
    [70, 32, 8, 85, 65],
    [95, 60, 85, 12, 150],
    [110, 100, 65, 150, 20],
];

/// The packet size that loss is applied to.
const PACKET_BYTES: u64 = 1_200;

/// How the weather is on every path of a run.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Jitter, as a share of the one-way time.
    pub jitter: f64,
    /// Chance that a packet is lost. Streams are reliable: a loss delays what follows by a round trip.
    pub loss: f64,
}

impl Weather {
    /// An ordinary day.
    pub const FAIR: Self = Self { jitter: 0.1, loss: 0.0005 };
    /// A bad one.
    pub const STORM: Self = Self { jitter: 0.5, loss: 0.01 };
}

/// One-way time between two nodes without jitter: the backbone and both access networks.
pub fn one_way(a: (Region, Duration), b: (Region, Duration)) -> Duration {
    Duration::from_millis(ONE_WAY_MS[a.0 as usize][b.0 as usize]) + a.1 + b.1
}

/// How long `bytes` are under way this time.
pub fn transit(base: Duration, bytes: u64, weather: Weather, rng: &mut SeededRng) -> Duration {
    let mut time = base.mul_f64(1.0 + weather.jitter * rng.unit());
    let packets = bytes.div_ceil(PACKET_BYTES).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a message is a few dozen packets")]
    let survives = (1.0 - weather.loss).powf(packets as f64);
    if !rng.chance(survives) {
        time += 2 * base;
    }
    time
}
