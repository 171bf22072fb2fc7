"""``send --store`` and ``listen --store``: processes are killed with -9, and started again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from contextlib import ExitStack

import pytest

from tests.support.ports import free_port

from .processes import PATIENCE, eventually, listener, outcome, run, started

pytestmark = pytest.mark.transport

QUICK = ("--survives", "process", "--limit", "window_bytes=65536")


def numbered(count, first=0):
    return b"".join(b"line %d, with some words in it\n" % n for n in range(first, first + count))


class Files:
    def __init__(self, folder):
        self.source, self.target = folder / "in", folder / "out"
        self.sends, self.listens = folder / "send.db", folder / "listen.db"
        self.port = free_port()

    @property
    def uri(self):
        return f"ws://127.0.0.1:{self.port}"

    def listener(self, *more, output=True):
        to = ("--output", self.target) if output else ()
        return listener("--store", self.listens, *to, *QUICK, *more, port=self.port)

    def send(self, *more):
        return ("send", self.uri, "--store", self.sends, *QUICK, "--retry", 30, "--json", *more)

    def sent(self, *more, **options):
        """Run ``send`` to its end; return exit code, facts, and what it said."""
        done = run(*self.send(*more), **options)
        return outcome(done.returncode, done.stdout, done.stderr)

    @property
    def size(self):
        return self.target.stat().st_size if self.target.exists() else 0


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_both_are_killed_in_mid_stream_and_the_file_is_identical(files):
    data = numbered(60_000)
    files.source.write_bytes(data)
    chance = random.Random(3)
    kills = 0
    with ExitStack() as stack:

        def start(which):
            options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            if which == "listen":
                args = ("listen", "--port", files.port, "--output", files.target)
                args += ("--store", files.listens, *QUICK)
            else:
                args = files.send("--file", files.source, "--retry-delay", 0.1)
            return stack.enter_context(started(*args, **options))

        both = {which: start(which) for which in ("listen", "send")}
        for part in range(1, 6):
            eventually(lambda part=part: files.size > part * len(data) // 7)
            for which in chance.choice((["send"], ["listen"], ["listen", "send"])):
                assert both[which].poll() is None
                both[which].kill()
                both[which].wait()
                both[which] = start(which)
                kills += 1
        _out, err = both["send"].communicate(timeout=PATIENCE)
        assert both["send"].returncode == 0, err
    assert kills >= 5
    assert files.target.read_bytes() == data


def test_a_file_that_is_sent_is_not_sent_again_and_what_was_added_is(files):
    files.source.write_bytes(b"one\ntwo")
    with files.listener():
        assert files.sent("--file", files.source)[1]["confirmed"] == 2
        code, facts, said = files.sent("--file", files.source)
        assert (code, facts["sent"]) == (0, 0)
        assert "2 lines were accepted before: left out" in said
        with files.source.open("ab") as file:
            file.write(b"\nthree\n")
        with files.source.open("rb") as stdin:
            assert files.sent(stdin=stdin)[0] == 0
        assert files.target.read_bytes() == b"one\ntwo\n\nthree\n"
        assert files.sent("--file", files.source, "--input", "more")[1]["sent"] == 3
        assert files.sent("--file", files.source, "--name", "another")[1]["sent"] == 3


def test_another_input_is_refused_and_nothing_of_it_is_sent(files):
    files.source.write_bytes(b"one\ntwo\n")
    with files.listener():
        assert files.sent("--file", files.source)[0] == 0
        for other in (b"one\nTWO\nthree\n", b"one\n"):
            files.source.write_bytes(other)
            code, facts, said = files.sent("--file", files.source)
            assert (code, facts["sent"]) == (1, 0)
            assert "not the input that was sent before" in said
            assert "--input more" in said
    assert files.target.read_bytes() == b"one\ntwo\n"


def test_what_a_pipe_gave_is_delivered_by_the_next_run(files):
    with files.listener() as listening, started(*files.send(), stdin=-1) as sending:
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        eventually(lambda: files.size == 4)
        listening.process.kill()
        listening.process.wait()
        sending.stdin.write(b"two\n")
        sending.stdin.flush()
        eventually(lambda: b"two" in run("store", files.sends, "--export").stdout)
        sending.kill()
        sending.wait()
    with files.listener():
        code, facts, said = files.sent(input=b"three\n")
        assert (code, facts["sent"]) == (0, 3), said
        # The confirmation of the first may have been on its way when both were killed.
        assert re.search("[12] messages from before are on their way", said)
        assert files.target.read_bytes() == b"one\ntwo\nthree\n"
        code, facts, _ = files.sent("--input", "same", input=b"three\nfour\n")
        assert (code, facts["sent"]) == (0, 1)
    assert files.target.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_whole_is_sent_once(files):
    files.source.write_bytes(numbered(100))
    with files.listener():
        assert files.sent("--file", files.source, "--whole")[1]["sent"] == 1
        assert files.sent("--file", files.source, "--whole")[1]["sent"] == 0
    assert files.target.read_bytes() == numbered(100)


def test_a_tail_of_the_very_first_messages_is_cut_off_too(files):
    """Killed before anything was confirmed: what was in the file before that stays."""
    files.target.write_bytes(b"of somebody else\n")
    with files.listener() as listening:
        listening.process.kill()
    with files.target.open("ab") as file:
        file.write(b"one\n")
    with files.listener() as listening:
        assert "cut back by 4 bytes" in listening.before
        assert files.sent(input=b"one\n")[0] == 0
    assert files.target.read_bytes() == b"of somebody else\none\n"


def test_a_tail_that_was_not_confirmed_is_cut_off(files):
    files.source.write_bytes(b"one\ntwo\n")
    with files.listener() as listening:
        assert files.sent("--file", files.source)[0] == 0
        listening.process.kill()
    with files.target.open("ab") as file:
        file.write(b"half a li")
    with files.listener() as listening:
        assert "cut back by 9 bytes" in listening.before
        with files.source.open("ab") as file:
            file.write(b"three\n")
        assert files.sent("--file", files.source)[0] == 0
        listening.process.send_signal(signal.SIGTERM)
        code, _, said = listening.ended()
        assert code == 0
        assert "go on with the next process" in said
    assert files.target.read_bytes() == b"one\ntwo\nthree\n"


def test_an_output_that_somebody_has_cut_is_refused(files):
    files.source.write_bytes(b"one\ntwo\n")
    with files.listener():
        assert files.sent("--file", files.source)[0] == 0
    files.target.write_bytes(b"one\n")
    done = run("listen", "--port", 0, "--output", files.target, "--store", files.listens)
    assert done.returncode == 2
    assert b"has 4 bytes, and 8 were written and confirmed" in done.stderr
    files.target.unlink()
    with files.listener() as listening:  # it was moved away
        assert "begins anew" in listening.before
        files.source.write_bytes(b"one\ntwo\nthree\n")
        assert files.sent("--file", files.source)[0] == 0
    assert files.target.read_bytes() == b"three\n"


def test_a_signal_leaves_the_sessions_to_the_next_listener(files):
    files.source.write_bytes(numbered(10))
    with files.listener() as listening, started(*files.send(), stdin=-1) as sending:
        sending.stdin.write(numbered(10))
        sending.stdin.flush()
        eventually(lambda: files.size == len(numbered(10)))
        listening.process.send_signal(signal.SIGTERM)
        code, _, said = listening.ended()
        assert (code, "lost" in said) == (0, False), said
        with files.listener():
            sending.stdin.write(numbered(10, 10))
            sending.communicate(timeout=PATIENCE)
            assert sending.returncode == 0
    assert files.target.read_bytes() == numbered(20)


def test_an_interrupted_sender_says_that_the_rest_is_kept(files):
    with files.listener() as listening, started(*files.send(), stdin=-1) as sending:
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        eventually(lambda: files.size == 4)
        listening.process.kill()
        listening.process.wait()
        sending.stdin.write(b"two\n")
        sending.stdin.flush()
        eventually(lambda: b"two" in run("store", files.sends, "--export").stdout)
        sending.send_signal(signal.SIGTERM)
        out, err = sending.communicate(timeout=PATIENCE)
        code, facts, said = outcome(sending.returncode, out, err)
        assert (code, facts["unknown"]) == (130, 0)
        assert facts["kept"] in (1, 2)  # whether the first one is confirmed, it may not know
        assert f"{facts['kept']} kept" in said


def test_what_a_lost_session_did_not_deliver_is_told(files):
    files.source.write_bytes(b"one\n")
    with files.listener() as listening, started(*files.send(), stdin=-1) as sending:
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        eventually(lambda: files.size == 4)
        listening.process.kill()
        listening.process.wait()
        sending.stdin.write(b"two\nthree\n")
        sending.stdin.flush()
        eventually(lambda: b"three" in run("store", files.sends, "--export").stdout)
        sending.kill()
        sending.wait()
    for path in files.listens.parent.glob("listen.db*"):
        path.unlink()  # nobody knows the session any more
    with files.listener():
        ends = [files.sent(input=b"") for _ in range(3)]
    # They were perhaps transmitted, before the process died: nobody can say that they were not.
    assert [code for code, *_ in ends if code] != []
    assert "unknown" in "".join(said for *_, said in ends)
    assert ends[-1][0] == 0


def test_standard_output_says_what_may_be_twice(files):
    with files.listener(output=False) as first, started(*files.send(), stdin=-1) as sending:
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        assert first.process.stdout.readline() == b"one\n"
        first.process.kill()
        first.process.wait()
        with files.listener(output=False) as second:
            sending.stdin.write(b"two\n")
            sending.communicate(timeout=PATIENCE)
            assert sending.returncode == 0
            second.process.send_signal(signal.SIGTERM)
            _, out, said = second.ended()
    assert out.endswith(b"two\n")
    if out.startswith(b"one"):
        assert "may be in the output twice" in said


# ------------------------------------------------------------------------------ store FILE


def test_a_store_is_listed_checked_and_exported(files):
    with files.listener() as listening, started(*files.send("--name", "jobs"), stdin=-1) as sending:
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        eventually(lambda: files.size == 4)
        listening.process.kill()
        sending.stdin.write(b"two\n\xff\n")
        sending.stdin.flush()

        def exported():
            lines = run("store", files.sends, "--export").stdout.splitlines()
            return [(entry["number"], entry["message"]) for entry in map(json.loads, lines)]

        eventually(lambda: exported()[-2:] == [(2, "two\n"), (3, {"$bytes": "/wo="})])
        done = run("store", files.sends)
        said = done.stdout.decode()
        assert done.returncode == 0
        if os.name == "posix":
            assert f"process {sending.pid} has it open" in said
        assert "jobs" in said
        assert "initiator" in said
        assert "goes on" in said
        done = run(*files.send("--name", "jobs"))
        assert done.returncode == 2
        assert str(sending.pid).encode() in done.stderr
    done = run("store", files.listens)
    assert b"acceptor" in done.stdout
    assert b"1 sessions, 0 messages unconfirmed" in done.stdout
    assert json.loads(run("store", files.sends, "--json").stdout)["unconfirmed"] >= 2
    done = run("store", files.sends, "--check")
    assert (done.returncode, done.stdout.endswith(b"whole\n")) == (0, True)


def test_what_is_no_whole_store_is_named(files, tmp_path):
    files.source.write_bytes(numbered(5000))
    other = tmp_path / "other"
    other.write_bytes(b"SQLite is something else" * 100)
    for path in (tmp_path / "absent", other):
        done = run("store", path, "--check")
        assert done.returncode == 2
        assert str(path).encode() in done.stderr
    with started(*files.send("--file", files.source), stdin=subprocess.DEVNULL):
        pass
    store = tmp_path / "kept.db"
    from reliable_ws import SQLiteStore

    with SQLiteStore(store) as opened:
        opened.run(lambda db: db.execute("create table mine (data)"))
        opened.run(lambda db: db.executemany("insert into mine values (?)", [(b"x" * 3000,)] * 100))
    data = bytearray(store.read_bytes())
    data[8192 : 8192 + 4096] = b"\x55" * 4096
    store.write_bytes(data)
    done = run("store", store, "--check")
    assert done.returncode == 1, done.stdout
    assert b"damaged" in done.stderr
