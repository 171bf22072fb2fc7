/**
 * A WebSocket as a transport: what differs between browsers, Node, Deno and Bun ends here.
 *
 * - `binaryType` is set before anything arrives: Blobs are read out of order in some browsers.
 * - A page may close with 1000 and 3000 to 4999 only; any other code becomes 1000. The Refuse or
 *   Finish before it has said the true one. A reason never goes without a code.
 * - The end is the first of `close`, and of `error` on a WebSocket that never opened.
 * - At most 1 MiB lies in `bufferedAmount`: what lies there dies with a tab, and acks wait behind.
 */

import { SUBPROTOCOL } from "./protocol/frames.js";
import { clipped } from "./protocol/utf8.js";

/** Bytes that may lie in `bufferedAmount`. */
const MOST_BUFFERED = 1024 * 1024;

/** Milliseconds after which a full buffer is looked at again. Arriving envelopes look as well. */
const FULL_FOR = 5;

const OPEN = 1;

/** What is used of a WebSocket: that of browsers, of `ws`, of Node, of Deno and of Bun have it. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(data: any): void;
  close(code?: number, reason?: string): void;
  /** Only `ws` has it: drop the connection at once. */
  terminate?(): void;
}

/** A class whose instances are WebSockets. */
export type WebSocketClass = new (url: string, ...options: any[]) => WebSocketLike;

/** What happens to a socket. Handlers return at once. */
export interface SocketHandlers {
  opened(): void;
  message(data: Uint8Array | string): void;
  /** There may be room again. */
  writable(): void;
  /** Called once. `code` is undefined where none was said (0, 1005, 1006). */
  over(code: number | undefined, reason: string, error: unknown): void;
}

export interface Socket {
  /** Whether it is open. */
  readonly isOpen: boolean;
  /** Whether it is open and takes another envelope. If it is full, `writable` is called later. */
  hasRoom(): boolean;
  send(data: Uint8Array): void;
  /** Close as the peer may see it. `over` is called later, or never. */
  close(code: number, reason: string): void;
  /** Be done with it at once, without waiting for its end. `over` is not called any more. */
  drop(): void;
}

/** Drive a WebSocket that was just made. */
export function drive(socket: WebSocketLike, handlers: SocketHandlers): Socket {
  let opened = false;
  let isOver = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const silence = () => {
    isOver = true;
    clearTimeout(timer);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {}; // `ws` throws an error that nobody listens to
  };
  const over = (code: number | undefined, reason: string, error?: unknown) => {
    if (isOver) return;
    silence();
    handlers.over(code && code !== 1005 && code !== 1006 ? code : undefined, reason, error);
  };
  const close = (code: number, reason: string) => {
    const may = code === 1000 || (code >= 3000 && code < 5000);
    try {
      socket.close(may ? code : 1000, clipped(reason, 123));
    } catch {
      // It never was open, or the runtime has a rule of its own: no reason matters that much.
      socket.close();
    }
  };
  let failure: unknown;

  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    opened = true;
    handlers.opened();
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") handlers.message(data);
    else if (data instanceof ArrayBuffer) handlers.message(new Uint8Array(data));
    else if (ArrayBuffer.isView(data)) {
      handlers.message(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    } else {
      over(undefined, "this WebSocket gives Blobs: it must respect binaryType = 'arraybuffer'");
      socket.close();
    }
  };
  socket.onerror = (event) => {
    failure = event?.error ?? event;
    if (!opened) over(undefined, event?.message || "this runtime does not say why", failure);
  };
  socket.onclose = ({ code, reason }) => over(code, reason || "", failure);

  return {
    get isOpen() {
      return !isOver && socket.readyState === OPEN;
    },
    hasRoom() {
      if (!this.isOpen) return false;
      if (socket.bufferedAmount < MOST_BUFFERED) return true;
      // Look again: a socket that died keeps its bufferedAmount, but `over` clears the timer.
      timer ??= setTimeout(() => {
        timer = undefined;
        handlers.writable();
      }, FULL_FOR);
      return false;
    },
    send: (data) => socket.send(data),
    close,
    drop() {
      if (isOver) return;
      silence();
      if (socket.terminate) socket.terminate();
      else close(1000, "");
    },
  };
}

/** Import a module that bundlers do not look for: a page does not need it. */
const load = (name: string) => import(/* @vite-ignore */ /* webpackIgnore: true */ name);

let chosen: Promise<WebSocketClass> | undefined;

/**
 * The WebSocket class of this runtime. In Node `ws` is preferred where it is installed: Node's own
 * can end the process by an exception that nobody can catch, and Node 20 has none.
 *
 * @throws Error there is none
 */
export function defaultWebSocket(): Promise<WebSocketClass> {
  chosen ??= (async () => {
    const { process, Deno, Bun, WebSocket } = globalThis as any;
    if (process?.versions?.node && !Deno && !Bun) {
      try {
        return (await load("ws")).WebSocket;
      } catch {
        // It is not installed.
      }
    }
    if (!WebSocket) {
      chosen = undefined;
      throw new Error("this runtime has no WebSocket: npm install ws, or pass { WebSocket }");
    }
    return WebSocket;
  })();
  return chosen;
}

/** Whether this runtime holds openings back after some that failed, up to a minute: Firefox does. */
export function holdsBack(WebSocket: WebSocketClass): boolean {
  const { navigator, WebSocket: own } = globalThis as any;
  return WebSocket === own && /Firefox\//.test(navigator?.userAgent);
}

/** Where to ask for the server of a WebSocket. Without the query: a token in it may count once. */
export function httpAddress(url: string): string {
  const address = new URL(url, (globalThis as any).location?.href);
  address.protocol = address.protocol.replace("ws", "http");
  address.search = address.hash = "";
  return address.href;
}

/**
 * Ask by HTTP whether a server is there. Any answer says so, above all 426 (Upgrade Required).
 *
 * @throws TypeError nobody answered, or this page may not ask
 * @throws Error a proxy answered that its server is away (seen in the page's own origin only)
 */
export async function ask(address: string, signal: AbortSignal): Promise<void> {
  const { status } = await fetch(address, {
    mode: "no-cors",
    cache: "no-store",
    credentials: "omit",
    signal,
  });
  if (status >= 502 && status <= 504) throw new Error(`a proxy answered ${status}`);
}

/**
 * Make a WebSocket.
 *
 * @param headers of the HTTP request. Browsers cannot send any: then it throws.
 * @throws TypeError this WebSocket takes no headers
 * @throws SyntaxError the URL is none
 */
export function makeWebSocket(
  WebSocket: WebSocketClass,
  url: string,
  subprotocol: boolean,
  headers: Record<string, string> | undefined,
): WebSocketLike {
  const protocols = subprotocol ? [SUBPROTOCOL] : [];
  if (!headers) return new WebSocket(url, protocols);
  const { document, WorkerGlobalScope, WebSocket: own, Deno } = globalThis as any;
  if (WebSocket === own) {
    if (document || (WorkerGlobalScope && !Deno)) {
      throw new TypeError("a page cannot send headers: put a token into the URL, or use a cookie");
    }
    return new WebSocket(url, { protocols, headers }); // Node's own, Deno's, Bun's
  }
  return new WebSocket(url, protocols, { headers }); // ws
}
