//! Frames on streams.

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use links::Stream;
use shared::cdn::offences::Offence;
use shared::wire::{FrameError, FrameReader, write_frame};

/// Read at once from a stream of frames, most of which are far smaller.
const READ_BYTES: usize = 4 * 1024;

/// The reading half of a stream of frames.
pub(super) struct Frames {
    stream: ReadHalf<Stream>,
    frames: FrameReader,
}

impl Frames {
    pub(super) fn new(stream: ReadHalf<Stream>) -> Self {
        Self { stream, frames: FrameReader::default() }
    }

    /// The next frame; nothing at the stream's end, however it came.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Offence> {
        loop {
            match self.frames.poll_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(FrameError::Oversize { .. }) => return Err(Offence::Oversize),
                Err(FrameError::Prefix) => return Err(Offence::Malformed),
            }
            let mut buffer = [0; READ_BYTES];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => self.frames.handle_bytes(&buffer[..read]),
            }
        }
    }
}

/// Writes frames until there are no more to come or the stream ends.
pub(super) async fn write_frames(
    mut frames: futures::channel::mpsc::Receiver<Vec<u8>>,
    mut stream: WriteHalf<Stream>,
) {
    use futures::StreamExt as _;
    while let Some(frame) = frames.next().await {
        if write(&mut stream, &framed(&frame)).await.is_err() {
            return;
        }
    }
    let _ = stream.close().await;
}

/// Writes and flushes.
pub(super) async fn write(stream: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// A message with its length before it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 3);
    write_frame(message, &mut out);
    out
}
