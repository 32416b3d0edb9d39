//! One command for everything a newcomer, a maintainer or CI does here.
//!
//! `cargo xtask up` and `cargo xtask test` are the only two commands a newcomer needs; both install
//! what is missing and say what they are doing. Everything runs through `std::process`: no async, few
//! dependencies, so that this is compiled and running long before anything else is.

mod abi;
mod bench;
mod codegen;
mod fuzz;
mod process;
mod python;
mod steps;
mod supernode;
mod tab;
mod test;
mod tidy;
mod tools;
mod up;
mod workspace;

use std::process::ExitCode;

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
    /// Brings a whole network up on this machine and prints the URLs; Ctrl-C ends it
    Up {
        /// The site's port; the three above it are the supernode's
        #[arg(long, default_value_t = 8470)]
        port: u16,
    },
    /// Runs the tests: the suites named, or all there are
    Test {
        /// Which suites
        #[arg(value_enum)]
        suites: Vec<test::Suite>,
    },
    /// Checks what the architecture promises about the tree
    Tidy,
    /// Turns shared/proto into the Rust that is committed in shared/src/wire/generated
    Codegen {
        /// Only say whether the committed files are what the protocol files give
        #[arg(long)]
        check: bool,
        /// The contracts' interfaces in contracts/abi/json instead, from their sources; needs Node
        #[arg(long)]
        contracts: bool,
    },
    /// Says what is installed, what is missing, and the command that gets it
    Doctor,
    /// Builds the tab for browsers into target/tab
    Tab,
    /// Builds what an operator runs: one program, optimised, with the tab's files in it
    Dist,
    /// Runs the simulator, optimised, with the arguments that follow
    Sim {
        /// Arguments for the simulator, such as `--seed 7`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feeds mutated inputs to every parser of untrusted bytes
    Fuzz {
        /// One target, or each
        target: Option<String>,
        /// How many inputs a target gets
        #[arg(long, default_value_t = 1_000_000)]
        inputs: u64,
    },
    /// Measures, and prints ratios against what else does the same
    Bench {
        /// What to measure: cdn
        name: String,
        /// Arguments for the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    if tab::compiler::is_asked() {
        return tab::compiler::run();
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For a person: what went wrong and why, without a backtrace of this tool.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { port } => up::run_network(port),
        Command::Test { suites } => test::run_suites(&suites),
        Command::Tidy => tidy::run(),
        Command::Codegen { check, contracts: false } => codegen::run(check),
        Command::Codegen { check, contracts: true } => test::contracts::interfaces(check),
        Command::Doctor => tools::doctor(),
        Command::Tab => tools::wasm_target().and_then(|()| tab::build()),
        Command::Dist => up::dist(),
        Command::Sim { arguments } => bench::sim(&arguments),
        Command::Fuzz { target, inputs } => fuzz::run_targets(target.as_deref(), inputs),
        Command::Bench { name, arguments } => bench::run_bench(&name, &arguments),
    }
}
