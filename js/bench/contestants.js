// The contestants. The same code runs in Node and in pages: only the class of WebSockets differs.
//
// Each function connects, does its work, and returns how many milliseconds that took: without the
// time to connect and to close. Messages are texts of ASCII characters.

import { connect } from "reliable-ws";

// Bytes that a plain sender has in its WebSocket before it lets others run.
const MOST_BUFFERED = 256 * 1024;

const turn = () => new Promise(globalThis.setImmediate ?? setTimeout);

export const contestants = (WebSocket) => {
  async function open(url) {
    // Only `ws` knows the last argument, and compresses without it. The server does not.
    const socket = globalThis.document
      ? new WebSocket(url)
      : new WebSocket(url, { perMessageDeflate: false });
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return socket;
  }

  // Return what a connection took to do its work, and end it.
  async function timed(connection, work) {
    const began = performance.now();
    await work();
    const time = performance.now() - began;
    await connection.close();
    return time;
  }

  return {
    // A plain WebSocket: send, and wait for one answer behind the last message.
    async plainUp(url, size, count) {
      const socket = await open(`${url}/sink`);
      const text = "x".repeat(size);
      return timed(socket, async () => {
        const answered = new Promise((resolve) => (socket.onmessage = resolve));
        for (let sent = 0; sent < count; sent++) {
          socket.send(text);
          while (socket.bufferedAmount > MOST_BUFFERED) await turn();
        }
        socket.send("");
        await answered;
      });
    },

    // A session: send as there is room, and wait until the last message is confirmed. So are the
    // others then. `store`: what keeps them.
    async reliableUp(url, size, count, store) {
      const conn = await connect(`${url}/sink`, { WebSocket, store });
      const text = "x".repeat(size);
      return timed(conn, async () => {
        let receipt;
        for (let sent = 0; sent < count; sent++) {
          await conn.room(size);
          receipt = conn.send(text);
        }
        await receipt.confirmed;
      });
    },

    // A plain WebSocket: have so many messages sent, and wait for the last one.
    async plainDown(url, size, count) {
      const socket = await open(`${url}/source`);
      return timed(
        socket,
        () =>
          new Promise((resolve) => {
            let left = count;
            socket.onmessage = () => --left || resolve();
            socket.send(JSON.stringify({ size, count }));
          }),
      );
    },

    // A session: the same. Taking a message confirms it.
    async reliableDown(url, size, count) {
      const conn = await connect(`${url}/source`, { WebSocket });
      return timed(conn, async () => {
        let left = count;
        conn.send(JSON.stringify({ size, count }));
        for await (const _message of conn) if (!--left) return;
      });
    },

    // A plain WebSocket: send, wait for the echo, and so on.
    async plainEcho(url, size, count) {
      const socket = await open(`${url}/echo`);
      const text = "x".repeat(size);
      return timed(socket, async () => {
        for (let sent = 0; sent < count; sent++) {
          const answered = new Promise((resolve) => (socket.onmessage = resolve));
          socket.send(text);
          await answered;
        }
      });
    },

    // A session: send, wait until the message is confirmed, and so on.
    async reliableOneByOne(url, size, count) {
      const conn = await connect(`${url}/sink`, { WebSocket });
      const text = "x".repeat(size);
      return timed(conn, async () => {
        for (let sent = 0; sent < count; sent++) await conn.send(text).confirmed;
      });
    },
  };
};
