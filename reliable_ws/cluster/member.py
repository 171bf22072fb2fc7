"""The part of one server's sessions in a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from reliable_ws.aio.membership import Host, Level, Served
from reliable_ws.driver.log_limit import LogLimit
from reliable_ws.driver.restored import about_acceptor, restored_from
from reliable_ws.driver.status import logger
from reliable_ws.protocol.frames import Code, Hello
from reliable_ws.protocol.registry import Arrival
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored import Stored
from reliable_ws.protocol.stored_session import StoredSession, store_whole
from reliable_ws.transport import Transport

from .engine import Engine, EngineAway, Entry
from .links import cancel_all
from .log import MISSING, Copy, LogPort
from .records import Found, State, pack_final, pack_who, run_field, tombstone_of
from .relay import NotReachable, PipedRelay
from .routing import Claim, Decision, Here, PassOn, Refusal, Remember, route
from .spread import Spread
from .ticket import Ticket
from .view import describe

__all__ = ["Member", "Node"]

LEAST_LIFE = 3600.0
"""Seconds that a record lives at least, if its owner does not say it again."""

LONGEST_QUEUE = 100_000
"""Ends of sessions that wait for an engine that is away."""

AWAY_RETRY = 1.0
"""Seconds after which the first peer of a session that waits for the engine comes again."""

LAST_STEP = 2.0
"""Seconds that the last ends of sessions may take to be told, when a node goes."""

CHUNK = 50
"""Sessions that are parked in one step."""

MOVING = "moving to another process"
NO_ENGINE = "the cluster's engine cannot be asked now"
GOING = "this process is going away"


class Node(Protocol):
    """The node, as its members see it: :class:`~.cluster.Cluster`."""

    id: bytes
    run: bytes
    moved: int
    lost: int
    is_leaving: bool

    @property
    def name(self) -> str:
        """Its name, for people."""
        raise NotImplementedError

    @property
    def is_away(self) -> bool:
        """Whether the engine did not answer last time."""
        raise NotImplementedError

    @property
    def engine_timeout(self) -> float:
        """Seconds that one step of the engine may take."""
        raise NotImplementedError

    def wall(self) -> float:
        """Return the engine's time, in seconds since 1970."""
        raise NotImplementedError

    @property
    def engine(self) -> Engine:
        """The engine."""
        raise NotImplementedError

    async def start(self) -> None:
        """Take part."""

    async def leave(self, member: Member) -> None:
        """Take part no more, once all members have left."""

    def has_taken_over(self, session: bytes, places: bytes | None) -> None:
        """Note that a session goes on here that another node had."""

    def places_of(self, session: bytes) -> bytes:
        """Return how far a session that moves is in its groups."""
        raise NotImplementedError

    async def settle(self) -> bool:
        """Renew the lease; whether the engine has lost what it had a short while ago."""
        raise NotImplementedError

    def note_away(self, error: EngineAway) -> None:
        """Note that the engine cannot be asked."""

    async def wait_for_engine(self) -> None:
        """Return when the engine answers again."""

    async def insist(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Do a step of the engine; again when it is back, if it is away."""

    async def append(self, entries: list[Entry]) -> list[int]:
        """Keep what changed."""
        raise NotImplementedError

    async def reach(self, address: bytes, ticket: Ticket, hello: bytes) -> Transport:
        """Return an inner WebSocket to another node, on which a Hello has gone."""
        raise NotImplementedError


class Member:
    """The sessions of one server, as nodes of a cluster see them (:class:`~.aio.membership`)."""

    def __init__(self, cluster: Node, host: Host, level: Level) -> None:
        self._cluster = cluster
        self.host = host
        self.level = level
        self.moves = level != "relay"
        ttl = host.config.session_ttl
        self.life = max(LEAST_LIFE, 3 * ttl)
        "Seconds until the engine forgets a session of a node that says nothing more of it."
        self.max_frame = host.config.max_frame
        self._tombstone_life = 2 * max(ttl, 3600.0)
        self.port: LogPort | None = None
        if level == "log":
            self.port = LogPort(
                cluster.append,
                self.restate,
                cluster.wait_for_engine,
                self._send_away,
                cluster.wall,
                life=self._tombstone_life,
                patience=cluster.engine_timeout,
            )
        self._unreached = LogLimit()  # lines about nodes that cannot be reached
        self.relays: set[PipedRelay] = set()
        "The WebSockets that are passed on to other nodes now."
        # When peers come again, once this node is going and takes no WebSocket of a session that is
        # not here.
        self._spread: Spread | None = None
        self._left = False
        self._claiming: set[bytes] = set()
        self._ends: list[Entry] = []
        self._writing: asyncio.Task[None] | None = None
        self._forgetting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take part from now on, unless this has left already."""
        if not self._left:
            await self._cluster.start()

    # ------------------------------------------------------------------ a Hello

    async def place(
        self, arrival: Arrival, data: bytes | str, transport: Transport
    ) -> PipedRelay | None:
        """Find out where a session lives, before its Hello is answered.

        ``None``: here, or the arrival was refused. Else pass the WebSocket on.
        """
        hello = arrival.peek(data)
        if hello is None or isinstance(data, str):
            return None
        if self.host.holds(hello.session):
            if self.port is not None and self._cluster.is_away:  # the answer would have to be kept
                arrival.refuse(Code.AWAY, NO_ENGINE)
            return None
        if self._spread is not None:
            arrival.refuse(Code.AWAY, GOING)
            return None
        if hello.session in self._claiming:
            arrival.refuse(Code.AWAY, "it is being taken over")
            return None
        self._claiming.add(hello.session)
        try:
            return await self._place(arrival, hello, data, transport)
        except EngineAway as error:
            self._cluster.note_away(error)
            arrival.refuse(Code.AWAY, NO_ENGINE)
        except NotReachable as error:
            if self._unreached.admits(time.monotonic()):
                more = self._unreached.more()
                logger.warning("cluster node %s: %s%s", self._cluster.name, error, more)
            arrival.refuse(Code.AWAY, "the process that has this session cannot be reached now")
        finally:
            self._claiming.discard(hello.session)
        return None

    async def _place(
        self, arrival: Arrival, hello: Hello, data: bytes, transport: Transport
    ) -> PipedRelay | None:
        cluster = self._cluster
        who = pack_who(arrival.principal)
        is_new = hello.incarnation == 0
        fields = self._fields(hello.attempt, arrival.key_hash(hello), who) if is_new else None
        said = await cluster.engine.find(hello.session, self.life, fields)
        if said is True:
            arrival.placed = hello.session
            return None
        found = said or None
        is_young = False
        if found is None or found.fields:  # nobody else decides: it has to be certain
            is_young = await cluster.settle()
        decision = route(hello, who, found, cluster.id, cluster.run, is_young=is_young)
        if isinstance(decision, PassOn):
            ticket = Ticket(
                decision.owner,
                hello.session,
                is_new,
                who,
                min(arrival.max_frame, transport.max_frame or arrival.max_frame),
                describe(transport.websocket),
            )
            relay = PipedRelay(
                await cluster.reach(decision.address, ticket, data), self.relays.discard
            )
            self.relays.add(relay)
            if self._spread is not None:  # since a moment ago: the others have been asked already
                relay.leave(GOING, self._spread)
            return relay
        await self._settle_here(arrival, hello, decision, found)
        return None

    async def _settle_here(
        self, arrival: Arrival, hello: Hello, decision: Decision, found: Found | None
    ) -> None:
        """Let this node's registry have what it needs to answer."""
        match decision:
            case Refusal(code, reason):
                arrival.refuse(code, reason)
            case Claim(owner, anew):
                await self._claim(arrival, hello, owner, anew=anew, found=found)
            case Remember() if found is not None:
                now = asyncio.get_running_loop().time()
                tombstone = tombstone_of(found, now + self._tombstone_life)
                if tombstone is not None:
                    self.host.remember(hello.session, tombstone)
            case Here() | _:
                pass

    async def _claim(
        self, arrival: Arrival, hello: Hello, owner: bytes, *, anew: bool, found: Found | None
    ) -> None:
        stored = None if anew or found is None else found.stored(hello.session)
        if stored is not None:
            incarnation = StoredSession(stored).facts["incarnation"]
            if hello.incarnation not in {0, incarnation}:  # HELLO-14
                return
        cluster = self._cluster
        taken = await cluster.engine.claim(hello.session, owner, hello.attempt, self.life)
        if taken is None:
            arrival.refuse(Code.AWAY, "another process has taken this session over")
            return
        if anew:
            arrival.placed = hello.session
            return
        stored = taken.stored(hello.session)
        if stored is None:
            return
        was_live = found is not None and found.state is State.LIVE
        self._adopt(stored, was_live=was_live)
        cluster.has_taken_over(hello.session, None if was_live else taken.fields.get(b"groups"))
        logger.info(
            "cluster node %s: session %s was taken over", cluster.name, hello.session.hex()[:8]
        )

    def _adopt(self, stored: Stored, *, was_live: bool) -> None:
        """Go on with a session that another node had."""
        now, wall = asyncio.get_running_loop().time(), self._cluster.wall()
        kept = StoredSession(stored)
        session = kept.revive(
            now,
            wall,
            wall if was_live else None,
            self.host.config,
            self.host.codec,
            keeps=self.port is not None,
        )
        restored = restored_from(kept, session, self.host.codec, uncertain=False)
        if self.port is not None:
            self.port.copies[session.id] = Copy.of(stored)
        self.host.adopt(session, kept.about["principal"], restored)

    def not_made(self, arrival: Arrival) -> None:
        """Forget a session that was registered, and was refused by the registry."""
        session, arrival.placed = arrival.placed, None
        if session is not None:
            forget = asyncio.get_running_loop().create_task(self._forget(session))
            self._forgetting.add(forget)
            forget.add_done_callback(self._forgetting.discard)

    async def _forget(self, session: bytes) -> None:
        try:
            await self._cluster.engine.forget(session)
        except EngineAway as error:
            self._cluster.note_away(error)  # it goes with its time to live

    # ------------------------------------------------------------------ what the engine has

    def _fields(self, attempt: int, key: bytes, who: bytes) -> list[str | bytes]:
        """Return the fields of a session that is here."""
        values: list[str | bytes] = ["owner", self._cluster.id, "attempt", str(attempt)]
        values += ["key", key, "who", who, "level", self.level, "run", self._cluster.run]
        return values

    def _whole(self, one: Served) -> Entry:
        session = one.session
        copy = None if self.port is None else self.port.copies.get(session.id)
        attempt = session.attempt if copy is None else copy.attempt
        values = self._fields(attempt, session.key, pack_who(one.principal))
        if copy is not None:
            values += copy.values()
        return Entry(session.id, attempt, self.life, values, [])

    async def restate(self, sessions: Sequence[bytes]) -> list[bytes]:
        """Say all of these sessions again; those that others have end here as moved.

        Raises:
            EngineAway: It cannot be asked.
        """
        living = [one for id_ in sessions if (one := self.host.find(id_)) is not None]
        lost = await self._cluster.engine.restate(map(self._whole, living))
        for id_ in lost:
            self._lose(id_)
        return lost

    def _lose(self, session_id: bytes) -> None:
        """End a session here that another node has."""
        one = self.host.find(session_id)
        self._cluster.lost += 1
        if one is not None and one.store is None:
            now = asyncio.get_running_loop().time()
            one.dispatch(one.session.move(now, "another node has this session now", 0.0))

    def _send_away(self, sessions: Sequence[bytes]) -> None:
        """Ask the peers of sessions that wait for the engine to come again, to any process."""
        now = asyncio.get_running_loop().time()
        waiting = [
            one
            for id_ in sessions
            if (one := self.host.find(id_)) is not None and one.session.attached
        ]
        if waiting:
            logger.warning(
                "cluster node %s: %d peers wait for the engine, and are asked to come again",
                self._cluster.name,
                len(waiting),
            )
        for place, one in enumerate(waiting):
            retry = AWAY_RETRY + self._cluster.engine_timeout * place / len(waiting)
            one.dispatch(one.session.send_away(now, NO_ENGINE, retry))

    def ended(self, session: Session) -> None:
        """Note that a session has ended here. With a log, its last change has said so."""
        if self.port is not None:
            return
        values: list[str | bytes] = ["state", State.ENDED.value, "final", pack_final(session)]
        self._ends.append(Entry(session.id, session.attempt, self._tombstone_life, values, []))
        del self._ends[:-LONGEST_QUEUE]
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_ends())

    async def _write_ends(self) -> None:
        try:
            while self._ends:
                batch, self._ends = self._ends[:CHUNK], self._ends[CHUNK:]
                await self._cluster.insist(lambda: self._tell(batch))  # noqa: B023
        finally:
            self._writing = None

    async def _tell(self, ends: list[Entry]) -> None:
        if MISSING in await self._cluster.append(ends):  # or it was another engine until now
            await self._cluster.append(ends)

    # ------------------------------------------------------------------ going away

    async def move(self, served: Sequence[Served], within: float, timeout: float) -> None:
        """Leave these sessions to other processes, and ask their peers to come again.

        The peers are spread over ``within`` seconds. What cannot be told to the engine within
        ``timeout`` seconds is lost, and logged.
        """
        loop = asyncio.get_running_loop()
        by = loop.time() + timeout
        self._cluster.is_leaving = True
        spread = self._leave_relays(within, len(served))
        if self.port is not None:
            for one in served:
                if one.store is not None:
                    await one.store.keep(max(0.0, by - loop.time()))
        # A few at a time: the lease has to be renewed meanwhile, and a peer that is told to go has
        # its session in the engine soon.
        done = 0
        try:
            async with asyncio.timeout_at(by):
                for at in range(0, len(served), CHUNK):
                    entries: list[Entry] = []
                    for one in served[at : at + CHUNK]:
                        if not one.session.ended:
                            entries.append(self._parked(one))
                            now = loop.time()
                            one.dispatch(one.session.move(now, MOVING, spread.retry(now)))
                    await self._cluster.insist(
                        lambda: self._cluster.engine.restate(entries)  # noqa: B023
                    )
                    done += len(entries)
        except TimeoutError:
            logger.error(
                "cluster node %s: the engine was not told of %d sessions in time: they are lost",
                self._cluster.name,
                len(served) - done,
            )
        self._cluster.moved += done

    def _leave_relays(self, within: float, more: int = 0) -> Spread:
        """Ask the clients of sessions that others have to come again, one after the other.

        They are spread over ``within`` seconds, together with so many more.
        """
        spread = self._spread = Spread(within, len(self.relays) + more)
        for relay in self.relays:
            relay.leave(GOING, spread)
        return spread

    def _parked(self, one: Served) -> Entry:
        """Return all of a session, for whoever is asked for it."""
        session = one.session
        state: list[str | bytes] = ["state", State.PARKED.value]
        state += ["groups", self._cluster.places_of(session.id)]
        if self.port is not None:
            whole = self._whole(one)
            return whole._replace(values=whole.values + state)
        now, wall = asyncio.get_running_loop().time(), self._cluster.wall()
        stored = store_whole(session, now, wall, about_acceptor(one.principal))
        values = self._fields(session.attempt, session.key, pack_who(one.principal)) + state
        values += ["facts", stored.facts]
        for kind, runs in (("m", stored.messages), ("c", stored.entries)):
            for run in runs:
                values += run_field(kind, run)
        return Entry(session.id, session.attempt, self.life, values, [])

    async def leave(self, within: float) -> None:
        """Take part no more. Clients of sessions that others have are asked to come again."""
        if self._left:
            return
        self._left = True
        self._leave_relays(within)
        await asyncio.gather(*map(PipedRelay.ended, self.relays))
        tasks = self._forgetting | ({self._writing} if self._writing is not None else set())
        if tasks:  # ends are told if that takes no longer than one step
            _done, late = await asyncio.wait(tasks, timeout=LAST_STEP)
            await cancel_all(late)
        await self._cluster.leave(self)
