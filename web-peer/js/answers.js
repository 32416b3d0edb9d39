// @ts-check
/** The asking end of a port that the worker answers on: a `Response` fed by credit. */

/** Chunks of 256 KiB that may be under way; a consumer that pauses is never sent more. */
const CREDIT = 8;

/**
 * Resolves with the first bytes, so that whoever waits may still go elsewhere until then.
 *
 * @param {MessagePort} port @param {AbortSignal | null} [signal] @returns {Promise<Response>}
 */
export function answerOf(port, signal) {
  return new Promise((resolve, reject) => {
    /** @type {any} */
    let head = null;
    /** @type {ReadableStreamDefaultController<Uint8Array>} */
    let controller;
    let answered = false;

    const end = () => {
      port.onmessage = null;
      port.close();
      signal?.removeEventListener('abort', abort);
    };
    const fail = (/** @type {unknown} */ error) => {
      end();
      if (answered) controller.error(error);
      else reject(error);
    };
    const cancel = () => {
      port.postMessage({ cancel: true });
      end();
    };
    const abort = () => {
      port.postMessage({ cancel: true });
      fail(signal?.reason);
    };
    const body = new ReadableStream(
      {
        start: (created) => void (controller = created),
        pull: () => port.postMessage({ want: 1 }),
        cancel,
      },
      { highWaterMark: CREDIT },
    );
    const answer = () => {
      if (answered) return;
      answered = true;
      const headers = { 'content-type': head.type, 'content-length': `${head.end - head.first}`, etag: `"${head.etag}"` };
      resolve(new Response(body, { headers }));
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort);
    port.onmessage = ({ data }) => {
      if (data.head) head = data.head;
      else if (data.chunk) {
        answer();
        controller.enqueue(data.chunk);
      } else if (data.end) {
        answer();
        controller.close();
        end();
      } else if (data.failed) fail(new TypeError(data.failed));
    };
    port.postMessage({ want: CREDIT - 1 });
  });
}
