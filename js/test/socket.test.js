import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { ask, drive, holdsBack, httpAddress, makeWebSocket } from "../dist/socket.js";

/** What a browser gives, as far as it is used; with its rules for close(). */
class FakeWebSocket {
  binaryType = "blob";
  readyState = 0;
  bufferedAmount = 0;
  sent = [];
  closed = [];

  constructor(...args) {
    this.args = args;
  }

  open() {
    this.readyState = 1;
    this.onopen?.({});
  }

  send(data) {
    this.sent.push(data);
    this.bufferedAmount += data.byteLength;
  }

  close(code, reason) {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new DOMException(`the code ${code} is not allowed`, "InvalidAccessError");
    }
    if (reason !== undefined && (code === undefined || Buffer.byteLength(reason) > 123)) {
      throw new DOMException("the reason is not allowed", "SyntaxError");
    }
    this.closed.push([code, reason]);
    this.readyState = 2;
  }
}

function driven(socket = new FakeWebSocket()) {
  const heard = [];
  const driver = drive(socket, {
    opened: () => heard.push("opened"),
    message: (data) => heard.push(data),
    writable: () => heard.push("writable"),
    over: (code, reason, error) => heard.push(["over", code, reason, error]),
  });
  return { socket, driver, heard };
}

test("bytes are asked for before anything arrives, and taken in every form", () => {
  const { socket, heard } = driven();
  assert.equal(socket.binaryType, "arraybuffer");
  socket.open();
  socket.onmessage({ data: Uint8Array.of(1, 2).buffer });
  socket.onmessage({ data: Buffer.from("ab").subarray(1) });
  socket.onmessage({ data: new DataView(Uint8Array.of(7, 8, 9).buffer, 1, 1) });
  socket.onmessage({ data: "text" });
  assert.deepEqual(heard.slice(1), [
    Uint8Array.of(1, 2),
    new Uint8Array([98]),
    Uint8Array.of(8),
    "text",
  ]);
});

test("a WebSocket that gives Blobs all the same is of no use", () => {
  const { socket, heard } = driven();
  socket.open();
  socket.onmessage({ data: new Blob(["x"]) });
  assert.match(heard.at(-1)[2], /Blob/);
  assert.equal(socket.closed.length, 1);
});

test("every code of protocol.md is closed with, or with 1000 (CLOSE-26)", () => {
  const codes = [1000, 1001, 1009, 1011, 1012, 3000, 3999, 4400, 4404, 4409, 4410, 4422, 4529];
  for (const code of codes) {
    const { socket, driver } = driven();
    socket.open();
    driver.close(code, "why");
    assert.deepEqual(socket.closed, [[code < 3000 ? 1000 : code, "why"]]);
  }
});

test("a reason is cut at a character, and is never longer than 123 bytes", () => {
  const { socket, driver } = driven();
  socket.open();
  driver.close(1000, "€".repeat(50));
  assert.deepEqual(socket.closed, [[1000, "€".repeat(41)]]);
});

test("a WebSocket that refuses to be closed like this is closed without a word", () => {
  const { socket, driver } = driven();
  socket.open();
  const { close } = socket;
  socket.close = (...args) => {
    if (args.length) throw new DOMException("a rule of its own", "InvalidAccessError");
    close.call(socket);
  };
  driver.close(1000, "why");
  assert.deepEqual(socket.closed, [[undefined, undefined]]);
});

test("the end is what comes first: close, or an error before it opened; and only once", () => {
  const failed = driven();
  const error = new Error("refused");
  failed.socket.onerror({ message: "refused", error });
  failed.socket.onerror({ message: "again" });
  assert.equal(failed.socket.onclose, null);
  assert.deepEqual(failed.heard, [["over", undefined, "refused", error]]);

  const opened = driven();
  opened.socket.open();
  opened.socket.onerror({});
  opened.socket.onclose({ code: 4404, reason: "gone" });
  assert.deepEqual(opened.heard.at(-1).slice(0, 3), ["over", 4404, "gone"]);
  assert.equal(opened.heard.length, 2);
});

test("codes that say nothing are none", () => {
  for (const code of [0, 1005, 1006, undefined]) {
    const { socket, heard } = driven();
    socket.open();
    socket.onclose({ code, reason: "" });
    assert.equal(heard.at(-1)[1], undefined);
  }
});

test("to drop a socket is to close it and to hear nothing more of it", () => {
  const { socket, driver, heard } = driven();
  driver.drop();
  driver.drop();
  assert.deepEqual(socket.closed, [[1000, ""]]);
  assert.deepEqual([socket.onopen, socket.onmessage, socket.onclose], [null, null, null]);
  socket.onerror({ message: "closed before it was established" }); // as `ws` says
  assert.deepEqual(heard, []);

  let terminated = 0;
  const other = driven(Object.assign(new FakeWebSocket(), { terminate: () => (terminated += 1) }));
  other.driver.drop();
  assert.equal(terminated, 1);
  assert.deepEqual(other.socket.closed, []);
});

test("at most a mebibyte lies in its buffer, and it is asked again when it was full", async () => {
  const { socket, driver, heard } = driven();
  assert.equal(driver.hasRoom(), false);
  socket.open();
  assert.equal(driver.hasRoom(), true);
  driver.send(new Uint8Array(1024 * 1024));
  assert.equal(driver.hasRoom(), false);
  socket.bufferedAmount = 0;
  await new Promise((resolve) => {
    heard.push = (...what) => resolve(what);
  }).then((what) => assert.deepEqual(what, ["writable"]));
  assert.equal(driver.hasRoom(), true);
});

test("nobody asks a socket that is gone, though its buffer stays full", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, driver, heard } = driven();
  socket.open();
  driver.send(new Uint8Array(2 * 1024 * 1024));
  assert.equal(driver.hasRoom(), false);
  socket.readyState = 3;
  socket.onclose({ code: 1006, reason: "" });
  t.mock.timers.tick(1000);
  assert.ok(!heard.includes("writable"));
  assert.equal(driver.hasRoom(), false);
});

test("the subprotocol is offered, unless that is turned off (LINK-7)", () => {
  const url = "ws://localhost/";
  assert.deepEqual(makeWebSocket(FakeWebSocket, url, true).args, [url, ["reliable-ws.v1"]]);
  assert.deepEqual(makeWebSocket(FakeWebSocket, url, false).args, [url, []]);
});

test("headers go where the runtime takes them, and a page is told that it takes none", (t) => {
  const url = "ws://localhost/";
  const headers = { authorization: "token" };
  assert.deepEqual(makeWebSocket(FakeWebSocket, url, true, headers).args, [
    url,
    ["reliable-ws.v1"],
    { headers },
  ]);
  const { WebSocket, document } = globalThis;
  t.after(() => Object.assign(globalThis, { WebSocket, document }));
  globalThis.WebSocket = FakeWebSocket;
  assert.deepEqual(makeWebSocket(FakeWebSocket, url, true, headers).args, [
    url,
    { protocols: ["reliable-ws.v1"], headers },
  ]);
  globalThis.document = {};
  assert.throws(() => makeWebSocket(FakeWebSocket, url, true, headers), {
    name: "TypeError",
    message: /cookie/,
  });
});

test("only Firefox's own WebSocket holds openings back", (t) => {
  const set = (name, value) => {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true });
    t.after(() => {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete globalThis[name];
    });
  };
  set("WebSocket", FakeWebSocket);
  assert.equal(holdsBack(FakeWebSocket), false); // in Node
  for (const [userAgent, holds] of [
    ["Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", true],
    ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0", false],
  ]) {
    set("navigator", { userAgent });
    assert.equal(holdsBack(FakeWebSocket), holds);
    assert.equal(holdsBack(class extends FakeWebSocket {}), false);
  }
  set("navigator", undefined);
  assert.equal(holdsBack(FakeWebSocket), false);
});

test("a server is asked for at its path, without the query", () => {
  assert.equal(httpAddress("ws://example.org:8765/live?token=1#a"), "http://example.org:8765/live");
  assert.equal(httpAddress("wss://example.org"), "https://example.org/");
  assert.equal(httpAddress("https://example.org/a"), "https://example.org/a");
});

test("any answer says that the server is there, but a proxy's that it is not", async (t) => {
  const server = createServer((request, response) => {
    response.writeHead(Number(request.url.slice(1))).end("any");
  });
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = `http://127.0.0.1:${server.address().port}`;
  const { signal } = new AbortController();
  for (const status of [200, 404, 426, 500]) await ask(`${address}/${status}`, signal);
  for (const status of [502, 503, 504]) {
    await assert.rejects(ask(`${address}/${status}`, signal), { message: `a proxy answered ${status}` });
  }
  await assert.rejects(ask(`${address}/200`, AbortSignal.abort()), { name: "AbortError" });
});
