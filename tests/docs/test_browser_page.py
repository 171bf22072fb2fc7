"""docs/browser.md is true: its server serves the client and a session, and its page is good."""

from __future__ import annotations

import asyncio
import re
import struct

import httpx

import reliable_ws
from reliable_ws import browser
from reliable_ws.protocol.frames import SUBPROTOCOL
from tests.support.asgi_server import running

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "browser.md").read_text()
BLOCKS = re.findall(r"<!-- run: fastapi -->\n```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_application_serves_the_client_and_a_session():
    (block,) = BLOCKS
    shown: dict[str, object] = {}
    exec(compile(block, "browser.md", "exec"), shown)
    async with asyncio.timeout(60), running(shown["app"]) as port:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/reliable-ws.js")
        assert answer.content == browser.files()["reliable-ws.js"]
        assert answer.headers["content-type"].startswith("text/javascript")
        async with reliable_ws.connect(f"ws://127.0.0.1:{port}/live") as conn:
            assert conn.subprotocol == SUBPROTOCOL
            await conn.send({"order": 17})
            assert await conn.recv() == {"packed": 17}


def test_the_page_imports_what_the_module_exports():
    (names,) = re.findall(r'import \{ (.*?) \} from "/reliable-ws\.js"', PAGE)
    exported = re.search(r"export\{([^}]*)\};?\s*$", browser.path().read_text("utf-8"))
    assert set(names.split(", ")) <= {name.split(" as ")[-1] for name in exported[1].split(",")}


def test_the_picture_is_one():
    picture = (ROOT / "docs/images/browser-chat.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (720, 560)
