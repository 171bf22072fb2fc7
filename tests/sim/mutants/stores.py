"""Guards of what a store must keep."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.snapshot import snapshot
from tests.sim import stage
from tests.sim.parts import Options

from .registry import ALONE, Replace, mutant


def _nothing(_put: Replace) -> None:
    """The guard is the order of commits, which the world keeps."""


ALL = Options().commits
STORES = {"durable": (True, True)}
for what, late, where in (
    ("messages are transmitted before they are committed", "outbox", "stores"),
    ("confirmations are acked before they are committed", "inbox", "stores, one sends"),
    ("the attempt number is volatile", "attempt", "stores, cut"),
    ("tombstones are volatile", "tombstone", "stores"),
    ("calls are transmitted before they are committed", "calls", "stores, a call"),
    ("requests are run before they are committed", "requests", ALONE),
):
    mutant(what, where, commits=ALL - {late}, **STORES)(_nothing)


@mutant("what a restored side was handed before is called not taken", "stores", **STORES)
def _restored_denies(put: Replace) -> None:
    right = Inbox.restore

    def restore(self, confirmed, finish=None, stopped=None):
        right(self, confirmed, finish, stopped)
        if stopped is None:
            self.redelivered_upto = 0

    put(Inbox, "restore", restore)


@mutant("a restored side takes what it had refused", "stores", **STORES)
def _restored_thaws(put: Replace) -> None:
    right = snapshot

    def forgetful(session):
        return right(session) | {"stopped": None}

    put(stage, "snapshot", forgetful)


def _restored_without(key: str) -> Any:
    """A restore of calls that has forgotten one list."""

    def install(put: Replace) -> None:
        right = OutgoingCalls.restore

        def restore(self, values):
            right(self, values | {key: ()})

        put(OutgoingCalls, "restore", restore)

    return install


for what, key, where in (
    ("a restored side has forgotten what it asked", "open", "stores, a call"),
    ("a restored side has forgotten the room of its streams", "room", "stores, a stream"),
):
    mutant(what, where, **STORES)(_restored_without(key))
