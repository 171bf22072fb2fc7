/** The errors of dialing, of receipts and of requests. Those of the core are in `protocol/`. */

import { ReliableWSError } from "./protocol/errors.js";
import { Report, type Ending, type Outcome } from "./protocol/report.js";

export * from "./protocol/errors.js";

/** The first WebSocket did not open. `cause` is what the runtime says; a page is not told why. */
export class ConnectFailed extends ReliableWSError {
  constructor(
    why: string,
    /** The HTTP status of the server's answer; 0 where there was none, or it is not told. */
    readonly status: number,
    cause: unknown,
  ) {
    super("ConnectFailed", `the WebSocket did not open: ${why}`, { cause });
  }
}

/** The peer does not speak this protocol, or no version that this side speaks. */
export class NotReliablePeer extends ReliableWSError {
  constructor(why: string, cause?: unknown) {
    super("NotReliablePeer", `the peer does not speak reliable-ws.v1: ${why}`, { cause });
  }
}

/** The peer takes no new session now. Nothing was sent, so a later attempt does no harm. */
export class ServerBusy extends ReliableWSError {
  constructor(
    reason: string,
    /** Milliseconds after which the peer asks to come again; 0: it did not say. */
    readonly retryAfter: number,
  ) {
    super("ServerBusy", `the peer takes no new session now: ${reason || "try again later"}`);
  }
}

/**
 * Some messages will never be confirmed, or a request will never be answered. `report` names them.
 * It is always one of the three subclasses.
 */
export class DeliveryError extends ReliableWSError {
  constructor(
    name: string,
    /** What is known of every message that the call is about. */
    readonly report: Report,
    words: string | undefined,
  ) {
    super(name, words ?? String(report));
  }
}

/** The peer's application has taken none of these and never will: you can send them again. */
export class NotTaken extends DeliveryError {
  constructor(report: Report, words?: string) {
    super("NotTaken", report, words);
  }
}

/** The store has at least one of these for the next page, which sends it. No outcome is unknown. */
export class Kept extends DeliveryError {
  constructor(report: Report, words?: string) {
    super("Kept", report, words);
  }
}

/** For at least one message it is not known whether the peer's application took it. */
export class OutcomeUnknown extends DeliveryError {
  constructor(report: Report, words?: string) {
    super("OutcomeUnknown", report, words);
  }
}

/** Return the error for a final report with something that is not confirmed. */
export function deliveryError(report: Report, words?: string): DeliveryError {
  if (report.count("unknown")) return new OutcomeUnknown(report, words);
  return new (report.count("kept") ? Kept : NotTaken)(report, words);
}

/**
 * The peer's handler answered a request with an error. Throw it in a handler of your own to answer
 * with one: code, message and data travel to the caller.
 */
export class RemoteError extends ReliableWSError {
  /** @param code A short word for programs: protocol.md, CALL-11, lists those with a meaning. */
  constructor(
    override readonly code: string,
    /** A text for people. */
    readonly text = "",
    /** Any value that the codec packs. */
    readonly data: unknown = null,
  ) {
    super("RemoteError", text ? `${code}: ${text}` : code, undefined, code);
  }
}

/** No answer came in time. */
export class RequestTimeout extends ReliableWSError {
  constructor(
    readonly method: string,
    /** Whether the peer got the request; `null`: this is not known. */
    readonly taken: boolean | null,
  ) {
    const fate = { true: "the peer got it", false: "it never left", null: "it may have arrived" };
    super("RequestTimeout", `no answer to "${method}" in time; ${fate[`${taken}`]}`);
  }
}

/** Return the error for a request to which no answer can come any more. */
export function requestError(
  number: number,
  message: { method: string; params: unknown },
  taken: boolean | null,
  ending: Ending | null,
): DeliveryError {
  const outcome: Outcome = taken === false ? "not taken" : "unknown";
  const report = new Report(1, 0, [{ first: number, last: number, outcome }], ending, () => [
    { number, outcome, message },
  ]);
  const fate = taken === false ? "never reached the peer's application" : "has no answer";
  const how = ending ? `; session ${ending.kind} (${ending.code})` : "";
  return deliveryError(report, `request "${message.method}" ${fate}${how}`);
}
