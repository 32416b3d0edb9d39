// What a visitor is asked, sees and can end, with a mouse or a keyboard.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetchAll, screenshot, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status } from '../rig/network.mjs';

let browser;
let network;
before(async () => {
  network = await startNetwork({ attributes: 'data-consent="ask" data-local-network' });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

/** A visitor who sees the question, and what of ours their browser has asked for so far. */
async function asked() {
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  const requests = [];
  visitor.page.on('request', (request) => { if (request.url().includes('/blackhole/')) requests.push(new URL(request.url()).pathname); });
  await visitor.page.goto(network.url);
  await visitor.page.getByRole('button', { name: 'Take part' }).waitFor();
  return { ...visitor, requests };
}

test('before the answer nothing is connected or fetched but the question itself', async () => {
  const { page, requests, close } = await asked();
  await screenshot(page, 'cdn.consent');
  const unasked = requests.filter((path) => !['loader.js', 'page.js', 'meter.js'].some((name) => path.endsWith(name)));
  assert.deepEqual(unasked, []);
  assert.equal((await status(page)).running, false);
  await close();
});

test('yes starts it, the meter tells of it, and two clicks end it within a second', async () => {
  const { page, close } = await asked();
  await page.getByRole('button', { name: 'Take part' }).click();
  await running(page);
  await fetchAll(page);
  await page.getByRole('button', { name: /Loading together/ }).click();
  await screenshot(page, 'cdn.meter');
  await page.getByRole('button', { name: 'Stop taking part' }).click();
  await page.waitForFunction(() => !window.blackhole.status().running, null, { timeout: 1_000 });
  await page.reload();
  await page.waitForLoadState('networkidle');
  assert.equal((await status(page)).running, false);
  assert.equal(await page.getByRole('button', { name: 'Take part' }).count(), 0, 'the answer is remembered');
  await close();
});

test('no is an answer, by keyboard too, and the page is whole without us', async () => {
  const { page, close } = await asked();
  await page.getByRole('button', { name: 'No, thanks' }).focus();
  await page.keyboard.press('Enter');
  assert.deepEqual((await fetchAll(page)).wrong, []);
  const now = await status(page);
  assert.equal(now.running, false);
  assert.equal(now.consent, 'off');
  await close();
});
