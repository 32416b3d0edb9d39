//! The task between the links, which wait for nobody, and the disk.

use std::time::Duration;

use shared::{identity::PublicKey, wire::cdn::SignedReceipt};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{Earnings, EarningsError};

/// News that wait: those of a busy second.
const NEWS_MAX: usize = 8192;
/// How often they are written: what a kill may lose of what was signed for.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What a link has to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A receiver signed for more.
    Receipt {
        /// Which of our sessions.
        session: u64,
        /// Payload bytes that it was sent so far.
        sent: u64,
        /// What the HTTP edge gave it, as far as it is believed.
        edge: u64,
        /// What it signed.
        receipt: SignedReceipt,
    },
    /// A session is over.
    Ended {
        /// With whom.
        receiver: PublicKey,
        /// Which.
        session: u64,
        /// Payload bytes that it was sent in all.
        sent: u64,
    },
}

/// Tells the recorder, without waiting.
#[derive(Clone, Debug)]
pub struct Teller {
    news: mpsc::Sender<News>,
    earnings: Earnings,
}

impl Teller {
    /// Tells. Where there is no room a receipt is lost; the next of its session says more.
    pub fn tell(&self, news: News) {
        if let Err(TrySendError::Full(_)) = self.news.try_send(news) {
            self.earnings.lose(1);
        }
    }
}

/// Takes news for `earnings`, to be run until `shutdown`; then all is booked.
pub fn recorder(
    earnings: &Earnings,
    shutdown: CancellationToken,
) -> (Teller, impl Future<Output = ()> + Send + 'static) {
    let (news, inbox) = mpsc::channel(NEWS_MAX);
    (Teller { news, earnings: earnings.clone() }, run(earnings.clone(), inbox, shutdown))
}

async fn run(earnings: Earnings, mut inbox: mpsc::Receiver<News>, shutdown: CancellationToken) {
    let mut write_due = time::interval(WRITE_EVERY);
    write_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let book_every = Duration::from_secs(earnings.book_seconds());
    let mut booked = time::Instant::now();
    loop {
        let running = shutdown.run_until_cancelled(write_due.tick()).await.is_some();
        let book = booked.elapsed() >= book_every;
        if book {
            booked = time::Instant::now();
        }
        if let Err(error) = write(&earnings, &mut inbox, book, !running).await {
            // What is in memory may be ahead of the disk: nothing more is taken until the node starts anew.
            tracing::error!(%error, "what was served is counted no more");
            return shutdown.cancelled().await;
        }
        if !running {
            return;
        }
    }
}

async fn write(
    earnings: &Earnings,
    inbox: &mut mpsc::Receiver<News>,
    book: bool,
    end: bool,
) -> Result<(), EarningsError> {
    let mut news = Vec::new();
    while let Ok(some) = inbox.try_recv() {
        news.push(some);
    }
    if news.is_empty() && !book && !end {
        return Ok(());
    }
    let earnings = earnings.clone();
    let written = tokio::task::spawn_blocking(move || {
        let now = runtime::unix_now();
        earnings.handle_news(now, news)?;
        if end {
            earnings.end_all(now)?;
        } else if book {
            earnings.book(now)?;
        }
        Ok(())
    });
    written.await.unwrap_or(Err(EarningsError::Failed))
}
