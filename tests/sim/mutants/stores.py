"""Guards of stores: what is said waits until it is kept, and what is kept comes back."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol import durable as durable_module
from reliable_ws.protocol import session as session_module
from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.calls.cursor import CallCursor
from reliable_ws.protocol.calls.incoming import IncomingCalls
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.durable import Durable
from reliable_ws.protocol.frames import BEYOND, Welcome
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.registry import Tombstone
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase
from reliable_ws.protocol.stored_session import StoredSession
from tests.sim.schedules import WEIGHTS

from .registry import ALONE, Replace, mutant

STORES = {"durable": (True, True)}
CALLS = STORES | {"calls": 3}
WITH_DATA = {"hand": 4.0, "apply": 6.0, "put": 2.0, "crash": 0.5}
DATA = STORES | {"weights": tuple((WEIGHTS | WITH_DATA).items())}


def _during(put: Replace, kind: type, name: str, position: str, value: Any) -> None:
    """While this method runs, a position says that everything is kept."""
    right = getattr(kind, name)

    def method(self: Any, *args: Any, **more: Any) -> Any:
        owner, (*parts, attribute) = self, position.split(".")
        for part in parts:
            owner = getattr(owner, part)
        before = getattr(owner, attribute)
        setattr(owner, attribute, value)
        try:
            return right(self, *args, **more)
        finally:
            setattr(owner, attribute, before)

    put(kind, name, method)


# ----------------------------------------------------------------------------- what is said


@mutant("messages are transmitted before they are kept", ALONE, **STORES)
def _unkept_messages(put: Replace) -> None:
    _during(put, Link, "_add_sequenced", "cursor.outbox.stored", BEYOND)


@mutant("calls are transmitted before they are kept", "stores, a call", **STORES)
def _unkept_calls(put: Replace) -> None:
    put(CallCursor, "has_run", property(lambda self: self.number <= self.call_queue.last))
    _during(put, CallQueue, "run", "stored", BEYOND)


@mutant("confirmations are acked before they are kept", ALONE, **STORES)
def _unkept_ack(put: Replace) -> None:
    _during(put, Acks, "take", "inbox.stored_confirmed", BEYOND)


@mutant("a greeting tells what is not kept", ALONE, **STORES)
def _unkept_greeting(put: Replace) -> None:
    put(Inbox, "told", lambda self: self.counters())


@mutant("a greeting tells of a Stop that is not kept", ALONE, **STORES)
def _unkept_stop_in_greeting(put: Replace) -> None:
    right = Inbox.told
    put(Inbox, "told", lambda self: self.counters() if self.stopped else right(self))


@mutant("Stop goes before it is kept", ALONE, **STORES)
def _unkept_stop(put: Replace) -> None:
    _during(put, Link, "_add_stop", "acks.inbox.is_stop_kept", True)


@mutant("calls are acked before they are kept", ALONE, **CALLS)
def _unkept_call_ack(put: Replace) -> None:
    put(IncomingCalls, "tellable", property(lambda self: self.received))


@mutant("a request is taken back before that is kept", "stores, taken back")
def _unkept_void(put: Replace) -> None:
    right = CallQueue.take_back

    def take_back(self: CallQueue, request: int) -> None:
        before = self.taken_back, self.stored
        right(self, request)
        self.taken_back, self.stored = before

    put(CallQueue, "take_back", take_back)


@mutant("requests are run before they are kept", ALONE, **CALLS)
def _not_deferred(put: Replace) -> None:
    put(Durable, "defer", lambda _self, events: events)


# ----------------------------------------------------------------------------- what is held


def _holds_not(phase: Phase) -> Any:
    def install(put: Replace) -> None:
        right = Durable.hold

        def hold(self: Durable, link: Link) -> None:
            right(self, link)
            if link.phase is phase and not link.greeted:
                link.held = False

        put(Durable, "hold", hold)

    return install


mutant("Hello goes before its attempt is kept", "stores", **STORES)(_holds_not(Phase.DIALING))
mutant("Welcome goes before its session is kept", "stores", **STORES)(_holds_not(Phase.ACCEPTED))


@mutant("what follows the first Welcome goes before the incarnation is kept", ALONE, **STORES)
def _welcome_not_held(put: Replace) -> None:
    right = session_module._HANDLERS[Welcome]

    def arrived(self: Session, link: Link, frame: Any, now: float) -> None:
        held = link.held
        right(self, link, frame, now)
        link.held = held

    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Welcome: arrived})


@mutant("the last frame goes before the end is kept", "stores", **STORES)
def _last_frame_not_held(put: Replace) -> None:
    right = Session._take_leave

    def take_leave(self: Session, link: Link, ending: Any) -> None:
        right(self, link, ending)
        link.held = False

    put(Session, "_take_leave", take_leave)


@mutant("a held link is let go by a change that was taken before", ALONE, **STORES)
def _let_go_early(put: Replace) -> None:
    right = Durable.hold

    def hold(self: Durable, link: Link) -> None:
        version = self._version
        right(self, link)
        self._version = version

    put(Durable, "hold", hold)


@mutant("a tombstone answers before it is kept", "stores, an end")
def _unkept_tombstone(put: Replace) -> None:
    put(Tombstone, "is_kept", property(lambda _self: True))


# ----------------------------------------------------------------------------- what has no room


@mutant("what had no room is not taken back", "stores, full", **STORES)
def _not_withdrawn(put: Replace) -> None:
    put(Outbox, "withdraw", lambda _self, _upto: 0)


# ----------------------------------------------------------------------------- what comes back


def _comes_back_without(**fields: Any) -> Any:
    """A store that gives back less."""

    def install(put: Replace) -> None:
        right = StoredSession.__init__

        def init(self: StoredSession, stored: Any) -> None:
            right(self, stored)
            self._stored = stored._replace(**fields)

        put(StoredSession, "__init__", init)

    return install


mutant("kept sends are lost", ALONE, **DATA)(_comes_back_without(sends=()))


mutant("confirmations with the application's data are lost", "stores, applied once")(
    _comes_back_without(applied=())
)


@mutant("an applied delivery is handed over again", "stores, applied")
def _applied_again(put: Replace) -> None:
    empty: frozenset[int] = frozenset()
    put(Inbox, "applied", property(lambda _self: empty, lambda _self, _numbers: None))


@mutant("a kept send comes behind Finish", ALONE, **DATA)
def _behind_finish(put: Replace) -> None:
    _during(put, Durable, "has_news", "applying", 0)


def _facts_without(**facts: Any) -> Any:
    def install(put: Replace) -> None:
        right = durable_module.gather_facts
        put(durable_module, "gather_facts", lambda *of_session: right(*of_session) | facts)

    return install


# Without the fact `attached`, or with a last word of a session that is left, nothing untrue is said
# here: how long a peer is waited for, and what it is told at the very end, is up to a side. See
# tests/core/test_stores.py: "a session that was attached", "a last word that will not be kept".
mutant("the attempt number is not kept", "stores", **STORES)(_facts_without(attempt=0))
mutant("the end of intake is not kept", "stores", **STORES)(_facts_without(stopped=None))


@mutant("what a crash has added counts as kept", ALONE, **CALLS)
def _added_is_kept(put: Replace) -> None:
    right = Durable.__init__

    def init(self: Durable, ledgers: Any, about: Any) -> None:
        right(self, ledgers, about)
        self.queue.stored = self._entries = self.queue.last

    put(Durable, "__init__", init)


@mutant("what a restored side was handed before is called not taken", "stores, only handed")
def _restored_denies(put: Replace) -> None:
    right = Inbox.restore

    def restore(self, confirmed, finish=None, stopped=None):
        right(self, confirmed, finish, stopped)
        if stopped is None:
            self.redelivered_upto = 0

    put(Inbox, "restore", restore)


def _restored_without(key: str) -> Any:
    """A restore of calls that has forgotten one list."""

    def install(put: Replace) -> None:
        right = OutgoingCalls.restore

        def restore(self, values):
            right(self, values | {key: ()})

        put(OutgoingCalls, "restore", restore)

    return install


mutant("a restored side has forgotten what it asked", "stores, asked")(_restored_without("open"))
mutant("a restored side has forgotten the room of its streams", "stores, a stream")(
    _restored_without("room")
)
