"""Reliable broadcast: one publisher, many sessions, and an outcome for each recipient.

A message is packed once, and the same bytes wait in every member's outbox. The publisher never
waits for a member. A member that is slow, full, detached or dead delays no other member.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
)
from typing import Any, Literal, NamedTuple, Protocol

from reliable_ws.driver.figures import Figures, GroupStats
from reliable_ws.driver.status import logger
from reliable_ws.driver.validation import check_options, check_seconds, expect
from reliable_ws.protocol.deadline import LONG_AGO
from reliable_ws.protocol.errors import ConnectionClosed, MessageTooLarge, NumbersExhausted
from reliable_ws.protocol.frames import OVERHEAD, Payload
from reliable_ws.protocol.payload import MsgpackCodec, PayloadCodec, name_of, seal
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.state import Sending

from .connection import Connection
from .pump import LONG_TURN
from .waiters import Done

__all__ = [
    "Fate",
    "Group",
    "GroupCluster",
    "GroupHost",
    "Member",
    "Publication",
    "Recipient",
    "Sharing",
]

DROPPED_CODE = 1013
"""The code with which a dropped member's connection is closed: try again later (RFC 6455)."""

DROPPED_REASON = "dropped from its group: too slow"
MISSED_REASON = "dropped from its group: publications were missed"

MISSED = "its process has missed publications of the cluster"

WRITES_REST = 10
"""After a publication was written in the turn that made it, none is for so many times as long as
that took: with a thousand members it takes longer than what counts as a pause."""

LONGEST_REST = 1.0
"""Seconds of that rest at most: the process may have been stopped meanwhile."""

AWAITING_ROOM = 0
"""A publication waits for room in the member's outbox: it has no number yet."""


NOTHING_MISSED = Done(result=False)

Fate = Outcome
"""What became of one publication at one member: another name of :class:`Outcome`."""


class Recipient(NamedTuple):
    """The outcome of one publication at one member."""

    session: bytes
    "The id of the member's session."
    identity: Hashable
    "The value that was given to ``join()``."
    fate: Outcome
    "What became of the publication at this member."
    node: str = ""
    "In a cluster: the name of the process that had the member."


class Sharing(Protocol):
    """What a group does together with the groups of its name in other processes."""

    def publish(self, message: Any, payload: Payload, weight: int) -> Publication:
        """Publish to the members in all processes."""
        raise NotImplementedError

    def join(self, member: Member) -> Awaitable[bool]:
        """Let a member get what is published from now on; done when it misses nothing more.

        Whether it may have missed something while its session moved to this process.
        """
        raise NotImplementedError

    def left(self, member: Member) -> None:
        """Take note that a member has left."""


class GroupCluster(Protocol):
    """A cluster, as ``Group(cluster=…)`` needs it."""

    def share(self, host: GroupHost, name: str) -> Sharing:
        """Let a group take part."""
        raise NotImplementedError


class Member:
    """One session in one group."""

    __slots__ = (
        "connection",
        "group",
        "identity",
        "pending",
        "pump",
        "session",
        "waiting",
        "weight",
    )

    def __init__(self, group: Group, connection: Connection, identity: Hashable) -> None:
        self.group = group
        self.connection = connection
        self.session = connection._session
        self.pump = connection._pump
        self.identity = identity
        self.pending: deque[tuple[int, Publication]] = deque()
        self.waiting: deque[Publication] = deque()
        self.weight = 0  # of what waits

    def offer(self, publication: Publication) -> int | Outcome:
        """Send a publication, or say why not: its number, ``AWAITING_ROOM``, or a fate."""
        session = self.session
        if not session.outbox.is_open:
            return Outcome.NOT_TAKEN
        number = 0 if self.waiting else session.outbox.offer(publication.payload)
        if not number:
            if session.outbox.is_too_large(publication.weight):
                return Outcome.SKIPPED
            if self.waiting or not session.outbox.has_room(publication.weight):
                return self._full(publication)
            try:
                number = session.send_sealed(publication.payload, publication.weight)
            except ConnectionClosed:
                return Outcome.NOT_TAKEN
            except NumbersExhausted:  # nothing can be sent to it any more
                self.drop(Outcome.DROPPED)
                return Outcome.DROPPED
        self.pending.append((number, publication))
        if not self.pump.awake:
            self.pump.wake()
        return number

    def _full(self, publication: Publication) -> int | Outcome:
        group = self.group
        if group.when_full == "skip":
            return Outcome.SKIPPED
        within = len(self.waiting) < group.limit and (
            not self.waiting  # as in the outbox, one alone may be larger
            or self.weight + publication.weight <= group.limit_bytes
        )
        if group.when_full == "wait" and within:
            self.waiting.append(publication)
            self.weight += publication.weight
            return AWAITING_ROOM
        self.drop(Outcome.DROPPED)
        return Outcome.DROPPED

    def drop(self, fate: Outcome) -> None:
        """Take the member out of its group; what waits for it gets this fate."""
        self.group._remove(self)
        waiting, self.waiting = self.waiting, deque()
        self.weight = 0
        for publication in waiting:
            publication._settle(self, fate)
        self._forget()

    def _forget(self) -> None:
        """Ask for no more news once everything is known and the member has left."""
        if not self.pending and not self.waiting and not self.group._has(self):
            sender = self.connection._sender
            sender.watchers = tuple(one for one in sender.watchers if one is not self)

    def withdrawn(self, number: int) -> None:
        """The member's store was full: it has not got what comes after a number, nor ever will."""
        pending = self.pending
        withdrawn = []
        while pending and pending[-1][0] > number:
            withdrawn.append(pending.pop()[1])
        for publication in reversed(withdrawn):
            publication._settle(self, Outcome.NOT_TAKEN)
        self._forget()

    def confirmed(self, number: int) -> None:
        """The member has taken everything up to a number: there may be room again."""
        pending = self.pending
        while pending and pending[0][0] <= number:
            pending.popleft()[1]._count(self)
        waiting = self.waiting
        while waiting and self.session.outbox.has_room(waiting[0].weight):
            publication = waiting.popleft()
            self.weight -= publication.weight
            try:
                sent = self.session.send_sealed(publication.payload, publication.weight)
            except (MessageTooLarge, NumbersExhausted, ConnectionClosed):
                publication._settle(self, Outcome.NOT_TAKEN)
                continue
            publication._places[self] = sent
            self.pending.append((sent, publication))
            if publication._awaited:
                self.session.want(sent)
            self.pump.wake()
        if not pending:
            self._forget()

    def settled(self) -> None:
        """The session is over, or its peer takes nothing more: every outcome is known."""
        self.drop(Outcome.NOT_TAKEN)
        pending, self.pending = self.pending, deque()
        for _number, publication in pending:
            publication._count(self)


class Publication:
    """One published message, and its outcome at each member. :meth:`Group.publish` makes it.

    Attributes:
        message: The message as it was given to ``publish()``.
        payload: What travels.
        weight: The bytes that it takes in an outbox.
    """

    def __init__(self, message: Any, payload: Payload, weight: int) -> None:
        self.message = message
        self.payload = payload
        self.weight = weight
        self._places: dict[Member, int | Outcome] = {}
        self._left = 0
        self._awaited = False
        self._done: asyncio.Future[None] | None = None
        self._listeners: list[tuple[deque[Recipient], asyncio.Event]] = []

    def __repr__(self) -> str:
        """Counts."""
        return f"<Publication {len(self._places)} recipients, {self._left} pending>"

    @property
    def done(self) -> bool:
        """Whether all outcomes are final."""
        return self._left == 0

    @property
    def outcomes(self) -> list[Recipient]:
        """What is known now, for every member that the group had at publication."""
        return [self._recipient(member) for member in self._places]

    async def published(self, timeout: float | None = None) -> None:
        """Wait until it is certain that the members get it. Without a cluster it is at once.

        ``timeout`` is in seconds. Default: as long as the cluster tries, which ``lease=`` bounds.

        Raises:
            EngineUnavailable: The cluster's engine could not be asked in time. It is not known
                whether the members get it.
            GroupFull: Another process had no room for it for too long. Nobody gets it.
            TimeoutError: It is not certain yet.
        """
        check_seconds(timeout)

    async def wait(self, timeout: float | None = None) -> list[Recipient]:
        """Wait for the outcomes of all members, and return them.

        Returns when all outcomes are final, or after ``timeout`` seconds. Outcomes that are not
        final by then are ``PENDING``: a timeout raises nothing. Default: as long as it takes, which
        the members' sessions bound. Cancelling changes nothing for the publication.

        Raises:
            EngineUnavailable: As for :meth:`published`.
            GroupFull: As for :meth:`published`.
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        if self._left:
            self._ask()
            if self._done is None:
                self._done = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._done,), timeout=timeout)
        return self.outcomes

    async def __aiter__(self) -> AsyncIterator[Recipient]:
        """Iterate over outcomes as they become final. The iteration ends after the last."""
        self._ask()
        ready: deque[Recipient] = deque()
        more = asyncio.Event()
        for recipient in self.outcomes:
            if recipient.fate is not Outcome.PENDING:
                ready.append(recipient)
        listener = (ready, more)
        self._listeners.append(listener)
        try:
            while True:
                while ready:
                    yield ready.popleft()
                if self._left == 0:
                    return
                more.clear()
                await more.wait()
        finally:
            self._listeners.remove(listener)

    def _ask(self) -> None:
        """Let every member say at once when it has taken this (ACK-5)."""
        if self._awaited:
            return
        self._awaited = True
        for member, place in self._places.items():
            session = member.session
            if not isinstance(place, Outcome) and place > session.outbox.confirmed:
                session.want(place)
                member.pump.wake()

    def _recipient(self, member: Member) -> Recipient:
        place = self._places[member]
        if isinstance(place, Outcome):
            fate = place
        elif place == AWAITING_ROOM:
            fate = Outcome.PENDING
        else:
            fate = member.session.outcome(place)
        return Recipient(member.session.id, member.identity, fate)

    def _settle(self, member: Member, fate: Outcome) -> None:
        self._places[member] = fate
        self._count(member)

    def _count(self, member: Member) -> None:
        """One outcome more is known."""
        self._left -= 1
        for ready, more in self._listeners:
            ready.append(self._recipient(member))
            more.set()
        if not self._left and self._done is not None and not self._done.done():
            self._done.set_result(None)


class Group:
    """Connections that get the same messages, each in publishing order.

    With ``when_full="wait"`` no member sees a gap: a member stays in the group through a short
    stall and a reconnect, and what one dead member can hold is bounded.

    A member that is dropped is told so: its connection is closed with code 1013. The member gets
    what it was sent before, then ``ConnectionClosedError``. A warning is logged.

    With ``cluster=`` the group has the members of all processes that have a group of this name in
    the cluster (docs/cluster.md). All get the same publications in the same order, each one once.
    A process that has missed publications drops its members. ``len()``, ``members`` and iteration
    are about the members of this process.

    Args:
        name: Names the group in the cluster. It needs no name without one.
        cluster: Lets the group reach the members in all processes of a
            :class:`~reliable_ws.Cluster`.
        when_full: What happens when a member's outbox has no room. ``"wait"``: the publication
            waits for room; when the limits below are exceeded, the member is dropped from the
            group. ``"skip"``: this member does not get this publication, and stays in the group.
            ``"drop"``: the member is dropped from the group at once.
        on_dropped: A plain function. It is called with the connection of a member that was dropped,
            instead of closing the connection. Then your application has to tell the member, which
            gets no further publication.
        limit: How many publications may wait for one member; in a cluster also for one process.
        limit_bytes: How many bytes may wait for one of these. One larger publication may wait
            alone.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.

    Raises:
        ValueError: ``when_full`` is none of the three, or a limit is too small. With a cluster:
            this process has a group of this name already.
        TypeError: ``payload_codec`` has no ``dumps`` and ``loads``, or ``on_dropped`` is no plain
            function, or there is a cluster and no name.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        cluster: GroupCluster | None = None,
        when_full: Literal["wait", "skip", "drop"] = "wait",
        limit: int = 1024,
        limit_bytes: int = 4 * 1024 * 1024,
        payload_codec: PayloadCodec | None = None,
        on_dropped: Callable[[Connection], object] | None = None,
    ) -> None:
        check_options(payload_codec=payload_codec, on_dropped=on_dropped, cluster=cluster)
        if cluster is not None and (not isinstance(name, str) or not name):
            raise TypeError('a group of a cluster needs a name: Group("room-1", cluster=cluster)')
        if when_full not in ("wait", "skip", "drop"):
            raise ValueError(f"when_full must be 'wait', 'skip' or 'drop', not {when_full!r}")
        if limit <= 0 or limit_bytes <= OVERHEAD:
            raise ValueError(
                f"limit= must be above 0, and limit_bytes= above {OVERHEAD}, not {limit} and "
                f"{limit_bytes}"
            )
        self.when_full = when_full
        self.limit = limit
        self.limit_bytes = limit_bytes
        self._codec = payload_codec or MsgpackCodec()
        self._on_dropped = on_dropped
        self._members: dict[bytes, Member] = {}
        self._publications = self._skipped = self._dropped = 0
        self._clock: Callable[[], float] = time.monotonic  # then that of the members
        self._write_from = LONG_AGO  # when a publication is written in the turn that made it
        self.name = name
        self._sharing: Sharing | None = None
        if cluster is not None and name is not None:
            self._sharing = cluster.share(GroupHost(self), name)

    def __repr__(self) -> str:
        """How many members it has."""
        name = "" if self.name is None else f"{self.name!r}, "
        return f"<Group {name}{len(self)} members, when_full={self.when_full!r}>"

    def __len__(self) -> int:
        """How many members the group has now."""
        return len(self._members)

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over the members' connections."""
        return iter([member.connection for member in self._members.values()])

    def __contains__(self, connection: object) -> bool:
        """Whether this connection is a member."""
        return isinstance(connection, Connection) and connection.id in self._members

    @property
    def stats(self) -> GroupStats:
        """What the group has done until now."""
        waiting = sum(len(member.waiting) for member in list(self._members.values()))
        return GroupStats(len(self), waiting, self._publications, self._skipped, self._dropped)

    def figures(self) -> Figures:
        """Return the same for metrics: ``prometheus(orders=server, room=group)``."""
        return Figures(group=self.stats)

    @property
    def members(self) -> dict[Connection, Hashable]:
        """The members now: each connection, and the identity that was given to :meth:`join`.

        A member whose network is lost without a word stays one until its session ends: some 140 s
        with the default ``Config`` (``idle_timeout`` and ``session_ttl``). Look at its ``state``.
        """
        return {member.connection: member.identity for member in self._members.values()}

    def join(self, connection: Connection, identity: Hashable = None) -> Awaitable[bool]:
        """Make a connection a member. It leaves by itself when its session ends.

        ``identity`` is any value of yours. Every outcome of this member carries it; in a cluster
        msgpack must be able to pack it.

        It is a member at once. In a cluster, await what this returns: then every publication that
        begins later, in any process, reaches the member. Awaiting raises ``EngineUnavailable`` when
        the cluster's engine cannot be asked within the cluster's ``lease=``; the connection stays a
        member, and gets publications when the engine is back. Cancelling changes
        nothing. Without a cluster there is nothing to wait for.

        What it returns, when awaited, is about sessions that were members in another process and
        have moved here (``conn.restored``): ``True`` if they may have missed publications on the
        way. If that process was drained it is exact. If it was killed it is always ``True``, the
        first time. For all others, and without a cluster, it is ``False``.

        Raises:
            ValueError: The connection is a member already, or has another payload codec than the
                group, by its name.
            ConnectionClosed: Nothing can be sent on this connection any more.
            TypeError: The object is no :class:`Connection`, or msgpack cannot pack ``identity``.
        """
        is_connection = isinstance(connection, Connection)
        expected = "a reliable_ws.Connection (Groups are for asyncio; threads have broadcast())"
        expect("connection", connection, expected, fits=is_connection)
        if connection.id in self._members:
            raise ValueError(f"{connection!r} is a member of this group already")
        if connection._session.outbox.state is not Sending.OPEN:
            raise connection._session.error()
        codecs = name_of(self._codec), name_of(connection._session.codec)
        if codecs[0] != codecs[1]:
            raise ValueError(
                "the payload codec of the group is {}, that of the connection {}: pass the same "
                "payload_codec= to both".format(*codecs)
            )
        member = Member(self, connection, identity)
        joining: Awaitable[bool] = NOTHING_MISSED
        if self._sharing is not None:
            joining = self._sharing.join(member)
        self._members[connection.id] = member
        self._clock = member.pump.clock
        sender = connection._sender
        sender.watchers = (*sender.watchers, member)
        return joining

    def leave(self, connection: Connection) -> None:
        """Remove a connection from the group.

        Publications that were sent to it are still delivered, and their outcomes still become
        known. Publications that wait for room get the outcome ``DROPPED``. For a connection that is
        no member the call has no effect.
        """
        member = self._members.get(connection.id)
        if member is not None:
            member.drop(Outcome.DROPPED)

    def _has(self, member: Member) -> bool:
        return self._members.get(member.connection.id) is member

    def _remove(self, member: Member) -> None:
        if self._has(member):
            del self._members[member.connection.id]
            if self._sharing is not None:
                self._sharing.left(member)

    def publish(self, message: Any) -> Publication:
        """Send a message to every member. Returns at once, and never waits for a member.

        Raises:
            EngineUnavailable: The cluster's engine cannot be asked now. Nobody gets the message.
            GroupFull: So many publications of this process wait for the cluster's engine, or for a
                process that does not read, that there is no room. Nobody gets the message.
            NotSerializable: The payload codec cannot pack this value. The message was sent to no
                member.
            RuntimeError: This is not the thread of the members' event loop.
        """
        for member in self._members.values():
            member.pump.check_thread()  # one loop has them all
            break
        payload, weight = seal(message, self._codec)
        if self._sharing is not None:
            return self._sharing.publish(message, payload, weight)
        publication = Publication(message, payload, weight)
        self._hand_out(publication, list(self._members.values()))
        return publication

    def _hand_out(self, publication: Publication, members: Iterable[Member]) -> None:
        """Send a publication to these members."""
        places = publication._places
        left = 0
        dropped: list[Member] = []
        # After a pause in the same turn, its task blocks between two publications: both leave now.
        # Publications without a pause go together, however long the turn is with all their members.
        now = self._clock()
        writes = now >= self._write_from
        for member in members:
            place = places[member] = member.offer(publication)
            if writes:
                member.pump.write_if_long()
            if not isinstance(place, Outcome):
                left += 1
            elif place is Outcome.DROPPED:
                dropped.append(member)
            elif place is Outcome.SKIPPED:
                self._skipped += 1
        self._publications += 1
        done = self._clock()
        rest = min(WRITES_REST * (done - now), LONGEST_REST) if writes else 0.0
        self._write_from = max(self._write_from, done + max(rest, LONG_TURN))
        publication._left = left
        for member in dropped:  # at last: what this does may concern this group
            self._end(member, "it was full", DROPPED_REASON)

    def _end(self, member: Member, why: str, reason: str) -> None:
        """Let a member that was dropped know of it."""
        self._dropped += 1
        connection = member.connection
        logger.warning(
            "a member was dropped from its group, as %s: %r, identity %r",
            why,
            connection,
            member.identity,
        )
        if self._on_dropped is None:
            connection.start_closing(DROPPED_CODE, reason)
            return
        try:
            self._on_dropped(connection)
        except Exception:  # noqa: BLE001 - the application's, and not the publisher's
            logger.exception("on_dropped raised at %r", connection)


class GroupHost:
    """The members of one group in this process, as its cluster sees them."""

    def __init__(self, group: Group) -> None:
        self._group = weakref.ref(group)  # which refers to its cluster, and so to this
        self.limit = group.limit
        self.limit_bytes = group.limit_bytes

    def member(self, session: bytes) -> Member | None:
        """Return the member that a session is."""
        group = self._group()
        return None if group is None else group._members.get(session)

    @property
    def members(self) -> list[Member]:
        """All members."""
        group = self._group()
        return [] if group is None else list(group._members.values())

    def hand_out(self, publication: Publication, members: Iterable[Member]) -> None:
        """Send a publication to these members."""
        group = self._group()
        if group is not None:
            group._hand_out(publication, members)

    def drop(self, members: Iterable[Member]) -> None:
        """Drop members whose process has missed publications, and tell them."""
        for member in members:
            member.drop(Outcome.DROPPED)
            member.group._end(member, MISSED, MISSED_REASON)
