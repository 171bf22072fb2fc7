"""The conversation for sides that keep their sessions in stores, and whose processes die."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.durable import pack_payload, unpack_payload
from reliable_ws.protocol.payload import seal_weight
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored import Change
from reliable_ws.store import Apply, StoreFull
from tests.support.stores import Done, MemoryStore, StoredPair
from tests.vectors.conversation import Conversation, value_from

__all__ = ["StoredConversation", "conversation_of"]

WHO = {"initiator": "client", "acceptor": "server"}


def conversation_of(row: dict[str, Any]) -> Conversation:
    """Return what plays the conversation of a row."""
    if "stores" in row:
        return StoredConversation(row["config"], row["stores"])
    return Conversation(row["config"])


class DirectedStore(MemoryStore):
    """A store that does what the steps of a conversation say."""

    does = "keep"
    """``"keep"``: at once. ``"wait"``: later. ``"pretend"``: it says so, and the next process finds
    that it is not there."""

    def submit(self, changes: Sequence[Change], done: Done) -> None:
        if self.does == "pretend":
            done(None)
            return
        super().submit(changes, done)
        if self.does == "keep":
            self.commit()


class StoredConversation(Conversation):
    """Two sides of which at least one has a store."""

    def __init__(self, config: dict[str, Any], sides: list[str]) -> None:
        super().__init__(config)
        having = {WHO[side]: True for side in sides}
        pair = StoredPair(
            Config(**config),
            client="client" in having,
            server="server" in having,
            automatic=False,
        )
        pair.next_incarnation = 41
        self.stores = {who: DirectedStore() for who in having}
        pair.stores.update(self.stores)
        self.pair: StoredPair = pair

    def pull(self, side: str) -> bytes | None:
        self._submit()
        data = super().pull(side)
        self._submit()  # transmitting takes back requests for which nobody waits
        return data

    def deliver(self, sender: str, data: bytes) -> None:
        super().deliver(sender, data)
        self._submit()

    def act(self, step: dict[str, Any]) -> None:
        self.got = []
        who = WHO.get(step.get("at", ""), "")
        match step["do"]:
            case "store":
                self._must_be_silent(step["at"])
                self._direct(who, step["does"])
            case "restart":
                self._must_be_silent(step["at"])
                self.stores[who].does = "keep"
                self.pair.crash(who)
            case _:
                super().act(step)
        self._submit()

    def _must_be_silent(self, side: str) -> None:
        """While a store waits, everything was said that may be said without it."""
        if self.stores[WHO[side]].does == "wait":
            assert self.pull(side) is None, f"the {side} says what is not kept"

    def outcome(self) -> dict[str, Any]:
        known = super().outcome()
        for side, who in WHO.items():
            session = self.pair.session(who)
            if who in self.stores and session is not None:
                numbers = range(1, session.outbox.messages + 1)
                known[side]["kept"] = [n for n in numbers if session.outcome(n) is Outcome.KEPT]
        return known

    def _submit(self) -> None:
        for who in self.stores:
            self.pair.submit(who)

    def _direct(self, who: str, does: str) -> None:
        store = self.stores[who]
        if does == "lack room":
            store.fail(StoreFull("no room"))
            does = "keep"
        store.does = does
        while does == "keep" and store.pending:
            store.commit()
            self._submit()  # what has grown meanwhile

    def _verb(self, verb: str, session: Session, step: dict[str, Any]) -> None:
        match verb:
            case "keep":
                self._keep(session, step)
            case "number":
                session.durable.applying -= 1  # type: ignore[union-attr]
                send = self.stores[WHO[step["at"]]].rows[session.id].sends[-1]
                payload = unpack_payload(send.data)
                session.accept_kept(send.row, payload, seal_weight(payload), send.key)
            case "leave":
                session.leave(self.pair.now, step["reason"])
            case _:
                super()._verb(verb, session, step)

    def _keep(self, session: Session, step: dict[str, Any]) -> None:
        """A message is kept together with data of the application."""
        session.durable.applying += 1  # type: ignore[union-attr]
        store = self.stores[WHO[step["at"]]]
        data = pack_payload(value_from(step["payload"]))
        store.apply(Apply(session.id, lambda _db: None, send=data), lambda _result, _error: None)
