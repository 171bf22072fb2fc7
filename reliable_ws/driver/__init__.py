"""What every driver needs and none of them owns: no asyncio, no threads, no sockets."""
