// A publisher's site behind the line with one supernode, which can be killed and started again on the same ports,
// as an operator's would be.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from '../rig/browser.mjs';
import { WITHOUT_WORKER } from '../rig/network.mjs';
import { freePort } from '../rig/ports.mjs';
import { Supernode, tabFiles } from '../rig/supernode.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';
import { within } from './measure.mjs';

const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/blackhole');
const READY_WAIT_MS = 30_000;

/** Starts origin, line and supernode for the site in `small.directory`. */
export async function startPlace(small, line, { headers = {} } = {}) {
  const origin = await startOrigin({ root: small.directory, headers });
  const [edgePort, socketPort] = [await freePort(), await freePort()];
  const shaper = await startShaper({ upstreams: { origin: origin.port, edge: edgePort }, ...line });
  const url = `http://localhost:${shaper.ports.origin}`;
  const edge = `http://localhost:${shaper.ports.edge}`;
  const site = new URL(url).host;
  // The rig's supernode makes key and tag and publishes; it is run here, for its network's port must stay.
  const publisher = new Supernode({ site, publish: small.directory });
  publisher.publishSite();
  const directory = mkdtempSync(join(tmpdir(), 'place-'));
  const config = join(directory, 'supernode.toml');
  writeFileSync(config, `[node]
data_dir = ${JSON.stringify(publisher.data)}
[edge]
listen = "127.0.0.1:${edgePort}"
tab_dir = ${JSON.stringify(tabFiles)}
public_url = "${edge}"
[network]
local_network = true
listen = ["/ip4/127.0.0.1/tcp/${socketPort}/ws"]
[network.relay]
# Ten tabs on one address are no attack.
reservations_per_minute_and_source = 0
circuits_per_minute_and_source = 0
circuits_per_minute_and_peer = 0
[[cdn.sites]]
name = "${site}"
publisher = "${publisher.publisher}"
`);
  let child = null;
  const start = async () => {
    child = spawn(program, ['node', 'run', '--config', config], { stdio: ['ignore', 'pipe', 'ignore'] });
    const ready = (async () => {
      for await (const said of createInterface(child.stdout)) if (said.includes('"ready"')) return;
      throw new Error('the supernode ended before it was ready');
    })();
    await within(READY_WAIT_MS, 'the supernode', ready);
  };
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  const tag = publisher.tag({ edge, attributes: WITHOUT_WORKER });
  origin.setTag(tag);
  return {
    url, edge, shaper, start, kill, tag,
    /** What tells a browser, and who else asks, where the node is; on no thin line. */
    node: `http://localhost:${edgePort}`,
    truth: origin.url,
    site,
    publisher: publisher.publisher,
    setTag: (tag) => origin.setTag(tag),
    close: async () => {
      await shaper.close();
      await origin.close();
      await kill();
      await publisher.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
