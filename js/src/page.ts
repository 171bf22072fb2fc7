/**
 * The life of a page: it is hidden, frozen, put into the back/forward cache, and left.
 *
 * What is wrong there without this module: Chromium keeps the WebSocket of a page in its cache
 * open, answers pings below it and throws away what arrives. So the socket is closed on the way in,
 * and another one is opened on the way back (docs/javascript.md). In Node and in workers without a
 * document only the events that exist are listened to.
 */

/** What a page tells. */
export interface PageHandlers {
  /** The page may be frozen from now on, for any time: close the socket, keep the session. */
  suspend(): void;
  /** It runs again: open another socket at once. */
  resume(): void;
  /** It is left for good. */
  leave(): void;
  /** There is a network again, or somebody looks at the page: see whether the socket is alive. */
  wake(): void;
  /** Its Content-Security-Policy does not let it ask for this address. */
  forbidden(address: string): void;
}

/** The global object of a page or a worker, as far as it is looked at. */
export interface PageTarget {
  addEventListener?(name: string, listener: (event: any) => void): void;
  removeEventListener?(name: string, listener: (event: any) => void): void;
  document?: (PageTarget & { readonly visibilityState?: string }) | undefined;
}

/** Listen to the page until the function that this returns is called. */
export function watchPage(target: PageTarget, handlers: PageHandlers): () => void {
  const { document } = target;
  const listeners: [PageTarget | undefined, string, (event: any) => void][] = [
    [target, "pagehide", ({ persisted }) => (persisted ? handlers.suspend() : handlers.leave())],
    [target, "pageshow", ({ persisted }) => persisted && handlers.resume()],
    [target, "online", handlers.wake],
    [target, "securitypolicyviolation", ({ blockedURI }) => handlers.forbidden(blockedURI)],
    [document, "freeze", handlers.suspend],
    [document, "resume", handlers.resume],
    [
      document,
      "visibilitychange",
      () => document?.visibilityState === "visible" && handlers.wake(),
    ],
  ];
  for (const [where, name, listener] of listeners) where?.addEventListener?.(name, listener);
  return () => {
    for (const [where, name, listener] of listeners) where?.removeEventListener?.(name, listener);
  };
}
