"""curl_cffi, the client."""

from __future__ import annotations

import curl_cffi
import pytest

from reliable_ws.adapters import adapt, adapt_blocking
from reliable_ws.adapters.curl_cffi import MAX_FRAME
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract


class TestCurl(ClientContract):
    library = "curl_cffi"
    distributions = ("curl_cffi",)
    max_frame = MAX_FRAME

    @pytest.fixture(autouse=True)
    async def _session(self):
        async with curl_cffi.AsyncSession() as self.session:
            yield

    async def opened(self, uri):
        return await self.session.ws_connect(
            uri, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL}, proxies={}
        )


@pytest.mark.parametrize("adapt", [adapt, adapt_blocking])
def test_one_with_threads_has_no_adapter(adapt):
    with pytest.raises(TypeError, match="curl_cffi"):
        adapt(curl_cffi.WebSocket())
