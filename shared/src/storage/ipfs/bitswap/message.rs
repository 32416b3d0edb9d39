//! Messages, read off the wire into types whose bounds hold.

use prost::Message as _;

use super::super::{
    Cid,
    block::{cid_by_prefix, prefix_of},
};
use crate::wire::{
    ipfs::{
        BitswapMessage,
        bitswap_message::{Block, Entry, Presence, PresenceKind, WantKind, Wantlist},
    },
    occurrences,
};

/// Longer messages may not be sent.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Entries of each kind in a message. Others send a few hundred.
const MAX_ENTRIES: usize = 16 * 1024;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of more than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// More entries than anybody needs.
    #[error("a message with more than {MAX_ENTRIES} entries")]
    TooMany,
    /// No protobuf.
    #[error("not a bitswap message")]
    Malformed,
}

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of this block.
    pub cid: Cid,
    /// Higher ones are answered first.
    pub priority: i32,
    /// Whether it is there is enough; otherwise the block itself.
    pub have: bool,
    /// Whether to say that it is not there.
    pub tell_absence: bool,
}

/// What one side says at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The wants are all there are: earlier ones are void.
    pub full: bool,
    /// Further wants.
    pub wants: Vec<Want>,
    /// Wants that are void.
    pub cancels: Vec<Cid>,
    /// Blocks, each named by the hash of what came.
    pub blocks: Vec<(Cid, Vec<u8>)>,
    /// Blocks that are there.
    pub have: Vec<Cid>,
    /// Blocks that are not.
    pub lacking: Vec<Cid>,
}

impl Message {
    /// Reads a message. Entries whose CID nobody can read, and blocks that cannot be hashed, are left out.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLong);
        }
        count(bytes, 3)?;
        count(bytes, 4)?;
        // A wantlist's entries are small on the wire and large in memory: count them where they stand.
        let outer = wantlists(bytes)?;
        for list in outer {
            count(list, 1)?;
        }
        let read = BitswapMessage::decode(bytes).map_err(|_| MessageError::Malformed)?;
        let mut message = Self::default();
        if let Some(list) = read.wantlist {
            message.full = list.full;
            for entry in list.entries {
                let Ok(cid) = Cid::try_from(entry.block.as_slice()) else { continue };
                if entry.cancel {
                    message.cancels.push(cid);
                    continue;
                }
                message.wants.push(Want {
                    cid,
                    priority: entry.priority,
                    have: entry.want_kind == i32::from(WantKind::WantHave),
                    tell_absence: entry.send_dont_have,
                });
            }
        }
        for block in read.payload {
            if let Some(cid) = cid_by_prefix(&block.prefix, &block.data) {
                message.blocks.push((cid, block.data));
            }
        }
        for presence in read.presences {
            let Ok(cid) = Cid::try_from(presence.cid.as_slice()) else { continue };
            let absent = presence.kind == i32::from(PresenceKind::DontHave);
            if absent { &mut message.lacking } else { &mut message.have }.push(cid);
        }
        Ok(message)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The message's bytes, without its length before them.
    pub fn encode(self) -> Vec<u8> {
        let want = |want: &Want| Entry {
            block: want.cid.to_bytes(),
            priority: want.priority,
            cancel: false,
            want_kind: if want.have { WantKind::WantHave } else { WantKind::WantBlock }.into(),
            send_dont_have: want.tell_absence,
        };
        let cancel = |cid: &Cid| Entry { block: cid.to_bytes(), cancel: true, ..Entry::default() };
        let entries: Vec<_> = self.wants.iter().map(want).chain(self.cancels.iter().map(cancel)).collect();
        let wantlist = (self.full || !entries.is_empty()).then_some(Wantlist { entries, full: self.full });
        let presence =
            |kind: PresenceKind| move |cid: &Cid| Presence { cid: cid.to_bytes(), kind: kind.into() };
        let presences = self.have.iter().map(presence(PresenceKind::Have));
        let presences = presences.chain(self.lacking.iter().map(presence(PresenceKind::DontHave))).collect();
        let payload =
            self.blocks.into_iter().map(|(cid, data)| Block { prefix: prefix_of(&cid), data }).collect();
        BitswapMessage { wantlist, payload, presences, pending_bytes: 0 }.encode_to_vec()
    }
}

fn count(bytes: &[u8], field: u32) -> Result<(), MessageError> {
    let found = occurrences(bytes, field).map_err(|_| MessageError::Malformed)?;
    if found > MAX_ENTRIES { Err(MessageError::TooMany) } else { Ok(()) }
}

/// Where the wantlists of a message stand; one is usual, and more are read as one.
fn wantlists(mut bytes: &[u8]) -> Result<Vec<&[u8]>, MessageError> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    const WANTLISTS_MAX: usize = 16;
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (field, kind) = decode_key(&mut bytes).map_err(|_| MessageError::Malformed)?;
        if field == 1 && kind == WireType::LengthDelimited {
            let length = decode_varint(&mut bytes).map_err(|_| MessageError::Malformed)?;
            let length = usize::try_from(length).map_err(|_| MessageError::Malformed)?;
            let (list, rest) = bytes.split_at_checked(length).ok_or(MessageError::Malformed)?;
            bytes = rest;
            found.push(list);
            if found.len() > WANTLISTS_MAX {
                return Err(MessageError::TooMany);
            }
        } else {
            skip_field(kind, field, &mut bytes, DecodeContext::default())
                .map_err(|_| MessageError::Malformed)?;
        }
    }
    Ok(found)
}
