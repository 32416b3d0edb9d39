//! Who is paid for what a tab gives: an account that its visitor named, by the tab's own signature.
//!
//! It names the supernode that counts, so that no other can show the same receipts to be paid; and the site, so that a
//! publisher sees nothing of what its visitors do elsewhere.

use prost::Message as _;

use crate::{
    base::SiteId,
    identity::{Context, Keypair, PublicKey},
    wire::cdn as wire,
};

/// Longer is none: two keys, a site, an account.
pub const MAX_EARNER_BYTES: usize = 160;

/// See `Earner` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earner {
    /// Who gives.
    pub tab: PublicKey,
    /// Who counts it.
    pub node: PublicKey,
    /// Of which site.
    pub site: SiteId,
    /// Who is paid, an account of a chain.
    pub account: [u8; 20],
}

impl Earner {
    /// Signs it.
    pub fn sign(tab: &Keypair, node: &PublicKey, site: SiteId, account: [u8; 20]) -> wire::SignedEarner {
        let earner = wire::Earner {
            tab: tab.public().to_bytes().to_vec(),
            node: node.to_bytes().to_vec(),
            site: site.0.to_vec(),
            account: account.to_vec(),
        }
        .encode_to_vec();
        let signature = tab.sign(Context::Earner, &earner).to_vec();
        wire::SignedEarner { earner, signature }
    }

    /// Reads and verifies it; nothing where it does not hold.
    pub fn open(signed: &wire::SignedEarner) -> Option<Self> {
        if signed.earner.len() > MAX_EARNER_BYTES {
            return None;
        }
        let inner = wire::Earner::decode(signed.earner.as_slice()).ok()?;
        let tab = PublicKey::from_bytes(&inner.tab).ok()?;
        if !tab.verify(Context::Earner, &signed.earner, &signed.signature) {
            return None;
        }
        let (site, account) = (inner.site.try_into().ok()?, inner.account.try_into().ok()?);
        Some(Self { tab, node: PublicKey::from_bytes(&inner.node).ok()?, site: SiteId(site), account })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tab_says_who_is_paid_for_it() {
        let (tab, node) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]).public());
        let (site, account) = (SiteId([3; 32]), [4; 20]);
        let signed = Earner::sign(&tab, &node, site, account);
        assert!(signed.earner.len() <= MAX_EARNER_BYTES);
        assert_eq!(
            Earner::open(&signed),
            Some(Earner { tab: tab.public(), node: node.clone(), site, account })
        );
        let another = Earner::sign(&Keypair::from_secret([5; 32]), &node, site, account);
        let moved = wire::SignedEarner { signature: another.signature, ..signed.clone() };
        assert_eq!(Earner::open(&moved), None);
        for bit in 0..signed.earner.len() * 8 {
            let mut flipped = signed.clone();
            flipped.earner[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Earner::open(&flipped), None, "bit {bit}");
        }
    }
}
