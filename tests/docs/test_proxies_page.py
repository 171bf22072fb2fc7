"""docs/proxies.md quotes what the library says."""

from __future__ import annotations

import logging
import re

from reliable_ws import Config
from reliable_ws.driver.status import log_silence
from reliable_ws.protocol.report import End, Ending, Outcome, Report, Undelivered

from .test_examples import ROOT

PAGE = " ".join((ROOT / "docs" / "proxies.md").read_text().split())


def test_the_log_line_about_silence(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    log_silence("session 1a2b3c4d", 3.0)
    assert caplog.messages[0] in PAGE


def test_the_words_of_an_unknown_session():
    lost = tuple(Undelivered(number, Outcome.UNKNOWN, "") for number in (3, 4, 5))
    report = Report(5, 2, lost, Ending(End.REFUSED, 4404, "no such session here"))
    assert f"SessionLost: {report}" in PAGE


def test_how_often_a_side_speaks_by_default():
    (every,) = re.findall(r"which is every ([0-9.]+) seconds by default", PAGE)
    assert float(every) == round(Config().idle_timeout / 3, 1)
