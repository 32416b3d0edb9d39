//! The Blackhole protocol: what peers say to each other and what they decide.
//!
//! Nothing in here performs IO, awaits, reads a clock or draws randomness: bytes, time and seeds are
//! arguments. The same code therefore runs in a browser tab, in a supernode and in a simulator that
//! replays any failure from one seed.
//!
//! Storeys, each importing only downwards:
//! `base` → `wire`, `identity` → `economy`, `coordination` → `cdn`, `storage` (and their sister services) → `peer`.
#![forbid(unsafe_code)]

pub mod base;
pub mod cdn;
pub mod coordination;
pub mod economy;
pub mod identity;
pub mod peer;
#[cfg(feature = "storage")]
pub mod storage;
pub mod wire;
