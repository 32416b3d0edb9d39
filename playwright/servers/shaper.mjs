// One thin line for several servers together: TCP in front of each, one token bucket for all of them, and a
// delay before the first byte of each answer. What passes is counted per server.
//
// The bucket limits the way down (server to visitor), which is what a publisher's uplink limits.
import { createConnection, createServer } from 'node:net';

const TICK_MS = 5;
/** What may pass at once after a pause. A loaded machine's timer comes late by tens of milliseconds; less than
 *  this and the line would be thinner than it says. */
const BURST_MS = 100;
/** What one connection may pass before the next one has its turn. */
const TURN_BYTES = 16 * 1024;

/**
 * `upstreams`: {name: port}. Returns, for each name, the port to use instead, and counters.
 */
export async function startShaper({ upstreams, bitsPerSecond = 20e6, firstByteDelayMs = 80 }) {
  const bytesPerMs = bitsPerSecond / 8 / 1000;
  const counters = Object.fromEntries(Object.keys(upstreams).map((name) => [name, { down: 0, up: 0, connections: 0 }]));
  const waiting = [];
  const sockets = new Set();
  const startedAt = Date.now();
  const history = [];
  let tokens = 0;
  let filledAt = performance.now();

  const timer = setInterval(() => {
    const now = performance.now();
    tokens = Math.min(tokens + (now - filledAt) * bytesPerMs, BURST_MS * bytesPerMs);
    filledAt = now;
    // Round-robin: one turn each, as long as there are tokens and somebody has something to say.
    for (let idle = 0; tokens >= 1 && idle < waiting.length; ) {
      const line = waiting.shift();
      if (!line) break;
      waiting.push(line);
      const sent = line.pass(Math.min(tokens, TURN_BYTES));
      tokens -= sent;
      idle = sent > 0 ? 0 : idle + 1;
    }
  }, TICK_MS);

  const sampling = setInterval(() => {
    history.push({ ms: Date.now() - startedAt, ...Object.fromEntries(Object.entries(counters).map(([name, { down }]) => [name, down])) });
  }, 100);

  function accept(name, port, visitor) {
    const counter = counters[name];
    counter.connections += 1;
    const server = createConnection({ port, host: '127.0.0.1' });
    let queue = [];
    let openAt = 0;
    let asked = true;
    let ended = false;
    for (const socket of [visitor, server]) { socket.setNoDelay(true); sockets.add(socket); }

    visitor.on('data', (chunk) => {
      counter.up += chunk.length;
      asked = true;
      if (!server.write(chunk)) { visitor.pause(); server.once('drain', () => visitor.resume()); }
    });
    server.on('data', (chunk) => {
      // The first bytes after a request have come the long way; what follows is only limited by the rate.
      if (asked) { openAt = Date.now() + firstByteDelayMs; asked = false; }
      queue.push(chunk);
      server.pause();
    });
    const line = {
      pass(bytesMax) {
        if (queue.length === 0 || Date.now() < openAt || visitor.writableNeedDrain) return 0;
        let chunk = queue[0];
        if (chunk.length > bytesMax) {
          const size = Math.max(1, Math.floor(bytesMax));
          queue[0] = chunk.subarray(size);
          chunk = chunk.subarray(0, size);
        } else {
          queue.shift();
        }
        visitor.write(chunk);
        counter.down += chunk.length;
        if (queue.length === 0) { if (ended) visitor.end(); else server.resume(); }
        return chunk.length;
      },
    };
    waiting.push(line);
    const forget = () => {
      const at = waiting.indexOf(line);
      if (at >= 0) waiting.splice(at, 1);
      for (const socket of [visitor, server]) { sockets.delete(socket); socket.destroy(); }
      queue = [];
    };
    visitor.on('end', () => server.end());
    server.on('end', () => { ended = true; if (queue.length === 0) visitor.end(); });
    visitor.on('close', forget).on('error', forget);
    server.on('error', forget);
  }

  const ports = {};
  const servers = [];
  for (const [name, port] of Object.entries(upstreams)) {
    const server = createServer({ allowHalfOpen: true }, (visitor) => accept(name, port, visitor));
    await new Promise((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done));
    ports[name] = server.address().port;
    servers.push(server);
  }
  return {
    ports,
    upstreams,
    counters,
    history,
    reset: () => { for (const counter of Object.values(counters)) Object.assign(counter, { down: 0, up: 0, connections: 0 }); history.length = 0; },
    close: async () => {
      clearInterval(timer);
      clearInterval(sampling);
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    },
  };
}
