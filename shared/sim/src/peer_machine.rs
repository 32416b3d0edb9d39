//! The product's `Peer` as a machine of this world: the very code that tabs and supernodes run.

use shared::{
    base::{EffectId, Instant, LinkId, SeededRng},
    cdn::offences::Offence,
    identity::PublicKey,
    peer::{
        Config, Description, Done, Event, FetchId, HttpSources, Limits, LinkAbout, Meters, Peer, Received,
        Role, Stream,
    },
};

use crate::{
    machine::{Act, Command, Machine},
    node::{Birth, Make},
};

/// How a node with a `Peer` of that role is made.
pub fn make(role: Role) -> Make {
    let limits = match role {
        Role::Tab => Limits::default(),
        Role::Supernode => Limits::supernode(),
    };
    make_with(role, limits)
}

/// As [`make`], with bounds of the scenario's own.
pub fn make_with(role: Role, limits: Limits) -> Make {
    Box::new(move |birth: &Birth| {
        let config = Config {
            keypair: birth.keypair.clone(),
            role,
            region: birth.region.m49(),
            supernodes: birth.supernodes.clone(),
            http: HttpSources { edge: birth.http.0, origin: birth.http.1 },
            limits,
        };
        let mut rng = SeededRng::from_number(birth.seed);
        let mut seed = [0; 32];
        for chunk in seed.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        let mut peer = Peer::new(config, seed, birth.now);
        peer.set_visitor(birth.visitor);
        Box::new(peer)
    })
}

impl Machine for Peer {
    fn handle_linked(&mut self, now: Instant, link: LinkId, about: LinkAbout) {
        Self::handle_linked(self, now, link, about);
    }

    fn handle_unlinked(&mut self, now: Instant, link: LinkId) {
        Self::handle_unlinked(self, now, link);
    }

    fn handle_dial_failed(&mut self, now: Instant, peer: &PublicKey) {
        Self::handle_dial_failed(self, now, peer);
    }

    fn handle_described(&mut self, now: Instant, effect: EffectId, description: Option<Description>) {
        Self::handle_described(self, now, effect, description);
    }

    fn handle_frame(&mut self, now: Instant, link: LinkId, stream: Stream, frame: &[u8]) {
        Self::handle_frame(self, now, link, stream, frame);
    }

    fn handle_offence(&mut self, now: Instant, link: LinkId, offence: Offence) {
        Self::handle_offence(self, now, link, offence);
    }

    fn handle_received(&mut self, now: Instant, received: Received) {
        Self::handle_received(self, now, received);
    }

    fn handle_done(&mut self, now: Instant, effect: EffectId, done: Done) {
        Self::handle_done(self, now, effect, done);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn command(&mut self, now: Instant, command: Command) -> Option<FetchId> {
        match command {
            Command::Fetch { root, shape, priority } => {
                return Some(self.fetch(now, root, shape, priority, 0..shape.groups()));
            }
            Command::Adopt(manifest) => self.adopt_manifest(now, &manifest),
            Command::Addresses(addresses) => self.set_addresses(now, addresses),
            Command::Cancel(fetch) => self.cancel(now, fetch),
            Command::Consent(consent) => self.set_consent(now, consent),
            Command::Budget(budget) => self.set_budget(now, budget),
            Command::Add { root, shape, groups } => {
                for range in groups {
                    self.add_local(now, root, shape, range);
                }
            }
        }
        None
    }

    fn meters(&self) -> Option<Meters> {
        Some(Self::meters(self))
    }

    fn poll_act(&mut self) -> Option<Act> {
        self.poll_effect().map(Act::Lawful)
    }

    fn poll_event(&mut self) -> Option<Event> {
        Self::poll_event(self)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}
