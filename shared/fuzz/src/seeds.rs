//! Writes a lawful example of each message into `corpus/`, for the fuzzer to start from. Run when a message
//! changes: `cargo run --bin seeds` in this folder.

use core::num::NonZeroU64;
use std::{fs, path::Path};

use prost::Message as _;
use shared::{
    base::{BlobRoot, RequestId, SegmentId, SiteId, UnixSeconds},
    cdn::{
        blob::HashTree,
        bulk::{StreamKind, open_frame, piece_frame},
        earner::Earner,
        introduction::{Answer, Offer, Reach},
        manifest::{Asset, Manifest},
        messages,
        part::Piece,
        receipts::{Receipt, Verified},
        report,
    },
    coordination::Advert,
    economy::{
        Amount,
        ledger::{Ledger, Posting},
        price::{Price, Quote, Unit},
        voucher::{ChannelContract, Voucher},
    },
    identity::{Account, AccountKey, Binding, Delegation, Did, Keypair, Revocation},
    storage::{
        erasure::{Profile, SegmentShape},
        extras::{Kept, Room},
        holders::{FailedAudit, HolderAdvert, Lease, vouch},
        ipfs::{
            self, FileBuilder, NewBlock, Tree,
            bitswap::{Message, Want},
            ipns::{Name, Record},
        },
        messages::{Ask, Said, ShardAnswer, ShardRequest},
        placement::{HolderKind, Network},
        proof::{Challenge, Fault, Opinion, Standing, Transcript, Verdict, answer},
        record::{Body, ObjectDraft, ObjectSecret, Part as StreamPart, SegmentRecord},
        seal::{ObjectKey, PathKey, Sealing, StreamShape},
    },
    wire::{
        Refusal, cdn, coordination, economy,
        ipfs::{IpnsEntry, PbData},
        storage as storage_wire, write_frame,
    },
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

/// A message in two pieces with a ping between them, and a goodbye, cut into pieces of seven bytes.
fn websocket() -> Vec<u8> {
    let frame = |first: u8, payload: &[u8]| {
        let mask = [1, 2, 3, 4];
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let length = u8::try_from(payload.len()).expect("a seed is small");
        [first, 0x80 | length].into_iter().chain(mask).chain(masked).collect::<Vec<u8>>()
    };
    [vec![7], frame(0x02, b"first"), frame(0x89, b"ping"), frame(0x80, b"second"), frame(0x88, &[3, 0xe8])].concat()
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
    let mut seeds = vec![
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
        ("websocket", websocket()),
        ("advert_contents", advert_contents),
    ];
    seeds.extend(swarm(&publisher, &delegate));
    seeds.extend(storage(&publisher));
    seeds.extend(money(&publisher));
    seeds.extend(holders(&publisher, &delegate));
    seeds.extend(ipfs(&publisher));
    seeds
}

/// A lawful example of each message of the swarm protocol, and some scripts for a peer.
fn swarm(ours: &Keypair, theirs: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    use cdn::{bulk_request::Part as Wire, control::Message};
    let receipt = || Receipt::sign(theirs, &ours.public(), 7, Verified::of(1 << 20));
    let range = cdn::GroupRange { first: 3, count: 8 };
    let have = |what: cdn::BlobHave| cdn::BlobHave { root: vec![1; 32], ..what };
    let blobs = vec![
        have(cdn::BlobHave { complete: true, ..Default::default() }),
        have(cdn::BlobHave { bitfield: vec![0xff, 3], coming: vec![range], ..Default::default() }),
        have(cdn::BlobHave { added: vec![range], ..Default::default() }),
        have(cdn::BlobHave { gone: true, ..Default::default() }),
    ];
    let site = cdn::SiteState { site: vec![2; 32], sequence: 5, complete: true, swarm: 9 };
    let addresses = vec![vec![4, 127, 0, 0, 1, 6, 0x1f, 0x90]];
    let peer = theirs.public().to_bytes().to_vec();
    let control = [
        Message::Hello(cdn::Hello { version: 1, role: 1, region: 150, sites: vec![site], session: 7 }),
        Message::Have(cdn::Have { blobs, receipt: Some(receipt()) }),
        Message::Cancel(cdn::Cancel { request: 9 }),
        Message::Choke(cdn::Choke {}),
        Message::Unchoke(cdn::Unchoke {}),
        Message::Receipt(receipt()),
        Message::Report(report::sign(theirs, &ours.public(), cdn::OffenceKind::BadPiece, 7)),
        Message::AskPeers(cdn::AskPeers {
            request: 1,
            site: vec![2; 32],
            count: 8,
            addresses: addresses.clone(),
            receipts: vec![receipt()],
            earner: Some(Earner::sign(theirs, &ours.public(), SiteId([2; 32]), [4; 20])),
        }),
        Message::Peers(cdn::Peers {
            request: 1,
            site: vec![2; 32],
            peers: vec![cdn::PeerEntry { peer, addresses, region: 150, role: 1 }],
            retry_after_ms: 5_000,
            swarm: 2,
        }),
        Message::Refuse(cdn::Refuse { request: 1, refusal: 1, retry_after_ms: 500 }),
        Message::Offer(Offer::sign(ours, 7, SiteId([2; 32]), Reach::Hard, "v=0".to_owned(), 5).to_wire()),
        Message::Answer(Answer::sign(theirs, 7, &ours.public(), Reach::Strict, "v=0".to_owned()).to_wire()),
    ];
    let mut seeds: Vec<_> =
        control.into_iter().map(|message| ("cdn_control", messages::control(message))).collect();
    for kind in [StreamKind::Control, StreamKind::Bulk] {
        seeds.push(("cdn_control", open_frame(kind)[1..].to_vec()));
    }
    for part in [Wire::Groups(range), Wire::Page(1), Wire::Top(true)] {
        let request =
            cdn::BulkRequest { request: 4, root: vec![1; 32], part: Some(part), receipt: Some(receipt()) };
        seeds.push(("cdn_request", request.encode_to_vec()));
    }
    let end = messages::end(RequestId(4), Some(Refusal::Busy), 500);
    seeds.push(("cdn_request", end.clone()));
    let mut answers = vec![11];
    for (piece, payload) in [(Piece::Group(3), &b"hello"[..]), (Piece::Page(0), &[8; 64]), (Piece::Top, b"")]
    {
        answers.extend(piece_frame(RequestId(4), piece, payload.len()));
        answers.extend_from_slice(payload);
    }
    write_frame(&end, &mut answers);
    seeds.push(("cdn_answers", answers));
    // Steps of `swarm.rs`, most of them of a few bytes: link, Hello, Have, fetch, answers, time.
    let link = [9, 0, 2, 1];
    let hello = [9, 3, 0, 0, 0, 1, 0, 1, 5, 0, 7];
    let have_all = [9, 4, 0, 0, 1, 1, 2, 0, 0, 0, 1, 0];
    let fetch = [9, 12, 0, 30, 2, 0];
    let answer = [9, 9, 0, 7, 0, 0, 9];
    let (look, http) = ([9, 15, 3], [9, 10, 0, 7, 0, 0, 9]);
    let hold = [9, 14, 1, 2, 0, 30];
    let request = [9, 7, 0, 2, 0, 8, 1, 4, 2];
    let served = [9, 11, 0, 2];
    let fetching = [&[7][..], &link, &hello, &have_all, &fetch, &answer, &answer, &look, &http, &http, &look];
    let serving = [&[0][..], &link, &hello, &hold, &look, &request, &served, &request, &served];
    seeds.push(("cdn_peer", fetching.concat()));
    seeds.push(("cdn_peer", serving.concat()));
    seeds
}

/// A lawful example of each record that storage keeps.
/// What is said of money and of who one is.
fn money(provider: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    let account = AccountKey::from_secret([5; 32]).expect("a key");
    let quote = Quote {
        provider: provider.public(),
        consumer: Keypair::from_secret([2; 32]).public(),
        payee: account.account(),
        contract: Account([4; 20]),
        chain_id: 137,
        unit: Unit::Bytes,
        price: Price { amount: 10_000, per: NonZeroU64::new(1_000_000_000).expect("not zero") },
        tariff: 1,
        issued: NOW,
        expires: NOW.plus(600),
    };
    let separator = ChannelContract { chain_id: 1, address: Account([4; 20]) }.separator();
    let voucher = |payee: [u8; 20]| {
        let voucher = Voucher { payer: account.account(), payee: Account(payee), cumulative: Amount::of(77) };
        voucher.sign(&separator, &account).to_wire()
    };
    let answer = economy::VoucherAnswer {
        newest: Some(voucher([3; 20])),
        delivered: Amount::of(80).to_bytes().to_vec(),
    };
    let mut ledger = Ledger::default();
    let mut entry = |posting| ledger.append(NOW, posting, Amount::of(9), &[6; 32]).expect("an entry");
    let (first, second) = (entry(Posting::Received), entry(Posting::Staked([8; 32])));
    let length = u8::try_from(first.len()).expect("an entry is short");
    let binding = Binding {
        peer: provider.public(),
        account: account.account(),
        chain_id: 137,
        serial: 1,
        issued: NOW,
        expires: NOW.plus(86_400),
    };
    let revocation =
        Revocation { issuer: provider.public(), blocks: vec![[1; 32], [2; 32]], expires: NOW.plus(600) };
    let web: Did = "did:web:node.example".parse().expect("a name");
    let document = web.web_document(&provider.public(), Some((137, account.account())));
    let login = format!(
        "https://example.com wants you to sign in with your Ethereum account:\n{}\n\nI accept.\n\n\
         URI: https://example.com/login\nVersion: 1\nChain ID: 1\nNonce: 32891756\n\
         Issued At: 2021-09-30T16:25:24Z\nExpiration Time: 2021-09-30T17:25:24.5+01:00\n\
         Request ID: id\nResources:\n- https://example.com/a",
        account.account()
    );
    vec![
        ("money_quote", quote.sign(provider).quote),
        ("money_voucher", voucher([3; 20]).encode_to_vec()),
        ("money_voucher", answer.encode_to_vec()),
        ("money_ledger", [&[length][..], &first, &second].concat()),
        ("identity_statements", binding.sign(provider, &account).binding),
        ("identity_statements", revocation.sign(provider).revocation),
        ("identity_texts", document.to_json().into_bytes()),
        ("identity_texts", login.into_bytes()),
        ("identity_texts", b"did:web:example.com%3A3000:user:alice".to_vec()),
        ("identity_texts", format!("did:pkh:eip155:137:{}", account.account()).into_bytes()),
    ]
}

fn storage(writer: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let bucket = PathKey::from_bytes([1; 32]);
    let path = "photos/2026/beach.jpg".parse().expect("a path");
    seeds.push(("storage_path", bucket.seal_path(&path)));
    for (profile, bytes) in [(Profile::WIDE, 3_000_000), (Profile::for_network(3), 5000)] {
        let shape = SegmentShape::new(profile, bytes).expect("a lawful segment");
        let alike = shape.profile().data_shards() == 1;
        let root = |n: u16| BlobRoot([if alike { 0 } else { n.to_be_bytes()[1] }; 32]);
        let roots = (0..profile.total_shards()).map(root).collect();
        let record = SegmentRecord::new(shape, roots).expect("a root each");
        seeds.push(("storage_segment", record.encode().1));
    }
    let shape = StreamShape::new(Sealing::XChaCha20Poly1305, 70 << 20).expect("a lawful stream");
    let part = |salt| StreamPart { shape, salt: [salt; 16], segments: vec![SegmentId([salt; 32]); 2] };
    let bodies = [
        (Sealing::XChaCha20Poly1305, Body::Inline(vec![5; 40])),
        (Sealing::Plain, Body::Inline(vec![5; 40])),
        (Sealing::Aes256Gcm, Body::Inline(vec![5; 40])),
        (Sealing::XChaCha20Poly1305, Body::Parts(vec![part(1), part(2)])),
    ];
    for (sealing, body) in bodies {
        let draft = ObjectDraft { sequence: 7, modified: NOW, sealing, body };
        let secret = ObjectSecret { key: ObjectKey::from_bytes([2; 32]), attributes: b"text/plain".to_vec() };
        let signed = draft.sign(&secret, &bucket.object(&path).1, &[3; 24], writer).expect("a lawful record");
        let contents = storage_wire::SignedObjectRecord::decode(signed.as_slice()).expect("just made").record;
        seeds.extend([("storage_object", signed), ("storage_object", contents)]);
    }
    let challenge = Challenge { root: BlobRoot([3; 32]), beacon: [4; 32], holder: writer.public() };
    let shard = vec![7; 20_000];
    let tree = HashTree::of(&shard).expect("a shard is small");
    let groups = (0..).zip(shard.chunks(16384)).collect();
    for groups in [groups, [].into()] {
        let signed = answer(&challenge, &tree, &groups, writer);
        let contents = storage_wire::SignedProofAnswer::decode(signed.as_slice()).expect("just made").answer;
        seeds.extend([("storage_proof", signed), ("storage_proof", contents)]);
    }
    let tree = HashTree::of(&[7; 40_000]).expect("a blob is longer");
    for (first, end) in [(0, 3), (1, 2), (2, 3)] {
        let bytes = tree.shape().groups_bytes(&(u32::from(first)..u32::from(end)));
        let payload = vec![7; usize::try_from(bytes.end - bytes.start).expect("three groups fit")];
        let slice = tree.slice(&(u32::from(first)..u32::from(end)), &payload).expect("it has them");
        seeds.push(("storage_slice", [vec![first, end - first], slice].concat()));
    }
    seeds
}

/// What the IPFS world sends.
fn ipfs(key: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut blocks = Vec::new();
    let mut emit = |block: NewBlock| blocks.push(block.bytes);
    let mut file = FileBuilder::default();
    for chunk in [&[1; 40][..], &[2; 9]] {
        file.chunk(chunk, &mut emit);
    }
    let file = file.finish(&mut emit);
    ipfs::symlink(b"../a", &mut emit);
    let mut tree = Tree::default();
    for name in ["a", "b"] {
        tree.insert(&[b"d", name.as_bytes()], file).expect("a lawful tree");
    }
    tree.finish(&mut emit).expect("no collision");
    // Names of 255 bytes make a directory a trie; its lower shards are short.
    let mut tree = Tree::default();
    for number in 0..900_u16 {
        let name = format!("{number:0>255}");
        tree.insert(&[name.as_bytes()], file).expect("a lawful tree");
    }
    let mut shards = Vec::new();
    tree.finish(&mut |block: NewBlock| shards.push(block.bytes)).expect("no collision");
    shards.sort_by_key(Vec::len);
    blocks.extend(shards.into_iter().take(1));
    for block in blocks {
        let data = PbData::decode(block.as_slice()).expect("just made").data.unwrap_or_default();
        let cut = u8::try_from(data.len().min(255)).expect("at most 255");
        seeds.push(("ipfs_blocks", [&[cut & !1][..], &data, b"lower"].concat()));
        seeds.push(("ipfs_blocks", block));
    }
    let cid = ipfs::cid_of(ipfs::RAW, b"x");
    let want = |have| Want { cid, priority: 1, have, tell_absence: true };
    let message = Message {
        full: true,
        wants: vec![want(false), want(true)],
        cancels: vec![cid],
        blocks: vec![(cid, b"x".to_vec())],
        have: vec![cid],
        lacking: vec![cid],
    };
    seeds.push(("ipfs_bitswap", message.encode()));
    let record = Record { value: format!("/ipfs/{cid}"), sequence: 1, expires: NOW.plus(3600), ttl_seconds: 300 };
    let signed = record.sign(key).expect("a short value");
    seeds.push(("ipfs_names", IpnsEntry::decode(signed.as_slice()).expect("just made").data.unwrap_or_default()));
    seeds.push(("ipfs_names", signed));
    seeds.push(("ipfs_texts", b"# a site\n/a/:b/* /c/:b/:splat 301\n/* /index.html 200\n".to_vec()));
    seeds.push(("ipfs_texts", format!("{cid}/a/../b c").into_bytes()));
    seeds.push(("ipfs_texts", Name::of(key).to_string().into_bytes()));
    seeds.push(("ipfs_texts", b"-10:*".to_vec()));
    seeds.push(("ipfs_texts", format!("dnslink=/ipfs/{cid}/a").into_bytes()));
    seeds.push(("ipfs_texts", b"dnslink=/ipns/a-b.example.org".to_vec()));
    seeds
}

/// A lawful example of what owners and holders say to each other.
fn holders(ours: &Keypair, theirs: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (operator, network) in [(ours, Network::V4([192, 0, 2])), (theirs, Network::V6([1; 8]))] {
        let advert = HolderAdvert {
            node: ours.public(),
            operator: operator.public(),
            operator_signature: vouch(operator, &ours.public()),
            sequence: 1,
            issued: NOW,
            expires: NOW.plus(600),
            free_bytes: 1 << 40,
            price: 3,
            network,
            region: 150,
            autonomous_system: 64_500,
            kind: HolderKind::Supernode,
            software: "blackhole/0.1.0".to_owned(),
            claimed_audits: 7,
            addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x1f, 0x90]],
        }
        .sign(ours);
        let contents = storage_wire::SignedHolderAdvert::decode(advert.as_slice()).expect("just made").advert;
        seeds.extend([("storage_holder", advert), ("storage_holder", contents)]);
    }
    let root = BlobRoot([3; 32]);
    let (owner, until) = (theirs.public(), NOW.plus(86_400));
    let lease = Lease { root, bytes: 70_000, owner, holder: ours.public(), issued: NOW, until }.sign(ours);
    let contents = storage_wire::SignedLease::decode(lease.as_slice()).expect("just made").lease;
    seeds.extend([("storage_lease", lease.clone()), ("storage_lease", contents)]);

    let tree = HashTree::of(&[7; 20_000]).expect("a shard is small");
    let challenge = Challenge { root: tree.root(), beacon: [4; 32], holder: ours.public() };
    let other = vec![8; 20_000];
    let other_tree = HashTree::of(&other).expect("a shard is small");
    let lost = answer(&challenge, &tree, &[].into(), ours);
    let wrong = answer(&challenge, &other_tree, &(0..).zip(other.chunks(16384)).collect(), ours);
    let mut evidence = Vec::new();
    for (verdict, answer) in [
        (Verdict::Silent, None),
        (Verdict::Lost, Some(lost.clone())),
        (Verdict::Wrong(Fault::Proof), Some(wrong)),
    ] {
        let transcript = Transcript { challenge: challenge.clone(), verdict, answer };
        let signed = FailedAudit { auditor: theirs.public(), transcript, observed: NOW }.sign(theirs);
        let contents = storage_wire::SignedFailedAudit::decode(signed.as_slice()).expect("just made").audit;
        seeds.extend([("storage_evidence", signed.clone()), ("storage_evidence", contents)]);
        evidence = signed;
    }

    let within = core::time::Duration::from_secs(2);
    let mut standing = Standing::default();
    standing.handle_verdict(Verdict::Lost);
    let opinion = Opinion::new(&standing, 0);
    let asks = [
        Ask::Store { root, bytes: 70_000, lease_until: until },
        Ask::HandOut { root, range: 65_536..70_000 },
        Ask::Drop { root },
        Ask::Challenge { root, beacon: [4; 32], within, opinion: None },
        Ask::Challenge { root, beacon: [4; 32], within, opinion: Some(opinion) },
        Ask::Opinion(opinion),
        Ask::Evidence {
            account: Box::new(FailedAudit::open(&evidence).expect("lawful evidence")),
            signed: evidence.clone(),
        },
        Ask::ListHolders { after: Some([4; 32]) },
        Ask::ListEvidence { after: None },
        Ask::Keep { root, bytes: 70_000, lease_until: until, segment: SegmentId([5; 32]) },
        Ask::OfferRoom(Room {
            bytes: 1 << 20,
            kept: vec![Kept { root, segment: SegmentId([5; 32]), until }],
        }),
    ];
    for ask in asks {
        let request = ShardRequest { request: RequestId(4), ask };
        seeds.push(("storage_shards", request.encode().expect("all are lawful")));
    }
    let said = [
        Said::Lease(lease),
        Said::Payload { shard_bytes: 70_000, payload_bytes: 70_100 },
        Said::Done,
        Said::Proof(lost),
        Said::Evidence { accounts: vec![evidence], more: true },
        Said::Refused { refusal: Refusal::Busy, retry_after: core::time::Duration::from_millis(500) },
    ];
    for said in said {
        seeds.push(("storage_shards", ShardAnswer { request: RequestId(4), said }.encode()));
    }
    seeds
}
