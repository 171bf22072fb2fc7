/** A session out of what a store has kept of it (RESUME-7, CALL-12). */

import type { Config } from "./config.js";
import type { PayloadCodec } from "./payload.js";
import type { Ending, Report } from "./report.js";
import type { Session } from "./session.js";
import type { Plain, Stored } from "./stored.js";

/** What a store has of one session: to look at, and to go on with. */
export class StoredSession {
  /** @throws TypeError It is not what a session of this release was stored as. */
  constructor(readonly stored: Stored) {
    throw new Error("not yet");
  }

  /** What the driver had kept beside. */
  get about(): Plain {
    throw new Error("not yet");
  }

  /** How it ended; `null`: it goes on. */
  get ending(): Ending | null {
    throw new Error("not yet");
  }

  /** Return what is known of our messages. While the session goes on, they are *kept*. */
  report(_codec?: PayloadCodec): Report {
    throw new Error("not yet");
  }

  /**
   * Return the session, as if the network had dropped when its page or process ended. It is kept in
   * a store already: `keepInStore` is not to be called.
   *
   * @param _now The time of the monotonic clock, in milliseconds.
   * @param _wall The time in milliseconds since 1970. A clock that was set back ends nothing.
   */
  revive(
    _now: number,
    _wall: number,
    _config?: Readonly<Config>,
    _codec?: PayloadCodec,
  ): Session {
    throw new Error("not yet");
  }
}
