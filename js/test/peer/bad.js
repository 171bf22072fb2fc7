// Peers that are not honest or not correct: each sends one bad thing and reports what came back.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { decode, encode } from "../../dist/protocol/codec.js";
import { ACK, HELLO, MESSAGES, REFUSE, SUBPROTOCOL, WELCOME } from "../../dist/protocol/frames.js";

const NOTHING = [[0, 0, 0, false, []], 0, 1, 0];
const LIMITS = [32768, 4 << 20, 1 << 20, 64 << 20, 1024, 20000, 120000];
const hello = (id, key, attempt, incarnation) => [
  HELLO,
  1,
  1,
  id,
  key,
  attempt,
  incarnation,
  NOTHING,
  LIMITS,
];
const welcome = (incarnation, resumed = false) => [
  WELCOME,
  1,
  resumed,
  incarnation,
  NOTHING,
  LIMITS,
];
const message = (number) => [MESSAGES, number, ["x"]];

/** Said on an open link: bytes, and the code that is expected. */
const AFTER = {
  gap: [encode([message(2)]), 4422],
  "ack-never-sent": [encode([[ACK, 1, 1]]), 4422],
  "unknown-critical-type": [Buffer.from("91915a", "hex"), 4400],
  truncated: [Buffer.from("91934105", "hex"), 4400],
};

/** Frames of a WebSocket, one at a time; `null` when it has closed. */
class Inbox {
  #frames = [];
  #tell = () => {};

  constructor(ws, say) {
    this.ws = ws;
    ws.on("message", (data) => {
      const frames = decode(new Uint8Array(data), Infinity);
      for (const [type] of frames) say({ event: "frame", type: String.fromCharCode(type) });
      this.#frames.push(...frames);
      this.#tell();
    });
    ws.on("error", () => {}); // it closes
    ws.on("close", (code) => {
      say({ event: "closed", code });
      this.#frames.push(null);
      this.#tell();
    });
  }

  /** Return the next frame of this type, or of any; others are passed over. */
  async next(wanted) {
    for (;;) {
      while (!this.#frames.length) await new Promise((resolve) => (this.#tell = resolve));
      if (this.#frames[0] === null) return null;
      const frame = this.#frames.shift();
      if (wanted === undefined || frame[0] === wanted) return frame;
    }
  }
}

const isRefuse = (frame, code) => frame?.[0] === REFUSE && frame[1] === code;
const isFinal = (frame, code) => isRefuse(frame, code) && Array.isArray(frame[4]);

export async function connect(url, name, say) {
  const id = randomBytes(16);
  const key = randomBytes(32);
  const open = async (frames) => {
    const ws = new WebSocket(url, [SUBPROTOCOL]);
    const inbox = new Inbox(ws, say);
    await once(ws, "open");
    ws.send(encode(frames));
    return inbox;
  };
  if (name === "data-before-welcome") {
    // In the Hello's own envelope; then as the first envelope.
    const inbox = await open([hello(id, key, 1, 0), message(1)]);
    const other = await open([message(1)]);
    return isRefuse(await inbox.next(), 4400) && isRefuse(await other.next(), 4400);
  }
  const inbox = await open([hello(id, key, 5, 0)]);
  const answer = await inbox.next();
  if (answer?.[0] !== WELCOME) return false;
  if (AFTER[name]) {
    inbox.ws.send(AFTER[name][0]);
    return isFinal(await inbox.next(REFUSE), AFTER[name][1]);
  }
  const [second, code] =
    name === "wrong-key"
      ? [hello(id, randomBytes(32), 6, answer[3]), 4404]
      : [hello(id, key, 5, answer[3]), 4409]; // stale-attempt
  if (!isRefuse(await (await open([second])).next(), code)) return false;
  // And the true holder's link is untouched: it answers a gap.
  inbox.ws.send(AFTER.gap[0]);
  return isFinal(await inbox.next(REFUSE), 4422);
}

export async function serve(port, name, say) {
  const sockets = [];
  let arrived = () => {};
  const server = new WebSocketServer({ port: Number(port), host: "127.0.0.1" }, () =>
    say({ event: "listening", port: server.address().port }),
  );
  server.on("connection", (ws) => {
    sockets.push(new Inbox(ws, say));
    arrived();
  });
  const accept = async () => {
    while (!sockets.length) await new Promise((resolve) => (arrived = resolve));
    const inbox = sockets.shift();
    const frame = await inbox.next();
    if (frame?.[0] !== HELLO) throw new Error("no Hello");
    return inbox;
  };
  const inbox = await accept();
  if (name === "data-before-welcome") {
    // HELLO-8: a first link is dropped, and nothing is said.
    inbox.ws.send(encode([message(1)]));
    return (await inbox.next()) === null;
  }
  if (name === "stale-attempt") {
    // RESUME-6: who is told 4409 does not come back.
    inbox.ws.send(encode([[REFUSE, 4409, "a later attempt", 0, null]]));
    const isGone = (await inbox.next()) === null;
    await new Promise((resolve) => setTimeout(resolve, 500)); // as long as it would take
    return isGone && !sockets.length;
  }
  inbox.ws.send(encode([welcome(7)]));
  if (name === "wrong-key") {
    // The acceptor's counterpart: another incarnation (HELLO-15).
    inbox.ws.terminate();
    const again = await accept();
    again.ws.send(encode([welcome(8, true)]));
    const frame = await again.next(REFUSE);
    return frame === null || isRefuse(frame, 4422);
  }
  inbox.ws.send(AFTER[name][0]);
  return isFinal(await inbox.next(REFUSE), AFTER[name][1]);
}
