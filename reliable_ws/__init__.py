"""Reliable messages over WebSockets: acknowledged, resumed, and confirmed before the close.

README.md is a tour, docs/api.md lists every name, and protocol.md describes the wire.
"""

from typing import TYPE_CHECKING, Any

from .aio.asgi import ASGIApp
from .aio.broadcast import broadcast
from .aio.connect import connect, unix_connect
from .aio.connection import Connection
from .aio.groups import Fate, Group, Publication, Recipient
from .aio.receiver import Delivery
from .aio.sender import Receipt
from .aio.serve import Server, serve, unix_serve
from .aio.sessions import Sessions
from .aio.sigterm import drain_on_sigterm
from .aio.wrap import wrap
from .backoff import Backoff
from .driver.explanation import Explanation, Reason
from .driver.failures import FailedAttempt, FailureKind
from .driver.figures import Figures, GroupStats
from .driver.methods import Methods
from .driver.restored import Restored, RestoredMessage
from .driver.status import ConnectionEvent, PeerFinish, State, Stats
from .histogram import Histogram
from .live_page import Live, live
from .protocol.config import Config
from .protocol.errors import (
    AlreadyServed,
    ConfirmTooLate,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DeliveryError,
    EngineUnavailable,
    GroupFull,
    InvalidParams,
    Kept,
    KeyExists,
    MessageTooLarge,
    MethodNotFound,
    NotAStore,
    NotReliablePeer,
    NotSerializable,
    NotTaken,
    NumbersExhausted,
    OutboxFull,
    OutcomeUnknown,
    PayloadError,
    ProtocolViolation,
    ReliableWSError,
    RemoteError,
    RequestTimeout,
    ServerBusy,
    SessionLost,
    SessionMoved,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreInUse,
    StoreSlow,
    StoreTooNew,
)
from .protocol.payload import MsgpackCodec, PayloadCodec
from .protocol.report import End, Ending, Outcome, Report, Undelivered
from .store import Store, StoreStats
from .stores import SQLiteStore
from .transport import Transport, TransportClosed, select_subprotocol
from .wire_trace import WireTrace

if TYPE_CHECKING:
    from .cluster import Cluster as Cluster
    from .cluster import ClusterEvent as ClusterEvent
    from .cluster import ClusterStats as ClusterStats

__version__ = "0.1.0"

__all__ = [
    "ASGIApp",
    "AlreadyServed",
    "Backoff",
    "Config",
    "ConfirmTooLate",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionEvent",
    "Delivery",
    "DeliveryError",
    "End",
    "Ending",
    "EngineUnavailable",
    "Explanation",
    "FailedAttempt",
    "FailureKind",
    "Fate",
    "Figures",
    "Group",
    "GroupFull",
    "GroupStats",
    "Histogram",
    "InvalidParams",
    "Kept",
    "KeyExists",
    "Live",
    "MessageTooLarge",
    "MethodNotFound",
    "Methods",
    "MsgpackCodec",
    "NotAStore",
    "NotReliablePeer",
    "NotSerializable",
    "NotTaken",
    "NumbersExhausted",
    "OutboxFull",
    "Outcome",
    "OutcomeUnknown",
    "PayloadCodec",
    "PayloadError",
    "PeerFinish",
    "ProtocolViolation",
    "Publication",
    "Reason",
    "Receipt",
    "Recipient",
    "ReliableWSError",
    "RemoteError",
    "Report",
    "RequestTimeout",
    "Restored",
    "RestoredMessage",
    "SQLiteStore",
    "Server",
    "ServerBusy",
    "SessionLost",
    "SessionMoved",
    "Sessions",
    "State",
    "Stats",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreInUse",
    "StoreSlow",
    "StoreStats",
    "StoreTooNew",
    "Transport",
    "TransportClosed",
    "Undelivered",
    "WireTrace",
    "__version__",
    "broadcast",
    "connect",
    "drain_on_sigterm",
    "live",
    "select_subprotocol",
    "serve",
    "unix_connect",
    "unix_serve",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Import what needs the extra ``redis`` when it is asked for."""
    if name in {"Cluster", "ClusterEvent", "ClusterStats"}:
        try:
            from . import cluster
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "redis":
                raise
            words = f"{name} needs redis-py: pip install reliable-ws[redis]"
            raise ImportError(words) from error
        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
