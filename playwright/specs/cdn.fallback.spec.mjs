// Whatever is missing or lies, the page loads in full by plain HTTP, every file as it was published.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { brokenPictures, fetchAll, scrollThrough, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';
import { startOrigin } from '../servers/origin.mjs';

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
  network.origin.setHeader('content-security-policy', `default-src 'self'; script-src 'self' ${edge}; connect-src 'self' ${edge}; style-src 'self'; img-src 'self' data: blob:`);
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
  const { now } = await wholeSite((page) => page.route('**/blackhole/tab/page.js', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `window.stolen = true;\n${await response.text()}` });
  }));
  assert.equal(now.running, false);
});

test('a body that is altered on its way is fetched elsewhere', async () => {
  let altered = 0;
  await wholeSite((page) => page.route('**/blackhole/v1/blobs/**', async (route) => {
    if (route.request().url().includes('/hashes/')) return route.continue();
    const response = await route.fetch();
    const body = Buffer.from(await response.body());
    if (body.length > 0) { body[body.length - 1] ^= 1; altered += 1; }
    return route.fulfill({ response, body });
  }));
  assert.ok(altered > 0, 'nothing was fetched from the edge, so nothing was tried');
});

test('the publisher’s page without a supernode at all', async () => {
  const plain = await startOrigin({ root: (await import('../rig/browser.mjs')).site });
  plain.setTag('<script defer src="http://localhost:9/blackhole/tab/loader.js" data-publisher="did:key:none"></script>');
  const { page, close } = await browser.visitor();
  await page.goto(plain.url);
  assert.deepEqual((await fetchAll(page)).wrong, []);
  await close();
  await plain.close();
});
