"""The nouns on the wire: one small immutable value for each frame (protocol.md, section 3).

A frame travels as a msgpack array ``[type, *fields]``. Types are capital letters, so that a
hex dump can be read; every capital letter has the *critical* bit 0x40 set (FRAME-3).
"""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import msgpack

VERSION = 1
"""The one protocol version this library speaks (HELLO-10)."""

SUBPROTOCOL = "reliable-ws.v1"
"""The WebSocket subprotocol that announces it (LINK-1)."""

BEYOND = 2**62
"""Above every number."""

MAX_NUMBER = 2**53 - 1
"""Highest sequence number: exact in every language's floating point (NUM-3)."""

CRITICAL = 0x40
"""A frame type with this bit set must be understood; without it, it may be skipped (FRAME-3)."""

OVERHEAD = 6
"""What every message weighs besides its content: the largest msgpack header (WINDOW-2)."""

LONGEST_NAME = 255
"""Most bytes of a method's name, or of a fault's code (CALL-14)."""

LONGEST_CODEC_NAME = 32
"""Most characters of a payload codec's name (HELLO-18)."""

LONGEST_WORDS = 1_000
"""Most bytes of a fault's message (CALL-14)."""

EXT_VALUE = 1
"""The one extension code: a payload that is neither text nor bytes, packed on its own (MSG-3)."""

Payload: TypeAlias = str | bytes | msgpack.ExtType
"""One message as it travels: text, bytes, or a packed value under :data:`EXT_VALUE` (MSG-2)."""

Range: TypeAlias = tuple[int, int]
"""First and last number of a run, both included."""

new_unchecked = tuple.__new__
"""Make a frame or an entry of all its fields, in half the time that its own constructor takes.

For those that come and go with every message; it counts nothing and knows no defaults.
"""


class Counters(NamedTuple):
    """What a side says of the direction that it *receives* (COUNT-1)."""

    received: int
    "Highest number that arrived with everything before it."
    confirmed: int
    "Highest number that the application took with everything before it."
    handed: int
    "Highest number of a message handed to the application."
    stopped: bool
    "Whether intake is frozen for good: these counters will never change."
    ranges: tuple[Range, ...] = ()
    "Numbers above ``confirmed`` that are confirmed too."


class Limits(NamedTuple):
    """What a side accepts, as it says in its greeting (LIMIT-1)."""

    window_messages: int
    window_bytes: int
    max_frame: int
    max_message: int
    max_requests: int
    idle_ms: int
    ttl_ms: int


class Position(NamedTuple):
    """Where a side stands when a link begins: both directions (HELLO-4)."""

    counters: Counters
    sent: int
    "Highest number ever transmitted."
    first: int
    "Lowest number that can still be sent again."
    partial: int
    "How many bytes of message ``received + 1`` are held."


class CallPosition(NamedTuple):
    """Where a side stands with calls when a link begins (CALL-4)."""

    received: int
    "Highest number of a call that arrived."
    sent: int
    "Highest number ever transmitted."
    first: int
    "Lowest number that can still be sent again."


class Hello(NamedTuple):
    """The initiator's greeting; the first frame on every link (HELLO-1)."""

    min_version: int
    max_version: int
    session: bytes
    key: bytes
    attempt: int
    incarnation: int
    position: Position
    limits: Limits
    calls: CallPosition | None = None
    "``None``: this side does not take calls (CALL-20)."
    codec: str | None = None
    "Name of the payload codec; ``None``: the one of MSG-3 (HELLO-18)."

    def __repr__(self) -> str:
        """Everything but the key: it is a secret and reprs end in logs (HELLO-17)."""
        return (
            f"Hello({self.min_version}, {self.max_version}, {self.session.hex()}, "
            f"attempt={self.attempt}, incarnation={self.incarnation}, {self.position}, "
            f"{self.limits})"
        )


class Welcome(NamedTuple):
    """The acceptor's answer: the link is open (HELLO-6)."""

    version: int
    resumed: bool
    incarnation: int
    position: Position
    limits: Limits
    calls: CallPosition | None = None
    codec: str | None = None


class Refuse(NamedTuple):
    """No (more) of this session here, and why (REFUSE-1)."""

    code: int
    reason: str
    retry_ms: int
    counters: Counters | None


class Messages(NamedTuple):
    """A run of messages with consecutive numbers (MSG-1)."""

    first: int
    payloads: list[Payload]


class Part(NamedTuple):
    """A slice of one message that is too large for one frame (PART-1)."""

    number: int
    offset: int
    total: int
    kind: int
    data: bytes | memoryview  # the latter only where it is cut (Cursor)


class Finish(NamedTuple):
    """The last of its direction, numbered like a message (CLOSE-1)."""

    number: int
    code: int
    reason: str


class Ack(NamedTuple):
    """How far the sender of this frame has come with what it receives (ACK-1)."""

    received: int
    confirmed: int


class Want(NamedTuple):
    """Please say at once when this number is confirmed (ACK-5)."""

    number: int


class Partial(NamedTuple):
    """How many bytes of the next message have arrived in parts (PART-16)."""

    number: int
    held: int


class Stop(NamedTuple):
    """Nothing more will be handed over (CLOSE-3)."""

    counters: Counters


class Done(NamedTuple):
    """The acceptor needs nothing more; its counters are final (CLOSE-7)."""

    counters: Counters


class Request(NamedTuple):
    """Entry: do something. Its number is its id (CALL-15)."""

    method: str
    timeout_ms: int | None
    "How long the requester still waits; ``None``: as long as the session lives."
    credit: int
    "Bytes of items that may be sent at once; 0: one reply, no stream."
    payload: Payload | None
    "``None``: the pieces before it."


class Reply(NamedTuple):
    """Entry: the answer, or the end of a stream."""

    request: int
    payload: Payload | None


class Fault(NamedTuple):
    """Entry: why there is no answer."""

    request: int
    code: str
    message: str
    payload: Payload | None


class Item(NamedTuple):
    """Entry: one item of a stream."""

    request: int
    payload: Payload | None


class Cancel(NamedTuple):
    """Entry: nobody waits for the answer any more; a Reply or a Fault still ends it."""

    request: int


class Credit(NamedTuple):
    """Entry: how many bytes of items in all may be sent for a request (CALL-7)."""

    request: int
    total: int


class Piece(NamedTuple):
    """Entry: a slice of the packed payload of the next entry that is not one (CALL-5)."""

    data: bytes


class Void(NamedTuple):
    """Entry: nothing. It has the number of a request that was taken back in time (CALL-8)."""


Entry: TypeAlias = Request | Reply | Fault | Item | Cancel | Credit | Piece | Void

ENTRIES: dict[type[Entry], int] = {
    Cancel: ord("C"),
    Credit: ord("G"),
    Fault: ord("E"),
    Item: ord("I"),
    Piece: ord("P"),
    Reply: ord("R"),
    Request: ord("Q"),
    Void: ord("V"),
}
"""Type number of each entry (CALL-2)."""


class Calls(NamedTuple):
    """A run of entries with consecutive numbers (CALL-2)."""

    first: int
    entries: list[Entry]


class CallAck(NamedTuple):
    """How far the calls have arrived (CALL-3)."""

    received: int


Frame: TypeAlias = (
    Hello
    | Welcome
    | Refuse
    | Messages
    | Part
    | Finish
    | Ack
    | Want
    | Partial
    | Stop
    | Done
    | Calls
    | CallAck
)

TYPES: dict[type[Frame], int] = {
    Ack: ord("A"),
    CallAck: ord("K"),
    Calls: ord("C"),
    Done: ord("D"),
    Finish: ord("F"),
    Hello: ord("H"),
    Messages: ord("M"),
    Part: ord("P"),
    Partial: ord("%"),  # not critical: a peer that does not know it skips it
    Refuse: ord("X"),
    Stop: ord("S"),
    Want: ord("N"),
    Welcome: ord("W"),
}
"""Type number of each frame (FRAME-4)."""

KIND_BYTES, KIND_TEXT, KIND_VALUE = 0, 1, 2
"""What a :class:`Part` is a slice of (PART-2)."""


class Code(enum.IntEnum):
    """Closing and refusal codes (protocol.md, section 12; CODE-1). Peers may send others."""

    FINISHED = 1000
    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    UNKNOWN = 4404
    SUPERSEDED = 4409
    ENDED = 4410
    CODEC = 4415
    VIOLATION = 4422
    VERSION = 4426
    ABORTED = 4499
    AWAY = 4503
    NO_HELLO = 4508
    SILENT = 4509
    BUSY = 4529

    def __repr__(self) -> str:
        """The number alone, as it travels and as applications know it."""
        return str(int(self))


def may_resume(code: int | None) -> bool:
    """Whether a link that ended with this code may be followed by another (CODE-2)."""
    return code is None or not 4400 <= code <= 4499
