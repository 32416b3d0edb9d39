// A flash crowd: ten visitors within five seconds on a page of some 20 MB, behind one thin line that origin
// and supernode share. Side by side, in one run, on the same files:
//
//   direct       plain HTTP from the origin
//   first-visit  our tag on the page, no service worker yet
//   worker       our tag, the service worker installed at an earlier visit, caches empty
//   webtorrent   WebTorrent with the origin as web seed and a tracker on this machine
//
//   node playwright/bench/cdn.mjs [--tabs 10] [--mbit 20] [--delay 80] [--only direct,webtorrent]
//
// Writes playwright/out/bench-cdn.json and one SVG a mode: who sent what to whom, over time.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, site, startProfile } from '../rig/browser.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';
import { drawCrowd } from './draw.mjs';
import { argument, cell, pause } from './measure.mjs';
import { modes } from './modes.mjs';

const TABS = Number(argument('tabs', 10));
const MEGABITS = Number(argument('mbit', 20));
const DELAY_MS = Number(argument('delay', 80));
const ARRIVE_WITHIN_MS = 5_000;
/** Direct delivery takes about tabs × bytes / rate; three times that, and something hangs. */
const PATIENCE = 3;
const SAMPLE_MS = 500;

const { assets } = JSON.parse(readFileSync(join(site, 'assets.json')));
const wanted = assets.filter(({ path }) => !path.startsWith('/download/'));
const contentBytes = wanted.reduce((sum, { bytes }) => sum + bytes, 0);
const limitMs = PATIENCE * ((TABS * contentBytes * 8) / (MEGABITS * 1e6)) * 1000 + 30_000;

async function crowd(mode) {
  const network = await mode.start({ startOrigin, startShaper, line: { bitsPerSecond: MEGABITS * 1e6, firstByteDelayMs: DELAY_MS }, wanted });
  const samples = [];
  const browsers = [];
  try {
    // Each visitor has a browser: in a common one all their packets and messages would wait in one thread.
    const visitors = [];
    for (let number = 0; number < TABS; number += 1) {
      const browser = await startProfile({ flags: mode.flags ?? [], serviceWorkers: mode.serviceWorkers ? 'allow' : 'block' });
      browsers.push(browser);
      visitors.push(await browser.visitor());
    }
    const at = ({ address }) => ({ ...network, url: address(network.url) });
    for (const visitor of visitors) await mode.before?.(visitor.page, at(visitor));
    network.reset();
    const started = performance.now();
    let loading = true;
    const sampling = (async () => {
      while (loading) {
        const ms = performance.now() - started;
        // A tab that is busy answers later; the others' samples must not wait for it.
        const tabs = await Promise.all(visitors.map(({ page }) => Promise.race([
          mode.sample?.(page).catch(() => null) ?? null, pause(SAMPLE_MS).then(() => null),
        ])));
        samples.push({ ms, infrastructure: network.down(), tabs });
        await pause(SAMPLE_MS);
      }
    })();
    const results = await Promise.all(visitors.map(async (visitor, number) => {
      await pause((number * ARRIVE_WITHIN_MS) / TABS);
      const begun = performance.now();
      const result = await mode.load(visitor.page, at(visitor), limitMs).catch((error) => ({ files: 0, bytes: 0, wrong: [error.message] }));
      return { ...result, startedMs: begun - started, seconds: (performance.now() - begun) / 1000 };
    }));
    loading = false;
    await sampling;
    const infrastructure = network.down();
    const last = await Promise.all(visitors.map(({ page }) => mode.sample?.(page).catch(() => null) ?? null));
    samples.push({ ms: performance.now() - started, infrastructure, tabs: last });
    return summary(mode.name, results, infrastructure, samples);
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    await network.close();
  }
}

function summary(name, results, infrastructure, samples) {
  const useful = results.reduce((sum, { bytes }) => sum + bytes, 0);
  const down = Object.values(infrastructure).reduce((sum, bytes) => sum + bytes, 0);
  const seconds = results.map((result) => result.seconds).sort((one, other) => one - other);
  return {
    name,
    complete: results.filter(({ files, wrong }) => files === wanted.length && wrong.length === 0).length,
    wrong: [...new Set(results.flatMap(({ wrong }) => wrong))].slice(0, 5),
    usefulBytes: useful,
    infrastructureBytes: infrastructure,
    offload: 1 - down / useful,
    infrastructureTimesContent: down / contentBytes,
    secondsMedian: seconds[Math.floor(seconds.length / 2)],
    secondsLast: seconds.at(-1),
    allDoneSeconds: Math.max(...results.map((result) => result.startedMs / 1000 + result.seconds)),
    results,
    samples,
  };
}

mkdirSync(pictures, { recursive: true });
const only = argument('only', '').split(',').filter(Boolean);
const outcomes = [];
for (const mode of modes.filter(({ name }) => only.length === 0 || only.includes(name))) {
  console.log(`· ${mode.name}: ${TABS} tabs, ${(contentBytes / 1e6).toFixed(1)} MB each, ${MEGABITS} Mbit/s, ${DELAY_MS} ms`);
  const outcome = await crowd(mode);
  outcomes.push(outcome);
  writeFileSync(join(pictures, `bench-cdn-${mode.name}.svg`), drawCrowd(outcome, contentBytes));
  console.log(`  ${outcome.complete} of ${TABS} complete in ${outcome.allDoneSeconds.toFixed(1)} s${outcome.wrong.length ? `; ${outcome.wrong.join('; ')}` : ''}`);
}

const direct = outcomes.find(({ name }) => name === 'direct');
console.log(`\n${'mode'.padEnd(12)}${cell('complete', 10)}${cell('all done', 11)}${cell('of direct', 11)}${cell('median', 9)}${cell('offload', 9)}${cell('infra/content', 15)}`);
for (const outcome of outcomes) {
  const ratio = direct ? (outcome.allDoneSeconds / direct.allDoneSeconds).toFixed(2) : '–';
  console.log(`${outcome.name.padEnd(12)}${cell(`${outcome.complete}/${TABS}`, 10)}${cell(`${outcome.allDoneSeconds.toFixed(1)} s`, 11)}${cell(ratio, 11)}`
    + `${cell(`${outcome.secondsMedian.toFixed(1)} s`, 9)}${cell(`${(outcome.offload * 100).toFixed(1)} %`, 9)}${cell(outcome.infrastructureTimesContent.toFixed(2), 15)}`);
}
writeFileSync(join(pictures, 'bench-cdn.json'), JSON.stringify({ tabs: TABS, megabits: MEGABITS, delayMs: DELAY_MS, contentBytes, outcomes }, null, 1));
console.log(`\n${join(pictures, 'bench-cdn.json')}, and an SVG a mode beside it`);
process.exit(outcomes.every(({ complete }) => complete === TABS) ? 0 : 1);
