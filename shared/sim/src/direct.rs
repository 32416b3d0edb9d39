//! A browser without peers: fetches each blob by one plain HTTP request. What the swarm is compared with.

use std::collections::VecDeque;

use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId},
    cdn::{
        blob::BlobShape,
        offences::Offence,
        part::{Hashes, Run},
    },
    identity::PublicKey,
    peer::{
        Description, Done, Effect, Event, FallBack, FetchId, HttpSource, LinkAbout, Received, SourceBytes,
        Stream,
    },
};

use crate::{
    machine::{Act, Command, Machine},
    node::{Birth, Make},
};

/// One blob under way.
struct Fetching {
    fetch: FetchId,
    root: BlobRoot,
    shape: BlobShape,
    /// Parts still to ask for: the hashes first, so that the payload can be judged as it comes.
    runs: VecDeque<Run>,
    effect: EffectId,
}

/// The machine.
#[derive(Default)]
pub struct Direct {
    fetching: Vec<Fetching>,
    acts: VecDeque<Act>,
    events: VecDeque<Event>,
    next: u64,
}

/// How such a node is made.
pub fn make() -> Make {
    Box::new(|_: &Birth| Box::new(Direct::default()))
}

impl Direct {
    fn ask(&mut self, mut fetching: Fetching) {
        let Some(run) = fetching.runs.pop_front() else {
            let (fetch, root) = (fetching.fetch, fetching.root);
            self.events.push_back(Event::Completed { fetch, root, sources: SourceBytes::default() });
            return;
        };
        self.next += 1;
        fetching.effect = EffectId(self.next);
        self.acts.push_back(Act::Lawful(Effect::FetchHttp {
            effect: fetching.effect,
            source: HttpSource::Edge,
            root: fetching.root,
            shape: fetching.shape,
            run,
        }));
        self.fetching.push(fetching);
    }
}

impl Machine for Direct {
    fn handle_linked(&mut self, _now: Instant, _link: LinkId, _about: LinkAbout) {}
    fn handle_unlinked(&mut self, _now: Instant, _link: LinkId) {}
    fn handle_dial_failed(&mut self, _now: Instant, _peer: &PublicKey) {}
    fn handle_described(&mut self, _now: Instant, _effect: EffectId, _description: Option<Description>) {}
    fn handle_frame(&mut self, _now: Instant, _link: LinkId, _stream: Stream, _frame: &[u8]) {}
    fn handle_offence(&mut self, _now: Instant, _link: LinkId, _offence: Offence) {}
    fn handle_received(&mut self, _now: Instant, _received: Received) {}
    fn handle_timeout(&mut self, _now: Instant) {}

    fn handle_done(&mut self, _now: Instant, effect: EffectId, done: Done) {
        let Some(place) = self.fetching.iter().position(|fetching| fetching.effect == effect) else { return };
        let fetching = self.fetching.remove(place);
        if done == Done::HttpFinished {
            self.ask(fetching);
        } else {
            let (fetch, root) = (fetching.fetch, fetching.root);
            self.events.push_back(Event::FellBack { fetch, root, reason: FallBack::NoSource });
        }
    }

    fn command(&mut self, _now: Instant, command: Command) -> Option<FetchId> {
        let Command::Fetch { root, shape, .. } = command else { return None };
        self.next += 1;
        let fetch = FetchId(self.next);
        let run = |page: u32| {
            let groups = shape.page_groups(page).unwrap_or(0..1);
            let hashes = match (shape.pages(), page) {
                (0, _) => Hashes::Here,
                (2.., 0) => Hashes::TopAndPage,
                _ => Hashes::Page,
            };
            Run { hashes, first: groups.start, count: groups.end - groups.start }
        };
        let runs = (0..shape.pages().max(1)).map(run).collect();
        self.ask(Fetching { fetch, root, shape, runs, effect: EffectId(0) });
        Some(fetch)
    }

    fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}
