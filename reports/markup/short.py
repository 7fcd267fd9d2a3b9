"""Cells as short as can be, for a terminal, a notebook and a paper: `14.1` beside `1.79×±.08▲`; and what their marks mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from modbench.harness.core.labels import Label
from modbench.harness.core.units import scale_of
from modbench.harness.domain.case import Case
from modbench.harness.stats.verdicts import BETTER, BETTER_OPEN, EQUIVALENT, INCONCLUSIVE, WORSE, WORSE_OPEN
from modbench.reports.blocks import ILLUSTRATION, Estimate, Finding, Sentence, Table, Value
from modbench.reports.markup.number_format import NONE, Inline, about, bare, half, interval, number, percent, scale
from modbench.reports.wording import name, short

# Marks behind a number, each explained below the tables where it occurs.
FUTURE, NOISY, TAIL, FEW, LABELLED = "†", "‡", "§", "¹", "!"
# Behind the best of a column; before a ratio that is not the quotient of the two times beside it; where it is open.
BEST, APART, OPEN = "*", "~", "?"
# In place of a number.
FAILED = "failed"
# Before a ratio of CPU times.
BY_CPU = "c"
GLYPHS = {BETTER: "▲", WORSE: "▼", BETTER_OPEN: "△", WORSE_OPEN: "▽", EQUIVALENT: "≈", INCONCLUSIVE: OPEN}
# The mark of each label that has one of its own; `c` stands before the number.
MARKS: Mapping[str, str] = {
    Label.NOT_AUTOREGRESSIVE: FUTURE,
    Label.SAW_FUTURE: FUTURE,
    Label.NOISY: NOISY,
    Label.TAIL: TAIL,
    ILLUSTRATION: FEW,
    Label.BY_CPU: "",
}


@dataclass(frozen=True)
class Short(Inline):
    """Writes cells of a table, with short names of variants, and of an estimate its interval alone where these are asked for."""

    called: bool = False
    brief: bool = False

    def __call__(self, value: Value) -> str:
        """Write a value; None is a dash."""
        if isinstance(value, Case):
            return short(value) if self.called else name(value)
        if isinstance(value, Estimate) and self.brief and value.closed:
            return interval(value).strip("[]")
        if isinstance(value, Estimate) and self.brief and value.kind == "share" and value.value is not None:
            return about(value.value)
        return super().__call__(value)

    def _sentence(self, sentence: Sentence) -> str:
        made = super()._sentence(sentence)
        return made.removeprefix("≈") if self.brief else made


def cells(made: Table, style: Inline) -> list[Sequence[str]]:
    """Write the cells of a table, its head first; the unit that most columns have stands beside the label, others in the head."""
    columns = [[row[at] for row in made.rows] for at in range(len(made.head))]
    own = [[cell.value for cell in column if isinstance(cell, Finding) and cell.value] for column in columns]
    units = [found[0].unit if found and found[0].kind == "quantity" else "" for found in own]
    scales = {unit: _shared_scale(unit, chain(*own)) for unit in units}
    corner = max(filter(None, units), key=units.count, default="") if made.head[0] == "" else ""
    written = list[list[str]]()
    for title, unit, column in zip(made.head, units, columns, strict=True):
        first = not written
        head = style(title) or (made.label if first else "")
        called = scales[corner if first else unit][1] if first or unit != corner else ""
        head += f", {called}" if called and called not in head else ""
        written.append([head, *_column(column, style, scales[unit][0])])
    return [*zip(*written, strict=True)]


def _shared_scale(unit: str, values: Iterable[Estimate]) -> tuple[float, str]:
    """Return the factor and the name of the unit in which all values of a base unit are shown."""
    largest = max((each.value or 0.0 for each in values if each.unit == unit), default=0.0)
    return scale_of(largest, unit) if unit else (1.0, "")


def _column(cells: Sequence[Value], style: Inline, factor: float) -> list[str]:
    """Write the cells of a column: values aligned, and beside them what is found; a mark behind the best."""
    made = [_finding(cell, factor) if isinstance(cell, Finding) else (style(cell), "") for cell in cells]
    if any(isinstance(cell, Finding) for cell in cells):
        first, second = (max((len(pair[i]) for pair in made if FAILED not in pair), default=0) for i in (0, 1))
        between = " " * bool(first and second)
        joined = [
            beside if beside == FAILED else f"{value.rjust(first)}{between}{beside.rjust(second)}"
            for value, beside in made
        ]
        texts = [text.rjust(max(map(len, joined))) for text in joined]
    else:
        texts = [value for value, _ in made]
    best = [isinstance(cell, Finding) and cell.best for cell in cells]
    return [f"{text}{BEST if mine else ' '}" for text, mine in zip(texts, best, strict=True)] if any(best) else texts


def _finding(found: Finding, factor: float) -> tuple[str, str]:
    """Write a value and what is found: `14.1` and `1.79×±.08▲`; a baseline has its value alone, a failure the word."""
    own = found.value
    value = "" if own is None else NONE if own.value is None else bare(own.value, own, factor)
    if found.status == FAILED:
        return "", FAILED
    if found.status != "ok":
        return value or NONE, ""
    return value, "" if found.against is None else compared(found)


def compared(found: Finding) -> str:
    """Write a comparison as short as can be, with half its interval and its mark: `1.79×±.08▲`, `+0.017±.004†`.

    Where it is known against a matched baseline too, that has the second mark: `1.79×±.08▲▼`.
    """
    second = "" if found.matched is None else _mark(found.matched)
    made = found.typical.shown
    if made.value is None:
        return NONE
    if made.kind == "cost":
        return f"{number(made.alone)}{_mark(found)}"
    if made.kind == "ratio":
        return f"{APART * found.apart}{BY_CPU * found.by_cpu}{made.value:.2f}×{half(made)}{_mark(found)}{second}"
    factor = scale(made)[0]
    digits = 1 if factor < 1 else 3  # of points one
    return f"{bare(made.value, made, factor)}{half(made.scaled(1 / factor), digits)}{_mark(found)}{second}"


def _mark(found: Finding) -> str:
    """The verdict as a glyph, a blank where there is none, and the mark of the label that weighs most."""
    label = next((mark for label in found.weighed if (mark := MARKS.get(label, LABELLED))), "")
    if label in {FUTURE, FEW, NOISY}:
        return label
    glyph = GLYPHS.get(found.verdict or "", " ") if found.timed or found.typical.kind == "difference" else ""
    return f"{glyph}{label}"


# What stands below tables of speed-ups, whatever marks occur; below it the marks that do.
SPEED_UPS = "speed-up over the baseline ± half its 95 % CI"
VERDICTS = "▲ faster ▼ slower △ ▽ size open ≈ equivalent ? inconclusive"
BETTER_WORSE = VERDICTS.replace("faster", BETTER).replace("slower", WORSE)
FASTER_BETTER = VERDICTS.replace("faster", f"faster, {BETTER}").replace("slower", f"slower, {WORSE}")
MARKED = {
    r"\S\*": "* fastest",
    FUTURE: "† not causal: losses do not compare",
    NOISY: "‡ noisy",
    TAIL: "§ median and mean disagree",
    FEW: "¹ too few seeds for a claim",
    LABELLED: "! see doubt",
    "°": "° points left out",
    rf"\W{APART}\d+\.\d+×": "~ not the quotient of the two times",
    rf"\W{BY_CPU}\d+\.\d+×": "c by CPU time",
}


def explained(
    lines: Iterable[str], speed_ups: str = SPEED_UPS, verdicts: str = VERDICTS, margin: float | None = None
) -> list[str]:
    """Return what explains tables: ratios and verdicts always in the same words, then the marks that occur in them.

    With the equivalence margin it is said how small a difference may be whose size is open.
    """
    said = "\n".join(lines)
    if verdicts == VERDICTS and re.search(r"[+-]\d\.\d{3}(±\S*?)?[▲▼△▽]", said):
        verdicts = FASTER_BETTER
    if margin is not None:
        verdicts = verdicts.replace("size open", f"size open (< {percent(margin)}?)")
    fixed = [speed_ups] * ("×±" in said) + [verdicts] * bool(re.search(r"\d[▲▼△▽≈?]", said))
    return [*fixed, *(words for mark, words in MARKED.items() if re.search(mark, said))]
