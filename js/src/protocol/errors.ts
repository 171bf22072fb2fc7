/** The errors of the protocol core. The driver adds those of requests and of dialing. */

import { CODE } from "./frames.js";
import type { Ending, Report } from "./report.js";

/** The base class of every error of this library. `name` and `code` say which it is. */
export class ReliableWSError extends Error {
  /** The same as `name`, in the form of Node's errors: survives minification. */
  readonly code: string | number;

  constructor(name: string, message: string, options?: ErrorOptions, code: string | number = name) {
    super(message, options);
    this.name = name;
    this.code = code;
  }
}

/** The session, or this direction of it, has ended. */
export class ConnectionClosed extends ReliableWSError {
  /** How it ended. */
  readonly ending: Ending;
  /** What is known of every message that was sent. */
  readonly report: Report;

  constructor(ending: Ending, report: Report, cause?: unknown, name = "ConnectionClosed") {
    super(name, `session ${ending.kind} (${ending.code} ${ending.reason}): ${report}`, { cause },
      ending.code);
    this.ending = ending;
    this.report = report;
  }
}

/** The session could not be resumed. `report` says what is known of each message. */
export class SessionLost extends ConnectionClosed {
  constructor(ending: Ending, report: Report, cause?: unknown) {
    super(ending, report, cause, "SessionLost");
  }
}

/** One side broke the protocol. `ending.reason` says how. */
export class ProtocolViolation extends ConnectionClosed {
  constructor(ending: Ending, report: Report, cause?: unknown) {
    super(ending, report, cause, "ProtocolViolation");
  }
}

/** The message is larger than the peer's `maxMessage`. It was not accepted. */
export class MessageTooLarge extends ReliableWSError {
  constructor(bytes: number, most: number) {
    super("MessageTooLarge", `${bytes} bytes are above the peer's limit of ${most}`);
  }
}

/** This value cannot be sent. Nothing was accepted. */
export class NotSerializable extends ReliableWSError {
  constructor(why: string, options?: ErrorOptions) {
    super("NotSerializable", `this value cannot be sent: ${why}`, options);
  }
}

/** The outbox has no room. The message was not accepted; `await conn.room()` waits for room. */
export class OutboxFull extends ReliableWSError {
  constructor(messages: number, bytes: number) {
    super("OutboxFull", `${messages} messages, ${bytes} bytes wait; await conn.room()`);
  }
}

/** The store has no room. The message was not accepted. */
export class StoreFull extends ReliableWSError {
  constructor() {
    super("StoreFull", "the store has no room: free some, it goes on then");
  }
}

/** The session has used all its numbers. Nothing was accepted; begin another session. */
export class NumbersExhausted extends ReliableWSError {
  constructor(numbers = "sequence numbers") {
    super("NumbersExhausted", `the session has used all its ${numbers}: begin another session`);
  }
}

/** A message arrived, but the payload codec cannot unpack it. It counts as taken. */
export class PayloadError extends ReliableWSError {
  constructor(
    /** The message's sequence number. */
    readonly number: number,
    /** The bytes that arrived. */
    readonly raw: Uint8Array,
    cause: unknown,
  ) {
    super("PayloadError", `message ${number} cannot be decoded: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** A delivery cannot be confirmed any more: the session is over or is being closed. */
export class ConfirmTooLate extends ReliableWSError {
  constructor(number: number) {
    super(
      "ConfirmTooLate",
      `message ${number} cannot be confirmed any more: the session is over or is being closed, ` +
        "and its counters are final",
    );
  }
}

/** Internal: what the peer did wrong. The session catches it. An application never sees it. */
export class Violation extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
  ) {
    super(reason);
  }
}

/** Return the one for a rule that the peer broke, whatever has no code of its own. */
export const violation = (why: string) => new Violation(CODE.VIOLATION, why);
