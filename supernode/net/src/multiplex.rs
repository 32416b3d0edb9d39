//! Many streams on one stream of bytes: Yamux, with windows that every peer can fill with one frame.
//!
//! The Yamux crate lets a window grow with the distance, up to all that a connection may have, and takes frames of
//! 1 MiB. Its own sender cuts frames small, js-libp2p's sends all that a window allows as one: past 1 MiB the two no
//! longer agree, and the connection ends. libp2p-yamux hides the setting that bounds the windows, so the muxer is
//! ours.
//!
//! ```text
//!   all windows of a connection ≤ streams × 256 KiB + 768 KiB
//!                                 each has this        shared by those that grow
//!   one window                  ≤           256 KiB + 768 KiB = 1 MiB
//! ```
//!
//! Promises: a window is never larger than a frame may be; a connection buffers no more than its windows, and for a
//! stream that is quiet nothing. The price: a stream moves at most 1 MiB a round trip.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    iter,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use yamux::{Connection, ConnectionError, DEFAULT_CREDIT, Mode, Stream};

/// What the Yamux crate takes as one frame.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// A frame's head (Yamux specification, "Framing").
const HEAD_BYTES: usize = 12;

/// What a stream may have before anybody measured anything (Yamux specification, "Flow Control").
const FIRST_WINDOW_BYTES: usize = DEFAULT_CREDIT as usize;

/// The upgrade that makes streams of a secured connection.
#[derive(Clone)]
pub(crate) struct Multiplex(yamux::Config);

/// The streams of a connection.
pub(crate) struct Muxer<Socket> {
    connection: Connection<Socket>,
    /// Streams that came while nobody asked for them. Not more than may be open at all: to the connection a stream is
    /// open until it is dropped here.
    waiting: VecDeque<Stream>,
    /// Who asked for a stream when there was none.
    asking: Option<Waker>,
}

impl Multiplex {
    /// `streams` may be open on a connection, of both sides together. A peer that opens more is told to go away. What is
    /// written goes in frames of `frame_bytes`, heads included.
    pub(crate) fn new(streams: usize, frame_bytes: usize) -> Self {
        let mut config = yamux::Config::default();
        config.set_split_send_size(frame_bytes - HEAD_BYTES);
        config.set_max_num_streams(streams);
        // The crate lends to a stream only what no other may claim, so this difference bounds the growth of each.
        let growth = FRAME_BYTES_MAX - FIRST_WINDOW_BYTES;
        config.set_max_connection_receive_window(Some(streams * FIRST_WINDOW_BYTES + growth));
        Self(config)
    }

    fn muxer<Socket>(self, socket: Socket, mode: Mode) -> Ready<Result<Muxer<Socket>, Infallible>>
    where
        Socket: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = Connection::new(socket, self.0, mode);
        ready(Ok(Muxer { connection, waiting: VecDeque::new(), asking: None }))
    }
}

impl UpgradeInfo for Multiplex {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<Socket> InboundConnectionUpgrade<Socket> for Multiplex
where
    Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Muxer<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, socket: Socket, _: Self::Info) -> Self::Future {
        self.muxer(socket, Mode::Server)
    }
}

impl<Socket> OutboundConnectionUpgrade<Socket> for Multiplex
where
    Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Muxer<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, socket: Socket, _: Self::Info) -> Self::Future {
        self.muxer(socket, Mode::Client)
    }
}

impl<Socket: AsyncRead + AsyncWrite + Unpin> Muxer<Socket> {
    /// Moves bytes of all streams until there is a new one: the connection has no other way to be driven.
    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_next_inbound(context).map(|next| next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<Socket: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<Socket> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Stream, Self::Error>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let polled = self.poll_connection(context);
        if polled.is_pending() {
            self.asking = Some(context.waker().clone());
        }
        polled
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Stream, Self::Error>> {
        self.connection.poll_new_outbound(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_close(context)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        match self.poll_connection(context) {
            Poll::Ready(Ok(stream)) => {
                self.waiting.push_back(stream);
                if let Some(asking) = self.asking.take() {
                    asking.wake();
                }
                // One at a time, so that a peer that opens many holds up nothing else of its connection.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use futures::{AsyncReadExt as _, FutureExt as _};
    use libp2p::{core::muxing::StreamMuxerExt as _, tcp::tokio::TcpStream};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Ample on a loaded machine; a test that hangs should say so, not stop the suite.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// Windows filled before a ping is answered: the other side then takes the peer for one that is far away, whatever
    /// the machine's speed, and lets windows grow.
    const WINDOWS_A_ROUND_TRIP: usize = 16;
    const KIB: usize = 1024;

    const DATA: u8 = 0;
    const WINDOW: u8 = 1;
    const PING: u8 = 2;
    const GO_AWAY: u8 = 3;
    const SYN: u16 = 1;
    const ACK: u16 = 2;

    /// A peer that speaks frames as the specification has them, and knows no smaller unit than a window.
    struct Peer(tokio::net::TcpStream);

    struct Header {
        kind: u8,
        flags: u16,
        stream: u32,
        /// Of a body, or how much a window opens, or a ping's number.
        length: usize,
    }

    impl Peer {
        async fn send(&mut self, kind: u8, flags: u16, stream: u32, length: usize) {
            let mut frame = vec![0, kind];
            frame.extend(flags.to_be_bytes());
            frame.extend(stream.to_be_bytes());
            frame.extend(u32::try_from(length).expect("a length").to_be_bytes());
            if kind == DATA {
                frame.resize(frame.len() + length, 7);
            }
            self.0.write_all(&frame).await.expect("the connection is there");
        }

        /// The next frame, none of which has a body here.
        async fn receive(&mut self) -> Header {
            let mut bytes = [0; 12];
            self.0.read_exact(&mut bytes).await.expect("the connection is there");
            let [_, kind, flags @ .., _, _, _, _, _, _, _, _] = bytes;
            let [.., s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            assert!(kind != DATA || length == 0, "nobody wrote");
            Header {
                kind,
                flags: u16::from_be_bytes(flags),
                stream: u32::from_be_bytes([s0, s1, s2, s3]),
                length,
            }
        }

        /// Fills the window with one frame, and waits until all of it is open again. Returns how wide it is then.
        async fn fill(&mut self, stream: u32, window: usize, unanswered: &mut Vec<usize>) -> usize {
            self.send(DATA, 0, stream, window).await;
            loop {
                let frame = self.receive().await;
                match frame.kind {
                    WINDOW if frame.stream == stream => return frame.length,
                    PING if frame.flags == SYN => unanswered.push(frame.length),
                    kind => panic!("a frame of kind {kind} came for stream {}", frame.stream),
                }
            }
        }
    }

    async fn connected(streams: usize) -> (Muxer<TcpStream>, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let dialled = tokio::net::TcpStream::connect(listener.local_addr().expect("an address"));
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());
        let socket = TcpStream(accepted.expect("accepted").0);
        let Ok(muxer) = Multiplex::new(streams, 16 * KIB).upgrade_inbound(socket, "/yamux/1.0.0").await;
        (muxer, Peer(dialled.expect("connected")))
    }

    /// Reads whatever comes on any stream, each window at once.
    async fn read_all(mut muxer: Muxer<TcpStream>) -> ConnectionError {
        loop {
            let next = poll_fn(|context| {
                if let Poll::Ready(Err(error)) = muxer.poll_unpin(context) {
                    return Poll::Ready(Err(error));
                }
                muxer.poll_inbound_unpin(context)
            });
            let mut stream = match next.await {
                Ok(stream) => stream,
                Err(error) => return error,
            };
            tokio::spawn(async move {
                let mut buffer = vec![0; 2 * FRAME_BYTES_MAX];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
        }
    }

    #[tokio::test]
    async fn peer_that_fills_each_window_with_one_frame_is_not_cut_off() {
        let (muxer, mut peer) = connected(4).await;
        let reading = tokio::spawn(read_all(muxer));
        let mut unanswered = Vec::new();
        let filling = async {
            peer.send(WINDOW, SYN, 1, 0).await;
            let (mut window, mut turns, mut turns_at_full) = (FIRST_WINDOW_BYTES, 0, 0);
            while turns_at_full < 2 * WINDOWS_A_ROUND_TRIP {
                window = peer.fill(1, window, &mut unanswered).await;
                assert!(window <= FRAME_BYTES_MAX, "a window of {window} bytes cannot be one frame");
                turns += 1;
                turns_at_full += usize::from(window == FRAME_BYTES_MAX);
                if turns % WINDOWS_A_ROUND_TRIP == 0 {
                    for number in unanswered.drain(..) {
                        peer.send(PING, ACK, 0, number).await;
                    }
                }
            }
            // The first has taken all that windows may grow by.
            peer.send(WINDOW, SYN, 3, 0).await;
            for _ in 0..WINDOWS_A_ROUND_TRIP {
                assert_eq!(peer.fill(3, FIRST_WINDOW_BYTES, &mut unanswered).await, 256 * KIB);
            }
        };
        tokio::time::timeout(PATIENCE, filling).await.expect("the window grows to a frame's size");
        drop(peer);
        let ended = tokio::time::timeout(PATIENCE, reading).await.expect("it ends").expect("no panic");
        assert!(matches!(ended, ConnectionError::Closed | ConnectionError::Io(_)), "{ended}");
    }

    #[tokio::test]
    async fn streams_that_nobody_asked_for_are_bounded() {
        let (mut muxer, mut peer) = connected(8).await;
        for number in 0..9 {
            peer.send(WINDOW, SYN, 2 * number + 1, 0).await;
        }
        let told = async { while peer.receive().await.kind != GO_AWAY {} };
        tokio::select! {
            () = told => {}
            event = poll_fn(|context| muxer.poll_unpin(context)) => panic!("{event:?}"),
            () = tokio::time::sleep(PATIENCE) => panic!("it was not told to go away"),
        }
        let mut waiting = Vec::new();
        while let Some(stream) = poll_fn(|context| muxer.poll_inbound_unpin(context)).now_or_never() {
            waiting.push(stream.expect("the connection is there"));
        }
        assert_eq!(waiting.len(), 8);
    }
}
