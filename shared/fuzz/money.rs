//! What strangers say of money and of who they are. Where a signature would stop every mutation at the door, the
//! target signs the mutated bytes itself.

use prost::Message as _;
use shared::{
    base::{Instant, UnixSeconds},
    economy::{
        Amount,
        ledger::Ledger,
        payee::{Payee, PayeeState},
        payer::{Payer, PayerState},
        price::{QUOTE_SECONDS_MAX, Quote, Unit},
        voucher::{ChannelContract, SignedVoucher},
    },
    identity::{
        Account, AccountKey, AccountSignature, BINDING_SECONDS_MAX, Binding, Context, Did, Document, Keypair,
        MAX_METHODS, MAX_REVOKED_BLOCKS, Revocation, Revocations,
        siwe::{MAX_SIWE_RESOURCES, Siwe},
    },
    wire::economy as wire,
};

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

fn key() -> Keypair {
    Keypair::from_secret([1; 32])
}

pub(crate) fn quote(data: &[u8]) {
    let signature = key().sign(Context::Quote, data).to_vec();
    let signed = wire::SignedQuote { quote: data.to_vec(), signature };
    let Ok(quote) = Quote::open(&signed) else { return };
    assert_eq!(quote.provider, key().public(), "only its provider can have signed it");
    assert!(quote.unit != Unit::Unspecified && quote.issued.until(quote.expires) <= QUOTE_SECONDS_MAX);
    let _ = quote.check(&quote.consumer, quote.price, NOW);
    assert!(quote.price.cost(u64::MAX) <= Amount::MAX);
}

/// A voucher, and the answer to one.
pub(crate) fn voucher(data: &[u8]) {
    let (payer, payee) = (Account([2; 20]), Account([3; 20]));
    let separator = ChannelContract { chain_id: 1, address: Account([4; 20]) }.separator();
    if let Some(signed) =
        wire::Voucher::decode(data).ok().and_then(|voucher| SignedVoucher::from_wire(&voucher))
    {
        assert_eq!(SignedVoucher::from_wire(&signed.to_wire()), Some(signed));
        let mut receiver = Payee::new(payee, payer, separator, Amount::of(1), PayeeState::default());
        assert!(receiver.handle_voucher(&signed).is_err() || signed.voucher.cumulative.is_zero());
    }
    if let Ok(answer) = wire::VoucherAnswer::decode(data) {
        let own = AccountKey::from_secret([5; 32]).expect("a key");
        let mut sender = Payer::new(own.account(), payee, separator, Amount::of(9), PayerState::default());
        sender.set_ceiling(Amount::MAX);
        let _ = sender.handle_answer(&answer, &own.public());
        let promised = sender.poll_voucher(Instant::default(), true);
        // The seed has our own signature for 77; whatever else it says is worth the start window at most.
        let most = Amount::of(77 + 9);
        assert!(promised.is_none_or(|voucher| voucher.cumulative <= most), "words are no debt");
    }
}

/// One entry, and the rest as the next.
pub(crate) fn ledger(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else { return };
    let (first, second) = rest.split_at(usize::from(*cut).min(rest.len()));
    for entries in [vec![rest], vec![first, second]] {
        if let Ok(ledger) = Ledger::replay(entries) {
            ledger.assert_balanced();
        }
    }
}

/// Bindings and revocations.
pub(crate) fn statements(data: &[u8]) {
    let peer_signature = key().sign(Context::Binding, data).to_vec();
    let account_signature = data.get(..65).unwrap_or(data).to_vec();
    let _ = AccountSignature::from_bytes(&account_signature);
    let signed = wire::SignedBinding { binding: data.to_vec(), peer_signature, account_signature };
    if let Ok(binding) = Binding::open(&signed) {
        assert!(binding.issued.until(binding.expires) <= BINDING_SECONDS_MAX);
    }
    let signature = key().sign(Context::Revocation, data).to_vec();
    let signed = wire::SignedRevocation { revocation: data.to_vec(), signature };
    if let Ok(revocation) = Revocation::open(&signed) {
        assert_eq!(revocation.issuer, key().public());
        let mut known = Revocations::default();
        let _ = known.handle(NOW, &signed);
        assert!(known.len() <= MAX_REVOKED_BLOCKS);
    }
}

/// Names, documents, logins.
pub(crate) fn texts(data: &[u8]) {
    let web: Did = "did:web:node.example".parse().expect("a name");
    if let Ok(document) = Document::read(&web, data) {
        assert!(document.signers().count() <= MAX_METHODS);
        let again = Document::read(&web, document.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&document), "a document reads back as it is written");
    }
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(did) = text.parse::<Did>() {
        assert_eq!(did.to_string().parse(), Ok(did.clone()), "a name reads back as it prints");
        assert!(did.url().is_none_or(|url| !url.contains("/../") && !url.contains('@')));
    }
    if let Ok(account) = text.parse::<Account>() {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
    if let Ok(siwe) = Siwe::parse(text) {
        assert!(siwe.resources.len() <= MAX_SIWE_RESOURCES);
        assert!(siwe.verify(text, &[7; 65]).is_err());
    }
}
