"""A page that draws traces of the wire: two lanes, an arrow for each WebSocket message."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .trace_file import Event, Trace, described, left_out

__all__ = ["page"]

ROW = 26
"""Height of an event."""

LEFT, RIGHT, WIDTH = 190, 810, 1000
"""Where the lanes of client and server are, and how wide the drawing is."""

LANES = {"initiator": LEFT, "acceptor": RIGHT}

GAP = 0.5
"""Seconds without any event from which on a gap is drawn."""

LONGEST = 86
"""Characters of a label; the whole of it is in its tooltip."""

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1040px; color: #1b1f24;
  background: #fff; }
svg { width: 100%; height: auto; font: 12px ui-monospace, monospace; }
.lane { stroke: #b8bfc7; stroke-width: 2; } .time { fill: #6b7480; }
.greeting { stroke: #6f42c1; fill: #6f42c1; } .message { stroke: #0b6e4f; fill: #0b6e4f; }
.again { stroke: #c2570c; fill: #c2570c; } .call { stroke: #0a58ca; fill: #0a58ca; }
.ack { stroke: #6b7480; fill: #6b7480; } .end { stroke: #99004d; fill: #99004d; }
line.ack { stroke-dasharray: 5 4; } svg text { stroke: none; }
.cut { stroke: #c00; fill: #c00; } .gap { fill: #6b7480; font-style: italic; }
.link { fill: #1b1f24; font-weight: bold; }
.key span { margin-right: 1.2em; } .key b { font-weight: 600; }
"""

KEY = (
    ("greeting", "Hello, Welcome"),
    ("message", "messages"),
    ("again", "sent again"),
    ("call", "calls"),
    ("ack", "acks"),
    ("end", "the end"),
    ("cut", "lost"),
)


def page(traces: list[Trace]) -> str:
    """Return the page for sessions; it needs no script and nothing from elsewhere."""
    colours = {"greeting": "#6f42c1", "message": "#0b6e4f", "again": "#c2570c", "call": "#0a58ca"}
    colours |= {"ack": "#6b7480", "end": "#99004d", "cut": "#c00"}
    key = "".join(
        f'<span><b style="color: {colours[kind]}">&#9632;</b> {said}</span>' for kind, said in KEY
    )
    parts = "\n".join(_drawing(trace) for trace in traces)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>reliable_ws trace</title><style>{STYLE}</style></head><body>\n"
        f'<h1>Trace of the wire</h1>\n<p class="key">{key}</p>\n{parts}\n</body></html>\n'
    )


def _drawing(trace: Trace) -> str:
    """Return the heading and the drawing of one session."""
    rows = _rows(trace)
    height = ROW * (max(rows.values(), default=0) + 3)
    body = "\n".join(_shapes(trace, rows))
    ends = " and ".join("client" if side == "initiator" else "server" for side in trace.sides)
    return f"""<h2>Session {escape(trace.session[:8])}, seen by the {ends}</h2>
{_left_out(trace)}
<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="session {escape(trace.session[:8])}">
<defs>{_markers()}</defs>
<text x="{LEFT}" y="16" text-anchor="middle" class="link">client</text>
<text x="{RIGHT}" y="16" text-anchor="middle" class="link">server</text>
<line x1="{LEFT}" y1="24" x2="{LEFT}" y2="{height}" class="lane"/>
<line x1="{RIGHT}" y1="24" x2="{RIGHT}" y2="{height}" class="lane"/>
{body}
</svg>"""


def _left_out(trace: Trace) -> str:
    """Return a paragraph that says how many events are not drawn, if any."""
    words = left_out(trace)
    return f"<p>{words}</p>" if words else ""


def _markers() -> str:
    return "".join(
        f'<marker id="to-{kind}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="9" '
        f'markerHeight="9" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" class="{kind}"/>'
        "</marker>"
        for kind, _ in KEY
    )


def _everything(trace: Trace) -> list[Event]:
    """Return the events that get a row: an arrival has one of its own."""
    arrivals = [event.partner for event in trace.events if event.partner is not None]
    return sorted({*trace.events, *arrivals}, key=lambda event: event.place)


def _rows(trace: Trace) -> dict[Event, int]:
    """Give each event a row, in the order of time, with room for gaps and labels."""
    rows: dict[Event, int] = {}
    row, before = 1, trace.events[0].time
    for event in _everything(trace):
        row += 2 if event.time - before >= GAP else 1
        rows[event] = row
        before = event.time
    return rows


def _shapes(trace: Trace, rows: dict[Event, int]) -> Iterator[str]:
    """Go through the shapes of one drawing."""
    before = trace.events[0].time
    for event, row in rows.items():
        y = row * ROW
        if event.time - before >= GAP:
            words = f"{event.time - before:.1f} s in which nothing passes"
            yield _text(WIDTH // 2, y - ROW, words, "gap", "middle")
        before = event.time
        yield _time(event, y, trace.begin)
        if event.event == "opens":
            yield _at_lane(event, y, f"link {event.link} opens", "link")
        elif event.event == "lost":
            yield from _cut(event, y)
        elif event.event == "sends" or event.partner is None:
            yield from _arrow(event, y, rows, both=len(trace.sides) > 1)


def _time(event: Event, y: int, begin: float) -> str:
    left = event.role == "initiator"
    x, anchor = (LEFT - 12, "end") if left else (RIGHT + 12, "start")
    return _text(x, y + 4, f"{event.time - begin:.4f}", "time", anchor)


def _at_lane(event: Event, y: int, words: str, kind: str) -> str:
    left = event.role == "initiator"
    x, anchor = (LEFT + 12, "start") if left else (RIGHT - 12, "end")
    return _text(x, y + 4, words, kind, anchor)


def _cut(event: Event, y: int) -> Iterator[str]:
    """Draw the end of a WebSocket, as one end has seen it."""
    x = LANES[event.role]
    yield f'<path d="M{x - 7} {y - 7}l14 14m0 -14l-14 14" class="cut" stroke-width="2.5"/>'
    how = "no close frame" if event.code is None else str(event.code)
    yield _at_lane(event, y, f"link {event.link} is gone: {how} {event.reason}"[:LONGEST], "cut")


def _arrow(event: Event, y: int, rows: dict[Event, int], *, both: bool) -> Iterator[str]:
    """Draw one WebSocket message."""
    here, there = LANES[event.role], LEFT + RIGHT - LANES[event.role]
    kind = _kind(event)
    lost = event.event == "sends" and event.partner is None and both
    if event.event == "gets":  # the other end was not read
        here, there = there, here
    x = (here + there) // 2 if lost else there
    end = rows[event.partner] * ROW if event.partner is not None else y
    words = described(event)
    label = words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"
    yield (
        f'<line x1="{here}" y1="{y}" x2="{x}" y2="{end}" class="{kind}" stroke-width="1.6" '
        f'marker-end="url(#to-{kind})"><title>{escape(words)}</title></line>'
    )
    if lost:
        yield f'<path d="M{x - 6} {y - 6}l12 12m0 -12l-12 12" class="cut" stroke-width="2.5"/>'
    # The label stands above the beginning of the arrow, at its end of the drawing.
    left = here == LEFT
    where = here + 14 if left else here - 14
    yield _text(where, y - 5, label, kind, "start" if left else "end")


def _kind(event: Event) -> str:
    """Return how a WebSocket message is drawn: by what matters most in it."""
    names = {frame.get("frame", "") for frame in event.frames}
    sent = event if event.event == "sends" else event.partner
    if names & {"Hello", "Welcome"}:
        return "greeting"
    if names & {"Messages", "Part", "Calls"}:
        if sent is not None and sent.again:
            return "again"
        return "call" if "Calls" in names else "message"
    return "end" if names & {"Finish", "Stop", "Done", "Refuse"} else "ack"


def _text(x: int, y: int, words: str, kind: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
