// @ts-check
/**
 * The origin's private file system, behind synchronous handles that only one tab can have: whoever
 * holds the lock leads; the others keep what they get in memory.
 *
 *     .blackhole/slots      16 KiB slots
 *     .blackhole/journal-0  generation (8 bytes), then records; of the two the higher generation counts,
 *     .blackhole/journal-1  and a new one is whole on disk before it gets its generation
 *     .blackhole/secret     32 bytes
 */

const LOCK = 'blackhole';
const SLOT_BYTES = 16 * 1024;
const GENERATION_BYTES = 8;
/** A page that was closed a moment ago, or crashed, holds the lock for so long on a busy machine. */
const LOCK_MILLIS = 1_000;
/** A reloading page's old worker holds its handles a moment longer. */
const OPEN_ATTEMPTS = 5;
const OPEN_PAUSE_MILLIS = 50;

/** @returns {Promise<{ disk?: Disk, reason?: string }>} */
export async function lead() {
  const storage = navigator.storage;
  if (!self.isSecureContext || typeof storage?.getDirectory !== 'function') return { reason: 'no-opfs' };
  if (!(await takeLock())) return { reason: 'another-tab-leads' };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { disk: await Disk.open() };
    } catch (error) {
      if (attempt === OPEN_ATTEMPTS) return { reason: `opfs: ${/** @type {Error} */ (error).name}` };
      await new Promise((resolve) => setTimeout(resolve, OPEN_PAUSE_MILLIS));
    }
  }
}

/** Holds the lock until this worker ends. */
function takeLock() {
  return new Promise((resolve) => {
    navigator.locks
      .request(LOCK, { signal: AbortSignal.timeout(LOCK_MILLIS) }, () => {
        resolve(true);
        return new Promise(() => {});
      })
      .catch(() => resolve(false));
  });
}

class Disk {
  /** @type {any[]} */
  #journals = [];
  #current = 0;
  #generation = 0n;

  static async open() {
    const root = await navigator.storage.getDirectory();
    const directory = await root.getDirectoryHandle('.blackhole', { create: true });
    const disk = new Disk();
    disk.slots = await handle(directory, 'slots');
    disk.secretFile = await handle(directory, 'secret');
    disk.#journals = [await handle(directory, 'journal-0'), await handle(directory, 'journal-1')];
    const generations = disk.#journals.map(generationOf);
    disk.#current = generations[1] > generations[0] ? 1 : 0;
    disk.#generation = generations[disk.#current];
    return disk;
  }

  /** @type {any} */
  slots;
  /** @type {any} */
  secretFile;

  get journal() {
    return readAll(this.#journals[this.#current]).subarray(GENERATION_BYTES);
  }

  get secret() {
    return readAll(this.secretFile);
  }

  /** @param {Uint8Array} secret */
  keep_secret(secret) {
    this.secretFile.write(secret, { at: 0 });
    this.secretFile.flush();
  }

  /** @param {number} slot @param {Uint8Array} into */
  read(slot, into) {
    return this.slots.read(into, { at: slot * SLOT_BYTES });
  }

  /** @param {number} slot @param {Uint8Array} bytes */
  write(slot, bytes) {
    if (this.slots.write(bytes, { at: slot * SLOT_BYTES }) !== bytes.length) throw quota();
  }

  /** @param {Uint8Array} records */
  append(records) {
    const journal = this.#journals[this.#current];
    const at = Math.max(journal.getSize(), GENERATION_BYTES);
    if (journal.write(records, { at }) !== records.length) throw quota();
  }

  /** @param {Uint8Array} records */
  rewrite(records) {
    const other = 1 - this.#current;
    const journal = this.#journals[other];
    journal.truncate(0);
    if (journal.write(records, { at: GENERATION_BYTES }) !== records.length) throw quota();
    journal.flush();
    this.#generation += 1n;
    journal.write(new Uint8Array(BigUint64Array.of(this.#generation).buffer), { at: 0 });
    journal.flush();
    this.#current = other;
  }

  close() {
    for (const file of [this.slots, this.secretFile, ...this.#journals]) file.close();
  }
}

/** @param {any} directory @param {string} name */
async function handle(directory, name) {
  const file = await directory.getFileHandle(name, { create: true });
  return file.createSyncAccessHandle();
}

/** @param {any} file */
function readAll(file) {
  const bytes = new Uint8Array(file.getSize());
  file.read(bytes, { at: 0 });
  return bytes;
}

/** @param {any} journal */
function generationOf(journal) {
  const bytes = new Uint8Array(GENERATION_BYTES);
  journal.read(bytes, { at: 0 });
  return new BigUint64Array(bytes.buffer)[0];
}

const quota = () => new DOMException('', 'QuotaExceededError');
