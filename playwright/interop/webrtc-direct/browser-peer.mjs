// A js-libp2p peer in Debian's Chromium.

import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'
]

export async function exerciseInBrowser (address, options) {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('exercise.mjs', import.meta.url))],
    bundle: true,
    format: 'iife',
    globalName: 'interop',
    platform: 'browser',
    write: false
  })
  const script = bundle.outputFiles[0].text
  // WebCrypto wants a secure context: loopback is one.
  const server = createServer((request, response) => {
    const isScript = request.url === '/interop.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(isScript ? script : '<!doctype html><script src="/interop.js"></script>')
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS
  })
  try {
    const page = await browser.newPage()
    page.on('pageerror', error => console.error(String(error)))
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    return await page.evaluate(([to, how]) => globalThis.interop.exercise(to, how), [address, options])
  } finally {
    await browser.close()
    server.close()
  }
}
