"""Everything that can change a state, compared with a stored text: a changed rule is a diff.

After a change that is meant, write the text anew: ``python -m tests.core.test_state``.
"""

from __future__ import annotations

import enum
from pathlib import Path

import pytest

from reliable_ws.protocol.frames import TYPES, Hello
from reliable_ws.protocol.state import LINK, RECEIVING, SENDING, Phase, Receiving, Sending, Trigger

STORED = Path(__file__).with_name("state_table.txt")


def cells(title: str, table: dict, states: type[enum.Enum], steps: dict) -> list[str]:
    """One line for every step in every state, also for those that are not in the table."""
    lines = [title]
    for state in states:
        for step, name in steps.items():
            after = table[state].get(step)
            lines.append(f"  {state.name:10} {name:13} {after.name if after else '-'}")
    return lines


def drawn() -> str:
    frames = {frame: frame.__name__ for frame in sorted(TYPES, key=lambda kind: kind.__name__)}
    deeds = {trigger: trigger.name for trigger in Trigger}
    lines = cells("LINK: phase, frame that comes, phase after it", LINK, Phase, frames)
    lines += cells("SENDING: half, trigger, half after it", SENDING, Sending, deeds)
    lines += cells("RECEIVING: half, trigger, half after it", RECEIVING, Receiving, deeds)
    return "\n".join(lines) + "\n"


def test_every_cell_is_as_stored():
    assert drawn() == STORED.read_text()


def test_a_table_knows_every_state():
    assert set(LINK) == set(Phase)
    assert set(SENDING) == set(Sending)
    assert set(RECEIVING) == set(Receiving)


@pytest.mark.parametrize("table", [LINK, SENDING, RECEIVING])
def test_every_state_can_be_reached(table):
    """Where a table does not begin in it, some step of it leads there."""
    reached = {after for steps in table.values() for after in steps.values()}
    begin = {Phase.DIALING, Phase.ACCEPTED, Sending.OPEN, Receiving.OPEN}
    assert set(table) <= reached | begin


def test_a_settled_half_is_never_unsettled():
    """CLOSE-4, CLOSE-6: evidence outlives the session's end."""
    for state in (Sending.FINISHED, Sending.STOPPED, Sending.ENDED):
        assert set(SENDING[state].values()) <= {state}
    for half in (Receiving.FINISHED, Receiving.STOPPED):
        assert set(RECEIVING[half].values()) <= {half}


def test_a_link_over_looks_at_nothing():
    """LINK-4, LINK-5"""
    assert LINK[Phase.OVER] == {}


def test_no_link_takes_a_hello():
    """HELLO-1: it is the first message of a WebSocket, before there is a link."""
    assert not any(Hello in frames for frames in LINK.values())


if __name__ == "__main__":
    STORED.write_text(drawn())
