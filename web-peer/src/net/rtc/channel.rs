//! One data channel as the worker holds it: the channel itself, or a port to it on the page where
//! the browser cannot transfer channels. What they do differently ends here.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use js_sys::{ArrayBuffer, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, MessagePort, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

/// What a channel has to say.
pub(super) enum ChannelEvent {
    Opened,
    Received(Bytes),
    Drained,
    Closed,
}

/// A data channel with its events wired up; closed when dropped.
pub(super) struct Channel {
    carrier: Carrier,
    // Kept alive as long as the browser may call them; dropped after they are taken off.
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_signal: Option<[Closure<dyn FnMut()>; 3]>,
}

enum Carrier {
    Transferred(RtcDataChannel),
    Bridged { port: MessagePort, progress: Rc<Progress> },
}

/// What a bridged channel would know itself.
#[derive(Default)]
struct Progress {
    open: Cell<bool>,
    sent_bytes: Cell<f64>,
    drained_bytes: Cell<f64>,
}

impl Channel {
    /// Wires a channel that was transferred to this worker.
    pub(super) fn transferred(channel: RtcDataChannel, on_event: Rc<dyn Fn(ChannelEvent)>) -> Self {
        channel.set_binary_type(RtcDataChannelType::Arraybuffer);
        let on_message = Closure::new({
            let on_event = on_event.clone();
            move |event: MessageEvent| match event.data().dyn_into::<ArrayBuffer>() {
                Ok(buffer) => on_event(ChannelEvent::Received(to_bytes(&buffer))),
                // Text is not part of the protocol: a peer that sends it gets no further.
                Err(_) => on_event(ChannelEvent::Closed),
            }
        });
        let signal = |make: fn() -> ChannelEvent| {
            let on_event = on_event.clone();
            Closure::<dyn FnMut()>::new(move || on_event(make()))
        };
        let on_open = signal(|| ChannelEvent::Opened);
        let on_drained = signal(|| ChannelEvent::Drained);
        let on_close = signal(|| ChannelEvent::Closed);
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        channel.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        channel.set_onbufferedamountlow(Some(on_drained.as_ref().unchecked_ref()));
        channel.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Self {
            carrier: Carrier::Transferred(channel),
            _on_message: on_message,
            _on_signal: Some([on_open, on_drained, on_close]),
        }
    }

    /// Wires a port that stands in for a channel on the page.
    pub(super) fn bridged(port: MessagePort, on_event: Rc<dyn Fn(ChannelEvent)>) -> Self {
        let progress = Rc::new(Progress::default());
        let on_message = Closure::new({
            let progress = progress.clone();
            move |event: MessageEvent| {
                let data = event.data();
                match data.dyn_into::<ArrayBuffer>() {
                    Ok(buffer) => on_event(ChannelEvent::Received(to_bytes(&buffer))),
                    Err(notice) => on_event(progress.handle_notice(&notice)),
                }
            }
        });
        // Assigning the handler starts the port.
        port.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Self { carrier: Carrier::Bridged { port, progress }, _on_message: on_message, _on_signal: None }
    }

    pub(super) fn is_open(&self) -> bool {
        match &self.carrier {
            Carrier::Transferred(channel) => channel.ready_state() == RtcDataChannelState::Open,
            Carrier::Bridged { progress, .. } => progress.open.get(),
        }
    }

    /// Bytes given to [`Channel::send`] that have not left.
    pub(super) fn buffered(&self) -> usize {
        match &self.carrier {
            Carrier::Transferred(channel) => channel.buffered_amount() as usize,
            Carrier::Bridged { progress, .. } => progress.buffered(),
        }
    }

    /// Asks for [`ChannelEvent::Drained`] when no more than `bytes` are buffered.
    /// A bridge reports every step by itself.
    pub(super) fn set_low_mark(&self, bytes: usize) {
        if let Carrier::Transferred(channel) = &self.carrier {
            channel.set_buffered_amount_low_threshold(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Queues one message. Fails when the channel is not open.
    pub(super) fn send(&self, message: &[u8]) -> Result<(), JsValue> {
        match &self.carrier {
            Carrier::Transferred(channel) => channel.send_with_u8_array(message),
            Carrier::Bridged { port, progress } => {
                let buffer = Uint8Array::from(message).buffer();
                progress.sent_bytes.set(progress.sent_bytes.get() + message.len() as f64);
                port.post_message_with_transferable(&buffer, &js_sys::Array::of1(&buffer))
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        match &self.carrier {
            Carrier::Transferred(channel) => {
                channel.set_onmessage(None);
                channel.set_onopen(None);
                channel.set_onbufferedamountlow(None);
                channel.set_onclose(None);
                channel.close();
            }
            Carrier::Bridged { port, .. } => {
                port.set_onmessage(None);
                // Anything that is no buffer ends a bridge; a closed port alone may go unnoticed.
                let _ = port.post_message(&JsValue::NULL);
                port.close();
            }
        }
    }
}

impl Progress {
    fn handle_notice(&self, notice: &JsValue) -> ChannelEvent {
        if let Some(drained) = Reflect::get(notice, &"drained".into()).ok().and_then(|value| value.as_f64()) {
            self.drained_bytes.set(drained);
            return ChannelEvent::Drained;
        }
        let state = Reflect::get(notice, &"state".into()).ok().and_then(|value| value.as_string());
        self.open.set(state.as_deref() == Some("open"));
        if self.open.get() { ChannelEvent::Opened } else { ChannelEvent::Closed }
    }

    // The difference is bounded by the window and never negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn buffered(&self) -> usize {
        (self.sent_bytes.get() - self.drained_bytes.get()).max(0.0) as usize
    }
}

fn to_bytes(buffer: &ArrayBuffer) -> Bytes {
    Uint8Array::new(buffer).to_vec().into()
}
