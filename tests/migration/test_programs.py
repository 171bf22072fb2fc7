"""Programs for websockets run with only their imports changed, and see the same."""

from __future__ import annotations

import pathlib
import sys

import pytest

from tests.adapters.links import RELEASE

from .programs import PROGRAMS

CERTIFICATE = str(pathlib.Path(__file__).parents[1] / "support" / "untrusted.pem")
ON_UNIX = ("signal", "Unix")

pytestmark = [pytest.mark.transport, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def port_of(server):
    inner = getattr(server, "inner", server)
    return inner.socket.getsockname()[1]


def output_of(program, imports, capsys):
    names = {"__name__": "__main__", "CERTIFICATE": CERTIFICATE, "PORT_OF": port_of}
    exec(compile(program.source(imports), program.name, "exec"), names)
    return sorted(capsys.readouterr().out.splitlines())  # two sides may speak in any order


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_sees_the_same_with_other_imports(program, capsys):
    if sys.platform == "win32" and any(word in program.name for word in ON_UNIX):
        pytest.skip("Unix has that")
    seen = output_of(program, program.reliable_ws, capsys)
    assert seen
    if RELEASE >= (14, 2):  # earlier ones have no close_code and no latency
        assert seen == output_of(program, program.websockets, capsys)
