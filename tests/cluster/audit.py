"""Clients of a cluster that write down what they were told, and the comparison with the nodes.

Nobody is believed: what a client was told is compared with the notes of the handlers that it is
about (:mod:`.node`), and the other way round.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from websockets.exceptions import WebSocketException

import reliable_ws
from reliable_ws import Backoff, End, Outcome, Report
from tests.support.inside import driver_of

from .local_nodes import BACKOFF, CONFIG
from .node import END
from .processes import Node


class Account(NamedTuple):
    """What a client was told."""

    session: str
    confirmed: dict[str, float]
    "Each message of which it was told that it is confirmed, and when."
    got: list[str]
    report: Report | None


class Client:
    """One session: it sends, ends its handler at last, and reads to the end."""

    def __init__(
        self,
        uri: str,
        reconnect: Backoff = BACKOFF,
        pause: float = 0.002,
        config: reliable_ws.Config = CONFIG,
    ) -> None:
        """``pause``: seconds between two messages."""
        self.uri = uri
        self.config = config
        self.reconnect = reconnect
        self.pause = pause
        self.session = ""
        self.sent = 0
        self.confirmed: dict[str, float] = {}
        self.got: list[str] = []
        self.report: Report | None = None
        self.ends: Counter[str] = Counter()
        "Why its WebSockets ended, or could not be opened."
        self.told: list[float] = []
        "The moments at which it was told to come again, by this machine's monotonic clock."
        self._conn: reliable_ws.Connection | None = None

    @property
    def account(self) -> Account:
        """What it was told until now."""
        return Account(self.session, self.confirmed, self.got, self.report)

    @property
    def is_open(self) -> bool:
        """Whether its session has begun."""
        return self._conn is not None

    @property
    def is_served(self) -> bool:
        """Whether a WebSocket carries its session now, if it has one."""
        conn = self._conn
        return conn is None or conn.ended or conn.state is reliable_ws.State.OPEN

    async def run(self, stop: asyncio.Event, most: int | None = None) -> None:
        """Send until it is to stop, at most so many messages; return at the end of the session."""
        async with await self._open() as conn:
            self._conn, self.session = conn, conn.id.hex()
            reading = asyncio.create_task(self._read(conn))
            while not stop.is_set() and self.sent != most:
                await self._send(conn, str(self.sent + 1))
                self.sent += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.pause):
                        await stop.wait()
            # The handler returns at this word. One that has died behind it is started anew, and is
            # told again.
            for time_ in itertools.count():
                with suppress(reliable_ws.ConnectionClosed, reliable_ws.DeliveryError):
                    await self._send(conn, f"{END}{time_}")
                await asyncio.wait([reading], timeout=1)
                if reading.done():
                    break
            await reading
        self.report = conn.report

    async def _open(self) -> reliable_ws.Connection:
        """Return the connection; it is tried again as an application does, until it opens."""
        while True:
            try:
                return await reliable_ws.connect(
                    self.uri,
                    reconnect=self.reconnect,
                    config=self.config,
                    proxy=None,
                    on_event=self._note,
                )
            except (OSError, WebSocketException, reliable_ws.ReliableWSError):
                await asyncio.sleep(random.uniform(0, 0.2))

    def _note(self, event: reliable_ws.ConnectionEvent) -> None:
        if event.name == "detached":
            self.ends[f"{event.code} {event.reason}"] += 1
            retry = driver_of(event.connection).retry
            if retry:
                self.told.append(time.monotonic() + retry)
        elif event.attempt is not None:
            self.ends[event.attempt.reason] += 1

    async def _send(self, conn: reliable_ws.Connection, message: str) -> None:
        await (await conn.send(message))
        self.confirmed[message] = time.monotonic()

    async def _read(self, conn: reliable_ws.Connection) -> None:
        async for message in conn:
            self.got.append(message)


class Load:
    """Clients that stay, and clients that come and go."""

    def __init__(self, uri: str, chance: random.Random, pause: float = 0.002) -> None:
        """``pause``: as for :class:`Client`."""
        self.uri = uri
        self._pause = pause
        self.clients: list[Client] = []
        self._chance = chance
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, lasting: int, passing: int = 0) -> None:
        """Begin with so many of each kind."""
        for _ in range(lasting):
            client = Client(self.uri, pause=self._pause)
            self.clients.append(client)
            self._tasks.append(asyncio.create_task(client.run(self._stop)))
        self._tasks += [asyncio.create_task(self._pass()) for _ in range(passing)]

    async def _pass(self) -> None:
        while not self._stop.is_set():
            client = Client(self.uri, pause=self._pause)
            self.clients.append(client)
            await client.run(self._stop, most=self._chance.randrange(1, 30))

    @property
    def is_served(self) -> bool:
        """Whether a living node has each of the sessions."""
        return all(client.is_served for client in self.clients)

    @property
    def confirmed(self) -> int:
        """Of how many messages the clients were told that they are confirmed."""
        return sum(len(client.confirmed) for client in self.clients)

    async def go_on(self, count: int) -> None:
        """Return when so many messages more were confirmed."""
        by = self.confirmed + count
        while self.confirmed < by:
            self.look()
            await asyncio.sleep(0.01)

    def look(self) -> None:
        """Raise if a session has ended as it should not."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def accounts(self) -> list[Account]:
        """What the clients were told."""
        return [client.account for client in self.clients]

    async def finish(self) -> None:
        """Let all of them come to their end."""
        self._stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)


class Take(NamedTuple):
    """One message that a handler has taken."""

    message: str
    is_flagged: bool
    at: float


class Notes:
    """What the handlers of all nodes have written down, by session."""

    def __init__(self, nodes: list[Node]) -> None:
        self.taken: dict[str, list[Take]] = {}
        self.sent: dict[str, list[str]] = {}
        self.told: dict[str, list[str]] = {}
        for node in nodes:
            for line in node.read():
                match line.split():
                    case ["take", session, message, again, at]:
                        take = Take(message, again == "again", float(at))
                        self.taken.setdefault(session, []).append(take)
                    case ["sent", session, answer]:
                        self.sent.setdefault(session, []).append(answer)
                    case ["told", session, answer]:
                        self.told.setdefault(session, []).append(answer)

    @property
    def count(self) -> int:
        """How many messages were taken."""
        return sum(map(len, self.taken.values()))


def check(nodes: list[Node], clients: Iterable[Account]) -> Notes:
    """Compare: nothing is lost, nothing is doubled without a flag, and every report is true."""
    notes = Notes(nodes)
    for client in clients:
        _check_what_was_taken(client, notes)
        _check_answers(client, notes)
        _check_report(client, notes)
    return notes


def _check_what_was_taken(client: Account, notes: Notes) -> None:
    session = client.session
    takes = notes.taken.get(session, [])
    missing = set(client.confirmed) - {take.message for take in takes}
    assert not missing, f"{session}: confirmed, and never taken: {sorted(missing)}"
    news = Counter(take.message for take in takes if not take.is_flagged)
    doubled = [message for message, count in news.items() if count > 1]
    assert not doubled, f"{session}: doubled without a flag: {doubled}"
    late = [one for one in takes if one.at > client.confirmed.get(one.message, one.at)]
    assert not late, f"{session}: taken again after it was told that they are confirmed: {late}"


def _check_answers(client: Account, notes: Notes) -> None:
    session = client.session
    got = Counter(client.got)
    lost = set(notes.sent.get(session, [])) - set(got)
    assert not lost, f"{session}: accepted by the nodes, and lost: {sorted(lost)}"
    doubled = [answer for answer, count in got.items() if count > 1]
    assert not doubled, f"{session}: answers that came twice: {doubled}"
    untrue = set(notes.told.get(session, [])) - set(got)
    assert not untrue, f"{session}: told as confirmed, and never taken: {sorted(untrue)}"


def _check_report(client: Account, notes: Notes) -> None:
    session, report = client.session, client.report
    assert report is not None, session
    assert report.ending is not None, session
    assert report.ending.kind is End.FINISHED, f"{session}: {report.ending}"
    assert report.sent == report.confirmed + len(report.undelivered), session
    taken = {take.message for take in notes.taken.get(session, [])}
    assert report.confirmed <= len(taken), session
    for entry in report.undelivered:
        assert entry.message not in client.confirmed, f"{session}: {entry}"
        if entry.outcome is Outcome.NOT_TAKEN:
            assert entry.message not in taken, f"{session}: {entry}"
