"""A Django Channels application whose WebSocket survives a broken network."""

import asyncio

from _visit import visit
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

import reliable_ws
from reliable_ws.adapters.channels import ReliableConsumer

settings.configure()
sessions = reliable_ws.Sessions()


async def shop(conn: reliable_ws.Connection) -> None:  # once per session, not per WebSocket
    async for order in conn:
        await conn.send(f"{order}: packed")


class Orders(ReliableConsumer):
    async def connect(self) -> None:
        await self.accept(reliable_ws.select_subprotocol(self.scope["subprotocols"]))
        await sessions.handle(self, shop)


app = ProtocolTypeRouter({"websocket": URLRouter([path("orders", Orders.as_asgi())])})


if __name__ == "__main__":
    asyncio.run(visit(app, "/orders"))
