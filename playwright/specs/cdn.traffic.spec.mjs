// What a visit costs whoever pays for the servers: no byte twice, no request for permission before a request.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { startDoor } from '../rig/edge.mjs';
import { WITHOUT_WORKER, running, startNetwork, status } from '../rig/network.mjs';

/** What of the site's bytes servers may send a visitor who has nobody to ask: once, and a little for what crosses. */
const TIMES_CONTENT_MAX = 1.1;

let browser;
let network;
let door;
before(async () => {
  network = await startNetwork();
  door = await startDoor(network.supernode.edge);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await door?.close();
  await network?.close();
});

async function costOf(visitor) {
  await running(visitor.page);
  // What the browser loads by itself when it opens the page is over by then.
  await visitor.page.waitForLoadState('networkidle');
  network.origin.reset();
  door.counts.blobBytes = 0;
  const { bytes, wrong } = await fetchAll(visitor.page);
  assert.deepEqual(wrong, []);
  return { times: (door.counts.blobBytes + network.origin.bodyBytes()) / bytes, status: await status(visitor.page) };
}

test('edge and origin together send each byte once', async () => {
  network.retag({ edge: door.url, attributes: WITHOUT_WORKER });
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  await visitor.page.goto(network.url);
  const cost = await costOf(visitor);
  assert.ok(cost.times <= TIMES_CONTENT_MAX, JSON.stringify(cost));
  assert.equal(door.counts.methods.OPTIONS ?? 0, 0, 'no preflight');
  await visitor.close();
});
