// A site of a few megabytes, for benches that load it many times, or the demonstration's whole content: pictures in the
// page, files in two stages.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { site } from '../rig/browser.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const IN_PAGE = ['/photographs/dusk.jpg', '/photographs/grid-1.jpg', '/photographs/grid-2.jpg'];
const FIRST = ['/photographs/still-1.jpg', '/photographs/grid-3.jpg', '/photographs/grid-4.jpg', '/fonts/inter-latin.woff2', '/flags/br.svg'];
const SECOND = [
  '/earth/day.jpg', '/earth/topology.png', '/engine/sql-wasm-browser.wasm', '/photographs/still-2.jpg',
  '/photographs/grid-5.jpg', '/photographs/trail.jpg', '/fonts/fraunces-latin.woff2', '/flags/kz.svg', '/flags/sa.svg',
];

/**
 * Writes the site into a directory of its own, with all the rest in its second stage where it is `whole`; says what it
 * consists of.
 */
export function smallSite({ whole = false } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'small-site-'));
  const { assets } = JSON.parse(readFileSync(join(site, 'assets.json')));
  const isRest = ({ path }) => ![...IN_PAGE, ...FIRST, '/index.html'].includes(path) && !path.startsWith('/download/');
  // What is large first: it is under way while the small ones come.
  const rest = assets.filter(isRest).sort((one, other) => other.bytes - one.bytes).map(({ path }) => path);
  const second = whole ? rest : SECOND;
  const known = (path) => assets.find((asset) => asset.path === path) ?? (() => { throw new Error(`the site has no ${path}`); })();
  for (const path of [...IN_PAGE, ...FIRST, ...second]) {
    mkdirSync(join(directory, dirname(path)), { recursive: true });
    copyFileSync(join(site, path), join(directory, path));
  }
  const sizeOf = (paths) => paths.reduce((sum, path) => sum + known(path).bytes, 0);
  const pictures = IN_PAGE.map((path) => `<img src="${path.slice(1)}" alt="">`).join('\n');
  writeFileSync(join(directory, 'index.html'), readFileSync(join(here, 'visit/index.html'), 'utf8').replace('<!-- pictures -->', pictures));
  copyFileSync(join(here, 'visit/visit.js'), join(directory, 'visit.js'));
  writeFileSync(join(directory, 'stages.json'), JSON.stringify({ first: FIRST.map(known), second: second.map(known) }));
  return {
    directory,
    files: FIRST.length + second.length,
    bytes: sizeOf([...IN_PAGE, ...FIRST, ...second]),
    secondBytes: sizeOf(second),
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}
