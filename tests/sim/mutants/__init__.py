"""Guards of the core, each removed in turn: what the simulator and the explorer must catch.

A mutant is one small lie told to the core by replacing a method.

    python -m tests.sim.mutants            the table of who catches what
    python -m tests.sim.mutants NAME -v    the shortest trace for one of them
"""

from . import calls, decisions, ends, links, messages, stores
from .catching import Caught, catch, installed, table
from .registry import DIRECTED, MUTANTS, Mutant

__all__ = [
    "DIRECTED",
    "MUTANTS",
    "Caught",
    "Mutant",
    "calls",
    "catch",
    "decisions",
    "ends",
    "installed",
    "links",
    "messages",
    "stores",
    "table",
]
