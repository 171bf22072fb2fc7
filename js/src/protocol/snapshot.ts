/** A session out of what a store has kept of it (RESUME-7, CALL-12). */

import { type Config, DEFAULTS } from "./config.js";
import type { gatherFacts } from "./durable.js";
import type { Payload, Range } from "./frames.js";
import { Outbox } from "./outbox.js";
import { unpack, unpackAll } from "./pack.js";
import { NO_CODEC, type PayloadCodec } from "./payload.js";
import type { Ending, Report } from "./report.js";
import { type CallEntries, Session } from "./session.js";
import type { Plain, Stored } from "./stored.js";

/** What `facts` of a store are. */
export type StoredFacts = ReturnType<typeof gatherFacts> & { ahead: Range[]; about: Plain };

/** What a store has of one session: to look at, and to go on with. */
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

  /** What the driver had kept beside. */
  get about(): Plain {
    return this.#facts.about;
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

  /** Return what is known of our messages. While the session goes on, they are *kept*. */
  report(codec: PayloadCodec = NO_CODEC): Report {
    const { settled, transmitted, ended } = this.#facts;
    const outbox = new Outbox(DEFAULTS);
    outbox.restore(this.#confirmed, this.#messages());
    outbox.transmitted = transmitted;
    if (settled) outbox.settle(settled);
    else {
      outbox.kept = ended ? 0 : outbox.last;
      outbox.end();
    }
    return outbox.report(1, Infinity, ended, codec);
  }

  /**
   * Return the session, as if the network had dropped when its page or process ended. It is kept in
   * a store already: `keepInStore` is not to be called.
   *
   * @param now The time of the monotonic clock, in milliseconds.
   * @param wall The time in milliseconds since 1970. A clock that was set back ends nothing.
   * @param aliveAt The last time at which the page or process that had the session was surely
   *   alive,
   *   in milliseconds since 1970, if that is known.
   */
  revive(
    now: number,
    wall: number,
    config?: Readonly<Config>,
    codec?: PayloadCodec,
    aliveAt = 0,
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
    const contact = facts.attached ? Math.max(facts.contact, aliveAt) : facts.contact;
    session.contactAt = now - Math.max(0, wall - contact);
    return session;
  }
}
