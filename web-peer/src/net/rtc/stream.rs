//! A libp2p stream over one data channel: [`Lifecycle`] and [`Window`] decide, this moves bytes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite};
use futures_timer::Delay;
use send_wrapper::SendWrapper;
use web_time::Instant;

use super::channel::{Channel, ChannelEvent};
use super::framing::{self, FRAME_BYTES, FRAME_OVERHEAD_BYTES};
use super::lifecycle::{Lifecycle, StreamError};
use super::window::Window;

/// How long a dropped stream waits to hear that its last bytes arrived. Closing the channel sooner
/// could lose them in the browser's queue.
const LINGER: Duration = Duration::from_secs(10);

/// What all streams of a connection know of their path.
pub(super) struct Path {
    pub(super) rtt_millis: Cell<Option<f64>>,
    pub(super) frame_bytes: Cell<usize>,
    pub(super) streams_alive: Cell<usize>,
}

impl Default for Path {
    fn default() -> Self {
        Self { rtt_millis: Cell::new(None), frame_bytes: Cell::new(FRAME_BYTES), streams_alive: Cell::new(0) }
    }
}

/// One stream. Dropping it before [`AsyncWrite::poll_close`] resets it.
pub struct Stream {
    core: SendWrapper<Rc<Core>>,
}

struct Core {
    channel: Channel,
    path: Rc<Path>,
    lifecycle: RefCell<Lifecycle>,
    window: RefCell<Window>,
    scratch: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    epoch: Instant,
}

impl Stream {
    /// Takes charge of a channel that `wire` connects to its events.
    pub(super) fn new(path: Rc<Path>, wire: impl FnOnce(Rc<dyn Fn(ChannelEvent)>) -> Channel) -> Self {
        path.streams_alive.set(path.streams_alive.get() + 1);
        let core = Rc::new_cyclic(|core: &std::rc::Weak<Core>| {
            let core = core.clone();
            let channel = wire(Rc::new(move |event| {
                if let Some(core) = core.upgrade() {
                    core.handle_event(event);
                }
            }));
            Core {
                channel,
                path,
                lifecycle: RefCell::default(),
                window: RefCell::default(),
                scratch: RefCell::default(),
                closed: Cell::new(false),
                reader: Cell::new(None),
                writer: Cell::new(None),
                epoch: Instant::now(),
            }
        });
        Self { core: SendWrapper::new(core) }
    }
}

impl Core {
    fn handle_event(&self, event: ChannelEvent) {
        match event {
            ChannelEvent::Opened => self.send_flags(),
            ChannelEvent::Received(bytes) => {
                self.lifecycle.borrow_mut().handle_message(bytes);
                self.send_flags();
                wake(&self.reader);
                if self.lifecycle.borrow().writable().is_ok() {
                    return;
                }
            }
            ChannelEvent::Drained => self.handle_drained(),
            ChannelEvent::Closed => {
                self.closed.set(true);
                self.lifecycle.borrow_mut().handle_channel_closed();
                wake(&self.reader);
            }
        }
        wake(&self.writer);
    }

    fn handle_drained(&self) {
        let waiting = self.writer.take();
        let mut window = self.window.borrow_mut();
        if waiting.is_some() {
            window.handle_drained(self.channel.buffered(), self.path.rtt_millis.get(), self.now_millis());
        } else {
            window.handle_idle();
        }
        self.writer.set(waiting);
    }

    fn send_flags(&self) {
        if !self.channel.is_open() {
            return;
        }
        while let Some(flag) = self.lifecycle.borrow_mut().poll_flag() {
            // A channel that closes under us says so by its own event.
            let _ = self.channel.send(&framing::encode_flag(flag));
        }
    }

    /// Sends frames until the window is full; returns the payload bytes sent.
    fn send_frames(&self, payload: &[u8]) -> io::Result<usize> {
        let mut scratch = self.scratch.borrow_mut();
        let mut window = self.window.borrow_mut();
        let chunk_bytes = self.path.frame_bytes.get() - FRAME_OVERHEAD_BYTES;
        let mut sent = 0;
        for chunk in payload.chunks(chunk_bytes) {
            let buffered = self.channel.buffered();
            if buffered >= window.limit() {
                window.handle_full(buffered, self.now_millis());
                self.channel.set_low_mark(window.low_mark());
                break;
            }
            scratch.clear();
            framing::encode_payload(chunk, &mut scratch);
            self.channel.send(&scratch).map_err(|_| to_io(StreamError::ChannelClosed))?;
            window.handle_sent(scratch.len());
            sent += chunk.len();
        }
        Ok(sent)
    }

    fn now_millis(&self) -> f64 {
        self.epoch.elapsed().as_secs_f64() * 1_000.0
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.channel.is_open() {
            return Poll::Ready(Ok(()));
        }
        if self.closed.get() {
            return Poll::Ready(Err(to_io(StreamError::ChannelClosed)));
        }
        self.writer.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closed.get() || self.lifecycle.borrow().is_over() {
            return Poll::Ready(());
        }
        self.reader.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.path.streams_alive.set(self.path.streams_alive.get().saturating_sub(1));
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.core.lifecycle.borrow_mut().read(target);
        match read.map_err(to_io)? {
            Some(count) => Poll::Ready(Ok(count)),
            None => {
                self.core.reader.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, payload: &[u8]) -> Poll<io::Result<usize>> {
        self.core.lifecycle.borrow().writable().map_err(to_io)?;
        futures::ready!(self.core.poll_open(cx))?;
        let sent = self.core.send_frames(payload)?;
        if sent == 0 && !payload.is_empty() {
            self.core.writer.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(Ok(sent))
    }

    /// The browser sends what it was given by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready when the end of our half was sent; that it arrives is seen to after the drop.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.core.lifecycle.borrow().writable().is_ok() {
            futures::ready!(self.core.poll_open(cx))?;
        }
        self.core.lifecycle.borrow_mut().finish().map_err(to_io)?;
        self.core.send_flags();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let core = Rc::clone(&self.core);
        core.lifecycle.borrow_mut().abandon();
        core.send_flags();
        if core.closed.get() || core.lifecycle.borrow().is_over() {
            return;
        }
        wasm_bindgen_futures::spawn_local(async move {
            let over = poll_fn(|cx| core.poll_over(cx));
            match select(over, Delay::new(LINGER)).await {
                Either::Left(_) | Either::Right(_) => core.send_flags(),
            }
        });
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn to_io(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::Reset => io::ErrorKind::ConnectionReset,
        StreamError::Refused | StreamError::Finished => io::ErrorKind::BrokenPipe,
        StreamError::ChannelClosed => io::ErrorKind::UnexpectedEof,
        StreamError::Overrun => io::ErrorKind::OutOfMemory,
        StreamError::Frame(_) => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
