"""``make bench-full``: the suite with every contestant, in this Python and in another one.

Writes the samples of each into ``.venv/``, and the plot that README shows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.matrix import NEWEST, PYPROJECT, ROOT, Environment, find_python

from . import report

OTHER = "3.13"
PLOT = ROOT / "docs" / "images" / "benchmarks.png"


def main() -> None:
    pythons = {f"{sys.version_info.major}.{sys.version_info.minor}": Path(sys.executable)}
    if interpreter := find_python(OTHER):
        bench = tuple(PYPROJECT["dependency-groups"]["bench"])
        environment = Environment(OTHER, interpreter, NEWEST, (), "bench", bench)
        environment.make()
        pythons.setdefault(OTHER, environment.executable)
    else:
        print(f"absent: Python {OTHER} was not found and is not measured", flush=True)
    every = []
    for version, python in pythons.items():
        path = ROOT / ".venv" / f"bench-{version}.json"
        suite = ("-m", "benchmarks", "--full", "--save", str(path), *sys.argv[1:])
        subprocess.run([python, *suite], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        every.append(report.load(path))
    print("\n".join(report.pages(every)))
    report.plot(every[0], PLOT)


if __name__ == "__main__":
    main()
