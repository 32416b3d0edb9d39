//! The holders one node knows of.

use std::collections::BTreeMap;

use super::{HolderAdvert, HolderAdvertError};
use crate::{base::UnixSeconds, identity::PublicKey};

/// Some 16 MB of adverts, read and as they were signed. A segment needs 128 holders at the most, so a sample of the network is enough.
pub const MAX_HOLDERS: usize = 8192;
/// A node that says more often what it offers is not listened to: each statement is passed on by everybody.
const RENEWAL_SECONDS_MIN: u64 = 10;

/// What became of an advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderVerdict {
    /// It says something new of this node: pass it on.
    Fresh(PublicKey),
    /// The same or a newer one is known.
    Known,
    /// Not believed, or not kept.
    Refused(HolderRefusal),
}

/// Why an advert was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HolderRefusal {
    /// It is no advert.
    #[error(transparent)]
    Advert(#[from] HolderAdvertError),
    /// Past its time, or of a clock far ahead.
    #[error("the advert is not of this time")]
    NotCurrent,
    /// The node said something just now.
    #[error("the holder says too often what it offers")]
    TooSoon,
    /// [`MAX_HOLDERS`] are known. Who is here stays: keys cost nothing, so newcomers must not push out.
    #[error("{MAX_HOLDERS} holders are known already")]
    Full,
}

/// Adverts by node, the newest of each.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    adverts: BTreeMap<PublicKey, Said>,
}

#[derive(Clone, Debug)]
struct Said {
    advert: HolderAdvert,
    signed: Vec<u8>,
}

impl Directory {
    /// What a holder said last, if that may still be believed.
    pub fn get(&self, now: UnixSeconds, node: &PublicKey) -> Option<&HolderAdvert> {
        self.adverts.get(node).map(|said| &said.advert).filter(|advert| advert.is_current(now))
    }

    /// All adverts that may be believed, by key.
    pub fn current(&self, now: UnixSeconds) -> impl Iterator<Item = &HolderAdvert> {
        self.adverts.values().map(|said| &said.advert).filter(move |advert| advert.is_current(now))
    }

    /// Adverts that may be believed, as they were signed, of holders whose key comes after `after`, by key.
    pub fn signed(&self, now: UnixSeconds, after: Option<[u8; 32]>) -> impl Iterator<Item = &[u8]> {
        let behind = move |node: &PublicKey| after.is_none_or(|after| node.to_bytes() > after);
        let current = move |said: &Said| said.advert.is_current(now);
        let listed = self.adverts.iter().filter(move |(node, said)| behind(node) && current(said));
        listed.map(|(_, said)| said.signed.as_slice())
    }

    /// An advert came, from anybody.
    pub fn handle_advert(&mut self, now: UnixSeconds, bytes: &[u8]) -> HolderVerdict {
        match self.judge(now, bytes) {
            Ok(verdict) => verdict,
            Err(refusal) => HolderVerdict::Refused(refusal),
        }
    }

    fn judge(&mut self, now: UnixSeconds, bytes: &[u8]) -> Result<HolderVerdict, HolderRefusal> {
        let advert = HolderAdvert::open(bytes)?;
        if !advert.is_current(now) {
            return Err(HolderRefusal::NotCurrent);
        }
        match self.adverts.get(&advert.node) {
            Some(Said { advert: known, .. }) if known.sequence >= advert.sequence => {
                return Ok(HolderVerdict::Known);
            }
            Some(Said { advert: known, .. }) if known.issued.plus(RENEWAL_SECONDS_MIN) > advert.issued => {
                return Err(HolderRefusal::TooSoon);
            }
            Some(_) => {}
            None if self.adverts.len() >= MAX_HOLDERS => {
                self.adverts.retain(|_, known| now < known.advert.expires);
                if self.adverts.len() >= MAX_HOLDERS {
                    return Err(HolderRefusal::Full);
                }
            }
            None => {}
        }
        let node = advert.node.clone();
        self.adverts.insert(node.clone(), Said { advert, signed: bytes.to_vec() });
        Ok(HolderVerdict::Fresh(node))
    }

    /// Forgets what is past its time, and says of whom that was.
    pub fn handle_time(&mut self, now: UnixSeconds) -> Vec<PublicKey> {
        let gone = |(node, said): (&PublicKey, &Said)| (now >= said.advert.expires).then(|| node.clone());
        let gone: Vec<PublicKey> = self.adverts.iter().filter_map(gone).collect();
        for node in &gone {
            self.adverts.remove(node);
        }
        gone
    }
}
