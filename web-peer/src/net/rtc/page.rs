//! The worker's end of the port to the page, where `RTCPeerConnection` lives (`js/rtc-page.js`).
//!
//! A [`PeerConnection`] exists on the page exactly as long as its handle exists here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use js_sys::{Object, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, MessagePort, RtcDataChannel};

use super::channel::Channel;
use super::error::Error;
use super::stream::{Path, Stream};

/// As many connections as the page keeps (`CONNECTIONS_MAX` there): refusing here saves signalling.
pub(super) const CONNECTIONS_MAX: usize = 12;
/// Streams of one connection, waiting, used or lingering. A browser allows about a thousand.
const STREAMS_MAX: usize = 256;
/// Candidates that wait to be sent; a browser finds fewer.
const CANDIDATES_MAX: usize = 64;

type OnMessage = Closure<dyn FnMut(MessageEvent)>;

/// The page; clones speak to the same one.
#[derive(Clone)]
pub(super) struct Page {
    inner: Rc<PageInner>,
}

struct PageInner {
    port: MessagePort,
    connections: RefCell<Vec<(u32, Weak<Shared>)>>,
    next_id: Cell<u32>,
    on_message: RefCell<Option<OnMessage>>,
}

/// What the page has said of one connection and nobody has asked for yet.
#[derive(Default)]
struct Shared {
    state: RefCell<State>,
    path: Rc<Path>,
    waker: Cell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    /// SDP, and whether our address differs from one server to the next.
    description: Option<(String, bool)>,
    candidates: VecDeque<String>,
    connected: bool,
    ended: Option<Error>,
    incoming: VecDeque<Stream>,
    opened: VecDeque<Stream>,
}

/// How the remote hears of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidates {
    /// One by one, as they are found.
    Trickle,
    /// With the description, which waits for those that are found soon.
    Whole,
}

impl Candidates {
    fn argument(self) -> (&'static str, JsValue) {
        ("whole", (self == Self::Whole).into())
    }
}

/// What changes while two peers look for a path.
pub(super) enum Change {
    Candidate(String),
    Connected,
}

impl Page {
    pub(super) fn new(port: MessagePort) -> Self {
        let inner = Rc::new(PageInner {
            port,
            connections: RefCell::default(),
            next_id: Cell::new(1),
            on_message: RefCell::default(),
        });
        let weak = Rc::downgrade(&inner);
        let on_message = Closure::new(move |event: MessageEvent| {
            if let Some(inner) = weak.upgrade() {
                inner.handle_event(&event.data());
            }
        });
        inner.port.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        inner.on_message.replace(Some(on_message));
        Self { inner }
    }

    /// Has the page make an offer. With `ufrag` it is one for `/webrtc-direct`.
    pub(super) fn offer(&self, ufrag: Option<&str>, candidates: Candidates) -> Result<PeerConnection, Error> {
        let connection = self.connect()?;
        let ufrag = ufrag.map_or(JsValue::NULL, JsValue::from);
        self.inner.command("offer", connection.id, &[("ufrag", ufrag), candidates.argument()]);
        Ok(connection)
    }

    /// Has the page answer a remote's offer.
    pub(super) fn answer(&self, offer: &str, candidates: Candidates) -> Result<PeerConnection, Error> {
        let connection = self.connect()?;
        self.inner.command("answer", connection.id, &[("sdp", offer.into()), candidates.argument()]);
        Ok(connection)
    }

    fn connect(&self) -> Result<PeerConnection, Error> {
        let mut connections = self.inner.connections.borrow_mut();
        if connections.len() >= CONNECTIONS_MAX {
            return Err(Error::TooManyConnections);
        }
        let id = self.inner.next_id.replace(self.inner.next_id.get().wrapping_add(1));
        let shared = Rc::new(Shared::default());
        connections.push((id, Rc::downgrade(&shared)));
        Ok(PeerConnection { id, page: self.clone(), shared })
    }
}

impl PageInner {
    fn command(&self, command: &str, id: u32, arguments: &[(&str, JsValue)]) {
        let message = Object::new();
        let fields = [("command", command.into()), ("id", id.into())];
        for (name, value) in fields.iter().chain(arguments) {
            // Setting a field of a fresh object cannot fail.
            let _ = Reflect::set(&message, &(*name).into(), value);
        }
        let _ = self.port.post_message(&message);
    }

    fn handle_event(&self, message: &JsValue) {
        // Our own page sends whole numbers.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let Some(id) = field(message, "id").as_f64().map(|id| id as u32) else { return };
        let connections = self.connections.borrow();
        let shared =
            connections.iter().find(|(known, _)| *known == id).and_then(|(_, shared)| shared.upgrade());
        drop(connections);
        // A connection that we closed may still be spoken of.
        let Some(shared) = shared else { return };
        shared.handle_event(message);
    }
}

impl Drop for PageInner {
    fn drop(&mut self) {
        self.port.set_onmessage(None);
        self.port.close();
    }
}

impl Shared {
    fn handle_event(&self, message: &JsValue) {
        let text = |name| field(message, name).as_string().unwrap_or_default();
        match text("event").as_str() {
            "description" => {
                let described = (text("sdp"), field(message, "hard").is_truthy());
                self.state.borrow_mut().description = Some(described);
            }
            "candidate" => self.handle_candidate(text("candidate")),
            "state" if text("state") == "connected" => self.state.borrow_mut().connected = true,
            "path" => self.path.rtt_millis.set(field(message, "rttMillis").as_f64()),
            "channel" => self.handle_channel(message),
            "failed" => self.state.borrow_mut().ended = Some(Error::from_page(&text("reason"))),
            _ => {}
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handle_candidate(&self, candidate: String) {
        let candidates = &mut self.state.borrow_mut().candidates;
        if candidates.len() < CANDIDATES_MAX {
            candidates.push_back(candidate);
        }
    }

    fn handle_channel(&self, message: &JsValue) {
        let path = self.path.clone();
        let stream = match field(message, "channel").dyn_into::<RtcDataChannel>() {
            Ok(channel) => Stream::new(path, |on_event| Channel::transferred(channel, on_event)),
            Err(_) => match field(message, "bridge").dyn_into::<MessagePort>() {
                Ok(port) => Stream::new(path, |on_event| Channel::bridged(port, on_event)),
                Err(_) => return,
            },
        };
        // Over the bound the stream is dropped, which closes its channel.
        if self.path.streams_alive.get() > STREAMS_MAX {
            return;
        }
        let mut state = self.state.borrow_mut();
        if field(message, "incoming").is_truthy() {
            state.incoming.push_back(stream);
        } else {
            state.opened.push_back(stream);
        }
    }
}

/// One `RTCPeerConnection` on the page; closed there when this is dropped.
pub(super) struct PeerConnection {
    id: u32,
    page: Page,
    shared: Rc<Shared>,
}

impl PeerConnection {
    /// Lets frames be this large, once both sides have agreed.
    pub(super) fn set_frame_bytes(&self, bytes: usize) {
        self.shared.path.frame_bytes.set(bytes);
    }

    pub(super) fn accept(&self, answer: &str) {
        self.page.inner.command("accept", self.id, &[("sdp", answer.into())]);
    }

    pub(super) fn add_candidate(&self, candidate: &str) {
        self.page.inner.command("candidate", self.id, &[("candidate", candidate.into())]);
    }

    /// Asks for a new channel, which [`PeerConnection::poll_opened`] yields.
    pub(super) fn open(&self) {
        self.page.inner.command("open", self.id, &[]);
    }

    pub(super) fn poll_description(&self, cx: &Context<'_>) -> Poll<Result<(String, bool), Error>> {
        self.poll_state(cx, |state| state.description.take())
    }

    pub(super) fn poll_change(&self, cx: &Context<'_>) -> Poll<Result<Change, Error>> {
        self.poll_state(cx, |state| {
            if state.connected {
                return Some(Change::Connected);
            }
            state.candidates.pop_front().map(Change::Candidate)
        })
    }

    pub(super) fn poll_incoming(&self, cx: &Context<'_>) -> Poll<Result<Stream, Error>> {
        self.poll_state(cx, |state| state.incoming.pop_front())
    }

    pub(super) fn poll_opened(&self, cx: &Context<'_>) -> Poll<Result<Stream, Error>> {
        self.poll_state(cx, |state| state.opened.pop_front())
    }

    /// Ready only when the connection has ended.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<Error> {
        match self.poll_state(cx, |_| None::<()>) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }

    /// One task polls a connection at a time, so one waker serves all questions.
    fn poll_state<T>(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<Result<T, Error>> {
        let mut state = self.shared.state.borrow_mut();
        if let Some(value) = take(&mut state) {
            return Poll::Ready(Ok(value));
        }
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(error.clone()));
        }
        self.shared.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        self.page.inner.connections.borrow_mut().retain(|(known, _)| *known != self.id);
        self.page.inner.command("close", self.id, &[]);
    }
}

fn field(message: &JsValue, name: &str) -> JsValue {
    Reflect::get(message, &name.into()).unwrap_or(JsValue::UNDEFINED)
}
