// A supernode without a name and a certificate: pages reach it by `/webrtc-direct`, and its edge not at all.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, until } from '../rig/network.mjs';

let browser;
let network;
before(async () => {
  network = await startNetwork({ listen: ['/ip4/127.0.0.1/udp/0/webrtc-direct'] });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

const COUNTED_WITHIN_MS = 3_000;

test('what the edge does not give comes verified over the link, and the origin is spared', async () => {
  const { page, errors, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  await until(page, 'a link to the supernode', ({ supernodes }) => supernodes > 0);
  await page.waitForLoadState('networkidle');
  await page.route('**/blackhole/v1/blobs/**', (route) => route.abort());
  network.origin.reset();
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  assert.ok(network.origin.bodyBytes() < 0.1 * result.bytes, `the origin gave ${network.origin.bodyBytes()} bytes`);
  await until(page, 'most of it came over the link', ({ bytes }) => bytes.supernode + bytes.cache >= 0.9 * result.bytes, COUNTED_WITHIN_MS);
  assert.deepEqual(errors, []);
  await close();
});
