"""Guards of what a store must keep."""

from __future__ import annotations

from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.snapshot import snapshot
from tests.sim import stage
from tests.sim.parts import Options

from .registry import Replace, mutant


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

    put(stage, "snapshot", forgetful)
