"""Every schedule of two processes and one engine, for a session of level "log".

The processes follow the orders of commit of protocol.md (STORE-1 to STORE-4), and the engine does
what its scripts do (``CLAIM``, ``APPEND``), in a few lines of Python: test_scripts.py holds the
scripts themselves to the same. What is searched is the order in which things happen: a process may
be frozen between any two of its steps while the other one takes over, may die, and may wake up
again; a Hello may arrive late, at either.

:func:`explore` visits every state, and returns what is wrong with the first one that is.
``without`` takes guards out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

GUARDS = (
    "claim fences appends",
    "claims rise",
    "append before transmit",
    "append before ack",
    "tombstones are fenced",
)

MESSAGES = 1
"""Messages in each direction."""

ATTEMPTS = 3
"""WebSockets that the client opens."""


class Process(NamedTuple):
    """One process, as far as this session goes."""

    attempt: int = 0
    "The attempt that it answered last; 0: it does not have the session."
    sent: tuple[int, ...] = ()
    "What its handler has sent: message n is told apart by who sent it."
    confirmed: int = 0
    "Messages of the client that its handler has taken."
    kept: int = 0
    "How many of ``sent`` the engine has, as far as it knows."
    kept_confirmed: int = 0
    alive: bool = True
    ended: bool = False


class Log(NamedTuple):
    """The record of the session in the engine."""

    owner: int = -1
    attempt: int = 0
    sent: tuple[int, ...] = ()
    confirmed: int = 0
    ended: bool = False


class State(NamedTuple):
    """Everything."""

    processes: tuple[Process, Process]
    log: Log
    attempt: int
    "The client's."
    flying: tuple[int, ...]
    "Attempts whose Hello has not arrived. It may arrive late, when the client has dropped it."
    link: int
    "Which process the client's WebSocket reaches; -1: none."
    seen: tuple[int, ...]
    "What the client has received."
    told: int
    "How many of its messages the client was told are confirmed."
    told_end: bool


START = State((Process(), Process()), Log(), 0, (), -1, (), 0, told_end=False)


def steps(state: State, without: frozenset[str]) -> Iterator[tuple[str, State]]:
    """Yield what may happen next."""
    # The client comes back (RESUME-10), and each Hello arrives at either process, or never.
    if state.attempt < ATTEMPTS and not state.told_end:
        attempt = state.attempt + 1
        flying = (*state.flying, attempt)
        yield f"Hello {attempt} is said", state._replace(attempt=attempt, flying=flying, link=-1)
    for attempt in state.flying:
        for number, process in enumerate(state.processes):
            if process.alive:
                yield from _arrives(state, attempt, number, process, without)
    for number, process in enumerate(state.processes):
        if process.alive and process.attempt and not process.ended:
            yield from _works(state, number, process, without)
            yield from _says(state, number, process, without)
    if state.link >= 0:
        yield "the WebSocket is lost", state._replace(link=-1)


def _works(
    state: State, number: int, process: Process, without: frozenset[str]
) -> Iterator[tuple[str, State]]:
    """Yield what a process may do by itself, also when it was frozen until now."""
    log, name = state.log, f"process {number}"
    if len(process.sent) < MESSAGES:
        more = (*process.sent, 10 * process.attempt + number)
        yield f"{name} sends", _with(state, number, process._replace(sent=more))
    if process.confirmed < MESSAGES:
        taken = process._replace(confirmed=process.confirmed + 1)
        yield f"{name} takes", _with(state, number, taken)
    yield f"{name} dies", _lost(_with(state, number, process._replace(alive=False)), number)
    # It tells the engine, which may refuse.
    refused = log.owner != number or log.attempt > process.attempt
    if process.kept < len(process.sent) or process.kept_confirmed < process.confirmed:
        if refused and "claim fences appends" not in without:
            yield f"{name} is refused", _moved(state, number, process)
        else:
            written = log._replace(
                attempt=process.attempt, sent=process.sent, confirmed=process.confirmed
            )
            kept = process._replace(kept=len(process.sent), kept_confirmed=process.confirmed)
            yield f"{name} appends", _with(state, number, kept)._replace(log=written)
    # It gives the session up, for want of contact: the tombstone is written first.
    if refused and "tombstones are fenced" not in without:
        yield f"{name} is refused", _moved(state, number, process)
    elif state.link != number:
        over = _with(state, number, process._replace(ended=True))
        yield f"{name} gives up", over._replace(log=log._replace(ended=True))


def _says(
    state: State, number: int, process: Process, without: frozenset[str]
) -> Iterator[tuple[str, State]]:
    """Yield what a process may say, where the client can hear it."""
    if state.link != number:
        return
    upto = len(process.sent) if "append before transmit" in without else process.kept
    if len(state.seen) < upto:
        heard = (*state.seen, process.sent[len(state.seen)])
        yield f"process {number} transmits", state._replace(seen=heard)
    confirmed = process.confirmed if "append before ack" in without else process.kept_confirmed
    if state.told < confirmed:
        yield f"process {number} acks", state._replace(told=confirmed)


def _arrives(
    state: State, attempt: int, number: int, process: Process, without: frozenset[str]
) -> Iterator[tuple[str, State]]:
    """Yield what follows from a Hello that arrives at a process."""
    log, name = state.log, f"Hello {attempt} at {number}"
    came = state._replace(flying=tuple(one for one in state.flying if one != attempt))
    link = number if attempt == state.attempt else state.link  # else nobody hears the answer
    if process.attempt and not process.ended:  # it has the session, or believes so
        if attempt <= process.attempt:  # RESUME-1, by its registry
            yield f"{name}: stale", came
        elif log.owner != number and "claim fences appends" not in without:
            # STORE-1: the attempt is in the engine before Welcome.
            yield f"{name}: refused", _moved(came, number, process)
        else:
            answered = _with(came, number, process._replace(attempt=attempt))
            written = log._replace(attempt=max(log.attempt, attempt))
            yield name, answered._replace(log=written, link=link)
    elif log.owner < 0:
        made = _with(came, number, Process(attempt))
        yield f"{name}: new", made._replace(log=Log(number, attempt), link=link)
    elif log.ended:
        yield f"{name}: ended", came._replace(told_end=attempt == state.attempt)
    elif log.attempt >= attempt and "claims rise" not in without:
        yield f"{name}: stale", came
    else:  # the owner's lease is over: it is dead, or frozen for long enough
        taken = Process(attempt, log.sent, log.confirmed, len(log.sent), log.confirmed)
        claimed = _with(came, number, taken)
        record = log._replace(owner=number, attempt=attempt)
        yield f"{name}: claimed", claimed._replace(log=record, link=link)


def _with(state: State, number: int, process: Process) -> State:
    first, second = state.processes
    return state._replace(processes=(process, second) if number == 0 else (first, process))


def _lost(state: State, number: int) -> State:
    return state._replace(link=-1) if state.link == number else state


def _moved(state: State, number: int, process: Process) -> State:
    return _lost(_with(state, number, process._replace(attempt=0, ended=False)), number)


def wrong(state: State) -> str | None:
    """Return what is wrong with a state."""
    if state.link < 0:
        return None
    process = state.processes[state.link]
    if state.log.owner != state.link and state.log.attempt < process.attempt:
        return "a Hello that the client has dropped has taken its session away"
    if state.told > process.confirmed:
        return "a confirmation that the client was told is lost"
    if state.seen != process.sent[: len(state.seen)]:
        return "a number means two messages, or a message that the client has is lost"
    if state.log.ended:
        return "the client goes on with a session that has ended"
    return None


def explore(without: frozenset[str] = frozenset()) -> tuple[str | None, list[str], int]:
    """Visit every state: what is wrong, how it came about, and how many states there are."""
    came: dict[State, tuple[State, str] | None] = {START: None}
    waiting = [START]
    while waiting:
        state = waiting.pop()
        for name, following in steps(state, without):
            if following in came:
                continue
            came[following] = (state, name)
            fault = wrong(following)
            if fault is not None:
                return fault, _path(came, following), len(came)
            waiting.append(following)
    return None, [], len(came)


def _path(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    path: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        path.append(name)
    return path[::-1]
