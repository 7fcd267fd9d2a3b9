"""What `modbench verify` prints: a table for each source, 80 columns wide."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Sequence

from modbench.tools.verify import Verified

WIDTH = 80
MARKS = {"reproduced": "ok", "not reproduced": "–", "wrong": "WRONG"}
_LINE = "{:<32} {:>15} {:>16} {:>8} {:>5}"
HEAD = _LINE.format("", "published", "ours", "residual", "").rstrip()


def as_text(rows: Sequence[Verified]) -> str:
    """Tables, and a sentence with the numbers of rows of each verdict."""
    blocks = [_source(list(of)) for _, of in itertools.groupby(rows, key=lambda each: each.name)]
    return "\n\n".join([*blocks, _closing(rows)])


def _source(rows: list[Verified]) -> str:
    lines = [f"{rows[0].name}: {rows[0].source.title}", f"  {rows[0].source.address}", HEAD]
    for convention, of in itertools.groupby(rows, key=lambda each: f"{each.row.convention} [{each.row.form}]"):
        for why_not, alike in itertools.groupby(of, key=lambda each: each.row.why_not):
            lines += [_row(each) for each in alike]
            lines += _wrapped(f"not reproduced: {why_not}") if why_not else []
        lines += _wrapped(convention)
    return "\n".join(lines)


def _row(each: Verified) -> str:
    relative = each.residual / each.row.printed.value
    residual = "0" if each.residual == 0 else f"{round(relative, 4) or 0.0:+.2%}"
    printed = each.row.printed
    return _LINE.format(each.row.what, printed.text, printed.like(each.ours), residual, MARKS[each.verdict]).rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _closing(rows: Sequence[Verified]) -> str:
    found = Counter(each.verdict for each in rows)
    sources = len({each.name for each in rows})
    lines = textwrap.wrap(
        f"{len(rows)} published numbers from {sources} sources: {found['reproduced']} reproduced within half a unit of their "
        f"last digit, {found['not reproduced']} that no convention of ours reproduces, {found['wrong']} wrong. In brackets: "
        "whose closed form it is, that of our models (catalogue) or one written for this table (own). Where each number is "
        "printed, and the configuration: --json.",
        WIDTH,
    )
    return "\n".join([*lines, *(_complaint(each) for each in rows if each.verdict == "wrong")])


def _complaint(each: Verified) -> str:
    printed = each.row.printed
    return (
        f"WRONG: {each.name}, {each.row.what}: published {printed.text}, ours {printed.like(each.ours)}, "
        f"off by more than {printed.tolerance:.3g}"
    )
