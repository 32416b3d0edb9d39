//! What receipts cost a tab: `cargo xtask bench vouchers` runs it in a browser. The tab's own code, compiled as the tab is.

use shared::{
    base::SiteId,
    cdn::receipts::{Receipt, Verified},
    identity::Keypair,
};
use wasm_bindgen::prelude::wasm_bindgen;

/// Signs so many receipts, each for a mebibyte more; tells how many bytes they have together.
#[wasm_bindgen]
pub fn sign(count: u32) -> u32 {
    let receiver = Keypair::from_secret([1; 32]);
    let provider = Keypair::from_secret([2; 32]).public();
    let mut bytes = 0;
    for number in 1..=count {
        let verified =
            Verified { bytes: u64::from(number) << 20, edge_bytes: 0, site: Some(SiteId([3; 32])) };
        let signed = Receipt::sign(&receiver, &provider, 4, verified);
        bytes += signed.receipt.len() + signed.signature.len();
    }
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Opens one receipt so many times, as a tab does that another one pays; tells how often it was good.
#[wasm_bindgen]
pub fn open(count: u32) -> u32 {
    let receiver = Keypair::from_secret([1; 32]);
    let provider = Keypair::from_secret([2; 32]).public();
    let signed = Receipt::sign(&receiver, &provider, 4, Verified::of(1 << 20));
    let good = (0..count).filter(|_| Receipt::open(core::hint::black_box(&signed)).is_ok());
    u32::try_from(good.count()).unwrap_or(u32::MAX)
}
