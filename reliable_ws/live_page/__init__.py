"""A live page of the sessions of this process: what waits, for whom, and for how long."""

from .app import Live, live

__all__ = ["Live", "live"]
