"""Write docs/api.md: every exported name, from its signature and its docstring.

``make api`` runs this. A test compares the page with what this script makes.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import itertools
import re
import textwrap
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reliable_ws import adapters

PAGE = Path(__file__).with_name("api.md")

WIDTH = 96
"""A signature longer than this gets a line for each parameter."""

HEAD = """\
<!-- Written by docs/make_api.py from the docstrings. Do not edit: run `make api`. -->
# API reference

Every exported name, by theme. The [README](../README.md) is a tour; [protocol.md](../protocol.md)
describes the wire. Times are in seconds and sizes in bytes, unless the text says otherwise.

"""

ADAPTERS = [f"reliable_ws.adapters.{name}" for name in adapters.__all__]

# A title, what to say first, and the names: as they are imported.
Theme = tuple[str, str, list[str]]

THEMES: list[Theme] = [
    (
        "Opening a connection",
        "`connect()` opens WebSockets by itself. `wrap()` takes one that you have opened.",
        [
            "reliable_ws.connect",
            "reliable_ws.unix_connect",
            "reliable_ws.wrap",
            "reliable_ws.Backoff",
            "reliable_ws.FailedAttempt",
            "reliable_ws.FailureKind",
        ],
    ),
    (
        "Using a connection",
        "Both sides have the same `Connection`.",
        [
            "reliable_ws.Connection",
            "reliable_ws.Receipt",
            "reliable_ws.Delivery",
            "reliable_ws.State",
            "reliable_ws.Stats",
            "reliable_ws.ConnectionEvent",
            "reliable_ws.PeerFinish",
        ],
    ),
    (
        "Serving",
        "`serve()` runs its own server. Use `Sessions` or `ASGIApp` in a server that you have.",
        [
            "reliable_ws.serve",
            "reliable_ws.unix_serve",
            "reliable_ws.Server",
            "reliable_ws.Sessions",
            "reliable_ws.ASGIApp",
            "reliable_ws.drain_on_sigterm",
            "reliable_ws.select_subprotocol",
        ],
    ),
    (
        "Several processes",
        "[cluster.md](cluster.md) has the whole of it. Needs `reliable-ws[redis]`.",
        [
            "reliable_ws.Cluster",
            "reliable_ws.ClusterEvent",
            "reliable_ws.ClusterStats",
        ],
    ),
    (
        "Durable sessions",
        "A store keeps sessions beyond the death of a process.",
        [
            "reliable_ws.SQLiteStore",
            "reliable_ws.Store",
            "reliable_ws.Restored",
            "reliable_ws.RestoredMessage",
            "reliable_ws.Kept",
            "reliable_ws.StoreError",
            "reliable_ws.StoreInUse",
            "reliable_ws.NotAStore",
            "reliable_ws.StoreCorrupt",
            "reliable_ws.StoreTooNew",
            "reliable_ws.StoreFull",
            "reliable_ws.StoreSlow",
            "reliable_ws.StoreFailed",
            "reliable_ws.KeyExists",
        ],
    ),
    (
        "Calls",
        "Register handlers in `Methods`. The peer calls them with `request()` and `stream()`.",
        [
            "reliable_ws.Methods",
            "reliable_ws.RemoteError",
            "reliable_ws.MethodNotFound",
            "reliable_ws.InvalidParams",
            "reliable_ws.RequestTimeout",
        ],
    ),
    (
        "Broadcast",
        "",
        [
            "reliable_ws.broadcast",
            "reliable_ws.Group",
            "reliable_ws.Publication",
            "reliable_ws.Recipient",
            "reliable_ws.Fate",
        ],
    ),
    (
        "Reports",
        "What became of each message.",
        [
            "reliable_ws.Report",
            "reliable_ws.Undelivered",
            "reliable_ws.Outcome",
            "reliable_ws.Ending",
            "reliable_ws.End",
        ],
    ),
    (
        "Observing",
        "",
        [
            "reliable_ws.live",
            "reliable_ws.Live",
            "reliable_ws.Figures",
            "reliable_ws.GroupStats",
            "reliable_ws.StoreStats",
            "reliable_ws.Histogram",
            "reliable_ws.Explanation",
            "reliable_ws.Reason",
            "reliable_ws.WireTrace",
            "reliable_ws.metrics.prometheus",
            "reliable_ws.metrics.otel",
            "reliable_ws.telemetry.trace_calls",
        ],
    ),
    (
        "Exceptions",
        "All are derived from `ReliableWSError`. Those of calls are under [Calls](#calls).",
        [
            "reliable_ws.ReliableWSError",
            "reliable_ws.DeliveryError",
            "reliable_ws.NotTaken",
            "reliable_ws.OutcomeUnknown",
            "reliable_ws.ConnectionClosed",
            "reliable_ws.ConnectionClosedOK",
            "reliable_ws.ConnectionClosedError",
            "reliable_ws.SessionLost",
            "reliable_ws.SessionMoved",
            "reliable_ws.EngineUnavailable",
            "reliable_ws.GroupFull",
            "reliable_ws.ServerBusy",
            "reliable_ws.ProtocolViolation",
            "reliable_ws.NotReliablePeer",
            "reliable_ws.AlreadyServed",
            "reliable_ws.NotSerializable",
            "reliable_ws.MessageTooLarge",
            "reliable_ws.OutboxFull",
            "reliable_ws.NumbersExhausted",
            "reliable_ws.PayloadError",
            "reliable_ws.ConfirmTooLate",
        ],
    ),
    (
        "Configuration",
        "",
        ["reliable_ws.Config", "reliable_ws.PayloadCodec", "reliable_ws.MsgpackCodec"],
    ),
    (
        "Threads: `reliable_ws.sync`",
        "For programs without an event loop. What is not listed here is the same as above.",
        [
            "reliable_ws.sync.connect",
            "reliable_ws.sync.unix_connect",
            "reliable_ws.sync.wrap",
            "reliable_ws.sync.Connection",
            "reliable_ws.sync.Receipt",
            "reliable_ws.sync.Delivery",
            "reliable_ws.sync.serve",
            "reliable_ws.sync.unix_serve",
            "reliable_ws.sync.broadcast",
            "reliable_ws.sync.Server",
            "reliable_ws.sync.Sessions",
            "reliable_ws.sync.drain_on_sigterm",
        ],
    ),
    (
        "Tests: `reliable_ws.testing`",
        "[docs/testing.md](testing.md) shows how to use these.",
        [
            "reliable_ws.testing.pair",
            "reliable_ws.testing.Pair",
            "reliable_ws.testing.Network",
            "reliable_ws.testing.sweep",
            "reliable_ws.testing.Run",
            "reliable_ws.testing.Strike",
            "reliable_ws.testing.FaultPlan",
            "reliable_ws.testing.Fault",
            "reliable_ws.testing.ChaosProxy",
            "reliable_ws.testing.virtual_clock",
            "reliable_ws.testing.run",
            "reliable_ws.testing.VirtualClockLoop",
        ],
    ),
    (
        "Transports and adapters",
        "For a WebSocket that no adapter knows: see [docs/adapters.md](adapters.md).",
        [
            "reliable_ws.Transport",
            "reliable_ws.TransportClosed",
            "reliable_ws.transport.PushTransport",
            "reliable_ws.transport.SelfClosingTransport",
            "reliable_ws.transport.SyncTransport",
            "reliable_ws.transport.EagerTransport",
            "reliable_ws.transport.SyncPushTransport",
            "reliable_ws.adapters.adapt",
            *ADAPTERS,
        ],
    ),
]

PATHS = [path for _, _, paths in THEMES for path in paths]

EXPORTING = (
    "reliable_ws",
    "reliable_ws.metrics",
    "reliable_ws.sync",
    "reliable_ws.telemetry",
    "reliable_ws.testing",
    "reliable_ws.transport",
)
"""All that these modules have in ``__all__`` must be on the page."""

CONSTRUCTED = ("RemoteError", "TransportClosed")
"""Exceptions that an application or an adapter raises itself: their arguments are shown."""

MADE = ("Connection", "Delivery", "Publication", "Receipt", "Server")
"""Classes that the library alone makes: their arguments are not shown."""

INTERNAL = (
    "Cluster.append",
    "Cluster.find",
    "Cluster.ended",
    "Cluster.has_taken_over",
    "Cluster.insist",
    "Cluster.join",
    "Cluster.leave",
    "Cluster.note_away",
    "Cluster.reach",
    "Cluster.settle",
    "Cluster.wall",
    "Cluster.share",
    "Cluster.start",
    "Cluster.wait_for_engine",
    "Config.limits",
    "DeliveryError.of",
    "Figures.add_ended",
    "Figures.add_slice",
    "Figures.copy",
    "Histogram.copy",
    "Histogram.observe",
    "Live.answer",
    "Methods.check_loop",
    "Methods.check_threads",
    "Methods.get",
    "Sessions.accept",
    "Sessions.after_fork",
    "Sessions.trace_calls",
    "WireTrace.write",
)
"""Methods that only the library's own modules call. They are not shown."""

SPECIAL = ("__aiter__", "__iter__", "__len__")
"""Special methods that are shown. All others do what one expects."""

SECTIONS = {"Args:": "Arguments", "Attributes:": "Attributes", "Raises:": "Raises"}


def resolve(path: str) -> Any:
    """Import what a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def title_of(path: str) -> str:
    """Return the heading for a dotted path."""
    return path.removeprefix("reliable_ws.")


def slug(title: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def anchors_of(titles: list[str]) -> dict[str, str]:
    """Return the anchors of all headings: equal ones are numbered."""
    seen: Counter[str] = Counter()
    anchors: dict[str, str] = {}
    for title in titles:
        anchor = slug(title)
        anchors[title] = f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1
    return anchors


class Page:
    """The page, as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        titles = [[theme, *map(title_of, paths)] for theme, _, paths in THEMES]
        self.anchors = anchors_of([title for part in titles for title in part])
        self.methods = {
            f"{title_of(path)}.{name}"
            for path in PATHS
            if inspect.isclass(resolve(path))
            for name, _ in _methods(resolve(path))
        }

    def write(self) -> str:
        """Return the whole page."""
        for title, _, paths in THEMES:
            names = ", ".join(f"[`{t}`](#{self.anchors[t]})" for t in map(title_of, paths))
            self.lines += [f"- [{title}](#{self.anchors[title]}): {names}"]
        for title, introduction, paths in THEMES:
            self.lines += ["", f"## {title}", ""]
            if introduction:
                self.lines += [introduction, ""]
            for path in paths:
                self.thing(title_of(path), resolve(path))
        text = HEAD + "\n".join(self.lines) + "\n"
        return re.sub(r"\n{3,}", "\n\n", text)

    def thing(self, title: str, value: Any) -> None:
        """Add a class or a function."""
        self.lines += ["", f"### `{title}`", ""]
        if not inspect.isclass(value):
            self.signature(value, value.__name__)
            self.docstring(value, title)
            return
        if _shows_constructor(value):
            self.signature(value, value.__name__, keyword="class")
        elif issubclass(value, BaseException):
            names = [base.__name__ for base in value.__bases__]
            bases = ", ".join(
                f"[`{n}`](#{slug(n)})" if n in self.anchors else f"`{n}`" for n in names
            )
            self.lines += [f"Exception, derived from {bases}.", ""]
        self.docstring(value, title)
        if not issubclass(value, BaseException):
            self.bases(value)
        self.attributes(title, value)
        for name, member in _methods(value):
            self.lines += ["", f"#### `{title}.{name}`", ""]
            for function in typing.get_overloads(member) or [member]:
                self.signature(function, name, drop_first=not _is_static(value, name))
            self.docstring(member, title)

    def signature(
        self, value: Callable[..., Any], name: str, *, keyword: str = "", drop_first: bool = False
    ) -> None:
        """Add a signature, as a block of Python."""
        found = inspect.signature(value)
        parameters = list(found.parameters.values())[drop_first:]
        keyword = keyword or ("async def" if inspect.iscoroutinefunction(value) else "def")
        returns = "" if keyword == "class" else _returns(found)
        parts = list(_parameters(parameters))
        line = f"{keyword} {name}({', '.join(parts)}){returns}"
        if len(line) > WIDTH:
            inner = "".join(f"    {part},\n" for part in parts)
            line = f"{keyword} {name}(\n{inner}){returns}"
        self.lines += ["```python", line, "```", ""]

    def bases(self, value: type) -> None:
        """Say which class on this page has the rest of the members."""
        for base in _documented_bases(value):
            title = next(title_of(path) for path in PATHS if resolve(path) is base)
            self.lines += [f"Has the members of [`{title}`](#{self.anchors[title]}) too.", ""]

    def docstring(self, value: Any, title: str) -> None:
        """Add a docstring, with its sections as lists."""
        text = inspect.cleandoc(value.__doc__ or "")
        for paragraph in text.split("\n\n"):
            first, _, rest = paragraph.partition("\n")
            if first in SECTIONS:
                self.lines += [f"**{SECTIONS[first]}**", ""]
                for entry in re.split(r"\n(?=\S)", textwrap.dedent(rest)):
                    name, _, said = entry.partition(": ")
                    self.lines += [f"- `{name}`: {self.markdown(said, title)}"]
                self.lines += [""]
            else:
                self.lines += [self.markdown(paragraph, title), ""]

    def attributes(self, title: str, value: type) -> None:
        """Add a table of fields, properties and documented attributes."""
        rows = [*_fields(value), *_properties(value)]
        if not rows:
            return
        is_enum = issubclass(value, enum.Enum)
        head = "| member | value | |" if is_enum else "| attribute | type | |"
        self.lines += [head, "| --- | --- | --- |"]
        for name, kind, said in rows:
            cell = kind.replace("|", "\\|")
            words = self.markdown(said, title).replace("|", "\\|")
            self.lines += [f"| `{name}` | {f'`{cell}`' if cell else ''} | {words} |"]
        self.lines += [""]

    def markdown(self, text: str, title: str) -> str:
        """Translate what docstrings use of reStructuredText; link names that are on the page."""

        def link(found: re.Match[str]) -> str:
            name = found[2].lstrip("~").removeprefix("reliable_ws.")
            package = title.partition(".")[0] + "." if title.partition(".")[2] else ""
            for path in (package + name, name, name.removeprefix("transport.")):
                if path in self.anchors:
                    return f"[`{name}`](#{self.anchors[path]})"
            for path in (f"{title}.{name}", package + name, name):
                if path in self.methods:
                    return f"[`{name}()`](#{slug(path)})"
            return f"`{found[2].lstrip('~')}`"

        text = " ".join(text.split())
        text = re.sub(r":(\w+):`([^`]+)`", link, text)
        return text.replace("``", "`")


def _shows_constructor(cls: type) -> bool:
    if issubclass(cls, BaseException):
        return cls.__name__ in CONSTRUCTED
    is_data = dataclasses.is_dataclass(cls) or issubclass(cls, tuple | enum.Enum)
    is_protocol = getattr(cls, "_is_protocol", False)
    return not (is_data or is_protocol or cls.__name__ in MADE)


def _ours(cls: type) -> Iterator[type]:
    """Go through a class and its bases in this package."""
    for base in cls.__mro__:
        if base.__module__.startswith("reliable_ws"):
            yield base


def _documented_bases(cls: type) -> list[type]:
    """Return the nearest bases that are on the page themselves."""
    things = documented()
    found: list[type] = []
    for base in cls.__mro__[1:]:
        if base in things and not any(issubclass(other, base) for other in found):
            found.append(base)
    return found


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Go through public members, without those that a foreign base class describes."""
    seen: set[str] = set()
    foreign = [base for base in cls.__mro__ if not base.__module__.startswith("reliable_ws")]
    documented = [base for nearest in _documented_bases(cls) for base in nearest.__mro__]
    for base in _ours(cls):
        if base in documented:
            continue
        for name, member in vars(base).items():
            is_public = not name.startswith("_") or name in SPECIAL
            if is_public and name not in seen and not any(name in vars(b) for b in foreign):
                seen.add(name)
                yield name, member


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    for name, member in _members(cls):
        function = getattr(member, "__func__", member)  # of a staticmethod
        is_internal = f"{cls.__name__}.{name}" in INTERNAL
        if inspect.isfunction(function) and function.__doc__ and not is_internal:
            yield name, function


def _is_static(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name), staticmethod)


def _properties(cls: type) -> Iterator[tuple[str, str, str]]:
    for name, member in _members(cls):
        if isinstance(member, property):
            kind = inspect.signature(member.fget or len).return_annotation
            yield name, _annotation(kind), inspect.getdoc(member) or ""


def _fields(cls: type) -> Iterator[tuple[str, str, str]]:
    """Go through fields of the class's body and attributes of its constructor, with their text."""
    is_enum = issubclass(cls, enum.Enum)
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - of a class that is what there is
    for statement, said in _described(body.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            kind = ast.unparse(statement.annotation)
            if statement.value is not None:
                kind += f" = {_default(cls, statement.target.id, ast.unparse(statement.value))}"
            yield statement.target.id, kind, said
        elif is_enum and isinstance(statement, ast.Assign):
            target = statement.targets[0]
            yield ast.unparse(target), ast.unparse(statement.value), said
    for statement in body.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            listed = (cls.__doc__ or "").partition("Attributes:")[2]
            for inner, said in _described(statement.body):
                if isinstance(inner, ast.Assign | ast.AnnAssign):
                    target = inner.targets[0] if isinstance(inner, ast.Assign) else inner.target
                    name = ast.unparse(target).removeprefix("self.")
                    if not name.startswith("_") and f" {name}: " not in listed:
                        yield name, "", said


def _described(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Go through statements that have a text behind them."""
    for statement, following in itertools.pairwise(body):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            said = following.value.value
            if isinstance(said, str) and isinstance(statement, ast.Assign | ast.AnnAssign):
                yield statement, said


def _default(cls: type, name: str, source: str) -> str:
    """Return the default of a field: as it is written, without names that only its module has."""
    source = re.sub(r"(\d+) \* ([KM])IB\b", r"\1 \2iB", source)
    source = re.sub(r"^([KM])IB$", r"1 \1iB", source)
    if source.startswith("_"):
        source = repr(getattr(cls, name))
    return source


def _annotation(kind: Any) -> str:
    if kind is inspect.Parameter.empty:
        return ""
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


def _returns(signature: inspect.Signature) -> str:
    kind = _annotation(signature.return_annotation)
    return f" -> {kind}" if kind else ""


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Go through parameters as they are written, with the signs between them."""
    kinds = [p.kind for p in parameters]
    starred = False
    for place, parameter in enumerate(parameters):
        stars: dict[Any, str] = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or parameter.kind in {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}
        kind = _annotation(parameter.annotation)
        text = stars.get(parameter.kind, "") + parameter.name + (f": {kind}" if kind else "")
        if parameter.default is not parameter.empty:
            default = parameter.default
            value = int(default) if isinstance(default, enum.IntEnum) else default
            text += f" = {value!r}" if kind else f"={value!r}"
        yield text
        is_last = place + 1 == len(kinds) or kinds[place + 1] is not parameter.POSITIONAL_ONLY
        if parameter.kind is parameter.POSITIONAL_ONLY and is_last:
            yield "/"


def exported() -> Iterator[tuple[str, Any]]:
    """Go through every name that has to be on the page."""
    for module in EXPORTING:
        for name in importlib.import_module(module).__all__:
            if not name.startswith("__"):
                yield f"{module}.{name}", resolve(f"{module}.{name}")


def documented() -> list[Any]:
    """Return what is on the page."""
    return [resolve(path) for path in PATHS]


if __name__ == "__main__":
    PAGE.write_text(Page().write())
