// The demonstration site by itself, from its plain web server: what everything else is compared with.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { brokenPictures, fetchAll, screenshot, scrollThrough, site, startBrowser } from '../rig/browser.mjs';
import { startOrigin } from '../servers/origin.mjs';

let browser;
let origin;
before(async () => {
  origin = await startOrigin({ root: site });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await origin?.close();
});

test('the page is whole: pictures, film, wasm, data', async () => {
  const { page, errors, close } = await browser.visitor();
  await page.goto(origin.url);
  await scrollThrough(page);
  assert.equal(await page.evaluate(() => window.atlasReady), true);
  await page.evaluate(() => window.countriesReady);
  assert.deepEqual(await brokenPictures(page), []);
  assert.equal(await page.locator('#figures tbody tr').count(), 10);
  await page.waitForFunction(() => document.querySelector('video').videoWidth > 0);
  await screenshot(page, 'site.direct');
  assert.deepEqual(errors, []);
  await close();
});

test('every file is as it was published, and there are enough of them', async () => {
  const { page, close } = await browser.visitor();
  await page.goto(origin.url);
  const result = await fetchAll(page);
  assert.deepEqual(result.wrong, []);
  assert.ok(result.files >= 40 && result.bytes >= 20e6, `${result.files} files, ${result.bytes} bytes`);
  await close();
});
