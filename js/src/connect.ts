/** Open a session with a server. */

import { Connection } from "./connection.js";
import { Driver } from "./driver.js";
import type { ConnectOptions, PerAttempt } from "./options.js";
import { configure } from "./protocol/config.js";
import { NO_CODEC } from "./protocol/payload.js";
import { Session } from "./protocol/session.js";
import { StoredSession } from "./protocol/snapshot.js";

const bytes = (length: number) => crypto.getRandomValues(new Uint8Array(length));

/**
 * Open a session with a server, and keep it over any number of WebSockets. Returns when the server
 * has greeted. A lost WebSocket is replaced, with jittered back-off, until `config.sessionTtl` have
 * passed since the last contact.
 *
 * With a store, the session that an earlier page left there goes on; then this also returns where
 * no WebSocket can be opened for now. For a new session, see `offline`. Where the browser has no
 * database (in some private modes), the session is kept in memory: `receipt.stored` is rejected
 * with `StoreLost`.
 *
 * @param url `ws:` or `wss:`; or a function that returns it (or a promise of it) for each attempt.
 * @throws ConnectFailed The first WebSocket did not open. `cause` is what the runtime says.
 * @throws NotReliablePeer The server does not speak this protocol.
 * @throws ServerBusy The server takes no new session now.
 * @throws SessionLost The network failed during the greeting, or the server refused the session.
 * @throws RangeError, TypeError An option is wrong.
 */
export async function connect(
  url: PerAttempt<string | URL>,
  options: ConnectOptions = {},
): Promise<Connection> {
  const config = configure(options.config);
  const { codec = NO_CODEC, store, signal, offline } = options;
  if (offline && !store) throw new TypeError("offline needs a store: what is sent is kept there");
  signal?.throwIfAborted();
  let lost: unknown;
  const held = store
    ? await store.open(signal).catch((error) => {
        if (error.name !== "StoreLost") throw error;
        lost = error; // there is no database here: the session is kept in memory
        return null;
      })
    : null;
  const open = async (session: Session) => {
    const driver = new Driver(session, url, options, held, lost);
    await driver.start();
    return driver;
  };
  try {
    let session: Session | undefined;
    for (const stored of held?.sessions ?? []) {
      const kept = new StoredSession(stored);
      if (kept.ending) continue;
      const revived = kept.revive(performance.now(), Date.now(), config, codec);
      // One that an earlier page was closing is brought to its end first.
      if (!revived.closing) session = revived;
      else if ((await (await open(revived)).ended).ending?.kind === "kept") throw revived.error();
    }
    if (!session) {
      const [id, key, now] = [bytes(16), bytes(32), performance.now()];
      session = new Session({ id, key, now, config, codec });
      if (held) session.keepInStore();
    }
    const driver = await open(session);
    if (held) void driver.ended.then(() => held.close());
    return new Connection(driver);
  } catch (error) {
    held?.close();
    throw error;
  }
}
