"""What callers pass, looked at where they pass it: the wrong kind is refused before it does harm.

Without this it would be found out later, in another task or thread, or never.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from numbers import Real
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.protocol.config import MIN_FRAME, Config
from reliable_ws.protocol.frames import LONGEST_CODEC_NAME
from reliable_ws.protocol.payload import is_codec_name
from reliable_ws.protocol.session import Role
from reliable_ws.store import Store
from reliable_ws.wire_trace import WireTrace

from .methods import Methods

__all__ = [
    "ACCEPTORS_STORE",
    "NEEDS_REOPEN",
    "check_cluster",
    "check_codec",
    "check_drain",
    "check_handler",
    "check_headers_now",
    "check_key",
    "check_known",
    "check_options",
    "check_reopening",
    "check_seconds",
    "check_sessions",
    "check_shared",
    "check_store",
    "check_uri",
    "check_uri_now",
    "check_work",
    "expect",
    "role_for",
]

SAMPLES: tuple[object, ...] = (None, 0, "", [], {})
"""What a payload codec is tried with."""

JSON_CODEC = """
    class JSON:
        def dumps(self, value):
            return json.dumps(value).encode()
        def loads(self, data):
            return json.loads(data)
"""
"""A payload codec."""

LONGEST_KEY = 512
"""Characters of the key of a message."""

ACCEPTORS_STORE = "an acceptor has its store in sessions=: Sessions(store=…)"
NEEDS_REOPEN = "this session was being closed, and a new one needs reopen="

COROUTINE_FUNCTION = "a coroutine function (async def)"
PLAIN_FUNCTION = "a plain function"
NUMBER_OF_SECONDS = "a number of seconds"


def expect(what: str, value: object, expected: str, *, fits: bool) -> None:
    """Raise ``TypeError`` for an argument that does not fit, and say what would."""
    if not fits:
        kind = "the coroutine function " if inspect.iscoroutinefunction(value) else ""
        raise TypeError(f"{what} must be {expected}, not {kind}{value!r:.100}")


def check_options(**given: object) -> None:
    """Raise ``TypeError`` for an option of the wrong kind. ``None``: it was not given."""
    for name, value in given.items():
        fits, expected = OPTIONS[name]
        expect(f"{name}=", value, expected, fits=value is None or fits(value))
    check_codec(given.get("payload_codec"))


def check_codec(codec: Any) -> None:
    """Raise ``TypeError`` for a payload codec that cannot work, with one that can as the example.

    ``json`` has ``dumps`` and ``loads``, but gives text. A codec need not pack any of the samples:
    what it raises is no mistake.
    """
    if codec is None:
        return
    if isinstance(codec, type) and inspect.isfunction(inspect.getattr_static(codec, "dumps")):
        raise TypeError(f"payload_codec= must be an object, not the class {codec.__name__}")
    name = getattr(codec, "name", None)
    if name is not None and not is_codec_name(name):
        raise TypeError(
            f"payload_codec= must have no name, or one of 1 to {LONGEST_CODEC_NAME} visible ASCII "
            f"characters, not {name!r:.100}"
        )
    for sample in SAMPLES:
        try:
            packed = codec.dumps(sample)
        except Exception:  # noqa: BLE001, S112 - it need not pack everything
            continue
        if type(packed) is not bytes:
            raise TypeError(
                f"payload_codec= must give bytes: {codec!r:.100} has packed {sample!r} as "
                f"{type(packed).__name__}. For JSON, pass JSON():\n{JSON_CODEC}"
            )


def check_key(key: object) -> None:
    """Check a message's key. ``None``: no key.

    Raises:
        TypeError: It is no text.
        ValueError: It has not 1 to 512 characters.
    """
    if key is None:
        return
    expect("key=", key, "a str", fits=isinstance(key, str))
    if not 0 < len(str(key)) <= LONGEST_KEY:
        raise ValueError(f"key= must have 1 to {LONGEST_KEY} characters, not {len(str(key))}")


def check_work(apply: object) -> None:
    """Raise ``TypeError`` for work that the store's thread cannot do."""
    fits = apply is None or (callable(apply) and not inspect.iscoroutinefunction(apply))
    expect("apply=", apply, f"{PLAIN_FUNCTION}, called with the database", fits=fits)


def check_store(store: object, name: object, *, named: bool) -> None:
    """Raise ``TypeError`` for a store without the name of its session, or the other way round."""
    check_options(store=store)
    expect("name=", name, "a str", fits=name is None or (isinstance(name, str) and name != ""))
    if named and (store is None) != (name is None):
        raise TypeError(
            "store= and name= go together: the name says which session of the store this is"
        )


def check_offline(offline: object, store: object, *, reconnects: bool) -> None:
    """Raise ``TypeError`` for a session that cannot begin without its server."""
    expect("offline=", offline, "a bool", fits=isinstance(offline, bool))
    if offline and (store is None or not reconnects):
        raise TypeError("offline=True needs a store, to keep what is sent, and reconnect=")


def check_cluster(
    cluster: object, level: object, levels: Collection[str], store: Store | None
) -> None:
    """Check a cluster, and the level at which sessions are in it.

    Raises:
        TypeError: It is no cluster.
        ValueError: There is no such level, or not without a cluster, or there is a store beside.
    """
    check_options(cluster=cluster)
    if level not in levels:
        raise ValueError(f"level= must be one of {', '.join(levels)}, not {level!r}")
    if cluster is None and level != "relay":
        raise ValueError(f"level={level!r} needs a cluster: cluster=reliable_ws.Cluster(…)")
    if cluster is not None and store is not None:
        raise ValueError("store= and cluster= do not go together: the cluster keeps the sessions")


def check_drain(sessions: object, *, can_keep: bool) -> None:
    """Raise ``ValueError`` for a way to drain that there is not, or that needs a store."""
    if sessions not in ("close", "keep"):
        raise ValueError(f"sessions= must be 'close' or 'keep', not {sessions!r}")
    if sessions == "keep" and not can_keep:
        raise ValueError(
            "sessions='keep' needs a store, or a cluster that moves sessions: Sessions(store=…), "
            "Sessions(cluster=…, level='park')"
        )


def check_known(
    verb: str,
    given: Mapping[str, object],
    known: Collection[str],
    library: str = "websockets",
    *,
    elsewhere: Collection[str] = (),
) -> None:
    """Check what is handed on to the WebSocket library.

    ``TypeError`` for the name of an option that nothing takes, which says what would, and for
    values that the library finds out about late, or in words that help nobody. ``ValueError`` for a
    ``max_size`` into which no greeting fits. ``elsewhere`` are the names that websockets knows,
    where that is not the library.
    """
    for name in TRANSPORT_SECONDS.intersection(given):
        value: Any = given[name]
        fits = value is None or (type(value) is not bool and is_number(value) and value >= 0)
        expect(f"{name}=", value, f"{NUMBER_OF_SECONDS}, or None", fits=fits)
    if "max_size" in given:
        _check_max_size(given["max_size"])
    for name in given:
        if name in known:
            continue
        if library == "websockets" and name.startswith("proxy_"):  # what it hands on to a proxy
            continue
        if name in elsewhere:
            hint = f"websockets has it, {library} has not: leave it out, or leave out transport="
        elif name in CONFIG_FIELDS:
            hint = f"it is a field of Config: pass it in config=, as config=Config({name}=…)"
        elif name in NEW_NAMES:
            hint = NEW_NAMES[name]
        elif close := difflib.get_close_matches(name, known, n=1):
            hint = f"did you mean {close[0]}=?"
        else:
            hint = f"neither reliable_ws nor {library} knows it"
        raise TypeError(f"{verb} has no option {name}=: {hint}")


def _check_max_size(max_size: Any) -> None:
    """Raise for a limit of messages that is none, or that nothing of ours fits into."""
    sizes: tuple[Any, ...] = max_size if isinstance(max_size, tuple) else (max_size,)
    fits = all(size is None or type(size) is int for size in sizes)
    expect("max_size=", max_size, "a number of bytes, or None", fits=fits)
    for size in sizes:
        if size is not None and size < MIN_FRAME:
            raise ValueError(
                f"max_size= must be at least {MIN_FRAME} bytes, which a greeting may need, "
                f"not {max_size}"
            )


def check_seconds(timeout: object, name: str = "timeout") -> None:
    """Raise ``TypeError`` for what is neither a number of seconds nor ``None``."""
    expect(f"{name}=", timeout, NUMBER_OF_SECONDS, fits=timeout is None or is_number(timeout))


def check_sessions(sessions: object, kind: type) -> None:
    """Raise ``TypeError`` for what is no ``Sessions`` of this driver, but of the other one."""
    package = "reliable_ws.sync" if ".sync." in kind.__module__ else "reliable_ws"
    expect("sessions", sessions, f"a {package}.Sessions", fits=isinstance(sessions, kind))


def check_shared(sessions: object, kind: type, **given: object) -> None:
    """Raise ``TypeError`` for options of sessions that do not fit.

    ``ValueError`` for options beside ``sessions`` that are there already, if they are not ``None``:
    they have options of their own.
    """
    check_options(**given)
    if sessions is None:
        return
    check_sessions(sessions, kind)
    names = [f"{name}=" for name, value in given.items() if value is not None]
    if names:
        raise ValueError(f"{', '.join(names)} would have no effect: sessions= brings its own")


def check_uri(uri: object) -> None:
    """Raise ``TypeError`` for an argument of ``connect()`` that names no server."""
    expected = (
        "a URI like 'ws://host:port', or a function that returns one "
        "(an open WebSocket is for wrap())"
    )
    expect("uri", uri, expected, fits=isinstance(uri, str) or callable(uri))


def check_uri_now(uri: object) -> str:
    """Return what the function for the URI has returned, if it is one. Raises ``TypeError``."""
    expect("what uri() returned", uri, "a URI like 'ws://host:port'", fits=isinstance(uri, str))
    return str(uri)


def check_headers_now(headers: object) -> None:
    """Raise ``TypeError`` for what is no headers, also if a function returned it."""
    are_pairs = isinstance(headers, Iterable) and not isinstance(headers, str | bytes)
    expected = "a mapping, or pairs of name and value"
    expect("additional_headers", headers, expected, fits=headers is None or are_pairs)


def check_handler(handler: Any, *, awaited: bool) -> None:
    """Raise ``TypeError`` for a handler that cannot be run where sessions are served."""
    if awaited:
        expect("the handler", handler, COROUTINE_FUNCTION, fits=can_be_awaited(handler))
    else:
        expected = f"{PLAIN_FUNCTION} (coroutine functions are for reliable_ws without .sync)"
        expect("the handler", handler, expected, fits=is_plain(handler))
    if not takes_one_argument(handler):
        raise TypeError(
            "the handler must take one argument, the connection: "
            f"{handler!r:.100} has the parameters {inspect.signature(handler)}"
        )


def check_reopening(reopen: object, backoff: object, *, awaited: bool) -> None:
    """Raise ``TypeError`` for ways to the next WebSocket that ``wrap()`` could not go."""
    fits, expected = (can_be_awaited, COROUTINE_FUNCTION) if awaited else (is_plain, PLAIN_FUNCTION)
    expected += " that opens another WebSocket"
    expect("reopen=", reopen, expected, fits=reopen is None or fits(reopen))
    is_backoff = isinstance(backoff, Backoff)
    expect("reconnect=", backoff, "a reliable_ws.Backoff", fits=backoff is None or is_backoff)


def role_for(websocket: Any, role: Any, *, reopen: Any, sessions: Any) -> Role:
    """Return which side a WebSocket is. ``ValueError`` where that is unknown, or fits not."""
    if role not in ("initiator", "acceptor"):
        raise ValueError(
            "which side is this? Pass role='initiator' (the client) or role='acceptor' "
            f"(the server): a {type(websocket).__name__} does not tell"
        )
    if role == "acceptor" and reopen is not None:
        raise ValueError("reopen= is for the initiator; an acceptor shares sessions=")
    if role == "initiator" and sessions is not None:
        raise ValueError("sessions= is for the acceptor; an initiator has reopen=")
    checked: Role = role
    return checked


def is_number(value: object) -> bool:
    """Whether it can be counted with."""
    return isinstance(value, float | int | Real)


def is_plain(function: object) -> bool:
    """Whether it is a function that is run by calling it."""
    called = _called(function)
    return called is not None and not (
        inspect.iscoroutinefunction(called)
        or inspect.isgeneratorfunction(called)
        or inspect.isasyncgenfunction(called)
    )


def can_be_awaited(function: object) -> bool:
    """Whether what it returns may be awaitable: of a lambda, only the call can tell."""
    called = _called(function)
    if called is None:
        return False
    inner: Any = inspect.unwrap(called)  # what a decorator has wrapped
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(inner):
        return True
    is_def = inspect.isfunction(inner) or inspect.ismethod(inner)
    return not is_def or inner.__name__ == "<lambda>"


def takes_one_argument(function: Any) -> bool:
    """Whether it can be called with one argument; also if its parameters are not known."""
    try:
        parameters = inspect.signature(function)
    except (TypeError, ValueError):  # of a function in C
        return True
    try:
        parameters.bind(None)
    except TypeError:
        return False
    return True


def _called(function: Any) -> Callable[..., Any] | None:
    """Return what runs when this is called, ``None`` if it cannot be."""
    while isinstance(function, functools.partial):
        function = function.func
    if not callable(function):
        return None
    by_class = type(function).__call__
    return by_class if inspect.isfunction(by_class) else function


CONFIG_FIELDS = frozenset(field.name for field in fields(Config))

TRANSPORT_SECONDS = frozenset(("close_timeout", "open_timeout", "ping_interval", "ping_timeout"))
"""Options of websockets that are a time."""

NEW_NAMES = {
    "create_protocol": "the legacy implementation of websockets had it",
    "extra_headers": "it is additional_headers= now",
    "klass": "the legacy implementation of websockets had it",
    "loop": "the event loop that runs is used",
    "read_limit": "the legacy implementation of websockets had it",
    "timeout": "there are open_timeout=, and config=Config(close_timeout=…)",
}
"""What became of options that earlier releases of websockets had."""

OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cluster": (
        lambda value: hasattr(value, "join") and hasattr(value, "share"),  # a str can join, too
        "a reliable_ws.Cluster",
    ),
    "config": (lambda value: isinstance(value, Config), "a reliable_ws.Config"),
    "drain_timeout": (is_number, NUMBER_OF_SECONDS),
    "max_connections": (lambda value: type(value) is int and value > 0, "an int above 0"),
    "max_total_handlers": (
        lambda value: value is None or (type(value) is int and value > 0),
        "an int above 0",
    ),
    "level": (lambda value: isinstance(value, str), "a str"),
    "methods": (lambda value: isinstance(value, Methods), "a reliable_ws.Methods"),
    "on_dropped": (is_plain, PLAIN_FUNCTION),
    "store": (lambda value: isinstance(value, Store), "a Store, for example SQLiteStore(path)"),
    "on_event": (is_plain, PLAIN_FUNCTION),
    "payload_codec": (
        lambda value: hasattr(value, "dumps") and hasattr(value, "loads"),
        "an object with dumps() and loads()",
    ),
    "principal": (callable, "a function"),
    "reconnect": (
        lambda value: isinstance(value, bool | Backoff),
        "True, False or a reliable_ws.Backoff",
    ),
    "retry": (is_plain, PLAIN_FUNCTION),
    "resume_within": (is_number, NUMBER_OF_SECONDS),
    "trace": (
        lambda value: isinstance(value, str | os.PathLike | WireTrace),
        "the path of a file, or a reliable_ws.WireTrace",
    ),
}
"""What they have to be, as a test and in words."""
