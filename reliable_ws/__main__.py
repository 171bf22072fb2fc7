"""``python -m reliable_ws``."""

from __future__ import annotations

import sys

from reliable_ws.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
