//! Blocks in a row, depth first, each verified by whoever reads it.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use shared::storage::ipfs::{Cid, Walk, car, inlined};
use tokio::sync::mpsc;

use super::{
    Body, Refusal, Target, headers, named,
    request::{Asked, CarForm},
    with_status,
};
use crate::ipfs::Ipfs;

/// Blocks between the disk and the client.
const BLOCKS: usize = 2;

pub(super) async fn answer(
    ipfs: &Arc<Ipfs>,
    target: Target,
    asked: &Asked,
) -> Result<Response<Body>, Refusal> {
    let root = target.path.root;
    if asked.only_if_cached() && !ipfs.has(&root).await? {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "not here"));
    }
    let resolved = ipfs.follow(target.path.clone()).await?;
    // Read, not only looked up: once the answer has begun it can only break off.
    if ipfs.block(&resolved.cid).await?.is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("{} is not here", resolved.cid)));
    }
    let etag = etag(&root, &target.shown, asked.car);
    let mut response = if asked.has(&etag) {
        with_status(StatusCode::NOT_MODIFIED)
    } else {
        let (sender, mut pieces) = mpsc::channel(BLOCKS);
        let (ipfs, form, way, end) = (Arc::clone(ipfs), asked.car, resolved.way.clone(), resolved.cid);
        tokio::spawn(async move {
            if let Err(error) = send(&ipfs, root, &way, end, form, &sender).await {
                // The client sees that the answer breaks off.
                tracing::debug!(%error, "a CAR broke off");
                let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
            }
        });
        let stream = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
        Response::new(BodyExt::boxed(StreamBody::new(stream.map(|piece| piece.map(Frame::data)))))
    };
    let into = response.headers_mut();
    headers::of_content(into, &target, &resolved.roots, &etag);
    let dups = if asked.car.repeats { "y" } else { "n" };
    let kind = format!("application/vnd.ipld.car; version=1; order=dfs; dups={dups}");
    headers::of_binary(into, asked, &kind, &format!("{}.car", named(&resolved.cid)));
    headers::put(into, header::ACCEPT_RANGES, "none");
    Ok(response)
}

/// The same form of the same path has the same bytes.
fn etag(root: &Cid, shown: &str, form: CarForm) -> String {
    let hash = blake3::hash(format!("{shown} {form:?}").as_bytes()).to_hex();
    format!("\"{root}.car.{}\"", &hash[..16])
}

async fn send(
    ipfs: &Ipfs,
    root: Cid,
    way: &[Cid],
    end: Cid,
    form: CarForm,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> anyhow::Result<()> {
    sender.send(Ok(car::header(&[root]).into())).await?;
    let mut walk = Walk::new(end, form.scope, form.bytes, !form.repeats);
    for cid in way {
        walk.mark_sent(*cid);
        let block = ipfs.block(cid).await?.ok_or_else(|| anyhow::anyhow!("{cid} is not here"))?;
        send_block(cid, block, sender).await?;
    }
    while let Some(visit) = walk.next_visit() {
        let cid = visit.cid;
        let block = ipfs.block(&cid).await?.ok_or_else(|| anyhow::anyhow!("{cid} is not here"))?;
        walk.handle_block(&block)?;
        if visit.fresh {
            send_block(&cid, block, sender).await?;
        }
    }
    Ok(())
}

async fn send_block(cid: &Cid, block: Bytes, sender: &mpsc::Sender<io::Result<Bytes>>) -> anyhow::Result<()> {
    // Who has the CID has the block.
    if inlined(cid).is_some() {
        return Ok(());
    }
    sender.send(Ok(car::section(cid, block.len()).into())).await?;
    Ok(sender.send(Ok(block)).await?)
}
