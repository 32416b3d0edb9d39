// @ts-check
/**
 * Where extra shards lie: a folder of the origin's private file system, a file a shard, each open for as long as
 * the worker lives, so that nobody else writes to it. Fetched only by visitors who agreed to keep shards.
 *
 *     .blackhole/shards/<root>
 */

const HOME = '.blackhole';
const DIRECTORY = 'shards';
/** As many as a shelf keeps; the rest is not ours, and goes. */
const FILES_MAX = 64;
/** Of what the browser still allows this origin, the other half is for the site itself. */
const SHARE = 0.5;
/** A reloading page's old worker holds its handles a moment longer. */
const OPEN_ATTEMPTS = 5;
const OPEN_PAUSE_MILLIS = 50;
/** Some seconds: what cannot be deleted by then is deleted the next time something is kept, and named until then. */
const CLEAR_ATTEMPTS = 100;

/** @param {number} allowed what the visitor allows */
export async function openShelf(allowed) {
  const root = await navigator.storage.getDirectory();
  const home = await root.getDirectoryHandle(HOME, { create: true });
  const directory = await home.getDirectoryHandle(DIRECTORY, { create: true });
  const disk = new ShelfDisk(directory);
  let kept = 0;
  // @ts-ignore: directories are iterable
  for await (const [name, entry] of directory.entries()) {
    const file = disk.found.length < FILES_MAX && entry.kind === 'file' ? await opened(entry) : null;
    if (file === null) await directory.removeEntry(name, { recursive: true }).catch(() => {});
    else {
      disk.found.push([name, file]);
      kept += file.size;
    }
  }
  const { quota = 0, usage = 0 } = await navigator.storage.estimate().catch(() => ({}));
  return { disk, allowed: Math.min(allowed, kept + Math.max(quota - usage, 0) * SHARE) };
}

/** Takes everything away, whatever it is. @returns {Promise<void>} */
export async function clearShelf() {
  const root = await navigator.storage.getDirectory();
  const home = await root.getDirectoryHandle(HOME, { create: true });
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await home.removeEntry(DIRECTORY, { recursive: true });
    } catch (error) {
      if (/** @type {Error} */ (error).name === 'NotFoundError') return;
      if (attempt === CLEAR_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, OPEN_PAUSE_MILLIS));
    }
  }
}

class ShelfDisk {
  /** @type {[string, ShelfFile][]} */
  found = [];
  #directory;

  /** @param {any} directory */
  constructor(directory) {
    this.#directory = directory;
  }

  /** @param {string} name */
  async create(name) {
    const entry = await this.#directory.getFileHandle(name, { create: true });
    const handle = await entry.createSyncAccessHandle();
    handle.truncate(0);
    return new ShelfFile(handle);
  }

  /** @param {string} name @param {ShelfFile} file */
  async remove(name, file) {
    file.close();
    await this.#directory.removeEntry(name);
  }
}

class ShelfFile {
  #handle;

  /** @param {any} handle */
  constructor(handle) {
    this.#handle = handle;
  }

  get size() {
    return this.#handle.getSize();
  }

  /** @param {number} at @param {Uint8Array} into */
  read(at, into) {
    if (this.#handle.read(into, { at }) !== into.length) throw new DOMException('', 'DataError');
  }

  /** @param {number} at @param {Uint8Array} bytes */
  write(at, bytes) {
    if (this.#handle.write(bytes, { at }) !== bytes.length) throw new DOMException('', 'QuotaExceededError');
  }

  flush() {
    this.#handle.flush();
  }

  close() {
    this.#handle.close();
  }
}

/** @param {any} entry @returns {Promise<ShelfFile | null>} nothing where it cannot be had */
async function opened(entry) {
  for (let attempt = 1; attempt <= OPEN_ATTEMPTS; attempt += 1) {
    try {
      return new ShelfFile(await entry.createSyncAccessHandle());
    } catch {
      await new Promise((resolve) => setTimeout(resolve, OPEN_PAUSE_MILLIS));
    }
  }
  return null;
}
