//! One command for everything a newcomer, a maintainer or CI does here.
//!
//! `cargo xtask up` and `cargo xtask test` are the only two commands a newcomer needs; both install
//! what is missing and say what they are doing. Everything runs through `std::process`: no async, few
//! dependencies, so that this is compiled and running long before anything else is.

mod codegen;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a newcomer, a maintainer or CI does here")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turns shared/proto into the Rust that is committed in shared/src/wire/generated
    Codegen {
        /// Only say whether the committed files are what the protocol files give
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Codegen { check } => codegen::run(check),
    }
}
