"""A group with its members, and what became of a publication."""

from __future__ import annotations

import collections

from reliable_ws import Backoff, Config, Group
from tests.aio.memory_network import MemoryNetwork, settle

TIGHT = Config(window_messages=4, outbox_messages=4)


class GroupedPairs:
    """A server's connections in a group, and their clients."""

    def __init__(self, count: int, *, config: Config | None = None, **options) -> None:
        self.count = count
        self.nets = [MemoryNetwork(config=config) for _ in range(count)]
        self.group = Group(**options)
        self.clients: list = []
        self.members: list = []

    async def __aenter__(self):
        for number, net in enumerate(self.nets):
            client, server = await net.pair(reconnect=Backoff(0.1, 1, 0.1))
            self.clients.append(client)
            self.members.append(server)
            self.group.join(server, number)
        return self

    async def __aexit__(self, kind, value, tb):
        if kind is None:
            await settle(*self.clients, *self.members)
        for conn in (*self.clients, *self.members):
            conn.abort()


def fates(recipients):
    return {recipient.identity: recipient.fate for recipient in recipients}


def counted(recipients):
    return collections.Counter(recipient.fate for recipient in recipients)
