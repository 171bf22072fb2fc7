"""What a link and the conversation that owns it know of each other."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from .calls.ledger import CallLedger
from .config import Config
from .errors import Violation
from .events import Event
from .frame_size import FrameSize
from .frames import Ack, Counters, Finish, Frame, Limits, Refuse, Welcome
from .inbox import Inbox
from .outbox import Outbox

__all__ = ["CloseAction", "Owner"]

Link = TypeVar("Link", contravariant=True)  # noqa: PLC0105 - reads as what it stands for


class CloseAction(NamedTuple):
    """How to close the WebSocket under a link that is over."""

    code: int
    reason: str
    linger: bool
    "Whether the peer shall close first, and only a bounded time later we (CLOSE-19)."


class Owner(Protocol[Link]):
    """What a link needs of the conversation that owns it."""

    config: Config
    inbox: Inbox
    outbox: Outbox
    calls: CallLedger
    peer: Limits
    frame_size: FrameSize
    wanted: int

    # What each means stands with :class:`~reliable_ws.protocol.conversation.Conversation`.
    # ruff: noqa: D102
    def greeting(self, link: Link) -> Frame: ...
    def welcomed(self, link: Link, welcome: Welcome, now: float) -> None: ...
    def refused(self, link: Link, refuse: Refuse, now: float) -> None: ...
    def messages_arrived(self, count: int) -> None: ...
    def finish_arrived(self, finish: Finish) -> None: ...
    def calls_arrived(self, events: list[Event]) -> None: ...
    def acked(self, ack: Ack, now: float) -> None: ...
    def peer_stopped(self, counters: Counters, now: float) -> None: ...
    def peer_done(self, link: Link, counters: Counters, now: float) -> None: ...
    def link_lost(self, link: Link, code: int | None, reason: str, now: float) -> None: ...
    def violated(self, link: Link, fault: Violation, now: float) -> None: ...
    def link_over(
        self, link: Link, code: int | None, reason: str, now: float, retry: float | None = None
    ) -> None: ...
    def progressed(self, now: float) -> None: ...
    def settle(self, now: float) -> list[Event]: ...
