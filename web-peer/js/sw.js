// @ts-check
/// <reference lib="webworker" />
/**
 * Blackhole's service worker; the publisher puts it on its own origin. It keeps nothing that matters:
 * killed at any moment, it asks the pages again. A request it takes is asked of a page, whose worker
 * answers with verified bytes; if that is not prompt, the plain network answers, as if nobody had asked.
 */

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** A page that lives answers within this; one that is busy or gone is not waited for. */
const WHO_MILLIS_MAX = 20;
/** No first bytes by then: the network runs too, and the first wins. */
const HEDGE_MILLIS = 250;
/** No further bytes by then: the network continues from where the page stopped. */
const STALL_MILLIS = 2_000;
/** Chunks of 256 KiB that may be under way. */
const CREDIT = 8;
/** Pages remembered; the oldest is asked anew. */
const PAGES_MAX = 64;
/** Marks the peer's own requests, which must reach the network. */
const DIRECT = 'x-blackhole-direct';

/** @typedef {{ paths: Set<string> | null, heard: Promise<void> | null, hear: () => void }} Known */
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
    known(id).paths = new Set();
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
    page = { paths: null, heard: null, hear: () => {} };
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
  return new Answer(client, request, path, range).race();
}

/** One request, from two sources of which the first wins. */
class Answer {
  /**
   * @param {Client} client @param {Request} request @param {string} path
   * @param {{ first: number, end: number, partial: boolean }} range
   */
  constructor(client, request, path, range) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.request = request;
    this.range = range;
    this.abort = new AbortController();
    client.postMessage({ blackhole: 'ask', path, first: range.first, end: range.end }, [port2]);
  }

  /** @returns {Promise<Response>} */
  race() {
    return new Promise((resolve, reject) => {
      let decided = false;
      /** @type {any} */
      let head = null;
      const plain = () =>
        fetch(this.request, { signal: this.abort.signal }).then(
          (response) => {
            if (decided) return;
            decided = true;
            this.leave();
            resolve(response);
          },
          (error) => decided || reject(error),
        );
      /** @type {Promise<unknown> | null} */
      let hedge = null;
      const timer = setTimeout(() => (hedge = plain()), HEDGE_MILLIS);
      this.port.onmessage = ({ data }) => {
        if (data.head) head = data.head;
        else if (data.chunk || data.end) {
          if (decided) return;
          decided = true;
          clearTimeout(timer);
          this.abort.abort();
          resolve(this.stream(head, data.chunk));
        } else if (data.failed) {
          clearTimeout(timer);
          this.port.close();
          hedge ??= plain();
        }
      };
      this.port.postMessage({ want: CREDIT });
    });
  }

  leave() {
    this.port.postMessage({ cancel: true });
    this.port.onmessage = null;
    this.port.close();
  }

  /** @param {any} head @param {Uint8Array | undefined} chunk the first one */
  stream(head, chunk) {
    let at = head.first;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let stall;
    let over = false;
    const watch = (/** @type {ReadableStreamDefaultController} */ controller) => {
      clearTimeout(stall);
      stall = setTimeout(() => void takeOver(controller), STALL_MILLIS);
    };
    const takeOver = async (/** @type {ReadableStreamDefaultController} */ controller) => {
      if (over) return;
      // A consumer that does not read is not a page that does not answer.
      if ((controller.desiredSize ?? 0) <= 0) return watch(controller);
      over = true;
      this.leave();
      try {
        for await (const bytes of await rest(this.request, at, head)) controller.enqueue(bytes);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
    };
    const body = new ReadableStream(
      {
        start: (controller) => {
          const take = (/** @type {Uint8Array} */ bytes) => {
            at += bytes.byteLength;
            controller.enqueue(bytes);
          };
          const finish = () => {
            clearTimeout(stall);
            over = true;
            this.port.close();
            controller.close();
          };
          if (chunk) take(chunk);
          if (at >= head.end) return finish();
          watch(controller);
          this.port.onmessage = ({ data }) => {
            if (over) return;
            if (data.chunk) {
              take(data.chunk);
              watch(controller);
            } else if (data.end) finish();
            else if (data.failed) {
              clearTimeout(stall);
              void takeOver(controller);
            }
          };
        },
        pull: () => {
          if (!over) this.port.postMessage({ want: 1 });
        },
        cancel: () => {
          clearTimeout(stall);
          over = true;
          this.leave();
        },
      },
      { highWaterMark: CREDIT },
    );
    /** @type {Record<string, string>} */
    const headers = {
      'content-type': head.type,
      'content-length': `${head.end - head.first}`,
      'accept-ranges': 'bytes',
      etag: `"${head.etag}"`,
    };
    if (this.range.partial) headers['content-range'] = `bytes ${head.first}-${head.end - 1}/${head.size}`;
    return new Response(body, { status: this.range.partial ? 206 : 200, headers });
  }
}

/**
 * The bytes from `at` on by the plain network, which must be of the same whole.
 *
 * @param {Request} request @param {number} at @param {any} head
 */
async function rest(request, at, head) {
  const headers = new Headers({ range: `bytes=${at}-${head.end - 1}` });
  const response = await fetch(request.url, { headers, credentials: request.credentials });
  const total = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (response.status !== 206 || Number(total?.[1]) !== at || Number(total?.[2]) !== head.size) {
    throw new TypeError('the origin has another version');
  }
  return /** @type {any} */ (response.body);
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
