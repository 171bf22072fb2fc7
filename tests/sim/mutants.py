"""Guards of the core, each removed in turn: what the simulator and the explorer must catch.

A mutant is one small lie told to the core by replacing a method, or one commit that comes late.

    python -m tests.sim.mutants            the table of who catches what
    python -m tests.sim.mutants NAME -v    the shortest trace for one of them
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

from reliable_ws.protocol import link as link_module
from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.frames import Ack, Code, Finish, Messages, Refuse, Stop
from reliable_ws.protocol.inbox import NEVER, Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.sessions import Sessions
from reliable_ws.protocol.snapshot import snapshot
from reliable_ws.protocol.state import Deed, Phase, Receiving, Sending

from . import world as world_module
from .explore import NARROW, ONE, Found, explore, world_of
from .world import Broken, Options, Story, explain, shrink, tell

Replace = Callable[[Any, str, Any], None]


class Mutant(NamedTuple):
    """One guard removed."""

    name: str
    install: Callable[[Replace], None]
    world: str
    "Where the explorer looks for it."
    changes: dict[str, Any]
    "What the world is told, where the guard is not in the core alone."


WORLDS: dict[str, Options] = {
    "cut": world_of(preload=1),
    "finish": world_of("finish", preload=1),
    "two": world_of("hand confirm", messages=2, preload=2, config=ONE, left={"cut": 0}),
    "deliveries": world_of("hand confirm", preload=1),
    "timeouts": world_of("expire giveup", left={"expire": 1, "giveup": 1}, preload=1),
    "forget": world_of("forget crash", left={"forget": 1, "crash": 1}, preload=1),
    "parts": world_of(frame_limit=256 + 2, sizes=(3,)),
    "redial": world_of("redial", left={"redial": 1}, preload=1),
    "waiting": world_of("redial", left={"redial": 1}, eager=False, without="send"),
    "window": world_of(config=NARROW, messages=2, preload=2, left={"cut": 0}),
    "stores": world_of("crash hand", left={"crash": 1, "cut": 0}, preload=1, durable=(True, True)),
    "stores, cut": world_of("crash", left={"crash": 1}, preload=1, durable=(True, True)),
}

MUTANTS: list[Mutant] = []


def mutant(name: str, world: str = "cut", **changes: Any) -> Any:
    def keep(install: Callable[[Replace], None]) -> Callable[[Replace], None]:
        MUTANTS.append(Mutant(name, install, world, changes))
        return install

    return keep


# ----------------------------------------------------------------------------- links


@mutant("the old link is not fenced")
def _no_fence(put: Replace) -> None:
    def replace(self, link):
        self.link = link

    put(Session, "_replace", replace)


@mutant("an old WebSocket's death takes the new link down", "waiting")
def _late_death(put: Replace) -> None:
    right = Link.lost

    def lost(self, code, reason, now):
        current = self.session.link
        if self.phase is Phase.OVER and current is not None:
            return right(current, code, reason, now)
        return right(self, code, reason, now)

    put(Link, "lost", lost)


@mutant("the attempt number is not checked")
def _no_attempt(put: Replace) -> None:
    right = Sessions.answer

    def answer(self, arrival, hello, now):
        known = self._sessions.get(hello.session) or self._tombstones.get(hello.session)
        if known is not None and hello.attempt <= known.attempt:
            hello = hello._replace(attempt=known.attempt + 1)
        return right(self, arrival, hello, now)

    put(Sessions, "answer", answer)


@mutant("transport closed means confirmed")
def _closed_is_confirmed(put: Replace) -> None:
    right = Session.link_over

    def link_over(self, link, *rest):
        now, sent = rest[2], self.outbox.transmitted
        if link is self.link and self.sending is Sending.FINISHING:
            self.acked(Ack(sent, sent), now)
        right(self, link, *rest)

    put(Session, "link_over", link_over)


@mutant("an unknown session must have finished", "forget")
def _unknown_is_finished(put: Replace) -> None:
    right = Session.refused

    def refused(self, link, refuse, now):
        sent = self.outbox.transmitted
        if refuse.code == Code.UNKNOWN:
            self.acked(Ack(sent, sent), now)
        right(self, link, refuse, now)

    put(Session, "refused", refused)


@mutant("a resume goes on at the old send position")
def _old_position(put: Replace) -> None:
    right = Link.opened

    def opened(self, received, *rest):
        right(self, received, *rest)
        self.cursor.number = max(received, self.session.outbox.transmitted) + 1
        self.cursor.offset = 0

    put(Link, "opened", opened)


@mutant("a resume begins a message in parts again", "parts")
def _parts_again(put: Replace) -> None:
    right = Link.opened
    put(Link, "opened", lambda self, received, _partial, *rest: right(self, received, 0, *rest))


@mutant("data before Welcome, and no check of numbers")
def _early_data(put: Replace) -> None:
    right, restless = Link.transmit, Link.restless.fget

    def transmit(self, now):
        if self.phase is Phase.DIALING and self.greeted:
            session, cursor = self.session, self.cursor
            cursor.number = max(cursor.number, session.outbox.confirmed + 1)
            if cursor.number > session.outbox.last or session.muted:
                return None
            frame = cursor.cut(session.peer, session.frame_size)
            return None if frame is None else encode([frame])
        return right(self, now)

    put(Link, "transmit", transmit)
    put(Link, "restless", property(lambda self: self.phase is Phase.DIALING or restless(self)))
    put(Inbox, "_expect", lambda _self, _number: None)
    finish = link_module._ACCEPT[Finish]

    def once(self, frame, now):
        if self._inbox.finish is None:
            finish(self, frame, now)

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Finish: once})


@mutant("the incarnation is not checked", "forget")
def _no_incarnation(put: Replace) -> None:
    right, welcomed = Sessions._is_holder, Session.welcomed

    def is_holder(self, known, hello, principal):
        return known is None or right(self, known, hello._replace(incarnation=0), principal)

    def welcome(self, link, frame, now):
        self.incarnation = 0
        welcomed(self, link, frame, now)

    put(Sessions, "_is_holder", is_holder)
    put(Session, "welcomed", welcome)


@mutant("the initiator's old link says superseded", "redial")
def _initiator_supersedes(put: Replace) -> None:
    def replace(self, link):
        old, self.link = self.link, link
        if old is not None:
            old.leave(Code.SUPERSEDED, "", Refuse(Code.SUPERSEDED, "", 0, None))

    put(Session, "_replace", replace)


# ----------------------------------------------------------------------------- confirming


@mutant("an ack before the message is taken")
def _early_ack(put: Replace) -> None:
    right = Inbox.arrived

    def arrived(self, first, payloads, size):
        right(self, first, payloads, size)
        self.confirmed = self.received

    put(Inbox, "arrived", arrived)


@mutant("Finish is confirmed before the messages before it", "finish")
def _early_finish(put: Replace) -> None:
    def take_finish(self):
        finish = self.finish
        if finish is None or self.stopped or self.confirmed >= finish.number:
            return False
        self.confirmed = finish.number
        return True

    put(Inbox, "take_finish", take_finish)


@mutant("an early confirmation moves the counter", "two")
def _cumulative(put: Replace) -> None:
    def confirm(self, number):
        if number in self._open and not self.stopped:
            self._open.remove(number)
            self.confirmed = max(self.confirmed, number)
            self.due = True
            return True
        return False

    put(Inbox, "confirm", confirm)


@mutant("nobody is woken when an ack falls due", "finish")
def _no_wake(put: Replace) -> None:
    def watch(self, _number):
        self.mark = NEVER

    put(Inbox, "watch", watch)


@mutant("an ack that rides with nothing is not delayed, it is lost", "finish")
def _lost_ack(put: Replace) -> None:
    put(Acks, "note", lambda _self, _now: None)


@mutant("the peer's window is not looked at", "window")
def _no_window(put: Replace) -> None:
    right = Cursor.cut

    def cut(self, peer, *rest):
        return right(self, peer._replace(window_messages=1 << 30, window_bytes=1 << 40), *rest)

    put(Cursor, "cut", cut)


# ----------------------------------------------------------------------------- ending


@mutant("the initiator leaves as soon as it is done")
def _leaves_early(put: Replace) -> None:
    right = Session.settle

    def settle(self, now):
        events = right(self, now)
        if self.role == "initiator" and self.done and not self.ended:
            self.end(Ending(End.FINISHED, *self._last_words()))
            events += right(self, now)
        return events

    put(Session, "settle", settle)


@mutant("Stop does not freeze intake: what waits can be taken")
def _no_freeze(put: Replace) -> None:
    def freeze(self):
        self.stopped = True
        self.mark = NEVER
        return 0

    put(Inbox, "freeze", freeze)


@mutant("Stop does not freeze intake: what arrives can be taken")
def _no_discard(put: Replace) -> None:
    def messages(self, frame, _now):
        self._inbox.arrived(frame.first, frame.payloads, self._size)
        self.session.messages_arrived(len(frame.payloads))

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Messages: messages})


@mutant("Stop's counters are read before the freeze")
def _stale_stop(put: Replace) -> None:
    transmit, end_as, finish = Link.transmit, Session._end_as, link_module._ACCEPT[Finish]

    def stop(self):
        if self.inbox.take_finish():
            self._move_receiving(Deed.TAKEN)
        self._move_receiving(Deed.STOP)
        if self.receiving is Receiving.STOPPED and not self.inbox.stopped:
            self.stale = self.inbox.counters()._replace(stopped=True)

    def late(self, now):
        stale = getattr(self.session, "stale", None)
        live = self.phase in (Phase.INITIATED, Phase.ACCEPTED) and self.greeted
        if stale is not None and live and not self._inbox.stopped:
            self._inbox.freeze()
            self.tell(stale)
            return encode([Stop(stale)])
        return transmit(self, now)

    def end(self, *args):
        end_as(self, *args)
        if self.receiving is Receiving.STOPPED and not self.inbox.stopped:
            self.inbox.freeze()

    def finished(self, frame, now):
        if getattr(self.session, "stale", None) is None:
            finish(self, frame, now)

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Finish: finished})
    move = Session._move_receiving

    def moved(self, deed):
        if self.receiving is not Receiving.STOPPED or deed is not Deed.TAKEN:
            move(self, deed)

    put(Session, "_stop", stop)
    put(Session, "_move_receiving", moved)
    put(Session, "_end_as", end)
    put(Link, "transmit", late)
    put(Link, "restless", property(lambda _self: True))


@mutant("no tombstone")
def _no_tombstone(put: Replace) -> None:
    right = Sessions.bury

    def bury(self, session, now):
        right(self, session, now)
        self._tombstones.pop(session.id, None)

    put(Sessions, "bury", bury)


@mutant("a tombstone has no counters")
def _blank_tombstone(put: Replace) -> None:
    right = Sessions.bury

    def bury(self, session, now):
        right(self, session, now)
        if session.id in self._tombstones:
            self._tombstones[session.id] = self._tombstones[session.id]._replace(counters=None)

    put(Sessions, "bury", bury)


@mutant("expiry does not freeze the inbox", "timeouts")
def _warm_corpse(put: Replace) -> None:
    right = Session._end_as

    def end(self, ending, *args):
        if ending.kind is End.EXPIRED:
            with mock.patch.object(Session, "_stop"):
                right(self, ending, *args)
        else:
            right(self, ending, *args)

    put(Session, "_end_as", end)


@mutant("handed over counts for nothing: unknown is called not taken", "deliveries")
def _handed_uncounted(put: Replace) -> None:
    right = Inbox.counters

    def counters(self):
        told = right(self)
        return told._replace(handed=min(told.confirmed, told.handed))

    put(Inbox, "counters", counters)


@mutant("confirmations above the counter are not told", "two")
def _no_ranges(put: Replace) -> None:
    right = Inbox.counters
    put(Inbox, "counters", lambda self: right(self)._replace(ranges=()))


@mutant("the acceptor is done before its Finish is confirmed")
def _done_early(put: Replace) -> None:
    right = Session.done.fget

    def done(self):
        half = self.role == "acceptor" and self.sending is Sending.FINISHING
        return right(self) or (half and self.receiving in (Receiving.FINISHED, Receiving.STOPPED))

    put(Session, "done", property(done))


@mutant("Done goes without a Welcome before it")
def _blunt_done(put: Replace) -> None:
    right = Session._take_leave

    def take_leave(self, link, ending):
        greeted, link.greeted = link.greeted, True
        right(self, link, ending)
        link.greeted = greeted

    put(Session, "_take_leave", take_leave)


# ----------------------------------------------------------------------------- stores


def _nothing(_put: Replace) -> None:
    """The guard is the order of commits, which the world keeps."""


ALL = Options().commits
STORES = {"durable": (True, True)}
for what, late, where in (
    ("messages are transmitted before they are committed", "outbox", "stores"),
    ("confirmations are acked before they are committed", "inbox", "stores, cut"),
    ("the attempt number is volatile", "attempt", "stores, cut"),
    ("tombstones are volatile", "tombstone", "stores"),
):
    mutant(what, where, commits=ALL - {late}, **STORES)(_nothing)


@mutant("what a restored side was handed before is called not taken", "stores", **STORES)
def _restored_denies(put: Replace) -> None:
    right = Inbox.restore

    def restore(self, confirmed, finish=None):
        right(self, confirmed, finish)
        self.redelivered_upto = 0

    put(Inbox, "restore", restore)


@mutant("a restored side takes what it had refused", "stores", **STORES)
def _restored_thaws(put: Replace) -> None:
    right = snapshot

    def forgetful(session):
        return right(session) | {"stopped": None}

    put(world_module, "snapshot", forgetful)


# ----------------------------------------------------------------------------- catching

STALE = (TypeError, AttributeError, NameError, ImportError)


class Caught(NamedTuple):
    """Who caught a mutant, and how."""

    name: str
    seed: int | None
    check: str
    found: Found
    story: Story | None

    @property
    def simulated(self) -> str:
        return "-" if self.seed is None else f"seed {self.seed}: {self.check}"

    @property
    def explored(self) -> str:
        if self.found.broken is None:
            return "-"
        return f"{self.found.name}, {self.found.states} states: {self.found.broken}"


@contextlib.contextmanager
def installed(one: Mutant) -> Iterator[None]:
    """The core with one guard removed."""
    with contextlib.ExitStack() as stack:

        def put(target: Any, name: str, value: Any) -> None:
            new = not hasattr(target, name)
            stack.enter_context(mock.patch.object(target, name, value, create=new))

        one.install(put)
        yield


def catch(one: Mutant, seeds: range = range(3000), most: int = 60_000) -> Caught:
    """Let both look for one mutant."""
    seed, broken, story = None, None, None
    with installed(one):
        for number in seeds:
            story, broken = tell(number, **one.changes)
            if broken is not None:
                seed = number
                break
        found = explore(one.world, dataclasses.replace(WORLDS[one.world], **one.changes), most)
    for what in (broken, found.broken):
        if what is not None and isinstance(what.__cause__, STALE):
            raise what.__cause__  # not the guard is missing: the mutant no longer fits the core
    return Caught(one.name, seed, str(broken or ""), found, story)


def short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def table(rows: list[Caught]) -> str:
    """Who catches what."""
    lines = [f"{'guard removed':62} | {'by the simulator':70} | by the explorer"]
    lines += [
        f"{short(row.name, 62):62} | {short(row.simulated, 70):70} | {short(row.explored, 90)}"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    names = [one for one in arguments if not one.startswith("-")]
    rows = []
    for one in MUTANTS:
        if names and not any(name in one.name for name in names):
            continue
        row = catch(one)
        rows.append(row)
        print(table([row]).splitlines()[1], flush=True)
        if "-v" in arguments:
            with installed(one):
                story = row.found.story if row.seed is None else row.story
                if story is not None:
                    print(explain(shrink(story), row.seed))
    missed = [row.name for row in rows if row.seed is None and row.explored == "-"]
    print(f"{len(rows)} mutants, {len(missed)} survive: {missed}")
    return bool(missed)


__all__ = ["MUTANTS", "Broken", "Caught", "Mutant", "catch", "table"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
