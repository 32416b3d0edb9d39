// Three of ten tabs are malicious, in one way after the other; beside it, in the same run, the same seven visitors
// without them. The malicious tabs are browser tabs of their own (`liar-tab.js`: js-libp2p on the real network),
// claim to hold everything, and are there before the visitors come.
//
//   node playwright/bench/liars.mjs [--kinds bad-piece,flooding] [--visitors 7] [--liars 3] [--rounds 1]
//
// A run proves something only where lies were told: each malicious tab must have reached a visitor with one. What is
// the slowest of seven pages swings by itself: a kind's time is compared with the median of all clean crowds of the run,
// which stand between the others.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { pictures, root, startBrowser } from '../rig/browser.mjs';
import { status } from '../rig/network.mjs';
import { concat, readManifest } from './cdn-wire.mjs';
import { argument, cell, conclude, pause, quantile, within } from './measure.mjs';
import { startPlace } from './place.mjs';
import { smallSite } from './small-site.mjs';

const here = dirname(fileURLToPath(import.meta.url));
/** How many lies of a kind a visitor may hear before it cuts, as `shared/src/cdn/offences.rs` says. */
const BOUNDS = {
  'bad-piece': 1, 'groups-first': 1, 'wrong-object': 1, oversize: 1, truncation: 1, malformed: 1, 'bad-receipt': 1, flooding: 1,
  'false-have': 8, 'slow-drip': 3,
  // No manifest travels from tab to tab: who claims to believe an older one is an honest latecomer, and harmless.
  'old-manifest': null,
  // Nobody can be cut before there is a link: the first signs wrongly, the second describes a connection of another's
  // certificate, the third does not answer whoever was sent to it, and links by its own offers alone.
  'forged-offer': null, 'foreign-certificate': null, 'no-answer': null,
};
/** Those who lie so are never linked to anybody. */
const UNLINKED = ['forged-offer', 'foreign-certificate'];
const VISITORS = Number(argument('visitors', 7));
const LIARS = Number(argument('liars', 3));
const ROUNDS = Number(argument('rounds', 1));
const kinds = argument('kinds', Object.keys(BOUNDS).join(',')).split(',');
for (const kind of kinds) {
  if (!(kind in BOUNDS)) throw new Error(`no lie is called ${kind}; there are: ${Object.keys(BOUNDS).join(', ')}`);
}
const LINE = { bitsPerSecond: Number(argument('mbit', 20)) * 1e6, firstByteDelayMs: Number(argument('delay', 80)) };
const ARRIVE_WITHIN_MS = 2_000;
/** Between the two stages of a visit, for tabs to link to each other and to liars. */
const PAUSE_MS = 5_000;
const PATIENCE_MS = 90_000;
/** After the last load, for malicious tabs to find out who has cut them. */
const SETTLE_MS = 7_000;
const WASTE_MAX = 0.05;
const SLOWER_MAX = 1.5;
/** A clean crowd before every second kind. */
const CLEAN_EVERY = 2;
const INSPECTED_GROUPS = 4;

const interop = join(root, 'playwright/interop/webrtc');
const packages = createRequire(join(interop, 'package.json'));
const { blake3 } = await import(pathToFileURL(packages.resolve('@noble/hashes/blake3.js')));

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** The 32 bytes of an Ed25519 key in a `did:key:z…`. */
function keyOf(did) {
  let value = [...did.slice(did.lastIndexOf(':z') + 2)].reduce((sum, digit) => sum * 58n + BigInt(BASE58.indexOf(digit)), 0n);
  const bytes = [];
  for (; value > 0n; value >>= 8n) bytes.unshift(Number(value & 0xffn));
  if (bytes.length !== 34 || bytes[0] !== 0xed) throw new Error(`${did} names no Ed25519 key`);
  return Uint8Array.from(bytes.slice(2));
}

/** As tabs name a site to each other: see `site_id` in `shared/src/cdn/manifest.rs`. */
function siteId(publisher, site) {
  const text = new TextEncoder();
  return [...blake3(concat(keyOf(publisher), text.encode(site)), { context: text.encode('blackhole 2026-11-24 cdn site id') })];
}

/** The page of a malicious tab; bundled with the packages of the interoperation tests. */
async function serveLiars() {
  const { build } = packages('esbuild');
  const bundle = await build({
    entryPoints: [join(here, 'liar-tab.js')], bundle: true, write: false, format: 'iife', platform: 'browser',
    define: { global: 'globalThis' }, logLevel: 'error', nodePaths: [join(interop, 'node_modules')],
    alias: { 'libp2p-webrtc': join(interop, 'node_modules/@libp2p/webrtc/dist/src') },
  });
  const script = bundle.outputFiles[0].contents;
  const server = createServer(({ url }, response) => (url === '/liar.js'
    ? response.writeHead(200, { 'content-type': 'text/javascript' }).end(script)
    : response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><script src="/liar.js"></script>')));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://localhost:${server.address().port}/`, close: () => { server.close(); server.closeAllConnections(); } };
}

/** The place, and what a malicious tab has to know of it. */
async function startTarget(small) {
  const place = await startPlace(small, LINE);
  const { peer_id: peer, addresses } = await (await fetch(`${place.node}/blackhole/v1/peer`)).json();
  const socket = addresses.find((address) => address.includes('/ws'));
  const site = siteId(place.publisher, place.site);
  const answer = await fetch(`${place.node}/blackhole/v1/sites/${Buffer.from(site).toString('hex')}/manifest`);
  if (!answer.ok) throw new Error(`no manifest: ${await answer.text()}`);
  const { sequence, assets: blobs } = readManifest(new Uint8Array(await answer.arrayBuffer()));
  return {
    ...place,
    about: {
      supernode: socket.includes('/p2p/') ? socket : `${socket}/p2p/${peer}`,
      // Malicious tabs have a line of their own, so that theirs costs the visitors nothing.
      edge: place.node,
      truth: place.truth,
      site,
      sequence,
      blobs,
    },
  };
}

async function visit(browser, place, number, small) {
  await pause((number * ARRIVE_WITHIN_MS) / VISITORS);
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  const { page } = visitor;
  const work = (async () => {
    await page.goto(`${place.url}/?pause=${PAUSE_MS}`, { waitUntil: 'commit', timeout: PATIENCE_MS });
    await page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
    return page.evaluate(() => window.visited);
  })();
  const load = await within(PATIENCE_MS, 'the page', work).catch((error) => ({ files: 0, wrong: [error.message.split('\n')[0]], waitedMs: PATIENCE_MS, tab: null }));
  return { ...visitor, load, whole: load.files === small.files && load.wrong.length === 0 };
}

/** One flash crowd, with malicious tabs in it where a kind is named. */
async function crowd(browser, small, liarPages, kind) {
  const place = await startTarget(small);
  const malicious = [];
  let visitors = [];
  try {
    const { about } = place;
    for (let number = 0; kind && number < LIARS; number += 1) {
      const { page, close } = await browser.visitor();
      await page.goto(liarPages.url);
      await within(PATIENCE_MS, 'the malicious tab is listed', page.evaluate(([kind, about]) => {
        about.site = Uint8Array.from(about.site);
        return window.lie({ kind, ...about });
      }, [kind, about]));
      malicious.push({ page, close });
    }
    visitors = await Promise.all(Array.from({ length: VISITORS }, (_, number) => visit(browser, place, number, small)));
    const doneMs = Math.max(...visitors.map(({ load }) => load.waitedMs));
    if (kind) await pause(SETTLE_MS);
    const accounts = await Promise.all(malicious.map(({ page }) => page.evaluate(() => window.liar())));
    const tabs = await Promise.all(visitors.map(({ page }) => status(page)));
    let inspected = null;
    if (kind === kinds[0]) {
      // What the visitors would pass on, as a stranger gets it.
      const { page, close } = await browser.visitor();
      await page.goto(liarPages.url);
      inspected = await within(PATIENCE_MS, 'the inspection', page.evaluate(([about, groupsMax]) => {
        about.site = Uint8Array.from(about.site);
        return window.inspect({ ...about, groupsMax });
      }, [about, INSPECTED_GROUPS])).catch((error) => ({ peers: 0, groups: 0, corrupt: 0, errors: [error.message] }));
      await close();
    }
    // What the cache holds, as the same visitor gets it on the next page.
    const again = await Promise.all(visitors.map(({ page }) => within(PATIENCE_MS, 'the page, again', (async () => {
      await page.goto(`${place.url}/?pause=1000`, { waitUntil: 'commit', timeout: PATIENCE_MS });
      await page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
      return page.evaluate(() => window.visited);
    })()).catch((error) => ({ files: 0, wrong: [error.message.split('\n')[0]] }))));
    return { kind, doneMs, accounts, tabs, inspected, again, whole: visitors.map(({ whole }) => whole), wrong: visitors.flatMap(({ load }) => load.wrong) };
  } finally {
    for (const { close } of [...malicious, ...visitors]) await close().catch(() => {});
    await place.close();
  }
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** What a crowd's tabs say, summed up. */
function sum(run, small) {
  const of = (key) => run.tabs.reduce((total, tab) => total + (tab?.bytes[key] ?? 0), 0);
  const bound = BOUNDS[run.kind];
  // Malicious tabs meet each other too, and forgive everything.
  const liars = new Set(run.accounts.map(({ peer }) => peer));
  const heard = ({ victims }) => Object.entries(victims).filter(([peer]) => !liars.has(peer)).map(([, victim]) => victim);
  const pairs = run.accounts.flatMap(heard);
  const due = pairs.filter(({ lies }) => bound !== null && lies >= bound);
  return {
    waste: of('wasted') / (VISITORS * small.bytes),
    peers: of('peers'),
    pairs: pairs.length,
    links: pairs.filter(({ links }) => links > 0).length,
    lied: pairs.filter(({ lies }) => lies > 0).length,
    due: due.length,
    // Cut: it no longer asks, and takes no stream on the link, whether or not the malicious tab has noticed yet.
    uncut: due.filter(({ afterGrace, stillLinked }) => afterGrace > 0 || stillLinked !== false).length,
    again: due.filter(({ again }) => again > 0).length,
    silent: run.accounts.filter((account) => !heard(account).some(({ lies }) => lies > 0)).length,
  };
}

function show(run, small) {
  const whole = cell(`${run.whole.filter(Boolean).length}/${VISITORS}`, 7);
  const line = `${(run.kind ?? 'clean').padEnd(20)}${whole}${cell(seconds(run.doneMs), 9)}`;
  if (!run.kind) return console.log(line);
  const { waste, peers, links, lied, due, uncut } = sum(run, small);
  console.log(`${line}${cell(`${(waste * 100).toFixed(2)} %`, 9)}${cell(links, 7)}${cell(lied, 7)}${cell(`${due - uncut}/${due}`, 8)}${cell(`${(peers / 1e6).toFixed(1)} MB`, 10)}`);
}

function judge(run, cleanMs, small) {
  const { kind, accounts } = run;
  const { waste, pairs, links, lied, due, uncut, again, silent } = sum(run, small);
  const slower = run.doneMs / cleanMs;
  const verdicts = [
    { met: run.whole.every(Boolean), says: `${kind}: every file of every page is as published${run.wrong.length ? `; ${run.wrong.slice(0, 3).join('; ')}` : ''}` },
    { met: run.again.every(({ files, wrong }) => files === small.files && wrong.length === 0), says: `${kind}: and again, out of the cache` },
    { met: waste <= WASTE_MAX, says: `${kind}: ${(waste * 100).toFixed(2)} % wasted, at most ${WASTE_MAX * 100} %` },
    { met: slower <= SLOWER_MAX, says: `${kind}: ${slower.toFixed(2)} times the clean time, at most ${SLOWER_MAX}` },
  ];
  if (kind === 'old-manifest') {
    verdicts.push({ met: links > 0, says: `${kind}: ${links} pairs heard it` });
  } else {
    verdicts.push({ met: silent === 0 && accounts.length > 0, says: `${kind}: every malicious tab told somebody a lie (${lied} of ${pairs} pairs; ${silent} told none)` });
  }
  if (UNLINKED.includes(kind)) verdicts.push({ met: links === 0, says: `${kind}: nobody was linked to one; ${links} were` });
  if (BOUNDS[kind] !== null) {
    verdicts.push({ met: uncut === 0, says: `${kind}: cut by each of ${due} visitors after at most ${BOUNDS[kind]}; ${uncut} did not` });
    verdicts.push({ met: again === 0, says: `${kind}: nobody who cut one came back to it; ${again} did` });
  }
  if (run.inspected) {
    const { peers, groups, corrupt, errors } = run.inspected;
    verdicts.push({ met: groups > 0 && corrupt === 0, says: `${kind}: a stranger got ${groups} groups of ${peers} visitors, ${corrupt} corrupt${errors.length ? `; ${errors[0]}` : ''}` });
  }
  return verdicts;
}

const small = smallSite();
const liarPages = await serveLiars();
const browser = await startBrowser({ flags: ['--disable-features=WebRtcHideLocalIpsWithMdns'] });
const runs = [];
const one = async (kind) => {
  const run = await crowd(browser, small, liarPages, kind);
  runs.push(run);
  show(run, small);
};
try {
  console.log(`${VISITORS} visitors, ${LIARS} malicious tabs, ${(small.bytes / 1e6).toFixed(1)} MB each, ${LINE.bitsPerSecond / 1e6} Mbit/s, ${LINE.firstByteDelayMs} ms`);
  console.log(`${'kind'.padEnd(20)}${cell('whole', 7)}${cell('done', 9)}${cell('waste', 9)}${cell('links', 7)}${cell('lied', 7)}${cell('cut', 8)}${cell('peers', 10)}`);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [place, kind] of kinds.entries()) {
      // The machine's other work falls on both.
      if (place % CLEAN_EVERY === 0) await one(null);
      await one(kind);
    }
  }
} finally {
  await browser.close();
  liarPages.close();
  small.close();
}
const clean = runs.filter(({ kind }) => !kind).map(({ doneMs }) => doneMs);
const cleanMs = quantile(clean, 0.5);
console.log(`clean crowds: ${clean.map(seconds).join(', ')}; their median ${seconds(cleanMs)} is what each kind is compared with`);
const verdicts = runs.filter(({ kind }) => kind).flatMap((run) => judge(run, cleanMs, small));
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-liars.json'), JSON.stringify({ visitors: VISITORS, liars: LIARS, line: LINE, cleanMs, runs }, null, 1));
conclude(verdicts);
