//! Visitors' tabs are paid for what they give to each other: from receipts that they hand in to money in an account.

use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    base::SiteId,
    cdn::receipts::{Receipt, Verified},
    identity::{Account, Keypair},
    wire::cdn::SignedReceipt,
};
use supernode_chain::At;

use crate::{
    anvil::{Anvil, account, key},
    payments::{Deal, FILM_BYTES, UNSETTLED, accounts, paid, rows, wait_for_status},
    process::{Node, World, blackhole, run},
    visitor::Visitor,
};

/// More than a film, which the site has nothing beside: at a base unit for a thousand bytes it comes to a film's 50.
const GIVEN: u64 = 70_000;
const A_FILM: u64 = FILM_BYTES / 1000;
/// The account of the tab that gives,
const EARNS: Account = Account([0xea; 20]);
/// and of one that gave nothing.
const WISHES: Account = Account([0xeb; 20]);
const WINDOW: u64 = 1000;

fn keypair(number: u8) -> Keypair {
    Keypair::from_secret([number; 32])
}

/// What one tab signs for another, in their first session.
fn receipt(gives: u8, gets: u8, site: SiteId) -> SignedReceipt {
    let verified = Verified { site: Some(site), ..Verified::of(GIVEN) };
    Receipt::sign(&keypair(gets), &keypair(gives).public(), 1, verified)
}

async fn arrive(node: &Node, number: u8, site: SiteId) -> Visitor {
    Visitor::arrive(&node.addresses[0], &node.did, &keypair(number), site).await.unwrap()
}

/// What a node says of an account.
fn earner(node: &Node, account: Account) -> Value {
    let answer = node.get(&format!("/blackhole/v1/earners/{account}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

fn wait_for_earned(node: &Node, account: Account, units: u64) {
    let units = units.to_string();
    node.wait_for("what was earned", |node| {
        (earner(node, account)["earned"] == units.as_str()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_is_paid_what_others_verified_of_it_and_the_books_say_what_the_chain_does() {
    let (anvil, world) = (Anvil::new().await, World::new());
    let (payee, payer) = accounts(&anvil, &world).await;
    let chain = format!(
        "rpc = \"{}\"\nchain_id = 31337\nchannels = \"{}\"\npayouts = \"{}\"\ncoin_price = 100000\n\
         poll_seconds = 1\noutstanding_max = 20\n",
        anvil.url,
        account(anvil.channels),
        account(anvil.payouts)
    );
    let mut deal = Deal::new(world, &chain, WINDOW, 0);
    // Every visitor comes from this machine.
    let terms = |least: u64| format!("knows_visitors = true\nleast = {least}\npayout_seconds = 1\n");
    deal.set_tabs(&terms(1_000));
    let serving = deal.serve();
    let manifest = deal.publish(&serving);
    let agreed = deal.agree();
    assert!(agreed.contains("at most 1 base units for each 1000 bytes that tabs give"), "{agreed}");
    let config = deal.world().text("paying.toml");
    let on_chain = |command: &[&str]| run(&[command, &["--config", &config]].concat());
    on_chain(&["account", "deposit", "600"]);
    on_chain(&["channel", "open", &payee.to_string(), "500"]);
    let paying = deal.pay(&serving);
    wait_for_status(&serving, &manifest, 200);

    // One tab gave to two, and says so; another says the same, and hands in what it gave itself.
    let site = deal.site();
    let mut gives = arrive(&serving, 9, site).await;
    let (_first, _second) = (arrive(&serving, 10, site).await, arrive(&serving, 11, site).await);
    let given = || vec![receipt(9, 10, site), receipt(9, 11, site)];
    // Of a receiver that was never here, and of one that did not sign.
    let invented = receipt(9, 77, site);
    let mut forged = receipt(9, 12, site);
    forged.signature[5] ^= 1;
    gives.hand_in(EARNS.0, [given(), vec![invented, forged]].concat()).await.unwrap();
    let mut wishes = arrive(&serving, 12, site).await;
    wishes.hand_in(WISHES.0, [given(), vec![receipt(12, 12, site)]].concat()).await.unwrap();
    wait_for_earned(&serving, EARNS, 2 * A_FILM);
    let visitor = deal.visit(&serving, &manifest, 13).await;
    serving.wait_for("the voucher", |node| paid(node, 150 + 2 * A_FILM));
    paying.wait_for("what was paid", |node| paid(node, 150 + 2 * A_FILM));
    for node in [&serving, &paying] {
        assert_eq!(rows(node)[0]["tabs_base_units"], (2 * A_FILM).to_string());
    }
    assert_eq!(earner(&serving, WISHES)["earned"], "0");
    assert_eq!(earner(&serving, EARNS)["payouts"], json!([]), "it is too little");
    visitor.leave().await;
    gives.leave().await;

    // Both are killed. What was handed in counts no second time, and what is owed is paid.
    serving.kill();
    paying.kill();
    deal.set_tabs(&terms(60));
    let serving = deal.serve();
    let paying = deal.pay(&serving);
    let mut gives = arrive(&serving, 9, site).await;
    let _first = arrive(&serving, 10, site).await;
    gives.hand_in(EARNS.0, given()).await.unwrap();
    let said = serving.wait_for("the epoch", |node| {
        let said = earner(node, EARNS);
        said["payouts"][0]["expires"].is_u64().then_some(said)
    });
    assert_eq!((said["earned"].as_str(), said["due"].as_str()), (Some("100"), Some("0")));
    assert_eq!(said["payouts"][0]["shares"][0]["amount"], "100");
    assert!(serving.get("/status/earnings").text().contains("What visitors’ tabs are paid"));

    // The chain forgets the block that has it: it is opened again.
    let opened_in = async || {
        let logs = anvil.ask("eth_getLogs", json!([{"address": anvil.payouts, "fromBlock": "0x0"}])).await;
        logs[0]["blockHash"].clone()
    };
    let lost = opened_in().await;
    assert!(lost.is_string());
    anvil.ask("anvil_mine", json!(["0x2"])).await;
    anvil.ask("anvil_reorg", json!([3, []])).await;
    let opened_again = async {
        let mut now = opened_in().await;
        while !now.is_string() || now == lost {
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = opened_in().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opened_again).await.unwrap();

    // Whoever has what the node says can claim it; a changed sum is not proven.
    let lie = said.to_string().replace("\"amount\":\"100\"", "\"amount\":\"101\"");
    let (file, lying) = (deal.world().text("earner.json"), deal.world().text("lie.json"));
    std::fs::write(&file, said.to_string()).unwrap();
    std::fs::write(&lying, lie).unwrap();
    let observer = anvil.chain(&key(1)).await;
    let of = EARNS.to_string();
    let claim = |file: &str| {
        blackhole(&["payout", "claim", file, "--account", &of, "--config", &config]).output().unwrap()
    };
    assert!(!claim(&lying).status.success());
    assert_eq!(observer.wallet(EARNS, At::Latest).await.unwrap().units(), 0);
    let claimed = claim(&file);
    assert!(claimed.status.success(), "{}", String::from_utf8_lossy(&claimed.stderr));
    assert_eq!(observer.wallet(EARNS, At::Latest).await.unwrap().units(), 100);
    assert_eq!(earner(&serving, EARNS)["earned"], "100");

    anvil.finalize().await;
    let mut sum = 100;
    for (node, own, earned) in [(&serving, payee, 250), (&paying, payer, 0)] {
        let (wallet, free) =
            (observer.wallet(own, At::Latest).await.unwrap(), observer.free(own, At::Latest).await.unwrap());
        sum += wallet.units() + free.units();
        let books = [("wallet", wallet.units()), ("free", free.units()), ("earned", earned), ("owed", 0)];
        node.wait_for("the books", |node| {
            let metrics = node.get("/metrics").text();
            let says = |(figure, units): &(&str, u128)| {
                metrics.contains(&format!("blackhole_chain_base_units{{figure=\"{figure}\"}} {units}\n"))
            };
            books.iter().all(says).then_some(())
        });
    }
    let channel = observer.channel(payer, payee, At::Latest).await.unwrap();
    sum += channel.ceiling.less(channel.claimed).units();
    assert_eq!(sum, 1_000, "what there was is free, locked, in a wallet or paid to the tab");
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_of_one_network_earn_nothing_of_each_other_however_many_they_are() {
    let mut deal = Deal::new(World::new(), UNSETTLED, WINDOW, 0);
    deal.set_tabs("");
    let node = deal.serve();
    let manifest = deal.publish(&node);
    deal.agree();
    let _payer = deal.pay(&node);
    wait_for_status(&node, &manifest, 200);
    let site = deal.site();
    let mut tabs = Vec::new();
    for number in 20..30 {
        tabs.push(arrive(&node, number, site).await);
    }
    for (number, tab) in (20..).zip(&mut tabs) {
        let receipts = (20..30).filter(|other| *other != number).map(|other| receipt(number, other, site));
        tab.hand_in(EARNS.0, receipts.collect()).await.unwrap();
    }
    let _visitor = deal.visit(&node, &manifest, 13).await;
    let row = node.wait_for("the voucher", |node| paid(node, 150));
    assert_eq!(row["tabs_base_units"], "");
    assert_eq!(earner(&node, EARNS)["earned"], "0");
    assert_eq!(node.get("/blackhole/v1/earners/0x12").status, 400);
}
