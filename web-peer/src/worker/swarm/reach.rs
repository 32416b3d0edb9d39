//! Reaching others: the supernode first, through it everyone else.

use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt as _;
use futures_timer::Delay;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use shared::base::EffectId;
use shared::cdn::bulk::PROTOCOL;
use shared::identity::{Keypair, PublicKey};
use shared::wire::TAB_STORAGE_PROTOCOL;
use wasm_bindgen::prelude::*;
use web_sys::MessagePort;

use super::super::Tab;
use super::super::config::whole;
use super::super::host::Host;
use crate::net::{Config, Event, Events, Network};

/// Between attempts to reach the supernode: doubled at each failure, to spare one that has just come back.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(120);
/// How often a supernode is looked for that we should be linked to.
const WATCH: Duration = Duration::from_secs(3);
/// A connection is a link a moment after it stands.
const SETTLE: Duration = Duration::from_millis(100);
/// What a supernode says of itself.
const PEER_BYTES_MAX: usize = 16 * 1024;

/// A supernode as its edge describes it.
#[derive(Clone, Debug)]
pub(in super::super) struct Supernode {
    pub(super) key: PublicKey,
    /// Which of its visitors we are.
    pub(super) visitor: u32,
    addresses: Vec<Multiaddr>,
    /// An array of `host:port`, for the page: who tells it its own address. Checked there.
    stun: JsValue,
}

/// Asks the edge whom to dial.
///
/// Errors are named reasons: without a supernode there is no swarm, and plain HTTP remains.
pub(in super::super) async fn find_supernode(host: &Host, edge: &str) -> Result<Supernode, String> {
    let said = host.said(&format!("{edge}/blackhole/v1/peer"), PEER_BYTES_MAX).await;
    let bytes = said.map_err(|error| format!("supernode: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "supernode: no text".to_owned())?;
    let parsed = js_sys::JSON::parse(&text).map_err(|_| "supernode: no JSON".to_owned())?;
    let said = |name: &str| js_sys::Reflect::get(&parsed, &name.into()).unwrap_or_default();
    let key = said("peer_id").as_string().unwrap_or_default();
    let key = key.parse::<PublicKey>().map_err(|error| format!("supernode: {error}"))?;
    let visitor = u32::try_from(whole(said("visitor").as_f64().unwrap_or_default())).unwrap_or_default();
    let secure = is_secure_page();
    let addresses = said("addresses").dyn_into::<js_sys::Array>().unwrap_or_default();
    let addresses = addresses.iter().filter_map(|address| address.as_string()?.parse().ok());
    let mut addresses: Vec<Multiaddr> = addresses.filter(|address| is_dialable(address, secure)).collect();
    // WebSocket costs the supernode an eighth of what WebRTC does.
    addresses.sort_by_key(links::LinkKind::of_address);
    if addresses.is_empty() {
        return Err("supernode: no address that a browser can dial".to_owned());
    }
    Ok(Supernode { key, visitor, addresses, stun: said("stun") })
}

impl Tab {
    /// Joins the network, and stays linked to the supernode for as long as the tab lives.
    pub(in super::super) fn join_network(
        self: &Rc<Self>,
        keypair: &Keypair,
        rtc_port: MessagePort,
        supernode: Supernode,
    ) -> Result<(), String> {
        let protocols = [PROTOCOL, TAB_STORAGE_PROTOCOL].map(links::StreamProtocol::new).to_vec();
        let config = Config { protocols, ..Config::default() };
        let command = js_sys::Object::new();
        for (name, value) in [("command", &"stun".into()), ("servers", &supernode.stun)] {
            let _ = js_sys::Reflect::set(&command, &name.into(), value);
        }
        let _ = rtc_port.post_message(&command);
        let (network, links, events) =
            Network::start(&keypair.to_libp2p(), rtc_port, config).map_err(|error| error.to_string())?;
        *self.swarm.network.borrow_mut() = Some(network.clone());
        wasm_bindgen_futures::spawn_local(self.clone().follow_links(links));
        wasm_bindgen_futures::spawn_local(self.clone().follow_network(events));
        wasm_bindgen_futures::spawn_local(self.clone().stay_linked(network, supernode));
        Ok(())
    }

    /// Has the browser say how we are reached: by an offer, or in answer to one.
    pub(super) fn describe(self: &Rc<Self>, effect: EffectId, offer: Option<(PublicKey, String)>) {
        let Some(network) = self.swarm.network.borrow().clone() else { return };
        let tab = self.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let arranger = network.arranger();
            let described = match offer {
                Some((peer, offer)) => arranger.answer(peer.to_peer_id(), &offer).await,
                None => arranger.offer().await.map(|(offered, description)| {
                    tab.swarm.offered.borrow_mut().push((effect, offered));
                    description
                }),
            };
            let described = described.inspect_err(|error| tab.note(&format!("dial: {}", error.reason())));
            tab.drive(|core, now| core.handle_described(now, effect, described.ok()));
        });
    }

    /// Connects to who answered our offer.
    pub(super) fn connect(self: &Rc<Self>, effect: EffectId, peer: PublicKey, answer: &str) {
        let network = self.swarm.network.borrow().clone();
        let (Some(network), Some(offered)) = (network, self.swarm.take_offered(effect)) else { return };
        let address = network.arranger().accept(offered, peer.to_peer_id(), answer);
        let tab = self.clone();
        wasm_bindgen_futures::spawn_local(async move {
            if let Err(error) = network.dial(peer.to_peer_id(), vec![address]).await {
                tab.note(&format!("dial: {}", error.reason));
                tab.drive(|core, now| core.handle_dial_failed(now, &peer));
            }
        });
    }

    async fn stay_linked(self: Rc<Self>, network: Network, supernode: Supernode) {
        let peer = supernode.key.to_peer_id();
        let mut retry = RETRY_MIN;
        loop {
            if network.links().best(&peer).is_some() {
                retry = RETRY_MIN;
                // Changes nothing where the reservation stands.
                self.listen_at(&network, &supernode).await;
                Delay::new(WATCH).await;
                continue;
            }
            match network.dial(peer, supernode.addresses.clone()).await {
                Ok(()) => Delay::new(SETTLE).await,
                Err(error) => {
                    tracing::debug!(%error, "the supernode cannot be reached");
                    self.note(&format!("supernode: {}", error.reason));
                    Delay::new(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// A reservation with the supernode: other tabs reach us through it.
    async fn listen_at(&self, network: &Network, supernode: &Supernode) {
        let peer = supernode.key.to_peer_id();
        let links = network.links().links_of(&peer);
        let Some(link) = links.first() else { return };
        let mut relay: Multiaddr =
            link.address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        relay.push(Protocol::P2p(peer));
        if let Err(error) = network.listen_via(relay).await {
            self.note(&format!("relay: {error}"));
        }
    }

    async fn follow_network(self: Rc<Self>, mut events: Events) {
        let mut reachable = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Event::Reachable(address) if !reachable.contains(&address) => reachable.push(address),
                Event::Unreachable(address) => reachable.retain(|known| *known != address),
                Event::Missed(peer) => {
                    if let Ok(peer) = PublicKey::from_peer_id(&peer) {
                        self.drive(|core, now| core.handle_dial_failed(now, &peer));
                    }
                    continue;
                }
                // `stay_linked` makes another.
                Event::ReservationLost { reason, .. } => {
                    self.note(&format!("relay: {reason}"));
                    continue;
                }
                _ => continue,
            }
            self.swarm.reachable.set(!reachable.is_empty());
            let addresses = reachable.iter().map(Multiaddr::to_vec).collect();
            self.drive(|peer, now| peer.set_addresses(now, addresses));
        }
    }
}

/// Whether a tab has the means: secure pages may not open plain sockets except to their own machine.
fn is_dialable(address: &Multiaddr, secure_page: bool) -> bool {
    use links::LinkKind::{WebRtc, WebRtcDirect, WebSocket};
    match links::LinkKind::of_address(address) {
        WebRtc | WebRtcDirect => true,
        WebSocket => {
            let tls = address.iter().any(|part| matches!(part, Protocol::Wss(_) | Protocol::Tls));
            tls || !secure_page || is_loopback(address)
        }
        _ => false,
    }
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

fn is_secure_page() -> bool {
    let location = js_sys::Reflect::get(&js_sys::global(), &JsValue::from_str("origin"));
    location.ok().and_then(|origin| origin.as_string()).is_some_and(|origin| origin.starts_with("https:"))
}
