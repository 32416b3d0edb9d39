//! A visitor as a program: it links to a node, gets groups of a blob, and signs for them.

use anyhow::{Context as _, ensure};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use links::{Event, LinkId, Stream, StreamProtocol};
use net::{Config, Multiaddr, Network};
use prometheus_client::registry::Registry;
use prost::Message as _;
use shared::{
    base::{BlobRoot, SiteId},
    cdn::{
        bulk::{Answer, AnswerReader, PROTOCOL, SWARM_VERSION, StreamKind, open_frame},
        earner::Earner,
        messages,
        receipts::{Receipt, Verified},
    },
    identity::{Keypair, PublicKey},
    wire::{FrameReader, cdn as wire, write_frame},
};

/// It is there until it leaves or is dropped.
pub(crate) struct Visitor {
    key: Keypair,
    provider: PublicKey,
    site: SiteId,
    network: Network,
    link: LinkId,
    control: Stream,
    /// Which of the node's sessions it is.
    pub(crate) session: u64,
    /// What came in it.
    pub(crate) bytes: u64,
}

impl Visitor {
    /// Links to the node with this address and key.
    pub(crate) async fn arrive(
        address: &str,
        provider: &str,
        key: &Keypair,
        site: SiteId,
    ) -> anyhow::Result<Self> {
        let config = Config { listen: Vec::new(), local_network: true, ..Config::default() };
        let services = vec![PROTOCOL.parse()?];
        let (network, mut events) = Network::start(config, key, services, &mut Registry::default()).await?;
        network.dial(address.parse::<Multiaddr>()?).await?;
        let link = loop {
            if let Event::Linked { link, .. } = events.next().await.context("the network ended")? {
                break link;
            }
        };
        tokio::spawn(async move { while events.next().await.is_some() {} });
        let mut control = network.links().open(link, StreamProtocol::new(PROTOCOL)).await?;
        let state = wire::SiteState { site: site.0.to_vec(), sequence: 1, complete: false, swarm: 0 };
        let hello = wire::Hello {
            version: SWARM_VERSION,
            role: wire::Role::Tab.into(),
            sites: vec![state],
            session: 1,
            ..wire::Hello::default()
        };
        let mut out = open_frame(StreamKind::Control);
        write_frame(&messages::control(wire::control::Message::Hello(hello)), &mut out);
        control.write_all(&out).await?;
        control.flush().await?;
        let (mut frames, mut buffer) = (FrameReader::default(), [0; 4096]);
        let session = loop {
            let read = control.read(&mut buffer).await?;
            ensure!(read > 0, "the node does not say who it is");
            frames.handle_bytes(&buffer[..read]);
            let frame = frames.poll_frame()?.map(|frame| wire::Control::decode(&*frame)).transpose()?;
            if let Some(wire::control::Message::Hello(hello)) = frame.and_then(|frame| frame.message) {
                break hello.session;
            }
        };
        let (key, provider) = (key.clone(), provider.parse()?);
        Ok(Self { key, provider, site, network, link, control, session, bytes: 0 })
    }

    /// Gets so many groups of a blob. Says whether all came, and it was not refused.
    pub(crate) async fn get(&mut self, root: BlobRoot, groups: u32) -> anyhow::Result<bool> {
        let mut bulk = self.network.links().open(self.link, StreamProtocol::new(PROTOCOL)).await?;
        let mut out = open_frame(StreamKind::Bulk);
        let part = wire::bulk_request::Part::Groups(wire::GroupRange { first: 0, count: groups });
        let request =
            wire::BulkRequest { request: 1, root: root.0.to_vec(), part: Some(part), receipt: None };
        write_frame(&request.encode_to_vec(), &mut out);
        bulk.write_all(&out).await?;
        bulk.flush().await?;
        let (mut answers, mut pieces, mut buffer) = (AnswerReader::default(), 0, [0; 4096]);
        while pieces < groups {
            let read = bulk.read(&mut buffer).await?;
            ensure!(read > 0, "the node serves nothing");
            answers.handle_bytes(&buffer[..read]);
            while let Some(answer) = answers.poll_answer().ok().flatten() {
                let Answer::Piece { payload, .. } = answer else { return Ok(false) };
                self.bytes += payload.len() as u64;
                pieces += 1;
            }
        }
        Ok(true)
    }

    /// Signs for so much of what came.
    pub(crate) async fn sign(&mut self, bytes: u64) -> anyhow::Result<()> {
        let verified = Verified { site: Some(self.site), ..Verified::of(bytes) };
        let receipt = Receipt::sign(&self.key, &self.provider, self.session, verified);
        let mut out = Vec::new();
        write_frame(&messages::control(wire::control::Message::Receipt(receipt)), &mut out);
        self.control.write_all(&out).await?;
        Ok(self.control.flush().await?)
    }

    /// Hands in what others signed for it, to be paid to an account.
    pub(crate) async fn hand_in(
        &mut self,
        account: [u8; 20],
        receipts: Vec<wire::SignedReceipt>,
    ) -> anyhow::Result<()> {
        let earner = Earner::sign(&self.key, &self.provider, self.site, account);
        let ask = wire::AskPeers {
            request: 1,
            site: self.site.0.to_vec(),
            receipts,
            earner: Some(earner),
            ..wire::AskPeers::default()
        };
        let mut out = Vec::new();
        write_frame(&messages::control(wire::control::Message::AskPeers(ask)), &mut out);
        self.control.write_all(&out).await?;
        Ok(self.control.flush().await?)
    }

    pub(crate) async fn leave(self) {
        self.network.shutdown().await;
    }
}
