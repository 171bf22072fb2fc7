/**
 * What a store is given of a session, and what it gives back after a crash.
 *
 * A store does not look into it. It keeps a session's newest facts, its runs of messages and of
 * entries of calls, and it forgets what it is told to forget (protocol.md, section 17).
 */

/** A plain value, which `structuredClone` copies. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Plain[]
  | { readonly [name: string]: Plain };

/** Everything small that must survive: a plain object. Its insides are the core's. */
export type Facts = { readonly [name: string]: Plain };

/** Messages of ours, or entries of calls, one behind the other. */
export interface Run {
  /** Number of the first one. */
  readonly first: number;
  /** Number of the last one; at least `first`. */
  readonly last: number;
  /** All of them, packed. */
  readonly data: Uint8Array;
}

/** What one session wants kept, since its change before. All of it is kept, or nothing. */
export interface Change {
  /** The session's id: 16 bytes. */
  readonly session: Uint8Array;
  /** They replace the facts before. */
  readonly facts: Facts;
  /** Messages of ours that were accepted. */
  readonly messages: Run | null;
  /** Runs of messages whose `last` is at most this number may be forgotten. */
  readonly confirmed: number;
  /** Entries of calls that were accepted. */
  readonly entries: Run | null;
  /** The same for entries. */
  readonly received: number;
  /**
   * The session has ended: everything of it is to be forgotten at this time (milliseconds since
   * 1970). `null` while it lives.
   */
  readonly until: number | null;
}

/** A session as a store has it. */
export interface Stored {
  readonly session: Uint8Array;
  readonly facts: Facts;
  /** In order, without gaps. The first may begin with messages that are confirmed. */
  readonly messages: readonly Run[];
  readonly entries: readonly Run[];
}
