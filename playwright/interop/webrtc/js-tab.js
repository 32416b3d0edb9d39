// A js-libp2p browser peer, unmodified, for esbuild to bundle. Test code drives `window.peer`.
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { webRTC } from '@libp2p/webrtc';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';

const ECHO = '/interop/echo/1.0.0';

async function start(relay) {
  const node = await createLibp2p({
    addresses: { listen: [`${relay}/p2p-circuit`, '/webrtc'] },
    transports: [webSockets(), webRTC({ rtcConfiguration: { iceServers: [] } }), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // Loopback is where the test lives.
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify() },
  });
  await node.handle(ECHO, async (stream) => {
    for await (const chunk of stream) stream.send(chunk);
    await stream.close();
  });
  return {
    peer: () => node.peerId.toString(),
    addresses: () => node.getMultiaddrs().map(String).filter((address) => address.includes('/webrtc')),
    links: (peer) => node.getConnections().filter((one) => one.remotePeer.toString() === peer).map((one) => one.remoteAddr.toString()),
    async dial(address) {
      const connection = await node.dial(multiaddr(address));
      return connection.remoteAddr.toString();
    },
    // On the direct connection and no other.
    async echo(peer, text) {
      const connection = node.getConnections().find(
        (one) => one.remotePeer.toString() === peer && one.limits === undefined,
      );
      const stream = await connection.newStream(ECHO);
      const heard = [];
      const done = (async () => {
        for await (const chunk of stream) heard.push(chunk.subarray());
      })();
      stream.send(new TextEncoder().encode(text));
      await stream.close();
      await done;
      return heard.map((chunk) => new TextDecoder().decode(chunk)).join('');
    },
  };
}

window.startPeer = async (relay) => {
  window.peer = await start(relay);
};
