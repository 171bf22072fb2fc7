"""The demo, small: it ends well, and its table says so."""

from __future__ import annotations

import signal

import pytest

from reliable_ws.cli.demo.material import count, digest, last_words, make

from .processes import PATIENCE, run, started


@pytest.mark.transport
def test_a_small_demo_passes():
    done = run("demo", "--lines", 3000, "--plain-limit", 10, "--kills", 0)
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert "identical, byte by byte" in said
    rows = {row[:17].strip(): row[17:43].split() for row in said.splitlines() if row[:2] == "  "}
    assert rows["taken once"][0] == "3,000"
    assert [rows[name][0] for name in ("duplicates", "out of order", "lost silently")] == ["0"] * 3
    assert int(rows["reconnects"][0]) >= 20


def test_an_empty_input_is_no_special_case(tmp_path):
    (tmp_path / "empty").touch()
    done = run("demo", "--file", tmp_path / "empty", "--kills", 0)
    assert done.returncode == 0, done.stdout.decode()


def test_both_processes_are_killed_and_nothing_is_lost():
    done = run("demo", "--lines", 3000, "--plain-limit", 10, "--kills", 2)
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    act = said[said.index("killed with -9 and started again") :]
    rows = {row[:17].strip(): row[17:43].split() for row in act.splitlines() if row[:2] == "  "}
    assert [rows[name][0] for name in ("kills", "duplicates", "lost")] == ["2", "0", "0"]
    assert rows["identical"][0] == "yes"


def test_too_little_to_be_broken_is_said_at_once():
    done = run("demo", "--lines", 3)
    assert done.returncode == 2
    assert b"too few to be broken" in done.stderr


def test_an_interrupted_demo_leaves_nothing_behind():
    with started("demo") as demo:
        while b"on connection" not in demo.stdout.readline():
            pass
        demo.send_signal(signal.SIGTERM)
        _, err = demo.communicate(timeout=PATIENCE)
        assert demo.returncode == 130
        assert b"Traceback" not in err


@pytest.mark.parametrize("data", [b"", b"a\n", b"a\nb", b"\n\n", b"\xff\r\nx"])
def test_what_is_sent_is_the_input_with_numbers(tmp_path, data):
    (tmp_path / "in").write_bytes(data)
    lines = len(data.splitlines())
    material = make(tmp_path / "in", lines, tmp_path / "numbered")
    assert material.lines == lines
    numbered = material.path.read_bytes().splitlines(keepends=True)
    assert b"".join(line[10:] for line in numbered) == data
    judged = count(material.path, lines)
    assert (judged.taken, judged.once, judged.duplicates, judged.foreign) == (lines, lines, 0, 0)
    assert judged.bare == digest(tmp_path / "in") == material.bare


def test_a_small_input_is_repeated_with_its_open_line(tmp_path):
    (tmp_path / "in").write_bytes(b"a\nb")
    material = make(tmp_path / "in", 5, tmp_path / "numbered")
    assert (
        material.path.read_bytes()
        == b"000000001 a\n000000002 b\n000000003 a\n000000004 b\n000000005 a\n"
    )
    assert material.copies == 3
    last = last_words(material, tmp_path / "last")
    assert (last.lines, last.size) == (5, material.size)


def test_counting_what_arrived(tmp_path):
    lines = [b"%09d x\n" % number for number in (1, 3, 2, 3, 3, 6, 9)] + [b"foreign\n"]
    (tmp_path / "got").write_bytes(b"".join(lines))
    judged = count(tmp_path / "got", 6)
    assert (judged.taken, judged.once, judged.duplicates) == (4, 3, 2)
    assert (judged.out_of_order, judged.foreign) == (1, 2)
