// Ports for what has to know its own before it listens.
import { createServer } from 'node:net';

/** Below those that a system gives to whoever wants any port (Linux: from 32768), so that nobody gets it meanwhile. */
const [FIRST, COUNT] = [12_000, 20_000];
const ATTEMPTS = 50;

/** A port that is free now, and most likely stays so. */
export async function freePort() {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    const probe = createServer();
    const free = await new Promise((done) => probe.once('error', () => done(false)).listen(port, '127.0.0.1', () => done(true)));
    if (!free) continue;
    await new Promise((done) => probe.close(done));
    return port;
  }
  throw new Error(`none of ${ATTEMPTS} ports from ${FIRST} on is free`);
}
