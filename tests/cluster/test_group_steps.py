"""Steps of groups, one by one: in a real engine, and of the part of a group in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from reliable_ws.cluster.engine import Engine, Outgoing, Registration
from reliable_ws.cluster.groups import SharedGroup
from reliable_ws.cluster.publications import Heard
from reliable_ws.cluster.receipts import Mark

from .servers import RedisServer


@pytest.fixture
async def pair(engine: RedisServer) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two nodes; the second has two members of group "g"."""
    first = Engine.at(engine.url, b"node-a", 5.0, 2.0)
    second = Engine.at(engine.url, b"node-b", 5.0, 2.0)
    await second.register("b", [Registration("g", 2, 1, b"", 0)])
    yield first, second
    await first.close()
    await second.close()


def out(data: bytes = b"data", epoch: bytes = b"", limit: int = 10, size: int = 100) -> Outgoing:
    return Outgoing("g", epoch, limit, size, data)


async def box(node: Engine) -> list[bytes]:
    """What waits for a node: kinds, and data of publications."""
    return [fields.get(b"d", fields[b"k"]) for _id, fields in await node.read_box(None)]


async def test_a_batch_that_is_repeated_is_answered_as_before(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    said = await first.publish_all(b"batch", [out(b"one"), out(b"two")])
    assert [(one.verdict, one.number, one.nodes) for one in said] == [
        ("done", 1, [(b"node-b", 2, "b")]),
        ("done", 2, [(b"node-b", 2, "b")]),
    ]
    assert await first.publish_all(b"batch", [out(b"one"), out(b"two")]) == said
    assert await box(second) == [b"new", b"at", b"one", b"two"]


async def test_what_comes_behind_a_publication_without_room_waits_as_well(
    pair: tuple[Engine, Engine],
) -> None:
    first, second = pair
    batch = [out(b"x" * 60), out(b"y" * 60), out(b"z")]
    said = await first.publish_all(b"batch", batch)
    assert [one.verdict for one in said] == ["done", "full", "full"]
    assert said[1].nodes == [(b"", 2, "b")]
    entries = await second.read_box(None)
    await second.read_box((entries[0][0], entries[-1][0]))  # there is room again
    said = await first.publish_all(b"another", batch[1:])
    assert [(one.verdict, one.number) for one in said] == [("done", 2), ("done", 3)]


async def test_one_that_is_larger_than_the_limit_goes_alone(pair: tuple[Engine, Engine]) -> None:
    first, _second = pair
    said = await first.publish_all(b"batch", [out(b"x" * 500), out(b"y")])
    assert [one.verdict for one in said] == ["done", "full"]


async def test_a_node_without_a_box_is_left_out(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    await second.drop_box()
    (said,) = await first.publish_all(b"batch", [out()])
    assert (said.verdict, said.nodes) == ("done", [])
    assert await first.keep_box([b"node-b", b"node-a"]) == [False, True]
    assert await first.send([(b"node-b", b"nobody"), (b"node-a", b"hello")]) == [1, 0]


async def test_a_box_that_is_full_takes_no_messages(
    pair: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    monkeypatch.setattr("reliable_ws.cluster.engine.LONGEST_BOX", 3)
    messages = [(b"node-b", b"one"), (b"node-b", b"two"), (b"node-x", b"nobody")]
    assert await first.send(messages) == [0, 2, 1]
    assert await box(second) == [b"new", b"at", b"one"]


async def test_a_publisher_notices_that_the_group_was_lost(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    (said,) = await first.publish_all(b"batch", [out()])
    await second._client.flushall()
    lost = await first.publish_all(b"next", [out(epoch=said.epoch), out(epoch=said.epoch)])
    assert [one.verdict for one in lost] == ["lost", "lost"]


async def test_a_group_that_was_lost_goes_on_from_who_has_read_most(
    pair: tuple[Engine, Engine],
) -> None:
    first, second = pair
    await second._client.flushall()
    await first.register("a", [Registration("g", 1, 7, b"old", 4)])
    await second.register("b", [Registration("g", 2, 8, b"old", 5)])
    marks = [fields for _id, fields in await first.read_box(None) if fields[b"k"] == b"at"]
    assert [(one[b"n"], one[b"t"], one[b"o"], one[b"b"]) for one in marks] == [
        (b"0", b"7", b"old", b"4"),
        (b"0", b"0", b"old", b"5"),  # the first node has missed number 5
    ]
    assert marks[0][b"e"] != marks[1][b"e"]
    await first.register("a", [Registration("g", 1, 9, b"old", 4)])  # it changes nothing more
    last = (await first.read_box(None))[-1][1]
    assert (last[b"e"], last[b"b"]) == (marks[1][b"e"], b"5")


class Host:
    """Members that write down what they get, and that they were dropped."""

    limit = limit_bytes = 10

    def __init__(self) -> None:
        self.members: list[Any] = []
        self.got: list[tuple[Any, int]] = []
        self.dropped: list[Any] = []

    def hand_out(self, heard: Heard, members: Iterable[Any]) -> None:
        self.got += [(member, heard.number) for member in members]

    def drop(self, members: Iterable[Any]) -> None:
        for member in list(members):
            self.members.remove(member)
            self.dropped.append(member)


class Member:
    identity = "ann"
    session = SimpleNamespace(id=b"session")


class NoGroups:
    """Nobody whom something is to be told."""

    lease = 0.01

    def start(self) -> None:
        """There is nothing to start."""

    def register_soon(self, shared: SharedGroup) -> None:
        shared.registration()

    def has_missed(self, session: bytes, group: str, mark: Mark) -> bool:
        return (session, group, mark.number) == (b"session", "g", 4)


def heard(number: int) -> Heard:
    return Heard(b"publisher", number, b"", 6, lambda _heard: None)


async def test_a_member_gets_what_is_behind_its_own_mark() -> None:
    """So that a session which moves gets nothing twice: its last process has handed it the rest."""
    host, ann, bob = Host(), Member(), Member()
    shared = SharedGroup(NoGroups(), host, "g")  # type: ignore[arg-type]
    host.members.append(ann)
    joining: Any = shared.join(ann)  # type: ignore[arg-type]
    assert shared.hand_out(b"e", 3, heard(3)) == 0  # of an earlier member here
    shared.marked(b"e", 4, 1, b"", 0)
    assert await joining is True
    host.members.append(bob)
    late: Any = shared.join(bob)  # type: ignore[arg-type]
    assert shared.hand_out(b"e", 5, heard(5)) == 1
    shared.marked(b"e", 5, 1, b"", 0)  # an older registration says nothing of bob
    assert not late.done.is_set()
    shared.marked(b"e", 5, 2, b"", 0)
    assert shared.hand_out(b"e", 6, heard(6)) == 2
    assert host.got == [(ann, 5), (ann, 6), (bob, 6)]
    assert not host.dropped


async def test_a_hole_between_two_publications_drops_who_had_the_first() -> None:
    host, ann, bob = Host(), Member(), Member()
    shared = SharedGroup(NoGroups(), host, "g")  # type: ignore[arg-type]
    host.members.append(ann)
    shared.join(ann)  # type: ignore[arg-type]
    shared.marked(b"e", 4, 1, b"", 0)
    host.members.append(bob)
    joining: Any = shared.join(bob)  # type: ignore[arg-type]
    assert shared.hand_out(b"e", 6, heard(6)) == 0  # 5 is missing
    assert host.dropped == [ann]
    shared.marked(b"e", 6, 2, b"", 0)  # bob was no member before: nothing is missing
    async with asyncio.timeout(5):
        await joining
    assert shared.hand_out(b"e", 7, heard(7)) == 1
    assert host.got == [(bob, 7)]
