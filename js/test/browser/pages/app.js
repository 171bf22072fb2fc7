// Gives the tests the built package: what they do is in `page.evaluate(() => …)`.

import * as rws from "reliable-ws";
import { msgpack } from "reliable-ws/msgpack";
import * as store from "reliable-ws/store";

Object.assign(globalThis, { rws, msgpack, store });
