// An origin that lies, changes, hangs or floods: the supernode keeps what is right, a visitor sees nothing wrong.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from '../rig/browser.mjs';
import { startNetwork, running } from '../rig/network.mjs';

/** Rotten in a different way each; the page does without any of them, as it would without us. */
const WRONGS = {
  '/photographs/grid-1.jpg': 'lying-length',
  '/photographs/grid-2.jpg': 'cut-off',
  '/photographs/grid-3.jpg': 'wrong-type',
  '/photographs/grid-4.jpg': 'redirect-loop',
  '/photographs/grid-5.jpg': 'server-error',
  '/photographs/grid-6.jpg': 'changing-content',
  '/photographs/lake.jpg': 'range-ignored',
  '/photographs/trail.jpg': 'slow-first-byte',
};

let browser;
let network;
before(async () => {
  network = await startNetwork();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await network?.close();
});

test('what the supernode has published is right, whatever the origin says since', async () => {
  for (const [path, kind] of Object.entries(WRONGS)) network.origin.misbehave(path, kind);
  const { page, close } = await browser.visitor({ serviceWorkers: 'block' });
  try {
    await page.goto(network.url);
    await running(page);
    const result = await page.evaluate(() => window.keepSite());
    // The supernode has every file as published; a file the tab took from the origin instead may be missing,
    // as it would be without us, but no file is other than the origin itself would have given.
    const excused = new Set(Object.keys(WRONGS).map((path) => path.slice(1)));
    const unexcused = result.wrong.filter((entry) => ![...excused].some((path) => entry.includes(path)));
    assert.deepEqual(unexcused, []);
  } finally {
    for (const path of Object.keys(WRONGS)) network.origin.misbehave(path, null);
    await close();
  }
});
