"""Walk through *every* schedule of a small world: each state once, all of its actions.

The world is that of world.py, with time abstracted: a deadline may pass whenever it is armed
(an ack's delay, the time to live, the progress timeout of ``close()``, a tombstone's time), which
includes every real order. A state is what decides the future: both sessions, the book, the
wires with all that is in flight, the applications and the truth. It is kept as a 64-bit hash.

Checked: every invariant of :class:`~tests.sim.world.World` at every step; at every end, that
every message has a true outcome; and that from *every* state the end can be reached with what a
fair network and applications that read and close do (no timeout, no more cuts): no deadlock
and no livelock.

    python -m tests.sim.explore                 every world of SMALL, as the tests do
    python -m tests.sim.explore --large         those of LARGE: from a minute to days each
    python -m tests.sim.explore --large --most 2000000      at most so many states of each
    python -m tests.sim.explore NAME ...        by name; -v counts what happened
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Any

from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.call_cursor import CallCursor
from reliable_ws.protocol.call_pieces import Pieces
from reliable_ws.protocol.calls import CallLedger
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.sessions import Arrival, Sessions
from reliable_ws.protocol.state import Phase

from .world import (
    Action,
    Broken,
    Options,
    Party,
    Story,
    World,
    explain,
    kind_of,
    shrink,
)

CORE = (
    Session,
    Link,
    Acks,
    Cursor,
    Inbox,
    Outbox,
    CallLedger,
    CallCursor,
    Pieces,
    Sessions,
    Arrival,
)
CONTAINERS = (list, deque, set, dict, bytearray, Counter)

TIMES = frozenset(
    (
        "contact_at",
        "heard_at",
        "_hard_by",
        "_open_by",
        "_speak_by",
        "_by",
        "_idle_timeout",
        "_delay",
    )
)
"""Attributes that say when: any moment is possible here."""

CONSTANT = frozenset(
    (
        "config",
        "codec",
        "id",
        "key",
        "peer",
        "principal",
        "max_frame",
        "max_bytes",
        "max_message",
        "max_messages",
        "_principals",
        "_per_principal",
        "_quarter",
        "_batch",
        "_batch_bytes",
        "_batch_messages",
        "_max_requests",
        "_most",
        "_most_held",
        "limit",
        "max_there",
        "_pause_at",
        "_pause_total",
        "_size",
        "_speak_every",
        "_accepts",
        "_met",
        "_caution",
        "frame_size",
    )
)
"""Attributes that never differ between states, or decide nothing in worlds as small as these."""

BYTES = frozenset(("_sizes", "_held", "_unmarked", "byte_marks"))
"""How much is held, by size on the wire: decides nothing where the window in bytes is large."""

HANGING = frozenset(
    (
        "session",
        "link",
        "book",
        "inbox",
        "outbox",
        "acks",
        "cursor",
        "calls",
        "_inbox",
        "_outbox",
        "_ledger",
        "_pieces",
    )
)
"""Attributes that say how objects hang together: other objects of the core."""

ARMED = frozenset(("_progress_at", "by"))
"""Deadlines of which only counts whether there is one."""


def _names_of(sample: Any) -> list[str]:
    """Names of an object's attributes."""
    names = [name for kind in type(sample).__mro__ for name in getattr(kind, "__slots__", ())]
    return sorted({*names, *getattr(sample, "__dict__", ())})


class Tools:
    """How to copy, and to hash, each class of the core: written out once, from a sample."""

    def __init__(self) -> None:
        self.copiers: dict[type, Any] = {}
        self.plainers: dict[type, Any] = {}

    def learn(self, sample: Any) -> None:
        names = _names_of(sample)
        copies, plains = [], []
        whole = hasattr(sample, "__dict__")
        if whole:
            copies.append("n.__dict__.update(o.__dict__)")
        for name in names:
            value = getattr(sample, name)
            kind = type(value)
            if name == "_sessions":
                copies.append(f"n.{name} = {{k: copy(v, memo) for k, v in o.{name}.items()}}")
                continue
            if name in HANGING:
                copies.append(f"v = o.{name}; n.{name} = None if v is None else copy(v, memo)")
                continue
            if kind in CORE:
                raise TypeError(f"{type(sample).__name__}.{name} is another object")
            own = kind in CONTAINERS and name != "_accepts"
            if own or not whole:
                copies.append(f"n.{name} = o.{name}" + (".copy()" if own else ""))
            if (
                name in TIMES
                or name in CONSTANT
                or (name in BYTES and getattr(sample, "max_bytes", 0) > 1 << 20)
            ):
                continue
            form = "o.{}"
            if name in ARMED:
                form = "o.{} is not None"
            elif kind in (list, deque):
                form = "tuple(o.{})"
            elif kind is set:
                form = "frozenset(o.{})"
            elif kind is bytearray:
                form = "bytes(o.{})"
            elif kind in CONTAINERS:
                form = "tuple(o.{}.items())"
            plains.append(form.format(name))
        body = "\n    ".join(copies)
        space: dict[str, Any] = {"new": type(sample).__new__, "kind": type(sample), "copy": copy}
        exec(
            f"def copier(o, memo):\n    n = new(kind)\n    memo[id(o)] = n\n    {body}\n"
            f"    return n\ndef plainer(o):\n    return ({', '.join(plains)},)\n",
            space,
        )
        self.copiers[type(sample)] = space["copier"]
        self.plainers[type(sample)] = space["plainer"]


TOOLS = Tools()


def prepare(world: World) -> None:
    """Look at one object of each class."""
    world.keys = {}
    "Each side's share of the state, until the side is touched."
    world.own = frozenset("ia")
    "Sides that no other world shares."
    session = world.i.session
    link = Link(session, Phase.DIALING, world.now)
    arrival = world.book.arrive(world.now)
    for sample in (
        session,
        session.inbox,
        session.outbox,
        link,
        link.acks,
        link.cursor,
        link.calls,
        session.calls,
        session.calls._pieces,
        world.book,
        arrival,
    ):
        TOOLS.learn(sample)


# ----------------------------------------------------------------------------- cloning


def copy(one: Any, memo: dict[int, Any]) -> Any:
    """Copy an object of the core, and what it owns."""
    new = memo.get(id(one))
    if new is not None:
        return new
    kind = type(one)
    if kind is Session:
        if one.ended and not one.inbox.queue:
            memo[id(one)] = one  # nothing in it can change any more
            return one
    elif kind is Link and one.phase is Phase.OVER:  # inert: its cursor and acks are not used
        new = memo[id(one)] = Link.__new__(Link)
        new.__dict__.update(one.__dict__)
        new.session = copy(one.session, memo)
        return new
    return TOOLS.copiers[kind](one, memo)


def touched(action: Action) -> str:
    """Which sides an action can change."""
    name = action[0]
    if name in ("dial", "redial"):
        return "i"
    if name in ("forget", "perish"):
        return "a"
    if name in ("arrive", "pull", "pull1", "learn", "cut"):
        return action[2]
    if name in ("crash", "restart", "drain"):
        return "ia"
    return action[1]


def clone(world: World, sides: str = "ia") -> World:
    """A second world in the same state; what those sides can change is not shared."""
    memo: dict[int, Any] = {}
    new = World.__new__(World)
    new.__dict__.update(world.__dict__)
    new.keys = {side: key for side, key in world.keys.items() if side not in sides}
    new.own = frozenset(sides)
    i, a = world.i, world.a
    both = "a" in sides
    new.i = i.clone(copy(i.session, memo) if "i" in sides else i.session)
    new.a = None if a is None else a.clone(copy(a.session, memo) if both else a.session)
    new.past = [party.clone(party.session) for party in world.past]
    if world.records:
        new.records = {}
        for number, record in world.records.items():
            for old, party in ((a, new.a), *zip(world.past, new.past, strict=True)):
                if old is not None and old.record is record:
                    new.records[number] = party.record
    if both:
        new.book = copy(world.book, memo)
    wires = new.wires = []
    for old in world.wires:
        wire = old.clone()
        if "i" in sides:
            wire.dialer = copy(old.dialer, memo)
        if both:
            wire.arrival = copy(old.arrival, memo)
        wires.append(wire)
    new.left = world.left.copy()
    return new


# ----------------------------------------------------------------------------- canonical form


def _plain_link(link: Link | None) -> Any:
    if link is None:
        return None
    if link.phase is Phase.OVER:
        return (link.leaving, link._farewell)
    plainers = TOOLS.plainers
    return (
        plainers[Link](link),
        plainers[Acks](link.acks),
        plainers[Cursor](link.cursor),
        plainers[CallCursor](link.calls),
    )


def _plain_party(party: Party | None) -> Any:
    if party is None:
        return None
    session = party.session
    if session.ended and not session.inbox.queue:
        return (session.ended.kind, session.final is None)
    if not party.alive:
        return None
    plainers = TOOLS.plainers
    return (
        plainers[Session](session),
        plainers[Inbox](session.inbox),
        plainers[Outbox](session.outbox),
        plainers[CallLedger](session.calls),
    )


def _side_key(world: World, side: str) -> int:
    """One side's share of the state, kept until the side is touched."""
    serials = tuple([wire.serial for wire in world.wires])
    kept = world.keys.get(side)
    if kept is not None and kept[0] == serials:
        return kept[1]
    at = -1
    links = []
    party = world.i if side == "i" else world.a
    current = None if party is None else party.session.link
    for index, wire in enumerate(world.wires):
        if side == "i":
            link = wire.dialer
            links.append(_plain_link(link))
        else:
            link = wire.arrival.link
            links.append((_plain_link(link), TOOLS.plainers[Arrival](wire.arrival)))
            if link is not None:
                links.append(party is not None and link.session is party.session)
        if link is current and link is not None:
            at = index
    book = TOOLS.plainers[Sessions](world.book) if side == "a" else None
    key = hash((_plain_party(party), tuple(links), at, book))
    world.keys[side] = (serials, key)
    return key


def state_of(world: World) -> int:
    """What decides the future, hashed."""
    parties = []
    for party in (world.i, world.a, *world.past):
        if party is None:
            parties.append(None)
            continue
        record = party.record
        parties.append(
            (
                party.alive,
                party.open,
                party.finished,
                party.closed,
                party.polite,
                party.denied,
                repr(party.disk) if party.durable and world.left.get("crash") else None,
                party.over_on_disk,
                tuple(party.known.items()),
                frozenset(record.handed),
                frozenset(record.confirmed),
                len(record.payloads),
            )
        )
    return hash(
        (
            _side_key(world, "i"),
            _side_key(world, "a"),
            tuple(parties),
            tuple(
                [
                    (
                        wire.i_open,
                        wire.a_open,
                        wire.broken,
                        wire.i_stirred,
                        wire.a_stirred,
                        wire.i_code,
                        wire.a_code,
                        tuple(wire.up),
                        tuple(wire.down),
                    )
                    for wire in world.wires
                ]
            ),
            world.blind,
            tuple(world.left.values()),
            tuple(world.tombs_on_disk),
        )
    )


# ----------------------------------------------------------------------------- the walk

UNFAIR = frozenset(
    ("cut", "crash", "expire", "giveup", "abort", "forget", "beat", "redial", "drain")
)


@dataclass
class Found:
    """What a walk came to."""

    name: str
    states: int = 0
    steps: int = 0
    ends: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = True
    seen: Counter[str] = field(default_factory=Counter)
    broken: Broken | None = None
    story: Story | None = None

    def __str__(self) -> str:
        rate = self.states / max(self.seconds, 1e-9)
        return (
            f"{self.name:28} {self.states:9,} states {self.steps:9,} steps {self.ends:7,} ends "
            f"depth {self.depth:3} {self.seconds:6.1f} s {rate:6,.0f}/s"
            + ("" if self.complete else "  (not all)")
            + (f"  BROKEN: {self.broken}" if self.broken else "")
        )


def _fair(world: World, action: Action) -> bool:
    """Whether a fair network and good applications would do this in the end."""
    name = action[0]
    if name == "learn":
        wire = world.wire(action[1])
        return not (wire.down if action[2] == "i" else wire.up)
    return name not in UNFAIR


class Walk:
    """Depth-first, each state once."""

    def __init__(self, name: str, options: Options, most: int | None = None) -> None:
        self.options = options
        self.most = most
        self.found = Found(name)
        self.index: dict[int, int] = {}
        self.parents = array("q")
        self.deeds: list[Action | None] = []
        self.sources = array("l")  # fair steps, to be walked backwards
        self.targets = array("l")
        self.goals: list[int] = []

    def run(self) -> Found:
        found = self.found
        began = time.perf_counter()
        world = World(self.options, found.seen)
        prepare(world)
        try:
            self._visit(world)
            if found.complete:
                self._all_can_end()
        except Broken as broken:
            found.broken = broken
        found.seconds = time.perf_counter() - began
        found.states = len(self.index)
        return found

    def _enter(self, world: World, parent: int, action: Action | None) -> tuple[int, bool]:
        state = state_of(world)
        at = self.index.get(state)
        if at is not None:
            return at, False
        at = self.index[state] = len(self.parents)
        self.parents.append(parent)
        self.deeds.append(action)
        return at, True

    def _visit(self, first: World) -> None:
        found = self.found
        at, _ = self._enter(first, -1, None)
        stack = [(first, first.actions()[::-1], at)]
        while stack:
            found.depth = max(found.depth, len(stack))
            world, actions, at = stack[-1]
            while actions:
                action = actions.pop()
                fair = _fair(world, action)
                sides = touched(action)
                if actions or not world.own.issuperset(sides):
                    new = clone(world, sides)
                else:  # nobody needs this world any more
                    new = world
                    for side in sides:
                        new.keys.pop(side, None)
                found.steps += 1
                try:
                    new.do(action)
                    new.probe()
                    over = new.over()
                    if over:
                        new.judge()
                except Broken:
                    found.story = Story(self.options, [*self.path(at), action])
                    raise
                except Exception as error:
                    found.story = Story(self.options, [*self.path(at), action])
                    raise Broken(f"{type(error).__name__}: {error}") from error
                to, is_new = self._enter(new, at, action)
                if fair:
                    self.sources.append(at)
                    self.targets.append(to)
                if not is_new:
                    continue
                if over:
                    found.ends += 1
                    self.goals.append(to)
                    continue
                if self.most is not None and len(self.parents) >= self.most:
                    found.complete = False
                    return
                if not actions:
                    stack.pop()
                stack.append((new, new.actions()[::-1], to))
                break
            else:
                stack.pop()

    def path(self, at: int) -> list[Action]:
        """How a state was reached first."""
        path = []
        while at > 0:
            path.append(self.deeds[at])
            at = self.parents[at]
        return path[::-1]

    def _all_can_end(self) -> None:
        """From every state the end can be reached by fair steps alone."""
        count = len(self.parents)
        starts = array("l", bytes(8 * (count + 1)))
        for target in self.targets:
            starts[target + 1] += 1
        for at in range(count):
            starts[at + 1] += starts[at]
        fill = array("l", starts)
        back = array("l", bytes(8 * len(self.targets)))
        for source, target in zip(self.sources, self.targets, strict=True):
            back[fill[target]] = source
            fill[target] += 1
        good = bytearray(count)
        for goal in self.goals:
            good[goal] = 1
        todo = list(self.goals)
        while todo:
            at = todo.pop()
            for index in range(starts[at], starts[at + 1]):
                source = back[index]
                if not good[source]:
                    good[source] = 1
                    todo.append(source)
        stuck = [at for at in range(count) if not good[at]]
        if stuck:
            path = min((self.path(at) for at in stuck[:2000]), key=len)
            self.found.story = Story(self.options, path)
            raise Broken(f"{len(stuck)} states from which no end comes on a good network")


# ----------------------------------------------------------------------------- small worlds


def small(**fields: Any) -> Config:
    """Limits of a small world; a deadline passes when the explorer says so."""
    return Config(
        open_timeout=1e6,
        idle_timeout=1e6,
        session_ttl=1e6,
        close_progress_timeout=20.0,
        close_timeout=1e7,
        **fields,
    )


NETWORK = frozenset(("dial", "pull", "arrive", "cut", "learn", "ack", "perish"))
READING = frozenset(("send", "take"))
BASE = Options(
    initiator=small(),
    acceptor=small(),
    messages=1,
    sizes=(2,),
    timed=False,
    eager=True,
    deeds=NETWORK | READING | {"close"},
    left=(("cut", 1),),
)


def world_of(also: str = "", *, config: Config | None = None, **changes: Any) -> Options:
    """A small world: BASE, and more deeds."""
    if config is not None:
        changes.update(initiator=config, acceptor=config)
    deeds = BASE.deeds | frozenset(also.split())
    left = changes.pop("left", {})
    without = frozenset(changes.pop("without", "").split())
    budget = tuple(({"cut": 1} | left).items())
    return replace(BASE, deeds=deeds - without, left=budget, **changes)


ONE = small(batch_messages=1, window_messages=4)
NARROW = small(window_messages=1, window_bytes=4, outbox_messages=4, outbox_bytes=1000)

SMALL: dict[str, Options] = {
    "2 each way, 1 cut": world_of(messages=2, preload=2, config=ONE),
    "1 each way, 2 cuts": world_of(left={"cut": 2}),
    "finish or close": world_of("finish", preload=1, config=ONE),
    "timeouts, no tombstone": world_of(
        "expire giveup forget", left={"expire": 1, "giveup": 1, "forget": 1}, preload=1
    ),
    "a crash": world_of("crash forget", left={"crash": 1, "forget": 1}, preload=1),
    "a crash, with stores": world_of(
        "crash hand", left={"crash": 1, "cut": 0}, preload=1, durable=(True, True)
    ),
    "an abort": world_of("abort", left={"abort": 1}, preload=1),
    "deliveries": world_of("hand confirm", preload=1),
    "deliveries out of order": world_of(
        "hand confirm", messages=2, preload=2, config=ONE, left={"cut": 0}
    ),
    "parts": world_of(frame_limit=256 + 2, sizes=(3,)),
    "window of one": world_of(
        "finish", messages=2, config=NARROW, without="close", left={"cut": 0}
    ),
    "frames that wait for each other": world_of(eager=False, left={"cut": 0}),
    "late links": world_of(eager=False, preload=1, config=ONE, without="ack"),
    "heartbeats": world_of("beat", left={"beat": 1}, preload=1),
    "dialling over an open link": world_of("redial", left={"redial": 1}, preload=1, config=ONE),
}
"""Worlds for every run of the tests: two or three minutes together."""

LARGE: dict[str, Options] = {
    "large: 2 each way, 1 cut": world_of(messages=2),
    "large: 2 each way, acks late": world_of(messages=2, preload=2, config=small(batch_messages=1)),
    "large: 1 each way, 3 cuts": world_of(left={"cut": 3}),
    "large: finish or close": world_of("finish"),
    "large: finish or close, 2 cuts": world_of("finish", left={"cut": 2}, preload=1),
    "large: timeouts": world_of(
        "expire giveup forget", left={"expire": 2, "giveup": 1, "forget": 1}
    ),
    "large: crashes": world_of("crash forget finish", left={"crash": 2, "forget": 1}, preload=1),
    "large: deliveries": world_of("hand confirm", messages=2, preload=2),
    "large: parts": world_of("finish", frame_limit=256 + 2, sizes=(5,)),
    "large: everything": world_of(
        "finish abort hand confirm expire giveup forget crash redial",
        left={"abort": 1, "expire": 1, "giveup": 1, "forget": 1, "crash": 1, "redial": 1},
        preload=1,
    ),
    "large: frames that wait": world_of("redial", left={"redial": 1}, eager=False),
    "large: heartbeats": world_of("beat", left={"beat": 1}),
}
"""Worlds for a free evening: up to tens of millions of states, unless ``--most`` bounds them."""


def explore(name: str, options: Options, most: int | None = None) -> Found:
    """Walk through one world."""
    return Walk(name, options, most).run()


def main(arguments: list[str]) -> int:
    worlds = SMALL | LARGE
    most = None
    if "--most" in arguments:
        at = arguments.index("--most")
        most = int(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    names = [one for one in arguments if not one.startswith("-")]
    if not names:
        names = list(LARGE if "--large" in arguments else SMALL)
    failed = False
    for name in names:
        found = explore(name, worlds[name], most)
        print(found, flush=True)
        if "-v" in arguments:
            for what, count in sorted(found.seen.items()):
                print(f"    {count:9,} {what}")
        if found.broken is not None:
            failed = True
            story = found.story
            if story is not None and not kind_of(found.broken).strip().startswith("states"):
                story = shrink(story)
            if story is not None:
                print(explain(story))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
