// Our tab against js-libp2p in a browser, against our supernode, and against itself.
// `node run.mjs [name…]`; RELAY=js takes js-libp2p's relay instead of the supernode's.
import assert from 'node:assert/strict';
import { deafen, delayedPaths, detour } from './delay.mjs';
import { buildWasm, hasDirectListener, servePages, startBrowser, startDirectListener, startRelay, until } from './rig.mjs';

const MEGABYTE = 1_000_000;
/** Loopback candidates are host candidates. */
const POLICY = { localNetwork: true, iceServers: [] };

const wasm = buildWasm(process.env.PROFILE);
const pages = await servePages(wasm.pkg);
const relay = await startRelay(process.env.RELAY);
const browser = await startBrowser();
let failed = 0;

async function open(path) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on('console', (message) => process.env.VERBOSE && console.log(`  [${path}]`, message.text()));
  page.on('pageerror', (error) => console.log(`  [${path}] ${error}`));
  await page.goto(`${pages.origin}${path}`);
  return page;
}

/** One of our tabs, reachable through the relay. */
async function ourTab(policy = POLICY) {
  const page = await open('/ours');
  await page.waitForFunction(() => window.startTab);
  await page.evaluate((policy) => window.startTab(policy), policy);
  const call = (...args) => page.evaluate((args) => window.tab.call(...args), args);
  await call('listenVia', relay.address);
  const [address] = await until('the tab is reachable', async () => {
    const found = await call('addresses');
    return found.length > 0 && found;
  });
  return { page, call, address, peer: await call('peer'), close: () => page.context().close() };
}

async function jsTab() {
  const page = await open('/js');
  await page.waitForFunction(() => window.startPeer);
  await page.evaluate((relay) => window.startPeer(relay), relay.address);
  const call = (name, ...args) => page.evaluate(([name, args]) => window.peer[name](...args), [name, args]);
  const [address] = await until('the js tab is reachable', async () => {
    const found = await call('addresses');
    return found.length > 0 && found;
  });
  return { page, call, address, peer: await call('peer'), close: () => page.context().close() };
}

/** The direct link, once both swarms know of it. */
const linked = (tab, peer) => until('the direct link stands', async () => (await tab.call('links', peer)).includes('webrtc'));

const later = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

async function check(name, body) {
  const wanted = process.argv.slice(2);
  if (wanted.length > 0 && !wanted.includes(name)) return;
  if (name.startsWith('webrtc-direct') && !hasDirectListener()) {
    console.log(`skip ${name}: this tree has no listener`);
    return;
  }
  const tabs = [];
  const keep = async (tab) => (tabs.push(await tab), tabs.at(-1));
  const begun = Date.now();
  try {
    await body(keep);
    console.log(`ok   ${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error.stack}`);
    for (const tab of tabs) console.log('  notes', await Promise.race([tab.call('notes').catch(() => []), later(2_000)]));
  }
  for (const tab of tabs) await tab.close();
}

async function connect(keep, policy) {
  const [a, b] = [await keep(ourTab(policy)), await keep(ourTab(policy))];
  await a.call('dial', b.peer, b.address);
  await Promise.all([linked(a, b.peer), linked(b, a.peer)]);
  return [a, b];
}

/** How long a raw data channel takes, with the window that is best on a near path. */
async function rawMillis(bytes, windowBytes = 256 << 10) {
  const [a, b] = [await open('/raw'), await open('/raw')];
  await a.evaluate((args) => window.rawSide(...args), [bytes, true, windowBytes]);
  await b.evaluate((args) => window.rawSide(...args), [bytes, false, windowBytes]);
  const offer = await a.evaluate(() => window.raw.offer());
  const answer = await b.evaluate((sdp) => window.raw.answer(sdp), offer);
  await a.evaluate((sdp) => window.raw.accept(sdp), answer);
  for (let round = 0; round < 10; round += 1) {
    await b.evaluate((list) => window.raw.add(list), await a.evaluate(() => window.raw.candidates()));
    await a.evaluate((list) => window.raw.add(list), await b.evaluate(() => window.raw.candidates()));
    await later(100);
  }
  const millis = await b.evaluate(() => window.raw.millis());
  await Promise.all([a.context().close(), b.context().close()]);
  return millis;
}

const rate = (bytes, millis) => `${(bytes / millis / 1_000).toFixed(1)} MB/s`;

await check('ours-dials-ours', async (keep) => {
  const begun = performance.now();
  const [a, b] = [await keep(ourTab()), await keep(ourTab())];
  const reachable = performance.now();
  await a.call('dial', b.peer, b.address);
  const dialed = performance.now();
  await linked(b, a.peer);
  console.log(`     both reachable after ${(reachable - begun).toFixed()} ms, connected ${(dialed - reachable).toFixed()} ms later`);
  assert.equal(await a.call('echo', b.peer, 'webrtc', 'hello'), 'hello');
  assert.equal(await b.call('echo', a.peer, 'webrtc', 'x'.repeat(200_000)), 'x'.repeat(200_000));
});

await check('ours-dials-js', async (keep) => {
  const [a, b] = [await keep(ourTab()), await keep(jsTab())];
  await a.call('dial', b.peer, b.address);
  assert.equal(await a.call('echo', b.peer, 'webrtc', 'hello'), 'hello');
  assert.equal(await a.call('echo', b.peer, 'webrtc', 'y'.repeat(100_000)), 'y'.repeat(100_000));
  assert.equal(await b.call('echo', a.peer, 'and back'), 'and back');
});

await check('js-dials-ours', async (keep) => {
  const [a, b] = [await keep(ourTab()), await keep(jsTab())];
  await b.call('dial', a.address);
  assert.equal(await b.call('echo', a.peer, 'hello'), 'hello');
  assert.equal(await b.call('echo', a.peer, 'z'.repeat(100_000)), 'z'.repeat(100_000));
  assert.equal(await a.call('echo', b.peer, 'webrtc', 'and back'), 'and back');
});

await check('bulk', async (keep) => {
  const bytes = 100 * MEGABYTE;
  const [a, b] = await connect(keep);
  const expected = await a.call('expectedHash', bytes);
  const runs = [];
  for (let round = 0; round < 3; round += 1) {
    const { hash, millis } = await b.call('pull', a.peer, 'webrtc', bytes, 4 << 20, 0);
    assert.equal(hash, expected);
    runs.push({ ours: millis, raw: await rawMillis(bytes) });
  }
  for (const { ours, raw } of runs) {
    console.log(`     100 MB, hash equal: ours ${rate(bytes, ours)}, raw data channel ${rate(bytes, raw)}, ratio ${(raw / ours).toFixed(2)}`);
  }
});

await check('paused-reader', async (keep) => {
  const bytes = 20 * MEGABYTE;
  const [a, b] = await connect(keep);
  const { hash } = await b.call('pull', a.peer, 'webrtc', bytes, 8 << 20, 1_000);
  assert.equal(hash, await a.call('expectedHash', bytes));
});

await check('bridged', async (keep) => {
  const bytes = 20 * MEGABYTE;
  const [a, b] = await connect(keep, { ...POLICY, bridgeChannels: true });
  assert.equal(await a.call('echo', b.peer, 'webrtc', 'hello'), 'hello');
  const { hash, millis } = await b.call('pull', a.peer, 'webrtc', bytes, 4 << 20, 0);
  assert.equal(hash, await a.call('expectedHash', bytes));
  console.log(`     20 MB over bridged channels ${rate(bytes, millis)}`);
});

await check('far', async (keep) => {
  const bytes = 30 * MEGABYTE;
  const paths = delayedPaths(30);
  const [a, b] = [await keep(ourTab()), await keep(ourTab())];
  await b.page.exposeFunction('reroute', paths.reroute);
  await b.page.evaluate(detour);
  await a.page.evaluate(deafen);
  await b.call('dial', a.peer, a.address);
  await linked(a, b.peer);
  const expected = await a.call('expectedHash', bytes);
  for (let round = 0; round < 2; round += 1) {
    const { hash, millis } = await b.call('pull', a.peer, 'webrtc', bytes, 12 << 20, 0);
    assert.equal(hash, expected);
    console.log(`     30 MB at 60 ms added round trip: ${rate(bytes, millis)}`);
  }
  paths.close();
});

await check('webrtc-direct', async (keep) => {
  const listener = await startDirectListener();
  const tab = await keep(ourTab());
  await tab.call('dial', listener.peer, listener.address);
  const text = 'w'.repeat(3 * MEGABYTE);
  // The listener's reader pauses a second in the middle.
  assert.equal(await tab.call('echoOn', listener.peer, 'webrtc-direct', '/echo/1.0.0', text), text);
  const bytes = 100 * MEGABYTE;
  const millis = await tab.call('source', listener.peer, bytes);
  console.log(`     100 MB from the listener ${rate(bytes, millis)}`);
  listener.close();
});

await check('webrtc-direct-refuses-a-wrong-certificate', async (keep) => {
  const listener = await startDirectListener();
  const tab = await keep(ourTab());
  const wrong = listener.address.replace(/certhash\/[^/]+/, 'certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g');
  const failure = await tab.call('dial', listener.peer, wrong).then(() => 'connected', (error) => error.message);
  assert.match(failure, /(closed|ice-failed|handshake): /);
  assert.deepEqual(await tab.call('links', listener.peer), []);
  listener.close();
});

await check('worker-death', async (keep) => {
  const [a, b] = await connect(keep);
  await a.page.evaluate(() => {
    window.tab.rtc.close();
    window.tab.worker.terminate();
  });
  await until('the page has closed what its worker left', () => a.page.evaluate(() => window.tab.rtc.alive === 0));
  await until('the other tab knows', async () => !(await b.call('links', a.peer)).includes('webrtc'));
});

await check('failed-upgrade-keeps-the-relayed-link', async (keep) => {
  // Neither side offers or uses an address of its own network, and there is no other.
  const closed = { localNetwork: false, iceServers: [] };
  const [a, b] = [await keep(ourTab(closed)), await keep(ourTab(closed))];
  const failure = await a.call('dial', b.peer, b.address).then(() => 'connected', (error) => error.message);
  assert.match(failure, /(ice-failed|timeout): /);
  assert.deepEqual(await a.call('links', b.peer), ['relayed']);
  assert.equal(await a.call('echo', b.peer, 'relayed', 'still here'), 'still here');
  assert.equal(await a.page.evaluate(() => window.tab.rtc.alive), 0);
});

await check('cycles', async (keep) => {
  const cycles = Number(process.env.CYCLES ?? 100);
  const [a, b] = [await keep(ourTab()), await keep(ourTab())];
  for (const { page } of [a, b]) {
    await page.evaluate(() => {
      const Native = RTCPeerConnection;
      window.made = 0;
      window.RTCPeerConnection = class extends Native {
        constructor(...args) {
          super(...args);
          window.made += 1;
        }
      };
    });
  }
  for (let cycle = 0; cycle < cycles; cycle += 1) {
    await a.call('dial', b.peer, b.address);
    assert.equal(await a.call('echo', b.peer, 'webrtc', 'hi'), 'hi');
    await a.call('unlink', b.peer, 'webrtc');
    await until('both have let go', async () => {
      const left = await Promise.all([a.call('links', b.peer), b.call('links', a.peer)]);
      return left.every((kinds) => !kinds.includes('webrtc'));
    });
  }
  for (const { page } of [a, b]) {
    assert.equal(await page.evaluate(() => window.made), cycles);
    assert.equal(await page.evaluate(() => window.tab.rtc.alive), 0);
  }
});

await browser.close();
pages.close();
relay.close();
wasm.remove();
process.exitCode = failed === 0 ? 0 : 1;
