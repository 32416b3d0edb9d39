//! One payer and one payee, their disks, their books, and what each does wrong.

use shared::{
    base::{Instant, SeededRng, UnixSeconds},
    economy::{
        Amount,
        exposure::{Exposure, START_BYTES},
        ledger::{Book, Ledger, Posting},
        payee::{Accepted, ChannelView, Payee, PayeeState},
        payer::{Payer, PayerState},
        price::Unit,
        voucher::{SignedVoucher, Voucher},
    },
    identity::{Account, AccountKey},
};

use super::{Outcome, PRICE, STAKE, chain::Chain};

/// What is asked for at a time: what a crash loses of the count.
const PIECE_BYTES: u64 = 4096;
/// More deaths than this no pair has: what each loses of the count is tolerated, in all at most a start window.
const CRASHES_MAX: u32 = 50;

/// What a payer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayerKind {
    /// What it should.
    Honest,
    /// Dies at any moment and comes back from its disk.
    Crashes,
    /// Loses its disk, once.
    LosesDisk,
    /// Sends old vouchers, and ones that it forged.
    Replays,
    /// Takes what it gets, pays no more, and takes its money back.
    StopsPaying,
}

impl PayerKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Honest, Self::Crashes, Self::LosesDisk, Self::Replays, Self::StopsPaying];
}

/// What a payee does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayeeKind {
    /// What it should.
    Honest,
    /// Dies at any moment and comes back from its disk.
    Crashes,
    /// Counts 2 % more than it sends.
    OverCounts,
    /// Sends what does not verify, one time in ten.
    SendsGarbage,
    /// Claims everything twice, and vouchers that it altered.
    ClaimsTwice,
}

impl PayeeKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Honest, Self::Crashes, Self::OverCounts, Self::SendsGarbage, Self::ClaimsTwice];
}

/// A book whose entries are on a disk.
#[derive(Default)]
struct Books {
    ledger: Ledger,
    kept: Vec<Vec<u8>>,
}

impl Books {
    fn post(&mut self, posting: Posting, amount: Amount) {
        if !amount.is_zero() {
            let entry = self.ledger.append(UnixSeconds(0), posting, amount, &[0; 32]);
            self.kept.push(entry.expect("what happened can be written"));
        }
    }

    /// After a crash: read again.
    fn reopen(&mut self) {
        let replayed = Ledger::replay(self.kept.iter().map(Vec::as_slice)).expect("the books replay");
        assert_eq!(replayed, self.ledger, "books replay to the same state");
        self.ledger = replayed;
    }
}

pub(super) struct Pair {
    number: u32,
    payer_kind: PayerKind,
    payee_kind: PayeeKind,
    key: AccountKey,
    account: Account,
    payer: Payer,
    payee: Payee,
    payer_disk: PayerState,
    payee_disk: PayeeState,
    payer_books: Books,
    payee_books: Books,
    ceiling: Amount,
    thawing: bool,
    /// Worth of what was really sent and verified, since ever.
    truth: u64,
    /// Old vouchers, for those who send them again.
    seen: Vec<SignedVoucher>,
    crashes: u32,
    refused: u32,
    lost_disk: bool,
    now: u64,
}

impl Pair {
    pub(super) fn new(
        number: u32,
        payer_kind: PayerKind,
        payee_kind: PayeeKind,
        deposit: Amount,
        chain: &mut Chain,
    ) -> Self {
        let secret = |role: u8| {
            let mut secret = [role; 32];
            secret[..4].copy_from_slice(&number.to_le_bytes());
            AccountKey::from_secret(secret).expect("small numbers are keys")
        };
        let (key, account) = (secret(1), secret(2).account());
        chain.deposit_and_reserve(key.account(), account, deposit);
        let mut payer_books = Books::default();
        for posting in [Posting::Received, Posting::Deposited, Posting::Reserved(account)] {
            payer_books.post(posting, deposit);
        }
        let mut pair = Self {
            number,
            payer_kind,
            payee_kind,
            payer: payer(&key, account, PayerState::default()),
            payee: payee(&key, account, PayeeState::default()),
            key,
            account,
            payer_disk: PayerState::default(),
            payee_disk: PayeeState::default(),
            payer_books,
            payee_books: Books::default(),
            ceiling: deposit,
            thawing: false,
            truth: 0,
            seen: Vec::new(),
            crashes: 0,
            refused: 0,
            lost_disk: false,
            now: 0,
        };
        pair.restart_payer();
        pair.restart_payee();
        pair
    }

    /// One piece, one voucher, and whatever goes wrong.
    pub(super) fn step(&mut self, round: u32, rounds: u32, rng: &mut SeededRng, chain: &mut Chain) {
        self.now += 1;
        let gone = self.payer_kind == PayerKind::StopsPaying && round >= rounds / 2;
        self.serve(rng);
        if !gone {
            self.pay(rng, false);
        } else if round == rounds / 2 + 10 {
            chain.thaw(self.key.account(), self.account);
        }
        self.watch(rng, chain);
        if gone && let Some(back) = chain.unreserve(self.key.account(), self.account) {
            let unclaimed = self.payer_books.ledger.balance(Book::Signed(self.account));
            let unclaimed = Amount::new(unclaimed.unsigned_abs()).expect("an amount");
            self.payer_books.post(Posting::VoucherUnclaimed(self.account), unclaimed);
            self.payer_books.post(Posting::Unreserved(self.account), back);
            self.ceiling = chain.channel(self.key.account(), self.account).ceiling;
            self.view();
        }
    }

    /// Everything is settled that honest sides would settle.
    pub(super) fn conclude(&mut self, chain: &mut Chain) {
        let mut calm = SeededRng::from_number(0);
        if self.payer_kind != PayerKind::StopsPaying {
            self.agree();
            let voucher = self.payer.poll_voucher(self.now(), true);
            self.deliver(voucher, &mut calm, false);
        }
        self.claim(chain);
    }

    fn serve(&mut self, rng: &mut SeededRng) {
        let allowed = self.payee.allowance().units();
        // A base unit is 16 bytes; what is left of a window below a piece is sent too.
        let bytes = u64::try_from(allowed).unwrap_or(u64::MAX).saturating_mul(16).min(PIECE_BYTES);
        if bytes == 0 {
            self.agree();
            return;
        }
        let counted = match self.payee_kind {
            PayeeKind::OverCounts => bytes + bytes / 50,
            _ => bytes,
        };
        assert!(self.payee.handle_sent(self.now(), Unit::Bytes, counted));
        let garbage = self.payee_kind == PayeeKind::SendsGarbage && rng.below(10) == 0;
        if garbage {
            return;
        }
        self.truth += bytes;
        if self.payer_dies(rng, 100) {
            return;
        }
        assert!(self.payer.handle_verified(self.now(), Unit::Bytes, bytes));
        // What was verified is on the disk, and the count with it.
        self.payer_disk.verified = self.payer.state().verified;
        if !self.payee_dies(rng, 100) {
            self.payee_disk.delivered = self.payee.state().delivered;
        }
    }

    fn pay(&mut self, rng: &mut SeededRng, settle: bool) {
        let before = self.payer_disk.signed;
        let voucher = self.payer.poll_voucher(self.now(), settle);
        if voucher.is_none() || self.payer_dies(rng, 30) {
            return;
        }
        self.payer_disk = self.payer.state();
        self.payer_books.post(Posting::VoucherIssued(self.account), self.payer_disk.signed.less(before));
        if self.payer_dies(rng, 30) {
            return;
        }
        self.deliver(voucher, rng, true);
    }

    /// To the payee, and there onto the disk.
    fn deliver(&mut self, voucher: Option<Voucher>, rng: &mut SeededRng, perils: bool) {
        let Some(voucher) = voucher else { return };
        if !perils {
            let more = self.payer.state().signed.less(self.payer_disk.signed);
            self.payer_disk = self.payer.state();
            self.payer_books.post(Posting::VoucherIssued(self.account), more);
        }
        let mut signed = voucher.sign(&Chain::separator(), &self.key);
        self.seen.push(signed);
        if perils && self.payer_kind == PayerKind::Replays && rng.below(3) == 0 {
            signed = *rng.pick(&self.seen).expect("one was just pushed");
            if rng.below(2) == 0 {
                signed.voucher.cumulative = signed.voucher.cumulative.plus(Amount::of(1 << 20));
            }
        }
        // One in twenty is lost on the way.
        if perils && rng.below(20) == 0 {
            return;
        }
        match self.payee.handle_voucher(&signed) {
            Ok(Accepted::Newer { amount }) => {
                if perils && self.payee_dies(rng, 30) {
                    return;
                }
                let cumulative = signed.voucher.cumulative;
                self.payee_disk = self.payee.state();
                self.payee_books.post(Posting::VoucherAccepted(self.key.account()), amount);
                if !(perils && self.payee_dies(rng, 30)) {
                    self.payee.handle_kept(self.now(), cumulative);
                }
            }
            Ok(Accepted::Nothing) => {}
            Err(_) => self.refused += 1,
        }
    }

    /// The payee says what it has, and the payer answers as far as it is right.
    fn agree(&mut self) {
        if self.payer_kind == PayerKind::StopsPaying {
            return;
        }
        let answer = self.payee.answer();
        self.payer.handle_answer(&answer, &self.key.public()).expect("payees here show our own vouchers");
        let recovered = self.payer.state().signed.less(self.payer_disk.signed);
        if self.lost_disk {
            // The books were on the disk too; here they were kept elsewhere, and only the count was lost.
            self.payer_disk = self.payer.state();
            self.lost_disk = recovered.is_zero() && self.payer_disk.signed.is_zero();
        }
    }

    /// The payee looks at its channel, and claims from time to time, or when the payer is leaving.
    fn watch(&mut self, rng: &mut SeededRng, chain: &mut Chain) {
        let leaving = chain.channel(self.key.account(), self.account).thawed_at.is_some();
        if leaving != self.thawing {
            self.thawing = leaving;
            self.view();
        }
        if leaving || rng.below(200) == 0 {
            self.claim(chain);
        }
        let loses = self.payer_kind == PayerKind::LosesDisk && !self.lost_disk && self.now == 700;
        if loses {
            self.crashes += 1;
            self.lost_disk = true;
            self.payer_disk = PayerState::default();
            self.restart_payer();
            self.agree();
        }
    }

    fn claim(&mut self, chain: &mut Chain) {
        let Some(newest) = self.payee_disk.newest else { return };
        if let Some(amount) = chain.claim(&newest) {
            self.payee_books.post(Posting::VoucherClaimed(self.key.account()), amount);
            self.payer_books.post(Posting::VoucherClaimedFromUs(self.account), amount);
        }
        if self.payee_kind == PayeeKind::ClaimsTwice {
            let mut altered = newest;
            altered.voucher.cumulative = newest.voucher.cumulative.plus(Amount::of(1000));
            let refused = [newest, altered].iter().filter(|voucher| chain.claim(voucher).is_none()).count();
            self.refused += u32::try_from(refused).expect("two");
        }
    }

    /// Whether the payer dies here: then it is back from its disk already.
    fn payer_dies(&mut self, rng: &mut SeededRng, one_in: u64) -> bool {
        let dies =
            self.payer_kind == PayerKind::Crashes && self.crashes < CRASHES_MAX && rng.below(one_in) == 0;
        if dies {
            self.crashes += 1;
            self.payer_books.reopen();
            self.restart_payer();
        }
        dies
    }

    fn payee_dies(&mut self, rng: &mut SeededRng, one_in: u64) -> bool {
        let dies =
            self.payee_kind == PayeeKind::Crashes && self.crashes < CRASHES_MAX && rng.below(one_in) == 0;
        if dies {
            self.crashes += 1;
            self.payee_books.reopen();
            self.restart_payee();
        }
        dies
    }

    fn restart_payer(&mut self) {
        self.payer = payer(&self.key, self.account, self.payer_disk);
        self.payer.set_ceiling(self.ceiling);
    }

    fn restart_payee(&mut self) {
        self.payee = payee(&self.key, self.account, self.payee_disk);
        self.view();
    }

    fn view(&mut self) {
        let view = ChannelView { ceiling: self.ceiling, thawing: self.thawing, ..ChannelView::default() };
        self.payee.set_view(view);
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.now * 1_000_000)
    }

    // ── What must hold ──

    pub(super) fn judge(&self, outcome: &mut Outcome) {
        let start = PRICE.cost(START_BYTES);
        let truth = PRICE.cost(self.truth);
        let kept = self.payee_disk.newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        let payee_loss = truth.less(kept);
        let payer_loss = self.payer_disk.signed.less(truth);
        let in_windows = |amount: Amount| amount.units() * 1000 / start.units();
        outcome.payee_loss_permille = outcome.payee_loss_permille.max(in_windows(payee_loss));
        outcome.payer_loss_permille = outcome.payer_loss_permille.max(in_windows(payer_loss));
        let mut broken = |what: String| outcome.violations.push(format!("{self}: {what}"));
        // The window at its widest: it is as wide as what was paid before, at most.
        if payee_loss > Exposure::at(PRICE).window_max() || payee_loss > kept.plus(start) {
            broken(format!("the payee lost {payee_loss}, having been paid {kept}"));
        }
        if payer_loss > start {
            broken(format!("the payer lost {payer_loss} of a start window of {start}"));
        }
    }

    pub(super) fn judge_end(&self, chain: &Chain, outcome: &mut Outcome) {
        outcome.crashes += self.crashes;
        outcome.refused += self.refused;
        let channel = chain.channel(self.key.account(), self.account);
        outcome.claimed += channel.claimed.units();
        let gain = channel.claimed.less(PRICE.cost(self.truth));
        let mut broken = |what: String| outcome.violations.push(format!("{self}: {what}"));
        if self.payee_kind != PayeeKind::Honest && gain > STAKE {
            broken(format!("a lie brought {gain}, and {STAKE} was staked"));
        }
        for books in [&self.payer_books, &self.payee_books] {
            books.ledger.assert_balanced();
        }
        let same = |book: i128, chain: Amount| book == i128::try_from(chain.units()).unwrap_or(-1);
        let earned = self.payee_books.ledger.balance(Book::Free);
        if !same(earned, channel.claimed) || !same(earned, chain.free(self.account)) {
            broken(format!("the payee's books say {earned}, the chain {}", channel.claimed));
        }
        let locked = self.payer_books.ledger.balance(Book::Reserved(self.account))
            + self.payer_books.ledger.balance(Book::Signed(self.account));
        if !same(locked, channel.ceiling.less(channel.claimed)) {
            broken(format!("the payer's books lock {locked}, the chain has {channel:?}"));
        }
        let honest = matches!(self.payer_kind, PayerKind::Honest | PayerKind::Replays)
            && matches!(self.payee_kind, PayeeKind::Honest | PayeeKind::ClaimsTwice);
        if honest && channel.claimed != PRICE.cost(self.truth) {
            broken(format!("{} was claimed of {}", channel.claimed, PRICE.cost(self.truth)));
        }
        let in_stakes = gain.units() * 1000 / STAKE.units();
        outcome.lie_gain_permille = outcome.lie_gain_permille.max(in_stakes);
    }
}

impl core::fmt::Display for Pair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "pair {} ({:?}, {:?})", self.number, self.payer_kind, self.payee_kind)
    }
}

fn payer(key: &AccountKey, payee: Account, state: PayerState) -> Payer {
    let start = PRICE.cost(START_BYTES);
    let mut payer = Payer::new(key.account(), payee, Chain::separator(), start, state);
    payer.set_price(Unit::Bytes, PRICE);
    payer
}

fn payee(key: &AccountKey, account: Account, state: PayeeState) -> Payee {
    let start = PRICE.cost(START_BYTES);
    let mut payee = Payee::new(account, key.account(), Chain::separator(), start, state);
    payee.set_price(Unit::Bytes, PRICE);
    payee
}
