//! Who is paid for what a tab gave: what it hands in, and what its supernode makes of that.

use super::*;
use crate::{
    cdn::{
        earner::Earner,
        receipts::{Receipt, Verified},
    },
    wire::cdn as wire,
};

const SITE: SiteId = SiteId([7; 32]);
const ACCOUNT: [u8; 20] = [9; 20];

/// A tab and its supernode, linked, both of the site.
fn pair() -> Pair {
    let mut pair = Pair::new(true);
    pair.supernode_second();
    for peer in &mut pair.peers {
        peer.join(pair.now, SITE, 1, true);
    }
    pair.link();
    pair
}

fn receipt(pair: &Pair) -> wire::SignedReceipt {
    let verified = Verified { site: Some(SITE), ..Verified::of(5) };
    Receipt::sign(&Keypair::from_secret([3; 32]), &pair.peers[0].public_key(), 1, verified)
}

fn handed_in(pair: &mut Pair) -> Vec<(Earner, usize)> {
    let mut handed = Vec::new();
    while let Some(event) = pair.peers[1].poll_event() {
        if let Event::HandedIn { earner, signed, receipts } = event {
            assert_eq!(Earner::open(&signed).as_ref(), Some(&*earner));
            handed.push((*earner, receipts.len()));
        }
    }
    handed
}

#[test]
fn a_tab_that_earns_hands_in_soon_what_it_has_of_neighbours_that_left() {
    let mut pair = pair();
    let gone = receipt(&pair);
    pair.peers[0].set_earn_to(Some(ACCOUNT));
    pair.peers[0].unhanded.push(gone);
    pair.run(15);
    let (tab, node) = (pair.peers[0].public_key(), pair.peers[1].public_key());
    assert_eq!(handed_in(&mut pair), [(Earner { tab, node, site: SITE, account: ACCOUNT }, 1)]);
    pair.run(30);
    assert_eq!(handed_in(&mut pair), [], "once");
}

#[test]
fn a_tab_that_names_nobody_earns_nothing() {
    let mut pair = pair();
    let gone = receipt(&pair);
    pair.peers[0].unhanded.push(gone);
    pair.run(150);
    assert_eq!(handed_in(&mut pair), []);
}

#[test]
fn a_supernode_believes_a_tab_of_itself_alone() {
    let mut pair = pair();
    let (own, other) = (Keypair::from_secret([1; 32]), Keypair::from_secret([4; 32]));
    assert_eq!(own.public(), pair.peers[0].public_key());
    let node = pair.peers[1].public_key();
    let good = receipt(&pair);
    for earner in [
        // Of another tab, for another node, of another site.
        Earner::sign(&other, &node, SITE, ACCOUNT),
        Earner::sign(&own, &other.public(), SITE, ACCOUNT),
        Earner::sign(&own, &node, SiteId([8; 32]), ACCOUNT),
    ] {
        let (site, receipts) = (SITE.0.to_vec(), vec![good.clone()]);
        let ask = wire::AskPeers { site, receipts, earner: Some(earner), ..wire::AskPeers::default() };
        let frame = messages::control(wire::control::Message::AskPeers(ask));
        pair.peers[1].handle_frame(pair.now, LINK, Stream::Control, &frame);
    }
    assert_eq!(handed_in(&mut pair), []);
    assert_eq!(pair.peers[1].links().count(), 1, "who says such things is not cut for it");
}
