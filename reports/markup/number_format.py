"""Numbers, intervals, verdicts and sentences as one line of text: the only code that formats a number.

Other writers subclass `Inline` to escape words and to mark code.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from dataclasses import replace

from modbench.harness.core import units
from modbench.harness.core.units import scale_of, three_digits
from modbench.harness.domain.case import Case, GridPoint
from modbench.reports.blocks import Code, Estimate, Finding, Listed, Sentence, Value, where_it_ran
from modbench.reports.wording import name, verdict_words

NONE = "–"
# Units of losses; in `loss` the unit stands beside the number.
LOSSES = ("nat", "bit", "bit/B", "loss")
# What stands behind a number that has no unit of its own, and the factor in which it is shown.
_SIGNS = {"ratio": (1.0, "×"), "share": (1.0, "%"), "cost": (1.0, "%"), "points": (0.01, "points")}
_SIGNS |= dict.fromkeys(("count", "p", "loss"), (1.0, ""))


class Inline:
    """Writes a value as one line of plain text."""

    def __call__(self, value: Value) -> str:
        """Write a value; None is a dash."""
        match value:
            case Code():
                return self.code(plain(value.text), value.section)
            case Listed():
                return self._listed(value)
            case Sentence():
                return self._sentence(value)
            case GridPoint():
                return self._sentence(where_it_ran(value))
            case _:
                return self.text(_words(value))

    def text(self, words: str) -> str:
        """Write words, escaped."""
        return words

    def code(self, words: str, _section: str = "") -> str:
        """Write a command, a file or an id, which may stand for a section of the report."""
        return self.text(words)

    def _listed(self, listed: Listed) -> str:
        values = listed.values[: listed.most] if listed.most else listed.values
        made = [self(each) for each in values]
        left = len(listed.values) - len(values)
        if left:
            made.append(self.text(f"{left:,} more"))
        last = listed.last or (" and " if left else listed.between)
        between = self.text(listed.between)
        return f"{between.join(made[:-1])}{self.text(last)}{made[-1]}" if len(made) > 1 else "".join(made)

    def _sentence(self, sentence: Sentence) -> str:
        made = list[str]()
        for words, field, noun, _ in string.Formatter().parse(sentence.words):
            made.append(self.text(words) if words else "")
            if field is not None:
                value = sentence.given[field]
                made.append(self(value))
                made.append(self.text(f" {noun_for(value, noun)}") if noun else "")
        return "".join(made)


plain = Inline()


def _words(value: str | int | Case | Estimate | Finding | None) -> str:
    match value:
        case str():
            return value
        case int():
            return f"{value:,}"
        case Case():
            return name(value)
        case Estimate():
            return estimate(value)
        case Finding():
            return finding(value)
        case None:
            return NONE


def noun_for(number: object, noun: str) -> str:
    """Return the noun behind a number: of `seed` the plural is `seeds`, of `case is|cases are` the second part."""
    one, _, many = noun.partition("|")
    return one if number == 1 else many or f"{one}s"


def ratio(value: float) -> str:
    """Write a ratio: `1.62×`."""
    return f"{three_digits(value)}×"


# A share: `3.1 %`, `2 %`; and one whose decimals say nothing: `53 %`.
percent, about = units.percent, units.about


def share(value: float | None, digits: int = 0, *, signed: bool = False) -> str:
    """Write a share as in a table of a command, in few characters: `3.1%`; None is a dash."""
    if value is None:
        return NONE
    return f"{value:+.{digits}%}" if signed else f"{value:.{digits}%}"


def grid_point(axis: str, value: int) -> str:
    """Write a point of the grid: `T = 1,024`."""
    return f"{axis} = {value:,}"


def typed(value: float) -> str:
    """Write a number as it is typed in a suite or on the command line: `0.25`, `1e+15`."""
    return f"{value:g}"


def count(value: float) -> str:
    """Write a count, or what is typed: `1,230`, `12.5`, `0.125`."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def cost(value: float) -> str:
    """Write a share of the baseline's FLOPs, bytes or joules: `56`; one that differs from it never as `100`."""
    made = f"{100 * value:.0f}" if value >= 0.1 else units.per_cent(value)
    return units.per_cent(value) if made == "100" and value != 1 else made


# How a number is written by its kind, or by the unit of a quantity or difference; any other has three significant digits.
_FORMS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(LOSSES, "{:.3f}".format),  # differences between losses lie in the third decimal
    "count": count,
    "share": units.per_cent,
    "cost": cost,
    "p": "{:.2g}".format,
    "points": "{:.1f}".format,
}
# Beside speed-ups a plain number would look like one: in the unit `ratio` a quantity is a share, and a difference has points.
_OF_SHARES = {("quantity", "ratio"): "share", ("difference", "ratio"): "points", ("difference", "%"): "share"}


def _form(of: Estimate) -> str:
    """What decides how an estimate is written: its kind, or the unit of a quantity or difference."""
    return _OF_SHARES.get((of.kind, of.unit), of.unit if of.kind in {"quantity", "difference"} else of.kind)


def bare(value: float, of: Estimate, factor: float = 1.0) -> str:
    """Write a value of an estimate, or an end of its interval, without the unit that it is shown in."""
    made = _FORMS.get(_form(of), three_digits)(value / factor)
    return f"+{made}" if of.kind == "difference" and value >= 0 else made


def scale(estimate: Estimate) -> tuple[float, str]:
    """Return the factor and the name of the unit in which an estimate is shown."""
    form = _form(estimate)
    if form in _SIGNS or (form in LOSSES and estimate.kind == "difference"):
        return _SIGNS.get(form, (1.0, ""))  # the unit of a difference of losses stands beside it
    shown = estimate.value if estimate.value is not None else estimate.low or estimate.high or 0.0
    return scale_of(shown, form)


def number(estimate: Estimate) -> str:
    """Write the value with its unit, without the interval; of one that is only bounded the bound."""
    estimate = estimate.shown
    factor, unit = scale(estimate)
    space = "" if unit in {"", "×"} else " "
    if estimate.value is not None:
        shown = bare(estimate.value, estimate, factor)
        whole = unit == "%" and estimate.low is None  # beside no interval a round share needs no decimal
        return f"{shown.removesuffix('.0') if whole else shown}{space}{unit}"
    for end, word in ((estimate.low, "more than"), (estimate.high, "less than")):
        if end is not None:
            return f"{word} {bare(end, estimate, factor)}{space}{unit}"
    return NONE


def interval(estimate: Estimate) -> str:
    """Write the interval in the unit of the value: `[1.60–1.65]`, `[-0.012, +0.020]`; `[above 1.02]` where an end is open.

    Empty where there is none, or where `number` writes the bound.
    """
    estimate = estimate.shown
    if not estimate.bounded or (estimate.value is None and not estimate.closed):
        return ""
    by = scale(estimate)[0]
    if estimate.low is None or estimate.high is None:
        end, word = (estimate.low, "above") if estimate.low is not None else (estimate.high, "below")
        return f"[{word} {bare(end or 0.0, estimate, by)}]"
    ends = [bare(end, estimate, by) for end in (estimate.low, estimate.high)]
    return f"[{', '.join(ends)}]" if ends[0][0] in "+-" else f"[{'–'.join(ends)}]"


def half(estimate: Estimate, digits: int = 2) -> str:
    """Write half the interval behind a value, in as few letters as possible: `±.08`; empty where there is none."""
    return "" if estimate.half is None else f"±{f'{estimate.half:.{digits}f}'.removeprefix('0')}"


def estimate(made: Estimate) -> str:
    """Write a value with its interval: `1.62× [1.60–1.65]`; of two ends alone `0.82× to 1.06×`."""
    made = made.shown
    if made.value is None and made.ends is not None:
        return " to ".join(dict.fromkeys(number(replace(made.alone, value=end)) for end in made.ends))
    return " ".join(filter(None, [number(made), interval(made)]))


def finding(found: Finding) -> str:
    """Write what was found: `33.6 ms · 1.62× [1.60–1.65] ▲ faster`; of what stands alone its value; why there is no number.

    A ratio of times without a verdict is no claim. The label that weighs most stands with the number: that a model read later
    tokens stands with a loss, not with a ratio of costs.
    """
    if found.status != "ok":
        return found.status
    parts = [] if found.value is None else [estimate(found.value)]
    if found.typical.value is not None:
        word = verdict_words(found.verdict, timed=found.timed) if found.verdict or found.timed else ""
        label = next((label for label in found.weighed if label not in word), "")
        parts.append(" ".join(filter(None, [estimate(found.typical), word, f"({label})" if label else ""])))
    return " · ".join(parts) or NONE


def numeric(cells: Iterable[Value]) -> bool:
    """Whether a column holds numbers, or nothing."""
    found = [cell for cell in cells if cell is not None and cell != ""]
    return bool(found) and all(isinstance(cell, int | Estimate | Finding) for cell in found)
