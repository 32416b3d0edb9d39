// Makes two tabs on this machine as far apart as wanted: each address that one is told of the other is replaced by a
// port of ours, behind which every packet waits. ICE takes us for the other end, so nothing of the tabs is changed.
// As on a line, packets leave one after the other: a window that is let go at once would not fit the 64 KiB that
// Chromium's sockets hold, and what measures the losses of this machine says nothing of distance.
import { createSocket } from 'node:dgram';

/** Pairs of ports kept; a connection has a handful of candidates. */
const DOORS_MAX = 64;

const BUFFER_BYTES = 4 * 1024 * 1024;
const TICK_MS = 1;
/** A line of some 100 Mbit/s, by packets of 1,200 bytes. */
const PACKETS_A_TICK = 10;
/** What waits at one end at most: more than a receiver lets be on its way, so that only distance is measured. */
const WAITING_MAX = 8_000;

/** A socket on this machine. */
function bound(hear) {
  // A burst that finds no room would be a loss that no line of this kind has.
  const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES }, hear);
  return new Promise((done) => socket.bind(0, '127.0.0.1', () => done(socket)));
}

/** `oneWayMs` is what each packet waits, so a round trip is twice that longer. */
export async function startFarther(oneWayMs) {
  const doors = new Map();
  /** What waits to come out of each socket, the oldest first. */
  const lines = new Map();
  let [packets, dropped] = [0, 0];
  const ticking = setInterval(() => {
    const now = performance.now();
    for (const [socket, waiting] of lines) {
      let sent = 0;
      while (sent < PACKETS_A_TICK && waiting[sent]?.due <= now) {
        socket.send(waiting[sent].packet, waiting[sent].to, '127.0.0.1');
        sent += 1;
      }
      waiting.splice(0, sent);
    }
  }, TICK_MS);

  /** The port that stands for `port`. */
  async function doorTo(port) {
    if (doors.has(port)) return doors.get(port);
    if (doors.size >= DOORS_MAX) throw new Error(`more than ${DOORS_MAX} candidates`);
    const known = new Map();
    /** @param {(packet: Buffer, from: {port: number}) => void} hear */
    const opened = async (hear) => {
      const socket = await bound(hear);
      lines.set(socket, []);
      return socket;
    };
    const later = (socket, packet, to) => {
      const waiting = lines.get(socket);
      if (waiting.length >= WAITING_MAX) {
        dropped += 1;
        return;
      }
      packets += 1;
      waiting.push({ packet, to, due: performance.now() + oneWayMs });
    };
    const door = await opened(async (packet, { port: from }) => {
      // Each who comes here has a socket of its own beyond, so that answers find the way back.
      if (!known.has(from)) known.set(from, opened((answer) => later(door, answer, from)));
      later(await known.get(from), packet, port);
    });
    doors.set(port, door.address().port);
    return doors.get(port);
  }

  return {
    packets: () => packets,
    dropped: () => dropped,
    /** A description or a candidate with its addresses replaced: only UDP on this machine remains. */
    async rewrite(text) {
      const lines = await Promise.all(text.split('\r\n').map(async (line) => {
        const found = /^((?:a=)?candidate:\S+ \d+ )(\S+)( \d+ )(\S+) (\d+)( .*)$/i.exec(line);
        if (!found) return line;
        const [, before, protocol, priority, , port, after] = found;
        if (protocol.toLowerCase() !== 'udp') return null;
        return `${before}${protocol}${priority}127.0.0.1 ${await doorTo(Number(port))}${after}`;
      }));
      return lines.filter((line) => line !== null).join('\r\n');
    },
    close: () => {
      clearInterval(ticking);
      for (const socket of lines.keys()) socket.close();
      lines.clear();
    },
  };
}

/** In the page, before anything else: what comes of another tab goes through `window.farther`. */
export function hookFarther() {
  const { addIceCandidate, setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.addIceCandidate = async function (given) {
    if (!given?.candidate) return Reflect.apply(addIceCandidate, this, [given]);
    const candidate = await window.farther(given.candidate);
    if (candidate === '') return undefined;
    return Reflect.apply(addIceCandidate, this, [{ candidate, sdpMid: given.sdpMid, sdpMLineIndex: given.sdpMLineIndex }]);
  };
  RTCPeerConnection.prototype.setRemoteDescription = async function ({ type, sdp }) {
    return Reflect.apply(setRemoteDescription, this, [{ type, sdp: await window.farther(sdp) }]);
  };
}
