// The server that socket.io-client talks to: it acknowledges every message. It prints its address,
// and ends with its stdin.

import { Server } from "socket.io";

const server = new Server(0, { transports: ["websocket"] });
server.on("connection", (socket) => {
  socket.on("message", (_text, acknowledge) => acknowledge());
});
server.httpServer.once("listening", () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.httpServer.address().port}` }));
});
process.stdin.resume().once("end", () => process.exit());
