//! A holder's statement of what it offers.

use prost::Message as _;

use crate::{
    base::UnixSeconds,
    coordination::MAX_ADVERT_SKEW_SECONDS,
    identity::{Context, Keypair, PublicKey, SIGNATURE_BYTES},
    storage::placement::{Holder, HolderKind, Network},
    wire::{occurrences, storage as wire},
};

/// Eight addresses of full length, three keys and signatures, and room for the numbers.
pub const MAX_HOLDER_ADVERT_BYTES: usize = 2048;
/// Who is still there after an hour says so again.
pub const MAX_HOLDER_ADVERT_LIFETIME_SECONDS: u64 = 3600;
/// A name and a version.
pub const MAX_SOFTWARE_BYTES: usize = 32;

/// The one layout there is so far.
const VERSION: u32 = 1;
/// Four transports on two address families.
const MAX_ADDRESSES: usize = 8;
/// A WebRTC address with a certificate's hash has some 80 bytes.
const MAX_ADDRESS_BYTES: usize = 128;
/// `HolderAdvert.addresses` in `storage.proto`.
const ADDRESSES_FIELD: u32 = 16;

/// An advert whose signatures were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderAdvert {
    /// Who says it.
    pub node: PublicKey,
    /// Whose it is, by the operator's own word.
    pub operator: PublicKey,
    /// That word, from [`vouch`]; empty where the operator is the node.
    pub operator_signature: Vec<u8>,
    /// The highest replaces all others of the node.
    pub sequence: u64,
    /// When it was said.
    pub issued: UnixSeconds,
    /// Until when it may be believed.
    pub expires: UnixSeconds,
    /// What there is room for.
    pub free_bytes: u64,
    /// For a GiB and a month, in the smallest unit of account.
    pub price: u64,
    /// Where it says it is reached.
    pub network: Network,
    /// Where it stands, by the network's own table.
    pub region: u16,
    /// Who carries its traffic.
    pub autonomous_system: u32,
    /// What it runs on.
    pub kind: HolderKind,
    /// Name and version, at most [`MAX_SOFTWARE_BYTES`].
    pub software: String,
    /// Audits that it says it passed.
    pub claimed_audits: u64,
    /// Where to dial it, as binary multiaddresses; not looked into here.
    pub addresses: Vec<Vec<u8>>,
}

/// Why an advert is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HolderAdvertError {
    /// Larger than any honest one.
    #[error("the advert has {0} bytes, and {MAX_HOLDER_ADVERT_BYTES} are the most")]
    Oversize(usize),
    /// The bytes are not an advert.
    #[error("the advert cannot be read: {0}")]
    Malformed(&'static str),
    /// Of a version this code does not know.
    #[error("the advert has version {0}, and this node reads {VERSION}")]
    Version(u32),
    /// Not signed by the node it names.
    #[error("the advert's signature is not its node's")]
    Signature,
    /// The operator it names did not say that the node is its own.
    #[error("the operator it names did not vouch for the node")]
    Operator,
}

/// An operator's word that `node` is its own, for [`HolderAdvert::operator_signature`].
pub fn vouch(operator: &Keypair, node: &PublicKey) -> Vec<u8> {
    if operator.public() == *node {
        return Vec::new();
    }
    operator.sign(Context::HolderOperator, &node.to_bytes()).to_vec()
}

impl HolderAdvert {
    /// Whether it may be believed at `now`.
    pub fn is_current(&self, now: UnixSeconds) -> bool {
        now < self.expires && self.issued <= now.plus(MAX_ADVERT_SKEW_SECONDS)
    }

    /// The holder as placement sees it. Audits and reputation are the owner's own count, not the holder's.
    pub fn holder(&self, passed_audits: u64, reputation: u16) -> Holder {
        Holder {
            node: self.node.clone(),
            operator: self.operator.clone(),
            network: self.network,
            region: self.region,
            autonomous_system: self.autonomous_system,
            free_bytes: self.free_bytes,
            price: self.price,
            reputation,
            passed_audits,
            kind: self.kind,
        }
    }

    /// Encodes and signs. `node` is replaced by the signer, what is too long is left out.
    pub fn sign(mut self, node: &Keypair) -> Vec<u8> {
        self.addresses.retain(|address| !address.is_empty() && address.len() <= MAX_ADDRESS_BYTES);
        self.addresses.truncate(MAX_ADDRESSES);
        let software = self.software.chars().filter(char::is_ascii_graphic).take(MAX_SOFTWARE_BYTES);
        let network = match self.network {
            Network::V4(bytes) => bytes.to_vec(),
            Network::V6(bytes) => bytes.to_vec(),
        };
        let kind = match self.kind {
            HolderKind::Supernode => wire::HolderKind::Supernode,
            HolderKind::Tab => wire::HolderKind::Tab,
        };
        let advert = wire::HolderAdvert {
            version: VERSION,
            node: node.public().to_bytes().to_vec(),
            operator: self.operator.to_bytes().to_vec(),
            operator_signature: self.operator_signature,
            sequence: self.sequence,
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
            free_bytes: self.free_bytes,
            price: self.price,
            network,
            region: self.region.into(),
            autonomous_system: self.autonomous_system,
            kind: kind.into(),
            software: software.collect(),
            passed_audits: self.claimed_audits,
            addresses: self.addresses,
        }
        .encode_to_vec();
        let signature = node.sign(Context::HolderAdvert, &advert).to_vec();
        wire::SignedHolderAdvert { advert, signature }.encode_to_vec()
    }

    /// Reads and verifies an advert. Whether it is current is [`HolderAdvert::is_current`]'s question.
    ///
    /// # Errors
    /// [`HolderAdvertError`], cheapest reason first: signatures are looked at last.
    pub fn open(bytes: &[u8]) -> Result<Self, HolderAdvertError> {
        use HolderAdvertError::{Malformed, Operator, Oversize, Signature, Version};
        if bytes.len() > MAX_HOLDER_ADVERT_BYTES {
            return Err(Oversize(bytes.len()));
        }
        let signed = wire::SignedHolderAdvert::decode(bytes).map_err(|_| Malformed("not protobuf"))?;
        let addresses = occurrences(&signed.advert, ADDRESSES_FIELD)
            .map_err(|_| Malformed("its inner part is not protobuf"))?;
        if addresses > MAX_ADDRESSES {
            return Err(Malformed("too many addresses"));
        }
        let inner = wire::HolderAdvert::decode(signed.advert.as_slice())
            .map_err(|_| Malformed("its inner part is not protobuf"))?;
        if inner.version != VERSION {
            return Err(Version(inner.version));
        }
        let lawful = |address: &Vec<u8>| (1..=MAX_ADDRESS_BYTES).contains(&address.len());
        if !inner.addresses.iter().all(lawful) {
            return Err(Malformed("an address is empty or too long"));
        }
        let lifetime = UnixSeconds(inner.issued_unix).until(UnixSeconds(inner.expires_unix));
        if lifetime == 0 || lifetime > MAX_HOLDER_ADVERT_LIFETIME_SECONDS {
            return Err(Malformed("it ends before it begins, or lasts too long"));
        }
        if inner.software.len() > MAX_SOFTWARE_BYTES || !inner.software.chars().all(|c| c.is_ascii_graphic())
        {
            return Err(Malformed("its software has no name"));
        }
        let network = match *inner.network.as_slice() {
            [a, b, c] => Network::V4([a, b, c]),
            ref bytes => Network::V6(bytes.try_into().map_err(|_| Malformed("its network is none"))?),
        };
        let region = u16::try_from(inner.region).map_err(|_| Malformed("its region is none"))?;
        let kind = match wire::HolderKind::try_from(inner.kind) {
            Ok(wire::HolderKind::Supernode) => HolderKind::Supernode,
            Ok(wire::HolderKind::Tab) => HolderKind::Tab,
            _ => return Err(Malformed("an unknown kind of holder")),
        };
        let node = PublicKey::from_bytes(&inner.node).map_err(|_| Malformed("its node is no key"))?;
        let operator =
            PublicKey::from_bytes(&inner.operator).map_err(|_| Malformed("its operator is no key"))?;
        if !node.verify(Context::HolderAdvert, &signed.advert, &signed.signature) {
            return Err(Signature);
        }
        let vouched = if operator == node {
            inner.operator_signature.is_empty()
        } else {
            inner.operator_signature.len() == SIGNATURE_BYTES
                && operator.verify(Context::HolderOperator, &node.to_bytes(), &inner.operator_signature)
        };
        if !vouched {
            return Err(Operator);
        }
        Ok(Self {
            node,
            operator,
            operator_signature: inner.operator_signature,
            sequence: inner.sequence,
            issued: UnixSeconds(inner.issued_unix),
            expires: UnixSeconds(inner.expires_unix),
            free_bytes: inner.free_bytes,
            price: inner.price,
            network,
            region,
            autonomous_system: inner.autonomous_system,
            kind,
            software: inner.software,
            claimed_audits: inner.passed_audits,
            addresses: inner.addresses,
        })
    }
}
