// How two of ours come to be linked, for js-libp2p in a browser: by offers and answers that a supernode or a neighbour
// passes on, signed, as `Offer` in `shared/proto/cdn.proto` says. By hand, so that a malicious tab may lie in them.
import { publicKeyFromRaw } from '@libp2p/crypto/keys';
import { peerIdFromPublicKey } from '@libp2p/peer-id';
import { multiaddr } from '@multiformats/multiaddr';
// Parts of the package `@libp2p/webrtc` that it does not export; the bundler is told where they are.
import { DataChannelMuxerFactory } from 'libp2p-webrtc/muxer.js';
import { toMultiaddrConnection } from 'libp2p-webrtc/rtcpeerconnection-to-conn.js';
import { concat, fields, framed, say } from './cdn-wire.mjs';

/** Whoever did not answer by then does not. */
const ANSWER_MS_MAX = 8_000;
/** A connection that is not there by then will not be. */
const CONNECT_MS_MAX = 20_000;
/** As two of ours: candidates that come later are not worth a wait. */
const GATHERING_MS_MAX = 1_000;
/** Offers under way at once. */
const OFFERS_MAX = 4;
/** How many may pass an offer on. */
const HOPS = 4;

const text = new TextEncoder();
const event = (target, name, ms) => new Promise((done, fail) => {
  const late = setTimeout(() => fail(new Error(`no ${name} within ${ms} ms`)), ms);
  target.addEventListener(name, () => { clearTimeout(late); done(); }, { once: true });
});

/** What is signed of an offer or an answer. Everybody here says that everybody can reach it. */
function signedBytes(context, id, about, description) {
  const number = new DataView(new ArrayBuffer(8));
  number.setBigUint64(0, BigInt(id));
  return concat(text.encode(context), Uint8Array.of(0), new Uint8Array(number.buffer), about, Uint8Array.of(0), text.encode(description));
}

async function described(rtc, description) {
  const whole = new Promise((done) => {
    rtc.addEventListener('icegatheringstatechange', () => rtc.iceGatheringState === 'complete' && done());
    setTimeout(done, GATHERING_MS_MAX);
  });
  await rtc.setLocalDescription(description);
  await whole;
  return rtc.localDescription.sdp;
}

async function connected(rtc) {
  const deadline = performance.now() + CONNECT_MS_MAX;
  while (rtc.connectionState !== 'connected') {
    if (['failed', 'closed'].includes(rtc.connectionState)) throw new Error('no path');
    await event(rtc, 'connectionstatechange', Math.max(1, deadline - performance.now()));
  }
}

/**
 * Makes and answers offers of one site for a node. `onLink` gets each connection that came about, and whether the offer
 * was ours; `lies` may change what is said: `description`, `signature`, and whether an offer is `answered`.
 */
export class Arranger {
  #node;
  #site;
  #onLink;
  #lies;
  #offers = new Map();

  constructor(node, site, onLink, lies = {}) {
    this.#node = node;
    this.#site = site;
    this.#onLink = onLink;
    this.#lies = { description: (sdp) => sdp, signature: (bytes) => bytes, answered: () => true, ...lies };
  }

  /** Makes an offer, and sends it by `send`; not while as many as are allowed wait for their answers. */
  async offer(send) {
    if (this.#offers.size >= OFFERS_MAX) return;
    const id = crypto.getRandomValues(new BigUint64Array(1))[0];
    const began = this.#begin();
    this.#offers.set(id, began);
    setTimeout(() => this.#offers.delete(id) && this.#end(began), ANSWER_MS_MAX);
    began.first = began.rtc.createDataChannel('init');
    const description = this.#lies.description(await described(began.rtc, await began.rtc.createOffer()));
    const signature = await this.#sign('blackhole/cdn/offer/1', id, this.#site, description);
    await send(framed(say.offer({ id, from: this.#key(), site: this.#site, description, signature, hops: HOPS })));
  }

  /** Takes a control message. Whether it was an offer or an answer. */
  async take(frame, send) {
    const message = fields(frame);
    const [offer, answer] = [message.get(11)?.[0], message.get(12)?.[0]];
    if (offer) await this.#answer(fields(offer), send);
    if (answer) await this.#accept(fields(answer));
    return Boolean(offer ?? answer);
  }

  async #answer(offer, send) {
    const [[id], [from], [description]] = [offer.get(1), offer.get(2), offer.get(4)];
    const peer = peerIdFromPublicKey(publicKeyFromRaw(from));
    if (!this.#lies.answered(peer) || this.#isLinked(peer)) return;
    const began = this.#begin();
    try {
      await began.rtc.setRemoteDescription({ type: 'offer', sdp: new TextDecoder().decode(description) });
      const own = this.#lies.description(await described(began.rtc, await began.rtc.createAnswer()), peer);
      const signature = await this.#sign('blackhole/cdn/answer/1', id, from, own, peer);
      await send(framed(say.answer({ id, from: this.#key(), description: own, signature })));
      await connected(began.rtc);
      await this.#link(began, peer, false);
    } catch {
      this.#end(began);
    }
  }

  async #accept(answer) {
    const [id] = answer.get(1);
    const began = this.#offers.get(BigInt(id));
    if (!began) return;
    this.#offers.delete(BigInt(id));
    const peer = peerIdFromPublicKey(publicKeyFromRaw(answer.get(2)[0]));
    try {
      if (this.#isLinked(peer)) throw new Error('one link is enough');
      const { rtc, first } = began;
      await rtc.setRemoteDescription({ type: 'answer', sdp: new TextDecoder().decode(answer.get(3)[0]) });
      await connected(rtc);
      if (first.readyState !== 'open') await event(first, 'open', CONNECT_MS_MAX);
      // Its number must not be taken again before both sides know that it is free.
      const closed = event(first, 'close', CONNECT_MS_MAX);
      first.close();
      await closed;
      await this.#link(began, peer, true);
    } catch {
      this.#end(began);
    }
  }

  #begin() {
    const peerConnection = new RTCPeerConnection({ iceServers: [] });
    const log = this.#node.logger.forComponent('arranged');
    return { rtc: peerConnection, muxerFactory: new DataChannelMuxerFactory({ peerConnection, log }), log };
  }

  #end({ rtc, muxerFactory }) {
    muxerFactory.close();
    rtc.close();
  }

  async #link({ rtc, muxerFactory, log }, peer, ours) {
    const plain = toMultiaddrConnection({
      peerConnection: rtc, remoteAddr: multiaddr(`/webrtc/p2p/${peer}`), direction: ours ? 'outbound' : 'inbound', log,
    });
    // The certificates in the signed descriptions have proved the keys.
    const connection = await this.#node.components.upgrader.upgradeOutbound(plain, {
      skipProtection: true, skipEncryption: true, remotePeer: peer, muxerFactory, signal: AbortSignal.timeout(CONNECT_MS_MAX),
    });
    await this.#onLink(connection, ours);
  }

  #isLinked(peer) {
    return this.#node.getConnections(peer).some(({ limits, status }) => limits === undefined && status === 'open');
  }

  #key() { return this.#node.components.privateKey.publicKey.raw; }

  async #sign(context, id, about, description, to) {
    const signature = await this.#node.components.privateKey.sign(signedBytes(context, id, about, description));
    return this.#lies.signature(signature, to);
  }
}
