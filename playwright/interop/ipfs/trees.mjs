// Random trees, in memory and on the disk, and their CIDs by js-ipfs-unixfs.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const MIB = 1024 * 1024;
const NAMES = ['a', 'readme.txt', 'with space', 'ünïcödé', '日本語', '..two-dots', "it's", 'a+b%20c', 'UPPER', 'x'.repeat(255)];

/** A generator that replays (mulberry32). */
export function generator(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (bound) => next() % bound;
  return { below, pick: (list) => list[below(list.length)] };
}

export function noise(random, bytes) {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  // A few hundred random words, repeated and shifted: files of megabytes are made in no time.
  const seed = Array.from({ length: 257 }, () => random.below(2 ** 32));
  for (let at = 0; at < words.length; at += 1) words[at] = seed[at % 257] + at;
  return new Uint8Array(words.buffer).subarray(0, bytes);
}

/** Paths to bytes, `null` for an empty directory, `{ link }` for a symbolic link. */
export function randomTree(seed) {
  const random = generator(seed);
  const tree = new Map();
  const taken = new Set();
  const put = (path, what) => {
    // Nothing may lie below a file, nor a file stand where a directory is.
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) if (tree.has(parts.slice(0, depth).join('/'))) return;
    if (taken.has(path) || tree.has(path)) return;
    for (let depth = 1; depth < parts.length; depth += 1) taken.add(parts.slice(0, depth).join('/'));
    tree.set(path, what);
  };
  const length = () => {
    switch (random.below(12)) {
      case 0: return 0;
      case 1: return MIB;
      case 2: return MIB - 1 + random.below(3);
      case 3: return 2 * MIB + random.below(MIB);
      default: return random.below(3000);
    }
  };
  const entries = 1 + random.below(30);
  for (let entry = 0; entry < entries; entry += 1) {
    const depth = 1 + random.below(4);
    const name = () => (random.below(3) === 0 ? random.pick(NAMES) : `n${random.below(40)}`);
    const path = Array.from({ length: depth }, name).join('/');
    const kind = random.below(14);
    put(path, kind === 0 ? null : kind === 1 ? { link: `../${name()}` } : noise(random, length()));
  }
  // Around 256 KiB of block, where a directory becomes a trie, and well beyond.
  if (random.below(4) === 0) {
    const width = 8 + random.below(200);
    const around = Math.floor(262_144 / (width + 48));
    const count = random.below(3) === 0 ? around * 3 : around - 40 + random.below(80);
    const same = new Uint8Array([random.below(256)]);
    for (let entry = 0; entry < count; entry += 1) put(`large/${String(entry).padStart(width, 'z')}`, same);
  }
  return tree;
}

export function write(tree, directory) {
  mkdirSync(directory, { recursive: true });
  for (const [path, what] of tree) {
    const at = join(directory, path);
    mkdirSync(dirname(at), { recursive: true });
    if (what === null) mkdirSync(at, { recursive: true });
    else if (what.link !== undefined) symlinkSync(what.link, at);
    else writeFileSync(at, what);
  }
}

/** The root by the other implementation. */
export async function cidOf(tree) {
  const [{ importer }, { BlackHoleBlockstore }] = await Promise.all([import('ipfs-unixfs-importer'), import('blockstore-core')]);
  const source = [...tree].map(([path, what]) => {
    if (what === null) return { path };
    return what.link === undefined ? { path, content: what } : { path, link: what.link };
  });
  let root;
  for await (const entry of importer(source, new BlackHoleBlockstore(), { profile: 'unixfs-v1-2025', wrapWithDirectory: true })) {
    root = entry.cid;
  }
  return root.toString();
}
