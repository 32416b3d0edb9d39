//! The simulated shell: it executes what a node's machine decides, as the tab and the supernode do, and brings
//! back what came of it.

use core::time::Duration;
use std::collections::VecDeque;

use prost::Message as _;
use shared::{
    base::{EffectId, Instant, LinkId, RequestId},
    cdn::{
        blob::VerifyError,
        offences::Offence,
        part::{Part, Piece},
    },
    identity::PublicKey,
    peer::{Description, DisconnectReason, Done, Effect, Event, Received, Role, Source, Stream, Verdict},
    wire::cdn as wire,
};

use crate::{
    content::{Payload, pieces_of},
    disk::Stored,
    invariants::Fact,
    machine::{Act, Forgery, Machine},
    net::{Cargo, FlowId, Outgoing, Parcel, can_connect, transit},
    node::{Asked, NodeId, Serving},
    world::{Happening, World},
};

/// Round trips from a known answer to a link: ICE check, two of DTLS, SCTP, stream negotiation.
const DIRECT_ROUND_TRIPS: u32 = 5;
/// A browser makes a connection and its description.
const DESCRIBES_WITHIN: Duration = Duration::from_millis(30);
/// How long ICE tries before it gives up.
const ICE_GIVES_UP_AFTER: Duration = Duration::from_secs(10);
/// Under way on a stream at most, beside what the path holds by its length.
const WINDOW_BYTES: u64 = 256 * 1024;
/// What a piece's announcement takes on the wire.
const ANNOUNCEMENT_BYTES: u64 = 16;
/// What an oversize piece claims to have.
const OVERSIZE_BYTES: u64 = 1024 * 1024;
/// Acts drained from one machine after one input, before that counts as a livelock.
const DRAIN_BOUND: usize = 1_000_000;

impl World {
    /// One input to a machine, and all that follows from it.
    pub(crate) fn with_machine(&mut self, id: NodeId, input: impl FnOnce(&mut dyn Machine, Instant)) {
        let now = self.now();
        let node = self.node_mut(id);
        if !node.alive {
            return;
        }
        let Some(machine) = node.machine.as_mut() else { return };
        input(machine.as_mut(), now);
        self.drain(id);
    }

    pub(crate) fn drain(&mut self, id: NodeId) {
        for _ in 0..DRAIN_BOUND {
            let Some(machine) = self.node_mut(id).machine.as_mut() else { return };
            if let Some(act) = machine.poll_act() {
                self.execute(id, act);
            } else if let Some(event) = machine.poll_event() {
                self.told(id, &event);
            } else {
                let deadline = machine.poll_timeout();
                self.set_wake(id, deadline);
                return;
            }
        }
        self.violate(Some(id), "livelock", format!("{DRAIN_BOUND} acts after one input"));
    }

    fn set_wake(&mut self, id: NodeId, deadline: Option<Instant>) {
        let now = self.now();
        let node = self.node_mut(id);
        let Some(deadline) = deadline.map(|deadline| deadline.max(now)) else { return };
        // An earlier wake is on the agenda already and will ask again.
        if node.wake.is_some_and(|wake| wake <= deadline) {
            return;
        }
        node.wake = Some(deadline);
        let life = node.lives;
        self.agenda.note(deadline, Happening::Wake(id, life));
    }

    pub(crate) fn wake(&mut self, id: NodeId, life: u32) {
        if !self.is_living(id, life) {
            return;
        }
        let now = self.now();
        let node = self.node_mut(id);
        if node.wake.is_none_or(|wake| wake > now) {
            return;
        }
        node.wake = None;
        self.with_machine(id, |machine, now| {
            if machine.poll_timeout().is_some_and(|deadline| deadline <= now) {
                machine.handle_timeout(now);
            }
        });
    }

    // ── what machines do ─────────────────────────────────────────────────────────────────────────────

    fn execute(&mut self, id: NodeId, act: Act) {
        match act {
            Act::Lawful(effect) => self.effect(id, effect),
            Act::Lie { link, request, root, piece, forgery } => {
                let Some(blob) = self.blobs.get(&root).cloned() else { return };
                let other = match piece {
                    Piece::Group(index) => Piece::Group(if index == 0 { 1 } else { 0 }),
                    piece => piece,
                };
                let Some(true_payload) = blob.payload(piece) else { return };
                let (announced, payload) = match forgery {
                    Forgery::Flipped => (true_payload.bytes, true_payload.forged()),
                    Forgery::Other => {
                        let payload = blob.payload(other).unwrap_or(true_payload);
                        (payload.bytes, payload)
                    }
                    Forgery::Oversize => (OVERSIZE_BYTES, true_payload),
                    Forgery::Truncated => (true_payload.bytes, true_payload.clone().truncated(100)),
                    Forgery::None => (true_payload.bytes, true_payload),
                };
                let claimed = if forgery == Forgery::Other { payload.piece } else { piece };
                let bytes = payload.bytes + ANNOUNCEMENT_BYTES;
                let cargo = Cargo::Piece { request, claimed, announced, payload };
                self.send(id, link, FlowId::Serve(link), bytes, cargo, None);
            }
        }
    }

    fn effect(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Transmit { link, stream, frame } => self.transmit(id, link, stream, frame),
            Effect::Request { link, request, root, shape, part, frame } => {
                let pieces: VecDeque<_> = pieces_of(part, shape).collect();
                self.node_mut(id).asked.insert((link, request), Asked { root, pieces });
                self.transmit(id, link, Stream::Fetch, frame);
            }
            Effect::Serve { effect, link, request, root, part, .. } => {
                self.serve(id, effect, (link, request), root, part);
            }
            Effect::CancelServe { effect } => {
                let Some(serving) = self.node(id).serving.get(&effect) else { return };
                let (flow, request) = (FlowId::Serve(serving.link), serving.request);
                if self.node_mut(id).uplink.cancel(flow, request).is_some() {
                    self.finish_serve(id, effect);
                }
            }
            Effect::FetchHttp { effect, source, root, run, .. } => {
                self.fetch_http(id, effect, source, root, run);
            }
            Effect::CancelHttp { effect } => self.cancel_http(id, effect),
            Effect::Describe { effect, offer } => {
                self.describe(id, effect, offer.as_ref().map(|(_, description)| description.as_str()));
            }
            Effect::Connect { peer, description, .. } => self.connect(id, &peer, &description),
            Effect::Forget { .. } => {}
            Effect::Disconnect { link, reason } => {
                if let (DisconnectReason::Offence(_), Some(other)) =
                    (reason, self.node(id).links.get(&link).copied())
                {
                    self.node_mut(id).tally.cut.push(other);
                }
                let Some(base) = usize::try_from(link.0).ok().and_then(|index| self.links.get(index)) else {
                    return;
                };
                let theirs = 2 * base.base;
                self.close(link, id, Duration::ZERO, theirs);
            }
        }
    }

    fn transmit(&mut self, id: NodeId, link: LinkId, stream: Stream, frame: Vec<u8>) {
        let bytes = frame.len() as u64 + 3;
        let (flow, cargo) = match stream {
            Stream::Control => {
                let node = self.node_mut(id);
                node.tally.frames += 1;
                node.tally.frame_bytes += bytes;
                self.second().frames += 1;
                self.note_signal(id, link, &frame);
                (FlowId::Control(link), Cargo::Control(frame))
            }
            Stream::Fetch => (FlowId::Fetch(link), Cargo::Ask(frame)),
            Stream::Serve => (FlowId::Serve(link), Cargo::Answer(frame)),
        };
        self.send(id, link, flow, bytes, cargo, None);
    }

    /// Counts what a supernode has to do for a join, and shows receipts to the invariants.
    fn note_signal(&mut self, id: NodeId, link: LinkId, frame: &[u8]) {
        use wire::control::Message;
        let Some(other) = self.node(id).links.get(&link).copied() else { return };
        let Ok(wire::Control { message: Some(message) }) = wire::Control::decode(frame) else { return };
        let ends = (self.node(id).plan.role, self.node(other).plan.role);
        match (message, ends) {
            // Receipts that are handed in are no part of a join.
            (Message::AskPeers(ask), _) if ask.count == 0 && !ask.receipts.is_empty() => {}
            (Message::AskPeers(_) | Message::Offer(_) | Message::Answer(_), (_, Role::Supernode)) => {
                self.node_mut(id).tally.signals += 1;
            }
            (Message::Offer(_) | Message::Answer(_), (Role::Tab, Role::Tab)) => {
                self.node_mut(id).tally.neighbour_signals += 1;
            }
            (Message::Peers(_), _) => self.node_mut(other).tally.signals += 1,
            _ => {}
        }
    }

    fn send(
        &mut self,
        from: NodeId,
        link: LinkId,
        flow: FlowId,
        bytes: u64,
        cargo: Cargo,
        finishes: Option<EffectId>,
    ) {
        let Some(to) = self.node(from).links.get(&link).copied() else { return };
        let window = WINDOW_BYTES + self.path_bytes(from, to);
        let parcel = Box::new(Parcel { flow, from, to, bytes, cargo, finishes });
        self.node_mut(from).uplink.push(flow, Outgoing::One(parcel), window);
        self.kick(from);
    }

    /// What a path holds while it is kept full.
    pub(crate) fn path_bytes(&self, from: NodeId, to: NodeId) -> u64 {
        let speed = self.node(from).plan.up.min(self.node(to).plan.down);
        let micros = u64::try_from(self.one_way(from, to).as_micros()).unwrap_or(u64::MAX);
        speed.saturating_mul(2 * micros) / 1_000_000
    }

    /// Lets a line send if it is free.
    pub(crate) fn kick(&mut self, id: NodeId) {
        let now = self.now();
        let node = self.node_mut(id);
        let life = node.lives;
        if let Some((parcel, time)) = node.uplink.start(id) {
            self.agenda.note(now + time, Happening::Left(Box::new(parcel), life));
        }
    }

    pub(crate) fn left(&mut self, parcel: Parcel, life: u32) {
        let from = parcel.from;
        if !self.is_living(from, life) {
            return;
        }
        self.node_mut(from).uplink.finish();
        let finishes = parcel.finishes;
        match &parcel.cargo {
            Cargo::Piece { request, payload, .. } => {
                let (bytes, request) = (payload.bytes, *request);
                let node = self.node_mut(from);
                node.tally.sent += bytes;
                if let FlowId::Serve(link) = parcel.flow {
                    let of = |serving: &&mut Serving| serving.link == link && serving.request == request;
                    if let Some(serving) = node.serving.values_mut().find(of) {
                        serving.sent += bytes;
                    }
                }
                self.state(from, &Fact::Sent { to: parcel.to, bytes });
            }
            Cargo::Http { payload, .. } => self.node_mut(from).tally.http_sent += payload.bytes,
            Cargo::Control(_) | Cargo::Ask(_) | Cargo::Answer(_) => {}
        }
        self.depart(parcel);
        if let Some(effect) = finishes {
            self.finish_serve(from, effect);
        }
        self.kick(from);
    }

    /// Puts a message that has left its line on its way.
    fn depart(&mut self, parcel: Parcel) {
        let base = self.one_way(parcel.from, parcel.to);
        let mut arrival = self.now() + transit(base, parcel.bytes, self.weather, &mut self.rng);
        if let Some(state) = link_of(parcel.flow).and_then(|link| self.links.get_mut(link)) {
            let last = state.last.entry((parcel.from, parcel.flow)).or_default();
            arrival = arrival.max(*last);
            *last = arrival;
        }
        if let FlowId::Http(id) = parcel.flow
            && let Some(response) = self.responses.get_mut(&id)
        {
            arrival = arrival.max(response.last);
            response.last = arrival;
        }
        self.agenda.note(arrival, Happening::Arrived(Box::new(parcel)));
    }

    fn serve(
        &mut self,
        id: NodeId,
        effect: EffectId,
        (link, request): (LinkId, RequestId),
        root: shared::base::BlobRoot,
        part: Part,
    ) {
        self.state(id, &Fact::Asked(effect));
        let Some(shape) = self.blobs.get(&root).map(|blob| blob.shape()) else {
            return self.done(id, effect, Done::Failed);
        };
        let disk = &mut self.node_mut(id).disk;
        let pieces: Vec<_> = pieces_of(part, shape).map(|piece| disk.read(root, piece)).collect();
        let wanted = pieces.len();
        let payloads: Vec<Payload> = pieces.into_iter().map_while(|payload| payload).collect();
        if payloads.len() < wanted || payloads.is_empty() || !self.node(id).links.contains_key(&link) {
            return self.done(id, effect, Done::Failed);
        }
        self.node_mut(id).serving.insert(effect, Serving { link, request, sent: 0 });
        for (index, payload) in payloads.into_iter().enumerate() {
            let finishes = (index + 1 == wanted).then_some(effect);
            let (bytes, announced) = (payload.bytes + ANNOUNCEMENT_BYTES, payload.bytes);
            let cargo = Cargo::Piece { request, claimed: payload.piece, announced, payload };
            self.send(id, link, FlowId::Serve(link), bytes, cargo, finishes);
        }
    }

    fn finish_serve(&mut self, id: NodeId, effect: EffectId) {
        if let Some(serving) = self.node_mut(id).serving.remove(&effect) {
            self.done(id, effect, Done::Served { bytes: serving.sent });
        }
    }

    /// Reports the end of an effect.
    pub(crate) fn done(&mut self, id: NodeId, effect: EffectId, done: Done) {
        self.state(id, &Fact::Done(effect));
        self.with_machine(id, |machine, now| machine.handle_done(now, effect, done));
    }

    /// A description names its node: what a browser would send checks to. Where the node is behind a translator, a
    /// server says how it is seen.
    fn describe(&mut self, id: NodeId, effect: EffectId, offer: Option<&str>) {
        let lawful = offer.is_none_or(|offer| self.described(offer).is_some());
        let life = self.node(id).lives;
        let hard = self.node(id).plan.nat.is_some_and(|nat| !nat.is_cone());
        let description = lawful.then(|| Description { sdp: format!("{}", id.0), hard });
        let mut ends = self.node(id).links.values().copied();
        let server = ends.find(|end| self.node(*end).plan.role == Role::Supernode);
        let asks = server.filter(|_| self.node(id).plan.nat.is_some());
        let wait = DESCRIBES_WITHIN + asks.map_or(Duration::ZERO, |server| 2 * self.one_way(id, server));
        self.agenda.note(self.now() + wait, Happening::Described { node: (id, life), effect, description });
    }

    fn described(&self, description: &str) -> Option<NodeId> {
        let id = NodeId(description.parse().ok()?);
        self.by_key.values().any(|known| *known == id).then_some(id)
    }

    fn connect(&mut self, id: NodeId, peer: &PublicKey, description: &str) {
        let now = self.now();
        let life = self.node(id).lives;
        self.node_mut(id).tally.dials += 1;
        let other = self.described(description).filter(|other| *other != id && self.node(*other).alive);
        let open = |other: &NodeId| can_connect(self.node(id).plan.nat, self.node(*other).plan.nat);
        let Some(other) = other.filter(open) else {
            let ends = other.map(|other| ((other, self.node(other).lives), self.node(id).keypair.public()));
            for (dialer, peer) in ends.into_iter().chain([((id, life), peer.clone())]) {
                self.agenda.note(now + ICE_GIVES_UP_AFTER, Happening::DialFailed { dialer, peer });
            }
            return;
        };
        let when = now + 2 * DIRECT_ROUND_TRIPS * self.one_way(id, other);
        let other = (other, self.node(other).lives);
        self.agenda.note(when, Happening::Linked { dialer: (id, life), other });
    }

    // ── what comes back ──────────────────────────────────────────────────────────────────────────────

    pub(crate) fn delivered(&mut self, parcel: Parcel) {
        let Parcel { flow, from, to, bytes, cargo, .. } = parcel;
        self.node_mut(from).uplink.acknowledge(flow, bytes);
        self.kick(from);
        self.trace(to, 4, bytes);
        if !self.node(to).alive {
            return;
        }
        if let (FlowId::Http(id), Cargo::Http { payload, last }) = (flow, &cargo) {
            return self.http_delivered(id, payload.clone(), *last);
        }
        let (FlowId::Control(link) | FlowId::Fetch(link) | FlowId::Serve(link)) = flow else { return };
        let now = self.now();
        let open = link_of(flow).and_then(|index| self.links.get(index));
        let open = open.is_some_and(|state| state.closed_at.is_none_or(|closed| now <= closed));
        if !open || !self.node(to).links.contains_key(&link) {
            if let Cargo::Piece { payload, .. } = cargo {
                self.node_mut(to).tally.again += payload.bytes;
            }
            return;
        }
        match cargo {
            Cargo::Control(frame) => {
                self.with_machine(to, |machine, now| {
                    machine.handle_frame(now, link, Stream::Control, &frame);
                });
            }
            Cargo::Ask(frame) => {
                self.with_machine(to, |machine, now| machine.handle_frame(now, link, Stream::Serve, &frame));
            }
            Cargo::Answer(frame) => {
                if let Ok(wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::End(end)) }) =
                    wire::BulkAnswer::decode(frame.as_slice())
                {
                    self.node_mut(to).asked.remove(&(link, RequestId(end.request)));
                }
                self.with_machine(to, |machine, now| machine.handle_frame(now, link, Stream::Fetch, &frame));
            }
            Cargo::Piece { request, claimed, announced, payload } => {
                self.piece_came(to, (link, from), request, (claimed, announced), &payload);
            }
            Cargo::Http { .. } => {}
        }
    }

    /// A piece on a Fetch stream: its announcement is checked against what was asked, then its bytes are judged.
    fn piece_came(
        &mut self,
        id: NodeId,
        (link, from): (LinkId, NodeId),
        request: RequestId,
        (claimed, announced): (Piece, u64),
        payload: &Payload,
    ) {
        let offence = if announced > Piece::MAX_BYTES {
            Some(Offence::Oversize)
        } else if payload.bytes < announced {
            Some(Offence::Truncation)
        } else {
            None
        };
        let node = self.node_mut(id);
        let next = node.asked.get_mut(&(link, request));
        let next = next.and_then(|asked| asked.pieces.pop_front().map(|piece| (asked.root, piece)));
        let (offence, wanted) = match (offence, next) {
            (None, Some((root, piece))) if piece == claimed => (None, Some((root, piece))),
            (None, _) => (Some(Offence::WrongObject), None),
            (offence, _) => (offence, None),
        };
        if let Some(offence) = offence {
            node.tally.bad += payload.bytes;
            node.tally.bad_pieces += 1;
            self.state(id, &Fact::Misbehaved { from, offence });
            return self.with_machine(id, |machine, now| machine.handle_offence(now, link, offence));
        }
        let Some((root, piece)) = wanted else { return };
        if node.asked.get(&(link, request)).is_some_and(|asked| asked.pieces.is_empty()) {
            node.asked.remove(&(link, request));
        }
        self.keep(id, Source::Link(link, request), Some(from), root, piece, payload);
    }

    /// Judges a piece, stores it, counts it and reports it.
    pub(crate) fn keep(
        &mut self,
        id: NodeId,
        source: Source,
        from: Option<NodeId>,
        root: shared::base::BlobRoot,
        piece: Piece,
        payload: &Payload,
    ) {
        let Some(blob) = self.blobs.get(&root).cloned() else { return };
        let now = self.now();
        let stored = self.node_mut(id).disk.store(now, &blob, piece, payload);
        let bytes = payload.bytes;
        let from_tab = from.is_some_and(|from| self.node(from).plan.role == Role::Tab);
        let tally = &mut self.node_mut(id).tally;
        match stored {
            Ok(Stored::New) => {
                let received = &mut tally.received;
                let counted = match (source, from_tab) {
                    (Source::Link(..), true) => &mut received.peers,
                    (Source::Link(..), false) => &mut received.supernodes,
                    (Source::Http(effect), _) if self.is_origin(id, effect) => {
                        &mut self.node_mut(id).tally.received.origin
                    }
                    (Source::Http(_), _) => &mut self.node_mut(id).tally.received.edge,
                };
                *counted += bytes;
                let second = self.second();
                match (source, from_tab) {
                    (Source::Link(..), true) => second.peers += bytes,
                    (Source::Link(..), false) => second.supernodes += bytes,
                    (Source::Http(_), _) => second.http += bytes,
                }
            }
            Ok(Stored::Again) => tally.again += bytes,
            Err(VerifyError::Unknown { .. }) => tally.again += bytes,
            Err(_) => {
                tally.bad += bytes;
                tally.bad_pieces += 1;
            }
        }
        let verdict = match stored {
            Ok(_) => Verdict::Good,
            Err(error) => Verdict::Bad(error),
        };
        let edge = matches!(source, Source::Http(effect) if !self.is_origin(id, effect));
        let again = stored == Ok(Stored::Again);
        self.state(id, &Fact::Judged { from, edge, root, piece, bytes, verdict, again });
        let received = Received { source, root, piece, bytes, verdict };
        self.with_machine(id, |machine, now| machine.handle_received(now, received));
        if verdict == Verdict::Good && !piece_is_group(piece) {
            self.release_held(id, root);
        }
    }

    fn told(&mut self, id: NodeId, event: &Event) {
        let now = self.now();
        self.trace(id, 5, 0);
        let node = self.node_mut(id);
        let answered = match event {
            Event::Completed { fetch, .. } | Event::Cancelled { fetch, .. } => Some(*fetch),
            Event::FellBack { fetch, .. } => {
                node.tally.fell_back += 1;
                Some(*fetch)
            }
            _ => None,
        };
        if let Some(fetch) = answered {
            node.wanted.remove(&fetch);
        }
        if let Event::Completed { root, .. } = event {
            node.tally.completed.entry(*root).or_insert(now);
        }
        let held = match event {
            Event::Ready { root, group } => node.disk.groups(*root).is_some_and(|held| held.contains(*group)),
            Event::Completed { root, .. } => node.disk.is_complete(*root) && self.is_as_published(id, *root),
            _ => true,
        };
        self.state(id, &Fact::Told { event, held });
    }

    fn is_as_published(&self, id: NodeId, root: shared::base::BlobRoot) -> bool {
        match self.node(id).disk.assemble(root) {
            Some(bytes) => shared::cdn::blob::HashTree::of(&bytes).is_ok_and(|tree| tree.root() == root),
            None => true,
        }
    }

    pub(crate) fn unlinked(&mut self, id: NodeId, link: LinkId) {
        let node = self.node_mut(id);
        let Some(other) = node.links.remove(&link) else { return };
        node.asked.retain(|(of, _), _| *of != link);
        for flow in [FlowId::Control(link), FlowId::Fetch(link), FlowId::Serve(link)] {
            node.uplink.drop_flow(flow);
        }
        let unfinished: Vec<_> =
            node.serving.iter().filter(|(_, serving)| serving.link == link).map(|(id, _)| *id).collect();
        for effect in unfinished {
            self.finish_serve(id, effect);
        }
        self.trace(id, 6, u64::from(other.0));
        self.with_machine(id, |machine, now| machine.handle_unlinked(now, link));
        if self.node(id).plan.supernodes.contains(&other) {
            let (life, when) = (self.node(id).lives, self.now() + Duration::from_secs(1));
            self.agenda.note(when, Happening::Attach(id, life));
        }
    }
}

fn piece_is_group(piece: Piece) -> bool {
    matches!(piece, Piece::Group(_))
}

fn link_of(flow: FlowId) -> Option<usize> {
    match flow {
        FlowId::Control(link) | FlowId::Fetch(link) | FlowId::Serve(link) => usize::try_from(link.0).ok(),
        FlowId::Http(_) => None,
    }
}
