use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    base::{BlobRoot, UnixSeconds, blob::HashTree},
    identity::{Context, Keypair, PublicKey},
    storage::{
        placement::{HolderKind, Network},
        proof::{Challenge, Fault, Transcript, Verdict, answer},
    },
    wire::storage as wire,
};

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn advert(node: &Keypair, operator: &Keypair) -> HolderAdvert {
    HolderAdvert {
        node: node.public(),
        operator: operator.public(),
        operator_signature: vouch(operator, &node.public()),
        sequence: 5,
        issued: NOW,
        expires: NOW.plus(600),
        free_bytes: 1 << 40,
        price: 3,
        network: Network::V4([192, 0, 2]),
        region: 150,
        autonomous_system: 64_500,
        kind: HolderKind::Supernode,
        software: "blackhole/0.1.0".to_owned(),
        claimed_audits: 7,
        addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x0f, 0xa1]],
    }
}

#[test]
fn an_advert_opens_to_what_was_signed() {
    for operator in [key(1), key(2)] {
        for network in [Network::V4([192, 0, 2]), Network::V6([1, 2, 3, 4, 5, 6, 7, 8])] {
            let advert = HolderAdvert { network, ..advert(&key(1), &operator) };
            let signed = advert.clone().sign(&key(1));
            assert!(signed.len() <= MAX_HOLDER_ADVERT_BYTES);
            assert_eq!(HolderAdvert::open(&signed), Ok(advert));
        }
    }
}

/// Whoever changes these bytes changes the protocol: then the version has to change too.
#[test]
fn adverts_and_leases_keep_their_bytes() {
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let hashes = [hash(&advert(&key(1), &key(2)).sign(&key(1))), hash(&lease().sign(&key(1)))];
    assert_eq!(hashes, ["1c8867e19d663598", "b2a475d7adcefe12"]);
}

#[test]
fn any_changed_byte_of_an_advert_is_caught() {
    let signed = advert(&key(1), &key(2)).sign(&key(1));
    for at in 0..signed.len() {
        let mut forged = signed.clone();
        forged[at] ^= 1;
        assert!(HolderAdvert::open(&forged).is_err(), "byte {at}");
    }
}

#[test]
fn nobody_is_an_operators_without_its_word() {
    let stolen = HolderAdvert { operator_signature: Vec::new(), ..advert(&key(1), &key(2)) };
    assert_eq!(HolderAdvert::open(&stolen.sign(&key(1))), Err(HolderAdvertError::Operator));
    // Its word for another node.
    let other =
        HolderAdvert { operator_signature: vouch(&key(2), &key(3).public()), ..advert(&key(1), &key(2)) };
    assert_eq!(HolderAdvert::open(&other.sign(&key(1))), Err(HolderAdvertError::Operator));
}

#[test]
fn what_is_signed_can_be_read_whatever_was_put_in() {
    let addresses = (0..40).map(|n| vec![n; 128]).chain([vec![0; 600], vec![]]).collect();
    let advert =
        HolderAdvert { addresses, software: "ä very\nlong name ".repeat(50), ..advert(&key(1), &key(2)) };
    let opened = HolderAdvert::open(&advert.sign(&key(1))).unwrap();
    assert_eq!((opened.addresses.len(), opened.software.len()), (8, MAX_SOFTWARE_BYTES));
}

#[test]
fn addresses_are_counted_before_they_are_decoded() {
    let signed = advert(&key(1), &key(1)).sign(&key(1));
    let mut inner = wire::SignedHolderAdvert::decode(signed.as_slice()).unwrap().advert;
    inner.extend([0x82, 0x01, 0].repeat(400));
    let signature = key(1).sign(Context::HolderAdvert, &inner).to_vec();
    let bytes = wire::SignedHolderAdvert { advert: inner, signature }.encode_to_vec();
    assert_eq!(HolderAdvert::open(&bytes), Err(HolderAdvertError::Malformed("too many addresses")));
}

fn fresh(node: u8) -> HolderVerdict {
    HolderVerdict::Fresh(key(node).public())
}

#[test]
fn the_newest_statement_of_a_holder_wins_until_it_expires() {
    let mut directory = Directory::default();
    let mut hear = |sequence, at: u64| {
        let said = HolderAdvert {
            sequence,
            issued: NOW.plus(at),
            expires: NOW.plus(at + 600),
            ..advert(&key(1), &key(2))
        };
        directory.handle_advert(NOW.plus(at), &said.sign(&key(1)))
    };
    assert_eq!(hear(5, 0), fresh(1));
    assert_eq!(hear(5, 20), HolderVerdict::Known);
    assert_eq!(hear(6, 5), HolderVerdict::Refused(HolderRefusal::TooSoon));
    assert_eq!(hear(6, 30), fresh(1));
    assert!(directory.get(NOW.plus(629), &key(1).public()).is_some());
    assert_eq!(directory.current(NOW.plus(630)).count(), 0);
    assert_eq!(directory.handle_time(NOW.plus(629)), Vec::<PublicKey>::new());
    assert_eq!(directory.handle_time(NOW.plus(630)), [key(1).public()]);
    let late = directory.handle_advert(NOW.plus(700), &advert(&key(1), &key(2)).sign(&key(1)));
    assert_eq!(late, HolderVerdict::Refused(HolderRefusal::NotCurrent));
}

#[test]
fn adverts_are_passed_on_as_they_were_signed_in_the_order_of_keys() {
    let mut directory = Directory::default();
    let mut signed: Vec<_> =
        (1..6).map(|n| (key(n).public().to_bytes(), advert(&key(n), &key(n)).sign(&key(n)))).collect();
    for (_, advert) in &signed {
        directory.handle_advert(NOW, advert);
    }
    signed.sort();
    let listed = |after: Option<[u8; 32]>| -> Vec<Vec<u8>> {
        directory.signed(NOW, after).map(<[u8]>::to_vec).collect()
    };
    for skipped in 0..=signed.len() {
        let after = skipped.checked_sub(1).map(|last| signed[last].0);
        let expect: Vec<_> = signed[skipped..].iter().map(|(_, advert)| advert.clone()).collect();
        assert_eq!(listed(after), expect);
    }
    assert_eq!(directory.signed(NOW.plus(600), None).count(), 0, "and not past their time");
}

fn lease() -> Lease {
    Lease {
        root: BlobRoot([3; 32]),
        bytes: 70_000,
        owner: key(2).public(),
        holder: key(1).public(),
        issued: NOW,
        until: NOW.plus(86_400),
    }
}

#[test]
fn a_lease_is_good_for_what_was_asked_only() {
    let (signed, root) = (lease().sign(&key(1)), BlobRoot([3; 32]));
    let check = |holder: u8, root, bytes, owner: u8, until| {
        Lease::answers(&signed, &key(holder).public(), (root, bytes), &key(owner).public(), NOW.plus(until))
    };
    assert_eq!(check(1, root, 70_000, 2, 86_400), Ok(lease()));
    assert_eq!(check(1, root, 70_000, 2, 10), Ok(lease()), "longer is welcome");
    for other in [
        check(3, root, 70_000, 2, 10),
        check(1, BlobRoot([4; 32]), 70_000, 2, 10),
        check(1, root, 70_001, 2, 10),
        check(1, root, 70_000, 3, 10),
        check(1, root, 70_000, 2, 86_401),
    ] {
        assert_eq!(other, Err(LeaseError::Other));
    }
    for at in 0..signed.len() {
        let mut forged = signed.clone();
        forged[at] ^= 1;
        assert!(Lease::open(&forged).is_err(), "byte {at}");
    }
    let endless = Lease { until: NOW.plus(MAX_LEASE_SECONDS + 1), ..lease() };
    assert_eq!(Lease::open(&endless.sign(&key(1))), Err(LeaseError::Malformed));
}

fn challenge() -> Challenge {
    let tree = HashTree::of(&[7; 40_000]).unwrap();
    Challenge { root: tree.root(), beacon: [9; 32], holder: key(1).public() }
}

fn account(verdict: Verdict, answer: Option<Vec<u8>>) -> FailedAudit {
    let transcript = Transcript { challenge: challenge(), verdict, answer };
    FailedAudit { auditor: key(2).public(), transcript, observed: NOW }
}

/// What a holder signs that has other bytes than the shard's.
fn wrong() -> Vec<u8> {
    let tree = HashTree::of(&[8; 40_000]).unwrap();
    let groups =
        (0..).zip([8; 40_000].chunks(16384)).map(|(n, group)| (n, group.to_vec())).collect::<Vec<_>>();
    let groups = groups.iter().map(|(n, group)| (*n, group.as_slice())).collect();
    answer(&challenge(), &tree, &groups, &key(1))
}

#[test]
fn evidence_is_believed_by_what_the_holder_signed() {
    let tree = HashTree::of(&[7; 40_000]).unwrap();
    let lost = answer(&challenge(), &tree, &[].into(), &key(1));
    let accounts = [
        account(Verdict::Silent, None),
        account(Verdict::Lost, Some(lost.clone())),
        account(Verdict::Wrong(Fault::Proof), Some(wrong())),
    ];
    for account in &accounts {
        let signed = account.sign(&key(2));
        assert!(signed.len() <= MAX_EVIDENCE_BYTES);
        assert_eq!(FailedAudit::open(&signed).as_ref(), Ok(account));
    }
    assert_eq!(accounts.map(|account| account.convicts()), [false, false, true]);
    // An auditor that lies about what came.
    let baseless = [
        account(Verdict::Wrong(Fault::Proof), Some(lost)),
        account(Verdict::Lost, Some(wrong())),
        account(Verdict::Wrong(Fault::Proof), Some(b"anything".to_vec())),
    ];
    for account in baseless {
        assert_eq!(FailedAudit::open(&account.sign(&key(2))), Err(EvidenceError::Baseless));
    }
    let contradiction = account(Verdict::Silent, Some(wrong())).sign(&key(2));
    assert_eq!(FailedAudit::open(&contradiction), Err(EvidenceError::Malformed));
    let mut forged = account(Verdict::Silent, None).sign(&key(2));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(FailedAudit::open(&forged), Err(EvidenceError::Signature));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = HolderAdvert::open(&bytes);
        let _ = Lease::open(&bytes);
        let _ = FailedAudit::open(&bytes);
    }
}
