"""The result of `compare --paired`: every case's time on two sides, judged like arms, with the A/A test of the same blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.labels import ESCAPED, OF_WORK, Label
from modbench.harness.domain.case import Case
from modbench.harness.results import run_folder
from modbench.harness.stats import aba_blocks, contamination, effects, paired, sample_size, verdicts
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Disturbed, Estimates
from modbench.reports.model import Alert, Block, Estimate, Finding, Listed, Sentence, Table, Value, Verdict
from modbench.reports.questions.gate.comparer import UNKNOWN, differences, other_quantity
from modbench.reports.tables.cell import Trouble, columns_of, listed_reasons
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import APART
from modbench.reports.wording import TIMED

# Failures of a process, not of what it measured.
DIED = frozenset({"crash", "timeout", "oom"})
# With one of these a time is not that of the work, so that it is compared with no other.
NOT_OF_WORK = frozenset({Label.REUSES_OUTPUT, Label.OTHER_PRECISION, Label.IDLE_IN_TRAINING, Label.PROCESS_CHANGED})
Lacking: TypeAlias = Literal["first", "base", "second", "fails"]


@dataclass(frozen=True)
class Row(Finding):
    """One case and workload: `typical` is the ratio of times, above 1 where the second side is faster, over `n` blocks.

    There is no verdict where the A/A test found the same code different.

    Attributes:
        what: the case.
        seconds: median time of the first side, and that by the ratio of wall times; None where there is none.
        same: the A/A test: the first side against itself, in the same blocks.
        labels: those of the second side, and `BY_CPU`.
        against_labels: those of the first side.
        lacking: the side without a number: the first whenever it has none, `base` where it fails; `fails`: the second one does
            now; None: neither.
    """

    what: Case
    seconds: tuple[Estimate, Estimate] | None = None
    same: Finding | None = None
    lacking: Lacking | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`: ratios, above 1 the second side is faster."""
        told: dict[str, Any] = {"case_id": self.what.id, "metric": self.metric}
        told |= {"verdict": self.verdict, "reason": self.reason}
        told["seconds"] = None if self.seconds is None else [each.value for each in self.seconds]
        told["same_verdict"] = None if self.same is None else self.same.verdict
        for key, made in (("", self.typical), ("same_", self.same.typical if self.same else Estimate(None))):
            told |= columns_of(made, f"{key}ratio", key)
        told |= {
            "labels": [each for each in self.labels if each != Label.BY_CPU],
            "first_labels": list(self.against_labels),
        }
        return told | {"blocks": self.typical.n, "by_cpu": self.by_cpu}


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


def result(
    blocks: Sequence[Sequence[Path]], prepared: Sequence[Path], sides: tuple[str, str], margin: float | None = None
) -> Result:
    """Judge the launches of every block (first side, second side, first side again), with the runs that prepared both sides."""
    (*read, checked) = [[Tables(run_folder.read(str(path))) for path in each] for each in (*blocks, prepared)]
    chosen = read[0][0].suite.margin if margin is None else margin
    return Result(sides, chosen, _judged([*timed(read, checked)], chosen))


def checks(side: Sequence[Tables], prepared: Tables, case: str, metric: AnyMetric) -> list[Label]:
    """What checks found about a case of one side: in the run that prepared it, and in the launches of every block.

    Guards run where a side is prepared. Launches leave them out and say so: what could not be checked, that run says.
    """
    found = dict[Label, None]()
    for tables in (prepared, *side):
        own = next((each for each in tables.plan.cases if each.id == case), None)
        labels = () if own is None else tables.row_labels(own, metric)
        found |= dict.fromkeys(each for each in labels if tables is prepared or each != Label.UNCHECKED)
    return [each for each in found if each in OF_WORK]


def not_its_work(first: Sequence[Label], second: Sequence[Label], metric: AnyMetric) -> Sentence | None:
    """Say that a side's time is not that of its work, or may not be, so that nothing can be claimed; None: nothing says so."""
    # What training leaves out changes no other time; with it on both sides the same may have been timed.
    only_training = {Label.IDLE_IN_TRAINING} if metric.workload != "train_step" else set[Label]()
    for side, labels in (("second", second), ("first", first)):
        wrong = [each for each in labels if each in NOT_OF_WORK - only_training]
        if wrong:
            return Sentence(
                "the {side} side {labels}: its time is not that of its work", side=side, labels=Listed(wrong)
            )
    apart = [{*labels} & ({Label.UNCHECKED} | only_training) for labels in (first, second)]
    return None if apart[0] == apart[1] else Sentence("{said}", said=other_quantity(apart[1], apart[0]))


def escaped(*sides: Sequence[Label]) -> Reason | None:
    """Return the label of one side that says that work may be done where its time does not see it; None without one."""
    found = (label for side in sides for label in side if label in ESCAPED)
    return next((Reason("said", said=str(label)) for label in found), None)


@dataclass(frozen=True)
class Timed:
    """A case that was timed on both sides.

    Attributes:
        row: without the ratios.
        wall: the effects of its blocks by wall time.
        cpu: by CPU time; None where that is not comparable.
        disturbed: share of the rounds in which one of the three processes was disturbed.
        unfit: why no verdict may rest on CPU time; None where it may.
        withheld: why no verdict may rest on any time of the two; None where it may.
    """

    row: Row
    wall: list[aba_blocks.Block]
    cpu: list[aba_blocks.Block] | None
    disturbed: float
    unfit: Reason | None
    withheld: Sentence | None

    @property
    def evidence(self) -> Disturbed:
        """What chooses the clock."""
        if self.cpu is None:
            return Disturbed(self.disturbed, unfit=self.unfit)
        cpu, gap = Estimates(aba_blocks.between(self.cpu)), aba_blocks.gap(self.wall, self.cpu)
        return Disturbed(self.disturbed, cpu, gap, self.unfit)


def timed(blocks: Sequence[Sequence[Tables]], prepared: Sequence[Tables]) -> Iterator[Row | Timed]:
    """Yield the cases of both sides of every block (first, second, first again); one that cannot be compared with its reason.

    Args:
        blocks: the launches of every block.
        prepared: the runs that prepared the first and the second side.
    """
    first, second = blocks[0][0], blocks[0][1]
    there = {case.id: case for case in second.plan.cases}
    here = {case.id for case in first.plan.cases}
    for metric in first.suite.metrics:
        for case in first.plan.cases:
            if case.id not in there:
                yield Row(case, metric=metric, reason="the second side has no such case", lacking="second")
            elif (
                case.model_copy(update={"model": there[case.id].model}) != there[case.id]
            ):  # in more than its model's file
                changed = f"the same id, but another case: {differences(there[case.id], case)}"
                yield Row(case, metric=metric, reason=changed)
            else:
                yield _row(blocks, prepared, case, metric)
        for case in second.plan.cases:
            if case.id not in here:
                yield Row(case, metric=metric, reason="new: the first side has no such case", lacking="first")


def _row(blocks: Sequence[Sequence[Tables]], prepared: Sequence[Tables], case: Case, metric: str) -> Row | Timed:
    made, times = list[tuple[_Rounds, ...]](), list[tuple[float, ...]]()
    for block in blocks:
        found = [_rounds(tables, case, metric) for tables in block]
        wrong = [each if isinstance(each, Trouble) else None for each in found]
        if any(wrong):
            return lost(case, metric, wrong[0] or wrong[-1], wrong[1])
        made.append(tuple(each for each in found if isinstance(each, _Rounds)))
        times.append(tuple(median(each.wall) for each in made[-1]))
    known = blocks[0][0].metrics[metric]
    launches = [each for one, _, again in blocks for each in (one, again)], [each for _, each, _ in blocks]
    first, second = (checks(side, own, case.id, known) for side, own in zip(launches, prepared, strict=True))
    wall = [aba_blocks.block(*(each.wall for each in three)) for three in made]
    # The second side's time is the first's by their ratio, which is taken round by round: so the three agree.
    outer = median([*(t[0] for t in times), *(t[2] for t in times)])
    inner = outer - aba_blocks.between(wall).value
    seconds = Estimate(math.exp(outer), unit="s"), Estimate(math.exp(inner), unit="s")
    ticked = case.place.one_thread and all(each.cpu for three in made for each in three)
    cpu = [aba_blocks.block(*(each.cpu for each in three)) for three in made] if ticked else None
    disturbed = [[any(marks) for marks in zip(*(each.disturbed for each in three), strict=True)] for three in made]
    sides = [each.samples for one, _, again in made for each in (one, again)], [each.samples for _, each, _ in made]
    unfit = paired.unfit(sides) if case.place.one_thread else paired.SEVERAL_THREADS
    return Timed(
        Row(case, metric=metric, seconds=seconds, labels=tuple(second), against_labels=tuple(first)),
        wall,
        cpu,
        fmean(mark for marks in disturbed for mark in marks),
        escaped(first, second) or (unfit if ticked else unfit or paired.NOT_TICKED),
        not_its_work(first, second, known),
    )


def lost(case: Case, metric: str, first: Trouble | None, second: Trouble | None) -> Row:
    """A case without a number, by what happened to each side; not both are None."""
    wrong = first or second
    assert wrong is not None
    # A launch of the first side that died says nothing of a case that its preparation, and maybe other blocks, have measured.
    unknown = wrong.kind in UNKNOWN or (first is not None and wrong.kind in DIED)
    failed = wrong.status == "failed"
    lacking: Lacking = "second"
    if not unknown:
        lacking = ("base" if failed else "first") if first else "fails" if failed else "second"
    return Row(case, metric=metric, reason=f"{wrong.status}: {wrong.reason}", lacking=lacking)


def trouble(tables: Tables, case: Case, metric: AnyMetric) -> Trouble | None:
    """Why a case has no number in a launch, or None: what drifts is compared with rounds right beside it."""
    found = tables.trouble(case, metric)
    return None if found is not None and found.kind == "not_steady" else found


class _Rounds(NamedTuple):
    """The rounds of a process.

    Attributes:
        wall: the mean log time of each.
        cpu: of CPU time; empty where its clock did not tick in each call.
        disturbed: whether one of its samples was.
        samples: as they were recorded.
    """

    wall: list[float]
    cpu: list[float]
    disturbed: list[bool]
    samples: Columns


def _rounds(tables: Tables, case: Case, metric: str) -> _Rounds | Trouble:
    """The rounds of the process that a run folder holds; or why there are none."""
    mine = next((each for each in tables.plan.cases if each.id == case.id), None)
    known = tables.metrics[metric]
    if mine is None:
        return Trouble("skipped", "a launch has no such case")
    wrong = trouble(tables, mine, known)
    if wrong is not None:
        return wrong
    cell = tables.cell(mine.id, metric)
    ((launch, own),) = cell.good().items()
    numbers = np.asarray(own.samples["round"])
    rounds = [numbers == each for each in np.unique(numbers)]

    def means(column: str) -> list[float]:
        logs = np.log(own.samples[column])
        return [float(logs[each].mean()) for each in rounds]

    marks = np.array([bool(each) for each in contamination.causes(own.samples, cell.blocks.get(launch, {}))])
    cpu = means("cpu_s") if paired.ticked(own.samples) else []
    disturbed = [bool(marks[each].any()) for each in rounds]
    return _Rounds(means(tables.made_in(known).column), cpu, disturbed, own.samples)


def _judged(rows: Sequence[Row | Timed], margin: float) -> list[Row]:
    """Add ratios and verdicts, by the clock that decides; all cases are one family by each clock, and the A/A tests others."""
    timed = {i: row for i, row in enumerate(rows) if isinstance(row, Timed)}
    walls, ticks = ({i: made for i, row in timed.items() if (made := getattr(row, name))} for name in ("wall", "cpu"))
    wall, wall_same = _family(walls, aba_blocks.between), _family(walls, aba_blocks.same)
    cpu, cpu_same = _family(ticks, aba_blocks.between), _family(ticks, aba_blocks.same)
    made = list[Row]()
    for i, row in enumerate(rows):
        if isinstance(row, Row):
            made.append(row)
            continue
        judged = verdicts.judge(wall[i], margin, row.evidence._replace(cpu=cpu.get(i)))
        family, same = (cpu, cpu_same) if judged.by_cpu else (wall, wall_same)
        twin = verdicts.judge(same[i], margin).word
        itself = Finding(
            row.row.what, row.row.what, metric=row.row.metric, typical=_ratio(same[i].effect), verdict=twin
        )
        labels = (*row.row.labels, *[Label.BY_CPU] * judged.by_cpu, *[Label.CONTAMINATED] * judged.noisy)
        found = replace(row.row, against="", typical=_ratio(family[i].effect), same=itself, labels=labels)
        if row.withheld is not None:
            made.append(replace(found, verdict="inconclusive", reason=row.withheld))
        elif twin in APART:
            apart = Sentence(
                "the same code came out {ratio}: this machine cannot tell the two sides apart now",
                ratio=itself.typical.alone,
            )
            made.append(replace(found, reason=apart))
        else:
            open_ = judged.word == "inconclusive" and not judged.noisy
            why = _undecided(family, i, margin) if open_ else None
            made.append(replace(found, verdict=judged.word, reason=listed_reasons([judged.reason, why])))
    return made


def _family(
    blocks: dict[int, list[aba_blocks.Block]], of: Callable[[list[aba_blocks.Block]], Effect]
) -> dict[int, Estimates]:
    """The effect of each case, with its p-value among all."""
    found = {i: of(each) for i, each in blocks.items()}
    p = effects.adjusted({i: effect.p for i, effect in found.items() if effect.p is not None})
    return {i: Estimates(effect, p=p.get(i)) for i, effect in found.items()}


def _ratio(effect: Effect) -> Estimate:
    """Return an effect on the log scale as a ratio of times."""
    return Estimate(*effect.ratio, "ratio", "s", n=effect.n)


def _undecided(family: dict[int, Estimates], i: int, margin: float) -> Value:
    """Why a row is undecided, and what would decide it."""
    effect, p = family[i].effect, family[i].p
    if effect.excludes_0 and p is not None and p > 1 - effects.LEVEL:
        words = "not significant among {n} rows (Holm p {p}): select fewer, or take more --launches"
        return Sentence(words, n=len(family), p=Estimate(p, kind="p"))
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
        words = "A ÷ B: above 1× the second side is faster; 95 % intervals over {n} blocks, differences below {margin} count as "
        words += "equal. A ÷ A: the first side against itself, in the same blocks."
        yield Sentence(words, n=found.compared[0].typical.n, margin=Estimate(found.margin, kind="share"))
    if found.fooled:
        words = "In {n} of {all} rows the first side came out different from itself: they have no verdict."
        yield Alert(Sentence(words, n=len(found.fooled), all=len(found.compared)))
    for row in found.compared:
        for side, labels in (("A", row.against_labels), ("B", row.labels)):
            said = [label for label in labels if label != Label.BY_CPU]
            if said:
                yield Sentence("{side}: {case}: {labels}", side=side, case=_named(row), labels=Listed(said))
        if row.verdict == "inconclusive":
            workload = row.metric.removeprefix("latency/")
            yield Sentence("? {case} {workload}: {why}", case=_named(row), workload=workload, why=row.reason)
    for row in found.rows:
        if row.typical.value is None:
            yield Sentence("not compared: {case} {metric}: {why}", case=row.what.id, metric=row.metric, why=row.reason)


def _table(metric: str, rows: Sequence[Row]) -> Table:
    title = TIMED.get(metric, metric)
    cells = list[tuple[Value, ...]]()
    for row in rows:
        times = row.seconds or (None, None)
        itself = None if row.same is None else row.same.typical.alone
        word: Value = Verdict(row.verdict)
        if row.by_cpu:
            word = Sentence(f"{{verdict}} {Label.BY_CPU}", verdict=word)
        cells.append((_named(row), *times, row.typical, itself, word))
    return Table(title, ("", "A", "B", "A ÷ B", "A ÷ A", "verdict"), cells)


def _named(row: Row) -> Sentence:
    place = row.what.place
    batch = Sentence(", B = {B}", B=place.batch_size) if place.batch_size > 1 else ""
    return Sentence("{case}, T = {T}{batch}", case=row.what, T=place.seq_len, batch=batch)
