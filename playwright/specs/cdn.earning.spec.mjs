// A visitor names an account, gives to another visitor's tab, and sees what that came to; whoever names none earns nothing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fetchAll, root, screenshot, startBrowser } from '../rig/browser.mjs';
import { WITHOUT_WORKER, running, startNetwork, status, until } from '../rig/network.mjs';
import { Supernode } from '../rig/supernode.mjs';

const ACCOUNT = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';
/** Vouchers and books without an endpoint. */
const CHAIN = '[chain]\nchain_id = 137\nchannels = "0x00000000000000000000000000000000000000c1"\ncoin_price = 100000\nstranger_owes_max = 1000000\n';
/** A base unit for a thousand bytes; all visitors come from this machine. */
const CHARGE = `[earnings]
price = { base_units = 3, per_bytes = 1000 }
[payments.charge]
[payments.charge.tabs]
price = { base_units = 1, per_bytes = 1000 }
knows_visitors = true
`;
const PER_BYTES = 1000;
/** A tab hands in every ten seconds, is billed for a second later, and asks every fifteen. */
const PATIENCE_MS = 90_000;
const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/blackhole');

let browser;
let network;
let payer;
let directory;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'agreement-'));
  network = await startNetwork({ attributes: WITHOUT_WORKER, extra: CHAIN + CHARGE });
  // The publisher's own node: its first start makes the keys that the agreement names.
  payer = new Supernode({ site: 'payer.example', publish: null, listen: [], extra: CHAIN });
  await payer.start();
  await payer.stop();
  const file = join(directory, 'site.agreement');
  const { supernode } = network;
  execFileSync(program, ['payment', 'agree', '--key', supernode.key, '--site', supernode.site, '--config', payer.config,
    '--price', '3/1000', '--tabs', '1/1000', file], { stdio: 'pipe' });
  payer.extra = `${CHAIN}[[payments.pay]]\nagreement = ${JSON.stringify(file)}\nto = "${supernode.ready.addresses[0]}"\nper_day = 1000000000\ntabs_per_day = 1000000\n`;
  await payer.start();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await payer?.close();
  await network?.close();
  rmSync(directory, { recursive: true, force: true });
});

test('a visitor that names an account sees what its tab earned of another, and the publisher pays as much', async () => {
  const [first, second] = [await browser.visitor({ serviceWorkers: 'block' }), await browser.visitor({ serviceWorkers: 'block' })];
  await first.page.goto(network.url);
  await running(first.page);
  // A mistyped account is none.
  const wrong = await first.page.evaluate((account) => window.blackhole.earnTo(account).then(() => '', (error) => error.message), ACCOUNT.replace('5aA', '5AA'));
  assert.match(wrong, /EIP-55/);
  assert.equal((await status(first.page)).earned.account, null);
  await first.page.evaluate((account) => window.blackhole.earnTo(account), ACCOUNT);
  const { files } = await fetchAll(first.page);
  await until(first.page, 'the first tab holds what it fetched', ({ complete }) => complete >= files * 0.9);
  await second.page.goto(network.url);
  await until(second.page, 'the tabs have found each other', ({ peers }) => peers >= 1);
  assert.deepEqual((await fetchAll(second.page)).wrong, []);
  const { bytes } = await until(second.page, 'something came from the other tab', ({ bytes }) => bytes.peers > 1_000_000);
  const { earned } = await until(first.page, 'the first tab earned it', ({ earned }) => Number(earned.earned) >= 0.8 * bytes.peers / PER_BYTES, PATIENCE_MS);
  assert.deepEqual({ account: earned.account, claimable: earned.claimable, due: earned.due }, { account: ACCOUNT, claimable: '0', due: earned.earned });
  // Of what was verified no more than that is paid for, and by the publisher.
  const now = await status(second.page);
  assert.ok(Number(earned.earned) <= now.bytes.peers / PER_BYTES, JSON.stringify({ earned, now }));
  const paid = (await (await fetch(`${payer.edge}/status/payments.csv`)).text()).trim().split('\r\n').map((line) => line.split(','));
  const column = paid[0].indexOf('tabs_base_units');
  assert.ok(Number(paid[1][column]) >= Number(earned.earned), paid.join('\n'));
  // The visitor is shown it, and only whoever earns.
  await first.page.locator('#blackhole-meter .pill').click();
  const shown = first.page.locator('#blackhole-meter dd', { hasText: 'base units' });
  assert.ok(Number((await shown.textContent()).replaceAll(',', '').split(' ')[0]) >= Number(earned.earned));
  await screenshot(first.page, 'cdn.earning');
  await second.page.locator('#blackhole-meter .pill').click();
  assert.equal(await second.page.locator('#blackhole-meter dd:visible', { hasText: 'base units' }).count(), 0);
  // The choice is remembered, until it is taken back.
  await first.page.reload();
  await running(first.page);
  assert.equal((await status(first.page)).earned.account, ACCOUNT);
  await first.page.evaluate(() => window.blackhole.earnTo(null));
  assert.equal((await status(first.page)).earned.account, null);
  await first.close();
  await second.close();
});
