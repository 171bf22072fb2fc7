"""Django Channels."""

from __future__ import annotations

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from reliable_ws.adapters.channels import ReliableConsumer
from tests.transports import settings  # noqa: F401 - Django's

from . import ENDPOINTS, prepare, selected


class Consumer(ReliableConsumer):
    async def connect(self) -> None:
        prepare()
        await self.accept(selected(self.scope["subprotocols"]))
        await ENDPOINTS.paths[self.scope["path"]](self)


app = ProtocolTypeRouter({"websocket": URLRouter([path("<name>", Consumer.as_asgi())])})
