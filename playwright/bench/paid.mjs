// Three supernodes serve a site, its publisher's own node pays them through a real chain, and three real tabs share the
// site, at one supernode after another.
//
//   node playwright/bench/paid.mjs [--minutes 10]
//
// At every block what was put into the contracts is free, reserved, withdrawn, in escrow, at stake, or an earner's. What the
// payer paid for is, to the byte, what the tabs say they verified of supernodes; beside it tabs are paid for what they gave to
// each other, and their accounts claim it. At the end each node's books say what the chain does.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { pictures, root, startBrowser } from '../rig/browser.mjs';
import { WITHOUT_WORKER, status } from '../rig/network.mjs';
import { freePort } from '../rig/ports.mjs';
import { tabFiles, tag } from '../rig/supernode.mjs';
import { startOrigin } from '../servers/origin.mjs';
import { named, startChain, watchBlocks } from './chain.mjs';
import { argument, cell, conclude, pause, within } from './measure.mjs';
import { smallSite } from './small-site.mjs';

const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/blackhole');
const MINUTES = Number(argument('minutes', 10));
const SUPERNODES = 3;
const TABS = 3;
/** Three base units for a thousand bytes: a visit is worth some ten thousand. */
const [UNITS, PER] = [3n, 1_000n];
/** What a tab gets for a thousand bytes that another one verified. */
const TABS_UNITS = 1n;
/** The visitors' accounts. */
const EARNERS = Array.from({ length: TABS }, (_, number) => `0x${(0xea0 + number).toString(16).padStart(40, '0')}`);
const PAYOUT_SECONDS = 30;
/** What is too little to be signed for, and what a tab gave in its last seconds, is not paid. */
const TABS_SHARE_MIN = 0.95;
const DEPOSIT = 1_000_000_000n;
const CHANNEL = 300_000_000n;
const STAKE = 5_000_000n;
const IN_ESCROW = 1_000_000n;
const PATIENCE_MS = 60_000;
/**
 * A tab signs for what its supernode's edge gave within two seconds, and hands in what others signed for it every ten; a bill,
 * a voucher and two disks come after that.
 */
const SIGNED_WITHIN_MS = 40_000;
/** Longer than a tab waits before it signs, and than its page waits for its account of what came. */
const STILL_MS = 4_000;
const OVERHEAD_MAX = 0.005;

const run = (...words) => execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();

/** A node with a directory and an account of its own, which can be started with more sections. */
class Node {
  constructor(directory, name, chain) {
    this.data = join(directory, name);
    this.config = `${this.data}.toml`;
    this.key = `${this.data}.account`;
    this.account = run('account', 'new', this.key);
    this.chain = `[chain]
rpc = "${chain.url}"
chain_id = 31337
channels = "${chain.channels.address}"
stakes = "${chain.stakes.address}"
payouts = "${chain.payouts.address}"
coin_price = 100000
poll_seconds = 1
outstanding_max = 1
stranger_owes_max = 10000
key_file = ${JSON.stringify(this.key)}
`;
  }

  async start({ port, sections = '' }) {
    writeFileSync(this.config, `[node]
data_dir = ${JSON.stringify(this.data)}
[edge]
listen = "127.0.0.1:0"
tab_dir = ${JSON.stringify(tabFiles)}
[network]
local_network = true
listen = ["/ip4/127.0.0.1/tcp/${port}/ws"]
[network.relay]
reservations_per_minute_and_source = 0
circuits_per_minute_and_source = 0
circuits_per_minute_and_peer = 0
${this.chain}${sections}`);
    const env = { ...process.env, BLACKHOLE_LOG: 'error' };
    this.child = spawn(program, ['node', 'run', '--config', this.config], { stdio: ['ignore', 'pipe', 'inherit'], env });
    const ready = new Promise((done) => {
      createInterface(this.child.stdout).on('line', (line) => line.includes('"ready"') && done(JSON.parse(line)));
    });
    const { edge, addresses } = await within(PATIENCE_MS, 'a node', ready);
    Object.assign(this, { edge, address: addresses[0] });
  }

  async stop() {
    if (!this.child || this.child.exitCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
  }

  /** Blocks are followed meanwhile, and what the chain prints is read: a full pipe would stop it. */
  async onChain(...words) {
    await promisify(execFile)(program, [...words, '--config', this.config]);
  }

  async text(path) {
    return (await fetch(`${this.edge}${path}`)).text();
  }

  /** What it pays or is paid, a line of the export each. */
  async payments() {
    const [head, ...lines] = (await this.text('/status/payments.csv')).trim().split('\r\n').map((line) => line.split(','));
    return lines.map((line) => Object.fromEntries(head.map((name, place) => [name, line[place]])));
  }

  /** How a visitor's account stands here. */
  async earner(account) {
    return JSON.parse(await this.text(`/blackhole/v1/earners/${account}`));
  }

  async figure(name) {
    const line = (await this.text('/metrics')).split('\n').find((one) => one.startsWith(`${name} `));
    if (!line) throw new Error(`there is no ${name}`);
    return BigInt(line.split(' ')[1]);
  }
}

const total = (rows, name) => rows.reduce((sum, row) => sum + BigInt(row[name] || 0), 0n);

/** What tabs are paid for bytes. */
const worthOfTabs = (bytes) => (Number(bytes) * Number(TABS_UNITS)) / Number(PER);

/** What `look` finds, or nothing after that time. */
async function eventually(patienceMs, look) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found || Date.now() > deadline) return found;
    await pause(200);
  }
}

/** Waits until all that is owed to the visitors' accounts is in epochs on the chain, and claims it; what they earned in all. */
async function claimAll(supernodes) {
  let earned = 0n;
  for (const node of supernodes) {
    for (const account of EARNERS) {
      const said = await eventually(PATIENCE_MS, async () => {
        const now = await node.earner(account);
        return now.due === '0' && now.payouts.every(({ expires }) => expires !== null) ? now : null;
      });
      if (!said) throw new Error(`not all that ${account} earned at ${node.data} is in an epoch`);
      earned += BigInt(said.earned);
      if (said.payouts.length === 0) continue;
      const file = `${node.data}.earner.json`;
      writeFileSync(file, JSON.stringify(said));
      await node.onChain('payout', 'claim', file, '--account', account);
    }
  }
  return earned;
}

/**
 * One tab's visit: all of the site, and what the tab says it verified of its supernode. What it gives is paid to `account`. It
 * stays until it is closed.
 */
async function visit(browser, url, account) {
  const visitor = await browser.visitor({ serviceWorkers: 'block' });
  // As `blackhole.earnTo` leaves it for the visitor's next page.
  await visitor.page.addInitScript((to) => localStorage.setItem('blackhole:earn-to', to), account);
  await visitor.page.goto(`${url}/?tab&pause=1000`, { waitUntil: 'commit' });
  await visitor.page.waitForFunction(() => window.visited, null, { timeout: PATIENCE_MS });
  const { wrong } = await visitor.page.evaluate(() => window.visited);
  return { ...visitor, wrong };
}

const directory = mkdtempSync(join(tmpdir(), 'paid-'));
const small = smallSite();
const chain = await startChain();
const browser = await startBrowser({ flags: ['--disable-features=WebRtcHideLocalIpsWithMdns'] });
const origin = await startOrigin({ root: small.directory });
const nodes = [];
const verdicts = [];
let result = {};
try {
  const site = new URL(origin.url).host;
  const publisherKey = join(directory, 'publisher.key');
  const publisher = run('key', 'new', publisherKey);
  const supernodes = Array.from({ length: SUPERNODES }, (_, number) => new Node(directory, `supernode${number}`, chain));
  const payer = new Node(directory, 'payer', chain);
  nodes.push(...supernodes, payer);
  for (const node of supernodes) {
    await chain.fund(node.account, STAKE);
    run('publish', small.directory, '--site', site, '--key', publisherKey, '--data-dir', node.data);
    const charge = `[earnings]
price = { base_units = ${UNITS}, per_bytes = ${PER} }
[payments.charge]
required = ["${site}"]
[payments.charge.tabs]
price = { base_units = ${TABS_UNITS}, per_bytes = ${PER} }
knows_visitors = true
least = 1
payout_seconds = ${PAYOUT_SECONDS}
[[cdn.sites]]
name = "${site}"
publisher = "${publisher}"
`;
    await node.start({ port: await freePort(), sections: charge });
    await node.onChain('stake', 'register', '--services', '1');
    await node.onChain('stake', 'add', String(STAKE));
  }
  await chain.fund(payer.account, DEPOSIT);
  const port = await freePort();
  await payer.start({ port });
  const agreement = join(directory, 'site.agreement');
  run('payment', 'agree', '--key', publisherKey, '--site', site, '--config', payer.config, '--price', `${UNITS}/${PER}`,
    '--tabs', `${TABS_UNITS}/${PER}`, agreement);
  await payer.onChain('account', 'deposit', String(DEPOSIT));
  for (const { account } of supernodes) await payer.onChain('channel', 'open', account, String(CHANNEL));
  await payer.stop();
  const pays = supernodes.map(({ address }) => `[[payments.pay]]
agreement = ${JSON.stringify(agreement)}
to = "${address}"
per_day = ${CHANNEL}
tabs_per_day = ${CHANNEL}
`);
  await payer.start({ port, sections: pays.join('') });
  const agreed = await eventually(PATIENCE_MS, async () =>
    (await Promise.all(supernodes.map((node) => node.payments()))).every(([row]) => row?.served === 'true'));
  if (!agreed) throw new Error('not all supernodes are paid');

  const job = await chain.createJob(supernodes[0].account, IN_ESCROW);
  const payees = supernodes.map(({ account }) => account);
  const blocks = await watchBlocks(chain, { payer: payer.account, payees, job });
  const begun = performance.now();
  const shared = { visits: 0, verified: 0n, ofPeers: 0n, ofOrigin: 0n, wrong: [], late: 0 };
  for (let round = 0; performance.now() - begun < MINUTES * 60_000; round += 1) {
    const node = supernodes[round % SUPERNODES];
    origin.setTag(tag({ loader: `${node.edge}/blackhole/tab/loader.js`, publisher, site, attributes: WITHOUT_WORKER }));
    const tabs = await Promise.all(EARNERS.map((account) => visit(browser, origin.url, account)));
    // A tab goes on taking what it has not shown: what all say and sign must have stood still for a while.
    const before = shared.verified;
    let [verified, since] = [0n, 0];
    const signed = await eventually(SIGNED_WITHIN_MS, async () => {
      const reports = await Promise.all(tabs.map(({ page }) => status(page)));
      const now = before + reports.reduce((sum, { bytes }) => sum + BigInt(bytes.edge), 0n);
      if (now !== verified) [verified, since] = [now, performance.now()];
      const ofPeers = reports.reduce((sum, { bytes }) => sum + bytes.peers, Number(shared.ofPeers));
      const rows = await payer.payments();
      return performance.now() - since > STILL_MS && verified === total(rows, 'verified_bytes')
        && Number(total(rows, 'tabs_base_units')) >= TABS_SHARE_MIN * worthOfTabs(ofPeers);
    });
    for (const { page, wrong, close } of tabs) {
      const { bytes } = await status(page);
      shared.visits += 1;
      shared.ofPeers += BigInt(bytes.peers);
      shared.ofOrigin += BigInt(bytes.origin);
      shared.wrong.push(...wrong);
      await close();
    }
    shared.verified = verified;
    shared.late += signed ? 0 : 1;
    if (round % SUPERNODES === SUPERNODES - 1) {
      // A supernode takes something out, as people do.
      const [first] = supernodes;
      if (BigInt(await chain.read(chain.channels, 'freeOf', [first.account])) > 0n) await first.onChain('account', 'withdraw', '1');
      const paid = total(await payer.payments(), 'paid_base_units');
      console.log(`${cell(((performance.now() - begun) / 60_000).toFixed(1), 6)} min${cell(shared.visits, 6)} visits${cell(verified, 12)} bytes verified of supernodes${cell(paid, 9)} base units paid`);
    }
  }

  const rows = await payer.payments();
  const [paidBytes, paid, ofTabs] = ['verified_bytes', 'paid_base_units', 'tabs_base_units'].map((name) => total(rows, name));
  const worth = rows.reduce((sum, row) => sum + BigInt(row.verified_bytes) * UNITS / PER, ofTabs);
  const claims = () => Promise.all(payees.map(async (payee) => (await chain.read(chain.channels, 'channelOf', [payer.account, payee])).claimed));
  const claimed = await eventually(PATIENCE_MS, async () => {
    const sum = (await claims()).reduce((all, one) => all + one, 0n);
    return sum === paid ? sum : null;
  });
  const earned = await claimAll(supernodes);
  const arrived = (await Promise.all(EARNERS.map((account) => chain.read(chain.dollar, 'balanceOf', [account])))).reduce((sum, one) => sum + one, 0n);
  const books = await eventually(PATIENCE_MS, async () => {
    const differ = [];
    for (const node of nodes) {
      for (const [figure, contract, read] of [['wallet', chain.dollar, 'balanceOf'], ['free', chain.channels, 'freeOf']]) {
        const [said, is] = [await node.figure(`blackhole_chain_base_units{figure="${figure}"}`), await chain.read(contract, read, [node.account])];
        if (said !== is) differ.push(`${figure} of ${node.data}: ${said}, and on the chain ${is}`);
      }
    }
    return differ.length === 0;
  });
  const evidence = await Promise.all(nodes.map((node) => node.figure('blackhole_payments_evidence_bytes_total')));
  const overhead = Number(evidence.reduce((sum, bytes) => sum + bytes, 0n)) / Number(paidBytes);
  const seen = await blocks.end();
  result = { shared, rows, evidence, seen, claimed, earned, arrived };
  const says = (met, says) => verdicts.push({ met, says });
  says(seen.wrong.length === 0 && seen.blocks > MINUTES * 30, `${seen.blocks} blocks, at each of which ${seen.put ?? 0} put in = free + reserved + withdrawn + escrow + stake + unclaimed + earned${seen.wrong.length ? `; not so: ${seen.wrong[0]}` : ''}`);
  const { unclaimed, ...others } = seen.parts;
  says(unclaimed === 0n && Object.values(others).every((part) => part > 0n), `at the end ${named(seen.parts)}`);
  says(paidBytes === shared.verified && shared.late === 0, `${shared.visits} visits verified ${shared.verified} bytes of supernodes, and ${paidBytes} were paid for; ${shared.late} rounds were late`);
  says(paid === worth && claimed === paid, `${paid} base units paid, which is what the bytes are worth (${worth}); ${claimed ?? 'not all'} claimed`);
  const given = worthOfTabs(shared.ofPeers);
  says(Number(ofTabs) <= given && Number(ofTabs) >= TABS_SHARE_MIN * given, `${ofTabs} base units of it are for what tabs gave to each other, which is worth ${given.toFixed(0)}`);
  // What an account's bytes at one supernode are worth is rounded down.
  says(arrived === earned && earned <= ofTabs && earned >= ofTabs - BigInt(TABS * SUPERNODES), `${earned} were credited to ${TABS} accounts, which claimed ${arrived}`);
  says(Boolean(books), 'the books of all four nodes say what the chain does');
  says(overhead <= OVERHEAD_MAX, `receipts and bills are ${(overhead * 100).toFixed(3)} % of the bytes, at most ${OVERHEAD_MAX * 100}`);
  says(shared.wrong.length === 0 && shared.ofPeers > 0n, `${shared.ofPeers} bytes came of other tabs, ${shared.ofOrigin} of the origin; ${shared.wrong.length} files were wrong${shared.wrong.length ? `: ${shared.wrong[0]}` : ''}`);
} finally {
  await browser.close();
  for (const node of nodes) await node.stop();
  chain.close();
  await origin.close();
  small.close();
  rmSync(directory, { recursive: true, force: true });
}
mkdirSync(pictures, { recursive: true });
writeFileSync(join(pictures, 'bench-paid.json'), JSON.stringify({ minutes: MINUTES, ...result }, (_, value) => typeof value === 'bigint' ? String(value) : value, 1));
conclude(verdicts);
