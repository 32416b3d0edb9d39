use std::{fs, io::Write as _};

use super::*;

fn store(directory: &Path, quota: u64) -> Arc<Store> {
    Arc::new(Store::open(directory, quota).unwrap())
}

fn import(store: &Arc<Store>, bytes: &[u8]) -> Result<BlobRoot, ImportError> {
    let mut incoming = store.begin(Some(bytes.len() as u64))?;
    bytes.chunks(10_000).try_for_each(|chunk| incoming.write(chunk))?;
    incoming.finish(None).map(|(root, _)| root)
}

fn read_all(blob: &OpenBlob) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    loop {
        let next = blob.read(all.len() as u64..blob.shape().size())?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&next);
    }
}

#[test]
fn a_blob_reads_back_also_after_a_restart_and_by_range() {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| at.to_le_bytes()[usize::from(at % 7 > 2)]).collect();
    let root = import(&store(directory.path(), u64::MAX), &bytes).unwrap();
    let store = store(directory.path(), u64::MAX);
    assert_eq!(store.usage().stored_bytes, bytes.len() as u64);
    let blob = store.get(root).unwrap();
    assert_eq!(read_all(&blob).unwrap(), bytes);
    for range in [0..1, 16_383..16_385, 999_999..1_000_003, 50_000..50_000] {
        let at = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert_eq!(blob.read(range).unwrap(), &bytes[at]);
    }
}

#[test]
fn the_empty_blob_is_a_blob() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 0);
    let root = import(&store, b"").unwrap();
    assert!(read_all(&store.get(root).unwrap()).unwrap().is_empty());
}

#[test]
fn a_corrupt_blob_is_never_read_and_leaves_by_quarantine() {
    let damage: [fn(&Path, &str); 4] = [
        |blob, _| {
            let mut file = fs::File::options().write(true).open(blob).unwrap();
            file.write_all(b"X").unwrap();
        },
        |blob, _| fs::File::options().write(true).open(blob).unwrap().set_len(20_000).unwrap(),
        |blob, name| fs::write(blob.with_file_name(format!("{name}.hashes")), [0; 64]).unwrap(),
        |blob, _| fs::remove_file(blob).unwrap(),
    ];
    for damage in damage {
        let directory = tempfile::tempdir().unwrap();
        let first = store(directory.path(), u64::MAX);
        let root = import(&first, &[7; 32_768]).unwrap();
        drop(first);
        let name = root.to_string();
        damage(&directory.path().join("blobs").join(&name[..2]).join(&name), &name);

        let store = store(directory.path(), u64::MAX);
        let error = store.get(root).and_then(|blob| read_all(&blob)).unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
        store.quarantine(root).unwrap();
        assert!(matches!(store.get(root), Err(ReadError::Absent(_))));
        assert_eq!((store.usage().stored_bytes, store.usage().quarantined), (0, 1));
        // And it can be had again.
        assert_eq!(import(&store, &[7; 32_768]).unwrap(), root);
        assert_eq!(read_all(&store.get(root).unwrap()).unwrap(), [7; 32_768]);
    }
}

#[test]
fn a_full_store_says_so_and_keeps_nothing_of_what_did_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), 1000);
    import(&store, &[1; 900]).unwrap();
    let error = import(&store, &[2; 200]).unwrap_err().to_string();
    assert!(error.contains("900 of 1000 bytes") && error.contains("cdn.quota_mib"), "{error}");
    // Also where the length was not announced, and beside another one under way.
    let mut growing = store.begin(None).unwrap();
    growing.write(&[3; 90]).unwrap();
    assert!(matches!(store.begin(Some(11)), Err(ImportError::Quota { .. })));
    assert!(matches!(growing.write(&[3; 20]), Err(ImportError::Quota { .. })));
    drop(growing);
    assert_eq!(fs::read_dir(directory.path().join("incoming")).unwrap().count(), 0);
    import(&store, &[4; 100]).unwrap();
}

#[test]
fn only_what_a_manifest_names_survives_collection() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), u64::MAX);
    let (kept, dropped) = (import(&store, &[1; 10]).unwrap(), import(&store, &[2; 20]).unwrap());
    assert_eq!(store.collect_garbage(&BTreeSet::from([kept])).unwrap(), 20);
    assert!(store.get(kept).is_ok());
    assert!(matches!(store.get(dropped), Err(ReadError::Absent(_))));
}

#[test]
fn sequences_grow_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let site = shared::base::SiteId([1; 32]);
    let next = |floor| store(directory.path(), 0).index().next_sequence(site, floor).unwrap();
    assert_eq!([next(5), next(5), next(100), next(0)], [5, 6, 100, 101]);
    store(directory.path(), 0).index().set_manifest(site, 500, b"x").unwrap();
    assert_eq!(next(0), 501);
}
