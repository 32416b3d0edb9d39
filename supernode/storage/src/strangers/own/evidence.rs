//! Evidence: what is kept against holders, and who is told; and what holders are told of how they stand.

use std::sync::Arc;

use rand::seq::IteratorRandom as _;
use runtime::unix_now;
use serde::{Deserialize, Serialize};
use shared::{
    identity::PublicKey,
    storage::{
        holders::FailedAudit,
        messages::Ask,
        proof::{Opinion, Transcript, Verdict},
    },
};

use super::{Own, blocking};

/// Holders that are told who was convicted; each tells whoever asks.
const TOLD: usize = 8;

/// An account of a failed audit, as a listing shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// Who was asked.
    pub holder: String,
    /// The shard's root: all that a checker has to know of it.
    pub root: String,
    /// How the audit ended.
    pub verdict: String,
    /// When, in seconds since 1970.
    pub observed_unix: u64,
    /// Whether the holder's own signature convicts it.
    pub convicts: bool,
    /// Whether the holder signed that it lost the shard. Of the rest there is the auditor's word.
    pub admits: bool,
    /// The signed account, in hexadecimal: what `blackhole storage check-evidence` reads.
    pub account: String,
}

impl Evidence {
    /// Reads a signed account, and checks what it says.
    ///
    /// # Errors
    /// Where it is none, or does not show what it says.
    pub fn read(signed: &[u8]) -> anyhow::Result<Self> {
        let account = FailedAudit::open(signed)?;
        Ok(Self {
            holder: account.transcript.challenge.holder.to_string(),
            root: account.transcript.challenge.root.to_string(),
            verdict: format!("{:?}", account.transcript.verdict),
            observed_unix: account.observed.0,
            convicts: account.convicts(),
            admits: account.transcript.admits(),
            account: hex::encode(signed),
        })
    }

    /// What the account itself says, whatever is told beside it.
    ///
    /// # Errors
    /// As of [`Evidence::read`].
    pub fn checked(&self) -> anyhow::Result<Self> {
        Self::read(&hex::decode(&self.account)?)
    }
}

impl Own {
    /// All accounts of failed audits that are kept, oldest first.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub async fn evidence(&self) -> anyhow::Result<Vec<Evidence>> {
        let catalog = self.catalog.clone();
        let accounts = blocking(move || catalog.evidence()).await?;
        accounts.iter().map(|signed| Evidence::read(signed)).collect()
    }

    /// Signs an account of a failed audit, keeps it, and tells the holder, which may know better than we what became of
    /// its disk. What convicts it by its own signature is told to others too.
    pub(super) async fn keep_evidence(self: &Arc<Self>, transcript: Transcript) {
        let account = FailedAudit { auditor: self.key.public(), transcript, observed: unix_now() };
        let signed = account.sign(&self.key);
        let (catalog, row) = (self.catalog.clone(), signed.clone());
        if let Err(error) = blocking(move || catalog.put_evidence(&row)).await {
            tracing::warn!(%error, "a failed audit could not be kept");
        }
        if account.transcript.verdict == Verdict::Silent {
            return;
        }
        let accused = account.transcript.challenge.holder.clone();
        let mut told = vec![accused.clone()];
        if self.heard.hear_account(&account, &signed) {
            let others: Vec<PublicKey> = self.holders().into_iter().map(|holder| holder.node).collect();
            let others = others.into_iter().filter(|node| *node != accused);
            told.extend(others.choose_multiple(&mut rand::rng(), TOLD));
        }
        let own = Arc::clone(self);
        tokio::spawn(async move {
            // Fails for none but who is shutting down.
            let Ok(_place) = own.telling.acquire().await else { return };
            for holder in told {
                let ask = Ask::Evidence { account: Box::new(account.clone()), signed: signed.clone() };
                if let Err(error) = own.ask(&holder, ask, None).await {
                    tracing::debug!(%holder, %error, "a holder was not told of a failed audit");
                }
            }
        });
    }

    /// Tells a holder what we think of it, where no question follows that would say so. Who cannot be reached hears it
    /// with the next question, or when it says again that it is there.
    pub(super) fn tell_opinion(self: &Arc<Self>, holder: PublicKey, opinion: Opinion) {
        let own = Arc::clone(self);
        tokio::spawn(async move {
            // Fails for none but who is shutting down.
            let Ok(_place) = own.telling.acquire().await else { return };
            if let Err(error) = own.ask(&holder, Ask::Opinion(opinion), None).await {
                tracing::debug!(%holder, %error, "a holder was not told what is thought of it");
            }
        });
    }

    /// What convicted holders before this process began is passed on again.
    pub(super) fn recall_evidence(&self, accounts: &[Vec<u8>]) {
        for signed in accounts {
            if let Ok(account) = FailedAudit::open(signed) {
                self.heard.hear_account(&account, signed);
            }
        }
    }
}
