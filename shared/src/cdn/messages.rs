//! Control messages and requests, read off the wire into types whose bounds hold.

use prost::Message as _;

use super::{
    introduction::{Answer, Offer},
    offences::Offence,
    part::Part,
};
use crate::{
    base::{BlobRoot, RequestId, SiteId},
    identity::PublicKey,
    wire::{MAX_FRAME_BYTES, Refusal, cdn as wire},
};

/// Sites one peer takes part in: a tab has one, a supernode an operator's.
pub const MAX_SITES: usize = 64;
/// Blobs in one `Have`: with 32 bytes of name and some ranges each, a quarter of a frame.
pub const MAX_HAVE_BLOBS: usize = 256;
/// Ranges a blob in one `Have`; what is more ragged is said by a bit field.
pub const MAX_HAVE_RANGES: usize = 256;
/// Peers named at once.
pub const MAX_PEERS: usize = 32;
/// Addresses of one peer.
pub const MAX_ADDRESSES: usize = 8;
/// Longest binary multiaddress; a relayed one with two peer ids takes about 150 bytes.
pub const MAX_ADDRESS_BYTES: usize = 256;
/// Receipts handed in at once.
pub const MAX_HANDED_IN: usize = 16;

/// A control message.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// The remote introduces itself.
    Hello(Hello),
    /// What it holds.
    Have(Vec<BlobHave>, Option<wire::SignedReceipt>),
    /// It no longer wants the rest of a request.
    Cancel(RequestId),
    /// It does not serve us for now.
    Choke,
    /// It serves us again.
    Unchoke,
    /// It signs for what it verified.
    Receipt(wire::SignedReceipt),
    /// It accuses somebody.
    Report(wire::SignedReport),
    /// It wants to be listed, and to know others.
    AskPeers(AskPeers),
    /// It names others.
    Peers(Peers),
    /// It did not do what we asked.
    Refuse,
    /// A tab wants a neighbour.
    Offer(Offer),
    /// A tab wants to be one.
    Answer(Answer),
}

/// See `Hello` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whether it says it is a supernode.
    pub supernode: bool,
    /// Coarse place; 0 for unknown.
    pub region: u32,
    /// What it knows of each.
    pub sites: Vec<SiteState>,
    /// For receipts.
    pub session: u64,
}

/// See `SiteState` in `cdn.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteState {
    /// Which.
    pub site: SiteId,
    /// Of the newest manifest believed.
    pub sequence: u64,
    /// Whether all of that is held.
    pub complete: bool,
    /// Tabs listed, where a supernode says so.
    pub swarm: u32,
}

/// What is said of one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobHave {
    /// The blob.
    pub root: BlobRoot,
    /// What is said.
    pub what: What,
    /// Groups that infrastructure was asked for: first and count.
    pub coming: Vec<(u32, u32)>,
}

/// See `BlobHave` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All of it.
    Complete,
    /// This and no more; a bit field to be read with the blob's shape.
    Bitfield(Vec<u8>),
    /// These too: first and count.
    Added(Vec<(u32, u32)>),
    /// Nothing any more.
    Gone,
}

impl What {
    /// What it takes of our memory, beyond a constant.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Complete | Self::Gone => 0,
            Self::Bitfield(bits) => bits.len(),
            Self::Added(ranges) => ranges.len() * 8,
        }
    }
}

/// See `AskPeers` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq)]
pub struct AskPeers {
    /// Repeated in the answer.
    pub request: u64,
    /// The site.
    pub site: SiteId,
    /// How many; at most [`MAX_PEERS`].
    pub count: usize,
    /// Where the asker can be dialled.
    pub addresses: Vec<Vec<u8>>,
    /// What others signed for it.
    pub receipts: Vec<wire::SignedReceipt>,
    /// Who is paid for that, by its word; not verified.
    pub earner: Option<wire::SignedEarner>,
}

/// See `Peers` in `cdn.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// The site.
    pub site: SiteId,
    /// Whom, and where.
    pub peers: Vec<(PublicKey, Vec<Vec<u8>>)>,
    /// Members the supernode knows, the asker included.
    pub swarm: u32,
    /// Not to ask before.
    pub retry_after_ms: u64,
}

/// A message on a Serve stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Repeated in the answer.
    pub request: RequestId,
    /// The blob.
    pub root: BlobRoot,
    /// What of it.
    pub part: Part,
    /// Rides along.
    pub receipt: Option<wire::SignedReceipt>,
}

/// A request ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub request: RequestId,
    /// Why.
    pub refusal: Refusal,
    /// When to ask again.
    pub retry_after_ms: u64,
}

/// Reads a control frame; nothing for a message of a later version.
///
/// # Errors
/// [`Offence::Oversize`] or [`Offence::Malformed`].
pub fn read_control(frame: &[u8]) -> Result<Option<Control>, Offence> {
    use wire::control::Message;
    let control = wire::Control::decode(bounded(frame)?).map_err(|_| Offence::Malformed)?;
    let Some(message) = control.message else { return Ok(None) };
    Ok(Some(match message {
        Message::Hello(hello) => Control::Hello(read_hello(&hello)?),
        Message::Have(have) => {
            require(have.blobs.len() <= MAX_HAVE_BLOBS)?;
            Control::Have(have.blobs.into_iter().map(read_have).collect::<Result<_, _>>()?, have.receipt)
        }
        Message::Cancel(cancel) => Control::Cancel(RequestId(cancel.request)),
        Message::Choke(_) => Control::Choke,
        Message::Unchoke(_) => Control::Unchoke,
        Message::Receipt(receipt) => Control::Receipt(receipt),
        Message::Report(report) => Control::Report(report),
        Message::AskPeers(ask) => Control::AskPeers(read_ask(ask)?),
        Message::Peers(peers) => Control::Peers(read_peers(peers)?),
        Message::Refuse(_) => Control::Refuse,
        Message::Offer(offer) => Control::Offer(Offer::read(offer)?),
        Message::Answer(answer) => Control::Answer(Answer::read(answer)?),
    }))
}

/// Reads a frame of a Serve stream.
///
/// # Errors
/// [`Offence::Oversize`] or [`Offence::Malformed`].
pub fn read_request(frame: &[u8]) -> Result<Request, Offence> {
    use wire::bulk_request::Part as Wire;
    let request = wire::BulkRequest::decode(bounded(frame)?).map_err(|_| Offence::Malformed)?;
    let part = match request.part {
        Some(Wire::Groups(range)) => Part::Groups { first: range.first, count: range.count },
        Some(Wire::Page(page)) => Part::Page(page),
        Some(Wire::Top(true)) => Part::Top,
        Some(Wire::Top(false)) | None => return Err(Offence::Malformed),
    };
    let root = read_root(&request.root)?;
    Ok(Request { request: RequestId(request.request), root, part, receipt: request.receipt })
}

/// Reads the frame of a `BulkEnd`.
///
/// # Errors
/// [`Offence::Oversize`] or [`Offence::Malformed`].
pub fn read_end(frame: &[u8]) -> Result<End, Offence> {
    let answer = wire::BulkAnswer::decode(bounded(frame)?).map_err(|_| Offence::Malformed)?;
    let Some(wire::bulk_answer::Answer::End(end)) = answer.answer else { return Err(Offence::Malformed) };
    Ok(End {
        request: RequestId(end.request),
        refusal: Refusal::from_code(end.refusal),
        retry_after_ms: end.retry_after_ms,
    })
}

/// Encodes a control message.
pub fn control(message: wire::control::Message) -> Vec<u8> {
    wire::Control { message: Some(message) }.encode_to_vec()
}

/// Encodes a `BulkEnd`.
pub fn end(request: RequestId, refusal: Option<Refusal>, retry_after_ms: u64) -> Vec<u8> {
    let refusal = refusal.map_or(0, Refusal::code);
    let end = wire::BulkEnd { request: request.0, refusal, retry_after_ms };
    wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::End(end)) }.encode_to_vec()
}

fn read_hello(hello: &wire::Hello) -> Result<Hello, Offence> {
    require(hello.sites.len() <= MAX_SITES)?;
    let site = |state: &wire::SiteState| {
        let wire::SiteState { sequence, complete, swarm, .. } = *state;
        Ok(SiteState { site: read_site(&state.site)?, sequence, complete, swarm })
    };
    Ok(Hello {
        supernode: hello.role() == wire::Role::Supernode,
        region: hello.region,
        sites: hello.sites.iter().map(site).collect::<Result<_, Offence>>()?,
        session: hello.session,
    })
}

fn read_have(have: wire::BlobHave) -> Result<BlobHave, Offence> {
    require(have.added.len() <= MAX_HAVE_RANGES && have.coming.len() <= MAX_HAVE_RANGES)?;
    let root = read_root(&have.root)?;
    let pairs = |ranges: &[wire::GroupRange]| ranges.iter().map(|range| (range.first, range.count)).collect();
    let coming = pairs(&have.coming);
    let what = if have.gone {
        What::Gone
    } else if have.complete {
        What::Complete
    } else if have.bitfield.is_empty() {
        What::Added(pairs(&have.added))
    } else {
        What::Bitfield(have.bitfield)
    };
    Ok(BlobHave { root, what, coming })
}

fn read_ask(ask: wire::AskPeers) -> Result<AskPeers, Offence> {
    require(ask.receipts.len() <= MAX_HANDED_IN && lawful_addresses(&ask.addresses))?;
    let site = read_site(&ask.site)?;
    let count = (ask.count as usize).min(MAX_PEERS);
    let wire::AskPeers { request, addresses, receipts, earner, .. } = ask;
    Ok(AskPeers { request, site, count, addresses, receipts, earner })
}

fn read_peers(peers: wire::Peers) -> Result<Peers, Offence> {
    require(peers.peers.len() <= MAX_PEERS)?;
    let mut named = Vec::new();
    for entry in peers.peers {
        require(lawful_addresses(&entry.addresses))?;
        let key = PublicKey::from_bytes(&entry.peer).map_err(|_| Offence::Malformed)?;
        named.push((key, entry.addresses));
    }
    let site = read_site(&peers.site)?;
    Ok(Peers { site, peers: named, swarm: peers.swarm, retry_after_ms: peers.retry_after_ms })
}

fn lawful_addresses(addresses: &[Vec<u8>]) -> bool {
    addresses.len() <= MAX_ADDRESSES && addresses.iter().all(|address| address.len() <= MAX_ADDRESS_BYTES)
}

fn read_root(bytes: &[u8]) -> Result<BlobRoot, Offence> {
    BlobRoot::try_from(bytes).map_err(|_| Offence::Malformed)
}

fn read_site(bytes: &[u8]) -> Result<SiteId, Offence> {
    SiteId::try_from(bytes).map_err(|_| Offence::Malformed)
}

fn bounded(frame: &[u8]) -> Result<&[u8], Offence> {
    if frame.len() > MAX_FRAME_BYTES { Err(Offence::Oversize) } else { Ok(frame) }
}

fn require(holds: bool) -> Result<(), Offence> {
    if holds { Ok(()) } else { Err(Offence::Malformed) }
}
