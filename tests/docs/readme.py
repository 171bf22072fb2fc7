"""README.md and docs/broadcast.md, and their blocks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from .test_examples import ROOT

README = (ROOT / "README.md").read_text()
BROADCAST = (ROOT / "docs" / "broadcast.md").read_text()
PORT = "8765"
SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Block:
    name: str | None
    text: str
    line: int

    def on(self, port: int) -> str:
        assert PORT in self.text
        return self.text.replace(PORT, str(port))

    def promised(self) -> list[str]:
        """What the comments say that it prints."""
        return re.findall(r"^ *print\(.*?\)  # (.+)$", self.text, re.MULTILINE)


def read(language: str, mark: str, page: str = README) -> Iterator[Block]:
    pattern = rf"(?:<!-- {mark}: (\S+) -->\n)?```{language}\n(.*?)```"
    for found in re.finditer(pattern, page, re.DOTALL):
        yield Block(found[1], found[2], page.count("\n", 0, found.start(2)))


BLOCKS = [*read("python", "run"), *read("python", "run", BROADCAST)]


def blocks(name: str) -> list[Block]:
    return [block for block in BLOCKS if block.name == name]
