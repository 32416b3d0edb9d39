//! A stream of bytes over a WebSocket, without a buffer of its own.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

use super::frames::{self, Header, Inbound};

/// A browser hands a message to its page only when all of it is there. Twice what Noise makes of a full frame.
const FRAME_BYTES_MAX: usize = 128 * 1024;

/// The server's end of a WebSocket. It is read and written by one task, as a muxer does: what a read has to
/// answer wakes the reader when there is room for it.
pub(crate) struct WebSocket<S> {
    socket: S,
    inbound: Inbound,
    /// What of a started header is still to be written.
    header: Header,
    /// What the frame under way has still to carry.
    payload_left: usize,
    /// A frame of the protocol itself, which waits until no other frame is under way.
    control: Vec<u8>,
    control_written: usize,
    control_flushed: bool,
    said_close: bool,
}

impl<S> WebSocket<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            inbound: Inbound::default(),
            header: Header::default(),
            payload_left: 0,
            control: Vec::new(),
            control_written: 0,
            control_flushed: true,
            said_close: false,
        }
    }

    fn is_between_frames(&self) -> bool {
        self.header.rest().is_empty() && self.payload_left == 0
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Writes what the protocol itself has to say, unless a frame is under way: then it follows that frame.
    fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_between_frames() {
            if self.control_written < self.control.len() {
                let rest = &self.control[self.control_written..];
                self.control_written += taken(ready!(Pin::new(&mut self.socket).poll_write(context, rest))?)?;
                self.control_flushed = false;
            } else if let Some(answer) = self.inbound.poll_answer() {
                self.say(answer);
            } else if !self.control_flushed {
                ready!(Pin::new(&mut self.socket).poll_flush(context))?;
                self.control = Vec::new();
                self.control_written = 0;
                self.control_flushed = true;
            } else {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn say(&mut self, frame: Vec<u8>) {
        self.said_close |= self.inbound.is_closed();
        (self.control, self.control_written) = (frame, 0);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            // Whether it was all written does not matter to the reader, who is woken to come here again.
            if let Poll::Ready(written) = this.poll_control(context) {
                written?;
            }
            if this.inbound.is_closed() {
                return Poll::Ready(Ok(0));
            }
            let read = ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            let kept = this.inbound.handle_bytes(&mut buffer[..read]).map_err(invalid)?;
            // A read may bring nothing but a header or a ping, which is not the stream's end.
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_control(context))?;
        if this.said_close {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        loop {
            if this.is_between_frames() {
                this.payload_left = buffer.len().min(FRAME_BYTES_MAX);
                this.header = Header::data(this.payload_left);
            }
            let payload = &buffer[..buffer.len().min(this.payload_left)];
            let both = [IoSlice::new(this.header.rest()), IoSlice::new(payload)];
            let socket = Pin::new(&mut this.socket);
            let written = if this.header.rest().is_empty() {
                socket.poll_write(context, payload)
            } else {
                socket.poll_write_vectored(context, &both)
            };
            if written.is_pending() && !this.header.rest().is_empty() && this.header.is_untouched() {
                // The next attempt may bring another length.
                this.header = Header::default();
                this.payload_left = 0;
            }
            let written = taken(ready!(written)?)?;
            let of_header = written.min(this.header.rest().len());
            this.header.handle_written(of_header);
            this.payload_left -= written - of_header;
            if written > of_header {
                return Poll::Ready(Ok(written - of_header));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(context))?;
        if this.is_between_frames() && !this.said_close {
            this.said_close = true;
            this.control = frames::close();
            this.control_written = 0;
            ready!(this.poll_control(context))?;
        }
        Pin::new(&mut this.socket).poll_close(context)
    }
}

/// A socket that takes nothing would be asked for ever.
fn taken(bytes: usize) -> io::Result<usize> {
    if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(bytes) }
}

fn invalid(violation: frames::Violation) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, violation)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// A socket that takes few bytes at a time, and every other time none.
    #[derive(Default)]
    struct Narrow {
        width: usize,
        busy: bool,
        incoming: Vec<u8>,
        outgoing: Vec<u8>,
    }

    impl AsyncRead for Narrow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if self.incoming.is_empty() {
                return Poll::Pending;
            }
            let read = self.width.min(buffer.len()).min(self.incoming.len());
            buffer[..read].copy_from_slice(&self.incoming[..read]);
            self.incoming.drain(..read);
            Poll::Ready(Ok(read))
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.busy = !self.busy;
            if self.busy {
                return Poll::Pending;
            }
            let written = self.width.min(bytes.len());
            self.outgoing.extend_from_slice(&bytes[..written]);
            Poll::Ready(Ok(written))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A server's frames: the bytes of the stream, and the kinds of the others.
    fn read_frames(mut wire: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut others) = (Vec::new(), Vec::new());
        while let [first, length, rest @ ..] = wire {
            let (length, rest) = match *length {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                short => (usize::from(short), rest),
            };
            if *first == 0x82 {
                data.extend_from_slice(&rest[..length]);
            } else {
                others.push(*first);
            }
            wire = &rest[length..];
        }
        (data, others)
    }

    proptest! {
        #[test]
        fn answers_stand_between_frames_however_narrow_the_socket(
            writes in prop::collection::vec(1_usize..400, 1..6),
            width in 1_usize..200,
        ) {
            let mut context = Context::from_waker(Waker::noop());
            let mut socket = WebSocket::new(Narrow { width, ..Narrow::default() });
            let mut sent = Vec::new();
            for (number, length) in (0..).zip(&writes) {
                // A ping without a mask to speak of, which is read while frames are under way.
                socket.socket.incoming.extend([0x89, 0x81, 0, 0, 0, 0, b'?']);
                let bytes = vec![number; *length];
                let mut written = 0;
                while written < bytes.len() {
                    if let Poll::Ready(result) = Pin::new(&mut socket).poll_write(&mut context, &bytes[written..]) {
                        written += result.unwrap();
                    }
                    prop_assert!(Pin::new(&mut socket).poll_read(&mut context, &mut [0; 64]).is_pending());
                }
                sent.extend(bytes);
            }
            while Pin::new(&mut socket).poll_close(&mut context).is_pending() {}
            let (data, others) = read_frames(&socket.socket.outgoing);
            prop_assert_eq!(data, sent);
            prop_assert_eq!(others.last(), Some(&0x88));
            prop_assert!(others[..others.len() - 1].iter().all(|kind| *kind == 0x8a));
            prop_assert!((2..=writes.len() + 1).contains(&others.len()));
        }
    }

    #[test]
    fn a_client_that_says_goodbye_is_answered_and_hears_no_more() {
        let mut context = Context::from_waker(Waker::noop());
        let mut socket = WebSocket::new(Narrow { width: 100, ..Narrow::default() });
        socket.socket.incoming.extend([0x88, 0x80, 0, 0, 0, 0]);
        for _ in 0..3 {
            let read = Pin::new(&mut socket).poll_read(&mut context, &mut [0; 64]);
            assert!(matches!(read, Poll::Ready(Ok(0))), "{read:?}");
        }
        assert_eq!(read_frames(&socket.socket.outgoing).1, [0x88]);
        let write = Pin::new(&mut socket).poll_write(&mut context, b"late");
        assert!(matches!(write, Poll::Ready(Err(_))), "{write:?}");
    }
}
