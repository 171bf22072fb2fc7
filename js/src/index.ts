/**
 * Messages that arrive once and in order, over any WebSocket, from a page or a JavaScript runtime.
 */

export { connect } from "./connect.js";
export {
  Connection,
  Delivery,
  Receipt,
  type CloseOptions,
  type State,
} from "./connection.js";
export {
  ConfirmTooLate,
  ConnectFailed,
  ConnectionClosed,
  DeliveryError,
  Kept,
  MessageTooLarge,
  NotReliablePeer,
  NotSerializable,
  NotTaken,
  NumbersExhausted,
  OutboxFull,
  OutcomeUnknown,
  PayloadError,
  ProtocolViolation,
  ReliableWSError,
  RemoteError,
  RequestTimeout,
  ServerBusy,
  SessionLost,
  StoreFull,
} from "./errors.js";
export type { Handler, HandlerContext } from "./handlers.js";
export type { ConnectionEvent, ConnectOptions, PerAttempt } from "./options.js";
export { DEFAULTS, type Config } from "./protocol/config.js";
export type { PayloadCodec } from "./protocol/payload.js";
export {
  Report,
  type End,
  type Ending,
  type Outcome,
  type Undelivered,
} from "./protocol/report.js";
export { DEFAULT_BACKOFF, type Backoff } from "./reconnect.js";
export type { RequestOptions } from "./requests.js";
export type { WebSocketClass, WebSocketLike } from "./socket.js";
export type { Mark, Status, StatusValue } from "./status.js";
export type { HeldStore, Store } from "./storePort.js";
