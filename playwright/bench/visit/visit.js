// What a visitor waits for on this page: its load event and the files that its scripts fetch, in two stages. In
// the first a tab has hardly begun, in the second it runs. The visitor's pause between them is not counted.
const TOGETHER = 6;
const asked = new URLSearchParams(location.search);
const PAUSE_MS = asked.get('pause') ?? 2_000;
/** Asked to, a page begins when its tab runs, or after this: before, all comes by the plain network. */
const TAB_WITHIN_MS = asked.has('tab') ? 10_000 : 0;

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** The whole body; what has come of it counts at once. */
async function bodyOf(response) {
  const chunks = [];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks).arrayBuffer();
    chunks.push(value);
    window.progress.bytes += value.length;
  }
}

async function fetchAll(assets, result) {
  const waiting = [...assets];
  window.progress = { stage: (window.progress?.stage ?? 0) + 1, done: 0, of: assets.length, bytes: 0 };
  const fetchNext = async () => {
    for (let asset = waiting.shift(); asset; asset = waiting.shift()) {
      try {
        const response = await fetch(asset.path.slice(1));
        const body = await (asked.has('tab') ? bodyOf(response) : response.arrayBuffer());
        result.files += 1;
        window.progress.done += 1;
        result.bodies.push({ asset, body });
      } catch (error) {
        result.wrong.push(`${asset.path}: ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, fetchNext));
}

async function tabRuns() {
  const isRunning = () => { const status = window.blackhole?.status(); return status?.running && status.sequence > 0; };
  while (performance.now() < TAB_WITHIN_MS && !isRunning()) await new Promise((done) => setTimeout(done, 20));
}

async function visit() {
  const result = { files: 0, wrong: [], bodies: [] };
  if (document.readyState !== 'complete') await new Promise((done) => addEventListener('load', done, { once: true }));
  result.loadMs = performance.now();
  await tabRuns();
  const { first, second } = await (await fetch('stages.json')).json();
  await fetchAll(first, result);
  result.firstMs = performance.now();
  await new Promise((done) => setTimeout(done, PAUSE_MS));
  result.tab = window.blackhole?.status() ?? null;
  const begun = performance.now();
  await fetchAll(second, result);
  result.secondMs = performance.now() - begun;
  result.waitedMs = result.firstMs + result.secondMs;
  // Comparing is the bench's, not the visitor's.
  for (const { asset, body } of result.bodies.splice(0)) {
    if (hex(await crypto.subtle.digest('SHA-256', body)) !== asset.sha256) result.wrong.push(asset.path);
  }
  delete result.bodies;
  return result;
}

window.visited = visit();
