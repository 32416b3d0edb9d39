//! Revocations among nodes: what one of them hears, all hear that trust its issuer, also those that come later.
//!
//! ```text
//!   grant hear ──► revocations/ ──┐                         ┌──► topic   at once where it is new here,
//!   topic ──► issuer? ──► keep ───┴── Repetition: say when? ┘            and again while nobody else says it
//! ```
//!
//! Every node passes on what is well signed by gossip; only who names the issuer in `[storage.issuers]` keeps it and says
//! it again. So a stranger's revocations fill nobody's disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use net::{Gossiped, Network};
use prost::Message as _;
use runtime::grants::{Revoked, revocation_name};
use shared::{
    base::Instant,
    coordination::Repetition,
    identity::{PublicKey, Revocation},
    wire::economy::SignedRevocation,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Where they are told. The version changes with the meaning of a revocation.
const TOPIC: &str = "/blackhole/revocations/1";
/// How often the directory is looked at for what was added beside the node, and how often something may be said.
const LOOK: Duration = Duration::from_secs(2);
/// Said in one look at most: after an outage everything may be due at once.
const SAID_AT_ONCE: usize = 64;

struct Spread {
    network: Weak<Network>,
    revoked: Arc<Revoked>,
    issuers: BTreeSet<PublicKey>,
    repetition: Repetition<OsString>,
    started: std::time::Instant,
}

/// Hears and tells revocations of these issuers until `shutdown`.
///
/// # Errors
/// Where what was revoked cannot be kept, or the network has ended.
pub(crate) async fn spread(
    network: &Arc<Network>,
    data_dir: &Path,
    issuers: &BTreeMap<PublicKey, String>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let heard = network.subscribe(TOPIC).await?;
    let spread = Spread {
        network: Arc::downgrade(network),
        revoked: Arc::new(Revoked::open(data_dir)?),
        issuers: issuers.keys().cloned().collect(),
        repetition: Repetition::new(runtime::random_seed()?),
        started: std::time::Instant::now(),
    };
    Ok(tokio::spawn(async move {
        shutdown.run_until_cancelled(spread.run(heard)).await;
    }))
}

impl Spread {
    async fn run(mut self, mut heard: mpsc::Receiver<Gossiped>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = heard.recv() => {
                    let Some(message) = message else { return };
                    self.hear(&message.bytes).await;
                }
                _ = looks.tick() => self.look().await,
            }
        }
    }

    async fn hear(&mut self, bytes: &[u8]) {
        let Ok(signed) = SignedRevocation::decode(bytes) else { return };
        let name = revocation_name(&signed);
        // What is known by its hash was verified when it came first.
        if !self.repetition.contains(&name) {
            if !Revocation::open(&signed).is_ok_and(|revocation| self.issuers.contains(&revocation.issuer)) {
                return;
            }
            let added = self.blocking(move |revoked| revoked.add(&signed, runtime::unix_now())).await;
            match added {
                Some(Ok(new)) => tracing::debug!(?name, new, "heard a revocation"),
                Some(Err(error)) => return tracing::debug!(%error, "a revocation was not taken"),
                None => return,
            }
        }
        self.repetition.handle_said(self.now(), name);
    }

    /// Says what is due.
    async fn look(&mut self) {
        let now = self.now();
        let Some(names) = self.blocking(|revoked| revoked.statements(runtime::unix_now())).await else {
            return;
        };
        let names: BTreeSet<OsString> = names.into_iter().collect();
        self.repetition.retain(|name| names.contains(name));
        for name in names {
            if !self.repetition.contains(&name) {
                self.repetition.handle_new(now, name);
            }
        }
        for _ in 0..SAID_AT_ONCE {
            let Some(name) = self.repetition.poll_due(now).cloned() else { return };
            let read = {
                let name = name.clone();
                self.blocking(move |revoked| revoked.statement(&name)).await
            };
            let Some(network) = self.network.upgrade() else { return };
            let said = match read {
                Some(Ok(bytes)) => network.publish(TOPIC, bytes).await.map_err(anyhow::Error::from),
                Some(Err(error)) => Err(error.into()),
                None => return,
            };
            match said {
                Ok(()) => self.repetition.handle_said(now, name),
                Err(error) => {
                    tracing::trace!(%error, "a revocation could not be told");
                    self.repetition.handle_unsaid(now, name);
                }
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Revoked) -> T + Send + 'static,
    ) -> Option<T> {
        let revoked = self.revoked.clone();
        tokio::task::spawn_blocking(move || work(&revoked)).await.ok()
    }

    fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }
}
