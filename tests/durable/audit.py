"""Compare what both sides wrote down by themselves with what the library said."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.stores.ledger import read_sessions

from .ledger import read

__all__ = ["Audit", "audit"]

OTHER = {"initiator": "acceptor", "acceptor": "initiator"}

BAD_WORDS = ("Traceback", "please report", "has stopped", "exception was never retrieved")
"What no log of a side may have."


class Message(NamedTuple):
    """One message of a side, and where it is."""

    id: str
    session: str
    number: int


class Facts:
    """Everything that is known of one side, once its process has ended."""

    def __init__(self, directory: Path, side: str) -> None:
        self.side = side
        notes = read(directory / f"{side}.notes")
        self.style: dict[str, str] = {}
        self.accepted: dict[str, tuple[str | None, int]] = {}
        self.known: dict[str, str] = {}
        self.got: dict[str, list[tuple[str, bool]]] = defaultdict(list)
        self.order: dict[str, list[int]] = defaultdict(list)
        self.did: dict[str, bool] = {}
        self.again: list[str] = []
        self.asked: dict[str, tuple[Any, ...]] = {}
        self.runs: Counter[str] = Counter()
        self.ran: set[str] = set()
        self.reports: list[tuple[str, int, dict[int, str], str | None]] = []
        self.strange: list[str] = []
        for what, *rest in notes:
            getattr(self, f"_{what}", lambda *_fields: None)(*rest)
        self.log = (directory / f"{side}.log").read_text()
        db = sqlite3.connect(directory / f"{side}.db")
        found, damage = read_sessions(db)
        self.damage = damage
        self.sessions = {stored.session.hex(): StoredSession(stored) for stored, _ in found}
        self.keys = {
            key: (session.hex(), number)
            for key, session, number in db.execute(
                "select key, s.session, number from rws_keys k "
                "join rws_sessions s on s.no = k.session"
            )
        }
        tables = {name for (name,) in db.execute("select name from sqlite_master")}
        self.took = Counter(
            key for (key,) in (db.execute("select key from took") if "took" in tables else ())
        )
        self.mine = Counter(
            id_ for (id_,) in (db.execute("select id from mine") if "mine" in tables else ())
        )
        db.close()

    def _try(self, id_: str, style: str) -> None:
        self.style[id_] = style

    def _accepted(self, id_: str, session: str | None, number: int) -> None:
        self.accepted[id_] = (session, number)

    def _known(self, id_: str, outcome: str) -> None:
        self.known[id_] = outcome

    def _got(self, key: str, id_: str, redelivered: bool) -> None:
        if self.did.get(key):
            self.again.append(f"{key} came again behind confirm(apply=)")
        session, number = key.split(":")
        if not self.got[key]:
            self.order[session].append(int(number))
        elif not redelivered:
            self.again.append(f"{key} came again without a flag")
        self.got[key].append((id_, redelivered))

    def _did(self, key: str, applied: bool) -> None:
        self.did[key] = applied

    def _ask(self, id_: str) -> None:
        self.asked[id_] = ()

    def _answer(self, id_: str, answer: str) -> None:
        self.asked[id_] = ("answer", answer)

    def _fault(self, id_: str, name: str, words: str) -> None:
        self.asked[id_] = (name, words)

    def _run(self, id_: str) -> None:
        self.runs[id_] += 1

    def _ran(self, id_: str) -> None:
        self.ran.add(id_)

    def _report(self, session: str, sent: int, lacking: Any, ending: str | None) -> None:
        self.reports.append((session, sent, {int(n): o for n, o in lacking.items()}, ending))

    def _event(self, name: str, code: int, reason: str) -> None:
        if code not in (1000, 1001, 1012, 4410):
            self.strange.append(f"event {name} {code} {reason}")

    def _oops(self, words: str) -> None:
        self.strange.append(words)


class Audit:
    """What was found wrong, and how much was looked at."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.strange: Counter[str] = Counter()


def audit(directory: Path) -> Audit:
    """Compare both sides of a world whose processes have all ended."""
    found = Audit()
    sides = {side: Facts(directory, side) for side in OTHER}
    for side, facts in sides.items():
        peer = sides[OTHER[side]]
        say = _saying(found, side)
        _look_at_itself(facts, say)
        _look_at_messages(facts, peer, say, found.counts)
        _look_at_reports(facts, peer, say, found.counts)
        _look_at_requests(facts, peer, say, found.counts)
        found.strange.update(facts.strange)
        found.counts["sessions"] += len(facts.sessions)
    return found


def _saying(found: Audit, side: str) -> Any:
    return lambda words: found.wrong.append(f"{side}: {words}")


def _look_at_itself(facts: Facts, say: Any) -> None:
    for line in facts.damage + facts.again:
        say(line)
    for words in BAD_WORDS:
        if words in facts.log:
            at = facts.log.index(words)
            say(f"log: {facts.log[max(0, at - 300) : at + 1500]}")
    for session, stored in facts.sessions.items():
        if stored.ending is None:
            say(f"session {session} did not come to its end")
    for session, numbers in facts.order.items():
        if numbers != list(range(1, len(numbers) + 1)):
            say(f"order of {session}: {numbers}")
    for key, times in facts.took.items():
        if times > 1:
            say(f"{key} was applied {times} times")
    for id_, times in facts.mine.items():
        if times > 1:
            say(f"{id_} was written {times} times by send(apply=)")
    for key, applied in facts.did.items():
        if applied and not facts.took[key]:
            say(f"{key}: confirm(apply=) returned, and its work is not there")


def _look_at_messages(facts: Facts, peer: Facts, say: Any, counts: Counter[str]) -> None:
    arrived: dict[str, set[str]] = defaultdict(set)
    for key, lines in peer.got.items():
        for id_, _flag in lines:
            arrived[id_].add(key)
    for id_, keys in arrived.items():
        if len(keys) > 1:
            say(f"{id_} arrived as {sorted(keys)}")
        if facts.style[id_] == "apply" and not facts.mine[id_]:
            say(f"{id_} arrived, and what send(apply=) wrote is not there")
    for id_ in facts.mine:
        if id_ not in facts.keys:
            say(f"{id_}: send(apply=) wrote, and there is no message")
    for id_, style in facts.style.items():
        place = facts.keys.get(id_)
        if place is None and style in ("key", "apply"):
            if id_ in facts.accepted:
                say(f"{id_} was accepted, and its key is lost")
        elif place is not None or facts.accepted.get(id_, (None,))[0] is not None:
            session, number = place or facts.accepted[id_]
            if arrived[id_] - {f"{session}:{number}"}:
                say(f"{id_} ({session}:{number}) arrived as {arrived[id_]}")
            _look_at_message(facts, peer, say, counts, Message(id_, str(session), number))


def _look_at_message(
    facts: Facts, peer: Facts, say: Any, counts: Counter[str], message: Message
) -> None:
    """Has it one number, and is its outcome true in the file and in the receipt?"""
    id_, session, number = message
    said = facts.accepted.get(id_)
    if said is not None and said[0] is not None and said != (session, number):
        say(f"{message} was accepted as {said}")
    if session not in facts.sessions:
        say(f"{message}: its session is lost")
        return
    outcome = facts.sessions[session].outcome(number).value
    counts[f"messages {outcome}"] += 1
    if outcome in ("kept", "pending"):
        say(f"{message} is {outcome}, and both sides have come to an end")
    _compare("the file", outcome, message, peer, say)
    known = facts.known.get(id_)
    if known is not None:
        _compare("the receipt", known, message, peer, say)
        # A process that was killed may have known more: that its last messages had not gone.
        true = {"confirmed": ("confirmed",), "not taken": ("not taken", "unknown")}
        if outcome not in true.get(known, outcome):
            say(f"{message}: the receipt said {known}, the file {outcome}")


def _compare(source: str, outcome: str, message: Message, peer: Facts, say: Any) -> None:
    """Is this outcome what the peer wrote down?"""
    key = f"{message.session}:{message.number}"
    got, took = peer.got.get(key, []), peer.took[key]
    if any(id_ != message.id for id_, _flag in got):
        say(f"{message}: the number has two meanings: {got}")
    if outcome == "confirmed":
        if not got:
            say(f"{message} is confirmed, says {source}, and never came")
        if int(message.id.split(".")[1]) % 2 and not took:
            say(f"{message} is confirmed, says {source}, and was not applied")
    elif outcome == "not taken" and (got or took):
        say(f"{message} is not taken, says {source}, and came: {got}, applied {took}")


def _look_at_reports(facts: Facts, peer: Facts, say: Any, counts: Counter[str]) -> None:
    ids = {place: id_ for id_, place in (facts.accepted | facts.keys).items() if place[0]}
    for session, sent, lacking, ending in facts.reports:
        counts["reports"] += 1
        for number in range(1, sent + 1):
            outcome = lacking.get(number, "confirmed")
            id_ = ids.get((session, number))
            key = f"{session}:{number}"
            got = peer.got.get(key, [])
            if id_ is not None:
                message = Message(id_, session, number)
                _compare(f"the report ({ending})", outcome, message, peer, say)
            elif (outcome == "confirmed" and not got) or (outcome == "not taken" and got):
                say(f"{key} is {outcome} by the report ({ending}), and came: {got}")


def _look_at_requests(facts: Facts, peer: Facts, say: Any, counts: Counter[str]) -> None:
    for id_, times in peer.runs.items():
        if times > 1:
            say(f"request {id_} ran {times} times")
    for id_, result in facts.asked.items():
        name = result[0] if result else "no answer"
        counts[f"request: {name}"] += 1
        if name == "answer" and (id_ not in peer.ran or result[1] != id_):
            say(f"request {id_} was answered with {result[1]}, and did not run")
        if name == "NotTaken" and peer.runs[id_]:
            say(f"request {id_} was not taken, and ran")
