//! One request and its answer, on a stream of their own.

use shared::{
    storage::messages::ShardAnswer,
    wire::{split_frame, write_frame},
};

/// Written at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The stream ended too early, stalled, or carries what is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A stream as the tab's network lends it.
pub trait Stream {
    /// The next bytes; none at the end.
    fn read(&mut self) -> impl Future<Output = Result<Vec<u8>, Broken>>;
    /// Sends all of it.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<(), Broken>>;
    /// Nothing more is sent.
    fn close(&mut self) -> impl Future<Output = ()>;
}

/// A stream, and what came of it that nobody has taken yet: at most a read more than was asked for.
pub struct Conversation<S> {
    stream: S,
    pending: Vec<u8>,
}

impl<S: Stream> Conversation<S> {
    /// Nothing was said yet.
    pub const fn new(stream: S) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn frame(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some((frame, whole)) = split_frame(&self.pending).map_err(|_| Broken)? {
                let frame = frame.to_vec();
                self.pending.drain(..whole);
                return Ok(frame);
            }
            self.more().await?;
        }
    }

    /// Exactly so many bytes of payload.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn payload(&mut self, bytes: usize) -> Result<Vec<u8>, Broken> {
        while self.pending.len() < bytes {
            self.more().await?;
        }
        let rest = self.pending.split_off(bytes);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    /// Says the last word: an answer, and payload behind it.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn answer(&mut self, answer: &ShardAnswer, payload: &[u8]) -> Result<(), Broken> {
        self.say(&answer.encode()).await?;
        for piece in payload.chunks(PIECE_BYTES) {
            self.stream.write(piece.to_vec()).await?;
        }
        self.stream.close().await;
        Ok(())
    }

    /// Asks, and hears what is said to it.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Broken> {
        self.say(request).await?;
        self.stream.close().await;
        self.frame().await
    }

    async fn say(&mut self, message: &[u8]) -> Result<(), Broken> {
        let mut frame = Vec::with_capacity(message.len() + 3);
        write_frame(message, &mut frame);
        self.stream.write(frame).await
    }

    async fn more(&mut self) -> Result<(), Broken> {
        let read = self.stream.read().await?;
        if read.is_empty() {
            return Err(Broken);
        }
        self.pending.extend_from_slice(&read);
        Ok(())
    }
}
