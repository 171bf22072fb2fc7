"""Programs of the system that tests run: a missing one is a failure that says what to install."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.parse

import pytest

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

PACKAGES = {
    "apache2": "apache2",
    "caddy": "caddy",
    "haproxy": "haproxy",
    "lighttpd": "lighttpd",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}

PATIENCE = 60
"""Seconds that only a failure takes."""


def program(name):
    """Return the path of a program."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.fail(f"{name} is not installed: apt-get install {PACKAGES[name]}", pytrace=False)
    return found


@contextlib.contextmanager
def running(arguments, is_ready, log):
    """Run a program until the block ends; it is ready when this says so."""
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        by = time.monotonic() + PATIENCE
        while not is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < by, log.read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def get(port, path, **query):
    """Return status and body of an HTTP GET from this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answers(port, path):
    """Whether HTTP is answered there with 200."""
    try:
        return get(port, path)[0] == 200
    except OSError:
        return False


def api(port, path, **query):
    """Return what the API of Prometheus answers."""
    status, body = get(port, f"/api/v1/{path}", **query)
    answer = json.loads(body)
    assert (status, answer["status"]) == (200, "success"), answer
    return answer["data"]
