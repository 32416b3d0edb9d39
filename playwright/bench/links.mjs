// From one tab to another, and nothing else: the same megabytes over a bare data channel between the two pages, by our
// tabs (verified and stored), and by WebTorrent. Near, and with a round trip added to each packet.
//
//   node playwright/bench/links.mjs [--rounds 3] [--far 60] [--only near,far]
//
// A round counts only where the bytes came from the other tab: whoever receives is kept from all servers.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, site, startBrowser } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';
import { hookFarther, startFarther } from '../servers/farther.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';
import { argument, cell, conclude, pause, quantile, within } from './measure.mjs';
import { modes } from './modes.mjs';

const ROUNDS = Number(argument('rounds', 3));
const FAR_MS = Number(argument('far', 60));
const only = argument('only', 'near,far').split(',');
const PATHS = ['/film/film.mp4', '/download/atlas.zip', '/earth/blue-marble.jpg'];
const PATIENCE_MS = 120_000;
/** For two tabs that have just linked to come to rest. */
const SETTLE_MS = 1_500;
/** Tabs on one machine find each other by its address. */
const FLAGS = ['--disable-features=WebRtcHideLocalIpsWithMdns,PreloadTopChromeWebUI'];
const RAW_SHARE = 0.8;
const TORRENT_TIMES = 2;
const FAR_BITS = 20e6;

const { assets } = JSON.parse(readFileSync(join(site, 'assets.json')));
const wanted = assets.filter(({ path }) => PATHS.includes(path));
const bytes = wanted.reduce((sum, asset) => sum + asset.bytes, 0);
const hashes = Object.fromEntries(wanted.map(({ path, sha256 }) => [path, sha256]));

/** In the page: everything, by whatever `fetch` is there; in milliseconds. */
async function fetchThem(hashes) {
  const begun = performance.now();
  const bodies = await Promise.all(Object.keys(hashes).map(async (path) => [path, await (await fetch(path.slice(1))).arrayBuffer()]));
  const ms = performance.now() - begun;
  const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const wrong = [];
  for (const [path, body] of bodies) if (hex(await crypto.subtle.digest('SHA-256', body)) !== hashes[path]) wrong.push(path);
  return { ms, wrong };
}

/** In the page: one end of a bare channel. The receiving one tells when it has everything. */
const rawEnd = {
  offer: async () => {
    const connection = (window.raw = new RTCPeerConnection({ iceServers: [] }));
    const channel = (window.rawChannel = connection.createDataChannel('raw'));
    channel.binaryType = 'arraybuffer';
    await connection.setLocalDescription();
    while (connection.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 10));
    return connection.localDescription.sdp;
  },
  answer: async ([sdp, bytes]) => {
    const connection = (window.raw = new RTCPeerConnection({ iceServers: [] }));
    window.rawDone = new Promise((done) => {
      connection.ondatachannel = ({ channel }) => {
        let [came, begun] = [0, 0];
        channel.binaryType = 'arraybuffer';
        channel.onmessage = ({ data }) => {
          came += data.byteLength;
          // The first half is for the path to find its pace, as ours did before.
          if (begun === 0 && came >= bytes) begun = performance.now();
          if (came >= 2 * bytes) done(performance.now() - begun);
        };
      };
    });
    await connection.setRemoteDescription({ type: 'offer', sdp });
    await connection.setLocalDescription();
    while (connection.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 10));
    return connection.localDescription.sdp;
  },
  send: async ([sdp, bytes, windowBytes]) => {
    await window.raw.setRemoteDescription({ type: 'answer', sdp });
    const channel = window.rawChannel;
    if (channel.readyState !== 'open') await new Promise((done) => { channel.onopen = done; });
    const message = new Uint8Array(64 * 1024);
    channel.bufferedAmountLowThreshold = windowBytes / 2;
    for (let sent = 0; sent < 2 * bytes + message.length; sent += message.length) {
      if (channel.bufferedAmount > windowBytes) await new Promise((done) => { channel.onbufferedamountlow = done; });
      channel.send(message);
    }
  },
};

async function raw(giver, taker, windowBytes, bytes) {
  const answer = await taker.evaluate(rawEnd.answer, [await giver.evaluate(rawEnd.offer), bytes]);
  const done = giver.evaluate(rawEnd.send, [answer, bytes, windowBytes]).then(() => taker.evaluate(() => window.rawDone));
  const ms = await within(PATIENCE_MS, 'the bare channel', done);
  for (const page of [giver, taker]) await page.evaluate(() => window.raw.close());
  return bytes / ms / 1000;
}

/** A visitor of the site whose way to other tabs is as long as `farther` makes it. */
async function visitor(browser, network, farther) {
  const made = await browser.visitor({ serviceWorkers: 'block' });
  if (farther) {
    await made.context.exposeFunction('farther', (text) => farther.rewrite(text));
    await made.page.addInitScript(hookFarther);
  }
  await made.page.goto(network.url);
  await running(made.page);
  return made;
}

async function ours(browser, network, giver, farther) {
  const { context, page, close } = await visitor(browser, network, farther);
  try {
    await until(page, 'a link to the other tab', ({ peers }) => peers > 0);
    await pause(SETTLE_MS);
    const before = (await status(page)).bytes;
    await context.route(/\/v1\/blobs\/|film\.mp4|atlas\.zip|blue-marble/, (route) => route.abort());
    const { ms, wrong } = await within(PATIENCE_MS, 'our tab', page.evaluate(fetchThem, hashes));
    await pause(500);
    const { peers } = (await status(page)).bytes;
    const others = [];
    for (const windowBytes of farther ? [1 << 20, 4 << 20] : [256 * 1024, 1 << 20]) others.push(await raw(giver, page, windowBytes, farther ? bytes / 4 : bytes));
    return { rate: bytes / ms / 1000, share: (peers - before.peers) / bytes, wrong, raw: Math.max(...others) };
  } finally {
    await close();
  }
}

async function torrent(browser) {
  const mode = modes.find(({ name }) => name === 'webtorrent');
  const network = await mode.start({ startOrigin, startShaper, wanted, line: { bitsPerSecond: 1e10, firstByteDelayMs: 0 } });
  const [giver, taker] = [await browser.visitor(), await browser.visitor()];
  try {
    await mode.load(giver.page, network, PATIENCE_MS);
    await taker.context.route('**/site/**', (route) => route.abort());
    const begun = performance.now();
    const { wrong } = await mode.load(taker.page, network, PATIENCE_MS);
    const { peers } = await mode.sample(taker.page);
    return { rate: bytes / (performance.now() - begun) / 1000, share: peers / bytes, wrong };
  } finally {
    await giver.close();
    await taker.close();
    await network.close();
  }
}

const outcomes = {};
const verdicts = [];
for (const distance of only) {
  const farther = distance === 'far' ? await startFarther(FAR_MS / 2) : null;
  const network = await startNetwork();
  const browser = await startBrowser({ flags: FLAGS });
  try {
    const giver = await visitor(browser, network, farther);
    await giver.page.evaluate(fetchThem, hashes);
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const one = await ours(browser, network, giver.page, farther);
      const other = farther ? null : await torrent(browser);
      rounds.push({ ...one, torrent: other });
      console.log(`${distance.padEnd(6)}${cell(`${one.rate.toFixed(1)} MB/s`, 12)}${cell(`raw ${one.raw.toFixed(1)}`, 10)}${cell((one.rate / one.raw).toFixed(2), 7)}${cell(`${(one.share * 100).toFixed(0)} % of it from the tab`, 26)}`
        + (other ? `${cell(`WebTorrent ${other.rate.toFixed(1)}`, 18)}${cell((one.rate / other.rate).toFixed(1), 6)}` : ''));
    }
    outcomes[distance] = rounds;
    const median = (of) => quantile(rounds.map(of), 0.5);
    const sound = rounds.every(({ share, wrong }) => share > 0.99 && wrong.length === 0);
    verdicts.push({ met: sound, says: `${distance}: all bytes came from the other tab, and are as published` });
    if (farther) {
      verdicts.push({ met: farther.packets() > bytes / 1500, says: `${distance}: the packets went the long way (${farther.packets()}, ${farther.dropped()} lost there)` });
      verdicts.push({ met: median(({ rate }) => rate) * 8e6 >= FAR_BITS, says: `${distance}: ${(median(({ rate }) => rate) * 8).toFixed(0)} Mbit/s at ${FAR_MS} ms more, at least ${FAR_BITS / 1e6}` });
    } else {
      verdicts.push({ met: median((one) => one.rate / one.raw) >= RAW_SHARE, says: `${distance}: ${median((one) => one.rate / one.raw).toFixed(2)} of a bare channel, at least ${RAW_SHARE}` });
      verdicts.push({ met: median((one) => one.rate / one.torrent.rate) >= TORRENT_TIMES, says: `${distance}: ${median((one) => one.rate / one.torrent.rate).toFixed(1)} times WebTorrent, at least ${TORRENT_TIMES}` });
    }
  } finally {
    await browser.close();
    await network.close();
    farther?.close();
  }
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-links.json'), JSON.stringify({ bytes, rounds: ROUNDS, farMs: FAR_MS, outcomes }, null, 1));
conclude(verdicts);
