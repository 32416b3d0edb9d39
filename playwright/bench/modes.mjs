// The ways to deliver the same files that the bench compares. A mode starts its network, loads a page in one
// tab and says what that tab received so far, by source.
import { dirname, join } from 'node:path';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { site } from '../rig/browser.mjs';
import { WITHOUT_WORKER, WITH_WORKER, running, status } from '../rig/network.mjs';
import { freePort } from '../rig/ports.mjs';
import { Supernode, tabFiles } from '../rig/supernode.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** What went down the line, by server, headers included: what its owner pays for. */
const downOf = (shaper) => () => Object.fromEntries(Object.entries(shaper.counters).map(([name, { down }]) => [name, down]));

async function loadSite(page, url, limitMs) {
  page.setDefaultTimeout(limitMs);
  await page.goto(url, { waitUntil: 'domcontentloaded', timeout: limitMs });
  await page.waitForFunction(() => window.keepSite, null, { timeout: limitMs });
  return page.evaluate(() => window.keepSite());
}

const direct = {
  name: 'direct',
  async start({ startOrigin, startShaper, line }) {
    const origin = await startOrigin({ root: site });
    const shaper = await startShaper({ upstreams: { origin: origin.port }, ...line });
    return {
      url: `http://localhost:${shaper.ports.origin}`,
      down: downOf(shaper),
      reset: () => shaper.reset(),
      close: async () => { await shaper.close(); await origin.close(); },
    };
  },
  load: (page, network, limitMs) => loadSite(page, network.url, limitMs),
};

const webtorrent = {
  name: 'webtorrent',
  // Tabs on one machine find each other by its address; a browser hides it behind mDNS names otherwise.
  flags: ['--disable-features=WebRtcHideLocalIpsWithMdns,PreloadTopChromeWebUI'],
  async start({ startOrigin, startShaper, line, wanted }) {
    const [{ default: Tracker }, { default: createTorrent }] = await Promise.all([import('bittorrent-tracker/server'), import('create-torrent')]);
    const origin = await startOrigin({ root: site, mount: '/site' });
    const shaper = await startShaper({ upstreams: { origin: origin.port }, ...line });
    const tracker = new Tracker({ udp: false, http: false, ws: true, stats: false });
    await new Promise((done) => tracker.listen(0, '127.0.0.1', done));
    const announce = `ws://127.0.0.1:${tracker.ws.address().port}`;
    const files = wanted.map(({ path }) => Object.assign(readFileSync(join(site, path)), { name: path.slice(1) }));
    const torrent = await new Promise((done, fail) => createTorrent(files, {
      // Bigger pieces than its default for this size: fewer round trips to the web seed, which helps it here.
      name: 'site', pieceLength: 256 * 1024, announceList: [[announce]], urlList: [`http://localhost:${shaper.ports.origin}/`], private: true,
    }, (error, made) => (error ? fail(error) : done(made))));
    // The page and the library come over a line of their own: only the content is compared.
    const served = {
      '/': ['text/html', readFileSync(join(here, 'webtorrent.html'))],
      '/webtorrent.js': ['text/javascript', readFileSync(join(here, 'node_modules/webtorrent/dist/webtorrent.min.js'))],
      '/site.torrent': ['application/x-bittorrent', Buffer.from(torrent)],
    };
    const pages = createServer((request, response) => {
      const [type, body] = served[request.url] ?? [];
      return body ? response.writeHead(200, { 'content-type': type }).end(body) : response.writeHead(404).end();
    });
    await new Promise((done) => pages.listen(0, '127.0.0.1', done));
    return {
      url: `http://localhost:${pages.address().port}/`,
      announce,
      hashes: Object.fromEntries(wanted.map(({ path, sha256 }) => [path.slice(1), sha256])),
      down: downOf(shaper),
      reset: () => shaper.reset(),
      close: async () => {
        await shaper.close();
        await origin.close();
        pages.close();
        pages.closeAllConnections();
        await new Promise((done) => tracker.close(done));
      },
    };
  },
  async load(page, network, limitMs) {
    page.setDefaultTimeout(limitMs);
    await page.goto(network.url);
    await page.waitForFunction(() => window.startTorrent);
    return Promise.race([
      page.evaluate(([announce, hashes]) => window.startTorrent(announce, hashes), [network.announce, network.hashes]),
      new Promise((_, fail) => setTimeout(() => fail(new Error('not done in time')), limitMs).unref()),
    ]);
  },
  sample: (page) => page.evaluate(() => window.torrentStatus?.() ?? null),
};

/** Our tag on the page; origin and edge behind the one line. Signalling is beside it: a socket of the supernode of its own. */
async function startOurs({ startOrigin, startShaper, line }, attributes) {
  const origin = await startOrigin({ root: site, files: { '/sw.js': join(tabFiles, 'sw.js') } });
  // The site's name is the address that visitors use, which is known only once the line is there.
  const outer = await startShaper({ upstreams: { origin: origin.port, supernode: await freePort() }, ...line });
  const url = `http://localhost:${outer.ports.origin}`;
  const supernode = new Supernode({
    site: new URL(url).host,
    edgePort: outer.upstreams.supernode,
    edge: `public_url = "http://localhost:${outer.ports.supernode}"`,
  });
  await supernode.start();
  origin.setTag(supernode.tag({ edge: `http://localhost:${outer.ports.supernode}`, attributes }));
  return {
    url,
    down: downOf(outer),
    reset: () => outer.reset(),
    close: async () => { await outer.close(); await origin.close(); await supernode.close(); },
  };
}

const firstVisit = {
  name: 'first-visit',
  flags: webtorrent.flags,
  start: (tools) => startOurs(tools, WITHOUT_WORKER),
  async load(page, network, limitMs) {
    page.setDefaultTimeout(limitMs);
    await page.goto(network.url, { waitUntil: 'domcontentloaded', timeout: limitMs });
    await page.waitForFunction(() => window.keepSite);
    // A page that fetches before the tab runs is served by the plain network; a gallery waits for its visitor.
    await running(page).catch(() => {});
    return page.evaluate(() => window.keepSite());
  },
  sample: (page) => status(page),
};

const worker = {
  ...firstVisit,
  name: 'worker',
  serviceWorkers: true,
  start: (tools) => startOurs(tools, WITH_WORKER),
  /** The earlier visit: the service worker is installed, nothing of the site is kept but its page. */
  async before(page, network) {
    await page.goto(network.url);
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await page.goto('about:blank');
  },
};

export const modes = [direct, firstVisit, worker, webtorrent];
