//! TCP that leaves from its listening port where it can, as hole punching wants, and from another where not.
//!
//! libp2p's binds a dialling socket to the listener's port on every address of the machine. A program that has
//! that port on one address alone, which the kernel allows, thus kept a node from dialling anybody, for good.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    tcp,
};

/// One socket a connection; listeners are libp2p's own.
#[derive(Default)]
pub(crate) struct Sockets {
    tcp: tcp::tokio::Transport,
}

impl Transport for Sockets {
    type Output = <tcp::tokio::Transport as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial =
        Either<<tcp::tokio::Transport as Transport>::Dial, BoxFuture<'static, io::Result<Self::Output>>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.tcp.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let dialled = self.tcp.dial(address.clone(), options)?;
        if options.port_use == PortUse::New {
            return Ok(Either::Left(dialled));
        }
        let dial = async move {
            match dialled.await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tracing::debug!(%address, "another program has the listening port, so another is used");
                    let options = DialOpts { port_use: PortUse::New, ..options };
                    tcp::tokio::Transport::default().dial(address, options).map_err(io::Error::other)?.await
                }
                dialled => dialled,
            }
        };
        Ok(Either::Right(dial.boxed()))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.tcp).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future, net::TcpListener, time::Duration};

    use libp2p::core::Endpoint;

    use super::*;

    #[tokio::test]
    async fn who_has_the_port_on_another_address_keeps_nobody_from_dialling() {
        let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = neighbour.local_addr().unwrap().port();
        let wanted = TcpListener::bind("127.0.0.3:0").unwrap();
        let wanted = format!("/ip4/127.0.0.3/tcp/{}", wanted.local_addr().unwrap().port());
        let mut sockets = Sockets::default();
        let own = format!("/ip4/127.0.0.2/tcp/{port}");
        sockets.listen_on(ListenerId::next(), own.parse().unwrap()).unwrap();
        let event = future::poll_fn(|context| Pin::new(&mut sockets).poll(context)).await;
        assert!(matches!(event, TransportEvent::NewAddress { .. }), "{event:?}");
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let dialled = sockets.dial(wanted.parse().unwrap(), options).unwrap();
        tokio::time::timeout(Duration::from_secs(10), dialled).await.unwrap().unwrap();
    }
}
