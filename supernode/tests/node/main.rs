//! The binary as its users meet it: real processes on loopback, any free port, a ready line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

extern crate chain as supernode_chain;

#[path = "../../chain/tests/chain/anvil.rs"]
#[expect(dead_code, reason = "the tests of the chain's crate use the rest of it")]
mod anvil;
mod bucket_tenants;
mod buckets;
mod chain_commands;
mod config;
mod crashes;
mod dnslink;
mod earnings;
mod hostile;
mod http;
mod ipfs;
mod login;
mod mirror;
mod money;
mod origin;
mod origins;
mod outlive;
mod payment_kills;
mod payments;
mod ports;
mod process;
mod publishing;
mod receipts;
mod repute;
mod revoking;
mod rots;
mod s3;
mod secrecy;
mod strangers;
mod tabs;
mod tls;
mod uploads;
mod visitor;
mod wire;
