"""What the web applications among the examples share: a server, a customer, and a bad network."""

import asyncio
import socket
from typing import Any

import reliable_ws
from reliable_ws.testing import ChaosProxy


async def visit(app: Any, path: str) -> None:
    """Run an ASGI application with uvicorn, and be its customer."""
    import uvicorn  # only what is run by it needs it

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve([listener]))
    await order(path, *listener.getsockname())
    server.should_exit = True
    await serving


async def order(path: str, host: str, port: int) -> None:
    """Order something, and cut the network after each answer."""
    async with ChaosProxy(host, port) as proxy:
        async with reliable_ws.connect(proxy.uri(path)) as conn:
            for what in ("apples", "pears", "plums"):
                await conn.send(what)
                print(f"{await conn.recv()} ({proxy.reset()} connection cut)")
        print(f"{conn.stats.resumes} times resumed: {conn.report}")
