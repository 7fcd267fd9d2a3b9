"""The fenced blocks of the documentation: what language, where, and what a comment before them says of running them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
# A comment directly before a block: `<!-- not executed: REASON -->`, or `<!-- proof: REASON -->` for what takes over ten seconds.
FENCE = re.compile(
    r"(?:^[ ]*<!-- (?P<how>not executed|proof): (?P<why>[^>]*?) -->\n+)?"
    r"^[ ]*```(?P<language>[\w-]*)(?: title=\"(?P<title>[^\"\n]+)\")?[ ]*\n(?P<body>.*?)^[ ]*```[ ]*$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its file.
        line: where it begins.
        language: what stands behind the fence.
        text: its content.
        how: `not executed`, `proof`, or empty: executed in every run of the tests.
        why: the reason for that.
        title: the file whose content it is (`title="mine.py"` behind the language); it is written instead of executed.
    """

    page: Path
    line: int
    language: str
    text: str
    how: str
    why: str
    title: str

    @property
    def grid_point(self) -> str:
        """Page and line, as an editor shows them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a block of shell, without comments; lines that end in a backslash are joined, `&&` divides."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.partition(" #")[0].strip() for line in joined.splitlines())
        return [part.strip() for line in lines if line and not line.startswith("#") for part in line.split(" && ")]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text[: found.start("language")].count("\n") + 1,
            found["language"],
            found["body"],
            found["how"] or "",
            found["why"] or "",
            found["title"] or "",
        )
        for found in FENCE.finditer(text)
    ]


ALL = [block for page in PAGES for block in blocks(page)]


def words_of(command: str) -> list[str]:
    """The words of a command, without variables that are set for it."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def inline_commands(page: Path) -> list[str]:
    """Commands of modbench inside a sentence or a table."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"`(modbench [^`]+)`", text)]
