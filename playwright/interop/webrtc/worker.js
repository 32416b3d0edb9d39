// The worker of one of our tabs.
import init, { Tab, expectedHash } from '/pkg/web_peer.js';

let tab;
const methods = {
  async start(port) {
    await init();
    tab = new Tab(port);
  },
  expectedHash,
};

onmessage = async ({ data: { call, method, args } }) => {
  try {
    const run = methods[method] ?? tab[method].bind(tab);
    let value = await run(...args);
    if (method === 'pull') value = { millis: value.millis, hash: value.hash };
    postMessage({ call, value });
  } catch (error) {
    postMessage({ call, error: `${error?.message ?? error}` });
  }
};
