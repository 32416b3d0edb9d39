// The test servers themselves: a measurement is worth what its instruments are.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startOrigin } from '../servers/origin.mjs';
import { startShaper } from '../servers/shaper.mjs';

const BYTES = 500_000;
let directory;
let origin;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'origin-'));
  writeFileSync(join(directory, 'file.bin'), Buffer.alloc(BYTES, 7));
  writeFileSync(join(directory, 'index.html'), 'a <!-- blackhole-tag --> b');
  origin = await startOrigin({ root: directory });
});
after(async () => {
  await origin.close();
  rmSync(directory, { recursive: true });
});

const fetchFile = (options) => fetch(`${origin.url}/file.bin`, options);

test('a range is answered with that range', async () => {
  for (const [range, start, length] of [['bytes=0-9', 0, 10], ['bytes=499990-', 499_990, 10], ['bytes=-5', 499_995, 5]]) {
    const response = await fetchFile({ headers: { range } });
    assert.equal(response.status, 206);
    assert.equal((await response.arrayBuffer()).byteLength, length);
    assert.match(response.headers.get('content-range'), new RegExp(`^bytes ${start}-`));
  }
  assert.equal((await fetchFile({ headers: { range: 'bytes=500000-' } })).status, 416);
});

test('an unchanged file costs no body bytes', async () => {
  const etag = (await fetchFile()).headers.get('etag');
  origin.reset();
  assert.equal((await fetchFile({ headers: { 'if-none-match': etag } })).status, 304);
  assert.equal(origin.bodyBytes(), 0);
});

test('body bytes are counted per path', async () => {
  origin.reset();
  await (await fetchFile()).arrayBuffer();
  await (await fetchFile({ headers: { range: 'bytes=0-99' } })).arrayBuffer();
  assert.deepEqual(origin.counters()['/file.bin'], { requests: 2, bytes: BYTES + 100 });
});

test('nothing outside the directory is served', async () => {
  for (const path of ['/../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/nothing']) {
    assert.equal((await fetch(origin.url + path)).status, 404);
  }
});

test('the tag is pasted where the page has its mark', async () => {
  origin.setTag('<script></script>');
  assert.equal(await (await fetch(origin.url)).text(), 'a <script></script> b');
});

test('each misbehaviour is what it says', async (context) => {
  const ask = (kind, options) => { origin.misbehave('/file.bin', kind); return fetchFile(options); };
  context.after(() => origin.misbehave('/file.bin', null));
  for (const kind of ['lying-length', 'cut-off']) {
    await assert.rejects(ask(kind).then((response) => response.arrayBuffer()), undefined, kind);
  }
  assert.equal((await (await ask('short-length')).arrayBuffer()).byteLength, BYTES - 1000);
  assert.equal((await ask('wrong-type')).headers.get('content-type'), 'text/html');
  assert.equal((await ask('range-ignored', { headers: { range: 'bytes=0-9' } })).status, 200);
  await assert.rejects(ask('redirect-loop'));
  assert.equal((await ask('server-error')).status, 500);
  const [one, other] = [await (await ask('changing-content')).arrayBuffer(), await (await ask('changing-content')).arrayBuffer()];
  assert.notDeepEqual(Buffer.from(one), Buffer.from(other));
  const endless = (await ask('endless-body')).body.getReader();
  let read = 0;
  while (read <= BYTES * 4) read += (await endless.read()).value.length;
  await endless.cancel();
});

test('the shaped line keeps its rate and its delay, for all servers together', async (context) => {
  const second = await startOrigin({ root: directory });
  const shaper = await startShaper({ upstreams: { one: origin.port, two: second.port }, bitsPerSecond: 8e6, firstByteDelayMs: 80 });
  context.after(async () => { await shaper.close(); await second.close(); });
  const started = performance.now();
  const [first] = await once(get(`http://localhost:${shaper.ports.one}/file.bin`, (response) => response.resume()), 'response');
  assert.ok(performance.now() - started >= 80, 'the first byte is delayed');
  await Promise.all([once(first, 'end'), fetch(`http://localhost:${shaper.ports.two}/file.bin`).then((response) => response.arrayBuffer())]);
  const seconds = (performance.now() - started) / 1000;
  const bytesPerSecond = (shaper.counters.one.down + shaper.counters.two.down) / seconds;
  assert.ok(shaper.counters.one.down >= BYTES && shaper.counters.two.down >= BYTES);
  // 1 MB/s, and the burst that may pass at once; never more, and not far less on a loaded machine.
  assert.ok(bytesPerSecond < 1.15e6 && bytesPerSecond > 0.5e6, `${bytesPerSecond} bytes a second`);
});
