// A path of any length between two tabs: UDP relays that hold each packet for a while.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/**
 * What the path carries in each direction: 96 Mbit/s in packets of 1200 bytes. A browser's socket
 * holds some fifty packets; a relay without a rate would lose most of every burst there.
 */
const PACKETS_PER_MILLI = 10;
/** A burst after the relay's process had to wait. */
const BURST_MAX = 25;
/** Packets that wait at the entrance: 100 ms of the rate, as a router's would. */
const QUEUE_MAX = 1_000;

/** Makes `reroute(address, port)`, which returns a port on loopback that leads there, `oneWayMillis` later. */
export function delayedPaths(oneWayMillis) {
  const sockets = [];
  const directions = [];
  const bound = async () => {
    // An answer at once: a look-up a packet would change their order, which SCTP takes for loss.
    const lookup = (address, _, answer) => answer(null, address, 4);
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20, lookup });
    const listening = once(socket, 'listening');
    socket.on('error', () => {});
    socket.bind(0, '127.0.0.1');
    await listening;
    sockets.push(socket);
    return socket;
  };
  const direction = (send) => {
    const one = new Direction(oneWayMillis, send);
    directions.push(one);
    return one;
  };
  return {
    async reroute(address, port) {
      const [front, back] = [await bound(), await bound()];
      let client;
      const there = direction((packet) => back.send(packet, port, address));
      const here = direction((packet) => client && front.send(packet, client.port, client.address));
      front.on('message', (packet, from) => {
        client = from;
        there.take(packet);
      });
      back.on('message', (packet) => here.take(packet));
      return front.address().port;
    },
    close() {
      for (const one of directions) one.stop();
      for (const socket of sockets) socket.close();
    },
  };
}

/** A rate, then a distance. */
class Direction {
  #waiting = [];
  #travelling = [];
  #timer;
  #last = performance.now();

  constructor(millis, send) {
    this.#timer = setInterval(() => {
      const now = performance.now();
      const budget = Math.min(BURST_MAX, Math.ceil((now - this.#last) * PACKETS_PER_MILLI));
      this.#last = now;
      for (const packet of this.#waiting.splice(0, budget)) this.#travelling.push({ packet, due: now + millis });
      let arrived = 0;
      while (arrived < BURST_MAX && this.#travelling[arrived]?.due <= now) arrived += 1;
      for (const { packet } of this.#travelling.splice(0, arrived)) send(packet);
    }, 1);
  }

  take(packet) {
    if (this.#waiting.length < QUEUE_MAX) this.#waiting.push(packet);
  }

  stop() {
    clearInterval(this.#timer);
  }
}

/** Run in the page that dials: every address of the remote's becomes the far end of a delayed path. */
export function detour() {
  const native = RTCPeerConnection.prototype.addIceCandidate;
  RTCPeerConnection.prototype.addIceCandidate = async function (candidate) {
    const parts = candidate.candidate.split(' ');
    if (parts[2].toLowerCase() !== 'udp' || parts[4].includes(':')) return;
    [parts[4], parts[5]] = ['127.0.0.1', await window.reroute(parts[4], Number(parts[5]))];
    return native.call(this, { ...candidate, candidate: parts.join(' ') });
  };
}

/** Run in the page that listens: it learns of the remote by the packets that arrive, and only so. */
export function deafen() {
  RTCPeerConnection.prototype.addIceCandidate = async () => {};
}
