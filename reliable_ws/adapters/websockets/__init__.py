"""The library ``websockets``: its asyncio and legacy implementation, and that with threads."""
