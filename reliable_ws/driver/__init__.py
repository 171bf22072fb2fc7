"""The decisions that every driver needs, made once: no asyncio, no threads, no sockets, no clock.

A driver for another event loop begins with :class:`~.session_driver.SessionDriver`: see
docs/drivers.md.
"""
