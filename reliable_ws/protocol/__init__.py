"""The protocol ``reliable-ws.v1``: pure, exactly what protocol.md says.

No I/O, no clock, no chance, no asyncio: time is told, bytes come in and are pulled out, and what
happened is returned. A driver (``reliable_ws.aio``, ``reliable_ws.sync``, or one of your own) owns
the WebSocket, the clock and whoever waits, and calls the verbs of a :class:`Session`:

What the network brings
    :meth:`Session.dial` begins a link on a new WebSocket at the initiator.
    :meth:`SessionRegistry.arrive` does at the acceptor; its :class:`Arrival` reads the Hello and
    has a ``link`` and a ``session`` from then on. :meth:`Session.receive` takes in one WebSocket
    message of a link, :meth:`Session.lost` the end of the WebSocket.

What the application does
    :meth:`~Session.offer`, :meth:`~Session.send`, :meth:`~Session.want`; :meth:`~Session.take`,
    or :meth:`~Session.deliver` and :meth:`~Session.confirm`; :meth:`~Session.request`,
    :meth:`~Session.cancel`, :meth:`~Session.grant`; :meth:`~Session.reply`,
    :meth:`~Session.fault`, :meth:`~Session.item`; :meth:`~Session.finish`,
    :meth:`~Session.close`, :meth:`~Session.abort`, :meth:`~Session.end`.

What to send
    :meth:`Link.transmit` gives the next WebSocket message, or ``None``. Once a link is over,
    ``link.close_action`` says how to close its WebSocket.

What time it is
    ``Session.deadline`` is the time for :meth:`Session.tick`. Times are seconds of any clock that
    does not go backwards.

One step of a driver is always the same, whatever began it:

1. Call a verb. Those that return events return what happened; dispatch it. After any other, if
   ``session.due`` is set, dispatch what :meth:`Session.poll` returns.
2. Pull :meth:`Link.transmit` of the newest link, and of one that has just been replaced, until it
   gives ``None`` or the transport has no room; then go on when it has.
3. If ``link.close_action`` is set, close that WebSocket.
4. Look at ``session.deadline`` again, and tick by then. A late tick does no harm.

Steps of one session must not overlap.
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
