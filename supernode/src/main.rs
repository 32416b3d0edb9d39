//! `blackhole`: a supernode, and a publisher's tool, in one binary to hand out.

mod about;
mod account;
mod channel;
mod cli;
mod config;
mod ipfs;
mod ipfs_command;
mod key;
mod on_chain;
mod payout;
mod publish;
mod revocations;
mod script_tag;
mod stake;
mod storage_command;
mod storage_grants;
mod storage_keys;
mod strangers;
mod wire_up;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Both ring and aws-lc-rs are linked; rustls wants to be told which, before anything speaks TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = EnvFilter::try_from_env("BLACKHOLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // It logs whole requests, names included, and each client's mistake as an error; the door says what is ours to say.
    let filter = match "s3s=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blackhole: {error:#}");
            ExitCode::FAILURE
        }
    }
}
