//! What stands below and above TLS, so that it moves bytes by the 64 KiB: rustls reads 4 KiB at a time, and writes to the
//! socket whatever it is given at once, be it the twelve bytes of a frame's head. Neither keeps memory for a quiet peer.

use std::{
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

/// Four of TLS's records.
const BUFFER_BYTES: usize = 64 * 1024;

/// Who brought as much brings more soon, and the buffer stays. Whoever falls quiet is pinged, and answers with less.
const KEPT_FROM_BYTES: usize = 8 * 1024;

/// Reads as much as there is, and hands it out in smaller pieces.
pub(crate) struct ReadAhead<Socket> {
    socket: Socket,
    /// Empty where nothing is to be read, and the last that was read was little.
    buffer: Vec<u8>,
    /// What of the last read was not handed out yet.
    left: Range<usize>,
}

impl<Socket> ReadAhead<Socket> {
    pub(super) const fn new(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new(), left: 0..0 }
    }
}

impl<Socket: AsyncRead + Unpin> AsyncRead for ReadAhead<Socket> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.left.is_empty() {
            if into.len() >= BUFFER_BYTES {
                return Pin::new(&mut this.socket).poll_read(context, into);
            }
            this.buffer.resize(BUFFER_BYTES, 0);
            let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(context, &mut this.buffer) else {
                if this.left.end < KEPT_FROM_BYTES {
                    this.buffer = Vec::new();
                }
                return Poll::Pending;
            };
            this.left = 0..read?;
        }
        let taken = this.left.len().min(into.len());
        into[..taken].copy_from_slice(&this.buffer[this.left.start..this.left.start + taken]);
        this.left.start += taken;
        Poll::Ready(Ok(taken))
    }
}

impl<Socket: AsyncWrite + Unpin> AsyncWrite for ReadAhead<Socket> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

/// Writes once much has come together, or when it is told to flush.
pub(crate) struct Gathered<Stream> {
    stream: Stream,
    /// Less than [`BUFFER_BYTES`], and what of it was written in part.
    buffer: Vec<u8>,
    /// How much of it is written.
    written: usize,
}

impl<Stream> Gathered<Stream> {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), written: 0 }
    }

    #[cfg(test)]
    pub(super) const fn get_ref(&self) -> &Stream {
        &self.stream
    }
}

impl<Stream: AsyncWrite + Unpin> Gathered<Stream> {
    /// Writes something of what is held and of `bytes` behind it, which are not copied for that. Returns how many of `bytes`
    /// that were.
    fn poll_some(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let held = &self.buffer[self.written..];
        let pieces = [IoSlice::new(held), IoSlice::new(bytes)];
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &pieces))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let behind = written.checked_sub(held.len());
        match behind {
            Some(_) => {
                self.buffer.clear();
                self.written = 0;
            }
            None => self.written += written,
        }
        Poll::Ready(Ok(behind.unwrap_or(0)))
    }

    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            ready!(self.poll_some(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Gathered<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.buffer.len() - this.written + bytes.len() >= BUFFER_BYTES {
            let taken = ready!(this.poll_some(context, bytes))?;
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        this.buffer.drain(..this.written);
        this.written = 0;
        this.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(context))?;
        self.buffer = Vec::new();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(context))?;
        Pin::new(&mut self.stream).poll_close(context)
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Gathered<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::poll_fn,
        sync::{Arc, Mutex},
    };

    use futures::{AsyncReadExt as _, AsyncWriteExt as _};
    use shared::base::SeededRng;

    use super::*;

    fn below(rng: &mut SeededRng, bound: usize) -> usize {
        usize::try_from(rng.below(bound as u64)).unwrap()
    }

    /// A socket that takes and gives a few bytes at a time, at random, and often nothing for now.
    struct Moody {
        rng: SeededRng,
        input: VecDeque<u8>,
        /// What was written, and the length of each write.
        output: Arc<Mutex<(Vec<u8>, Vec<usize>)>>,
        most: usize,
    }

    impl Moody {
        fn new(seed: u64, most: usize, input: &[u8]) -> Self {
            let rng = SeededRng::from_number(seed);
            Self { rng, input: input.iter().copied().collect(), output: Arc::default(), most }
        }

        fn some(&mut self, context: &Context<'_>, most: usize) -> Option<usize> {
            if self.rng.below(3) == 0 {
                context.waker().wake_by_ref();
                return None;
            }
            let some = 1 + below(&mut self.rng, self.most);
            Some(some.min(most))
        }
    }

    impl AsyncRead for Moody {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let most = into.len().min(self.input.len());
            let Some(count) = self.some(context, most) else { return Poll::Pending };
            into.iter_mut().zip(self.input.drain(..count)).for_each(|(place, byte)| *place = byte);
            Poll::Ready(Ok(count))
        }
    }

    impl AsyncWrite for Moody {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
            let Some(count) = self.some(context, all.len()) else { return Poll::Pending };
            let mut output = self.output.lock().unwrap();
            output.0.extend(&all[..count]);
            output.1.push(count);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_comes_out_in_order_and_is_all_out_after_a_flush() {
        for seed in 0..40 {
            let mut rng = SeededRng::from_number(seed);
            let moody = Moody::new(seed, if seed % 2 == 0 { 10 } else { 100_000 }, &[]);
            let output = Arc::clone(&moody.output);
            let (mut gathered, mut expected) = (Gathered::new(moody), Vec::new());
            for number in 0..60_u8 {
                let length = [0, 1, 12, 5000, 65_524, 65_536, 200_000][below(&mut rng, 7)];
                let length = if seed % 2 == 0 { length / 64 } else { length };
                expected.extend(std::iter::repeat_n(number, length));
                gathered.write_all(&vec![number; length]).await.unwrap();
                assert!(gathered.buffer.len() - gathered.written < BUFFER_BYTES);
                if rng.below(4) == 0 {
                    gathered.flush().await.unwrap();
                    assert!(output.lock().unwrap().0 == expected, "seed {seed}");
                    assert_eq!(gathered.buffer.capacity(), 0, "nothing is kept for a quiet peer");
                }
            }
            gathered.close().await.unwrap();
            assert!(output.lock().unwrap().0 == expected, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn small_writes_go_out_together_and_a_large_one_goes_with_them() {
        let mut moody = Moody::new(1, 1, &[]);
        moody.most = 1 << 40;
        let output = Arc::clone(&moody.output);
        let mut gathered = Gathered::new(moody);
        for _ in 0..10 {
            gathered.write_all(&[1; 12]).await.unwrap();
        }
        assert!(output.lock().unwrap().1.is_empty());
        gathered.write_all(&[2; BUFFER_BYTES]).await.unwrap();
        gathered.flush().await.unwrap();
        let output = output.lock().unwrap();
        assert_eq!(output.0.len(), 120 + BUFFER_BYTES);
        assert!(output.1.len() < 10, "{:?}", output.1);
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_handed_out_in_order_and_kept_no_longer() {
        let input: Vec<u8> = (0..500_000_u32).map(|at| (at % 251) as u8).collect();
        for most in [7, 4096, 100_000] {
            let mut ahead = ReadAhead::new(Moody::new(7, most, &input));
            let (mut read, mut rng) = (Vec::<u8>::new(), SeededRng::from_number(7));
            while read.len() < input.len() {
                let mut buffer = vec![0; 1 + below(&mut rng, if most == 7 { 10_000 } else { 80_000 })];
                let count = ahead.read(&mut buffer).await.unwrap();
                assert!(count > 0);
                read.extend(&buffer[..count]);
            }
            assert!(read == input);
            // A little more, and then nothing for now.
            ahead.socket.input.extend([1; 10]);
            ahead.read_exact(&mut [0; 10]).await.unwrap();
            poll_fn(|context| {
                while Pin::new(&mut ahead).poll_read(context, &mut [0; 10]).is_ready() {}
                Poll::Ready(())
            })
            .await;
            assert_eq!(ahead.buffer.capacity(), 0);
        }
    }
}
