"""The package as its users get it."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reliable_ws
from reliable_ws import browser

ROOT = Path(__file__).resolve().parent.parent

# Written so that this file does not match itself.
REGISTRY_HOSTS = r"py(?:pi|thonhosted)\.(?:org|io)|registry\.(?:npm)js|(?:npm)js\.(?:com|org)"
MACHINE_PATHS = r"""(?<![\w./:)\]}~*-])/(?:work|root|tmp|home|opt)/[\w.]"""


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_every_public_name_exists_and_is_listed_once_in_order() -> None:
    names = reliable_ws.__all__
    assert list(names) == sorted(set(names))
    assert [name for name in names if not hasattr(reliable_ws, name)] == []


def test_version_is_that_of_the_metadata() -> None:
    assert reliable_ws.__version__ == importlib.metadata.version("reliable-ws")


def test_types_are_announced() -> None:
    assert importlib.resources.files("reliable_ws").joinpath("py.typed").is_file()


def test_import_needs_no_event_loop_and_warns_of_nothing() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", "import reliable_ws"], check=True)


def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT) for path in (ROOT / "reliable_ws").rglob("*.py")}
    others = {
        "reliable_ws/browser/reliable-ws.js",
        "reliable_ws/live_page/page.html",
        "reliable_ws/py.typed",
    }
    assert shipped == {path.as_posix() for path in sources} | others


def test_the_client_for_pages_is_one_module_with_its_licences() -> None:
    """``npm run check`` in js/ compares it with what the sources make."""
    text = browser.path().read_text("utf-8")
    header, _, code = text.partition("*/\n")
    assert f"reliable-ws {reliable_ws.__version__} for pages" in header
    assert (ROOT / "LICENSE").read_text().strip() in header
    imports = re.findall(r"""(?:\bimport\(?|\bfrom)["']([^"']+)""", code)
    assert set(imports) <= {"ws"}  # which only Node asks for
    exported = re.search(r"export\{([^}]*)\};?\s*$", code)
    assert exported is not None
    names = {name.split(" as ")[-1] for name in exported[1].split(",")}
    assert {"connect", "Connection", "indexedDB", "StoreInUse", "msgpack"} <= names
    assert browser.files() == {"reliable-ws.js": text.encode()}


@pytest.mark.parametrize("pattern", [REGISTRY_HOSTS, MACHINE_PATHS], ids=["registry", "path"])
def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []
