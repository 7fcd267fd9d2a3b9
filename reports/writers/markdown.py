"""Text in GitHub's Markdown: names and reasons may hold anything, and mean nothing there; a text that is too long is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from modbench.harness.core.printable import escaped

# Characters that a comment on GitHub may have.
LIMIT = 65_536
# Characters of one sentence or reason.
LONGEST = 400
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&]")
# What GitHub makes a link or a picture of after the Markdown is read, so that a backslash does not help: mentions, issues,
# addresses, names of pictures between colons. A comment of no width parts it.
_LINKED = re.compile(
    r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=\bGH)(?=-\d)|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=:)(?=[\w+-]+:)", re.IGNORECASE
)
# The beginning of a list, a heading or a rule.
_LINE = re.compile(r"^(\d*)(?=[-+](\s|$)|-{2}|#{1,6}(\s|$)|=+\s*$)|^(\d+)(?=[.)](\s|$))")
PART = "<!-- -->"


def text(said: str, most: int = LONGEST) -> str:
    """Escape a text, on one line of at most about `most` characters."""
    plain = escaped(said, lines=False).replace("\n", " ")
    plain = plain if len(plain) <= most else f"{plain[:most]} …"
    parted = _LINKED.split(plain)
    shown = PART.join(_SPECIAL.sub(_escape, part) for part in parted)
    return _LINE.sub(lambda found: f"{found[0]}\\", shown, count=1)


def _escape(match: re.Match[str]) -> str:
    return "&amp;" if match[0] == "&" else f"\\{match[0]}"


def code(said: str, most: int = LONGEST) -> str:
    """Return a text as code, on one line; GitHub links nothing in it. A `|` is escaped, so that it may stand in a table."""
    plain = escaped(said, lines=False)[:most].replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") or not plain.strip() else ""
    return f"{fence}{space}{plain}{space}{fence}"


@dataclass
class Block:
    """A part of the text, such as a table, from whose end lines may be cut.

    Attributes:
        head: lines that stay.
        rows: lines of which the last may be cut.
        what: what a row is, for the remark that says how many were cut.
        where: where all of them are.
        left_out: rows that were left out before.
    """

    head: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    what: str = "rows"
    where: str = "the run folder"
    left_out: int = 0

    def lines(self) -> list[str]:
        """Return the lines, with a remark on what was cut."""
        cut = [f"_{self.left_out:,} more {self.what}: {self.where}._"] if self.left_out else []
        return [*self.head, *self.rows, *(["", *cut] if cut and self.rows else cut)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], **more: object) -> Block:
    """Return a table of cells that are Markdown already; the first column is aligned left, the others right."""
    lines = [_row(head), "|:---|" + "---:|" * (len(head) - 1)]
    made = Block(lines, [_row(row) for row in rows])
    for name, value in more.items():
        setattr(made, name, value)
    return made


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def within(blocks: Sequence[Block], limit: int = LIMIT) -> str:
    """Join blocks to a text of fewer than `limit` characters: rows are cut from the longest block until it is."""
    while True:
        said = "\n\n".join("\n".join(block.lines()) for block in blocks if block.head or block.rows) + "\n"
        if len(said) < limit:
            return said
        longest = max(blocks, key=lambda block: sum(map(len, block.rows)))
        keep = len(longest.rows) * 3 // 4
        assert longest.rows, "the parts that are never cut are short"
        longest.left_out += len(longest.rows) - keep
        del longest.rows[keep:]
