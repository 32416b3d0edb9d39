// An operator whose wallet was needed once: from then on a passkey logs in, and nobody else's does.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { startAuthenticator } from '../rig/authenticator.mjs';
import { screenshot, startBrowser } from '../rig/browser.mjs';
import { PATIENCE, press, says } from '../rig/keyboard.mjs';
import { freePort } from '../rig/ports.mjs';
import { Supernode } from '../rig/supernode.mjs';
import { account, startWallet } from '../rig/wallet.mjs';

const STRANGER = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const allowing = (who) => `[edge.login]\naccounts = ["${who}"]\n`;
const LOGIN = '/blackhole/v1/login/passkey';
let node;
let browser;
let wallet;

/** Another site of the same name: browsers let it use the node's passkeys and send it the node's cookies. */
async function startNeighbour() {
  const server = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<title>Win!</title>'));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://localhost:${server.address().port}/`,
    close: () => new Promise((done) => { server.close(done); server.closeAllConnections(); }),
  };
}

before(async () => {
  // Passkeys need a name, so the configuration has to say it before the node listens.
  const edgePort = await freePort();
  node = new Supernode({ site: 'login.example', publish: null, edgePort, edge: `public_url = "http://localhost:${edgePort}"`, extra: allowing(account) });
  [, browser, wallet] = await Promise.all([node.start(), startBrowser(), startWallet()]);
});
after(() => Promise.allSettled([node?.close(), browser?.close(), wallet?.close()]));

/** Somebody at the login, with a device. */
async function person() {
  const visitor = await browser.visitor();
  const device = await startAuthenticator(visitor.context, visitor.page);
  await visitor.page.goto(`${node.edge}/status/login`);
  await says(visitor.page, 'Nobody is logged in.');
  return { ...visitor, device };
}

/** Somebody who added a passkey and logged out. */
async function withPasskey(name) {
  const visitor = await browser.visitor();
  const device = await startAuthenticator(visitor.context, visitor.page);
  await wallet.install(visitor.page);
  await visitor.page.goto(`${node.edge}/status/login`);
  await press(visitor.page, 'Log in with a wallet');
  await says(visitor.page, 'You are logged in.');
  await visitor.page.getByLabel('Name of the new one').fill(name);
  await press(visitor.page, 'Add a passkey');
  await says(visitor.page, `The passkey ${name} was added.`);
  await press(visitor.page, 'Log out');
  await says(visitor.page, 'Nobody is logged in.');
  return { ...visitor, device };
}

/** What the browser answers to a challenge of the node, by hand; `change` is what the page asks otherwise. */
const answer = (page, change = {}) => page.evaluate(async ({ path, change }) => {
  const { publicKey } = await (await fetch(`${path}/begin`, { method: 'POST' })).json();
  const options = PublicKeyCredential.parseRequestOptionsFromJSON({ ...publicKey, ...change });
  return (await navigator.credentials.get({ publicKey: options })).toJSON();
}, { path: LOGIN, change });

/** Sends it from a page of the node. */
const send = (page, credential) => page.evaluate(async ({ path, credential }) => {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(path, { method: 'POST', headers, body: JSON.stringify(credential) });
  return { status: answer.status, ...(await answer.json()) };
}, { path: LOGIN, credential });

function isRefused(said, why) {
  assert.equal(said.status, 403, JSON.stringify(said));
  assert.equal(said.type, 'urn:blackhole:problem:passkey-refused');
  assert.match(said.detail, why);
}

test('a wallet adds a passkey, which logs in by a key press until it is ended', async () => {
  const { page, context, device, errors, close } = await withPasskey('My laptop');
  const [kept] = await device.credentials();
  assert.deepEqual([kept.rpId, kept.isResidentCredential, kept.userName], ['localhost', true, account]);

  const begun = Date.now();
  await press(page, 'Log in with a passkey');
  await says(page, 'You are logged in.');
  console.log(`# logged in by a passkey within ${Date.now() - begun} ms`);
  assert.equal(await page.locator('#account').textContent(), account);
  const [cookie] = (await context.cookies()).filter(({ name }) => name === 'blackhole-session');
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/']);
  assert.match(await page.locator('#passkeys li').textContent(), /^My laptop, added .* UTC, used .* UTC/);
  assert.match(await page.locator('#sessions li').textContent(), /by passkey My laptop, this one/);
  await screenshot(page, 'login-passkeys');

  // A passkey makes no other.
  await press(page, 'Add a passkey');
  await says(page, 'log in with your wallet again');
  // Its end is that of the session which it began.
  await press(page, /^End My laptop/);
  await says(page, 'Nobody is logged in.');
  await press(page, 'Log in with a passkey');
  await says(page, 'not known here, or was ended');
  assert.deepEqual(errors, []);
  await close();
});

test('a device that does not verify who holds it does not log in', async () => {
  const { page, device, close } = await withPasskey('Unlocked phone');
  await device.setVerified(false);
  await press(page, 'Log in with a passkey');
  await says(page, 'No passkey was used');
  // Nor where a page asks the device for less than the node wants.
  const [kept] = await device.credentials();
  const unverified = await answer(page, { userVerification: 'discouraged', allowCredentials: [{ type: 'public-key', id: Buffer.from(kept.credentialId, 'base64').toString('base64url') }] });
  isRefused(await send(page, unverified), /did not verify who holds it/);
  await device.setVerified(true);
  await press(page, 'Log in with a passkey');
  await says(page, 'You are logged in.');
  await close();
});

test('an answer is good once, and in the browser that it was asked for in', async () => {
  const { page, close } = await withPasskey('Good once');
  const first = await answer(page);
  assert.equal((await send(page, first)).status, 200);
  isRefused(await send(page, first), /was used before/);
  await answer(page);
  isRefused(await send(page, first), /was used before/);
  // Whoever takes it away on its way has another browser.
  const stolen = await answer(page);
  const thief = await person();
  await thief.page.evaluate((path) => fetch(`${path}/begin`, { method: 'POST' }), LOGIN);
  isRefused(await send(thief.page, stolen), /not one that was given to this browser/);
  assert.equal(await thief.page.evaluate(() => fetch('/blackhole/v1/session').then(({ status }) => status)), 401);
  await thief.close();
  await close();
});

test('a passkey that another site asked for logs nobody in', async () => {
  const { page, context, close } = await withPasskey('Phished');
  const evil = await startNeighbour();
  const begun = await page.evaluate((path) => fetch(`${path}/begin`, { method: 'POST' }).then((answer) => answer.json()), LOGIN);
  const [held] = (await context.cookies()).filter(({ name }) => name === 'blackhole-login');
  await page.goto(evil.url);
  const phished = await page.evaluate(async ({ publicKey }) => {
    const options = PublicKeyCredential.parseRequestOptionsFromJSON(publicKey);
    return (await navigator.credentials.get({ publicKey: options })).toJSON();
  }, begun);
  await page.goto(`${node.edge}/status/login`);
  await context.addCookies([held]);
  isRefused(await send(page, phished), /on another site than http:\/\/localhost:/);
  await evil.close();
  await close();
});

test('what another page sends neither adds nor ends a passkey', async () => {
  const { page, close } = await withPasskey('Stays');
  await press(page, 'Log in with a wallet');
  await says(page, 'You are logged in.');
  const passkeys = () => page.evaluate(() => fetch('/blackhole/v1/passkeys').then((answer) => answer.json()));
  const { id } = (await passkeys()).find(({ name }) => name === 'Stays');
  // Without the session's token it does nothing even from here.
  const tried = await page.evaluate(async (id) => {
    const ask = (path, method) => fetch(`/blackhole/v1/passkeys${path}`, { method }).then((answer) => answer.json()).then(({ type }) => type);
    return [await ask('/begin', 'POST'), await ask('', 'POST'), await ask(`/${id}`, 'DELETE')];
  }, id);
  assert.deepEqual(tried, Array(3).fill('urn:blackhole:problem:forged'));
  const evil = await startNeighbour();
  await page.goto(evil.url);
  const foreign = await page.evaluate(async ({ edge, id }) => {
    const ask = (path, method) => fetch(`${edge}/blackhole/v1${path}`, { method, credentials: 'include' }).then(() => 'read', () => 'refused');
    return [await ask('/passkeys', 'GET'), await ask('/passkeys/begin', 'POST'), await ask(`/passkeys/${id}`, 'DELETE'), await ask('/login/passkey/begin', 'POST')];
  }, { edge: node.edge, id });
  assert.deepEqual(foreign, Array(4).fill('refused'));
  await evil.close();
  await page.goto(`${node.edge}/status/login`);
  await says(page, 'You are logged in.');
  assert.ok((await passkeys()).some((one) => one.id === id));
  await press(page, /^End Stays/);
  await page.waitForFunction(() => !document.querySelector('#passkeys').textContent.includes('Stays'), null, PATIENCE);
  await close();
});

test('of a passkey and its copy neither logs in once both did, and the operator sees why', async () => {
  const { page, device, close } = await withPasskey('Copied');
  const [kept] = await device.credentials();
  const thief = await person();
  await thief.device.put({ ...kept });
  await press(thief.page, 'Log in with a passkey');
  await says(thief.page, 'You are logged in.');
  await press(page, 'Log in with a passkey');
  await says(page, 'there may be a copy of it');
  await thief.page.reload();
  await says(thief.page, 'Nobody is logged in.');
  await press(thief.page, 'Log in with a passkey');
  await says(thief.page, 'there may be a copy of it');
  await press(page, 'Log in with a wallet');
  await says(page, 'You are logged in.');
  const list = await page.locator('#passkeys').textContent();
  assert.match(list, /Copied, .*there may be a copy of it, end it/);
  const audit = await page.evaluate(() => fetch('/blackhole/v1/audit').then((answer) => answer.json()));
  assert.ok(audit.some(({ act, account: whose }) => act === 'passkey-suspended' && whose === account), JSON.stringify(audit));
  assert.ok(audit.some(({ act, about }) => act === 'login-refused' && about.includes('a copy of it')), JSON.stringify(audit));
  await press(page, /^End Copied/);
  await page.waitForFunction(() => !document.querySelector('#passkeys').textContent.includes('Copied'), null, PATIENCE);
  await thief.close();
  await close();
});

test('passkeys outlive the node, and an account that the operator removed does not come in by one', async () => {
  const { page, close } = await withPasskey('Left behind');
  await node.stop();
  await node.start();
  await press(page, 'Log in with a passkey');
  await says(page, 'You are logged in.');
  await node.stop();
  node.extra = allowing(STRANGER);
  await node.start();
  await page.reload();
  await says(page, 'Nobody is logged in.');
  await press(page, 'Log in with a passkey');
  await says(page, 'the operator adds it to edge.login.accounts');
  await close();
});

test('by an address there are no passkeys, and the page says what to do', async () => {
  const bare = await new Supernode({ site: 'login.example', publish: null, extra: allowing(account) }).start();
  const { page, close } = await browser.visitor();
  try {
    await page.goto(`${bare.edge}/status/login`);
    await says(page, 'Nobody is logged in.');
    await page.getByText(`http://localhost:${bare.edgePort}`).waitFor(PATIENCE);
    assert.equal(await page.getByRole('button', { name: 'passkey' }).count(), 0);
    const refused = await fetch(`${bare.edge}${LOGIN}/begin`, { method: 'POST' });
    const said = await refused.json();
    assert.deepEqual([refused.status, said.type], [409, 'urn:blackhole:problem:no-passkeys']);
    assert.match(said.detail, /set edge.public_url/);
  } finally {
    await close();
    await bare.close();
  }
});
