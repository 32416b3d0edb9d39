// What a publisher's plain tag does: no server is named, nobody may look into the visitor's own network, and visitors
// find each other all the same, by the addresses that the supernode sees them at.
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { after, before, test } from 'node:test';
import { fetchAll, startBrowser } from '../rig/browser.mjs';
import { startNetwork, status, until } from '../rig/network.mjs';

// Loopback will not do: a browser asks from its outward address.
const outward = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

let browser;
let network;
before(async () => {
  if (!outward) return;
  const listen = ['/ip4/127.0.0.1/tcp/0/ws', `/ip4/${outward}/udp/0/webrtc-direct`];
  network = await startNetwork({ attributes: 'data-consent="on"', listen });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

test('visitors are linked by what the supernode says of them', { skip: !outward && 'this machine has no outward address' }, async () => {
  const described = await (await fetch(`${network.supernode.edge}/blackhole/v1/peer`)).json();
  assert.equal(described.stun.length, 1);
  assert.ok(described.stun[0].startsWith(`${outward}:`), described.stun[0]);

  const [first, second] = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  for (const { page } of [first, second]) await page.goto(network.url);
  for (const { page } of [first, second]) await until(page, 'a link to the other', ({ peers }) => peers >= 1);
  assert.deepEqual((await fetchAll(first.page)).wrong, []);
  assert.deepEqual((await fetchAll(second.page)).wrong, []);
  assert.ok((await status(second.page)).bytes.peers > 0, 'bytes come over the link');
  await first.close();
  await second.close();
});

test('without it, and without a server of the publisher\'s, they are not', { skip: !outward && 'this machine has no outward address' }, async () => {
  const alone = await startNetwork({ attributes: 'data-consent="on"' });
  const visitors = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  for (const { page } of visitors) await page.goto(alone.url);
  for (const { page } of visitors) await until(page, 'the other is known', ({ known }) => known >= 1);
  await visitors[0].page.waitForTimeout(3_000);
  for (const { page } of visitors) assert.equal((await status(page)).peers, 0, 'no address of the inner network was told');
  for (const { close } of visitors) await close();
  await alone.close();
});
