"""The same without an event loop: every thread may send, receive, ask and answer."""

from concurrent.futures import ThreadPoolExecutor

import reliable_ws
from reliable_ws.sync import Connection, connect, serve

methods = reliable_ws.Methods()


@methods.register
def price(item: str) -> int:  # runs in a thread of its own
    return {"apples": 2, "pears": 3}[item]


def handler(conn: Connection) -> None:  # so does this, once per session
    for order in conn:
        conn.send(f"{order} packed")


def main() -> None:
    with (
        serve(handler, "127.0.0.1", 0, methods=methods) as server,
        connect(f"ws://127.0.0.1:{server.port}") as conn,  # survives lost networks, too
        ThreadPoolExecutor() as pool,
    ):

        def buy(item: str) -> str:
            cost = conn.request("price", [item], timeout=5)
            conn.send(item).wait(timeout=5)  # the server's application has taken it
            return f"{item} for {cost}: confirmed"

        print(*pool.map(buy, ("apples", "pears")), sep="\n")
        print("received:", *sorted(conn.recv(timeout=5) for _ in range(2)), sep="\n  ")
    print("closed:", conn.report)


if __name__ == "__main__":
    main()
