//! `sim --scenario S --seed N`: runs one scenario and says how it went.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use sim::{
    report::Report,
    scenarios::{Scale, Scenario},
};

/// Runs the network in virtual time. One seed replays a run.
#[derive(Debug, Parser)]
struct Options {
    /// cdn_flash_crowd, cdn_swarm, cdn_liars, cdn_churn or cdn_nat.
    #[arg(long, value_parser = scenario)]
    scenario: Scenario,
    /// The number that everything follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tabs; the scenario's own number if not given.
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

fn scenario(name: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario);
    known.ok_or_else(|| format!("known are {:?}", Scenario::ALL.map(|(name, _)| name)))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let full = options.scenario.full();
    let scale = Scale {
        peers: options.peers.unwrap_or(full.peers),
        size: options.size.unwrap_or(full.size),
        direct: options.direct,
    };
    let mut run = options.scenario.prepare(scale, options.seed);
    let finished = run.go();
    let report = Report::of(&run);
    println!("{}", report.json());
    let name =
        Scenario::ALL.iter().find(|(_, known)| *known == options.scenario).map_or("", |(name, _)| name);
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
