use super::*;

#[test]
fn names_are_those_that_the_world_has_for_nothing_at_all() {
    let mut blocks = Blocks::default();
    let empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(blocks.file(b"").cid.to_string(), empty);
    assert!(blocks.0.contains_key(&empty.parse().unwrap()), "the empty chunk is a block too");
    let directory = Tree::default().finish(&mut |block| blocks.take(block)).unwrap();
    assert_eq!(directory.cid.to_string(), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
}

#[test]
fn names_spread_over_buckets_as_the_specification_says() {
    let hash = hamt::hash(b"470.txt");
    assert_eq!([0, 1].map(|level| hamt::bucket(hash, level, 8)), [Some(0x00), Some(0x6e)]);
    assert_eq!(hamt::bucket(hash, 8, 8), None, "a hash ends");
    assert_eq!(hamt::prefix(0x0a, 8), "0A");
    assert_eq!(
        [4, 8, 256, 300, 1024, 2048].map(hamt::bits_of),
        [None, Some(3), Some(8), None, Some(10), None]
    );
}

#[test]
fn ranges_of_a_file_read_as_the_file() {
    let mut blocks = Blocks::default();
    let bytes = noise(1, 3 * CHUNK_BYTES + 17);
    let root = blocks.file(&bytes).cid;
    let length = bytes.len() as u64;
    let mib = CHUNK_BYTES as u64;
    for (range, parts) in
        [(0..length, 4), (0..1, 1), (mib - 1..mib + 1, 2), (mib..2 * mib, 1), (length - 1..length, 1)]
    {
        let walk = Walk::new(root, Scope::Entity, Some(EntityBytes::of(&range)), false);
        let (read, sent) = blocks.walk(walk).unwrap();
        let (start, end) = (index(range.start), index(range.end));
        assert!(read == bytes[start..end], "{range:?}");
        assert_eq!(sent.len(), parts + 1, "{range:?}: the root and the parts that hold it");
    }
    for (asked, expected) in [
        ("0:*", 0..length),
        ("-5:*", length - 5..length),
        ("7:-8", 7..length - 7),
        ("0:0", 0..1),
        ("0:99999999999", 0..length),
        ("-99999999999:3", 0..4),
    ] {
        let asked = EntityBytes::parse(asked).unwrap();
        let (read, _) = blocks.walk(Walk::new(root, Scope::All, Some(asked), false)).unwrap();
        assert!(read == bytes[index(expected.start)..index(expected.end)], "{expected:?}");
    }
    for outside in ["99999999999:*", "5:4", "0:-99999999999"] {
        let walk = Walk::new(root, Scope::Entity, EntityBytes::parse(outside), false);
        assert_eq!(blocks.walk(walk).unwrap(), (Vec::new(), vec![root]), "{outside}: as much as a block");
    }
    for text in ["", "1", "a:b", "*:1", "1:2:3"] {
        assert_eq!(EntityBytes::parse(text), None, "{text}");
    }
}

#[test]
fn a_file_has_leaves_of_one_depth() {
    let mut blocks = Blocks::default();
    for (width, chunks, nodes) in [
        (1024, 1, 0),
        (1024, 2, 1),
        (1024, 1024, 1),
        (1024, 1025, 3),
        (1024, 2049, 4),
        (3, 9, 4),
        (3, 10, 4 + 3),
        (3, 27, 13),
        (3, 28, 13 + 4),
    ] {
        let bytes: Vec<u8> = (0..chunks).flat_map(|n: u32| n.to_le_bytes()).collect();
        let file = blocks.chunks(FileBuilder::of_width(width), &mut bytes.chunks(4));
        let made = blocks.0.keys().filter(|cid| cid.codec() == DAG_PB).count();
        assert_eq!(made, nodes, "{chunks} of {width}");
        let (read, _) = blocks.walk(Walk::new(file.cid, Scope::Entity, None, false)).unwrap();
        assert!(read == bytes, "{chunks} of {width}");
        blocks.0.clear();
    }
}

#[test]
fn paths_lead_through_small_and_large_directories() {
    let mut blocks = Blocks::default();
    let names: Vec<String> =
        (0..6000).map(|n| format!("large/a file with a long name, number {n}.txt")).collect();
    let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    entries.extend([("small/a", &b"A"[..]), ("small/deep/b", b"B"), ("c", b"")]);
    let root = blocks.tree(&entries);
    let large = blocks.resolve(&format!("{}/large", root.cid)).unwrap();
    assert!(matches!(Entry::parse(&large, &blocks.0[&large]), Ok(Entry::Shard(_))));
    for (path, bytes) in &entries {
        assert_eq!(blocks.resolve(&format!("{}/{path}", root.cid)).unwrap(), cid_of(RAW, bytes), "{path}");
    }
    let resolve = |path: &str| blocks.resolve(&format!("{}/{path}", root.cid));
    assert_eq!(resolve("small/./deep/../a/").unwrap(), cid_of(RAW, b"A"));
    assert_eq!(resolve("large/none"), Err(PathError::NoLink("none".to_owned())));
    assert_eq!(resolve("c/d"), Err(PathError::NotADirectory("d".to_owned())));
    assert_eq!(resolve("../x"), Err(PathError::Names));
    assert!(matches!(ContentPath::parse("no-cid/x"), Err(PathError::Cid(_))));

    // To list the large one, all its shards are needed, and none of its files.
    let (_, sent) = blocks.walk(Walk::new(large, Scope::Entity, None, true)).unwrap();
    assert!(sent.len() > 200 && sent.iter().all(|cid| cid.codec() == DAG_PB));
    assert_eq!(blocks.walk(Walk::new(root.cid, Scope::Entity, None, true)).unwrap().1, [root.cid]);
    assert_eq!(blocks.walk(Walk::new(root.cid, Scope::Block, None, true)).unwrap().1, [root.cid]);
    let (_, mut all) = blocks.walk(Walk::new(root.cid, Scope::All, None, true)).unwrap();
    let total: usize = all.iter().map(|cid| blocks.0[cid].len()).sum();
    assert_eq!(total as u64, root.total_bytes, "no block is there twice in this tree");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), blocks.0.len());
}

#[test]
fn a_block_that_comes_again_is_sent_again_only_where_that_is_wanted() {
    let mut blocks = Blocks::default();
    let bytes = vec![7; 3000 * 4];
    let root = blocks.chunks(FileBuilder::default(), &mut bytes.chunks(4)).cid;
    let sent = |once, asked: Option<&str>| {
        let walk = Walk::new(root, Scope::Entity, asked.and_then(EntityBytes::parse), once);
        blocks.walk(walk).unwrap().1.len()
    };
    assert_eq!(sent(false, None), 3000 + 3 + 1);
    // The leaf, the full node, the shorter one and the root.
    assert_eq!(sent(true, None), 4);
    assert_eq!(sent(true, Some("4090:4105")), 3, "the first full node for its end, the second for its start");
}

#[test]
fn a_tree_takes_only_names_that_others_can_read() {
    let file = Imported { cid: cid_of(RAW, b""), total_bytes: 0 };
    let mut tree = Tree::default();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", b"\xff"] {
        assert!(matches!(tree.insert(&[b"d", name], file), Err(ImportError::Name(_))), "{name:?}");
    }
    tree.insert(&[b"d", b"f"], file).unwrap();
    assert_eq!(tree.insert(&[b"d", b"f"], file), Err(ImportError::Twice("f".to_owned())));
    assert_eq!(tree.insert(&[b"d", b"f", b"g"], file), Err(ImportError::Twice("f".to_owned())));
    assert_eq!(tree.insert(&[b"d"], file), Err(ImportError::Twice("d".to_owned())));
    assert_eq!(tree.directory(&vec![&b"x"[..]; MAX_TREE_DEPTH + 1]), Err(ImportError::TooDeep));
}

#[test]
fn sizes_that_disagree_and_trees_too_deep_are_refused() {
    let leaf = cid_of(RAW, b"four");
    let node = |cid, said: u64, filesize: u64| {
        let links = vec![Link { cid, name: Vec::new(), total_bytes: 4 }];
        let data = crate::wire::ipfs::UnixFsData {
            kind: Some(2),
            filesize: Some(filesize),
            blocksizes: vec![said],
            ..Default::default()
        };
        let bytes = Node { links, data: prost::Message::encode_to_vec(&data) }.encode();
        NewBlock { cid: cid_of(DAG_PB, &bytes), bytes }
    };
    let mut blocks = Blocks::default();
    blocks.take(NewBlock { cid: leaf, bytes: b"four".to_vec() });
    let (wrong, liar) = (node(leaf, 5, 5), node(leaf, 4, 5));
    let (roots, read) = ([wrong.cid, liar.cid], |blocks: &Blocks, cid| {
        blocks.walk(Walk::new(cid, Scope::Entity, None, false))
    });
    blocks.take(wrong);
    blocks.take(liar);
    assert_eq!(read(&blocks, roots[0]), Err(WalkError::Size { said: 5, found: 4 }));
    assert!(matches!(read(&blocks, roots[1]), Err(WalkError::Node(NodeError::Invalid(_)))));
    let mut top = leaf;
    for _ in 0..=MAX_DEPTH {
        let next = node(top, 4, 4);
        top = next.cid;
        blocks.take(next);
    }
    assert_eq!(read(&blocks, top), Err(WalkError::TooDeep));
    assert_eq!(blocks.walk(Walk::new(top, Scope::All, None, true)), Err(WalkError::TooDeep));
    assert_eq!(Node::parse(&vec![0; MAX_BLOCK_BYTES + 1]), Err(NodeError::TooLong));
    assert_eq!(Node::parse(&[0x12, 0].repeat(MAX_LINKS + 1)), Err(NodeError::TooManyLinks));
    assert_eq!(Node::parse(&[0x12, 0]), Err(NodeError::Malformed));
}

#[test]
fn a_block_is_what_its_name_says() {
    let cid = cid_of(RAW, b"bytes");
    assert_eq!(check(&cid, b"bytes"), Ok(()));
    assert_eq!(check(&cid, b"Bytes"), Err(BlockError::Forged));
    assert_eq!(check(&cid, &vec![0; MAX_BLOCK_BYTES + 1]), Err(BlockError::TooLong));
    let identity: Cid = "bafkqaaa".parse().unwrap();
    assert_eq!((inlined(&identity), inlined(&cid)), (Some(&b""[..]), None));
    assert_eq!(check(&identity, b""), Ok(()));
}

#[test]
fn car_begins_as_others_begin_it() {
    let header = car::header(&[cid_of(RAW, b"")]);
    // {"roots": [42(h'0001551220…')], "version": 1}
    assert_eq!(hex::encode(&header[..17]), "3aa265726f6f747381d82a582500015512");
    assert_eq!(&header[header.len() - 9..], b"gversion\x01");
    assert_eq!(usize::from(header[0]), header.len() - 1);
    assert_eq!(car::section(&cid_of(RAW, b"abc"), 3)[0], 36 + 3);
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap()
}
