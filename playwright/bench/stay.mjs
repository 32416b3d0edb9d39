// A tab that stays while others come and go: what it costs the page in memory and in long tasks.
//
//   node playwright/bench/stay.mjs [--minutes 3] [--loads 5]
//
// Memory is the browser's own measurement of page and workers together, wasm included, after its collection
// (`performance.measureUserAgentSpecificMemory`, for which the page is cross-origin isolated), between the time when
// the tab has seen a few come and go and the end. Long tasks are those in which the browser names a script of ours;
// all long tasks of the same page without our tag are printed beside them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, startBrowser } from '../rig/browser.mjs';
import { status, until } from '../rig/network.mjs';
import { argument, cell, conclude, pause, within } from './measure.mjs';
import { startPlace } from './place.mjs';
import { smallSite } from './small-site.mjs';

const MINUTES = Number(argument('minutes', 3));
const LOADS = Number(argument('loads', 5));
/** No thin line: more comings and goings in the time. */
const LINE = { bitsPerSecond: 1e9, firstByteDelayMs: 5 };
const WARM_CYCLES = 4;
/** Every so many guests vanish; the others stop their tab first. */
const VANISHES = 4;
/** A guest that vanished is missed after its connection's timeout only. */
const LINGERING_MAX = 2;
const SAMPLE_EVERY_MS = 30_000;
const PATIENCE_MS = 30_000;
const GROWTH_MAX_BYTES = 20e6;
const LONG_MS = 50;
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp', 'cross-origin-resource-policy': 'cross-origin' };

/** Run before the page's scripts: who held the page up, and how many connections were made. */
function watch() {
  window.seen = { longTasks: [], ours: [], frames: 0, connections: 0, refused: [] };
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) window.seen.longTasks.push({ startTime, duration });
  }).observe({ type: 'longtask', buffered: true });
  new PerformanceObserver((list) => {
    for (const frame of list.getEntries()) {
      window.seen.frames += 1;
      for (const { sourceURL, sourceFunctionName, invoker, duration, startTime } of frame.scripts) {
        // The loader's own address, and the blobs that it makes of the rest; the page has no blobs of its own.
        const about = `${sourceURL} ${invoker}`;
        if (about.includes('/blackhole/tab/') || about.includes('blob:')) window.seen.ours.push({ sourceURL, sourceFunctionName, invoker, duration, startTime });
      }
    }
  }).observe({ type: 'long-animation-frame', buffered: true });
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      try { super(...given); } catch (error) { window.seen.refused.push(error.message); throw error; }
      window.seen.connections += 1;
    }
  };
}

async function visit(browser, url) {
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  await visitor.page.addInitScript(watch);
  await visitor.page.goto(url, { waitUntil: 'commit' });
  await visitor.page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
  const load = await within(PATIENCE_MS, 'the page', visitor.page.evaluate(() => window.visited));
  return { ...visitor, load };
}

/** Bytes of the page and its workers, by kind. */
async function memory(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  await session.detach();
  return within(PATIENCE_MS * 4, 'the browser measures memory', page.evaluate(async () => {
    if (!crossOriginIsolated) throw new Error('the page is not cross-origin isolated');
    const { bytes, breakdown } = await performance.measureUserAgentSpecificMemory();
    const inWorkers = breakdown.filter(({ attribution }) => attribution.some(({ scope }) => scope.includes('Worker')));
    return { bytes, workerBytes: inWorkers.reduce((sum, one) => sum + one.bytes, 0) };
  }));
}

async function longTasks(browser, place, tag) {
  const found = { with: [], without: [] };
  for (let load = 0; load < LOADS; load += 1) {
    for (const kind of ['without', 'with']) {
      place.setTag(kind === 'with' ? tag : '');
      const { page, close } = await visit(browser, `${place.url}/`);
      await pause(1_000);
      found[kind].push({ seen: await page.evaluate(() => window.seen), tab: await status(page) });
      await close();
    }
  }
  place.setTag(tag);
  found.noticed = await noticesUs(browser, place);
  return found;
}

/** Whether a script like ours that holds the page up would be seen: one that does, on purpose. */
async function noticesUs(browser, place) {
  const { page, close } = await visit(browser, `${place.url}/?pause=0`);
  await page.evaluate((milliseconds) => new Promise((done) => {
    const source = `setTimeout(() => { const until = performance.now() + ${milliseconds}; while (performance.now() < until); }, 50)`;
    const script = document.createElement('script');
    script.src = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    document.head.append(script);
    setTimeout(done, 1_000);
  }), LONG_MS * 2);
  const { ours } = await page.evaluate(() => window.seen);
  await close();
  return ours.some(({ duration }) => duration > LONG_MS);
}

const small = smallSite();
const place = await startPlace(small, LINE, { headers: ISOLATED });
const browser = await startBrowser({
  flags: ['--disable-features=WebRtcHideLocalIpsWithMdns', '--enable-blink-features=ForceEagerMeasureMemory'],
});
const verdicts = [];
const samples = [];
let result = {};
try {
  const tasks = await longTasks(browser, place, place.tag);
  const stays = await visit(browser, `${place.url}/`);
  await until(stays.page, 'the tab runs', ({ running }) => running);
  const begun = performance.now();
  const cycles = { whole: 0, linked: 0, failed: [] };
  let sampledAt = 0;
  while (performance.now() - begun < MINUTES * 60_000) {
    try {
      const guest = await visit(browser, `${place.url}/?pause=1500`);
      try {
        if (guest.load.wrong.length > 0) throw new Error(guest.load.wrong[0]);
        await until(guest.page, 'the guest is linked', ({ peers }) => peers >= 1, 10_000);
        cycles.linked += 1;
        if ((cycles.linked % VANISHES) !== 0) {
          await guest.page.evaluate(() => window.blackhole.stop());
          await pause(300);
        }
      } finally {
        await guest.close();
      }
      await until(stays.page, 'the guests have gone', ({ peers }) => peers <= LINGERING_MAX, 60_000);
      cycles.whole += 1;
    } catch (error) {
      cycles.failed.push(error.message.split('\n')[0]);
    }
    const count = cycles.whole + cycles.failed.length;
    if (count === WARM_CYCLES || (count > WARM_CYCLES && performance.now() - sampledAt > SAMPLE_EVERY_MS)) {
      sampledAt = performance.now();
      samples.push({ minutes: (sampledAt - begun) / 60_000, cycles: count, ...await memory(stays.page) });
      const { minutes, bytes, workerBytes } = samples.at(-1);
      console.log(`${cell(minutes.toFixed(1), 6)} min${cell(count, 6)} cycles${cell((bytes / 1e6).toFixed(1), 8)} MB, of which workers ${(workerBytes / 1e6).toFixed(1)} MB`);
    }
  }
  samples.push({ minutes: MINUTES, cycles: cycles.whole + cycles.failed.length, ...await memory(stays.page) });
  const seen = await stays.page.evaluate(() => window.seen);
  const growth = samples.at(-1).bytes - samples[0].bytes;
  result = { tasks, cycles, samples, seen };
  const all = [...tasks.with.map((one) => one.seen), seen];
  const ours = all.flatMap((one) => one.ours).filter(({ duration }) => duration > LONG_MS);
  const count = (list) => list.reduce((sum, one) => sum + one.seen.longTasks.length, 0);
  console.log(`long tasks in ${LOADS} loads: ${count(tasks.without)} without our tag, ${count(tasks.with)} with; while others came and went: ${seen.longTasks.length}`);
  verdicts.push({ met: samples.length > 1 && growth < GROWTH_MAX_BYTES, says: `memory grew by ${(growth / 1e6).toFixed(1)} MB in ${(MINUTES - samples[0].minutes).toFixed(1)} minutes and ${samples.at(-1).cycles - samples[0].cycles} cycles, less than ${GROWTH_MAX_BYTES / 1e6}` });
  verdicts.push({ met: tasks.with.every(({ tab }) => tab?.running), says: 'our tab ran in every load that was watched' });
  verdicts.push({ met: tasks.noticed, says: 'a script like ours that holds the page up on purpose is noticed' });
  verdicts.push({ met: ours.length === 0, says: `${ours.length} long tasks of ours over ${LONG_MS} ms${ours.length ? `; the longest ${Math.max(...ours.map(({ duration }) => duration)).toFixed(0)} ms in ${ours[0].sourceFunctionName || ours[0].invoker}` : ''}` });
  verdicts.push({ met: cycles.failed.length === 0, says: `${cycles.whole} came, linked and went; ${cycles.failed.length} did not${cycles.failed.length ? `: ${cycles.failed[0]}` : ''}` });
  verdicts.push({ met: seen.refused.length === 0 && seen.connections <= Math.max(1, cycles.linked), says: `${seen.connections} connections made for ${cycles.linked} links, ${seen.refused.length} refused` });
} finally {
  await browser.close();
  await place.close();
  small.close();
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-stay.json'), JSON.stringify({ minutes: MINUTES, loads: LOADS, ...result }, null, 1));
conclude(verdicts);
