//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    account, channel, config, escrow, ipfs_command, key, payment_command, payout, publish, stake,
    storage_command, storage_grants, storage_keys, wire_up,
};

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
    /// Make and show keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Accounts of the chain: make one, see what it has, deposit and withdraw.
    #[command(subcommand)]
    Account(account::What),
    /// Channels, by which accounts pay each other: list, open and close them.
    #[command(subcommand)]
    Channel(channel::What),
    /// Agreements by which a node pays for what visitors of a site get.
    #[command(subcommand)]
    Payment(payment_command::What),
    /// A node's record on the chain, and what it has at stake.
    #[command(subcommand)]
    Stake(stake::What),
    /// Money for jobs, held from the agreement to the result.
    #[command(subcommand)]
    Escrow(escrow::What),
    /// Payouts to many small earners.
    #[command(subcommand)]
    Payout(payout::What),
    /// Objects kept with strangers, and what a node's storage needs.
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Files and directories as IPFS has them.
    #[command(subcommand)]
    Ipfs(ipfs_command::What),
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    /// Access keys for the S3 door.
    #[command(subcommand)]
    Key(AccessKeyCommand),
    /// Grants: what others may do with a bucket or a part of it, made and narrowed without asking any node.
    #[command(subcommand)]
    Grant(storage_grants::What),
    #[command(flatten)]
    Objects(storage_command::What),
}

#[derive(Debug, Subcommand)]
enum AccessKeyCommand {
    /// Make a key for an account, and print both halves. The secret one is shown this once.
    Create {
        #[command(flatten)]
        node: RunArguments,
        /// Whose key it is. Buckets belong to accounts.
        #[arg(long, default_value = "owner")]
        account: String,
    },
    /// Print all keys, without their secrets.
    List {
        #[command(flatten)]
        node: RunArguments,
    },
    /// End a key.
    Revoke {
        #[command(flatten)]
        node: RunArguments,
        /// The key's public half.
        access_key_id: String,
    },
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
        Command::Storage(StorageCommand::Objects(what)) => storage_command::run(&what),
        Command::Storage(StorageCommand::Grant(what)) => storage_grants::run(&what),
        Command::Ipfs(what) => ipfs_command::run(&what),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Key(KeyCommand::New { file }) => key::new(&file),
        Command::Key(KeyCommand::Show { file }) => key::show(&file),
        Command::Account(what) => account::run(&what),
        Command::Channel(what) => channel::run(&what),
        Command::Payment(what) => payment_command::run(&what),
        Command::Stake(what) => stake::run(&what),
        Command::Escrow(what) => escrow::run(&what),
        Command::Payout(what) => payout::run(&what),
        Command::Storage(StorageCommand::Key(command)) => match command {
            AccessKeyCommand::Create { node, account } => {
                storage_keys::create(&runtime::load(&node.config)?, &account)
            }
            AccessKeyCommand::List { node } => storage_keys::list(&runtime::load(&node.config)?),
            AccessKeyCommand::Revoke { node, access_key_id } => {
                storage_keys::revoke(&runtime::load(&node.config)?, &access_key_id)
            }
        },
    }
}
