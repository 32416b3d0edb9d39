// @ts-check
/// <reference lib="webworker" />
/**
 * The dedicated worker: starts the peer's wasm and lends it what only a browser has, HTTP and the disk.
 */

/** How often the page hears how things stand. */
const STATUS_MILLIS = 250;
/** How often a newer manifest is asked for. */
const REFRESH_MILLIS = 60_000;
/** Marks our own requests for the site's service worker, which then leaves them alone. */
const DIRECT = 'x-blackhole-direct';

/** @type {any} */
let peer = null;
/** @type {any} */
let disk;
/** @type {any} what keeps shards for others, where the visitor has agreed to that */
let shelf = null;
/** @type {Promise<any> | null} the same while it opens: only one can have the files */
let opening = null;
let told = '';

const host = {
  /** The leading tab's disk, or undefined. */
  get disk() {
    return disk;
  },
  /** @param {object} event */
  tell: (event) => postMessage(event),
  /** A stream about extra shards. @param {any} stream @param {Uint8Array} supernode its key */
  shards: (stream, supernode) => (shelf === null ? stream.free() : shelf.serve(stream, supernode)),
  /**
   * @param {string} url @param {number} first @param {number} end negative: to the end
   * @param {string} cache as `fetch` has it, or `kept`: where the network fails, what the browser has, however old
   */
  open(url, first, end, cache) {
    const abort = new AbortController();
    const sameOrigin = new URL(url).origin === self.location.origin;
    /** @type {Record<string, string>} */
    const headers = sameOrigin ? { [DIRECT]: '1' } : {};
    if (first > 0 || end >= 0) headers.range = `bytes=${first}-${end >= 0 ? end - 1 : ''}`;
    const kept = cache === 'kept';
    /** @type {RequestInit} */
    const init = { headers, cache: kept ? 'default' : /** @type {RequestCache} */ (cache), signal: abort.signal, credentials: sameOrigin ? 'same-origin' : 'omit' };
    const cached = cache === 'only-if-cached';
    if (cached) init.mode = 'same-origin';
    /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
    let reader;
    const body = {
      status: 0,
      first: 0,
      opened: async () => {
        const asked = fetch(url, init);
        const response = await (kept ? asked.catch(() => fetch(url, { ...init, cache: 'force-cache' })) : asked).catch((error) => {
          throw cached ? 'not-cached' : error.name === 'TypeError' ? 'unreachable' : error.name;
        });
        reader = response.body?.getReader();
        body.status = response.status;
        body.first = Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] ?? 0);
      },
      next: async () => {
        const read = await reader?.read().catch(() => {
          throw 'connection-lost';
        });
        return read?.value;
      },
      /** Before the head has come, too. */
      cancel: () => abort.abort(),
    };
    return body;
  },
};

/** @type {Record<string, (message: any) => any>} */
const commands = {
  async start({ glue, disk: diskUrl, wasm, config, rtcPort }) {
    try {
      const [{ default: init, TabPeer }, { lead }] = await Promise.all([import(glue), import(diskUrl)]);
      await init({ module_or_path: wasm });
      const led = await lead();
      disk = led.disk;
      if (led.reason) postMessage({ event: 'reason', reason: led.reason });
      peer = await TabPeer.start(host, config, rtcPort);
    } catch (error) {
      postMessage({ event: 'refused', reason: typeof error === 'string' ? error : `worker: ${error}` });
      return;
    }
    postMessage({ event: 'started', paths: peer.paths() });
    setInterval(note, STATUS_MILLIS);
    setInterval(refresh, REFRESH_MILLIS);
    note();
  },
  async answer({ path, first, end, plays, loaded, port }) {
    // What the browser has in its own cache costs nobody anything.
    if (loaded) await peer?.seed(path);
    if (peer === null) port.close();
    else peer.answer(path, first, end, plays, port);
  },
  seed: ({ path }) => peer?.seed(path),
  visible({ visible }) {
    if (!visible) peer?.flush();
  },
  /** Who is paid for what is given from now on: an account as text, or null. */
  earnTo: ({ account }) => peer?.earn_to(Uint8Array.from(account?.match(/[0-9a-f]{2}/gi) ?? [], (digits) => parseInt(digits, 16))),
  /** Keeps shards from now on; answers why not, if so. */
  async keep({ script, ...from }) {
    if (disk === undefined) return 'not-leading';
    try {
      opening ??= import(script).then(({ Shelf }) => Shelf.open({ ...from, secret: disk.secret, peer }));
      shelf = await opening;
    } catch (error) {
      opening = null;
      return `${/** @type {Error} */ (error)?.name ?? error}`;
    }
  },
  /** Keeps none any more, and deletes those that are there. */
  async letGo() {
    const ended = await opening?.catch(() => null);
    opening = shelf = null;
    await ended?.end();
  },
  stop() {
    peer?.stop();
    disk?.close();
    self.close();
  },
};

onmessage = async ({ data }) => {
  const value = await commands[data.command]?.(data);
  if (data.call !== undefined) postMessage({ event: 'answer', call: data.call, value });
};

function note() {
  const status = peer.status();
  if (shelf !== null) status.kept = shelf.look(status.supernodes);
  const text = JSON.stringify(status, (_, value) => (value instanceof Set ? [...value] : value));
  if (text === told) return;
  told = text;
  postMessage({ event: 'status', status: JSON.parse(text) });
}

async function refresh() {
  if (await peer.refresh()) postMessage({ event: 'paths', paths: peer.paths() });
}
