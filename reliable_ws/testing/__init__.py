"""Tools for testing what runs over an unreliable network, ours and yours."""

from __future__ import annotations

from .plan import Fault, FaultPlan, Strike
from .proxy import ChaosProxy

__all__ = ["ChaosProxy", "Fault", "FaultPlan", "Strike"]
