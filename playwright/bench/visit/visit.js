// What a visitor waits for on this page: its load event and the files that its scripts fetch, in two stages. In
// the first a tab has hardly begun, in the second it runs. The visitor's pause between them is not counted.
const TOGETHER = 6;
const PAUSE_MS = new URLSearchParams(location.search).get('pause') ?? 2_000;

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

async function fetchAll(assets, result) {
  const waiting = [...assets];
  window.progress = { stage: (window.progress?.stage ?? 0) + 1, done: 0, of: assets.length };
  const fetchNext = async () => {
    for (let asset = waiting.shift(); asset; asset = waiting.shift()) {
      try {
        const body = await (await fetch(asset.path.slice(1))).arrayBuffer();
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

async function visit() {
  const result = { files: 0, wrong: [], bodies: [] };
  if (document.readyState !== 'complete') await new Promise((done) => addEventListener('load', done, { once: true }));
  result.loadMs = performance.now();
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
