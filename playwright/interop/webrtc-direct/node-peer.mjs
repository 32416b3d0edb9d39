// A js-libp2p peer in Node (its WebRTC is libdatachannel). Arguments: address, options as JSON.

import { exercise } from './exercise.mjs'

const [address, options] = process.argv.slice(2)
try {
  console.log(JSON.stringify(await exercise(address, JSON.parse(options))))
  process.exit(0)
} catch (error) {
  console.error(error)
  process.exit(1)
}
