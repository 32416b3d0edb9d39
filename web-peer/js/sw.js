// @ts-check
/// <reference lib="webworker" />
import { Answer } from './answers.js';

/**
 * Blackhole's service worker; the publisher puts it on its own origin. It keeps nothing that matters:
 * killed at any moment, it asks the pages again. A request it takes is asked of a page, whose worker
 * answers with verified bytes; if that is not prompt, the plain network answers, as if nobody had asked.
 */

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** A page that lives answers within this; one that is busy or gone is not waited for. */
const WHO_MILLIS_MAX = 20;
/** Pages remembered; the oldest is asked anew. */
const PAGES_MAX = 64;
/** Marks the peer's own requests, which must reach the network. */
const DIRECT = 'x-blackhole-direct';

/** @typedef {{ paths: Set<string> | null, heard: Promise<void> | null, hear: () => void, answers: Set<Answer> }} Known */
/** @type {Map<string, Known>} */
const pages = new Map();

scope.addEventListener('install', () => void scope.skipWaiting());

scope.addEventListener('message', ({ data, source }) => {
  const id = source && 'id' in source ? source.id : '';
  if (data?.blackhole === 'here' && Array.isArray(data.paths)) {
    const page = known(id);
    page.paths = new Set(data.paths);
    page.hear();
  } else if (data?.blackhole === 'gone') {
    const page = known(id);
    page.paths = new Set();
    for (const answer of page.answers) answer.workerEnded('stopped');
  }
});

scope.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.mode === 'navigate') {
    // Its page has not begun to listen: nobody to ask until it speaks.
    if (event.resultingClientId) known(event.resultingClientId).paths = new Set();
    return;
  }
  if (request.method !== 'GET' || url.origin !== scope.location.origin || url.search !== '') return;
  if (request.headers.has(DIRECT) || request.cache === 'no-store' || request.cache === 'reload') return;
  const range = rangeOf(request.headers.get('range'));
  if (range === null || event.clientId === '') return;
  const page = known(event.clientId);
  if (page.paths !== null && !page.paths.has(url.pathname)) return;
  event.respondWith(respond(event.clientId, page, request, url.pathname, range));
});

/** @param {string} id @returns {Known} */
function known(id) {
  let page = pages.get(id);
  if (page === undefined) {
    if (pages.size >= PAGES_MAX) pages.delete(/** @type {string} */ (pages.keys().next().value));
    page = { paths: null, heard: null, hear: () => {}, answers: new Set() };
    pages.set(id, page);
  }
  return page;
}

/**
 * @param {string} id @param {Known} page @param {Request} request @param {string} path
 * @param {{ first: number, end: number, partial: boolean }} range
 */
async function respond(id, page, request, path, range) {
  const client = await scope.clients.get(id);
  if (client === undefined) return fetch(request);
  if (page.paths === null) {
    page.heard ??= new Promise((resolve) => {
      page.hear = resolve;
      client.postMessage({ blackhole: 'who' });
    });
    await Promise.race([page.heard, sleep(WHO_MILLIS_MAX)]);
    // A page that did not speak is not waited for again; when it does, it is asked.
    page.paths ??= new Set();
  }
  if (!page.paths.has(path)) return fetch(request);
  const { port1, port2 } = new MessageChannel();
  // What plays is wanted in order; all else is of use as a whole.
  const plays = request.destination === 'video' || request.destination === 'audio';
  client.postMessage({ blackhole: 'ask', path, first: range.first, end: range.end, plays }, [port2]);
  const network = {
    plain: (/** @type {AbortSignal} */ signal) => fetch(request, { signal }),
    rest: (/** @type {string} */ bytes, /** @type {AbortSignal} */ signal) =>
      fetch(request.url, { headers: { range: bytes }, credentials: request.credentials, signal }),
  };
  const left = () => page.answers.delete(answer);
  const answer = new Answer(port1, network, { signal: request.signal, partial: range.partial, left });
  page.answers.add(answer);
  return answer.respond();
}

/**
 * A `Range` header as bytes; the whole where there is none, `null` where we leave it to the network.
 *
 * @param {string | null} text
 */
function rangeOf(text) {
  if (text === null) return { first: 0, end: -1, partial: false };
  const found = /^bytes=(\d+)-(\d*)$/.exec(text);
  if (found === null) return null;
  return { first: Number(found[1]), end: found[2] === '' ? -1 : Number(found[2]) + 1, partial: true };
}

/** @param {number} millis */
const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
