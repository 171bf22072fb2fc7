// What the tests have pages do with a session.

// The messages that `?send=N` of the server sends.
export const numbers = (count, from = 0) =>
  Array.from({ length: count }, (_, n) => String(n + from));

// In the page: open a session as `conn`, and collect what arrives in `got`, in `again` whether it may
// have come before. Return its id, or the name of the error.
export function connect(page, server, query = "", { stored, wait, ...options } = {}) {
  return page.evaluate(
    async (url, stored_, wait_, options_) => {
      if (stored_) options_.store = store.indexedDB(stored_, { wait: wait_ });
      globalThis.got = [];
      globalThis.again = [];
      globalThis.events = [];
      options_.onEvent = (event) => events.push(event.name);
      try {
        globalThis.conn = await rws.connect(url, options_);
      } catch (error) {
        return error.name;
      }
      (async () => {
        for await (const delivery of conn.deliveries()) {
          got.push(delivery.value);
          again.push(delivery.redelivered);
          delivery.confirm();
        }
      })().catch(() => {});
      return conn.id;
    },
    server.ws + query,
    stored,
    wait,
    options,
  );
}

// In the page: send messages; return when the store has them ("stored"), when the server's
// application has ("confirmed"), or at once.
export const send = (page, messages, until_) =>
  page.evaluate(
    async (messages_, until__) => {
      const receipts = messages_.map((message) => conn.send(message));
      const outcome = (receipt) => receipt[until__].then(() => until__, (error) => error.name);
      return until__ && [...new Set(await Promise.all(receipts.map(outcome)))].join();
    },
    messages,
    until_,
  );

export const mark = (page) => page.evaluate(() => conn.status.value.state);
