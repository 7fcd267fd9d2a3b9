"""`modbench verify`: published numbers, recomputed and compared; and their text, 80 columns wide."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from modbench.extend import WIDTH, UsageError, compile_expression, share
from modbench.plugins.published.rows import FILE, Row, Verdict, read

MARKS: dict[Verdict, str] = {"reproduced": "ok", "not reproduced": "–", "wrong": "WRONG"}
_LINE = "{:<32} {:>15} {:>16} {:>8} {:>5}"
HEAD = _LINE.format("", "published", "ours", "residual", "").rstrip()
# A space at which no line is wrapped.
_FIXED = "\N{NO-BREAK SPACE}"


def verified(select: str = "") -> list[Row]:
    """The rows that `-k` selects, in the order of the file.

    Raises:
        UsageError: if the expression does not parse, or selects nothing.
    """
    rows = read(FILE.read_text(encoding="utf-8"))
    if not select:
        return rows
    matches = compile_expression(select)
    chosen = [each for each in rows if matches(each.key)]
    if not chosen:
        sources = dict.fromkeys(each.source for each in rows)
        raise UsageError(f"-k {select!r} selects no row. Sources: {', '.join(sources)}.")
    return chosen


def wrong(rows: Iterable[Row]) -> list[Row]:
    """Rows that are claimed to be reproduced, and are not."""
    return [each for each in rows if each.verdict == "wrong"]


def as_text(rows: Sequence[Row], *, verbose: bool = False) -> str:
    """The answer in one line, then a line for each source; or, verbosely, a table for each source."""
    found, mistakes = Counter(each.verdict for each in rows), wrong(rows)
    worst = max(rows, key=lambda each: abs(each.relative))
    answer = f"{len(rows)} published numbers recomputed: {found['reproduced']} agree"
    answer += f", {len(mistakes)} WRONG" * bool(mistakes)
    answer += f"; worst: {worst.source} {_relative(worst)}"
    by_source = [list(of) for _, of in itertools.groupby(rows, key=lambda each: each.source)]
    if verbose:
        legend = (
            "ok: within half a unit of the last digit printed; –: not reproduced by any convention of ours. In brackets: whose "
            "closed form it is, that of our models (catalogue) or one written for this table (own). --json: the place of each "
            "number in its source, and its configuration."
        )
        parts = ["\n".join(_table(each)) for each in by_source]
    else:
        legend = (
            "agree: within half a unit of the last digit printed; deviations are ours over published, less one. -v: every "
            "number, its convention, and why it is not reproduced. --json: also its place in the source."
        )
        parts = ["\n".join(_overview(by_source))]
    parts += ["\n".join(map(_wrong_text, mistakes))] if mistakes else []
    return "\n\n".join([answer, *parts, textwrap.fill(legend, WIDTH)])


def _overview(by_source: list[list[Row]]) -> list[str]:
    """A line for each source: how many numbers agree, and those that do not; continued where these are many."""
    width = max(len(rows[0].source) for rows in by_source)
    counts = [f"{sum(each.verdict == 'reproduced' for each in rows)} of {len(rows)}" for rows in by_source]
    column = max(map(len, counts))
    lines = [f"{'':<{width}}  {'agree':<{column}}  deviate"]
    for rows, count in zip(by_source, counts, strict=True):
        off = [
            f"{'WRONG: ' * (each.verdict == 'wrong')}{each.what} {_relative(each)}".replace(" ", _FIXED)
            for each in rows
            if each.verdict != "reproduced"
        ]
        head = f"{rows[0].source:<{width}}  {count:>{column}}  "
        indent = " " * len(head)
        wrapped = textwrap.wrap(
            "; ".join(off), WIDTH, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
        )
        lines += [line.replace(_FIXED, " ") for line in wrapped] or [head.rstrip()]
    return lines


def _table(rows: list[Row]) -> list[str]:
    """The rows of one source, each group with the convention that makes both values comparable."""
    lines = [f"{rows[0].source}: {rows[0].title}", f"  {rows[0].address}", HEAD]
    for convention, of in itertools.groupby(rows, key=lambda each: f"{each.convention} [{each.form}]"):
        for why_not, alike in itertools.groupby(of, key=lambda each: each.why_not):
            lines += [_row(each) for each in alike]
            lines += _wrapped(f"not reproduced: {why_not}") if why_not else []
        lines += _wrapped(convention)
    return lines


def _row(each: Row) -> str:
    printed = each.printed
    return _LINE.format(each.what, printed.text, printed.like(each.ours), _relative(each), MARKS[each.verdict]).rstrip()


def _relative(each: Row) -> str:
    return "0" if each.residual == 0 else share(round(each.relative, 4) or 0.0, 2, signed=True)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _wrong_text(each: Row) -> str:
    printed = each.printed
    return (
        f"WRONG: {each.source}, {each.what}: published {printed.text}, ours {printed.like(each.ours)}, "
        f"off by more than {printed.tolerance:.3g}"
    )
