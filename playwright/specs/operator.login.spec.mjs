// An operator in front of its node's pages: a wallet, a keyboard, and nothing that another page could use.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from '../rig/browser.mjs';
import { PATIENCE, press, says } from '../rig/keyboard.mjs';
import { Supernode } from '../rig/supernode.mjs';
import { account, startWallet } from '../rig/wallet.mjs';

let node;
let browser;
let wallet;

before(async () => {
  const extra = `[edge.login]\naccounts = ["${account}"]\n`;
  [node, browser, wallet] = await Promise.all([new Supernode({ site: 'login.example', publish: null, extra }).start(), startBrowser(), startWallet()]);
});
after(() => Promise.allSettled([node?.close(), browser?.close(), wallet?.close()]));

test('a wallet logs in, makes a key that works, and ends it all', async () => {
  const { page, context, errors, close } = await browser.visitor();
  await wallet.install(page);
  await page.goto(`${node.edge}/status/login`);
  await says(page, 'Nobody is logged in.');
  const begun = Date.now();
  await press(page, 'Log in with a wallet');
  await says(page, 'You are logged in.');
  console.log(`# logged in within ${Date.now() - begun} ms`);
  assert.equal(await page.locator('#account').textContent(), account);
  assert.match(wallet.seen[0], new RegExp(`^${node.edge} wants you to sign in with your Ethereum account:\n${account}\n`));
  const [cookie] = (await context.cookies()).filter(({ name }) => name === 'blackhole-session');
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/']);
  assert.equal(await page.evaluate(() => document.cookie), '');

  await press(page, 'Make a key that may read earnings');
  await page.getByRole('alert').waitFor(PATIENCE);
  const key = await page.locator('#key').textContent();
  assert.match(key, /^blackhole_[0-9a-f]{64}$/);
  const read = await fetch(`${node.edge}/status/earnings.csv`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(read.status, 200);
  await page.reload();
  await says(page, 'You are logged in.');
  assert.ok(!(await page.content()).includes(key), 'a key is shown once');
  await press(page, /^End earnings/);
  await page.waitForFunction(() => document.querySelectorAll('#keys li').length === 0, null, PATIENCE);
  await press(page, 'Log out');
  await says(page, 'Nobody is logged in.');
  assert.deepEqual(errors, []);
  await close();
});

test('another page can neither read nor do anything in the name of who is logged in', async () => {
  const { page, close } = await browser.visitor();
  await wallet.install(page);
  await page.goto(`${node.edge}/status/login`);
  await press(page, 'Log in with a wallet');
  await says(page, 'You are logged in.');
  // The same node by another name is another site.
  await page.goto(`${node.edge.replace('127.0.0.1', 'localhost')}/status`);
  const tried = await page.evaluate(async (edge) => {
    const ask = (path, options) => fetch(edge + path, { credentials: 'include', ...options }).then(() => 'read', () => 'refused');
    const json = { 'content-type': 'application/json' };
    return [
      await ask('/status/earnings.csv'),
      await ask('/blackhole/v1/session'),
      await ask('/blackhole/v1/keys', { method: 'POST', headers: json, body: '{"name":"x","scopes":["earnings"]}' }),
      await ask('/blackhole/v1/session', { method: 'DELETE' }),
    ];
  }, node.edge);
  assert.deepEqual(tried, ['refused', 'refused', 'refused', 'refused']);
  await page.goto(`${node.edge}/status/login`);
  await says(page, 'You are logged in.');
  assert.equal(await page.locator('#keys li').count(), 0);
  await close();
});
