"""The engine: Redis or Valkey, by the scripts of :mod:`.scripts`. It decides nothing.

Every method raises :class:`EngineAway` if the engine cannot be asked, and nothing else. Then it is
not known whether the step was done; each may be asked again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from . import scripts
from .durability import Durability, fault_of
from .records import Found

__all__ = [
    "FULL",
    "NO_BOX",
    "SENT",
    "Appended",
    "Engine",
    "EngineAway",
    "Entry",
    "Outgoing",
    "Registration",
    "Settled",
    "check_engine",
]

PREFIX = "reliable-ws:"
GROUPS = f"{PREFIX}g:"
BOXES = f"{PREFIX}box:"

GROUP_LIFE = 3600.0
"""Seconds that the engine remembers a group of which nothing is heard."""

LONGEST_BOX = 100_000
"""Entries in a box above which messages of other nodes are refused."""

SENT, NO_BOX, FULL = range(3)
"""What the engine says of each message to another node."""

READ_AT_ONCE = 500
"""Entries that are read in one step."""

COMMANDS_AT_ONCE = 16
"""Steps for single sessions that a node has under way. The engine does one after the other anyway,
and each takes a connection: of thousands of clients that come back together, each would open
one."""


def check_engine(engine: object) -> None:
    """Raise for what is no engine. A URL may have a password: it is not told again.

    Raises:
        TypeError: It is neither a URL nor a ``redis.asyncio.Redis``.
        ValueError: The URL is none of Redis, or the client decodes what is binary here.
    """
    if isinstance(engine, str):
        try:
            options: Mapping[str, Any] = parse_url(engine)
        except ValueError as error:
            raise ValueError(
                f"engine must be a URL like redis://cache:6379, and this one is not: {error}"
            ) from None
    elif isinstance(engine, redis.asyncio.Redis):
        options = engine.connection_pool.connection_kwargs
    else:
        # A redis.asyncio.RedisCluster is none of these either: a step needs all keys in one place.
        raise TypeError(f"engine must be a URL, or a redis.asyncio.Redis, not {engine!r:.100}")
    if options.get("decode_responses"):
        raise ValueError("the engine's client must give bytes: leave decode_responses out")


class EngineAway(ConnectionError):
    """The engine cannot be asked now."""


class Settled(NamedTuple):
    """What renewing a lease tells."""

    run: bytes
    "Which engine this is: another value after a restart, a failover, and a loss of its data."
    is_young: bool
    "Whether that changed within the last lease: then what is missing may come again."
    secret: bytes
    "What the nodes sign with, unless the application has a secret of its own."
    wall: float
    "The engine's time, in seconds since 1970."


class Entry(NamedTuple):
    """What one session has to be kept."""

    session: bytes
    attempt: int
    life: float | None
    "Seconds until it is forgotten; ``None``: leave that as it is."
    values: list[str | bytes]
    "Names and values of fields, in turn."
    names: list[str]
    "Fields to forget."


class Registration(NamedTuple):
    """How many members of a group a node has."""

    group: str
    members: int
    token: int
    "What the entry is marked with that says where the group stood."
    epoch: bytes
    number: int
    "What the node has read last; an empty epoch: nothing."


class Outgoing(NamedTuple):
    """A publication on its way to the engine."""

    group: str
    epoch: bytes
    "The group's epoch as the publisher knows it; empty: it knows none."
    limit: int
    limit_bytes: int
    data: bytes


class Appended(NamedTuple):
    """What became of one publication."""

    verdict: str
    "``done``, ``full``, or ``lost``: the engine has lost the group since the epoch was known."
    epoch: bytes
    number: int
    nodes: list[tuple[bytes, int, str]]
    "The nodes that get it: id, members, name. If it is ``full``: the node that has no room."


class Engine:
    """One Redis or Valkey, as one node uses it."""

    def __init__(
        self, client: redis.asyncio.Redis, *, owns: bool, node: bytes, lease: float, timeout: float
    ) -> None:
        """``owns``: whether to close the client. ``timeout``: seconds for each step."""
        self._client = client
        self._owns = owns
        self._node = node
        self._lease = lease
        self._timeout = timeout
        self.is_replicated = False
        "Whether a change counts as kept only when a replica has it as well."
        self._turns = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._failures = 0
        make = client.register_script
        self._settle = make(scripts.SETTLE)
        self._find = make(scripts.FIND)
        self._claim = make(scripts.CLAIM)
        self._append = make(scripts.APPEND)
        self._restate = make(scripts.RESTATE)
        self._forget = make(scripts.FORGET)
        self._box = make(scripts.BOX)
        self._register = make(scripts.REGISTER)
        self._publish = make(scripts.PUBLISH)
        self._read = make(scripts.READ)
        self._send = make(scripts.SEND)

    @classmethod
    def at(cls, url: str, node: bytes, lease: float, timeout: float) -> Engine:
        """Return the engine at a URL."""
        client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # Each script may run twice with one effect: a connection that has just broken is no
            # reason to fail.
            retry=Retry(NoBackoff(), 1),
        )
        return cls(client, owns=True, node=node, lease=lease, timeout=timeout)

    async def settle(self, address: bytes, secret: bytes) -> Settled:
        """Renew this node's lease."""
        async with self._bounded():
            info: Any = await self._client.info("server")
            names = [f"{PREFIX}run", f"{PREFIX}young", f"{PREFIX}secret"]
            nonce = secrets.token_hex(8)
            run, is_young, shared, wall = await self._settle(
                keys=[_lease(self._node), *names],
                args=[address, int(self._lease * 1000), info["run_id"], nonce, secret],
            )
        return Settled(run, bool(is_young), shared, float(wall))

    async def find(
        self, session: bytes, life: float, fields: Sequence[str | bytes] | None
    ) -> Found | bool:
        """Say where a session is. ``False``: nowhere. ``True``: it was made, from ``fields``."""
        can_make = "0" if fields is None else "1"
        args = [f"{PREFIX}node:", self._node, can_make, int(life * 1000), *(fields or ())]
        said = await self._run(self._find, session, args)
        match said:
            case [b"found", owner, address, *rest]:
                return Found(owner, address, _fields(rest[0] if rest else ()))
            case [b"made"]:
                return True
            case _:
                return False

    async def claim(self, session: bytes, owner: bytes, attempt: int, life: float) -> Found | None:
        """Take a session from an owner; ``None``: another one was quicker, or lives."""
        args = [f"{PREFIX}node:", self._node, owner, attempt, int(life * 1000)]
        said = await self._run(self._claim, session, args)
        return Found(self._node, None, _fields(said[1])) if said[0] == b"claimed" else None

    async def append(self, entries: Sequence[Entry], run: bytes) -> list[int]:
        """Keep what changed: for each 0 for kept, 1 for refused, 2 for missing.

        3 for all, if the engine is another one than ``run``.
        """
        args: list[Any] = [self._node, run]
        for entry in entries:
            life = 0 if entry.life is None else int(entry.life * 1000)
            args += [entry.attempt, life, len(entry.values), len(entry.names)]
            args += entry.values
            args += entry.names
        keys = [_session(entry.session) for entry in entries]
        if self.is_replicated:
            async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
                await self._append(keys=keys, args=args, client=pipe)
                (kept,) = await self._replicate(pipe)
                return list(kept)
        async with self._bounded():
            said: list[int] = await self._append(keys=keys, args=args)
        return said

    async def _replicate(self, pipe: Any) -> list[Any]:
        """Do what is in a pipeline; return the answers when a replica has it as well.

        Raises:
            EngineAway: None has it in time.
        """
        pipe.wait(1, int(self._timeout * 500))
        said: list[Any]
        *said, replicas = await pipe.execute()
        if not replicas:
            raise EngineAway("no replica of it answers")
        return said

    async def fault(self, durability: Durability) -> str | None:
        """Return why the engine's answer means less than ``durability``, or ``None``."""
        if durability == "memory":
            return None
        appendfsync: Any = None
        async with self._bounded():
            info: Any = await self._client.info("persistence")
            info |= await self._client.info("replication")
            with suppress(ResponseError):  # not for this user
                config = await self._client.config_get("appendfsync")
                appendfsync = next(iter(config.values()), None)
        if isinstance(appendfsync, bytes):
            appendfsync = appendfsync.decode()
        return fault_of(durability, info, appendfsync)

    async def restate(self, entries: Iterable[Entry]) -> list[bytes]:
        """Say all that there is of these sessions; return the ids of those that others have."""
        entries = list(entries)
        async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
            for one in entries:
                args = [self._node, one.attempt, int((one.life or 0) * 1000), *one.values]
                await self._restate(keys=[_session(one.session)], args=args, client=pipe)
            said = await (self._replicate(pipe) if self.is_replicated else pipe.execute())
        return [one.session for one, refused in zip(entries, said, strict=True) if refused]

    async def forget(self, session: bytes) -> None:
        """Forget a session that was registered, and was not made."""
        await self._run(self._forget, session, [self._node])

    async def release(self) -> None:
        """Give up this node's lease: whatever it had is free."""
        async with self._bounded():
            await self._client.delete(_lease(self._node))

    async def publish(self, node: bytes, data: bytes) -> bool:
        """Hand data to another node; whether it listens."""
        async with self._in_turn():
            return bool(await self._client.publish(_channel(node), data))

    async def listen(self) -> PubSub:
        """Return what hears of what others publish to this node."""
        pubsub: PubSub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            async with self._bounded():
                await pubsub.subscribe(_channel(self._node))
        except EngineAway:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            raise
        return pubsub

    # ------------------------------------------------------------------ groups

    async def keep_box(self, others: Sequence[bytes]) -> list[bool]:
        """Keep this node's box for another lease; say of other nodes whether theirs exist."""
        async with self._bounded():
            keys = [_box(self._node), *map(_box, others)]
            said = await self._box(keys=keys, args=[int(self._lease * 1000)])
        return [bool(one) for one in said]

    async def register(self, name: str, registrations: Iterable[Registration]) -> None:
        """Say how many members this node has in some groups."""
        args: list[Any] = [int(self._lease * 1000), self._node, name, GROUPS, BOXES]
        args.append(int(GROUP_LIFE * 1000))
        for one in registrations:
            args += [one.group, one.members, one.token, secrets.token_bytes(8)]
            args += [one.epoch, one.number]
        async with self._bounded():
            await self._register(keys=[_box(self._node)], args=args)

    async def publish_all(self, batch: bytes, publications: Sequence[Outgoing]) -> list[Appended]:
        """Append publications to the boxes of all nodes that have members; once for each batch."""
        args: list[Any] = [batch, int(self._lease * 2000), GROUPS, BOXES, int(GROUP_LIFE * 1000)]
        for one in publications:
            args += [one.group, one.epoch, one.limit, one.limit_bytes]
            args += [secrets.token_bytes(8), one.data]
        async with self._bounded():
            last = f"{PREFIX}last:".encode() + self._node
            said = await self._publish(keys=[last], args=args)
        return [_appended(*one) for one in said]

    async def read_box(
        self, read: tuple[bytes, bytes] | None
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Forget what was read (first and last id), and wait a while for more."""
        box = _box(self._node)
        async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
            if read is not None:
                await self._read(keys=[box], args=[*read, self._node, GROUPS], client=pipe)
            pipe.xread({box: "0"}, count=READ_AT_ONCE, block=int(self._timeout * 250))
            said: Any = await pipe.execute()
        streams = said[-1]
        return streams[0][1] if streams else []

    async def send(self, messages: Sequence[tuple[bytes, bytes]]) -> list[int]:
        """Put messages into boxes; say what became of each (:data:`SENT` and the others)."""
        async with self._bounded():
            keys = [_box(node) for node, _data in messages]
            args: list[Any] = [LONGEST_BOX, *(data for _node, data in messages)]
            said: list[int] = await self._send(keys=keys, args=args)
        return said

    async def owners(self, sessions: Sequence[bytes]) -> list[bytes | None]:
        """Say which node has, or had, each of these sessions."""
        async with self._bounded(), self._client.pipeline(transaction=False) as pipe:
            for session in sessions:
                pipe.hget(_session(session), "owner")
            said: list[bytes | None] = await pipe.execute()
        return said

    async def drop_box(self) -> None:
        """Give up this node's box."""
        async with self._bounded():
            await self._client.delete(_box(self._node))

    async def close(self) -> None:
        """Close the connections that are this node's own."""
        if self._owns:
            await self._client.aclose()

    async def _run(self, script: Any, session: bytes, args: Sequence[Any]) -> Any:
        async with self._in_turn():
            return await script(keys=[_session(session)], args=args)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncGenerator[None]:
        """Do one of many steps, each for a single session, when it is its turn.

        If another one fails meanwhile, it fails as well: so nobody waits for long.
        """
        failures = self._failures
        async with self._turns:
            if failures != self._failures:
                raise EngineAway("it has not answered steps before this one")
            async with self._bounded():
                yield

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None]:
        """Bound the time of one step, and raise :class:`EngineAway` for whatever goes wrong."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except (RedisError, OSError) as error:
            self._failures += 1
            if isinstance(error, ReadOnlyError):  # it was the primary before: look for the new one
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise EngineAway(f"{type(error).__name__}: {error}") from error


def _session(session: bytes) -> bytes:
    return f"{PREFIX}s:".encode() + session


def _lease(node: bytes) -> bytes:
    return f"{PREFIX}node:".encode() + node


def _box(node: bytes) -> bytes:
    return BOXES.encode() + node


def _appended(verdict: bytes, *rest: Any) -> Appended:
    if verdict == b"done":
        epoch, number, *flat = rest
        nodes = [(node, *_members(v)) for node, v in zip(flat[::2], flat[1::2], strict=True)]
        return Appended("done", epoch, number, nodes)
    nodes = [(b"", *_members(value)) for value in rest]
    return Appended(verdict.decode(), b"", 0, nodes)


def _members(value: bytes) -> tuple[int, str]:
    count, _, name = value.partition(b":")
    return int(count), name.decode()


def _channel(node: bytes) -> bytes:
    return f"{PREFIX}to:".encode() + node


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
