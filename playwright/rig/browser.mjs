// Chromium as the tests use it: a fresh profile, no traffic of its own, a visitor a context.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
  // Tabs that nobody looks at are throttled; in a test nobody looks at any of them.
  '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
];

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
export const site = join(root, 'target/site');
export const pictures = join(root, 'playwright/out');

function chromiumPath() {
  const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(path)) throw new Error(`${path} is missing: apt-get install chromium`);
  return path;
}

/**
 * A browser with a profile on disk, as people have; what `startBrowser` gives is off the record, and keeps a tab's
 * store in another process. Each `visitor()` is a page that comes by a name of its own, so has storage of its own.
 */
export async function startProfile({ flags = [], ...options } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'profile-'));
  const context = await chromium.launchPersistentContext(directory, { executablePath: chromiumPath(), args: [...FLAGS, ...flags], ...options });
  let visitors = 0;
  return {
    context,
    async visitor() {
      visitors += 1;
      const name = `visitor-${visitors}.localhost`;
      const page = await context.newPage();
      const address = (url) => Object.assign(new URL(url), { hostname: name }).href;
      return { page, address, close: () => page.close() };
    },
    close: async () => {
      await context.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A browser process; each `visitor()` is a person with an empty cache. */
export async function startBrowser({ flags = [] } = {}) {
  const executablePath = chromiumPath();
  const browser = await chromium.launch({ executablePath, args: [...FLAGS, ...flags] });
  return {
    browser,
    async visitor({ serviceWorkers = 'allow', ...options } = {}) {
      const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, serviceWorkers, ...options });
      const page = await context.newPage();
      const errors = [];
      page.on('pageerror', (error) => errors.push(error.message));
      return { context, page, errors, close: () => context.close() };
    },
    close: () => browser.close(),
  };
}

/** Scrolls to the end, so that lazy pictures are wanted. */
export async function scrollThrough(page) {
  await page.evaluate(async () => {
    for (let y = 0; y < document.body.scrollHeight; y += 500) {
      scrollTo(0, y);
      await new Promise((done) => setTimeout(done, 50));
    }
    await Promise.all([...document.images].map((image) => image.complete || new Promise((done) => {
      image.addEventListener('load', done, { once: true });
      image.addEventListener('error', done, { once: true });
    })));
  });
}

/** Every file of the site as this page gets it, compared with what was published. */
export async function fetchAll(page) {
  await page.waitForFunction(() => window.keepSite, null, { timeout: 30_000 });
  return page.evaluate(() => window.keepSite());
}

/** Pictures on the page that did not load. */
export function brokenPictures(page) {
  return page.evaluate(() => [...document.images].filter((image) => image.complete && image.naturalWidth === 0).map(({ src }) => src));
}

export async function screenshot(page, name) {
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), animations: 'disabled' });
}
