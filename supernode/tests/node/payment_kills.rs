//! Either side of a paid transfer is killed at random moments, while visitors get and sign: both come back with the same
//! books, nothing is paid twice or for nothing, and what the payee loses is within its window.
//!
//! The suite kills a few times; `cargo xtask bench payments --kills 50` as often as is wanted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use shared::{
    base::{BlobRoot, SeededRng, SiteId},
    identity::Keypair,
};
use tokio::sync::watch;

use crate::{
    payments::{Deal, FILM_BYTES, FILM_GROUPS, UNSETTLED, film, rows},
    process::{Node, World, free_port},
    visitor::Visitor,
};

/// What a payer may owe at the start: some thirty films.
const WINDOW: u64 = 5_000;
const VISITORS: u8 = 3;
/// Whoever was refused, or finds nobody, asks again.
const AGAIN: Duration = Duration::from_millis(20);
/// The price in `Deal`: three base units for a thousand bytes.
const fn worth(bytes: u64) -> u64 {
    bytes * 3 / 1000
}

/// What visitors signed for, by session. They get and sign as long as they may.
type Signed = Arc<Mutex<BTreeMap<(u8, u64), u64>>>;

struct Crowd {
    address: String,
    provider: String,
    site: SiteId,
    film: BlobRoot,
    signed: Signed,
    open: watch::Receiver<bool>,
}

impl Crowd {
    /// One visitor after another with the same key, as each link breaks.
    async fn visit(&self, number: u8) {
        let key = Keypair::from_secret([number; 32]);
        loop {
            if let Ok(visitor) = Visitor::arrive(&self.address, &self.provider, &key, self.site).await {
                let _ = self.stay(visitor, number).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Gets and signs until the link breaks, or waits where it may not.
    async fn stay(&self, mut visitor: Visitor, number: u8) -> anyhow::Result<()> {
        let mut open = self.open.clone();
        loop {
            open.wait_for(|open| *open).await?;
            if !visitor.get(self.film, FILM_GROUPS).await? {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let bytes = visitor.bytes;
            // Before it goes out: it may arrive though the link breaks.
            self.signed.lock().unwrap().insert((number, visitor.session), bytes);
            visitor.sign(bytes).await?;
        }
    }
}

/// The numbers of the only row; nothing before there is one.
fn figures(node: &Node) -> Option<BTreeMap<String, u64>> {
    let row = rows(node).pop()?;
    Some(row.iter().filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?))).collect())
}

fn in_books(node: &Node, figure: &str) -> u64 {
    let metrics = node.get("/metrics").text();
    let name = format!("blackhole_chain_base_units{{figure=\"{figure}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_comes_back_with_the_same_books_and_no_more_than_a_window_is_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (kills, seed) = (number("BLACKHOLE_KILLS").unwrap_or(4), number("BLACKHOLE_SEEDS").unwrap_or(1));
    let deal = Deal::new(World::new(), UNSETTLED, WINDOW, free_port());
    let mut payee = deal.serve();
    let film = film(&deal.publish(&payee));
    deal.agree();
    let mut payer = deal.pay(&payee);
    let (switch, open) = watch::channel(false);
    let signed = Signed::default();
    let (address, provider) = (payee.addresses[0].clone(), payee.did.clone());
    let crowd =
        Arc::new(Crowd { address, provider, site: deal.site(), film, signed: Arc::clone(&signed), open });
    for number in 1..=VISITORS {
        let crowd = Arc::clone(&crowd);
        tokio::spawn(async move { crowd.visit(number).await });
    }
    let mut rng = SeededRng::from_number(seed);
    let (mut lost, mut before) = (0, 0);
    for kill in 0..kills {
        switch.send(true).unwrap();
        payee.wait_for("a voucher", |payee| figures(payee).filter(|row| row["paid_base_units"] > before));
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 400)).await;
        let window = figures(&payee).unwrap()["window_base_units"];
        let of_payee = rng.next_u64().is_multiple_of(2);
        if of_payee {
            payee.kill();
            switch.send(false).unwrap();
            payee = deal.serve();
        } else {
            payer.kill();
            switch.send(false).unwrap();
            payer = deal.pay(&payee);
        }
        let settled = |row: &BTreeMap<String, u64>| {
            row["paid_base_units"] == row["total_base_units"] && row["owed_base_units"] == 0
        };
        let (got, gave) = payee.wait_for("both to agree", |payee| {
            let (got, gave) = (figures(payee)?, figures(&payer)?);
            let agreed = got["verified_bytes"] == gave["verified_bytes"] && got["unbilled_bytes"] == 0;
            (agreed && settled(&got) && settled(&gave)).then_some((got, gave))
        });
        let paid = got["paid_base_units"];
        assert_eq!(
            (gave["paid_base_units"], paid),
            (worth(gave["verified_bytes"]), worth(got["verified_bytes"]))
        );
        assert_eq!((in_books(&payee, "receivable"), in_books(&payer, "owed")), (paid, paid));
        let all: u64 = signed.lock().unwrap().values().sum();
        let missing = all.checked_sub(got["verified_bytes"]).expect("nobody is paid for what was not signed");
        let by_this = worth(missing) - lost;
        assert!(by_this <= window, "a kill cost {by_this} base units, where the window was {window}");
        assert!(of_payee || by_this == 0, "a payer that dies costs nobody anything");
        println!("kill {kill}: payee {of_payee}, paid {paid}, lost {by_this} of a window of {window}");
        (lost, before) = (worth(missing), paid);
    }
    assert!(before > kills * worth(FILM_BYTES), "visitors were served all the while");
}
