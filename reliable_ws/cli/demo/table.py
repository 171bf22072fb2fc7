"""The table at the end of the demo, each row with what it means."""

from __future__ import annotations

from collections.abc import Iterator

from reliable_ws.testing.plan import FaultName

from .material import Material
from .trial import Contestant, Result

__all__ = ["lines"]

FAULTS: tuple[tuple[FaultName, str], ...] = (
    ("cut", "FIN to both sides"),
    ("reset", "RST to both sides"),
    ("half_open", "RST to one side, nothing to the other"),
    ("stall", "no bytes for up to 0.4 s"),
)


def lines(
    material: Material, last: Material, results: list[tuple[Contestant, Result, Result]]
) -> Iterator[str]:
    """Return the lines of the table."""
    width = 13
    names = [contestant.name for contestant, _, _ in results]
    names[-1] = "plain ws"
    yield ""
    yield f"{'the stream':<17}" + "".join(f"{name:>{width}}" for name in names)
    rows = [_rows(material.lines, streamed) for _, streamed, _ in results]
    for ours, *others in zip(*rows, strict=True):
        label, value, meaning = ours
        cells = "".join(f"{text:>{width}}" for text in (value, *(row[1] for row in others)))
        yield f"  {label:<15}{cells}   {meaning}".rstrip()
    yield "the last lines, closed at once, reader late, connection reset meanwhile"
    rows = [_few_rows(last.lines, parted) for _, _, parted in results]
    for ours, *others in zip(*rows, strict=True):
        label, value, meaning = ours
        cells = "".join(f"{text:>{width}}" for text in (value, *(row[1] for row in others)))
        yield f"  {label:<15}{cells}   {meaning}".rstrip()
    yield ""


def _rows(total: int, result: Result) -> list[tuple[str, str, str]]:
    arrived = result.arrived
    sent = int(result.facts.get("sent", total))
    numbers: list[tuple[str, float, str]] = [
        ("lines", total, "in the input"),
        ("sent", sent, "send() returned"),
        ("taken once", arrived.once, "written by the receiver, once"),
        ("duplicates", arrived.duplicates, "written again"),
        ("out of order", arrived.out_of_order, "written behind a later line"),
        ("lost", total - arrived.taken, "never written"),
        ("reported", total - sent + result.reported, "of these, what the sender knows of"),
        ("lost silently", _silently(result, sent), "lost, and nobody was told"),
        ("reconnects", max(0, result.connections - 1), "connections after the first"),
    ]
    numbers += [(name, result.faults[name], meaning) for name, meaning in FAULTS]
    numbers.append(("lines/s", arrived.taken / result.took, "written, faults and all included"))
    return [(label.replace("_", "-"), f"{value:,.0f}", why) for label, value, why in numbers]


def _few_rows(total: int, result: Result) -> list[tuple[str, str, str]]:
    sent = int(result.facts.get("sent", total))
    return [
        ("sent", f"{sent:,}", "send() returned"),
        ("taken", f"{result.arrived.taken:,}", "written by the receiver"),
        ("lost silently", f"{_silently(result, sent):,}", "lost, and nobody was told"),
        ("sender's exit", str(result.facts["exit"]), "0: all is well, says the sender"),
    ]


def _silently(result: Result, sent: int) -> int:
    """Of what was sent: neither taken nor reported as unknown or not taken."""
    return max(0, sent - result.arrived.taken - result.reported)
