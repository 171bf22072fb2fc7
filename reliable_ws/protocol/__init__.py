"""The protocol ``reliable-ws.v1``: pure, exactly what protocol.md says.

No I/O, no clock, no chance, no asyncio: time is told, bytes come in and are pulled out, and
what happened is returned.
"""
