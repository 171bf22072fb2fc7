"""Moved: for branches that still import it from here."""

from reliable_ws.testing.virtual_clock import VirtualClockLoop as VirtualLoop
from reliable_ws.testing.virtual_clock import run, where

__all__ = ["VirtualLoop", "run", "where"]
