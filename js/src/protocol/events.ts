/**
 * What happened: the events that the verbs of a session return, in order. Drivers switch on `type`.
 * One event stands for a whole batch of messages.
 */

import type { Payload } from "./frames.js";
import type { Ending } from "./report.js";

/** What concerns calls. */
export type CallEvent =
  /** The peer asks for something to be done. `by`: when it stops waiting, by our clock, or `null`.
   * `credit`: bytes of items that may be sent before more is granted; 0: a plain request. */
  | {
      type: "requested";
      id: number;
      method: string;
      payload: Payload;
      by: number | null;
      credit: number;
    }
  /** The peer has answered, or ended its stream. */
  | { type: "replied"; id: number; payload: Payload }
  /** The peer could not answer. */
  | { type: "faulted"; id: number; code: string; message: string; payload: Payload }
  /** The peer sent one item of a stream. */
  | { type: "item"; id: number; payload: Payload }
  /** The peer no longer waits for the answer to a request of its own. */
  | { type: "cancelled"; id: number }
  /** The peer takes more items of a stream: `total` bytes of items in all. */
  | { type: "granted"; id: number; total: number }
  /** Items of streams that waited for room may go on. */
  | { type: "eased" };

export type Event =
  /** The greeting is complete and the link carries messages. `resumed`: the session existed before
   * this link. `replayed`: how many numbers are sent again on it. */
  | { type: "opened"; resumed: boolean; replayed: number }
  /** So many messages more can be taken from the inbox. */
  | { type: "arrived"; messages: number }
  /** The peer's application has taken everything up to this number. */
  | { type: "confirmed"; number: number }
  /** The outcome of everything that was sent is known: the peer takes nothing more. */
  | { type: "settled" }
  /** The peer's Finish has arrived. Messages before it may still wait to be taken. */
  | { type: "peerFinished"; code: number; reason: string }
  /** The link is over, the session lives: open another WebSocket, not before `retry` milliseconds
   * where the peer has asked for that. */
  | { type: "detached"; code: number | null; reason: string; retry: number }
  /** The path cuts WebSockets that are silent for so many milliseconds (LIVE-8). */
  | { type: "silenceLearned"; limit: number }
  /** With a store: our messages up to this number are kept (STORE-2). */
  | { type: "stored"; number: number }
  /** The store is full: our messages above this number were taken back and never went. Their
   * numbers are given to other messages (STORE-7). */
  | { type: "withdrawn"; number: number }
  /** The session is over and its report final. */
  | { type: "ended"; ending: Ending }
  | CallEvent;
