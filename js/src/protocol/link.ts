/** One WebSocket's share of a session. Pull what it sends with `transmit`. */

/** How to close the WebSocket under a link that is over. */
export interface CloseAction {
  /** One of protocol.md, section 12. A page cannot say all of them: then 1000. */
  readonly code: number;
  readonly reason: string;
}

/** Where a link stands: *initiated* is open. */
export type Phase = "dialing" | "initiated" | "over";

export class Link {
  phase: Phase = "dialing";

  /** How to close the WebSocket. Set once, exactly when the link is over. */
  closeAction: CloseAction | null = null;

  /** When the peer was heard last on this link. */
  heardAt = -Infinity;

  /**
   * Whether nothing may be said yet, because the store does not have what this link would say
   * (STORE-1, STORE-4). A link that is over is closed only when this is `false`.
   */
  held = false;

  /**
   * Return the next WebSocket message to send, or `null` if there is none for now.
   *
   * What it returns counts as transmitted. Call it again until it gives `null`, whenever something
   * happened and the transport has room; also once a link is over, before its WebSocket is closed.
   */
  transmit(_now: number): Uint8Array | null {
    throw new Error("not yet");
  }
}
