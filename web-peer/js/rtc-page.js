// @ts-check
/**
 * The page's half of WebRTC.
 *
 * Only a page may own an `RTCPeerConnection`; the peer lives in a dedicated worker. This module
 * obeys the worker and decides nothing but what the visitor's privacy asks of it (`Policy`).
 *
 *     worker ── stun · offer · answer · accept · candidate · open · close ──► page
 *     worker ◄─ description · candidate · state · path · channel · failed ── page
 *
 * Each `RTCDataChannel` is handed to the worker before it opens, so that bytes never cross the
 * page's main thread; where the browser cannot transfer one, a `MessagePort` stands in for it.
 *
 * Promises: a connection exists only from `offer` or `answer` until `close`, a failure, or the
 * worker's end, and is closed and forgotten then (Chrome counts those that are not). Nothing here
 * asks the visitor for a permission.
 */

/** A tab keeps this many neighbours: more cost upload and battery and bring no speed. */
const CONNECTIONS_MAX = 12;

/** A bridged channel never holds more of ours than this; the worker stops far below it. */
const BRIDGE_BYTES_MAX = 16 * 1024 * 1024;

/** How often the worker hears what a live path's round trip is; windows follow it. */
const PATH_INTERVAL_MS = 5_000;

/** The same while nothing is known yet: a far path starts slowly until its windows know it. */
const PATH_FIRST_INTERVAL_MS = 200;

/** Remote candidates a connection may try: every real peer has fewer, each costs packets. */
const CANDIDATES_MAX = 64;

/** A description that says all at once waits so long for addresses; a server that answers does so in far less, */
const GATHERING_MS_MAX = 1_000;

/** and so long after the first that others know us by: those of other interfaces come with it. */
const GATHERING_MS_MORE = 50;

/** Each is asked for each connection; a second one is for when the first is away. */
const STUN_SERVERS_MAX = 2;

/**
 * @typedef {object} Policy
 * @property {boolean} [localNetwork] the site asked for local-network mode: host candidates are
 *   sent and used. Otherwise no address inside the visitor's network is offered or contacted,
 *   and no browser asks the visitor about it.
 * @property {RTCIceServer[]} [iceServers]
 * @property {RTCIceTransportPolicy} [iceTransportPolicy]
 * @property {boolean} [bridgeChannels] never transfer a channel, as in a browser that cannot.
 */

/**
 * @typedef {(
 *   | { command: 'offer', id: number, ufrag: string | null, whole: boolean }
 *   | { command: 'answer', id: number, sdp: string, whole: boolean }
 *   | { command: 'accept', id: number, sdp: string }
 *   | { command: 'candidate', id: number, candidate: string }
 *   | { command: 'open', id: number }
 *   | { command: 'close', id: number }
 *   | { command: 'stun', servers: unknown }
 * )} Command
 */

/**
 * Obeys the worker at the other end of `port` until `close` is called or the port closes.
 * No browser tells a page that a worker was terminated: call `close` just before that, and when
 * the worker reports an error.
 *
 * @param {MessagePort} port
 * @param {Policy} [policy]
 * @returns {{ close: () => void, readonly alive: number }}
 */
export function serveRtc(port, policy = {}) {
  /** @type {Map<number, Connection>} */
  const connections = new Map();

  /** @param {number} id @param {string} reason */
  const forget = (id, reason) => {
    const connection = connections.get(id);
    if (connection === undefined) return;
    connections.delete(id);
    connection.close();
    port.postMessage({ event: 'failed', id, reason });
  };

  /** @param {Command} command */
  const obey = (command) => {
    if (command.command === 'stun') {
      // What the publisher named goes first.
      if (!policy.iceServers?.length) policy = { ...policy, iceServers: iceServers(command.servers) };
      return;
    }
    const { id } = command;
    if (command.command === 'offer' || command.command === 'answer') {
      if (connections.size >= CONNECTIONS_MAX) {
        port.postMessage({ event: 'failed', id, reason: 'too-many-connections' });
        return;
      }
      const connection = new Connection(id, port, policy, (reason) => forget(id, reason));
      connections.set(id, connection);
      connection.run(() =>
        command.command === 'offer'
          ? connection.offer(command.ufrag, command.whole)
          : connection.answer(command.sdp, command.whole),
      );
      return;
    }
    // The worker may still speak of a connection that has just failed here.
    const connection = connections.get(id);
    if (connection === undefined) return;
    switch (command.command) {
      case 'accept':
        return connection.run(() => connection.accept(command.sdp));
      case 'candidate':
        return connection.run(() => connection.addCandidate(command.candidate));
      case 'open':
        return connection.run(() => connection.open());
      case 'close':
        connections.delete(id);
        return connection.close();
    }
  };

  const close = () => {
    for (const connection of connections.values()) connection.close();
    connections.clear();
    port.onmessage = null;
    port.close();
  };

  port.onmessage = ({ data }) => obey(data);
  // The worker ends its network in good order; one that is terminated says nothing (see above).
  port.addEventListener('close', close);
  return {
    close,
    get alive() {
      return connections.size;
    },
  };
}

/**
 * A supernode's word, so anything may be in it; what is no `host:port` would make a connection impossible.
 *
 * @param {unknown} servers
 * @returns {RTCIceServer[]}
 */
function iceServers(servers) {
  if (!Array.isArray(servers)) return [];
  const named = servers.filter((server) => /^[\w.:[\]-]{1,255}:\d{1,5}$/.test(server));
  return named.slice(0, STUN_SERVERS_MAX).map((server) => ({ urls: `stun:${server}` }));
}

/** One `RTCPeerConnection` and what the worker knows of it. */
class Connection {
  /** @type {RTCPeerConnection | null} */
  #rtc = null;
  /** Commands run one after the other: a candidate must not overtake its description. */
  #turn = Promise.resolve();
  #closed = false;
  /** Whether the address by which others know us differs from one server to the next. */
  #hard = false;
  #candidates = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pathTimer;

  /**
   * @param {number} id
   * @param {MessagePort} port
   * @param {Policy} policy
   * @param {(reason: string) => void} fail
   */
  constructor(id, port, policy, fail) {
    this.id = id;
    this.port = port;
    this.policy = policy;
    this.fail = fail;
  }

  /** @param {() => void | Promise<void>} step */
  run(step) {
    this.#turn = this.#turn.then(() => (this.#closed ? undefined : step())).catch((error) => {
      if (!this.#closed) this.fail(`browser: ${error?.name ?? 'Error'}: ${error?.message ?? error}`);
    });
  }

  /** @param {string | null} ufrag @param {boolean} whole the description brings its candidates */
  async offer(ufrag, whole) {
    const rtc = this.#create();
    if (ufrag === null) {
      // An offer needs something to negotiate; both libp2p specification and peers know this name.
      const init = rtc.createDataChannel('init');
      init.onopen = () => init.close();
    } else {
      this.#hand(rtc.createDataChannel('', { negotiated: true, id: 0 }), false);
    }
    const offer = await rtc.createOffer();
    const sdp = ufrag === null ? (offer.sdp ?? '') : withCredentials(offer.sdp ?? '', ufrag);
    await this.#describe(rtc, { type: 'offer', sdp }, whole);
  }

  /** @param {string} remote @param {boolean} whole */
  async answer(remote, whole) {
    const rtc = this.#create();
    await rtc.setRemoteDescription({ type: 'offer', sdp: this.#incoming(remote) });
    await this.#describe(rtc, await rtc.createAnswer(), whole);
  }

  /** @param {RTCPeerConnection} rtc @param {RTCSessionDescriptionInit} description @param {boolean} whole */
  async #describe(rtc, description, whole) {
    const gathered = whole && this.#gathered(rtc);
    await rtc.setLocalDescription(description);
    await gathered;
    const sdp = (whole && rtc.localDescription?.sdp) || description.sdp || '';
    this.#say({ event: 'description', sdp: this.#outgoing(sdp), hard: this.#hard });
  }

  /** @param {RTCPeerConnection} rtc */
  #gathered(rtc) {
    /** @type {Map<string, string>} */
    const seen = new Map();
    return new Promise((done) => {
      setTimeout(done, GATHERING_MS_MAX);
      rtc.onicecandidate = ({ candidate }) => {
        if (!candidate?.candidate) return done(undefined);
        if (candidate.type !== 'srflx') return;
        // Two servers saw one socket of ours at two addresses.
        const socket = `${candidate.relatedAddress} ${candidate.relatedPort} ${candidate.component}`;
        const address = `${candidate.address} ${candidate.port}`;
        this.#hard ||= (seen.get(socket) ?? address) !== address;
        seen.set(socket, address);
        setTimeout(done, GATHERING_MS_MORE);
      };
    });
  }

  /** @param {string} remote */
  async accept(remote) {
    await this.#live().setRemoteDescription({ type: 'answer', sdp: this.#incoming(remote) });
  }

  /** @param {string} text JSON of an `RTCIceCandidateInit` */
  async addCandidate(text) {
    this.#candidates += 1;
    if (this.#candidates > CANDIDATES_MAX) throw new RangeError('too many candidates');
    const candidate = parseCandidate(text);
    if (candidate === null || !this.#mayUse(candidate.candidate ?? '')) return;
    // One bad candidate among good ones is no reason to give the peer up.
    await this.#live().addIceCandidate(candidate).catch(() => {});
  }

  open() {
    this.#hand(this.#live().createDataChannel(''), false);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#pathTimer);
    const rtc = this.#rtc;
    this.#rtc = null;
    if (rtc === null) return;
    rtc.onicecandidate = rtc.onconnectionstatechange = rtc.ondatachannel = null;
    if (rtc.sctp !== null) rtc.sctp.onstatechange = rtc.sctp.transport.onstatechange = null;
    rtc.close();
  }

  #create() {
    const { iceServers = [], iceTransportPolicy = 'all' } = this.policy;
    const rtc = new RTCPeerConnection({ iceServers, iceTransportPolicy });
    this.#rtc = rtc;
    rtc.onicecandidate = ({ candidate }) => {
      if (candidate === null || candidate.candidate === '') return;
      if (!this.policy.localNetwork && candidate.type === 'host') return;
      this.#say({ event: 'candidate', candidate: JSON.stringify(candidate.toJSON()) });
    };
    rtc.onconnectionstatechange = () => {
      const state = rtc.connectionState;
      if (state === 'failed') return this.fail('ice-failed');
      if (state === 'closed') return this.fail('closed');
      if (state === 'connected') {
        this.#watchEnd(rtc);
        this.#watchPath(rtc);
      }
      this.#say({ event: 'state', state });
    };
    rtc.ondatachannel = ({ channel }) => {
      // Whoever made it closes it, and may wait to see that: closing it here would race with that.
      if (channel.label !== 'init') this.#hand(channel, true);
    };
    return rtc;
  }

  #live() {
    if (this.#rtc === null) throw new Error('no such connection');
    return this.#rtc;
  }

  /**
   * A remote that closes says so at once by SCTP; ICE alone would take a quarter of a minute.
   *
   * @param {RTCPeerConnection} rtc
   */
  #watchEnd(rtc) {
    const sctp = rtc.sctp;
    if (sctp === null) return;
    sctp.onstatechange = () => sctp.state === 'closed' && this.fail('closed');
    sctp.transport.onstatechange = () => sctp.transport.state === 'closed' && this.fail('closed');
  }

  /** @param {RTCPeerConnection} rtc */
  #watchPath(rtc) {
    if (this.#pathTimer !== undefined) return;
    const report = async () => {
      const seconds = await roundTripSeconds(rtc).catch(() => undefined);
      if (this.#closed) return;
      if (seconds !== undefined) this.#say({ event: 'path', rttMillis: seconds * 1000 });
      this.#pathTimer = setTimeout(report, seconds === undefined ? PATH_FIRST_INTERVAL_MS : PATH_INTERVAL_MS);
    };
    this.#pathTimer = setTimeout(report, 0);
  }

  /** @param {RTCDataChannel} channel @param {boolean} incoming */
  #hand(channel, incoming) {
    if (!this.policy.bridgeChannels) {
      try {
        return this.#say({ event: 'channel', incoming, channel }, [/** @type {any} */ (channel)]);
      } catch {
        // This browser cannot transfer a channel.
      }
    }
    const port = bridge(channel);
    this.#say({ event: 'channel', incoming, bridge: port }, [port]);
  }

  /** @param {object} message @param {Transferable[]} [transfer] */
  #say(message, transfer = []) {
    if (!this.#closed) this.port.postMessage({ id: this.id, ...message }, transfer);
  }

  /** @param {string} sdp */
  #outgoing(sdp) {
    return this.policy.localNetwork ? sdp : withoutCandidates(sdp, (line) => / typ host\b/.test(line));
  }

  /** @param {string} sdp */
  #incoming(sdp) {
    return withoutCandidates(sdp, (line) => !this.#mayUse(line));
  }

  /** @param {string} candidate */
  #mayUse(candidate) {
    return this.policy.localNetwork === true || !isLocal(candidate.split(' ')[4] ?? '');
  }
}

/**
 * Both ends of `/webrtc-direct` derive ICE credentials from one name, since no description travels.
 *
 * @param {string} sdp @param {string} ufrag
 */
function withCredentials(sdp, ufrag) {
  return sdp
    .replace(/^a=ice-ufrag:.*$/m, `a=ice-ufrag:${ufrag}`)
    .replace(/^a=ice-pwd:.*$/m, `a=ice-pwd:${ufrag}`);
}

/** @param {string} sdp @param {(line: string) => boolean} drop */
function withoutCandidates(sdp, drop) {
  return sdp
    .split('\n')
    .filter((line) => !(line.startsWith('a=candidate:') && drop(line)))
    .join('\n');
}

/** @param {string} text @returns {RTCIceCandidateInit | null} */
function parseCandidate(text) {
  const value = JSON.parse(text);
  return typeof value?.candidate === 'string' && value.candidate !== '' ? value : null;
}

/**
 * Whether contacting this address means contacting the visitor's own network.
 *
 * @param {string} address
 */
function isLocal(address) {
  if (address.endsWith('.local') || address === 'localhost') return true;
  if (address.includes(':')) return /^(::1?$|f[cd]|fe[89ab]|::ffff:)/i.test(address);
  const [a, b] = address.split('.').map(Number);
  return (
    a === 0 || a === 10 || a === 127 || (a === 100 && b >= 64 && b < 128) ||
    (a === 169 && b === 254) || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)
  );
}

/** @param {RTCPeerConnection} rtc @returns {Promise<number | undefined>} */
async function roundTripSeconds(rtc) {
  let seconds;
  for (const entry of (await rtc.getStats()).values()) {
    if (entry.type === 'candidate-pair' && entry.nominated && entry.currentRoundTripTime !== undefined) {
      seconds = entry.currentRoundTripTime;
    }
  }
  return seconds;
}

/**
 * A port that stands in for a channel which cannot be transferred. Towards the network the worker
 * has credit: the page reports what has drained. From the network a browser offers no way to hold
 * bytes back, so they are passed on at once and the worker's own bound applies.
 *
 * @param {RTCDataChannel} channel
 * @returns {MessagePort} the worker's end
 */
function bridge(channel) {
  const { port1, port2 } = new MessageChannel();
  let taken = 0;
  const report = () => {
    channel.bufferedAmountLowThreshold = channel.bufferedAmount >> 1;
    port1.postMessage({ drained: taken - channel.bufferedAmount });
  };
  const end = () => {
    port1.postMessage({ state: 'closed' });
    port1.close();
    channel.onopen = channel.onmessage = channel.onclose = channel.onbufferedamountlow = null;
    channel.close();
  };
  channel.binaryType = 'arraybuffer';
  channel.onopen = () => port1.postMessage({ state: 'open' });
  channel.onclose = end;
  channel.onbufferedamountlow = report;
  channel.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) port1.postMessage(data, [data]);
    else end();
  };
  if (channel.readyState === 'open') port1.postMessage({ state: 'open' });
  port1.onmessage = ({ data }) => {
    if (!(data instanceof ArrayBuffer)) return end();
    if (channel.readyState !== 'open' || channel.bufferedAmount > BRIDGE_BYTES_MAX) return end();
    taken += data.byteLength;
    channel.send(data);
    // Small messages drain at once and fire no event; the worker must hear of those too.
    report();
  };
  return port2;
}
