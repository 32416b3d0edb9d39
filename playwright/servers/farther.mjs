// Makes two tabs on this machine as far apart as wanted: each address that one is told of the other is replaced by a
// port of ours, behind which every packet waits. ICE takes us for the other end, so nothing of the tabs is changed.
import { createSocket } from 'node:dgram';

/** Pairs of ports kept; a connection has a handful of candidates. */
const DOORS_MAX = 64;

const BUFFER_BYTES = 4 * 1024 * 1024;

/** A socket on this machine. */
function bound(hear) {
  // A burst that finds no room would be a loss that no line of this kind has.
  const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES }, hear);
  return new Promise((done) => socket.bind(0, '127.0.0.1', () => done(socket)));
}

/** `oneWayMs` is what each packet waits, so a round trip is twice that longer. */
export async function startFarther(oneWayMs) {
  const sockets = new Set();
  const doors = new Map();
  let packets = 0;

  /** The port that stands for `port`. */
  async function doorTo(port) {
    if (doors.has(port)) return doors.get(port);
    if (doors.size >= DOORS_MAX) throw new Error(`more than ${DOORS_MAX} candidates`);
    const known = new Map();
    const later = (socket, packet, to) => {
      packets += 1;
      setTimeout(() => { if (sockets.has(socket)) socket.send(packet, to, '127.0.0.1'); }, oneWayMs);
    };
    const door = await bound(async (packet, { port: from }) => {
      // Each who comes here has a socket of its own beyond, so that answers find the way back.
      if (!known.has(from)) known.set(from, bound((answer) => later(door, answer, from)).then((socket) => { sockets.add(socket); return socket; }));
      later(await known.get(from), packet, port);
    });
    sockets.add(door);
    doors.set(port, door.address().port);
    return doors.get(port);
  }

  return {
    packets: () => packets,
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
    close: () => { for (const socket of sockets) { sockets.delete(socket); socket.close(); } },
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
