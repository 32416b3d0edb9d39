// @ts-check
/**
 * What the publisher's tag fetches once the page has loaded. It decides whether this visit takes part at
 * all, and only then fetches the rest; each file is refused unless it is byte for byte what this loader
 * was built with, so whoever serves the files cannot alter them.
 *
 * The tag is the one line of `tag.js`, pasted into the page: it asks by `fetch`, which no load event waits
 * for, however silent the supernode is. A tag with `src` works too, and makes the load event wait for us.
 *
 * Promises: never throws to the page, never blocks it, and where anything is missing the site works as
 * if this script were not there; `blackhole.status().reasons` says by name what was missing.
 */
(() => {
  'use strict';

  /** @type {Record<string, string>} file name to `sha256-…`; filled in when the tab is built */
  const FILES = /* @files */ {};
  /** Below this charge, unplugged, a visitor's battery is theirs alone. */
  const BATTERY_MIN = 0.2;
  const CONSENT_KEY = 'blackhole:consent';
  /** How many bytes the visitor lets be kept for others; without it, none. */
  const KEEP_KEY = 'blackhole:keep';
  /** Whose account is paid for what this visitor's tabs give here; without it, nobody's. */
  const EARN_KEY = 'blackhole:earn-to';
  /** Asked for only by those who agreed to keep shards. */
  const OF_SHELF = 'shelf';
  /** And by those who name an account. */
  const OF_ACCOUNTS = 'account.js';
  /** How long an idle moment is waited for on a busy page. */
  const IDLE_MILLIS_MAX = 3_000;
  /** A page that has loaded nothing for this long has its line free for us. */
  const QUIET_MILLIS = 400;
  /** Some pages are never quiet. */
  const QUIET_MILLIS_MAX = 3_000;
  /** The smallest module there is: magic and version. */
  const EMPTY_WASM = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

  // A script that was fetched and imported is nobody's current script.
  const tag = /** @type {HTMLScriptElement | null} */ (document.currentScript ?? document.querySelector('script[data-loader]'));
  if (tag === null || 'blackhole' in window) return;
  const data = tag.dataset;
  const src = data.loader ?? tag.src;
  const base = src.slice(0, src.lastIndexOf('/') + 1);
  const settings = {
    edge: base.replace(/\/blackhole\/tab\/$/, ''),
    publisher: data.publisher ?? '',
    site: data.site ?? location.host,
    minDelegation: Number(data.minDelegation ?? 0),
    policy: ['ask', 'on', 'off'].includes(data.consent ?? '') ? data.consent : 'ask',
    serviceWorker: data.sw,
    localNetwork: data.localNetwork !== undefined,
    // Who tells a tab its address as others see it; the supernode, where nobody else is named.
    iceServers: (data.stun ?? '').split(/[\s,]+/).filter(Boolean).map((server) => ({ urls: `stun:${server}` })),
    uploadBytes: Number(data.uploadMb ?? 200) * 1e6,
    // What visitors are asked to keep for others; without the attribute nobody is asked.
    keepBytes: Math.max(Number(data.keepMb ?? 0) * 1e6, 0) || 0,
  };

  /** @type {Set<string>} */
  const reasons = new Set();
  /** @type {any} what page.js gives once it runs */
  let page = null;
  let starting = false;

  /** @param {string} name @param {unknown} [detail] */
  const emit = (name, detail) => window.dispatchEvent(new CustomEvent(`blackhole:${name}`, { detail }));

  /** @param {string} reason */
  const note = (reason) => {
    if (reasons.has(reason) || reasons.size >= 32) return;
    reasons.add(reason);
    emit('reason', reason);
  };

  const consent = {
    /** @returns {'on' | 'off' | 'unasked'} */
    get() {
      try {
        const kept = localStorage.getItem(CONSENT_KEY);
        if (kept === 'on' || kept === 'off') return kept;
      } catch {
        // Storage is denied: the policy alone decides, every time.
      }
      return settings.policy === 'on' ? 'on' : settings.policy === 'off' ? 'off' : 'unasked';
    },
    /** @param {'on' | 'off'} choice */
    set(choice) {
      try {
        localStorage.setItem(CONSENT_KEY, choice);
      } catch {
        // Then it holds for this page.
      }
      emit('consent', choice);
    },
    /** What may be kept for others: what the visitor agreed to, and no more than the publisher wants. */
    keeps() {
      try {
        return Math.min(Number(localStorage.getItem(KEEP_KEY) ?? 0) || 0, settings.keepBytes);
      } catch {
        return 0;
      }
    },
    /** @param {number} bytes none: the visitor wants none, or no more */
    keep(bytes) {
      try {
        if (bytes > 0) localStorage.setItem(KEEP_KEY, `${bytes}`);
        else localStorage.removeItem(KEEP_KEY);
      } catch {
        // Then nothing is kept: what cannot be remembered cannot be ended elsewhere.
      }
      emit('keep', bytes);
    },
    /** @returns {string | null} whose account is paid */
    earnsTo() {
      try {
        return localStorage.getItem(EARN_KEY);
      } catch {
        return null;
      }
    },
    /** @param {string | null} account */
    earnTo(account) {
      try {
        if (account === null) localStorage.removeItem(EARN_KEY);
        else localStorage.setItem(EARN_KEY, account);
      } catch {
        // Then nobody is paid: what cannot be remembered cannot be taken back elsewhere.
      }
      emit('earn', account);
    },
  };

  /** @type {Map<string, Promise<Response>>} asked for before they are needed */
  const early = new Map();

  /** @param {string} name @returns {Promise<Response>} */
  const ask = async (name) => {
    const integrity = FILES[name];
    if (integrity === undefined) throw new Error(`not-built: ${name}`);
    const version = encodeURIComponent(integrity.replace('sha256-', ''));
    const response = await fetch(`${base}${name}?v=${version}`, { integrity, mode: 'cors', credentials: 'omit', priority: 'low' });
    if (!response.ok) throw new Error(`http-${response.status}: ${name}`);
    return response;
  };

  /** @param {string} name */
  const file = (name) => {
    const asked = early.get(name) ?? ask(name);
    early.delete(name);
    return asked;
  };

  /** A verified script under an address that workers and `import` accept from a foreign origin. */
  const scriptUrl = async (/** @type {string} */ name) => {
    const text = await (await file(name)).text();
    return URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  };

  const module = async (/** @type {string} */ name) => {
    const url = await scriptUrl(name);
    try {
      return await import(url);
    } finally {
      URL.revokeObjectURL(url);
    }
  };

  /** Why this browser, or this visitor's situation, had better be left alone. */
  const obstacle = async () => {
    if (settings.publisher === '') return 'no-publisher';
    if (typeof WebAssembly !== 'object') return 'no-wasm';
    try {
      new WebAssembly.Module(EMPTY_WASM);
    } catch {
      return 'wasm-blocked';
    }
    if (typeof Worker !== 'function') return 'no-worker';
    if (typeof RTCPeerConnection !== 'function') return 'no-webrtc';
    const connection = /** @type {any} */ (navigator).connection;
    if (connection?.saveData) return 'save-data';
    if (connection?.type === 'cellular') return 'cellular';
    const battery = await /** @type {any} */ (navigator).getBattery?.().catch(() => null);
    if (battery && !battery.charging && battery.level < BATTERY_MIN) return 'low-battery';
    return null;
  };

  const begin = async () => {
    if (starting || page !== null) return;
    starting = true;
    try {
      const found = await obstacle();
      if (found !== null) return note(found);
      // All at once: what is asked for one after the other costs a round trip each.
      if (consent.get() === 'on') {
        for (const name of Object.keys(FILES)) {
          if ((name.startsWith(OF_SHELF) && consent.keeps() === 0) || name === OF_ACCOUNTS) continue;
          const asked = ask(name);
          // Whoever needs it hears of it.
          asked.catch(() => {});
          early.set(name, asked);
        }
      }
      const { open } = await module('page.js');
      page = await open({ settings, consent, reasons, note, emit, file, scriptUrl, module });
    } catch (error) {
      note(`loader: ${/** @type {Error} */ (error)?.message ?? error}`);
    } finally {
      starting = false;
    }
  };

  const api = {
    /** How things stand, at once and without cost. */
    status: () =>
      page?.status() ?? {
        mode: 'off',
        running: false,
        consent: consent.get(),
        bytes: { http: 0, edge: 0, origin: 0, peers: 0, cache: 0, uploaded: 0, wasted: 0 },
        peers: 0,
        known: 0,
        reachable: false,
        kept: { allowed: consent.keeps(), bytes: 0, quota: 0, shards: 0, proofs: 0, provedAt: 0, lost: 0, forgeries: 0 },
        earned: { account: consent.earnsTo(), earned: '0', due: '0', claimable: '0' },
        site: settings.site,
        sequence: 0,
        reasons: [...reasons],
      },
    /** Like `fetch`, from peers where possible. @param {string | URL} url @param {RequestInit} [init] */
    fetch: (url, init) => (page === null ? window.fetch(url, init) : page.fetch(url, init)),
    /** Takes part from now on; call it only with the visitor's consent. */
    start: async () => {
      consent.set('on');
      await begin();
      await page?.start();
    },
    /** Ends all connections and transfers now, and deletes what was kept for others; the choice is remembered. */
    stop: () => {
      consent.set('off');
      consent.keep(0);
      page?.stop();
      return page?.letGo();
    },
    /** Keeps pieces of others' files from now on, up to what the tag says; call it only with the visitor's consent. */
    keep: async () => {
      consent.keep(settings.keepBytes);
      await page?.keep();
    },
    /** Keeps none any more, and deletes those that are there; the choice is remembered. */
    letGo: async () => {
      consent.keep(0);
      await page?.letGo();
    },
    /**
     * Has what this visitor's tabs give here paid to an account, `0x…`; null: to nobody any more. Call it only with the
     * visitor's own word. Rejects what is no account.
     * @param {string | null} account
     */
    earnTo: async (account) => {
      if (account !== null && !(await module(OF_ACCOUNTS)).isAccount(account)) {
        throw new TypeError('an account is 0x and 40 hexadecimal digits, whose capitals are a checksum (EIP-55)');
      }
      consent.earnTo(account);
      page?.earnTo();
    },
    /** @param {string} name @param {(detail: any) => void} listener @returns {() => void} */
    on: (name, listener) => {
      const heard = (/** @type {any} */ event) => listener(event.detail);
      window.addEventListener(`blackhole:${name}`, heard);
      return () => window.removeEventListener(`blackhole:${name}`, heard);
    },
  };
  Object.defineProperty(window, 'blackhole', { value: Object.freeze(api) });
  emit('ready');

  // The visitor may have stopped in another window of the site.
  window.addEventListener('storage', ({ key, newValue }) => {
    if (key === CONSENT_KEY && newValue === 'off') page?.stop();
    if (key === KEEP_KEY && newValue === null) page?.letGo();
    if (key === EARN_KEY) page?.earnTo();
  });
  if (consent.get() === 'off') return note('consent-off');
  const whenQuiet = () => {
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const over = () => {
      loads.disconnect();
      clearTimeout(timer);
      clearTimeout(limit);
      void begin();
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(over, QUIET_MILLIS);
    };
    const limit = setTimeout(over, QUIET_MILLIS_MAX);
    const loads = new PerformanceObserver(wait);
    loads.observe({ type: 'resource' });
    wait();
  };
  const whenIdle = () =>
    'requestIdleCallback' in window ? requestIdleCallback(whenQuiet, { timeout: IDLE_MILLIS_MAX }) : whenQuiet();
  // Under our service worker the files are in the browser's cache and the page's own requests can profit.
  if (navigator.serviceWorker?.controller && consent.get() === 'on') void begin();
  else if (document.readyState === 'complete') whenIdle();
  else window.addEventListener('load', whenIdle, { once: true });
})();
