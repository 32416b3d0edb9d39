//! Streams about extra shards, passed on unread: what keeps shards is a module of its own (`shelf/`), which only those
//! visitors load who agreed to that.

use std::time::Duration;

use futures::future::{Either, select};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use futures_timer::Delay;
use links::StreamProtocol;
use shared::base::LinkId;
use shared::wire::TAB_STORAGE_PROTOCOL;
use wasm_bindgen::prelude::*;

use super::{Tab, TabPeer};

/// Read at once: four groups.
const READ_BYTES: usize = 64 * 1024;
/// A stream that moves nothing for so long is dead.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// A stream between the supernode and whoever keeps shards. Dropped, it is reset.
#[wasm_bindgen]
pub struct ShardStream(links::Stream);

#[wasm_bindgen]
impl ShardStream {
    /// Sends `bytes`, or ends the sending where they are none; without them, the next bytes are read, none at the end.
    /// `undefined` where the stream broke off. One call for all three: each costs every visitor half a kilobyte.
    pub async fn step(&mut self, bytes: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let stream = &mut self.0;
        let work = Box::pin(async move {
            let mut read = Vec::new();
            match bytes {
                None => {
                    read.resize(READ_BYTES, 0);
                    let length = stream.read(&mut read).await?;
                    read.truncate(length);
                }
                Some(bytes) if bytes.is_empty() => stream.close().await?,
                Some(bytes) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                }
            }
            std::io::Result::Ok(read)
        });
        match select(work, Delay::new(STALLED_AFTER)).await {
            Either::Left((done, _)) => done.ok(),
            Either::Right(_) => None,
        }
    }
}

#[wasm_bindgen]
impl TabPeer {
    /// A stream to the supernode; `undefined` while there is none, or where it takes none.
    pub async fn open_shards(&self) -> Option<ShardStream> {
        let (control, peer) = self.0.swarm.to_supernode()?;
        let opened = control.open(control.best(&peer)?, StreamProtocol::new(TAB_STORAGE_PROTOCOL)).await;
        opened.ok().map(ShardStream)
    }
}

impl Tab {
    /// A stream that somebody opened: one of the supernode's alone is passed on.
    pub(super) fn take_shards(&self, link: LinkId, stream: links::Stream) {
        if let Some(supernode) = self.swarm.supernode_of(link) {
            self.host.shards(ShardStream(stream), supernode.to_bytes().to_vec());
        }
    }
}
