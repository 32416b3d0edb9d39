// Visitors find each other: every time, soon, and again after a reload.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';

const ROUNDS = 3;
const CROWD = 5;
const CROWD_LINKS = 3;

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

async function arrive(count) {
  const visitors = await Promise.all(Array.from({ length: count }, () => browser.visitor({ serviceWorkers: 'block' })));
  await Promise.all(visitors.map(({ page }) => page.goto(network.url)));
  return visitors;
}

const leave = (visitors) => Promise.all(visitors.map(({ close }) => close()));
const linked = (page, links = 1) => until(page, `linked to ${links} others`, ({ peers }) => peers >= links);

test('two visitors are linked, time after time', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const visitors = await arrive(2);
    for (const { page } of visitors) {
      const { reachable, known } = await linked(page);
      assert.equal(reachable, true);
      assert.ok(known >= 1);
    }
    await leave(visitors);
  }
});

test('a handful who arrive together have several links each', async () => {
  const visitors = await arrive(CROWD);
  await Promise.all(visitors.map(({ page }) => linked(page, CROWD_LINKS)));
  await leave(visitors);
});

test('a visitor who reloads is linked again', async () => {
  const visitors = await arrive(2);
  const [first, second] = visitors.map(({ page }) => page);
  await Promise.all([linked(first), linked(second)]);
  await first.reload();
  await running(first);
  await Promise.all([linked(first), linked(second)]);
  // Neither mistakes the link that ended with the old page for the new one.
  await first.waitForTimeout(2_000);
  await Promise.all([linked(first), linked(second)]);
  const before = (await status(first)).bytes.peers;
  assert.deepEqual((await fetchAll(second)).wrong, []);
  assert.deepEqual((await fetchAll(first)).wrong, []);
  assert.ok((await status(first)).bytes.peers > before, 'bytes come over the new link');
  await leave(visitors);
});
