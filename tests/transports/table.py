"""The table of docs/transports.md, made from what the tests of the contract ran.

    make table

runs them with every release that the matrix knows, and writes the table. A row is a library and a
side; a version stands in it only if every scenario passed with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from reliable_ws.testing.transport_contract import ClientContract

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "transports.md"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"

KEPT = "contract.jsonl"
"""In each environment: one line for each scenario that was run there."""

DENIED = {
    "takes_text": "text messages are refused",
    "takes_empty": "empty messages are dropped",
    "keeps_unread": "loses what is unread at the close",
    "tells_end": "cancels the endpoint at the end",
    "tells_code": "no close code from the peer",
    "tells_reason": "no close reason from the peer",
    "refuses_larger": "knows no limit to the size of a message",
    "sends_code": "cannot choose its close code",
    "sends_reason": "cannot send a close reason",
}
"""Trait -> what its absence means."""


class Ran(NamedTuple):
    """One scenario with one set of versions."""

    library: str
    side: str
    versions: str
    negotiates: bool
    notes: str
    scenario: str
    passed: bool

    @classmethod
    def of(cls, tests: type[Any], scenario: str, *, passed: bool) -> Self:
        """Describe what a class of the contract ran."""
        side = "client" if issubclass(tests, ClientContract) else "server"
        found = [f"{name} {importlib.metadata.version(name)}" for name in tests.distributions]
        remarks = [getattr(tests, "remarks", "")]
        remarks += [words for trait, words in DENIED.items() if not getattr(tests, trait)]
        notes = "; ".join(filter(None, remarks))
        versions = ", ".join(found)
        return cls(tests.library, side, versions, tests.negotiates, notes, scenario, passed)


def keep(ran: Ran) -> None:
    """Note it in the environment of this interpreter."""
    with Path(sys.prefix, KEPT).open("a") as file:
        file.write(json.dumps(ran) + "\n")


def kept() -> list[Ran]:
    """What was run in any environment; of a scenario that was run again, the last run."""
    latest: dict[tuple[str, ...], Ran] = {}
    for path in [ROOT / ".venv" / KEPT, *sorted((ROOT / ".venvs").glob(f"*/{KEPT}"))]:
        for line in path.read_text().splitlines() if path.exists() else ():
            ran = Ran(*json.loads(line))
            latest[ran.library, ran.side, ran.versions, ran.scenario] = ran
    return list(latest.values())


def table(every: Iterable[Ran]) -> str:
    """Return the table in Markdown."""
    rows: dict[tuple[str, str], list[Ran]] = {}
    for ran in every:
        rows.setdefault((ran.library, ran.side), []).append(ran)
    lines = [
        "| library | side | versions tested | subprotocol | resume | notes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (library, side), runs in sorted(rows.items(), key=lambda row: (row[0][0].lower(), row[0])):
        good = {ran.versions for ran in runs} - {ran.versions for ran in runs if not ran.passed}
        resumed = {ran.versions for ran in runs if "reset_is_survived" in ran.scenario}
        last = max(runs, key=lambda ran: _by_number(ran.versions))
        cells = [
            library,
            side,
            "<br>".join(sorted(good, key=_by_number)) or "none",
            "negotiated" if last.negotiates else "not negotiated",
            "yes" if good & resumed else "no",
            last.notes,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_number(versions: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", versions)]


def main() -> None:
    """Write the table into the page."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(kept())}\n{END}{after}")


if __name__ == "__main__":
    main()
