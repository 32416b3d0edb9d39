// A js-libp2p circuit relay over WebSocket. Prints its address; ends with its standard input.
import { circuitRelayServer } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0/ws'] },
  transports: [webSockets()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { inboundConnectionThreshold: 1_000 },
  services: {
    identify: identify(),
    relay: circuitRelayServer({ reservations: { maxReservations: 1_000 } }),
  },
});
console.log(node.getMultiaddrs()[0].toString());
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
