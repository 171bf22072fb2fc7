"""Clients in one group of several nodes: what they heard is compared with the receipts."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import WebSocketException

import reliable_ws

from .local_nodes import BACKOFF
from .processes import Node
from .servers import Balancer
from .test_relay import until

CONFIG = reliable_ws.Config(open_timeout=5)


class Talker:
    """A client that says something now and then, and writes down what it hears."""

    def __init__(self, uri: str, name: str, every: float = 0.05) -> None:
        self.uri = uri
        self.name = name
        self.every = every
        self.lives = 0
        "How many sessions it had: each has a name of its own."
        self.heard: dict[str, list[list[str]]] = {}
        "By the name of a session: what it heard, in a list for each process that had it."
        self.whole: dict[str, set[int]] = {}
        "By the name of a session: which of these lists go on where the one before has ended."
        self.ends: Counter[int] = Counter()
        "The codes with which its sessions have ended."
        self.joined = asyncio.Event()
        self._said = 0
        self._is_open = False

    async def run(self, stop: asyncio.Event) -> None:
        """Take part, in a new session whenever the last one was dropped or lost, until told."""
        while not stop.is_set():
            self.lives += 1
            self._is_open = False  # the greeting may be lost with its WebSocket
            name = f"{self.name}.{self.lives}"
            try:
                await self._live(name, stop)
            except reliable_ws.ServerBusy:
                await asyncio.sleep(0.05)  # it has not begun: the engine could not be asked
            except reliable_ws.ConnectionClosed as error:
                if self._is_open:
                    self.ends[error.ending.code] += 1
            except reliable_ws.DeliveryError:
                pass  # its handler has ended before it took the last word
            except (OSError, WebSocketException, reliable_ws.NotReliablePeer):
                await asyncio.sleep(0.05)  # it has not begun: nobody is there

    async def _live(self, name: str, stop: asyncio.Event) -> None:
        heard = self.heard.setdefault(name, [[]])
        connecting = reliable_ws.connect(self.uri, reconnect=BACKOFF, config=CONFIG, proxy=None)
        async with connecting as conn:
            self._is_open = True
            talking = asyncio.create_task(self._talk(conn, name, stop))
            try:
                await conn.send(["name", name])
                async for kind, word in conn:
                    if kind == "who":  # another process has the session, and it is no member yet
                        heard.append([])
                        await conn.send(["name", name])
                    elif kind == "joined":
                        self.joined.set()
                        if word is False:  # nothing was missed
                            self.whole.setdefault(name, set()).add(len(heard) - 1)
                    else:
                        heard[-1].append(word)
            finally:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)

    def runs(self) -> Iterator[list[str]]:
        """Iterate over what it heard, in lists between which something may be missing."""
        for name, parts in self.heard.items():
            run: list[str] = []
            for number, part in enumerate(parts):
                if number not in self.whole.get(name, ()):
                    yield run
                    run = []
                run += part
            yield run

    async def _talk(self, conn: reliable_ws.Connection, name: str, stop: asyncio.Event) -> None:
        await self.joined.wait()
        while not stop.is_set():
            self._said += 1
            await conn.send(["say", f"{name}:{self._said}"])
            await asyncio.sleep(self.every)
        await conn.send(["quiet", ""])  # its handler ends the session when all is known
        await conn.wait_closed()


class Crowd:
    """Nodes, and talkers that are spread over them."""

    def __init__(self, nodes: list[Node], balancer: Balancer) -> None:
        self.nodes = nodes
        self.balancer = balancer
        self.talkers: list[Talker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def come(self, count: int, every: float = 0.05) -> None:
        turns = itertools.cycle([node.port for node in self.nodes])
        self.balancer.choose = lambda ports: next(port for port in turns if port in ports)
        for number in range(count):
            talker = Talker(self.balancer.uri, f"t{number}", every)
            self.talkers.append(talker)
            self._tasks.append(asyncio.create_task(talker.run(self._stop)))
            await talker.joined.wait()

    @property
    def heard(self) -> int:
        """How many words were heard, by all together."""
        return sum(
            len(words)
            for talker in self.talkers
            for parts in talker.heard.values()
            for words in parts
        )

    @property
    def moved(self) -> int:
        """How often a session went on in another process."""
        return sum(len(parts) - 1 for talker in self.talkers for parts in talker.heard.values())

    async def hear(self, count: int) -> None:
        """Return when so many words more were heard."""
        by = self.heard + count
        await until(lambda: self.heard >= by)

    async def finish(self) -> Counter[str]:
        self._stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        return check(self.nodes, self.talkers)

    @property
    def ends(self) -> Counter[int]:
        return sum((talker.ends for talker in self.talkers), Counter())


def check(nodes: list[Node], talkers: list[Talker]) -> Counter[str]:
    """Raise if an order differs, if something is missing or twice, or if a receipt is not true.

    Return how many outcomes of each kind there were.
    """
    heard = {
        name: [word for part in parts for word in part]
        for talker in talkers
        for name, parts in talker.heard.items()
    }
    for name, words in heard.items():
        assert len(words) == len(set(words)), f"{name} heard something twice"
    _check_order([run for talker in talkers for run in talker.runs()])
    return _check_receipts(nodes, heard)


def _check_order(parts: list[list[str]]) -> None:
    """Each publication has one successor: the order is the same, and nobody has a hole.

    But for what a session may have missed while it moved, and was told so.
    """
    following: dict[str, str] = {}
    for part in parts:
        for word, after in itertools.pairwise(part):
            assert following.setdefault(word, after) == after, (word, after, following[word])
    before: dict[str, str] = {}
    for word, after in following.items():
        assert before.setdefault(after, word) == word, (word, after, before[after])


def _check_receipts(nodes: list[Node], heard: dict[str, list[str]]) -> Counter[str]:
    tally: Counter[str] = Counter()
    sets = {name: set(words) for name, words in heard.items()}
    for node in nodes:
        for line in node.read():
            kind, _, rest = line.partition(" ")
            if kind not in {"told", "refused", "failed"}:
                continue
            (_say, word), told = json.loads(rest)
            tally[kind] += 1
            if kind == "refused":
                assert not any(word in words for words in sets.values()), f"{word}: refused"
            if kind == "told":
                _check_one(word, told, sets, tally)
    return tally


def _check_one(word: str, told: list[Any], sets: dict[str, set[str]], tally: Counter[str]) -> None:
    listed = set()
    nameless = 0
    for name, _node, fate in told:
        if name is None:  # its process died before it could say who got this
            assert fate == "unknown"
            nameless += 1
            continue
        tally[fate] += 1
        assert name not in listed, f"{word}: {name} is listed twice"
        listed.add(name)
        if fate == "confirmed":
            assert word in sets[name], f"{word}: {name} has not heard it"
        elif fate != "unknown":
            assert word not in sets[name], f"{word}: {name} has heard it ({fate})"
    missing = {name for name, words in sets.items() if word in words} - listed
    assert len(missing) <= nameless, f"{word}: {missing} have heard it, and are not listed"
