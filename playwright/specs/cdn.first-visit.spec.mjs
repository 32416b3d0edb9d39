// A visitor's first visit: no service worker is active yet, and the loader hooks what the page asks for later.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { brokenPictures, fetchAll, screenshot, scrollThrough, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';

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

/** Of what the page fetches once the tab runs, so much is verified by it; the rest the plain network had first. */
const VERIFIED_SHARE_MIN = 0.9;
const COUNTED_WITHIN_MS = 3_000;

test('every file is as it was published, and much of it came verified from the supernode', async () => {
  const { page, errors, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  // What the browser loads by itself when it opens the page is over by then, and taken up by the tab.
  await page.waitForLoadState('networkidle');
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  // The page's account follows the worker's by a moment.
  await until(page, 'most of it was verified by the tab', ({ bytes }) => bytes.edge + bytes.cache >= VERIFIED_SHARE_MIN * result.bytes, COUNTED_WITHIN_MS);
  assert.deepEqual(errors, []);
  await close();
});

test('lazy pictures, fetches by scripts and the film work as on any page', async () => {
  const { page, errors, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  await scrollThrough(page);
  assert.equal(await page.evaluate(() => window.atlasReady), true);
  await page.evaluate(() => window.countriesReady);
  assert.deepEqual(await brokenPictures(page), []);
  await page.waitForFunction(() => document.querySelector('video').videoWidth > 0);
  await screenshot(page, 'cdn.first-visit');
  assert.deepEqual(errors, []);
  await close();
});

test('nothing of ours is on the critical path', async () => {
  const { page, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  const { ours, loadedAt } = await page.evaluate(() => ({
    ours: performance.getEntriesByType('resource').filter(({ name }) => name.includes('/blackhole/')).map(({ name, startTime }) => ({ name, startTime })),
    loadedAt: performance.getEntriesByType('navigation')[0].loadEventStart,
  }));
  assert.ok(ours.length > 0 && loadedAt > 0);
  assert.deepEqual(ours.filter(({ startTime }) => startTime < loadedAt), []);
  await close();
});

test('stopping is immediate and is remembered', async () => {
  const { page, close } = await browser.visitor({ serviceWorkers: 'block' });
  await page.goto(network.url);
  await running(page);
  await page.evaluate(() => window.blackhole.stop());
  assert.equal((await status(page)).running, false);
  await page.reload();
  await page.waitForTimeout(1_000);
  const now = await status(page);
  assert.equal(now.running, false);
  assert.equal(now.consent, 'off');
  await close();
});
