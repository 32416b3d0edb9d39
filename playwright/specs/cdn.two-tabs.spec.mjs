// What it is all for: a second visitor gets the site's files from the first one's tab.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, screenshot, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';

/** On one machine the plain network and the supernode's edge win many races, as they should; but never all. */
const PEER_BYTES_MIN = 1e6;

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

test('bytes arrive from the other tab, verified, and both say so', async () => {
  const [first, second] = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  await first.page.goto(network.url);
  await running(first.page);
  assert.deepEqual((await fetchAll(first.page)).wrong, []);

  await second.page.goto(network.url);
  await running(second.page);
  await until(second.page, 'the tabs have found each other', ({ peers }) => peers >= 1);
  const result = await fetchAll(second.page);
  assert.deepEqual(result.wrong, []);

  const received = (await status(second.page)).bytes;
  await screenshot(second.page, 'cdn.two-tabs');
  assert.ok(received.peers > PEER_BYTES_MIN, JSON.stringify(received));
  const gave = await until(first.page, 'the first tab knows what it gave', ({ bytes }) => bytes.uploaded >= received.peers * 0.9);
  assert.ok(gave.bytes.uploaded > 0);
  await first.close();
  await second.close();
});

test('a tab that leaves in mid-transfer costs nobody a file', async () => {
  const [first, second] = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  await first.page.goto(network.url);
  await running(first.page);
  await fetchAll(first.page);
  await second.page.goto(network.url);
  await running(second.page);
  const arriving = fetchAll(second.page);
  await until(second.page, 'something came from the other tab', ({ bytes }) => bytes.peers > 0).catch(() => {});
  await first.close();
  assert.deepEqual((await arriving).wrong, []);
  await second.close();
});
