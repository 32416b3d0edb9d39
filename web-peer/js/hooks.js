// @ts-check
/**
 * Without a service worker: the page's own `fetch`, `XMLHttpRequest` and lazy media go through the peer
 * where the manifest has what they ask for. Anything unusual is left to the browser, and whatever fails
 * here is done again by the browser.
 */

/** Where a page names what the browser is not to load by itself. */
const LAZY = 'data-bh-src';
/** How far below the fold a picture begins to load. */
const LAZY_MARGIN = '600px';
/** Of what a page has loaded, taken up at most; each costs reading and hashing. */
const SEED_FILES_MAX = 200;

/** @param {any} page @returns {() => void} takes everything back */
export function hook(page) {
  const undo = [hookFetch(page), hookXhr(page), hookLazyMedia(page)];
  return () => undo.forEach((step) => step());
}

/** @param {any} page */
function hookFetch(page) {
  // Whatever is installed now, be it the browser's or another script's, stays in the chain.
  const previous = window.fetch;
  let active = true;
  /** @type {typeof fetch} */
  const ours = function (input, init) {
    const plain = () => Reflect.apply(previous, window, [input, init]);
    if (!active) return plain();
    try {
      const request = input instanceof Request ? input : null;
      const url = new URL(request?.url ?? String(input), location.href);
      const options = { ...(request && { method: request.method, cache: request.cache, headers: request.headers, integrity: request.integrity, signal: request.signal }), ...init };
      const ordinary =
        (options.method ?? 'GET').toUpperCase() === 'GET' &&
        (options.cache ?? 'default') === 'default' &&
        !options.integrity &&
        !new Headers(options.headers).has('range');
      const ending = (/** @type {AbortSignal} */ signal) => Reflect.apply(previous, window, [input, { ...init, signal }]);
      if (ordinary && page.has(url)) return page.hedged(url.pathname, options.signal, ending);
    } catch {
      // The browser will say what is wrong with these arguments.
    }
    return plain();
  };
  window.fetch = ours;
  page.nativeFetch = previous;
  return () => {
    active = false;
    // A script that came after us may hold ours; it then only passes through.
    if (window.fetch === ours) window.fetch = previous;
  };
}

/** @param {any} page */
function hookXhr(page) {
  const prototype = XMLHttpRequest.prototype;
  const { open, send, abort, setRequestHeader } = prototype;
  let active = true;
  /** @type {WeakMap<XMLHttpRequest, { url: URL, usual: boolean, abort?: AbortController }>} */
  const requests = new WeakMap();

  const ours = {
    /** @this {XMLHttpRequest} @param {any[]} args */
    open(...args) {
      const [method, url, asynchronous = true] = args;
      requests.delete(this);
      try {
        const usual = String(method).toUpperCase() === 'GET' && asynchronous === true && args.length <= 3;
        requests.set(this, { url: new URL(url, location.href), usual });
      } catch {
        // The browser will say what is wrong with it.
      }
      return Reflect.apply(open, this, args);
    },
    /** @this {XMLHttpRequest} @param {any[]} args */
    setRequestHeader(...args) {
      const request = requests.get(this);
      if (request) request.usual = false;
      return Reflect.apply(setRequestHeader, this, args);
    },
    /** @this {XMLHttpRequest} @param {any[]} args */
    send(...args) {
      const request = requests.get(this);
      const plain = () => Reflect.apply(send, this, args);
      if (!active || !request?.usual || !page.has(request.url) || this.timeout !== 0) return plain();
      const controller = (request.abort = new AbortController());
      const finish = async () => {
        const ending = (/** @type {AbortSignal} */ signal) => page.nativeFetch.call(window, request.url, { signal });
        const response = await page.hedged(request.url.pathname, controller.signal, ending);
        const address = URL.createObjectURL(await response.blob());
        if (controller.signal.aborted) return URL.revokeObjectURL(address);
        this.addEventListener('loadend', () => URL.revokeObjectURL(address), { once: true });
        Reflect.apply(open, this, ['GET', address, true]);
        plain();
      };
      finish().catch(() => controller.signal.aborted || plain());
    },
    /** @this {XMLHttpRequest} */
    abort() {
      requests.get(this)?.abort?.abort();
      return Reflect.apply(abort, this, []);
    },
  };
  Object.assign(prototype, ours);
  return () => {
    active = false;
    for (const [name, native] of Object.entries({ open, send, abort, setRequestHeader })) {
      const at = /** @type {any} */ (prototype);
      if (at[name] === /** @type {any} */ (ours)[name]) at[name] = native;
    }
  };
}

/** Elements with `data-bh-src` get their `src` when they come near the visible part. @param {any} page */
function hookLazyMedia(page) {
  /** @type {Set<string>} */
  const addresses = new Set();
  const load = async (/** @type {any} */ element) => {
    const source = element.getAttribute(LAZY);
    element.removeAttribute(LAZY);
    const url = new URL(source, location.href);
    if (!page.has(url)) return void (element.src = source);
    try {
      const ending = (/** @type {AbortSignal} */ signal) => page.nativeFetch.call(window, url, { signal });
      const response = await page.hedged(url.pathname, null, ending);
      const address = URL.createObjectURL(await response.blob());
      addresses.add(address);
      element.addEventListener('error', () => (element.src = source), { once: true });
      element.src = address;
    } catch {
      element.src = source;
    }
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        void load(target);
      }
    },
    { rootMargin: LAZY_MARGIN },
  );
  const find = (/** @type {ParentNode} */ within) =>
    within.querySelectorAll(`[${LAZY}]`).forEach((element) => near.observe(element));
  const added = new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (!(node instanceof Element)) continue;
        if (node.hasAttribute(LAZY)) near.observe(node);
        find(node);
      }
    }
  });
  find(document);
  added.observe(document.documentElement, { childList: true, subtree: true });
  return () => {
    near.disconnect();
    added.disconnect();
    // What has not come near yet is loaded by the browser.
    document.querySelectorAll(`[${LAZY}]`).forEach((element) => {
      /** @type {any} */ (element).src = element.getAttribute(LAZY);
      element.removeAttribute(LAZY);
    });
    addresses.clear();
  };
}

/**
 * In idle moments, what the browser has loaded of the site is read again from its cache, verified, and
 * offered to others.
 *
 * @param {any} page @returns {() => void}
 */
export function seedLoaded(page) {
  let over = false;
  /** @type {string[]} */
  const waiting = [];
  const seen = new Set();
  const note = (/** @type {PerformanceEntry[]} */ entries) => {
    for (const { name } of entries) {
      const url = new URL(name, location.href);
      if (!page.has(url) || seen.has(url.pathname) || seen.size >= SEED_FILES_MAX) continue;
      seen.add(url.pathname);
      waiting.push(url.pathname);
    }
    if (waiting.length > 0) later(next);
  };
  let busy = false;
  const next = async () => {
    if (busy) return;
    busy = true;
    const path = waiting.shift();
    if (path !== undefined && !over) await page.seed(path);
    busy = false;
    if (waiting.length > 0 && !over) later(next);
  };
  const observer = new PerformanceObserver((list) => note(list.getEntries()));
  note(performance.getEntriesByType('navigation'));
  observer.observe({ type: 'resource', buffered: true });
  return () => {
    over = true;
    observer.disconnect();
  };
}

const later = (/** @type {() => void} */ work) =>
  'requestIdleCallback' in window ? requestIdleCallback(work, { timeout: 2_000 }) : setTimeout(work, 200);
