"""``demo``: the main job for real, beside plain websockets."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reliable_ws.cli.common import FINE, UNDELIVERED, Failure, on_signals, seconds
from reliable_ws.protocol.config import Config

from . import kills, table, trial
from .material import Material, default_text, digest, last_words, make

__all__ = ["add_to"]

DESCRIPTION = """\
Send a file from one process to another through a proxy that cuts, resets, stalls and half-opens
the connection while data flows; then a few last lines, closing at once, to a reader that is late
and a network that breaks meanwhile. The same with plain websockets and a reconnect loop. Count
what arrived, and compare it byte by byte with what was sent. At last, send a file while both
processes are killed (kill -9) ten times and started again, which "--store" survives.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws demo
  python -m reliable_ws demo --file /var/log/syslog
  python -m reliable_ws demo --lines 3000 --seed 7

exit codes:
  0  reliable_ws lost, repeated, reordered and concealed nothing, and the bytes are identical,
     though at least 20 connections were broken, and both processes were killed ten times (an
     empty input has nothing to break)
  1  not so
"""

LINES = 100_000
ENOUGH = 20
IDLE = 2.0
LONGEST_DELAY = 0.5
OURS_LIMIT = 120.0
ENOUGH_TO_KILL = 4 * 1024 * 1024
KILLED_WINDOW = 64 * 1024


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="see it work, beside plain websockets",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="send this one (default: a text)")
    parser.add_argument(
        "--lines",
        type=int,
        metavar="N",
        help=f"cut or repeat the input to N lines (default: {LINES:,} of the text, all of FILE)",
    )
    parser.add_argument("--seed", type=int, default=1, help="where the faults strike")
    parser.add_argument(
        "--plain-limit",
        type=seconds,
        default=25.0,
        metavar="SECONDS",
        help="most time for the stream of plain websockets (default: 25)",
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=kills.KILLS,
        metavar="N",
        help=f"kill both processes N times (default: {kills.KILLS}; 0: leave this out)",
    )
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Run the contest; return the exit code."""
    source: Path = args.file or default_text()
    lines = LINES if args.lines is None and args.file is None else args.lines
    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    if me is not None:
        on_signals(me.cancel)  # so that no process is left behind
    began = loop.time()

    def tell(text: str) -> None:
        print(f"[{loop.time() - began:5.1f} s] {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="reliable-ws-demo-") as folder:
        try:
            material = make(source, lines, Path(folder) / "input")
        except OSError as error:
            raise Failure(f"cannot read {source}: {error.strerror}") from None
        if 0 < material.size < trial.MIN_STREAM_BYTES:
            raise Failure(
                f"{material.size:,} bytes are too few to be broken in {trial.BREAKS} places: "
                f"take more lines, {trial.MIN_STREAM_BYTES:,} bytes at least"
            )
        _introduce(source, material, tell)
        last = last_words(material, Path(folder) / "last words")
        results = await _contest(material, last, Path(folder), args, tell)
        for line in table.lines(material, last, results):
            print(line)
        wrong = _wrong(material, last, results, Path(folder))
        if args.kills > 0:
            mortal, killed = await _kill(source, lines, Path(folder), args.kills, tell)
            for line in kills.lines(mortal, killed):
                print(line)
            wrong += _wrong_killed(mortal, killed[0], args.kills)
        # Say what is wrong, or that nothing is.
        for sentence in wrong:
            tell(f"NOT AS PROMISED: {sentence}")
        if not wrong:
            tell("identical, byte by byte: nothing lost, repeated, reordered or concealed")
        return UNDELIVERED if wrong else FINE


def _introduce(source: Path, material: Material, tell: Callable[[str], None]) -> None:
    copies = f", repeated {material.copies:,} times" if material.copies > 1 else ""
    tell(f"input: {source.name}{copies}: {material.lines:,} lines, {material.size:,} bytes")
    tell("each line has its number before it (both contestants send the same): to count by")
    usual = Config()
    tell(
        f"shortened, to see it all within a minute: idle_timeout {usual.idle_timeout:g} s -> "
        f"{IDLE:g} s (a half-open link is noticed by silence), longest delay between attempts "
        f"30 s -> {LONGEST_DELAY:g} s; of plain: ping 20 s + 20 s -> 1 s + 1 s, close_timeout "
        "10 s -> 1 s"
    )
    plan = trial.plan_for(material, 0)
    batch, frame = trial.limits_for(material)
    if plan is None:
        tell("too little to be broken: no faults")
        return
    low, high = plan.every_bytes
    tell(
        f"a fault after every {low:,} to {high:,} bytes until {trial.BREAKS} connections are "
        f"broken; smaller to get through between two of them: batch_bytes 65,536 -> {batch:,}, "
        f"max_frame 1,048,576 -> {frame:,}"
    )


async def _contest(
    material: Material,
    last: Material,
    folder: Path,
    args: argparse.Namespace,
    tell: Callable[[str], None],
) -> list[tuple[trial.Contestant, trial.Result, trial.Result]]:
    results = []
    for contestant in (_ours(material), _plain(args.plain_limit)):
        tell(f"{contestant.name}: the stream, from one process to another")
        files = [folder / f"{contestant.name} {part}" for part in ("stream", "last words")]
        streamed = await trial.stream(contestant, material, files[0], args.seed, tell)
        rate = streamed.arrived.taken / streamed.took
        tell(f"  {streamed.arrived.taken:,} lines in {streamed.took:.1f} s, {rate:,.0f}/s")
        if streamed.facts["exit"] is None or not streamed.facts.get("finished", True):
            tell(f"  its time is up: {streamed.facts.get('sent', 0):,} lines were sent by then")
        elif material.size and streamed.breaks < trial.BREAKS:
            tell(
                f"  all was sent after {streamed.breaks} breaks already: what was poured into a "
                "connection that broke is gone"
            )
        tell(f"{contestant.name}: {last.lines:,} last lines, closing at once; the reader is late")
        parted = await trial.last_frame(contestant, last, files[1], tell)
        tell(f"  {parted.arrived.taken:,} lines arrived")
        results.append((contestant, streamed, parted))
    return results


def _ours(material: Material) -> trial.Contestant:
    batch, frame = trial.limits_for(material)
    command = ["-m", "reliable_ws"]
    limits = ["--limit", f"idle_timeout={IDLE}"]

    def listen(output: Path, late: float) -> list[str]:
        options = ["--port", "0", "--output", str(output), "--limit", f"max_frame={frame}"]
        options += ["--late", f"{late}"] if late else []
        return [*command, "listen", *options, *limits]

    def send(uri: str, file: Path) -> list[str]:
        options = ["--file", str(file), "--json", "--no-progress", "--retry", "10", "--retry-delay"]
        options += [f"{LONGEST_DELAY}", "--limit", f"batch_bytes={batch}"]
        return [*command, "send", uri, *options, *limits]

    return trial.Contestant("reliable_ws", listen, send, OURS_LIMIT)


def _plain(limit: float) -> trial.Contestant:
    command = ["-m", "reliable_ws.cli.demo.plain"]

    def listen(output: Path, late: float) -> list[str]:
        return [*command, "listen", str(output), f"{late}"]

    def send(uri: str, file: Path) -> list[str]:
        return [*command, "send", uri, str(file), f"{limit}"]

    return trial.Contestant("plain", listen, send, limit)


async def _kill(
    source: Path, count: int | None, folder: Path, times: int, tell: Callable[[str], None]
) -> tuple[Material, list[kills.Killed]]:
    """Send the input once more, long enough to be killed; each contestant in its turn."""
    material = make(source, count, folder / "input of the killed")
    if 0 < material.size < ENOUGH_TO_KILL:
        repeats = -(-ENOUGH_TO_KILL // material.size)
        material = make(source, material.lines * repeats, folder / "input of the killed")
    results = []
    for mortal in (_our_mortal(folder), _plain_mortal(folder)):
        tell(f"{mortal.name}: {material.lines:,} lines, both processes are killed meanwhile")
        result = await kills.kill_both(
            mortal, material, folder / f"{mortal.name} killed", times, tell
        )
        tell(f"  {result.arrived.taken:,} lines arrived, in {result.took:.1f} s")
        results.append(result)
    return material, results


def _our_mortal(folder: Path) -> kills.Mortal:
    command = ["-m", "reliable_ws"]
    limits = ["--survives", "process", "--limit", f"window_bytes={KILLED_WINDOW}"]

    def listen(port: int, output: Path) -> list[str]:
        store = ["--store", str(folder / "listen.db")]
        return [*command, "listen", "--port", f"{port}", "--output", str(output), *store, *limits]

    def send(port: int, file: Path) -> list[str]:
        options = ["--file", str(file), "--retry", "30", "--retry-delay", "0.1", "--no-progress"]
        options += ["--store", str(folder / "send.db"), *limits]
        return [*command, "send", f"ws://127.0.0.1:{port}", *options]

    return kills.Mortal("reliable_ws", listen, send)


def _plain_mortal(folder: Path) -> kills.Mortal:
    command = ["-m", "reliable_ws.cli.demo.plain"]

    def listen(port: int, output: Path) -> list[str]:
        return [*command, "listen", str(output), "0", f"{port}"]

    def send(port: int, file: Path) -> list[str]:
        place = str(folder / "place")
        return [*command, "send", f"ws://127.0.0.1:{port}", str(file), f"{kills.TIME_LIMIT}", place]

    return kills.Mortal("plain ws", listen, send)


def _wrong_killed(material: Material, ours: kills.Killed, times: int) -> list[str]:
    wrong = []
    if not ours.identical:
        wrong.append("killed: the files differ")
    if ours.exit != 0:
        wrong.append(f"killed: the last sender ended with {ours.exit}")
    if material.size and ours.kills < times:
        wrong.append(f"killed: only {ours.kills} times")
    return wrong


def _wrong(
    material: Material,
    last: Material,
    results: list[tuple[trial.Contestant, trial.Result, trial.Result]],
    folder: Path,
) -> list[str]:
    """Compare the files; return what is wrong with reliable_ws, if anything."""
    contestant, streamed, parted = results[0]
    # The file as a whole.
    received = folder / f"{contestant.name} stream"
    sent, got = digest(material.path), digest(received)
    print(f"sent      {material.size:>13,} bytes  SHA-256 {sent}")
    print(f"received  {received.stat().st_size:>13,} bytes  SHA-256 {got}")
    # Each line of both parts: taken once, in order.
    wrong = []
    for part, result in (("stream", streamed), ("last lines", parted)):
        arrived = result.arrived
        lines = material.lines if result is streamed else last.lines
        if result.facts["exit"] != 0:
            wrong.append(f"{part}: the sender ended with {result.facts['exit']}")
        if not result.identical or arrived.taken != lines:
            wrong.append(f"{part}: not identical")
        if arrived.duplicates or arrived.out_of_order or arrived.foreign:
            wrong.append(f"{part}: duplicates, or out of order")
    if sent != got:
        wrong.append("the files differ")
    if material.size and streamed.breaks < ENOUGH:
        wrong.append(f"only {streamed.breaks} connections were broken: {ENOUGH} are wanted")
    return wrong
