// What it is all for: a second visitor gets the site's files from the first one's tab.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, screenshot, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';

/** Of what a tab fetches whose neighbour holds everything; the rest is what servers sent before they were linked. */
const PEER_SHARE_MIN = 0.8;
const FILM = '/film/film.mp4';

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

/** Two visitors, linked, of whom the first has every file. */
async function neighbours() {
  const [first, second] = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  await first.page.goto(network.url);
  await running(first.page);
  const { files, wrong } = await fetchAll(first.page);
  assert.deepEqual(wrong, []);
  await until(first.page, 'the first tab holds what it fetched', ({ complete }) => complete >= files * 0.9);
  await second.page.goto(network.url);
  await until(second.page, 'the tabs have found each other', ({ peers }) => peers >= 1);
  return { first, second, before: (await status(second.page)).bytes };
}

test('of what a second visitor fetches, most comes from the first one’s tab, verified, and both say so', async () => {
  const { first, second, before } = await neighbours();
  const result = await fetchAll(second.page);
  assert.deepEqual(result.wrong, []);
  // The page's account follows the worker's by a moment.
  const { bytes } = await until(second.page, 'half of it came from the other tab', ({ bytes }) => bytes.peers - before.peers >= result.bytes / 2);
  await screenshot(second.page, 'cdn.two-tabs');
  const [peers, http] = [bytes.peers - before.peers, bytes.http - before.http];
  assert.ok(peers >= PEER_SHARE_MIN * (peers + http), JSON.stringify({ before, bytes, result }));
  await until(first.page, 'the first tab knows what it gave', (now) => now.bytes.uploaded >= peers * 0.9);
  await first.close();
  await second.close();
});

test('so does a film of several megabytes', async () => {
  const { first, second, before } = await neighbours();
  const length = await second.page.evaluate(async (film) => (await (await fetch(film)).arrayBuffer()).byteLength, FILM);
  assert.ok(length > 2e6, `${length} bytes`);
  await until(second.page, 'the film came from the other tab', ({ bytes }) => bytes.peers - before.peers >= PEER_SHARE_MIN * length);
  await first.close();
  await second.close();
});

test('a tab that leaves in mid-transfer costs nobody a file', async () => {
  const { first, second, before } = await neighbours();
  const arriving = fetchAll(second.page);
  await until(second.page, 'something came from the other tab', ({ bytes }) => bytes.peers > before.peers);
  await first.close();
  assert.deepEqual((await arriving).wrong, []);
  await second.close();
});
