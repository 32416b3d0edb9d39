//! The table of links and the two queues between the swarm and the rest of the program.
//!
//! The event queue needs no limit on links because its content is bounded by their number: at
//! most one `Linked` per living link, at most one `Unlinked` per link whose `Linked` was read
//! (a link that ends unread is struck from the queue instead), and streams up to their limit.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::channel::oneshot;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, Stream, StreamProtocol};

use crate::{Counters, Event, Limits, Link, LinkId, OpenError, UnlinkReason};

/// What [`Behaviour`](crate::Behaviour), [`Control`](crate::Control) and [`Events`](crate::Events) share.
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            limits,
            counters: Counters::default(),
            next_link: 1,
            links: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            events: VecDeque::new(),
            incoming_waiting: 0,
            events_read: true,
            events_waker: None,
            commands: VecDeque::new(),
            running: true,
            commands_waker: None,
        })))
    }

    /// No call under the lock can panic half-way through a change, so poison means nothing here.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the rest of the program asks of the swarm.
pub(crate) enum Command {
    Open(Opening),
    Close(LinkId),
}

/// A stream on its way; holds its place among the link's openings until it is there or failed.
#[derive(Debug)]
pub struct Opening {
    pub(crate) link: LinkId,
    pub(crate) protocol: StreamProtocol,
    pub(crate) reply: oneshot::Sender<Result<Stream, OpenError>>,
    _permit: Permit,
}

#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Entry {
    link: Link,
    connection: ConnectionId,
    opening: Arc<AtomicUsize>,
    incoming_waiting: usize,
    linked_was_read: bool,
    closing: bool,
}

pub(crate) struct State {
    limits: Limits,
    counters: Counters,
    next_link: u64,
    links: BTreeMap<LinkId, Entry>,
    by_connection: BTreeMap<ConnectionId, LinkId>,
    by_peer: BTreeMap<PeerId, BTreeSet<LinkId>>,

    events: VecDeque<Event>,
    incoming_waiting: usize,
    events_read: bool,
    events_waker: Option<Waker>,

    commands: VecDeque<Command>,
    running: bool,
    commands_waker: Option<Waker>,
}

// What is known.
impl State {
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn link(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link).map(|entry| &entry.link)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values().map(|entry| &entry.link)
    }

    pub(crate) fn links_of(&self, peer: &PeerId) -> impl Iterator<Item = &Link> {
        self.by_peer.get(peer).into_iter().flatten().filter_map(|link| self.link(*link))
    }

    /// The cheapest link, the oldest of equals: both ends of two simultaneous dials then tend to
    /// settle on one, and a working link is not left for a newer one like it.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<LinkId> {
        self.links_of(peer).min_by_key(|link| (link.kind, link.id)).map(|link| link.id)
    }

    pub(crate) fn route(&self, link: LinkId) -> Option<(PeerId, ConnectionId)> {
        self.links.get(&link).map(|entry| (entry.link.peer, entry.connection))
    }
}

// The swarm speaks.
impl State {
    /// Whether one more link to this peer is allowed; counts it when not.
    pub(crate) fn admit(&mut self, peer: &PeerId) -> bool {
        let of_peer = self.by_peer.get(peer).map_or(0, BTreeSet::len);
        let admitted = of_peer < self.limits.links_per_peer && self.links.len() < self.limits.links;
        if !admitted {
            self.counters.links_refused += 1;
        }
        admitted
    }

    pub(crate) fn handle_established(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        link: impl FnOnce(LinkId) -> Link,
    ) {
        let id = LinkId::from_u64(self.next_link);
        self.next_link += 1;
        let link = link(id);
        self.by_connection.insert(connection, id);
        self.by_peer.entry(peer).or_default().insert(id);
        self.push_event(Event::Linked {
            link: id,
            peer,
            kind: link.kind,
            direction: link.direction,
            address: link.address.clone(),
        });
        let entry = Entry {
            link,
            connection,
            opening: Arc::default(),
            incoming_waiting: 0,
            linked_was_read: false,
            closing: false,
        };
        self.links.insert(id, entry);
    }

    pub(crate) fn handle_moved(&mut self, connection: ConnectionId, address: Multiaddr) {
        let link = self.by_connection.get(&connection);
        if let Some(entry) = link.and_then(|link| self.links.get_mut(link)) {
            entry.link.address = address;
        }
    }

    pub(crate) fn handle_closed(&mut self, connection: ConnectionId, reason: UnlinkReason) {
        let Some(link) = self.by_connection.remove(&connection) else { return };
        let Some(entry) = self.links.remove(&link) else { return };
        if let Some(of_peer) = self.by_peer.get_mut(&entry.link.peer) {
            of_peer.remove(&link);
            if of_peer.is_empty() {
                self.by_peer.remove(&entry.link.peer);
            }
        }
        if entry.incoming_waiting > 0 || !entry.linked_was_read {
            self.incoming_waiting -= entry.incoming_waiting;
            self.events.retain(|event| event.link() != link);
        }
        if entry.linked_was_read {
            self.push_event(Event::Unlinked { link, reason });
        }
    }

    /// Queues a stream of the remote's, or drops and thereby resets it.
    pub(crate) fn handle_incoming(
        &mut self,
        connection: ConnectionId,
        protocol: StreamProtocol,
        stream: Stream,
    ) {
        let Some(link) = self.by_connection.get(&connection).copied() else { return };
        let Some(entry) = self.links.get_mut(&link) else { return };
        let full = self.incoming_waiting >= self.limits.incoming
            || entry.incoming_waiting >= self.limits.incoming_per_link;
        if full || !self.events_read {
            self.counters.incoming_reset += 1;
            tracing::debug!(%link, %protocol, "nobody takes the streams of this link: reset");
            return;
        }
        entry.incoming_waiting += 1;
        self.incoming_waiting += 1;
        self.push_event(Event::Incoming { link, protocol, stream });
    }

    pub(crate) fn poll_command(&mut self, context: &mut Context<'_>) -> Poll<Command> {
        match self.commands.pop_front() {
            Some(command) => Poll::Ready(command),
            None => {
                self.commands_waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The swarm is gone: openings are answered, the events end once read.
    pub(crate) fn stop(&mut self) {
        self.running = false;
        self.commands.clear();
        self.links.clear();
        self.by_connection.clear();
        self.by_peer.clear();
        if let Some(waker) = self.events_waker.take() {
            waker.wake();
        }
    }
}

// The rest of the program speaks.
impl State {
    pub(crate) fn request_open(
        &mut self,
        link: LinkId,
        protocol: StreamProtocol,
    ) -> Result<oneshot::Receiver<Result<Stream, OpenError>>, OpenError> {
        if !self.running {
            return Err(OpenError::Stopped);
        }
        let entry = self.links.get(&link).ok_or(OpenError::Unlinked)?;
        if entry.opening.load(Ordering::Relaxed) >= self.limits.opens_per_link {
            self.counters.opens_refused += 1;
            return Err(OpenError::Busy);
        }
        entry.opening.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::clone(&entry.opening));
        let (reply, answer) = oneshot::channel();
        self.push_command(Command::Open(Opening { link, protocol, reply, _permit: permit }));
        Ok(answer)
    }

    pub(crate) fn request_close(&mut self, link: LinkId) {
        if let Some(entry) = self.links.get_mut(&link)
            && !entry.closing
        {
            entry.closing = true;
            self.push_command(Command::Close(link));
        }
    }

    pub(crate) fn take_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        match &event {
            Event::Linked { link, .. } => {
                if let Some(entry) = self.links.get_mut(link) {
                    entry.linked_was_read = true;
                }
            }
            Event::Incoming { link, .. } => {
                self.incoming_waiting -= 1;
                if let Some(entry) = self.links.get_mut(link) {
                    entry.incoming_waiting -= 1;
                }
            }
            Event::Unlinked { .. } => {}
        }
        Some(event)
    }

    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.take_event() {
            Some(event) => Poll::Ready(Some(event)),
            None if !self.running => Poll::Ready(None),
            None => {
                self.events_waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn stop_events(&mut self) {
        self.events_read = false;
        self.events.clear();
        self.incoming_waiting = 0;
        for entry in self.links.values_mut() {
            entry.incoming_waiting = 0;
        }
    }

    fn push_command(&mut self, command: Command) {
        self.commands.push_back(command);
        if let Some(waker) = self.commands_waker.take() {
            waker.wake();
        }
    }

    fn push_event(&mut self, event: Event) {
        if !self.events_read {
            return;
        }
        self.events.push_back(event);
        if let Some(waker) = self.events_waker.take() {
            waker.wake();
        }
    }
}
