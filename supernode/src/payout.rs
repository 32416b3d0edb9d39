//! `blackhole payout`: many small earners, paid by one root on the chain.
//!
//! Who pays opens an epoch from a list of what it owes, and hands out the file of shares that this writes; whoever has it
//! can have the shares paid, each to its own account.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use chain::{At, Chain};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use shared::{
    economy::{
        Amount,
        payout::{EARNERS_MAX, Epoch, Payout, Share},
    },
    identity::{Account, eip712::Word},
};

use crate::on_chain::{self, Of};

const DAY: u64 = 86_400;
/// What the contract takes in one transaction.
const SHARES_AT_ONCE: usize = 200;
/// No proof is longer; the contract would not read it.
const PROOF_MAX: usize = 32;
/// A share with the longest proof has under 3,000 bytes of JSON.
const FILE_BYTES_MAX: u64 = EARNERS_MAX as u64 * 3_000;

/// What is to be done with payouts.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Lock an epoch's sum for its earners, and write the shares that prove what each gets.
    Open {
        #[command(flatten)]
        of: Of,
        /// Which of this account's epochs. Each number is used once.
        #[arg(long)]
        epoch: u64,
        /// What is owed: an account, a comma and base units of the token a line.
        #[arg(long)]
        owed: PathBuf,
        /// Whoever is owed less waits for a later epoch: a share costs gas to claim.
        #[arg(long, default_value_t = 1)]
        least: u64,
        /// How long shares can be claimed, 7 to 366 days.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(7..=366))]
        days: u64,
        /// The file of shares to write. Give it to the earners.
        #[arg(long)]
        shares: PathBuf,
    },
    /// Print how an epoch stands.
    Show {
        #[command(flatten)]
        of: Of,
        /// Which.
        #[arg(long)]
        epoch: u64,
        /// Whose; the node's own account's without.
        #[arg(long)]
        payer: Option<Account>,
    },
    /// Have a share paid to its account.
    Claim {
        #[command(flatten)]
        of: Of,
        /// The file of shares; or what a node says of an account at /blackhole/v1/earners/0x….
        shares: PathBuf,
        /// Whose share; the node's own account's without.
        #[arg(long, conflicts_with = "all")]
        account: Option<Account>,
        /// All shares that were not paid yet. Whoever asks pays the gas.
        #[arg(long)]
        all: bool,
    },
    /// Take back what nobody claimed of an epoch, after its time.
    Reclaim {
        #[command(flatten)]
        of: Of,
        /// Which.
        #[arg(long)]
        epoch: u64,
    },
}

/// What a claim is made by.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Proofs {
    /// What a node says of one account at `/blackhole/v1/earners/0x…`.
    Earner { payouts: Vec<Shares> },
    /// What `open` wrote.
    Epoch(Shares),
}

/// The file of shares.
#[derive(Debug, Serialize, Deserialize)]
struct Shares {
    chain_id: u64,
    #[serde(with = "text")]
    contract: Account,
    #[serde(with = "text")]
    payer: Account,
    epoch: u64,
    /// Where a node says it: until when; nothing before the chain has the epoch.
    #[serde(default, skip_serializing)]
    expires: Option<u64>,
    shares: Vec<ShareLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ShareLine {
    index: u64,
    #[serde(with = "text")]
    account: Account,
    /// In decimal, as text: JSON's numbers end before ours.
    amount: String,
    proof: Vec<String>,
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    match what {
        What::Open { of, epoch, owed, least, days, shares } => {
            let owed = read_owed(owed)?;
            on_chain::run(of, async |chain, _| {
                let wanted = Wanted { epoch: *epoch, least: Amount::of(*least), days: *days };
                open(chain, &wanted, &owed, shares).await
            })
        }
        What::Show { of, epoch, payer } => {
            on_chain::run(of, async |chain, _| show(chain, payer.unwrap_or(chain.account()), *epoch).await)
        }
        What::Claim { of, shares, account, all } => {
            let files = read_shares(shares)?;
            on_chain::run(of, async |chain, _| {
                let whose = (!all).then(|| account.unwrap_or(chain.account()));
                for file in &files {
                    claim(chain, file, whose).await?;
                }
                Ok(())
            })
        }
        What::Reclaim { of, epoch } => on_chain::run(of, async |chain, _| {
            chain.reclaim_payout(*epoch).await?;
            println!("what was left of epoch {epoch} came back");
            Ok(())
        }),
    }
}

struct Wanted {
    epoch: u64,
    least: Amount,
    days: u64,
}

async fn open(
    chain: &Chain,
    wanted: &Wanted,
    owed: &BTreeMap<Account, Amount>,
    file: &Path,
) -> anyhow::Result<()> {
    let Wanted { epoch: number, least, days } = *wanted;
    let epoch = chain.epoch(chain.account(), number)?;
    let (payout, carried) = Payout::net(&epoch, owed, least)?;
    ensure!(!file.exists(), "{} exists already; move it away first", file.display());
    // Before the money is locked: without the file nobody could prove a share.
    write_shares(file, &epoch, &payout)?;
    let expires = chain.time().await?.saturating_add(days.saturating_mul(DAY));
    if let Err(error) = chain.open_payout(number, &payout, expires).await {
        let _ = std::fs::remove_file(file);
        return Err(error.into());
    }
    println!("opened epoch {number} for {} earners, {} in all", payout.count(), payout.total());
    if !carried.is_empty() {
        let sum: Amount = carried.values().copied().sum();
        println!("{} earners are owed less than {least}, {sum} in all: they wait", carried.len());
    }
    show(chain, chain.account(), number).await
}

async fn show(chain: &Chain, payer: Account, number: u64) -> anyhow::Result<()> {
    let Some(state) = chain.payout(payer, number, At::Latest).await? else {
        println!("epoch {number} of {payer} was not opened");
        return Ok(());
    };
    let when = on_chain::moment(state.expires_at, chain.time().await?);
    println!("epoch {number} of {payer} left {} until {when}", state.left);
    Ok(())
}

async fn claim(chain: &Chain, file: &Shares, whose: Option<Account>) -> anyhow::Result<()> {
    let epoch = chain.epoch(file.payer, file.epoch)?;
    ensure!(
        (file.chain_id, file.contract) == (epoch.chain_id, epoch.contract),
        "the shares are for contract {} of chain {}; this configuration has another",
        file.contract,
        file.chain_id
    );
    let Some(state) = chain.payout(file.payer, file.epoch, At::Latest).await? else {
        bail!("{} has not opened epoch {}; ask it whether it will", file.payer, file.epoch);
    };
    let mut due = Vec::new();
    for line in file.shares.iter().filter(|line| whose.is_none_or(|whose| line.account == whose)) {
        let share = line.read().context("the file of shares is damaged; ask its payer for it again")?;
        ensure!(
            share.is_proven(&epoch, &state.root),
            "the share of {} is not proven by what is on the chain; ask the payer for the file again",
            share.account
        );
        due.push(share);
    }
    ensure!(!due.is_empty(), "the file has no share of that account; --account names another");
    let mut unpaid = Vec::new();
    for share in due {
        if chain.is_paid(file.payer, file.epoch, share.index).await? {
            println!("{} was paid before", share.account);
        } else {
            unpaid.push(share);
        }
    }
    for some in unpaid.chunks(SHARES_AT_ONCE) {
        chain.pay_shares(file.payer, file.epoch, some).await?;
        for share in some {
            println!("paid {} to {}", share.amount, share.account);
        }
    }
    Ok(())
}

fn read_owed(path: &Path) -> anyhow::Result<BTreeMap<Account, Amount>> {
    let shown = path.display();
    let mut owed = BTreeMap::new();
    for (number, line) in (1..).zip(read(path)?.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let parts = line.split_once(',').map(|(account, amount)| (account.trim(), amount.trim()));
        let (account, amount) = parts.with_context(|| {
            format!("{shown}:{number}: expected an account, a comma and base units, found {line:?}")
        })?;
        let account: Account = account.parse().with_context(|| format!("{shown}:{number}"))?;
        let amount = on_chain::amount(amount).map_err(|why| anyhow::anyhow!("{shown}:{number}: {why}"))?;
        ensure!(owed.insert(account, amount).is_none(), "{shown}:{number}: {account} is there twice");
    }
    Ok(owed)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(|| format!("reading {shown}"))?;
    ensure!(text.len() as u64 <= FILE_BYTES_MAX, "{shown} is longer than {EARNERS_MAX} earners need");
    Ok(text)
}

fn read_shares(path: &Path) -> anyhow::Result<Vec<Shares>> {
    let shown = path.display();
    let proofs: Proofs = serde_json::from_str(&read(path)?).with_context(|| {
        format!("{shown} is no file of shares, as `blackhole payout open` writes it and nodes say it")
    })?;
    match proofs {
        Proofs::Epoch(shares) => Ok(vec![shares]),
        Proofs::Earner { mut payouts } => {
            payouts.retain(|payout| payout.expires.is_some());
            ensure!(!payouts.is_empty(), "{shown} has no epoch that is open yet; ask the node again later");
            Ok(payouts)
        }
    }
}

fn write_shares(path: &Path, epoch: &Epoch, payout: &Payout) -> anyhow::Result<()> {
    let Epoch { chain_id, contract, payer, number } = *epoch;
    let shares = payout.shares().map(|share| ShareLine::of(&share)).collect();
    let file = Shares { chain_id, contract, payer, epoch: number, expires: None, shares };
    let mut out = File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
    serde_json::to_writer(&mut out, &file)?;
    out.write_all(b"\n")?;
    Ok(out.sync_all()?)
}

impl ShareLine {
    fn of(share: &Share) -> Self {
        let Share { index, account, amount, proof } = share;
        Self {
            index: *index,
            account: *account,
            amount: amount.to_string(),
            proof: proof.iter().map(hex::encode).collect(),
        }
    }

    fn read(&self) -> Option<Share> {
        let amount = self.amount.parse().ok().and_then(Amount::new)?;
        if self.proof.len() > PROOF_MAX {
            return None;
        }
        let proof = self.proof.iter().map(|digits| word(digits)).collect::<Option<_>>()?;
        Some(Share { index: self.index, account: self.account, amount, proof })
    }
}

fn word(digits: &str) -> Option<Word> {
    let mut word = Word::default();
    hex::decode_to_slice(digits, &mut word).ok()?;
    Some(word)
}

/// Accounts as text in JSON.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use shared::identity::Account;

    pub(super) fn serialize<S: Serializer>(account: &Account, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(account)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Account, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
