//! A node's statement of which services it provides.
//!
//! The signature is the node's own, so an advert can travel through anybody. It lasts an hour at
//! most: a table of adverts forgets the dead by itself.

use core::{fmt, str::FromStr};

use prost::Message as _;

use crate::{
    base::UnixSeconds,
    identity::{Context, Keypair, PublicKey},
    wire::coordination as wire,
};

/// The largest encoded advert: sixteen services and sixteen addresses of WebRTC length, twice over.
pub const MAX_ADVERT_BYTES: usize = 4096;

/// Who is still there after an hour says so again.
pub const MAX_ADVERT_LIFETIME_SECONDS: u64 = 3600;

/// How far apart the clocks of two supernodes may be. Servers keep time; visitors' clocks are not
/// asked here.
pub const MAX_ADVERT_SKEW_SECONDS: u64 = 300;

/// The version of [`wire::Advert`] this code speaks.
const VERSION: u32 = 1;

/// A node has five services today.
const MAX_SERVICES: usize = 16;

/// Five transports on two address families, and names.
const MAX_ADDRESSES: usize = 16;

/// A WebRTC address with two certificate hashes has some 120 bytes, a name adds up to 255.
const MAX_ADDRESS_BYTES: usize = 512;

/// A service's libp2p protocol id, such as `/blackhole/cdn/1.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(String);

/// A text that is no protocol id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a service is named by its protocol id, like /blackhole/cdn/1.0.0, in at most 64 printable bytes")]
pub struct ServiceNameError;

impl ServiceName {
    /// A protocol id of five words would fit.
    const MAX_BYTES: usize = 64;

    /// The protocol id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key in the DHT under which nodes that provide this service are found: the BLAKE3
    /// multihash of the protocol id, so that every libp2p can ask for it as a CID.
    pub fn key(&self) -> Vec<u8> {
        const BLAKE3_MULTIHASH: [u8; 2] = [0x1e, 32];
        [&BLAKE3_MULTIHASH[..], blake3::hash(self.0.as_bytes()).as_bytes()].concat()
    }
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(text: &str) -> Result<Self, ServiceNameError> {
        let well_formed = text.len() <= Self::MAX_BYTES
            && text.len() > 1
            && text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if well_formed { Ok(Self(text.to_owned())) } else { Err(ServiceNameError) }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An advert whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Who says it.
    pub node: PublicKey,
    /// The highest replaces all others of the node.
    pub sequence: u64,
    /// When it was said.
    pub issued: UnixSeconds,
    /// Until when it may be believed.
    pub expires: UnixSeconds,
    /// What the node provides, in ascending order.
    pub services: Vec<ServiceName>,
    /// Where to dial it, as binary multiaddresses; not looked into here.
    pub addresses: Vec<Vec<u8>>,
}

/// Why an advert is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// Larger than any honest one.
    #[error("the advert has {0} bytes, and {MAX_ADVERT_BYTES} are the most")]
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
}

impl Advert {
    /// Whether it may be believed at `now`.
    pub fn is_current(&self, now: UnixSeconds) -> bool {
        now < self.expires && self.issued <= now.plus(MAX_ADVERT_SKEW_SECONDS)
    }

    /// Encodes and signs. `node` is replaced by the signer, lists are cut to what a reader takes.
    pub fn sign(mut self, node: &Keypair) -> Vec<u8> {
        self.services.sort();
        self.services.dedup();
        self.services.truncate(MAX_SERVICES);
        self.addresses.retain(|address| address.len() <= MAX_ADDRESS_BYTES);
        self.addresses.truncate(MAX_ADDRESSES);
        loop {
            let signed = self.encode(node);
            if signed.len() <= MAX_ADVERT_BYTES || self.addresses.pop().is_none() {
                return signed;
            }
        }
    }

    fn encode(&self, node: &Keypair) -> Vec<u8> {
        let services = self.services.iter().map(|name| wire::Service { protocol: name.0.clone() });
        let advert = wire::Advert {
            version: VERSION,
            node: node.public().to_bytes().to_vec(),
            sequence: self.sequence,
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
            services: services.collect(),
            addresses: self.addresses.clone(),
        }
        .encode_to_vec();
        let signature = node.sign(Context::Advert, &advert).to_vec();
        wire::SignedAdvert { advert, signature }.encode_to_vec()
    }

    /// Reads and verifies an advert. Whether it is current is [`Advert::is_current`]'s question.
    ///
    /// # Errors
    /// [`AdvertError`], cheapest reason first: the signature is looked at last.
    pub fn open(bytes: &[u8]) -> Result<Self, AdvertError> {
        use AdvertError::{Malformed, Oversize, Signature, Version};
        if bytes.len() > MAX_ADVERT_BYTES {
            return Err(Oversize(bytes.len()));
        }
        let signed = wire::SignedAdvert::decode(bytes).map_err(|_| Malformed("not protobuf"))?;
        let inner = wire::Advert::decode(signed.advert.as_slice())
            .map_err(|_| Malformed("its inner part is not protobuf"))?;
        if inner.version != VERSION {
            return Err(Version(inner.version));
        }
        if inner.services.len() > MAX_SERVICES || inner.addresses.len() > MAX_ADDRESSES {
            return Err(Malformed("too many services or addresses"));
        }
        if inner.addresses.iter().any(|address| address.len() > MAX_ADDRESS_BYTES) {
            return Err(Malformed("an address is too long"));
        }
        let lifetime = UnixSeconds(inner.issued_unix).until(UnixSeconds(inner.expires_unix));
        if lifetime == 0 || lifetime > MAX_ADVERT_LIFETIME_SECONDS {
            return Err(Malformed("it ends before it begins, or lasts too long"));
        }
        let services = inner.services.iter().map(|service| service.protocol.parse());
        let services = services
            .collect::<Result<Vec<ServiceName>, _>>()
            .map_err(|_| Malformed("a service has no name"))?;
        if !services.is_sorted_by(|one, next| one < next) {
            return Err(Malformed("its services are out of order"));
        }
        let node = PublicKey::from_bytes(&inner.node).map_err(|_| Malformed("its node is no key"))?;
        if !node.verify(Context::Advert, &signed.advert, &signed.signature) {
            return Err(Signature);
        }
        Ok(Self {
            node,
            sequence: inner.sequence,
            issued: UnixSeconds(inner.issued_unix),
            expires: UnixSeconds(inner.expires_unix),
            services,
            addresses: inner.addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> (Keypair, Advert) {
        let node = Keypair::from_secret([7; 32]);
        let advert = Advert {
            node: node.public(),
            sequence: 5,
            issued: UnixSeconds(1_000_000),
            expires: UnixSeconds(1_001_200),
            services: vec![
                "/blackhole/cdn/1.0.0".parse().unwrap(),
                "/blackhole/storage/1.0.0".parse().unwrap(),
            ],
            addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x0f, 0xa1]],
        };
        (node, advert)
    }

    #[test]
    fn an_advert_opens_to_what_was_signed() {
        let (node, advert) = example();
        assert_eq!(Advert::open(&advert.clone().sign(&node)), Ok(advert));
    }

    /// Whoever changes these bytes changes the protocol: then the version has to change too.
    #[test]
    fn the_bytes_of_version_1_stay_what_they_are() {
        let (node, advert) = example();
        let hash = blake3::hash(&advert.sign(&node)).to_hex();
        assert_eq!(hash.as_str(), GOLDEN);
    }

    const GOLDEN: &str = "efc612d35a6c7d6b66a3a74c47819286222e7ced6616c8a8ff88a4de014da1b4";

    #[test]
    fn any_changed_byte_is_caught() {
        let (node, advert) = example();
        let signed = advert.sign(&node);
        for at in 0..signed.len() {
            let mut forged = signed.clone();
            forged[at] ^= 1;
            assert!(Advert::open(&forged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn it_is_believed_from_its_issue_to_its_end() {
        let (_, advert) = example();
        let current = |at| advert.is_current(UnixSeconds(at));
        assert!(!current(1_000_000 - 301) && current(1_000_000 - 300), "clocks differ by minutes");
        assert!(current(1_001_199) && !current(1_001_200));
    }

    #[test]
    fn what_is_signed_can_be_read_whatever_was_put_in() {
        let (node, mut advert) = example();
        advert.services = (0..40).rev().map(|n| format!("/service/{n:060}")[..64].parse().unwrap()).collect();
        advert.addresses = (0..40).map(|n| vec![n; 400]).chain([vec![0; 600]]).collect();
        let opened = Advert::open(&advert.sign(&node)).unwrap();
        assert!(!opened.services.is_empty() && !opened.addresses.is_empty());
    }

    #[test]
    fn too_long_a_life_is_refused() {
        let (node, mut advert) = example();
        for expires in [1_000_000 + MAX_ADVERT_LIFETIME_SECONDS + 1, 1_000_000, 0] {
            advert.expires = UnixSeconds(expires);
            assert!(matches!(Advert::open(&advert.clone().sign(&node)), Err(AdvertError::Malformed(_))));
        }
    }

    #[test]
    fn service_names_are_protocol_ids() {
        for bad in ["", "/", "cdn", "/a b", "/ä", &format!("/{}", "x".repeat(64))] {
            assert_eq!(bad.parse::<ServiceName>(), Err(ServiceNameError), "{bad}");
        }
        let key = "/blackhole/cdn/1.0.0".parse::<ServiceName>().unwrap().key();
        assert_eq!((key.len(), key[0], key[1]), (34, 0x1e, 32));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Advert::open(&bytes);
        }
    }
}
