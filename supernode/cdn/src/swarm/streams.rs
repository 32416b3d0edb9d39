//! Opening, accepting, reading and writing streams. Nothing here decides; all is reported.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{
    AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _,
    io::{ReadHalf, WriteHalf},
};
use links::StreamProtocol;
use shared::{
    base::{EffectId, LinkId},
    cdn::{
        bulk::{PROTOCOL, StreamKind, open_frame, read_open},
        offences::Offence,
    },
    peer::{Done, Stream},
    wire::{FrameError, FrameReader, write_frame},
};
use tokio::sync::mpsc;

use super::{OPEN_TIMEOUT, WRITE_TIMEOUT};

/// Read at once from a stream that carries frames. Most are far smaller.
const READ_BYTES: usize = 4 * 1024;

/// What a task tells the driver.
pub(super) enum Report {
    /// A stream is open, its first frame exchanged.
    Opened(LinkId, StreamKind, Opened),
    /// A frame came.
    Frame(LinkId, Stream, Vec<u8>),
    /// A stream broke its framing.
    Offence(LinkId, Offence),
    /// The control stream ended: without it a link says nothing.
    ControlEnded(LinkId),
    /// A `Serve` is over.
    Done(EffectId, Done),
}

/// A stream whose first frame was exchanged.
pub(super) struct Opened {
    pub(super) reader: Frames,
    pub(super) writer: WriteHalf<links::Stream>,
}

/// Reads frames.
pub(super) struct Frames {
    stream: ReadHalf<links::Stream>,
    frames: FrameReader,
}

impl Frames {
    /// The next frame; nothing at the stream's end, however it came.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Offence> {
        loop {
            match self.frames.poll_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(FrameError::Oversize { .. }) => return Err(Offence::Oversize),
                Err(FrameError::Prefix) => return Err(Offence::Malformed),
            }
            if !poll_fn(|context| self.poll_read(context)).await {
                return Ok(None);
            }
        }
    }

    /// Reads what there is; false at the stream's end. The buffer is on the stack of one poll, and not in the
    /// state of a task: thousands of those wait here.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut buffer = [0; READ_BYTES];
        match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
            Ok(0) | Err(_) => Poll::Ready(false),
            Ok(read) => {
                self.frames.handle_bytes(&buffer[..read]);
                Poll::Ready(true)
            }
        }
    }
}

/// Takes a stream that the remote opened.
pub(super) async fn accept(link: LinkId, stream: links::Stream, reports: mpsc::Sender<Report>) {
    let (stream, writer) = stream.split();
    let mut reader = Frames { stream, frames: FrameReader::default() };
    let first = tokio::time::timeout(OPEN_TIMEOUT, reader.next()).await;
    let report = match first {
        Ok(Ok(Some(frame))) => match read_open(&frame) {
            Ok(kind) => Report::Opened(link, kind, Opened { reader, writer }),
            Err(offence) => Report::Offence(link, offence),
        },
        Ok(Err(offence)) => Report::Offence(link, offence),
        // A stream that ends or says nothing is dropped; the core hears of links, not of attempts.
        Ok(Ok(None)) | Err(_) => return,
    };
    let _ = reports.send(report).await;
}

/// Opens the control stream of a link that we dialled.
pub(super) async fn open_control(link: LinkId, links: links::Control, reports: mpsc::Sender<Report>) {
    let opened = links.open(links::LinkId::from_u64(link.0), StreamProtocol::new(PROTOCOL)).await;
    let stream = match opened {
        Ok(stream) => stream,
        // Most of libp2p's nodes do not speak our protocol, and need not.
        Err(error) => return tracing::debug!(%link, %error, "no control stream"),
    };
    let (stream, mut writer) = stream.split();
    if write(&mut writer, &open_frame(StreamKind::Control)).await {
        let opened = Opened { reader: Frames { stream, frames: FrameReader::default() }, writer };
        let _ = reports.send(Report::Opened(link, StreamKind::Control, opened)).await;
    }
}

/// Reports the frames of a stream until it ends.
pub(super) async fn read_frames(
    link: LinkId,
    which: Stream,
    mut reader: Frames,
    reports: mpsc::Sender<Report>,
) {
    loop {
        let report = match reader.next().await {
            Ok(Some(frame)) => Report::Frame(link, which, frame),
            Ok(None) => break,
            Err(offence) => {
                let _ = reports.send(Report::Offence(link, offence)).await;
                break;
            }
        };
        if reports.send(report).await.is_err() {
            return;
        }
    }
    if which == Stream::Control {
        let _ = reports.send(Report::ControlEnded(link)).await;
    }
}

/// Writes control frames until there are no more senders.
pub(super) async fn write_frames(mut frames: mpsc::Receiver<Vec<u8>>, mut writer: WriteHalf<links::Stream>) {
    let mut out = Vec::new();
    while let Some(frame) = frames.recv().await {
        out.clear();
        write_frame(&frame, &mut out);
        if !write(&mut writer, &out).await {
            return;
        }
    }
    let _ = tokio::time::timeout(WRITE_TIMEOUT, writer.close()).await;
}

/// Writes all of it; false where the stream is dead.
pub(super) async fn write(writer: &mut WriteHalf<links::Stream>, bytes: &[u8]) -> bool {
    let written = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    matches!(tokio::time::timeout(WRITE_TIMEOUT, written).await, Ok(Ok(())))
}
