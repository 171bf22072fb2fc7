"""``doctor``: what the path to a server does to WebSockets, found out by trying."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from reliable_ws.driver.failures import describe
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import SUBPROTOCOL, Code
from reliable_ws.transport import TransportClosed

from .common import FINE, UNDELIVERED, Failure, seconds
from .doctor_probe import Probe
from .doctor_slow import SlowReader, uses_proxy

__all__ = ["add_to"]

DESCRIPTION = """\
Try what the path to a server does to WebSockets: proxies, balancers, firewalls. The server is one
of reliable_ws, with whatever application: its handler runs a few times with a client that sends no
message, and is closed.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws doctor wss://example.org/live
  python -m reliable_ws doctor wss://example.org/live --header "Authorization: Bearer ..."
  python -m reliable_ws doctor ws://127.0.0.1:8080 --seconds 20 --json

exit codes:
  0  the promise holds on this path, maybe with advice
  1  it does not: sessions are lost, or WebSockets are cut faster than heartbeats are sent
  2  no session could be opened
"""

SIZES = (64 * 1024 + 16, 256 * 1024, 1024 * 1024)
"""Bytes of WebSocket messages that have to pass, up to what the server takes."""

SMALL = 8
"""Small requests whose round trips are measured."""

RESUMES = 4
"""How often a session is resumed: a balancer that takes servers in turn fails one of them."""

MARGIN = 0.9
"""The share of a time-out that can be relied on."""

SLOW = 0.2
"""Seconds that a path may hold a small message back, beyond the fastest."""

SKEW = 5.0
"""Seconds by which clocks may differ before it is worth a word."""

ENOUGH = 256 * 1024
"""Bytes that have to be unread to tell anything: our narrow end and one proxy hold some 110 KiB."""

Verdict = Literal["ok", "note", "bad"]

SIGNS = {"ok": "  ok  ", "note": " NOTE ", "bad": " BAD  "}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trial has shown."""

    what: str
    verdict: Verdict
    words: str
    advice: str = ""


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="find out what the path to a server does to WebSockets",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("uri", metavar="URL", help="where the server is: ws://... or wss://...")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be repeated"
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=65.0,
        help="how long WebSockets are left silent at most (default: 65; proxies cut after 60)",
    )
    parser.add_argument(
        "--slow-reader",
        type=seconds,
        metavar="SECONDS",
        help="how long answers are left unread (default: that of --seconds)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, help="for each answer (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Try everything, and say what was found."""
    slow = args.seconds if args.slow_reader is None else args.slow_reader
    doctor = Doctor(args.uri, _headers(args.header), args.seconds, slow, args.timeout)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not args.json:
            print(f"{SIGNS[finding.verdict]} {finding.what}: {finding.words}", flush=True)
            if finding.advice:
                print(f"        -> {finding.advice}", flush=True)

    await doctor.run(tell)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    return UNDELIVERED if any(finding.verdict == "bad" for finding in findings) else FINE


def _headers(given: list[str]) -> dict[str, str]:
    headers = {}
    for header in given:
        name, colon, value = header.partition(":")
        if not colon:
            raise Failure(f"a header is 'NAME: VALUE', not {header!r}")
        headers[name.strip()] = value.strip()
    return headers


class Doctor:
    """The trials. Each has sessions of its own, and those that are silent go side by side."""

    def __init__(
        self, uri: str, headers: dict[str, str], silence: float, unread: float, timeout: float
    ) -> None:
        """Times are in seconds: how long nobody speaks or reads, and the most for each answer."""
        self._uri = uri
        self._options: dict[str, Any] = {"additional_headers": headers} if headers else {}
        self._silence = silence
        self._unread = unread
        self._timeout = timeout
        self._their_idle = Config().idle_timeout
        "Seconds after which the server drops a client that is silent."

    def probe(self, **options: float) -> Probe:
        """Return a session that has not begun."""
        return Probe(self._uri, self._options, self._timeout, **options)

    async def run(self, tell: Callable[[Finding], None]) -> None:
        """Try everything, and tell each finding once it and those before it are known.

        Raises:
            Failure: No session could be opened.
        """
        for finding in await self.greeting():
            tell(finding)
        trials: list[Callable[[], Awaitable[list[Finding]]]]
        trials = [self.frames, self.closing, self.resuming, self.compression]
        trials += [self.silence, self.slow_reader]
        async with asyncio.TaskGroup() as tasks:
            for running in [tasks.create_task(self._tried(trial)) for trial in trials]:
                for finding in await running:
                    tell(finding)

    async def _tried(self, trial: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
        """Run a trial; what keeps it from its end is a finding, too."""
        try:
            return await trial()
        except Exception as error:  # noqa: BLE001 - whatever the path does
            return [Finding(trial.__name__, "bad", f"could not be tried: {_reason(error)}")]

    async def greeting(self) -> list[Finding]:
        """Open a WebSocket and a session; the rest depends on it."""
        probe = self.probe()
        try:
            took = await probe.open()
            greeted = await probe.greet()
        except Exception as error:  # noqa: BLE001 - whatever the path does
            raise Failure(f"no session with {self._uri}: {_reason(error)}") from None
        session = probe.session
        if not session.attached:
            await probe.close()
            raise Failure(f"the server refuses a session: {session.ended or 'try again later'}")
        self._their_idle = session.outbox.peer.idle_ms / 1000
        findings = [
            Finding("handshake", "ok", f"{took * 1000:.0f} ms, through {_through(probe)}"),
            _subprotocol(probe),
            Finding("greeting", "ok", f"{greeted * 1000:.0f} ms"),
            _clock(probe),
            _round_trips([await probe.ask() for _ in range(SMALL)]),
        ]
        await probe.close()
        return findings

    async def frames(self) -> list[Finding]:
        """See how large a WebSocket message may be."""
        passed, most = 0, SIZES[-1]
        for size in SIZES:
            probe = self.probe()
            try:
                await probe.open()
                await probe.greet()
                most = min(most, probe.max_frame)
                await probe.send_padding(min(size, most))
                await probe.ask()
                passed = min(size, most)
            except (TransportClosed, TimeoutError) as error:
                return [
                    Finding(
                        "large frames",
                        "note",
                        f"{passed // 1024} KiB pass, {min(size, most) // 1024} KiB do not: "
                        f"{_reason(error)}",
                        f"Config(max_frame={max(passed, 64 * 1024)}) at both ends, or raise the "
                        "proxy's limit for messages; large messages then go in parts",
                    )
                ]
            finally:
                await probe.close()
        return [Finding("large frames", "ok", f"{passed // 1024} KiB pass in one")]

    async def closing(self) -> list[Finding]:
        """See whether a closing code and its reason survive the path."""
        probe = self.probe()
        await probe.open()
        code, reason = await probe.refused()
        probe.transport.abort()
        if code == Code.MALFORMED and reason:
            return [Finding("closing codes", "ok", f"{code} {reason!r} arrived as it was sent")]
        got = "no close frame" if code is None else f"{code} {reason!r}"
        return [
            Finding(
                "closing codes",
                "note",
                f"the server closed with {int(Code.MALFORMED)}, and {got} arrived",
                "nothing depends on it: the protocol says in frames why it ends; other clients "
                "and your logs see the other code",
            )
        ]

    async def resuming(self) -> list[Finding]:
        """See whether a session that lost its WebSocket comes back to the process that has it."""
        probe = self.probe()
        await probe.open()
        await probe.greet()
        times = []
        for number in range(RESUMES):
            probe.drop()
            begin = time.monotonic()
            await probe.open()
            await probe.greet()
            if not probe.session.attached:
                return [
                    Finding(
                        "resuming",
                        "bad",
                        f"attempt {number + 1} of {RESUMES} reached another process: "
                        f"{probe.session.ended or 'refused for now'}",
                        "have the balancer choose by something that stays the same for a client, "
                        "and run one worker on each port (docs/proxies.md)",
                    )
                ]
            times.append(time.monotonic() - begin)
        await probe.close()
        words = f"{RESUMES} of {RESUMES} reached the same process, in {max(times) * 1000:.0f} ms"
        return [Finding("resuming", "ok", f"{words} at most")]

    async def compression(self) -> list[Finding]:
        """See whether permessage-deflate is agreed on if it is offered."""
        probe = self.probe()
        await probe.open(compression="deflate")
        agreed = ", ".join(probe.headers.get_all("Sec-WebSocket-Extensions"))
        probe.transport.abort()
        words = f"agreed on if offered: {agreed}" if agreed else "not agreed on, also if offered"
        return [Finding("compression", "ok", f"{words}; connect() does not offer it")]

    async def silence(self) -> list[Finding]:
        """See after how long a silent WebSocket is cut, and who has to speak to keep it."""
        both_silent = min(self._silence, MARGIN * self._their_idle)
        nobody, client, server = await asyncio.gather(
            self._lost_after(self.probe(), both_silent),
            self._lost_after(self.probe(), self._silence, speak_every=1.0),
            self._lost_after(self.probe(idle_timeout=3.0), both_silent),
        )
        return [
            *_silence_found(nobody, both_silent, self._their_idle),
            *_one_sided(client, "client", self._silence),
            *_one_sided(server, "server", both_silent),
        ]

    async def slow_reader(self) -> list[Finding]:
        """See whether a WebSocket is cut while there is much to read and nobody reads."""
        if uses_proxy(self._uri):
            return [_not_slow("the environment has a proxy for this address")]
        probe = SlowReader(self._uri, self._options, self._timeout)
        try:
            await probe.open_narrow()
            await probe.greet()
            asked = await probe.ask_much()
            lost_after = await probe.leave_unread(self._unread)
            end = await probe.read_on()
            missing = 0 if end is None else await probe.come_back()
        finally:
            await probe.close()
        found = _slow_found(
            asked=asked,
            missing=missing,
            unread=probe.unread,
            tried=self._unread,
            lost_after=lost_after,
            end=end,
        )
        return [found]

    async def _lost_after(
        self, probe: Probe, duration: float, *, speak_every: float | None = None
    ) -> float | None:
        await probe.open()
        await probe.greet()
        lost = await probe.silence(duration, speak_every=speak_every)
        if lost is not None:
            probe.drop()
        await probe.close()
        return lost


def _silence_found(lost: float | None, tried: float, their_idle: float) -> list[Finding]:
    """Return what the silence of both sides has shown."""
    heartbeat = their_idle / 3
    if lost is None:
        words = f"a WebSocket that is silent for {tried:.0f} s is not cut"
        return [Finding("silence", "ok", f"{words}; heartbeats come every {heartbeat:.1f} s")]
    words = f"a silent WebSocket is cut after {lost:.1f} s"
    limit = max(0.1, math.floor(10 * MARGIN * lost) / 10)
    advice = (
        f"raise the proxy's time-out ({SETTINGS}), or Config(idle_timeout={limit}) at both ends, "
        f"which is {MARGIN} of that"
    )
    if lost > heartbeat / MARGIN:
        return [Finding("silence", "ok", f"{words}; heartbeats come every {heartbeat:.1f} s")]
    words += f", before the heartbeat that comes every {heartbeat:.1f} s: each WebSocket is cut"
    return [Finding("silence", "bad", words, advice)]


SETTINGS = (
    "nginx: proxy_read_timeout, HAProxy: timeout client and timeout server, Apache: Timeout, "
    "Caddy: read_timeout of its transport, lighttpd: server.max-read-idle"
)


SLOW_ADVICE = (
    "raise the proxy's time-out for writing (nginx: send_timeout, HAProxy: timeout client, Apache: "
    "Timeout, lighttpd: server.max-read-idle and "
    "server.max-write-idle): a client whose line stands still for so long "
    "has to reconnect, and loses nothing"
)


def _slow_found(
    *,
    asked: int,
    missing: int,
    unread: int,
    tried: float,
    lost_after: float | None,
    end: Exception | None,
) -> Finding:
    """Return what so many answers that nobody read have shown.

    ``unread``: how many bytes arrived without another WebSocket. ``end``: what came instead of the
    rest, if anything.
    """
    if end is None and unread < ENOUGH:
        return _not_slow(f"the path took {unread // 1024} KiB, all that the server answers at once")
    if end is None:
        words = f"{unread // 1024} KiB lay unread for {tried:.0f} s, and arrived"
        return Finding("slow reader", "ok", words)
    when = f"within {tried:.0f}" if lost_after is None else f"after {lost_after:.1f}"
    words = f"a WebSocket from which nobody reads is cut {when} s: {_reason(end)}; "
    if missing:
        words += f"{missing} of {asked} answers are lost"
        return Finding("slow reader", "bad", words, SLOW_ADVICE)
    words += f"all {asked} answers arrived, the rest on the next WebSocket"
    return Finding("slow reader", "note", words, SLOW_ADVICE)


def _not_slow(why: str) -> Finding:
    return Finding("slow reader", "note", f"not tried: {why}")


def _one_sided(lost: float | None, who: str, tried: float) -> list[Finding]:
    what = f"only the {who} speaks"
    if lost is None:
        return [Finding(what, "ok", f"that keeps a WebSocket, for {tried:.0f} s at least")]
    return [
        Finding(
            what,
            "note",
            f"that does not keep a WebSocket: it is cut after {lost:.1f} s",
            "give both ends an idle_timeout below that: both have to speak",
        )
    ]


def _subprotocol(probe: Probe) -> Finding:
    if probe.transport.websocket.subprotocol == SUBPROTOCOL:
        return Finding("subprotocol", "ok", f"{SUBPROTOCOL} was selected")
    return Finding(
        "subprotocol",
        "note",
        f"{SUBPROTOCOL} was offered, and none was selected",
        "browsers need it: have the server select it (select_subprotocol), and the proxy pass "
        "Sec-WebSocket-Protocol both ways",
    )


def _clock(probe: Probe) -> Finding:
    date = next(iter(probe.headers.get_all("Date")), None)
    if date is None:
        return Finding("clock", "ok", "the answer has no date")
    try:
        skew = parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return Finding("clock", "note", f"the date of the answer cannot be read: {date!r:.60}")
    if abs(skew) <= SKEW:
        return Finding("clock", "ok", "that of the server and ours agree")
    return Finding(
        "clock",
        "note",
        f"the server's differs by {skew:+.0f} s",
        "nothing of the protocol depends on it; tokens that expire, and logs, do",
    )


def _round_trips(times: list[float]) -> Finding:
    fastest, typical, slowest = min(times), statistics.median(times), max(times)
    words = f"{typical * 1000:.1f} ms ({fastest * 1000:.1f} to {slowest * 1000:.1f})"
    if typical - fastest < SLOW:
        return Finding("round trip", "ok", words)
    return Finding(
        "round trip",
        "note",
        f"{words}: small messages are held back on the way",
        "look for a proxy that buffers (nginx: proxy_buffering off)",
    )


def _through(probe: Probe) -> str:
    """Return what the answer says of who has answered."""
    headers = probe.headers
    said = [one for name in ("Via", "Server") for one in headers.get_all(name)]  # Caddy adds one
    return ", ".join(said) or "nothing that says its name"


def _reason(error: Exception) -> str:
    if isinstance(error, TransportClosed):
        return f"the WebSocket was closed ({error.code or 'without a close frame'})"
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    return describe(error)
