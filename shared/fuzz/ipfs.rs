//! Targets for what the IPFS world sends: blocks, wants, name records and texts.

use std::collections::BTreeMap;

use prost::Message as _;
use shared::{
    base::{Instant, UnixSeconds},
    identity::Keypair,
    storage::ipfs::{
        Cid, ContentPath, DAG_PB, EntityBytes, Entry, MAX_LINKS, Naming, Node, Piece, RAW, Resolver, Scope,
        Walk,
        bitswap::{Fetch, MAX_MESSAGE_BYTES, Message, Next, Wants},
        cid_of,
        dnslink::{self, Domain},
        ipns::{Name, Record},
        redirects::Redirects,
    },
    wire::ipfs::{IpnsEntry, PbData, PbLink, PbLinks},
};

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

/// A block as it came, and trees of three blocks whose data is the fuzzer's: all that reads trees is led over them.
pub(crate) fn blocks(data: &[u8]) {
    let cid = cid_of(DAG_PB, data);
    if let Ok(node) = Node::parse(data) {
        assert!(node.links.len() <= MAX_LINKS);
        assert_eq!(Node::parse(&node.encode()), Ok(node), "a node reads back as it is written");
    }
    let _ = Entry::parse(&cid, data);
    let mut held = BTreeMap::from([(cid, data.to_vec())]);
    // The first byte says how long the part is that stands in the upper block.
    let Some((cut, data)) = data.split_first() else { return };
    let (upper, lower) = data.split_at(usize::from(*cut).min(data.len()));
    let (leaf, name) = (cid_of(RAW, lower), [&b"AB"[..], &lower[..lower.len().min(4)]].concat());
    held.insert(leaf, lower.to_vec());
    let mut top = leaf;
    for data in [lower, upper] {
        let links = [(top, name.clone()), (leaf, Vec::new())].map(|(cid, name)| PbLink {
            hash: Some(cid.to_bytes()),
            name: Some(name).filter(|name| !name.is_empty() && cut % 2 == 0),
            tsize: Some(7),
        });
        let mut block = PbLinks { links: links.to_vec() }.encode_to_vec();
        block.extend(PbData { data: Some(data.to_vec()) }.encode_to_vec());
        top = cid_of(DAG_PB, &block);
        held.insert(top, block);
    }
    for root in [cid, top] {
        lead(root, &held);
    }
}

fn lead(root: Cid, held: &BTreeMap<Cid, Vec<u8>>) {
    for (scope, bytes) in [
        (Scope::Block, None),
        (Scope::All, None),
        (Scope::Entity, None),
        (Scope::Entity, EntityBytes::parse("-9:5")),
    ] {
        for once in [false, true] {
            let mut walk = Walk::new(root, scope, bytes, once);
            let mut visits = 0;
            while let Some(visit) = walk.next_visit() {
                let Some(block) = held.get(&visit.cid) else { break };
                match walk.handle_block(block) {
                    Ok(Piece::OfBlock(range)) => drop(block[range].to_vec()),
                    Ok(_) => {}
                    Err(_) => break,
                }
                visits += 1;
                assert!(visits < 100, "three blocks are not many");
            }
        }
    }
    for name in ["a", "AB", "a/b"] {
        let path = ContentPath::parse(&format!("{root}/{name}")).expect("a lawful path");
        let mut resolver = Resolver::new(path);
        while let Some(block) = resolver.wants().and_then(|cid| held.get(&cid)) {
            if resolver.handle_block(block).is_err() {
                break;
            }
        }
    }
}

/// A message as it came, what a server makes of it, and a fetch that hears it.
pub(crate) fn exchange(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    assert!(data.len() <= MAX_MESSAGE_BYTES);
    let again = Message::parse(&message.clone().encode());
    assert!(again.as_ref().is_ok_and(|again| again.wants == message.wants && again.blocks == message.blocks));
    let mut wants = Wants::default();
    wants.handle_message(&message);
    wants.handle_message(&message);
    while wants.poll_want().is_some() {}
    let root = message.blocks.first().map_or_else(|| cid_of(RAW, b""), |(cid, _)| *cid);
    let mut fetch = Fetch::new(root);
    fetch.handle_peer(1);
    for _ in 0..200 {
        match fetch.poll_next(Instant::default()) {
            Ok(Next::Look(_)) => fetch.handle_look(None),
            Ok(Next::Ask { peer, wants, .. }) => {
                for (cid, bytes) in &message.blocks {
                    fetch.handle_block(Instant::default(), *cid, bytes);
                }
                for cid in message.lacking.iter().copied().chain(wants.into_iter().map(|want| want.cid)) {
                    fetch.handle_lacking(peer, cid);
                }
            }
            Ok(Next::Wait(_) | Next::Done) | Err(_) => return,
        }
    }
}

/// A record as it came, and one that its key signed whatever it says.
pub(crate) fn names(data: &[u8]) {
    let key = Keypair::from_secret([1; 32]);
    let name = Name::of(&key);
    let _ = Record::open(&name, data, NOW);
    let signature = key.to_libp2p().sign(&[b"ipns-signature:", data].concat()).expect("Ed25519 signs");
    let entry = IpnsEntry { signature_v2: Some(signature), data: Some(data.to_vec()), ..Default::default() };
    let Ok(record) = Record::open(&name, &entry.encode_to_vec(), NOW) else { return };
    let again = record.sign(&key).expect("as short as it was");
    assert_eq!(Record::open(&name, &again, NOW), Ok(record), "a record reads back as it is written");
}

/// Paths, ranges, names and rules of redirection.
pub(crate) fn texts(data: &[u8]) {
    if let Ok(rules) = Redirects::parse(data) {
        for path in ["/", "/a", "/a/b/c", "/:a/*", ""] {
            let _ = rules.find(path);
        }
    }
    let Ok(text) = core::str::from_utf8(data) else { return };
    let _ = EntityBytes::parse(text);
    if let Ok(path) = ContentPath::parse(text) {
        assert!(path.names.iter().all(|name| !name.is_empty() && name != b".." && !name.contains(&b'/')));
    }
    if let Ok(name) = Name::parse(text) {
        assert_eq!(Name::parse(&name.to_string()), Ok(name), "a name reads back as it prints");
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(
            Domain::parse(&domain.to_string()),
            Ok(domain.clone()),
            "a domain reads back as it prints"
        );
        if let Some(label) = domain.to_label() {
            assert_eq!(Domain::from_label(&label), Ok(domain), "and from its label");
        }
    }
    if let Some(value) = dnslink::value([data]) {
        let mut naming = Naming::new("example.org", "below").expect("a domain");
        naming.handle_value(value, 60).expect("values that are none were left out");
    }
}
