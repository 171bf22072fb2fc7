"""The protocol ``reliable-ws.v1`` without I/O: it does what protocol.md says.

There is no clock, no randomness and no asyncio in it. You pass the time and the bytes that
arrived. You get the bytes to send, and events: what happened. A driver (``reliable_ws.aio``,
``reliable_ws.sync``, or one of your own: docs/drivers.md) owns the WebSocket, the clock and the
callers that wait. It calls the verbs of a :class:`Session`, which form four groups:

What the network brings
    At the initiator, :meth:`Session.dial` begins a link on a new WebSocket. At the acceptor,
    :meth:`SessionRegistry.arrive` returns an :class:`Arrival`. Its ``receive`` reads the Hello;
    after a good one it has a ``link`` and a ``session``. From then on :meth:`Session.receive`
    takes one WebSocket message of a link, and :meth:`Session.lost` the end of the WebSocket.

What the application does
    Messages out: :meth:`~Session.offer`, :meth:`~Session.send`, :meth:`~Session.want`.
    Messages in: :meth:`~Session.take`, or :meth:`~Session.deliver` and :meth:`~Session.confirm`.
    Our requests: :meth:`~Session.request`, :meth:`~Session.cancel`, :meth:`~Session.grant`.
    The peer's requests: :meth:`~Session.reply`, :meth:`~Session.fault`, :meth:`~Session.item`.
    The end: :meth:`~Session.finish`, :meth:`~Session.close`, :meth:`~Session.abort`,
    :meth:`~Session.end`.

What to send
    :meth:`Link.transmit` returns the next WebSocket message, or ``None``. Once a link is over,
    ``link.close_action`` says how to close its WebSocket.

What time it is
    ``session.deadline`` is the time for :meth:`Session.tick`. Times are seconds of any clock that
    does not go backwards.

A step of a driver is always the same, whatever began it:

1. Call a verb. If it returns events, dispatch them. If ``session.due`` is set afterwards, dispatch
   what :meth:`Session.poll` returns.
2. Call :meth:`Link.transmit` of the newest link, and of a link that has just been replaced, and
   write what it returns. Stop at ``None``, or when the transport has no room; then go on when it
   has room again.
3. If ``link.close_action`` is set, close that WebSocket.
4. Read ``session.deadline``, and call :meth:`Session.tick` at that time. A late tick does no harm.

Steps of one session must not overlap.

An :class:`Arrival` whose Hello was refused, or did not come, has no link. Drive the arrival itself:
it has ``transmit``, ``close_action``, ``deadline`` and ``tick`` too. The driver of a server also
calls :meth:`SessionRegistry.retire` for each session that has ended, and
:meth:`SessionRegistry.evict` about once a second while any session is detached.

The events that are not exported here (they concern requests and streams) are in
:mod:`reliable_ws.protocol.events`.
"""

from .config import Config
from .deadline import NEVER
from .errors import ConnectionClosed
from .events import (
    Arrived,
    Confirmed,
    Detached,
    Ended,
    Event,
    Opened,
    PeerFinished,
    Replied,
    Requested,
    Settled,
)
from .link import CloseAction, Link
from .payload import MsgpackCodec, PayloadCodec, open_payload, seal
from .registry import Arrival, SessionRegistry
from .report import End, Ending, Outcome, Report
from .session import Session

__all__ = [
    "NEVER",
    "Arrival",
    "Arrived",
    "CloseAction",
    "Config",
    "Confirmed",
    "ConnectionClosed",
    "Detached",
    "End",
    "Ended",
    "Ending",
    "Event",
    "Link",
    "MsgpackCodec",
    "Opened",
    "Outcome",
    "PayloadCodec",
    "PeerFinished",
    "Replied",
    "Report",
    "Requested",
    "Session",
    "SessionRegistry",
    "Settled",
    "open_payload",
    "seal",
]
