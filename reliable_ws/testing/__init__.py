"""Tools for testing what runs over an unreliable network, ours and yours.

See docs/testing.md. Nothing here needs a test runner; ``reliable_ws.testing.fixtures`` is for
pytest.
"""

from __future__ import annotations

from .network import Network
from .pair import Pair, pair
from .plan import Fault, FaultPlan, Strike
from .proxy import ChaosProxy
from .sweep import Run, sweep
from .virtual_clock import VirtualClockLoop, run, virtual_clock

__all__ = [
    "ChaosProxy",
    "Fault",
    "FaultPlan",
    "Network",
    "Pair",
    "Run",
    "Strike",
    "VirtualClockLoop",
    "pair",
    "run",
    "sweep",
    "virtual_clock",
]
