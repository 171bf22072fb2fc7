"""The contract of transports, for every library that is supported, over real sockets."""

import pytest

pytest.register_assert_rewrite("reliable_ws.testing.transport_contract")
