/** A session out of what a store has kept of it (RESUME-7, CALL-12). */

import type { Config } from "./config.js";
import type { StoredFacts } from "./durable.js";
import type { Payload } from "./frames.js";
import { unpack, unpackAll } from "./pack.js";
import type { PayloadCodec } from "./payload.js";
import type { Ending } from "./report.js";
import { type CallEntries, Session } from "./session.js";
import type { Stored } from "./stored.js";

/** What a store has of one session. */
export class StoredSession {
  readonly #facts: StoredFacts;

  /** @throws TypeError It is not what a session of this release was stored as. */
  constructor(readonly stored: Stored) {
    const facts = stored.facts as unknown as StoredFacts;
    if (typeof facts?.attempt !== "number" || !(facts.key instanceof Uint8Array)) {
      throw new TypeError("these are no facts of a session");
    }
    this.#facts = facts;
  }

  /** How it ended; `null`: it goes on. */
  get ending(): Ending | null {
    return this.#facts.ended;
  }

  /** The highest number of a message that is confirmed. */
  get #confirmed(): number {
    const { sent, finish } = this.#facts;
    return finish ? Math.min(sent, finish[1] - 1) : sent;
  }

  /** Return our messages that the peer has not confirmed, in order. */
  #messages(): Payload[] {
    return this.stored.messages.flatMap(({ first, last, data }) =>
      unpackAll(data, last - first + 1).slice(Math.max(0, this.#confirmed + 1 - first)),
    );
  }

  /** Return our entries of calls that the peer has not received, in order. */
  #entries(): CallEntries {
    return this.stored.entries.flatMap(({ first, data }) =>
      (unpack(data, Infinity) as CallEntries).slice(
        Math.max(0, this.#facts.calls.acked + 1 - first),
      ),
    );
  }

  /**
   * Return the session, as if the network had dropped when its page or process ended. It is kept in
   * a store already: `keepInStore` is not to be called.
   *
   * @param now The time of the monotonic clock, in milliseconds.
   * @param wall The time in milliseconds since 1970. A clock that was set back ends nothing.
   */
  revive(
    now: number,
    wall: number,
    config?: Readonly<Config>,
    codec?: PayloadCodec,
  ): Session {
    const facts = this.#facts;
    const session = new Session({
      id: facts.id,
      key: facts.key,
      now,
      ...(config && { config }),
      ...(codec && { codec }),
    });
    session.restore(facts, this.#messages(), this.#entries(), now);
    session.contactAt = now - Math.max(0, wall - facts.contact);
    return session;
  }
}
