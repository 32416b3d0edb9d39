//! A process that is killed at any moment: what it said it had kept, it has.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use shared::{
    base::{Instant, SeededRng},
    economy::{
        Amount,
        payee::ChannelView,
        price::Unit,
        voucher::{ChannelContract, PACKED_VOUCHER_BYTES, SignedVoucher},
    },
    identity::Account,
};
use supernode_chain::{Purse, Settlement};

use crate::anvil::{NOW, PRICE, START, key};

const T: Instant = Instant::from_micros(0);
const KILLS: u32 = 50;
const PATH: &str = "BLACKHOLE_TEST_PURSE";
const THIS: &str = "a_payee_killed_at_any_moment_has_every_voucher_that_it_said_it_had";
const CEILING: Amount = Amount::of(1 << 40);
const CONTRACT: ChannelContract = ChannelContract { chain_id: 1, address: Account([7; 20]) };

/// The payee's process: each line in is a packed voucher; each line out says what it has kept, and what of its books.
fn payee_process(path: &Path) {
    let purse = payee(path);
    say(&purse);
    for line in std::io::stdin().lines() {
        let bytes: [u8; PACKED_VOUCHER_BYTES] =
            hex_decode(&line.expect("a line")).try_into().expect("a voucher's length");
        let voucher = SignedVoucher::unpack(purse.account(), &bytes).expect("a voucher");
        assert!(purse.handle_sent(T, key(1).account(), Unit::Bytes, 10).expect("agreed"));
        purse.handle_voucher(T, NOW, &voucher).expect("a good voucher");
        say(&purse);
    }
}

fn say(purse: &Purse) {
    let kept = purse.vouchers().first().map_or(0, |voucher| voucher.voucher.cumulative.units());
    let (entries, _) = purse.head();
    let booked = purse.balance(shared::economy::ledger::Book::Receivable(key(1).account()));
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "> {kept} {entries} {booked}").expect("the pipe is open");
    stdout.flush().expect("the pipe is open");
}

fn payee(path: &Path) -> Purse {
    let purse = Purse::open(path, key(2), Settlement::Unsettled(CONTRACT), START).expect("a purse");
    purse.sell(key(1).account(), Unit::Bytes, PRICE).expect("room");
    purse.handle_view(key(1).account(), ChannelView { ceiling: CEILING, ..Default::default() });
    purse
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<(u128, u64, i128)>,
}

impl Process {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &format!("crashes::{THIS}"), "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let (sender, said) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut words = line.split("> ").nth(1).unwrap_or_default().split(' ');
                let mut word = || words.next().unwrap_or_default().to_owned();
                if let (Ok(kept), Ok(entries), Ok(booked)) = (word().parse(), word().parse(), word().parse())
                {
                    let _ = sender.send((kept, entries, booked));
                }
            }
        });
        let stdin = child.stdin.take().expect("a pipe");
        Self { child, stdin, said }
    }

    /// What it says next; nothing where it is dead.
    fn hear(&self) -> Option<(u128, u64, i128)> {
        self.said.recv_timeout(Duration::from_secs(60)).ok()
    }
}

#[test]
fn a_payee_killed_at_any_moment_has_every_voucher_that_it_said_it_had() {
    // This program starts itself anew to be killed, and is told so by the path.
    if let Some(path) = std::env::var_os(PATH) {
        return payee_process(Path::new(&path));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("payee.redb");
    let separator = CONTRACT.separator();
    let mut rng = SeededRng::from_number(1);
    let (mut sent, mut acknowledged) = (0_u64, 0_u128);
    for _ in 0..KILLS {
        let mut process = Process::start(&path);
        let (kept, entries, booked) = process.hear().expect("it starts whatever happened before");
        assert!(kept >= acknowledged && kept <= u128::from(sent), "{acknowledged} ≤ {kept} ≤ {sent}");
        // Books and voucher are of the same moment.
        assert_eq!(booked.unsigned_abs(), kept);
        assert!(entries as u128 <= kept / 10);
        for _ in 0..rng.below(4) {
            sent = send(&mut process, &separator, sent);
            acknowledged = process.hear().expect("it lives").0;
            assert_eq!(acknowledged, u128::from(sent));
        }
        // And one more, with death somewhere on the way.
        sent = send(&mut process, &separator, sent);
        std::thread::sleep(Duration::from_micros(rng.below(4_000)));
        process.child.kill().expect("it can be killed");
        process.child.wait().expect("it ends");
        while let Ok((kept, ..)) = process.said.recv() {
            acknowledged = acknowledged.max(kept);
        }
    }
    let purse = payee(&path);
    let kept = purse.vouchers().first().expect("one was kept").voucher.cumulative.units();
    assert!(kept >= acknowledged && kept <= u128::from(sent));
    // What was lost is at most the voucher on its way: less than a window.
    assert!(u128::from(sent) - kept <= START.units());
}

fn send(process: &mut Process, separator: &shared::identity::eip712::Separator, sent: u64) -> u64 {
    let cumulative = Amount::of(sent + 10);
    let voucher =
        shared::economy::voucher::Voucher { payer: key(1).account(), payee: key(2).account(), cumulative };
    let packed = voucher.sign(separator, &key(1)).pack();
    let line: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(process.stdin, "{line}").expect("it reads");
    sent + 10
}

fn hex_decode(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn a_payer_that_died_after_keeping_a_voucher_does_not_sign_it_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("payer.redb");
    let mut promised = Amount::ZERO;
    for round in 1..=KILLS {
        // Forgotten without a word, as by a kill: nothing runs when it is dropped that would write.
        let purse = Purse::open(&path, key(1), Settlement::Unsettled(CONTRACT), START).expect("a purse");
        purse.buy(key(2).account(), Unit::Bytes, PRICE).expect("room");
        purse.handle_ceiling(key(2).account(), CEILING);
        assert!(purse.handle_verified(T, key(2).account(), Unit::Bytes, 600).expect("agreed"));
        let voucher = purse.issue(T, NOW, key(2).account(), true).expect("kept").expect("due");
        promised = promised.plus(Amount::of(600));
        assert_eq!(voucher.voucher.cumulative, promised, "round {round}");
        let debt = purse.balance(shared::economy::ledger::Book::Debt(key(2).account()));
        assert_eq!(debt.unsigned_abs(), promised.units());
    }
}
