"""The metrics: one table for every exporter. No label comes from a peer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from reliable_ws.driver.figures import Figures
from reliable_ws.histogram import Histogram

__all__ = ["METRICS", "Metric", "Source", "Value", "sources_of"]

Value: TypeAlias = tuple[tuple[str, ...], float]
"""The values of a metric's labels, and its own."""


class Source(Protocol):
    """What metrics are of: a server, ``Sessions``, or one connection."""

    def figures(self) -> Figures:
        """Return what its sessions have done together."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    "Its name, without ``reliable_ws_``."
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    words: str
    labels: tuple[str, ...]
    read: Callable[[Any], Iterable[Value] | Histogram]
    "Its values, of that part of the figures: a histogram, if it is one."
    part: Literal["sessions", "store", "cluster", "group"] = "sessions"
    "Of what it is. Figures have one of the others, or not."

    def values(self, figures: Figures) -> Iterable[Value]:
        """Return its values; none if it is a histogram, or these figures have no such part."""
        found = self._found(figures)
        return () if isinstance(found, Histogram) else found

    def times(self, figures: Figures) -> Histogram | None:
        """Return the histogram that it is."""
        found = self._found(figures)
        return found if isinstance(found, Histogram) else None

    def _found(self, figures: Figures) -> Iterable[Value] | Histogram:
        if self.part == "sessions":
            return () if figures.group is not None else self.read(figures)
        part = getattr(figures, self.part)
        return () if part is None else self.read(part)


def _messages(figures: Figures) -> Iterable[Value]:
    return [
        (("out", "accepted"), figures.sent),
        (("out", "transmitted"), figures.transmitted),
        (("out", "confirmed"), figures.confirmed),
        (("out", "not taken"), figures.not_taken),
        (("out", "unknown"), figures.unknown),
        (("in", "received"), figures.received),
        (("in", "taken"), figures.taken),
        (("in", "confirmed"), figures.acknowledged),
    ]


def _both(outbox: float, inbox: float) -> Iterable[Value]:
    return [(("out",), outbox), (("in",), inbox)]


METRICS: tuple[Metric, ...] = (
    Metric(
        "sessions",
        "gauge",
        "{session}",
        "Sessions that live, by state.",
        ("state",),
        lambda f: [
            ((state,), f.sessions[state])
            for state in ("open", "peer finished", "detached", "closing", "connecting")
        ],
    ),
    Metric(
        "messages",
        "counter",
        "{message}",
        "Messages by direction and by how far they have come.",
        ("direction", "outcome"),
        _messages,
    ),
    Metric(
        "unconfirmed_messages",
        "gauge",
        "{message}",
        "Messages that wait: out for the peers' applications, in for ours.",
        ("direction",),
        lambda f: _both(f.outbox_messages, f.inbox_messages),
    ),
    Metric(
        "unconfirmed_bytes",
        "gauge",
        "By",
        "Bytes of the messages that wait.",
        ("direction",),
        lambda f: _both(f.outbox_bytes, f.inbox_bytes),
    ),
    Metric(
        "unconfirmed_seconds",
        "gauge",
        "s",
        "For how long the oldest message has waited, at least. The one to alarm on.",
        ("direction",),
        lambda f: _both(f.outbox_seconds, f.inbox_seconds),
    ),
    Metric(
        "stalled_sessions",
        "gauge",
        "{session}",
        "Sessions in which a message has waited for 10 seconds.",
        ("direction",),
        lambda f: _both(f.outbox_stalled, f.inbox_stalled),
    ),
    Metric(
        "window_full_seconds",
        "counter",
        "s",
        "Seconds that windows were full, over all sessions: whose application took too little.",
        ("by",),
        lambda f: [(("peer",), f.window_full_peers), (("us",), f.window_full_here)],
    ),
    Metric(
        "resumes",
        "counter",
        "{resume}",
        "WebSockets that carried a session after its first.",
        (),
        lambda f: [((), f.resumes)],
    ),
    Metric(
        "replayed",
        "counter",
        "{message}",
        "Messages that were sent again after a resume.",
        (),
        lambda f: [((), f.replayed)],
    ),
    Metric(
        "sessions_ended",
        "counter",
        "{session}",
        "Sessions that have ended, by why.",
        ("why",),
        lambda f: [
            ((why,), f.ended[why])
            for why in (
                "finished",
                "aborted",
                "refused",
                "violation",
                "expired",
                "superseded",
                "kept",
                "lost",
            )
        ],
    ),
    Metric(
        "handshakes_refused",
        "counter",
        "{websocket}",
        "WebSockets that were refused, by code (protocol.md, section 12).",
        ("code",),
        lambda f: [((str(int(code)),), count) for code, count in f.refused.items()],
    ),
    Metric(
        "open_requests",
        "gauge",
        "{request}",
        "Requests without an answer: out is what we asked, in is what runs here.",
        ("direction",),
        lambda f: _both(f.requests, f.handlers),
    ),
    Metric(
        "loop_stalled_seconds",
        "counter",
        "s",
        "Seconds that something has blocked the event loops of the process, at least.",
        (),
        lambda f: [((), f.loop_stalled_seconds)],
    ),
    Metric(
        "confirm_seconds",
        "histogram",
        "s",
        "How long confirmations took, of one message of each session at a time.",
        (),
        lambda f: f.confirm_seconds,
    ),
    Metric(
        "store_commit_seconds",
        "histogram",
        "s",
        "How long commits of the store took.",
        (),
        lambda s: s.commit_seconds,
        "store",
    ),
    Metric(
        "store_changes",
        "counter",
        "{change}",
        "Changes that the store has kept: many go in one commit.",
        (),
        lambda s: [((), s.changes)],
        "store",
    ),
    Metric(
        "store_commits_refused",
        "counter",
        "{commit}",
        "Commits that were undone, as there was no room on the disk.",
        (),
        lambda s: [((), s.refused)],
        "store",
    ),
    Metric(
        "store_waiting_changes",
        "gauge",
        "{change}",
        "Changes that wait for the next commit of the store.",
        (),
        lambda s: [((), s.waiting)],
        "store",
    ),
    Metric(
        "store_waiting_seconds",
        "gauge",
        "s",
        "For how long the store has worked on what it does now: a disk that does not answer.",
        (),
        lambda s: [((), s.waiting_seconds)],
        "store",
    ),
    Metric(
        "store_file_bytes",
        "gauge",
        "By",
        "Bytes of the file of the store, with what SQLite keeps beside it.",
        (),
        lambda s: [((), s.file_bytes)],
        "store",
    ),
    Metric(
        "cluster_relayed_websockets",
        "gauge",
        "{websocket}",
        "WebSockets that are passed on: out to other nodes, in from other nodes.",
        ("direction",),
        lambda c: _both(c.relayed, c.served),
        "cluster",
    ),
    Metric(
        "cluster_sessions_moved",
        "counter",
        "{session}",
        "Sessions that have changed their node: claimed here, left to others, lost to others.",
        ("how",),
        lambda c: [(("claimed",), c.claimed), (("left",), c.moved), (("lost",), c.lost)],
        "cluster",
    ),
    Metric(
        "cluster_engine_away_seconds",
        "gauge",
        "s",
        "For how long the engine has been away; 0 while it answers.",
        (),
        lambda c: [((), c.engine_away)],
        "cluster",
    ),
    Metric(
        "group_members",
        "gauge",
        "{member}",
        "Connections that are in the group.",
        (),
        lambda g: [((), g.members)],
        "group",
    ),
    Metric(
        "group_waiting",
        "gauge",
        "{publication}",
        "Publications that wait for room, over all members.",
        (),
        lambda g: [((), g.waiting)],
        "group",
    ),
    Metric(
        "group_publications",
        "counter",
        "{publication}",
        "Messages that were given to the members in this process.",
        (),
        lambda g: [((), g.publications)],
        "group",
    ),
    Metric(
        "group_skipped",
        "counter",
        "{publication}",
        "Times that a member did not get a publication.",
        (),
        lambda g: [((), g.skipped)],
        "group",
    ),
    Metric(
        "group_dropped",
        "counter",
        "{member}",
        "Members that were taken out of the group, as they had no room.",
        (),
        lambda g: [((), g.dropped)],
        "group",
    ),
)
"""Every metric."""


def sources_of(source: Source | None, endpoints: dict[str, Any]) -> dict[str, Source]:
    """Return what was passed, by the name of its endpoint.

    Raises:
        TypeError: It is none of what metrics can be of, or there is nothing.
    """
    sources: dict[str, Any] = ({} if source is None else {"": source}) | endpoints
    for one in sources.values():
        if isinstance(one, type) or not callable(getattr(one, "figures", None)):
            raise TypeError(
                f"metrics are of a server, of Sessions or of a connection, not of {one!r:.100}"
            )
    if not sources:
        raise TypeError("metrics of what? Pass a server, Sessions, or a connection")
    return sources
