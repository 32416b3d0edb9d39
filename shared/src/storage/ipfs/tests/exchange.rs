use super::*;
use crate::storage::ipfs::block::{cid_by_prefix, prefix_of};

fn want(cid: Cid, priority: i32) -> Want {
    Want { cid, priority, have: false, tell_absence: true }
}

#[test]
fn messages_read_as_they_were_written() {
    let cids: Vec<Cid> = (0..6_u8).map(|n| cid_of(RAW, &[n])).collect();
    let message = Message {
        full: true,
        wants: vec![want(cids[0], 3), Want { have: true, tell_absence: false, ..want(cids[1], -1) }],
        cancels: vec![cids[2]],
        blocks: vec![(cids[3], vec![3]), (cid_of(DAG_PB, b"x"), b"x".to_vec())],
        have: vec![cids[4]],
        lacking: vec![cids[5]],
    };
    assert_eq!(Message::parse(&message.clone().encode()), Ok(message));
    assert!(Message::parse(&Message::default().encode()).unwrap().is_empty());
    let (prefix, old) = (prefix_of(&cids[0]), [0, 0x70, 0x12, 32]);
    assert_eq!(prefix, [1, 0x55, 0x12, 32]);
    assert!(cid_by_prefix(&old, b"x").unwrap().to_string().starts_with("Qm"), "of version 0");
    assert_eq!(cid_by_prefix(&[1, 0x55, 0x13, 64], b"x"), None, "a hash that is not computed here");
}

#[test]
fn messages_beyond_their_bounds_are_refused() {
    assert_eq!(Message::parse(&vec![0; MAX_MESSAGE_BYTES + 1]), Err(MessageError::TooLong));
    assert_eq!(Message::parse(&[0x1a, 0].repeat(20_000)), Err(MessageError::TooMany));
    let entries = [0x0a, 0].repeat(20_000);
    let mut list = vec![0x0a];
    prost::encoding::encode_varint(entries.len() as u64, &mut list);
    assert_eq!(Message::parse(&[list, entries].concat()), Err(MessageError::TooMany));
    assert_eq!(Message::parse(&[0x0a, 9]), Err(MessageError::Malformed));
}

#[test]
fn a_peers_wants_are_bounded_and_in_order() {
    let cid = |n: u32| cid_of(RAW, &n.to_le_bytes());
    let mut wants = Wants::default();
    let message = Message { wants: (0..5000).map(|n| want(cid(n), 1)).collect(), ..Message::default() };
    assert_eq!(wants.handle_message(&message), 5000 - MAX_WANTS);
    let cancels = (1..4096).map(cid).collect();
    assert_eq!(wants.handle_message(&Message { cancels, ..Message::default() }), 0);
    wants.handle_message(&Message { wants: vec![want(cid(9), 7), want(cid(8), 1)], ..Message::default() });
    let order: Vec<_> = std::iter::from_fn(|| wants.poll_want()).map(|want| want.cid).collect();
    assert_eq!(order, [9, 0, 8].map(cid));
    wants.handle_message(&message);
    wants.handle_message(&Message { full: true, wants: vec![want(cid(1), 1)], ..Message::default() });
    assert_eq!(wants.poll_want().map(|want| want.cid), Some(cid(1)));
    assert!(wants.is_empty());
}

/// Runs a fetch against peers, each with a rule of what it answers; time passes when nothing else happens.
fn run(
    fetch: &mut Fetch,
    held: &Blocks,
    answers: &dyn Fn(u64, &Cid) -> Option<bool>,
) -> Result<Vec<Cid>, FetchError> {
    let mut now = Instant::default();
    let mut taken = Vec::new();
    let mut said = std::collections::VecDeque::new();
    loop {
        match fetch.poll_next(now)? {
            Next::Look(cid) => fetch.handle_look(taken.contains(&cid).then(|| held.0[&cid].as_slice())),
            Next::Ask { peer, wants, cancels } => {
                assert!(cancels.len() <= 64, "told off before long");
                said.extend(wants.into_iter().map(|want| (peer, want.cid)));
            }
            Next::Done => return Ok(taken),
            Next::Wait(until) => match said.pop_front() {
                Some((peer, cid)) => match answers(peer, &cid) {
                    Some(true) => {
                        assert!(!taken.contains(&cid), "nothing is fetched twice");
                        if fetch.handle_block(now, cid, &held.0[&cid]) {
                            taken.push(cid);
                        }
                    }
                    Some(false) => fetch.handle_lacking(peer, cid),
                    None => {}
                },
                None => now = until,
            },
        }
    }
}

#[test]
fn a_tree_comes_over_from_peers_that_lack_parts_of_it() {
    let mut blocks = Blocks::default();
    let bytes = noise(5, 9 * CHUNK_BYTES);
    let names: Vec<String> = (0..300).map(|n| format!("d{}/{n}", n % 7)).collect();
    let mut entries: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    entries.push(("big", &bytes));
    let root = blocks.tree(&entries).cid;
    let mut fetch = Fetch::new(root);
    for peer in 0..3 {
        assert!(fetch.handle_peer(peer));
    }
    // The first has every other block, the second is silent, the third has what the first has not.
    let answers = |peer: u64, cid: &Cid| match peer {
        1 => None,
        peer => Some((cid.hash().digest()[0] & 1 == 0) == (peer == 0)),
    };
    let mut taken = run(&mut fetch, &blocks, &answers).unwrap();
    taken.sort_unstable();
    assert!(taken.iter().eq(blocks.0.keys()));
}

#[test]
fn a_fetch_ends_where_nobody_has_a_block() {
    let mut blocks = Blocks::default();
    let root = blocks.tree(&[("a", b"A"), ("b", b"B")]).cid;
    let missing = cid_of(RAW, b"B");
    let mut fetch = Fetch::new(root);
    assert_eq!(run(&mut fetch, &blocks, &|_, _| None), Err(FetchError::Missing(root)), "no peers at all");
    let mut fetch = Fetch::new(root);
    fetch.handle_peer(1);
    fetch.handle_peer(2);
    assert_eq!(run(&mut fetch, &blocks, &|_, cid| Some(*cid != missing)), Err(FetchError::Missing(missing)));
    let mut fetch = Fetch::new(root);
    fetch.handle_peer(1);
    assert!(
        !fetch.handle_block(Instant::default(), root, &blocks.0[&root]),
        "what was not asked for is not taken"
    );
    fetch.handle_lacking(1, missing);
    fetch.handle_peer(2);
    fetch.handle_gone(1);
    assert_eq!(run(&mut fetch, &blocks, &|_, _| Some(true)).map(|taken| taken.len()), Ok(3));
}
