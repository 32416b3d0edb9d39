// Who sent what to whom, over time: above, the rate at which bytes arrived in tabs, stacked by source; below,
// for each tab, how much it had at each moment and what it gave to others.
const WIDTH = 960;
const MARGIN = { left: 70, right: 190, top: 46, bottom: 40 };
const RATE_HEIGHT = 260;
const ROW_HEIGHT = 24;
const COLOURS = { origin: '#c0392b', supernode: '#d98e04', peers: '#1f8a70', cache: '#7a8899' };
const WORDS = { origin: 'origin', supernode: 'supernode', peers: 'other tabs', cache: 'own cache' };

const escape = (text) => String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** One outcome of the bench as an SVG. */
export function drawCrowd({ name, samples, results, offload, allDoneSeconds }, contentBytes) {
  const end = Math.max(1, ...samples.map(({ ms }) => ms));
  const inner = WIDTH - MARGIN.left - MARGIN.right;
  const x = (ms) => MARGIN.left + (ms / end) * inner;
  const rates = ratesOf(samples);
  const top = Math.max(1, ...rates.map(({ origin, supernode, peers }) => origin + supernode + peers));
  const y = (rate) => MARGIN.top + RATE_HEIGHT - (rate / top) * RATE_HEIGHT;
  const rowsTop = MARGIN.top + RATE_HEIGHT + 60;
  const height = rowsTop + results.length * ROW_HEIGHT + MARGIN.bottom;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12" fill="#1b2430">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${MARGIN.left}" y="24" font-size="17" font-weight="600">${escape(name)}: ${results.length} tabs, ${megabytes(contentBytes)} each, all done after ${allDoneSeconds.toFixed(1)} s, offload ${(offload * 100).toFixed(1)} %</text>`,
  ];
  let below = rates.map(() => 0);
  for (const source of ['origin', 'supernode', 'peers']) {
    const above = below.map((base, index) => base + rates[index][source]);
    const line = (values) => values.map((value, index) => `${x(rates[index].ms).toFixed(1)},${y(value).toFixed(1)}`);
    parts.push(`<polygon fill="${COLOURS[source]}" opacity="0.85" points="${[...line(above), ...line(below).reverse()].join(' ')}"/>`);
    below = above;
  }
  for (let step = 0; step <= 4; step += 1) {
    const rate = (top * step) / 4;
    parts.push(`<line x1="${MARGIN.left}" x2="${MARGIN.left + inner}" y1="${y(rate)}" y2="${y(rate)}" stroke="#e2ddd2"/>`,
      `<text x="${MARGIN.left - 8}" y="${y(rate) + 4}" text-anchor="end">${((rate * 8) / 1e6).toFixed(0)}</text>`);
    const ms = (end * step) / 4;
    parts.push(`<text x="${x(ms)}" y="${MARGIN.top + RATE_HEIGHT + 18}" text-anchor="middle">${(ms / 1000).toFixed(0)} s</text>`);
  }
  parts.push(`<text x="14" y="${MARGIN.top + RATE_HEIGHT / 2}" transform="rotate(-90 14 ${MARGIN.top + RATE_HEIGHT / 2})" text-anchor="middle">Mbit/s into tabs</text>`);
  Object.entries(WORDS).forEach(([source, word], index) => {
    const at = MARGIN.top + 14 + index * 22;
    parts.push(`<rect x="${WIDTH - MARGIN.right + 24}" y="${at - 11}" width="14" height="14" rx="3" fill="${COLOURS[source]}"/>`,
      `<text x="${WIDTH - MARGIN.right + 46}" y="${at}">${word}</text>`);
  });
  parts.push(`<text x="${MARGIN.left}" y="${rowsTop - 12}" font-weight="600">What each tab had received, by source, and what it gave</text>`);
  const last = samples.at(-1)?.tabs ?? [];
  results.forEach((result, tab) => {
    const at = rowsTop + tab * ROW_HEIGHT;
    const had = bySource(last[tab]) ?? { origin: result.bytes, supernode: 0, peers: 0, cache: 0 };
    const whole = Math.max(contentBytes, had.origin + had.supernode + had.peers + had.cache);
    let from = MARGIN.left;
    for (const source of Object.keys(COLOURS)) {
      const width = (had[source] / whole) * inner;
      if (width > 0.2) parts.push(`<rect x="${from}" y="${at}" width="${width}" height="${ROW_HEIGHT - 6}" fill="${COLOURS[source]}" opacity="0.85"/>`);
      from += width;
    }
    const gave = last[tab]?.uploaded ?? last[tab]?.bytes?.uploaded ?? 0;
    parts.push(`<text x="${MARGIN.left - 8}" y="${at + 13}" text-anchor="end">tab ${tab + 1}</text>`,
      `<text x="${MARGIN.left + inner + 24}" y="${at + 13}">${result.seconds.toFixed(1)} s, gave ${megabytes(gave)}</text>`);
  });
  return `${parts.join('\n')}\n</svg>\n`;
}

/** A tab's own account, whoever wrote it. */
function bySource(status) {
  if (!status) return null;
  const bytes = status.bytes ?? status;
  return { origin: bytes.http ?? 0, supernode: bytes.edge ?? 0, peers: bytes.peers ?? 0, cache: bytes.cache ?? 0 };
}

/** Bytes a second between samples: the servers' from the line itself, the tabs' from their own accounts. */
function ratesOf(samples) {
  const rates = [];
  const peersAt = ({ tabs }) => tabs.reduce((sum, tab) => sum + (bySource(tab)?.peers ?? 0), 0);
  let peersBefore = 0;
  for (let index = 1; index < samples.length; index += 1) {
    const [before, now] = [samples[index - 1], samples[index]];
    const seconds = Math.max(0.001, (now.ms - before.ms) / 1000);
    const rate = (name) => Math.max(0, (now.infrastructure[name] ?? 0) - (before.infrastructure[name] ?? 0)) / seconds;
    // A tab that did not answer this time counts next time; its bytes are not lost, only late.
    const peers = Math.max(peersBefore, peersAt(now));
    rates.push({ ms: now.ms, origin: rate('origin'), supernode: rate('supernode'), peers: (peers - peersBefore) / seconds });
    peersBefore = peers;
  }
  return rates;
}
