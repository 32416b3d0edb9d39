// Starts the Rust listener and watches what it says.

import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const EXAMPLE = 'webrtc-direct-echo'

// Builds the listener unless WEBRTC_DIRECT_LISTENER names one.
export async function startListener () {
  const binary = process.env.WEBRTC_DIRECT_LISTENER ?? build()
  const child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] })
  const listener = { stats: {}, lines: [], stop: () => child.stdin.end() }
  const address = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', code => reject(new Error(`the listener ended with ${code}`)))
    createInterface({ input: child.stdout }).on('line', line => {
      const [word, ...rest] = line.split(' ')
      if (word === 'listening') resolve(rest[0])
      else if (word === 'stats') listener.stats = Object.fromEntries(rest.map(pair => pair.split('=')))
      else listener.lines.push(line)
    })
  })
  listener.address = await address
  return listener
}

function build () {
  const { status } = spawnSync('cargo', ['build', '-q', '-p', 'supernode-net', '--example', EXAMPLE], {
    cwd: ROOT,
    stdio: 'inherit'
  })
  if (status !== 0) throw new Error('the listener does not build')
  return `${process.env.CARGO_TARGET_DIR ?? `${ROOT}target`}/debug/examples/${EXAMPLE}`
}
