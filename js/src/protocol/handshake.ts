/**
 * The greeting of two sides on a new link: their positions, and whether these fit together.
 *
 * Hello and Welcome carry the same: where a side stands in both directions, and what it accepts.
 * Then each side knows what the other has received, and sends from there on (RESUME-3, RESUME-4).
 */

import type { IncomingCalls } from "./calls/incoming.js";
import type { OutgoingCalls } from "./calls/outgoing.js";
import type { CallQueue } from "./calls/queue.js";
import { violation } from "./errors.js";
import { type CallPosition, type Counters, OVERHEAD, type Position } from "./frames.js";
import type { Inbox } from "./inbox.js";
import type { Outbox } from "./outbox.js";

const lost = (why: string) => violation(`state lost: ${why}`);

/** Return where this side stands with messages (HELLO-4). `counters` are the inbox's. */
export const position = (outbox: Outbox, inbox: Inbox, counters: Counters): Position => [
  counters,
  outbox.transmitted,
  outbox.confirmed + 1,
  inbox.partial,
];

/** Return where this side stands with calls (CALL-4). */
export const callPosition = (queue: CallQueue, incoming: IncomingCalls): CallPosition => [
  incoming.tellable,
  queue.transmitted,
  queue.acked + 1,
];

/** Throw a `Violation` if the peer's position shows that one side has lost its state (RESUME-3). */
export function checkPosition(peer: Position, outbox: Outbox, inbox: Inbox): void {
  const [[received, confirmed], sent, first, partial] = peer;
  // Our messages: the peer knows no more than was sent, and no less than it confirmed.
  if (confirmed < outbox.confirmed) throw lost("confirmed has fallen");
  if (received > outbox.transmitted) throw lost("counters of what was never sent");
  // The peer's messages: it can go on behind what we have, and has sent that.
  if (!inbox.stopped) {
    if (first > inbox.received + 1) throw lost("messages are not available any more");
    if (sent < inbox.received) throw lost("sent has fallen");
  }
  // The message that it holds a part of is longer than that part (PART-11).
  const next = received + 1;
  const length = outbox.weightOf(next) - outbox.weightOf(received) - OVERHEAD;
  if (partial && (next > outbox.messages || partial >= length)) {
    throw lost("more of a message than was sent");
  }
}

/**
 * Throw a `Violation` if the peer's position in calls shows that one side has lost its state
 * (CALL-21).
 *
 * @param stopped Whether our intake is frozen, so that the peer's calls do not matter any more.
 */
export function checkCalls(
  peer: CallPosition | null,
  queue: CallQueue,
  outgoing: OutgoingCalls,
  incoming: IncomingCalls,
  stopped: boolean,
): void {
  if (!peer) {
    if (outgoing.limit) throw lost("calls are not known any more");
    return;
  }
  const [received, sent, first] = peer;
  if (received < queue.acked || received > queue.transmitted) throw lost("calls received");
  if (!stopped && (first - 1 > incoming.received || incoming.received > sent)) {
    throw lost("calls sent");
  }
}
