// @ts-check
/**
 * The asking end of a port that the worker answers on, with the plain network behind it at every moment.
 *
 *     asked ──head──► in hand ──chunk──► flowing ──end──► over
 *       └── no sign of life, or `failed` ──► the plain network runs too; first *body* bytes win,
 *                                            and whichever loses is ended at once
 *
 * A worker that has said `head` has the request in hand and asks peers, edge and origin by itself. The
 * plain network beside it would carry the same bytes over the same line, so then it runs only after a
 * silence that is long by what answers took lately.
 *
 * The service worker is one file: the build puts this module into it.
 */

/** Chunks of 256 KiB that may be under way; a consumer that pauses is never sent more. */
const CREDIT = 4;
/** A worker that lives says `head` within this; when it was busy lately, within a multiple of what it took. */
const HEAD_MILLIS = { min: 1_000, max: 3_000 };
/** The same for bytes. The worker changes a silent source for another within two seconds, and needs some more. */
const BYTES_MILLIS = { min: 3_000, max: 15_000 };
/** So many times what it took lately. */
const PATIENCE = 4;
/** A worker that says it is busy with other bytes is waited for this much longer, and no more. */
const BUSY_PATIENCE = 10;
/** One that lives and gets nothing asks its other sources by itself; they get so long. */
const AWAITED_MILLIS = 10_000;
/** What was said while the page was busy is heard before it counts as unsaid. */
const HEARING_MILLIS = 50;

/** What answers took lately: each new one counts a quarter. */
class Lately {
  #millis = 0;

  /** @param {{ min: number, max: number }} bounds */
  constructor(bounds) {
    this.bounds = bounds;
  }

  /** @param {number} millis */
  note(millis) {
    this.#millis += (millis - this.#millis) / 4;
  }

  get patience() {
    return Math.min(Math.max(this.#millis * PATIENCE, this.bounds.min), this.bounds.max);
  }
}

const heads = new Lately(HEAD_MILLIS);
const firstBytes = new Lately(BYTES_MILLIS);

/**
 * @typedef {object} Network the same bytes by plain HTTP
 * @property {(signal: AbortSignal) => Promise<Response>} plain the request as the browser would make it
 * @property {(range: string, signal: AbortSignal) => Promise<Response>} rest a range of the same file
 */

/** One request. `respond` is called once. */
export class Answer {
  #head = /** @type {any} */ (null);
  /** The next byte that the consumer gets. */
  #at = 0;
  /** Whether the worker may still bring something; otherwise why not. */
  #workerGone = /** @type {string | null} */ (null);
  #attempt = /** @type {AbortController | null} */ (null);
  #stage = /** @type {'asked' | 'flowing' | 'network' | 'over'} */ ('asked');
  #askedAt = performance.now();
  #heardAt = performance.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {{ resolve: (response: Response) => void, reject: (reason: unknown) => void }} */
  #settle = /** @type {any} */ (null);
  /** @type {ReadableStreamDefaultController<Uint8Array>} */
  #controller = /** @type {any} */ (null);
  /** @type {ReadableStreamDefaultReader<Uint8Array> | null} the network's, once it has taken over */
  #reader = null;
  /** @type {() => void} */
  #ended = () => {};

  /**
   * @param {MessagePort} port
   * @param {Network} network
   * @param {{ signal?: AbortSignal | null, partial?: boolean, left?: () => void }} [options] `left` is called
   *   once nothing more is expected of the worker
   */
  constructor(port, network, { signal, partial = false, left = () => {} } = {}) {
    this.port = port;
    this.network = network;
    this.signal = signal;
    this.partial = partial;
    this.left = left;
  }

  /** @returns {Promise<Response>} resolves with the first bytes */
  respond() {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      const abort = () => this.#abort(this.signal?.reason);
      if (this.signal?.aborted) return abort();
      this.signal?.addEventListener('abort', abort);
      this.#ended = () => this.signal?.removeEventListener('abort', abort);
      this.port.onmessage = ({ data }) => this.#hear(data);
      this.port.postMessage({ want: CREDIT });
      this.#watch(heads.patience);
    });
  }

  /** The worker will not answer any more. @param {string} reason */
  workerEnded(reason) {
    if (this.#stage === 'over' || this.#stage === 'network' || this.#workerGone !== null) return;
    this.#workerGone = reason;
    this.#closePort();
    void this.#askNetwork();
  }

  /** @param {any} data */
  #hear(data) {
    if (this.#workerGone !== null) return;
    if (data.head) {
      heads.note(performance.now() - this.#askedAt);
      this.#head = data.head;
      this.#at = data.head.first;
      this.#heardAt = performance.now();
      this.#watch(firstBytes.patience);
    } else if (data.chunk) this.#take(data.chunk);
    else if (data.busy) {
      // Pieces of this file come, only not yet the next one: peers bring them in any order.
      if (data.busy === 'here') this.#heardAt = performance.now();
      const silence = performance.now() - this.#heardAt;
      const patience = data.busy === 'awaited' ? AWAITED_MILLIS : firstBytes.patience * BUSY_PATIENCE;
      if (this.#attempt === null && silence < patience) this.#watch(firstBytes.patience);
    } else if (data.end) this.#finish();
    else if (data.failed) this.workerEnded(data.failed);
  }

  /** @param {Uint8Array<ArrayBuffer>} chunk */
  #take(chunk) {
    // Late, but before the network: what that would have brought is not wanted.
    this.#attempt?.abort();
    this.#attempt = null;
    if (this.#stage === 'asked') {
      firstBytes.note(performance.now() - this.#askedAt);
      this.#answer();
    }
    this.#heardAt = performance.now();
    this.#at += chunk.byteLength;
    this.#controller.enqueue(chunk);
    if (this.#at >= this.#head.end) this.#finish();
    else this.#watch(firstBytes.patience);
  }

  #finish() {
    if (this.#stage === 'asked') this.#answer();
    this.#attempt?.abort();
    this.#end();
    this.#controller.close();
  }

  #answer() {
    const { type, first, end, etag, size } = this.#head;
    this.#stage = 'flowing';
    const body = new ReadableStream(
      {
        start: (controller) => void (this.#controller = controller),
        pull: () => this.#pull(),
        cancel: (reason) => this.#cancel(reason),
      },
      { highWaterMark: CREDIT },
    );
    /** @type {Record<string, string>} */
    const headers = { 'content-type': type, 'content-length': `${end - first}`, 'accept-ranges': 'bytes', etag: `"${etag}"` };
    if (this.partial) headers['content-range'] = `bytes ${first}-${end - 1}/${size}`;
    this.#settle.resolve(new Response(body, { status: this.partial ? 206 : 200, headers }));
  }

  /** @returns {void | Promise<void>} */
  #pull() {
    if (this.#reader !== null) return this.#pump(this.#reader);
    if (this.#stage === 'flowing' && this.#workerGone === null) this.port.postMessage({ want: 1 });
  }

  /** @param {number} millis */
  #watch(millis) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // A consumer that does not read is not a worker that does not answer.
      const paused = this.#stage === 'flowing' && (this.#controller.desiredSize ?? 0) <= 0;
      if (paused) this.#watch(millis);
      else this.#timer = setTimeout(() => void this.#askNetwork(), HEARING_MILLIS);
    }, millis);
  }

  async #askNetwork() {
    if (this.#attempt !== null || this.#stage === 'over' || this.#stage === 'network') return;
    clearTimeout(this.#timer);
    const attempt = (this.#attempt = new AbortController());
    const isLost = () => this.#attempt !== attempt || this.#stage === 'over';
    try {
      if (this.#stage === 'asked') {
        const response = await this.network.plain(attempt.signal);
        // What says no, or has no body, has nothing to be first with: it counts when the worker cannot.
        if (!response.ok && this.#workerGone === null && !isLost()) throw new Error(`http-${response.status}`);
        await beginning(response);
        if (isLost()) return;
        this.#stage = 'network';
        this.#leaveWorker();
        this.#settle.resolve(response);
      } else {
        const { first, rest } = await this.#continued(attempt.signal);
        if (isLost()) return void rest.cancel().catch(() => {});
        this.#stage = 'network';
        this.#leaveWorker();
        this.#reader = rest;
        if (first === undefined) return this.#endNetwork();
        // The stream pulls the next by itself.
        this.#at += first.byteLength;
        this.#controller.enqueue(first);
      }
    } catch (error) {
      attempt.abort();
      if (isLost()) return;
      this.#attempt = null;
      if (this.#workerGone === null) return this.#watch(firstBytes.patience);
      this.#fail(error);
    }
  }

  /** What is still missing by the plain network, which must be of the same whole. @param {AbortSignal} signal */
  async #continued(signal) {
    const { end, size } = this.#head;
    const response = await this.network.rest(`bytes=${this.#at}-${end - 1}`, signal);
    const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
    if (response.status !== 206 || Number(range?.[1]) !== this.#at || Number(range?.[2]) !== size || !response.body) {
      throw new TypeError('the origin has another version');
    }
    const rest = response.body.getReader();
    return { first: (await rest.read()).value, rest };
  }

  /** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
  async #pump(reader) {
    const read = await reader.read().catch((error) => this.#fail(error));
    if (!read || this.#stage === 'over') return;
    if (read.done) return this.#endNetwork();
    this.#at += read.value.byteLength;
    this.#controller.enqueue(read.value);
  }

  #endNetwork() {
    if (this.#at !== this.#head.end) return this.#fail(new TypeError('the connection was lost'));
    this.#end();
    this.#controller.close();
  }

  #leaveWorker() {
    clearTimeout(this.#timer);
    if (this.#workerGone === null) this.port.postMessage({ cancel: true });
    this.#workerGone ??= 'network-was-first';
    this.#closePort();
  }

  #closePort() {
    this.port.onmessage = null;
    this.port.close();
    this.left();
  }

  #end() {
    this.#stage = 'over';
    clearTimeout(this.#timer);
    this.#closePort();
    this.#ended();
  }

  /** The consumer wants no more. @param {unknown} reason */
  #cancel(reason) {
    if (this.#stage === 'over') return;
    this.#attempt?.abort(reason);
    this.#leaveWorker();
    this.#end();
  }

  /** @param {unknown} reason */
  #abort(reason) {
    const stage = this.#stage;
    this.#cancel(reason);
    if (stage === 'asked') this.#settle.reject(reason);
    else if (this.#controller !== null && stage !== 'over') this.#controller.error(reason);
  }

  /** @param {unknown} error */
  #fail(error) {
    const stage = this.#stage;
    this.#end();
    if (stage === 'asked') this.#settle.reject(error);
    else this.#controller.error(error);
  }
}

/** Resolves when the first bytes of a body are there, and leaves them to whoever reads it. @param {Response} response */
async function beginning(response) {
  const probe = response.clone().body?.getReader();
  if (probe === undefined) return;
  await probe.read();
  // Settles only with the other half, whose reader hears of any error.
  probe.cancel().catch(() => {});
}
