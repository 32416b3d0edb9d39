// js-libp2p in Node against the supernode, over TCP and WebSocket. `node run.mjs`.
import assert from 'node:assert/strict';
import { openAdvert } from './advert.mjs';
import { ensureNode22, startNode, startSupernode, until } from './rig.mjs';

ensureNode22();
const { multiaddr } = await import('@multiformats/multiaddr');
const { CID } = await import('multiformats/cid');
const Digest = await import('multiformats/hashes/digest');

const SERVICE = '/blackhole/cdn/1.0.0';
const ADVERTS = '/blackhole/adverts/1';
const TOPIC = '/interop/topic/1';
// js-libp2p sends all that a window allows as one Yamux frame: enough for windows to grow as far as they may.
const BULK_BYTES = 32_000_000;
const bytes = (text) => new TextEncoder().encode(text);
const text = (bytes) => new TextDecoder().decode(bytes);

const supernode = await startSupernode();
const ways = { tcp: await startNode(), websocket: await startNode() };
const address = {
  tcp: supernode.addresses.find((one) => /\/tcp\/\d+\/p2p\//.test(one)),
  websocket: supernode.address('/ws/'),
};
let failed = 0;

async function check(name, body) {
  const begun = Date.now();
  try {
    const figure = await body();
    console.log(`ok   ${name}${typeof figure === 'string' ? `: ${figure}` : ''} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error.stack ?? error.type ?? error}`);
  }
}

/** Collects the messages of a topic. */
function hear(node, topic) {
  const heard = [];
  node.services.pubsub.addEventListener('message', ({ detail }) => detail.topic === topic && heard.push(detail));
  node.services.pubsub.subscribe(topic);
  return heard;
}

const adverts = hear(ways.tcp, ADVERTS);
const messages = { tcp: hear(ways.tcp, TOPIC), websocket: hear(ways.websocket, TOPIC) };

for (const [way, node] of Object.entries(ways)) {
  await check(`${way}: connects to the peer it named`, async () => {
    const connection = await node.dial(multiaddr(address[way]));
    assert.equal(connection.remotePeer.toString(), supernode.peer);
    assert.equal(connection.encryption, '/noise');
  });

  await check(`${way}: ping`, async () => {
    // rust-libp2p keeps one ping stream a connection: another ping of the node's own ends this one.
    const ping = () => node.services.ping.ping(multiaddr(address[way]), { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    return `${await until('a ping came back', async () => (await ping())?.toString())} ms`;
  });

  await check(`${way}: identify`, async () => {
    const [connection] = node.getConnections();
    const peer = await until('identified', async () => {
      const found = await node.peerStore.get(connection.remotePeer);
      return found.protocols.length > 0 && found;
    });
    const agent = text(peer.metadata.get('AgentVersion'));
    assert.match(agent, /^blackhole\/\d/);
    for (const protocol of [SERVICE, '/ipfs/kad/1.0.0', '/ipfs/ping/1.0.0', '/libp2p/circuit/relay/0.2.0/hop', '/libp2p/autonat/2/dial-request']) {
      assert.ok(peer.protocols.includes(protocol), `${protocol} is not among ${peer.protocols}`);
    }
    return agent;
  });

  await check(`${way}: a link carries ${BULK_BYTES} bytes there and back`, async () => {
    const [connection] = node.getConnections();
    const stream = await connection.newStream(SERVICE);
    let received = 0;
    const reading = (async () => {
      for await (const chunk of stream) received += chunk.byteLength;
    })();
    const chunk = new Uint8Array(10_000).fill(7);
    for (let sent = 0; sent < BULK_BYTES; sent += chunk.length) {
      stream.send(chunk);
      if (stream.writableNeedsDrain) await stream.onDrain();
    }
    await stream.close();
    await reading;
    assert.equal(received, BULK_BYTES);
  });
}

const value = bytes('stored by one, found by the other');
await check('kad: one puts', async () => {
  await until('the routing table knows the supernode', () => ways.tcp.services.dht.routingTable.size > 0);
  await until('the routing table knows the supernode', () => ways.websocket.services.dht.routingTable.size > 0);
  await ways.tcp.contentRouting.put(bytes('/interop/greeting'), value);
});
await check('kad: the other gets', async () => {
  const found = await ways.websocket.contentRouting.get(bytes('/interop/greeting'));
  assert.deepEqual(Buffer.from(found), Buffer.from(value));
});
await check('kad: the provider of a service is found by its protocol id', async () => {
  const service = CID.createV1(0x55, Digest.decode(Buffer.from(supernode.serviceKey, 'hex')));
  for await (const provider of ways.websocket.contentRouting.findProviders(service, { signal: AbortSignal.timeout(20_000) })) {
    if (provider.id.toString() === supernode.peer) return;
  }
  assert.fail('nobody provides it');
});

for (const [way, node] of Object.entries(ways)) {
  await check(`${way}: gossip both ways`, async () => {
    const said = `hello over ${way}`;
    await until('the supernode hears the topic', () => node.services.pubsub.getSubscribers(TOPIC).some((peer) => peer.toString() === supernode.peer));
    await node.services.pubsub.publish(TOPIC, bytes(said));
    const line = await supernode.said((line) => line.text === said);
    assert.equal(line.author, node.peerId.toString());
    const answer = await until('the answer', () => messages[way].find((message) => text(message.data) === `heard ${said}`));
    assert.equal(answer.from.toString(), supernode.peer);
  });
}
await check('gossip crosses the supernode', () => until('the other heard it too', () =>
  messages.websocket.some((message) => text(message.data) === 'hello over tcp')));

await check('an advert reads by its specification', async () => {
  const advert = openAdvert((await until('an advert', () => adverts[0])).data);
  assert.ok(advert.valid);
  assert.deepEqual(advert.services, [SERVICE]);
  assert.ok(advert.addresses >= 3 && advert.lifetime <= 3600);
});

await Promise.all(Object.values(ways).map((node) => node.stop()));
await supernode.stop();
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
