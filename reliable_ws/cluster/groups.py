"""Groups that have members in several nodes.

Theory of operation. A publication is appended by the engine, in one step, to the boxes of all nodes
that have members (:mod:`.scripts`), so that all have the same order. Each node reads its box with
one blocking read for all its groups, and hands what it reads to its own members, as a group of one
process does. The publisher's own node is one of them. Each node reports to the publisher's what
became of a publication at its members, through that node's box (:mod:`.receipts`).

Nothing here is told only once. An append that is repeated is answered as the first time, a report
has all that its node knows, and a publisher asks again when it hears nothing. So every step may be
repeated after an engine that was away, and a box that was lost is made anew.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
import weakref
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import msgpack

from reliable_ws.aio.groups import GroupHost, Member, Publication, Recipient
from reliable_ws.aio.membership import Served
from reliable_ws.aio.sender import Sender
from reliable_ws.aio.waiters import is_cancelled
from reliable_ws.driver.status import logger
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import EngineUnavailable, GroupFull, ReliableWSError
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import seal_weight
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session

from .engine import FULL, SENT, Appended, Engine, EngineAway, Outgoing, Registration
from .links import cancel_all
from .publications import Heard, SharedPublication
from .receipts import CODES, FATES, PLAIN, Mark, Name, Place, Way

__all__ = ["Groups", "SharedGroup"]

AT_ONCE = 500
"""Publications, registrations or messages in one step of the engine."""

SOUGHT_AT_ONCE = 5000
"""Outcomes of sessions that moved, in one question."""

BYTES_AT_ONCE = 1024 * 1024
"""Bytes of publications in one step of the engine; one larger one goes alone."""

OFFERS_AT_ONCE = 2000
"""Members that are handed publications until others run: some 8 ms, and as much to write them.

What a member is handed in one turn goes as one WebSocket message; that costs more than all else.
"""

REPORT_EVERY = 0.05
"""Seconds between two looks at publications whose outcomes are not all known."""

MOST_PUBLISHERS = 1000
"""Processes of which a group knows what they published last; the others are gone for long."""

LOOK_EVERY = 1.0
"""Seconds between two looks at nodes that owe reports."""

FULL_PAUSE = 0.02
"""Seconds after which a group that was full is tried again."""

KEPT_REPORTS = 1024
KEPT_BYTES = 8 * 1024 * 1024
"""How many last reports are kept, and their bytes, in case that their publishers ask again."""

NOT_KNOWN = (
    "the cluster's engine could not be asked in time: it is not known whether members get the "
    "publication"
)

LAST_STEP = 2.0
"""Seconds that the last reports may take, when a node goes."""

FAULT_PAUSE = 1.0
"""Seconds until a task goes on after an error that it should not have."""

NOWHERE = (b"-", 0)
"""A place that is no place of any group."""

SWEEP_AT = 100
"""Sessions that have moved here, until those are looked for that are here no more."""

NOBODY: bytes = msgpack.packb(())
"Names of the members that got a publication: none did."


class Say(enum.IntEnum):
    """What nodes tell each other."""

    REPORT = 0
    "What is known of publications."
    ASK = 1
    "Report these publications again."
    WANT = 2
    "Somebody waits for these publications: let the members say at once that they have them."
    SEEK = 3
    "Tell what becomes of these messages, of sessions that were taken over."
    FATE = 4
    "That is what became of them."


class Message(NamedTuple):
    """Something that another node is to be told."""

    node: bytes
    data: bytes
    kind: Say
    about: Iterable[int]
    "Numbers of publications, if this has to get there."


class Node(Protocol):
    """The node, as its groups see it: :class:`~.cluster.Cluster`."""

    id: bytes
    lease: float
    takeover_timeout: float

    @property
    def name(self) -> str:
        """Its name, for people."""
        raise NotImplementedError

    @property
    def engine(self) -> Engine:
        """The engine."""
        raise NotImplementedError

    @property
    def is_away(self) -> bool:
        """Whether the engine did not answer last time."""
        raise NotImplementedError

    @property
    def can_take_over(self) -> bool:
        """Whether sessions go on in other nodes when theirs is gone."""
        raise NotImplementedError

    async def start(self) -> None:
        """Take part."""

    def note_away(self, error: EngineAway) -> None:
        """Note that the engine cannot be asked."""

    async def wait_for_engine(self) -> None:
        """Return when the engine answers again."""

    def find(self, session: bytes) -> Served | None:
        """Return a session that lives here."""
        raise NotImplementedError

    def ended(self, session: bytes) -> Session | None:
        """Return a session that has ended here, while its last outcomes are remembered."""
        raise NotImplementedError


class SharedGroup:
    """The part of one group that is in this process (:class:`~.aio.groups.Sharing`)."""

    def __init__(self, groups: Groups, host: GroupHost, name: str) -> None:
        self._groups = groups
        self.host = host
        self.name = name
        self.place = Place()
        self.epoch = b""
        "The epoch in which this node has published last."
        self.joining: dict[Member, Joining] = {}
        "Members that get nothing yet."
        self.queue: deque[SharedPublication] = deque()
        "On their way to the engine."
        self.queued = 0
        "Their bytes."
        self.paused_until = 0.0
        self.token = 0
        "Of the last registration."
        self._last: dict[bytes, int] = {}  # by publisher, its number for what was handed out last

    def publish(self, message: Any, payload: Payload, weight: int) -> Publication:
        """Publish to the members in all processes."""
        groups = self._groups
        groups.check()
        host = self.host
        is_over = self.queue and self.queued + weight > host.limit_bytes
        if is_over or len(self.queue) >= host.limit:
            raise GroupFull(
                f"{len(self.queue)} publications of this process wait in group {self.name!r}: "
                "await published() of some of them before the next one"
            )
        publication = groups.new_publication(message, payload, weight)
        self.queue.append(publication)
        self.queued += weight
        groups.publish_soon(self)
        return publication

    def take(self) -> SharedPublication:
        """Take the next publication that waits."""
        publication = self.queue.popleft()
        self.queued -= publication.weight
        return publication

    def put_back(self, publication: SharedPublication) -> None:
        """Let a publication be the next one again."""
        self.queue.appendleft(publication)
        self.queued += publication.weight

    def join(self, member: Member) -> Awaitable[bool]:
        """Let a member get what is published from now on."""
        try:
            msgpack.packb(member.identity)
        except Exception as error:
            raise TypeError(
                f"identity= must be a value that msgpack can pack, not {member.identity!r:.100}: "
                f"{error}"
            ) from error
        joining = self.joining[member] = Joining(self._groups)
        self._groups.start()
        self._groups.register_soon(self)
        return joining

    def left(self, member: Member) -> None:
        """Take note that a member has left."""
        joining = self.joining.pop(member, None)
        if joining is not None:
            joining.done.set()
        if not self.host.members:
            self.place.leave()
        self._groups.register_soon(self)

    @property
    def active(self) -> list[Member]:
        """Members of this process that get what is published now."""
        return [one for one in self.host.members if one not in self.joining]

    def place_of(self, member: Member) -> tuple[bytes, int]:
        """Return how far a member is that moves now, with all that goes with its session."""
        kept = member.session.outbox.stored
        if member.waiting or (member.pending and member.pending[-1][0] > kept):
            return NOWHERE  # not all that was handed out goes with it
        return self.place.epoch, self.place.number

    def registration(self) -> Registration:
        """Return what the engine is to be told, and note that it was."""
        self.token += 1
        for joining in self.joining.values():
            joining.token = joining.token or self.token
        place = self.place
        members = len(self.host.members)
        return Registration(self.name, members, self.token, place.epoch, place.number)

    def marked(self, epoch: bytes, number: int, token: int, origin: bytes, base: int) -> None:
        """Take the engine's word for where the group stood at a registration."""
        if not self.host.members:
            return
        if not self.place.mark(epoch, number, origin, base):
            self.host.drop(self.active)
        for member, joining in list(self.joining.items()):
            if 0 < joining.token <= token:
                del self.joining[member]
                mark = Mark(epoch, number, origin, base)
                joining.has_missed = self._groups.has_missed(member.session.id, self.name, mark)
                joining.done.set()

    def hand_out(self, epoch: bytes, number: int, heard: Heard) -> int | None:
        """Hand a publication to the members that get it; return how many they are.

        ``None``: they have it already. A publisher's numbers grow; it repeats one when it did not
        hear that it was appended, and the engine has lost its data since.
        """
        if not self.place.follows:
            return 0
        if not self.place.step(epoch, number):
            self.host.drop(self.active)
        last = self._last.pop(heard.publisher, 0)
        self._last[heard.publisher] = max(last, heard.number)  # behind all others
        if heard.number <= last:
            return None
        if len(self._last) > MOST_PUBLISHERS:
            del self._last[next(iter(self._last))]
        members = self.active
        self.host.hand_out(heard, members)
        return len(members)


class Joining:
    """What ``join()`` returns: done when the member gets everything that is published."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self.token = 0
        "Of the registration that it waits for; 0: of the next one."
        self.done = asyncio.Event()
        self.has_missed = False
        "Whether publications may have gone by, while its session moved here."

    def __await__(self) -> Generator[Any, None, bool]:
        return self._wait().__await__()

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(self._groups.lease):
                await self.done.wait()
            return self.has_missed
        except TimeoutError:
            raise EngineUnavailable(
                "the cluster's engine cannot be asked: the member gets publications when it is back"
            ) from None


class Groups:
    """All groups of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._groups: weakref.WeakValueDictionary[str, SharedGroup] = weakref.WeakValueDictionary()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = 0
        self._open: dict[int, SharedPublication] = {}
        "What this node has published, and waits for."
        self._heard: dict[tuple[bytes, int], Heard] = {}
        "What members here have got, and not all have said what became of it."
        self._reported: dict[tuple[bytes, int], bytes] = {}
        "Last reports, packed, oldest first."
        self._reported_bytes = 0
        self._forgotten: dict[bytes, int] = {}
        "By publisher: the highest number of which the last report is kept no more."
        self._unsure: set[Heard] = set()
        "Those that the logs of some sessions do not have yet: another node would not know them."
        self._later: list[Heard] = []
        self._timer: asyncio.TimerHandle | None = None
        self._seeking: set[tuple[bytes, int, bytes]] = set()
        self._reports: dict[bytes, dict[int, bytes]] = {}
        self._messages: list[Message] = []
        self._untold: dict[bytes, set[int]] = {}
        "By publisher: publications of which a report found its box full."
        self._unasked: dict[bytes, set[int]] = {}
        "By node: publications of which it was to be asked, and it had no box, or a full one."
        self._to_publish: dict[SharedGroup, None] = {}
        self._to_register: dict[SharedGroup, None] = {}
        self._publish_now = asyncio.Event()
        self._hold_until = 0.0
        self._register_now = asyncio.Event()
        self._tell_now = asyncio.Event()
        self._is_idle = asyncio.Event()  # perhaps: who waits for that looks whether it is true
        self._steps = 0  # of the engine, under way
        self._ways: dict[bytes, Way] = {}
        "Of sessions that have moved here."
        self._sweep_at = SWEEP_AT
        self._taken: tuple[bytes, bytes] | None = None
        "First and last of the box's entries that were taken, and are still in it."

    # ------------------------------------------------------------------ start and end

    @property
    def is_used(self) -> bool:
        """Whether the application has a group in the cluster."""
        return bool(self._groups)

    @property
    def lease(self) -> float:
        """Seconds that a step may wait for an engine that is away."""
        return self._node.lease

    def share(self, host: GroupHost, name: str) -> SharedGroup:
        """Let a group take part."""
        if name in self._groups:
            raise ValueError(f"this process has a group {name!r} already: use that one")
        shared = self._groups[name] = SharedGroup(self, host, name)
        return shared

    def check(self) -> None:
        """Start, unless this was done; raise if nothing can be published."""
        self.start()
        if self._node.is_away:
            raise EngineUnavailable("the cluster's engine cannot be asked now: publish later")

    def start(self) -> None:
        """Take part from now on. Again: no effect. The cluster may start later."""
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        steps = (self._read, self._publish, self._register, self._tell, self._look)
        self._tasks = [loop.create_task(self._run(step)) for step in steps]

    async def _run(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do one of the steps for as long as the node takes part.

        A client of an engine may lose a cancellation that comes in the middle of a step.
        """
        while not is_cancelled():
            try:
                await self._node.start()
                await step()
            except EngineAway as error:
                self._node.note_away(error)
                await self._node.wait_for_engine()
            except Exception:  # noqa: BLE001 - a task that nobody waits for
                logger.exception("reliable_ws failed, please report it: groups of a cluster")
                await asyncio.sleep(FAULT_PAUSE)

    async def leave(self) -> None:
        """Take part no more. What is on its way is told if that takes no longer than a step."""
        if not self._tasks:
            return
        self._flush_reports()
        try:
            async with asyncio.timeout(LAST_STEP):
                while self._is_busy and not self._node.is_away:
                    self._is_idle.clear()
                    await self._is_idle.wait()
                await self._node.engine.drop_box()
        except (TimeoutError, EngineAway):
            pass
        tasks, self._tasks = self._tasks, []
        await cancel_all(tasks)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for publication in list(self._open.values()):
            publication.fail(None)
        for shared in list(self._groups.values()):
            while shared.queue:
                shared.take().fail(EngineUnavailable("this process takes part no more"))
            shared.place.leave()
        for left in (self._open, self._heard, self._reported, self._forgotten, self._to_publish):
            left.clear()
        self._unsure.clear()
        self._seeking.clear()
        self._ways.clear()
        self._untold.clear()
        self._unasked.clear()
        self._taken = None
        self._reported_bytes = 0

    @property
    def _is_busy(self) -> bool:
        waiting = self._to_publish or self._to_register or self._reports or self._messages
        return bool(waiting) or self._steps > 0

    @asynccontextmanager
    async def _under_way(self) -> AsyncGenerator[None]:
        """Count a step of the engine that is under way."""
        self._steps += 1
        try:
            yield
        finally:
            self._steps -= 1
            self._is_idle.set()

    # ------------------------------------------------------------------ publishing

    def new_publication(self, message: Any, payload: Payload, weight: int) -> SharedPublication:
        """Return a publication that has to go to the engine."""
        self._numbers += 1
        by = asyncio.get_running_loop().time() + self._node.lease
        return SharedPublication(
            message, payload, weight, number=self._numbers, by=by, ask=self._want
        )

    def engine_changed(self) -> None:
        """Let all nodes tell an engine that has lost its data of their members, then publish."""
        self._hold_until = asyncio.get_running_loop().time() + self._node.lease / 2

    def publish_soon(self, shared: SharedGroup) -> None:
        """Have what waits in a group appended, with all that waits in this turn."""
        self._to_publish[shared] = None
        self._publish_now.set()

    async def _publish(self) -> None:
        """Append what waits, batch by batch: while one is under way the next one grows."""
        loop = asyncio.get_running_loop()
        await self._publish_now.wait()
        self._publish_now.clear()
        await asyncio.sleep(max(0.0, self._hold_until - loop.time()))
        while batch := self._take_batch(loop.time()):
            async with self._under_way():
                said = await self._append(batch)
            now = loop.time()
            back: list[tuple[SharedGroup, SharedPublication]] = []
            for (shared, publication), one in zip(batch, said, strict=True):
                if one.verdict == "done":
                    self._appended(publication, one, now)
                    shared.epoch = one.epoch
                elif one.verdict == "full" and now >= publication.by:
                    self._fail(publication, GroupFull(_full(shared, one)))
                elif one.verdict == "full":
                    back.append((shared, publication))
                    self._pause(shared, now, FULL_PAUSE)
                elif one.verdict == "lost":
                    back.append((shared, publication))
                    shared.epoch = b""
                    # Until then each node has told the engine again that it has members.
                    self._pause(shared, now, self._node.lease / 2)
                else:
                    self._fail(publication, EngineUnavailable(NOT_KNOWN))
            for shared, publication in reversed(back):
                shared.put_back(publication)
        self._is_idle.set()

    def _pause(self, shared: SharedGroup, now: float, seconds: float) -> None:
        """Let a group's publications wait for a while."""
        if shared.paused_until <= now:
            shared.paused_until = now + seconds
            asyncio.get_running_loop().call_later(seconds, self.publish_soon, shared)

    def _fail(self, publication: SharedPublication, error: ReliableWSError) -> None:
        self._open.pop(publication.number, None)
        publication.fail(error)

    def _take_batch(self, now: float) -> list[tuple[SharedGroup, SharedPublication]]:
        batch: list[tuple[SharedGroup, SharedPublication]] = []
        size = 0
        for shared in list(self._to_publish):
            if shared.paused_until > now + 0.001:
                del self._to_publish[shared]  # it comes back by itself
                continue
            while shared.queue and len(batch) < AT_ONCE and size < BYTES_AT_ONCE:
                publication = shared.take()
                size += publication.weight
                batch.append((shared, publication))
            if shared.queue:
                break
            del self._to_publish[shared]
        return batch

    async def _append(self, batch: list[tuple[SharedGroup, SharedPublication]]) -> list[Appended]:
        """Return what became of each."""
        node = self._node
        outgoing = []
        for shared, publication in batch:
            self._open[publication.number] = publication
            limit, limit_bytes = shared.host.limit, shared.host.limit_bytes
            asked = publication.entry_asks = publication.is_awaited
            packed = msgpack.packb((node.id, publication.number, asked, publication.payload))
            outgoing.append(Outgoing(shared.name, shared.epoch, limit, limit_bytes, packed))
        batch_id = secrets.token_bytes(12)
        by = max(publication.by for _shared, publication in batch)
        while True:
            try:
                return await node.engine.publish_all(batch_id, outgoing)
            except EngineAway as error:
                node.note_away(error)
                try:
                    async with asyncio.timeout_at(by):
                        await node.wait_for_engine()
                except TimeoutError:
                    return [Appended("unknown", b"", 0, [])] * len(batch)

    def _appended(self, publication: SharedPublication, said: Appended, now: float) -> None:
        publication.appended(said.nodes, now)
        if publication.done:
            self._open.pop(publication.number, None)
        elif publication.is_awaited and not publication.entry_asks:
            self._want(publication)

    # ------------------------------------------------------------------ members

    def register_soon(self, shared: SharedGroup) -> None:
        """Have the engine told how many members a group has here."""
        if self._tasks:
            self._to_register[shared] = None
            self._register_now.set()

    async def _register(self) -> None:
        await self._register_now.wait()
        while self._to_register:
            batch = list(self._to_register)[:AT_ONCE]
            for shared in batch:
                del self._to_register[shared]
            told = [shared.registration() for shared in batch]
            try:
                async with self._under_way():
                    await self._node.engine.register(self._node.name, told)
            except EngineAway:
                for shared in batch:
                    self._to_register[shared] = None
                raise
        self._register_now.clear()  # only now: what fails is done again

    # ------------------------------------------------------------------ sessions that move

    def moved_in(self, session: bytes, packed: bytes | None) -> None:
        """Note how far a session was in its groups; ``None``: its last process has not said."""
        if len(self._ways) >= self._sweep_at:
            find = self._node.find
            self._ways = {one: way for one, way in self._ways.items() if find(one) is not None}
            self._sweep_at = 2 * len(self._ways) + SWEEP_AT
        self._ways[session] = Way.unpack(packed)

    def moving(self, session: bytes) -> bytes:
        """Return how far a session is in its groups, for the next process."""
        way = self._ways.get(session) or Way(is_known=True, places={})
        return way.pack(
            {
                name: shared.place_of(member)
                for name, shared in list(self._groups.items())
                if (member := shared.host.member(session)) and member not in shared.joining
            }
        )

    def has_missed(self, session: bytes, group: str, mark: Mark) -> bool:
        """Whether a session that moved here may have missed something, as it joins a group."""
        way = self._ways.get(session)
        return way is not None and way.has_missed(group, mark)

    # ------------------------------------------------------------------ the box

    async def _read(self) -> None:
        """Take what comes into the box, in order."""
        while not is_cancelled():
            try:
                entries = await self._node.engine.read_box(self._taken)
            except EngineAway as error:
                self._node.note_away(error)
                await self._node.wait_for_engine()
                continue
            offers = 0
            for _id, fields in entries:
                try:
                    offers += self._take(fields)
                except Exception:  # noqa: BLE001 - one entry is not in the way of others
                    logger.exception("reliable_ws failed, please report it: an entry of a box")
                if offers >= OFFERS_AT_ONCE:
                    offers = 0
                    await asyncio.sleep(0)
            self._taken = (entries[0][0], entries[-1][0]) if entries else None

    def _take(self, fields: dict[bytes, bytes]) -> int:
        """Take one entry; return to how many members it went."""
        match fields[b"k"]:
            case b"pub":
                return self._take_publication(fields)
            case b"at":
                shared = self._groups.get(fields[b"g"].decode())
                if shared is not None:
                    epoch, origin = fields[b"e"], fields[b"o"]
                    number, token, base = (int(fields[name]) for name in (b"n", b"t", b"b"))
                    shared.marked(epoch, number, token, origin, base)
            case b"msg":
                self._take_message(fields[b"d"])
            case b"new":  # whatever was in the box before is lost
                for shared in list(self._groups.values()):
                    if shared.host.members:
                        self.register_soon(shared)
                self._ask_again()
                self._report_again()
        return 1

    def _take_publication(self, fields: dict[bytes, bytes]) -> int:
        publisher, number, is_awaited, payload = msgpack.unpackb(fields[b"d"], **PLAIN)  # type: ignore[arg-type]
        heard = Heard(publisher, number, payload, seal_weight(payload), self._changed)
        shared = self._groups.get(fields[b"g"].decode())
        count: int | None = 0
        if shared is not None:
            count = shared.hand_out(fields[b"e"], int(fields[b"n"]), heard)
        if count is None:
            self._answer(publisher, number)
            return 0
        self._heard[publisher, number] = heard
        if is_awaited:
            heard.ask()
        self._changed(heard)
        return count

    # ------------------------------------------------------------------ reports

    def _changed(self, heard: Heard) -> None:
        """Note that more is known of a publication."""
        if heard.done:
            self._report(heard)
        elif not heard.is_due:
            heard.later(asyncio.get_running_loop().time())
            self._later.append(heard)
            self._report_later()

    def _report_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(REPORT_EVERY, self._look_at_reports, loop)

    def _look_at_reports(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._flush_reports(loop.time() + REPORT_EVERY / 2)

    def _flush_reports(self, now: float = NEVER) -> None:
        """Report what is due by then; without a time, everything that is not reported yet."""
        later, self._later = self._later, []
        for heard in later:
            if heard.done:  # it was reported
                continue
            if heard.due_at > now:
                self._later.append(heard)
                continue
            heard.is_due = False
            self._report(heard)
        for heard in list(self._unsure):
            if heard.is_sure:
                self._report(heard)
        if self._later or self._unsure:
            self._report_later()

    def _report(self, heard: Heard) -> None:
        """Tell the publisher all that is known of a publication here."""
        fates = heard.fates()
        key = heard.publisher, heard.number
        if heard.publisher == self._node.id:
            self._take_own(heard.number, heard.names(), fates)
            if heard.done:
                self._heard.pop(key, None)
            return
        packed: bytes = msgpack.packb((heard.number, heard.packed_names(), fates))
        if heard.done:
            self._heard.pop(key, None)
            self._unsure.discard(heard)
            self._keep_report(key, packed)
        elif heard.is_sure:
            self._unsure.discard(heard)
        else:
            self._unsure.add(heard)
            self._report_later()
        self._send_report(heard.publisher, heard.number, packed)

    def _keep_report(self, key: tuple[bytes, int], packed: bytes) -> None:
        self._reported[key] = packed
        self._reported_bytes += len(packed)
        while len(self._reported) > KEPT_REPORTS or self._reported_bytes > KEPT_BYTES:
            (publisher, number), oldest = next(iter(self._reported.items()))
            del self._reported[publisher, number]
            self._reported_bytes -= len(oldest)
            forgotten = max(number, self._forgotten.pop(publisher, 0))
            self._forgotten[publisher] = forgotten  # behind all others
            if len(self._forgotten) > MOST_PUBLISHERS:
                del self._forgotten[next(iter(self._forgotten))]

    def _send_report(self, publisher: bytes, number: int, packed: bytes) -> None:
        self._reports.setdefault(publisher, {})[number] = packed
        self._tell_now.set()

    def _send(
        self, node: bytes, kind: Say, items: Sequence[Any], about: Iterable[int] = ()
    ) -> None:
        """Tell another node something about these publications."""
        packed = msgpack.packb((kind.value, self._node.id, self._node.name, items))
        self._messages.append(Message(node, packed, kind, about))
        self._tell_now.set()

    def _ask(self, node: bytes, numbers: Sequence[int]) -> None:
        """Ask a node to report publications of ours again."""
        for at in range(0, len(numbers), AT_ONCE):
            some = numbers[at : at + AT_ONCE]
            self._send(node, Say.ASK, some, some)

    async def _tell(self) -> None:
        """Tell other nodes what waits. What does not get there is asked for again."""
        await self._tell_now.wait()
        while self._reports or self._messages:
            reports, self._reports = self._reports, {}
            for publisher, packed in reports.items():
                self._send(publisher, Say.REPORT, list(packed.values()), packed)
            messages = self._messages[:AT_ONCE]
            async with self._under_way():
                said = await self._node.engine.send([(one.node, one.data) for one in messages])
            del self._messages[: len(messages)]
            for message, one in zip(messages, said, strict=True):
                if one == FULL and message.kind is Say.REPORT:
                    self._untold.setdefault(message.node, set()).update(message.about)
                elif one != SENT and message.kind is Say.ASK:
                    self._unasked.setdefault(message.node, set()).update(message.about)
        self._tell_now.clear()  # only now: what fails is done again

    def _tell_again(self) -> None:
        """Tell and ask again what has not got there: what is known by now, or is still open."""
        unasked, self._unasked = self._unasked, {}
        for node, numbers in unasked.items():
            self._ask(node, [number for number in numbers if number in self._open])
        untold, self._untold = self._untold, {}
        for publisher, numbers in untold.items():
            for number in numbers:
                self._answer(publisher, number)

    def _take_message(self, data: bytes) -> None:
        kind, sender, label, items = msgpack.unpackb(data, **PLAIN)  # type: ignore[arg-type]
        match kind:
            case Say.REPORT.value:
                for packed in items:
                    number, names, fates = msgpack.unpackb(packed, **PLAIN)  # type: ignore[arg-type]
                    self._take_report(sender, label, number, names, fates)
            case Say.ASK.value:
                for number in items:
                    self._answer(sender, number)
            case Say.WANT.value:
                for number in items:
                    heard = self._heard.get((sender, number))
                    if heard is not None:
                        heard.ask()
            case Say.SEEK.value:
                self._seek_here(sender, items)
            case Say.FATE.value:
                for number, session, code in items:
                    self._take_fate(number, session, FATES[code])

    def _take_report(
        self, node: bytes, label: str, number: int, packed: bytes | None, fates: bytes
    ) -> None:
        """Take what another node knows of a publication of ours."""
        publication = self._open.get(number)
        if publication is None:
            return
        receipts = publication.receipts
        if packed is None:  # it knew, and has forgotten
            share = receipts.shares.get(node)
            self._known(publication, [] if share is None else share.close())
        else:
            self._known(publication, receipts.report_packed(node, label, packed, fates))

    def _take_own(self, number: int, names: Sequence[Name], fates: bytes) -> None:
        """Take what this node knows of a publication of its own."""
        publication = self._open.get(number)
        if publication is not None:
            node = self._node
            self._known(publication, publication.receipts.report(node.id, node.name, names, fates))

    def _known(self, publication: SharedPublication, told: Iterable[Recipient]) -> None:
        publication.known(told)
        if publication.done:
            self._open.pop(publication.number, None)

    def _answer(self, publisher: bytes, number: int) -> None:
        """Tell again what is known of a publication."""
        key = publisher, number
        heard, packed = self._heard.get(key), self._reported.get(key)
        if heard is not None:
            self._report(heard)
        elif publisher == self._node.id:
            pass  # it was told before
        elif packed is not None:
            self._send_report(publisher, number, packed)
        else:
            # It never came here, or that is forgotten.
            names = None if number <= self._forgotten.get(publisher, 0) else NOBODY
            self._send_report(publisher, number, msgpack.packb((number, names, b"")))

    # ------------------------------------------------------------------ what is owed

    def _want(self, publication: SharedPublication) -> None:
        """Let the members of a publication that is appended say at once when they have it."""
        for node in publication.receipts.shares:
            if node != self._node.id:
                self._send(node, Say.WANT, [publication.number])
            elif (heard := self._heard.get((node, publication.number))) is not None:
                heard.ask()

    def _report_again(self) -> None:
        """Report all again: questions that were on their way here may be lost."""
        for publisher, number in [*self._heard, *self._reported]:
            if publisher != self._node.id:
                self._answer(publisher, number)

    def _ask_again(self) -> None:
        """Ask for all reports: those that were on their way may be lost."""
        lacking: dict[bytes, list[int]] = {}
        for publication in self._open.values():
            for node, share in publication.receipts.shares.items():
                if share.pending and node != self._node.id:
                    lacking.setdefault(node, []).append(publication.number)
        for node, numbers in lacking.items():
            self._ask(node, numbers)

    async def _look(self) -> None:
        """Keep the box; tell and ask again what did not come; look for sessions that have moved."""
        node, now = self._node, asyncio.get_running_loop().time()
        self._tell_again()
        owing = {
            one
            for publication in self._open.values()
            for one, share in publication.receipts.shares.items()
            if share.pending
        }
        asked = list(owing)
        exist = dict(zip(asked, await node.engine.keep_box(asked), strict=True))
        patience = node.takeover_timeout if node.can_take_over else node.lease
        late: dict[bytes, list[int]] = {}
        sought: dict[bytes, list[tuple[int, int]]] = {}
        for publication in list(self._open.values()):
            receipts = publication.receipts
            for one, share in list(receipts.shares.items()):
                if not share.pending:
                    continue
                if exist.get(one, True):
                    receipts.seen(one, now)
                    if share.names is None and now > publication.sent_at + node.lease:
                        late.setdefault(one, []).append(publication.number)
                else:
                    receipts.gone(one, now)
                for name in share.sought():
                    sought.setdefault(name.session, []).append((publication.number, name.number))
            self._known(publication, receipts.overdue(now, patience))
        for one, numbers in late.items():
            if one == node.id:
                for number in numbers:
                    if (one, number) not in self._heard:
                        self._take_own(number, (), b"")
            else:
                self._ask(one, numbers[:AT_ONCE])
        await self._seek(sought)
        await asyncio.sleep(min(node.lease / 3, LOOK_EVERY))

    async def _seek(self, sought: dict[bytes, list[tuple[int, int]]]) -> None:
        """Ask the owners of sessions what became of messages."""
        sessions = list(sought)
        for at in range(0, len(sessions), AT_ONCE):
            some = sessions[at : at + AT_ONCE]
            by_owner: dict[bytes, list[tuple[int, bytes, int]]] = {}
            owners = await self._node.engine.owners(some)
            for session, owner in zip(some, owners, strict=True):
                if owner is not None:
                    by_owner.setdefault(owner, []).extend(
                        (number, session, place) for number, place in sought[session]
                    )
            for owner, items in by_owner.items():
                if owner == self._node.id:
                    self._seek_here(owner, items)
                else:
                    for first in range(0, len(items), SOUGHT_AT_ONCE):
                        self._send(owner, Say.SEEK, items[first : first + SOUGHT_AT_ONCE])

    def _seek_here(self, publisher: bytes, items: Iterable[tuple[int, bytes, int]]) -> None:
        """Tell a publisher what becomes of messages of sessions that were taken over."""
        for number, session, place in items:
            key = publisher, number, session
            if key in self._seeking:
                continue
            served, ended = self._node.find(session), self._node.ended(session)
            if served is not None:
                self._seeking.add(key)
                Sought(served.sender, place, lambda fate, key=key: self._found(key, fate))  # type: ignore[misc]
            elif ended is not None:
                self._found(key, ended.outcome(place))

    def _found(self, key: tuple[bytes, int, bytes], fate: Outcome) -> None:
        self._seeking.discard(key)
        publisher, number, session = key
        if fate is Outcome.KEPT:  # it has moved again: the publisher goes on looking
            return
        if publisher == self._node.id:
            self._take_fate(number, session, fate)
        else:
            self._send(publisher, Say.FATE, [(number, session, CODES[fate])])

    def _take_fate(self, number: int, session: bytes, fate: Outcome) -> None:
        publication = self._open.get(number)
        if publication is not None:
            self._known(publication, publication.receipts.taken_over(session, fate))


class Sought:
    """Waits for what becomes of a message, in the process that took over its session."""

    def __init__(self, sender: Sender, number: int, found: Callable[[Outcome], None]) -> None:
        self._sender = sender
        self._number = number
        self._found = found
        if sender.session.outcome(number) in {Outcome.PENDING, Outcome.KEPT}:
            sender.watchers = (*sender.watchers, self)
            sender.session.want(number)
        else:
            found(sender.session.outcome(number))

    def confirmed(self, number: int) -> None:
        """Everything up to ``number`` is confirmed."""
        if number >= self._number:
            self._sender.watchers = tuple(one for one in self._sender.watchers if one is not self)
            self._found(Outcome.CONFIRMED)

    def withdrawn(self, number: int) -> None:
        """Messages were taken back: there is no store here that does it."""

    def settled(self) -> None:
        """Every outcome is known."""
        self._found(self._sender.session.outcome(self._number))


def _full(shared: SharedGroup, said: Appended) -> str:
    where = f"process {said.nodes[0][2]!r}" if said.nodes else "a process"
    return f"group {shared.name!r}: {where} has not read what was published before"
