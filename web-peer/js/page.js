// @ts-check
/**
 * The page's part: asks the visitor, starts the worker, hosts WebRTC for it, and lends it the page's
 * requests. It moves no payload: ports lead from whoever asks to the worker.
 */

const SEQUENCE_KEY = 'blackhole:sequence:';
/** What the cache may take of a visitor's disk. */
const CACHE_BYTES = 256 * 1024 * 1024;
/** A worker that is told to end may write its journal; then it is ended. */
const FAREWELL_MILLIS = 200;
/** Below this charge, unplugged, a visitor's battery is theirs alone. */
const BATTERY_MIN = 0.2;
/** Marks our own requests for the site's service worker, which then leaves them alone. */
const DIRECT = 'x-blackhole-direct';
/** How often it is asked what was earned: a bill takes some seconds, and a visitor looks seldom. */
const EARNED_MILLIS = 15_000;
/** A worker that has not started by then will not. */
const START_MILLIS_MAX = 30_000;

/**
 * @param {any} context the loader's hands: settings, consent, note, emit, file, scriptUrl, module
 */
export async function open(context) {
  const { consent, module } = context;
  const { Meter } = await module('meter.js');
  const page = new Page(context, Meter);
  if (consent.get() === 'unasked') page.ask();
  else if (consent.get() === 'on') await page.start();
  return page;
}

class Page {
  /** @type {Worker | null} */
  #worker = null;
  /** @type {any} */
  #meter = null;
  /** @type {any} what the worker last said of itself */
  #report = null;
  /** What the supernode last said of the visitor's account. */
  #earned = { earned: '0', due: '0', claimable: '0' };
  #paths = new Set();
  /** @type {Set<any>} answers that still expect something of the worker */
  #open = new Set();
  /** @type {(() => void)[]} what `stop` has to undo */
  #undo = [];
  /** @type {Map<number, (value: any) => void>} */
  #calls = new Map();
  #next = 0;
  /** @type {{ close: () => void } | null} */
  #rtc = null;
  #mode = 'off';
  /** @type {Promise<void> | null} */
  #starting = null;
  /** When the last worker is gone. @type {Promise<void>} */
  #ended = Promise.resolve();

  /** @param {any} context @param {any} Meter */
  constructor(context, Meter) {
    this.context = context;
    this.Meter = Meter;
    this.nativeFetch = window.fetch;
  }

  status() {
    const { consent, reasons, settings } = this.context;
    const report = this.#report;
    return {
      mode: this.#mode,
      running: report !== null,
      consent: consent.get(),
      bytes: report?.bytes ?? { http: 0, edge: 0, origin: 0, peers: 0, cache: 0, uploaded: 0, wasted: 0 },
      peers: report?.peers ?? 0,
      known: report?.known ?? 0,
      reachable: report?.reachable ?? false,
      supernodes: report?.supernodes ?? 0,
      peerId: report?.peerId ?? '',
      leader: report?.leader ?? false,
      stored: report?.storedBytes ?? 0,
      complete: report?.complete ?? 0,
      kept: { allowed: consent.keeps(), ...(report?.kept ?? { bytes: 0, quota: 0, shards: 0, proofs: 0, provedAt: 0, lost: 0, forgeries: 0 }) },
      earned: { account: consent.earnsTo(), ...this.#earned },
      site: settings.site,
      sequence: report?.sequence ?? 0,
      reasons: [...new Set([...reasons, ...(report?.reasons ?? [])])],
    };
  }

  /** Shows the question; nothing is fetched or connected before the answer. */
  ask() {
    const { consent } = this.context;
    this.#meter ??= new this.Meter(this);
    this.#meter.ask(
      (/** @type {boolean} */ keeps) => {
        consent.set('on');
        if (keeps) consent.keep(this.context.settings.keepBytes);
        void this.start();
      },
      () => {
        consent.set('off');
        this.stop();
      },
    );
  }

  /** @returns {Promise<void>} */
  start() {
    if (this.#worker !== null) return Promise.resolve();
    this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #start() {
    try {
      await this.#startWorker();
      await this.#takeRequests();
      this.#meter ??= new this.Meter(this);
      this.#meter.show();
      this.context.emit('started', this.status());
      const earned = setInterval(() => void this.#askEarned(), EARNED_MILLIS);
      this.#undo.push(() => clearInterval(earned));
      this.earnTo();
      void this.keep();
    } catch (error) {
      this.context.note(/** @type {Error} */ (error)?.message ?? `${error}`);
      this.stop();
    }
  }

  stop() {
    for (const undo of this.#undo.splice(0)) undo();
    const worker = this.#worker;
    this.#worker = null;
    if (worker !== null) {
      worker.postMessage({ command: 'stop' });
      this.#ended = new Promise((resolve) => setTimeout(() => resolve(worker.terminate()), FAREWELL_MILLIS));
    }
    for (const answer of this.#open) answer.workerEnded('stopped');
    for (const resolve of this.#calls.values()) resolve(undefined);
    this.#calls.clear();
    this.#report = null;
    this.#paths = new Set();
    this.#mode = 'off';
    this.#meter?.close();
    this.#meter = null;
    this.context.emit('stopped');
  }

  /** Keeps pieces for others, where the visitor agreed to that. */
  async keep() {
    const { consent, file, scriptUrl, note } = this.context;
    const allowed = consent.keeps();
    if (this.#worker === null || allowed === 0) return;
    /** @type {string[]} */
    let urls = [];
    try {
      const [script, glue, files, wasm] = await Promise.all([
        scriptUrl('shelf-worker.js'),
        scriptUrl('shelf.js'),
        scriptUrl('shelf-disk.js'),
        file('shelf_bg.wasm').then((/** @type {Response} */ response) => response.arrayBuffer()),
      ]);
      urls = [script, glue, files];
      const reason = await this.#call('keep', { script, glue, files, wasm, allowed }, [wasm]);
      if (reason !== undefined) note(`keep: ${reason}`);
      // Whoever changed their mind meanwhile.
      if (consent.keeps() === 0) await this.letGo();
    } catch (error) {
      note(`keep: ${/** @type {Error} */ (error)?.message ?? error}`);
    } finally {
      urls.forEach((url) => URL.revokeObjectURL(url));
    }
  }

  /** Keeps none any more, and deletes those that are there. */
  async letGo() {
    if (this.#worker !== null) await this.#call('letGo');
    else {
      // Whatever a worker that is ending has left there.
      await this.#ended;
      const { clearShelf } = await this.context.module('shelf-disk.js');
      await clearShelf().catch((/** @type {Error} */ error) => this.context.note(`keep: ${error.name}`));
    }
    this.#meter?.update(this.status());
  }

  /** The visitor named an account, or none any more. */
  earnTo() {
    this.#worker?.postMessage({ command: 'earnTo', account: this.context.consent.earnsTo() });
    this.#earned = { earned: '0', due: '0', claimable: '0' };
    void this.#askEarned();
  }

  /** Asks the supernode how the visitor's account stands. Whoever named none is not asked about. */
  async #askEarned() {
    const { consent, settings } = this.context;
    const account = consent.earnsTo();
    if (account !== null) {
      try {
        const answer = await this.nativeFetch.call(window, `${settings.edge}/blackhole/v1/earners/${account}`, { credentials: 'omit' });
        if (!answer.ok) throw new Error(`http-${answer.status}`);
        const { earned, due, payouts } = await answer.json();
        const open = payouts.filter((/** @type {any} */ { expires }) => expires !== null);
        const claimable = open.reduce((/** @type {bigint} */ sum, /** @type {any} */ { shares }) => sum + BigInt(shares[0].amount), 0n);
        if (account === consent.earnsTo()) this.#earned = { earned, due, claimable: `${claimable}` };
      } catch (error) {
        this.context.note(`earned: ${/** @type {Error} */ (error)?.message ?? error}`);
      }
    }
    this.#meter?.update(this.status());
  }

  /**
   * The bytes of a path from the worker, with the plain network behind it; see `answers.js`.
   *
   * @param {string} path @param {AbortSignal | null | undefined} signal
   * @param {(signal: AbortSignal) => Promise<Response>} plain
   * @returns {Promise<Response>}
   */
  async hedged(path, signal, plain) {
    const worker = this.#worker;
    if (worker === null) return plain(signal ?? new AbortController().signal);
    const { port1, port2 } = new MessageChannel();
    const loaded = performance.getEntriesByName(new URL(path, location.href).href, 'resource').length > 0;
    worker.postMessage({ command: 'answer', path, first: 0, end: -1, plays: false, loaded, port: port2 }, [port2]);
    const rest = (/** @type {string} */ range, /** @type {AbortSignal} */ signal) =>
      this.nativeFetch.call(window, path, { headers: { range, [DIRECT]: '1' }, signal });
    const left = () => this.#open.delete(answer);
    const answer = new this.answers.Answer(port1, { plain, rest }, { signal, left });
    this.#open.add(answer);
    return answer.respond();
  }

  /** Whether the manifest has what this request asks for. @param {URL} url */
  has(url) {
    return url.origin === location.origin && url.search === '' && this.#paths.has(url.pathname);
  }

  /** @param {string | URL} input @param {RequestInit} [init] */
  async fetch(input, init) {
    const url = new URL(input, location.href);
    const ours = this.has(url) && (init?.method ?? 'GET') === 'GET';
    if (!ours) return this.nativeFetch.call(window, input, init);
    const plain = (/** @type {AbortSignal} */ signal) => this.nativeFetch.call(window, input, { ...init, signal });
    return this.hedged(url.pathname, init?.signal, plain);
  }

  /** Tells the worker to take up what the browser has of this path. @param {string} path */
  seed(path) {
    return this.#call('seed', { path });
  }

  /** @param {string} command @param {object} [message] @param {Transferable[]} [transfer] */
  #call(command, message = {}, transfer = []) {
    return new Promise((resolve) => {
      if (this.#worker === null) return resolve(undefined);
      this.#next += 1;
      this.#calls.set(this.#next, resolve);
      this.#worker.postMessage({ command, call: this.#next, ...message }, transfer);
    });
  }

  async #startWorker() {
    const { settings, file, scriptUrl, module, note } = this.context;
    const [script, glue, disk, wasm, rtc, answers] = await Promise.all([
      scriptUrl('worker.js'),
      scriptUrl('peer.js'),
      scriptUrl('disk.js'),
      file('peer_bg.wasm').then((/** @type {Response} */ response) => response.arrayBuffer()),
      module('rtc-page.js'),
      module('answers.js'),
    ]);
    this.answers = answers;
    const urls = [script, glue, disk];
    const worker = new Worker(script, { type: 'module', name: 'blackhole' });
    this.#worker = worker;
    const { port1, port2 } = new MessageChannel();
    const served = this.#rtc = rtc.serveRtc(port1, { localNetwork: settings.localNetwork, iceServers: settings.iceServers });
    this.#undo.push(() => served.close());

    const key = SEQUENCE_KEY + settings.site;
    const config = {
      edge: settings.edge,
      origin: location.origin,
      publisher: settings.publisher,
      site: settings.site,
      minDelegation: settings.minDelegation,
      seen: Number(read(key) ?? 0),
      cacheBytes: CACHE_BYTES,
      uploadBytes: settings.uploadBytes,
    };
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('worker-timeout')), START_MILLIS_MAX);
      const refuse = (/** @type {string} */ reason) => {
        clearTimeout(timer);
        reject(new Error(reason));
      };
      worker.onerror = (event) => {
        event.preventDefault?.();
        refuse(event.message ? `worker: ${event.message}` : 'worker-blocked');
        if (this.#worker === worker && this.#report !== null) this.stop();
      };
      worker.onmessage = ({ data }) => {
        switch (data.event) {
          case 'started':
            clearTimeout(timer);
            this.#paths = new Set(data.paths);
            return resolve(undefined);
          case 'refused':
            return refuse(data.reason);
          case 'status':
            this.#report = data.status;
            this.#meter?.update(this.status());
            return this.context.emit('status', this.status());
          case 'manifest':
            return keep(key, `${data.sequence}`);
          case 'paths':
            this.#paths = new Set(data.paths);
            return;
          case 'reason':
            return note(data.reason);
          case 'answer':
            this.#calls.get(data.call)?.(data.value);
            this.#calls.delete(data.call);
        }
      };
      worker.postMessage({ command: 'start', glue, disk, wasm, config, rtcPort: port2 }, [wasm, port2]);
    }).finally(() => urls.forEach((url) => URL.revokeObjectURL(url)));
    this.#watchVisitor();
  }

  /** Hidden tabs write down what they have; a visitor who goes to a metered network is left alone. */
  #watchVisitor() {
    const { note } = this.context;
    const tell = () =>
      this.#worker?.postMessage({ command: 'visible', visible: document.visibilityState === 'visible' });
    document.addEventListener('visibilitychange', tell);
    this.#undo.push(() => document.removeEventListener('visibilitychange', tell));
    const hide = () => {
      this.#worker?.postMessage({ command: 'visible', visible: false });
      // A page with connections is not kept for a return: others hear that it has gone now, and not by silence.
      this.#rtc?.close();
    };
    window.addEventListener('pagehide', hide);
    this.#undo.push(() => window.removeEventListener('pagehide', hide));

    const connection = /** @type {any} */ (navigator).connection;
    const metered = () => {
      const reason = connection?.saveData ? 'save-data' : connection?.type === 'cellular' ? 'cellular' : null;
      if (reason === null) return;
      note(reason);
      this.stop();
    };
    connection?.addEventListener?.('change', metered);
    this.#undo.push(() => connection?.removeEventListener?.('change', metered));

    const battery = /** @type {any} */ (navigator).getBattery?.();
    battery?.then((/** @type {any} */ battery) => {
      const drained = () => {
        if (battery.charging || battery.level >= BATTERY_MIN) return;
        note('low-battery');
        this.stop();
      };
      battery.addEventListener('levelchange', drained);
      this.#undo.push(() => battery.removeEventListener('levelchange', drained));
    }, () => {});
  }

  async #takeRequests() {
    const { settings, module, note } = this.context;
    const { attend } = await module('serve-worker.js');
    const controlled = await attend(settings.serviceWorker, note, {
      paths: () => this.#paths,
      forward: (/** @type {any} */ message, /** @type {MessagePort} */ port) => {
        if (this.#worker === null) return port.close();
        this.#worker.postMessage({ command: 'answer', ...message, port }, [port]);
      },
      undo: this.#undo,
    });
    this.#mode = controlled ? 'service-worker' : 'page';
    const { hook, seedLoaded } = await module('hooks.js');
    if (!controlled) this.#undo.push(hook(this));
    this.#undo.push(seedLoaded(this));
  }
}

/** @param {string} key */
function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then an older manifest is noticed within this visit only.
  }
}
