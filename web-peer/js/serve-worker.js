// @ts-check
/**
 * The page's side of the service worker: registers it for the next visit, and where it controls this
 * one, tells it what can be asked here and forwards what it asks.
 */

/**
 * @param {string | undefined} path where the publisher has put `sw.js`
 * @param {(reason: string) => void} note
 * @param {{ paths: () => Set<string>, forward: (message: object, port: MessagePort) => void, undo: (() => void)[] }} page
 * @returns {Promise<boolean>} whether this visit is served by it
 */
export async function attend(path, note, page) {
  if (path === undefined) return false;
  const container = navigator.serviceWorker;
  if (container === undefined) {
    note('no-service-worker');
    return false;
  }
  const script = new URL(path, location.href).href;
  try {
    const present = await container.getRegistration(location.href);
    const active = present?.active ?? present?.waiting ?? present?.installing;
    if (active && active.scriptURL !== script) {
      note('other-service-worker');
      return false;
    }
    if (!active) await container.register(script);
  } catch (error) {
    note(`service-worker: ${/** @type {Error} */ (error).name}`);
    return false;
  }
  const controller = container.controller;
  if (controller === null || controller.scriptURL !== script) return false;

  const announce = () => container.controller?.postMessage({ blackhole: 'here', paths: [...page.paths()] });
  const heard = (/** @type {MessageEvent} */ { data, ports }) => {
    if (data?.blackhole === 'who') announce();
    else if (data?.blackhole === 'ask' && ports[0]) {
      page.forward({ path: data.path, first: data.first, end: data.end, plays: data.plays }, ports[0]);
    }
  };
  container.addEventListener('message', heard);
  container.startMessages();
  announce();
  page.undo.push(() => {
    container.removeEventListener('message', heard);
    container.controller?.postMessage({ blackhole: 'gone' });
  });
  return true;
}
