"""Numbers, intervals, verdicts and sentences as one line of text: the only code that formats a number.

Other writers subclass `Inline` to escape words and to mark code and arms.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from modbench.harness.core import units
from modbench.harness.core.units import human_duration, scale_of, three_digits
from modbench.harness.domain.case import Case, Place
from modbench.reports.model import (
    Arms,
    Code,
    Estimate,
    Finding,
    Listed,
    PlaceAmong,
    Sentence,
    Value,
    Verdict,
)
from modbench.reports.wording import name, verdict_words

NONE = "–"


class Inline:
    """Writes a value as one line of plain text."""

    def __call__(self, value: Value) -> str:
        """Write a value; None is a dash."""
        if isinstance(value, Code):
            return self.code(plain(value.text), value.section)
        if isinstance(value, Arms):
            return self.arms(value.cases)
        if isinstance(value, Listed):
            return self._listed(value)
        if isinstance(value, Sentence):
            return self._sentence(value)
        return self.text(_words(value))

    def text(self, words: str) -> str:
        """Write words, escaped."""
        return words

    def code(self, words: str, _section: str = "") -> str:
        """Write a command, a file or an id, which may stand for a section of the page."""
        return self.text(words)

    def arms(self, cases: Sequence[Case]) -> str:
        """Write arms by mark and name."""
        return self(Listed(cases))

    def _listed(self, listed: Listed) -> str:
        values = listed.values[: listed.most] if listed.most else listed.values
        made = [self(each) for each in values]
        if listed.once:  # of what was joined before, too
            made = [*dict.fromkeys(part for each in made for part in each.split(listed.between))]
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


def _words(value: str | int | Case | Place | PlaceAmong | Verdict | Estimate | Finding | None) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    made = {Case: name, Place: place, PlaceAmong: place, Verdict: verdict}
    made |= {Estimate: estimate, Finding: finding}
    write = next((write for kind, write in made.items() if isinstance(value, kind)), None)
    return NONE if write is None else write(value)  # type: ignore[operator]


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


def point(value: float) -> str:
    """Write a point of an axis with three digits, a small whole one without decimals: `1,230`, `1.41`, `1`."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 10 or value.is_integer() else three_digits(value)


def grid_point(axis: str, value: int) -> str:
    """Write a point of the grid: `T = 1,024`."""
    return f"{axis} = {value:,}"


def length(of: Place) -> str:
    """Write the length of a place, of a request with the new tokens: `T = 512`, `T = 512 + 128`."""
    return grid_point("T", of.seq_len) + f" + {of.new_tokens:,}" * bool(of.new_tokens)


def place(among: Place | PlaceAmong) -> str:
    """Write where a case runs: `T = 512, B = 1, fp32`; among other places the length, and what distinguishes it from them."""
    of, others = (among.place, among.others) if isinstance(among, PlaceAmong) else (among, None)
    differs = {
        field: others is None or len({getattr(each, field) for each in others}) > 1
        for field in ("batch_size", "dtype", "execution")
    }
    parts = [length(of), *[grid_point("B", of.batch_size)] * differs["batch_size"]]
    parts += [of.dtype] * differs["dtype"]
    return ", ".join(
        [*parts, *[of.execution] * (differs["execution"] and (others is not None or of.execution != "eager"))]
    )


def typed(value: float) -> str:
    """Write a number as it is typed in a suite or on the command line: `0.25`, `1e+15`."""
    return f"{value:g}"


# How a number is written by its kind, or by the unit of a quantity or difference; any other has three significant digits.
_FORMS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("nat", "bit", "bit/B"), "{:.3f}".format),  # differences between losses lie in the third decimal
    "count": "{:,.0f}".format,
    "fine ratio": "{:.3f}".format,
    "rough ratio": "{:.3g}".format,
    "fraction": "{:.2f}".format,
    "loss": "{:.3f}".format,
    "correlation": "{:+.2f}".format,
    "share": units.per_cent,
    "about": lambda share: f"{100 * share:.0f}",
    "change": lambda share: units.per_cent(share, sign="+"),
    "p": "{:.2g}".format,
    "points": "{:.1f}".format,
    "duration": human_duration,
    "budget": lambda flops: f"{flops:.3g}".replace("e+", "e"),  # as it is written in a suite
    "setting": typed,
    "point": point,
}


# Beside speed-ups a plain number would look like one: in the unit `ratio` a quantity is a share, and a difference has points.
_OF_SHARES = {"quantity": "share", "difference": "points"}


# What stands behind a number of a kind.
_SIGNS = dict.fromkeys(("ratio", "fine ratio", "rough ratio"), "×") | dict.fromkeys(("share", "about", "change"), "%")


def _kind(of: Estimate) -> str:
    """What a number is."""
    return _OF_SHARES.get(of.kind, of.kind) if of.unit == "ratio" else of.kind


def _has_unit(of: Estimate) -> bool:
    return _kind(of) in {"quantity", "difference"}


def bare(value: float, of: Estimate, factor: float = 1.0) -> str:
    """Write a value of an estimate, or an end of its interval, without the unit that it is shown in."""
    form = _FORMS.get(of.unit if _has_unit(of) else _kind(of), three_digits)
    made = form(value / factor)
    return f"+{made}" if of.kind == "difference" and value >= 0 else made


def scale(estimate: Estimate) -> tuple[float, str]:
    """Return the factor and the name of the unit in which an estimate is shown."""
    if estimate.kind == "difference" and estimate.unit in _FORMS:
        return 1.0, ""  # of losses, whose unit stands beside them
    if _has_unit(estimate):
        shown = estimate.value if estimate.value is not None else estimate.low or estimate.high or 0.0
        return scale_of(shown, estimate.unit)
    if _kind(estimate) == "points":
        return 0.01, "points"
    return 1.0, _SIGNS.get(_kind(estimate), "")


def number(estimate: Estimate) -> str:
    """Write the value with its unit, without the interval; of one that is only bounded the bound."""
    factor, unit = scale(estimate)
    space = "" if unit in {"", "×"} else " "
    if estimate.value is not None:
        shown = bare(estimate.value, estimate, factor)
        whole = _kind(estimate) == "share" and estimate.low is None  # beside no interval a round share needs no decimal
        return f"{shown.removesuffix('.0') if whole else shown}{space}{unit}"
    for end, word in ((estimate.low, "more than"), (estimate.high, "less than")):
        if end is not None:
            return f"{word} {bare(end, estimate, factor)}{space}{unit}"
    return NONE


def interval(estimate: Estimate) -> str:
    """Write the interval in the unit of the value: `[1.60–1.65]`, `[-0.012, +0.020]`; `[above 1.02]` where an end is open.

    Empty where there is none, or where `number` writes the bound.
    """
    if estimate.low is None and estimate.high is None:
        return ""
    if estimate.value is None and not estimate.closed:
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
    if made.value is None and made.low is not None and made.high is not None:
        ends = (replace(made.alone, value=end) for end in (made.low, made.high))
        return " to ".join(dict.fromkeys(map(number, ends)))
    return " ".join(filter(None, [number(made), interval(made)]))


def verdict(of: Verdict) -> str:
    """Write a verdict: `▲ faster`; `no claim` where there is none."""
    return verdict_words(of.word, "s" if of.timed else "")


def finding(found: Finding) -> str:
    """Write what was found: `33.6 ms · 1.62× [1.60–1.65] ▲ faster`; of what stands alone its value; why there is no number.

    A ratio of times without a verdict is no claim. The label that weighs most stands with the number: that a model read later
    tokens stands with a loss, not with a ratio of costs.
    """
    if found.status != "ok":
        return found.status
    parts = [] if found.value is None else [estimate(found.value)]
    if found.typical.value is not None:
        word = verdict(Verdict(found.verdict, found.timed)) if found.verdict or found.timed else ""
        label = next((label for label in found.weighed if label not in word), "")
        parts.append(" ".join(filter(None, [estimate(found.typical), word, f"({label})" if label else ""])))
    return " · ".join(parts) or NONE


def numeric(cells: Iterable[Value]) -> bool:
    """Whether a column holds numbers, or nothing."""
    found = [cell for cell in cells if cell is not None and cell != ""]
    return bool(found) and all(isinstance(cell, int | Estimate | Finding) for cell in found)
