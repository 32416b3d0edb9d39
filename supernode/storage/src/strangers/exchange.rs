//! One request and its answer, on a stream of their own.

use std::time::Duration;

use bytes::Bytes;
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _,
    io::{ReadHalf, WriteHalf},
};
use links::{OpenError, Stream, StreamProtocol};
use multiaddr::{Multiaddr, Protocol};
use shared::{
    identity::PublicKey,
    storage::{
        extras::Tab,
        holders::HolderAdvert,
        messages::{PROTOCOL, Said, ShardAnswer},
        placement::Network as Place,
    },
    wire::{MAX_FRAME_BYTES, Refusal, TAB_STORAGE_PROTOCOL, write_frame},
};
use tokio::time::timeout;

use super::Network;

/// Somebody is reached by then, or not.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A stream that moves nothing for so long is dead.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(20);
/// Of two links between the same nodes one is closed within two seconds, and what was on it is tried again.
const TRIED_AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_millis(2000)];
/// Written and read at once: a stream that moves less in its patience is dead, and eighty share a line.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// A stream that a peer opened, and who it is.
pub struct Incoming {
    /// Whom the connection authenticated.
    pub peer: PublicKey,
    /// The stream.
    pub stream: Stream,
}

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Nobody answered at the holder's addresses, or not where it says to be.
    #[error("the holder cannot be reached")]
    Unreachable,
    /// The stream ended or stalled.
    #[error("the stream broke off")]
    Broken,
    /// What came is no answer to what was asked.
    #[error("the holder breaks the protocol")]
    Protocol,
    /// The holder said no.
    #[error("the holder refused: {0:?}")]
    Refused(Refusal),
}

/// Asks `holder`; `payload` goes behind the request. Returns what it said, and the stream to read what follows. A stream
/// that breaks off before the answer is tried again: every request may be made twice.
pub(super) async fn ask(
    network: &Network,
    holder: &HolderAdvert,
    request: &[u8],
    payload: Option<Bytes>,
) -> Result<(Said, ReadHalf<Stream>), ExchangeError> {
    for pause in TRIED_AGAIN_AFTER {
        match ask_once(network, holder, request, payload.clone()).await {
            Err(ExchangeError::Broken) => tokio::time::sleep(pause).await,
            done => return done,
        }
    }
    ask_once(network, holder, request, payload).await
}

async fn ask_once(
    network: &Network,
    holder: &HolderAdvert,
    request: &[u8],
    payload: Option<Bytes>,
) -> Result<(Said, ReadHalf<Stream>), ExchangeError> {
    let stream = timeout(CONNECT_WITHIN * 2, connect(network, holder))
        .await
        .map_err(|_| ExchangeError::Unreachable)??;
    converse(stream, request, payload).await
}

/// Asks whoever is linked already for what comes in the answer itself. Who does not speak the protocol is unreachable.
pub(super) async fn ask_neighbour(
    network: &Network,
    peer: &PublicKey,
    request: &[u8],
) -> Result<Said, ExchangeError> {
    Ok(converse(open_linked(network, peer, PROTOCOL).await?, request, None).await?.0)
}

/// Asks a tab, which only its link reaches; `payload` goes behind the request.
pub(super) async fn ask_tab(
    network: &Network,
    tab: &Tab,
    request: &[u8],
    payload: Option<Bytes>,
) -> Result<(Said, ReadHalf<Stream>), ExchangeError> {
    converse(open_linked(network, &tab.0, TAB_STORAGE_PROTOCOL).await?, request, payload).await
}

async fn open_linked(
    network: &Network,
    peer: &PublicKey,
    protocol: &'static str,
) -> Result<Stream, ExchangeError> {
    let link = network.links.best(&peer.to_peer_id()).ok_or(ExchangeError::Unreachable)?;
    let opening = timeout(CONNECT_WITHIN, network.links.open(link, StreamProtocol::new(protocol)));
    opening.await.ok().and_then(Result::ok).ok_or(ExchangeError::Unreachable)
}

async fn converse(
    stream: Stream,
    request: &[u8],
    payload: Option<Bytes>,
) -> Result<(Said, ReadHalf<Stream>), ExchangeError> {
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        let mut frame = Vec::with_capacity(request.len() + 3);
        write_frame(request, &mut frame);
        write(&mut writer, &frame).await?;
        for piece in payload.iter().flat_map(|payload| payload.chunks(PIECE_BYTES)) {
            write(&mut writer, piece).await?;
        }
        // So that a renewal, which has no payload, ends for a holder that waits for one.
        timeout(STALLED_AFTER, writer.close()).await.map_err(|_| ExchangeError::Broken)?.ok();
        Ok::<(), ExchangeError>(())
    };
    let answer = async {
        let writing = std::pin::pin!(writing);
        let answering = std::pin::pin!(read_frame(&mut reader));
        match futures::future::select(answering, writing).await {
            // It has the shard already, or does not want it: the rest need not be sent.
            futures::future::Either::Left((answer, _)) => answer,
            futures::future::Either::Right((_, answering)) => {
                // A holder that refuses stops reading, so a failed write may have an answer all the same.
                timeout(STALLED_AFTER, answering).await.map_err(|_| ExchangeError::Broken)?
            }
        }
    };
    let answer = ShardAnswer::read(&answer.await?).map_err(|_| ExchangeError::Protocol)?;
    match answer.said {
        Said::Refused { refusal, .. } => Err(ExchangeError::Refused(refusal)),
        said => Ok((said, reader)),
    }
}

/// A stream to the holder, once it was reached where it says to be: its claimed network is what keeps two shards off one
/// line, and a link that the holder dialled says nothing of that.
async fn connect(network: &Network, holder: &HolderAdvert) -> Result<Stream, ExchangeError> {
    let peer = holder.node.to_peer_id();
    let link = network.links.best(&peer).filter(|_| network.was_reached(holder));
    let link = match link {
        Some(link) => link,
        None => {
            let addresses = holder.addresses.iter().filter(|address| {
                let address = Multiaddr::try_from(address.to_vec()).ok();
                address.is_some_and(|address| place_of(&address) == Some(holder.network))
            });
            if !(network.dial)(holder.node.clone(), addresses.cloned().collect()).await {
                return Err(ExchangeError::Unreachable);
            }
            network.note_reached(holder);
            network.links.best(&peer).ok_or(ExchangeError::Broken)?
        }
    };
    match network.links.open(link, StreamProtocol::new(PROTOCOL)).await {
        Ok(stream) => Ok(stream),
        // Of two links between the same nodes one is closed, and it may have been this.
        Err(OpenError::Unlinked | OpenError::Io(_) | OpenError::Busy) => Err(ExchangeError::Broken),
        Err(_) => Err(ExchangeError::Unreachable),
    }
}

/// The network that an address is in; nothing of a name.
pub(super) fn place_of(address: &Multiaddr) -> Option<Place> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(address) => Some(Place::of(address.into())),
        Protocol::Ip6(address) => Some(Place::of(address.into())),
        _ => None,
    })
}

/// Reads a frame, and not a byte beyond: payload may follow.
pub(super) async fn read_frame(reader: &mut ReadHalf<Stream>) -> Result<Vec<u8>, ExchangeError> {
    let mut length = 0_usize;
    for shift in [0, 7, 14] {
        let [byte] = read_array(reader).await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        if shift == 14 {
            return Err(ExchangeError::Protocol);
        }
    }
    if length > MAX_FRAME_BYTES {
        return Err(ExchangeError::Protocol);
    }
    let mut frame = vec![0; length];
    timeout(STALLED_AFTER, reader.read_exact(&mut frame))
        .await
        .map_err(|_| ExchangeError::Broken)?
        .map_err(|_| ExchangeError::Broken)?;
    Ok(frame)
}

async fn read_array<const N: usize>(reader: &mut ReadHalf<Stream>) -> Result<[u8; N], ExchangeError> {
    let mut bytes = [0; N];
    // An answer may take as long as a disk needs to sync a shard.
    timeout(STALLED_AFTER * 3, reader.read_exact(&mut bytes))
        .await
        .map_err(|_| ExchangeError::Broken)?
        .map_err(|_| ExchangeError::Broken)?;
    Ok(bytes)
}

/// Reads what was announced; the caller bounded its length.
pub(super) async fn read_payload(
    reader: &mut ReadHalf<Stream>,
    bytes: u64,
    mut moved: impl FnMut(u64),
) -> Result<Bytes, ExchangeError> {
    let bytes = usize::try_from(bytes).map_err(|_| ExchangeError::Protocol)?;
    // Grows with what came: an announcement alone takes no memory.
    let (mut payload, mut filled) = (Vec::new(), 0);
    while filled < bytes {
        if filled == payload.len() {
            payload.resize(bytes.min((2 * filled).max(PIECE_BYTES)), 0);
        }
        match timeout(STALLED_AFTER, reader.read(&mut payload[filled..])).await {
            Ok(Ok(read)) if read > 0 => {
                filled += read;
                moved(read as u64);
            }
            _ => return Err(ExchangeError::Broken),
        }
    }
    Ok(payload.into())
}

/// Writes all of it, or says that the stream is dead.
async fn write(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> Result<(), ExchangeError> {
    let written = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match timeout(STALLED_AFTER, written).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(ExchangeError::Broken),
    }
}

/// Sends an answer, and payload behind it.
pub(super) async fn reply(
    writer: &mut WriteHalf<Stream>,
    answer: &ShardAnswer,
    payload: &[u8],
) -> Result<(), ExchangeError> {
    let mut frame = Vec::new();
    write_frame(&answer.encode(), &mut frame);
    write(writer, &frame).await?;
    for piece in payload.chunks(PIECE_BYTES) {
        write(writer, piece).await?;
    }
    let _ = timeout(STALLED_AFTER, writer.close()).await;
    Ok(())
}
