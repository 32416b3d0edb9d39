// Do visitors find each other, and how fast? Opens some on the demonstration site, again and again, and prints
// when each was linked: `node playwright/rig/linking.mjs [rounds] [visitors] [links wanted]`.
import { startBrowser } from './browser.mjs';
import { startNetwork, status } from './network.mjs';

const PATIENCE_MS = 20_000;
const [rounds = 10, visitors = 2, wanted = 1] = process.argv.slice(2).map(Number);

const network = await startNetwork();
const browser = await startBrowser();
let linked = 0;
try {
  for (let round = 1; round <= rounds; round += 1) {
    const people = await Promise.all(Array.from({ length: visitors }, () => browser.visitor({ serviceWorkers: 'block' })));
    const times = await Promise.all(people.map(({ page }) => arrive(page)));
    const all = times.every(({ linkedAt }) => linkedAt !== null);
    if (all) linked += 1;
    console.log(JSON.stringify({ round, all, times: times.map(({ linkedAt, runningAt }) => ({ runningAt, linkedAt })) }));
    if (!all) for (const { last } of times) console.log(`  ${JSON.stringify(last)}`);
    await Promise.all(people.map(({ close }) => close()));
  }
  console.log(`${linked} of ${rounds} rounds: all ${visitors} visitors with at least ${wanted} links`);
} finally {
  await browser.close();
  await network.close();
}
process.exitCode = linked === rounds ? 0 : 1;

/** Goes there and waits; times are milliseconds since the address was entered. */
async function arrive(page) {
  const start = Date.now();
  await page.goto(network.url);
  let runningAt = null;
  for (;;) {
    const last = await status(page);
    const at = Date.now() - start;
    if (last?.running) runningAt ??= at;
    if (last?.peers >= wanted) return { runningAt, linkedAt: at, last };
    if (at > PATIENCE_MS) return { runningAt, linkedAt: null, last };
    await new Promise((done) => setTimeout(done, 50));
  }
}
