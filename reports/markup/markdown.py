"""GitHub's Markdown, and what GitHub Actions reads: names and reasons mean nothing there; a text that is too long is cut.

Rules of annotations: github.com/actions/toolkit, `packages/core/src/command.ts` (how a command's text is escaped);
docs.github.com, *Workflow commands* (a summary holds at most 1 MiB per step; ten annotations of each kind are shown).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modbench.harness.core.errors import brief
from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import escaped
from modbench.reports import blocks
from modbench.reports.markup.number_format import Inline, plain

# Characters that a comment on GitHub may have.
LIMIT = 65_536
# Characters of one sentence or reason, and of a part of a sentence.
LONGEST, MOST = 400, 1200
# Underscores within a word mean nothing, nor do the brackets of an interval that follows a word.
_SPECIAL = re.compile(r"(?<=[^\W_])_+(?=[^\W_])|(?<=\S )\[[-+]?\d[-+–\d.,e% ]*\](?![\[(:])|([\\`*_\[\]<>|~$&])")
# What GitHub makes a link or a picture of after the Markdown is read, so that a backslash does not help: mentions, issues,
# addresses, names of pictures between colons. A space of no width parts it.
_LINKED = re.compile(
    r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=\bGH)(?=-\d)|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=:)(?=[\w+-]+:)", re.IGNORECASE
)
# The beginning of a list, a heading or a rule.
_LINE = re.compile(r"^(\d*)(?=[-+](\s|$)|-+\s*$|#{1,6}(\s|$)|=+\s*$)|^(\d+)(?=[.)](\s|$))")
PART = "&#8203;"


def text(said: str, most: int = LONGEST, *, begins: bool = True) -> str:
    """Escape and mask a text, on one line of at most about `most` characters.

    Args:
        said: the text.
        most: characters.
        begins: whether a line may begin with it.
    """
    plain = escaped(masked(said), lines=False)
    plain = plain if len(plain) <= most else f"{plain[:most]} …"
    parted = _LINKED.split(plain)
    shown = PART.join(_SPECIAL.sub(_escape, part) for part in parted)
    return _LINE.sub(lambda found: f"{found[0]}\\", shown, count=1) if begins else shown


def _escape(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return "&amp;" if match[0] == "&" else f"\\{match[0]}"


def code(said: str) -> str:
    """Return a text in the font of code, escaped as any other: in backticks a `|` would end a cell of a table."""
    return f"<code>{text(said, begins=False)}</code>"


@dataclass
class Block:
    """A part of the text, such as a table, from whose end lines may be cut.

    Attributes:
        head: lines that stay.
        rows: lines of which the last may be cut.
        what: what a row is, for the remark that says how many were cut.
        where: where all of them are.
        left_out: rows that were left out before.
        tail: lines that stay below them.
    """

    head: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    what: str = "rows"
    where: str = "the run folder"
    left_out: int = 0
    tail: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the lines, with a remark on what was cut."""
        cut = [f"_{self.left_out:,} more {self.what}: {self.where}._"] if self.left_out else []
        below = [line for each in (*cut, *self.tail) for line in ("", each)]
        return [*self.head, *self.rows, *(below if self.rows else below[1:])]


class _Markdown(Inline):
    def text(self, words: str) -> str:
        return text(words, MOST)

    def code(self, words: str, _section: str = "") -> str:
        return code(words)


class _Cell(_Markdown):
    def text(self, words: str) -> str:
        return text(words, MOST, begins=False)


inline, _cell = _Markdown(), _Cell()


def block(made: blocks.Block) -> Block:
    """Write a block; a figure is named, not shown."""
    match made:
        case blocks.Table():
            return _table(made)
        case blocks.Note():
            return Block([f"<sub>{inline(made.said)}</sub>"])
        case blocks.Alert():
            return Block([f"> **Warning:** {inline(made.said)}"])
        case blocks.Figure():
            return Block([f"_Figure: {inline(made.label)}_"])
        case blocks.Sentence():
            return Block([inline(made)])


def listed(title: str, said: Sequence[blocks.Value], what: str, where: str) -> Block:
    """Write sentences as a list below a heading; nothing where there are none."""
    return Block([f"### {title}", ""], [f"- {inline(each)}" for each in said], what, where) if said else Block()


def _table(made: blocks.Table) -> Block:
    """Write a table below its heading; columns with numbers are aligned right."""
    groups = made.groups or [""] * len(made.head)
    titles = [
        ": ".join(filter(None, [_cell(group), _cell(title)])) for group, title in zip(groups, made.head, strict=True)
    ]
    at = f" ({text(plain(made.at))})" if made.at else ""
    head = [
        f"### {text(made.label[:1].upper() + made.label[1:])}{at}",
        "",
        _row(titles),
        f"|{'|'.join(_alignment(row[at] for row in made.rows) for at in range(len(titles)))}|",
    ]
    rows = [_row([_cell(each) for each in row]) for row in made.rows]
    notes = [f"<sub>{'; '.join(map(inline, made.notes))}</sub>"] if made.notes else []
    return Block(head, rows, made.rows_are, made.file or "the run folder", made.left_out, notes)


def _alignment(cells: Iterable[blocks.Value]) -> str:
    """Align a column with a number right, others left."""
    return "---:" if any(isinstance(cell, int | blocks.Estimate | blocks.Finding) for cell in cells) else ":---"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def within(blocks: Sequence[Block], limit: int = LIMIT, size: Callable[[str], int] = len) -> str:
    """Join blocks to a text below a limit: rows are cut from the longest block until it is; nothing if that does not suffice."""
    while True:
        said = "\n\n".join("\n".join(block.lines()) for block in blocks if block.head or block.rows) + "\n"
        if size(said) < limit:
            return said
        longest = max(blocks, key=lambda block: sum(map(len, block.rows)))
        if not longest.rows:
            return ""
        keep = len(longest.rows) * 3 // 4
        longest.left_out += len(longest.rows) - keep
        del longest.rows[keep:]


# Where the runner reads the summary of a step.
VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_BYTES = 2**20
MOST_ANNOTATIONS = 10
# Characters of a title or a message.
MOST_TOLD = 300
# What means something in a command, and in its title alone.
_OF_COMMANDS, _OF_TITLES = (str.maketrans({each: f"%{ord(each):02X}" for each in said}) for said in ("%\r\n", ":,"))


def annotation(kind: str, title: str, message: str) -> str:
    """Return the workflow command that shows an annotation, an `error` or a `warning`: `::error title=…::…`."""
    title, message = (brief(escaped(brief(masked(each), MOST_TOLD)), MOST_TOLD) for each in (title, message))
    title = title.translate(_OF_COMMANDS | _OF_TITLES)
    return f"::{kind} title={title}::{message.translate(_OF_COMMANDS)}"


def first_annotations(kind: str, told: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield an annotation for each title and message; of more than GitHub shows, the last says how many there are."""
    most = MOST_ANNOTATIONS if len(told) <= MOST_ANNOTATIONS else MOST_ANNOTATIONS - 1
    for title, message in told[:most]:
        yield annotation(kind, title, message)
    if len(told) > most:
        yield annotation(kind, f"and {len(told) - most:,} more", "the job summary lists them")


def room(file: Path) -> int:
    """Return how many bytes a step's summary still takes: what earlier commands of the step wrote counts."""
    try:
        return MOST_BYTES - file.stat().st_size
    except FileNotFoundError:
        return MOST_BYTES
