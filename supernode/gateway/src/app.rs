//! The routes, and what every answer has in common.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use cdn::Cdn;
use prometheus_client::registry::Registry;
use serde::Serialize;
use shared::base::UnixSeconds;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Config, Login, Meters, blobs, earners,
    earners::{EarnerError, EarnerStatus},
    earnings,
    lingering::Lingering,
    login, manifests, payments,
    problem::Problem,
    status, tab_files,
    tab_files::TabFiles,
};

/// A copy of a shard of this node's in a visitor's tab.
#[derive(Clone, Debug)]
pub struct ExtraShard {
    /// The tab's key.
    pub tab: String,
    /// The segment it is of.
    pub segment: String,
    /// Which of its shards.
    pub shard: u16,
    /// Its length in bytes.
    pub length: u64,
    /// What the last audit found, and how long ago; nothing before the first.
    pub proved: Option<(String, Duration)>,
}

/// Shards that this node keeps for others, and what these say of it.
#[derive(Clone, Debug)]
pub struct HeldStatus {
    /// Promises to keep a shard.
    pub shards: u64,
    /// Bytes of shards,
    pub stored_bytes: u64,
    /// of as many as they may take.
    pub quota_bytes: u64,
    /// Whose they are.
    pub owners: u64,
    /// Owners that place nothing new here, by their word,
    pub doubted: u64,
    /// and those that have dismissed this node.
    pub dismissed: u64,
    /// What each says, the worst first.
    pub words: Vec<OwnerWord>,
}

/// What one of them says.
#[derive(Clone, Debug)]
pub struct OwnerWord {
    /// Its key.
    pub owner: String,
    /// What its audits add up to.
    pub words: String,
    /// What may be done about it.
    pub advice: Vec<String>,
    /// How long ago it said so.
    pub ago: Duration,
}

/// What a tab needs to dial this node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeerAddresses {
    /// Its peer id.
    pub peer_id: String,
    /// The same key as publishers name it in a delegation.
    pub did: String,
    /// Where it listens, each with its peer id.
    pub addresses: Vec<String>,
    /// Where it tells tabs their own address as others see it (STUN, RFC 8489): `host:port`.
    pub stun: Vec<String>,
}

pub(crate) const EARNINGS: &str = "/status/earnings";
pub(crate) const EARNINGS_CSV: &str = "/status/earnings.csv";
pub(crate) const PAYMENTS_CSV: &str = "/status/payments.csv";

/// With all that is below.
const PRIVATE: [&str; 9] = [
    EARNINGS,
    "/status/payments",
    "/status/login",
    "/blackhole/v1/login",
    "/blackhole/v1/session",
    "/blackhole/v1/sessions",
    "/blackhole/v1/keys",
    "/blackhole/v1/passkeys",
    "/blackhole/v1/audit",
];

/// Visitors are counted up to here and then from the beginning: enough to tell those who come together apart.
const VISITORS: u32 = 4096;

/// What a tab is told at its start.
#[derive(Debug, Serialize)]
struct Described {
    /// Which visitor it is. Those who come together begin in different places by it.
    visitor: u32,
    #[serde(flatten)]
    node: PeerAddresses,
}

/// What an operator wants to see of the network.
#[derive(Clone, Debug, Default)]
pub struct NetworkStatus {
    /// Links by what carries them.
    pub links: Vec<(&'static str, u64)>,
    /// Peers that can be reached through this node.
    pub reservations: u64,
    /// Pairs of peers that speak through this node.
    pub circuits: u64,
    /// The same since the start.
    pub circuits_opened: u64,
    /// Other supernodes that are known.
    pub nodes: u64,
    /// What was refused, and how often.
    pub refused: Vec<(&'static str, u64)>,
}

/// What an operator wants to see of the node's money. Amounts are base units of the token.
#[derive(Clone, Debug)]
pub struct MoneyStatus {
    /// Whose it is.
    pub account: String,
    /// The chain that vouchers are for,
    pub chain_id: u64,
    /// and whether they are claimed there, or wait.
    pub settled: bool,
    /// Amounts by their names.
    pub figures: Vec<(&'static str, u128)>,
    /// When vouchers were last claimed, since the start.
    pub claimed: Option<UnixSeconds>,
    /// How old the chain's newest answer is.
    pub answered: Option<Duration>,
    /// What is wrong.
    pub problem: Option<&'static str>,
}

/// Sums over sessions of serving.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarnedSums {
    /// How many.
    pub sessions: u64,
    /// Payload bytes that were sent.
    pub sent: u64,
    /// Of those, signed for by their receivers.
    pub signed: u64,
    /// What that comes to, in base units of the token.
    pub worth: u128,
}

/// What was earned by serving.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarningsStatus {
    /// Base units for each so many bytes, where a price is asked.
    pub price: Option<(u64, u64)>,
    /// Not booked yet.
    pub running: EarnedSums,
    /// Booked, since ever.
    pub booked: EarnedSums,
    /// Of those, sessions that are kept with their receipts.
    pub kept: u64,
    /// Entries of the books.
    pub entries: u64,
    /// Receipts that there was no room for, since the start.
    pub lost: u64,
}

/// One session of serving, with the receipt behind it.
#[derive(Clone, Debug)]
pub struct EarnedSession {
    /// Who received and signed, as `did:key:…`.
    pub receiver: String,
    /// Its number.
    pub number: u64,
    /// When its first receipt came,
    pub first: UnixSeconds,
    /// and when the newest.
    pub last: UnixSeconds,
    /// Payload bytes that were sent.
    pub sent: u64,
    /// Of those, signed for.
    pub signed: u64,
    /// Base units for each so many bytes, where a price was asked.
    pub price: Option<(u64, u64)>,
    /// What it comes to.
    pub worth: u128,
    /// With which batch it was booked, once it was.
    pub batch: Option<u64>,
    /// The receipt as it was signed,
    pub receipt: Vec<u8>,
    /// and its signature.
    pub signature: Vec<u8>,
}

/// A day of which only sums are kept.
#[derive(Clone, Copy, Debug)]
pub struct EarnedDay {
    /// When it began.
    pub begins: UnixSeconds,
    /// What it came to.
    pub sums: EarnedSums,
}

/// Who pays this node, and whom it pays. Amounts are base units of the token.
#[derive(Clone, Debug, Default)]
pub struct PaymentsStatus {
    /// Sites that somebody agreed to pay for.
    pub billed: Vec<BilledSite>,
    /// Nodes that this one pays.
    pub paying: Vec<PaidNode>,
}

/// A site that somebody agreed to pay for.
#[derive(Clone, Debug)]
pub struct BilledSite {
    /// Its id,
    pub id: String,
    /// and its name.
    pub name: String,
    /// The node that pays, as `did:key:…`,
    pub node: String,
    /// and from which account.
    pub payer: String,
    /// When the agreement ends.
    pub until: UnixSeconds,
    /// Bytes that receivers signed for at the price that holds now.
    pub signed_bytes: u64,
    /// Of those, not billed yet.
    pub unbilled_bytes: u64,
    /// What its payer counted of what this site's tabs gave to each other; nothing where that is not paid for.
    pub tabs: Option<u128>,
    /// What its payer got in all, over all its sites, with what tabs gave.
    pub total: u128,
    /// Of that, by vouchers.
    pub paid: u128,
    /// Not covered by money.
    pub owed: u128,
    /// What it may owe before service stops.
    pub window: u128,
    /// Whether it is served at this moment.
    pub served: bool,
}

/// A node that this one pays.
#[derive(Clone, Debug)]
pub struct PaidNode {
    /// For which site, by its id.
    pub site: String,
    /// Which, as `did:key:…`,
    pub node: String,
    /// and to which account.
    pub payee: String,
    /// Bytes that receivers signed for, by its bills, at the price that holds now.
    pub verified_bytes: u64,
    /// What that node's bills say that tabs of this site gave to each other, as far as it was counted.
    pub tabs: Option<u128>,
    /// What that account's nodes gave in all, and tabs by them.
    pub total: u128,
    /// Of that, by vouchers.
    pub signed: u128,
    /// Not signed for yet.
    pub owed: u128,
    /// What this site cost there today, without tabs.
    pub today: u128,
}

/// What visitors' tabs are paid for what they give to each other. Amounts are base units of the token.
#[derive(Clone, Debug, Default)]
pub struct TabsStatus {
    /// Earned by all accounts since ever, and paid for by publishers.
    pub earned: u128,
    /// Of that, in no epoch yet.
    pub due: u128,
    /// How many accounts that is.
    pub accounts: u64,
    /// Epochs that are planned or can be claimed.
    pub epochs: Vec<EpochStatus>,
}

/// An epoch of what tabs are paid.
#[derive(Clone, Debug)]
pub struct EpochStatus {
    /// Its number: when it was planned, in seconds since 1970.
    pub number: u64,
    /// Until when it can be claimed; nothing before the chain has it.
    pub until: Option<UnixSeconds>,
    /// What it comes to.
    pub total: u128,
    /// How many accounts have a share.
    pub shares: usize,
}

/// Where a page of sessions ends, as the node says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(pub Vec<u8>);

/// What the edge asks the node for, each time anew.
pub trait Node: Send + Sync {
    /// Where it can be dialled.
    fn addresses(&self) -> PeerAddresses;
    /// How its network is; none where it is an edge alone.
    fn network(&self) -> Option<NetworkStatus>;
    /// How its money stands; none where it deals with none.
    fn money(&self) -> Option<MoneyStatus>;
    /// Copies of this node's shards in visitors' tabs, which count nothing; at most so many.
    fn extras(&self, max: usize) -> Vec<ExtraShard>;
    /// Shards of others that it keeps, where it does, with what at most so many owners say of it.
    fn held(&self, max: usize) -> Option<HeldStatus>;
    /// What was earned by serving.
    fn earnings(&self) -> EarningsStatus;
    /// Who pays this node, and whom it pays.
    fn payments(&self) -> PaymentsStatus;
    /// What visitors' tabs are paid here, where they are. Reads the disk.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn tabs(&self) -> Result<Option<TabsStatus>, String>;
    /// What an account's tabs earned here; nothing where tabs are not paid. Reads the disk.
    ///
    /// # Errors
    /// Why it cannot be read, or that this is no account.
    fn earner(&self, account: &str) -> Result<Option<EarnerStatus>, EarnerError>;
    /// Sessions that are not booked yet, after the one of this receiver and number; at most so many.
    fn running(&self, after: Option<(&str, u64)>, max: usize) -> Vec<EarnedSession>;
    /// Booked sessions, the newest first, at most so many; and where to go on, where there are more. Reads the disk.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn booked(
        &self,
        after: Option<Position>,
        max: usize,
    ) -> Result<(Vec<EarnedSession>, Option<Position>), String>;
    /// Sums by receiver, those with the most bytes first, at most so many. Reads the disk.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn receivers(&self, max: usize) -> Result<Vec<(String, EarnedSums)>, String>;
    /// Days of which only sums are kept, the newest first, at most so many. Reads the disk.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn days(&self, max: usize) -> Result<Vec<EarnedDay>, String>;
}

/// Everything the edge answers from. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) cdn: Cdn,
    pub(crate) tab: TabFiles,
    pub(crate) meters: Meters,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) login: Option<Login>,
    /// Whether whoever asks from this machine is its operator.
    pub(crate) trusts_this_machine: bool,
    pub(crate) started: Instant,
    visitors: AtomicU32,
    registry: Mutex<Registry>,
    requests: Arc<Semaphore>,
}

impl Edge {
    /// The edge of a node.
    pub fn new(
        config: &Config,
        cdn: Cdn,
        meters: Meters,
        registry: Registry,
        node: impl Node + 'static,
        login: Option<Login>,
    ) -> Self {
        let tab = TabFiles::new(config.tab_dir.clone());
        if !tab.is_there() {
            tracing::info!("{}", tab_files::REMEDY);
        }
        let inner = Inner {
            cdn,
            tab,
            meters,
            node: Arc::new(node),
            login,
            // Behind a proxy everybody seems to ask from here.
            trusts_this_machine: config.public_url.is_none(),
            started: Instant::now(),
            visitors: AtomicU32::new(0),
            registry: Mutex::new(registry),
            requests: Arc::new(Semaphore::new(config.requests)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The service that answers requests.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/blackhole/v1/sites/{site}/manifest", get(manifests::get).put(manifests::put))
            .route("/blackhole/v1/blobs/{root}", get(blobs::get).put(blobs::put))
            .route("/blackhole/v1/blobs/{root}/runs/{hashes}/{groups}", get(blobs::run))
            .route("/blackhole/v1/peer", get(peer))
            .route("/blackhole/v1/earners/{account}", get(earners::get))
            .route("/blackhole/tab/{file}", get(tab_files::get))
            .route("/status", get(status::page))
            .route(EARNINGS, get(earnings::page))
            .route(EARNINGS_CSV, get(earnings::csv))
            .route(PAYMENTS_CSV, get(payments::csv))
            .merge(login::routes())
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .fallback(|| async { Problem::not_found("no such path; see /status for what is here") })
            .method_not_allowed_fallback(|| async {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method",
                    "This path does not take that method",
                    "GET and HEAD read; PUT is for publishers",
                )
            })
            .layer(middleware::from_fn_with_state(self.clone(), around))
            .with_state(self)
    }
}

/// Around every request: bounded concurrency, refusals that arrive, open to every origin, counted.
async fn around(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let private = is_private(request.uri().path());
    if request.method() == Method::OPTIONS && !private {
        return preflight(request.headers());
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let request = request.map(|body| Body::new(Lingering::new(body, waits)));
    let permit = Arc::clone(&edge.inner.requests).try_acquire_owned();
    let mut response = match permit {
        Ok(permit) => next.run(request).await.map(|body| Body::new(Held { body, _permit: permit })),
        Err(_) => {
            edge.inner.cdn.meters().refused("busy");
            Problem::busy(1).into_response()
        }
    };
    edge.inner.meters.answered(response.status().as_u16(), started.elapsed());
    if private {
        for_its_reader_alone(response.headers_mut());
    } else {
        open_to_all(response.headers_mut());
    }
    response
}

/// What is not for everybody: no other page may read it.
fn is_private(path: &str) -> bool {
    let below = |parent: &&str| {
        path.strip_prefix(*parent).is_some_and(|rest| matches!(rest.chars().next(), None | Some('/' | '.')))
    };
    PRIVATE.iter().any(below)
}

fn for_its_reader_alone(headers: &mut HeaderMap) {
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// All else here is public and the same for everybody, so any page may read it.
fn open_to_all(headers: &mut HeaderMap) {
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "ETag, Content-Range, Content-Length, Accept-Ranges, Retry-After",
        ),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (HeaderName::from_static("timing-allow-origin"), "*"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    open_to_all(headers);
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, PUT"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range, If-None-Match, If-Range, Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A public page may use a supernode at home where its visitor's browser asks for leave.
    if asked.contains_key("access-control-request-private-network") {
        let name = HeaderName::from_static("access-control-allow-private-network");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

async fn peer(State(edge): State<Edge>) -> Response {
    let visitor = edge.inner.visitors.fetch_add(1, Ordering::Relaxed) % VISITORS;
    let mut response = axum::Json(Described { visitor, node: edge.inner.node.addresses() }).into_response();
    // Kept, so that a tab that starts while we are away knows whom to look for.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn metrics(State(edge): State<Edge>) -> Response {
    edge.inner.cdn.observe();
    // Brings the gauges of network, money and payments up to date.
    let _ = (edge.inner.node.network(), edge.inner.node.money(), edge.inner.node.payments());
    let registry = edge.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// A body that keeps its request counted until it is sent or given up.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
