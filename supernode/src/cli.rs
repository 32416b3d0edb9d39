//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{config, key, publish, storage_command, wire_up};

/// The People's Cloud: websites delivered tab to tab.
#[derive(Debug, Parser)]
#[command(name = "blackhole", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a supernode.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Publish a site, or let a supernode publish it from its origin.
    Publish(Box<publish::Arguments>),
    /// Keep objects with strangers, through a running node.
    Storage(storage_command::Arguments),
    /// Make and show keys.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Run until interrupted. Prints one line of JSON once ready.
    Run(RunArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The configuration, in TOML.
    #[arg(long, env = "BLACKHOLE_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key in a new file, and print its public half.
    New {
        /// The file to make.
        file: PathBuf,
    },
    /// Print the public half of a key.
    Show {
        /// The key's file.
        file: PathBuf,
    },
}

/// Does what was asked.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Node(NodeCommand::Run(arguments)) => {
            let config: config::Config = runtime::load(&arguments.config)?;
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(wire_up::run(config))
        }
        Command::Storage(arguments) => storage_command::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Key(KeyCommand::New { file }) => key::new(&file),
        Command::Key(KeyCommand::Show { file }) => key::show(&file),
    }
}
