use bao_tree::{BlockSize, io::outboard::PreOrderMemOutboard};
use proptest::prelude::*;

use super::*;

const GROUP: u64 = GROUP_BYTES;

fn bytes(size: u64) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

/// Sizes at which the tree changes its form.
fn sizes() -> [u64; 14] {
    let page = PAGE_BYTES;
    [0, 1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, 3 * GROUP + 7, page - 1, page, page + 1, page + GROUP]
        .into_iter()
        .chain([2 * page, 2 * page + 5, 3 * page + 2 * GROUP])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[test]
fn a_root_is_plain_blake3_and_what_bao_tree_computes() {
    for size in sizes() {
        let data = bytes(size);
        let tree = HashTree::of(&data).unwrap();
        assert_eq!(tree.root().0, *blake3::hash(&data).as_bytes(), "{size}");
        let bao = PreOrderMemOutboard::create(&data, BlockSize::from_chunk_log(4));
        assert_eq!(tree.root().0, *bao.root.as_bytes(), "{size}");
    }
}

#[test]
fn every_group_verifies_by_the_pages_that_travel() {
    for size in sizes() {
        let data = bytes(size);
        let tree = HashTree::of(&data).unwrap();
        let shape = tree.shape();
        let mut hashes = BlobHashes::new(tree.root(), shape);
        if shape.pages() > 0 {
            assert_eq!(
                hashes.verify_group(0, &data[..16384.min(data.len())]),
                Err(VerifyError::Unknown { index: 0 })
            );
        }
        if let Some(top) = tree.top() {
            hashes.insert_top(&top).unwrap();
        }
        for page in 0..shape.pages() {
            hashes.insert_page(page, &tree.page(page).unwrap()).unwrap();
        }
        for group in 0..shape.groups() {
            let range = shape.group_bytes(group).unwrap();
            let slice = &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            assert_eq!(hashes.verify_group(group, slice), Ok(()), "{size} group {group}");
        }
        assert_eq!(hashes.page(0), tree.page(0));
        assert_eq!(hashes.top(), tree.top());
    }
}

#[test]
fn a_liar_is_convicted_by_a_single_bit() {
    let data = bytes(PAGE_BYTES + 3 * GROUP);
    let tree = HashTree::of(&data).unwrap();
    let mut hashes = BlobHashes::new(tree.root(), tree.shape());
    let mut top = tree.top().unwrap();
    top[40] ^= 1;
    assert_eq!(hashes.insert_top(&top), Err(VerifyError::Hash { index: 0 }));
    assert!(hashes.needs_top());
    hashes.insert_top(&tree.top().unwrap()).unwrap();
    let mut page = tree.page(1).unwrap();
    assert_eq!(
        hashes.insert_page(0, &page),
        Err(VerifyError::Length { index: 0, found: 96, expected: 16384 })
    );
    page[0] ^= 0x80;
    assert_eq!(hashes.insert_page(1, &page), Err(VerifyError::Hash { index: 1 }));
    hashes.insert_page(1, &tree.page(1).unwrap()).unwrap();
    let group = &data[usize::try_from(PAGE_BYTES).unwrap()..][..16384];
    assert_eq!(hashes.verify_group(512, group), Ok(()));
    // The right bytes in the wrong place are a lie too.
    assert_eq!(hashes.verify_group(513, group), Err(VerifyError::Hash { index: 513 }));
    assert_eq!(hashes.verify_group(600, group), Err(VerifyError::Absent { index: 600 }));
}

#[test]
fn a_page_is_never_longer_than_a_group() {
    assert_eq!(u64::from(PAGE_GROUPS) * HASH_BYTES as u64, GROUP_BYTES);
    assert!(BlobShape::new(MAX_BLOB_BYTES).is_some());
    assert!(BlobShape::new(MAX_BLOB_BYTES + 1).is_none());
    assert!(BlobShape::new(MAX_BLOB_BYTES).unwrap().pages() <= PAGE_GROUPS);
}

proptest! {
    #[test]
    fn groups_tile_the_blob(size in 0..=MAX_BLOB_BYTES) {
        let shape = BlobShape::new(size).unwrap();
        let last = shape.group_bytes(shape.groups() - 1).unwrap();
        prop_assert_eq!(last.end, size);
        prop_assert!(size == 0 || last.start < size);
        prop_assert_eq!(shape.group_bytes(shape.groups()), None);
        prop_assert_eq!(shape.groups_bytes(&(0..shape.groups())), 0..size);
        prop_assert_eq!(shape.groups_touched(&(0..size)).end, if size == 0 { 0 } else { shape.groups() });
    }

    #[test]
    fn hashing_does_not_care_how_the_bytes_arrive(size in 0usize..100_000, cut in 1usize..40_000) {
        let data = bytes(size as u64);
        let mut hasher = BlobHasher::default();
        for chunk in data.chunks(cut) {
            hasher.update(chunk).unwrap();
        }
        prop_assert_eq!(hasher.finish(), HashTree::of(&data).unwrap());
    }

    #[test]
    fn parts_hashed_side_by_side_are_the_whole(before in 0u32..8, groups in 0u32..8, rest in 0u64..20_000) {
        let (one, next) = (GROUP * u64::from(before), GROUP * u64::from(before + groups));
        let data = bytes(next + rest);
        let part = |from: u64, to: u64| {
            let mut hasher = BlobHasher::starting_at(u32::try_from(from / GROUP).unwrap());
            hasher.update(&data[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]).unwrap();
            hasher
        };
        let mut whole = part(0, one);
        whole.append(part(one, next)).unwrap();
        whole.append(part(next, next + rest)).unwrap();
        prop_assert_eq!(whole.finish(), HashTree::of(&data).unwrap());
    }

    #[test]
    fn garbage_is_refused_not_believed(garbage in prop::collection::vec(any::<u8>(), 0..20_000), index in 0u32..600) {
        let shape = BlobShape::new(PAGE_BYTES + GROUP).unwrap();
        let mut hashes = BlobHashes::new(crate::base::BlobRoot([7; 32]), shape);
        prop_assert!(hashes.insert_top(&garbage).is_err());
        prop_assert!(hashes.insert_page(index, &garbage).is_err());
        prop_assert!(hashes.verify_group(index, &garbage).is_err());
    }
}

#[test]
fn stored_hashes_read_back_and_damage_is_noticed() {
    for size in sizes() {
        let tree = HashTree::of(&bytes(size)).unwrap();
        let (root, shape, mut stored) = (tree.root(), tree.shape(), tree.to_bytes());
        assert_eq!(HashTree::from_bytes(root, shape, &stored), Ok(tree));
        assert!(HashTree::from_bytes(root, shape, &[&stored[..], &[0]].concat()).is_err());
        if let Some(last) = stored.last_mut() {
            *last ^= 1;
            assert_eq!(HashTree::from_bytes(root, shape, &stored), Err(VerifyError::Hash { index: 0 }));
        }
    }
}
