// Fetches every file of the site except the archive, which has a button of its own, and says what came.
// Files are asked for a few at a time, the way a browser loads a page.
const TOGETHER = 6;
const button = document.querySelector('#keep');
const output = document.querySelector('#kept');

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

export async function keep(report = () => {}) {
  // What the page itself is loading is in the browser's cache then, and not asked for twice.
  if (document.readyState !== 'complete') await new Promise((done) => addEventListener('load', done, { once: true }));
  const { assets } = await (await fetch('assets.json')).json();
  const wanted = assets.filter(({ path }) => !path.startsWith('/download/'));
  const result = { files: 0, bytes: 0, wrong: [] };
  const fetchNext = async () => {
    for (let asset = wanted.shift(); asset; asset = wanted.shift()) {
      try {
        const response = await fetch(asset.path.slice(1));
        const body = await response.arrayBuffer();
        const same = hex(await crypto.subtle.digest('SHA-256', body)) === asset.sha256;
        result.files += 1;
        result.bytes += body.byteLength;
        if (!same) result.wrong.push(asset.path);
      } catch (error) {
        result.wrong.push(`${asset.path}: ${error.message}`);
      }
      report(result);
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, fetchNext));
  return result;
}

button.addEventListener('click', async () => {
  button.disabled = true;
  const say = ({ files, bytes }) => { output.textContent = `${files} files, ${(bytes / 1e6).toFixed(1)} MB`; };
  const result = await keep(say);
  if (result.wrong.length > 0) output.textContent += `; not as published: ${result.wrong.join(', ')}`;
  button.disabled = false;
});
window.keepSite = keep;
