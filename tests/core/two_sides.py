"""Two honest sides, and what one of them wants to say."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import Frame
from tests.support.pair import Pair, Wire

MAX_FRAME = Config().max_frame


def said(pair: Pair, side: str = "client", wire: Wire | None = None) -> list[Frame]:
    """What one side wants to say now; it gets lost."""
    wire = wire or pair.wire
    end: Any = wire.dialer if side == "client" else wire.listener
    frames: list[Frame] = []
    while (data := end.transmit(pair.now)) is not None:
        frames += decode(data, MAX_FRAME)
    return frames


def connected(config: Config | None = None, server: Config | None = None) -> Pair:
    pair = Pair(config, server)
    pair.connect()
    return pair
