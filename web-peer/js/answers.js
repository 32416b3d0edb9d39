// @ts-check
/**
 * The asking end of a port that the worker answers on: a `Response` fed by credit, with the plain
 * network behind it at every moment.
 */

/** Chunks of 256 KiB that may be under way; a consumer that pauses is never sent more. */
const CREDIT = 8;
/** No first bytes by then: the network runs too, and the first wins. */
const HEDGE_MILLIS = 400;
/** No further bytes by then: the network continues from where the worker stopped. */
const STALL_MILLIS = 2_000;

/**
 * First bytes from the peer within the bound, or the plain network; the first wins.
 *
 * @param {(signal: AbortSignal) => Promise<Response>} serve
 * @param {AbortSignal | null | undefined} signal
 * @param {() => Promise<Response>} plain
 * @returns {Promise<Response>}
 */
export function hedged(serve, signal, plain) {
  const abort = new AbortController();
  const stop = () => abort.abort(signal?.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  return new Promise((resolve, reject) => {
    let decided = false;
    /** @type {Promise<void> | null} */
    let network = null;
    const useNetwork = () => {
      network ??= plain().then(
        (response) => {
          if (decided) return void response.body?.cancel();
          decided = true;
          abort.abort();
          resolve(response);
        },
        (error) => {
          if (!decided) reject(error);
        },
      );
    };
    const timer = setTimeout(useNetwork, HEDGE_MILLIS);
    serve(abort.signal).then(
      (response) => {
        clearTimeout(timer);
        if (decided) return;
        decided = true;
        resolve(response);
      },
      () => {
        clearTimeout(timer);
        if (!decided) useNetwork();
      },
    );
  });
}

/**
 * Resolves with the first bytes, so that whoever waits may still go elsewhere until then.
 *
 * @param {MessagePort} port
 * @param {AbortSignal | null | undefined} signal
 * @param {(range: string) => Promise<Response>} network the same bytes by plain HTTP
 * @returns {Promise<Response>}
 */
export function answerOf(port, signal, network) {
  return new Promise((resolve, reject) => {
    /** @type {any} */
    let head = null;
    /** @type {ReadableStreamDefaultController<Uint8Array>} */
    let controller;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let stall;
    let answered = false;
    let over = false;
    let at = 0;

    const end = () => {
      over = true;
      clearTimeout(stall);
      port.onmessage = null;
      port.close();
      signal?.removeEventListener('abort', abort);
    };
    const cancel = () => {
      if (over) return;
      port.postMessage({ cancel: true });
      end();
    };
    const abort = () => {
      cancel();
      if (answered) controller.error(signal?.reason);
      else reject(signal?.reason);
    };
    const takeOver = async () => {
      if (over) return;
      // A consumer that does not read is not a worker that does not answer.
      if ((controller.desiredSize ?? 0) <= 0) return watch();
      cancel();
      try {
        for await (const bytes of await rest(network, at, head)) controller.enqueue(bytes);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
    };
    const watch = () => {
      clearTimeout(stall);
      stall = setTimeout(() => void takeOver(), STALL_MILLIS);
    };
    const answer = () => {
      if (answered) return;
      answered = true;
      const headers = { 'content-type': head.type, 'content-length': `${head.end - head.first}`, etag: `"${head.etag}"` };
      resolve(new Response(body, { headers }));
    };
    const body = new ReadableStream(
      {
        start: (created) => void (controller = created),
        pull: () => {
          if (!over) port.postMessage({ want: 1 });
        },
        cancel,
      },
      { highWaterMark: CREDIT },
    );
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort);
    port.onmessage = ({ data }) => {
      if (data.head) {
        head = data.head;
        at = head.first;
      } else if (data.chunk) {
        answer();
        at += data.chunk.byteLength;
        controller.enqueue(data.chunk);
        watch();
      } else if (data.end) {
        answer();
        controller.close();
        end();
      } else if (data.failed) {
        if (answered) return void takeOver();
        end();
        reject(new TypeError(data.failed));
      }
    };
    port.postMessage({ want: CREDIT - 1 });
  });
}

/**
 * The bytes from `at` on by the plain network, which must be of the same whole.
 *
 * @param {(range: string) => Promise<Response>} network @param {number} at @param {any} head
 */
async function rest(network, at, head) {
  const response = await network(`bytes=${at}-${head.end - 1}`);
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (response.status !== 206 || Number(range?.[1]) !== at || Number(range?.[2]) !== head.size) {
    throw new TypeError('the origin has another version');
  }
  return /** @type {any} */ (response.body);
}
