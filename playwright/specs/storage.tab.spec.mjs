// A visitor's tab keeps a copy of a shard for others: within what the visitor allowed, proved to its owner, over a
// reload, and as if it were not there wherever shards are counted.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { screenshot, startProfile } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';
import { Supernode } from '../rig/supernode.mjs';

const ATTRIBUTES = 'data-consent="on" data-local-network data-keep-mb="64"';
const OBJECT_BYTES = 1_500_000;
const HOLDERS = 3;
const PATIENCE_MS = 60_000;
const KEEP = 'Keep up to 64 MB for others';
const LET_GO = 'Stop keeping for others, and delete';

let holders = [];
let network;
let browser;
let directory;
let object;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'object-'));
  object = randomBytes(OBJECT_BYTES);
  writeFileSync(join(directory, 'object'), object);
  // Each in a network of its own, as placement wants; Linux has all of 127.0.0.0/8.
  const holder = (number, bootstrap) => new Supernode({
    site: 'holder.example', publish: null, listen: [`/ip4/127.0.${number + 1}.1/tcp/0`], bootstrap,
    extra: `[storage.hold]\nquota_mib = 64\nregion = ${number}\nautonomous_system = ${number}\nadvert_seconds = 11\n`,
  }).start();
  const first = await holder(0, []);
  const bootstrap = [first.ready.addresses[0]];
  holders = [first, ...(await Promise.all([1, 2].map((number) => holder(number, bootstrap))))];
  network = await startNetwork({
    attributes: ATTRIBUTES,
    bootstrap,
    extra: '[storage.own]\nvetting_audits = 0\naudit_seconds = 2\ngone_seconds = 100000\nextra_shards = 2\n',
  });
  await owner(`${HOLDERS} holders are known`, ({ counted }) => counted === HOLDERS);
  network.supernode.storage('put', join(directory, 'object'), 'object');
  browser = await startProfile();
});
after(async () => {
  await browser?.close();
  await network?.close();
  await Promise.all(holders.map((holder) => holder.close()));
  rmSync(directory, { recursive: true, force: true });
});

const told = () => JSON.parse(network.supernode.storage('status', '--json'));

/** Waits until what the owner is told satisfies `condition`; fails with that. */
async function owner(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const now = told();
    if (condition(now)) return now;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}; ${JSON.stringify(now)}`);
    await new Promise((done) => setTimeout(done, 200));
  }
}

/** All that says how safe an object is. */
const safety = ({ holders, counted, segments, standings }) => ({ holders, counted, segments, standings: standings.map(([of]) => of) });

/** The owner gets back what it stored. */
function isWhole() {
  const file = join(directory, 'again');
  network.supernode.storage('get', 'object', file);
  assert.ok(readFileSync(file).equals(object), 'another object came back');
}

async function arrive() {
  const visitor = await browser.visitor();
  const requests = [];
  visitor.page.on('request', (request) => requests.push(new URL(request.url()).pathname));
  await visitor.page.goto(visitor.address(network.url));
  await running(visitor.page);
  return { ...visitor, requests };
}

async function choose(page, name) {
  const detail = page.getByRole('region', { name: 'Delivery between visitors' });
  if (!(await detail.isVisible())) await page.getByRole('button', { name: /Loading together/ }).click();
  await page.getByRole('button', { name }).click();
}

/** The names and lengths of what lies on the shelf of this page's origin. */
const shelf = (page) => page.evaluate(async () => {
  const root = await navigator.storage.getDirectory();
  const home = await root.getDirectoryHandle('.blackhole');
  const directory = await home.getDirectoryHandle('shards').catch(() => null);
  if (directory === null) return null;
  const names = [];
  for await (const name of directory.keys()) names.push(name);
  return names;
});

/** Waits until nothing of the shelf is left on this page's origin. */
async function cleared(page) {
  const deadline = Date.now() + PATIENCE_MS;
  for (let left = await shelf(page); left !== null; left = await shelf(page)) {
    assert.ok(Date.now() < deadline, `not deleted: ${left}`);
  }
}

/** A page of the same origin on which nothing of ours runs. */
async function leave(page) {
  await page.goto(new URL('/assets.json', page.url()).href);
}

test('nothing is kept or fetched for it before the visitor says so, and all goes when they change their mind', async () => {
  const { page, requests, close } = await arrive();
  assert.deepEqual(requests.filter((path) => path.includes('/shelf')), []);
  assert.equal(await shelf(page), null);
  assert.equal((await status(page)).kept.allowed, 0);
  await choose(page, KEEP);
  const { kept } = await until(page, 'a shard is kept', ({ kept }) => kept.shards === 1, PATIENCE_MS);
  assert.ok(kept.bytes > OBJECT_BYTES && kept.bytes <= kept.quota && kept.quota <= 64e6, JSON.stringify(kept));
  assert.equal((await shelf(page)).length, 1);
  await screenshot(page, 'storage.tab');
  await owner('it is proved', ({ extras }) => extras.length === 1 && extras[0].proved?.[0] === 'Passed');

  await choose(page, LET_GO);
  await until(page, 'nothing is kept', ({ kept }) => kept.shards === 0 && kept.allowed === 0);
  await cleared(page);
  await owner('the owner heard of it', ({ extras }) => extras.length === 0);
  await page.reload();
  await running(page);
  assert.equal((await status(page)).kept.allowed, 0, 'the choice is remembered');

  // And with all the rest.
  await choose(page, KEEP);
  await until(page, 'a shard is kept again', ({ kept }) => kept.shards === 1, PATIENCE_MS);
  await choose(page, 'Stop taking part');
  await page.waitForFunction(() => !window.blackhole.status().running);
  await cleared(page);
  await close();
});

test('a shard is proved, also after a reload; the tab goes, and no figure changes', async () => {
  const before = told();
  const { page, close } = await arrive();
  const home = page.url();
  await choose(page, KEEP);
  await until(page, 'a shard is kept and proved', ({ kept }) => kept.shards === 1 && kept.proofs > 0, PATIENCE_MS);
  const during = await owner('it is proved', ({ extras }) => extras.length === 1 && extras[0].proved?.[0] === 'Passed');
  assert.deepEqual(safety(during), safety(before), 'a tab counts for something');
  const [{ tab, segment, bytes }] = during.extras;
  assert.equal(segment, before.segments[0].segment);
  assert.ok(bytes >= OBJECT_BYTES);
  const shown = await (await fetch(`${network.supernode.edge}/status`)).text();
  assert.ok(shown.includes(tab) && shown.includes('Extra shards'), 'the status page does not name it');

  const names = await shelf(page);
  await page.reload();
  await until(page, 'the same is proved again', ({ kept }) => kept.shards === 1 && kept.proofs > 0, PATIENCE_MS);
  assert.deepEqual(await shelf(page), names);
  const again = await owner('it is proved again', ({ extras }) => extras.length === 1 && extras[0].proved?.[0] === 'Passed');
  assert.equal(again.extras[0].tab, tab, 'the tab is known by its key');

  await leave(page);
  const gone = await owner('the tab is gone', ({ extras }) => extras.length === 0);
  assert.deepEqual(safety(gone), safety(before), 'the loss of a tab changed a figure');
  isWhole();

  // Where every holder is away, what the tab has is enough to read.
  await page.goto(home);
  await owner('it is back, and proved', ({ extras }) => extras.length === 1 && extras[0].proved?.[0] === 'Passed');
  await Promise.all(holders.map((holder) => holder.kill()));
  isWhole();
  assert.equal(told().segments[0].alive, before.segments[0].alive, 'counted as before: who is silent is not yet gone');

  // The last byte is asked for with each proof.
  await leave(page);
  await owner('the tab is gone', ({ extras }) => extras.length === 0);
  await page.evaluate(async (bytes) => {
    const root = await navigator.storage.getDirectory();
    const directory = await (await root.getDirectoryHandle('.blackhole')).getDirectoryHandle('shards');
    for await (const file of directory.values()) {
      const position = 128 + bytes - 1;
      const before = new Uint8Array(await (await file.getFile()).slice(position, position + 1).arrayBuffer());
      const writable = await file.createWritable({ keepExistingData: true });
      await writable.write({ type: 'write', position, data: Uint8Array.of(before[0] ^ 1) });
      await writable.close();
    }
  }, bytes);
  await page.goto(home);
  await until(page, 'the rot is found', ({ kept }) => kept.lost === 1 && kept.shards === 0, PATIENCE_MS);
  assert.deepEqual(await shelf(page), []);
  const lost = await owner('the owner heard of it', ({ extras }) => extras.length === 0);
  assert.deepEqual(safety(lost).segments, safety(before).segments);
  await close();
});
