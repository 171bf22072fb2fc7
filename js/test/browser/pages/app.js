// Gives the tests the built package: they run in this page as `page.evaluate(() => …)`.

import * as store from "reliable-ws/store";

Object.assign(globalThis, { store });
