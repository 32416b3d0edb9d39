//! What owners ask of holders and what holders say to it, read off the wire into types whose bounds hold.
//!
//! A stream carries one request and one answer, each as a frame, with payload behind the one or the other; see
//! `storage.proto`. Here are the frames alone: payload never passes through the core.

use core::{ops::Range, time::Duration};

use prost::Message as _;

use super::{
    erasure::MAX_SEGMENT_BYTES,
    extras::{Kept, MAX_EXTRA_BYTES, Room, SHARDS_OF_A_TAB},
    holders::{FailedAudit, Lease},
    proof::{MAX_ANSWER_BYTES, Opinion},
};
use crate::{
    base::{BlobRoot, RequestId, SegmentId, UnixSeconds},
    wire::{MAX_FRAME_BYTES, Refusal, storage as wire},
};

/// The protocol's name, and the service's.
pub const PROTOCOL: &str = "/blackhole/storage/1.0.0";
/// Where holders say what they offer.
pub const HOLDERS_TOPIC: &str = "/blackhole/storage/holders/1";
/// Handed out at once, from memory: 64 stripes, which bounds what a reader and a holder keep for each other.
pub const MAX_HAND_OUT_BYTES: u64 = 4 << 20;
/// The same in bao's encoding, which adds 64 bytes to 16 KiB, and the way up to the root twice.
pub const MAX_PAYLOAD_BYTES: u64 = MAX_HAND_OUT_BYTES + (64 << 10);
/// Adverts or accounts in one answer: of the shortest there are, more than this do not fit in a frame.
pub const MAX_LISTED: usize = 256;
/// What is listed in one answer, with room in the frame for what is around it.
pub const MAX_LIST_BYTES: usize = MAX_FRAME_BYTES - 2048;
/// Who is busy for longer says so again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A request of an owner, an auditor or a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRequest {
    /// Repeated in the answer.
    pub request: RequestId,
    /// What is asked.
    pub ask: Ask,
}

/// See `ShardRequest` in `storage.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Keep a shard; its bytes follow.
    Store {
        /// The shard.
        root: BlobRoot,
        /// Its length, 1 to [`MAX_SEGMENT_BYTES`].
        bytes: u64,
        /// Until when.
        lease_until: UnixSeconds,
    },
    /// Hand out a part of a shard, with the tree above it.
    HandOut {
        /// The shard.
        root: BlobRoot,
        /// Which bytes of it; not empty, within [`MAX_SEGMENT_BYTES`], and at most [`MAX_HAND_OUT_BYTES`] long.
        range: Range<u64>,
    },
    /// The asker's lease ends now.
    Drop {
        /// The shard.
        root: BlobRoot,
    },
    /// Prove that a shard is there.
    Challenge {
        /// The shard.
        root: BlobRoot,
        /// What nobody could foresee.
        beacon: [u8; 32],
        /// Time left.
        within: Duration,
        /// What the asker thinks of the holder, where it says so. Its word alone.
        opinion: Option<Opinion>,
    },
    /// What the asker thinks of the holder, where there is nothing to ask about it. Its word alone.
    Opinion(Opinion),
    /// An account of an audit, whose signature holds.
    Evidence {
        /// What it says.
        account: Box<FailedAudit>,
        /// As it was signed, for whoever passes it on.
        signed: Vec<u8>,
    },
    /// Which other holders are known, of those whose key comes after this.
    ListHolders {
        /// Where to go on; nothing for the first.
        after: Option<[u8; 32]>,
    },
    /// What is kept against holders, of accounts whose hash comes after this.
    ListEvidence {
        /// Where to go on; nothing for the first.
        after: Option<[u8; 32]>,
    },
    /// Keep an extra shard; the hashes of its groups and its bytes follow.
    Keep {
        /// The shard.
        root: BlobRoot,
        /// Its length, 1 to [`MAX_EXTRA_BYTES`].
        bytes: u64,
        /// Until when.
        lease_until: UnixSeconds,
        /// The segment it is of: said again with each [`Room`].
        segment: SegmentId,
    },
    /// What a tab would keep, and what it keeps.
    OfferRoom(Room),
}

/// What a holder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardAnswer {
    /// The request's number.
    pub request: RequestId,
    /// What is said to it.
    pub said: Said,
}

/// See `ShardAnswer` in `storage.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its signed promise, as it came: [`Lease::answers`] says whether it is the one that was asked for.
    Lease(Vec<u8>),
    /// The payload follows.
    Payload {
        /// Length of the whole shard.
        shard_bytes: u64,
        /// Length of what follows, at most [`MAX_PAYLOAD_BYTES`].
        payload_bytes: u64,
    },
    /// As asked.
    Done,
    /// Its signed proof, as it came: [`super::proof::check_answer`] says whether it is one.
    Proof(Vec<u8>),
    /// Adverts as they were signed, at most [`MAX_LISTED`]: [`super::holders::HolderAdvert::open`] says whether each is one.
    Holders {
        /// By their holders' keys.
        adverts: Vec<Vec<u8>>,
        /// Whether there are more.
        more: bool,
    },
    /// Accounts as they were signed, at most [`MAX_LISTED`]: [`FailedAudit::open`] says whether each is one.
    Evidence {
        /// By their hashes.
        accounts: Vec<Vec<u8>>,
        /// Whether there are more.
        more: bool,
    },
    /// No.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Not to ask before; at most an hour.
        retry_after: Duration,
    },
}

/// Why a frame is no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message breaks the protocol: {0}")]
pub struct MessageError(pub &'static str);

impl ShardRequest {
    /// The message's bytes, at most [`MAX_FRAME_BYTES`]; nothing for evidence that was never signed.
    pub fn encode(&self) -> Option<Vec<u8>> {
        use wire::shard_request::Ask as Wire;
        let ask = match &self.ask {
            Ask::Store { root, bytes, lease_until } => Wire::Store(wire::StoreShard {
                root: root.0.to_vec(),
                bytes: *bytes,
                lease_until_unix: lease_until.0,
            }),
            Ask::HandOut { root, range } => Wire::HandOut(wire::HandOutShard {
                root: root.0.to_vec(),
                start: range.start,
                bytes: range.end - range.start,
            }),
            Ask::Drop { root } => Wire::Drop(wire::DropShard { root: root.0.to_vec() }),
            Ask::Challenge { root, beacon, within, opinion } => Wire::Challenge(wire::ChallengeShard {
                root: root.0.to_vec(),
                beacon: beacon.to_vec(),
                within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
                opinion: opinion.as_ref().map(Opinion::to_wire),
            }),
            Ask::Opinion(opinion) => Wire::Opinion(opinion.to_wire()),
            Ask::Evidence { signed, .. } => {
                Wire::Evidence(wire::SignedFailedAudit::decode(signed.as_slice()).ok()?)
            }
            Ask::ListHolders { after } => Wire::ListHolders(wire::ListHolders { after: cursor(*after) }),
            Ask::ListEvidence { after } => Wire::ListEvidence(wire::ListEvidence { after: cursor(*after) }),
            Ask::Keep { root, bytes, lease_until, segment } => Wire::Keep(wire::KeepShard {
                root: root.0.to_vec(),
                bytes: *bytes,
                lease_until_unix: lease_until.0,
                segment: segment.0.to_vec(),
            }),
            Ask::OfferRoom(Room { bytes, kept }) => {
                let kept = kept.iter().map(|Kept { root, segment, until }| wire::KeptShard {
                    root: root.0.to_vec(),
                    segment: segment.0.to_vec(),
                    lease_until_unix: until.0,
                });
                Wire::OfferRoom(wire::OfferRoom { bytes: *bytes, kept: kept.collect() })
            }
        };
        Some(wire::ShardRequest { request: self.request.0, ask: Some(ask) }.encode_to_vec())
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn read(frame: &[u8]) -> Result<Self, MessageError> {
        use wire::shard_request::Ask as Wire;
        if frame.len() > MAX_FRAME_BYTES {
            return Err(MessageError("too long"));
        }
        let message = wire::ShardRequest::decode(frame).map_err(|_| MessageError("not protobuf"))?;
        let ask = match message.ask.ok_or(MessageError("nothing is asked"))? {
            Wire::Store(store) => {
                if !(1..=MAX_SEGMENT_BYTES).contains(&store.bytes) {
                    return Err(MessageError("no shard has that length"));
                }
                let lease_until = UnixSeconds(store.lease_until_unix);
                Ask::Store { root: root(&store.root)?, bytes: store.bytes, lease_until }
            }
            Wire::HandOut(part) => {
                let end = part.start.checked_add(part.bytes).filter(|end| *end <= MAX_SEGMENT_BYTES);
                let range = part.start..end.ok_or(MessageError("no shard is that long"))?;
                if range.is_empty() || part.bytes > MAX_HAND_OUT_BYTES {
                    return Err(MessageError("a range that is empty or too long"));
                }
                Ask::HandOut { root: root(&part.root)?, range }
            }
            Wire::Drop(drop) => Ask::Drop { root: root(&drop.root)? },
            Wire::Challenge(challenge) => Ask::Challenge {
                root: root(&challenge.root)?,
                beacon: challenge
                    .beacon
                    .as_slice()
                    .try_into()
                    .map_err(|_| MessageError("a beacon that has not 32 bytes"))?,
                within: Duration::from_millis(challenge.within_ms.into()),
                opinion: challenge.opinion.as_ref().map(Opinion::from_wire),
            },
            Wire::Opinion(opinion) => Ask::Opinion(Opinion::from_wire(&opinion)),
            Wire::Evidence(signed) => {
                let signed = signed.encode_to_vec();
                let account = FailedAudit::open(&signed);
                let account = account.map_err(|_| MessageError("evidence that does not hold"))?;
                Ask::Evidence { account: Box::new(account), signed }
            }
            Wire::ListHolders(list) => Ask::ListHolders { after: read_cursor(&list.after)? },
            Wire::ListEvidence(list) => Ask::ListEvidence { after: read_cursor(&list.after)? },
            Wire::Keep(keep) => {
                if !(1..=MAX_EXTRA_BYTES).contains(&keep.bytes) {
                    return Err(MessageError("no extra shard has that length"));
                }
                let (root, segment) = (root(&keep.root)?, segment(&keep.segment)?);
                Ask::Keep {
                    root,
                    bytes: keep.bytes,
                    lease_until: UnixSeconds(keep.lease_until_unix),
                    segment,
                }
            }
            Wire::OfferRoom(room) => {
                if room.kept.len() > SHARDS_OF_A_TAB {
                    return Err(MessageError("more shards than a tab keeps"));
                }
                let kept = room.kept.iter().map(|kept| {
                    let (root, segment) = (root(&kept.root)?, segment(&kept.segment)?);
                    Ok(Kept { root, segment, until: UnixSeconds(kept.lease_until_unix) })
                });
                Ask::OfferRoom(Room { bytes: room.bytes, kept: kept.collect::<Result<_, _>>()? })
            }
        };
        Ok(Self { request: RequestId(message.request), ask })
    }
}

impl ShardAnswer {
    /// The message's bytes, at most [`MAX_FRAME_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        use wire::shard_answer::Said as Wire;
        let said = match &self.said {
            // A lease of ours is readable; another's that is not becomes an empty one, which nobody believes.
            Said::Lease(lease) => {
                Wire::Lease(wire::SignedLease::decode(lease.as_slice()).unwrap_or_default())
            }
            Said::Payload { shard_bytes, payload_bytes } => {
                Wire::Payload(wire::ShardPayload { shard_bytes: *shard_bytes, payload_bytes: *payload_bytes })
            }
            Said::Done => Wire::Done(wire::Done {}),
            Said::Proof(proof) => Wire::Proof(proof.clone()),
            // What is unreadable becomes an empty one, as of leases.
            Said::Holders { adverts, more } => {
                let read = |bytes: &Vec<u8>| wire::SignedHolderAdvert::decode(bytes.as_slice());
                let adverts = adverts.iter().map(|bytes| read(bytes).unwrap_or_default()).collect();
                Wire::Holders(wire::HolderList { adverts, more: *more })
            }
            Said::Evidence { accounts, more } => {
                let read = |bytes: &Vec<u8>| wire::SignedFailedAudit::decode(bytes.as_slice());
                let accounts = accounts.iter().map(|bytes| read(bytes).unwrap_or_default()).collect();
                Wire::Evidence(wire::EvidenceList { accounts, more: *more })
            }
            Said::Refused { refusal, retry_after } => Wire::Refused(wire::ShardRefusal {
                refusal: refusal.code(),
                retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            }),
        };
        wire::ShardAnswer { request: self.request.0, said: Some(said) }.encode_to_vec()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn read(frame: &[u8]) -> Result<Self, MessageError> {
        use wire::shard_answer::Said as Wire;
        if frame.len() > MAX_FRAME_BYTES {
            return Err(MessageError("too long"));
        }
        let message = wire::ShardAnswer::decode(frame).map_err(|_| MessageError("not protobuf"))?;
        let said = match message.said.ok_or(MessageError("nothing is said"))? {
            Wire::Lease(signed) => {
                let lease = signed.encode_to_vec();
                Lease::open(&lease).map_err(|_| MessageError("a lease that does not hold"))?;
                Said::Lease(lease)
            }
            Wire::Payload(payload) => {
                let lawful = (1..=MAX_SEGMENT_BYTES).contains(&payload.shard_bytes)
                    && (1..=MAX_PAYLOAD_BYTES).contains(&payload.payload_bytes);
                if !lawful {
                    return Err(MessageError("no shard has that length"));
                }
                let (shard_bytes, payload_bytes) = (payload.shard_bytes, payload.payload_bytes);
                Said::Payload { shard_bytes, payload_bytes }
            }
            Wire::Done(_) => Said::Done,
            Wire::Proof(proof) if proof.len() <= MAX_ANSWER_BYTES => Said::Proof(proof),
            Wire::Proof(_) => return Err(MessageError("a proof that is too long")),
            Wire::Holders(list) if list.adverts.len() <= MAX_LISTED => Said::Holders {
                adverts: list.adverts.iter().map(prost::Message::encode_to_vec).collect(),
                more: list.more,
            },
            Wire::Evidence(list) if list.accounts.len() <= MAX_LISTED => Said::Evidence {
                accounts: list.accounts.iter().map(prost::Message::encode_to_vec).collect(),
                more: list.more,
            },
            Wire::Holders(_) | Wire::Evidence(_) => return Err(MessageError("a list that is too long")),
            Wire::Refused(refused) => Said::Refused {
                refusal: Refusal::from_code(refused.refusal),
                retry_after: Duration::from_millis(refused.retry_after_ms).min(RETRY_AFTER_MAX),
            },
        };
        Ok(Self { request: RequestId(message.request), said })
    }
}

/// As many of `items` as fit in an answer, in their order, and whether some did not.
pub fn page<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut page, mut left) = (Vec::new(), MAX_LIST_BYTES);
    for item in items {
        // A tag and a length around each.
        let takes = item.len() + 8;
        if page.len() == MAX_LISTED || takes > left {
            return (page, true);
        }
        left -= takes;
        page.push(item.to_vec());
    }
    (page, false)
}

fn cursor(after: Option<[u8; 32]>) -> Vec<u8> {
    after.map(Vec::from).unwrap_or_default()
}

fn read_cursor(bytes: &[u8]) -> Result<Option<[u8; 32]>, MessageError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| MessageError("a place in a list that has not 32 bytes"))
}

fn root(bytes: &[u8]) -> Result<BlobRoot, MessageError> {
    BlobRoot::try_from(bytes).map_err(|_| MessageError("a name that has not 32 bytes"))
}

fn segment(bytes: &[u8]) -> Result<SegmentId, MessageError> {
    bytes.try_into().map(SegmentId).map_err(|_| MessageError("a segment's name that has not 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        identity::Keypair,
        storage::{
            holders::MAX_EVIDENCE_BYTES,
            proof::{Challenge, Standing, Transcript, Verdict},
        },
    };

    fn check_request(ask: Ask) {
        let request = ShardRequest { request: RequestId(7), ask };
        assert_eq!(ShardRequest::read(&request.encode().unwrap()), Ok(request));
    }

    fn check_answer(said: Said) {
        let answer = ShardAnswer { request: RequestId(7), said };
        assert_eq!(ShardAnswer::read(&answer.encode()), Ok(answer));
    }

    const ROOT: BlobRoot = BlobRoot([5; 32]);

    #[test]
    fn messages_read_back() {
        check_request(Ask::Store { root: ROOT, bytes: 1, lease_until: UnixSeconds(9) });
        check_request(Ask::HandOut { root: ROOT, range: MAX_SEGMENT_BYTES - 5..MAX_SEGMENT_BYTES });
        check_request(Ask::Drop { root: ROOT });
        let mut standing = Standing::default();
        standing.handle_verdict(Verdict::Lost);
        let opinion = Opinion::new(&standing, 0);
        check_request(Ask::Opinion(opinion));
        for opinion in [None, Some(opinion)] {
            let within = Duration::from_millis(2000);
            check_request(Ask::Challenge { root: ROOT, beacon: [3; 32], within, opinion });
        }
        let holder = Keypair::from_secret([1; 32]);
        let lease = Lease {
            root: ROOT,
            bytes: 100,
            owner: Keypair::from_secret([2; 32]).public(),
            holder: holder.public(),
            issued: UnixSeconds(10),
            until: UnixSeconds(20),
        };
        check_answer(Said::Lease(lease.sign(&holder)));
        check_answer(Said::Payload { shard_bytes: 5, payload_bytes: 9 });
        check_answer(Said::Done);
        check_answer(Said::Proof(vec![1, 2, 3]));
        for after in [None, Some([7; 32])] {
            check_request(Ask::ListHolders { after });
            check_request(Ask::ListEvidence { after });
        }
        let segment = SegmentId([6; 32]);
        check_request(Ask::Keep { root: ROOT, bytes: MAX_EXTRA_BYTES, lease_until: UnixSeconds(9), segment });
        let kept = vec![Kept { root: ROOT, segment, until: UnixSeconds(9) }; SHARDS_OF_A_TAB];
        check_request(Ask::OfferRoom(Room { bytes: 7, kept }));
        for more in [false, true] {
            check_answer(Said::Holders { adverts: Vec::new(), more });
            check_answer(Said::Evidence { accounts: vec![Vec::new()], more });
        }
        check_answer(Said::Refused { refusal: Refusal::Busy, retry_after: Duration::from_secs(5) });
    }

    /// Whoever changes these bytes changes the protocol: then its name has to change too.
    #[test]
    fn requests_keep_their_bytes() {
        let ask = Ask::Store { root: ROOT, bytes: 300, lease_until: UnixSeconds(9) };
        let bytes = ShardRequest { request: RequestId(7), ask }.encode().unwrap();
        assert_eq!(hex::encode(bytes), format!("080712270a20{}10ac021809", "05".repeat(32)));

        // Who does not say what it thinks asks as was asked before anybody could.
        let mut standing = Standing::default();
        (0..2).for_each(|_| standing.handle_verdict(Verdict::Silent));
        let opinion = Opinion::new(&standing, 0);
        let (root, said) = ("05".repeat(32), "200230ca053801");
        for (opinion, length, said) in [(None, "47", ""), (Some(opinion), "50", &*format!("2207{said}"))] {
            let ask = Ask::Challenge { root: ROOT, beacon: [3; 32], within: Duration::from_secs(2), opinion };
            let bytes = ShardRequest { request: RequestId(7), ask }.encode().unwrap();
            let beacon = "03".repeat(32);
            let expect = format!("08072a{length}0a20{root}1220{beacon}18d00f{said}");
            assert_eq!(hex::encode(bytes), expect);
        }
        let bytes = ShardRequest { request: RequestId(7), ask: Ask::Opinion(opinion) }.encode().unwrap();
        assert_eq!(hex::encode(bytes), format!("08075a07{said}"));
    }

    #[test]
    fn evidence_travels_as_it_was_signed() {
        let holder = Keypair::from_secret([1; 32]).public();
        let transcript = Transcript {
            challenge: Challenge { root: ROOT, beacon: [1; 32], holder },
            verdict: Verdict::Silent,
            answer: None,
        };
        let auditor = Keypair::from_secret([2; 32]);
        let audit = FailedAudit { auditor: auditor.public(), transcript, observed: UnixSeconds(5) };
        let signed = audit.sign(&auditor);
        check_request(Ask::Evidence { account: Box::new(audit), signed });
    }

    #[test]
    fn a_page_fits_in_a_frame_and_says_whether_there_is_more() {
        let check = |count: usize, bytes: usize, expect: usize| {
            let items = vec![vec![0; bytes]; count];
            let (listed, more) = page(items.iter().map(Vec::as_slice));
            assert_eq!((listed.len(), more), (expect, expect < count), "{count} of {bytes}");
        };
        check(0, 9, 0);
        check(256, 9, 256);
        check(257, 9, 256);
        check(100, 2048, 30);
        check(3, MAX_EVIDENCE_BYTES, 1);
        let accounts = page(core::iter::repeat_n(&[0; MAX_EVIDENCE_BYTES][..], 9)).0;
        assert!(!accounts.is_empty() && accounts.concat().len() < MAX_FRAME_BYTES);
    }

    #[test]
    fn what_no_shard_can_be_is_refused() {
        let refuse = |ask| {
            let bytes = ShardRequest { request: RequestId(7), ask }.encode().unwrap();
            assert!(ShardRequest::read(&bytes).is_err());
        };
        for bytes in [0, MAX_SEGMENT_BYTES + 1, u64::MAX] {
            refuse(Ask::Store { root: ROOT, bytes, lease_until: UnixSeconds(9) });
        }
        let segment = SegmentId([6; 32]);
        for bytes in [0, MAX_EXTRA_BYTES + 1] {
            refuse(Ask::Keep { root: ROOT, bytes, lease_until: UnixSeconds(9), segment });
        }
        let kept = vec![Kept { root: ROOT, segment, until: UnixSeconds(9) }; SHARDS_OF_A_TAB + 1];
        refuse(Ask::OfferRoom(Room { bytes: 7, kept }));
        refuse(Ask::HandOut { root: ROOT, range: 5..5 });
        refuse(Ask::HandOut { root: ROOT, range: MAX_SEGMENT_BYTES..MAX_SEGMENT_BYTES + 1 });
        refuse(Ask::HandOut { root: ROOT, range: 0..MAX_HAND_OUT_BYTES + 1 });
        assert!(ShardRequest::read(&[]).is_err() && ShardAnswer::read(&[]).is_err());
        let payload = Said::Payload { shard_bytes: 5, payload_bytes: MAX_PAYLOAD_BYTES + 1 };
        assert!(ShardAnswer::read(&ShardAnswer { request: RequestId(1), said: payload }.encode()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ShardRequest::read(&bytes);
            let _ = ShardAnswer::read(&bytes);
        }
    }
}
