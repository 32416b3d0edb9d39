// What receipts cost a tab, in a real browser: the tab's own code signs and opens them, in a worker, as in a visit.
//
//   node vouchers.mjs DIRECTORY, with receipts.js and receipts_bg.wasm in it
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { basename, join } from 'node:path';
import { startBrowser } from '../rig/browser.mjs';

const ROUNDS = 9;
const RECEIPTS = 500;

const WORKER = `
  import init, { sign, open } from './receipts.js';
  await init();
  const aSecond = (work) => {
    const begun = performance.now();
    if (work(${RECEIPTS}) < ${RECEIPTS}) throw new Error('not all were done');
    return ${RECEIPTS} / ((performance.now() - begun) / 1000);
  };
  const rounds = Array.from({ length: ${ROUNDS} }, () => ({ signed: aSecond(sign), opened: aSecond(open) }));
  postMessage(rounds);
`;

const directory = process.argv[2];
const types = { '.js': 'text/javascript', '.wasm': 'application/wasm' };
const server = createServer((request, response) => {
  const name = basename(new URL(request.url, 'http://localhost').pathname);
  if (name === 'worker.js') return response.writeHead(200, { 'content-type': types['.js'] }).end(WORKER);
  const type = types[name.slice(name.lastIndexOf('.'))];
  if (!type) return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
  response.writeHead(200, { 'content-type': type });
  createReadStream(join(directory, name)).on('error', () => response.destroy()).pipe(response);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const browser = await startBrowser();
try {
  const { page } = await browser.visitor();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const rounds = await page.evaluate(() => new Promise((done, failed) => {
    const worker = new Worker('/worker.js', { type: 'module' });
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = ({ message }) => failed(new Error(message));
  }));
  const median = (of) => rounds.map(of).sort((a, b) => a - b)[Math.floor(ROUNDS / 2)];
  const [signed, opened] = [median((round) => round.signed), median((round) => round.opened)];
  console.log(`receipts a second in a tab (Chromium ${browser.browser.version()}), medians of ${ROUNDS} rounds of ${RECEIPTS}`);
  console.log(`  signed: ${signed.toFixed(0)}, ${(1000 / signed).toFixed(2)} ms each; a tab signs one a mebibyte`);
  console.log(`  opened: ${opened.toFixed(0)}, ${(1000 / opened).toFixed(2)} ms each`);
} finally {
  await browser.close();
  server.close();
}
