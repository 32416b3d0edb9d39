// Assembles the demonstration site from the packages in package.json: pictures, fonts, a film, a database
// engine in wasm, data, an archive. Nothing of it is committed; every file comes from an exact version.
//
//   node playwright/site/assemble.mjs [DIRECTORY]      (default: target/site)
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, 'node_modules');
const target = resolve(process.argv[2] ?? join(here, '../../target/site'));

const photographs = {
  'desk.jpg': 'startbootstrap-creative/dist/assets/img/bg-masthead.jpg',
  'grid-1.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/1.jpg',
  'grid-2.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/2.jpg',
  'grid-3.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/3.jpg',
  'grid-4.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/4.jpg',
  'grid-5.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/5.jpg',
  'grid-6.jpg': 'startbootstrap-creative/dist/assets/img/portfolio/fullsize/6.jpg',
  'dusk.jpg': 'startbootstrap-grayscale/dist/assets/img/bg-masthead.jpg',
  'slope.jpg': 'startbootstrap-grayscale/dist/assets/img/bg-signup.jpg',
  'trail.jpg': 'startbootstrap-grayscale/dist/assets/img/demo-image-02.jpg',
  'lake.jpg': 'startbootstrap-grayscale/dist/assets/img/demo-image-01.jpg',
  'still-1.jpg': 'startbootstrap-stylish-portfolio/dist/assets/img/portfolio-1.jpg',
  'still-2.jpg': 'startbootstrap-stylish-portfolio/dist/assets/img/portfolio-2.jpg',
  'still-3.jpg': 'startbootstrap-stylish-portfolio/dist/assets/img/portfolio-3.jpg',
  'still-4.jpg': 'startbootstrap-stylish-portfolio/dist/assets/img/portfolio-4.jpg',
  'telephone.jpg': 'startbootstrap-clean-blog/dist/assets/img/contact-bg.jpg',
};

const earth = {
  'blue-marble.jpg': 'three-globe/example/img/earth-blue-marble.jpg',
  'night.jpg': 'three-globe/example/img/earth-night.jpg',
  'day.jpg': 'three-globe/example/img/earth-day.jpg',
  'topology.png': 'three-globe/example/img/earth-topology.png',
  'water.png': 'three-globe/example/img/earth-water.png',
};

const fonts = {
  'inter-latin.woff2': '@fontsource-variable/inter/files/inter-latin-wght-normal.woff2',
  'inter-latin-ext.woff2': '@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2',
  'inter-greek.woff2': '@fontsource-variable/inter/files/inter-greek-wght-normal.woff2',
  'fraunces-latin.woff2': '@fontsource-variable/fraunces/files/fraunces-latin-standard-normal.woff2',
  'fraunces-latin-italic.woff2': '@fontsource-variable/fraunces/files/fraunces-latin-standard-italic.woff2',
};

const film = {
  'film.mp4': 'startbootstrap-coming-soon/dist/assets/mp4/bg.mp4',
  'poster.jpg': 'startbootstrap-coming-soon/dist/assets/img/bg-mobile-fallback.jpg',
};

const engine = {
  'sql-wasm-browser.js': 'sql.js/dist/sql-wasm-browser.js',
  'sql-wasm-browser.wasm': 'sql.js/dist/sql-wasm-browser.wasm',
};

const data = { 'countries.geojson': 'three-globe/example/country-polygons/ne_110m_admin_0_countries.geojson' };

const flags = Object.fromEntries(
  ['br', 'ca', 'de', 'eg', 'fr', 'gr', 'in', 'jp', 'ke', 'mx', 'no', 'nz', 'pe', 'se', 'tr', 'za', 'cn', 'us', 'id', 'pk', 'ng', 'bd', 'ru', 'au', 'kz', 'ar', 'dz', 'cd', 'gl', 'sa']
    .map((code) => [`${code}.svg`, `flag-icons/flags/4x3/${code}.svg`]),
);

const ours = ['index.html', 'style.css', 'atlas.js', 'countries.js', 'keep.js'];

const folders = { photographs, earth, fonts, film, engine, data, flags };
const credited = Object.keys(JSON.parse(readFileSync(join(here, 'package.json'))).dependencies);

function newestInput() {
  const inputs = [fileURLToPath(import.meta.url), join(here, 'package-lock.json'), ...ours.map((name) => join(here, 'pages', name))];
  return Math.max(...inputs.map((file) => statSync(file).mtimeMs));
}

const stamp = join(target, 'assets.json');
if (existsSync(stamp) && statSync(stamp).mtimeMs > newestInput()) {
  const { count, bytes } = JSON.parse(readFileSync(stamp));
  console.log(`  unchanged: ${count} assets, ${(bytes / 1e6).toFixed(1)} MB in ${target}`);
  process.exit(0);
}

rmSync(target, { recursive: true, force: true });
for (const [folder, files] of Object.entries(folders)) {
  mkdirSync(join(target, folder), { recursive: true });
  for (const [name, source] of Object.entries(files)) copyFileSync(join(packages, source), join(target, folder, name));
}

// The archive: what a visitor takes home. Times are fixed, so that the same packages give the same bytes.
const contents = {
  'clouds.png': 'three-globe/example/clouds/clouds.png',
  'night-sky.png': 'three-globe/example/img/night-sky.png',
  'countries.geojson': data['countries.geojson'],
  'LICENSE-three-globe': 'three-globe/LICENSE',
};
const entries = Object.entries(contents).map(([name, source]) => [name, [readFileSync(join(packages, source)), { level: 6, mtime: '2026-01-01' }]]);
mkdirSync(join(target, 'download'), { recursive: true });
writeFileSync(join(target, 'download/atlas.zip'), zipSync(Object.fromEntries(entries)));

const credits = credited.map((name) => {
  const { version, license } = JSON.parse(readFileSync(join(packages, name, 'package.json')));
  return `<li><b>${name}</b> ${version} <span>${license}</span></li>`;
});
for (const name of ours) {
  const text = readFileSync(join(here, 'pages', name), 'utf8');
  writeFileSync(join(target, name), text.replace('<!-- credits -->', credits.join('\n')));
}

// What there is, with its hash: a test compares what a visitor got with this.
const assets = readdirSync(target, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && !entry.name.endsWith('.html'))
  .map((entry) => {
    const file = join(entry.parentPath ?? entry.path, entry.name);
    const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
    return { path: `/${relative(target, file).replaceAll('\\', '/')}`, bytes: statSync(file).size, sha256 };
  })
  .sort((one, other) => (one.path < other.path ? -1 : 1));
const bytes = assets.reduce((sum, asset) => sum + asset.bytes, 0);
writeFileSync(stamp, JSON.stringify({ count: assets.length, bytes, assets }, null, 1));
console.log(`  ${assets.length} assets, ${(bytes / 1e6).toFixed(1)} MB in ${target}`);
