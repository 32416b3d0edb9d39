// The swarm's wire by hand, from `shared/proto/cdn.proto`: independent of the product's own code, so that a bench
// can also say what the product never would.
const text = new TextEncoder();

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

export function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

/** A message of [field, value] pairs; numbers are varints, strings and bytes are length-delimited. */
export function message(...fields) {
  return concat(...fields.map(([field, value]) => {
    if (typeof value === 'number' || typeof value === 'bigint') return concat(varint(field << 3), varint(value));
    const bytes = typeof value === 'string' ? text.encode(value) : value;
    return concat(varint((field << 3) | 2), varint(bytes.length), bytes);
  }));
}

export const framed = (bytes) => concat(varint(bytes.length), bytes);

function readVarint(bytes, at) {
  let [value, shift] = [0n, 0n];
  for (let position = at; position < bytes.length && position < at + 10; position += 1) {
    value |= BigInt(bytes[position] & 0x7f) << shift;
    shift += 7n;
    if (bytes[position] < 0x80) return [value > Number.MAX_SAFE_INTEGER ? value : Number(value), position + 1];
  }
  return null;
}

/** The fields of a message: number to the list of its values; integers that no number holds are big ones. */
export function fields(bytes) {
  const found = new Map();
  for (let at = 0; at < bytes.length; ) {
    const [key, after] = readVarint(bytes, at);
    let value;
    if ((key & 7) === 0) [value, at] = readVarint(bytes, after);
    else if ((key & 7) === 2) {
      const [length, begin] = readVarint(bytes, after);
      value = bytes.subarray(begin, begin + length);
      at = begin + length;
    } else throw new Error(`a field of wire type ${key & 7}`);
    found.set(key >> 3, [...(found.get(key >> 3) ?? []), value]);
  }
  return found;
}

/** Cuts a stream into frames, and takes raw payload between them where asked to. */
export class Reader {
  #bytes = new Uint8Array();
  #chunks;

  constructor(stream) { this.#chunks = stream[Symbol.asyncIterator](); }

  async #more() {
    const { done, value } = await this.#chunks.next();
    if (done) return false;
    this.#bytes = concat(this.#bytes, value.subarray());
    return true;
  }

  async take(length) {
    while (this.#bytes.length < length) if (!await this.#more()) return null;
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  async frame() {
    for (;;) {
      const prefix = readVarint(this.#bytes, 0);
      if (prefix) {
        await this.take(prefix[1]);
        return this.take(prefix[0]);
      }
      if (!await this.#more()) return null;
    }
  }
}

export const PROTOCOL = '/blackhole/cdn/1.0.0';
export const [CONTROL, BULK] = [1, 2];
export const open = (kind) => framed(message([1, kind], [2, 1]));
/** Control messages by their number in `Control`. */
export const say = {
  hello: (site, sequence, session) => message([1, message([1, 1], [2, 1], [4, message([1, site], [2, sequence], [3, 1])], [5, session])]),
  haveAll: (roots) => message([2, message(...roots.map((root) => [1, message([1, root], [2, 1])]))]),
  unchoke: () => message([5, new Uint8Array()]),
  receipt: (receipt, signature) => message([6, message([1, receipt], [2, signature])]),
  askPeers: (site, addresses) => message([8, message([1, 1], [2, site], [3, 32], ...addresses.map((address) => [4, address]))]),
  offer: ({ id, from, site, description, signature, hops }) =>
    message([11, message([1, id], [2, from], [3, site], [4, description], [5, signature], [6, hops])]),
  answer: ({ id, from, description, signature }) => message([12, message([1, id], [2, from], [3, description], [4, signature])]),
};
export const piece = (request, kind, index, bytes) => framed(message([1, message([1, request], [2, kind], [3, index], [4, bytes])]));
export const end = (request, refusal) => framed(message([2, message([1, request], [2, refusal])]));

/** Sequence and assets of a signed manifest, as the edge hands it out; not verified here. */
export function readManifest(signed) {
  const manifest = fields(fields(signed).get(1)[0]);
  const string = (bytes) => new TextDecoder().decode(bytes);
  return {
    sequence: manifest.get(4)?.[0] ?? 0,
    assets: (manifest.get(7) ?? []).map((bytes) => {
      const asset = fields(bytes);
      return { path: string(asset.get(1)[0]), root: [...asset.get(2)[0]], size: asset.get(3)?.[0] ?? 0 };
    }),
  };
}
