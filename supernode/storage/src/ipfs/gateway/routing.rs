//! Delegated routing (<https://specs.ipfs.tech/routing/http-routing-v1/>): who has what, of what is held here; who this
//! node is; and the name records that it keeps.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use multiaddr::Protocol;
use serde_json::json;
use shared::storage::ipfs::{
    Cid, LIBP2P_KEY,
    ipns::{MAX_RECORD_BYTES, Name},
};

use super::{Body, Refusal, headers, whole, with_status};
use crate::ipfs::{Ipfs, names::Kept};

/// The media type of a signed record.
const RECORD: &str = "application/vnd.ipfs.ipns-record";
/// Who has what may change; ask again after so many seconds.
const PROVIDERS_SECONDS: u64 = 300;
/// Where nothing is known, sooner.
const ABSENT_SECONDS: u64 = 15;

pub(super) async fn answer(ipfs: &Arc<Ipfs>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().strip_prefix("/routing/v1/").unwrap_or_default().to_owned();
    let (what, name) = path.split_once('/').unwrap_or((&path, ""));
    let streamed = accepts(&request, "application/x-ndjson");
    match (request.method(), what) {
        (&Method::OPTIONS, _) => Ok(with_status(StatusCode::NO_CONTENT)),
        (&Method::GET | &Method::HEAD, "providers") => {
            let cid: Cid = name.parse().map_err(|_| unprocessable("not a CID"))?;
            let known = ipfs.has(&cid).await?;
            Ok(records("Providers", if known { us(ipfs) } else { None }, streamed))
        }
        (&Method::GET | &Method::HEAD, "peers") => {
            let cid: Cid =
                name.parse().map_err(|_| unprocessable("a peer is a CID with the codec of keys"))?;
            if cid.codec() != LIBP2P_KEY {
                return Err(unprocessable("a peer is a CID with the codec of keys"));
            }
            let asked = cid.hash().to_bytes() == ipfs.key.public().to_peer_id().to_bytes();
            Ok(records("Peers", if asked { us(ipfs) } else { None }, streamed))
        }
        (&Method::GET | &Method::HEAD, "ipns") => {
            if !accepts(&request, RECORD) && !accepts(&request, "*/*") {
                return Err(Refusal::new(
                    StatusCode::NOT_ACCEPTABLE,
                    format!("try again with Accept: {RECORD}"),
                ));
            }
            name_record(ipfs, name, None).await
        }
        (&Method::PUT, "ipns") => {
            let name = name.to_owned();
            keep(ipfs, &name, request).await
        }
        (_, "providers" | "peers" | "ipns") => {
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this is not supported"))
        }
        _ => Err(Refusal::bad("providers, peers and ipns are known")),
    }
}

fn unprocessable(why: &str) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

fn accepts<B>(request: &Request<B>, kind: &str) -> bool {
    let lines = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.split(';').next().unwrap_or_default().trim() == kind)
}

/// This node as a provider. Without a network it is none.
fn us(ipfs: &Ipfs) -> Option<serde_json::Value> {
    let peering = ipfs.peering.as_ref()?;
    let addresses: Vec<_> = peering
        .addresses()
        .into_iter()
        .map(|mut address| {
            // The peer is said once.
            if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                address.pop();
            }
            address.to_string()
        })
        .collect();
    Some(json!({
        "Schema": "peer",
        "ID": ipfs.key.public().to_peer_id().to_string(),
        "Addrs": addresses,
        "Protocols": ["transport-bitswap"],
    }))
}

fn records(kind: &str, record: Option<serde_json::Value>, streamed: bool) -> Response<Body> {
    let found = record.is_some();
    let (body, media) = if streamed {
        let lines = record.map(|record| format!("{record}\n")).unwrap_or_default();
        (lines, "application/x-ndjson")
    } else {
        (json!({ kind: record.into_iter().collect::<Vec<_>>() }).to_string(), "application/json")
    };
    let mut response = whole(body.into());
    if !found {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let seconds = if found { PROVIDERS_SECONDS } else { ABSENT_SECONDS };
    headers::put(response.headers_mut(), header::CONTENT_TYPE, media);
    headers::put(response.headers_mut(), header::CACHE_CONTROL, &format!("public, max-age={seconds}"));
    headers::put(response.headers_mut(), header::VARY, "Accept");
    response
}

/// The signed record of a name.
pub(super) async fn name_record(
    ipfs: &Ipfs,
    name: &str,
    below: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    if below.is_some_and(|below| !below.is_empty()) {
        return Err(Refusal::bad("a record is of a name, not of what is below it"));
    }
    let name = Name::parse(name).map_err(|error| Refusal::bad(error.to_string()))?;
    let Some((record, signed)) = ipfs.record(&name).await? else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("no record of {name} is kept here")));
    };
    let etag = format!("\"{}\"", blake3::hash(&signed).to_hex());
    let mut response = whole(signed.into());
    let into = response.headers_mut();
    headers::put(into, header::CONTENT_TYPE, RECORD);
    headers::put(into, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers::put(into, header::ETAG, &etag);
    headers::put(
        into,
        header::CONTENT_DISPOSITION,
        &headers::disposition("attachment", &format!("{name}.ipns-record")),
    );
    let left = runtime::unix_now().until(record.expires);
    let seconds = record.ttl_seconds.min(left);
    headers::put(into, header::CACHE_CONTROL, &format!("public, max-age={seconds}"));
    headers::put(into, header::VARY, "Accept");
    Ok(response)
}

async fn keep(ipfs: &Ipfs, name: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    if ipfs.config.strangers_names == 0 {
        let why = "this node keeps its own name alone; storage.ipfs.strangers_names makes room for others";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, why));
    }
    if request.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != RECORD) {
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("try again with Content-Type: {RECORD}"),
        ));
    }
    let name = Name::parse(name).map_err(|error| Refusal::bad(error.to_string()))?;
    let body = Limited::new(request.into_body(), MAX_RECORD_BYTES).collect().await;
    let body = body.map_err(|_| Refusal::bad("a record has at most 10 KiB"))?.to_bytes();
    match ipfs.keep_record(&name, &body).await {
        Ok(Kept::Newest) => Ok(with_status(StatusCode::OK)),
        Ok(Kept::Older) => Err(Refusal::bad("a newer record is kept")),
        Ok(Kept::Full) => {
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "there is no room for another name"))
        }
        Err(error) => Err(Refusal::bad(format!("{error:#}"))),
    }
}
