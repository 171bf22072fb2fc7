/** What became of every message: outcomes, and the report that lists them. */

/**
 * What is known of one message.
 *
 * - `pending`: not final, the session lives.
 * - `confirmed`: the peer's application has taken it.
 * - `not taken`: the peer's application has not taken it and never will; it can safely be sent
 *   again.
 * - `unknown`: it is not known, and will not be, whether the peer's application took it.
 * - `kept`: not final: this page is done with the session, and the store has the message for the
 *   next one.
 */
export type Outcome = "pending" | "confirmed" | "not taken" | "unknown" | "kept";

/**
 * Why a session has ended.
 *
 * - `finished`: as agreed, both directions came to their end.
 * - `aborted`: this side called `abort()`.
 * - `refused`: the peer said that the session has ended; the code says why.
 * - `violation`: the peer broke the protocol.
 * - `expired`: there was no contact with the peer in time, or no progress while closing.
 * - `superseded`: another holder of the same session took over. Do not reconnect.
 * - `kept`: it has not; this page is done with it, and the store has it for the next one.
 * - `lost`: the WebSocket is gone, and there is no way to open another.
 */
export type End =
  | "finished"
  | "aborted"
  | "refused"
  | "violation"
  | "expired"
  | "superseded"
  | "kept"
  | "lost";

/** How a session ended. */
export interface Ending {
  readonly kind: End;
  /** The code (protocol.md, section 12). */
  readonly code: number;
  /** The reason that came with the code. */
  readonly reason: string;
}

/** One message that is not confirmed. */
export interface Undelivered {
  readonly number: number;
  readonly outcome: Outcome;
  /** The message, as the peer would have received it. */
  readonly message: unknown;
}

/** Messages one behind the other with the same outcome, which is not *confirmed*. */
export interface OutcomeRun {
  readonly first: number;
  readonly last: number;
  readonly outcome: Outcome;
}

/** What became of all messages that were sent in one session. */
export class Report {
  #entries: readonly Undelivered[] | undefined;
  readonly #list: () => Undelivered[];

  constructor(
    /** How many messages were accepted. */
    readonly sent: number,
    /** How many messages the peer's application has taken. */
    readonly confirmed: number,
    /** Every other message, in runs of the same outcome. */
    readonly runs: readonly OutcomeRun[],
    /** How the session ended; `null` while it lives. */
    readonly ending: Ending | null,
    list: () => Undelivered[],
  ) {
    this.#list = list;
  }

  /** One entry for every message that is not confirmed, in sending order; made on first access. */
  get undelivered(): readonly Undelivered[] {
    return (this.#entries ??= this.#list());
  }

  /** Return how many messages have this outcome. */
  count(outcome: Outcome): number {
    if (outcome === "confirmed") return this.confirmed;
    let count = 0;
    for (const run of this.runs) if (run.outcome === outcome) count += run.last - run.first + 1;
    return count;
  }

  /** Whether no outcome in this report can change any more. */
  get final(): boolean {
    return !this.count("pending") && !this.count("kept");
  }

  /** Counts in one line. */
  toString(): string {
    const runs = this.runs.map(
      ({ first, last, outcome }) => `${first === last ? first : `${first} to ${last}`} ${outcome}`,
    );
    return [`${this.sent} sent, ${this.confirmed} confirmed`, ...runs.slice(0, 4)].join(", ");
  }
}
