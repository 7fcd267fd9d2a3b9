"""The result of `compare --paired`: every case's time on two sides, judged like arms, with the A/A test of the same blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from modbench.harness.domain.case import Case
from modbench.harness.results import run_folder
from modbench.harness.stats import aba_blocks, effects, sample_size, verdicts
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.verdicts import Estimates
from modbench.reports.model import Alert, Block, Estimate, Finding, Sentence, Table, Value, Verdict
from modbench.reports.questions.gate.comparer import differences
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import APART
from modbench.reports.wording import TIMED
from modbench.reports.writers.number_format import plain


@dataclass(frozen=True)
class Row(Finding):
    """One case and workload: `typical` is the ratio of times, above 1 where the second side is faster, over `n` blocks.

    There is no verdict where the A/A test found the same code different.

    Attributes:
        what: the case.
        seconds: median time of the first and of the second side; None where there is none.
        same: the A/A test: the first side against itself, in the same blocks.
    """

    what: Case
    seconds: tuple[Estimate, Estimate] | None = None
    same: Finding | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: ratios, above 1 the second side is faster."""
        told: dict[str, Any] = {"case_id": self.what.id, "metric": self.metric}
        told |= {"verdict": self.verdict, "reason": self.reason}
        told["seconds"] = None if self.seconds is None else [each.value for each in self.seconds]
        told["same_verdict"] = None if self.same is None else self.same.verdict
        for key, made in (("", self.typical), ("same_", self.same.typical if self.same else Estimate(None))):
            told |= {f"{key}ratio": made.value, f"{key}ci_low": made.low, f"{key}ci_high": made.high}
        return told | {"blocks": self.typical.n}


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
        return [row for row in self.rows if row.same is not None and row.same.verdict in APART]

    @property
    def compared(self) -> list[Row]:
        """Rows that have a ratio."""
        return [row for row in self.rows if row.typical.value is not None]

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
    return Result(sides, chosen, _judged([*_rows(read)], chosen))


@dataclass(frozen=True)
class _Timed:
    """A case that was timed on both sides: its row without the ratios, and the effects that are to be judged (log scale)."""

    row: Row
    effect: Effect
    same: Effect


def _rows(blocks: Sequence[Sequence[Tables]]) -> Iterator[Row | _Timed]:
    first, second = blocks[0][0], blocks[0][1]
    there = {case.id: case for case in second.run.plan.cases}
    here = {case.id for case in first.run.plan.cases}
    for metric in first.run.plan.suite.metrics:
        for case in first.run.plan.cases:
            if case.id not in there:
                yield Row(case, metric=metric, reason="the second side has no such case")
            elif _changed(case, there[case.id]):
                changed = f"the same id, but another case: {differences(there[case.id], case)}"
                yield Row(case, metric=metric, reason=changed)
            else:
                yield _row(blocks, case, metric)
        for case in second.run.plan.cases:
            if case.id not in here:
                yield Row(case, metric=metric, reason="new: the first side has no such case")


def _changed(case: Case, other: Case) -> bool:
    """Whether two cases of one id differ in more than the file that their model comes from."""
    return case.model_copy(update={"model": other.model}) != other


def _row(blocks: Sequence[Sequence[Tables]], case: Case, metric: str) -> Row | _Timed:
    known, times = list[aba_blocks.Block](), list[tuple[float, ...]]()
    for block in blocks:
        found = [_log_times(tables, case, metric) for tables in block]
        wrong = next((each for each in found if isinstance(each, str)), None)
        if wrong is not None:
            return Row(case, metric=metric, reason=wrong)
        first, second, again = (each for each in found if not isinstance(each, str))
        known.append(aba_blocks.block(first, second, again))
        times.append(tuple(median(each) for each in (first, second, again)))
    outer, inner = median([*(t[0] for t in times), *(t[2] for t in times)]), median(t[1] for t in times)
    seconds = Estimate(math.exp(outer), unit="s"), Estimate(math.exp(inner), unit="s")
    return _Timed(Row(case, metric=metric, seconds=seconds), aba_blocks.between(known), aba_blocks.same(known))


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


def _judged(rows: Sequence[Row | _Timed], margin: float) -> list[Row]:
    """Add ratios and verdicts; all cases are one family, and the A/A tests another."""
    timed = {i: row for i, row in enumerate(rows) if isinstance(row, _Timed)}
    p = effects.adjusted({i: row.effect.p for i, row in timed.items() if row.effect.p is not None})
    same = effects.adjusted({i: row.same.p for i, row in timed.items() if row.same.p is not None})
    made = list[Row]()
    for i, row in enumerate(rows):
        if isinstance(row, Row):
            made.append(row)
            continue
        twin = verdicts.judge(Estimates(row.same, p=same.get(i)), margin).word
        itself = Finding(row.row.what, row.row.what, metric=row.row.metric, typical=_ratio(row.same), verdict=twin)
        found = replace(row.row, against="", typical=_ratio(row.effect), same=itself)
        if twin in APART:
            apart = Sentence(
                "the same code came out {ratio}: this machine cannot tell the two sides apart now",
                ratio=replace(itself.typical, low=None, high=None),
            )
            made.append(replace(found, reason=plain(apart)))
        else:
            word = verdicts.judge(Estimates(row.effect, p=p.get(i)), margin).word
            why = _undecided(row.effect, margin, p, i) if word == "inconclusive" else None
            made.append(replace(found, verdict=word, reason=why))
    return made


def _ratio(effect: Effect) -> Estimate:
    """Return an effect on the log scale as a ratio of times."""
    low, high = (None if end is None else math.exp(end) for end in (effect.low, effect.high))
    return Estimate(math.exp(effect.value), low, high, "ratio", "s", n=effect.n)


def _undecided(effect: Effect, margin: float, p: dict[int, float], i: int) -> str:
    """Why a row is undecided, and what would decide it."""
    if (
        effect.low is not None
        and effect.high is not None
        and not effect.low <= 0 <= effect.high
        and p.get(i, 0) > 1 - effects.LEVEL
    ):
        said = Sentence(
            "not significant among {n} rows (Benjamini-Hochberg p {p}): select fewer, or take more --launches",
            n=len(p),
            p=Estimate(p[i], kind="p"),
        )
        return plain(said)
    needed = sample_size.to_decide(effect, margin)
    if needed is None:
        return f"not even {sample_size.MOST} blocks would decide it"
    return f"--launches {needed} would probably decide it"


def blocks(found: Result) -> Iterator[Block]:
    """Yield the two sides, a table for each metric, and what rests on the A/A test, is undecided or was not compared."""
    first, second = found.sides
    yield Sentence("A: {side}", side=first)
    yield Sentence("B: {side}", side=second)
    for metric in dict.fromkeys(row.metric for row in found.compared):
        yield _table(metric, [row for row in found.compared if row.metric == metric])
    if found.compared:
        yield Sentence(
            "A ÷ B: above 1× the second side is faster; 95 % intervals over {n} blocks, differences below {margin} count as "
            "equal. A ÷ A: the first side against itself, in the same blocks.",
            n=found.compared[0].typical.n,
            margin=Estimate(found.margin, kind="share"),
        )
    if found.fooled:
        yield Alert(
            Sentence(
                "In {n} of {all} rows the first side came out different from itself: they have no verdict.",
                n=len(found.fooled),
                all=len(found.compared),
            )
        )
    for row in found.compared:
        if row.verdict == "inconclusive":
            yield Sentence("? {where}: {why}", where=_where(row), why=row.reason)
    for row in found.rows:
        if row.typical.value is None:
            yield Sentence("not compared: {case} {metric}: {why}", case=row.what.id, metric=row.metric, why=row.reason)


def _table(metric: str, rows: Sequence[Row]) -> Table:
    title = {key: words for words, key in TIMED}.get(metric, metric)
    cells = list[tuple[Value, ...]]()
    for row in rows:
        times = row.seconds or (None, None)
        itself = None if row.same is None else replace(row.same.typical, low=None, high=None)
        cells.append((_named(row), *times, row.typical, itself, Verdict(row.verdict)))
    return Table(title, ("", "A", "B", "A ÷ B", "A ÷ A", "verdict"), cells)


def _named(row: Row) -> Sentence:
    place = row.what.place
    batch = Sentence(", B = {B}", B=place.batch_size) if place.batch_size > 1 else ""
    return Sentence("{case}, T = {T}{batch}", case=row.what, T=place.seq_len, batch=batch)


def _where(row: Row) -> Sentence:
    return Sentence("{case} {workload}", case=_named(row), workload=row.metric.removeprefix("latency/"))
