// Three of ten tabs are killed twice each in mid-transfer, once by closing the page and once by crashing its
// process, and opened again; the only supernode is killed once, as by a power cut, and started again. Beside it, in
// the same run, the same crowd left in peace.
//
//   node playwright/bench/kills.mjs [--tabs 10] [--rounds 1] [--mbit 20] [--delay 80]
//
// Fetched again is what came to the tabs beyond one copy of the content each: what the line carried, by its own
// counters, and what tabs received of each other, less the tab's own program. Of a life that was cut short it is what
// the browser counted on its channels then, which the tab may not have heard of yet. A run proves something only where
// each victim was killed with much of the content still to come.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, startProfile } from '../rig/browser.mjs';
import { status } from '../rig/network.mjs';
import { argument, cell, conclude, pause, within } from './measure.mjs';
import { startPlace } from './place.mjs';
import { smallSite } from './small-site.mjs';

const TABS = Number(argument('tabs', 10));
const ROUNDS = Number(argument('rounds', 1));
const LINE = { bitsPerSecond: Number(argument('mbit', 20)) * 1e6, firstByteDelayMs: Number(argument('delay', 80)) };
const VICTIMS = Math.ceil(TABS * 0.3);
/** How much of the second stage a page has when it dies. */
const DEATHS = [0.25, 0.5];
/** With more than this there it is no death in mid-transfer. */
const MID_TRANSFER_MAX = 0.9;
const FLAGS = ['--disable-features=WebRtcHideLocalIpsWithMdns,PreloadTopChromeWebUI'];
const ARRIVE_WITHIN_MS = 2_000;
/** For tabs to link to each other before the long part of the visit. */
const PAUSE_MS = 8_000;
const PATIENCE_MS = 180_000;
const DARK_MS = 3_000;
const AGAIN_MAX = 0.02;

const visitUrl = (place) => `${place.url}/?tab&pause=${PAUSE_MS}`;

async function visited(page) {
  await page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
  return page.evaluate(() => window.visited);
}

/** Resolves with what the page has, once it has so many bytes of its second stage; with null where it had them all at once. */
async function midTransfer(page, bytes) {
  const at = await page.waitForFunction((bytes) => {
    const now = window.progress;
    return now?.stage === 2 && now.bytes >= bytes ? now : null;
  }, bytes, { timeout: PATIENCE_MS, polling: 20 });
  const now = await at.jsonValue();
  return now.done < now.of ? now : null;
}

async function die(context, page, death) {
  if (death % 2 === 0) return page.close();
  const crashed = new Promise((done) => page.once('crash', done));
  const session = await context.newCDPSession(page);
  session.send('Page.crash').catch(() => {});
  await within(10_000, 'the page crashes', crashed);
  await page.close();
}

/** The program of our tab, as this page got it: no content. */
function countProgram(page, counter) {
  page.on('requestfinished', async (request) => {
    if (!request.url().includes('/blackhole/tab/')) return;
    const sizes = await request.sizes().catch(() => null);
    counter.bytes += sizes ? sizes.responseBodySize + sizes.responseHeadersSize : 0;
  });
}

/** In the page, before anything else: remembers its connections. */
function keepConnections() {
  const Made = RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Made {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
  };
}

/** In the page: counts what came on its channels until its worker stands still; tells how much it was at that moment. */
async function countUntilStopped() {
  let stoppedAt = Infinity;
  new BroadcastChannel('death').onmessage = ({ data }) => { stoppedAt = data; };
  // A browser answers with figures up to 50 ms old, and says how old they are.
  const countOf = async (connection) => {
    const all = [...(await connection.getStats()).values()].filter(({ type }) => type === 'data-channel');
    return { at: all[0]?.timestamp ?? Infinity, bytes: all.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0) };
  };
  const untilStopped = async (connection) => {
    let [before, after] = [await countOf(connection), null];
    while (after === null || after.at < stoppedAt) {
      const next = await countOf(connection);
      if (after !== null && next.at > after.at) before = after;
      after = next;
      await new Promise((done) => setTimeout(done, 5));
    }
    const share = (stoppedAt - before.at) / (after.at - before.at);
    return before.bytes + (after.bytes - before.bytes) * (share > 0 && share <= 1 ? share : 0);
  };
  window.counting = async () => {
    const counts = await Promise.all(window.connections.map(untilStopped));
    return counts.reduce((sum, bytes) => sum + bytes, 0);
  };
}

/** In the worker: stands still, and says when. */
function standStill() {
  new BroadcastChannel('death').postMessage(performance.timeOrigin + performance.now());
  Atomics.wait(new Int32Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer), 0, 0);
}

/**
 * Stops the page's worker where it is, and tells what the browser had received on the page's channels by then. What a
 * tab lost by its death is what it had received and not kept: a count while both go on would be of no moment.
 */
async function stopAndCount(page) {
  await page.evaluate(countUntilStopped);
  const count = page.evaluate(() => window.counting());
  for (const worker of page.workers()) worker.evaluate(standStill).catch(() => {});
  return within(PATIENCE_MS, 'the count', count);
}

/** Resolves when the long part of this page's visit has begun, or the page is over. */
const longPart = (page) => midTransfer(page, 0).catch(() => undefined);

async function tab(profile, { page: first, address }, place, isVictim, begun, number, bytes) {
  await pause((number * ARRIVE_WITHIN_MS) / TABS);
  const [deaths, program] = [[], { bytes: 0 }];
  let page = first;
  countProgram(page, program);
  const work = (async () => {
    await page.goto(address(visitUrl(place)), { waitUntil: 'commit', timeout: PATIENCE_MS });
    longPart(page).then(begun);
    for (let death = 0; isVictim && death < DEATHS.length; death += 1) {
      const life = await midTransfer(page, DEATHS[death] * bytes);
      if (!life) break;
      deaths.push({ ...life, peers: await stopAndCount(page) });
      await die(profile.context, page, death);
      page = await profile.context.newPage();
      countProgram(page, program);
      await page.goto(address(visitUrl(place)), { waitUntil: 'commit', timeout: PATIENCE_MS });
    }
    return visited(page);
  })();
  const result = await within(PATIENCE_MS, 'the page', work).catch((error) => ({ files: 0, wrong: [error.message.split('\n')[0]] }));
  return { ...result, isVictim, deaths, program, page };
}

async function crowd(small, kills) {
  const place = await startPlace(small, LINE);
  // One browser, as if ten people sat at it: each comes by a name of its own, so has a process and a store of its own.
  const profile = await startProfile({ flags: FLAGS, serviceWorkers: 'block' });
  let tabs = [];
  let dark = null;
  let over = false;
  try {
    await profile.context.addInitScript(keepConnections);
    const visitors = [];
    for (let number = 0; number < TABS; number += 1) visitors.push(await profile.visitor());
    const begun = performance.now();
    const inLongPart = [];
    const loads = visitors.map((visitor, number) => {
      const isVictim = kills && number % 3 === 1 && number < 3 * VICTIMS;
      let load;
      inLongPart.push(new Promise((begun) => { load = tab(profile, visitor, place, isVictim, begun, number, small.secondBytes); }));
      return load;
    });
    const darkness = (async () => {
      if (!kills) return;
      // Everybody is in its second stage, and the last one has just begun it.
      await Promise.all(inLongPart);
      if (over) return;
      await place.kill();
      dark = { atMs: performance.now() - begun };
      await pause(DARK_MS);
      await place.start();
      dark.endMs = performance.now() - begun;
    })();
    tabs = await Promise.all(loads);
    over = true;
    const doneMs = performance.now() - begun;
    await darkness;
    // Who is done still gives. A tab's last account comes a moment after its last byte.
    await pause(1_000);
    for (const one of tabs) one.end = await status(one.page).catch(() => null);
    const { origin, edge } = place.shaper.counters;
    return { kills, doneMs, dark, infrastructure: origin.down + edge.down, tabs: tabs.map(({ page, ...figures }) => figures) };
  } finally {
    over = true;
    await profile.close();
    await place.close();
  }
}

function judge(run, small) {
  const others = run.tabs.filter(({ isVictim }) => !isVictim);
  const whole = (tabs) => tabs.filter(({ files, wrong }) => files === small.files && wrong.length === 0).length;
  const fromPeers = run.tabs.reduce((sum, { end, deaths }) => sum + (end?.bytes.peers ?? 0) + deaths.reduce((lives, { peers }) => lives + peers, 0), 0);
  const program = run.tabs.reduce((sum, one) => sum + one.program.bytes, 0);
  const content = run.tabs.length * small.bytes;
  const again = (run.infrastructure + fromPeers - program - content) / content;
  const wasted = others.reduce((sum, { end }) => sum + (end?.bytes.wasted ?? 0), 0) / (others.length * small.secondBytes);
  const name = run.kills ? 'kills' : 'in peace';
  console.log(`${name.padEnd(10)}${cell(`${whole(others)}/${others.length}`, 8)}${cell(`${(run.doneMs / 1000).toFixed(1)} s`, 9)}${cell(`${(again * 100).toFixed(2)} %`, 9)}${cell(`${(wasted * 100).toFixed(2)} %`, 9)}`
    + `${cell(`${(fromPeers / 1e6).toFixed(1)} MB`, 10)}${cell(`${(program / 1e6).toFixed(1)} MB`, 10)}${cell((run.infrastructure / small.bytes).toFixed(2), 8)}`);
  const wrong = [...new Set(run.tabs.flatMap((one) => one.wrong))].slice(0, 3).join('; ');
  const verdicts = [{ met: whole(others) === others.length, says: `${name}: ${whole(others)} of ${others.length} other loads whole${wrong ? `; ${wrong}` : ''}` }];
  if (!run.kills) return verdicts;
  const victims = run.tabs.filter(({ isVictim }) => isVictim);
  const deaths = victims.flatMap((victim) => victim.deaths);
  const inTransfer = run.dark !== null && run.dark.atMs < run.doneMs;
  verdicts.push({ met: deaths.length === VICTIMS * DEATHS.length && deaths.every(({ bytes }) => bytes < MID_TRANSFER_MAX * small.secondBytes), says: `${deaths.length} of ${VICTIMS * DEATHS.length} deaths in mid-transfer, with ${deaths.map(({ bytes }) => `${((bytes / small.secondBytes) * 100).toFixed(0)} %`).join(', ')}` });
  verdicts.push({ met: inTransfer, says: `the supernode was dark ${run.dark ? `from ${(run.dark.atMs / 1000).toFixed(1)} to ${(run.dark.endMs / 1000).toFixed(1)} s` : 'never'} of ${(run.doneMs / 1000).toFixed(1)} s` });
  verdicts.push({ met: whole(victims) === victims.length, says: `${whole(victims)} of ${victims.length} tabs that were killed twice are whole in the end` });
  verdicts.push({ met: fromPeers > 0, says: `${(fromPeers / 1e6).toFixed(1)} MB came from tab to tab` });
  verdicts.push({ met: again <= AGAIN_MAX, says: `${(again * 100).toFixed(2)} % fetched again, at most ${AGAIN_MAX * 100} %` });
  return verdicts;
}

const small = smallSite({ whole: true });
const [verdicts, runs] = [[], []];
try {
  console.log(`${TABS} tabs, ${VICTIMS} of them killed ${DEATHS.length} times, ${(small.bytes / 1e6).toFixed(1)} MB each, ${LINE.bitsPerSecond / 1e6} Mbit/s, ${LINE.firstByteDelayMs} ms`);
  console.log(`${''.padEnd(10)}${cell('whole', 8)}${cell('done', 9)}${cell('again', 9)}${cell('wasted', 9)}${cell('peers', 10)}${cell('program', 10)}${cell('infra', 8)}`);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const kills of [false, true]) {
      const run = await crowd(small, kills);
      verdicts.push(...judge(run, small));
      runs.push(run);
    }
  }
} finally {
  small.close();
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-kills.json'), JSON.stringify({ tabs: TABS, line: LINE, runs }, null, 1));
conclude(verdicts);
