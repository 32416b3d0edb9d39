//! Links and their streams: one for control, one for what we fetch, one for what we serve.

use std::rc::Rc;

use futures::channel::mpsc;
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, StreamExt as _};
use links::{Direction, Event, StreamProtocol};
use shared::base::{BlobRoot, LinkId, RequestId};
use shared::cdn::blob::BlobShape;
use shared::cdn::bulk::{Answer, AnswerReader, PROTOCOL, StreamKind, open_frame, read_open};
use shared::cdn::offences::Offence;
use shared::cdn::part::{Part, Piece};
use shared::identity::PublicKey;
use shared::peer::{Done, LinkAbout, Received, Source, Stream};
use shared::wire::TAB_STORAGE_PROTOCOL;

use super::super::Tab;
use super::fetch::verdict;
use super::serve::{self, Item};
use super::streams::{Frames, write, write_frames};

/// Frames that wait to be written. Who takes none for so long is no use as a neighbour.
const FRAMES_MAX: usize = 256;
/// Answers that wait to be written; the core refuses long before.
const SERVE_ITEMS_MAX: usize = 1024;
/// Requests remembered of a link: at 128 KiB each, far more than its window holds.
const ASKED_MAX: usize = 256;
/// Bytes taken from a Fetch stream at a time: a full message, four pieces.
const READ_BYTES: usize = 65 * 1024;

/// What a request is for, and how many of its pieces are still to come.
struct Asked {
    root: BlobRoot,
    part: Part,
    left: u32,
}

/// A link of ours.
pub(super) struct Link {
    about: LinkAbout,
    control: Option<mpsc::Sender<Vec<u8>>>,
    fetch: Option<mpsc::Sender<Vec<u8>>>,
    serve: Option<mpsc::Sender<Item>>,
    /// In the order of their making; those that were cancelled in vain go when [`ASKED_MAX`] came after them.
    asked: Vec<(RequestId, Asked)>,
}

impl Tab {
    /// Follows the links until the network ends.
    pub(super) async fn follow_links(self: Rc<Self>, mut events: links::Events) {
        while let Some(event) = events.next().await {
            let id = LinkId(event.link().as_u64());
            match event {
                Event::Linked { peer, kind, direction, .. } => {
                    let Ok(peer) = PublicKey::from_peer_id(&peer) else {
                        self.close_link(id);
                        continue;
                    };
                    let dialer = direction == Direction::Dialed;
                    let about = LinkAbout { peer, dialer, relayed: !kind.is_direct() };
                    let open = dialer && !about.relayed;
                    self.swarm.links.borrow_mut().insert(id, Link::new(about));
                    if open {
                        wasm_bindgen_futures::spawn_local(self.clone().open_control(id));
                    }
                }
                Event::Incoming { protocol, stream, .. } if protocol.as_ref() == TAB_STORAGE_PROTOCOL => {
                    self.take_shards(id, stream);
                }
                Event::Incoming { stream, .. } => {
                    wasm_bindgen_futures::spawn_local(self.clone().accept(id, stream));
                }
                Event::Unlinked { .. } => {
                    let gone = self.swarm.links.borrow_mut().remove(&id);
                    if gone.is_some_and(|link| link.control.is_some()) {
                        self.drive(|peer, now| peer.handle_unlinked(now, id));
                    }
                }
            }
        }
    }

    pub(super) fn close_link(&self, link: LinkId) {
        if let Some(network) = self.swarm.network.borrow().as_ref() {
            network.links().close(links::LinkId::from_u64(link.0));
        }
    }

    pub(super) fn transmit(self: &Rc<Self>, link: LinkId, stream: Stream, frame: Vec<u8>) {
        let kept_up = {
            let mut links = self.swarm.links.borrow_mut();
            let Some(link) = links.get_mut(&link) else { return };
            match stream {
                Stream::Control => link.control.as_mut().is_none_or(|queue| queue.try_send(frame).is_ok()),
                Stream::Fetch => link.fetch.as_mut().is_none_or(|queue| queue.try_send(frame).is_ok()),
                Stream::Serve => {
                    link.serve.as_mut().is_none_or(|queue| queue.try_send(Item::Frame(frame)).is_ok())
                }
            }
        };
        if !kept_up {
            self.close_link(link);
        }
    }

    /// Remembers what a request is for and sends it, on a Fetch stream that is opened at the first.
    pub(super) fn request(
        self: &Rc<Self>,
        id: LinkId,
        request: RequestId,
        (root, shape, part): (BlobRoot, BlobShape, Part),
        frame: Vec<u8>,
    ) {
        self.announce_blob(root, shape);
        {
            let mut links = self.swarm.links.borrow_mut();
            let Some(link) = links.get_mut(&id) else { return };
            if link.asked.len() >= ASKED_MAX {
                link.asked.remove(0);
            }
            link.asked.push((request, Asked { root, part, left: part.pieces() }));
            if link.fetch.is_none() {
                let (queue, frames) = mpsc::channel(FRAMES_MAX);
                link.fetch = Some(queue);
                wasm_bindgen_futures::spawn_local(self.clone().open_fetch(id, frames));
            }
        }
        self.transmit(id, Stream::Fetch, frame);
    }

    pub(super) fn serve(self: &Rc<Self>, link: LinkId, job: serve::Job) {
        let effect = job.effect;
        let queued = {
            let mut links = self.swarm.links.borrow_mut();
            let queue = links.get_mut(&link).and_then(|link| link.serve.as_mut());
            queue.is_some_and(|queue| queue.try_send(Item::Job(job)).is_ok())
        };
        if !queued {
            // The core asked us in the middle of its own turn; the answer comes after it.
            let tab = self.clone();
            wasm_bindgen_futures::spawn_local(async move { tab.done(effect, Done::Failed) });
        }
    }

    pub(super) fn cancel_serve(&self, effect: shared::base::EffectId) {
        self.swarm.cancelled.borrow_mut().push(effect);
    }

    async fn open(
        &self,
        link: LinkId,
        kind: StreamKind,
    ) -> Option<(ReadHalf<links::Stream>, WriteHalf<links::Stream>)> {
        let links = self.swarm.network.borrow().as_ref()?.links().clone();
        let opened = links.open(links::LinkId::from_u64(link.0), StreamProtocol::new(PROTOCOL)).await;
        let (reader, mut writer) = match opened {
            Ok(stream) => stream.split(),
            Err(error) => {
                tracing::debug!(%link, %error, "no stream");
                return None;
            }
        };
        write(&mut writer, &open_frame(kind)).await.ok()?;
        Some((reader, writer))
    }

    async fn open_control(self: Rc<Self>, id: LinkId) {
        match self.open(id, StreamKind::Control).await {
            Some((reader, writer)) => self.run_control(id, Frames::new(reader), writer).await,
            // Relays and other nodes of libp2p need not speak our protocol.
            None => tracing::debug!(link = %id, "no control stream"),
        }
    }

    async fn accept(self: Rc<Self>, id: LinkId, stream: links::Stream) {
        let (reader, writer) = stream.split();
        let mut frames = Frames::new(reader);
        let kind = match frames.next().await {
            Ok(Some(frame)) => read_open(&frame),
            Ok(None) => return,
            Err(offence) => Err(offence),
        };
        match kind {
            Ok(StreamKind::Control) => self.run_control(id, frames, writer).await,
            Ok(StreamKind::Bulk) => self.run_serve(id, frames, writer).await,
            Err(offence) => self.offend(id, offence),
        }
    }

    async fn run_control(self: Rc<Self>, id: LinkId, mut frames: Frames, writer: WriteHalf<links::Stream>) {
        let about = {
            let mut links = self.swarm.links.borrow_mut();
            // A second control stream has no meaning.
            let Some(link) = links.get_mut(&id).filter(|link| link.control.is_none()) else { return };
            let (queue, receiver) = mpsc::channel(FRAMES_MAX);
            link.control = Some(queue);
            wasm_bindgen_futures::spawn_local(write_frames(receiver, writer));
            link.about.clone()
        };
        self.drive(|peer, now| peer.handle_linked(now, id, about));
        self.read_frames(id, Stream::Control, &mut frames).await;
        self.close_link(id);
    }

    async fn run_serve(self: Rc<Self>, id: LinkId, mut frames: Frames, writer: WriteHalf<links::Stream>) {
        {
            let mut links = self.swarm.links.borrow_mut();
            let Some(link) = links.get_mut(&id).filter(|link| link.serve.is_none()) else { return };
            let (queue, items) = mpsc::channel(SERVE_ITEMS_MAX);
            link.serve = Some(queue);
            wasm_bindgen_futures::spawn_local(serve::run(self.clone(), id, items, writer));
        }
        self.read_frames(id, Stream::Serve, &mut frames).await;
        if let Some(link) = self.swarm.links.borrow_mut().get_mut(&id) {
            // A receiver whose stream died opens another.
            link.serve = None;
        }
    }

    async fn read_frames(self: &Rc<Self>, id: LinkId, stream: Stream, frames: &mut Frames) {
        loop {
            match frames.next().await {
                Ok(Some(frame)) => self.drive(|peer, now| peer.handle_frame(now, id, stream, &frame)),
                Ok(None) => return,
                Err(offence) => return self.offend(id, offence),
            }
        }
    }

    async fn open_fetch(self: Rc<Self>, id: LinkId, frames: mpsc::Receiver<Vec<u8>>) {
        let Some((mut reader, writer)) = self.open(id, StreamKind::Bulk).await else {
            return self.close_link(id);
        };
        wasm_bindgen_futures::spawn_local(write_frames(frames, writer));
        let mut answers = AnswerReader::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match reader.read(&mut buffer).await {
                // An end that was meant, in the middle of an answer.
                Ok(0) if !answers.is_between_answers() => return self.offend(id, Offence::Truncation),
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            answers.handle_bytes(&buffer[..read]);
            loop {
                match answers.poll_answer() {
                    Ok(Some(answer)) => self.take_answer(id, answer),
                    Ok(None) => break,
                    Err(offence) => return self.offend(id, offence),
                }
            }
        }
        // Whatever was asked is asked of others once the link is gone.
        self.close_link(id);
    }

    fn take_answer(self: &Rc<Self>, id: LinkId, answer: Answer) {
        match answer {
            Answer::End { request, frame } => {
                if let Some(link) = self.swarm.links.borrow_mut().get_mut(&id) {
                    link.asked.retain(|(asked, _)| *asked != request);
                }
                self.drive(|peer, now| peer.handle_frame(now, id, Stream::Fetch, &frame));
            }
            Answer::Piece { request, piece, payload } => self.take_piece(id, request, piece, &payload),
        }
    }

    fn take_piece(self: &Rc<Self>, id: LinkId, request: RequestId, piece: Piece, payload: &[u8]) {
        let root = {
            let mut links = self.swarm.links.borrow_mut();
            let Some(link) = links.get_mut(&id) else { return };
            link.expect(request, piece)
        };
        let Some(root) = root else { return self.offend(id, Offence::WrongObject) };
        self.count_link(id, payload.len());
        let verdict = verdict(&self.put(root, piece, payload));
        let received =
            Received { source: Source::Link(id, request), root, piece, bytes: payload.len() as u64, verdict };
        self.drive(|peer, now| peer.handle_received(now, received));
        self.forget_evicted();
    }

    /// What a supernode sends is infrastructure, however it comes.
    fn count_link(&self, id: LinkId, bytes: usize) {
        let supernode = self.swarm.supernode_of(id).is_some();
        let mut status = self.status.borrow_mut();
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let bytes = bytes as f64;
        if supernode {
            status.bytes.supernode += bytes;
            status.bytes.edge += bytes;
            status.bytes.http += bytes;
        } else {
            status.bytes.peers += bytes;
        }
    }

    fn offend(self: &Rc<Self>, id: LinkId, offence: Offence) {
        let known = self.swarm.links.borrow().get(&id).is_some_and(|link| link.control.is_some());
        if known {
            self.drive(|peer, now| peer.handle_offence(now, id, offence));
        } else {
            self.close_link(id);
        }
    }
}

impl Link {
    fn new(about: LinkAbout) -> Self {
        Self { about, control: None, fetch: None, serve: None, asked: Vec::new() }
    }

    /// Whether it leads to this peer.
    pub(super) fn is_to(&self, peer: &PublicKey) -> bool {
        self.about.peer == *peer
    }

    /// Whose piece this is, if it was asked for and has not come yet.
    fn expect(&mut self, request: RequestId, piece: Piece) -> Option<BlobRoot> {
        let place = self.asked.iter().position(|(asked, _)| *asked == request)?;
        let asked =
            self.asked.get_mut(place).map(|(_, asked)| asked).filter(|asked| asked.part.contains(piece))?;
        let root = asked.root;
        asked.left -= 1;
        if asked.left == 0 {
            self.asked.remove(place);
        }
        Some(root)
    }
}
