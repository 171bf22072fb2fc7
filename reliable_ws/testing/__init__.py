"""Tools for testing what runs over an unreliable network, ours and yours."""

from __future__ import annotations

from .proxy import ChaosProxy, Fault, FaultPlan

__all__ = ["ChaosProxy", "Fault", "FaultPlan"]
