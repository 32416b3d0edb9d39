//! Who is there, what they want, and what goes wrong.

use core::time::Duration;
use std::sync::Arc;

use shared::{
    base::Instant,
    peer::{Budget, Consent, Limits, Priority, Role},
};

use crate::{
    content::Blob,
    direct,
    invariants::{self, quiet::WATCHED_SECONDS},
    liar,
    machine::Command,
    net::{Nat, Region, Weather},
    node::{Make, NodeId, Plan},
    peer_machine,
    world::{Deed, World, fetch},
};

/// A megabit a second, in bytes.
const MEGABIT: u64 = 125_000;
/// Blobs up to this size have real bytes where few nodes hold them; larger ones are synthetic.
const REAL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Seconds, in multiples of what plain HTTP would take alone, until a run is given up.
const PATIENCE: u64 = 20;

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Ten tabs in five seconds, 20 MB, infrastructure of 20 Mbit/s.
    FlashCrowd,
    /// A thousand tabs, 100 MB, mixed uplinks, a fifth behind symmetric translators.
    Swarm,
    /// Thirty of a hundred are malicious, in every way there is.
    Liars,
    /// A third is killed twice in mid-transfer, the only supernode once.
    Churn,
    /// Half behind symmetric translators, and mappings are forgotten in a storm.
    Nat,
}

/// How large a run is, and what its tabs are.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Tabs.
    pub peers: u32,
    /// Bytes of the object.
    pub size: u64,
    /// Whether tabs only know HTTP, for comparison.
    pub direct: bool,
}

/// A run, ready to go.
pub struct Run {
    /// The world.
    pub world: World,
    /// Its lawful tabs.
    pub tabs: Vec<NodeId>,
    /// The supernode that is its edge.
    pub supernode: NodeId,
    /// What they want.
    pub blob: Arc<Blob>,
    /// When plain patience ends.
    pub end: Instant,
}

impl Scenario {
    /// All of them, by the names that the command line knows.
    pub const ALL: [(&'static str, Self); 5] = [
        ("cdn_flash_crowd", Self::FlashCrowd),
        ("cdn_swarm", Self::Swarm),
        ("cdn_liars", Self::Liars),
        ("cdn_churn", Self::Churn),
        ("cdn_nat", Self::Nat),
    ];

    /// The scale it was made for.
    pub const fn full(self) -> Scale {
        let (peers, megabytes) = match self {
            Self::FlashCrowd => (10, 20),
            Self::Swarm => (1_000, 100),
            Self::Liars => (100, 20),
            Self::Churn => (60, 20),
            Self::Nat => (60, 20),
        };
        Scale { peers, size: megabytes * 1_000_000, direct: false }
    }

    /// A world in which this is about to happen.
    pub fn prepare(self, scale: Scale, seed: u64) -> Run {
        let weather = if self == Self::Nat { Weather::STORM } else { Weather::FAIR };
        let mut world = World::new(seed, weather, invariants::all());
        let blob = if scale.size <= REAL_BYTES_MAX {
            Blob::real(scale.size, world.rng())
        } else {
            Blob::synthetic(scale.size, world.rng())
        };
        let blob = world.publish(blob);
        let site = world.site(core::slice::from_ref(&blob));
        let up = if self == Self::Swarm { 400 * MEGABIT } else { 20 * MEGABIT };
        let consent = Consent { serve: true, fetch: true };
        let allow = [Command::Consent(consent), Command::Budget(Budget::UNLIMITED)];
        let hold = [Command::Adopt(site.clone())];
        let supernode = world.add(Plan {
            role: Role::Supernode,
            up,
            down: 1_000 * MEGABIT,
            region: Region::Europe,
            access: Duration::from_millis(1),
            nat: None,
            supernodes: Vec::new(),
            edge: None,
            origin: None,
            commands: allow.iter().chain(&hold).cloned().collect(),
            make: Some(peer_machine::make_with(Role::Supernode, Limits::supernode())),
            malicious: false,
        });
        world.import(supernode, &blob);
        world.plan(Instant::default(), Deed::Join(supernode));
        let mut tabs = Vec::new();
        for index in 0..scale.peers {
            // Three in ten, spread evenly.
            let lies = self == Self::Liars && index % 10 < 3;
            let kind = liar::Kind::ALL[(index / 10 * 3 + index % 10) as usize % liar::Kind::ALL.len()];
            let make: Make = match (lies, scale.direct) {
                (true, _) => liar::make(kind, site.clone()),
                (false, true) => direct::make(),
                (false, false) => peer_machine::make(Role::Tab),
            };
            let want = [Command::Adopt(site.clone()), fetch(&blob, self.priority())];
            let plan =
                self.tab(&mut world, supernode, make, allow.iter().chain(&want).cloned().collect(), lies);
            let id = world.add(plan);
            let when = 1_000_000 + world.rng().below(5_000_000);
            world.plan(Instant::from_micros(when), Deed::Join(id));
            if !lies {
                tabs.push(id);
            }
        }
        let alone = u64::from(scale.peers) * scale.size / up + 1;
        self.disturb(&mut world, supernode, &tabs, alone);
        let end = Instant::from_micros((60 + PATIENCE * alone) * 1_000_000);
        Run { world, tabs, supernode, blob, end }
    }

    const fn priority(self) -> Priority {
        match self {
            Self::Swarm => Priority::Idle,
            _ => Priority::Page,
        }
    }

    fn tab(
        self,
        world: &mut World,
        supernode: NodeId,
        make: Make,
        commands: Vec<Command>,
        malicious: bool,
    ) -> Plan {
        let rng = world.rng();
        let symmetric = match self {
            Self::Nat => 0.5,
            Self::FlashCrowd => 0.0,
            _ => 0.2,
        };
        let up = *rng.pick(&[5, 10, 20, 50]).unwrap_or(&10) * MEGABIT;
        Plan {
            role: Role::Tab,
            up,
            down: (4 * up).max(25 * MEGABIT),
            region: *rng.pick(&Region::VISITORS).unwrap_or(&Region::Europe),
            access: Duration::from_millis(2 + rng.below(15)),
            nat: Nat::draw(rng, symmetric),
            supernodes: vec![supernode],
            edge: Some(supernode),
            origin: None,
            commands,
            make: Some(make),
            malicious,
        }
    }

    /// Plans what goes wrong; all of it is over, and healed, well before patience ends.
    fn disturb(self, world: &mut World, supernode: NodeId, tabs: &[NodeId], alone: u64) {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let step = (alone / 8).max(2);
        match self {
            Self::Churn => {
                for tab in tabs.iter().filter(|tab| tab.0 % 3 == 0) {
                    for round in 1..=2 {
                        world.plan(at(6 + 2 * round * step), Deed::Kill(*tab));
                        world.plan(at(6 + 2 * round * step + 1), Deed::Join(*tab));
                    }
                }
                world.plan(at(6 + 3 * step), Deed::Kill(supernode));
                world.plan(at(6 + 4 * step), Deed::Join(supernode));
            }
            Self::Nat => {
                for tab in tabs.iter().filter(|tab| tab.0 % 4 == 0) {
                    world.plan(at(6 + step), Deed::Rebind(*tab));
                }
                world.plan(at(6 + 4 * step), Deed::Weather(Weather::FAIR));
            }
            Self::FlashCrowd | Self::Swarm | Self::Liars => {}
        }
    }
}

impl Run {
    /// Lets it happen, then watches whether the network goes quiet. Tells whether everybody finished, or was told to take
    /// the plain network instead.
    pub fn go(&mut self) -> bool {
        let tabs = self.tabs.clone();
        let root = self.blob.root();
        let finished = self.world.run(self.end, |world| {
            tabs.iter().all(|tab| {
                let node = world.node(*tab);
                node.alive && (node.tally.completed.contains_key(&root) || node.fell_back())
            })
        });
        let quiet = self.world.now() + Duration::from_secs(30 + WATCHED_SECONDS as u64);
        self.world.run(quiet, |_| false);
        if self.world.violations.is_empty() {
            self.world.conclude();
        }
        finished
    }
}
