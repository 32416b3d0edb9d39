// @ts-check
/// <reference lib="webworker" />
/**
 * What keeps extra shards, beside the peer in its worker: starts the shelf's wasm, lends it the disk, and tells the
 * supernode each minute what there is room for. Fetched only by visitors who agreed to keep shards.
 */

/** As the protocol has it (`ROOM_EVERY` in `shared/src/storage/extras.rs`). */
const OFFER_MILLIS = 60_000;
/** While the supernode is not there, or does not want to hear of it: doubled up to the above. */
const RETRY_MILLIS = 1_000;
/** A supernode that is not told goodbye notices by itself. */
const FAREWELL_MILLIS = 500;

export class Shelf {
  #shelf;
  #peer;
  #clear;
  #pause = RETRY_MILLIS;
  #supernodes = 0;
  #lost = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {any} shelf @param {any} peer @param {() => Promise<void>} clear */
  constructor(shelf, peer, clear) {
    this.#shelf = shelf;
    this.#peer = peer;
    this.#clear = clear;
    void this.#offer();
  }

  /** @param {{ glue: string, files: string, wasm: ArrayBuffer, allowed: number, secret: Uint8Array, peer: any }} from */
  static async open({ glue, files, wasm, allowed, secret, peer }) {
    const [{ default: init, TabShelf }, { openShelf, clearShelf }] = await Promise.all([import(glue), import(files)]);
    await init({ module_or_path: wasm });
    const opened = await openShelf(allowed);
    const shelf = await TabShelf.open(opened.disk, secret, opened.allowed);
    return new Shelf(shelf, peer, clearShelf);
  }

  /** A stream of the supernode with this key. @param {any} stream @param {Uint8Array} supernode */
  serve(stream, supernode) {
    this.#shelf.serve(supernode, stream);
  }

  /** What the visitor sees; says again what is kept, where that has changed or a supernode is new. @param {number} supernodes */
  look(supernodes) {
    const status = this.#shelf.status();
    const news = status.lost > this.#lost || supernodes > this.#supernodes;
    this.#supernodes = supernodes;
    this.#lost = status.lost;
    if (news) void this.#offer();
    return status;
  }

  /** All of it goes, now. */
  async clear() {
    clearTimeout(this.#timer);
    this.#peer = null;
    await this.#shelf.clear();
    await this.#clear();
  }

  /** As `clear`, and tells the supernode. */
  async end() {
    const peer = this.#peer;
    await this.clear();
    const told = peer?.open_shards().then((/** @type {any} */ stream) => stream && this.#shelf.offer(stream));
    await Promise.race([told, new Promise((resolve) => setTimeout(resolve, FAREWELL_MILLIS))]).catch(() => {});
  }

  async #offer() {
    clearTimeout(this.#timer);
    const peer = this.#peer;
    const stream = await peer?.open_shards();
    const wanted = stream !== undefined && (await this.#shelf.offer(stream));
    if (this.#peer === null) return;
    this.#pause = wanted ? OFFER_MILLIS : Math.min(this.#pause * 2, OFFER_MILLIS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#offer(), this.#pause);
    if (wanted) this.#pause = RETRY_MILLIS;
  }
}
