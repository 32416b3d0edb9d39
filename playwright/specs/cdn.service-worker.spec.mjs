// The second visit: the service worker is active, and what the page itself loads comes from peers as well.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { WITH_WORKER, running, startNetwork, status, until } from '../rig/network.mjs';

/** Of what the page fetches once the tab runs, so much is verified by it; the rest the plain network had first. */
const VERIFIED_SHARE_MIN = 0.9;
const COUNTED_WITHIN_MS = 3_000;

let browser;
let network;
before(async () => {
  network = await startNetwork({ attributes: WITH_WORKER });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

/** A visitor whose first visit is behind them. */
async function returning() {
  const visitor = await browser.visitor();
  await visitor.page.goto(network.url);
  await running(visitor.page);
  await visitor.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await visitor.page.reload();
  await running(visitor.page);
  assert.equal(await visitor.page.evaluate(() => navigator.serviceWorker.controller !== null), true);
  return visitor;
}

test('the worker is in charge at the second visit, and every file is as published', async () => {
  const { page, errors, close } = await returning();
  await page.waitForLoadState('networkidle');
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  assert.match((await status(page)).mode, /worker/);
  // The page's account follows the worker's by a moment.
  const most = VERIFIED_SHARE_MIN * result.bytes;
  await until(page, 'most of it was verified by the tab', ({ bytes }) => bytes.edge + bytes.cache + bytes.peers >= most, COUNTED_WITHIN_MS);
  assert.deepEqual(errors, []);
  await close();
});

test('the site loads while the supernode is away', async () => {
  const { page, close } = await returning();
  await network.supernode.stop();
  try {
    await page.reload();
    const result = await fetchAll(page);
    assert.deepEqual(result.wrong, []);
  } finally {
    await network.supernode.start();
  }
  await close();
});
