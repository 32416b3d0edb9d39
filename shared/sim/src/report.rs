//! How a run went, in figures, as JSON, and as a picture.

use core::fmt::Write as _;

use shared::peer::SourceBytes;

use crate::scenarios::Run;

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seconds from join to completion, ascending, of the tabs that completed.
    pub seconds: Vec<f64>,
    /// Tabs that did not, and were told to take the plain network.
    pub fell_back: usize,
    /// Tabs that wanted the object.
    pub tabs: usize,
    /// Seconds that no distribution can beat: max(size / seed uplink, size / slowest downlink,
    /// tabs · size / all uplinks).
    pub bound_seconds: f64,
    /// Where new, verified payload came from.
    pub sources: SourceBytes,
    /// Payload that infrastructure sent, whatever became of it.
    pub infrastructure: u64,
    /// Payload that was here already, or did not verify.
    pub wasted: u64,
    /// Messages through the supernode for each join.
    pub signals_a_join: f64,
    /// And through other tabs.
    pub neighbour_signals_a_join: f64,
    /// The checksum of everything that happened.
    pub checksum: u64,
    /// What did not hold.
    pub violations: Vec<String>,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Report {
    /// The figures of `run`.
    pub fn of(run: &Run) -> Self {
        let (world, root) = (&run.world, run.blob.root());
        let mut report = Self { tabs: run.tabs.len(), checksum: world.checksum(), ..Self::default() };
        let size = run.blob.shape().size() as f64;
        let seed = world.node(run.supernode).plan.up as f64;
        let sent = &world.node(run.supernode).tally;
        report.infrastructure = sent.sent + sent.http_sent;
        let (mut uplinks, mut slowest, mut signals) = (seed, f64::MAX, (0, 0));
        for tab in run.tabs.iter().map(|id| world.node(*id)) {
            uplinks += tab.plan.up as f64;
            slowest = slowest.min(tab.plan.down as f64);
            signals.0 += tab.tally.signals;
            signals.1 += tab.tally.neighbour_signals;
            let received = tab.tally.received;
            report.sources.peers += received.peers;
            report.sources.supernodes += received.supernodes;
            report.sources.edge += received.edge;
            report.sources.origin += received.origin;
            report.wasted += tab.tally.again + tab.tally.bad;
            let done = tab.tally.completed.get(&root);
            report.fell_back += usize::from(done.is_none() && tab.fell_back());
            if let (Some(joined), Some(done)) = (tab.tally.joined, done) {
                report.seconds.push(done.since(joined).as_secs_f64());
            }
        }
        report.seconds.sort_by(f64::total_cmp);
        let count = run.tabs.len() as f64;
        report.bound_seconds = (size / seed).max(size / slowest).max(count * size / uplinks);
        report.signals_a_join = signals.0 as f64 / count.max(1.0);
        report.neighbour_signals_a_join = signals.1 as f64 / count.max(1.0);
        report.violations = world.violations.iter().map(ToString::to_string).collect();
        report
    }

    /// One less what infrastructure sent, as a share of what was of use.
    pub fn offload(&self) -> f64 {
        1.0 - self.infrastructure as f64 / (self.sources.total() as f64).max(1.0)
    }

    /// The time within which that share of the completed tabs was done.
    pub fn quantile(&self, share: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
        let place = (self.seconds.len().saturating_sub(1) as f64 * share).round() as usize;
        self.seconds.get(place).copied().unwrap_or(f64::NAN)
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() };
        let violations: Vec<_> = self.violations.iter().map(|text| format!("{text:?}")).collect();
        format!(
            "{{\"tabs\":{},\"completed\":{},\"fell_back\":{},\"offload\":{},\"bound_seconds\":{},\"p50_seconds\":{},\
             \"p95_seconds\":{},\"signals_a_join\":{},\"neighbour_signals_a_join\":{},\"peer_bytes\":{},\"supernode_bytes\":{},\
             \"http_bytes\":{},\"infrastructure_bytes\":{},\"wasted_bytes\":{},\"checksum\":\"{:016x}\",\"violations\":[{}]}}",
            self.tabs,
            self.seconds.len(),
            self.fell_back,
            number(self.offload()),
            number(self.bound_seconds),
            number(self.quantile(0.5)),
            number(self.quantile(0.95)),
            number(self.signals_a_join),
            number(self.neighbour_signals_a_join),
            self.sources.peers,
            self.sources.supernodes,
            self.sources.edge + self.sources.origin,
            self.infrastructure,
            self.wasted,
            self.checksum,
            violations.join(",")
        )
    }

    /// The share of tabs done over time, beside the bound.
    pub fn svg(&self, title: &str) -> String {
        let (width, height, left, top) = (640.0, 320.0, 50.0, 40.0);
        let last = self.quantile(1.0).max(self.bound_seconds).max(0.001) * 1.05;
        let x = |seconds: f64| left + width * seconds / last;
        let y = |share: f64| top + height * (1.0 - share);
        let mut line = format!("{:.1},{:.1}", x(0.0), y(0.0));
        for (index, seconds) in self.seconds.iter().enumerate() {
            let share = |count: usize| count as f64 / self.tabs.max(1) as f64;
            let (before, after) = (y(share(index)), y(share(index + 1)));
            let _ = write!(line, " {:.1},{before:.1} {:.1},{after:.1}", x(*seconds), x(*seconds));
        }
        let bound = x(self.bound_seconds);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"420\" font-family=\"sans-serif\" \
             font-size=\"13\"><rect width=\"720\" height=\"420\" fill=\"#fff\"/><text x=\"50\" y=\"24\">{title}: \
             offload {:.1} %, p50 {:.1} s, p95 {:.1} s</text><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" \
             height=\"{height}\" fill=\"none\" stroke=\"#999\"/><line x1=\"{bound:.1}\" x2=\"{bound:.1}\" \
             y1=\"{top}\" y2=\"360\" stroke=\"#c33\" stroke-dasharray=\"4\"/><polyline fill=\"none\" \
             stroke=\"#06c\" stroke-width=\"2\" points=\"{line}\"/><text x=\"50\" y=\"380\">share of tabs \
             complete, 0 to {last:.1} s after joining; dashed: lower bound {:.1} s</text></svg>",
            100.0 * self.offload(),
            self.quantile(0.5),
            self.quantile(0.95),
            self.bound_seconds
        )
    }
}
