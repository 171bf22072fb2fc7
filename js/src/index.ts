/** Messages that arrive once and in order, over any WebSocket, from a page or a JavaScript runtime. */

export { DEFAULTS, type Config } from "./protocol/config.js";
export {
  ConfirmTooLate,
  ConnectionClosed,
  MessageTooLarge,
  NotSerializable,
  NumbersExhausted,
  OutboxFull,
  PayloadError,
  ProtocolViolation,
  ReliableWSError,
  SessionLost,
  StoreFull,
} from "./protocol/errors.js";
export type { PayloadCodec } from "./protocol/payload.js";
export { Report, type End, type Ending, type Outcome, type Undelivered } from "./protocol/report.js";
