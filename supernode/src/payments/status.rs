//! What an operator sees of payments.

use chain::{Billing, BillingError, EarnerStands, EpochStage, EpochStands, TabsStand};
use gateway::{
    BilledSite, EarnerError, EarnerPayout, EarnerShare, EarnerStatus, EpochStatus, PaidNode, PaymentsStatus,
    TabsStatus,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use shared::{
    base::UnixSeconds,
    economy::Amount,
    identity::{Account, AccountError},
};

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
                tabs: stands.tabs.map(Amount::units),
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
                tabs: stands.tabs.map(|(tally, _)| tally.total().units()),
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

    /// The side that is paid, where tabs are paid by it.
    fn of_tabs(&self) -> Option<&Billing> {
        self.billing.as_deref().filter(|billing| billing.pays_tabs())
    }

    /// What tabs are paid. Reads the disk.
    pub(crate) fn tabs(&self) -> Result<Option<TabsStatus>, String> {
        let Some(billing) = self.of_tabs() else { return Ok(None) };
        let TabsStand { earned, due, accounts, epochs } =
            billing.tabs_stand().map_err(|error| error.to_string())?;
        let epochs = epochs.into_iter().map(|EpochStands { number, stage, total, shares }| EpochStatus {
            number,
            until: expires(stage).map(UnixSeconds),
            total: total.units(),
            shares,
        });
        Ok(Some(TabsStatus { earned: earned.units(), due: due.units(), accounts, epochs: epochs.collect() }))
    }

    /// What an account's tabs earned, and what it needs to claim it. Reads the disk.
    pub(crate) fn earner(&self, account: &str) -> Result<Option<EarnerStatus>, EarnerError> {
        let account: Account =
            account.parse().map_err(|error: AccountError| EarnerError::NoAccount(error.to_string()))?;
        let Some(billing) = self.of_tabs() else { return Ok(None) };
        let failed = |error: BillingError| EarnerError::Failed(error.to_string());
        let EarnerStands { earned, due, shares } = billing.earner(account).map_err(failed)?;
        let payouts = shares.into_iter().map(|(epoch, stage, share)| EarnerPayout {
            chain_id: epoch.chain_id,
            contract: epoch.contract.to_string(),
            payer: epoch.payer.to_string(),
            epoch: epoch.number,
            expires: expires(stage),
            shares: vec![EarnerShare {
                index: share.index,
                account: share.account.to_string(),
                amount: share.amount.to_string(),
                proof: share.proof.iter().map(hex::encode).collect(),
            }],
        });
        Ok(Some(EarnerStatus {
            account: account.to_string(),
            earned: earned.to_string(),
            due: due.to_string(),
            payouts: payouts.collect(),
        }))
    }
}

const fn expires(stage: EpochStage) -> Option<u64> {
    match stage {
        EpochStage::Open { expires } => Some(expires),
        EpochStage::Planned | EpochStage::Closed => None,
    }
}
