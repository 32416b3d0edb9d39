use proptest::prelude::*;

use super::*;
use crate::cdn::blob::HashTree;

const DAY: u64 = 86_400;
const NOW: UnixSeconds = UnixSeconds(20_000 * DAY);

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn pin() -> Pin {
    Pin { publisher: key(1).public(), site: "example.org".to_owned(), min_delegation: 2 }
}

fn manifest() -> Manifest {
    let asset = |text: &str| {
        let tree = HashTree::of(text.as_bytes()).unwrap();
        Asset { root: tree.root(), shape: tree.shape(), content_type: "text/plain".to_owned() }
    };
    Manifest {
        publisher: key(1).public(),
        site: "example.org".to_owned(),
        sequence: 5,
        issued: NOW,
        expires: NOW.plus(7 * DAY),
        assets: ["/a.txt", "/b/c.txt"].iter().map(|p| (p.parse().unwrap(), asset(p))).collect(),
    }
}

fn delegation(serial: u64) -> wire::SignedDelegation {
    let delegation = Delegation {
        publisher: key(1).public(),
        delegate: key(2).public(),
        site: "example.org".to_owned(),
        not_before: NOW,
        expires: NOW.plus(30 * DAY),
        serial,
    };
    delegation.sign(&key(1))
}

#[test]
fn a_publisher_and_its_delegate_are_believed() {
    let own = manifest().sign(&key(1), None).unwrap();
    assert_eq!(Manifest::open(&own, &pin(), 5, NOW), Ok(manifest()));
    let delegated = manifest().sign(&key(2), Some(delegation(2))).unwrap();
    assert_eq!(Manifest::open(&delegated, &pin(), 0, NOW), Ok(manifest()));
}

#[test]
fn nobody_else_is() {
    let check = |signed: Vec<u8>, expect: fn(&ManifestError) -> bool| {
        let error = Manifest::open(&signed, &pin(), 0, NOW).unwrap_err();
        assert!(expect(&error), "{error}");
    };
    check(manifest().sign(&key(2), None).unwrap(), |e| matches!(e, ManifestError::Signature));
    check(manifest().sign(&key(3), Some(delegation(2))).unwrap(), |e| matches!(e, ManifestError::Signature));
    check(manifest().sign(&key(2), Some(delegation(1))).unwrap(), |e| {
        matches!(e, ManifestError::Delegation(DelegationError::Revoked { .. }))
    });
    let other = Manifest { site: "example.com".to_owned(), ..manifest() };
    check(other.sign(&key(1), None).unwrap(), |e| matches!(e, ManifestError::OtherSite { .. }));
}

#[test]
fn an_old_or_expired_manifest_is_refused() {
    let signed = manifest().sign(&key(1), None).unwrap();
    let open = |seen, now| Manifest::open(&signed, &pin(), seen, now);
    assert_eq!(open(6, NOW), Err(ManifestError::Older { found: 5, seen: 6 }));
    assert!(open(5, NOW.plus(8 * DAY)).is_ok(), "a clock that is a day off");
    assert!(matches!(open(5, NOW.plus(9 * DAY)), Err(ManifestError::Expired { .. })));
}

#[test]
fn every_flipped_bit_is_caught() {
    let signed = manifest().sign(&key(2), Some(delegation(2))).unwrap();
    for at in 0..signed.len() {
        let mut forged = signed.clone();
        forged[at] ^= 1;
        if let Ok(opened) = Manifest::open(&forged, &pin(), 0, NOW) {
            assert_eq!(opened, manifest(), "byte {at} changed the meaning");
        }
    }
}

#[test]
fn what_readers_would_refuse_is_never_signed() {
    let mut broken = manifest();
    let asset = broken.assets.values().next().unwrap().clone();
    let bad = Asset { content_type: "text/html\r\nset-cookie: x".to_owned(), ..asset };
    broken.assets.insert("/x".parse().unwrap(), bad);
    assert!(matches!(broken.sign(&key(1), None), Err(ManifestError::Malformed(_))));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Manifest::open(&bytes, &pin(), 0, NOW).is_err());
    }
}
