/** One page at a time: a Web Lock by the name of the store. */

import { StoreInUse } from "./errors.js";

/** Milliseconds in which a page that is being left, or reloaded, frees its lock. */
const PATIENCE = 500;

export class Lock {
  /** Gives the lock back; `undefined` while this page does not have it. */
  #release: (() => void) | undefined;
  /** It is done when others can have the lock. */
  #request: Promise<unknown> = Promise.resolve();

  constructor(readonly name: string) {}

  /**
   * Take the lock, unless this page has it. Wait for it until the signal ends that.
   *
   * @throws StoreInUse Another page has it. (Without a signal.)
   * @throws TypeError The browser has no locks here.
   */
  async take(signal?: AbortSignal): Promise<void> {
    if (this.#release) return;
    const { locks } = navigator;
    if (!locks) throw new TypeError("a store needs a page of https: or of localhost");
    const name = `reliable-ws:${this.name}`;
    const inUse = new AbortController();
    // A request that is not granted in time: does another page have it, or is the machine busy?
    const look = async (): Promise<void> => {
      const { held } = await locks.query();
      if (held?.some((lock) => lock.name === name)) inUse.abort(new StoreInUse(this.name));
      else timer = setTimeout(look, PATIENCE);
    };
    let timer = signal ? undefined : setTimeout(look, PATIENCE);
    await new Promise<void>((resolve, reject) => {
      const request = locks.request(name, { signal: signal ?? inUse.signal }, () => {
        clearTimeout(timer);
        resolve();
        // The lock is ours until this promise is done.
        return new Promise<void>((release) => (this.#release = release));
      });
      this.#request = request.catch(reject);
    });
  }

  /** Give the lock back. The promise is resolved when others can have it. */
  async free(): Promise<void> {
    this.#release?.();
    this.#release = undefined;
    await this.#request;
  }
}
