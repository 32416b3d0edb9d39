// @ts-check
/**
 * Accounts of a chain, as a visitor types them: 0x and 40 hexadecimal digits, whose capitals are a checksum (EIP-55).
 * Fetched only where a visitor names one.
 */

const LANE = (1n << 64n) - 1n;
/** Bytes that one block of Keccak-256 takes; an account's text is shorter. */
const BLOCK_BYTES = 136;

/** Whether this names an account. In capitals or small letters alone it has no checksum, and is taken as it is. @param {unknown} text */
export function isAccount(text) {
  if (typeof text !== 'string' || !/^0x[0-9a-fA-F]{40}$/.test(text)) return false;
  const digits = text.slice(2);
  return digits === digits.toLowerCase() || digits === digits.toUpperCase() || digits === withChecksum(digits.toLowerCase());
}

/** @param {string} digits in small letters */
function withChecksum(digits) {
  const hash = keccak256(new TextEncoder().encode(digits));
  return [...digits].map((digit, at) => ((hash[at >> 1] >> (at % 2 ? 0 : 4)) & 8 ? digit.toUpperCase() : digit)).join('');
}

/** Of a message that fits in one block. @param {Uint8Array} message */
function keccak256(message) {
  const block = new DataView(new ArrayBuffer(BLOCK_BYTES));
  message.forEach((byte, at) => block.setUint8(at, byte));
  block.setUint8(message.length, 1);
  block.setUint8(BLOCK_BYTES - 1, block.getUint8(BLOCK_BYTES - 1) | 0x80);
  const lanes = Array.from({ length: 25 }, (_, lane) => (lane < BLOCK_BYTES / 8 ? block.getBigUint64(lane * 8, true) : 0n));
  permute(lanes);
  const hash = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane += 1) hash.setBigUint64(lane * 8, lanes[lane], true);
  return new Uint8Array(hash.buffer);
}

/** Keccak-f[1600], as FIPS 202 has it. @param {bigint[]} lanes */
function permute(lanes) {
  const turn = (/** @type {bigint} */ lane, /** @type {number} */ by) => ((lane << BigInt(by)) | (lane >> BigInt(64 - by))) & LANE;
  let register = 1;
  for (let round = 0; round < 24; round += 1) {
    const columns = [0, 1, 2, 3, 4].map((x) => lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]);
    for (let at = 0; at < 25; at += 1) lanes[at] ^= columns[(at + 4) % 5] ^ turn(columns[(at + 1) % 5], 1);
    let [x, y, moved] = [1, 0, lanes[1]];
    for (let step = 1; step <= 24; step += 1) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      const at = x + 5 * y;
      [moved, lanes[at]] = [lanes[at], turn(moved, ((step * (step + 1)) / 2) % 64)];
    }
    for (let row = 0; row < 25; row += 5) {
      const old = lanes.slice(row, row + 5);
      for (let at = 0; at < 5; at += 1) lanes[row + at] = old[at] ^ (old[(at + 2) % 5] & (old[(at + 1) % 5] ^ LANE));
    }
    for (let bit = 0; bit < 7; bit += 1) {
      register = ((register << 1) ^ ((register >> 7) * 0x71)) & 0xff;
      if (register & 2) lanes[0] ^= 1n << BigInt((1 << bit) - 1);
    }
  }
}
