"""``trace``: a sequence and a diagram, from the file of one end or from both."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from reliable_ws import connect, serve
from reliable_ws.cli import main
from reliable_ws.cli.common import USAGE
from reliable_ws.cli.trace_file import clock_difference, described, read
from reliable_ws.testing import ChaosProxy
from tests.aio.sockets import AT_ONCE, echo


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The traces of both ends of a session that lost a message with its link, and sent it again."""
    folder = tmp_path_factory.mktemp("trace")
    client, server_file = folder / "client.jsonl", folder / "server.jsonl"

    async def converse():
        async with (
            asyncio.timeout(60),
            serve(echo, "127.0.0.1", 0, trace=server_file) as server,
            ChaosProxy("127.0.0.1", server.port) as proxy,
            connect(proxy.uri(), reconnect=AT_ONCE, trace=client) as conn,
        ):
            await conn.send("first")
            await conn.recv()
            proxy.stall()
            await conn.send("second")
            await asyncio.sleep(0)  # the end of the turn, in which it is sent
            proxy.cut()
            assert await conn.recv() == "second"

    asyncio.run(converse())
    return str(client), str(server_file)


def printed(capsys, *args):
    assert main(["trace", *args]) == 0
    return capsys.readouterr().out


def test_both_ends_show_what_was_lost_and_sent_again(files, capsys):
    out = printed(capsys, *files)
    assert "seen by the client and server" in out
    lost = re.search(r"link 1  client -> server  .*Messages 2 \(6 B\).*\[did not arrive\]", out)
    again = re.search(r"link 2  client -> server  Messages 2 \(6 B\)  \[sent again\]  \[\d", out)
    assert lost
    assert again
    assert lost.start() < out.index("client: the WebSocket is gone") < again.start()
    assert out.count("Hello, attempt 2: sent 2, received 1") == 1
    assert re.search(r"server -> client  Done: received 3, confirmed 3", out)


def test_one_end_shows_what_it_has_seen(files, capsys):
    out = printed(capsys, files[1])
    assert "seen by the server" in out
    assert "client -> server  Hello, attempt 1" in out
    assert "did not arrive" not in out
    assert not re.search(r"\[[\d.]+ ms\]", out)


def test_only_one_session_or_only_the_last_lines(files, capsys):
    (trace,) = read(files)
    assert printed(capsys, *files, "--session", trace.session[:5])
    all_of_it = printed(capsys, *files, "--limit", "0").splitlines()
    heading, *last, end = printed(capsys, *files, "--limit", "4").splitlines()
    left = len(all_of_it) - 2 - 4
    # They have the times that they have among all.
    assert [heading, *last, end] == [
        all_of_it[0],
        f"{left} earlier lines left out (--limit)",
        *all_of_it[-5:],
    ]
    assert "left out" not in "".join(all_of_it)
    with pytest.raises(SystemExit):
        main(["trace", *files, "--limit=-1"])
    assert "'-1' is no number of lines" in capsys.readouterr().err
    assert main(["trace", *files, "--session", "nothing"]) == USAGE
    assert "nothing of such a session" in capsys.readouterr().err


def test_a_page_has_an_arrow_for_each_message(files, capsys, tmp_path):
    out = tmp_path / "trace.html"
    assert printed(capsys, *files, "--html", str(out)) == ""
    page = out.read_text()
    (trace,) = read(files)
    sent = [event for event in trace.events if event.event == "sends"]
    assert page.count("<line x1=") == len(sent) + 2  # two lanes
    for kind in ("greeting", "message", "again", "end"):
        assert f'class="{kind}" stroke-width' in page
    assert page.count("in which nothing passes") == 0
    assert "<script" not in page
    assert "http" not in page
    assert main(["trace", *files, "--html", str(tmp_path)]) == USAGE
    assert "cannot write" in capsys.readouterr().err


def test_a_page_says_what_it_leaves_out(files, capsys, tmp_path):
    """Times are those since the first event of the session, not since the first that is drawn."""
    out = tmp_path / "trace.html"
    times = re.compile(r'class="time" text-anchor="\w+">([\d.]+)')
    printed(capsys, files[0], "--html", str(out))
    all_of_it = out.read_text()
    printed(capsys, files[0], "--limit", "3", "--html", str(out))
    page = out.read_text()
    assert re.search(r"<p>\d+ earlier lines left out \(--limit\)</p>", page)
    assert times.findall(page) == times.findall(all_of_it)[-3:]
    assert "left out" not in all_of_it


def test_a_page_of_one_end_draws_arrivals_too(files, capsys, tmp_path):
    out = tmp_path / "trace.html"
    printed(capsys, files[0], "--html", str(out))
    (trace,) = read(files[:1])
    messages = [event for event in trace.events if event.event in ("sends", "gets")]
    assert out.read_text().count("<line x1=") == len(messages) + 2


def test_events_of_one_time_are_drawn_in_their_order(tmp_path, capsys):
    """A clock may be coarse: a message is answered at the time at which it has arrived."""
    lines = []
    for number in range(20):
        here, there = ("initiator", "acceptor")[:: 1 - 2 * (number % 2)]
        line = {"session": "ab", "link": 1, "frames": [{"frame": "Ack", "received": 0}]}
        line["frames"][0] |= {"confirmed": number}
        lines += [
            line | {"time": number, "role": here, "event": "sends"},
            line | {"time": number + 1, "role": there, "event": "gets"},
        ]
    files = [tmp_path / role for role in ("initiator", "acceptor")]
    for file in files:
        of_it = [line for line in lines if line["role"] == file.name]
        file.write_text("".join(json.dumps(line) + "\n" for line in of_it))
    out = tmp_path / "out"
    printed(capsys, *map(str, files), "--html", str(out))
    arrows = re.findall(r'y1="(\d+)" x2="\d+" y2="(\d+)" class="ack"', out.read_text())
    heights = [int(end) for arrow in arrows for end in arrow]
    assert len(heights) == 40
    assert heights == sorted(heights)  # each arrives before the next one leaves


def test_clocks_that_differ_are_set_right(files, tmp_path):
    """What arrives before it was sent shows by how much the clocks differ."""
    shifted = tmp_path / "shifted"
    lines = [json.loads(line) for line in Path(files[1]).read_bytes().splitlines()]
    for line in lines:
        line["time"] += 100
    shifted.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (right,), (set_right,) = read(files), read([files[0], str(shifted)])
    for one in set_right.events:
        if one.partner is not None:
            sent, got = (one, one.partner) if one.event == "sends" else (one.partner, one)
            assert sent.time <= got.time + 1e-6
    assert [described(e) for e in set_right.events] == [described(e) for e in right.events]


def test_clocks_are_told_apart_by_one_direction_alone(files):
    (trace,) = read(files)
    one_way = [e for e in trace.events if e.event == "sends" and e.role == "initiator"]
    for event in one_way:
        if event.partner is not None:
            event.partner.time -= 50
    assert clock_difference(one_way) == pytest.approx(50, abs=1)
    other_way = [e for e in trace.events if e.event == "sends" and e.role == "acceptor"]
    for event in other_way:
        event.time += 50
    assert clock_difference(other_way) == pytest.approx(-50, abs=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{}\n', "line 1: this is no line of a trace"),
        ('{"format":"reliable_ws wire trace","version":2}\n', "this program reads"),
        ('{"format":"something","version":1}\n', "is something, version 1"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, capsys, text, words):
    file = tmp_path / "file"
    file.write_text(text)
    assert main(["trace", str(file)]) == USAGE
    assert words in capsys.readouterr().err
    assert main(["trace", str(tmp_path / "absent")]) == USAGE
    assert "cannot read" in capsys.readouterr().err


def test_events_of_a_later_program_are_skipped(tmp_path, capsys):
    """Events may be added to the format without a new version."""
    line = {"time": 1.0, "session": "ab", "role": "acceptor", "link": 1}
    lines = [line | {"event": event} for event in ("opens", "muses", "lost")]
    file = tmp_path / "trace"
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    out = printed(capsys, str(file)).splitlines()
    assert [one.partition("server: ")[2] for one in out[1:3]] == [
        "a WebSocket carries the session",
        "the WebSocket is gone, without a close frame",
    ]
    assert out[3:] == [""]


def test_a_last_line_that_was_cut_off_is_left_out(files, tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(Path(files[0]).read_bytes()[:-30])
    (trace,), (all_of_it,) = read([str(cut)]), read(files[:1])
    assert len(trace.events) == len(all_of_it.events) - 1


FRAMES = [
    ({"frame": "Messages", "first": 1, "count": 3, "bytes": 9}, "Messages 1-3 (9 B)"),
    (
        {"frame": "Part", "number": 2, "offset": 10, "total": 99, "kind": 0, "bytes": 5},
        "Part of 2: bytes 10-15 of 99",
    ),
    ({"frame": "Want", "number": 4}, "Want number 4"),
    (
        {"frame": "Stop", "counters": {"received": 3, "confirmed": 2, "handed": 1}},
        "Stop: received 3, confirmed 2, handed 1",
    ),
    ({"frame": "Refuse", "code": 4404, "reason": "no"}, "Refuse: 4404 'no'"),
    ({"frame": "invalid", "reason": "why"}, "no message of this protocol: why"),
    (
        {
            "frame": "Calls",
            "first": 1,
            "entries": [
                {"entry": "Request", "method": "add"},
                {"entry": "Fault", "request": 7, "code": "oops"},
            ],
        },
        "Calls 1-2 (request add, fault of 7: oops)",
    ),
]


@pytest.mark.parametrize(("frame", "words"), FRAMES)
def test_frames_in_words(tmp_path, frame, words):
    line = {"time": 1.0, "session": "ab", "role": "acceptor", "link": 1, "event": "gets"}
    file = tmp_path / "trace"
    file.write_text(json.dumps(line | {"frames": [frame]}) + "\n")
    ((event,),) = (trace.events for trace in read([str(file)]))
    assert described(event) == words
