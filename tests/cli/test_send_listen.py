"""``send`` and ``listen``, each in its own process: what arrives is what was sent."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from reliable_ws import connect

from .processes import eventually, listener, outcome, run, sent, started, under_way

TEXT = b"".join(b"line %d, with some words in it\n" % number for number in range(20_000))

INPUTS = {
    "empty": b"",
    "one line feed": b"\n",
    "empty lines": b"\n\n\na\n\n",
    "no last line feed": b"first\nlast, not ended",
    "all line endings": b"unix\ndos\r\nmac\rmac\r\r\n\r\nend\r",
    "not UTF-8": b"text\n\xff\xfe\n\xc3\xa9\n\xc3\n\xed\xa0\x80\n\x00\x00",
    "garbage": random.Random(1).randbytes(300_000),
    "long lines": b"x" * 1_500_000
    + b"\n"
    + "é".encode() * 700_000
    + b"\nshort\n"
    + b"\xff" * 70_000,
    "text": TEXT,
}


@pytest.mark.transport
@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
def test_the_received_file_is_identical(tmp_path, data):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    with listener("--once", "--output", target) as listening:
        code, facts, said = sent(listening.uri, "--file", source)
        assert (code, facts["sent"]) == (0, len(data.split(b"\n")) - (data[-1:] in b"\n"))
        assert facts["confirmed"] == facts["sent"], said
        assert target.read_bytes() == data  # before the listener ends: confirmed means written
        assert listening.ended()[0] == 0


def test_standard_input_to_standard_output():
    with listener("--once") as listening:
        code, _, said = sent(listening.uri, input=INPUTS["not UTF-8"])
        assert code == 0
        assert "all confirmed" in said
        assert listening.ended()[:2] == (0, INPUTS["not UTF-8"])


def test_whole_is_one_message(tmp_path):
    with listener("--once", "--output", tmp_path / "out") as listening:
        code, facts, _ = sent(listening.uri, "--whole", input=TEXT)
        assert (code, facts["sent"]) == (0, 1)
    assert (tmp_path / "out").read_bytes() == TEXT


def test_a_pipe_is_sent_as_it_comes(tmp_path):
    target = tmp_path / "out"
    with (
        listener("--once", "--output", target) as listening,
        started("send", listening.uri, "--json", stdin=-1) as sending,
    ):
        for line in (b"first\n", b"second\n", b"third, not ended"):
            before = target.read_bytes()
            sending.stdin.write(line)
            sending.stdin.flush()
            if line.endswith(b"\n"):
                eventually(lambda before=before, line=line: target.read_bytes() == before + line)
        facts = outcome(0, *sending.communicate())[1]
        assert facts["sent"] == facts["confirmed"] == 3
    assert target.read_bytes() == b"first\nsecond\nthird, not ended"


async def test_every_message_gets_a_line(tmp_path):
    target = tmp_path / "out"
    target.write_bytes(b"was there, not ended")
    values = ["text", b"bytes", "", "ended\n", {"k": [1, None, "é"]}, {1: b"\xff"}, 1.5, "end"]
    with listener("--once", "--output", target) as listening:
        async with asyncio.timeout(60), connect(listening.uri) as conn:
            for value in values:
                await conn.send(value)
        assert listening.ended()[0] == 0
    assert target.read_text().split("\n") == [
        "was there, not ended",
        "text",
        "bytes",
        "",
        "ended",
        '{"k":[1,null,"é"]}',
        '{"1":{"$bytes":"/w=="}}',
        "1.5",
        "end",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_the_listener_and_the_sender_says_where_it_stopped(tmp_path, number):
    target = tmp_path / "out"
    with under_way(target, TEXT, "--json") as (listening, sending):
        listening.process.send_signal(number)
        code, _, said = listening.ended()
        assert (code, "20,000 messages written" in said) == (0, True)
        out, err = sending.communicate(timeout=60)
        code, facts, said = outcome(sending.returncode, out, err)
        assert (code, facts["sent"], facts["confirmed"]) == (1, 20_000, 20_000)
        assert "the receiver has ended the session" in said
        assert "the rest of the input was not sent" in said


def test_sessions_follow_one_another_in_one_file(tmp_path):
    target = tmp_path / "out"
    with listener("--output", target) as listening:
        assert sent(listening.uri, input=b"one\ntwo")[0] == 0
        assert sent(listening.uri, input=b"three\n")[0] == 0
    assert target.read_bytes() == b"one\ntwo\nthree\n"


def test_help_names_the_exit_codes():
    for args in ([], ["send"], ["listen"], ["demo"]):
        done = run(*args, "--help")
        assert done.returncode == 0
        assert b"exit codes" in done.stdout
        assert b"examples" in done.stdout
