//! `blackhole`: a supernode, and a publisher's tool, in one binary to hand out.

mod about;
mod account;
mod channel;
mod cli;
mod config;
mod escrow;
mod ipfs;
mod ipfs_command;
mod key;
mod on_chain;
mod payment_command;
mod payments;
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

/// What moves bulk allocates and frees buffers of up to this many bytes, hundreds a second.
const BUFFER_BYTES: usize = 4 << 20;

fn main() -> ExitCode {
    // The C library gives blocks back to the system at once, and takes them from there zeroed, page by page, from 128 KiB
    // on; or from the length of the longest such block that was ever freed (mallopt(3), M_MMAP_THRESHOLD). That took an
    // eighth of a holder's time.
    drop(std::hint::black_box(vec![0_u8; BUFFER_BYTES]));
    // Both ring and aws-lc-rs are linked; rustls wants to be told which, before anything speaks TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = EnvFilter::try_from_env("BLACKHOLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The one logs whole requests, names included, and both log each client's mistake as an error; the door and the audit
    // say what is ours to say.
    let silent = ["s3s=off", "webauthn_rs=off"].iter().filter_map(|directive| directive.parse().ok());
    let filter = silent.fold(filter, EnvFilter::add_directive);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blackhole: {error:#}");
            ExitCode::FAILURE
        }
    }
}
