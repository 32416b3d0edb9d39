//! Messages of a payment on their stream.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use shared::wire::{FrameReader, economy as wire, write_frame};

use wire::payment::Message;

/// A message that takes longer to go out is not read.
const WRITE_WITHIN: Duration = Duration::from_secs(20);
/// Read at once: a bill is some 50 KB.
const READ_BYTES: usize = 16 * 1024;

/// Both directions of a stream.
pub(super) struct Frames {
    stream: links::Stream,
    reader: FrameReader,
    /// Counts what is sent.
    sent: Counter,
}

impl Frames {
    pub(super) fn new(stream: links::Stream, sent: Counter) -> Self {
        Self { stream, reader: FrameReader::default(), sent }
    }

    /// The next message; an error at the stream's end, however it came. Given up in the middle, nothing is lost.
    pub(super) async fn next(&mut self) -> anyhow::Result<Message> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(frame) = self.reader.poll_frame()? {
                let payment = wire::Payment::decode(frame.as_slice())?;
                return payment.message.context("a message of a kind that is not known here");
            }
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                bail!("the stream ended");
            }
            self.reader.handle_bytes(&buffer[..read]);
        }
    }

    /// The next message, within a time.
    pub(super) async fn next_within(&mut self, patience: Duration) -> anyhow::Result<Message> {
        tokio::time::timeout(patience, self.next()).await.context("no answer in time")?
    }

    pub(super) async fn send(&mut self, message: Message) -> anyhow::Result<()> {
        let mut out = Vec::new();
        write_frame(&wire::Payment { message: Some(message) }.encode_to_vec(), &mut out);
        self.sent.inc_by(out.len() as u64);
        let written = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(WRITE_WITHIN, written).await.context("the other side does not read")??;
        Ok(())
    }

    /// Says why it does not go on, where the other side still listens.
    pub(super) async fn refuse(&mut self, refusal: shared::wire::Refusal) {
        let refused = wire::PaymentRefused { refusal: refusal.code() };
        if self.send(Message::Refused(refused)).await.is_ok() {
            let _ = tokio::time::timeout(WRITE_WITHIN, self.stream.close()).await;
        }
    }
}
