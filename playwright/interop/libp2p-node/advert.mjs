// An advert by its specification, shared/proto/coordination.proto, and by nothing else of ours.
import { createPublicKey, verify } from 'node:crypto';

/** The fields of a protobuf message: number to list of values, bytes or BigInt. */
function fields(bytes) {
  const found = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at++]);
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    let value = varint();
    if ((tag & 7n) === 2n) {
      const length = Number(value);
      value = bytes.subarray(at, at + length);
      at += length;
    }
    found.set(Number(tag >> 3n), [...(found.get(Number(tag >> 3n)) ?? []), value]);
  }
  return found;
}

/** Reads a SignedAdvert, checks its signature, and returns what it says. */
export function openAdvert(bytes) {
  const signed = fields(bytes);
  const [advert] = signed.get(1);
  const [signature] = signed.get(2);
  const inner = fields(advert);
  const [node] = inner.get(2);
  // Ed25519 in SPKI: a fixed header before the 32 bytes.
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), node]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  const message = Buffer.concat([Buffer.from('blackhole/coordination/advert/1\0'), advert]);
  return {
    valid: verify(null, message, key, signature),
    node: Buffer.from(node),
    sequence: inner.get(3)[0],
    lifetime: Number(inner.get(5)[0] - inner.get(4)[0]),
    services: inner.get(6).map((service) => new TextDecoder().decode(fields(service).get(1)[0])),
    addresses: inner.get(7).length,
  };
}
