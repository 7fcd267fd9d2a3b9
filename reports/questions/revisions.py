"""The result of `compare --paired`: every case's time on two sides, judged like arms, with the A/A test of the same blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from modbench.harness.core.case import Case
from modbench.harness.core.units import three_digits
from modbench.harness.results import run_folder
from modbench.harness.stats import alternated, effects, verdicts
from modbench.harness.stats.alternated import Block
from modbench.harness.stats.effects import Effect
from modbench.reports.questions.gate.same_experiment import differences
from modbench.reports.tables.machine_checked import APART
from modbench.reports.tables.outcomes import Tables
from modbench.reports.wording.arm_names import name
from modbench.reports.writers.text import aligned, wrapped

WORDS = {
    "better": "▲ faster",
    "worse": "▼ slower",
    "equivalent": "≈ equal",
    "different": "△ different",
    "inconclusive": "? undecided",
}


@dataclass(frozen=True)
class Row:
    """One case and workload.

    Attributes:
        case: the case.
        metric: the timed metric.
        seconds: median time of the first and of the second side, in s.
        effect: of the second side, above 0 where it is faster (log scale).
        same: the A/A effect.
        verdict: on the second side; None where the A/A test found the same code different.
        same_verdict: on the A/A effect.
        reason: why there is no verdict, or no number.
    """

    case: Case
    metric: str
    seconds: tuple[float, float] | None = None
    effect: Effect | None = None
    same: Effect | None = None
    verdict: str | None = None
    same_verdict: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: ratios, above 1 the second side is faster."""
        told: dict[str, Any] = {
            "case_id": self.case.id,
            "metric": self.metric,
            "verdict": self.verdict,
            "reason": self.reason,
        }
        told["seconds"] = None if self.seconds is None else list(self.seconds)
        told["same_verdict"] = self.same_verdict
        for key, effect in (("", self.effect), ("same_", self.same)):
            ends = (None, None, None) if effect is None else (effect.value, effect.low, effect.high)
            told |= {
                f"{key}{what}": None if end is None else math.exp(end)
                for what, end in zip(("ratio", "ci_low", "ci_high"), ends, strict=True)
            }
        return told | {"blocks": None if self.effect is None else self.effect.n}


@dataclass(frozen=True)
class Result:
    """All rows of a comparison.

    Attributes:
        sides: the two sides in words.
        margin: differences below this are of no practical interest.
        rows: one for each case and metric of either side.
    """

    sides: tuple[str, str]
    margin: float
    rows: list[Row]

    @property
    def fooled(self) -> list[Row]:
        """Rows whose A/A test found the same code different."""
        return [row for row in self.rows if row.same_verdict in APART]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        return {"sides": list(self.sides), "margin": self.margin, "rows": [row.as_dict() for row in self.rows]}


def result(blocks: Sequence[Sequence[Path]], sides: tuple[str, str], margin: float | None = None) -> Result:
    """Judge the launches.

    Args:
        blocks: run folders of every block: first side, second side, first side again.
        sides: the two sides in words.
        margin: the largest difference that does not matter, as a share; None: the suite's.
    """
    read = [[Tables(run_folder.read(str(path))) for path in block] for block in blocks]
    chosen = read[0][0].run.plan.suite.margin if margin is None else margin
    return Result(sides, chosen, _judged(list(_rows(read)), chosen))


def _rows(blocks: Sequence[Sequence[Tables]]) -> Iterator[Row]:
    first, second = blocks[0][0], blocks[0][1]
    there = {case.id: case for case in second.run.plan.cases}
    here = {case.id for case in first.run.plan.cases}
    for metric in first.run.plan.suite.metrics:
        for case in first.run.plan.cases:
            if case.id not in there:
                yield Row(case, metric, reason="the second side has no such case")
            elif _changed(case, there[case.id]):
                yield Row(case, metric, reason=f"the same id, but another case: {differences(there[case.id], case)}")
            else:
                yield _row(blocks, case, metric)
        for case in second.run.plan.cases:
            if case.id not in here:
                yield Row(case, metric, reason="new: the first side has no such case")


def _changed(case: Case, other: Case) -> bool:
    """Whether two cases of one id differ in more than the file that their model comes from."""
    return case.model_copy(update={"model": other.model}) != other


def _row(blocks: Sequence[Sequence[Tables]], case: Case, metric: str) -> Row:
    known, times = list[Block](), list[tuple[float, ...]]()
    for block in blocks:
        found = [_log_times(tables, case, metric) for tables in block]
        wrong = next((each for each in found if isinstance(each, str)), None)
        if wrong is not None:
            return Row(case, metric, reason=wrong)
        first, second, again = (each for each in found if not isinstance(each, str))
        known.append(alternated.block(first, second, again))
        times.append(tuple(median(each) for each in (first, second, again)))
    outer, inner = median([*(t[0] for t in times), *(t[2] for t in times)]), median(t[1] for t in times)
    return Row(case, metric, (math.exp(outer), math.exp(inner)), alternated.between(known), alternated.same(known))


def _log_times(tables: Tables, case: Case, metric: str) -> list[float] | str:
    """The mean log time of a process in every round; or why there is none."""
    mine = next((each for each in tables.run.plan.cases if each.id == case.id), None)
    known = tables.metrics[metric]
    if mine is None:
        return "a launch has no such case"
    trouble = tables.trouble(mine, known)
    if trouble is not None and trouble.kind != "not_steady":  # what drifts is compared with rounds right beside it
        return f"{trouble.status}: {trouble.reason}"
    (own,) = tables.cell(mine.id, metric).good().values()
    logs = np.log(own.samples[tables.made_in(known).column])
    rounds = np.asarray(own.samples["round"])
    return [float(logs[rounds == each].mean()) for each in np.unique(rounds)]


def _judged(rows: list[Row], margin: float) -> list[Row]:
    """Add verdicts; all cases are one family, and the A/A tests another."""
    p = effects.adjusted({i: row.effect.p for i, row in enumerate(rows) if row.effect and row.effect.p is not None})
    same = effects.adjusted({i: row.same.p for i, row in enumerate(rows) if row.same and row.same.p is not None})
    made = []
    for i, row in enumerate(rows):
        if row.effect is None or row.same is None:
            made.append(row)
            continue
        word, twin = verdicts.verdict(row.effect, margin, p.get(i)), verdicts.verdict(row.same, margin, same.get(i))
        if twin in APART:
            said = f"the same code came out {math.exp(row.same.value):.3f}×: this machine cannot tell the two sides apart now"
            made.append(replace(row, same_verdict=twin, reason=said))
        else:
            why = _undecided(row.effect, margin, p, i) if word == "inconclusive" else None
            made.append(replace(row, verdict=word, same_verdict=twin, reason=why))
    return made


def _undecided(effect: Effect, margin: float, p: dict[int, float], i: int) -> str:
    """Why a row is undecided, and what would decide it."""
    if (
        effect.low is not None
        and effect.high is not None
        and not effect.low <= 0 <= effect.high
        and p.get(i, 0) > 1 - effects.LEVEL
    ):
        return f"not significant among {len(p)} rows (Benjamini-Hochberg p {p[i]:.2g}): select fewer, or take more --launches"
    needed = verdicts.launches_needed(effect, margin)
    if needed is None:
        return f"not even {verdicts.MOST_LAUNCHES} blocks would decide it"
    return f"--launches {needed} would decide it"


def in_words(found: Result, width: int) -> str:
    """Return the table of the terminal."""
    first, second = found.sides
    said = [f"A: {first}", f"B: {second}", ""]
    numbered = [row for row in found.rows if row.effect is not None]
    if numbered:
        said += [*aligned([["", "A ms", "B ms", "A ÷ B", "A ÷ A", ""], *map(_line, numbered)]), ""]
        n = next(row.effect.n for row in numbered if row.effect is not None)
        how = (
            f"A ÷ B: above 1× the second side is faster; ± is half the 95 % interval over {n} blocks, differences below "
            f"{found.margin:.1%} count as equal. A ÷ A: the first side against itself, in the same blocks."
        )
        said += wrapped([how], width)
    apart = found.fooled
    if apart:
        how = f"In {len(apart)} of {len(numbered)} rows the first side came out different from itself: they have no verdict."
        said += wrapped([f"⚠ {how}"], width)
    for row in numbered:
        if row.verdict == "inconclusive":
            said += wrapped([f"? {_where(row)}: {row.reason}"], width)
    for row in found.rows:
        if row.effect is None:
            said += wrapped([f"not compared: {row.case.id} {row.metric}: {row.reason}"], width)
    return "\n".join(said)


def _line(row: Row) -> list[str]:
    assert row.seconds is not None
    assert row.effect is not None
    assert row.same is not None
    return [
        _where(row),
        *(three_digits(1e3 * each) for each in row.seconds),
        _ratio(row.effect),
        _ratio(row.same),
        "no verdict" if row.verdict is None else WORDS[row.verdict],
    ]


def _where(row: Row) -> str:
    place = row.case.place
    where = f"{name(row.case)}, {row.metric.removeprefix('latency/')} T = {place.seq_len:,}"
    return where + f", B = {place.batch_size}" * (place.batch_size > 1)


def _ratio(effect: Effect) -> str:
    half = (
        ""
        if effect.low is None or effect.high is None
        else f" ±{(math.exp(effect.high) - math.exp(effect.low)) / 2:.3f}"
    )
    return f"{math.exp(effect.value):.3f}×{half}"
