"""adapt() and role_of() for objects of any library."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from reliable_ws.adapters import adapt, adapt_blocking, registry, role_of
from reliable_ws.testing.memory import MemoryTransport, pair

ROOT = Path(__file__).resolve().parents[2]


class Own:
    """A transport that a user has written, the least that is needed."""

    websocket = None
    max_frame = None
    role = None

    async def send(self, data, /): ...

    def send_now(self, data, /):
        return False

    def push_to(self, receiver, /): ...

    async def recv(self): ...

    async def close(self, code=1000, reason=""): ...

    def abort(self): ...


def test_a_transport_is_returned_as_it_is():
    for transport in (*pair(), Own()):
        assert adapt(transport) is transport
    with pytest.raises(TypeError, match="takes no options: max_frame"):
        adapt(Own(), max_frame=1)


def test_roles():
    near, far = pair()
    assert (role_of(near), role_of(far)) == ("initiator", "acceptor")
    assert role_of(Own()) is None
    assert role_of(object()) is None
    odd = Own()
    odd.role = "server"
    assert role_of(odd) is None


@pytest.mark.parametrize("wrong", [None, object(), 7])
def test_anything_else_is_told_what_to_do(wrong):
    with pytest.raises(TypeError) as caught:
        adapt(wrong)
    message = str(caught.value)
    assert type(wrong).__name__ in message
    assert "Supported: " in message
    assert "connections of websockets" in message
    assert "reliable_ws.transport.Transport" in message
    assert "ASGITransport(receive, send)" in message


@pytest.mark.parametrize("adapt", [adapt, adapt_blocking])
def test_a_uri_is_for_connect(adapt):
    with pytest.raises(TypeError, match=r"'ws://127\.0\.0\.1' is no open.*connect\(\) opens one"):
        adapt("ws://127.0.0.1")


def test_a_users_own_package_may_be_called_like_a_library():
    class Base:
        """What the library is asked for."""

    class Users(Base):
        """In a package of the application, in which that other library is not installed."""

    Base.__module__ = "websockets.asyncio.client"
    Users.__module__ = "channels.chat"
    with pytest.raises(TypeError, match="not a connection of websockets"):
        adapt(Users())


def test_a_library_that_is_too_old_is_named_with_the_release_that_will_do(monkeypatch):
    class Connection:
        """Made by a subclass of one of the library's."""

    Connection.__module__ = "websockets.asyncio.client"
    registry._check_release.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda _: "12.0")
    with pytest.raises(ImportError, match=r"12\.0 is too old .* pip install 'websockets>=13\.1'"):
        adapt(Connection())
    monkeypatch.setattr(metadata, "version", lambda _: "13.1rc2.post1")
    with pytest.raises(TypeError, match="not a connection"):
        adapt(Connection())


@pytest.mark.parametrize("wrong", [Own, MemoryTransport])
def test_a_class_is_no_transport(wrong):
    with pytest.raises(TypeError, match="the class"):
        adapt(wrong)


def test_no_library_is_imported_before_it_is_needed():
    program = (
        "import sys, reliable_ws.adapters as a;"
        "own = type('Own', (a.CoroutineTransport,), {})(None, None, None);"
        "assert a.adapt(own) is own;"
        "assert not any(name.partition('.')[0] == 'websockets' for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["trio_websocket._impl", "websockets.trio.client"])
def test_what_runs_on_trio_is_told_what_to_do(module):
    class Connection:
        """Made by a subclass of one of the library's."""

    Connection.__module__ = module
    with pytest.raises(TypeError, match=r"runs on trio, .* 'trio_asyncio\.aio_as_trio\("):
        adapt(Connection())


@pytest.mark.parametrize("member", ["role", "max_frame", "send_now", "abort"])
def test_what_a_transport_lacks_is_named(member):
    members = {name: value for name, value in vars(Own).items() if name != member}
    with pytest.raises(TypeError, match=rf"Lacking is no .*Transport: it lacks {member} \(docs"):
        adapt(type("Lacking", (), members)())


def test_a_transport_has_to_be_weakly_referenceable():
    members = {name: value for name, value in vars(Own).items() if not name.startswith("__")}
    bare = type("Bare", (), {**members, "__slots__": ()})()
    with pytest.raises(TypeError, match=r"Bare cannot be weakly referenced: add '__weakref__'"):
        adapt(bare)
    slotted = type("Slotted", (), {**members, "__slots__": ("__weakref__",)})()
    assert adapt(slotted) is slotted
