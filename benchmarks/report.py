"""What is printed of the samples, and the plot: ``python -m benchmarks.report FILE… --plot PNG``.

Every figure is relative to plain websockets with the same loop and the same Python: the median of
the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .contestants import FULL, OURS, OURS_PICOWS, PLAIN_ONE, THREADS, Picows
from .measure import Sample
from .rows import ROWS, Row

Results = dict[str, dict[str, list[Sample]]]
"""For each row, the samples of each contestant, by their names."""


class Measured(NamedTuple):
    """What one run of one Python has measured."""

    about: str
    "Versions."
    results: dict[str, Results]
    "For each kind of event loop."
    more: list[str]
    "Lines of the table that have no samples."
    absent: dict[str, str]
    "Why a contestant took no part: what is not installed."


def ratios(row: Row, found: dict[str, list[Sample]], name: str) -> list[float]:
    """Return the ratio of each round."""
    plain = found.get(_plain(row), [])
    pairs = zip(plain, found.get(name, []), strict=False)
    return [row.ratio(base.wall, sample.wall) for base, sample in pairs]


def processor(row: Row, found: dict[str, list[Sample]], name: str) -> float | None:
    """Return the processor's time for a message, relative to the plain one's; the median."""
    pairs = zip(found.get(_plain(row), []), found.get(name, []), strict=False)
    shares = [sample.cpu / base.cpu for base, sample in pairs if base.cpu]
    return median(shares) if shares else None


def table(results: Results) -> Iterator[str]:
    """Yield the lines of the table of ``make bench``."""
    yield "| what | reliable_ws | range | CPU | target | over picows | target | plain picows |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in ROWS:
        found = results.get(row.name, {})
        ours = _ours(row)
        all_ours = ratios(row, found, ours)
        if not all_ours:
            continue
        cells = [
            row.name,
            _times(median(all_ours)),
            f"{min(all_ours):.2f} - {max(all_ours):.2f}",
            _times(processor(row, found, ours)),
            _target(row, row.target),
            _middle(row, found, OURS_PICOWS.name),
            _target(row, row.target_picows),
            _middle(row, found, Picows.name),
        ]
        yield f"| {' | '.join(cells)} |"


def table_of_all(results: Results, results_uvloop: Results) -> Iterator[str]:
    """Yield the lines of a table with every contestant; with the processor's time in brackets."""
    names = [one.name for one in FULL if one is not PLAIN_ONE]
    uvloop = [OURS.name, OURS_PICOWS.name]
    heads = ["what", *names, *(f"{name}, uvloop" for name in uvloop)]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in ROWS:
        if row.name not in results or row.contestants is THREADS:
            continue
        cells = [_with_processor(row, results[row.name], name) for name in names]
        found = results_uvloop.get(row.name, {})
        cells += [_with_processor(row, found, name) for name in uvloop]
        yield f"| {row.name} | {' | '.join(cells)} |"


def pages(every: Sequence[Measured]) -> Iterator[str]:
    """Yield the lines of everything that was measured."""
    for measured in every:
        yield f"{measured.about}; relative to plain websockets.\n"
        yield from table(measured.results["asyncio"])
        yield from measured.more
        yield ""
        if uvloop := measured.results.get("uvloop"):
            yield "In brackets: the processor's time for a message, of both processes together.\n"
            yield from table_of_all(measured.results["asyncio"], uvloop)
            yield ""
    if any("uvloop" in measured.results for measured in every):
        absent = {name: why for measured in every for name, why in measured.absent.items()}
        yield "What an acknowledgement says:\n"
        for one in FULL:
            why = f". **Absent: {absent[one.name]}.**" if one.name in absent else ""
            yield f"- {one.name}: {one.means}{why}"


def plot(measured: Measured, path: Path) -> None:
    """Draw the ratios of the rows as bars, on a scale of powers of two."""
    from matplotlib import pyplot as plt

    results = measured.results["asyncio"]
    shown = [row for row in ROWS if ratios(row, results.get(row.name, {}), _ours(row))]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(shown) + 1.4))
    colours = {OURS.name: "#2563a8", OURS_PICOWS.name: "#e08a1e"}
    for place, (name, colour) in enumerate(colours.items()):
        for at, row in enumerate(shown):
            them = name if row.contestants is not THREADS else THREADS[1].name
            speeds = ratios(row, results[row.name], them)
            if not speeds or (row.contestants is THREADS and place):
                continue
            speed = 1 / median(speeds) if row.slower else median(speeds)
            axes.barh(at + 0.4 * place - 0.2, speed - 1, 0.38, left=1, color=colour)
            axes.annotate(
                f"{speed:.2g}x",
                (max(speed, 1.0), at + 0.4 * place - 0.2),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    for name, colour in colours.items():
        axes.barh(0, 0, color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _at: f"{value:g}x")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(shown)), [row.name.removesuffix(", time") for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel("speed relative to plain websockets; to the right is faster")
    axes.set_title(measured.about, fontsize=8, loc="right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def save(measured: Measured, path: Path) -> None:
    """Write what was measured into a file."""
    path.write_text(json.dumps(measured._asdict()))


def load(path: Path) -> Measured:
    """Return what :func:`save` has written."""
    kept: dict[str, Any] = json.loads(path.read_text())
    results = {
        loop: {
            row: {name: [Sample(*sample) for sample in samples] for name, samples in found.items()}
            for row, found in rows.items()
        }
        for loop, rows in kept["results"].items()
    }
    return Measured(kept["about"], results, kept["more"], kept["absent"])


def _plain(row: Row) -> str:
    return (row.contestants or [PLAIN_ONE])[0].name


def _ours(row: Row) -> str:
    return THREADS[1].name if row.contestants is THREADS else OURS.name


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _target(row: Row, value: float | None) -> str:
    return "" if value is None else f"{'≤' if row.slower else '≥'} {value:g}x"


def _middle(row: Row, found: dict[str, list[Sample]], name: str) -> str:
    rounds = ratios(row, found, name)
    return _times(median(rounds)) if rounds else ""


def _with_processor(row: Row, found: dict[str, list[Sample]], name: str) -> str:
    share = processor(row, found, name)
    more = "" if share is None else f" ({share:.2f})"
    return _middle(row, found, name) + more


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="what --save has written")
    parser.add_argument("--plot", type=Path, help="the picture to write, of the first file")
    options = parser.parse_args()
    every = [load(path) for path in options.files]
    print("\n".join(pages(every)))
    if options.plot:
        plot(every[0], options.plot)


if __name__ == "__main__":
    main()
