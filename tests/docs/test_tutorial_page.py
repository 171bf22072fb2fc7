"""docs/tutorial.md is run from its beginning to its end, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text()


def test_the_tutorial_prints_what_it_says(tmp_path):
    program = "\n".join(re.findall(r"<!-- run: tutorial -->\n```python\n(.*?)```", PAGE, re.DOTALL))
    assert program.count("asyncio.run") == PAGE.count("```text") > 0
    (tmp_path / "orders.py").write_text(f"{program}\nassert packed == [1, 2, 3, 4, 5, 6], packed\n")
    done = subprocess.run(
        [sys.executable, "orders.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
    assert "Traceback" not in done.stderr
