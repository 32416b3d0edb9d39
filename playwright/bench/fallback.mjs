// Whatever is missing, a page with our tag loads as fast as without. Each round loads the page once directly and
// once in every condition, on one line, by a fresh visitor; what is compared is what the visitor waits for: the
// load event and all files that the page's scripts fetch (see `visit/visit.js`).
//
//   node playwright/bench/fallback.mjs [--loads 30] [--only alone,wasm-blocked] [--mbit 20] [--delay 80]
//
// A load counts only where its condition held: alone, the tab must have run and the edge have delivered.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pictures, startBrowser } from '../rig/browser.mjs';
import { WITHOUT_WORKER } from '../rig/network.mjs';
import { freePort } from '../rig/ports.mjs';
import { Supernode, tag, tagScript } from '../rig/supernode.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';
import { argument, cell, conclude, pause, quantile, within } from './measure.mjs';
import { smallSite } from './small-site.mjs';

const LOADS = Number(argument('loads', 30));
const LINE = { bitsPerSecond: Number(argument('mbit', 20)) * 1e6, firstByteDelayMs: Number(argument('delay', 80)) };
/** A load that takes longer is counted with this, and said to be unfinished. */
const PATIENCE_MS = 20_000;
const SLOWER_SHARE = 0.03;
const SLOWER_MS = 30;
/** Between two loads, for the last one's connections to be gone. */
const SETTLE_MS = 200;

async function listener(handle) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    handle(socket);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: server.address().port,
    close: () => new Promise((done) => { for (const socket of sockets) socket.destroy(); server.close(done); }),
  };
}

/** A publisher's site behind the line; with `supernode`, one that serves it. */
async function startPlace(small, { supernode = false } = {}) {
  const origin = await startOrigin({ root: small.directory });
  const edgePort = await freePort();
  const line = await startShaper({ upstreams: { origin: origin.port, edge: edgePort }, ...LINE });
  const url = `http://localhost:${line.ports.origin}`;
  const edge = `http://localhost:${line.ports.edge}`;
  let node = null;
  if (supernode) {
    node = new Supernode({ site: new URL(url).host, publish: small.directory, edgePort, edge: `public_url = "${edge}"` });
    await node.start();
    origin.setTag(node.tag({ edge, attributes: WITHOUT_WORKER }));
  }
  const close = async () => { await line.close(); await origin.close(); await node?.close(); };
  return { origin, url, edge, edgePort: line.ports.edge, node, close };
}

/** The tag of a supernode that is not there. */
const deadTag = (port) => tag({ loader: `http://localhost:${port}/blackhole/tab/loader.js`, publisher: '0'.repeat(64), attributes: WITHOUT_WORKER });

const said = (reason) => ({ tab }) => (tab?.reasons.some((one) => one.includes(reason)) ? null : `the tab does not say ${reason}: ${JSON.stringify(tab)}`);
const noTab = ({ tab }) => (tab?.running ? 'a tab runs' : null);
const delivered = ({ end }) => (end?.running && end.bytes.edge > 0 ? null : `the edge delivered nothing: ${JSON.stringify(end)}`);

const conditions = [
  { name: 'direct', start: (small) => startPlace(small), held: ({ tab }) => (tab === null ? null : 'there is a tab') },
  { name: 'alone', start: (small) => startPlace(small, { supernode: true }), held: delivered },
  {
    name: 'supernode-refuses',
    async start(small) {
      const place = await startPlace(small);
      place.origin.setTag(deadTag(await freePort()));
      return place;
    },
    held: noTab,
  },
  {
    name: 'supernode-silent',
    async start(small) {
      const [place, silent] = [await startPlace(small), await listener((socket) => socket.resume())];
      place.origin.setTag(deadTag(silent.port));
      return { ...place, close: async () => { await place.close(); await silent.close(); } };
    },
    held: noTab,
  },
  {
    // Its loader is still in some cache on the way, and is all that comes.
    name: 'supernode-freezes',
    async start(small) {
      const place = await startPlace(small, { supernode: true });
      const loader = Buffer.from(await (await fetch(`${place.node.edge}/blackhole/tab/loader.js`)).arrayBuffer());
      const frozen = await listener((socket) => {
        socket.on('data', (request) => {
          if (!request.toString('latin1').startsWith('GET /blackhole/tab/loader.js ')) return;
          socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/javascript\r\naccess-control-allow-origin: *\r\ncontent-length: ${loader.length}\r\n\r\n`);
          socket.write(loader);
        });
      });
      const line = await startShaper({ upstreams: { frozen: frozen.port }, ...LINE });
      place.origin.setTag(place.node.tag({ edge: `http://localhost:${line.ports.frozen}`, attributes: WITHOUT_WORKER }));
      return { ...place, close: async () => { await line.close(); await frozen.close(); await place.close(); } };
    },
    held: ({ tab }) => (tab !== null && !tab.running ? null : `the loader did not come, or more than it: ${JSON.stringify(tab)}`),
  },
  {
    name: 'webrtc-absent',
    start: (small) => startPlace(small, { supernode: true }),
    before: (page) => page.addInitScript(() => { delete window.RTCPeerConnection; }),
    held: said('no-webrtc'),
  },
  {
    // The visitor's network lets no UDP through: connections are made and never come up. Another tab is there.
    name: 'udp-refused',
    start: (small) => startPlace(small, { supernode: true }),
    neighbour: true,
    before: (page) => page.addInitScript(() => {
      const Native = window.RTCPeerConnection;
      window.RTCPeerConnection = class extends Native {
        constructor(configuration) { super({ ...configuration, iceServers: [], iceTransportPolicy: 'relay' }); }
      };
    }),
    held: (load) => delivered(load) ?? (load.end.bytes.peers === 0 ? null : 'bytes came from the other tab'),
  },
  {
    name: 'wasm-blocked',
    async start(small) {
      const place = await startPlace(small, { supernode: true });
      const policy = `default-src 'self'; script-src 'self' blob: 'sha256-${createHash('sha256').update(tagScript).digest('base64')}'; worker-src blob:; connect-src 'self' ${place.edge}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:`;
      place.origin.setHeader('content-security-policy', policy);
      return place;
    },
    held: said('wasm-blocked'),
  },
];

async function load(browser, condition) {
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  try {
    await condition.before?.(visitor.page);
    const begun = performance.now();
    const figures = await within(PATIENCE_MS, 'the page', (async () => {
      await visitor.page.goto(condition.place.url, { waitUntil: 'commit', timeout: PATIENCE_MS });
      await visitor.page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
      const visited = await visitor.page.evaluate(() => window.visited);
      const end = await visitor.page.evaluate(() => window.blackhole?.status() ?? null);
      return { ...visited, end };
    })()).catch((error) => ({ waitedMs: performance.now() - begun, files: 0, wrong: [error.message.split('\n')[0]], unfinished: true }));
    return { ...figures, unheld: figures.unfinished ? null : condition.held(figures) };
  } finally {
    await visitor.close();
  }
}

const small = smallSite();
const only = argument('only', '').split(',').filter(Boolean);
const chosen = conditions.filter(({ name }) => name === 'direct' || only.length === 0 || only.includes(name));
console.log(`${LOADS} loads each of ${(small.bytes / 1e6).toFixed(1)} MB, ${LINE.bitsPerSecond / 1e6} Mbit/s, ${LINE.firstByteDelayMs} ms, fresh visitors`);
let browser;
try {
  for (const condition of chosen) Object.assign(condition, { place: await condition.start(small), loads: [] });
  browser = await startBrowser();
  for (const condition of chosen.filter(({ neighbour }) => neighbour)) {
    const { page } = await browser.visitor({ serviceWorkers: 'block' });
    await page.goto(condition.place.url);
    await within(PATIENCE_MS, 'the other tab holds the site', page.evaluate(() => window.visited));
  }
  // The first load of a process pays for the process; it is nobody's figure.
  for (const condition of chosen) await load(browser, condition);
  for (let round = 0; round < LOADS; round += 1) {
    // Each round begins with another one, so that none always follows the same.
    for (const at of chosen.keys()) {
      const condition = chosen[(at + round) % chosen.length];
      condition.loads.push(await load(browser, condition));
      await pause(SETTLE_MS);
    }
  }
} finally {
  await browser?.close();
  for (const { place } of chosen) await place?.close();
  small.close();
}

const figure = (condition, share) => quantile(condition.loads.map(({ waitedMs }) => waitedMs), share);
const direct = figure(chosen[0], 0.95);
const limit = direct + Math.max(SLOWER_SHARE * direct, SLOWER_MS);
const verdicts = [];
console.log(`\n${'condition'.padEnd(20)}${cell('median', 10)}${cell('p95', 10)}${cell('of direct', 11)}${cell('load event', 12)}${cell('stage 1', 10)}${cell('stage 2', 10)}`);
for (const condition of chosen) {
  const { name, loads } = condition;
  const p95 = figure(condition, 0.95);
  const median = (key) => { const found = loads.map((one) => one[key]).filter((value) => value !== undefined); return found.length ? `${quantile(found, 0.5).toFixed(0)} ms` : '–'; };
  console.log(`${name.padEnd(20)}${cell(median('waitedMs'), 10)}${cell(`${p95.toFixed(0)} ms`, 10)}${cell((p95 / direct).toFixed(3), 11)}${cell(median('loadMs'), 12)}${cell(median('firstMs'), 10)}${cell(median('secondMs'), 10)}`);
  const wrong = [...new Set(loads.flatMap((one) => one.wrong))];
  const unheld = loads.map((one) => one.unheld).filter(Boolean);
  if (wrong.length > 0 || loads.some(({ files }) => files !== small.files)) {
    verdicts.push({ met: false, says: `${name}: ${loads.filter((one) => one.wrong.length > 0).length} loads were not whole: ${wrong.slice(0, 3).join('; ')}` });
  }
  if (unheld.length > 0) verdicts.push({ met: false, says: `${name}: the condition did not hold in ${unheld.length} loads, so they prove nothing: ${unheld[0]}` });
  if (name !== 'direct') verdicts.push({ met: p95 <= limit, says: `${name}: p95 ${p95.toFixed(0)} ms, at most ${limit.toFixed(0)} ms` });
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-fallback.json'), JSON.stringify({ loads: LOADS, line: LINE, conditions: chosen.map(({ name, loads }) => ({ name, loads })) }, null, 1));
conclude(verdicts);
