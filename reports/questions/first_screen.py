"""The first screen in sentences, the same in all outputs: what was asked, the answer, how sure it is, and what to doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import OF_WORK, Label, of_cell
from modbench.harness.core.units import counted
from modbench.harness.domain.case import Case
from modbench.harness.stats.contrast import INCONCLUSIVE
from modbench.reports.model import Estimate, Listed, Sentence, Value
from modbench.reports.panel import panels
from modbench.reports.questions import audit, best_setting, checks, machine, rivals, win_rate
from modbench.reports.tables.load import Loaded, contenders, rung_beside, same_shape
from modbench.reports.wording import WORKLOADS, name, short

NOTHING_COMPARED = "nothing is compared, so that there is no ratio, no verdict and no identical twin of a baseline"
# More names than this are counted.
MOST_NAMED = 6


@dataclass(frozen=True)
class Head:
    """The first screen of a report.

    Attributes:
        asked: what was compared with what, one sentence.
        answer: at most two sentences; empty where nothing can be said in so few.
        sure: what the ratios of times stand on, in one line; None where no times are compared.
        check: what is known of the machine, in one line; None there too.
        doubts: what a reader should hold against the numbers, what weighs most first.
    """

    asked: Value
    answer: Sequence[Value]
    sure: Value = None
    check: Value = None
    doubts: Sequence[Value] = ()


def head(loaded: Loaded) -> Head:
    """Return the first screen of a report."""
    if not loaded.measured:  # why stands above it, among the warnings
        return Head(asked(loaded), [f"{machine.NOTHING}."])
    found = sure(loaded)
    check = None if found is None else machine.machine_check(loaded)[1]
    return Head(asked(loaded), answer(loaded), found, check, doubts(loaded))


def answer(loaded: Loaded) -> list[Value]:
    """Say how fast the arm that is shown first is against dense, and against dense of equal cost: in which of all places.

    What panels answer stands in place of that.
    """
    if loaded.alone:
        return [Sentence("{arm} was measured alone: {why}.", arm=loaded.baseline, why=NOTHING_COMPARED)]
    if answered := _of_panels(loaded):
        return answered
    case, anchor = best_setting.first_arm(loaded), loaded.baseline
    if case is None or loaded.sizes_differ:
        return []
    subject, arms = best_setting.subject(loaded, case)
    others: list[tuple[Case, Value]] = [(anchor, described(anchor))] if anchor.arm != case.arm else []
    beside = rung_beside(loaded, case) if len(arms) == 1 else None
    if beside is not None and beside.case.arm != anchor.arm:
        equal = Sentence("dense of equal cost ({arm})", arm=short(beside.case))
        others.insert(0 if case.is_user_model else len(others), (beside.case, equal))  # what it has to replace
    said = [
        win_rate.sentence(subject, [found for arm in arms for found in win_rate.places(loaded, arm, other)], called)
        for other, called in others
    ]
    return [each for each in said if each is not None]


def _of_panels(loaded: Loaded) -> list[Value]:
    """Return the sentences of panels that answer what the run asked."""
    return [sentence for _, panel in panels() for sentence in panel.lead.answer(loaded)]


def described(anchor: Case) -> Sentence:
    """Name the baseline; of a dense one that it has the arms' shape."""
    return Sentence("{arm}" + " of the same shape" * same_shape(anchor), arm=anchor)


# --- what was asked


def title(loaded: Loaded) -> Sentence:
    """Return the question that the suite asks, such as `Does skipping tokens pay on AMD EPYC, fp32, 1 thread?`."""
    return Sentence("{question} on {machine}?", question=_question(loaded), machine=measured_on(loaded))


def measured_on(loaded: Loaded) -> str:
    """Name what was measured on: `AMD EPYC, fp32, 1 thread`."""
    suite = loaded.suite
    said = f"{loaded.device_name}, {'/'.join(suite.grid.dtype)}"
    if loaded.plan.device == "cpu":
        said += f", {counted(suite.threads, 'thread')}"
    return said + ", compiled" * suite.compile


def _question(loaded: Loaded) -> Value:
    if loaded.sizes_differ:
        return "Does skipping tokens lower the loss at equal training FLOPs"
    if not any(case.config.capacity is not None for case in loaded.arms):
        others = [case for case in loaded.arms if not case.rung]
        return Sentence("How fast is {arms}" if len(others) == 1 else "How do {arms} compare", arms=_listed(others))
    if loaded.timed:
        return "Does skipping tokens pay" + " in generation" * (loaded.timed <= GENERATION)
    if loaded.metrics and all(metric.task for metric in loaded.metrics):
        return "Do models that skip tokens still solve these tasks"
    if any(metric.key.startswith("memory/") for metric in loaded.metrics):
        return "Does skipping tokens save memory"
    what = "the loss" if loaded.trained_metric is not None else _metrics(loaded)
    return Sentence("What does skipping tokens do to {what}", what=what)


def asked(loaded: Loaded) -> Sentence:
    """Return one sentence: which models were compared with which, in what, and where."""
    plan, others, baseline = loaded.plan, contenders(loaded), loaded.baseline
    arms = {case.arm for case in loaded.arms}
    rungs = {rung.arm for rung in plan.ladder if rung.arm in arms and rung.arm != baseline.arm}
    words = "{arms} against {baseline}" + " and {n:dense model} of equal cost" * bool(rungs) if others else "{baseline}"
    what = [workload for metric, workload in WORKLOADS.items() if metric in plan.suite.metrics]
    what += [name for name in ("memory", "energy") if any(key.startswith(f"{name}/") for key in plan.suite.metrics)]
    made = {key for comparison in plan.comparisons for key in comparison.metrics}  # a filter may leave tasks out
    tasks = {task for key in made if (task := loaded.tables.metrics[key].task)}
    what += [f"accuracy on {counted(len(tasks), 'task')}"] * bool(tasks)
    what += ["held-out loss"] * (loaded.trained_metric is not None)
    return Sentence(
        f"{words}: {{what}}" + " at {lengths} tokens" * bool(loaded.lengths) + ".",
        arms=_listed(others),
        baseline=baseline,
        n=len(rungs),
        what=Listed(what, last=" and ") if what else _metrics(loaded),
        lengths=_listed(loaded.lengths),
    )


def _metrics(loaded: Loaded) -> Value:
    """Name what was asked for where no workload, task or loss is among it."""
    keys = loaded.suite.metrics
    return "FLOPs" if all(key.startswith("flops/") for key in keys) else _listed(keys)


def _listed(values: Sequence[Value]) -> Listed:
    return Listed(values, last=" and ", most=MOST_NAMED)


def left_out(loaded: Loaded) -> Sentence | None:
    """Say which of several batch sizes and number formats figures and tiles show, and how many of many arms and lengths."""
    grid, shown = loaded.suite.grid, list[Value]()
    if len(grid.batch_size) > 1 or len(grid.dtype) > 1:
        shown.append(f"batch size {grid.batch_size[0]} in {grid.dtype[0]}")
    for few, every, what in (
        (loaded.arms_shown, loaded.arms[1:], "arms"),
        (loaded.lengths_shown, loaded.lengths, "lengths"),
    ):
        if len(few) < len(every):
            shown.append(Sentence("{shown} of {all} {what}", shown=len(few), all=len(every), what=what))
    words = "Figures and tiles show {shown}; cases.csv and comparisons.csv have all."
    return Sentence(words, shown=Listed(shown, last=" and ")) if shown else None


# --- how sure it is, and what to doubt


def sure(loaded: Loaded) -> Sentence | None:
    """Say what the ratios of times stand on: processes, the median 95 % interval, and how many are undecided.

    Returns:
        None where there is no such ratio. The processes are left out where the line that names the run has their number.
    """
    suite = loaded.suite
    rows = loaded.comparisons[(loaded.comparisons.unit == "s") & (loaded.comparisons.status == "ok")]
    if rows.empty:
        return None
    # Not the baseline's: in a search those of several comparisons count for it, but for no ratio.
    timed = loaded.cases[(loaded.cases.unit == "s") & loaded.cases.case_id.isin(rows.case_id)]
    fewest, most = int(timed.n.min()), int(timed.n.max())
    planned = not suite.two_stage and fewest == most == suite.protocol_size[0]
    half, judged = half_of(rows), int(rows.verdict.notna().sum())
    words = ["{fewest} to " * (fewest != most) + "{most:fresh process|fresh processes}"] * (not planned)
    words += ["±{half} (median)"] * (half.value is not None) + ["{open} of {judged} open at {margin}"] * bool(judged)
    return Sentence(
        ", ".join(words),
        fewest=fewest,
        most=most,
        half=half,
        open=int((rows.verdict == INCONCLUSIVE).sum()),
        judged=judged,
        margin=Estimate(suite.margin, kind="share"),
    )


def half_of(rows: pd.DataFrame) -> Estimate:
    """Return half of the median 95 % interval of ratios, by the clock that decided, as a share; no value where none has one."""
    by_cpu = rows.labels.map(lambda said: Label.BY_CPU in of_cell(said))
    low, high = (rows[f"cpu_ci_{end}"].where(by_cpu, rows[f"ci_{end}"]).astype(float) for end in ("low", "high"))
    median = float((high / low).median())
    return Estimate(None if math.isnan(median) else math.sqrt(median) - 1, kind="share")


class Doubt(NamedTuple):
    """A sentence that a reader should hold against the numbers.

    Attributes:
        said: the sentence.
        heavy: whether numbers may be missing, disturbed, or not those of the work that a model claims.
    """

    said: Value
    heavy: bool = False


def doubts(loaded: Loaded) -> list[Value]:
    """Say what a reader should hold against the numbers, what weighs most first; of several arms one is named."""
    return [each.said for each in sorted(_doubts(loaded), key=lambda each: not each.heavy)]


def _doubts(loaded: Loaded) -> Iterator[Doubt]:
    if not loaded.suite.claims:
        yield Doubt("A smoke run supports no claim.", heavy=True)
    if missing := len(loaded.run.missing):
        yield Doubt(Sentence("{n:unit has|units have} no record.", n=missing), heavy=True)
    if failed := len(loaded.failed.case_id.unique()):
        yield Doubt(Sentence("{n:case} failed.", n=failed), heavy=True)
    for label, cases in loaded.labelled.items():
        names = Listed(_named(loaded, cases), most=1)
        said = Sentence("{label}: {names}.", label=f"{label[:1].upper()}{label[1:]}", names=names)
        yield Doubt(said, heavy=label in OF_WORK)
    disturbed = sum(Label.CONTAMINATED in of_cell(cell) for cell in loaded.comparisons.labels)
    if disturbed:
        yield Doubt(Sentence("{n:comparison} contaminated.", n=disturbed), heavy=True)
    # Where no label says that the machine was disturbed, what was found in times weighs as much.
    busy = disturbed or any(Label.CONTAMINATED in of_cell(cell) for cell in loaded.cases.labels)
    for found in checks.doubts(loaded):
        if not found.labelled:
            said = Sentence("{n:cell} {what}.", n=found.cells, what=found.name.replace("_", " "))
            yield Doubt(said, heavy=found.timed and not busy)
    yield from map(Doubt, (*rivals.doubts(loaded), *audit.failures(loaded)))
    for _, panel in panels():
        yield from map(Doubt, panel.lead.doubts(loaded))


def _named(loaded: Loaded, cases: list[Case]) -> list[str]:
    """Names of arms. Of a sweep over sizes, a variant of which every size is among them is named once."""
    if not loaded.sizes_differ:
        return [name(case) for case in cases]
    sizes = grouped((case.variant, case.arm) for case in loaded.plan.cases)
    here, found = {case.arm for case in cases}, list[str]()
    for case in cases:
        every = len({*sizes[case.variant]}) > 1 and here.issuperset(sizes[case.variant])
        found.append(f"{name(case).removesuffix(case.size).rstrip()} of every size" if every else name(case))
    return list(dict.fromkeys(found))
