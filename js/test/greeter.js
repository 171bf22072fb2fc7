// A WebSocket that greets, and says what a test has it say.

import { HELLO, WELCOME } from "../dist/protocol/frames.js";
import { pack, unpack } from "../dist/protocol/pack.js";

const LIMITS = [32_768, 4_194_304, 1_048_576, 67_108_864, 1024, 20_000, 120_000];
const POSITION = [[0, 0, 0, false, []], 0, 1, 0];

export class Greeter {
  static newest;
  readyState = 1;
  bufferedAmount = 0;

  constructor() {
    setImmediate(() => this.onopen());
  }

  send(data) {
    for (const [type, , , , , attempt] of unpack(data)) {
      if (type !== HELLO) continue;
      setImmediate(() => {
        this.says([WELCOME, 1, attempt > 1, 1, POSITION, LIMITS, [0, 0, 1], null]);
        Greeter.newest = this;
      });
    }
  }

  says(...frames) {
    this.onmessage({ data: pack(frames).buffer });
  }

  close() {}
}
