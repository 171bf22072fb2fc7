"""Groups of several nodes: what an entry of a log means, and what is known of a publication. Pure.

Theory of operation. The engine numbers the publications of a group, and each node reads them from a
log of its own, its *box*, in the order of the numbers (:mod:`.scripts`). A number that is not the
next one is a gap: the node's members have missed something (:class:`Place`).

The publisher is told, by each node with members, who got a publication and what became of it there
(:class:`Receipts`). What a node tells is all that it knows, so that it may be told twice, and late.
When a node is gone, its members' outcomes come from the nodes that took over their sessions, or are
*unknown* after a while.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgpack

from reliable_ws.aio.groups import Recipient
from reliable_ws.protocol.report import Outcome

__all__ = ["CODES", "FATES", "PLAIN", "Mark", "Name", "Place", "Receipts", "Share", "Way"]

FATES = (
    Outcome.PENDING,
    Outcome.KEPT,
    Outcome.CONFIRMED,
    Outcome.NOT_TAKEN,
    Outcome.UNKNOWN,
    Outcome.SKIPPED,
    Outcome.DROPPED,
)
"""Fates by their codes. The first two are not final: *kept* is what a session moved away with."""

CODES = {fate: code for code, fate in enumerate(FATES)}
PENDING, KEPT = CODES[Outcome.PENDING], CODES[Outcome.KEPT]

PLAIN = {"use_list": False, "strict_map_key": False}


class Place:
    """Where a node stands in the log of one group."""

    __slots__ = ("epoch", "number")

    def __init__(self) -> None:
        self.epoch = b""
        "Empty: the node has no members, and follows nothing."
        self.number = 0

    def leave(self) -> None:
        """Follow the group no more."""
        self.epoch, self.number = b"", 0

    @property
    def follows(self) -> bool:
        """Whether publications are for members of this node."""
        return bool(self.epoch)

    def mark(self, epoch: bytes, number: int, origin: bytes, base: int) -> bool:
        """Take the engine's word for where the group stands; whether nothing was missed.

        ``origin`` and ``base``: the epoch and the number from which this epoch goes on, after the
        engine had lost the group.
        """
        here = self.epoch, self.number
        is_whole = (
            not self.epoch or here == (epoch, number) or (here == (origin, base) and number == 0)
        )
        self.epoch, self.number = epoch, number
        return is_whole

    def step(self, epoch: bytes, number: int) -> bool:
        """Take a publication; whether it is the next one."""
        is_next = (self.epoch, self.number + 1) == (epoch, number)
        self.epoch, self.number = epoch, number
        return is_next


class Mark(NamedTuple):
    """The engine's word for where a group stands: see :meth:`Place.mark`."""

    epoch: bytes
    number: int
    origin: bytes
    base: int


class Way:
    """How far a session was in its groups, when it moved from another process to this one."""

    __slots__ = ("_is_known", "_joined", "_places")

    def __init__(self, *, is_known: bool, places: dict[str, tuple[bytes, int]]) -> None:
        """``is_known``: whether ``places`` has every group of which it was a member.

        ``places``: epoch and number of what it got last, by the names of groups.
        """
        self._is_known = is_known
        self._places = places
        self._joined: set[str] = set()

    @classmethod
    def unpack(cls, packed: bytes | None) -> Way:
        """Return what :meth:`pack` has packed; ``None``: its last process could not say."""
        if packed is None:
            return cls(is_known=False, places={})
        is_known, places = msgpack.unpackb(packed, **PLAIN)  # type: ignore[arg-type]
        return cls(is_known=is_known, places=places)

    def pack(self, now: dict[str, tuple[bytes, int]]) -> bytes:
        """Return it for the next process; ``now``: where it stands in the groups that it joined."""
        packed: bytes = msgpack.packb((self._is_known, self._places | now))
        return packed

    def has_missed(self, group: str, mark: Mark) -> bool:
        """Whether publications may have gone by, as it joins a group that stands there.

        Only for the first time that it joins here: from then on it is a member like all others.
        """
        if group in self._joined:
            return False
        self._joined.add(group)
        before = self._places.pop(group, None)
        if before is None:
            return not self._is_known
        place = Place()
        place.epoch, place.number = before
        return not place.mark(*mark)


class Name(NamedTuple):
    """One member that got a publication."""

    session: bytes
    identity: Hashable
    number: int
    "Of the message in its session; 0: it has none, or the session's log may not have it yet."


class Share:
    """What is known of one publication at one node."""

    __slots__ = (
        "closed",
        "count",
        "fates",
        "gone_since",
        "label",
        "moved_since",
        "names",
        "packed",
    )

    def __init__(self, label: str, count: int) -> None:
        self.label = label
        self.count = count
        "Its members, as far as the engine knew."
        self.names: Sequence[Name] | None = None
        "Who got it; ``None``: it has not said."
        self.packed = b""
        "The same, as the node has told it."
        self.fates = b""
        self.closed = False
        "Whether nothing more is waited for."
        self.gone_since: float | None = None
        "When the node was seen to be gone."
        self.moved_since: float | None = None
        "When it was seen that the node lives, and that sessions of members have left it."

    @property
    def pending(self) -> int:
        """How many outcomes are not final, as far as is known."""
        if self.closed:
            return 0
        if self.names is None:
            return max(1, self.count)
        return self.fates.count(PENDING) + self.fates.count(KEPT)

    def told(self) -> list[Recipient]:
        """Return what is known of each member."""
        fate = Outcome.UNKNOWN if self.closed else Outcome.PENDING
        label = self.label
        if self.names is None:
            return [Recipient(b"", None, fate, label)] * self.count
        by_code = (fate, fate, *FATES[KEPT + 1 :])
        return [
            Recipient(session, identity, by_code[code], label)
            for (session, identity, _number), code in zip(self.names, self.fates, strict=True)
        ]

    def merge(self, names: Sequence[Name], fates: bytes) -> Iterable[Recipient]:
        """Take what the node tells now; the outcomes that have become final by it.

        They are made while somebody iterates over them: mostly nobody does, and a publication has
        one for each member.
        """
        if self.closed:
            return ()
        before = self.fates.ljust(len(fates), b"\0")
        self.names = names
        if fates == before:
            self.fates = fates
            return ()
        # What is final stays: a taker may have told it, and the node does not know.
        merged = fates
        if any(before):
            pairs = zip(before, fates, strict=True)
            merged = bytes([was if was > KEPT or was > now else now for was, now in pairs])
        self.fates = merged
        return (
            Recipient(name.session, name.identity, FATES[now], self.label)
            for name, was, now in zip(names, before, merged, strict=True)
            if was <= KEPT < now
        )

    def close(self) -> list[Recipient]:
        """Wait for nothing more; return the outcomes that are *unknown* by it."""
        lacking = [one for one in self.told() if one.fate is Outcome.PENDING]
        self.closed = True
        return [one._replace(fate=Outcome.UNKNOWN) for one in lacking]

    def close_moved(self) -> Iterable[Recipient]:
        """Wait no more for sessions that have left; return what is *unknown* by it."""
        self.moved_since = None
        unknown = CODES[Outcome.UNKNOWN]
        fates = bytes(unknown if code == KEPT else code for code in self.fates)
        return self.merge(self.names or (), fates)

    def sought(self) -> Iterator[Name]:
        """Iterate over members whose outcome another node may know."""
        if self.closed or self.names is None:
            return
        for name, code in zip(self.names, self.fates, strict=True):
            if name.number and (code == KEPT or (code == PENDING and self.gone_since is not None)):
                yield name


class Receipts:
    """What is known of one publication at all nodes."""

    __slots__ = ("is_appended", "shares")

    def __init__(self) -> None:
        self.shares: dict[bytes, Share] = {}
        self.is_appended = False
        "Whether it is known which nodes get it."

    @property
    def pending(self) -> int:
        """How many outcomes are not final, as far as is known; 0: all are."""
        return sum(share.pending for share in self.shares.values()) + (not self.is_appended)

    def told(self) -> list[Recipient]:
        """Return what is known of each member."""
        return [one for share in self.shares.values() for one in share.told()]

    def appended(self, nodes: Iterable[tuple[bytes, int, str]]) -> None:
        """Note which nodes get it: id, members, name."""
        self.is_appended = True
        for node, count, label in nodes:
            self.shares.setdefault(node, Share(label, count))

    def report(
        self, node: bytes, label: str, names: Sequence[Name], fates: bytes
    ) -> Iterable[Recipient]:
        """Take what a node tells; return the outcomes that are final by it.

        A report may come before it is known which nodes get the publication.
        """
        share = self.shares.setdefault(node, Share(label, len(names)))
        share.gone_since = None
        return share.merge(names, fates)

    def report_packed(
        self, node: bytes, label: str, packed: bytes, fates: bytes
    ) -> Iterable[Recipient]:
        """Do the same with names as they travel: those that were told before are known."""
        share = self.shares.get(node)
        if share is not None and share.names is not None and share.packed == packed:
            names = share.names
        else:
            names = [Name(*one) for one in msgpack.unpackb(packed, **PLAIN)]  # type: ignore[arg-type]
        final = self.report(node, label, names, fates)
        self.shares[node].packed = packed
        return final

    def gone(self, node: bytes, now: float) -> None:
        """Note that a node cannot be seen."""
        share = self.shares[node]
        if share.gone_since is None:
            share.gone_since = now

    def seen(self, node: bytes, now: float) -> None:
        """Note that a node can be seen."""
        share = self.shares[node]
        share.gone_since = None
        if KEPT not in share.fates:
            share.moved_since = None
        elif share.moved_since is None:
            share.moved_since = now

    def taken_over(self, session: bytes, fate: Outcome) -> Iterable[Recipient]:
        """Take what the taker of a session tells; return the outcomes that are final by it."""
        for share in self.shares.values():
            names = share.names or ()
            for name in share.sought():
                if name.session == session:
                    fates = bytearray(len(names))
                    fates[names.index(name)] = CODES[fate]
                    return share.merge(names, bytes(fates))
        return ()

    def overdue(self, now: float, patience: float) -> list[Recipient]:
        """Give up what was waited for too long; return the outcomes that are *unknown* by it."""
        lost: list[Recipient] = []
        for share in self.shares.values():
            if share.gone_since is not None and now >= share.gone_since + patience:
                lost += share.close()
            elif share.moved_since is not None and now >= share.moved_since + patience:
                lost += share.close_moved()
        return lost

    def close(self) -> list[Recipient]:
        """Wait for nothing more."""
        self.is_appended = True
        return [one for share in self.shares.values() for one in share.close()]
