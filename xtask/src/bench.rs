//! What is measured: the simulator's large runs, real browsers on a shaped line, and the S3 door beside another.

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, run};
use crate::tools::{chromium, npm_packages, wasm_target};
use crate::up::{For, prepare};

/// The simulator, optimised: a thousand peers want it.
pub(crate) fn sim(arguments: &[String]) -> Result<()> {
    run(cargo(&["run", "--quiet", "--locked", "--release", "-p", "sim", "--"]).args(arguments))
}

/// A bench by its name.
pub(crate) fn run_bench(name: &str, arguments: &[String]) -> Result<()> {
    match name {
        "cdn" | "links" => {
            // WebTorrent stands beside us.
            npm_packages("playwright/bench")?;
            in_browsers(name, arguments)
        }
        "sessions" => {
            crate::supernode::build_for_tests()?;
            let program = crate::tab::cargo_target().join("debug/blackhole");
            let mut bench =
                cargo(&["run", "--locked", "-p", "supernode-net", "--example", "quiet_sessions", "--"]);
            run(bench.arg(program).args(arguments))
        }
        "holders" => in_processes(
            "outlive::as_many_holders_may_die_as_the_code_says_and_no_more",
            &[("BLACKHOLE_SEEDS", "1")],
            arguments,
        ),
        "crashes" => in_processes(
            "crashes::what_an_owner_acknowledged_is_there_after_each_kill",
            &[("BLACKHOLE_KILLS", "1000")],
            arguments,
        ),
        "payments" => in_processes(
            "payment_kills::whoever_is_killed_comes_back_with_the_same_books_and_no_more_than_a_window_is_lost",
            &[("BLACKHOLE_KILLS", "50")],
            arguments,
        ),
        "rots" => in_processes(
            "rots::rots_are_never_read_and_always_repaired",
            &[("BLACKHOLE_ROTS", "270")],
            arguments,
        ),
        "gas" => crate::test::contracts::bench_gas(),
        "invariants" => {
            let calls = arguments.first().map_or(Ok(1_000_000), |calls| calls.parse());
            crate::test::contracts::bench_invariants(calls.context("how many calls? A number")?)
        }
        "mutants" => {
            npm_packages("contracts")?;
            run(command("node", &["contracts/mutate.mjs"]).args(arguments))
        }
        "ipfs" => ipfs(arguments),
        "vouchers" => vouchers(),
        "storage" => crate::test::s3::bench(arguments),
        "tools" => {
            let mib = arguments.first().map_or(Ok(1024), |mib| mib.parse());
            crate::test::s3::bench_tools(mib.context("how many MiB? A number")?)
        }
        "erasure" => run(&mut cargo(&[
            "run",
            "--locked",
            "--release",
            "-p",
            "supernode-storage",
            "--example",
            "erasure",
        ])),
        "secrecy" => in_processes(
            "secrecy::nobody_else_learns_what_an_owner_stores",
            &[("BLACKHOLE_FILES", "1000")],
            arguments,
        ),
        "fallback" | "kills" | "stay" => in_browsers(name, arguments),
        "paid" => {
            // The chain comes with the contracts, what speaks to it with the bench.
            npm_packages("contracts")?;
            npm_packages("playwright/bench")?;
            in_browsers(name, arguments)
        }
        "liars" => {
            // Malicious tabs are js-libp2p, in a browser.
            npm_packages("playwright/interop/webrtc")?;
            in_browsers(name, arguments)
        }
        other => {
            bail!(
                "there is no bench named {other}; there is: cdn, crashes, erasure, fallback, gas, holders, invariants, ipfs, kills, liars, links, mutants, paid, payments, rots, secrecy, sessions, stay, storage, tools, vouchers"
            )
        }
    }
}

/// A thousand random trees named as another implementation names them, and a GiB by bitswap to Helia and from it.
fn ipfs(arguments: &[String]) -> Result<()> {
    npm_packages("playwright/interop/ipfs")?;
    run(&mut cargo(&["build", "--release", "--locked", "-p", "supernode", "--bin", "blackhole"]))?;
    let mut bench = command("node", &["playwright/interop/ipfs/run.mjs", "cids", "bitswap"]);
    bench.env("BLACKHOLE", crate::tab::cargo_target().join("release/blackhole"));
    run(bench.args(arguments).envs([("TREES", "1000"), ("MIB", "1024"), ("PULL_MIB", "1024")]))
}

/// A test among processes, longer than every day. `--seeds`, `--kills`, `--rots` and `--files` say how long,
/// where they are given.
fn in_processes(test: &str, otherwise: &[(&str, &str)], arguments: &[String]) -> Result<()> {
    let mut tests = cargo(&["test", "--locked", "--test", "node"]);
    tests
        .args(crate::supernode::selection()?)
        .args(["--", "--nocapture", "--exact", test])
        .envs(otherwise.iter().copied());
    for option in arguments.chunks(2) {
        match option {
            [name, number] if name == "--seeds" => tests.env("BLACKHOLE_SEEDS", number),
            [name, number] if name == "--kills" => tests.env("BLACKHOLE_KILLS", number),
            [name, number] if name == "--rots" => tests.env("BLACKHOLE_ROTS", number),
            [name, number] if name == "--files" => tests.env("BLACKHOLE_FILES", number),
            _ => bail!(
                "what does {} mean? There are --seeds N, --kills N, --rots N and --files N",
                option.join(" ")
            ),
        };
    }
    run(&mut tests)
}

/// Vouchers as a node takes them, on this machine; receipts as a tab signs them, in a browser.
fn vouchers() -> Result<()> {
    let mut node = cargo(&["run", "--locked", "--release", "-p", "shared", "--example", "vouchers"]);
    // The browser is asked also where the node was too slow; both figures say what is wrong.
    let taken = run(&mut node);
    npm_packages("playwright")?;
    chromium()?;
    wasm_target()?;
    let module = crate::tab::example("receipts")?;
    run(command("node", &["playwright/bench/vouchers.mjs"]).arg(module))?;
    taken
}

/// One of `playwright/bench`, which exits with what it thinks of its figures.
fn in_browsers(name: &str, arguments: &[String]) -> Result<()> {
    prepare(For::Tests)?;
    run(command("node", &[&format!("playwright/bench/{name}.mjs")]).args(arguments))
}
