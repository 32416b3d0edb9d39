//! `sim --scenario S --seed N`: runs one scenario and says how it went.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use sim::{
    audits, economy, objects,
    report::Report,
    scenarios::{Scale, Scenario},
    storage::{self, Outcome, Plan},
};

/// Runs the network in virtual time. One seed replays a run.
#[derive(Debug, Parser)]
struct Options {
    /// cdn_flash_crowd, cdn_swarm, cdn_liars, cdn_churn, cdn_nat, storage_month, storage_object, storage_audits or
    /// economy.
    #[arg(long, value_parser = scenario)]
    scenario: Chosen,
    /// The number that everything follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tabs, segments of storage_month, objects of storage_object, networks of storage_audits, or Sybils of economy; the
    /// scenario's own number if not given.
    #[arg(long)]
    peers: Option<u32>,
    /// Bytes of the object; the scenario's own if not given.
    #[arg(long)]
    size: Option<u64>,
    /// Tabs that only know HTTP, for comparison.
    #[arg(long)]
    direct: bool,
    /// Where to draw the completion curve.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Where to write the figures.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Chosen {
    Cdn(Scenario),
    StorageMonth,
    StorageObject,
    StorageAudits,
    Economy,
}

const STORAGE_MONTH: &str = "storage_month";
const STORAGE_OBJECT: &str = "storage_object";
const STORAGE_AUDITS: &str = "storage_audits";
const ECONOMY: &str = "economy";
/// Tabs of one attacker.
const SYBILS: u32 = 10_000;

fn scenario(name: &str) -> Result<Chosen, String> {
    if name == STORAGE_MONTH {
        return Ok(Chosen::StorageMonth);
    }
    if name == STORAGE_OBJECT {
        return Ok(Chosen::StorageObject);
    }
    if name == STORAGE_AUDITS {
        return Ok(Chosen::StorageAudits);
    }
    if name == ECONOMY {
        return Ok(Chosen::Economy);
    }
    let known = Scenario::ALL.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario);
    let names = || {
        let cdn = Scenario::ALL.map(|(name, _)| name);
        format!("known are {cdn:?}, {STORAGE_MONTH}, {STORAGE_OBJECT}, {STORAGE_AUDITS} and {ECONOMY}")
    };
    known.map(Chosen::Cdn).ok_or_else(names)
}

/// Weeks of storage; the same figures for the same seed.
fn storage_month(options: &Options) -> ExitCode {
    let segments = options.peers.unwrap_or(Plan::FULL.segments);
    let outcome = storage::run(Plan { segments, ..Plan::FULL }, options.seed);
    let Outcome { lost, rebuilds, sent, formula, fewest, violations } = &outcome;
    println!(
        "{{\"segments\":{segments},\"lost\":{lost},\"rebuilds\":{rebuilds},\"fewest_shards\":{fewest},\
         \"sent_per_byte\":{sent:.3},\"formula\":{formula:.3}}}"
    );
    judge(violations, STORAGE_MONTH, options.seed, segments)
}

/// A week of objects on strangers; the same figures for the same seed.
fn storage_object(options: &Options) -> ExitCode {
    let number = options.peers.unwrap_or(objects::Plan::FULL.objects);
    let outcome = objects::run(objects::Plan { objects: number, ..objects::Plan::FULL }, options.seed);
    let objects::Outcome {
        acknowledged,
        failed,
        reads,
        audits,
        rebuilt,
        returned,
        liars,
        named,
        fewest,
        violations,
    } = &outcome;
    println!(
        "{{\"acknowledged\":{acknowledged},\"failed\":{failed},\"reads\":{reads},\"audits\":{audits},\
         \"rebuilt\":{rebuilt},\"returned\":{returned},\"liars\":{liars},\"named\":{named},\"fewest_shards\":{fewest}}}"
    );
    judge(violations, STORAGE_OBJECT, options.seed, number)
}

/// A day of liars, and ten thousand audits of each honest holder on a bad line; the same figures for the same seed.
fn storage_audits(options: &Options) -> ExitCode {
    let networks = options.peers.unwrap_or(audits::Plan::LIARS.networks);
    let liars = audits::run(audits::Plan { networks, ..audits::Plan::LIARS }, options.seed);
    let honest = audits::run(audits::Plan::HONEST, options.seed);
    for (nature, tally) in liars.tallies.into_iter().chain(honest.tallies) {
        let audits::Tally { holders, dismissed, mut audits, hours } = tally;
        audits.sort_unstable();
        let (median, most) = (audits[audits.len() / 2], audits[audits.len() - 1]);
        println!(
            "{{\"nature\":\"{nature:?}\",\"holders\":{holders},\"dismissed\":{dismissed},\
             \"audits_median\":{median},\"audits_fewest\":{},\"audits_most\":{most},\"hours_most\":{hours}}}",
            audits[0]
        );
    }
    let violations: Vec<String> = liars.violations.into_iter().chain(honest.violations).collect();
    judge(&violations, STORAGE_AUDITS, options.seed, networks)
}

fn judge(violations: &[String], scenario: &str, seed: u64, peers: u32) -> ExitCode {
    for violation in violations {
        eprintln!("{violation}");
    }
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("replay: cargo run -p sim -- --scenario {scenario} --seed {seed} --peers {peers}");
    ExitCode::FAILURE
}

/// Payers and payees that crash and lie, and Sybils; the same figures for the same seed.
fn play_economy(options: &Options) -> ExitCode {
    let economy::Outcome {
        pairs,
        claimed,
        crashes,
        payee_loss_permille,
        payer_loss_permille,
        lie_gain_permille,
        refused,
        mut violations,
    } = economy::run(economy::Plan::FULL, options.seed);
    let tabs = options.peers.unwrap_or(SYBILS);
    let sybils = economy::sybils(tabs, tabs / 100, options.seed);
    println!(
        "{{\"pairs\":{pairs},\"claimed\":{claimed},\"crashes\":{crashes},\"refused\":{refused},\
         \"payee_loss_windows\":{},\"payer_loss_windows\":{},\"lie_gain_stakes\":{},\
         \"sybils\":{tabs},\"sybils_earned\":{},\"honest_visits_give\":{},\"paid_out\":{}}}",
        thousandths(payee_loss_permille),
        thousandths(payer_loss_permille),
        thousandths(lie_gain_permille),
        sybils.earned,
        sybils.honest_visits,
        sybils.paid_out,
    );
    violations.extend(sybils.violations);
    judge(&violations, ECONOMY, options.seed, tabs)
}

fn thousandths(count: u128) -> String {
    format!("{}.{:03}", count / 1000, count % 1000)
}

fn main() -> ExitCode {
    let options = Options::parse();
    let scenario = match options.scenario {
        Chosen::Cdn(scenario) => scenario,
        Chosen::StorageMonth => return storage_month(&options),
        Chosen::Economy => return play_economy(&options),
        Chosen::StorageObject => return storage_object(&options),
        Chosen::StorageAudits => return storage_audits(&options),
    };
    let full = scenario.full();
    let scale = Scale {
        peers: options.peers.unwrap_or(full.peers),
        size: options.size.unwrap_or(full.size),
        direct: options.direct,
    };
    let mut run = scenario.prepare(scale, options.seed);
    let finished = run.go();
    let report = Report::of(&run);
    println!("{}", report.json());
    let name = Scenario::ALL.iter().find(|(_, known)| *known == scenario).map_or("", |(name, _)| name);
    let outputs = [(&options.svg, report.svg(name)), (&options.json, report.json())];
    for (path, text) in outputs {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, text)
        {
            eprintln!("{} cannot be written: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    for violation in &report.violations {
        let direct = if options.direct { " --direct" } else { "" };
        eprintln!(
            "{violation}\nreplay: cargo run -p sim -- --scenario {name} --seed {} --peers {} --size {}{direct}",
            options.seed, scale.peers, scale.size
        );
    }
    if finished && report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
