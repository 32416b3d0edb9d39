// The page of one of our tabs: serves RTC to its worker and forwards the test's calls.
import { serveRtc } from '/rtc-page.js';

window.startTab = async (policy) => {
  const worker = new Worker('/worker.js', { type: 'module' });
  const calls = new Map();
  let next = 0;
  const { port1, port2 } = new MessageChannel();
  const rtc = serveRtc(port1, policy);
  worker.onmessage = ({ data: { call, value, error } }) => {
    const { resolve, reject } = calls.get(call);
    calls.delete(call);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  };
  const call = (method, ...args) =>
    new Promise((resolve, reject) => {
      next += 1;
      calls.set(next, { resolve, reject });
      worker.postMessage({ call: next, method, args }, method === 'start' ? args : []);
    });
  await call('start', port2);
  window.tab = { call, rtc, worker };
};
