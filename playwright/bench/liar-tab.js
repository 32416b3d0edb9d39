// A malicious tab, for esbuild to bundle: js-libp2p, unmodified, on the real network, speaking the real protocol.
// It claims to hold the whole site and lies in one way. It is linked to others as two of ours are, by the offers that
// it answers and those that it makes until it knows everybody. It keeps its own account of each victim, in
// `window.liar`.
//
// A second part, `inspect`, is an honest stranger who asks every tab for what it claims to hold.
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { webRTC } from '@libp2p/webrtc';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { Arranger } from './arranged.js';
import { BULK, CONTROL, PROTOCOL, Reader, concat, end, fields, framed, message, open, piece, say } from './cdn-wire.mjs';

const GROUP_BYTES = 16_384;
const PAGE_GROUPS = 512;
const HASH_BYTES = 32;
/** After a lie that should have it cut, it waits this long and says nothing more. */
const GRACE_MS = 2_000;
const FLOOD_MESSAGES = 40_000;
const NOT_FOUND = 2;
const ASK_EVERY_MS = 5_000;
/** A supernode takes one a second of a tab. */
const OFFER_EVERY_MS = 1_000;

const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const random = (length) => crypto.getRandomValues(new Uint8Array(length));

async function send(stream, bytes) {
  // One message a quarter of a mebibyte at most, and no faster than the line takes it.
  for (let at = 0; at < bytes.length; at += GROUP_BYTES) {
    if (!stream.send(bytes.subarray(at, at + GROUP_BYTES))) await stream.onDrain?.();
  }
}

/**
 * A js-libp2p tab that is linked to the supernode and listed there. `onFrame` gets what the supernode says besides the
 * names of others, and how to say something to it.
 */
async function enter({ supernode, site, sequence, session = 7 }, onFrame = () => {}) {
  const node = await createLibp2p({
    addresses: { listen: [`${supernode}/p2p-circuit`, '/webrtc'] },
    transports: [webSockets(), webRTC({ rtcConfiguration: { iceServers: [] } }), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify() },
  });
  const addresses = () => node.getMultiaddrs().filter((address) => address.toString().includes('/webrtc'));
  while (addresses().length === 0) await pause(50);
  const control = await node.dialProtocol(multiaddr(supernode), PROTOCOL);
  const neighbours = new Map();
  const tell = (bytes) => send(control, bytes);
  await tell(concat(open(CONTROL), framed(say.hello(site, sequence, session))));
  const ask = () => tell(framed(say.askPeers(site, addresses().slice(0, 8).map(({ bytes }) => bytes))));
  await ask();
  setInterval(() => void ask().catch(() => {}), ASK_EVERY_MS);
  const listed = new Promise((done) => {
    void (async () => {
      const reader = new Reader(control);
      for (let frame = await reader.frame(); frame; frame = await reader.frame()) {
        const peers = fields(frame).get(9)?.[0];
        if (!peers) { onFrame(frame, tell); continue; }
        for (const entry of fields(peers).get(3) ?? []) {
          const peer = fields(entry);
          neighbours.set(hex(peer.get(1)[0]), peer.get(2) ?? []);
        }
        done();
      }
    })();
  });
  await listed;
  return { node, neighbours, tell };
}

/** Lies to each victim in the way that `kind` names. */
async function lie({ kind, supernode, edge, site, sequence, blobs }) {
  const claimed = kind === 'old-manifest' ? Math.max(0, sequence - 1) : sequence;
  let arranger = null;
  const heed = (frame, tell) => arranger?.take(frame, tell).catch(() => {});
  const { node, neighbours, tell } = await enter({ supernode, site, sequence: claimed }, heed);
  const victims = new Map();
  const victimOf = (peer) => {
    const key = peer.toString();
    if (!victims.has(key)) victims.set(key, { connection: null, links: 0, again: 0, asked: 0, lies: 0, firstLieAt: null, closedAt: null, afterGrace: 0, stillLinked: null });
    return victims.get(key);
  };
  const account = (connection) => Object.assign(victimOf(connection.remotePeer), { connection: () => connection });
  node.addEventListener('connection:close', ({ detail }) => {
    const victim = victims.get(detail.remotePeer.toString());
    if (victim?.connection?.() === detail) victim.closedAt = performance.now();
  });
  /** A while after the lie that should have it cut: whether the victim still takes a stream. */
  const probe = async (victim, connection) => {
    await pause(GRACE_MS);
    const stream = await connection.newStream(PROTOCOL, { signal: AbortSignal.timeout(GRACE_MS) }).catch(() => null);
    // Over a connection that the other side has left, a stream can be opened and nothing comes of it; a victim that
    // still listens ends a stream that begins with no message.
    if (stream) await send(stream, framed(Uint8Array.of(0x0a, 0x7f))).catch(() => {});
    const answered = stream && await Promise.race([new Reader(stream).frame().then(() => true, () => true), pause(GRACE_MS).then(() => false)]);
    victim.stillLinked = Boolean(answered) && victim.closedAt === null;
  };
  /** Counts a lie. False where the victim should have cut us and we are waiting whether it does. */
  const mayLie = (victim, bound) => {
    const now = performance.now();
    if (victim.lies + 1 === bound) void probe(victim, victim.connection());
    victim.firstLieAt ??= victim.lies + 1 >= bound ? now : null;
    if (victim.lies >= bound && now - victim.firstLieAt < GRACE_MS) return false;
    if (victim.lies >= bound) victim.afterGrace += 1;
    victim.lies += 1;
    return true;
  };
  const signed = { receipt: random(80), signature: random(64) };
  const onControl = {
    async flooding(stream, victim) {
      mayLie(victim, 1);
      const some = concat(...Array.from({ length: 1_000 }, () => framed(say.unchoke())));
      for (let sent = 0; sent < FLOOD_MESSAGES; sent += 1_000) await send(stream, some);
    },
    async malformed(stream, victim) {
      mayLie(victim, 1);
      await send(stream, framed(Uint8Array.of(0x0a, 0x7f, 1, 2, 3)));
    },
    async 'bad-receipt'(stream, victim) {
      mayLie(victim, 1);
      await send(stream, framed(say.receipt(signed.receipt, signed.signature)));
    },
  };
  /** The hashes of a page, or of all pages, as the edge sends them before a group. */
  const truth = async (blob, page) => {
    const first = (page ?? 0) * PAGE_GROUPS;
    const groups = Math.ceil(blob.size / GROUP_BYTES);
    const count = page === undefined ? Math.ceil(groups / PAGE_GROUPS) : Math.min(PAGE_GROUPS, groups - first);
    const kind = page === undefined ? 'top' : 'page';
    const response = await fetch(`${edge}/blackhole/v1/blobs/${hex(blob.root)}/runs/${kind}/${first}-${first}`);
    return response.ok ? new Uint8Array(await response.arrayBuffer()).subarray(0, count * HASH_BYTES) : null;
  };
  const onGroups = {
    async 'bad-piece'(stream, victim, request, groups) {
      for (const { index, bytes } of groups) {
        if (!mayLie(victim, 1)) return;
        await send(stream, concat(piece(request, 1, index, bytes), random(bytes)));
      }
    },
    // Nobody can judge a group whose hashes it asked for and did not get.
    async 'groups-first'(stream, victim, request, groups) {
      for (const { index, bytes } of groups) {
        if (!mayLie(victim, 1)) return;
        await send(stream, concat(piece(request, 1, index, bytes), random(bytes)));
      }
    },
    async 'wrong-object'(stream, victim, request, [{ index }]) {
      if (mayLie(victim, 1)) await send(stream, concat(piece(request, 1, index + 100_000, GROUP_BYTES), random(GROUP_BYTES)));
    },
    async oversize(stream, victim, request, [{ index }]) {
      if (mayLie(victim, 1)) await send(stream, concat(piece(request, 1, index, 4 * GROUP_BYTES), random(4 * GROUP_BYTES)));
    },
    async truncation(stream, victim, request, [{ index, bytes }]) {
      if (!mayLie(victim, 1)) return;
      await send(stream, concat(piece(request, 1, index, bytes), random(Math.min(100, bytes - 1))));
      await stream.close();
    },
    async 'false-have'(stream, victim, request) {
      if (mayLie(victim, 8)) await send(stream, end(request, NOT_FOUND));
    },
    async 'slow-drip'(stream, victim, request, [{ index, bytes }]) {
      if (!mayLie(victim, 3)) return;
      await send(stream, piece(request, 1, index, bytes));
      for (let sent = 0; sent < bytes - 1; sent += 1) { await send(stream, random(1)); await pause(1_000); }
    },
  };
  const lies = onGroups[kind] ?? null;

  async function answer(stream, victim, frame) {
    const asked = fields(frame);
    const [request, root] = [asked.get(1)?.[0] ?? 0, hex(asked.get(2)[0])];
    const blob = blobs.find((one) => hex(one.root) === root);
    victim.asked += 1;
    const groups = asked.get(3)?.[0];
    if (!blob) return send(stream, end(request, NOT_FOUND));
    if (!groups) {
      if (kind === 'groups-first') return undefined;
      const page = asked.get(4)?.[0];
      // A link answers in order: what is asked behind hashes is answered after them.
      const before = victim.answering;
      return victim.answering = (async () => {
        const bytes = await truth(blob, page);
        await before;
        if (!bytes) return send(stream, end(request, NOT_FOUND));
        return send(stream, concat(piece(request, page === undefined ? 3 : 2, page ?? 0, bytes.length), bytes));
      })().catch(() => {});
    }
    await victim.answering;
    const range = fields(groups);
    const first = range.get(1)?.[0] ?? 0;
    const list = Array.from({ length: range.get(2)[0] }, (_, at) => ({
      index: first + at, bytes: Math.min(GROUP_BYTES, blob.size - (first + at) * GROUP_BYTES),
    }));
    // Whoever lies elsewhere only says that it has nothing after all.
    return lies ? lies(stream, victim, request, list) : send(stream, end(request, 1));
  }

  async function converse(stream, reader, victim) {
    victim.closedAt = null;
    const before = victim.firstLieAt;
    try {
      await send(stream, framed(say.hello(site, claimed, 7)));
      await send(stream, framed(say.haveAll(blobs.map(({ root }) => Uint8Array.from(root)))));
      await onControl[kind]?.(stream, victim);
      for (let frame = await reader.frame(), heard = 0; frame; frame = await reader.frame(), heard += 1) {
        // A link is one once the other side takes part in it; it should not, after a lie that has it cut.
        if (heard === 0) victim.links += 1;
        if (heard === 0 && before !== null) victim.again += 1;
        heed(frame, (bytes) => send(stream, bytes));
      }
    } catch {
      // The victim has gone, or has had enough.
    }
    // Whoever ends the control stream has ended the link, whenever its last packet comes.
    victim.closedAt ??= performance.now();
  }

  await node.handle(PROTOCOL, async (stream, connection) => {
    const victim = account(connection);
    const reader = new Reader(stream);
    const opened = await reader.frame().catch(() => null);
    if (!opened) return;
    if (fields(opened).get(1)?.[0] === CONTROL) return converse(stream, reader, victim);
    try {
      for (let frame = await reader.frame(); frame; frame = await reader.frame()) {
        // A request at a time would be too polite for a liar.
        void answer(stream, victim, frame).catch(() => {});
      }
    } catch {
      // Likewise.
    }
  });
  const onLink = async (connection, ours) => {
    const victim = account(connection);
    // Its control stream is opened by whoever offered the link.
    if (!ours) return;
    const stream = await connection.newStream(PROTOCOL);
    await send(stream, open(CONTROL));
    void converse(stream, new Reader(stream), victim);
  };
  const told = (peer) => { if (peer) victimOf(peer).lies += 1; };
  const onOffers = {
    'no-answer': { answered: (peer) => { told(peer); return false; } },
    'forged-offer': { signature: (bytes, peer) => { told(peer); return random(bytes.length); } },
    'foreign-certificate': {
      description: (sdp, peer) => {
        told(peer);
        const other = [...random(32)].map((byte) => byte.toString(16).padStart(2, '0').toUpperCase()).join(':');
        return sdp.replace(/^a=fingerprint:.*$/gm, `a=fingerprint:sha-256 ${other}`);
      },
    },
  };
  arranger = new Arranger(node, site, onLink, onOffers[kind]);
  setInterval(() => {
    const direct = node.getConnections().filter(({ limits, remoteAddr }) => limits === undefined && remoteAddr.toString().includes('/webrtc'));
    if (direct.length < neighbours.size) void arranger.offer(tell).catch(() => {});
  }, OFFER_EVERY_MS);
  window.liar = () => ({ kind, peer: node.peerId.toString(), victims: Object.fromEntries([...victims].map(([key, { connection, answering, ...victim }]) => [key, victim])) });
}

/** Asks each neighbour for groups of each blob it claims, and compares them with what was published. */
async function inspect({ supernode, site, sequence, blobs, truth, groupsMax }) {
  const { node, neighbours } = await enter({ supernode, site, sequence });
  const bodies = new Map();
  for (const { path, root } of blobs) bodies.set(hex(root), new Uint8Array(await (await fetch(truth + path)).arrayBuffer()));
  const found = { peers: 0, groups: 0, corrupt: 0, refused: 0, errors: [] };
  for (const addresses of neighbours.values()) {
    try {
      const usable = addresses.map((bytes) => multiaddr(bytes)).filter((address) => address.toString().includes('/webrtc'));
      const connection = await node.dial(usable, { signal: AbortSignal.timeout(10_000) });
      const control = await connection.newStream(PROTOCOL);
      await send(control, concat(open(CONTROL), framed(say.hello(site, sequence, 9))));
      const bulk = await connection.newStream(PROTOCOL);
      await send(bulk, open(BULK));
      const reader = new Reader(bulk);
      found.peers += 1;
      let request = 0;
      for (const [root, body] of bodies) {
        for (let group = 0; group < Math.min(groupsMax, Math.ceil(body.length / GROUP_BYTES)); group += 1) {
          const rootBytes = Uint8Array.from(root.match(/../g), (pair) => parseInt(pair, 16));
          await send(bulk, framed(message([1, ++request], [2, rootBytes], [3, message([1, group], [2, 1])])));
          const answer = fields(await reader.frame());
          if (!answer.has(1)) { found.refused += 1; continue; }
          const payload = await reader.take(fields(answer.get(1)[0]).get(4)?.[0] ?? 0);
          found.groups += 1;
          if (!same(payload, body.subarray(group * GROUP_BYTES, (group + 1) * GROUP_BYTES))) found.corrupt += 1;
        }
      }
      await connection.close();
    } catch (error) {
      found.errors.push(`${error?.message ?? error}`);
    }
  }
  await node.stop();
  return found;
}

window.lie = lie;
window.inspect = inspect;
