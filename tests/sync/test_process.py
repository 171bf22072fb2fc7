"""A whole process: its exit with live sessions, Ctrl-C, and SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import reliable_ws.sync

from .conftest import SECONDS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.python,
    pytest.mark.skipif(os.name == "nt", reason="signals are sent"),
]


class Program:
    """A program that prints ``ready`` when it is time for the test to go on.

    What websockets logs is left out: "unexpected internal error" if its reader has data in hand as
    its writer finds the socket shut.
    """

    def __init__(self, source: str) -> None:
        before = (
            "import logging, signal, sys, threading\nimport reliable_ws.sync as rs\n"
            "logging.getLogger('websockets').setLevel(logging.CRITICAL + 1)\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", before + textwrap.dedent(source)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, word: str) -> None:
        """Read a line, and nothing behind it: ``communicate()`` would miss what was read ahead."""
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._process.stdout.fileno(), 1)
            assert byte, f"it ended after {line}"
            line += byte
        assert line.decode() == f"{word}\n"

    def ready(self) -> None:
        self.says("ready")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Return the exit status and what was printed after ``ready``."""
        with self._process:
            try:
                out, err = self._process.communicate(timeout=SECONDS)
            finally:
                self._process.kill()
        return self._process.returncode, out, err


def test_the_interpreter_exits_with_live_sessions_without_a_word():
    program = Program(
        """
        server = rs.serve(lambda conn: list(conn), "127.0.0.1", 0)
        conn = rs.connect(f"ws://127.0.0.1:{server.port}")
        conn.send("x").wait(60)
        threading.Thread(target=conn.recv, daemon=True).start()
        print("ready")
        """
    )
    program.ready()
    assert program.end() == (0, "", "")


def test_a_program_that_ends_without_close_delivers_what_it_has_sent():
    program = Program(
        """
        begun = threading.Event()

        def handler(conn):
            begun.set()
            for delivery in conn.deliveries():
                with delivery as message:  # confirmed when it is printed
                    print(message)

        server = rs.serve(handler, "127.0.0.1", 0)
        conn = rs.connect(f"ws://127.0.0.1:{server.port}")
        begun.wait(60)  # Python 3.12 starts no thread any more once a program has begun to end
        print("ready")
        for number in range(5):
            conn.send(number)
        sys.exit(3)
        """
    )
    program.ready()
    assert program.end() == (3, "0\n1\n2\n3\n4\n", "")


def test_a_program_that_ends_without_close_is_told_what_it_leaves():
    program = Program(
        """
        from reliable_ws import Config
        server = rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0)
        config = Config(close_cancelled_timeout=0.1)
        conn = rs.connect(f"ws://127.0.0.1:{server.port}", config=config)
        conn.send("one")
        conn.send("two")
        print("ready")
        """
    )
    program.ready()
    status, out, err = program.end()
    assert (status, out) == (0, "")
    left = r"session [0-9a-f]{8} was left without close\(\): 2 sent, 0 confirmed, 2 unknown;"
    assert re.match(left, err)


def test_ctrl_c_leaves_a_block_soon():
    program = Program(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0) as server:
            try:
                with rs.connect(f"ws://127.0.0.1:{server.port}") as conn:
                    print("ready")
                    conn.recv()
            except KeyboardInterrupt:
                print(conn.state.value, conn.close_code)
        """
    )
    program.ready()
    program.signal(signal.SIGINT)
    assert program.end() == (0, "closed 1001\n", "")


def test_a_second_ctrl_c_ends_the_closing():
    program = Program(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0) as server:
            try:
                with rs.connect(f"ws://127.0.0.1:{server.port}") as conn:
                    conn.send("untaken")

                    def watch():
                        while conn.state.value != "closing":
                            pass
                        print("ready")

                    threading.Thread(target=watch, daemon=True).start()
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                print(conn.state.value, conn.close_code)
        """
    )
    program.ready()
    program.signal(signal.SIGINT)
    status, out, err = program.end()
    assert (status, out) == (0, "closed 4499\n")
    assert "KeyboardInterrupt left a connection: 1 sent, 0 confirmed, 1 unknown" in err


def test_ctrl_c_ends_a_close_that_waits():
    program = Program(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0) as server:
            conn = rs.connect(f"ws://127.0.0.1:{server.port}")
            conn.send("untaken")

            def watch():
                while conn.state.value != "closing":
                    pass
                print("ready")

            threading.Thread(target=watch, daemon=True).start()
            try:
                conn.close()
            except KeyboardInterrupt:
                print(conn.state.value)
        """
    )
    program.ready()
    program.signal(signal.SIGINT)
    left = "KeyboardInterrupt left a connection: 1 sent, 0 confirmed, 1 unknown; aborted (4499)\n"
    status, out, err = program.end()
    assert (status, out) == (0, "closed\n")
    assert re.fullmatch("session [0-9a-f]{8}: " + re.escape(left), err)


def test_sigterm_drains_a_server():
    program = Program(
        """
        def handler(conn):
            for message in conn:
                pass

        with rs.serve(handler, "127.0.0.1", 0) as server:
            signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
            conn = rs.connect(f"ws://127.0.0.1:{server.port}")
            conn.send(1).wait(60)
            threading.Thread(target=lambda: (list(conn), conn.close()), daemon=True).start()
            print("ready")
            server.serve_forever()
        print(conn.close_code, conn.report)
        """
    )
    program.ready()
    program.signal(signal.SIGTERM)
    status, out, err = program.end()
    assert (status, err) == (0, "")
    assert out == "1001 1 sent, 1 confirmed; finished (1001, 'going away')\n"


SERVING = """
import time

def handler(conn):
    for message in conn:
        conn.send(message)

def client(finish=True):
    conn = rs.connect(f"ws://127.0.0.1:{server.port}")
    conn.send("x").wait(60)
    assert conn.recv() == "x"
    if finish:
        threading.Thread(target=lambda: (list(conn), conn.close()), daemon=True).start()
    return conn

def drained(reports):
    print(*reports.values(), sep=", ")

server = rs.serve(handler, "127.0.0.1", 0)
"""
FINISHED = "1 sent, 1 confirmed; finished (1000)\n"


def drained_program(source):
    program = Program(SERVING + textwrap.dedent(source))
    program.ready()
    program.signal(signal.SIGTERM)
    return program


def test_sigterm_drains_first_and_then_ends_the_process_as_before():
    """The main thread may be waiting meanwhile."""
    program = drained_program(
        """
        rs.drain_on_sigterm(server.sessions, on_drained=drained)
        conn = client()
        print("ready")
        time.sleep(600)
        """
    )
    assert program.end() == (-signal.SIGTERM, FINISHED, "")


def test_the_earlier_handler_of_sigterm_runs_after_the_draining_in_the_main_thread():
    program = drained_program(
        """
        def before(number, frame):
            print("before", number, threading.current_thread() is threading.main_thread())
            sys.exit(3)

        signal.signal(signal.SIGTERM, before)
        for _ in range(2):
            rs.drain_on_sigterm(server.sessions, on_drained=drained)
        conn = client()
        print("ready")
        threading.Event().wait(600)
        """
    )
    assert program.end() == (3, f"{FINISHED}before 15 True\n", "")


def test_what_stops_the_server_is_called_after_the_draining_of_all():
    program = drained_program(
        """
        rs.drain_on_sigterm(server.sessions, on_drained=drained)
        rs.drain_on_sigterm(rs.Sessions(), then=server.shutdown)
        conn = client()
        print("ready")
        server.serve_forever()
        server.close()
        print("stopped", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        """
    )
    assert program.end() == (0, f"{FINISHED}stopped True\n", "")


def test_a_second_sigterm_does_not_wait_for_the_draining():
    program = drained_program(
        """
        rs.drain_on_sigterm(server.sessions, timeout=600)
        conn = client(finish=False)
        print("ready")
        assert list(conn) == []  # it is draining
        print("draining")
        time.sleep(600)
        """
    )
    program.says("draining")
    program.signal(signal.SIGTERM)
    assert program.end() == (-signal.SIGTERM, "", "")


def test_what_on_drained_raises_keeps_no_process_alive():
    program = drained_program(
        """
        rs.drain_on_sigterm(server.sessions, on_drained=lambda reports: 1 / 0)
        print("ready")
        time.sleep(600)
        """
    )
    status, _, err = program.end()
    assert status == -signal.SIGTERM
    assert "draining failed" in err


def test_only_the_main_thread_can_watch_signals():
    with ThreadPoolExecutor() as threads:
        watching = threads.submit(reliable_ws.sync.drain_on_sigterm, reliable_ws.sync.Sessions())
        with pytest.raises(RuntimeError, match="for the main thread"):
            watching.result()
    with pytest.raises(TypeError, match=r"a reliable_ws.sync.Sessions"):
        reliable_ws.sync.drain_on_sigterm(reliable_ws.Sessions())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_sessions_of_its_own_only():
    program = Program(
        """
        import os, warnings
        import reliable_ws

        methods = reliable_ws.Methods()
        methods.register(lambda: os.getpid(), name="who")

        def meet():
            server = rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0, methods=methods)
            conn = rs.connect(f"ws://127.0.0.1:{server.port}")
            assert conn.request("who", timeout=60) == os.getpid()
            return conn

        theirs = meet()  # its threads wait, in the parent
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                theirs.send("x")
            except reliable_ws.SessionLost as error:
                assert "forked" in error.reason
                meet()
                os._exit(7)
            os._exit(1)
        print("ready")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert theirs.request("who", timeout=60) == os.getpid()
        """
    )
    program.ready()
    assert program.end() == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_waits_for_no_handler_of_its_parent():
    program = Program(
        """
        import os, warnings
        import reliable_ws

        running, go = threading.Event(), threading.Event()
        methods = reliable_ws.Methods()

        @methods.register
        def hold():
            running.set()
            go.wait()

        with rs.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0) as server:
            with rs.connect(f"ws://127.0.0.1:{server.port}", methods=methods) as conn:
                asking = threading.Thread(
                    target=server.connections[0].request, args=["hold"], daemon=True
                )
                asking.start()
                assert running.wait(60)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    child = os.fork()
                if not child:
                    conn.close()
                    os._exit(7)
                print("ready")
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                go.set()
        """
    )
    program.ready()
    assert program.end() == (0, "", "")
