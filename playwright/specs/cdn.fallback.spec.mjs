// Whatever is missing or lies, the page loads in full by plain HTTP, every file as it was published.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { brokenPictures, fetchAll, scrollThrough, site, startBrowser } from '../rig/browser.mjs';
import { WITHOUT_WORKER, WITH_WORKER, running, startNetwork, status, until } from '../rig/network.mjs';
import { tag, tagScript } from '../rig/supernode.mjs';
import { startOrigin } from '../servers/origin.mjs';

const tagHash = `sha256-${createHash('sha256').update(tagScript).digest('base64')}`;
const SETTLE_MS = 2_000;

let browser;
let network;
before(async () => {
  network = await startNetwork();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

/** In the page: its own clock, and that of every worker it starts, is so many milliseconds off. */
function shiftClock(millis) {
  const now = Date.now;
  Date.now = () => now() + millis;
  const Plain = window.Worker;
  window.Worker = class extends Plain {
    constructor(url, options) {
      const script = (text) => URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
      const shift = script(`const now = Date.now; Date.now = () => now() + ${millis};`);
      super(script(`import '${shift}'; import '${url}';`), options);
    }
  };
}

/** The whole site, looked at and fetched, is as published; returns what the tab says about itself. */
async function wholeSite(prepare = async () => {}) {
  const { page, context, errors, close } = await browser.visitor({ serviceWorkers: 'block' });
  await prepare(page, context);
  await page.goto(network.url);
  // Whatever the loader would do, it has begun by then.
  await page.waitForTimeout(SETTLE_MS);
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  await scrollThrough(page);
  assert.deepEqual(await brokenPictures(page), []);
  const now = await status(page);
  await close();
  return { now, errors };
}

test('the supernode is down from the start', async () => {
  await network.supernode.stop();
  try {
    const { now } = await wholeSite();
    assert.ok(now === null || !now.running || now.bytes.edge === 0);
  } finally {
    await network.supernode.start();
  }
});

test('the supernode dies in mid-transfer', async () => {
  const { page, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  const arriving = fetchAll(page);
  await until(page, 'something came from the edge', ({ bytes }) => bytes.edge > 0);
  await network.supernode.kill();
  try {
    assert.deepEqual((await arriving).wrong, []);
  } finally {
    await network.supernode.start();
  }
  await close();
});

test('wasm is blocked by the site’s own policy', async () => {
  const { edge } = network.supernode;
  network.origin.setHeader('content-security-policy', `default-src 'self'; script-src 'self' blob: '${tagHash}'; connect-src 'self' ${edge}; style-src 'self'; img-src 'self' data: blob:`);
  try {
    const { now } = await wholeSite();
    assert.equal(now.running, false);
    assert.ok(now.reasons.length > 0, 'the reason has a name');
  } finally {
    network.origin.setHeader('content-security-policy', null);
  }
});

test('WebRTC is absent', async () => {
  const { now } = await wholeSite((page) => page.addInitScript(() => { delete window.RTCPeerConnection; }));
  assert.ok(now.reasons.length > 0, 'the reason has a name');
});

test('WebRTC throws', async () => {
  await wholeSite((page) => page.addInitScript(() => {
    window.RTCPeerConnection = class { constructor() { throw new DOMException('not allowed', 'NotAllowedError'); } };
  }));
});

test('another script has overridden fetch before us', async () => {
  await wholeSite((page) => page.addInitScript(() => {
    const plain = window.fetch;
    window.fetch = (...request) => { window.fetchCount = (window.fetchCount ?? 0) + 1; return plain(...request); };
  }));
});

test('another script overrides fetch after us, and ours keeps out of its way when the visitor stops', async () => {
  const { page, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  await page.evaluate(() => {
    const ours = window.fetch;
    window.theirs = (...request) => { window.fetchCount = (window.fetchCount ?? 0) + 1; return ours(...request); };
    window.fetch = window.theirs;
  });
  assert.deepEqual((await fetchAll(page)).wrong, []);
  await page.evaluate(() => window.blackhole.stop());
  const { fetchCount, theirs } = await page.evaluate(() => ({ fetchCount: window.fetchCount, theirs: window.fetch === window.theirs }));
  assert.ok(fetchCount > 0 && theirs);
  assert.deepEqual((await fetchAll(page)).wrong, []);
  await close();
});

test('the visitor’s clock is wrong by a day, either way', async () => {
  for (const days of [-1, 1]) {
    const { now } = await wholeSite((page) => page.addInitScript(shiftClock, days * 86_400_000));
    assert.equal(now.running, true, JSON.stringify(now.reasons));
    assert.ok(now.bytes.edge > 0);
  }
});

test('the manifest is older than one that was believed before', async () => {
  const { now } = await wholeSite((page) => page.addInitScript((site) => {
    localStorage.setItem(`blackhole:sequence:${site}`, '9000000000');
  }, network.supernode.site));
  assert.equal(now.bytes.edge + now.bytes.peers, 0);
  assert.ok(now.reasons.some((reason) => reason.startsWith('manifest')), JSON.stringify(now.reasons));
});

test('the site has a service worker of its own', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'worker-'));
  const own = join(directory, 'own.js');
  writeFileSync(own, 'addEventListener("install", () => skipWaiting()); addEventListener("fetch", () => {});');
  network.origin.addFile('/own.js', own);
  network.retag({ attributes: WITH_WORKER });
  try {
    const { page, close } = await browser.visitor();
    await page.goto(network.url);
    await page.evaluate(async () => {
      for (const registration of await navigator.serviceWorker.getRegistrations()) await registration.unregister();
      await navigator.serviceWorker.register('/own.js');
      await navigator.serviceWorker.ready;
    });
    await page.reload();
    const { mode, reasons } = await running(page);
    assert.equal(mode, 'page');
    assert.ok(reasons.includes('other-service-worker'), JSON.stringify(reasons));
    assert.deepEqual((await fetchAll(page)).wrong, []);
    const controller = await page.evaluate(() => navigator.serviceWorker.controller?.scriptURL ?? '');
    assert.match(controller, /\/own\.js$/);
    await close();
  } finally {
    network.retag({ attributes: WITHOUT_WORKER });
    rmSync(directory, { recursive: true });
  }
});

test('the manifest is tampered with', async () => {
  const { now } = await wholeSite((page) => page.route('**/manifest*', async (route) => {
    const response = await route.fetch();
    const body = Buffer.from(await response.body());
    if (body.length > 0) body[Math.floor(body.length / 2)] ^= 1;
    await route.fulfill({ response, body });
  }));
  assert.equal(now.bytes.edge + now.bytes.peers, 0);
});

test('the supernode’s tab files are not those the publisher pinned', async () => {
  const { now } = await wholeSite((page) => page.route('**/blackhole/tab/page.js?*', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `window.stolen = true;\n${await response.text()}` });
  }));
  assert.equal(now.running, false);
});

test('a body that is altered on its way is fetched elsewhere', async () => {
  let altered = 0;
  await wholeSite((page) => page.route('**/blackhole/v1/blobs/**', async (route) => {
    const response = await route.fetch();
    const body = Buffer.from(await response.body());
    if (body.length > 0) { body[body.length - 1] ^= 1; altered += 1; }
    return route.fulfill({ response, body });
  }));
  assert.ok(altered > 0, 'nothing was fetched from the edge, so nothing was tried');
});

/** The whole site on a page whose supernode is at `port`. */
async function siteOf(port) {
  const plain = await startOrigin({ root: site });
  plain.setTag(tag({ loader: `http://localhost:${port}/blackhole/tab/loader.js`, publisher: 'did:key:none' }));
  const { page, close } = await browser.visitor();
  try {
    // Its load event comes, too.
    await page.goto(plain.url);
    assert.deepEqual((await fetchAll(page)).wrong, []);
  } finally {
    await close();
    await plain.close();
  }
}

test('the publisher’s page without a supernode at all', () => siteOf(9));

test('a supernode that takes connections and never answers does not hold up the page', async () => {
  const sockets = new Set();
  const silent = createServer((socket) => sockets.add(socket.resume().on('error', () => {})));
  await new Promise((done) => silent.listen(0, '127.0.0.1', done));
  try {
    await siteOf(silent.address().port);
    assert.ok(sockets.size > 0, 'nobody asked it, so nothing was tried');
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});
