//! What an operator sees of payments.

use gateway::{BilledSite, PaidNode, PaymentsStatus};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use shared::economy::Amount;

use super::Payments;

/// `site` is one that this node's operator or its publisher configured, so labels stay few.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    direction: &'static str,
    site: String,
    figure: &'static str,
}

/// The gauges are brought up to date by each look at the status.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    base_units: Family<Label, Gauge>,
    served: Family<Label, Gauge>,
    /// What being paid costs the line.
    pub(super) evidence_bytes: Counter,
}

impl Meters {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let ours = registry.sub_registry_with_prefix("blackhole_payments");
        ours.register(
            "base_units",
            "What is paid for sites, by vouchers, in base units of the token",
            meters.base_units.clone(),
        );
        ours.register(
            "served",
            "1 where a site is served, 0 where it is not paid for",
            meters.served.clone(),
        );
        ours.register(
            "evidence_bytes",
            "Receipts that came, and bills and answers to them that went out, since the start",
            meters.evidence_bytes.clone(),
        );
        meters
    }

    fn observe(&self, status: &PaymentsStatus) {
        let set = |direction, site: &String, figures: &[(&'static str, u128)]| {
            for (figure, units) in figures {
                let label = Label { direction, site: site.clone(), figure };
                self.base_units.get_or_create(&label).set(i64::try_from(*units).unwrap_or(i64::MAX));
            }
        };
        for site in &status.billed {
            let BilledSite { id, total, paid, owed, window, .. } = site;
            set("in", id, &[("total", *total), ("paid", *paid), ("owed", *owed), ("window", *window)]);
            let label = Label { direction: "in", site: id.clone(), figure: "served" };
            self.served.get_or_create(&label).set(site.served.into());
        }
        for node in &status.paying {
            let PaidNode { site, total, signed, owed, today, .. } = node;
            set("out", site, &[("total", *total), ("paid", *signed), ("owed", *owed), ("today", *today)]);
        }
    }
}

impl Payments {
    /// How it stands now. Brings the meters up to date.
    pub(crate) fn status(&self) -> PaymentsStatus {
        let billed = self.billing.iter().flat_map(|billing| {
            billing.stands().into_iter().map(|stands| BilledSite {
                served: !billing.is_overdue(stands.site),
                id: stands.site.to_string(),
                name: stands.agreement.site,
                node: stands.agreement.node.to_string(),
                payer: stands.agreement.payer.to_string(),
                until: stands.agreement.expires,
                signed_bytes: stands.tally.bytes,
                unbilled_bytes: stands.unbilled,
                total: stands.payer.total.units(),
                paid: stands.payer.paid.units(),
                owed: stands.payer.owed.units(),
                window: stands.payer.window.units(),
            })
        });
        let paying = self.paying.iter().flat_map(|paying| {
            paying.stands().into_iter().map(|stands| PaidNode {
                site: stands.site.to_string(),
                node: stands.node.to_string(),
                payee: stands.payee.to_string(),
                verified_bytes: stands.tally.bytes,
                total: stands.channel.total.units(),
                signed: stands.channel.paid.units(),
                owed: stands.channel.owed.units(),
                today: Amount::units(stands.day.amount),
            })
        });
        let status = PaymentsStatus { billed: billed.collect(), paying: paying.collect() };
        self.meters.observe(&status);
        status
    }
}
