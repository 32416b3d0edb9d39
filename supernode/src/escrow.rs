//! `blackhole escrow`: money for a job, held from the agreement to the result.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, ensure};
use chain::{Chain, ChainError, JobState, Stage};
use clap::{Args, Subcommand};
use shared::{
    base::{UnixSeconds, blob::BlobHasher},
    economy::{
        Amount,
        escrow::{Terms, WHOLE},
    },
    identity::{Account, AccountSignature, eip712::Word},
};

use crate::on_chain::{self, Of};

const DAY: u64 = 86_400;

/// Which job, on whose chain and account.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    of: Of,
    /// The job's name.
    #[arg(value_parser = word)]
    job: Word,
}

/// What is to be done with a job's money. The same command line serves client, provider and arbiter, each with the
/// configuration of its own account.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print how a job stands.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Lock the money of a new job, and print its name.
    Create {
        #[command(flatten)]
        of: Of,
        /// Who is to do it.
        #[arg(long)]
        provider: Account,
        /// Who rules where you do not agree.
        #[arg(long)]
        arbiter: Account,
        /// In base units of the token.
        #[arg(long, value_parser = on_chain::amount)]
        amount: Amount,
        /// What is to be done: a file, or 0x and the 64 digits of its BLAKE3 hash.
        #[arg(long, value_parser = hash)]
        specification: Word,
        /// How long it may take.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=365))]
        days: u64,
        /// How long you may look at the result; after that it is paid.
        #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=1440))]
        review_hours: u32,
        /// How long the arbiter may think.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=60))]
        rule_days: u32,
        /// What the provider gets where the arbiter says nothing, in percent.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=100))]
        silence_percent: u16,
        /// Tells this job from another of the same terms.
        #[arg(long, default_value_t = 0)]
        salt: u64,
    },
    /// As its provider, say what the result is.
    Deliver {
        #[command(flatten)]
        which: Which,
        /// A file, or 0x and the 64 digits of its BLAKE3 hash.
        #[arg(value_parser = hash)]
        result: Word,
    },
    /// As its client, pay for a result: the file that you have, not whatever was delivered.
    Accept {
        #[command(flatten)]
        which: Which,
        /// A file, or 0x and the 64 digits of its BLAKE3 hash.
        #[arg(value_parser = hash)]
        result: Word,
    },
    /// As its client, have the arbiter look at what was delivered.
    Dispute {
        #[command(flatten)]
        which: Which,
        /// Why: a file, or 0x and the 64 digits of its BLAKE3 hash.
        #[arg(value_parser = hash)]
        evidence: Word,
    },
    /// As its provider, give all back.
    Decline {
        #[command(flatten)]
        which: Which,
    },
    /// As its arbiter, rule what the provider gets; the client gets the rest.
    Rule {
        #[command(flatten)]
        which: Which,
        /// In base units of the token; 0 gives all back.
        to_provider: u64,
    },
    /// As client or provider, sign a split that the other one may have done within a day.
    SignSplit {
        #[command(flatten)]
        which: Which,
        /// In base units of the token; the client gets the rest.
        to_provider: u64,
    },
    /// Split as the other one signed.
    Split {
        #[command(flatten)]
        which: Which,
        /// In base units of the token; the client gets the rest.
        to_provider: u64,
        /// What `sign-split` printed.
        #[arg(long)]
        until: u64,
        /// What `sign-split` printed.
        #[arg(long, value_parser = signature)]
        signature: AccountSignature,
    },
    /// End a job whose party said nothing in its time. Anyone may.
    Close {
        #[command(flatten)]
        which: Which,
    },
    /// Take what was owed to this account and could not be handed over.
    Collect {
        #[command(flatten)]
        of: Of,
        /// To another account than the node's own.
        #[arg(long)]
        to: Option<Account>,
    },
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::Show { which } => act(which, async |_| Ok(())),
        What::Create {
            of,
            provider,
            arbiter,
            amount,
            specification,
            days,
            review_hours,
            rule_days,
            silence_percent,
            salt,
        } => on_chain::run(of, async |chain, _| {
            let terms = Terms {
                provider: *provider,
                amount: *amount,
                arbiter: *arbiter,
                deliver_by: UnixSeconds(chain.time().await?.saturating_add(days * DAY)),
                review_seconds: review_hours * 3600,
                rule_seconds: rule_days * 86_400,
                silence_share: silence_percent * (WHOLE / 100),
                specification: *specification,
            };
            let mut word = [0; 32];
            word[24..].copy_from_slice(&salt.to_be_bytes());
            print(chain, chain.create_job(&terms, word).await?).await
        }),
        What::Deliver { which, result } => act(which, async |chain| chain.deliver(which.job, *result).await),
        What::Accept { which, result } => {
            act(which, async |chain| chain.accept_result(which.job, *result).await)
        }
        What::Dispute { which, evidence } => {
            act(which, async |chain| chain.dispute(which.job, *evidence).await)
        }
        What::Decline { which } => act(which, async |chain| chain.decline(which.job).await),
        What::Rule { which, to_provider } => {
            act(which, async |chain| chain.rule(which.job, Amount::of(*to_provider)).await)
        }
        What::SignSplit { which, to_provider } => sign_split(which, Amount::of(*to_provider)),
        What::Split { which, to_provider, until, signature } => act(which, async |chain| {
            chain.split(which.job, Amount::of(*to_provider), UnixSeconds(*until), signature).await
        }),
        What::Close { which } => act(which, async |chain| chain.close_job(which.job).await),
        What::Collect { of, to } => on_chain::run(of, async |chain, _| {
            let owed = chain.owed_by_escrow().await?;
            ensure!(!owed.is_zero(), "nothing is owed to {}: what was due was handed over", chain.account());
            let to = to.unwrap_or(chain.account());
            chain.collect_from_escrow(to).await?;
            println!("collected {owed} to {to}");
            Ok(())
        }),
    }
}

/// Does it, and prints how the job stands then.
fn act(which: &Which, errand: impl AsyncFnOnce(&Chain) -> Result<(), ChainError>) -> anyhow::Result<()> {
    on_chain::run(&which.of, async |chain, _| {
        errand(chain).await?;
        print(chain, which.job).await
    })
}

fn sign_split(Which { of, job }: &Which, to_provider: Amount) -> anyhow::Result<()> {
    let key = on_chain::key(of)?;
    on_chain::run(of, async |chain, _| {
        let state = chain.job(*job).await?.context("there is no job of this name")?;
        ensure!(to_provider <= state.amount, "the job has {}, and {to_provider} should go", state.amount);
        let until = UnixSeconds(chain.time().await?.saturating_add(DAY));
        let signature = chain.sign_split(&key, *job, to_provider, until)?;
        println!("until {}", until.0);
        println!("signature 0x{}", hex::encode(signature.0));
        Ok(())
    })
}

async fn print(chain: &Chain, job: Word) -> anyhow::Result<()> {
    println!("job 0x{}", hex::encode(job));
    let Some(state) = chain.job(job).await? else {
        println!("not known: there never was one of this name");
        return Ok(());
    };
    let JobState { stage, client, provider, arbiter, amount, deadline, result } = state;
    let next = match stage {
        Stage::Open => "open: its provider delivers",
        Stage::Delivered => "delivered: its client accepts or disputes, or it is paid when the time is over",
        Stage::Disputed => "disputed: its arbiter rules, or it is split as agreed when the time is over",
        Stage::Closed => {
            println!("closed");
            return Ok(());
        }
    };
    println!("{next}");
    println!("amount {amount}");
    println!("client {client}");
    println!("provider {provider}");
    println!("arbiter {arbiter}");
    println!("time {}", on_chain::moment(deadline, chain.time().await?));
    if let Some(result) = result {
        println!("result 0x{}", hex::encode(result));
    }
    Ok(())
}

/// 0x and 64 digits.
fn word(text: &str) -> Result<Word, String> {
    let digits = text.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
    digits
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "0x and 64 digits name a job: `blackhole escrow create` printed them".to_owned())
}

/// The same, or a file to hash.
fn hash(text: &str) -> Result<Word, String> {
    if let Ok(word) = word(text) {
        return Ok(word);
    }
    hash_of(Path::new(text))
        .map_err(|error| format!("neither 0x and 64 digits of a BLAKE3 hash, nor a file: {error:#}"))
}

fn hash_of(file: &Path) -> anyhow::Result<Word> {
    let (mut file, mut hasher, mut piece) = (File::open(file)?, BlobHasher::default(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish().root().0),
            read => hasher.update(&piece[..read])?,
        }
    }
}

fn signature(text: &str) -> Result<AccountSignature, String> {
    let bytes = text.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
    let signature = bytes.and_then(|bytes| AccountSignature::from_bytes(&bytes));
    signature.ok_or_else(|| "0x and the digits that `blackhole escrow sign-split` printed".to_owned())
}
