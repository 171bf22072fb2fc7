/**
 * Where each half of a session stands (protocol.md, section 14).
 *
 * What follows from facts is not stored: "detached" is a session without a link, "done" is a
 * session whose two halves are done. If the session ends before a half does, there is no evidence:
 * messages end *unknown*. A Stop of the peer settles each of them.
 */

/**
 * Our own direction. *finishing*: Finish is queued behind the last message. *finished*: the peer
 * has confirmed Finish, hence everything. *stopped*: the peer takes nothing more, its counters
 * settle every message. *ended*: the session ended first.
 */
export type Sending = "open" | "finishing" | "finished" | "stopped" | "ended";

/**
 * The peer's direction. *finishing*: the peer's Finish has arrived, messages before it wait to be
 * taken. *finished*: everything is taken, Finish included. *stopped*: we take nothing more.
 */
export type Receiving = "open" | "finishing" | "finished" | "stopped";
