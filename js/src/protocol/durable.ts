/**
 * What of one session is kept by a store, and what is not yet (protocol.md, section 17).
 *
 * A store is slow and works in the background. So the session goes on, and what is not kept is not
 * *said*: each ledger has a position up to which it is kept, and a link looks at these positions
 * only. A greeting, a Stop and a last frame say more than a position: they are held until everything
 * is kept that was so when they were held.
 *
 * The verbs are those of `Session`: `keepInStore`, `takeChange`, `kept`, `unkept`, `leave`.
 */

export type { Change, Facts, Plain, Run, Stored } from "./stored.js";
export { StoredSession } from "./snapshot.js";
