//! Answering one peer's wants, the most urgent first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use multiaddr::PeerId;
use shared::storage::ipfs::{
    Cid,
    bitswap::{Message, Wants},
};
use tokio::{sync::mpsc, time::timeout};

use super::streams::Speaker;
use crate::ipfs::Ipfs;

/// A peer that wants nothing for so long is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// Blocks of one message, unless one alone is longer: some implementations refuse messages of more than 2 MiB.
const MESSAGE_BYTES: usize = 3 << 19;
/// Entries of one message.
const MESSAGE_ENTRIES: usize = 512;
/// A block as short as this is sent to who only asked whether it is there: it costs no more than to say so.
const SENT_ANYWAY_BYTES: usize = 1024;

/// Answers until the peer wants nothing any more, or cannot be reached.
pub(super) async fn answer(ipfs: &Arc<Ipfs>, peer: PeerId, mut messages: mpsc::Receiver<Message>) {
    let Some(peering) = &ipfs.peering else { return };
    let links = peering.links();
    let mut speaker = Speaker::new(peer);
    let (mut wants, mut left) = (Wants::default(), None);
    loop {
        if wants.is_empty() && left.is_none() {
            let Ok(Some(message)) = timeout(IDLE, messages.recv()).await else { return };
            wants.handle_message(&message);
        }
        // What has come meanwhile may cancel what would be answered now.
        while let Ok(message) = messages.try_recv() {
            let dropped = wants.handle_message(&message);
            if dropped > 0 {
                tracing::debug!(%peer, dropped, "a peer wants more than is remembered");
            }
        }
        let message = next_message(ipfs, &mut wants, &mut left).await;
        if !message.is_empty()
            && let Err(error) = speaker.say(&links, message).await
        {
            tracing::debug!(%peer, %error, "a peer could not be answered");
            return;
        }
    }
}

/// The next answers. A block that has no room is `left` for the message after.
async fn next_message(ipfs: &Ipfs, wants: &mut Wants, left: &mut Option<(Cid, Bytes)>) -> Message {
    let (mut message, mut bytes, mut entries) = (Message::default(), 0, 0);
    if let Some((cid, block)) = left.take() {
        bytes = block.len();
        message.blocks.push((cid, block.into()));
    }
    while bytes < MESSAGE_BYTES && entries < MESSAGE_ENTRIES {
        let Some(want) = wants.poll_want() else { break };
        entries += 1;
        let block = match ipfs.block(&want.cid).await {
            Ok(block) => block,
            Err(error) => {
                tracing::warn!(cid = %want.cid, %error, "a block cannot be read");
                None
            }
        };
        match block {
            Some(block) if want.have && block.len() > SENT_ANYWAY_BYTES => message.have.push(want.cid),
            Some(block) if bytes > 0 && bytes + block.len() > MESSAGE_BYTES => {
                *left = Some((want.cid, block));
                break;
            }
            Some(block) => {
                bytes += block.len();
                message.blocks.push((want.cid, block.into()));
            }
            None if want.tell_absence => message.lacking.push(want.cid),
            None => {}
        }
    }
    message
}
