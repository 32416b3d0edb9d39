// Three of ten tabs are killed twice each in mid-transfer, once by closing the page and once by crashing its
// process, and opened again; the only supernode is killed once, as by a power cut, and started again. Beside it, in
// the same run, the same crowd left in peace.
//
//   node playwright/bench/kills.mjs [--tabs 10] [--rounds 1] [--mbit 20] [--delay 80]
//
// Fetched again is what came to the tabs beyond one copy of the content each: what the line carried, by its own
// counters, and what tabs received of each other, less the tab's own program. Of a life that was cut short it is what
// the browser counted on its channels when it died, which the tab may not have heard of yet. A run proves something
// only where each victim was killed between two files.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, startBrowser } from '../rig/browser.mjs';
import { status } from '../rig/network.mjs';
import { argument, cell, conclude, pause, within } from './measure.mjs';
import { startPlace } from './place.mjs';
import { smallSite } from './small-site.mjs';

const TABS = Number(argument('tabs', 10));
const ROUNDS = Number(argument('rounds', 1));
const LINE = { bitsPerSecond: Number(argument('mbit', 20)) * 1e6, firstByteDelayMs: Number(argument('delay', 80)) };
const VICTIMS = Math.ceil(TABS * 0.3);
/** How much of the second stage is there when a tab dies. */
const DEATHS = [0.25, 0.5];
const ARRIVE_WITHIN_MS = 2_000;
/** For tabs to link to each other before the long part of the visit. */
const PAUSE_MS = 8_000;
const PATIENCE_MS = 180_000;
const DARK_MS = 3_000;
const AGAIN_MAX = 0.02;

const visitUrl = (place) => `${place.url}/?pause=${PAUSE_MS}`;

async function visited(page) {
  await page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
  return page.evaluate(() => window.visited);
}

/** Resolves with what the page has, once it has so much of its second stage. */
async function midTransfer(page, share) {
  const at = await page.waitForFunction((share) => {
    const now = window.progress;
    return now?.stage === 2 && now.done >= now.of * share && now.done < now.of ? now : null;
  }, share, { timeout: PATIENCE_MS, polling: 20 });
  return at.jsonValue();
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

/** In the page: the bytes that came on its channels. */
async function receivedByChannels() {
  const all = await Promise.all(window.connections.map(async (connection) => [...(await connection.getStats()).values()]));
  return all.flat().filter(({ type }) => type === 'data-channel').reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
}

/** Resolves when the long part of this page's visit has begun, or the page is over. */
const longPart = (page) => midTransfer(page, 0).catch(() => undefined);

async function tab(browser, place, number, isVictim, begun) {
  await pause((number * ARRIVE_WITHIN_MS) / TABS);
  const { context, page: first } = await browser.visitor({ serviceWorkers: 'block' });
  const [deaths, program] = [[], { bytes: 0 }];
  let page = first;
  await context.addInitScript(keepConnections);
  countProgram(page, program);
  const work = (async () => {
    await page.goto(visitUrl(place), { waitUntil: 'commit', timeout: PATIENCE_MS });
    longPart(page).then(begun);
    for (let death = 0; isVictim && death < DEATHS.length; death += 1) {
      const life = await midTransfer(page, DEATHS[death]);
      const [told, counted] = [(await status(page))?.bytes, await page.evaluate(receivedByChannels)];
      deaths.push({ ...life, peers: Math.max(counted, told?.peers ?? 0) });
      await die(context, page, death);
      page = await context.newPage();
      countProgram(page, program);
      await page.goto(visitUrl(place), { waitUntil: 'commit', timeout: PATIENCE_MS });
    }
    return visited(page);
  })();
  const result = await within(PATIENCE_MS, 'the page', work).catch((error) => ({ files: 0, wrong: [error.message.split('\n')[0]] }));
  return { ...result, isVictim, deaths, program, context, page };
}

async function crowd(browser, small, kills) {
  const place = await startPlace(small, LINE);
  let tabs = [];
  let dark = null;
  let over = false;
  try {
    const begun = performance.now();
    const inLongPart = [];
    const loads = Array.from({ length: TABS }, (_, number) => {
      const isVictim = kills && number % 3 === 1 && number < 3 * VICTIMS;
      let load;
      inLongPart.push(new Promise((begun) => { load = tab(browser, place, number, isVictim, begun); }));
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
    return { kills, doneMs, dark, infrastructure: origin.down + edge.down, tabs: tabs.map(({ context, page, ...figures }) => figures) };
  } finally {
    over = true;
    for (const { context } of tabs) await context.close();
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
  verdicts.push({ met: deaths.length === VICTIMS * DEATHS.length, says: `${deaths.length} of ${VICTIMS * DEATHS.length} deaths in mid-transfer, after ${deaths.map(({ done, of }) => `${done}/${of}`).join(', ')} files` });
  verdicts.push({ met: inTransfer, says: `the supernode was dark ${run.dark ? `from ${(run.dark.atMs / 1000).toFixed(1)} to ${(run.dark.endMs / 1000).toFixed(1)} s` : 'never'} of ${(run.doneMs / 1000).toFixed(1)} s` });
  verdicts.push({ met: whole(victims) === victims.length, says: `${whole(victims)} of ${victims.length} tabs that were killed twice are whole in the end` });
  verdicts.push({ met: fromPeers > 0, says: `${(fromPeers / 1e6).toFixed(1)} MB came from tab to tab` });
  verdicts.push({ met: again <= AGAIN_MAX, says: `${(again * 100).toFixed(2)} % fetched again, at most ${AGAIN_MAX * 100} %` });
  return verdicts;
}

const small = smallSite({ more: true });
const browser = await startBrowser({ flags: ['--disable-features=WebRtcHideLocalIpsWithMdns'] });
const [verdicts, runs] = [[], []];
try {
  console.log(`${TABS} tabs, ${VICTIMS} of them killed ${DEATHS.length} times, ${(small.bytes / 1e6).toFixed(1)} MB each, ${LINE.bitsPerSecond / 1e6} Mbit/s, ${LINE.firstByteDelayMs} ms`);
  console.log(`${''.padEnd(10)}${cell('whole', 8)}${cell('done', 9)}${cell('again', 9)}${cell('wasted', 9)}${cell('peers', 10)}${cell('program', 10)}${cell('infra', 8)}`);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const kills of [false, true]) {
      const run = await crowd(browser, small, kills);
      verdicts.push(...judge(run, small));
      runs.push(run);
    }
  }
} finally {
  await browser.close();
  small.close();
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-kills.json'), JSON.stringify({ tabs: TABS, line: LINE, runs }, null, 1));
conclude(verdicts);
