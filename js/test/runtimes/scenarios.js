// What every runtime must do against a real server (`test/net/server.py`). Nothing here needs Node:
// the same file runs in Deno, in Bun and in pages.

/** Throw unless both are the same, as JSON says them. */
function same(got, wanted, what = "") {
  const [a, b] = [got, wanted].map((value) => JSON.stringify(value));
  if (a !== b) throw new Error(`${what} ${a?.slice(0, 200)} is not ${b?.slice(0, 200)}`);
}

const upto = (count) => Array.from({ length: count }, (_, i) => i);

/** A message as it can be compared. */
const plain = (message) => (typeof message === "string" ? message : [...message].join());

async function take(conn, count) {
  const taken = [];
  if (count) for await (const message of conn) if (taken.push(message) === count) break;
  return taken;
}

/** What a call was rejected with. */
const failure = (promise) =>
  promise.then(
    () => {
      throw new Error("it was not rejected");
    },
    (error) => error,
  );

/**
 * Return the scenarios, by name. Each is an async function that throws if anything is not as it
 * should be.
 *
 * @param {object} client the exports of the package
 * @param {string} url of the proxy before the server
 * @param {string} direct of the server itself: commands go there
 * @param {object} options for each `connect`
 */
export function scenarios({ connect }, url, direct, options = {}) {
  const open = (path, more = {}) =>
    connect(`${url}/${path}`, { backoff: { longest: 100 }, ...options, ...more });

  /** Have the server do something; return what it answers. */
  async function command(name) {
    const conn = await connect(`${direct}/command`, options);
    conn.send(name);
    const answer = await conn.recv();
    await conn.close();
    return JSON.parse(answer);
  }

  return {
    async "text and bytes, in order"() {
      const conn = await open("echo");
      const messages = upto(500).map((i) =>
        i % 2 ? `text ${i} é😀\ufeff` : new TextEncoder().encode(`bytes ${i}`),
      );
      messages.push("", new Uint8Array(0));
      for (const message of messages) conn.send(message);
      same((await take(conn, messages.length)).map(plain), messages.map(plain));
      same((await conn.close()).confirmed, messages.length);
    },

    async "large messages, in parts"() {
      const conn = await open("echo");
      const messages = ["é".repeat(2_000_000), new Uint8Array(3_000_000).map((_, i) => i * 31)];
      for (const message of messages) {
        await conn.room(message.length * 2);
        conn.send(message);
        same(plain((await take(conn, 1))[0]) === plain(message), true);
      }
      await conn.close();
    },

    async "both directions at once"() {
      const conn = await open("both?count=5000");
      for (const i of upto(5000)) conn.send(`up ${i}`);
      same(await take(conn, 5000), upto(5000).map((i) => `down ${i}`));
      same((await conn.close()).confirmed, 5000);
    },

    async "an application that takes late"() {
      const config = { windowBytes: 100_000 };
      const conn = await open("feed?count=2000&size=1000", { config });
      const deliveries = conn.deliveries();
      for (const i of upto(2000)) {
        const { value } = await deliveries.next();
        same(parseInt(value.text, 10), i);
        value.confirm();
        if (i % 500 === 0) await command("living");
      }
      await conn.close();
    },

    async "a network that breaks"() {
      let resumes = 0;
      const onEvent = ({ name }) => (resumes += name === "resumed");
      const conn = await open("echo", { onEvent });
      const back = [];
      for (const round of upto(10)) {
        for (const n of upto(200)) conn.send(`${round * 200 + n}`.padEnd(200));
        back.push(...(await take(conn, 50)));
        await command("reset");
        while (resumes <= round) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      back.push(...(await take(conn, 2000 - back.length)));
      same(back.map(Number), upto(2000));
      await conn.close();
    },

    async "a network that is silent"() {
      const conn = await open("take", { config: { idleTimeout: 2000 } });
      await conn.send("a").confirmed;
      const since = performance.now();
      await command("half_open");
      await conn.send("b").confirmed;
      const took = performance.now() - since;
      if (took > 3500) throw new Error(`resumed after ${took} ms`);
      await conn.close();
    },

    async "a server that cannot be reached for a while"() {
      const failed = [];
      const onEvent = ({ name }) => name === "attempt failed" && failed.push(name);
      const conn = await open("echo", { onEvent });
      await command("offline");
      while (failed.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
      same((await failure(open("echo"))).name, "ConnectFailed");
      conn.send("a");
      await command("online");
      same(await conn.recv(), "a");
      await conn.close();
    },

    async "a close with messages that were not taken"() {
      const conn = await open("idle");
      const receipt = conn.send("a");
      const error = await failure(conn.close({ timeout: 200 }));
      same([error.name, error.report.undelivered.length], ["OutcomeUnknown", 1]);
      same((await failure(receipt.confirmed)).name, "OutcomeUnknown");
    },

    async "close frames with codes"() {
      for (const code of [1000, 1001, 1011, 1012, 3000, 4000]) {
        const conn = await open(`drop?code=${code}&by=${Math.random()}`);
        conn.send("a");
        same(await conn.recv(), "a", code);
        await conn.close();
      }
      for (const code of [4404, 4409, 4410]) {
        const conn = await open(`drop?code=${code}&by=${Math.random()}`);
        conn.send("a");
        same((await conn.ended).ending.code, code);
      }
    },

    async "this side ends with every code"() {
      for (const code of [1000, 1001, 1011, 3999]) {
        const conn = await open("take");
        conn.send("a");
        same((await conn.close({ code, reason: "é".repeat(61) })).confirmed, 1);
      }
      const conn = await open("idle");
      conn.abort({ reason: "no more" });
      same((await conn.ended).ending.code, 4499);
    },

    async "a server that ends"() {
      for (const code of [1000, 1001]) {
        const conn = await open(`leave?code=${code}`);
        conn.send("go");
        for await (const message of conn) throw new Error(message);
        same((await conn.close()).confirmed, 1);
      }
      const conn = await open("abort?code=4499");
      conn.send("go");
      same((await failure(conn.recv())).name, "SessionLost");
    },

    async "requests of this side"() {
      const conn = await open("idle");
      same((await failure(conn.request("fails"))).code, "no-luck");
      const slow = failure(conn.request("slow", null, { timeout: 50 }));
      same((await slow).name, "RequestTimeout");
      let count = 0;
      for await (const item of conn.stream("endless")) {
        same(Number(item), count);
        count += 1;
        if (count === 1000) break;
      }
      await conn.close();
    },

    async "requests of the server"() {
      const methods = {
        shout: async (text) => text.toUpperCase(),
        async *count(upto) {
          for (let i = 0; i < Number(upto); i++) yield `${i}`;
        },
      };
      const conn = await open("ask", { methods });
      const ask = async (about) => {
        conn.send(JSON.stringify(about));
        return JSON.parse(await conn.recv());
      };
      same(await ask({ method: "shout", params: "hello" }), "HELLO");
      const items = await ask({ method: "count", params: "2000", stream: true });
      same(items, upto(2000).map(String));
      same((await ask({ method: "nothing" })).code, "method-not-found");
      await conn.close();
    },
  };
}
