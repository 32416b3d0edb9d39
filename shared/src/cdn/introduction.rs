//! Offers and answers by which tabs come to be linked: signed by the tab they describe, so that whoever passes them
//! on cannot stand in for it. Who passes them on, and to whom: [`crate::peer`]. See `Offer` in `cdn.proto`.

pub use crate::wire::cdn::Reach;

use super::offences::Offence;
use crate::{
    base::SiteId,
    identity::{Context, Keypair, PublicKey},
    wire::cdn as wire,
};

/// Longest description. A browser's, with the candidates of a machine with many interfaces, takes about two KiB.
pub const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Most who may pass an offer on.
pub const MAX_HOPS: u32 = 4;

/// See `Offer` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Drawn at random.
    pub id: u64,
    /// Who can be reached so.
    pub from: PublicKey,
    /// Where it takes part.
    pub site: SiteId,
    /// Who can hope to.
    pub reach: Reach,
    /// How it is reached.
    pub description: String,
    signature: Vec<u8>,
    /// How many may still pass it on; at most [`MAX_HOPS`].
    pub hops: u32,
}

/// See `Answer` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the offer.
    pub id: u64,
    /// Who answers.
    pub from: PublicKey,
    /// Who can hope to reach it.
    pub reach: Reach,
    /// How it is reached.
    pub description: String,
    signature: Vec<u8>,
}

impl Offer {
    /// Signs an offer.
    pub fn sign(
        keypair: &Keypair,
        id: u64,
        site: SiteId,
        reach: Reach,
        description: String,
        hops: u32,
    ) -> Self {
        let signature = keypair.sign(Context::Offer, &said(id, &site.0, reach, &description)).to_vec();
        Self { id, from: keypair.public(), site, reach, description, signature, hops }
    }

    /// Whether `from` said so.
    pub fn is_signed(&self) -> bool {
        let said = said(self.id, &self.site.0, self.reach, &self.description);
        self.from.verify(Context::Offer, &said, &self.signature)
    }

    /// The message.
    pub fn to_wire(self) -> wire::Offer {
        let Self { id, from, site, reach, description, signature, hops } = self;
        let reach = reach.into();
        wire::Offer {
            id,
            from: from.to_bytes().to_vec(),
            site: site.0.to_vec(),
            description,
            signature,
            hops,
            reach,
        }
    }

    pub(super) fn read(offer: wire::Offer) -> Result<Self, Offence> {
        let reach = offer.reach();
        let wire::Offer { id, from, site, description, signature, hops, .. } = offer;
        let site = SiteId::try_from(site.as_slice()).map_err(|_| Offence::Malformed)?;
        let from = read_from(&from, &description)?;
        Ok(Self { id, from, site, reach, description, signature, hops: hops.min(MAX_HOPS) })
    }
}

impl Answer {
    /// Signs an answer to an offer.
    pub fn sign(
        keypair: &Keypair,
        id: u64,
        offered_by: &PublicKey,
        reach: Reach,
        description: String,
    ) -> Self {
        let said = said(id, &offered_by.to_bytes(), reach, &description);
        let signature = keypair.sign(Context::Answer, &said).to_vec();
        Self { id, from: keypair.public(), reach, description, signature }
    }

    /// Whether `from` said so, to an offer of `offered_by`.
    pub fn is_signed(&self, offered_by: &PublicKey) -> bool {
        let said = said(self.id, &offered_by.to_bytes(), self.reach, &self.description);
        self.from.verify(Context::Answer, &said, &self.signature)
    }

    /// The message.
    pub fn to_wire(self) -> wire::Answer {
        let Self { id, from, reach, description, signature } = self;
        wire::Answer { id, from: from.to_bytes().to_vec(), description, signature, reach: reach.into() }
    }

    pub(super) fn read(answer: wire::Answer) -> Result<Self, Offence> {
        let reach = answer.reach();
        let wire::Answer { id, from, description, signature, .. } = answer;
        Ok(Self { id, from: read_from(&from, &description)?, reach, description, signature })
    }
}

/// Whether tabs of these kinds can hope to reach each other.
pub fn can_meet(ours: Reach, theirs: Reach) -> bool {
    !matches!((ours, theirs), (Reach::Hard, Reach::Hard | Reach::Strict) | (Reach::Strict, Reach::Hard))
}

fn said(id: u64, about: &[u8; 32], reach: Reach, description: &str) -> Vec<u8> {
    // A value of a later version is read as the first, and its signature is none.
    let reach = u8::try_from(i32::from(reach)).unwrap_or(u8::MAX);
    [&id.to_be_bytes()[..], about, &[reach], description.as_bytes()].concat()
}

fn read_from(from: &[u8], description: &str) -> Result<PublicKey, Offence> {
    if description.len() > MAX_DESCRIPTION_BYTES {
        return Err(Offence::Malformed);
    }
    PublicKey::from_bytes(from).map_err(|_| Offence::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteId = SiteId([7; 32]);

    #[test]
    fn who_passes_it_on_cannot_stand_in_for_either_side() {
        let (ours, theirs) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
        let offer = Offer::sign(&ours, 5, SITE, Reach::Unspecified, "v=0".to_owned(), 3);
        assert!(offer.is_signed());
        assert!(Offer { hops: 1, ..offer.clone() }.is_signed(), "hops change on the way");
        assert!(!Offer { description: "v=1".to_owned(), ..offer.clone() }.is_signed());
        assert!(!Offer { from: theirs.public(), ..offer.clone() }.is_signed());
        assert!(!Offer { site: SiteId([8; 32]), ..offer }.is_signed());
        let answer = Answer::sign(&theirs, 5, &ours.public(), Reach::Hard, "v=0".to_owned());
        assert!(answer.is_signed(&ours.public()));
        assert!(!answer.is_signed(&theirs.public()), "made for another offer");
        assert!(!Answer { reach: Reach::Strict, ..answer.clone() }.is_signed(&ours.public()));
        assert!(!Answer { id: 6, ..answer }.is_signed(&ours.public()));
    }

    #[test]
    fn what_is_read_is_what_was_written_and_never_over_its_bounds() {
        let ours = Keypair::from_secret([1; 32]);
        let offer = Offer::sign(&ours, 5, SITE, Reach::Unspecified, "v=0".to_owned(), MAX_HOPS);
        assert_eq!(Offer::read(offer.clone().to_wire()), Ok(offer.clone()));
        let far = wire::Offer { hops: u32::MAX, ..offer.clone().to_wire() };
        assert_eq!(Offer::read(far).map(|offer| offer.hops), Ok(MAX_HOPS));
        let long = wire::Offer { description: "v".repeat(MAX_DESCRIPTION_BYTES + 1), ..offer.to_wire() };
        assert_eq!(Offer::read(long), Err(Offence::Malformed));
    }
}
