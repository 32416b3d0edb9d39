//! Virtual time, network and disk that run the same peers as the real shells, from one seed.
//!
//! A [`world::World`] holds nodes; a node is a [`machine::Machine`] (the product's `Peer`, a liar, or a browser that
//! only knows HTTP), a store and an access line. The world gives them what a shell gives them, late, out of
//! order or not at all, while [`invariants`] watch. [`scenarios`] say who is there and what goes wrong; a
//! [`report`] says how it went. One seed replays a run to the last message.
//!
//! [`storage`] plays weeks of a storage network instead, on the same agenda and without lines; [`objects`] what one
//! owner stores and reads there, byte for byte, among holders that are slow, die or lie; [`audits`] how soon who lies about
//! its shards is found out; [`economy`] payers and payees that crash and lie.
//!
//! Goals: find the bugs of swarm, scheduling and accounting logic; measure offload and completion against what
//! the lines permit, for more peers than a machine has tabs. Non-goals: the speed of hashing, wasm or sockets, which
//! benches measure on the real thing.
#![forbid(unsafe_code)]

pub mod audits;
pub mod bits;
pub mod clock;
pub mod content;
pub mod direct;
pub mod disk;
pub mod economy;
mod http;
pub mod invariants;
pub mod liar;
pub mod machine;
pub mod net;
pub mod node;
pub mod objects;
pub mod peer_machine;
pub mod report;
pub mod scenarios;
pub mod storage;

mod shell;
pub mod world;
