"""What a store is given of a session, and what it gives back after a crash: plain values.

A store does not look into them. It keeps a session's newest facts, its runs of messages and of
entries of calls, and it forgets what it is told to forget (protocol.md, "Stores").
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Change", "KeptSend", "Run", "Stored"]


class Run(NamedTuple):
    """Messages of ours, or entries of calls, one behind the other."""

    first: int
    "Number of the first one."
    length: int
    "How many there are; at least 1."
    data: bytes
    "All of them, packed."

    @property
    def last(self) -> int:
        """Number of the last one."""
        return self.first + self.length - 1


class Change(NamedTuple):
    """What one session wants kept, since its change before. All of it is kept, or nothing."""

    session: bytes
    "The session's id: 16 bytes."
    facts: bytes
    "Everything small, packed. They replace the facts before."
    messages: Run | None = None
    "Messages of ours that were accepted."
    confirmed: int = 0
    "Messages up to this number need not be kept any more. Runs that end there may be forgotten."
    entries: Run | None = None
    "Entries of calls that were accepted."
    received: int = 0
    "The same for entries."
    keys: tuple[tuple[str, int], ...] = ()
    "Keys of messages in ``messages``, with the number of each."
    sends: tuple[int, ...] = ()
    "Rows of kept sends (:class:`KeptSend`) that are in ``messages`` now: forget the rows."
    taken: int = 0
    "Deliveries up to this number are confirmed by ``facts``: forget their applied rows."
    until: float | None = None
    """The session has ended. Its facts and keys, and what is left of its messages, are to be
    forgotten at this time (seconds since 1970). ``None`` while it lives."""
    most_ended: int | None = None
    """With ``until``: how many sessions that have ended are to be remembered at most. Those that
    ended first are forgotten first. ``None``: all."""
    keys_upto: int = 0
    "Keys of messages up to this number may be forgotten."


class KeptSend(NamedTuple):
    """A message that was kept together with the application's own data, and has no number yet."""

    row: int
    "Where the store has it. Ascending, in the order in which they were kept."
    data: bytes
    "The message, packed."
    key: str | None


class Stored(NamedTuple):
    """A session as a store has it."""

    session: bytes
    facts: bytes
    messages: tuple[Run, ...] = ()
    "In order, without gaps. The first may begin with messages that are confirmed."
    entries: tuple[Run, ...] = ()
    keys: tuple[tuple[str, int], ...] = ()
    "Of messages that are not confirmed. The others are found by their key."
    sends: tuple[KeptSend, ...] = ()
    applied: tuple[int, ...] = ()
    "Deliveries whose confirmation was kept with the application's own data; ascending."
    uncertain: bool = False
    "Whether the last things that were said to be kept may be missing (a power cut)."
