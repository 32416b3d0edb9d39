// From one end to another, and nothing else: the same megabytes over a bare data channel between two pages, by our
// tabs (verified and stored), and by WebTorrent. Near, with a round trip added to each packet, and from a supernode
// by `/webrtc-direct`.
//
//   node playwright/bench/links.mjs [--rounds 3] [--far 60] [--only near,far,supernode]
//
// A round counts only where the bytes came from that other end: whoever receives is kept from all other servers. A
// rate is that of a path that has found its pace: each way carries something else first.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pictures, site, startProfile } from '../rig/browser.mjs';
import { running, startNetwork, status, until } from '../rig/network.mjs';
import { hookFarther, startFarther } from '../servers/farther.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';
import { argument, cell, conclude, pause, quantile, within } from './measure.mjs';
import { modes } from './modes.mjs';

const ROUNDS = Number(argument('rounds', 3));
const FAR_MS = Number(argument('far', 60));
const only = argument('only', 'near,far,supernode').split(',');
const PATHS = ['/film/film.mp4', '/download/atlas.zip', '/earth/blue-marble.jpg'];
const PATIENCE_MS = 120_000;
/** For two tabs that have just linked to come to rest. */
const SETTLE_MS = 1_500;
/** Tabs on one machine find each other by its address. */
const FLAGS = ['--disable-features=WebRtcHideLocalIpsWithMdns,PreloadTopChromeWebUI'];
const RAW_SHARE = 0.8;
const TORRENT_TIMES = 2;
const FAR_BITS = 20e6;
const SUPERNODE_SHARE = 0.7;
const CPU_SECONDS = 1.5;

const { assets } = JSON.parse(readFileSync(join(site, 'assets.json')));
const wanted = assets.filter(({ path }) => PATHS.includes(path));
const bytes = wanted.reduce((sum, asset) => sum + asset.bytes, 0);
const hashesOf = (some) => Object.fromEntries(some.map(({ path, sha256 }) => [path, sha256]));
const hashes = hashesOf(wanted);
const first = hashesOf(assets.filter((asset) => !wanted.includes(asset) && asset.path !== '/index.html'));

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
          // The first half is for the path to find its pace.
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
async function visitor(profile, network, farther) {
  const made = await profile.visitor();
  if (farther) {
    await made.page.exposeFunction('farther', (text) => farther.rewrite(text));
    await made.page.addInitScript(hookFarther);
  }
  await made.page.goto(made.address(network.url));
  await running(made.page);
  return made;
}

/** What a new visitor gets by our tab, kept from HTTP; beside it, a bare channel from `giver` to the same page. */
async function ours({ profile, network, giver, farther, source }) {
  const { page, close } = await visitor(profile, network, farther);
  try {
    await until(page, 'a link to the other end', ({ peers, supernodes }) => (source === 'peers' ? peers : supernodes) > 0);
    await pause(SETTLE_MS);
    await page.route(/\/v1\/blobs\/|film\.mp4|atlas\.zip|blue-marble/, (route) => route.abort());
    await within(PATIENCE_MS, 'what comes first', page.evaluate(fetchThem, first));
    await pause(SETTLE_MS);
    const before = (await status(page)).bytes;
    const cpuBefore = network.supernode.cpuSeconds();
    const { ms, wrong } = await within(PATIENCE_MS, 'our tab', page.evaluate(fetchThem, hashes));
    await pause(500);
    const cpu = network.supernode.cpuSeconds() - cpuBefore;
    const came = (await status(page)).bytes[source] - before[source];
    const others = [];
    for (const windowBytes of farther ? [1 << 20, 4 << 20] : [256 * 1024, 1 << 20]) others.push(await raw(giver.page, page, windowBytes, farther ? bytes / 4 : bytes));
    return { rate: bytes / ms / 1000, share: came / bytes, wrong, raw: Math.max(...others), cpuPer100MB: (cpu * 1e8) / bytes };
  } finally {
    await close();
  }
}

async function torrent(profile) {
  const mode = modes.find(({ name }) => name === 'webtorrent');
  const network = await mode.start({ startOrigin, startShaper, wanted, line: { bitsPerSecond: 1e10, firstByteDelayMs: 0 } });
  const [giver, taker] = [await profile.visitor(), await profile.visitor()];
  const at = ({ address }) => ({ ...network, url: address(network.url) });
  try {
    await mode.load(giver.page, at(giver), PATIENCE_MS);
    await taker.page.route('**/site/**', (route) => route.abort());
    const { wrong, transferMs } = await mode.load(taker.page, at(taker), PATIENCE_MS);
    const { peers } = await mode.sample(taker.page);
    return { rate: bytes / transferMs / 1000, share: peers / bytes, wrong };
  } finally {
    await giver.close();
    await taker.close();
    await network.close();
  }
}

/** What is asked of each distance: a name, whether it is met, by the medians of its rounds. */
const claims = {
  near: ({ ofRaw, ofTorrent }) => [
    { met: ofRaw >= RAW_SHARE, says: `${ofRaw.toFixed(2)} of a bare channel, at least ${RAW_SHARE}` },
    { met: ofTorrent >= TORRENT_TIMES, says: `${ofTorrent.toFixed(1)} times WebTorrent, at least ${TORRENT_TIMES}` },
  ],
  far: ({ rate }, farther) => [
    { met: farther.packets() > bytes / 1500, says: `the packets went the long way (${farther.packets()}, ${farther.dropped()} lost there)` },
    { met: rate * 8e6 >= FAR_BITS, says: `${(rate * 8).toFixed(0)} Mbit/s at ${FAR_MS} ms more, at least ${FAR_BITS / 1e6}` },
  ],
  supernode: ({ ofRaw, cpu }) => [
    { met: ofRaw >= SUPERNODE_SHARE, says: `${ofRaw.toFixed(2)} of a bare channel between tabs, at least ${SUPERNODE_SHARE}` },
    { met: cpu <= CPU_SECONDS, says: `${cpu.toFixed(2)} CPU seconds of the supernode for 100 MB, at most ${CPU_SECONDS}` },
  ],
};

async function run(distance) {
  const farther = distance === 'far' ? await startFarther(FAR_MS / 2) : null;
  const source = distance === 'supernode' ? 'supernode' : 'peers';
  const network = await startNetwork(source === 'supernode' ? { listen: ['/ip4/127.0.0.1/udp/0/webrtc-direct'] } : {});
  const profile = await startProfile({ flags: FLAGS, serviceWorkers: 'block' });
  try {
    const giver = await visitor(profile, network, farther);
    if (source === 'peers') await giver.page.evaluate(fetchThem, { ...first, ...hashes });
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const one = await ours({ profile, network, giver, farther, source });
      const other = distance === 'near' ? await torrent(profile) : null;
      rounds.push({ ...one, torrent: other });
      console.log(`${distance.padEnd(10)}${cell(`${one.rate.toFixed(1)} MB/s`, 12)}${cell(`raw ${one.raw.toFixed(1)}`, 10)}${cell((one.rate / one.raw).toFixed(2), 7)}${cell(`${(one.share * 100).toFixed(0)} % of it from there`, 26)}`
        + (other ? `${cell(`WebTorrent ${other.rate.toFixed(1)}`, 18)}${cell((one.rate / other.rate).toFixed(1), 6)}` : ''));
    }
    const median = (of) => quantile(rounds.map(of), 0.5);
    const medians = {
      rate: median(({ rate }) => rate), ofRaw: median((one) => one.rate / one.raw), cpu: median(({ cpuPer100MB }) => cpuPer100MB),
      ofTorrent: median((one) => one.rate / (one.torrent?.rate ?? NaN)),
    };
    const sound = rounds.every(({ share, wrong }) => share > 0.99 && wrong.length === 0);
    const verdicts = [{ met: sound, says: 'all bytes came from the other end, and are as published' }, ...claims[distance](medians, farther)];
    return { rounds, verdicts: verdicts.map(({ met, says }) => ({ met, says: `${distance}: ${says}` })) };
  } finally {
    await profile.close();
    await network.close();
    farther?.close();
  }
}

const outcomes = {};
const verdicts = [];
for (const distance of only) {
  const outcome = await run(distance);
  outcomes[distance] = outcome.rounds;
  verdicts.push(...outcome.verdicts);
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-links.json'), JSON.stringify({ bytes, rounds: ROUNDS, farMs: FAR_MS, outcomes }, null, 1));
conclude(verdicts);
