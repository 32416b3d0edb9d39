// IPFS against Helia: names of trees, the gateway, bitswap both ways, names. `node run.mjs [check…]`.
//
// TREES=1000 compares as many random trees (12 without), from SEED on; MIB=1024 moves as much to Helia by bitswap (32
// without), PULL_MIB=1024 from it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, request } from 'node:http';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, ensureNode22, ipfs, ipfsMeanwhile, scratch, startHelia, startNode, until } from './rig.mjs';
import { cidOf, generator, noise, randomTree, write } from './trees.mjs';

ensureNode22();
build();
const TREES = Number(process.env.TREES ?? 12);
const SEED = Number(process.env.SEED ?? 1);
const MIB = 1024 * 1024;
const BULK = Number(process.env.MIB ?? 32) * MIB;
const PULL = Number(process.env.PULL_MIB ?? 32) * MIB;
// What our process may take while a tree is moved, however large the tree is: messages under way (128 MiB), what the
// store keeps in memory, and the program.
const PEAK_MIB = 512;
const only = process.argv.slice(2);
let failed = 0;

async function check(name, body) {
  if (only.length > 0 && !only.some((word) => name.startsWith(word))) return;
  const begun = Date.now();
  try {
    const figure = await body();
    console.log(`ok   ${name}${typeof figure === 'string' ? `: ${figure}` : ''} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error.stack ?? error}`);
  }
}

const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** HTTP with any host and any path, as they are. */
function ask(url, { host, headers = {}, method = 'GET', body } = {}) {
  return new Promise((resolve, reject) => {
    const to = new URL(url);
    const path = url.slice(to.origin.length) || '/';
    const options = { host: to.hostname, port: to.port, path, method, headers: host ? { ...headers, host } : headers };
    const asked = request(options, async (response) => {
      const pieces = [];
      try {
        for await (const piece of response) pieces.push(piece);
      } catch (error) {
        reject(error);
      }
      resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces) });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

await check(`cids: ${TREES} random trees are named as js-ipfs-unixfs names them`, async () => {
  const directory = scratch();
  let [files, bytes] = [0, 0];
  for (let seed = SEED; seed < SEED + TREES; seed += 1) {
    const tree = randomTree(seed);
    const at = join(directory, 'tree');
    write(tree, at);
    assert.equal(ipfs('add', '--only-hash', '--hidden', at), await cidOf(tree), `SEED=${seed} TREES=1`);
    rmSync(at, { recursive: true });
    files += tree.size;
    for (const what of tree.values()) bytes += what?.length ?? 0;
  }
  return `${files} entries, ${Math.round(bytes / MIB)} MiB`;
});

const node = await startNode('node');
const site = join(scratch(), 'site');
const big = noise(generator(7), 5 * MIB + 123);
const large = Array.from({ length: 6000 }, (_, number) => `entry-number-${number}-of-a-large-directory.txt`);
write(new Map([
  ['big.bin', big],
  ['index.html', Buffer.from('<h1>hello</h1>')],
  ['docs/a b.txt', Buffer.from('text')],
  ['404.html', Buffer.from('lost')],
  ['_redirects', Buffer.from('/old/* /docs/:splat 301\n/app/* /index.html 200\n/* /404.html 404\n')],
  ...large.map((name) => [`large/${name}`, Buffer.from(name)]),
]), site);
const root = ipfs('add', '--data-dir', node.data, site);

/** A fetch that has only this gateway. */
async function verifiedFetch(gateway) {
  const [{ createVerifiedFetch }, { createHeliaLight }, { withHTTP }] = await Promise.all([
    import('@helia/verified-fetch'), import('helia'), import('@helia/http'),
  ]);
  const helia = await withHTTP(createHeliaLight(), {
    delegatedRouters: [gateway], recursiveGateways: [gateway], allowInsecure: true, allowLocal: true,
  }).start();
  const fetch = await createVerifiedFetch(helia);
  const patiently = (resource, patience = 120_000) => fetch(resource, { signal: AbortSignal.timeout(patience) });
  return Object.assign(patiently, { stop: () => helia.stop() });
}

await check('gateway: verified-fetch reads a file of many blocks and names of a large directory', async () => {
  const fetch = await verifiedFetch(node.ipfs);
  const file = await fetch(`ipfs://${root}/big.bin`);
  assert.equal(file.status, 200);
  assert.equal(hash(Buffer.from(await file.arrayBuffer())), hash(big));
  for (const name of [large[0], large[3210], large[5999]]) {
    const answer = await fetch(`ipfs://${root}/large/${name}`);
    assert.equal(await answer.text(), name);
  }
  await fetch.stop();
});

await check('gateway: verified-fetch refuses a flipped bit', async () => {
  let [flipped, lying] = [0, true];
  const liar = createServer(async (asked, answer) => {
    const honest = await ask(`${node.ipfs}${asked.url}`, { headers: { accept: asked.headers.accept ?? '*/*' }, method: asked.method });
    if (lying && honest.body.length > MIB / 2) {
      honest.body[honest.body.length >> 1] ^= 1;
      flipped += 1;
    }
    answer.writeHead(honest.status, honest.headers);
    answer.end(honest.body);
  });
  await new Promise((listening) => liar.listen(0, '127.0.0.1', listening));
  const fetch = await verifiedFetch(`http://127.0.0.1:${liar.address().port}`);
  const small = await fetch(`ipfs://${root}/docs/a%20b.txt`);
  assert.equal(await small.text(), 'text');
  const read = (patience) => fetch(`ipfs://${root}/big.bin`, patience).then(async (answer) => {
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return hash(Buffer.from(await answer.arrayBuffer()));
  });
  // It goes on asking for a block until it gets the right one, or its patience ends.
  const outcome = await read(15_000).then(() => 'read', (error) => `refused: ${error.name}`);
  assert.match(outcome, /^refused/);
  assert.ok(flipped > 0, 'a bit was flipped');
  lying = false;
  assert.equal(await read(), hash(big), 'and nothing else was wrong');
  await fetch.stop();
  liar.close();
  return outcome;
});

await check('gateway: CAR holds just the blocks of a path, a scope and a range', async () => {
  const [{ CarBlockIterator }, { CID }, { sha256 }] = await Promise.all([
    import('@ipld/car'), import('multiformats/cid'), import('multiformats/hashes/sha2'),
  ]);
  const blocks = async (query) => {
    const answer = await ask(`${node.ipfs}/ipfs/${root}${query}`);
    assert.equal(answer.status, 200, query);
    assert.match(answer.headers['content-type'], /^application\/vnd\.ipld\.car; version=1; order=dfs; dups=[yn]$/);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    const found = [];
    for await (const { cid, bytes } of await CarBlockIterator.fromBytes(answer.body)) {
      assert.ok(CID.createV1(cid.code, await sha256.digest(bytes)).equals(cid), 'a block is what it is called');
      found.push(cid.toString());
    }
    return found;
  };
  assert.deepEqual(await blocks('?format=car&dag-scope=block'), [root]);
  assert.equal((await blocks('/big.bin?format=car')).length, 1 + 1 + 6);
  assert.equal((await blocks(`/big.bin?format=car&entity-bytes=${MIB}:${2 * MIB - 1}`)).length, 1 + 1 + 1);
  assert.equal((await blocks('/big.bin?format=car&entity-bytes=-1:*')).length, 1 + 1 + 1);
  const entity = await blocks('/large?format=car&dag-scope=entity');
  const all = await blocks('/large?format=car&dag-scope=all');
  assert.equal(all.length, entity.length + 6000);
  assert.equal(new Set(all).size, all.length);
  const probe = await ask(`${node.ipfs}/ipfs/bafkqaaa?format=raw`);
  assert.deepEqual([probe.status, probe.body.length], [200, 0]);
  for (const wrong of ['entity-bytes=x', 'dag-scope=some', 'car-version=2', 'car-dups=maybe']) {
    assert.equal((await ask(`${node.ipfs}/ipfs/${root}?format=car&${wrong}`)).status, 400, wrong);
  }
});

await check('gateway: files with ranges and ETags, directories, and what is not there', async () => {
  const get = (path, options) => ask(`${node.ipfs}${path}`, options);
  const part = await get(`/ipfs/${root}/big.bin`, { headers: { range: `bytes=${MIB - 2}-${MIB + 1}` } });
  assert.equal(part.status, 206);
  assert.equal(part.headers['content-range'], `bytes ${MIB - 2}-${MIB + 1}/${big.length}`);
  assert.deepEqual([...part.body], [...big.subarray(MIB - 2, MIB + 2)]);
  const tail = await get(`/ipfs/${root}/big.bin`, { headers: { range: 'bytes=-3' } });
  assert.deepEqual([...tail.body], [...big.subarray(-3)]);
  assert.equal((await get(`/ipfs/${root}/big.bin`, { headers: { range: `bytes=${big.length}-` } })).status, 416);
  const text = await get(`/ipfs/${root}/docs/a%20b.txt`);
  assert.equal(text.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal(text.headers['cache-control'], 'public, max-age=29030400, immutable');
  assert.equal(text.headers['x-ipfs-path'], `/ipfs/${root}/docs/a%20b.txt`);
  assert.equal(text.headers['x-ipfs-roots'].split(',').length, 3);
  const again = await get(`/ipfs/${root}/docs/a%20b.txt`, { headers: { 'if-none-match': text.headers.etag } });
  assert.deepEqual([again.status, again.body.length], [304, 0]);
  const head = await get(`/ipfs/${root}/big.bin`, { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(big.length), 0]);
  assert.equal((await get(`/ipfs/${root}/docs?x=1`)).headers.location, `/ipfs/${root}/docs/?x=1`);
  assert.match((await get(`/ipfs/${root}/docs/`)).body.toString(), /href="\.\/a%20b\.txt"/);
  assert.equal((await get(`/ipfs/${root}/`)).body.toString(), '<h1>hello</h1>');
  assert.equal((await get(`/ipfs/${root}/none`)).status, 404);
  assert.equal((await get(`/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyka`)).status, 404);
  assert.equal((await get('/ipfs/no-cid')).status, 400);
  assert.equal((await get(`/ipfs/${root}?format=tar`)).status, 406);
  assert.equal((await get(`/ipfs/${root}`, { headers: { 'service-worker': 'script' } })).status, 400);
  const missing = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyka';
  assert.equal((await get(`/ipfs/${missing}`, { headers: { 'cache-control': 'only-if-cached' } })).status, 412);
  const named = await get(`/ipfs/${root}/docs/a%20b.txt?filename=%D1%82.txt&download=true`);
  assert.equal(named.headers['content-disposition'], 'attachment; filename="_.txt"; filename*=UTF-8\'\'%D1%82.txt');
});

await check('gateway: a site on a host of its own, with its redirects', async () => {
  const host = `${root}.ipfs.site.example`;
  const get = (path, options) => ask(`${node.ipfs}${path}`, { host, ...options });
  const moved = await ask(`${node.ipfs}/ipfs/${root}/docs/?q=1`, { host: 'site.example:8080' });
  assert.equal(moved.status, 301);
  assert.equal(moved.headers.location, `http://${root}.ipfs.site.example:8080/docs/?q=1`);
  assert.equal((await ask(`${node.ipfs}/ipfs/${root}?format=raw`, { host: 'site.example' })).status, 200);
  assert.equal((await get('/')).body.toString(), '<h1>hello</h1>');
  const old = await get('/old/a%20b.txt');
  assert.deepEqual([old.status, old.headers.location], [301, '/docs/a%20b.txt']);
  const app = await get('/app/x/y');
  assert.deepEqual([app.status, app.body.toString()], [200, '<h1>hello</h1>']);
  const lost = await get('/nowhere');
  assert.deepEqual([lost.status, lost.body.toString()], [404, 'lost']);
  assert.equal((await ask(`${node.ipfs}/ipfs/${root}/nowhere`)).status, 404, 'not where origins are shared');
  const uri = await ask(`${node.ipfs}/ipfs/?uri=ipfs%3A%2F%2F${root}%2Fdocs`);
  assert.deepEqual([uri.status, uri.headers.location], [301, `/ipfs/${root}/docs`]);
});

await check('routing: says that it has what it has', async () => {
  const { delegatedRoutingV1HttpApiClient } = await import('@helia/delegated-routing-v1-http-api-client');
  const { CID } = await import('multiformats/cid');
  const { defaultLogger } = await import('@libp2p/logger');
  const client = delegatedRoutingV1HttpApiClient({ url: node.ipfs })({ logger: defaultLogger() });
  const find = async (cid) => {
    const found = [];
    for await (const provider of client.getProviders(CID.parse(cid))) found.push(provider);
    return found;
  };
  const { base58btc } = await import('multiformats/bases/base58');
  const [provider] = await find(root);
  assert.equal(base58btc.encode(provider.ID.multihash.bytes), `z${node.peer_id}`);
  assert.ok(provider.Addrs.some((address) => node.address.startsWith(address.toString())));
  assert.deepEqual(await find('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyka').catch(() => []), []);
  const { status, headers } = await ask(`${node.ipfs}/routing/v1/providers/${root}`);
  assert.deepEqual([status, headers['access-control-allow-origin']], [200, '*']);
  assert.equal((await ask(`${node.ipfs}/routing/v1/providers/no-cid`)).status, 422);
});

await check(`bitswap: Helia pulls ${BULK / MIB} MiB from us`, async () => {
  const [{ unixfs }, { CID }, { multiaddr }] = await Promise.all([
    import('@helia/unixfs'), import('multiformats/cid'), import('@multiformats/multiaddr'),
  ]);
  const file = join(scratch(), 'bulk');
  const bytes = noise(generator(11), BULK + 5);
  writeFileSync(file, bytes);
  const cid = ipfs('add', '--data-dir', node.data, file);
  const helia = await startHelia();
  await helia.libp2p.dial(multiaddr(node.address));
  node.peakMib();
  const [digest, begun] = [createHash('sha256'), Date.now()];
  for await (const piece of unixfs(helia).cat(CID.parse(cid), { signal: AbortSignal.timeout(3_000_000) })) digest.update(piece);
  const [seconds, peak] = [(Date.now() - begun) / 1000, node.peakMib()];
  assert.equal(digest.digest('hex'), hash(bytes));
  assert.ok(peak < PEAK_MIB, `${peak} MiB of memory`);
  for (const name of [large[1], large[4711]]) {
    const pieces = [];
    for await (const piece of unixfs(helia).cat(CID.parse(root), { path: `large/${name}` })) pieces.push(piece);
    assert.equal(Buffer.concat(pieces).toString(), name);
  }
  await helia.stop();
  return `${(BULK / MIB / seconds).toFixed(1)} MiB/s, ${seconds.toFixed(1)} s, our memory at most ${peak} MiB`;
});

await check(`bitswap: we pull ${PULL / MIB} MiB and a large directory from Helia`, async () => {
  const { unixfs } = await import('@helia/unixfs');
  const { importer } = await import('ipfs-unixfs-importer');
  const helia = await startHelia();
  const bytes = noise(generator(13), PULL + 9);
  let cid;
  const source = [{ path: 'bulk', content: bytes }, ...large.map((name) => ({ path: `large/${name}`, content: Buffer.from(name) }))];
  for await (const entry of importer(source, helia.blockstore, { profile: 'unixfs-v1-2025', wrapWithDirectory: true })) cid = entry.cid;
  assert.ok(unixfs(helia));
  const from = helia.libp2p.getMultiaddrs()[0].toString();
  node.peakMib();
  const begun = Date.now();
  assert.equal(await ipfsMeanwhile('pull', '--data-dir', node.data, '--from', from, cid.toString()), cid.toString());
  const [seconds, peak] = [(Date.now() - begun) / 1000, node.peakMib()];
  assert.ok(peak < PEAK_MIB, `${peak} MiB of memory`);
  await helia.stop();
  const into = join(scratch(), 'got');
  ipfs('get', '--data-dir', node.data, cid.toString(), into);
  assert.equal(hash(readFileSync(join(into, 'bulk'))), hash(bytes));
  assert.equal(readFileSync(join(into, 'large', large[17]), 'utf8'), large[17]);
  assert.equal(ipfs('add', '--only-hash', into), cid.toString(), 'what came has the name that it had');
  assert.match(ipfs('ls', '--data-dir', node.data), new RegExp(cid.toString()));
  ipfs('rm', '--data-dir', node.data, cid.toString());
  assert.equal((await ask(`${node.ipfs}/ipfs/${cid}?format=raw`)).status, 404);
  return `${(PULL / MIB / seconds).toFixed(1)} MiB/s, ${seconds.toFixed(1)} s, our memory at most ${peak} MiB`;
});

await check('bitswap: what nobody has is said so', async () => {
  const helia = await startHelia();
  const from = helia.libp2p.getMultiaddrs()[0].toString();
  const missing = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyka';
  await assert.rejects(ipfsMeanwhile('pull', '--data-dir', node.data, '--from', from, missing), /no peer has/);
  await helia.stop();
});

await check('names: js-ipns believes ours, and we its', async () => {
  const [{ createIPNSRecord, marshalIPNSRecord, unmarshalIPNSRecord, multihashToIPNSRoutingKey }, { ipnsValidator }, keys, { CID }, { base36 }] =
    await Promise.all([
      import('ipns'), import('ipns/validator'), import('@libp2p/crypto/keys'), import('multiformats/cid'), import('multiformats/bases/base36'),
    ]);
  const name = ipfs('publish', '--data-dir', node.data, `/ipfs/${root}/docs`);
  const record = await ask(`${node.ipfs}/ipns/${name}?format=ipns-record`);
  assert.equal(record.headers['content-type'], 'application/vnd.ipfs.ipns-record');
  const multihash = CID.parse(name, base36).multihash;
  await ipnsValidator(multihashToIPNSRoutingKey(multihash), record.body);
  assert.equal(unmarshalIPNSRecord(record.body).value, `/ipfs/${root}/docs`);
  const read = await ask(`${node.ipfs}/ipns/${name}/a%20b.txt`);
  assert.equal(read.body.toString(), 'text');
  assert.match(read.headers['cache-control'], /^public, max-age=\d+$/);

  const key = await keys.generateKeyPair('Ed25519');
  const theirs = key.publicKey.toCID().toString(base36);
  const url = `${node.ipfs}/routing/v1/ipns/${theirs}`;
  const put = (body) => ask(url, { method: 'PUT', headers: { 'content-type': 'application/vnd.ipfs.ipns-record' }, body });
  const made = async (sequence, to) => marshalIPNSRecord(await createIPNSRecord(key, to, sequence, 3_600_000));
  assert.equal((await put(await made(2, `/ipns/${name}`))).status, 200);
  assert.equal((await put(await made(1, `/ipfs/${root}`))).status, 400, 'an older one');
  assert.equal((await ask(`${node.ipfs}/ipns/${theirs}/a%20b.txt`)).body.toString(), 'text', 'a name that stands for a name');
  const broken = await made(3, `/ipfs/${root}`);
  broken[broken.length >> 1] ^= 1;
  assert.equal((await put(broken)).status, 400);
  assert.equal((await ask(url, { headers: { accept: 'application/vnd.ipfs.ipns-record' } })).status, 200);
  assert.equal((await ask(`${node.ipfs}/ipns/example.org/`)).status, 501, 'no DNS server is asked here');
});

await node.stop();
mkdirSync(scratch(), { recursive: true });
await until('the node is gone', () => ask(node.ipfs).then(() => false, () => true));
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
