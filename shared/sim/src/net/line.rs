//! Access lines: what a node can send and take in a second, shared fairly among its streams.
//!
//! A line sends one message after another. Streams with something to send take turns; each may have only so
//! much under way (its window), as congestion control would have it, so that a slow receiver does not fill
//! the network. A downlink takes messages in the order they arrive.

use core::time::Duration;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use shared::{
    base::{EffectId, Instant, LinkId, RequestId},
    cdn::part::Piece,
};

use crate::{
    content::{Blob, Payload},
    node::NodeId,
};

/// A stream in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowId {
    /// Control messages of a link.
    Control(LinkId),
    /// What the sender asks of the link.
    Fetch(LinkId),
    /// What the sender serves on the link.
    Serve(LinkId),
    /// An HTTP response.
    Http(u64),
}

/// What a message carries.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// A frame on the control stream.
    Control(Vec<u8>),
    /// A `BulkRequest` frame.
    Ask(Vec<u8>),
    /// A piece in answer to a request, announced with a place and a length that may be lies.
    Piece {
        /// The request answered.
        request: RequestId,
        /// What it claims to be.
        claimed: Piece,
        /// The length it announces.
        announced: u64,
        /// What it is.
        payload: Payload,
    },
    /// A `BulkAnswer` frame without a piece.
    Answer(Vec<u8>),
    /// A piece of an HTTP response.
    Http {
        /// The piece.
        payload: Payload,
        /// Whether it is the last.
        last: bool,
    },
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its stream.
    pub flow: FlowId,
    /// Its sender.
    pub from: NodeId,
    /// Its receiver.
    pub to: NodeId,
    /// Its length on the wire.
    pub bytes: u64,
    /// What it carries.
    pub cargo: Cargo,
    /// The sender's effect that is done once this has left.
    pub finishes: Option<EffectId>,
}

/// What waits to be sent on a stream.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    One(Box<Parcel>),
    /// An HTTP response, cut into messages only as it is sent: a hundred megabytes wait in a few words.
    Response {
        /// Its receiver.
        to: NodeId,
        /// The blob.
        blob: Arc<Blob>,
        /// What is left to send, in reverse order.
        pieces: Vec<Piece>,
    },
}

/// Headers of IP, UDP, DTLS and SCTP, or of TCP and TLS, in a hundred bytes of payload.
const HEADER_PERCENT: u64 = 5;
/// Bytes a stream sends in one turn, at least: congestion control shares a line by bytes, so small messages go together.
const TURN_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
struct Flow {
    waiting: VecDeque<Outgoing>,
    under_way: u64,
    window: u64,
    in_turn: bool,
    /// Bytes sent in this turn.
    spent: u64,
}

/// A node's way out.
#[derive(Debug)]
pub struct Uplink {
    bytes_per_second: u64,
    flows: BTreeMap<FlowId, Flow>,
    turn: VecDeque<FlowId>,
    sending: bool,
}

impl Uplink {
    /// A line of that speed.
    pub const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, flows: BTreeMap::new(), turn: VecDeque::new(), sending: false }
    }

    /// Its speed.
    pub const fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// How many messages wait on all streams.
    pub fn waiting(&self) -> usize {
        self.flows.values().map(|flow| flow.waiting.len()).sum()
    }

    /// Queues a message. `window` bounds what its stream may have under way.
    pub fn push(&mut self, flow: FlowId, outgoing: Outgoing, window: u64) {
        let state = self.flows.entry(flow).or_insert_with(|| Flow {
            waiting: VecDeque::new(),
            under_way: 0,
            window,
            in_turn: false,
            spent: 0,
        });
        state.waiting.push_back(outgoing);
        if !state.in_turn && state.under_way < state.window {
            state.in_turn = true;
            self.turn.push_back(flow);
        }
    }

    /// The line is free: the next message to send and how long that takes. Nothing while it is sending or
    /// nothing may be sent.
    pub fn start(&mut self, from: NodeId) -> Option<(Parcel, Duration)> {
        if self.sending {
            return None;
        }
        while let Some(id) = self.turn.pop_front() {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            flow.in_turn = false;
            let Some(mut parcel) = take(&mut flow.waiting, from, id) else { continue };
            parcel.bytes += parcel.bytes * HEADER_PERCENT / 100;
            flow.under_way += parcel.bytes;
            flow.spent += parcel.bytes;
            flow.in_turn = !flow.waiting.is_empty() && flow.under_way < flow.window;
            if flow.in_turn && flow.spent < TURN_BYTES {
                self.turn.push_front(id);
            } else {
                flow.spent = 0;
                if flow.in_turn {
                    self.turn.push_back(id);
                }
            }
            self.sending = true;
            let time = sending_time(parcel.bytes, self.bytes_per_second);
            return Some((parcel, time));
        }
        None
    }

    /// The message being sent has left.
    pub fn finish(&mut self) {
        self.sending = false;
    }

    /// A message of `flow` arrived: its stream may send on.
    pub fn acknowledge(&mut self, flow: FlowId, bytes: u64) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        state.under_way = state.under_way.saturating_sub(bytes);
        if state.waiting.is_empty() {
            if state.under_way == 0 {
                self.flows.remove(&flow);
            }
        } else if !state.in_turn && state.under_way < state.window {
            state.in_turn = true;
            self.turn.push_back(flow);
        }
    }

    /// Drops what waits on a stream whose link or request is gone, and returns the effects that will not
    /// be finished.
    pub fn drop_flow(&mut self, flow: FlowId) -> Vec<EffectId> {
        let waiting = self.flows.remove(&flow).map(|flow| flow.waiting).unwrap_or_default();
        waiting
            .into_iter()
            .filter_map(|outgoing| match outgoing {
                Outgoing::One(parcel) => parcel.finishes,
                Outgoing::Response { .. } => None,
            })
            .collect()
    }

    /// Drops the pieces of one request that have not left. Returns the effect that will not be finished.
    pub fn cancel(&mut self, flow: FlowId, request: RequestId) -> Option<EffectId> {
        let state = self.flows.get_mut(&flow)?;
        let mut unfinished = None;
        state.waiting.retain(|outgoing| match outgoing {
            Outgoing::One(parcel) => match &parcel.cargo {
                Cargo::Piece { request: of, .. } if *of == request => {
                    unfinished = unfinished.or(parcel.finishes);
                    false
                }
                _ => true,
            },
            Outgoing::Response { .. } => true,
        });
        unfinished
    }
}

fn take(waiting: &mut VecDeque<Outgoing>, from: NodeId, flow: FlowId) -> Option<Parcel> {
    loop {
        match waiting.front_mut()? {
            Outgoing::One(_) => {
                let Some(Outgoing::One(parcel)) = waiting.pop_front() else { return None };
                return Some(*parcel);
            }
            Outgoing::Response { to, blob, pieces } => {
                let next = pieces.pop().and_then(|piece| blob.payload(piece));
                let (to, last) = (*to, pieces.is_empty());
                if last {
                    waiting.pop_front();
                }
                let Some(payload) = next else { continue };
                let bytes = payload.bytes;
                let cargo = Cargo::Http { payload, last };
                return Some(Parcel { flow, from, to, bytes, cargo, finishes: None });
            }
        }
    }
}

/// A node's way in.
#[derive(Debug)]
pub struct Downlink {
    bytes_per_second: u64,
    free_at: Instant,
}

impl Downlink {
    /// A line of that speed.
    pub const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: Instant::from_micros(0) }
    }

    /// Its speed.
    pub const fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// When `bytes` that arrive now are through.
    pub fn accept(&mut self, now: Instant, bytes: u64) -> Instant {
        self.free_at = self.free_at.max(now) + sending_time(bytes, self.bytes_per_second);
        self.free_at
    }
}

fn sending_time(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_micros((bytes * 1_000_000).div_ceil(bytes_per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flow: FlowId, bytes: u64) -> Outgoing {
        let cargo = Cargo::Control(Vec::new());
        let (from, to) = (NodeId(0), NodeId(1));
        Outgoing::One(Box::new(Parcel { flow, from, to, bytes, cargo, finishes: None }))
    }

    #[test]
    fn streams_share_by_bytes_and_stop_at_their_windows() {
        let (one, two) = (FlowId::Serve(LinkId(1)), FlowId::Serve(LinkId(2)));
        let mut line = Uplink::new(1_000_000);
        for _ in 0..3 {
            line.push(one, frame(one, TURN_BYTES), 2 * TURN_BYTES);
        }
        for _ in 0..4 {
            line.push(two, frame(two, 1_000), 3_000);
        }
        let mut order = Vec::new();
        while let Some((parcel, time)) = line.start(NodeId(0)) {
            assert_eq!(time, sending_time(parcel.bytes, 1_000_000));
            assert!(line.start(NodeId(0)).is_none());
            line.finish();
            order.push(parcel.flow);
        }
        // The small ones go in one turn, up to their window.
        assert_eq!(order, [one, two, two, two, one]);
        line.acknowledge(one, TURN_BYTES);
        assert_eq!(line.start(NodeId(0)).unwrap().0.flow, one);
    }

    #[test]
    fn a_downlink_takes_one_message_after_the_other() {
        let mut line = Downlink::new(1_000_000);
        let now = Instant::from_micros(10);
        assert_eq!(line.accept(now, 5_000).as_micros(), 5_010);
        assert_eq!(line.accept(now, 5_000).as_micros(), 10_010);
        assert_eq!(line.accept(Instant::from_micros(20_000), 1_000).as_micros(), 21_000);
    }
}
