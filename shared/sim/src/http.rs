//! Plain HTTP: a supernode's edge and the publisher's origin, behind the same shaped lines as everything else.

use core::time::Duration;

use shared::{
    base::{BlobRoot, EffectId},
    cdn::part::Run,
    peer::{Done, HttpSource, Source},
};

use crate::{
    content::{Payload, pieces_of},
    invariants::Fact,
    net::{FlowId, Outgoing},
    node::{HttpFetch, NodeId},
    world::{Happening, Response, SILENCE_DETECTED_AFTER, World},
};

/// From a request's arrival to the first byte of its answer.
const FIRST_BYTE_AFTER: Duration = Duration::from_millis(80);
/// Round trips until a new connection takes a request: TCP and TLS.
const CONNECT_ROUND_TRIPS: u32 = 2;
/// A browser's initial window and its growth, as one number: under way at most, beside what the path holds.
const WINDOW_BYTES: u64 = 128 * 1024;

impl World {
    pub(crate) fn fetch_http(
        &mut self,
        id: NodeId,
        effect: EffectId,
        source: HttpSource,
        root: BlobRoot,
        run: Run,
    ) {
        self.state(id, &Fact::Asked(effect));
        let plan = &self.node(id).plan;
        let server = match source {
            HttpSource::Edge => plan.edge,
            HttpSource::Origin => plan.origin,
        };
        let Some(server) = server else { return self.done(id, effect, Done::Failed) };
        let way = self.one_way(id, server);
        let life = self.node(id).lives;
        let http_id = self.next_response;
        self.next_response += 1;
        let node = self.node_mut(id);
        let connect = if node.warm.insert(server) { CONNECT_ROUND_TRIPS } else { 0 };
        let fetch = HttpFetch { id: http_id, source, server, root, run, held: Vec::new(), ended: false };
        node.fetches.insert(effect, fetch);
        let now = self.now();
        if !self.is_serving(server) {
            let lost = Happening::HttpLost { client: (id, life), effect };
            return self.agenda.note(now + 2 * way, lost);
        }
        self.responses.insert(http_id, Response { client: id, effect, last: now });
        let when = now + (2 * connect + 1) * way + FIRST_BYTE_AFTER;
        self.agenda.note(when, Happening::HttpReady { id: http_id });
    }

    pub(crate) fn is_origin(&self, id: NodeId, effect: EffectId) -> bool {
        self.node(id).fetches.get(&effect).is_some_and(|fetch| fetch.source == HttpSource::Origin)
    }

    fn is_serving(&self, server: NodeId) -> bool {
        self.node(server).alive && !self.http_down.contains(&server)
    }

    /// The server has the first byte: the response goes in turns with everything else it sends.
    pub(crate) fn http_ready(&mut self, id: u64) {
        let Some(Response { client, effect, .. }) = self.responses.get(&id).copied() else { return };
        let Some(fetch) = self.node(client).fetches.get(&effect) else { return };
        let (server, root, run) = (fetch.server, fetch.root, fetch.run);
        let blob = self.blobs.get(&root).filter(|_| self.node(server).disk.is_complete(root)).cloned();
        let shape = blob.as_ref().map(|blob| blob.shape());
        let pieces = shape.iter().flat_map(|shape| run.parts().flat_map(|part| pieces_of(part, *shape)));
        // What is sent next is at the end.
        let pieces: Vec<_> = pieces.collect::<Vec<_>>().into_iter().rev().collect();
        let Some(blob) = blob.filter(|_| !pieces.is_empty()) else {
            return self.http_failed(client, effect);
        };
        let window = WINDOW_BYTES + self.path_bytes(server, client);
        let response = Outgoing::Response { to: client, blob, pieces };
        self.node_mut(server).uplink.push(FlowId::Http(id), response, window);
        self.kick(server);
    }

    pub(crate) fn http_delivered(&mut self, id: u64, payload: Payload, last: bool) {
        let Some(Response { client, effect, .. }) = self.responses.get(&id).copied() else { return };
        let Some(fetch) = self.node_mut(client).fetches.get_mut(&effect) else { return };
        fetch.ended |= last;
        fetch.held.push(payload);
        self.read_held(client, effect);
    }

    /// A page came: what other responses held back for it may go on.
    pub(crate) fn release_held(&mut self, id: NodeId, root: BlobRoot) {
        let waiting = |fetch: &HttpFetch| fetch.root == root && !fetch.held.is_empty();
        let node = self.node(id);
        let effects: Vec<_> =
            node.fetches.iter().filter(|(_, fetch)| waiting(fetch)).map(|(effect, _)| *effect).collect();
        for effect in effects {
            self.read_held(id, effect);
        }
    }

    fn read_held(&mut self, id: NodeId, effect: EffectId) {
        loop {
            let Some(fetch) = self.node(id).fetches.get(&effect) else { return };
            let Some(payload) = fetch.held.first().cloned() else { break };
            let root = fetch.root;
            let Some(blob) = self.blobs.get(&root).cloned() else { return };
            let node = self.node_mut(id);
            if !node.disk.can_judge(&blob, payload.piece) {
                return;
            }
            let Some(fetch) = node.fetches.get_mut(&effect) else { return };
            fetch.held.remove(0);
            self.keep(id, Source::Http(effect), None, root, payload.piece, &payload);
        }
        if self.node(id).fetches.get(&effect).is_some_and(|fetch| fetch.ended) {
            self.end_http(id, effect, Done::HttpFinished);
        }
    }

    pub(crate) fn http_failed(&mut self, id: NodeId, effect: EffectId) {
        if self.node(id).fetches.contains_key(&effect) {
            self.end_http(id, effect, Done::Failed);
        }
    }

    pub(crate) fn cancel_http(&mut self, id: NodeId, effect: EffectId) {
        if let Some(fetch) = self.node(id).fetches.get(&effect) {
            let (server, flow) = (fetch.server, FlowId::Http(fetch.id));
            self.node_mut(server).uplink.drop_flow(flow);
            self.end_http(id, effect, Done::Cancelled);
        }
    }

    fn end_http(&mut self, id: NodeId, effect: EffectId, done: Done) {
        if let Some(fetch) = self.node_mut(id).fetches.remove(&effect) {
            self.responses.remove(&fetch.id);
            self.done(id, effect, done);
        }
    }

    /// A server is gone: its clients notice, each in its time. A client is gone: nobody reads its responses.
    pub(crate) fn lose_responses(&mut self, id: NodeId) {
        let now = self.now();
        let responses: Vec<_> = self.responses.iter().map(|(id, response)| (*id, *response)).collect();
        for (response, Response { client, effect, .. }) in responses {
            let server = self.node(client).fetches.get(&effect).map(|fetch| fetch.server);
            if client == id || server.is_none() {
                self.responses.remove(&response);
                for node in &mut self.nodes {
                    node.uplink.drop_flow(FlowId::Http(response));
                }
            } else if server == Some(id) {
                self.responses.remove(&response);
                self.node_mut(id).uplink.drop_flow(FlowId::Http(response));
                let life = self.node(client).lives;
                let lost = Happening::HttpLost { client: (client, life), effect };
                self.agenda.note(now + SILENCE_DETECTED_AFTER, lost);
                self.node_mut(client).warm.remove(&id);
            }
        }
    }
}
