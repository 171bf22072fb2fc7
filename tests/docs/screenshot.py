"""A picture of a page, as Chromium shows it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

__all__ = ["screenshot"]


def screenshot(uri: str, image: Path, width: int, height: int, *options: str) -> None:
    """Write the picture of a page into a file. ``options`` are further ones of Chromium."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--screenshot={image}",
                *options,
                uri,
            ],
            check=True,
            timeout=60,
        )
