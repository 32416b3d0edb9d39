//! What a quiet session costs a supernode: starts the real program, attaches many tabs to it, lets it be
//! quiet, and reads its memory.
//!
//! A session is what a tab holds: a WebSocket, a control stream on which it said Hello and asked for others,
//! and a reservation at the relay. `cargo xtask bench sessions` runs this.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::upgrade::Version,
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{Config as SwarmConfig, NetworkBehaviour, StreamProtocol, SwarmEvent},
    tcp, websocket, yamux,
};
use shared::{
    cdn::{
        bulk::{PROTOCOL, SWARM_VERSION, StreamKind, open_frame},
        messages::{self, Control},
    },
    wire::{FrameReader, cdn as wire, write_frame},
};
use tokio::sync::mpsc;

/// Tabs that attach at a time: no storm, since what counts here is the calm after it.
const AT_A_TIME: usize = 32;
/// All of them are one crowd.
const SITE: [u8; 32] = [7; 32];
/// What a session may cost.
const TARGET_KIB: f64 = 64.0;

#[derive(NetworkBehaviour)]
struct Tab {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay: relay::client::Behaviour,
    links: links::Behaviour,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().context("give the path of the program `blackhole`")?;
    let sessions: usize =
        arguments.next().map_or(Ok(2000), |text| text.parse()).context("how many sessions")?;
    let quiet: u64 = arguments.next().map_or(Ok(40), |text| text.parse()).context("seconds of quiet")?;

    let directory = tempfile::tempdir()?;
    let (mut node, address) = start(Path::new(&program), directory.path())?;
    let outcome = measure(&node, &address, sessions, Duration::from_secs(quiet)).await;
    node.kill()?;
    node.wait()?;
    outcome
}

async fn measure(node: &Child, address: &Multiaddr, sessions: usize, quiet: Duration) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = Memory::of(node)?;
    println!("before:  {before}");
    let (attached, mut attachments) = mpsc::channel(AT_A_TIME);
    let mut under_way = 0;
    for number in 0..sessions {
        if under_way == AT_A_TIME {
            attachments.recv().await.context("a tab ended")??;
            under_way -= 1;
        }
        let (attached, address) = (attached.clone(), address.clone());
        tokio::spawn(async move {
            let outcome = tab(&address, &attached).await.with_context(|| format!("tab {number}"));
            let _ = attached.send(outcome).await;
        });
        under_way += 1;
        if (number + 1).is_multiple_of(500) {
            println!("{} tabs: {}", number + 1, Memory::of(node)?);
        }
    }
    for _ in 0..under_way {
        attachments.recv().await.context("a tab ended")??;
    }
    println!("attached: {}", Memory::of(node)?);
    if let Ok(ended) = tokio::time::timeout(quiet, attachments.recv()).await {
        ended.context("a tab ended")??;
        bail!("a tab reported twice");
    }
    let after = Memory::of(node)?;
    println!("after {} s of quiet: {after}", quiet.as_secs());
    #[expect(clippy::cast_precision_loss, reason = "for reading")]
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / sessions as f64;
    let (resident, own) = (each(after.resident, before.resident), each(after.own, before.own));
    println!("{sessions} quiet sessions: {resident:.1} KiB each resident, {own:.1} KiB proportional");
    ensure!(resident <= TARGET_KIB, "more than {TARGET_KIB} KiB a session");
    Ok(())
}

/// Attaches, reports once, and then stays for as long as the link does.
async fn tab(address: &Multiaddr, attached: &mpsc::Sender<Result<()>>) -> Result<()> {
    let keypair = Keypair::generate_ed25519();
    let (mut swarm, control, mut events) = swarm(&keypair)?;
    swarm.listen_on(address.clone().with(Protocol::P2pCircuit))?;
    let (mut reserved, mut introduced) = (false, None);
    let (said, mut hello) = mpsc::channel(1);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(TabEvent::Relay(relay::client::Event::ReservationReqAccepted { renewal, .. })) => {
                    reserved = true;
                    if !renewal && introduced.is_some() {
                        attached.send(Ok(())).await?;
                    }
                }
                SwarmEvent::ConnectionClosed { cause, .. } => bail!("the connection closed: {cause:?}"),
                SwarmEvent::OutgoingConnectionError { error, .. } => bail!("no connection: {error}"),
                SwarmEvent::ListenerClosed { reason, .. } => bail!("the reservation ended: {reason:?}"),
                _ => {}
            },
            Some(event) = events.next() => {
                if let links::Event::Linked { link, .. } = event {
                    let (control, said) = (control.clone(), said.clone());
                    tokio::spawn(async move { said.send(introduce(link, &control).await).await });
                }
            }
            Some(stream) = hello.recv(), if introduced.is_none() => {
                introduced = Some(stream?);
                if reserved {
                    attached.send(Ok(())).await?;
                }
            }
        }
    }
}

/// Says Hello, asks for others, and waits for the answer. The stream stays open for as long as it is held.
async fn introduce(link: links::LinkId, links: &links::Control) -> Result<links::Stream> {
    let mut stream = links.open(link, StreamProtocol::new(PROTOCOL)).await?;
    let site = wire::SiteState { site: SITE.to_vec(), sequence: 1, complete: false, swarm: 0 };
    let hello = wire::Hello {
        version: SWARM_VERSION,
        role: wire::Role::Tab.into(),
        sites: vec![site],
        session: link.as_u64(),
        ..wire::Hello::default()
    };
    let ask = wire::AskPeers { request: 1, site: SITE.to_vec(), count: 8, ..wire::AskPeers::default() };
    let mut out = open_frame(StreamKind::Control);
    write_frame(&messages::control(wire::control::Message::Hello(hello)), &mut out);
    write_frame(&messages::control(wire::control::Message::AskPeers(ask)), &mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut frames = FrameReader::default();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await?;
        ensure!(read > 0, "the supernode closed the control stream");
        frames.handle_bytes(&bytes[..read]);
        while let Some(frame) = frames.poll_frame()? {
            if let Ok(Some(Control::Peers(_))) = messages::read_control(&frame) {
                return Ok(stream);
            }
        }
    }
}

fn swarm(keypair: &Keypair) -> Result<(Swarm<Tab>, links::Control, links::Events)> {
    let peer = PeerId::from(keypair.public());
    let (circuits, relay) = relay::client::new(peer);
    let sockets = websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default()));
    let transport = circuits
        .or_transport(sockets)
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(yamux::Config::default())
        .boxed();
    let protocols = vec![StreamProtocol::new(PROTOCOL)];
    let (links, control, events) =
        links::Behaviour::new(links::Config { protocols, limits: links::Limits::default() });
    let identify = identify::Config::new("/blackhole/1.0.0".to_owned(), keypair.public());
    let behaviour =
        Tab { identify: identify::Behaviour::new(identify), ping: ping::Behaviour::default(), relay, links };
    let config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    Ok((Swarm::new(transport, behaviour, peer, config), control, events))
}

/// Starts a node that listens on loopback alone; returns where a tab dials it.
fn start(program: &Path, directory: &Path) -> Result<(Child, Multiaddr)> {
    let config = directory.join("node.toml");
    let text = format!(
        "[node]\ndata_dir = {:?}\n[edge]\nlisten = \"127.0.0.1:0\"\n[network]\nlocal_network = true\n\
         listen = [\"/ip4/127.0.0.1/tcp/0/ws\"]\n# All of these visitors share one address.\n\
         [network.relay]\nreservations_per_minute_and_source = 0\n",
        directory.join("data")
    );
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.args(["node", "run", "--config"]).arg(&config).stdout(Stdio::piped());
    let mut node = command.env("BLACKHOLE_LOG", "warn").spawn().context("starting the program")?;
    let mut line = String::new();
    BufReader::new(node.stdout.take().context("its output")?).read_line(&mut line)?;
    let ready: serde_json::Value = serde_json::from_str(&line).context("it did not say that it is ready")?;
    let address = ready["addresses"][0].as_str().context("it listens nowhere")?.parse()?;
    Ok((node, address))
}

/// What a process holds of memory, in KiB.
struct Memory {
    resident: u64,
    /// Shared pages counted by their share.
    own: u64,
}

impl Memory {
    fn of(process: &Child) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id()))
            .context("reading the memory of the process, which works on Linux")?;
        let read = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
            Ok::<u64, anyhow::Error>(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Self { resident: read("Rss:")?, own: read("Pss:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} KiB resident, {} KiB proportional", self.resident, self.own)
    }
}
