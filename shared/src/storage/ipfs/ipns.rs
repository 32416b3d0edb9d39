//! IPNS: a name that is a key, and a signed record of what it stands for now
//! (<https://specs.ipfs.tech/ipns/ipns-record/>).
//!
//! Names are of Ed25519 keys; older kinds of keys are refused. Records are written without the signature of version 1.

use libp2p_identity::{PeerId, PublicKey};
use multibase::Base;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{Cid, LIBP2P_KEY};
use crate::{
    base::UnixSeconds,
    identity::{Keypair, timestamp},
    wire::ipfs::IpnsEntry,
};

/// What every implementation must take; longer records are refused.
pub const MAX_RECORD_BYTES: usize = 10 * 1024;
/// A path of a record. Longer ones fit no URL.
const MAX_VALUE_BYTES: usize = 4096;
/// Before what is signed.
const PREFIX: &[u8] = b"ipns-signature:";
const NANOS_A_SECOND: u64 = 1_000_000_000;

/// A name: the peer id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(PeerId);

/// A record whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the name stands for: `/ipfs/…` or `/ipns/…`.
    pub value: String,
    /// The higher replaces the lower.
    pub sequence: u64,
    /// Not good any more from then on.
    pub expires: UnixSeconds,
    /// For how long to keep it before asking again.
    pub ttl_seconds: u64,
}

/// Why a name or a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpnsError {
    /// No name of an Ed25519 key.
    #[error("not an IPNS name of an Ed25519 key")]
    Name,
    /// Longer than [`MAX_RECORD_BYTES`].
    #[error("a record of more than {MAX_RECORD_BYTES} bytes")]
    TooLong,
    /// No record, or one without what is signed.
    #[error("not an IPNS record")]
    Malformed,
    /// Not signed by the name's key.
    #[error("the record is not signed by the name's key")]
    Signature,
    /// The fields of version 1 say something else than what is signed.
    #[error("the record's old fields are not what is signed")]
    Disagreement,
    /// Its time is over.
    #[error("the record has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
    #[serde(with = "serde_bytes")]
    validity: Vec<u8>,
    validity_type: u64,
    sequence: u64,
    #[serde(rename = "TTL")]
    ttl: u64,
}

impl Name {
    /// The name of a key.
    pub fn of(key: &Keypair) -> Self {
        Self(key.public().to_peer_id())
    }

    /// Reads a name: a CID with the codec of keys, or a peer id.
    ///
    /// # Errors
    /// [`IpnsError::Name`].
    pub fn parse(text: &str) -> Result<Self, IpnsError> {
        let peer = match text.parse::<PeerId>() {
            Ok(peer) => peer,
            Err(_) => {
                let cid: Cid = text.parse().map_err(|_| IpnsError::Name)?;
                if cid.codec() != LIBP2P_KEY {
                    return Err(IpnsError::Name);
                }
                PeerId::from_bytes(&cid.hash().to_bytes()).map_err(|_| IpnsError::Name)?
            }
        };
        let name = Self(peer);
        name.key().map(|_| name)
    }

    /// The name as a CID.
    pub fn cid(&self) -> Cid {
        Cid::new_v1(LIBP2P_KEY, *self.0.as_ref())
    }

    /// The name's bytes, under which its record is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Small keys stand in their names.
    fn key(&self) -> Result<PublicKey, IpnsError> {
        let hash: &multihash::Multihash<64> = self.0.as_ref();
        if hash.code() != 0 {
            return Err(IpnsError::Name);
        }
        let key = PublicKey::try_decode_protobuf(hash.digest()).map_err(|_| IpnsError::Name)?;
        key.clone().try_into_ed25519().map_err(|_| IpnsError::Name)?;
        Ok(key)
    }
}

/// In base 36, so that it fits a label of a host's name.
impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.cid().to_string_of_base(Base::Base36Lower).map_err(|_| core::fmt::Error)?)
    }
}

impl Record {
    /// Signs the record.
    ///
    /// # Errors
    /// [`IpnsError::TooLong`] where the value is.
    pub fn sign(&self, key: &Keypair) -> Result<Vec<u8>, IpnsError> {
        if self.value.len() > MAX_VALUE_BYTES {
            return Err(IpnsError::TooLong);
        }
        let data = Data {
            value: self.value.clone().into_bytes(),
            validity: timestamp::format(self.expires).into_bytes(),
            validity_type: 0,
            sequence: self.sequence,
            ttl: self.ttl_seconds.saturating_mul(NANOS_A_SECOND),
        };
        let data = serde_ipld_dagcbor::to_vec(&data).expect("five fields that CBOR knows");
        let signature = key.to_libp2p().sign(&[PREFIX, &data].concat()).map_err(|_| IpnsError::Signature)?;
        let entry = IpnsEntry { signature_v2: Some(signature), data: Some(data), ..Default::default() };
        Ok(entry.encode_to_vec())
    }

    /// Verifies a record of `name`.
    ///
    /// # Errors
    /// [`IpnsError`].
    pub fn open(name: &Name, bytes: &[u8], now: UnixSeconds) -> Result<Self, IpnsError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(IpnsError::TooLong);
        }
        let entry = IpnsEntry::decode(bytes).map_err(|_| IpnsError::Malformed)?;
        let (Some(signature), Some(signed)) = (&entry.signature_v2, &entry.data) else {
            return Err(IpnsError::Malformed);
        };
        if !name.key()?.verify(&[PREFIX, signed].concat(), signature) {
            return Err(IpnsError::Signature);
        }
        let data: Data = serde_ipld_dagcbor::from_slice(signed).map_err(|_| IpnsError::Malformed)?;
        if (entry.signature_v1.is_some() || entry.value.is_some()) && !agrees(&entry, &data) {
            return Err(IpnsError::Disagreement);
        }
        let validity = core::str::from_utf8(&data.validity).ok().and_then(timestamp::parse);
        let (0, Some(expires)) = (data.validity_type, validity) else { return Err(IpnsError::Malformed) };
        if expires <= now {
            return Err(IpnsError::Expired);
        }
        let value = String::from_utf8(data.value).map_err(|_| IpnsError::Malformed)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(IpnsError::TooLong);
        }
        Ok(Self { value, sequence: data.sequence, expires, ttl_seconds: data.ttl / NANOS_A_SECOND })
    }
}

/// What was not written stands for zero and for nothing.
fn agrees(entry: &IpnsEntry, data: &Data) -> bool {
    entry.value.as_deref().unwrap_or_default() == data.value
        && entry.validity.as_deref().unwrap_or_default() == data.validity
        && u64::try_from(entry.validity_type.unwrap_or_default()) == Ok(data.validity_type)
        && entry.sequence.unwrap_or_default() == data.sequence
        && entry.ttl.unwrap_or_default() == data.ttl
}
