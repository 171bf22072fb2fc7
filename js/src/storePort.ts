/**
 * What a durable session needs of a store: take what changed, say when it is kept.
 *
 * The driver opens the store, gives it one change of its session at a time, and says nothing to the
 * peer that is not kept yet (protocol.md, section 17). `indexedDB(name)` of `reliable-ws/store` is
 * a store.
 */

import type { Change, Stored } from "./protocol/stored.js";

/** A place where one page or process at a time keeps a session. */
export interface Store {
  /**
   * Take the store for this page alone, and read what it has. The promise is rejected where another
   * page has it, or where it cannot be read; the error says which.
   *
   * @param signal Ends the wait for another page that has it.
   */
  open(signal?: AbortSignal): Promise<HeldStore>;
}

/** A store that this page has. */
export interface HeldStore {
  /** The sessions in it that are not forgotten, the newest one last. As it was when opened. */
  readonly sessions: readonly Stored[];

  /**
   * Keep a change, all of it or nothing. The promise is resolved when it is kept, as safely as the
   * store promises, and so is everything that was given before. It is rejected with `StoreFull`
   * where there is no room: nothing of it is kept, and the same may be given again. `StoreInUse`:
   * nothing of it is kept, and the session is left to the page that has it now. Any other rejection
   * means that nothing more can be kept: the session goes on in memory.
   */
  keep(change: Change): Promise<void>;

  /**
   * Make sure that this page still has the store: it was in the back/forward cache, where another
   * page may take it. The promise is rejected where one did: then the session is left to that page.
   */
  regain(): Promise<void>;

  /** Let another page have it. Everything that was given to `keep` is kept first. */
  close(): Promise<void>;
}
