//! Opening the listeners, with every mistake answered before the node goes on.

use std::{net::TcpListener, time::Duration};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm,
    core::transport::ListenerId,
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};

use crate::{Config, ListenAddress, ListenKind};

/// Binding takes milliseconds; what takes longer will not happen.
const BIND_TIMEOUT: Duration = Duration::from_secs(10);

const TAKEN: &str = "is the port taken by another program, or by another line of `listen`?";

/// What is listening.
#[derive(Default)]
pub(crate) struct Listeners {
    /// Addresses that are bound, as the operating system sees them.
    pub(crate) bound: Vec<Multiaddr>,
    /// Reservations wanted at relays, and the listener that stands for each, while it does.
    pub(crate) relayed: Vec<(ListenAddress, Option<ListenerId>)>,
}

/// Binds all local listeners and returns once each has an address.
pub(crate) async fn bind<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    config: &Config,
) -> anyhow::Result<Listeners> {
    let mut listeners = Listeners::default();
    let mut waiting = Vec::new();
    for listen in &config.listen {
        match listen.kind() {
            ListenKind::Relayed => {
                listeners.relayed.push((listen.clone(), None));
                continue;
            }
            ListenKind::SecureWebSocket if config.secure_websocket.is_none() => bail!(
                "cannot listen on {listen}: secure WebSocket needs `certificate` and `key` in [network.secure_websocket]"
            ),
            _ => {}
        }
        refuse_taken_port(listen)?;
        let id = swarm
            .listen_on(listen.address().clone())
            .with_context(|| format!("cannot listen on {listen}; {TAKEN}"))?;
        waiting.push((id, listen));
    }

    let bound = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.retain(|(id, _)| *id != listener_id);
                    listeners.bound.push(address);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                | SwarmEvent::ListenerError { listener_id, error } => {
                    if let Some((_, listen)) = waiting.iter().find(|(id, _)| *id == listener_id) {
                        return Err(error).with_context(|| format!("cannot listen on {listen}; {TAKEN}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BIND_TIMEOUT, bound).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let silent: Vec<_> = waiting.iter().map(|(_, listen)| listen.to_string()).collect();
            bail!("no interface of this machine has an address for {}", silent.join(", "));
        }
    }
    Ok(listeners)
}

/// libp2p shares TCP ports on purpose, so that hole punching can dial from them; two programs that
/// listen on one would silently get half of the visitors each.
fn refuse_taken_port(listen: &ListenAddress) -> anyhow::Result<()> {
    let mut parts = listen.address().iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => std::net::IpAddr::from(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port))
            .map(drop)
            .with_context(|| format!("cannot listen on {listen}; {TAKEN}")),
        _ => Ok(()),
    }
}
