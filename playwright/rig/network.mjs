// A publisher's origin and a supernode that serves its site, with our tag on the page.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startOrigin } from '../servers/origin.mjs';
import { site } from './browser.mjs';
import { Supernode, tabFiles } from './supernode.mjs';

const PATIENCE_MS = 30_000;

/** The tag of a visitor's first visit: no service worker. */
export const WITHOUT_WORKER = 'data-consent="on" data-local-network';
export const WITH_WORKER = `${WITHOUT_WORKER} data-sw="/sw.js"`;

export async function startNetwork({ attributes = WITHOUT_WORKER, ...options } = {}) {
  const origin = await startOrigin({ root: site });
  const worker = join(tabFiles, 'sw.js');
  if (existsSync(worker)) origin.addFile('/sw.js', worker);
  const supernode = new Supernode({ site: new URL(origin.url).host, ...options });
  try {
    await supernode.start();
  } catch (error) {
    await origin.close();
    throw error;
  }
  origin.setTag(supernode.tag({ attributes }));
  return {
    origin,
    supernode,
    url: origin.url,
    retag: (options) => origin.setTag(supernode.tag(options)),
    close: async () => {
      await origin.close();
      await supernode.close();
    },
  };
}

/** How the tab on this page says things stand. */
export const status = (page) => page.evaluate(() => window.blackhole?.status() ?? null);

/** Waits until the tab's own account satisfies `condition`; fails with that account. */
export async function until(page, what, condition, patienceMs = PATIENCE_MS) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const now = await status(page);
    if (now && condition(now)) return now;
    if (Date.now() > deadline) throw new Error(`not within ${patienceMs} ms: ${what}; ${JSON.stringify(now)}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** The tab runs and has the site's manifest. */
export const running = (page) => until(page, 'the tab runs', ({ running, sequence }) => running && sequence > 0);
