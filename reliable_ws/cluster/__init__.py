"""Several processes that serve the same sessions, with Redis or Valkey between them.

Needs the extra ``redis``. Nothing else of the library imports this package.

========================  =======================================================================
:mod:`.cluster`           one node: lease, listener, counts
:mod:`.member`            the sessions of one server in it
:mod:`.groups`            groups that have members in several nodes
:mod:`.publications`      one publication, at its publisher and where it is heard
:mod:`.receipts`          what was missed, and what is known of a publication (pure)
:mod:`.routing`           which node answers a Hello (pure)
:mod:`.records`           what the engine has of a session (pure)
:mod:`.scripts`           the steps of the engine
:mod:`.engine`            Redis or Valkey
:mod:`.durability`        what the engine's answer means (pure)
:mod:`.log`               the engine as a write-ahead log
:mod:`.relay`             WebSockets from node to node
:mod:`.links`             the same through the engine
:mod:`.ticket`            what a node is told of a WebSocket, signed (pure)
:mod:`.view`              what an application sees of it (pure)
========================  =======================================================================
"""

from .cluster import Cluster, ClusterEvent, ClusterStats

__all__ = ["Cluster", "ClusterEvent", "ClusterStats"]
