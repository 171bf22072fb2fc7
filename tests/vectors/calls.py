"""Conversations of sides that both take calls."""

from __future__ import annotations

from typing import Any

from tests.vectors.conversation import to_json
from tests.vectors.recorder import BYE, A, I, Recorder, begin


def calls() -> list[dict[str, Any]]:
    """Exchanges of sides that both take calls."""

    def ask(recorder: Recorder, payload: Any = "", **more: Any) -> Recorder:
        return recorder.do("request", I, method="add", payload=to_json(payload), **more)

    rows = []
    call = ask(begin("a call", "Acks of calls ride, or come within 25 ms."), "1 2")
    rows.append(call.do("reply", A, request=1, payload="3").do("wait", seconds=0.03).end())
    call = ask(begin("a call with a deadline", "What is left of it travels."), timeout=5)
    rows.append(call.do("fault", A, request=1, code="timeout", message="").end())

    stream = ask(begin("a stream", "Two items of 8, one more for the credit, the end."), credit=10)
    for item in ("é", "hi"):
        stream.do("item", A, request=1, payload=item)
    stream.do("grant", I, request=1, total=26).do("item", A, request=1, payload="ho")
    rows.append(stream.do("reply", A, request=1, payload="").end())

    call = begin("taken back, and cancelled", "2 has not gone yet: a Void. 1 has: a Cancel.")
    ask(call).quiet("wait", seconds=0)
    for payload in ("two", "three"):
        call.act("request", I, method="add", payload=payload)
    call.act("cancel", I, request=2)
    call.do("cancel", I, request=1).do("fault", A, request=1, code="cancelled", message="")
    rows.append(call.do("reply", A, request=3, payload="late").end())

    call = ask(begin("a lost reply", "It is said again; the request is not."))
    call.quiet("reply", A, lose=A, request=1, payload="3").do("cut").do("dial")
    rows.append(call.do("wait", seconds=0.03).end())

    call = begin("a lost request that has expired", "A Void has its number; it is never run.")
    call.quiet("request", I, lose=I, method="add", payload="", timeout=5).do("cut")
    rows.append(call.do("wait", seconds=6).do("dial").do("wait", seconds=0.03).end())

    pieces = begin("a call in pieces", "Some of them are lost and go again.", max_frame=4096)
    pieces.act("request", I, method="add", payload="x" * 9000)
    for loss in (False, True):
        data = pieces.conversation.pull(I)
        assert data is not None
        pieces.said(I, data, lost=loss)
    pieces.do("cut").do("dial")
    rows.append(pieces.do("reply", A, request=4, payload="done").end())

    call = ask(ask(begin("calls and the close", "Owed answers go before Finish.")))
    call.send(A, "last").pump().do("close", A, **BYE)
    call.do("reply", A, request=1, payload="").do("fault", A, request=2, code="closing", message="")
    rows.append(call.do("take", I, count=1).do("close", I, **BYE).end())

    call = begin("a stop and calls", "The last CallAck goes before Stop: 2 was not taken.")
    call.send(I, "untaken").pump()
    ask(call).quiet("request", I, lose=I, method="add", payload="")
    call.quiet("close", A, lose=I, **BYE)
    rows.append(call.do("close", I, **BYE).do("fault", A, request=1, code="x", message="").end())
    return rows
