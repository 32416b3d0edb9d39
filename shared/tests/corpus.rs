//! Replays the fuzzer's corpus through every parser of untrusted bytes: what once was interesting stays tested.

use std::{fs, path::Path};

#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn the_corpus_passes_every_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let folder = corpus.join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut replayed = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            target(&fs::read(&path).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "{} is empty, so this test says nothing", folder.display());
    }
}
