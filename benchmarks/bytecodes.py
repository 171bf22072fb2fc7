"""``make bytecodes``: where the time goes, by function, counted in bytecodes of Python.

A count of machine instructions (:mod:`.instructions`) says how much an operation costs, and not
which function costs it. This counts the bytecodes that the interpreter executes in each function,
which is the same from run to run and on every machine. It says nothing of what C functions take:
these are in the counts of instructions only.

Each case is done a few times and then more often: the difference is the cost of one. Numbers are
bytecodes of one operation, both ends together. *own* is in the function itself, *with calls*
also in what it calls. ``python -m benchmarks.bytecodes "open and close" --top 20`` runs one case.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import CodeType, FrameType

from . import instructions
from .instructions import CASES, MORE_CASES, SIDES

LAYERS = (
    ("reliable_ws/protocol", "reliable_ws/protocol/"),
    ("reliable_ws/driver, aio", "reliable_ws/"),
    ("reliable_ws/adapters", "reliable_ws/adapters/"),
    ("websockets", "websockets/"),
    ("asyncio", "asyncio/"),
    ("other", ""),
)
"Layers, and what the paths of their files contain; the longest one that fits counts."


ALL_CASES = {name: case for name, case in (CASES | MORE_CASES).items() if not case.traced}


class Tracer:
    """Counts the bytecodes of each function, while it is the tracing function of the thread."""

    def __init__(self) -> None:
        self.own: Counter[CodeType] = Counter()
        self.inclusive: Counter[CodeType] = Counter()
        self._total = 0
        self._began: list[tuple[CodeType, int]] = []  # functions that run, and the total then
        self._depth: Counter[CodeType] = Counter()  # how often each of them is among these

    def __call__(self, frame: FrameType, event: str, _arg: object) -> Tracer:
        """Take one event of the interpreter."""
        code = frame.f_code
        if event == "opcode":
            self.own[code] += 1
            self._total += 1
        elif event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self._began.append((code, self._total))
            self._depth[code] += 1
        elif event == "return" and self._began:
            begun, since = self._began.pop()
            self._depth[begun] -= 1
            if not self._depth[begun]:
                self.inclusive[begun] += self._total - since
        return self


def count(side: str, name: str, times: int) -> Tracer:
    """Count what a case takes that is done so many times, with what is around it."""
    tracer = Tracer()
    gc.collect()
    gc.disable()  # when it runs depends on all that was made before
    sys.settrace(tracer)
    try:
        asyncio.run(instructions.do(side, name, times))
    finally:
        sys.settrace(None)
        gc.enable()
    return tracer


def cost(side: str, name: str) -> dict[str, dict[CodeType, float]]:
    """Return what one operation takes: by function, its own and with what it calls."""
    case = ALL_CASES[name]
    asyncio.run(instructions.do(side, name, 2))  # imports, and what is made once
    operations = case.long - case.short
    less, more = count(side, name, case.short), count(side, name, case.long)
    return {
        kind: {
            code: (bytecodes - getattr(less, kind)[code]) / operations
            for code, bytecodes in getattr(more, kind).items()
            if bytecodes != getattr(less, kind)[code]
        }
        for kind in ("own", "inclusive")
    }


def layer(code: CodeType) -> str:
    """Return the layer of a function."""
    path = Path(code.co_filename).as_posix()
    return max((len(part), name) for name, part in LAYERS if part in path)[1]


def by_layer(own: dict[CodeType, float]) -> dict[str, float]:
    """Return the sums of the layers."""
    sums: dict[str, float] = defaultdict(float)
    for code, bytecodes in own.items():
        sums[layer(code)] += bytecodes
    return sums


def print_case(name: str, top: int) -> None:
    """Print the layers of a case, both ways, and the functions of ours that take most."""
    costs = {side: cost(side, name) for side in SIDES}
    sums = {side: by_layer(costs[side]["own"]) for side in SIDES}
    print(f"\n### {name}\n\n| bytecodes of one | reliable_ws | plain websockets |\n|---|---|---|")
    for known, _part in LAYERS:
        print(f"| {known} | {sums['reliable'][known]:,.0f} | {sums['plain'][known]:,.0f} |")
    totals = [f"{sum(sums[side].values()):,.0f}" for side in SIDES]
    print(f"| together | {totals[0]} | {totals[1]} |")
    if top:
        print("\n| function | own | with calls |\n|---|---|---|")
    own, inclusive = costs["reliable"]["own"], costs["reliable"]["inclusive"]
    for code in sorted(own, key=own.__getitem__, reverse=True)[:top]:
        where = f"{Path(code.co_filename).stem}.{code.co_qualname} ({layer(code)})"
        print(f"| {where} | {own[code]:,.0f} | {inclusive.get(code, 0.0):,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bytecodes", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(ALL_CASES)}")
    parser.add_argument("--top", type=int, default=12, help="functions that are named; default 12")
    options = parser.parse_args()
    for name in options.cases or ALL_CASES:
        if name not in ALL_CASES:
            parser.error(f"there is no case {name!r}")
        print_case(name, options.top)


if __name__ == "__main__":
    main()
