/**
 * What a page can honestly say of the user's work: saved, saving, kept here, not saved.
 *
 * It has the shape of React's `useSyncExternalStore`: `subscribe`, and a value that is the same
 * object until something changes.
 */

/**
 * - `"saved"`: the server's application has taken every message.
 * - `"saving"`: a WebSocket is open, and something is on its way.
 * - `"kept here"`: no WebSocket is open, and the store has everything: a reload loses nothing.
 * - `"not saved"`: no WebSocket is open, and this page alone has something; or the session has
 *   ended, and the server's application has not taken everything, as far as is known.
 */
export type Mark = "saved" | "saving" | "kept here" | "not saved";

export interface StatusValue {
  readonly state: Mark;
  /** How many messages the server's application has not taken, as far as is known. */
  readonly unconfirmed: number;
  /** How many of them the store does not have. Without a store: all of them. */
  readonly unstored: number;
  /** Since when `state` is so: milliseconds since 1970. */
  readonly since: number;
}

/** What a connection knows. */
export interface Facts {
  readonly unconfirmed: number;
  readonly unstored: number;
  /** Whether a WebSocket carries the session. */
  readonly attached: boolean;
  /** Whether the session has ended. */
  readonly ended: boolean;
  /** Whether the store goes on with the session when this connection has ended. */
  readonly kept: boolean;
}

/** Choose the mark. */
export function markOf({ unconfirmed, unstored, attached, ended, kept }: Facts): Mark {
  if (!unconfirmed) return "saved";
  if (attached && !ended) return "saving";
  return !unstored && (kept || !ended) ? "kept here" : "not saved";
}

export class Status {
  #look: () => Facts;
  #listeners = new Set<() => void>();
  #value: StatusValue | undefined;
  #told: StatusValue;

  constructor(look: () => Facts) {
    this.#look = look;
    this.#told = this.value;
  }

  /** What is so now: the same object until something changes. */
  get value(): StatusValue {
    const facts = this.#look();
    const { unconfirmed, unstored } = facts;
    const state = markOf(facts);
    const old = this.#value;
    const isSame = state === old?.state;
    if (isSame && unconfirmed === old.unconfirmed && unstored === old.unstored) return old;
    return (this.#value = { state, unconfirmed, unstored, since: isSame ? old.since : Date.now() });
  }

  /** Call `listener` whenever `value` has changed. Returns a function that ends it. */
  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Whether anybody listens. */
  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  /** Look whether anything has changed, and tell the listeners. */
  update(): void {
    const { value } = this;
    if (value === this.#told) return;
    this.#told = value;
    for (const listener of [...this.#listeners]) listener();
  }
}
