// The ways to deliver the same files that the bench compares. A mode starts its network, loads a page in one
// tab and says what that tab received so far, by source.
import { dirname, join } from 'node:path';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { site } from '../rig/browser.mjs';

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
  flags: ['--disable-features=WebRtcHideLocalIpsWithMdns'],
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

export const modes = [direct, webtorrent];
