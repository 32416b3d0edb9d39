//! An operator's commands about money, by the program, on a real chain.

use std::fs;

use shared::{economy::Amount, identity::Account};
use supernode_chain::At;

use crate::{
    anvil::{Anvil, THAW_SECONDS, account, key},
    process::{World, blackhole, run, text},
};

/// A node's configuration, for an account with coins and tokens.
struct Operator {
    anvil: Anvil,
    world: World,
    section: String,
    config: String,
    own: Account,
}

impl Operator {
    async fn new(tokens: u64) -> Self {
        let (anvil, world) = (Anvil::new().await, World::new());
        let file = world.text("account.key");
        let own: Account = run(&["account", "new", &file]).trim().parse().unwrap();
        anvil.fund(own, tokens).await;
        let section = format!(
            "[chain]\nrpc = \"{}\"\nchain_id = 31337\nchannels = \"{}\"\nstakes = \"{}\"\npayouts = \"{}\"\n\
             escrow = \"{}\"\n\
             coin_price = 100000\npoll_seconds = 1\nkey_file = {file:?}\n",
            anvil.url,
            account(anvil.channels),
            account(anvil.stakes),
            account(anvil.payouts),
            account(anvil.escrow),
        );
        let config = world.config("data", &section).to_str().unwrap().to_owned();
        Self { anvil, world, section, config, own }
    }

    /// Somebody else on the same chain, with coins for gas: the account, and its configuration.
    async fn party(&self, name: &str) -> (Account, String) {
        let file = self.world.text(&format!("{name}.key"));
        let account: Account = run(&["account", "new", &file]).trim().parse().unwrap();
        self.anvil.fund(account, 0).await;
        let section = self.section.replace("account.key", &format!("{name}.key"));
        (account, self.world.config(name, &section).to_str().unwrap().to_owned())
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--config", &self.config]].concat()
    }

    /// What it printed.
    fn does(&self, arguments: &[&str]) -> String {
        run(&self.with(arguments))
    }

    fn is_refused(&self, arguments: &[&str], because: &[&str]) {
        let output = blackhole(&self.with(arguments)).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
        for part in because {
            assert!(text(&output).contains(part), "{:?} lacks {part:?}", text(&output));
        }
    }
}

fn says(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(output.lines().any(|said| said == *line), "{output:?} lacks {line:?}");
    }
}

#[tokio::test]
async fn money_goes_in_and_comes_out_beside_a_running_node() {
    let operator = Operator::new(1_000_000).await;
    let node = operator.world.node("data", &operator.section);
    let own = operator.own;
    says(&operator.does(&["account", "balance"]), &[&format!("account {own}"), "wallet 1000000", "free 0"]);
    says(&operator.does(&["account", "deposit", "600000"]), &["deposited 600000", "free 600000"]);
    says(&operator.does(&["account", "withdraw", "100000"]), &["free 500000"]);
    let other = Account([9; 20]);
    let to = other.to_string();
    says(&operator.does(&["account", "withdraw", "200000", "--to", &to]), &["free 300000"]);
    let chain = operator.anvil.chain(&key(1)).await;
    assert_eq!(chain.wallet(other, At::Latest).await.unwrap(), Amount::of(200_000));
    operator.is_refused(&["account", "withdraw", "300001"], &["FreeTooLow", "blackhole account deposit"]);
    operator.is_refused(&["account", "deposit", "9000000"], &["fewer tokens", "account balance"]);
    operator.is_refused(&["account", "deposit", "0"], &["above zero"]);
    operator.is_refused(&["account", "deposit", "1.5"], &["whole number"]);
    says(&operator.does(&["account", "withdraw"]), &["free 0"]);
    operator.is_refused(&["account", "withdraw"], &["nothing is free"]);
    // The node books what the commands did.
    operator.anvil.finalize().await;
    node.wait_for("the books", |node| {
        let metrics = node.get("/metrics").text();
        metrics.contains("blackhole_chain_base_units{figure=\"wallet\"} 800000\n").then_some(())
    });
    assert!(node.get("/status").text().contains("settled on chain 31337"));
}

#[tokio::test]
async fn a_channel_is_opened_listed_and_closed_in_its_time() {
    let operator = Operator::new(1_000_000).await;
    let payee = Account([7; 20]).to_string();
    assert_eq!(operator.does(&["channel", "list"]), "");
    operator.is_refused(&["channel", "open", &payee, "5"], &["FreeTooLow", "account deposit"]);
    operator.does(&["account", "deposit", "500000"]);
    let open = format!("to {payee} locked 40000 claimed 0 left 40000 open");
    says(&operator.does(&["channel", "open", &payee, "40000"]), &[&open]);
    says(&operator.does(&["channel", "list"]), &[&open]);
    assert!(operator.does(&["channel", "close", &payee]).contains("closes at unix"));
    operator.is_refused(&["channel", "close", &payee], &["may claim until unix", "come back"]);
    operator.anvil.pass(THAW_SECONDS + 1).await;
    says(&operator.does(&["channel", "close", &payee]), &["closed, 40000 came back"]);
    says(&operator.does(&["account", "balance"]), &["free 500000"]);
    operator.is_refused(&["channel", "close", &payee], &["nothing is locked"]);
    let signer = key(5).account().to_string();
    assert!(operator.does(&["channel", "allow", &signer]).contains("may sign for"));
    assert!(operator.does(&["channel", "disallow", &signer]).contains("signs no more"));
}

#[tokio::test]
async fn a_node_is_recorded_staked_and_taken_out_again() {
    let operator = Operator::new(1_000_000).await;
    operator.is_refused(&["stake", "show"], &["node.key"]);
    // Its first start makes its key.
    operator.world.node("data", "").kill();
    operator.world.config("data", &operator.section);
    assert!(operator.does(&["stake", "show"]).contains("not recorded"));
    operator.is_refused(&["stake", "add", "5"], &["blackhole stake register"]);
    says(&operator.does(&["stake", "register", "--services", "9"]), &["services 9", "staked 0"]);
    says(&operator.does(&["stake", "add", "600000"]), &["staked 600000"]);
    operator.is_refused(&["stake", "unbond", "600001"], &["StakeTooLow", "stake show"]);
    operator.is_refused(&["stake", "withdraw"], &["NothingUnbonding", "stake unbond"]);
    let unbonding = operator.does(&["stake", "unbond", "250000"]);
    assert!(unbonding.contains("on its way out 250000, free at unix"), "{unbonding}");
    operator.is_refused(&["stake", "withdraw"], &["TooEarly", "stake show"]);
    operator.anvil.pass(14 * 86_400 + 1).await;
    let withdrawn = operator.does(&["stake", "withdraw"]);
    assert!(withdrawn.contains("withdrew 250000") && withdrawn.contains("staked 350000"), "{withdrawn}");
    says(&operator.does(&["account", "balance"]), &["wallet 650000"]);
}

#[tokio::test]
async fn earners_are_paid_by_the_file_of_shares() {
    let operator = Operator::new(1_000_000).await;
    let (first, second, third) = (Account([1; 20]), Account([2; 20]), Account([3; 20]));
    let list = format!("{first},500\n{second}, 70000\n\n{third},3\n");
    operator.world.file("owed.csv", list.as_bytes());
    let (owed, shares) = (operator.world.text("owed.csv"), operator.world.text("shares.json"));
    let open = ["payout", "open", "--epoch", "4", "--owed", &owed, "--least", "100", "--shares", &shares];
    let opened = operator.does(&open);
    says(&opened, &["opened epoch 4 for 2 earners, 70500 in all"]);
    assert!(opened.contains("1 earners are owed less than 100, 3 in all"), "{opened}");
    operator.is_refused(&open, &["exists already"]);
    let another = operator.world.text("another.json");
    let again = ["payout", "open", "--epoch", "4", "--owed", &owed, "--shares", &another];
    operator.is_refused(&again, &["EpochTaken", "next number"]);
    assert!(!operator.world.path("another.json").exists());
    assert!(operator.does(&["payout", "show", "--epoch", "4"]).contains("left 70500 until unix"));
    assert!(operator.does(&["payout", "show", "--epoch", "5"]).contains("was not opened"));
    operator.is_refused(&["payout", "claim", &shares], &["no share of that account", "--account"]);
    let name = second.to_string();
    let paid = format!("paid 70000 to {second}");
    says(&operator.does(&["payout", "claim", &shares, "--account", &name]), &[&paid]);
    let rest = operator.does(&["payout", "claim", &shares, "--all"]);
    says(&rest, &[&format!("{second} was paid before"), &format!("paid 500 to {first}")]);
    let chain = operator.anvil.chain(&key(1)).await;
    for (earner, amount) in [(first, 500), (second, 70_000), (third, 0)] {
        assert_eq!(chain.wallet(earner, At::Latest).await.unwrap(), Amount::of(amount));
    }
    // Somebody raised a share.
    let forged = fs::read_to_string(&shares).unwrap().replace("\"500\"", "\"600\"");
    operator.world.file("forged.json", forged.as_bytes());
    let forged = operator.world.text("forged.json");
    operator.is_refused(&["payout", "claim", &forged, "--all"], &["not proven", "ask the payer"]);
    operator.is_refused(&["payout", "reclaim", "--epoch", "4"], &["NothingLeft"]);
    operator.world.file("bad.csv", b"0x12,5\n");
    let bad = operator.world.text("bad.csv");
    operator.is_refused(
        &["payout", "open", "--epoch", "9", "--owed", &bad, "--shares", &another],
        &["bad.csv:1", "40 hexadecimal"],
    );
}

#[tokio::test]
async fn without_a_chain_a_command_says_what_to_add() {
    let world = World::new();
    let refused = |sections: &str, because: &str| {
        let config = world.config("data", sections);
        let arguments = ["account", "balance", "--config", config.to_str().unwrap()];
        let output = blackhole(&arguments).output().unwrap();
        assert!(!output.status.success() && text(&output).contains(because), "{}", text(&output));
    };
    refused("", "has no section [chain]; add one");
    let file = world.text("account.key");
    let section = |rpc: &str| {
        format!(
            "[chain]\n{rpc}chain_id = 31337\nchannels = \"{}\"\ncoin_price = 1\nkey_file = {file:?}\n",
            Account([5; 20])
        )
    };
    refused(&section(""), "blackhole account new");
    run(&["account", "new", &file]);
    refused(&section(""), "has no `rpc`");
    refused(&section("rpc = \"http://127.0.0.1:9/\"\n"), "see that `rpc` in the section [chain] is right");
    let anvil = Anvil::new().await;
    refused(&section(&format!("rpc = \"{}\"\n", anvil.url)), "correct rpc, chain_id, channels");
}

#[tokio::test]
async fn a_job_is_paid_for_the_result_that_its_client_has_and_split_as_both_signed() {
    let client = Operator::new(1_000_000).await;
    let (provider_account, provider) = client.party("provider").await;
    let (arbiter_account, arbiter) = client.party("arbiter").await;
    let does = |config: &str, arguments: &[&str]| run(&[arguments, &["--config", config]].concat());
    client.world.file("task.txt", b"count to ten");
    client.world.file("result.txt", b"1 2 3 4 5 6 7 8 9 10");
    client.world.file("other.txt", b"1 2 3");
    let [task, result, other] = ["task.txt", "result.txt", "other.txt"].map(|file| client.world.text(file));
    let create = |salt: &str| {
        let (to, by) = (provider_account.to_string(), arbiter_account.to_string());
        let terms = ["escrow", "create", "--provider", &to, "--arbiter", &by, "--amount", "1001"];
        let created = client.does(&[&terms[..], &["--specification", &task, "--salt", salt]].concat());
        says(&created, &["open: its provider delivers", "amount 1001"]);
        created.lines().next().unwrap().strip_prefix("job ").unwrap().to_owned()
    };
    let job = create("0");
    client.is_refused(&["escrow", "deliver", &job, &result], &["NotParty", "another party"]);
    assert!(does(&provider, &["escrow", "deliver", &job, &result]).contains("delivered: its client"));
    client.is_refused(&["escrow", "accept", &job, &other], &["ResultDiffers", "look at what you have"]);
    client.is_refused(&["escrow", "close", &job], &["TooEarly", "escrow show"]);
    client.is_refused(&["escrow", "accept", &job, "nowhere.txt"], &["nor a file"]);
    says(&client.does(&["escrow", "accept", &job, &result]), &["closed"]);
    says(&does(&provider, &["account", "balance"]), &["wallet 1001"]);
    client.is_refused(&["escrow", "accept", &job, &result], &["NotParty", "or it is over"]);

    let job = create("1");
    does(&provider, &["escrow", "deliver", &job, &other]);
    assert!(client.does(&["escrow", "dispute", &job, &task]).contains("disputed: its arbiter"));
    let signed = does(&provider, &["escrow", "sign-split", &job, "400"]);
    let said = |name: &str| signed.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (until, signature) = (said("until "), said("signature "));
    let split = |amount| ["escrow", "split", &job, amount, "--until", &until, "--signature", &signature];
    client.is_refused(&split("399"), &["NotSignedBy"]);
    says(&client.does(&split("400")), &["closed"]);
    says(&does(&provider, &["account", "balance"]), &["wallet 1401"]);
    says(&client.does(&["account", "balance"]), &["wallet 998599"]);

    let job = create("2");
    does(&provider, &["escrow", "deliver", &job, &other]);
    client.does(&["escrow", "dispute", &job, &task]);
    says(&does(&arbiter, &["escrow", "rule", &job, "0"]), &["closed"]);
    says(&client.does(&["account", "balance"]), &["wallet 998599"]);
    client.is_refused(&["escrow", "collect"], &["nothing is owed"]);
    let nobody = format!("0x{}", "00".repeat(32));
    assert!(client.does(&["escrow", "show", &nobody]).contains("never was one"));
}
