"""The table of who catches what."""

from __future__ import annotations

import sys

from tests.sim.schedules import explain, shrink

from . import MUTANTS, catch, installed, table


def main(arguments: list[str]) -> int:
    names = [one for one in arguments if not one.startswith("-")]
    rows = []
    for one in MUTANTS:
        if names and not any(name in one.name for name in names):
            continue
        row = catch(one)
        rows.append(row)
        print(table([row]).splitlines()[1], flush=True)
        if "-v" in arguments:
            with installed(one):
                story = row.found.story if row.seed is None and row.found else row.story
                if story is not None:
                    print(explain(shrink(story), row.seed))
    missed = [row.name for row in rows if row.seed is None and row.explored == "-"]
    print(f"{len(rows)} mutants, {len(missed)} survive: {missed}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
