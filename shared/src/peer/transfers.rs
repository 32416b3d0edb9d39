//! What is under way by plain HTTP, and how the two sources have done.

use core::time::Duration;

use super::HttpSource;
use crate::{
    base::{BlobRoot, EffectId, Instant},
    cdn::{
        blob::{BlobShape, GROUP_BYTES},
        pace::Pace,
        part::{Part, Run},
        spread::STRIPE_GROUPS,
    },
    wire::cdn::GroupRange,
};

/// A fetch that somebody waits for goes without progress at least this long before HTTP repeats what others were
/// asked for: two round trips across a continent, and a busy tab's delay.
const HEDGE_MIN: Duration = Duration::from_millis(300);
/// Nor longer than this, however slow HTTP was.
const HEDGE_MAX: Duration = Duration::from_secs(8);
/// A claimed stripe is waited for at least this long.
const CLAIM_PATIENCE_MIN: Duration = Duration::from_millis(1_500);
/// Under way at least for the only visitor: nobody is there to take anything over, so all that counts is that the
/// line is never idle. A second of 8 Mbit/s.
const SOLE_AHEAD_BYTES: u64 = 1024 * 1024;
/// A source without a byte for this long, on any transfer, and for several times what first bytes took lately, is
/// dead; where others flow, a slow one is only waiting its turn.
const SILENCE_MIN: Duration = Duration::from_secs(4);
/// A source that failed is asked again after this, doubled with each failure in a row.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A source that lied is left alone for as long as a visit lasts.
const LIE_PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Transfer {
    effect: EffectId,
    source: HttpSource,
    root: BlobRoot,
    run: Run,
    asked_at: Instant,
    came_at: Instant,
    bytes_left: u64,
    begun: bool,
    cancelled: bool,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    not_before: Instant,
    came_at: Instant,
}

/// Transfers under way, and how the two sources have done.
#[derive(Debug, Default)]
pub(super) struct Http {
    /// A handful at most.
    transfers: Vec<Transfer>,
    pace: Pace,
    edge: Health,
    origin: Health,
}

impl Http {
    /// How fast both sources together have been.
    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether a source may be asked now.
    pub(super) fn is_askable(&self, now: Instant, source: HttpSource) -> bool {
        self.health(source).not_before <= now
    }

    /// A transfer begins.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        effect: EffectId,
        source: HttpSource,
        root: BlobRoot,
        run: Run,
        shape: BlobShape,
    ) {
        if !self.is_busy() {
            self.pace.begin(now);
        }
        let bytes_left = run.bytes(shape);
        let (asked_at, came_at) = (now, now);
        let transfer = Transfer {
            effect,
            source,
            root,
            run,
            asked_at,
            came_at,
            bytes_left,
            begun: false,
            cancelled: false,
        };
        self.transfers.push(transfer);
    }

    /// A transfer is over, well or not; tells what it was for.
    pub(super) fn end(&mut self, now: Instant, effect: EffectId, failed: bool) -> Option<(BlobRoot, Run)> {
        let place = self.transfers.iter().position(|transfer| transfer.effect == effect)?;
        let transfer = self.transfers.remove(place);
        if failed {
            self.failed(now, transfer.source);
        }
        Some((transfer.root, transfer.run))
    }

    fn transfer(&self, effect: EffectId) -> Option<&Transfer> {
        self.transfers.iter().find(|transfer| transfer.effect == effect)
    }

    /// Whether it was under way and had not been cancelled before.
    pub(super) fn cancel(&mut self, effect: EffectId) -> bool {
        let transfer = self.transfers.iter_mut().find(|transfer| transfer.effect == effect);
        transfer.is_some_and(|transfer| !core::mem::replace(&mut transfer.cancelled, true))
    }

    /// A piece came; tells from where.
    pub(super) fn received(&mut self, now: Instant, effect: EffectId, bytes: u64) -> Option<HttpSource> {
        let transfer = self.transfers.iter_mut().find(|transfer| transfer.effect == effect)?;
        transfer.came_at = now;
        transfer.bytes_left = transfer.bytes_left.saturating_sub(bytes);
        if !core::mem::replace(&mut transfer.begun, true) {
            self.pace.waited(now, now.since(transfer.asked_at));
        }
        self.pace.came(now, bytes);
        let source = transfer.source;
        let health = self.health_mut(source);
        (health.failures, health.came_at) = (0, now);
        Some(source)
    }

    /// The groups of a transfer.
    pub(super) fn part(&self, effect: EffectId) -> Option<Part> {
        self.transfer(effect).map(|transfer| transfer.run.groups())
    }

    /// The source of this transfer sent what does not verify.
    pub(super) fn lied(&mut self, now: Instant, effect: EffectId) {
        if let Some(source) = self.transfer(effect).map(|transfer| transfer.source) {
            self.health_mut(source).not_before = now + LIE_PAUSE;
        }
    }

    /// What is under way of a blob, for neighbours to know.
    pub(super) fn coming(&self, root: &BlobRoot) -> Vec<GroupRange> {
        let under_way =
            self.transfers.iter().filter(|transfer| transfer.root == *root && !transfer.cancelled);
        under_way
            .map(|transfer| GroupRange { first: transfer.run.first, count: transfer.run.count })
            .collect()
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// How long what was asked of HTTP may take before others are asked for it too.
    pub(super) fn patience(&self) -> Duration {
        let usual = self.pace.first_byte().unwrap_or_default();
        (usual * 2).clamp(HEDGE_MIN, HEDGE_MAX)
    }

    /// How long a neighbour's claim is worth waiting for: it stands in the same queue as we do, and passes on
    /// what came.
    pub(super) fn claim_patience(&self) -> Duration {
        (self.patience() * 2).max(CLAIM_PATIENCE_MIN)
    }

    pub(super) fn has_room(&self, now: Instant, transfers_max: usize, sole: bool) -> bool {
        let under_way: u64 = self.transfers.iter().map(|transfer| transfer.bytes_left).sum();
        self.transfers.len() < transfers_max && under_way < self.ahead_bytes(now, sole)
    }

    fn ahead_bytes(&self, now: Instant, sole: bool) -> u64 {
        let ahead = self.pace.ahead_bytes(now);
        if sole { ahead.max(SOLE_AHEAD_BYTES) } else { ahead }
    }

    /// Groups that one request should ask for where nobody shares: half of what may be under way.
    pub(super) fn run_groups(&self, now: Instant, sole: bool) -> u32 {
        u32::try_from(self.ahead_bytes(now, sole) / 2 / GROUP_BYTES).unwrap_or(u32::MAX).max(STRIPE_GROUPS)
    }

    /// Transfers that bring nothing, to be cancelled; their sources have a pause.
    pub(super) fn give_up_silent(&mut self, now: Instant) -> Vec<EffectId> {
        let silent = self.silent(now);
        for (_, source) in &silent {
            self.failed(now, *source);
        }
        silent.into_iter().map(|(effect, _)| effect).filter(|effect| self.cancel(*effect)).collect()
    }

    fn silent(&self, now: Instant) -> Vec<(EffectId, HttpSource)> {
        let bound = (self.patience() * 2).max(SILENCE_MIN);
        let is_silent = |transfer: &Transfer| {
            let heard = self.health(transfer.source).came_at;
            !transfer.cancelled && now.since(transfer.came_at.max(heard)) >= bound
        };
        let silent = self.transfers.iter().filter(|transfer| is_silent(transfer));
        silent.map(|transfer| (transfer.effect, transfer.source)).collect()
    }

    fn failed(&mut self, now: Instant, source: HttpSource) {
        let health = self.health_mut(source);
        health.failures = (health.failures + 1).min(16);
        let pause = FAILURE_PAUSE.saturating_mul(1 << (health.failures - 1)).min(FAILURE_PAUSE_MAX);
        health.not_before = health.not_before.max(now + pause);
    }

    const fn health(&self, source: HttpSource) -> &Health {
        match source {
            HttpSource::Edge => &self.edge,
            HttpSource::Origin => &self.origin,
        }
    }

    fn health_mut(&mut self, source: HttpSource) -> &mut Health {
        match source {
            HttpSource::Edge => &mut self.edge,
            HttpSource::Origin => &mut self.origin,
        }
    }
}
