//! From an encrypted session to a connection with a peer: Noise over channel 0.

use std::sync::Arc;

use futures::AsyncWriteExt;
use libp2p_core::UpgradeInfo;
use libp2p_core::upgrade::OutboundConnectionUpgrade;
use libp2p_identity::{Keypair, PeerId};

use super::certificate::fingerprint_multihash;
use super::muxer::Connection;
use super::session::{CloseReason, Session};
use super::substream::Substream;
use super::transport::Error;

/// What the prologue begins with; the fingerprints of client and server follow.
const PROLOGUE: &[u8] = b"libp2p-webrtc-noise:";

/// Proves both peer ids and that both sides see the same two certificates. Its deadline is the
/// session's own.
pub(super) async fn upgrade(
    session: Arc<Session>,
    identity: Keypair,
    server_digest: Vec<u8>,
) -> Result<(PeerId, Connection), Error> {
    // Dropping the connection closes the session, whichever way this future ends.
    let connection = Connection::new(session.clone());
    let client = session.client_fingerprint().ok_or(CloseReason::Handshake)?;
    let prologue = [PROLOGUE, &fingerprint_multihash(client).to_bytes(), &server_digest].concat();
    let noise = libp2p_noise::Config::new(&identity)?.with_prologue(prologue);
    let channel = Substream::new(session.clone(), session.open_noise_channel());
    let Some(protocol) = noise.protocol_info().next() else { return Err(CloseReason::Handshake.into()) };
    // The server begins: it may then send half a round trip earlier.
    let (peer, mut channel) = noise.upgrade_outbound(channel, protocol).await?;
    session.settle()?;
    // The channel has served; that the remote may have closed it already is as well.
    let _ = channel.close().await;
    Ok((peer, connection))
}
