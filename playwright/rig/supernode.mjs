// A supernode as an operator runs it: the binary, a configuration, a data directory of its own.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root, site as siteDirectory } from './browser.mjs';

const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/blackhole');
export const tabFiles = join(root, 'target/web');
const READY_WAIT_MS = 30_000;
const STOP_WAIT_MS = 10_000;
/** What it said last, for the report of a failed test. */
const LINES_KEPT = 200;

/** The line that every tag consists of; a page's policy may name its hash. */
export const tagScript = readFileSync(join(root, 'web-peer/js/tag.js'), 'utf8').trimEnd();

/** What a publisher pastes. @param {{loader: string, publisher: string, site?: string, attributes?: string}} options */
export function tag({ loader, publisher, site, attributes = '' }) {
  const name = site === undefined ? '' : `data-site="${site}"`;
  return `<script data-loader="${loader}" data-publisher="${publisher}" ${name} ${attributes}>${tagScript}</script>`;
}

/** The parts of a running network that a test may want to end, restart or look into. */
export class Supernode {
  #child = null;
  #directory = mkdtempSync(join(tmpdir(), 'supernode-'));
  lines = [];

  /**
   * `edge` are lines for that section of its configuration, `extra` for the end of it; `bootstrap` are others' addresses.
   * @param {{site: string, publish?: string | null, edgePort?: number, edge?: string, listen?: string[], bootstrap?: string[], extra?: string}} options
   */
  constructor({ site, publish = siteDirectory, edgePort = 0, edge = '', listen = ['/ip4/127.0.0.1/tcp/0/ws', '/ip4/127.0.0.1/tcp/0'], bootstrap = [], extra = '' }) {
    if (!existsSync(program)) throw new Error(`${program} is missing: cargo build -p supernode`);
    this.site = site;
    this.publish = publish;
    this.edgePort = edgePort;
    this.edgeLines = edge;
    this.listen = listen;
    this.bootstrap = bootstrap;
    this.extra = extra;
    this.key = join(this.#directory, 'publisher.key');
    this.publisher = execFileSync(program, ['key', 'new', this.key], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  }

  get config() {
    return join(this.#directory, 'supernode.toml');
  }

  get data() {
    return join(this.#directory, 'data');
  }

  /** Publishes the directory into the store (the node must not be running). */
  publishSite() {
    execFileSync(program, ['publish', this.publish, '--site', this.site, '--key', this.key, '--data-dir', this.data], { stdio: 'pipe' });
  }

  async start() {
    if (this.publish && !existsSync(this.data)) this.publishSite();
    const { config } = this;
    writeFileSync(config, `[node]
data_dir = ${JSON.stringify(this.data)}
[edge]
listen = "127.0.0.1:${this.edgePort}"
tab_dir = ${JSON.stringify(tabFiles)}
${this.edgeLines}
[network]
local_network = true
listen = ${JSON.stringify(this.listen)}
bootstrap = ${JSON.stringify(this.bootstrap)}
[[cdn.sites]]
name = "${this.site}"
publisher = "${this.publisher}"
${this.extra}`);
    this.#child = spawn(program, ['node', 'run', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface(stream).on('line', (line) => {
        this.lines.push(line);
        if (this.lines.length > LINES_KEPT) this.lines.shift();
      });
    }
    const ready = await new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`not ready:\n${this.lines.join('\n')}`)), READY_WAIT_MS);
      this.#child.once('exit', (code) => { clearTimeout(timer); fail(new Error(`ended with ${code}:\n${this.lines.join('\n')}`)); });
      createInterface(this.#child.stdout).on('line', (line) => {
        try {
          const message = JSON.parse(line);
          if (message.event === 'ready') { clearTimeout(timer); done(message); }
        } catch {
          // Not the ready line.
        }
      });
    });
    this.ready = ready;
    this.edge = ready.edge;
    if (this.edgePort === 0) this.edgePort = Number(new URL(ready.edge).port);
    return this;
  }

  /** Ends it at once, as a power cut would. */
  async kill() {
    await this.#end('SIGKILL');
  }

  async stop() {
    await this.#end('SIGTERM');
  }

  async #end(signal) {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_WAIT_MS);
    await ended;
    clearTimeout(late);
  }

  async close() {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** What its process has used of the processors, in seconds; Linux counts in hundredths. */
  cpuSeconds() {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** `blackhole storage`, as who owns this node's objects; what it prints. */
  storage(...words) {
    return execFileSync(program, ['storage', ...words, '--data-dir', this.data], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  async metrics() {
    return (await fetch(`${this.edge}/metrics`)).text();
  }

  /**
   * What the publisher pastes. `edge` where visitors reach it by another way than directly.
   * @param {{edge?: string, attributes?: string}} options
   */
  tag({ edge = this.edge, attributes = 'data-consent="on" data-local-network data-sw="/sw.js"' } = {}) {
    return tag({ loader: `${edge}/blackhole/tab/loader.js`, publisher: this.publisher, site: this.site, attributes });
  }
}
