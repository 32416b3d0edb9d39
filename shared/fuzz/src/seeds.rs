//! Writes a lawful example of each message into `corpus/`, for the fuzzer to start from. Run when a message
//! changes: `cargo run --bin seeds` in this folder.

use std::{fs, path::Path};

use prost::Message as _;
use shared::{
    base::UnixSeconds,
    cdn::{
        blob::HashTree,
        manifest::{Asset, Manifest},
    },
    coordination::Advert,
    identity::{Delegation, Keypair},
    wire::{cdn, coordination, write_frame},
};

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, bytes) in all() {
        let folder = corpus.join(name);
        fs::create_dir_all(&folder).expect("the corpus is writable");
        let file =
            format!("seed-{}", &HashTree::of(&bytes).expect("a seed is small").root().to_string()[..12]);
        fs::write(folder.join(file), bytes).expect("the corpus is writable");
    }
}

fn all() -> Vec<(&'static str, Vec<u8>)> {
    let (publisher, delegate) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
    let mut frames = vec![7];
    write_frame(b"first", &mut frames);
    write_frame(&[9; 200], &mut frames);
    let delegation = Delegation {
        publisher: publisher.public(),
        delegate: delegate.public(),
        site: "example.org".to_owned(),
        not_before: NOW,
        expires: NOW.plus(86_400),
        serial: 3,
    }
    .sign(&publisher);
    let tree = HashTree::of(b"hello").unwrap();
    let asset = Asset { root: tree.root(), shape: tree.shape(), content_type: "text/plain".to_owned() };
    let manifest = Manifest {
        publisher: publisher.public(),
        site: "example.org".to_owned(),
        sequence: 5,
        issued: NOW,
        expires: NOW.plus(86_400),
        assets: [("/a".parse().unwrap(), asset.clone()), ("/b/c.png".parse().unwrap(), asset)].into(),
    };
    let own = manifest.sign(&publisher, None).unwrap();
    let contents = cdn::SignedManifest::decode(own.as_slice()).unwrap().manifest;
    let advert = Advert {
        node: publisher.public(),
        sequence: 1,
        issued: NOW,
        expires: NOW.plus(600),
        services: vec!["/blackhole/cdn/1.0.0".parse().unwrap()],
        addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x1f, 0x90]],
    }
    .sign(&publisher);
    let advert_contents = coordination::SignedAdvert::decode(advert.as_slice()).unwrap().advert;
    vec![
        ("frames", frames),
        ("keys", publisher.public().to_string().into_bytes()),
        ("keys", publisher.public().to_peer_id().to_string().into_bytes()),
        ("paths", b"/images/caf%C3%A9/1.jpg".to_vec()),
        ("delegation", delegation.encode_to_vec()),
        ("delegation_contents", delegation.delegation.clone()),
        ("manifest", own),
        ("manifest", manifest.sign(&delegate, Some(delegation)).unwrap()),
        ("manifest_contents", contents),
        ("hash_pages", [&[5, 1, 0][..], &[8; 32]].concat()),
        ("hash_pages", [&[1, 2, 0][..], b"x"].concat()),
        ("advert", advert),
        ("advert_contents", advert_contents),
    ]
}
