"""Run the tests on every supported Python, and against every supported release of websockets.

Between them, combinations of a framework and websockets that are known to have broken.

    python tests/matrix.py                    # everything
    python tests/matrix.py --short            # what `make test` runs: less of what lies between
    python tests/matrix.py websockets-14      # only environments whose name contains this
    python tests/matrix.py falcon

A release of websockets is put into a folder of its own, in front of what the Python that runs this
file has installed; its tests are left out where that has the same one. The other environments are
virtual. All live in ``.venvs/`` and are kept until what they were made from changes. One line per
environment; the last line counts all tests.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venvs"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# The oldest release that is supported, the last of each major since, each release of 14, whose
# new default implementation was young, and whatever is newest today.
NEWEST = "newest"
WEBSOCKETS = ("13.1", "14.0", "14.1", "14.2", "15.0.1", "16.1.1", NEWEST)
SHORT = ("13.1", "14.0", NEWEST)  # with --short


def oldest(*names: str) -> tuple[str, ...]:
    """Return the oldest releases that will do: the lower bounds in pyproject.toml."""
    bounds = dict(line.split(">=") for line in PYPROJECT["dependency-groups"]["frameworks"])
    return tuple(f"{name}=={bounds[name]}" for name in names)


# The newest releases of frameworks are tested where the development environment has them.
COMBINATIONS = (
    # It broke when websockets 14.0 renamed extra_headers.
    (
        "falcon-4.0.2",
        "14.0",
        ("falcon==4.0.2", "uvicorn==0.32.1"),
        ("tests/transports/test_falcon.py",),
    ),
    (
        "oldest-frameworks",
        NEWEST,
        (
            *oldest("aiohttp", "channels", "falcon", "fastapi", "litestar", "picows", "quart"),
            *oldest("sanic", "simple-websocket", "starlette", "tornado", "websocket-client"),
            *oldest("blacksheep", "curl_cffi", "flask-sock"),
            *("daphne", "django", "gunicorn", "hypercorn", "uvicorn"),
            "sniffio",  # which Litestar of old had from anyio
        ),
        (
            "tests/transports/test_aiohttp.py",
            "tests/transports/test_blacksheep.py",
            "tests/transports/test_channels.py",
            "tests/transports/test_curl_cffi.py",
            "tests/transports/test_falcon.py",
            "tests/transports/test_frameworks.py",
            "tests/transports/test_picows.py",
            "tests/transports/test_picows_opener.py",
            "tests/transports/test_sanic.py",
            "tests/transports/test_simple_websocket.py",
            "tests/transports/test_tornado.py",
            "tests/transports/test_websocket_client.py",
        ),
    ),
)


def marked(*marks: str) -> tuple[str, ...]:
    """Return arguments for pytest: the files with tests that have one of these marks.

    To import every other file of these folders as well would take seconds in each environment.
    """
    wanted = re.compile(rf"mark\.({'|'.join(marks)})\b|\bover_sockets\b")
    files = [
        str(path.relative_to(ROOT))
        for folder in ("adapters", "aio", "sync", "transports")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
        if wanted.search(path.read_text("utf-8"))
    ]
    return (*files, "-m", " or ".join(marks))


# Each suite is one call of pytest.
RELEASE = marked("transport")
PYTHON = marked("transport", "python")
CORE = ("tests/core",)

MINUTES = 20  # one call of pytest that takes longer hangs
JOBS = 6  # most of the time they wait
NO_TESTS = 5  # pytest's exit status


class Failed(Exception):
    """An environment could not be made or its tests did not run; the text says why."""


@dataclass(frozen=True)
class Environment:
    python: str  # "3.12"
    interpreter: str  # path
    websockets: str
    suites: tuple[tuple[str, ...], ...]
    framework: str = ""
    also: tuple[str, ...] = ()  # requirements
    in_front: bool = False  # a folder with websockets alone, in front of what this Python has

    @property
    def name(self) -> str:
        parts = ("python", self.python, "websockets", self.websockets, self.framework)
        return "-".join(filter(None, parts))

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def executable(self) -> Path:
        if self.in_front:
            return Path(sys.executable)
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def variables(self) -> dict[str, str]:
        """What its processes find in their environment."""
        # A tenth of the examples: what these find is not a matter of a Python's version.
        changes = {"RELIABLE_WS_EXAMPLES": "0.1"}
        if self.in_front:
            paths = (str(self.folder), os.environ.get("PYTHONPATH", ""))
            changes["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return os.environ | changes

    def requirements(self) -> list[str]:
        if self.in_front:
            newest = self.websockets == NEWEST
            return ["websockets" if newest else f"websockets=={self.websockets}"]
        wanted = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["test"]]
        if self.websockets != NEWEST:
            wanted.append(f"websockets=={self.websockets}")
        return [*wanted, *self.also]

    def make(self) -> None:
        """Make what is not there yet; ask for a newer release where the newest is wanted."""
        made_from = "\n".join([self.interpreter, *self.requirements()])
        fingerprint = hashlib.sha256(made_from.encode()).hexdigest()
        stamp = self.folder / "made-from"
        if not stamp.exists() or stamp.read_text("utf-8") != fingerprint:
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.in_front:
                call(self.interpreter, "-m", "venv", "--without-pip", str(self.folder))
            self.install(*self.requirements())
            stamp.write_text(fingerprint, "utf-8")
        elif self.websockets == NEWEST:
            self.install("--upgrade", "websockets")

    def install(self, *what: str) -> None:
        pip = (sys.executable, "-m", "pip", "--python", str(self.executable))
        where = ("--target", str(self.folder), "--no-deps") if self.in_front else ()
        call(*pip, "install", "-qq", "--disable-pip-version-check", "--no-input", *where, *what)

    def websockets_version(self) -> str:
        asked = "import importlib.metadata as m; print(m.version('websockets'))"
        return call(str(self.executable), "-c", asked, env=self.variables).strip()


@dataclass
class Result:
    environment: Environment
    websockets: str = "?"
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""  # why its tests were not run
    trouble: str = ""  # output worth reading; not empty if and only if something is wrong

    def line(self) -> str:
        verdict = "FAILED" if self.trouble else "ok"
        return (
            f"{verdict:6} websockets {self.websockets:8} python {self.environment.python:5}"
            f" {self.passed:5} passed {self.failed:4} failed {self.skipped:4} skipped"
            f" {self.environment.framework}{self.note}".rstrip()
        )


def call(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def run(environment: Environment) -> Result:
    result = Result(environment)
    try:
        environment.make()
        result.websockets = environment.websockets_version()
        if environment.in_front and result.websockets == version("websockets"):
            result.note = "as `make pytest` has it"
            return result
        for suite in environment.suites:
            run_suite(suite, result)
    except Failed as failure:
        result.failed += 1  # an environment that cannot be tested counts as one failed test
        result.trouble += str(failure)
    return result


def run_suite(suite: tuple[str, ...], result: Result) -> None:
    folder = result.environment.folder
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [str(result.environment.executable), "-m", "pytest", "-q", "--color=no"]
    # Two environments run at the same time: nothing that is written may be shared.
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", *suite]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=result.environment.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=MINUTES * 60,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise Failed(f"{' '.join(suite)}: still running after {MINUTES} minutes") from expired
    if done.returncode == NO_TESTS:
        raise Failed(f"{' '.join(suite)}: no test was run")
    if not report.exists():
        raise Failed(done.stdout)
    for counted in ET.parse(report).getroot().iter("testsuite"):
        failed = int(counted.get("failures", 0)) + int(counted.get("errors", 0))
        skipped = int(counted.get("skipped", 0))
        result.failed += failed
        result.skipped += skipped
        result.passed += int(counted.get("tests", 0)) - failed - skipped
    if done.returncode:
        result.trouble += done.stdout


def find_python(version: str) -> str | None:
    """Return the path of an interpreter of this minor version that runs and can make a venv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [sys.executable, f"python{version}", "python3"]
    candidates += [str(p) for p in sorted(pyenv.glob(f"versions/{version}*/bin/python"))]
    asked = "import sys, venv; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable)"
    for candidate in candidates:
        try:
            found, path = call(candidate, "-c", asked).splitlines()
        except (Failed, OSError, ValueError):
            continue  # not there, or a stand-in that only says where it could be
        if found == version:
            return path
    return None


def supported_pythons() -> list[str]:
    lines = PYPROJECT["project"]["classifiers"]
    return [m[1] for line in lines if (m := re.fullmatch(r".*Python :: (3\.\d+)", line))]


def main(wanted: str = "") -> int:
    if short := wanted == "--short":
        wanted = ""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Those that take longest begin first.
    environments = []
    for python in supported_pythons():
        if python == here:
            continue
        if interpreter := find_python(python):
            environments.append(Environment(python, interpreter, NEWEST, (CORE, PYTHON)))
        else:
            print(f"absent: Python {python} was not found and is not tested", flush=True)
    for framework, release, also, suite in COMBINATIONS[: 1 if short else None]:
        interpreter = find_python(here) or sys.executable
        environments.append(Environment(here, interpreter, release, (suite,), framework, also))
    environments += [
        Environment(here, sys.executable, release, (RELEASE,), in_front=True)
        for release in (SHORT if short else WEBSOCKETS)
    ]

    results = []
    with ThreadPoolExecutor(JOBS) as pool:
        for result in pool.map(run, [e for e in environments if wanted in e.name]):
            print(result.line(), flush=True)
            results.append(result)
    for result in results:
        if result.trouble:
            print(f"\n--- {result.environment.name}\n{result.trouble}")
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 1 if not results or any(r.trouble for r in results) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
