//! How two peers that share a relayed connection find a direct path: `/webrtc-signaling/0.0.1`.
//!
//! ```text
//! dialer                                   listener
//!   SDP_OFFER ─────────────────────────────►  (only now does it make an RTCPeerConnection)
//!   ◄───────────────────────────── SDP_ANSWER
//!   ICE_CANDIDATE ◄──────────────► ICE_CANDIDATE      until connected, then both close the stream
//! ```
//!
//! The relayed connection has proved who the remote is, and the descriptions that crossed it bind
//! the certificates of the direct one, so no further handshake is needed.
//!
//! Bounds: [`MESSAGE_BYTES_MAX`] a message, [`MESSAGES_MAX`] messages; time is the caller's, by one
//! deadline over the whole upgrade.

use std::future::poll_fn;
use std::io;

use asynchronous_codec::Framed;
use bytes::Bytes;
use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite, SinkExt, StreamExt};
use libp2p_swarm::StreamProtocol;
use links::webrtc::LARGE_FRAME_BYTES;
use prost::Message as _;
use unsigned_varint::codec::UviBytes;

use super::error::Error;
use super::page::{Candidates, Change, Page, PeerConnection};

pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/webrtc-signaling/0.0.1");

/// A description is one to three KiB; a relay's budget for a circuit is 128 KiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// One description and every candidate of a machine with many interfaces.
const MESSAGES_MAX: usize = 65;
/// An attribute that only ours know; all others skip it, as SDP demands.
const FRAME_ATTRIBUTE: &str = "a=x-blackhole-frame-bytes:";

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    SdpOffer = 0,
    SdpAnswer = 1,
    IceCandidate = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(enumeration = "Kind", optional, tag = "1")]
    kind: Option<i32>,
    #[prost(string, optional, tag = "2")]
    data: Option<String>,
}

/// The dialer's side. The remote has already agreed to speak the protocol on `stream`.
pub(super) async fn offer<S>(page: &Page, stream: S) -> Result<PeerConnection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut signals = Signals::new(stream);
    let connection = page.offer(None, Candidates::Trickle)?;
    let (description, _) = poll_fn(|cx| connection.poll_description(cx)).await?;
    signals.send(Kind::SdpOffer, with_frame_attribute(description)).await?;
    let answer = signals.receive_description(Kind::SdpAnswer).await?;
    agree_on_frames(&connection, &answer);
    connection.accept(&answer);
    signals.exchange_candidates(&connection).await?;
    Ok(connection)
}

/// The listener's side.
pub(super) async fn answer<S>(page: &Page, stream: S) -> Result<PeerConnection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut signals = Signals::new(stream);
    let offer = signals.receive_description(Kind::SdpOffer).await?;
    let connection = page.answer(&offer, Candidates::Trickle)?;
    let (description, _) = poll_fn(|cx| connection.poll_description(cx)).await?;
    agree_on_frames(&connection, &offer);
    signals.send(Kind::SdpAnswer, with_frame_attribute(description)).await?;
    signals.exchange_candidates(&connection).await?;
    Ok(connection)
}

/// The stream as typed, counted messages.
struct Signals<S> {
    frames: Framed<S, UviBytes<Bytes>>,
    received: usize,
}

impl<S> Signals<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(stream: S) -> Self {
        let mut codec = UviBytes::default();
        codec.set_max_len(MESSAGE_BYTES_MAX);
        Self { frames: Framed::new(stream, codec), received: 0 }
    }

    async fn send(&mut self, kind: Kind, data: String) -> Result<(), Error> {
        let message = Message { kind: Some(kind as i32), data: Some(data) };
        self.frames.send(message.encode_to_vec().into()).await.map_err(lost)
    }

    async fn receive_description(&mut self, expected: Kind) -> Result<String, Error> {
        match self.receive().await? {
            Some((kind, data)) if kind == expected => Ok(data),
            Some(_) => Err(Error::SignallingMalformed("not the description that is due")),
            None => Err(Error::SignallingLost("before a description came".into())),
        }
    }

    /// `None` when the remote has said all it will.
    async fn receive(&mut self) -> Result<Option<(Kind, String)>, Error> {
        let Some(frame) = self.frames.next().await else { return Ok(None) };
        self.received += 1;
        if self.received > MESSAGES_MAX {
            return Err(Error::SignallingMalformed("too many messages"));
        }
        let message = Message::decode(frame.map_err(lost)?)
            .map_err(|_| Error::SignallingMalformed("not a signalling message"))?;
        let kind = message.kind.and_then(|kind| Kind::try_from(kind).ok());
        let kind = kind.ok_or(Error::SignallingMalformed("a message without a kind"))?;
        Ok(Some((kind, message.data.unwrap_or_default())))
    }

    async fn exchange_candidates(&mut self, connection: &PeerConnection) -> Result<(), Error> {
        let mut remote_is_done = false;
        loop {
            let change = poll_fn(|cx| connection.poll_change(cx));
            let step = if remote_is_done {
                Either::Left(change.await)
            } else {
                match select(std::pin::pin!(self.receive()), change).await {
                    Either::Left((message, _)) => Either::Right(message),
                    Either::Right((change, _)) => Either::Left(change),
                }
            };
            match step {
                Either::Left(Ok(Change::Connected)) => break,
                Either::Left(Ok(Change::Candidate(candidate))) => {
                    // A remote that has closed its side may be connected already.
                    let _ = self.send(Kind::IceCandidate, candidate).await;
                }
                Either::Left(Err(error)) => return Err(error),
                Either::Right(Ok(Some((Kind::IceCandidate, candidate)))) => {
                    connection.add_candidate(&candidate);
                }
                Either::Right(Ok(Some(_))) => return Err(Error::SignallingMalformed("a second description")),
                Either::Right(Ok(None) | Err(Error::SignallingLost(_))) => remote_is_done = true,
                Either::Right(Err(error)) => return Err(error),
            }
        }
        // The direct path stands; how the signalling stream ends no longer matters.
        let _ = self.frames.close().await;
        Ok(())
    }
}

fn lost(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        // The codec's word for a length over its bound.
        return Error::SignallingMalformed("a message over the bound");
    }
    Error::SignallingLost(error.to_string())
}

pub(super) fn with_frame_attribute(mut description: String) -> String {
    description.push_str(&format!("{FRAME_ATTRIBUTE}{LARGE_FRAME_BYTES}\r\n"));
    description
}

pub(super) fn agree_on_frames(connection: &PeerConnection, description: &str) {
    if offers_large_frames(description) {
        connection.set_frame_bytes(LARGE_FRAME_BYTES);
    }
}

fn offers_large_frames(description: &str) -> bool {
    description
        .lines()
        .filter_map(|line| line.strip_prefix(FRAME_ATTRIBUTE)?.trim().parse().ok())
        .any(|bytes: usize| bytes >= LARGE_FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_what_the_specification_says() {
        let message = Message { kind: Some(Kind::SdpOffer as i32), data: Some("v=0".into()) };
        assert_eq!(message.encode_to_vec(), [0x08, 0, 0x12, 3, b'v', b'=', b'0']);
    }

    #[test]
    fn large_frames_need_both_sides() {
        assert!(offers_large_frames(&with_frame_attribute("v=0\r\n".into())));
        assert!(!offers_large_frames("v=0\r\na=max-message-size:262144\r\n"));
        assert!(!offers_large_frames("a=x-blackhole-frame-bytes:70\r\n"));
    }
}
