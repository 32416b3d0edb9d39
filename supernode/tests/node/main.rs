//! The binary as its users meet it: real processes on loopback, any free port, a ready line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod config;
mod hostile;
mod http;
mod ipfs;
mod mirror;
mod origin;
mod origins;
mod ports;
mod process;
mod publishing;
mod receipts;
mod s3;
mod strangers;
mod tls;
mod uploads;
