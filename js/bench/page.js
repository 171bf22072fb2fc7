// What a page measures: the contestants with its own WebSocket. It asks main.js what is next, and
// tells what the last one took. No debugger is attached: that would be told of each message.

import { indexedDB } from "reliable-ws/store";
import { contestants } from "./contestants.js";

const all = contestants(WebSocket);
all.storedUp = (url, size, count) => all.reliableUp(url, size, count, indexedDB("bench"));

for (let result; ; ) {
  const response = await fetch("/next", { method: "POST", body: JSON.stringify(result ?? null) });
  const { name, args } = await response.json();
  try {
    result = { time: await all[name](...args), hidden: document.hidden };
  } catch (error) {
    result = { error: `${name}: ${error}\n${error?.stack}` };
  }
}
