// A visitor who comes back gets from the tab's own store what was there, whatever became of the page before and of
// the supernode since.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';

/** In the store, but not yet in its journal: this much of the site may be asked for again. */
const LOST_SHARE_MAX = 0.02;
/** The journal is written a moment after the last piece. */
const WRITTEN_WITHIN_MS = 1_000;
const COUNTED_WITHIN_MS = 3_000;

let browser;
let network;
beforeEach(async () => {
  network = await startNetwork();
  browser = await startBrowser();
});
afterEach(async () => {
  await browser?.close();
  await network?.close();
});

/** A first visit that asks for the whole site, in this page. */
async function visit(page) {
  await page.goto(network.url);
  await running(page);
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  await new Promise((done) => setTimeout(done, WRITTEN_WITHIN_MS));
  return result;
}

/** Asks again for the whole site, which comes whole, and from the store. */
async function comesFromStore(page) {
  await running(page);
  const before = await status(page);
  network.origin.reset();
  const again = await fetchAll(page);
  assert.deepEqual(again.wrong, []);
  const least = before.bytes.cache + (1 - LOST_SHARE_MAX) * again.bytes;
  await until(page, `${least} bytes were there`, ({ bytes }) => bytes.cache >= least, COUNTED_WITHIN_MS);
  assert.ok(network.origin.bodyBytes() <= LOST_SHARE_MAX * again.bytes, `the origin gave ${network.origin.bodyBytes()} bytes`);
}

test('a page whose process dies loses next to nothing of what its tab had stored', async () => {
  const { context, page, close } = await browser.visitor({ serviceWorkers: 'block' });
  await visit(page);
  const crashed = new Promise((done) => page.once('crash', done));
  const session = await context.newCDPSession(page);
  session.send('Page.crash').catch(() => {});
  await crashed;
  await page.close();
  const next = await context.newPage();
  await next.goto(network.url);
  await comesFromStore(next);
  await close();
});

test('where the supernode is gone, a visitor who comes back has a tab all the same, and its store', async () => {
  const { page, errors, close } = await browser.visitor({ serviceWorkers: 'block' });
  await visit(page);
  await network.supernode.kill();
  await page.reload();
  await comesFromStore(page);
  const { reasons } = await status(page);
  assert.ok(reasons.length > 0, 'the tab says what is missing');
  assert.deepEqual(errors, []);
  await close();
});
