/** What `connect` is told. */

import type { Handler } from "./handlers.js";
import type { Config } from "./protocol/config.js";
import type { PayloadCodec } from "./protocol/payload.js";
import type { Report } from "./protocol/report.js";
import type { Backoff } from "./reconnect.js";
import type { WebSocketClass } from "./socket.js";
import type { Store } from "./storePort.js";

/** What happened to a connection as a whole. Times and codes: protocol.md, section 12. */
export interface ConnectionEvent {
  /**
   * `"opened"` comes first. `"detached"` and `"resumed"` come as WebSockets go and come. `"attempt
   * failed"` comes whenever no WebSocket could be opened. `"peer finished"`: the peer sends nothing
   * more. `"store lost"`: the store keeps nothing more, the session goes on in memory. `"closed"`
   * comes last, once the session has ended.
   */
  readonly name:
    | "opened"
    | "detached"
    | "resumed"
    | "attempt failed"
    | "peer finished"
    | "store lost"
    | "closed";
  /** The code, where one was said; else 0. */
  readonly code: number;
  readonly reason: string;
  /** What an attempt failed of, or why the store keeps nothing more. */
  readonly error?: unknown;
  /** For `"resumed"`: how many messages are sent again. */
  readonly replayed?: number;
  /** For `"closed"`: what became of every message. */
  readonly report?: Report;
}

/** A value, or a function that returns it, for each attempt anew: tokens expire. */
export type PerAttempt<T> = T | (() => T | Promise<T>);

/** Options of `connect`. Sizes are bytes, times are milliseconds. */
export interface ConnectOptions {
  /**
   * Packs values that are neither strings nor bytes: `msgpack` of `reliable-ws/msgpack`, for
   * example. Both sides need the same. Default: none, and such values throw.
   */
  codec?: PayloadCodec;
  /** Keeps the session beyond this page: `indexedDB(name)` of `reliable-ws/store`. */
  store?: Store;
  /**
   * Whether `connect` returns also where no WebSocket can be opened for a new session: what is sent
   * is kept in the store, and goes when the server can be reached. It needs a store. Default:
   * false, then `connect` throws. (A session that the store has kept goes on in either case.)
   */
  offline?: boolean;
  /** What the peer may request, by name. Default: nothing. */
  methods?: Readonly<Record<string, Handler>>;
  /**
   * Aborting it ends the session at once, as `abort()` does; before it is open, `connect` throws.
   */
  signal?: AbortSignal;
  /** Headers of the HTTP request, where the runtime can send any: no browser does. */
  headers?: PerAttempt<Record<string, string>>;
  /** Which WebSocket class to use. Default: `ws` in Node where it is installed, else the global. */
  WebSocket?: WebSocketClass;
  /**
   * Whether to offer the subprotocol `reliable-ws.v1`. Turn it off only for a server that does not
   * select it: most runtimes fail there. Default: true.
   */
  subprotocol?: boolean;
  /** Limits and timeouts. */
  config?: Partial<Config>;
  /** How long to wait between attempts to reconnect. */
  backoff?: Partial<Backoff>;
  /** Called with what happens to the connection, soon after it has. */
  onEvent?: (event: ConnectionEvent) => void;
  /**
   * Told of what would be lost without a word (a handler that threw, a message that cannot be
   * decoded), and warned of what makes a connection slow: an application that takes nothing, a
   * proxy that cuts. A warning has no error. Default: `console.error`, `console.warn`.
   */
  log?: (words: string, error: unknown) => void;
}
