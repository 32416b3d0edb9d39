//! A publisher's node pays the node that serves its site, for what visitors signed for.

use std::collections::BTreeMap;

use shared::{
    base::{BlobRoot, SiteId},
    cdn::manifest::Manifest,
    economy::Amount,
    identity::{Account, Keypair},
};
use supernode_chain::At;

use crate::{
    anvil::{Anvil, account, key},
    http::unchunked,
    process::{Node, PATIENCE, World, run},
    visitor::Visitor,
};

/// The section of the network, listening at this port.
fn network(port: u16) -> String {
    format!("[network]\nlocal_network = true\nlisten = [\"/ip4/127.0.0.1/tcp/{port}/ws\"]\n")
}

const CHARGE: &str = "[earnings]\nprice = { base_units = 3, per_bytes = 1000 }\n[payments.charge]\n\
                      required = [\"site.example\"]\n";
/// Of a film; at that price 150 base units.
pub(crate) const FILM_BYTES: u64 = 50_000;
pub(crate) const FILM_GROUPS: u32 = 4;
/// Vouchers and books without an endpoint.
pub(crate) const UNSETTLED: &str =
    "chain_id = 137\nchannels = \"0x00000000000000000000000000000000000000c1\"\ncoin_price = 100000\n";

/// Less than a film: a node that is not paid serves one and no more.
const WINDOW: u64 = 100;

/// A publisher, and the two nodes.
pub(crate) struct Deal {
    world: World,
    /// Sections of the node that is paid,
    serving: String,
    /// and of the one that pays.
    paying: String,
    /// Whether it pays for tabs too.
    tabs: bool,
}

impl Deal {
    /// Of nodes with this rest of a section `[chain]`, where a stranger may owe `window`. The one that is paid listens at
    /// `port`.
    pub(crate) fn new(world: World, chain: &str, window: u64, port: u16) -> Self {
        world.file("site/film.bin", &[7; 50_000]);
        let section = |key: &str| {
            let file = world.text(key);
            format!("[chain]\nkey_file = {file:?}\nstranger_owes_max = {window}\n{chain}")
        };
        let site = world.site("");
        let serving = format!("{}{CHARGE}{}{site}", network(port), section("payee.key"));
        let paying = format!("{}{}", network(0), section("payer.key"));
        Self { world, serving, paying, tabs: false }
    }

    /// Tabs are paid by a section `[payments.charge.tabs]` that goes on with this.
    pub(crate) fn set_tabs(&mut self, section: &str) {
        let without = self.serving.split("[payments.charge.tabs]\n").next().unwrap();
        self.serving = format!(
            "{without}[payments.charge.tabs]\nprice = {{ base_units = 1, per_bytes = 1000 }}\n{section}"
        );
        self.tabs = true;
    }

    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// The node that is paid.
    pub(crate) fn serve(&self) -> Node {
        self.world.node("serving", &self.serving)
    }

    /// Puts the site on it.
    pub(crate) fn publish(&self, node: &Node) -> Manifest {
        assert!(self.world.publish("site", &["--to", &node.edge]).output().unwrap().status.success());
        node.manifest(&self.world.pin()).unwrap()
    }

    /// The publisher agrees that its node pays. Says what was agreed to.
    pub(crate) fn agree(&self) -> String {
        // The first start makes its key.
        drop(self.world.node("paying", &self.paying));
        let (key, config, file) =
            (self.world.text("publisher.key"), self.world.text("paying.toml"), self.file());
        let terms = ["--site", "site.example", "--price", "3/1000"];
        let whose = ["payment", "agree", "--key", &key, "--config", &config];
        let tabs: &[&str] = if self.tabs { &["--tabs", "1/1000"] } else { &[] };
        run(&[&whose[..], &terms[..], tabs, &[&file]].concat())
    }

    fn file(&self) -> String {
        self.world.text("site.agreement")
    }

    /// The node that pays.
    pub(crate) fn pay(&self, node: &Node) -> Node {
        let (file, to) = (self.file(), &node.addresses[0]);
        let tabs = if self.tabs { "tabs_per_day = 1000\n" } else { "" };
        let pay =
            format!("[[payments.pay]]\nagreement = {file:?}\nto = \"{to}\"\nper_day = 10000000\n{tabs}");
        self.world.node("paying", &format!("{}{pay}", self.paying))
    }

    pub(crate) fn site(&self) -> SiteId {
        self.world.pin().site_id()
    }

    /// A visitor gets the film and signs for it.
    pub(crate) async fn visit(&self, node: &Node, manifest: &Manifest, secret: u8) -> Visitor {
        let (key, site) = (Keypair::from_secret([secret; 32]), self.site());
        let mut visitor = Visitor::arrive(&node.addresses[0], &node.did, &key, site).await.unwrap();
        assert!(visitor.get(film(manifest), FILM_GROUPS).await.unwrap());
        for signed in [FILM_BYTES / 2, FILM_BYTES] {
            visitor.sign(signed).await.unwrap();
        }
        visitor
    }
}

pub(crate) fn film(manifest: &Manifest) -> BlobRoot {
    manifest.assets[&"/film.bin".parse().unwrap()].root
}

/// What a node says of payments, a map of columns a line.
pub(crate) fn rows(node: &Node) -> Vec<BTreeMap<String, String>> {
    let answer = node.get("/status/payments.csv");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text =
        if answer.headers.contains_key("transfer-encoding") { unchunked(&answer) } else { answer.text() };
    let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').map(str::to_owned));
    let head: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

/// The only row, once it says that so much was paid and nothing is owed.
pub(crate) fn paid(node: &Node, units: u64) -> Option<BTreeMap<String, String>> {
    let mut rows = rows(node);
    assert!(rows.len() <= 1, "{rows:?}");
    let settled = |row: &BTreeMap<String, String>| {
        row["paid_base_units"] == units.to_string() && row["owed_base_units"] == "0"
    };
    rows.pop().filter(settled)
}

pub(crate) fn wait_for_status(node: &Node, manifest: &Manifest, status: u16) {
    let what = format!("an answer {status}");
    node.wait_for(&what, |node| (node.asset(manifest, "/film.bin").status == status).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_pays_for_what_visitors_signed_for_and_is_served_as_it_pays() {
    let deal = Deal::new(World::new(), UNSETTLED, WINDOW, 0);
    let node = deal.serve();
    let manifest = deal.publish(&node);
    // Nobody has agreed to pay yet.
    wait_for_status(&node, &manifest, 402);
    let agreed = deal.agree();
    assert!(agreed.contains("at most 3 base units for each 1000 bytes"), "{agreed}");
    assert_eq!(run(&["payment", "show", &deal.file()]), agreed);
    let payer = deal.pay(&node);
    wait_for_status(&node, &manifest, 200);

    let visitor = deal.visit(&node, &manifest, 9).await;
    let got = node.wait_for("the voucher", |node| paid(node, 150));
    assert_eq!((got["direction"].as_str(), got["verified_bytes"].as_str()), ("in", "50000"));
    let gave = payer.wait_for("what was paid", |payer| paid(payer, 150));
    assert_eq!((gave["direction"].as_str(), gave["verified_bytes"].as_str()), ("out", "50000"));
    assert!(payer.get("/status/earnings").text().contains("Whom this node pays"));

    visitor.leave().await;

    // Both are killed: what was paid stays paid, once.
    node.kill();
    payer.kill();
    let node = deal.serve();
    assert!(paid(&node, 150).is_some(), "{:?}", rows(&node));

    // While nobody pays a window is served, and nothing after it.
    let _visitor = deal.visit(&node, &manifest, 10).await;
    wait_for_status(&node, &manifest, 402);
    let owed = rows(&node).pop().unwrap();
    assert_eq!((owed["owed_base_units"].as_str(), owed["served"].as_str()), ("150", "false"));
    let payer = deal.pay(&node);
    wait_for_status(&node, &manifest, 200);
    assert!(
        paid(&node, 300).is_some() && paid(&payer, 300).is_some(),
        "{:?} {:?}",
        rows(&node),
        rows(&payer)
    );
}

/// A payee without money and a payer with a thousand base units, on a chain.
pub(crate) async fn accounts(anvil: &Anvil, world: &World) -> (Account, Account) {
    let new_account =
        |key: &str| -> Account { run(&["account", "new", &world.text(key)]).trim().parse().unwrap() };
    let (payee, payer) = (new_account("payee.key"), new_account("payer.key"));
    anvil.fund(payee, 0).await;
    anvil.fund(payer, 1_000).await;
    (payee, payer)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_is_claimed_and_the_books_say_what_the_chain_does() {
    let (anvil, world) = (Anvil::new().await, World::new());
    let (payee, payer) = accounts(&anvil, &world).await;
    // Both look each second; whatever is above 100 base units is claimed.
    let chain = format!(
        "rpc = \"{}\"\nchain_id = 31337\nchannels = \"{}\"\ncoin_price = 100000\npoll_seconds = 1\n\
         outstanding_max = 100\n",
        anvil.url,
        account(anvil.channels)
    );
    let deal = Deal::new(world, &chain, WINDOW, 0);
    let serving = deal.serve();
    let manifest = deal.publish(&serving);
    deal.agree();
    let config = deal.world.text("paying.toml");
    let on_chain = |command: &[&str]| run(&[command, &["--config", &config]].concat());
    let to = payee.to_string();
    on_chain(&["account", "deposit", "600"]);
    on_chain(&["channel", "open", &to, "150"]);
    let paying = deal.pay(&serving);
    wait_for_status(&serving, &manifest, 200);

    let _first = deal.visit(&serving, &manifest, 9).await;
    serving.wait_for("the voucher", |node| paid(node, 150));
    // The channel is used up: nothing more is served until there is money in it.
    wait_for_status(&serving, &manifest, 402);
    on_chain(&["channel", "open", &to, "350"]);
    wait_for_status(&serving, &manifest, 200);
    let _second = deal.visit(&serving, &manifest, 10).await;
    serving.wait_for("the second voucher", |node| paid(node, 300));

    let observer = anvil.chain(&key(1)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while observer.channel(payer, payee, At::Latest).await.unwrap().claimed < Amount::of(300) {
        assert!(tokio::time::Instant::now() < deadline, "the voucher was not claimed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anvil.finalize().await;
    let channel = observer.channel(payer, payee, At::Latest).await.unwrap();
    let mut on_chain_sum = channel.ceiling.less(channel.claimed).units();
    assert_eq!(on_chain_sum, 200);
    for (node, own, earned) in [(&serving, payee, 300), (&paying, payer, 0)] {
        let (wallet, free) =
            (observer.wallet(own, At::Latest).await.unwrap(), observer.free(own, At::Latest).await.unwrap());
        on_chain_sum += free.units();
        let books =
            [("wallet", wallet.units()), ("free", free.units()), ("earned", earned), ("receivable", 0)];
        node.wait_for("the books", |node| {
            let metrics = node.get("/metrics").text();
            let says = |(figure, units): &(&str, u128)| {
                metrics.contains(&format!("blackhole_chain_base_units{{figure=\"{figure}\"}} {units}\n"))
            };
            (books.iter().all(says) && metrics.contains("figure=\"owed\"} 0\n")).then_some(())
        });
    }
    assert_eq!(on_chain_sum, 600, "what was deposited is free, locked or earned");
}
