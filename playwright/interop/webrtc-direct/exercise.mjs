// What every js-libp2p peer does with the listener, in Node and in a browser alike.

import { noise } from '@chainsafe/libp2p-noise'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { webRTCDirect } from '@libp2p/webrtc'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/echo/1.0.0'
const SOURCE = '/source/1.0.0'

export async function exercise (address, { echoBytes, sourceBytes, shortStreams, sessions, quietSeconds }) {
  const node = await peer()
  const report = {}
  try {
    const target = multiaddr(address)
    const started = performance.now()
    const connection = await node.dial(target, { signal: AbortSignal.timeout(20_000) })
    report.dialMillis = round(performance.now() - started)
    report.pingMillis = round(await node.services.ping.ping(target))
    report.agent = (await node.services.identify.identify(connection)).agentVersion

    if (echoBytes > 0) report.echo = await echo(connection, echoBytes)
    if (sourceBytes > 0) report.source = await source(connection, sourceBytes)
    for (let index = 0; index < shortStreams; index++) {
        await shortStream(connection, index)
    }
    report.shortStreams = shortStreams
    report.pingAfterMillis = round(await node.services.ping.ping(target))
    if (sessions > 0) await quiet(address, sessions, quietSeconds)
  } finally {
    await node.stop()
  }
  return report
}

function peer () {
  return createLibp2p({
    transports: [webRTCDirect()],
    connectionEncrypters: [noise()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify(), ping: ping() }
  })
}

// Everything sent comes back in order, though the echo's reader pauses for a second on the way.
async function echo (connection, bytes) {
  const stream = await connection.newStream(ECHO)
  const started = performance.now()
  const received = (async () => {
    let seen = 0
    let intact = true
    for await (const chunk of stream) {
      for (const byte of chunk.subarray()) {
        intact &&= byte === pattern(seen)
        seen++
      }
    }
    return { seen, intact }
  })()
  const piece = 64 * 1024
  for (let sent = 0; sent < bytes; sent += piece) {
    const length = Math.min(piece, bytes - sent)
    const data = Uint8Array.from({ length }, (_, index) => pattern(sent + index))
    if (!stream.send(data)) await stream.onDrain({ signal: AbortSignal.timeout(30_000) })
  }
  await stream.close({ signal: AbortSignal.timeout(60_000) })
  const { seen, intact } = await received
  if (seen !== bytes || !intact) throw new Error(`echo: ${seen} of ${bytes} bytes, intact: ${intact}`)
  return { bytes, millis: round(performance.now() - started) }
}

// Bulk from the listener to us.
async function source (connection, bytes) {
  const stream = await connection.newStream(SOURCE)
  const request = new Uint8Array(8)
  new DataView(request.buffer).setBigUint64(0, BigInt(bytes))
  const started = performance.now()
  stream.send(request)
  await stream.close()
  let seen = 0
  for await (const chunk of stream) seen += chunk.byteLength
  const seconds = (performance.now() - started) / 1000
  if (seen !== bytes) throw new Error(`source: ${seen} of ${bytes} bytes`)
  return { bytes, megabytesPerSecond: round(bytes / 1e6 / seconds) }
}

// Opens, says one byte, hears it, and both sides close.
async function shortStream (connection, index) {
  const stream = await connection.newStream(ECHO)
  stream.send(Uint8Array.of(index & 0xff))
  const closed = stream.close()
  let seen = 0
  for await (const chunk of stream) seen += chunk.byteLength
  await closed
  if (seen !== 1) throw new Error(`short stream ${index}: ${seen} bytes`)
}

// Many sessions that say nothing, to see what one costs.
async function quiet (address, count, seconds) {
  const nodes = []
  for (let index = 0; index < count; index++) {
    const node = await peer()
    nodes.push(node)
    await node.dial(multiaddr(address), { signal: AbortSignal.timeout(20_000) })
  }
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  await Promise.all(nodes.map(node => node.stop()))
}

function pattern (index) {
  return (index * 31 + (index >>> 8)) & 0xff
}

function round (value) {
  return Math.round(value * 10) / 10
}
