// `make bench-js`: a session beside what people use instead, from Node and from pages.
//
//     node bench/main.js [--rounds 5] [--only node,chromium,firefox,webkit]
//
// The server at the other end of sessions and of plain WebSockets is one process in Python. That of
// socket.io is one in Node. Compression is off everywhere.
//
// A round measures all contestants of a place, one after another; each round begins with another
// one. The first round warms up, and does not count.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { versionOf } from "../test/browser/browsers.js";
import { PYTHON, REPOSITORY } from "../test/browser/server.js";
import { contestants } from "./contestants.js";
import { Page } from "./pages.js";

// Messages that wait for their acknowledgement in socket.io.
const WINDOW = 4096;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: "node,chromium,firefox,webkit" },
  },
});
const ROUNDS = Number(options.rounds);

// ------------------------------------------------------------------ servers

// Start a program, and return it with the object that it prints.
async function start(program, ...args) {
  const child = spawn(program, args.map((name) => join(import.meta.dirname, name)), {
    env: { ...process.env, PYTHONPATH: REPOSITORY },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return { child, ...JSON.parse(line) };
}

// ------------------------------------------------------------------ rounds

// A contestant is a function that returns milliseconds, and how many messages they are for. Return
// the messages a second of each, in each round.
async function measure(list) {
  const names = Object.keys(list);
  const rates = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length];
      const [run, count] = list[name];
      const rate = (1000 * count) / (await run(count));
      if (round) rates[name].push(rate);
    }
  }
  return rates;
}

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

// Print a row: the ratio of the medians, and the range of the ratios of each round.
function row(what, one, other, target) {
  const ratios = one.map((rate, round) => rate / other[round]);
  const [low, high] = [Math.min(...ratios), Math.max(...ratios)].map((ratio) => ratio.toFixed(2));
  const ratio = (median(one) / median(other)).toFixed(2);
  console.log(`| ${what} | ${ratio}x | ${low} - ${high} | ${target} |`);
}

const found = []; // messages a second, for the second table

// ------------------------------------------------------------------ Node

// socket.io with acknowledgement callbacks: so many may be on their way.
async function socketIo(url, size, count) {
  const socket = io(url, { transports: ["websocket"] });
  await new Promise((resolve) => socket.on("connect", resolve));
  const text = "x".repeat(size);
  const began = performance.now();
  let acknowledged = 0;
  let go = () => {};
  const acknowledge = () => {
    acknowledged++;
    go();
  };
  const until = (number) =>
    new Promise((resolve) => {
      go = () => acknowledged >= number && resolve();
      go();
    });
  for (let sent = 0; sent < count; sent++) {
    if (sent - acknowledged >= WINDOW) await until(sent - WINDOW / 2);
    socket.emit("message", text, acknowledge);
  }
  await until(count);
  const time = performance.now() - began;
  socket.close();
  return time;
}

async function benchNode(python) {
  const socketio = await start(process.execPath, "socketio.js");
  const { plainUp, reliableUp } = contestants(WebSocket);
  const { session, plain, socketIo: others } = await measure({
    session: [(count) => reliableUp(python.reliable, 256, count), 100_000],
    plain: [(count) => plainUp(python.plain, 256, count), 30_000],
    socketIo: [(count) => socketIo(socketio.url, 256, count), 20_000],
  });
  socketio.child.stdin.end();
  const what = "Node: stream, 256 B, confirmed";
  row(`${what} / socket.io with acknowledgements`, session, others, "≥ 5x");
  row(`${what} / plain ws, unacknowledged`, session, plain, "≥ 1x");
  found.push(["Node: stream, 256 B: session", session]);
  found.push(["Node: stream, 256 B: plain ws", plain]);
  found.push(["Node: stream, 256 B: socket.io, acknowledged", others]);
}

// ------------------------------------------------------------------ pages

const TARGETS = {
  chromium: { title: "Chromium", up: "≥ 35x", down: "≥ 25x", time: "≤ 1.4x" },
  firefox: { title: "Firefox", up: "≥ 16x", down: "≥ 10x", time: "≤ 1.4x" },
  webkit: { title: "WebKit", up: "", down: "", time: "" },
};

async function benchPage(name, python) {
  const page = await Page.open(name);
  try {
    const run = (contestant, url, size) => (count) => page.run(contestant, url, size, count);
    const { plain, reliable } = python;
    const rates = await measure({
      plainUp: [run("plainUp", plain, 32), 15_000],
      reliableUp: [run("reliableUp", reliable, 32), 200_000],
      plainDown: [run("plainDown", plain, 32), 15_000],
      reliableDown: [run("reliableDown", reliable, 32), 200_000],
      echo: [run("plainEcho", plain, 32), 1000],
      oneByOne: [run("reliableOneByOne", reliable, 32), 1000],
    });
    const { title, up, down, time } = TARGETS[name];
    row(`${title}: up, 32 B / its WebSocket`, rates.reliableUp, rates.plainUp, up);
    row(`${title}: down, 32 B / its WebSocket`, rates.reliableDown, rates.plainDown, down);
    row(`${title}: confirmed message / echo: time`, rates.echo, rates.oneByOne, time);
    if (name === "chromium") {
      const { stored, memory } = await measure({
        stored: [run("storedUp", reliable, 256), 20_000],
        memory: [run("reliableUp", reliable, 256), 50_000],
      });
      row(`${title}: stream, 256 B, with IndexedDB / without`, stored, memory, "≥ 0.3x");
      found.push([`${title}: stream, 256 B, with IndexedDB`, stored]);
      found.push([`${title}: stream, 256 B, without`, memory]);
    }
    found.push([`${title}: up, 32 B`, rates.reliableUp]);
    found.push([`${title}: up, 32 B: its WebSocket`, rates.plainUp]);
    found.push([`${title}: down, 32 B`, rates.reliableDown]);
    found.push([`${title}: down, 32 B: its WebSocket`, rates.plainDown]);
    found.push([`${title}: confirmed messages`, rates.oneByOne]);
    found.push([`${title}: echoes of its WebSocket`, rates.echo]);
  } finally {
    page.close();
  }
}

// ------------------------------------------------------------------ the table

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
const places = options.only.split(",");
const python = await start(PYTHON, "server.py");
const versions = ["ws", "socket.io-client"].map(
  (name) => `${name} ${createRequire(import.meta.url)(`${name}/package.json`).version}`,
);
const browsers = places.filter((place) => place !== "node");
const programs = [...versions, python.versions, ...browsers.map((name) => versionOf(name) || name)];
console.log(`Node ${process.versions.node}, ${programs.join(", ")};`);
console.log(`medians of ${ROUNDS} rounds. Compression is off. socket.io: ${WINDOW} on their way.\n`);
console.log("| what | ratio | range | target |");
console.log("|---|---|---|---|");
for (const place of places) {
  if (place === "node") await benchNode(python);
  else await benchPage(place, python);
}
console.log("\n| messages a second | |");
console.log("|---|---|");
for (const [what, rates] of found) {
  console.log(`| ${what} | ${Math.round(median(rates)).toLocaleString("en")} |`);
}
python.child.stdin.end();
