//! The libFuzzer entry: runs the one target that `BLACKHOLE_FUZZ_TARGET` names.
//!
//! `cargo xtask fuzz` builds this with coverage instrumentation and runs every target.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
mod targets;

fn chosen() -> fn(&[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("BLACKHOLE_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
        let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
        found.unwrap_or_else(|| panic!("BLACKHOLE_FUZZ_TARGET is {name:?}; it must be one of {names:?}")).1
    })
}

fuzz_target!(|data: &[u8]| chosen()(data));
