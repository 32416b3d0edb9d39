// Who answers a request of the page: the worker, or the plain network behind it. Both are scripted here; time is too.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Answer } from '../../web-peer/js/answers.js';

const SIZE = 9;
const head = { first: 0, end: SIZE, size: SIZE, type: 'text/plain', etag: 'e' };
const bytes = (text) => new TextEncoder().encode(text);

/** A request with both its sources in hand. */
function ask({ plain, rest, signal } = {}) {
  const { port1, port2 } = new MessageChannel();
  const heard = [];
  port2.onmessage = ({ data }) => heard.push(data);
  const asked = { plain: [], rest: [] };
  const network = {
    plain: (ending) => { asked.plain.push(ending); return plain?.(ending) ?? new Promise(() => {}); },
    rest: (range, ending) => { asked.rest.push({ range, ending }); return rest?.(range) ?? new Promise(() => {}); },
  };
  const answer = new Answer(port1, network, { signal });
  const response = answer.respond();
  response.catch(() => {});
  return { answer, response, asked, heard, say: (data) => port2.postMessage(data), end: () => { port1.close(); port2.close(); } };
}

/** Messages between ports take some turns of the loop. */
async function settle() {
  for (let turns = 0; turns < 20; turns += 1) await turn();
}

/** The scripted time goes on. */
async function pass(millis) {
  await settle();
  mock.timers.tick(millis);
  await settle();
  // Whoever is late is heard out.
  mock.timers.tick(50);
  await settle();
}

const clocked = (name, body) => test(name, async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try { await body(); } finally { mock.timers.reset(); }
});

clocked('a worker that answers is the only one that is asked', async () => {
  const request = ask();
  request.say({ head });
  await pass(900);
  request.say({ chunk: bytes('verified!') });
  assert.equal(await (await request.response).text(), 'verified!');
  assert.deepEqual(request.asked, { plain: [], rest: [] });
  request.end();
});

clocked('a worker that shows no sign of life is not waited for, and is told', async () => {
  const request = ask({ plain: async () => new Response('plain') });
  await pass(1_000);
  assert.equal(await (await request.response).text(), 'plain');
  await settle();
  assert.ok(request.heard.some(({ cancel }) => cancel));
  request.end();
});

clocked('a worker that gives up is replaced at once', async () => {
  const request = ask({ plain: async () => new Response('plain') });
  request.say({ head });
  request.say({ failed: 'no-source' });
  await settle();
  assert.equal(await (await request.response).text(), 'plain');
  request.end();
});

clocked('headers alone win nothing, and the loser is ended', async () => {
  const request = ask({ plain: async () => new Response(new ReadableStream({ pull: () => new Promise(() => {}) })) });
  await pass(1_000);
  assert.equal(request.asked.plain.length, 1);
  request.say({ head });
  request.say({ chunk: bytes('verified!') });
  assert.equal(await (await request.response).text(), 'verified!');
  assert.equal(request.asked.plain[0].aborted, true);
  request.end();
});

clocked('an error of the plain network does not win against a worker that is at it', async () => {
  const request = ask({ plain: async () => new Response('busy', { status: 503 }) });
  await pass(1_000);
  request.say({ head });
  request.say({ chunk: bytes('verified!') });
  assert.equal(await (await request.response).text(), 'verified!');
  request.end();
});

clocked('a worker that falls silent is continued by range, without a byte twice', async () => {
  const part = (range) => new Response('fied!', { status: 206, headers: { 'content-range': `${range.replace('=', ' ')}/${SIZE}` } });
  const request = ask({ rest: async (range) => part(range) });
  request.say({ head });
  request.say({ chunk: bytes('veri') });
  const text = (await request.response).text();
  await pass(20_000);
  assert.equal(await text, 'verified!');
  assert.equal(request.asked.rest[0].range, 'bytes=4-8');
  request.end();
});

clocked('what comes short of its length is an error, not a shorter file', async () => {
  const part = () => new Response('fie', { status: 206, headers: { 'content-range': `bytes 4-8/${SIZE}` } });
  const request = ask({ rest: async () => part() });
  request.say({ head });
  request.say({ chunk: bytes('veri') });
  const text = (await request.response).text();
  text.catch(() => {});
  await pass(20_000);
  await assert.rejects(text);
  request.end();
});

clocked('a worker busy with other bytes is waited for, but not for ever', async () => {
  const request = ask();
  request.say({ head });
  for (let seconds = 0; seconds < 2; seconds += 1) {
    await pass(2_900);
    request.say({ busy: 'elsewhere' });
  }
  await settle();
  assert.equal(request.asked.plain.length, 0);
  await pass(20_000);
  assert.equal(request.asked.plain.length, 1);
  request.end();
});

clocked('a worker that lives and gets nothing has time to ask its other sources, but not for ever', async () => {
  const request = ask();
  request.say({ head });
  for (let halves = 0; halves < 18; halves += 1) {
    await pass(500);
    request.say({ busy: 'awaited' });
  }
  await settle();
  assert.equal(request.asked.plain.length, 0);
  await pass(20_000);
  assert.equal(request.asked.plain.length, 1);
  request.end();
});

clocked('a visitor who leaves ends both', async () => {
  const leaving = new AbortController();
  const request = ask({ signal: leaving.signal });
  await pass(1_000);
  leaving.abort(new Error('gone'));
  await assert.rejects(request.response, /gone/);
  await settle();
  assert.equal(request.asked.plain[0].aborted, true);
  assert.ok(request.heard.some(({ cancel }) => cancel));
  request.end();
});

clocked('a stop of the worker in mid-answer costs nobody a byte', async () => {
  const part = (range) => new Response('fied!', { status: 206, headers: { 'content-range': `${range.replace('=', ' ')}/${SIZE}` } });
  const request = ask({ rest: async (range) => part(range) });
  request.say({ head });
  request.say({ chunk: bytes('veri') });
  const response = await request.response;
  request.answer.workerEnded('stopped');
  assert.equal(await response.text(), 'verified!');
  request.end();
});
