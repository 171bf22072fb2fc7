"""Conversations in which a process dies, and the next one goes on from what its store has."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.payload import seal_weight
from tests.vectors.conversation import to_json
from tests.vectors.frames import HELLO
from tests.vectors.recorder import BYE, A, I, Recorder


class Story(Recorder):
    """A conversation of sides with stores."""

    def greet(self) -> Story:
        """Dial, and greet on the new WebSocket."""
        self.do("dial")
        return self

    def store(self, at: str, does: str) -> Story:
        """Let a store do so from now on. Nothing is said before the next step."""
        self.act("store", at, does=does)
        return self

    def kept(self, at: str) -> Story:
        """Let a store keep what it waited with, and say what is said because of it."""
        self.do("store", at, does="keep")
        return self

    def restart(self, *sides: str) -> Story:
        """Let the processes of these sides die, and dial again."""
        for side in sides:
            self.act("restart", side)
        return self.greet()

    def keep(self, at: str, payload: Any) -> Story:
        """Keep a message by itself, without a number."""
        self.act("keep", at, payload=to_json(payload), weight=seal_weight(payload))
        return self

    def ask(self) -> Story:
        """Have the initiator call."""
        self.do("request", I, method="add", payload="1 2")
        return self

    def wait(self, seconds: float) -> Story:
        """Let time pass."""
        self.do("wait", seconds=seconds)
        return self


def story(name: str, about: str, stores: str, **config: Any) -> Story:
    """A conversation on whose first WebSocket nothing was said yet."""
    return Story(f"restart: {name}", about, stores=stores, **config)


def restarts() -> list[dict[str, Any]]:
    """Each order of commit, with a process that dies on either side of it."""
    return [*greetings(), *sending(), *confirming(), *ending(), *concerns(), *losing(), *calling()]


def greetings() -> list[dict[str, Any]]:
    """STORE-1, RESUME-1, HELLO-15."""
    rows = []
    about = "The next process says a higher number than any that was kept, or said."
    wait = story("a Hello waits for its attempt", about, I).greet()
    wait.do("cut")
    wait.store(I, "wait").do("dial").store(I, "keep")
    rows.append(wait.restart(I).end())

    about = "Nobody has heard of the session: the next process makes it, with another Hello."
    welcome = story("a Welcome waits for the session", about, A).store(A, "wait").greet()
    rows.append(welcome.restart(A).send(I, "hi").pump().do("take", A, count=1).end())

    about = "The Hello comes again, with a higher attempt, and is answered the same."
    welcome = story("a Welcome that is kept and not said", about, A).store(A, "wait").greet()
    rows.append(welcome.store(A, "keep").restart(A).end())

    about = "Else the next process would not know which server it had sent this to."
    first = story("nothing behind the first Welcome", about, I).send(I, "early").act("dial")
    hello = first.conversation.pull(I)
    first.said(I, hello)
    first.store(I, "wait").pump()
    rows.append(first.kept(I).do("take", A, count=1).restart(I).end())
    return rows


def sending() -> list[dict[str, Any]]:
    """STORE-2, STORE-5, RESUME-4, PART-4."""
    rows = []
    about = "It is silent until then. The next process sends it, without being told to."
    kept = story("a message that is kept and not sent", about, I).greet().store(I, "wait")
    kept.send(I, "hi").pump().store(I, "keep").restart(I)
    rows.append(kept.do("take", A, count=1).end())

    about = "Nobody has seen its number, so another message gets it."
    lost = story("a message that is not kept", about, I).greet().store(I, "wait")
    lost.send(I, "lost").pump().restart(I).send(I, "other").pump()
    rows.append(lost.do("take", A, count=1).end())

    about = "Of three that were sent, the Welcome says that two have come."
    sent = story("messages that were sent", about, I).greet()
    sent.send(I, "one", "two").pump().send(I, "three").pump(I).restart(I)
    rows.append(sent.send(I, "four").pump().do("take", A, count=4).end())

    about = "That the peer has confirmed it was not kept: the Welcome says it again."
    stale = story("a confirmation that is forgotten", about, I).greet()
    stale.send(I, "hi").want(I, 1).pump().store(I, "wait").do("take", A, count=1)
    rows.append(stale.restart(I).end())

    about = "What had come of it in parts is gone with the receiver's process."
    parts = story("a message in parts", about, f"{I} {A}", max_frame=4096).greet()
    parts.send(I, b"x" * 9000)
    parts.said(I, parts.conversation.pull(I))
    rows.append(parts.restart(A).do("take", A, count=1).restart(I, A).end())

    about = "In both directions, what is confirmed and what is not."
    both = story("both processes", about, f"{I} {A}").greet()
    both.send(I, "one", "two", "three").send(A, "uno", "dos").pump()
    both.do("take", A, count=1).do("take", I, count=1).restart(I, A)
    rows.append(both.do("take", A, count=2).do("take", I, count=1).end())
    return rows


def confirming() -> list[dict[str, Any]]:
    """STORE-3, STORE-8, RESUME-5, RESUME-7."""
    rows = []
    about = "Until then an Ack says only that the message has come."
    ack = story("a confirmation waits", about, A).greet().store(A, "wait")
    ack.send(I, "hi").want(I, 1).pump().do("take", A, count=1)
    rows.append(ack.wait(0.03).kept(A).end())

    about = "It was taken, and nobody was told: it comes again, and is flagged."
    again = story("a confirmation that is not kept", about, A).greet().store(A, "wait")
    again.send(I, "hi").want(I, 1).pump().do("take", A, count=1).restart(A)
    rows.append(again.do("take", A, count=1).end())

    about = "The Welcome tells it. The message does not come again."
    told = story("a confirmation that is kept and not told", about, A).greet().store(A, "wait")
    told.send(I, "hi").want(I, 1).pump().do("take", A, count=1).store(A, "keep")
    rows.append(told.restart(A).end())

    about = "`received` falls to what was confirmed. What may have been handed over is flagged."
    falls = story("messages that were not confirmed", about, A).greet()
    falls.send(I, "one", "two", "three").pump()
    falls.do("take", A, count=1).do("hand over", A, count=1).restart(A)
    falls.send(I, "four").pump().do("take", A, count=3)
    rows.append(falls.end())

    about = "2 was confirmed before 1: it comes again on the wire, and is not handed over."
    apart = story("a message that was confirmed out of order", about, A).greet()
    apart.send(I, "one", "two", "three").pump()
    apart.do("hand over", A, count=2).do("confirm", A, number=2).restart(A)
    apart.do("hand over", A, count=2).do("confirm", A, number=1)
    rows.append(apart.do("confirm", A, number=3).do("close", A, **BYE).do("close", I, **BYE).end())

    about = "The initiator takes; its store is slow, and its process dies twice."
    other = story("an initiator that takes", about, I).greet().store(I, "wait")
    other.send(A, "uno", "dos").want(A, 2).pump().do("take", I, count=2).restart(I)
    other.do("take", I, count=2).restart(I)
    rows.append(other.end())
    return rows


def ending() -> list[dict[str, Any]]:
    """STORE-4, TOMB-1, TOMB-4, CLOSE-3, RESUME-9."""
    rows = []
    about = "Nothing is said of the end of intake, or of Finish, before it is kept."
    stop = story("Stop waits", about, A).greet().store(A, "wait")
    stop.send(I, "one", "two").pump().do("take", A, count=1).do("close", A, **BYE)
    rows.append(stop.kept(A).do("close", I, **BYE).end())

    about = "The next process stops too, with the same counters, and takes nothing more."
    stopped = story("a Stop that is kept and not said", about, A).greet()
    stopped.send(I, "one", "two").pump().do("take", A, count=1).store(A, "wait")
    stopped.do("close", A, **BYE).store(A, "keep").restart(A)
    rows.append(stopped.do("close", I, **BYE).end())

    about = "Nobody has heard of it: the next process goes on taking."
    open_ = story("a Stop that is not kept", about, A).greet().store(A, "wait")
    open_.send(I, "hi").pump().do("close", A, **BYE).restart(A)
    rows.append(open_.do("take", A, count=1).end())

    about = "The next process of the initiator goes on closing."
    closing = story("an initiator that closes", about, I).greet().send(I, "last").pump()
    closing.do("close", I, **BYE).restart(I)
    rows.append(closing.do("take", A, count=1).end())

    about = "It says neither Finish nor Stop before they are kept, and dies: it goes on as it was."
    finish = story("a Finish that is not kept", about, I).greet().store(I, "wait")
    finish.do("close", I, **BYE).restart(I)
    rows.append(finish.send(I, "hi").pump().do("take", A, count=1).end())

    about = "The session ends with the last message taken; Done is kept first."
    done = story("Done waits", about, A).greet().send(I, "last").pump().do("close", I, **BYE)
    rows.append(done.store(A, "wait").do("take", A, count=1).kept(A).end())

    about = "The next process has the tombstone, and answers from it."
    done = story("a Done that is kept and not said", about, A).greet().send(I, "last").pump()
    done.do("close", I, **BYE).store(A, "wait").do("take", A, count=1).store(A, "keep")
    rows.append(done.restart(A).end())

    about = "The session goes on from what was kept: the message comes again, then the end."
    done = story("a Done that is not kept", about, A).greet().send(I, "last").pump()
    done.do("close", I, **BYE).store(A, "wait").do("take", A, count=1).restart(A)
    rows.append(done.do("take", A, count=1).end())

    about = "What was not taken is known, though the acceptor's process died."
    tomb = story("a tombstone", about, A).greet().send(I, "one", "two").pump()
    tomb.do("take", A, count=1).quiet("abort", A, lose=A, reason="fire").restart(A)
    rows.append(tomb.end())

    about = "It knows the highest attempt and the key: 4409, then 4404."
    tomb = story("a tombstone that is asked", about, A).greet().quiet("abort", A, reason="fire")
    tomb.act("restart", A)
    again = HELLO._replace(attempt=1, incarnation=42)
    for hello in (again, again._replace(attempt=2, key=bytes(32))):
        tomb.dial().forge(I, hello)
    rows.append(tomb.end())

    about = "Until the end is kept, a Hello is told to come again: 4529."
    busy = story("a tombstone waits", about, A).greet().send(I, "hi").pump().act("cut")
    busy.store(A, "wait").do("abort", A, reason="fire").do("dial").store(A, "keep").do("cut")
    rows.append(busy.do("dial").end())
    return rows


def concerns() -> list[dict[str, Any]]:
    """STORE-6, STORE-7, STORE-9."""
    rows = []
    about = "It gets a number behind what was accepted, and goes when it is kept with that."
    put = story("a message that is kept by itself", about, I).greet().store(I, "wait")
    put.send(I, "first").keep(I, "second").act("number", I)
    rows.append(put.pump().kept(I).do("take", A, count=2).end())

    about = "The next process gives it a number."
    put = story("a message that is kept without a number", about, I).greet()
    rows.append(put.keep(I, "hi").restart(I).do("take", A, count=1).end())

    about = "Finish was queued meanwhile: it waits for the number of the message, and goes behind."
    put = story("a message that is kept while Finish waits", about, I).greet()
    put.keep(I, "hi").do("finish", I, **BYE).do("number", I)
    rows.append(put.do("take", A, count=1).end())

    about = "It is taken back, and never was on the wire. The next message gets its number."
    full = story("no room", about, I).greet().store(I, "wait").send(I, "too much").pump()
    full.store(I, "lack room").pump().wait(2).send(I, "hi").pump()
    rows.append(full.do("take", A, count=1).restart(I).end())

    about = "No Refuse; a Hello is told 4529. The next process goes on."
    left = story("a process leaves the session", about, A).greet().send(I, "hi").send(A, "ho")
    left.pump(A).do("leave", A, reason="deploy").do("cut").do("dial")
    left.do("cut").restart(A)
    rows.append(left.do("take", A, count=1).do("take", I, count=1).end())

    about = "Nothing is said. To this process, its message is kept."
    left = story("the initiator leaves the session", about, I).greet().send(I, "hi").pump(I)
    rows.append(left.do("leave", I, reason="deploy").end())
    return rows


def losing() -> list[dict[str, Any]]:
    """RESUME-3, RESUME-6, RESUME-13, CLOSE-13, HELLO-3: a store that has lost what was said."""
    rows = []
    about = "The Hello builds on confirmations that this side has lost: 4422, without counters."
    lost = story("an acceptor that has lost confirmations", about, A).greet().store(A, "pretend")
    lost.send(I, "hi").want(I, 1).pump().do("take", A, count=1).wait(2)
    rows.append(lost.restart(A).end())

    about = "The peer has seen more than this side has sent: 4422."
    lost = story("an initiator that has lost messages", about, I).greet().store(I, "pretend")
    rows.append(lost.send(I, "hi").pump().restart(I).end())

    about = "The peer has seen a later attempt: 4409."
    lost = story("an initiator that has lost attempts", about, I).greet().store(I, "pretend")
    for _ in range(2):
        lost.do("cut").do("dial")
    rows.append(lost.restart(I).end())

    about = "It does not know the session: 4404. What became of the message is unknown."
    lost = story("an acceptor that has lost everything", about, A).store(A, "pretend").greet()
    rows.append(lost.send(I, "hi").pump().restart(A).end())
    return rows


def calling() -> list[dict[str, Any]]:
    """CALL-12, CALL-9."""
    rows = []
    about = (
        "It runs and is acked when it is kept. Nobody has heard of it: it comes again, and runs."
    )
    call = story("a request that is not kept", about, A).greet().store(A, "wait").ask()
    call.wait(0.03).restart(A).do("reply", A, request=1, payload="3")
    rows.append(call.wait(0.03).end())

    about = "It may have run: the next process answers that it was cancelled, by itself."
    call = story("a request that was running", about, A).greet().ask()
    rows.append(call.restart(A).wait(0.03).end())

    about = "The next process says it."
    call = story("an answer that is kept and not said", about, A).greet().ask().store(A, "wait")
    call.do("reply", A, request=1, payload="3").store(A, "keep").restart(A)
    rows.append(call.wait(0.03).end())

    about = "Its handler may have done the work: the next process answers that it was cancelled."
    call = story("an answer that is not kept", about, A).greet().ask().store(A, "wait")
    call.do("reply", A, request=1, payload="3").restart(A)
    rows.append(call.wait(0.03).end())

    about = "Nobody waits for the answer any more: the next process cancels it."
    call = story("a caller", about, I).greet().ask().restart(I)
    call.do("fault", A, request=1, code="cancelled", message="")
    rows.append(call.wait(0.03).end())

    about = "It never went. Its number is another request's."
    call = story("a request that its caller has not kept", about, I).greet().store(I, "wait").ask()
    call.restart(I).ask()
    rows.append(call.do("reply", A, request=1, payload="3").wait(0.03).end())

    about = "Nothing is run a second time, and nobody waits for ever."
    call = story("both processes, and a call", about, f"{I} {A}").greet().ask().restart(I, A)
    rows.append(call.wait(0.03).restart(A).wait(0.03).end())
    return rows
