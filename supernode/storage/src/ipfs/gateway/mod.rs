//! The HTTP gateway, by the specifications at <https://specs.ipfs.tech/http-gateways/>: blocks, CAR and name records that
//! the client verifies; files and directories for browsers that trust this node; delegated routing of what is held here.
//!
//! It asks nobody else: what is not here is 404.

mod car;
mod files;
mod headers;
mod hosts;
mod listing;
mod request;
mod routing;
mod server;

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use shared::storage::ipfs::{Cid, ContentPath, NamingError};

use self::{
    hosts::Place,
    request::{Asked, Format},
};
use super::{Ipfs, dns::DnsError, names::NameError, reading::ReadError};
use crate::store::StoreError;

/// An answer's bytes.
type Body = BoxBody<Bytes, io::Error>;

/// The gateway, bound and not answering yet.
pub struct Gateway {
    ipfs: Arc<Ipfs>,
    listener: runtime::http::Listener,
}

/// Why a request has no other answer.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        tracing::warn!(%error, "a request to the gateway could not be answered");
        if let Some(StoreError::Bucket(_)) = error.downcast_ref::<StoreError>() {
            let why = "what this node keeps in its bucket cannot be reached now; try again";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this node cannot read what it holds")
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        use shared::storage::ipfs::PathError;
        match error {
            ReadError::Absent(cid) => Self::new(StatusCode::NOT_FOUND, format!("{cid} is not here")),
            ReadError::Path(error @ (PathError::Cid(_) | PathError::Names)) => Self::bad(error.to_string()),
            ReadError::Path(error) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        let status = match &error {
            NameError::Naming(NamingError::Value(_)) | NameError::Dns(DnsError::Failed(..)) => {
                StatusCode::BAD_GATEWAY
            }
            NameError::Naming(_) => StatusCode::BAD_REQUEST,
            NameError::NoRecord(_) | NameError::Dns(DnsError::Nothing(_)) => StatusCode::NOT_FOUND,
            NameError::Dns(DnsError::Off | DnsError::NoServer(_)) => StatusCode::NOT_IMPLEMENTED,
            NameError::Dns(DnsError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            NameError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match error {
            NameError::Store(error) => error.into(),
            error => Self::new(status, error.to_string()),
        }
    }
}

/// What is asked for, once its host and path are understood.
struct Target {
    path: ContentPath,
    /// As it was asked for (`X-Ipfs-Path`).
    shown: String,
    /// For how many seconds it stands; for ever without.
    ttl: Option<u64>,
    /// On an origin of its own, where `_redirects` is heeded.
    site: bool,
}

async fn answer(ipfs: &Arc<Ipfs>, request: Request<Incoming>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let mut response = match dispatch(ipfs, request).await {
        Ok(response) => response,
        Err(Refusal { status, why }) => {
            let mut response = text(status, why);
            // What is missing now may be there soon.
            response.headers_mut().insert(header::CACHE_CONTROL, headers::fixed("no-cache"));
            response
        }
    };
    headers::open_to_all(response.headers_mut());
    if head {
        *response.body_mut() = empty();
    }
    response
}

async fn dispatch(ipfs: &Arc<Ipfs>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let place = hosts::place(ipfs, &request).await?;
    // At a site that is a path of the site's.
    if !matches!(place, Place::Site { .. } | Place::Misnamed { .. })
        && request.uri().path().starts_with("/routing/v1/")
    {
        return routing::answer(ipfs, request).await;
    }
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Ok(with_status(StatusCode::NO_CONTENT)),
        _ => return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are answered")),
    }
    let asked = Asked::read(&request)?;
    let target = match &place {
        Place::Misnamed { host } => {
            let location = hosts::right_location(host, &request);
            return Ok(redirect(StatusCode::MOVED_PERMANENTLY, &location));
        }
        Place::Site { namespace, root } => target(ipfs, namespace, root, &asked.path, true).await?,
        Place::Plain | Place::Domain(_) => {
            if let Some(location) = asked.uri_location()? {
                return Ok(redirect(StatusCode::MOVED_PERMANENTLY, &location));
            }
            let Some((namespace, root, below)) = asked.content_path() else {
                return Err(Refusal::new(StatusCode::NOT_FOUND, "a gateway of IPFS: ask for /ipfs/CID"));
            };
            if asked.registers_a_service_worker() && below.is_none() {
                return Err(Refusal::bad("a service worker's scope is within a root, not all of it"));
            }
            // What the client verifies has no origin, and needs none.
            if let (Place::Domain(domain), Format::Shown) = (&place, asked.format) {
                let location = hosts::site_location(domain, &request, namespace, root, below.unwrap_or(""))?;
                return Ok(redirect(StatusCode::MOVED_PERMANENTLY, &location));
            }
            if namespace == "ipns" && asked.format == Format::NameRecord {
                return routing::name_record(ipfs, root, below).await;
            }
            target(ipfs, namespace, root, below.unwrap_or(""), false).await?
        }
    };
    match asked.format {
        Format::Block => files::block(ipfs, &target, &asked).await,
        Format::Car => car::answer(ipfs, target, &asked).await,
        Format::Shown if ipfs.config.show => files::shown(ipfs, target, &asked).await,
        Format::Shown => {
            Err(Refusal::bad("this gateway answers format=raw, format=car and format=ipns-record"))
        }
        Format::NameRecord => Err(Refusal::bad("name records are of /ipns/NAME, without a path")),
        Format::Other => {
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "of formats there are raw, car and ipns-record"))
        }
    }
}

async fn target(
    ipfs: &Ipfs,
    namespace: &str,
    root: &str,
    below: &str,
    site: bool,
) -> Result<Target, Refusal> {
    let shown = format!(
        "/{namespace}/{root}{}{below}",
        if below.is_empty() || below.starts_with('/') { "" } else { "/" }
    );
    if namespace == "ipfs" {
        let path = ContentPath::parse(&format!("{root}/{below}")).map_err(ReadError::from)?;
        return Ok(Target { path, shown, ttl: None, site });
    }
    let (path, ttl) = ipfs.resolve_name(root, below).await?;
    Ok(Target { path, shown, ttl: Some(ttl), site })
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = whole(Bytes::from(text.into() + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, headers::fixed("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, headers::fixed("nosniff"));
    response
}

fn whole(bytes: Bytes) -> Response<Body> {
    let length = bytes.len() as u64;
    let mut response = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed());
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

fn with_status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = with_status(status);
    match location.parse() {
        Ok(location) => drop(response.headers_mut().insert(header::LOCATION, location)),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// The last CID of a path, as ETags name it.
fn named(cid: &Cid) -> String {
    cid.to_string()
}
